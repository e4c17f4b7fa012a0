//! Decoys: made-up contents under the names of what is asked for most.
//!
//! Whoever poisons an index can make up as many contents as they like, but not the people who hold
//! them. So of several contents that bear the same name, those count that are held by many, and
//! the others are left out where they are held by far fewer (the observation of Walsh and Sirer,
//! "Experience with an Object Reputation System", NSDI 2006, that genuine copies of what is popular
//! are held by many independent peers and decoys by few). A holder counts once for each name, however
//! many contents it offers under it, and the more the better its reputation is. What nobody else
//! uses the name of is not touched, so that rare files are found as before.

use skein_proto::{ContentId, FileMeta, HitGroup, Owner, Username};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A content is left out where another one of its name has more than so many times its weight.
const OUTWEIGHED: u32 = 2;

/// Holders that are counted for one content: more say nothing more.
const MAX_HOLDERS: usize = 16;

/// Hits that are held back at the same time: what is beyond is dropped, and counted.
const MAX_HELD: usize = 2_048;

/// When hits are looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Some have come: what several people hold need not wait.
    Arrival,
    /// A wave is over: nobody contests the other names that stand for one content so far.
    Wave,
    /// The search is over.
    End,
}

#[derive(Debug, Default)]
struct Candidate {
    /// Fingerprints of the names of those who hold it.
    holders: Vec<u64>,
    weight: u32,
    held: Vec<(Owner, FileMeta)>,
    passed: bool,
}

/// The contents of one name.
#[derive(Debug, Default)]
struct Namesakes {
    contents: BTreeMap<ContentId, Candidate>,
    /// Who holds any of them, and which.
    voters: BTreeMap<u64, ContentId>,
}

/// The hits of one search that began here.
#[derive(Debug, Default)]
pub(crate) struct Sieve {
    names: BTreeMap<u64, Namesakes>,
    held: usize,
    /// Hits that there was no room for.
    pub(crate) overflown: u64,
}

impl Sieve {
    /// Different names found.
    pub(crate) fn names(&self) -> usize {
        self.names.len()
    }

    /// Takes in hits, with the standing of each owner.
    pub(crate) fn take_in(&mut self, groups: Vec<HitGroup>, standing: impl Fn(&Username) -> u32) {
        for group in groups {
            let name = &group.owner.credential.unverified().name;
            let (holder, standing) = (fingerprint(name.as_str()), standing(name));
            for file in group.files {
                if self.held >= MAX_HELD {
                    self.overflown += 1;
                    continue;
                }
                let namesakes = self.names.entry(fingerprint(&plain_name(&file))).or_default();
                let content = file.content;
                let first = *namesakes.voters.entry(holder).or_insert(content) == content;
                let candidate = namesakes.contents.entry(content).or_default();
                let is_new = !candidate.holders.contains(&holder);
                if is_new && candidate.holders.len() < MAX_HOLDERS {
                    candidate.holders.push(holder);
                    candidate.weight += if first { standing } else { 0 };
                }
                self.held += 1;
                candidate.held.push((group.owner.clone(), file));
            }
        }
    }

    /// The hits that may go to whoever asked.
    pub(crate) fn release(&mut self, moment: Moment) -> Vec<HitGroup> {
        let mut released: Vec<(Owner, FileMeta)> = Vec::new();
        for namesakes in self.names.values_mut() {
            let best = namesakes.contents.values().map(|c| c.weight).max().unwrap_or(0);
            let is_contested = namesakes.contents.len() > 1;
            for candidate in namesakes.contents.values_mut() {
                let is_outweighed = best > candidate.weight.saturating_mul(OUTWEIGHED);
                candidate.passed |= match moment {
                    Moment::Arrival => candidate.holders.len() > 1 && !is_outweighed,
                    Moment::Wave => !is_contested,
                    Moment::End => !is_outweighed,
                };
                if candidate.passed {
                    self.held -= candidate.held.len();
                    released.append(&mut candidate.held);
                }
            }
        }
        into_groups(released)
    }

    /// Hits that were held back to the end.
    pub(crate) fn left_out(&self) -> u64 {
        self.held as u64
    }
}

fn into_groups(hits: Vec<(Owner, FileMeta)>) -> Vec<HitGroup> {
    let mut by_owner: BTreeMap<_, (Owner, Vec<FileMeta>)> = BTreeMap::new();
    for (owner, file) in hits {
        by_owner.entry(owner.node).or_insert_with(|| (owner, Vec::new())).1.push(file);
    }
    let mut groups = Vec::new();
    for (owner, files) in by_owner.into_values() {
        for part in files.chunks(64) {
            let files = skein_proto::BoundedVec::truncated(part.iter().cloned());
            groups.push(HitGroup { owner: owner.clone(), files });
        }
    }
    groups
}

/// The name of a file without what two copies of the same differ in: case, folders, punctuation.
fn plain_name(file: &FileMeta) -> String {
    skein_index::text::words(file.path.file_name()).join(" ")
}

fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use skein_proto::{BoundedVec, Credential, FilePath, KeyPair, Kind, NodeId, Signed, UnixTime};

    fn hit(owner: u8, content: u8, path: &str) -> HitGroup {
        let key = KeyPair::from_seed(&[1; 32]);
        let node = NodeId::from_bytes([owner; 32]);
        let name = Username::parse(&format!("node{owner}")).expect("a name");
        let (issued, expires) = (UnixTime(0), UnixTime(1));
        let credential =
            Signed::new(Credential { name, node, issued, expires, registered: issued }, &key);
        let owner = Owner { node, credential, addresses: BoundedVec::default(), parent: node };
        let file = FileMeta {
            content: ContentId::from_bytes([content; 32]),
            size: 1,
            kind: Kind::Audio,
            path: FilePath::new(path).expect("a path"),
            tags: None,
        };
        HitGroup { owner, files: BoundedVec::truncated([file]) }
    }

    fn contents(groups: &[HitGroup]) -> Vec<u8> {
        let files = groups.iter().flat_map(|group| group.files.iter());
        let mut contents: Vec<u8> = files.map(|file| file.content.as_bytes()[0]).collect();
        contents.sort_unstable();
        contents.dedup();
        contents
    }

    const EQUAL: fn(&Username) -> u32 = |_| 1;

    #[test]
    fn what_bears_a_name_of_its_own_passes_when_the_wave_is_over() {
        let mut sieve = Sieve::default();
        sieve.take_in(vec![hit(1, 1, "a/Rare Tune.ogg"), hit(2, 2, "b/other.ogg")], EQUAL);
        assert!(sieve.release(Moment::Arrival).is_empty());
        assert_eq!(contents(&sieve.release(Moment::Wave)), [1, 2]);
        assert!(sieve.release(Moment::End).is_empty(), "once");
    }

    #[test]
    fn decoys_of_what_many_hold_are_left_out_whoever_comes_first() {
        let mut sieve = Sieve::default();
        let decoys = (1..=9).map(|n| hit(100 + n, 100 + n, &format!("x{n}/Great_Song.mp3")));
        sieve.take_in(decoys.collect(), EQUAL);
        assert!(sieve.release(Moment::Wave).is_empty(), "they contest the name");
        let genuine = (1..=3).map(|n| hit(n, 1, &format!("music {n}/great song.mp3")));
        sieve.take_in(genuine.collect(), EQUAL);
        assert_eq!(contents(&sieve.release(Moment::Arrival)), [1]);
        assert_eq!(contents(&sieve.release(Moment::End)), [0; 0]);
        assert_eq!((sieve.names(), sieve.left_out()), (1, 9));
    }

    #[test]
    fn two_versions_that_are_held_alike_are_both_shown() {
        let mut sieve = Sieve::default();
        sieve.take_in(vec![hit(1, 1, "song.mp3"), hit(2, 2, "song.mp3")], EQUAL);
        assert!(sieve.release(Moment::Wave).is_empty());
        assert_eq!(contents(&sieve.release(Moment::End)), [1, 2]);
    }

    #[test]
    fn one_holder_does_not_speak_for_many_contents_nor_newcomers_against_the_proven() {
        let mut sieve = Sieve::default();
        let many = (1..=50).map(|n| hit(200, n, "song.mp3"));
        sieve.take_in(many.collect(), EQUAL);
        sieve.take_in((1..=3).map(|n| hit(n, 100, "song.mp3")).collect(), EQUAL);
        assert_eq!(contents(&sieve.release(Moment::End)), [100]);

        let mut sieve = Sieve::default();
        let standing = |name: &Username| if name.as_str() == "node1" { 11 } else { 1 };
        sieve.take_in((2..=6).map(|n| hit(n, 9, "song.mp3")).collect(), standing);
        sieve.take_in(vec![hit(1, 1, "song.mp3")], standing);
        assert_eq!(contents(&sieve.release(Moment::End)), [1]);
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let mut sieve = Sieve::default();
        for owner in 0..200 {
            sieve.take_in((0..20).map(|n| hit(owner, n, "song.mp3")).collect(), EQUAL);
        }
        assert_eq!(sieve.left_out(), MAX_HELD as u64);
        assert_eq!(sieve.overflown, 4_000 - MAX_HELD as u64);
    }
}
