//! When the index of a supernode is looked after: when nothing has changed in it for a moment.

use skein_overlay::Overlay;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked whether the index is calm, and so how long it must be. A child that
/// publishes sends some messages a second; who merged between two of them would do for a part what
/// is soon to be done for all.
const LOOK: Duration = Duration::from_millis(500);

/// What is known of the index since the last look.
#[derive(Debug)]
pub(super) struct Tending {
    changes: u64,
    /// As many changes as there were when there was nothing to do.
    done_at: u64,
    next_look: Instant,
    /// A merge is being done on another thread.
    pub(super) is_under_way: bool,
}

impl Tending {
    pub(super) fn new() -> Self {
        Self { changes: 0, done_at: 0, next_look: Instant::now() + LOOK, is_under_way: false }
    }

    /// When it is to be looked at again; never, as long as nothing changes and searches look at nothing
    /// that is to be given back, and as long as it is being looked after.
    pub(super) fn due(&self, overlay: &Overlay) -> Option<Instant> {
        let is_due = self.has_changed(overlay) || overlay.has_unneeded();
        (is_due && !self.is_under_way).then_some(self.next_look)
    }

    /// Whether anything has changed since there was nothing to do.
    pub(super) fn has_changed(&self, overlay: &Overlay) -> bool {
        overlay.index_changes() != self.done_at
    }

    /// There is nothing to do until something changes.
    pub(super) fn is_done(&mut self, overlay: &Overlay) {
        self.done_at = overlay.index_changes();
    }

    /// Whether nothing has changed since the last look, which this is from now on.
    pub(super) fn is_calm(&mut self, overlay: &Overlay) -> bool {
        self.next_look = Instant::now() + LOOK;
        let changes = overlay.index_changes();
        std::mem::replace(&mut self.changes, changes) == changes
    }
}
