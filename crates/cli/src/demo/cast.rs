//! Who plays which part in the demo.

use super::network::{Network, Node};
use super::stage::Tie;
use crate::failure::Failure;

/// Who plays which part, chosen when it is known who is attached to whom.
#[derive(Debug, PartialEq, Eq)]
pub struct Cast {
    /// The one who asks.
    pub searcher: Tie,
    /// The two who have the large recording: children of other supernodes than the searcher's.
    pub owners: [String; 2],
}

impl Cast {
    /// Chooses by who is attached to whom.
    ///
    /// # Errors
    /// All are attached to one supernode: then there are no others to find.
    pub fn choose(ties: &[Tie]) -> Result<Self, Failure> {
        let alone = || Failure::failed("all nodes chose one supernode: there is no other to ask");
        for searcher in ties {
            let mut others = ties.iter().filter(|tie| tie.parent != searcher.parent);
            let Some(first) = others.next() else { continue };
            // Under a third supernode if there is one, else wherever.
            let rest: Vec<&Tie> = others.collect();
            let third = rest.iter().find(|tie| tie.parent != first.parent);
            if let Some(second) = third.or(rest.first()) {
                let owners = [first.name.clone(), second.name.clone()];
                return Ok(Self { searcher: searcher.clone(), owners });
            }
        }
        Err(alone())
    }

    /// The node that asks.
    ///
    /// # Errors
    /// It is not in the network.
    pub fn searcher<'a>(&self, network: &'a Network) -> Result<&'a Node, Failure> {
        let found = network.ordinary.iter().find(|node| node.name == self.searcher.name);
        found.ok_or_else(|| Failure::failed(format!("{} has left", self.searcher.name)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ties(ties: &[(&str, &str)]) -> Vec<Tie> {
        let tie = |(name, parent): &(&str, &str)| Tie {
            name: (*name).to_owned(),
            parent: (*parent).to_owned(),
        };
        ties.iter().map(tie).collect()
    }

    #[test]
    fn the_recording_lies_under_other_supernodes_than_the_searchers() {
        let ties = ties(&[("a", "x"), ("b", "x"), ("c", "y"), ("d", "y"), ("e", "z")]);
        let cast = Cast::choose(&ties).unwrap();
        assert_eq!(cast.searcher.name, "a");
        assert_eq!(cast.owners, ["c", "e"]);
    }

    #[test]
    fn two_supernodes_with_children_suffice() {
        let cast = Cast::choose(&ties(&[("a", "x"), ("b", "y"), ("c", "y")])).unwrap();
        assert_eq!(cast.owners, ["b", "c"]);
        let cast = Cast::choose(&ties(&[("a", "y"), ("b", "x"), ("c", "y")])).unwrap();
        assert_eq!((cast.searcher.name.as_str(), cast.owners), ("b", ["a".into(), "c".into()]));
    }

    #[test]
    fn one_supernode_is_not_enough_for_the_story() {
        assert!(Cast::choose(&ties(&[("a", "x"), ("b", "x"), ("c", "x")])).is_err());
    }
}
