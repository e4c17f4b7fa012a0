//! Mappings that were used and will be used again.
//!
//! What a change needs for a moment only, to sort and to count, is about as large each time. A mapping
//! that the system gives out anew costs a fault for each of its pages, which is dearer than what is
//! written there: with those that are kept, publishing takes a tenth less. A few small ones are shared
//! by all indexes of a process: at most [`MOST`] bytes, which are not reckoned as memory of any. A large
//! index has more of its own, which it reckons ([`Own`]): what segments were that have been merged, and
//! what merging them took, is what the next ones take. All are kept until it is calm.

use crate::array::PAGE;
use crate::waste::Waste;
use memmap2::MmapMut;
use std::cell::{Cell, RefCell};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that are kept at most for all indexes: what merging segments of some ten thousand documents
/// takes.
const MOST: usize = 3 * 1024 * 1024;

/// A mapping that is larger is not kept for all, nor is it used for what stays: that is as long as is
/// needed, so that one of another length would have to be copied.
pub(crate) const LARGEST: usize = 512 * 1024;

/// The same of what an index keeps for itself.
pub(crate) const OWN_LARGEST: usize = 16 * 1024 * 1024;

/// Bytes that an index keeps for itself at most: what sixteen segments of ten thousand documents are,
/// and what it takes to merge them.
const OWN_MOST: u64 = 24 * 1024 * 1024;

/// An index keeps none for itself below so many bytes, and one part of so many at most.
const LEAST_INDEX: u64 = 12 * 1024 * 1024;
const OWN_SHARE: u64 = 2;

/// One is used for something so many times smaller at most.
const WASTE: usize = 4;

/// What stays may be in one that is longer by one part of so many, which is reckoned as its own: arrays of
/// segments that have as many documents are about as long, but seldom just so.
const NEAR: usize = 8;

/// A mapping, and how many of its bytes have been written to, from the front: there is memory for those.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) mapping: MmapMut,
    pub(crate) touched: usize,
}

impl Used {
    fn throw_away(self, waste: &mut Waste) {
        let bytes = self.touched as u64;
        waste.add_spare(self, bytes);
    }
}

/// What is kept.
#[derive(Debug)]
struct Spare {
    /// The smallest first.
    mappings: Vec<Used>,
    /// The bytes for which there is memory.
    bytes: usize,
    /// There are never more.
    most: usize,
    /// A mapping that is larger is not kept.
    largest: usize,
}

impl Spare {
    const fn new(most: usize, largest: usize) -> Self {
        Self { mappings: Vec::new(), bytes: 0, most, largest }
    }

    /// One that is not longer than `longest`.
    fn take(&mut self, bytes: usize, longest: usize) -> Option<Used> {
        self.take_if(bytes, |len| len / WASTE <= bytes && len <= longest)
    }

    /// One of so many bytes, or a few more.
    fn take_near(&mut self, bytes: usize) -> Option<Used> {
        self.take_if(bytes, |len| is_near(len, bytes))
    }

    /// The smallest that is large enough, if its length will do.
    fn take_if(&mut self, bytes: usize, will_do: impl Fn(usize) -> bool) -> Option<Used> {
        let at = self.mappings.partition_point(|it| it.mapping.len() < bytes);
        if !will_do(self.mappings.get(at)?.mapping.len()) {
            return None;
        }
        let used = self.mappings.remove(at);
        self.bytes -= used.touched;
        Some(used)
    }

    /// Answers what it does not keep: what is no number of pages may not do for other values.
    fn keep(&mut self, used: Used) -> Option<Used> {
        let len = used.mapping.len();
        let is_whole = len.is_multiple_of(PAGE);
        let is_more = self.bytes + used.touched > self.most;
        if used.touched == 0 || len > self.largest || !is_whole || is_more {
            return Some(used);
        }
        let at = self.mappings.partition_point(|it| it.mapping.len() < len);
        self.bytes += used.touched;
        self.mappings.insert(at, used);
        None
    }
}

/// What all indexes share.
static SHARED: Mutex<Spare> = Mutex::new(Spare::new(MOST, LARGEST));

thread_local! {
    /// What the index keeps for itself that this thread is changing.
    static OWN: RefCell<Own> = const { RefCell::new(Own(Spare::new(0, OWN_LARGEST))) };

    /// What this thread drops at the moment is not for anybody.
    static KEEPS_NONE: Cell<bool> = const { Cell::new(false) };
}

/// What an index keeps for itself. While it is changed, the thread has it ([`exchange`]), so that whatever
/// makes or drops an array finds it.
#[derive(Debug)]
pub(crate) struct Own(Spare);

impl Default for Own {
    fn default() -> Self {
        Self(Spare::new(0, OWN_LARGEST))
    }
}

impl Own {
    /// As much as an index of so many bytes may keep that may take `left` more. What is kept no longer
    /// becomes waste.
    pub(crate) fn limited_by(mut self, index: u64, left: u64, waste: &mut Waste) -> Self {
        let most = if index < LEAST_INDEX { 0 } else { OWN_MOST.min(index / OWN_SHARE).min(left) };
        self.0.most = most as usize;
        while self.0.bytes > self.0.most
            && let Some(used) = self.0.mappings.pop()
        {
            self.0.bytes -= used.touched;
            used.throw_away(waste);
        }
        self
    }

    /// Bytes of memory.
    pub(crate) const fn bytes(&self) -> u64 {
        self.0.bytes as u64
    }
}

/// Lets this thread have what an index keeps, and answers what it had before.
pub(crate) fn exchange(own: Own) -> Own {
    OWN.replace(own)
}

/// The bytes of what this thread has.
pub(crate) fn lent_bytes() -> u64 {
    OWN.with_borrow(Own::bytes)
}

/// Nobody leaves it half changed.
fn shared() -> MutexGuard<'static, Spare> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of at least so many bytes, and of at most `longest`. There is anything in it.
pub(crate) fn take(bytes: usize, longest: usize) -> Option<Used> {
    OWN.with_borrow_mut(|own| own.0.take(bytes, longest)).or_else(|| shared().take(bytes, longest))
}

/// One of so many bytes, or a few more. There is anything in it.
pub(crate) fn take_near(bytes: usize) -> Option<Used> {
    OWN.with_borrow_mut(|own| own.0.take_near(bytes)).or_else(|| shared().take_near(bytes))
}

/// Whether a mapping is of so many bytes, or of a few more: what stays may have it.
pub(crate) const fn is_near(mapping: usize, bytes: usize) -> bool {
    mapping <= LARGEST && bytes <= mapping && mapping - bytes <= bytes / NEAR
}

/// Keeps one, unless it is too large or there are enough.
pub(crate) fn keep(used: Used) {
    if KEEPS_NONE.try_with(Cell::get).unwrap_or(false) {
        return;
    }
    let mut left = Some(used);
    // A thread that ends has nothing any more; then it is for all.
    let _ = OWN.try_with(|own| {
        if let Ok(mut own) = own.try_borrow_mut() {
            left = left.take().and_then(|used| own.0.keep(used));
        }
    });
    // The system takes it when others may look for theirs already.
    let given_back = left.and_then(|used| shared().keep(used));
    drop(given_back);
}

/// Drops something, of which nothing is kept.
pub(crate) fn without_keeping(dropping: impl FnOnce()) {
    let before = KEEPS_NONE.replace(true);
    dropping();
    KEEPS_NONE.set(before);
}

/// Keeps none of them any longer: what is shared is given back to the system, and what this thread has
/// becomes waste.
pub(crate) fn give_up(waste: &mut Waste) {
    let own = OWN.with_borrow_mut(|own| {
        own.0.bytes = 0;
        std::mem::take(&mut own.0.mappings)
    });
    own.into_iter().for_each(|used| used.throw_away(waste));
    let given_back = std::mem::replace(&mut *shared(), Spare::new(MOST, LARGEST));
    drop(given_back);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    /// All of it was written to.
    fn used(pages: usize) -> Used {
        let mapping = MmapMut::map_anon(pages * PAGE).expect("a few pages");
        Used { touched: mapping.len(), mapping }
    }

    fn len(used: Option<Used>) -> Option<usize> {
        used.map(|it| it.mapping.len())
    }

    #[test]
    fn the_smallest_that_is_large_enough_is_used_again_and_none_that_is_far_too_large() {
        let mut spare = Spare::new(MOST, LARGEST);
        for pages in [40, 8, 20] {
            assert!(spare.keep(used(pages)).is_none());
        }
        assert_eq!(len(spare.take(9 * PAGE - 1, LARGEST)), Some(20 * PAGE));
        assert_eq!(len(spare.take(9 * PAGE - 1, LARGEST)), None, "40 pages are too many");
        assert_eq!(len(spare.take_near(7 * PAGE)), None, "eight are too many for seven");
        assert_eq!(len(spare.take_near(8 * PAGE)), Some(8 * PAGE));
        assert!(spare.keep(used(18)).is_none());
        assert_eq!(len(spare.take_near(17 * PAGE)), Some(18 * PAGE), "one more");
        assert_eq!(len(spare.take(41 * PAGE, LARGEST)), None);
        assert_eq!(spare.bytes, 40 * PAGE);
    }

    #[test]
    fn no_more_is_kept_than_is_of_use() {
        let mut spare = Spare::new(MOST, LARGEST);
        assert!(spare.keep(used(LARGEST / PAGE + 1)).is_some());
        let odd = MmapMut::map_anon(PAGE + 12).expect("some bytes");
        assert!(spare.keep(Used { mapping: odd, touched: PAGE }).is_some());
        assert!(spare.keep(Used { touched: 0, ..used(1) }).is_some(), "it has no memory");
        for _ in 0..MOST / LARGEST {
            assert!(spare.keep(used(LARGEST / PAGE)).is_none());
        }
        assert!(spare.keep(used(1)).is_some());
        assert_eq!(spare.bytes, MOST);
    }

    #[test]
    fn an_index_keeps_as_much_as_its_size_allows_and_only_for_itself() {
        const MIB: usize = 1024 * 1024;
        let limit = |index: u64, left: u64| {
            Own::default().limited_by(index, left, &mut Waste::default()).0.most as u64
        };
        assert_eq!([0, LEAST_INDEX - 1].map(|it| limit(it, u64::MAX)), [0, 0]);
        assert_eq!([7, u64::MAX].map(|it| limit(LEAST_INDEX, it)), [7, LEAST_INDEX / OWN_SHARE]);
        assert_eq!(limit(1 << 40, u64::MAX), OWN_MOST);

        let mut waste = Waste::default();
        let before = exchange(Own::default().limited_by(LEAST_INDEX, u64::MAX, &mut waste));
        // Larger than what is kept for all, and half of it never written to.
        keep(Used { touched: 2 * MIB, ..used(4 * MIB / PAGE) });
        keep(used(MIB / PAGE));
        assert_eq!(lent_bytes(), 3 * MIB as u64);
        keep(used(4 * MIB / PAGE));
        assert_eq!(lent_bytes(), 3 * MIB as u64, "there would be more than six megabytes");
        let own = exchange(before);
        assert_eq!((own.bytes(), lent_bytes()), (3 * MIB as u64, 0));
        assert_eq!(
            len(take(3 * MIB, OWN_LARGEST)),
            None,
            "it is of an index that this thread does not change"
        );
        let before = exchange(own);
        assert_eq!(len(take(MIB + 1, LARGEST)), None, "what stays may not have so long a one");
        let again = take(3 * MIB, OWN_LARGEST).expect("it was kept");
        assert_eq!((again.touched, lent_bytes()), (2 * MIB, MIB as u64));
        keep(again);
        // The largest go first where there is no room for them, and all when the index has become smaller.
        let mib = MIB as u64;
        let own = exchange(before).limited_by(LEAST_INDEX, 2 * mib, &mut waste);
        assert_eq!((own.bytes(), waste.spare_bytes()), (mib, 2 * mib));
        let own = own.limited_by(LEAST_INDEX - 1, u64::MAX, &mut waste);
        assert_eq!((own.bytes(), own.0.mappings.len(), waste.spare_bytes()), (0, 0, 3 * mib));
        drop(exchange(Own::default().limited_by(LEAST_INDEX, u64::MAX, &mut waste)));
        without_keeping(|| keep(used(2 * MIB / PAGE)));
        assert_eq!(lent_bytes(), 0);
        keep(used(MIB / PAGE));
        assert_eq!(lent_bytes(), mib);
        give_up(&mut waste);
        assert_eq!((lent_bytes(), waste.spare_bytes()), (0, 4 * mib));
        assert_eq!(exchange(Own::default()).0.mappings.len(), 0);
    }
}
