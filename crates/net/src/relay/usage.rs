//! What a relay counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a relay has moved, and what not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayUse {
    /// Slots at present.
    pub slots: u32,
    /// Slots granted since the start.
    pub granted: u64,
    /// Slots refused since the start.
    pub refused: u64,
    /// Slots given back by those who had them.
    pub released: u64,
    /// Slots that somebody gave back who did not have them, or had used them much just then.
    pub unreleased: u64,
    /// Bytes that the system has taken since the start, headers of slots included.
    pub bytes: u64,
    /// Bytes dropped since a rate was used up.
    pub dropped_over_rate: u64,
    /// Bytes dropped since the system's socket did not keep up.
    pub dropped_queue: u64,
    /// Bytes dropped since the system did not take them, such as those for a line that takes no
    /// datagrams of their length.
    pub dropped_unsendable: u64,
    /// Bytes dropped since the other end has not bound its address.
    pub dropped_unbound: u64,
    /// Frames dropped since they came from an address that is not bound to the slot, or the slot
    /// is not there.
    pub foreign: u64,
    /// Binds and early packets refused since cookie or proof did not hold.
    pub forged: u64,
    /// Packets moved for an end before its address was proven, in either direction.
    pub early: u64,
}

/// The running totals behind [`RelayUse`].
#[derive(Debug, Default)]
pub(super) struct Used {
    pub(super) granted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) released: AtomicU64,
    pub(super) unreleased: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) over_rate: AtomicU64,
    pub(super) queue: AtomicU64,
    pub(super) unsendable: AtomicU64,
    pub(super) unbound: AtomicU64,
    pub(super) foreign: AtomicU64,
    pub(super) forged: AtomicU64,
    pub(super) early: AtomicU64,
}

impl Used {
    /// The totals, with the number of slots at present.
    pub(super) fn with_slots(&self, slots: u32) -> RelayUse {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RelayUse {
            slots,
            granted: read(&self.granted),
            refused: read(&self.refused),
            released: read(&self.released),
            unreleased: read(&self.unreleased),
            bytes: read(&self.bytes),
            dropped_over_rate: read(&self.over_rate),
            dropped_queue: read(&self.queue),
            dropped_unsendable: read(&self.unsendable),
            dropped_unbound: read(&self.unbound),
            foreign: read(&self.foreign),
            forged: read(&self.forged),
            early: read(&self.early),
        }
    }
}

/// Adds to a total.
pub(super) fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}
