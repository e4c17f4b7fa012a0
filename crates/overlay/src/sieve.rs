//! Decoys: made-up contents under the names of what is asked for most.
//!
//! Whoever poisons an index can make up as many contents as they like, but not the people who hold
//! them. So of several contents that bear the same name, those count that are held by many, and
//! the others are left out where they are held by far fewer (the observation of Walsh and Sirer,
//! "Experience with an Object Reputation System", NSDI 2006, that genuine copies of what is popular
//! are held by many independent peers and decoys by few). A holder counts once for each name, however
//! many contents it offers under it, and the more the better its reputation is; but against what it
//! offers itself it is no witness. What nobody else
//! uses the name of is not touched, so that rare files are found as before.
//!
//! Whoever passes hits on could make up the holders as well, since credentials are public. So what
//! comes by one neighbour makes a content weigh no more than two newcomers, whom a single genuine
//! holder stands up to; it takes away nobody's word elsewhere; and it counts as found up to a share
//! ([`crate::shares`]), beyond which it is shown at the end.

use crate::shares::Shares;
use skein_proto::{ContentId, FileMeta, HitGroup, NodeId, Owner, Username};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A content is left out where another one of its name has more than so many times its weight.
const OUTWEIGHED: u32 = 2;

/// What the holders that one neighbour tells of make a content weigh at most: not enough that even
/// the lightest other one is left out.
const WEIGHT_OF_LINK: u32 = OUTWEIGHED;

/// Holders that are counted for one content, and that are shown: more say nothing more.
const MAX_HOLDERS: usize = 16;

/// Hits that are held back at the same time: what is beyond is dropped, and counted. The latter half
/// is for names of which nothing is held yet, so that what contests a popular one does not take the
/// room of the others.
const MAX_HELD: usize = 2_048;

/// Hits of one name that are held back: beyond them the lightest content gives way.
const MAX_HELD_OF_NAME: usize = 64;

/// Names that are kept in mind, and contents of each: 300 bytes for each content.
const MAX_NAMES: usize = 4_096;
const MAX_CONTENTS_OF_NAME: usize = 256;

/// Words of holders that are kept in mind for a name, each 100 bytes: what more say adds nothing.
const MAX_VOTERS_OF_NAME: usize = 4_096;

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

/// Whose word a hit is.
#[derive(Clone, Copy, Debug)]
struct Voice {
    /// The neighbour that it came by; `None` for what is in the own index, whose holders are here.
    link: Option<NodeId>,
    /// A fingerprint of the holder's name.
    holder: u64,
    standing: u32,
}

/// By whom somebody is said to hold something, and a fingerprint of the name of who it is.
type Said = (Option<NodeId>, u64);

#[derive(Debug, Default)]
struct Candidate {
    /// Those who count as its holders.
    holders: Vec<Said>,
    weight: u32,
    /// Those who are said to hold it, be it that they speak for another one.
    offered_by: Vec<Said>,
    /// What each neighbour has added to the weight.
    links: BTreeMap<NodeId, u32>,
    is_here: bool,
    /// The nodes of which a hit was taken in.
    shown: Vec<NodeId>,
    held: Vec<(Owner, FileMeta)>,
    passed: bool,
}

/// The contents of one name.
#[derive(Debug, Default)]
struct Namesakes {
    contents: BTreeMap<ContentId, Candidate>,
    /// Who holds any of them, and which, as each neighbour says.
    voters: BTreeMap<Said, ContentId>,
    /// Hits that are held back.
    held: usize,
    /// Whether it counts as found.
    is_counted: bool,
}

/// The hits of one search that began here.
#[derive(Debug)]
pub(crate) struct Sieve {
    names: BTreeMap<u64, Namesakes>,
    shares: Shares,
    /// Names that count as found.
    counted: usize,
    held: usize,
    /// Hits of contents that were passed before.
    ready: Vec<(Owner, FileMeta)>,
    /// Hits that there was no room for.
    pub(crate) overflown: u64,
}

impl Sieve {
    /// The sieve of a search for so much.
    pub(crate) fn new(wanted: usize, is_of_one_owner: bool) -> Self {
        Self {
            names: BTreeMap::new(),
            shares: Shares::new(wanted, is_of_one_owner),
            counted: 0,
            held: 0,
            ready: Vec::new(),
            overflown: 0,
        }
    }

    /// Different names found, of each holder and each neighbour no more than its share.
    pub(crate) fn names(&self) -> usize {
        self.counted
    }

    /// Takes in hits that came by a neighbour or are in the own index, with the standing of each
    /// owner, and the name of each file as [`name_of`] has it.
    pub(crate) fn take_in(
        &mut self,
        groups: Vec<HitGroup>,
        link: Option<NodeId>,
        standing: impl Fn(&Username) -> u32,
        name_of: impl Fn(&FileMeta) -> u64,
    ) {
        for group in groups {
            let name = &group.owner.credential.unverified().name;
            let holder = fingerprint(name.as_str());
            let voice = Voice { link, holder, standing: standing(name) };
            for file in group.files {
                let name = name_of(&file);
                let taken = self.take_one(&group.owner, (name, file), voice);
                self.overflown += u64::from(!taken);
            }
        }
    }

    /// Answers whether there was room for a hit, if it is not known.
    fn take_one(&mut self, owner: &Owner, (name, file): (u64, FileMeta), voice: Voice) -> bool {
        if self.names.len() >= MAX_NAMES && !self.names.contains_key(&name) {
            return false;
        }
        let namesakes = self.names.entry(name).or_default();
        if !namesakes.is_counted && self.shares.take_name(voice.link, voice.holder) {
            namesakes.is_counted = true;
            self.counted += 1;
        }
        let content = file.content;
        let is_full = namesakes.contents.len() >= MAX_CONTENTS_OF_NAME;
        if is_full && !namesakes.contents.contains_key(&content) {
            return false;
        }
        let speaks_for_it = namesakes.vote(voice, content);
        let candidate = namesakes.contents.entry(content).or_default();
        candidate.hear(voice, speaks_for_it);
        if candidate.shown.contains(&owner.node) {
            return true;
        }
        if candidate.shown.len() >= MAX_HOLDERS {
            return false;
        }
        let (passed, weight) = (candidate.passed, candidate.weight);
        if !passed && namesakes.held >= MAX_HELD_OF_NAME {
            if !namesakes.drop_lighter(weight) {
                return false;
            }
            self.held -= 1;
            self.overflown += 1;
        }
        let limit = if namesakes.held == 0 { MAX_HELD } else { MAX_HELD / 2 };
        if !passed && self.held >= limit {
            return false;
        }
        let Some(candidate) = namesakes.contents.get_mut(&content) else { return false };
        candidate.shown.push(owner.node);
        if passed {
            self.ready.push((owner.clone(), file));
        } else {
            candidate.held.push((owner.clone(), file));
            namesakes.held += 1;
            self.held += 1;
        }
        true
    }

    /// The hits that may go to whoever asked, those that count first.
    pub(crate) fn release(&mut self, moment: Moment) -> Vec<HitGroup> {
        let mut released = std::mem::take(&mut self.ready);
        let mut uncounted: Vec<(Owner, FileMeta)> = Vec::new();
        for namesakes in self.names.values_mut().filter(|namesakes| namesakes.held > 0) {
            let rivals = namesakes.rivals();
            let is_contested = namesakes.contents.len() > 1;
            for candidate in namesakes.contents.values_mut().filter(|c| !c.held.is_empty()) {
                let is_outweighed = candidate.is_outweighed_by(&rivals);
                let may_pass = match moment {
                    Moment::Arrival => candidate.holders.len() > 1 && !is_outweighed,
                    Moment::Wave => !is_contested,
                    Moment::End => !is_outweighed,
                };
                let may_pass_now = moment == Moment::End
                    || namesakes.is_counted
                        && may_pass
                        && (candidate.is_here
                            || self.shares.take_content(candidate.links.keys().copied()));
                if may_pass && may_pass_now {
                    candidate.passed = true;
                    namesakes.held -= candidate.held.len();
                    self.held -= candidate.held.len();
                    let to = if namesakes.is_counted { &mut released } else { &mut uncounted };
                    to.append(&mut candidate.held);
                }
            }
        }
        let mut groups = into_groups(released);
        groups.append(&mut into_groups(uncounted));
        groups
    }

    /// Forgets what was left out, and what there was no room for.
    pub(crate) fn close(&mut self) {
        self.names = BTreeMap::new();
        (self.held, self.overflown) = (0, 0);
    }

    /// Hits that were held back to the end.
    pub(crate) fn left_out(&self) -> u64 {
        self.held as u64
    }
}

impl Candidate {
    /// Somebody is said to hold it, and to speak for it.
    fn hear(&mut self, voice: Voice, speaks_for_it: bool) {
        self.is_here |= voice.link.is_none();
        let word = (voice.link, voice.holder);
        if self.offered_by.len() < MAX_HOLDERS && !self.offered_by.contains(&word) {
            self.offered_by.push(word);
        }
        let said = voice.link.map(|link| self.links.entry(link).or_default());
        if !speaks_for_it
            || self.holders.len() >= MAX_HOLDERS
            || self.holders.iter().any(|(_, holder)| *holder == voice.holder)
        {
            return;
        }
        let weight = match said {
            Some(said) => {
                let weight = voice.standing.min(WEIGHT_OF_LINK - *said);
                *said += weight;
                weight
            }
            None => voice.standing,
        };
        // One that does not count by this neighbour may still count by another one.
        if weight > 0 {
            self.weight += weight;
            self.holders.push(word);
        }
    }
}

impl Candidate {
    /// Whether far more hold another one of its name. Somebody who offers both, as an album's
    /// pictures of one name in many folders, is no witness against it, where one and the same tells
    /// of both.
    fn is_outweighed_by(&self, rivals: &[(u32, Vec<Said>)]) -> bool {
        let bar = self.weight.saturating_mul(OUTWEIGHED);
        let heavier = rivals.iter().take_while(|(weight, _)| *weight > bar);
        heavier
            .into_iter()
            .any(|(_, holders)| holders.iter().any(|holder| !self.offered_by.contains(holder)))
    }
}

impl Namesakes {
    /// The contents that weigh anything, the heaviest first, with their holders.
    fn rivals(&self) -> Vec<(u32, Vec<Said>)> {
        let weighing = self.contents.values().filter(|candidate| candidate.weight > 0);
        let mut rivals: Vec<_> = weighing.map(|c| (c.weight, c.holders.clone())).collect();
        rivals.sort_unstable_by_key(|(weight, _)| Reverse(*weight));
        rivals
    }

    /// Whether a holder speaks for this content, as a neighbour says, and not for another one of
    /// this name. Beyond the first so many it speaks for none.
    fn vote(&mut self, voice: Voice, content: ContentId) -> bool {
        let is_full = self.voters.len() >= MAX_VOTERS_OF_NAME;
        match self.voters.entry((voice.link, voice.holder)) {
            Entry::Occupied(said) => *said.get() == content,
            Entry::Vacant(new) => {
                if !is_full {
                    new.insert(content);
                }
                !is_full
            }
        }
    }

    /// Drops a hit of the lightest content that is lighter than this. Answers whether there is one.
    fn drop_lighter(&mut self, weight: u32) -> bool {
        let held = self.contents.values_mut().filter(|c| !c.held.is_empty() && c.weight < weight);
        let Some(lightest) = held.min_by_key(|candidate| candidate.weight) else { return false };
        lightest.held.pop();
        self.held -= 1;
        true
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

/// A fingerprint of the name of a file without what two copies of the same differ in: case, folders,
/// punctuation.
pub(crate) fn name_of(file: &FileMeta) -> u64 {
    fingerprint(&skein_index::text::words(file.path.file_name()).join(" "))
}

/// The same for the same text. It is never sent, so that it need not be the same elsewhere.
pub(crate) fn fingerprint(text: &str) -> u64 {
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
        let mut sieve = Sieve::new(40, false);
        sieve.take_in(
            vec![hit(1, 1, "a/Rare Tune.ogg"), hit(2, 2, "b/other.ogg")],
            None,
            EQUAL,
            name_of,
        );
        assert!(sieve.release(Moment::Arrival).is_empty());
        assert_eq!(contents(&sieve.release(Moment::Wave)), [1, 2]);
        assert!(sieve.release(Moment::End).is_empty(), "once");
    }

    #[test]
    fn decoys_of_what_many_hold_are_left_out_whoever_comes_first() {
        let mut sieve = Sieve::new(40, false);
        let decoys = (1..=9).map(|n| hit(100 + n, 100 + n, &format!("x{n}/Great_Song.mp3")));
        sieve.take_in(decoys.collect(), None, EQUAL, name_of);
        assert!(sieve.release(Moment::Wave).is_empty(), "they contest the name");
        let genuine = (1..=3).map(|n| hit(n, 1, &format!("music {n}/great song.mp3")));
        sieve.take_in(genuine.collect(), None, EQUAL, name_of);
        assert_eq!(contents(&sieve.release(Moment::Arrival)), [1]);
        assert_eq!(contents(&sieve.release(Moment::End)), [0; 0]);
        assert_eq!((sieve.names(), sieve.left_out()), (1, 9));
    }

    #[test]
    fn what_one_holder_has_of_one_name_in_many_folders_is_all_shown_where_nobody_else_has_it() {
        let mut sieve = Sieve::new(40, false);
        let album = (1..=9).map(|n| hit(1, n, &format!("cd{n}/cover.jpg")));
        sieve.take_in(album.collect(), None, EQUAL, name_of);
        assert_eq!(contents(&sieve.release(Moment::End)), [1, 2, 3, 4, 5, 6, 7, 8, 9]);

        // By two neighbours, and with somebody else who has one of them, too.
        let mut sieve = Sieve::new(40, false);
        for link in 1..=2 {
            let album = (1..=3).map(|n| hit(1, n, &format!("cd{n}/cover.jpg")));
            sieve.take_in(album.collect(), Some(NodeId::from_bytes([link; 32])), EQUAL, name_of);
        }
        sieve.take_in(vec![hit(2, 3, "cover.jpg")], None, EQUAL, name_of);
        assert_eq!(contents(&sieve.release(Moment::End)), [1, 3], "two hold the third");
    }

    #[test]
    fn a_name_has_no_more_voters_than_are_kept_in_mind() {
        let mut namesakes = Namesakes::default();
        let voice = |holder: usize| Voice { link: None, holder: holder as u64, standing: 1 };
        let content = ContentId::from_bytes([1; 32]);
        for holder in 0..MAX_VOTERS_OF_NAME {
            assert!(namesakes.vote(voice(holder), content));
        }
        assert!(!namesakes.vote(voice(MAX_VOTERS_OF_NAME), content));
        assert!(namesakes.vote(voice(0), content), "who is known is believed still");
        assert_eq!(namesakes.voters.len(), MAX_VOTERS_OF_NAME);
    }

    #[test]
    fn two_versions_that_are_held_alike_are_both_shown() {
        let mut sieve = Sieve::new(40, false);
        sieve.take_in(vec![hit(1, 1, "song.mp3"), hit(2, 2, "song.mp3")], None, EQUAL, name_of);
        assert!(sieve.release(Moment::Wave).is_empty());
        assert_eq!(contents(&sieve.release(Moment::End)), [1, 2]);
    }

    #[test]
    fn one_holder_does_not_speak_for_many_contents_nor_newcomers_against_the_proven() {
        let mut sieve = Sieve::new(40, false);
        let many = (1..=50).map(|n| hit(200, n, "song.mp3"));
        sieve.take_in(many.collect(), None, EQUAL, name_of);
        sieve.take_in((1..=3).map(|n| hit(n, 100, "song.mp3")).collect(), None, EQUAL, name_of);
        assert_eq!(contents(&sieve.release(Moment::End)), [100]);

        let mut sieve = Sieve::new(40, false);
        let standing = |name: &Username| if name.as_str() == "node1" { 11 } else { 1 };
        sieve.take_in((2..=6).map(|n| hit(n, 9, "song.mp3")).collect(), None, standing, name_of);
        sieve.take_in(vec![hit(1, 1, "song.mp3")], None, standing, name_of);
        assert_eq!(contents(&sieve.release(Moment::End)), [1]);
    }

    fn link(number: u8) -> Option<NodeId> {
        Some(NodeId::from_bytes([number; 32]))
    }

    #[test]
    fn a_genuine_name_finds_room_whatever_is_held_back() {
        let mut sieve = Sieve::new(40, false);
        // Contested names, all that one may hold of each, so that nothing of them is passed.
        for name in 0..100 {
            let path = format!("song {name}.mp3");
            for owner in 0..8 {
                let hits = (0..20).map(|content| hit(owner, content, &path));
                sieve.take_in(hits.collect(), link(name), EQUAL, name_of);
            }
        }
        let before = sieve.overflown;
        assert!(before > 0 && sieve.held < MAX_HELD, "{}", sieve.held);
        sieve.take_in(vec![hit(250, 250, "rare.mp3")], link(200), EQUAL, name_of);
        assert_eq!(sieve.overflown, before);
        assert_eq!(contents(&sieve.release(Moment::Wave)), [250]);
    }

    #[test]
    fn what_bears_a_name_with_many_decoys_is_shown_when_several_hold_it() {
        let mut sieve = Sieve::new(40, false);
        for owner in 0..200 {
            sieve.take_in(vec![hit(owner, owner, "song.mp3")], link(owner), EQUAL, name_of);
        }
        assert_eq!(sieve.left_out(), MAX_HELD_OF_NAME as u64);
        for owner in 201..206 {
            sieve.take_in(vec![hit(owner, 255, "song.mp3")], link(owner), EQUAL, name_of);
        }
        assert_eq!(contents(&sieve.release(Moment::Arrival)), [255]);
        assert_eq!(contents(&sieve.release(Moment::End)), [0; 0]);
    }

    #[test]
    fn one_neighbour_that_makes_up_holders_leaves_out_nobody_and_silences_nobody() {
        let mut sieve = Sieve::new(40, false);
        let proven: fn(&Username) -> u32 = |_| 50;
        // The liar is the first, and gives the genuine holders as those of its decoy.
        let decoys = (1..=16).map(|n| hit(n, 99, "song.mp3"));
        sieve.take_in(decoys.collect(), link(1), proven, name_of);
        sieve.take_in(vec![hit(1, 1, "song.mp3")], link(2), EQUAL, name_of);
        assert_eq!(contents(&sieve.release(Moment::End)), [1, 99]);

        let mut sieve = Sieve::new(40, false);
        let decoys = (1..=16).map(|n| hit(n, 99, "song.mp3"));
        sieve.take_in(decoys.collect(), link(1), proven, name_of);
        for n in 1..=5 {
            sieve.take_in(vec![hit(n, 1, "song.mp3")], link(1 + n), EQUAL, name_of);
        }
        assert_eq!(contents(&sieve.release(Moment::End)), [1], "five are more than twice two");
    }

    #[test]
    fn neither_one_neighbour_nor_one_holder_finds_enough_by_itself() {
        let mut sieve = Sieve::new(40, false);
        let made_up = |n: u8| hit(n, n, &format!("love {n}.mp3"));
        sieve.take_in((0..100).map(made_up).collect(), link(1), EQUAL, name_of);
        assert_eq!(sieve.names(), 10);
        assert_eq!(contents(&sieve.release(Moment::Wave)).len(), 10);
        let spam = (100..200).map(|n| hit(250, n, &format!("love {n}.mp3")));
        sieve.take_in(spam.collect(), None, EQUAL, name_of);
        assert_eq!(sieve.names(), 15);
        assert_eq!(contents(&sieve.release(Moment::Wave)).len(), 5);
        // Pairs of holders do not pass more of it at once.
        for n in 0..100 {
            let pair = [hit(200, n, &format!("x {n}.mp3")), hit(201, n, &format!("x {n}.mp3"))];
            sieve.take_in(pair.to_vec(), link(1), EQUAL, name_of);
        }
        assert!(sieve.release(Moment::Arrival).is_empty());
        assert_eq!(contents(&sieve.release(Moment::End)).len(), 195, "at the end it is shown");
    }

    #[test]
    fn a_hit_that_comes_by_several_neighbours_is_one() {
        let mut sieve = Sieve::new(40, false);
        for number in 0..100 {
            sieve.take_in(vec![hit(1, 1, "song.mp3")], link(number), EQUAL, name_of);
        }
        assert_eq!((sieve.left_out(), sieve.overflown), (1, 0));
        let groups = sieve.release(Moment::Wave);
        sieve.take_in(vec![hit(1, 1, "song.mp3")], link(200), EQUAL, name_of);
        assert_eq!((groups.len(), sieve.release(Moment::End).len()), (1, 0));
    }
}
