//! Merging beside the thread that changes the index.
//!
//! What a merge reads does not change, so it can be done on any thread, a piece at a time. Meanwhile
//! the index notes what goes of it. Only one is away at a time: whoever does the pieces has other
//! work as well, and the others go on with each change. Memory that is not needed any more can be given
//! back to the system elsewhere as well.

use crate::index::Index;
use crate::register::Register;
use crate::segment::Place;
use crate::segment::merge::Merge;
use crate::snapshot::Shared;
use crate::store::Store;
use crate::waste::Unneeded;

/// Documents that merging beyond what is due may copy for each one that came or went. So whatever
/// comes and goes, at whatever pace, it costs no more than a few microseconds for each; and all
/// that came is in few segments soon after it has come.
const EARNED: u64 = 4;

/// Words of the tally that take as long to move as a document takes to be merged.
const MOVED: u64 = 64;

/// Hashes of new words, beginnings and pairs that take as long to be made and noted as a document
/// takes to be merged.
const KEYS: u64 = 16;

/// Documents for which what was done elsewhere goes on at once when it comes back.
const GIVEN_BACK: usize = 256;

/// Merging that is done elsewhere: see [`Index::take_upkeep`].
#[derive(Debug)]
pub struct Upkeep {
    number: u64,
    merge: Box<Merge>,
    is_done: bool,
}

impl Upkeep {
    /// Goes on for about so many documents, each of which takes about a microsecond. Answers whether
    /// all is done.
    pub fn run(&mut self, documents: usize) -> bool {
        (_, self.is_done) = self.merge.step(documents);
        self.is_done
    }
}

/// What is known of a merge that is done elsewhere.
#[derive(Debug)]
pub(crate) struct Away {
    number: u64,
    segments: Vec<u64>,
    /// What has gone of these segments meanwhile.
    killed: Vec<(u64, Vec<Place>)>,
    /// What it took when it went.
    pub(super) bytes: u64,
}

impl Away {
    pub(super) fn has(&self, segment: u64) -> bool {
        self.segments.contains(&segment)
    }

    pub(super) fn killed(&mut self, segment: u64, places: &[Place]) {
        if self.has(segment) {
            self.killed.push((segment, places.to_vec()));
        }
    }
}

impl Index {
    /// Documents that have come and gone so far, the same whenever the same was done: whoever looks
    /// now and then sees whether the index is calm.
    pub const fn changes(&self) -> u64 {
        self.store.changes()
    }

    /// Work that the calls so far have done on the thread of the caller, counted in documents: those
    /// that were read or written, those that a merge went on by, and as many as take equally long as
    /// tables that grew, changes of the vocabulary that were noted and memory that was given back. It
    /// takes no more than about two microseconds for each, and is the same on every machine.
    pub const fn work(&self) -> u64 {
        self.store.work()
    }

    /// Takes the next merge that is worth doing, to be done on another thread. It must come back to
    /// [`Index::give_back`], whether it is done or not; until then there is no other one. `None` if
    /// there is nothing to do.
    pub fn take_upkeep(&mut self) -> Option<Upkeep> {
        self.changing(|index| index.store.take_upkeep())
    }

    /// Takes back what [`Index::take_upkeep`] gave.
    pub fn give_back(&mut self, upkeep: Upkeep) {
        self.changing(|index| index.store.give_back(upkeep, &index.register, &index.shared));
    }

    /// What was taken is lost: its segments stay as they are.
    pub fn give_up_upkeep(&mut self) {
        self.store.away = None;
        self.store.settle();
    }

    /// Memory that is not needed any more, to be given back to the system by another thread. Every change
    /// gives back some by itself, four megabytes at most; arrays of more than that wait for this call, as
    /// long as they are 32 megabytes together and memory is not short. They alone come unless it is calm:
    /// what the rest becomes is used again by the next changes. What searches still look at never comes
    /// ([`Index::has_unneeded`]), and what does is no longer in [`Index::memory_bytes`]. `None` if there
    /// is nothing.
    pub fn take_unneeded(&mut self, is_calm: bool) -> Option<Unneeded> {
        let waste = &mut self.store.waste;
        if is_calm { waste.take_due() } else { waste.take_large() }
    }

    /// Whether there is any, also such as searches still look at.
    pub const fn has_unneeded(&self) -> bool {
        !self.store.waste.is_empty()
    }
}

impl Store {
    /// Notes that so many documents have come or gone.
    pub(super) fn earn(&mut self, changed: usize) {
        self.all_changes += changed as u64;
        self.credit += changed as u64 * EARNED;
    }

    pub(super) const fn work(&self) -> u64 {
        self.work + self.tally.moved() / MOVED + self.pending.noted() / KEYS
    }

    const fn changes(&self) -> u64 {
        self.all_changes
    }

    pub(crate) fn take_upkeep(&mut self) -> Option<Upkeep> {
        if self.away.is_some() {
            return None;
        }
        self.give_up_room();
        self.drop_empty();
        self.plan(true);
        if self.merges.is_empty() {
            let most = u32::try_from(self.credit).unwrap_or(u32::MAX);
            self.credit -= self.plan_tidy(most);
        }
        // The first is what is nearest to its end.
        let merge = (!self.merges.is_empty()).then(|| self.merges.remove(0))?;
        self.last_away += 1;
        let number = self.last_away;
        let (segments, bytes) = (merge.segments().collect(), merge.bytes());
        self.away = Some(Away { number, segments, killed: Vec::new(), bytes });
        self.settle();
        Some(Upkeep { number, merge: Box::new(merge), is_done: false })
    }

    fn give_back(&mut self, upkeep: Upkeep, register: &Register, shared: &Shared) {
        let Upkeep { number, mut merge, is_done } = upkeep;
        let Some(away) = self.away.take_if(|away| away.number == number) else { return };
        for (segment, places) in away.killed {
            merge.killed(segment, &places);
        }
        if !merge.is_live() {
            merge.give_up(&mut self.waste);
            self.drop_empty();
        } else if is_done && merge.step(GIVEN_BACK).1 && !self.presence.holds(&merge) {
            // What went at last is taken out of it.
            self.finish(*merge);
        } else {
            self.merges.insert(0, *merge);
        }
        self.conclude(register, shared);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use crate::testing::file_at;
    use crate::{Index, Limits};
    use skein_proto::{Ask, BoundedString, FileMeta, Filter, NodeId, Query, Username};

    const OWNER: NodeId = NodeId::from_bytes([1; 32]);

    fn file(number: u32) -> FileMeta {
        file_at(number, &format!("some file {} {number}", number % 7))
    }

    fn numbers(index: &Index, words: &str) -> Vec<u32> {
        let ask = Ask::Words(BoundedString::truncated(words));
        let found = index.search(&Query { ask, filter: Filter::default() }, 10_000);
        let number = |path: &str| path.rsplit(' ').next().and_then(|it| it.parse().ok());
        let mut found: Vec<u32> =
            found.iter().map(|it| number(it.file.path.as_str()).expect("a number")).collect();
        found.sort_unstable();
        found
    }

    /// Several segments of what one owner has.
    fn scattered() -> Index {
        let mut index = Index::new(Limits::default());
        index.set_owner(OWNER, &Username::parse("alice").expect("a name"));
        for part in 0..7 {
            index.publish(&OWNER, (part * 100..(part + 1) * 100).map(file));
        }
        assert_eq!(index.segments(), 7);
        index
    }

    #[test]
    fn what_is_merged_elsewhere_loses_what_goes_meanwhile() {
        let mut index = scattered();
        let mut upkeep = index.take_upkeep().expect("seven segments are more than one");
        assert!(index.take_upkeep().is_none(), "one at a time");
        let gone: Vec<u32> = (0..700).step_by(3).collect();
        for (turn, number) in (0..).zip(&gone) {
            index.withdraw(&OWNER, &[file(*number).content]);
            if turn % 40 == 0 && !upkeep.run(20) {
                index.give_back(upkeep);
                upkeep = index.take_upkeep().expect("it is not done");
            }
        }
        while !upkeep.run(100) {}
        index.give_back(upkeep);
        let left: Vec<u32> = (0..700).filter(|it| !gone.contains(it)).collect();
        assert_eq!(numbers(&index, "some "), left);
        assert!(index.segments() <= 2, "{} segments", index.segments());
    }

    #[test]
    fn words_of_what_has_gone_are_in_no_segment_that_is_merged() {
        let mut index = scattered();
        let strings = |index: &Index| -> usize {
            index.store.segments.iter().map(|it| it.strings.len()).sum()
        };
        while !index.maintain(1_000) {}
        let before = strings(&index);
        let rare = |number: u32| file_at(number, &format!("rare{number}"));
        index.publish(&OWNER, (1_000..1_002).map(rare));
        // Of one segment nothing is gone, and of the other one half.
        index.withdraw(&OWNER, &[rare(1_000).content]);
        while !index.maintain(1_000) {}
        assert_eq!((index.segments(), strings(&index)), (1, before + 1));
        assert!(index.has_word("rare1001") && !index.has_word("rare1000"));
    }

    #[test]
    fn an_owner_who_joins_others_is_found_at_once() {
        let mut index = scattered();
        let reader = index.reader();
        // With three owners it is of the class that it has with two, and stays where it is.
        for number in 2..=3 {
            let other = NodeId::from_bytes([number; 32]);
            index.set_owner(other, &Username::parse("bob").expect("a name"));
            index.publish(&other, [file(5)]);
        }
        let ask = Ask::Words(BoundedString::truncated("some 5 "));
        let found = reader.search(&Query { ask, filter: Filter::default() }, 10);
        let found = found.iter().filter(|it| it.file == file(5));
        let owners: Vec<NodeId> = found.map(|it| it.owner).collect();
        assert_eq!(owners, [1, 2, 3].map(|number| NodeId::from_bytes([number; 32])));
    }

    #[test]
    fn what_is_lost_on_its_way_may_be_merged_again() {
        let mut index = scattered();
        drop(index.take_upkeep().expect("there is something to merge"));
        assert!(index.store.away.as_ref().is_some_and(|away| away.bytes > 0));
        let before = index.memory_bytes();
        index.give_up_upkeep();
        assert!(index.memory_bytes() < before, "what was on its way is gone");
        let mut upkeep = index.take_upkeep().expect("there still is");
        while !upkeep.run(100) {}
        index.give_back(upkeep);
        assert_eq!((index.segments(), numbers(&index, "some ").len()), (1, 700));
    }

    #[test]
    fn an_owner_who_goes_meanwhile_leaves_nothing_behind() {
        let mut index = scattered();
        let mut upkeep = index.take_upkeep().expect("there is something to merge");
        upkeep.run(50);
        index.remove_owner(&OWNER);
        while !upkeep.run(100) {}
        index.give_back(upkeep);
        assert_eq!((index.segments(), index.memory_bytes()), (0, 0));
        assert!(index.take_upkeep().is_none());
    }

    #[test]
    fn what_is_no_longer_needed_is_given_back_elsewhere_once_nobody_looks_at_it() {
        let mut index = scattered();
        let held = index.store.segments.clone();
        let bytes: u64 = held.iter().map(|it| it.bytes()).sum();
        while !index.maintain(1_000) {}
        let memory = index.memory_bytes();
        assert!(index.has_unneeded() && index.take_unneeded(true).is_none());
        drop(held);
        let unneeded = index.take_unneeded(true).expect("nobody looks at them any more");
        assert_eq!((unneeded.bytes(), index.memory_bytes()), (bytes, memory - bytes));
        assert!(!index.has_unneeded() && index.take_unneeded(true).is_none());
        assert!(unneeded.give_back_some().is_none());
        assert_eq!(numbers(&index, "some ").len(), 700);
    }

    #[test]
    fn calm_merging_costs_a_bounded_multiple_of_what_has_changed() {
        let mut index = scattered();
        let mut copied = 0;
        for number in 700..1_200 {
            index.publish(&OWNER, [file(number)]);
            while let Some(mut upkeep) = index.take_upkeep() {
                copied += upkeep.merge.documents();
                while !upkeep.run(1_000) {}
                index.give_back(upkeep);
            }
        }
        // What is due is copied once a level.
        let bound = index.changes() * (super::EARNED + 3);
        assert!(copied <= bound, "{copied} documents were copied, {bound} may be");
        assert!(index.segments() < 20, "{} segments", index.segments());
    }
}
