//! Mappings that were used and will be used again.
//!
//! What a change needs for a moment only, to sort and to count, is about as large each time. A mapping
//! that the system gives out anew costs a fault for each of its pages, which is dearer than what is
//! written there: with those that are kept, publishing takes a twentieth less. All indexes of a process
//! share them, and until it is calm there are no more than [`MOST`] bytes: so they are not reckoned
//! as memory of any.

use crate::array::PAGE;
use memmap2::MmapMut;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that are kept at most: what merging segments of some ten thousand documents takes. With eight
/// megabytes, and mappings of up to two, building takes 1 % less, and several times as much lies about
/// that no index reckons.
const MOST: usize = 3 * 1024 * 1024;

/// A mapping that is larger is not kept.
pub(crate) const LARGEST: usize = 512 * 1024;

/// One is used for something so many times smaller at most.
const WASTE: usize = 4;

/// What stays may be in one that is longer by one part of so many, which is reckoned as its own: arrays of
/// segments that have as many documents are about as long, but seldom just so.
const NEAR: usize = 8;

/// What is kept.
#[derive(Debug)]
struct Spare {
    /// The smallest first.
    mappings: Vec<MmapMut>,
    bytes: usize,
}

impl Spare {
    const EMPTY: Self = Self { mappings: Vec::new(), bytes: 0 };

    fn take(&mut self, bytes: usize) -> Option<MmapMut> {
        let at = self.mappings.partition_point(|it| it.len() < bytes);
        let len = self.mappings.get(at)?.len();
        if len / WASTE > bytes {
            return None;
        }
        self.bytes -= len;
        Some(self.mappings.remove(at))
    }

    /// One of so many bytes, or a few more.
    fn take_near(&mut self, bytes: usize) -> Option<MmapMut> {
        let at = self.mappings.partition_point(|it| it.len() < bytes);
        let len = self.mappings.get(at)?.len();
        if !is_near(len, bytes) {
            return None;
        }
        self.bytes -= len;
        Some(self.mappings.remove(at))
    }

    /// Answers what it does not keep: what is no number of pages may not do for other values.
    fn keep(&mut self, mapping: MmapMut) -> Option<MmapMut> {
        let len = mapping.len();
        if len > LARGEST || !len.is_multiple_of(PAGE) || self.bytes + len > MOST {
            return Some(mapping);
        }
        let at = self.mappings.partition_point(|it| it.len() < len);
        self.mappings.insert(at, mapping);
        self.bytes += len;
        None
    }
}

static SPARE: Mutex<Spare> = Mutex::new(Spare::EMPTY);

/// Nobody leaves it half changed.
fn spare() -> MutexGuard<'static, Spare> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of at least so many bytes. There is anything in it.
pub(crate) fn take(bytes: usize) -> Option<MmapMut> {
    spare().take(bytes)
}

/// One of so many bytes, or a few more. There is anything in it.
pub(crate) fn take_near(bytes: usize) -> Option<MmapMut> {
    spare().take_near(bytes)
}

/// Whether a mapping is of so many bytes, or of a few more: what stays may have it.
pub(crate) const fn is_near(mapping: usize, bytes: usize) -> bool {
    mapping <= LARGEST && bytes <= mapping && mapping - bytes <= bytes / NEAR
}

/// Keeps one, unless it is too large or there are enough.
pub(crate) fn keep(mapping: MmapMut) {
    let given_back = spare().keep(mapping);
    // The system takes it when others may look for theirs already.
    drop(given_back);
}

/// Gives all of them back to the system.
pub(crate) fn give_up() {
    let given_back = std::mem::replace(&mut *spare(), Spare::EMPTY);
    drop(given_back);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    fn mapping(pages: usize) -> MmapMut {
        MmapMut::map_anon(pages * PAGE).expect("a few pages")
    }

    #[test]
    fn the_smallest_that_is_large_enough_is_used_again_and_none_that_is_far_too_large() {
        let mut spare = Spare::EMPTY;
        for pages in [40, 8, 20] {
            assert!(spare.keep(mapping(pages)).is_none());
        }
        assert_eq!(spare.take(9 * PAGE - 1).map(|it| it.len()), Some(20 * PAGE));
        assert_eq!(spare.take(9 * PAGE - 1).map(|it| it.len()), None, "40 pages are too many");
        assert_eq!(
            spare.take_near(7 * PAGE).map(|it| it.len()),
            None,
            "eight are too many for seven"
        );
        assert_eq!(spare.take_near(8 * PAGE).map(|it| it.len()), Some(8 * PAGE));
        assert!(spare.keep(mapping(18)).is_none());
        assert_eq!(spare.take_near(17 * PAGE).map(|it| it.len()), Some(18 * PAGE), "one more");
        assert_eq!(spare.take(41 * PAGE).map(|it| it.len()), None);
        assert_eq!(spare.bytes, 40 * PAGE);
    }

    #[test]
    fn no_more_is_kept_than_is_of_use() {
        let mut spare = Spare::EMPTY;
        assert!(spare.keep(mapping(LARGEST / PAGE + 1)).is_some());
        assert!(spare.keep(MmapMut::map_anon(PAGE + 12).expect("some bytes")).is_some());
        for _ in 0..MOST / LARGEST {
            assert!(spare.keep(mapping(LARGEST / PAGE)).is_none());
        }
        assert!(spare.keep(mapping(1)).is_some());
        assert_eq!(spare.bytes, MOST);
    }
}
