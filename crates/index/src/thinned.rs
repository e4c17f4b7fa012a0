//! Which contents are left in segments that have lost much.
//!
//! Who comes back publishes what it had before, and the filters of older segments still know all of
//! that: each record would be looked for, and found, among what has gone. So a segment that has lost
//! a part of its documents is given another filter, of those that are left, as long as there is no filter
//! of all contents ([`Presence`](crate::presence::Presence)), which knows what has gone. Only the thread that
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

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use crate::segment::Probe;
    use crate::testing::file_at;
    use crate::{Index, Limits};
    use skein_proto::{ContentId, FileMeta, NodeId, Username};

    fn file(number: u32) -> FileMeta {
        file_at(number, &format!("some file {number}"))
    }

    #[test]
    fn a_segment_is_not_asked_for_what_has_gone_of_it() {
        const EACH: u32 = 500;
        let owner = |number: u8| NodeId::from_bytes([number; 32]);
        let mut index = Index::new(Limits::default());
        for number in 0..4_u8 {
            index.set_owner(owner(number), &Username::parse("alice").expect("a name"));
            let first = u32::from(number) * EACH;
            index.publish(&owner(number), (first..first + EACH).map(file));
        }
        while !index.maintain(1_000) {}
        index.remove_owner(&owner(1));
        let admitted = |index: &Index, number: u8| {
            let first = u32::from(number) * EACH;
            let contents = (first..first + EACH).map(|it| file(it).content);
            let may_have = |content: &ContentId| {
                let probe = Probe::new(content.as_bytes());
                let filters = index.store.segments.iter().map(|it| index.store.thinned.of(it));
                filters.flatten().any(|filter| filter.may_have(probe))
            };
            contents.filter(may_have).count() as u32
        };
        assert!(admitted(&index, 1) < EACH / 20, "{} of those that went", admitted(&index, 1));
        assert!([0, 2, 3].iter().all(|number| admitted(&index, *number) == EACH));
        assert!(index.store.thinned.bytes() > 0);
        (0..4).for_each(|number| {
            index.remove_owner(&owner(number));
        });
        assert_eq!((index.store.thinned.bytes(), index.memory_bytes()), (0, 0));
    }
}
