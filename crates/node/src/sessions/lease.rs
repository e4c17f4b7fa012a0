//! Slots that relays have granted to this node: each is given back when nobody holds it any more.
//!
//! A name may have few slots of a relay, and a slot that is not given back is one of them until the
//! relay takes it back for want of use, after two minutes. So a lease is made as soon as a grant
//! comes in, and whatever becomes of the offer, the reserve or the session that it was for, its end
//! gives the slot back.

use crate::daemon::driver::Driver;
use skein_proto::session::SlotKey;
use skein_proto::{NodeId, SignedCredential};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How long a slot that is needed no more is left to what is still under way, such as the word that
/// a connection is over.
const GRACE: Duration = Duration::from_secs(1);

/// When a relay is tried once more that this node was not linked with: a link that breaks is made
/// anew within seconds.
const AGAIN: Duration = Duration::from_secs(5);

/// Slots that wait for being given back. More than a second's worth of calls leave behind; those of
/// some hundred sessions that end at once would be left to expire.
const MAX_WAITING: usize = 1_024;

/// What became of leases that ended.
#[derive(Debug, Default)]
pub(super) struct LeaseCounts {
    pub(super) given_back: AtomicU64,
    /// Too many waited, or the relay could not be told.
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
        let tell = move |relay, slot| {
            let driver = driver.clone();
            async move { driver.release_slot(relay, slot).await }
        };
        tokio::spawn(give_back(tell, waiting, Arc::clone(&counts)));
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

/// In the order in which they ended: the grace is the same for all. `tell` answers whether the relay
/// was told.
async fn give_back<F>(
    tell: impl Fn(NodeId, u64) -> F + Send,
    mut waiting: mpsc::Receiver<Ended>,
    counts: Arc<LeaseCounts>,
) where
    F: Future<Output = bool> + Send,
{
    let mut again: VecDeque<Ended> = VecDeque::new();
    loop {
        let due = again.front().map(|ended| ended.due);
        let second = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let (Ended { relay, slot, due }, is_second) = tokio::select! {
            ended = waiting.recv() => match ended {
                Some(ended) => (ended, false),
                None => return,
            },
            () = second => match again.pop_front() {
                Some(ended) => (ended, true),
                None => continue,
            },
        };
        sleep_until(due).await;
        if tell(relay, slot).await {
            counts.given_back.fetch_add(1, Ordering::Relaxed);
        } else if is_second || again.len() >= MAX_WAITING {
            counts.left.fetch_add(1, Ordering::Relaxed);
        } else {
            again.push_back(Ended { relay, slot, due: Instant::now() + AGAIN });
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn only_what_a_relay_was_told_of_counts_as_given_back() {
        let (ended, waiting) = mpsc::channel(MAX_WAITING);
        let counts = Arc::<LeaseCounts>::default();
        let start = Instant::now();
        // The link to relay 2 is there again after four seconds, that to relay 3 never.
        let tell = move |relay: NodeId, _| {
            let back = start.elapsed() >= Duration::from_secs(4);
            let which = relay.as_bytes()[0];
            async move { which == 1 || which == 2 && back }
        };
        tokio::spawn(give_back(tell, waiting, Arc::clone(&counts)));
        for relay in [1, 2, 3] {
            let relay = NodeId::from_bytes([relay; 32]);
            ended.try_send(Ended { relay, slot: 7, due: start + GRACE }).unwrap();
        }
        let read = || {
            let [given_back, left] = [&counts.given_back, &counts.left];
            (given_back.load(Ordering::Relaxed), left.load(Ordering::Relaxed))
        };
        sleep(2 * GRACE).await;
        assert_eq!(read(), (1, 0));
        sleep(2 * AGAIN).await;
        assert_eq!(read(), (2, 1));
    }
}
