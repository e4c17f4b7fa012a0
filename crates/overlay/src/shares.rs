//! How much of what is wanted one neighbour or one holder may bring.
//!
//! Whoever made up as many names as are wanted would end everybody's searches with them. So a search
//! has found enough only when several have brought it: of each holder, and of all that came by one
//! neighbour, a share of what is wanted counts. The rest is shown all the same, at the end.

use skein_proto::NodeId;
use std::collections::BTreeMap;

/// The share of what is wanted that one neighbour may bring, and one holder: so that it takes four
/// liars among those asked, or eight names. A hit brings at least so many of each, or a search for
/// one or two things would never be over.
const OF_LINK: usize = 4;
const OF_HOLDER: usize = 8;
const AT_LEAST: usize = 2;

/// How much of what is wanted one holder may bring.
pub(crate) fn of_holder(wanted: usize) -> usize {
    (wanted / OF_HOLDER).max(AT_LEAST)
}

/// What each has brought of what is wanted.
#[derive(Debug)]
pub(crate) struct Shares {
    of_link: usize,
    of_holder: usize,
    names_of_links: BTreeMap<NodeId, usize>,
    names_of_holders: BTreeMap<u64, usize>,
    contents_of_links: BTreeMap<NodeId, usize>,
}

impl Shares {
    /// The shares of a search for so much. One for the files of one owner is answered by nobody
    /// else than the owner and its parent, so that they have all of it.
    pub(crate) fn new(wanted: usize, is_of_one_owner: bool) -> Self {
        let share = |of: usize| match is_of_one_owner {
            true => usize::MAX,
            false => (wanted / of).max(AT_LEAST),
        };
        Self {
            of_link: share(OF_LINK),
            of_holder: share(OF_HOLDER),
            names_of_links: BTreeMap::new(),
            names_of_holders: BTreeMap::new(),
            contents_of_links: BTreeMap::new(),
        }
    }

    /// Whether one more name may count that this holder offers, by this neighbour or, where there is
    /// none, in the own index; if so, it is accounted for.
    pub(crate) fn take_name(&mut self, link: Option<NodeId>, holder: u64) -> bool {
        let of_holder = self.names_of_holders.get(&holder).copied().unwrap_or(0);
        let of_link = link.and_then(|link| self.names_of_links.get(&link)).copied().unwrap_or(0);
        let granted = of_holder < self.of_holder && of_link < self.of_link;
        if granted {
            self.names_of_holders.insert(holder, of_holder + 1);
            if let Some(link) = link {
                self.names_of_links.insert(link, of_link + 1);
            }
        }
        granted
    }

    /// Whether one more content may be shown at once that came by these neighbours; if so, it is
    /// accounted for with the first of them that has some of its share left.
    pub(crate) fn take_content(&mut self, links: impl IntoIterator<Item = NodeId>) -> bool {
        links.into_iter().any(|link| {
            let taken = self.contents_of_links.entry(link).or_default();
            let granted = *taken < self.of_link;
            *taken += usize::from(granted);
            granted
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: [NodeId; 2] = [NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32])];

    #[test]
    fn of_forty_one_neighbour_brings_ten_and_one_holder_five() {
        let mut shares = Shares::new(40, false);
        let names = |shares: &mut Shares, link, holders: std::ops::Range<u64>| {
            holders.filter(|holder| shares.take_name(link, *holder)).count()
        };
        assert_eq!(names(&mut shares, Some(LINKS[0]), 0..50), 10);
        assert_eq!(names(&mut shares, Some(LINKS[1]), 0..50), 10);
        assert_eq!((0..50).filter(|_| shares.take_name(None, 100)).count(), 5);
        assert_eq!(names(&mut shares, None, 200..250), 50, "these are the own children");
        assert_eq!((0..50).filter(|_| shares.take_content(LINKS)).count(), 20);
    }

    #[test]
    fn what_is_wanted_of_one_owner_comes_from_it_alone() {
        let mut shares = Shares::new(40, true);
        assert_eq!((0..50).filter(|_| shares.take_name(Some(LINKS[0]), 1)).count(), 50);
    }
}
