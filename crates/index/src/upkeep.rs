//! When segments are merged.
//!
//! Segments are of levels, each for sixteen times as many documents as the one below. When a level
//! has sixteen segments, they become one; so does a single one of which much is gone. Each document
//! is copied once a level. With each change all merges together go on by a small multiple of what
//! has changed, which is more than what becomes due in the long run: so each is done before
//! there is much more of its level, and no change takes long.

use crate::memory;
use crate::register::Register;
use crate::segment::merge::Merge;
use crate::segment::{Place, Segment};
use crate::snapshot::Shared;
use crate::store::Store;
use crate::waste;
use std::sync::Arc;

/// Segments of a level that make one of the next, and how much larger that one is. Fewer would
/// copy more: with 8, changes take a fifth longer. That searches go through a third more segments
/// matters little, since filters of their words spare most of them.
const FAN: usize = 16;

/// A segment grows no larger, so that merging takes no more memory than this many documents do.
const MAX_LEN: u32 = 1 << 20;

/// A segment is small with one document of so many.
const SMALL: u64 = 32;

/// The documents of the lowest level.
const LEAST: u32 = 64;

/// Documents that merges go on by, all together, for each one that came, and for each change. Each
/// document is copied once a level, of which there are three or four beyond the one where it comes
/// in.
const PACE: usize = 3;
const LEAST_STEP: usize = 64;

/// The same for each one that went while there is a segment to be written anew since much of it is
/// gone: what is left of it is no more than twice that. Otherwise what goes makes nothing due, and
/// there is one for so many.
const GONE_PACE: usize = 2;
const GONE_SHARE: usize = 2;

/// The work of a change, in documents, up to which merges go on along with it: seven times what comes
/// in a message. What the change itself takes counts too, but so much they may always go
/// on by. What is left over is for the next change.
const MOST_WORK: usize = 7 * 256;
const LEAST_MERGED: usize = 256;

/// What is added to the work of a change for so many documents that came, and taken off it for so many
/// that went: so calls that publish merge a little less, those that remove a little more, and both
/// take as long. With twice as much for those that came, 100 owners who come and go leave more
/// segments behind than are merged.
const CAME_MORE: usize = 16;
const GONE_LESS: usize = 8;

/// Documents that merges go on by at most for eight that went.
const MERGED_FOR_EIGHT_GONE: usize = 11;

/// Documents from which on a change takes long anyway.
const BULK: usize = 3 * 512;

/// Bytes of what is no longer needed that are given back to the system with each change, which takes up
/// to a millisecond. With twice as many the longest call that removes takes 3.9 ms instead of 2.5.
const GIVEN_BACK: u64 = waste::LARGE;

/// Bytes that take as long to give back as a document takes to be merged.
const FREED: u64 = 8 * 1024;

impl Store {
    /// Goes on with the merges, along with a change by which so many documents came and went.
    pub(crate) fn merge_along(
        &mut self,
        came: usize,
        gone: usize,
        register: &Register,
        shared: &Shared,
    ) {
        self.plan_due();
        let is_hollow = self.merges.iter().any(Merge::is_of_one);
        let due_for_gone = if is_hollow { gone * GONE_PACE } else { gone / GONE_SHARE };
        self.owed += came * PACE + due_for_gone + LEAST_STEP;
        let own = (self.work() - self.work_before) as usize + came / CAME_MORE;
        let own = own.saturating_sub(gone / GONE_LESS);
        let most = came * PACE + gone * MERGED_FOR_EIGHT_GONE / 8;
        let most = MOST_WORK.saturating_sub(own).min(most).max(LEAST_MERGED);
        // Who brings more than any message does has more time too.
        let most = most + (came + gone).saturating_sub(BULK) * PACE;
        let used = self.step(self.owed.min(most));
        self.owed = if self.merges.is_empty() { 0 } else { self.owed.saturating_sub(used) };
        self.conclude(register, shared);
    }

    /// Merges for about so many documents beyond what is due, and answers whether nothing is left to
    /// merge.
    pub(crate) fn maintain(
        &mut self,
        documents: usize,
        register: &Register,
        shared: &Shared,
    ) -> bool {
        self.plan_due();
        if self.merges.is_empty() {
            self.plan_tidy(MAX_LEN);
        }
        self.step(documents);
        self.give_back_large();
        self.conclude(register, shared);
        self.give_up_room();
        self.merges.is_empty()
            && self.away.is_none()
            && !self.waste.is_due()
            && self.smallest(MAX_LEN).is_empty()
    }

    /// Gives back one piece of what is no longer needed that no change gives back by itself.
    pub(crate) fn give_back_large(&mut self) {
        self.work += self.waste.give_back_large() / FREED;
    }

    fn plan_due(&mut self) {
        self.drop_empty();
        self.plan(false);
    }

    /// Goes on with all merges for so many documents together, those of the lowest level first, which are
    /// done soonest and make searches faster, and of a level the one that was begun first: what it
    /// is made of must not be gone before it is done. Answers for how many it did.
    fn step(&mut self, documents: usize) -> usize {
        let mut left = documents;
        self.merges.sort_by_key(|merge| level(merge.size()));
        for mut merge in std::mem::take(&mut self.merges) {
            let (used, is_done) = if left > 0 { merge.step(left) } else { (0, false) };
            left = left.saturating_sub(used);
            self.work += used as u64;
            // Documents that are still to be counted stay where they are.
            if is_done && !self.presence.holds(&merge) {
                self.finish(merge);
            } else {
                self.merges.push(merge);
            }
        }
        documents - left
    }

    /// Ends a call: [`Store::tidy`].
    pub(super) fn conclude(&mut self, register: &Register, shared: &Shared) {
        self.tidy(register, shared);
        self.work_before = self.work();
    }

    /// Shows readers what has become of the segments, and gives back what nobody needs.
    pub(crate) fn tidy(&mut self, register: &Register, shared: &Shared) {
        self.drop_empty();
        if std::mem::take(&mut self.has_moved) {
            self.show(register, shared);
        }
        if self.documents() == 0 {
            self.give_up_room();
        }
        self.work += self.waste.give_back(GIVEN_BACK) / FREED;
        self.settle();
    }

    /// Puts what came of a merge in the place of what it was made of.
    pub(super) fn finish(&mut self, merge: Merge) {
        self.leave_out(|segment| merge.has(segment.id));
        self.segments.extend(merge.finish(self.next_id, &mut self.waste).map(Arc::new));
        self.next_id += 1;
        self.version += 1;
        self.has_moved = true;
    }

    /// Leaves out segments.
    fn leave_out(&mut self, is_it: impl Fn(&Segment) -> bool) {
        for segment in self.segments.extract_if(.., |segment| is_it(segment)) {
            self.thinned.forget(segment.id);
            self.waste.add_segment(segment);
            self.version += 1;
            self.has_moved = true;
        }
    }

    /// Reckons the memory of segments and merges.
    pub(super) fn settle(&mut self) {
        self.settled_bytes = memory::vector::<Arc<Segment>>(self.segments.len()) * 2
            + self.segments.iter().map(|it| it.bytes()).sum::<u64>()
            + self.merges.iter().map(Merge::bytes).sum::<u64>()
            + self.away.as_ref().map_or(0, |away| away.bytes);
    }

    /// Notes that documents of a segment have gone, for what is made of it.
    pub(super) fn note_killed(&mut self, segment: &Segment, places: &[Place]) {
        if places.is_empty() {
            return;
        }
        self.merges.iter_mut().for_each(|merge| merge.killed(segment.id, places));
        if let Some(away) = &mut self.away {
            away.killed(segment.id, places);
        }
        if !self.presence.is_on() {
            self.work += self.thinned.note(segment);
        }
    }

    pub(super) fn drop_empty(&mut self) {
        self.leave_out(|segment| segment.live() == 0);
        for merge in self.merges.extract_if(.., |merge| !merge.is_live()) {
            merge.give_up(&mut self.waste);
        }
    }

    fn is_free(&self, segment: &Segment) -> bool {
        !self.merges.iter().any(|merge| merge.has(segment.id))
            && !self.away.as_ref().is_some_and(|away| away.has(segment.id))
    }

    /// Whether so much of a segment is gone that the rest is worth a copy: three quarters of a small
    /// one, whose owners may well be on their way too, but a third where it makes much of the whole.
    fn is_hollow(&self, segment: &Segment) -> bool {
        let (dead, len) = (u64::from(segment.dead()), u64::from(segment.len()));
        let is_small = len * SMALL < self.documents() as u64;
        dead > u64::from(LEAST) / 2 && if is_small { dead * 4 > len * 3 } else { dead * 3 > len }
    }

    /// Begins the merges that are due. `is_aside` says that another thread goes on with them.
    pub(super) fn plan(&mut self, is_aside: bool) {
        let mut levels: Vec<Vec<Arc<Segment>>> = Vec::new();
        let mut due = Vec::new();
        for segment in self.segments.iter().filter(|it| self.is_free(it)) {
            if self.is_hollow(segment) {
                due.push(vec![segment.clone()]);
                continue;
            }
            let level = level(segment.live());
            if levels.len() <= level {
                levels.resize(level + 1, Vec::new());
            }
            if let Some(same) = levels.get_mut(level) {
                same.push(segment.clone());
            }
        }
        for mut same in levels {
            if same.len() >= FAN {
                same.sort_by_key(|it| it.live());
                due.push(within(same, MAX_LEN));
            }
        }
        let due = due.into_iter().filter(|segments| !segments.is_empty());
        self.merges
            .extend(due.map(|segments| Merge::new(segments, (false, is_aside), &self.hasher)));
    }

    /// Begins to merge the smallest segments, as many as have no more than so many documents
    /// together. Answers how many documents those have.
    pub(super) fn plan_tidy(&mut self, most: u32) -> u64 {
        let smallest = self.smallest(most);
        if smallest.is_empty() {
            return 0;
        }
        let merge = Merge::new(smallest, (true, false), &self.hasher);
        let documents = merge.documents();
        self.merges.push(merge);
        documents
    }

    fn smallest(&self, most: u32) -> Vec<Arc<Segment>> {
        let mut all: Vec<_> = self.segments.iter().filter(|it| self.is_free(it)).cloned().collect();
        all.sort_by_key(|it| it.live());
        within(all, most.min(MAX_LEN))
    }
}

/// The first segments, as many as have no more than so many documents together; none if nothing
/// would come of merging them.
fn within(segments: Vec<Arc<Segment>>, most: u32) -> Vec<Arc<Segment>> {
    let mut sum = 0;
    let fits = |segment: &Arc<Segment>| {
        sum += segment.live();
        sum <= most
    };
    let mut fitting: Vec<_> =
        segments.into_iter().take(Merge::MAX_SOURCES).take_while(fits).collect();
    if fitting.len() == 1 && fitting.iter().all(|it| it.dead() == 0) {
        fitting.clear();
    }
    fitting
}

fn level(documents: u32) -> usize {
    ((documents / LEAST).max(1).ilog2() / FAN.ilog2()) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use crate::testing::file_at;
    use crate::{Index, Limits};
    use skein_proto::{FileMeta, NodeId, Username};

    fn file(number: u32) -> FileMeta {
        file_at(number, &format!("file {} {number}", number % 97))
    }

    /// Documents that are gone and still take room.
    fn dead(index: &Index) -> u64 {
        index.store.segments.iter().map(|it| u64::from(it.dead())).sum()
    }

    #[test]
    fn what_is_gone_takes_a_bounded_share_however_long_owners_come_and_go() {
        const OWNERS: u8 = 20;
        const STAYING: u8 = 5;
        const EACH: u32 = 300;
        let name = Username::parse("alice").expect("a name");
        let mut index = Index::new(Limits::default());
        let owner = |number: u8| NodeId::from_bytes([number; 32]);
        let shelf = |number: u8| (0..EACH).map(move |it| file(u32::from(number) * EACH + it));
        // One segment, of which a quarter will stay for good.
        for number in 0..OWNERS {
            index.set_owner(owner(number), &name);
            index.publish(&owner(number), shelf(number));
        }
        while !index.maintain(4_096) {}
        assert_eq!((index.segments(), dead(&index)), (1, 0));
        let mut most = 0;
        for round in 0..10 {
            for number in STAYING..OWNERS {
                index.remove_owner(&owner(number));
                index.set_owner(owner(number), &name);
                index.publish(&owner(number), shelf(number));
                if round > 1 {
                    most = most.max(dead(&index));
                }
            }
        }
        let all = index.records();
        assert_eq!(all, u64::from(OWNERS) * u64::from(EACH));
        // Of the first segment three quarters go at once, and are no longer there when it has been
        // written anew; what comes and goes afterwards goes with its own segments.
        assert!(most <= all / 4, "{most} are gone and still there, beside {all}");
        assert!(index.segments() <= 40, "{} segments", index.segments());
    }
}
