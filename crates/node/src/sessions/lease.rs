//! Slots that relays have granted to this node: each is given back when nobody holds it any more.
//!
//! A name may have few slots of a relay, and a slot that is not given back is one of them until the
//! relay takes it back for want of use, after two minutes. So a lease is made as soon as a grant
//! comes in, and whatever becomes of the offer, the reserve or the session that it was for, its end
//! gives the slot back.

use crate::daemon::driver::Driver;
use skein_overlay::Input;
use skein_proto::session::SlotKey;
use skein_proto::{NodeId, SignedCredential};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How long a slot that is needed no more is left to what is still under way, such as the word that
/// a connection is over.
const GRACE: Duration = Duration::from_secs(1);

/// Slots that wait for being given back. More than a second's worth of calls leave behind; those of
/// some hundred sessions that end at once would be left to expire.
const MAX_WAITING: usize = 1_024;

/// What became of leases that ended.
#[derive(Debug, Default)]
pub(super) struct LeaseCounts {
    pub(super) given_back: AtomicU64,
    /// Too many waited.
    pub(super) left: AtomicU64,
}

#[derive(Debug)]
struct Ended {
    relay: NodeId,
    slot: u64,
    due: Instant,
}

/// Makes leases. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    ended: mpsc::Sender<Ended>,
    counts: Arc<LeaseCounts>,
}

impl Leases {
    /// The task that gives slots back ends with the last lease.
    pub(super) fn new(driver: Driver) -> Self {
        let (ended, waiting) = mpsc::channel(MAX_WAITING);
        let counts = Arc::<LeaseCounts>::default();
        tokio::spawn(give_back(driver, waiting, Arc::clone(&counts)));
        Self { ended, counts }
    }

    pub(super) fn counts(&self) -> &LeaseCounts {
        &self.counts
    }

    /// A slot was granted. `key` is for its far end.
    pub(super) fn begin(
        &self,
        (relay, slot): (NodeId, u64),
        key: SlotKey,
        credential: Option<Box<SignedCredential>>,
    ) -> Lease {
        Lease { relay, slot, key, credential, leases: self.clone() }
    }
}

/// In the order in which they ended: the grace is the same for all.
async fn give_back(driver: Driver, mut waiting: mpsc::Receiver<Ended>, counts: Arc<LeaseCounts>) {
    while let Some(Ended { relay, slot, due }) = waiting.recv().await {
        sleep_until(due).await;
        counts.given_back.fetch_add(1, Ordering::Relaxed);
        driver.input(Input::ReleaseSlot { relay, slot }).await;
    }
}

/// A slot that was granted to this node, and what comes with it beside the near end's key.
#[derive(Debug)]
pub(super) struct Lease {
    relay: NodeId,
    slot: u64,
    /// The far end's.
    pub(super) key: SlotKey,
    /// Whose node the relay is, if it has shown that.
    pub(super) credential: Option<Box<SignedCredential>>,
    leases: Leases,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Self { relay, slot, .. } = *self;
        let ended = Ended { relay, slot, due: Instant::now() + GRACE };
        if self.leases.ended.try_send(ended).is_err() {
            self.leases.counts.left.fetch_add(1, Ordering::Relaxed);
        }
    }
}
