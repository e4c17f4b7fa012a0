//! When the index of a supernode is looked after: when nothing has changed in it for a while, as the
//! daemon does. It decides how fast searches of it are, and not what they find (but for a lone
//! beginning that stands for more words than are taken, which are counted for each segment).

use skein_overlay::Overlay;
use skein_proto::Instant;
use std::time::Duration;

/// For how long nothing must have changed. The daemon waits for half a second; here it is what a child
/// takes to publish and its neighbour in the queue as well, so that less is done twice.
const CALM: Duration = Duration::from_secs(5);

/// Documents that a merge goes on by at a time.
const PIECE: usize = 1 << 16;

/// What is known of the index since the last look.
#[derive(Debug, Default)]
pub(super) struct Tending {
    /// Changes so far, and when there were so many for the first time.
    changes: u64,
    since: Instant,
    /// As many changes as there were when there was nothing left to do.
    done_at: u64,
}

impl Tending {
    /// Looks at an index, and does what there is to do if it is calm.
    pub(super) fn look(&mut self, overlay: &mut Overlay, now: Instant) {
        let changes = overlay.index_changes();
        if changes == self.done_at {
            return;
        }
        if changes != self.changes {
            (self.changes, self.since) = (changes, now);
        } else if now.since(self.since) >= CALM {
            while let Some(mut upkeep) = overlay.take_upkeep() {
                while !upkeep.run(PIECE) {}
                overlay.give_back_upkeep(Some(upkeep));
            }
            drop(overlay.take_unneeded(true));
            self.done_at = overlay.index_changes();
        }
    }
}
