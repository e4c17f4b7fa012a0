//! Which contents are left in segments that have lost much.
//!
//! Who comes back publishes what it had before, and the filters of older segments still know all of
//! that: each record would be looked for, and found, among what has gone. So a segment that has lost
//! a part of its documents is given another filter, of those that are left. Only the thread that
//! changes the index asks for contents, so that no reader has to know of it.

use crate::memory;
use crate::segment::{Filter, Segment};
use std::collections::BTreeMap;

/// Documents of a segment up to which it is given another filter: that takes a quarter of a
/// millisecond at most, and what comes and goes is in smaller ones.
const MOST: u32 = 1 << 15;

/// It is given another one when a part of so many has gone since the last one was made.
const PARTS: u32 = 32;

/// Documents that take as long to be put into a filter as one takes to be merged.
const FILTERED: u64 = 128;

/// Filters by the segments that they are of.
#[derive(Debug, Default)]
pub(crate) struct Thinned {
    filters: BTreeMap<u64, Thin>,
    bytes: u64,
}

/// A filter, and how many documents had gone when it was made.
#[derive(Debug)]
struct Thin {
    filter: Filter,
    dead: u32,
}

impl Thinned {
    /// Gives a segment of which documents have gone another filter, if it is worth it. Answers what
    /// work that was, in documents.
    pub(crate) fn note(&mut self, segment: &Segment) -> u64 {
        let (len, dead) = (segment.len(), segment.dead());
        let known = self.filters.get(&segment.id).map_or(0, |thin| thin.dead);
        if len > MOST || dead.saturating_sub(known).saturating_mul(PARTS) < len {
            return 0;
        }
        self.forget(segment.id);
        let filter = segment.filter_of_live();
        self.bytes += filter.bytes();
        self.filters.insert(segment.id, Thin { filter, dead });
        u64::from(len) / FILTERED
    }

    /// The filter that a segment was given.
    pub(crate) fn of(&self, segment: &Segment) -> Option<&Filter> {
        self.filters.get(&segment.id).map(|thin| &thin.filter)
    }

    /// Notes that a segment is no more.
    pub(crate) fn forget(&mut self, segment: u64) {
        if let Some(thin) = self.filters.remove(&segment) {
            self.bytes -= thin.filter.bytes();
        }
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        memory::b_tree::<(u64, Thin)>(self.filters.len()) + self.bytes
    }
}
