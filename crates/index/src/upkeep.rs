//! When segments are merged.
//!
//! Segments are of levels, each for sixteen times as many documents as the one below. When a level
//! has sixteen segments, they become one; so does a single one of which much is gone. Each document
//! is copied once a level. All merges go on at the same time, each by a small multiple of what
//! has just changed: then each is done before the next one of its level is due.

use crate::memory;
use crate::register::Register;
use crate::segment::merge::Merge;
use crate::segment::{Place, Segment};
use crate::snapshot::Shared;
use crate::store::Store;
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

/// Documents that merges go on by for each one that came or went, and at least.
const PACE: usize = 2;
const LEAST_STEP: usize = 64;

impl Store {
    /// Merges for about so many documents, and answers whether nothing is left to merge. If `tidy`,
    /// it merges beyond what is due.
    pub(crate) fn maintain(
        &mut self,
        documents: usize,
        tidy: bool,
        register: &Register,
        shared: &Shared,
    ) -> bool {
        let mut has_changed = self.drop_empty();
        self.plan();
        if tidy && self.merges.is_empty() {
            self.plan_tidy(MAX_LEN);
        }
        let budget = if tidy { documents } else { documents * PACE + LEAST_STEP };
        for mut merge in std::mem::take(&mut self.merges) {
            let (used, is_done) = merge.step(budget);
            self.work += used as u64;
            if is_done {
                self.finish(merge);
                has_changed = true;
            } else {
                self.merges.push(merge);
            }
        }
        if has_changed {
            self.show(register, shared);
        }
        self.settle();
        self.merges.is_empty() && self.away.is_none() && self.smallest(MAX_LEN).is_empty()
    }

    /// Puts what came of a merge in the place of what it was made of.
    pub(super) fn finish(&mut self, merge: Merge) {
        self.segments.retain(|segment| !merge.has(segment.id));
        self.segments.extend(merge.finish(self.next_id).map(Arc::new));
        self.next_id += 1;
    }

    /// Reckons the memory of segments and merges.
    pub(super) fn settle(&mut self) {
        self.settled_bytes = memory::vector::<Arc<Segment>>(self.segments.len()) * 2
            + self.segments.iter().map(|it| it.bytes()).sum::<u64>()
            + self.merges.iter().map(Merge::bytes).sum::<u64>()
            + self.away.as_ref().map_or(0, |away| away.bytes);
    }

    /// Notes that documents of a segment have gone, for what is made of it.
    pub(super) fn note_killed(&mut self, segment: u64, places: &[Place]) {
        self.merges.iter_mut().for_each(|merge| merge.killed(segment, places));
        if let Some(away) = &mut self.away {
            away.killed(segment, places);
        }
    }

    pub(super) fn drop_empty(&mut self) -> bool {
        let before = self.segments.len();
        self.segments.retain(|segment| segment.live() > 0);
        self.merges.retain(Merge::is_live);
        self.segments.len() < before
    }

    fn is_free(&self, segment: &Segment) -> bool {
        !self.merges.iter().any(|merge| merge.has(segment.id))
            && !self.away.as_ref().is_some_and(|away| away.has(segment.id))
    }

    /// Whether so much of a segment is gone that the rest is worth a copy: half of a small one,
    /// whose owners may well be on their way too, but a third where it makes much of the whole.
    fn is_hollow(&self, segment: &Segment) -> bool {
        let (dead, len) = (u64::from(segment.dead()), u64::from(segment.len()));
        let is_small = len * SMALL < self.documents() as u64;
        dead > u64::from(LEAST) / 2 && dead * if is_small { 2 } else { 3 } > len
    }

    /// Begins the merges that are due.
    pub(super) fn plan(&mut self) {
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
        self.merges.extend(due.map(|segments| Merge::new(segments, &self.hasher)));
    }

    /// Begins to merge the smallest segments, as many as have no more than so many documents
    /// together. Answers how many documents those have.
    pub(super) fn plan_tidy(&mut self, most: u32) -> u64 {
        let smallest = self.smallest(most);
        if smallest.is_empty() {
            return 0;
        }
        let merge = Merge::new(smallest, &self.hasher);
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
