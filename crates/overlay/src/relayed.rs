//! What a supernode passes back of a query that began elsewhere.
//!
//! Names count as found, as they do where the query began ([`crate::sieve`]): thirty contents under
//! one name are not thirty things that somebody looks for. But where the query began has to see which
//! of them are held by many, so some contents of each name are passed on, with some holders.

use crate::hashed::HashMap;
use crate::shares::Shares;
use crate::sieve::fingerprint;
use skein_proto::{ContentId, FileMeta, NodeId};

/// Hits passed back for each that is wanted: as many sources as a content has at most.
pub(crate) const HITS_PER_WANTED: usize = 16;

/// Contents of one name that are passed on. Of made-up ones there may be more, of genuine ones
/// hardly.
const MAX_CONTENTS: usize = 16;

/// Contents of one holder under one name: it speaks for one of them only.
const MAX_OF_HOLDER: usize = 2;

/// Sources of one content that are worth passing on: a download uses fewer at once.
const MAX_SOURCES: usize = 16;

#[derive(Debug, Default)]
struct OfName {
    is_counted: bool,
    /// Each content, with those who hold it.
    contents: Vec<(ContentId, Vec<u64>)>,
}

/// What was passed back of one query.
#[derive(Debug)]
pub(crate) struct Relayed {
    wanted: usize,
    names: HashMap<u64, OfName>,
    shares: Shares,
    /// Names that count.
    counted: usize,
    hits: usize,
}

impl Relayed {
    pub(crate) fn new(wanted: usize, is_of_one_owner: bool) -> Self {
        let shares = Shares::new(wanted, is_of_one_owner);
        Self { wanted, names: HashMap::default(), shares, counted: 0, hits: 0 }
    }

    /// Names found, of each holder and each neighbour no more than its share.
    pub(crate) fn names(&self) -> usize {
        self.counted
    }

    /// Whether a hit is passed on that this holder offers, and that came by this neighbour or is in
    /// the own index; if so, it is accounted for. What the file is called is asked for if it matters.
    pub(crate) fn admit(
        &mut self,
        file: &FileMeta,
        holder: &str,
        link: Option<NodeId>,
        name_of: impl Fn(&FileMeta) -> u64,
    ) -> bool {
        if self.hits >= self.wanted * HITS_PER_WANTED {
            return false;
        }
        let (name, holder) = (name_of(file), fingerprint(holder));
        let is_counted = self.names.get(&name).is_some_and(|of| of.is_counted);
        let counts =
            !is_counted && self.counted < self.wanted && self.shares.take_name(link, holder);
        self.counted += usize::from(counts);
        let has_room = is_counted || counts || self.names.len() < 2 * self.wanted;
        if !has_room && !self.names.contains_key(&name) {
            return false;
        }
        let of_name = self.names.entry(name).or_default();
        of_name.is_counted |= counts;
        let admitted = of_name.admit(file.content, holder);
        self.hits += usize::from(admitted);
        admitted
    }
}

impl OfName {
    fn admit(&mut self, content: ContentId, holder: u64) -> bool {
        let others = self
            .contents
            .iter()
            .filter(|(other, holders)| *other != content && holders.contains(&holder));
        let has_others = others.count() >= MAX_OF_HOLDER;
        let is_full = self.contents.len() >= MAX_CONTENTS;
        let known = self.contents.iter_mut().find(|(known, _)| *known == content);
        match known {
            Some((_, holders)) if holders.len() >= MAX_SOURCES => return false,
            Some((_, holders)) => holders.push(holder),
            None if has_others || is_full => return false,
            None => self.contents.push((content, vec![holder])),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::sieve::name_of;
    use skein_proto::{FilePath, Kind};

    fn file(content: u8, path: &str) -> FileMeta {
        FileMeta {
            content: ContentId::from_bytes([content; 32]),
            size: 1,
            kind: Kind::Audio,
            path: FilePath::new(path).expect("a path"),
            tags: None,
        }
    }

    #[test]
    fn made_up_contents_of_one_name_are_not_enough_and_leave_room_for_the_genuine_one() {
        let mut relayed = Relayed::new(10, false);
        let decoys =
            (0..30).filter(|n| relayed.admit(&file(*n, "a/Song.mp3"), "liar", None, name_of));
        assert_eq!(decoys.count(), MAX_OF_HOLDER);
        assert_eq!(relayed.names(), 1);
        let genuine = (0..30).filter(|n| {
            relayed.admit(&file(99, "b/song.mp3"), &format!("friend{n}"), None, name_of)
        });
        assert_eq!(genuine.count(), MAX_SOURCES);
    }

    #[test]
    fn the_names_of_one_holder_are_passed_on_but_are_not_enough() {
        let mut relayed = Relayed::new(10, false);
        let spam = (0..30)
            .filter(|n| relayed.admit(&file(*n, &format!("{n}.mp3")), "liar", None, name_of));
        assert_eq!(spam.count(), 20);
        assert_eq!(relayed.names(), 2);
        for n in 100..108 {
            assert!(relayed.names() < 10);
            let holder = format!("friend{n}");
            relayed.admit(&file(n, &format!("{n}.mp3")), &holder, None, name_of);
        }
        assert_eq!(relayed.names(), 10);
    }

    #[test]
    fn no_more_is_passed_on_than_whoever_asked_takes() {
        let mut relayed = Relayed::new(2, false);
        let passed = (0..=255).flat_map(|n: u8| [(n, "one.mp3"), (n, "two.mp3")]);
        let passed = passed.filter(|(n, name)| {
            relayed.admit(&file(n / 16, name), &format!("friend{n}"), None, name_of)
        });
        assert_eq!(passed.count(), 2 * HITS_PER_WANTED);
    }
}
