//! Slots for calls: asked for at the same time as the callee is looked up, and kept for the next
//! call where they were not needed.

use super::Sessions;
use super::error::NoSlot;
use super::relayed::NearEnd;
use skein_proto::NodeId;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// Slots that an offer begins with: one to use and one in reserve. The callee adds one.
const SLOTS: usize = 2;

/// How long a slot that was not used is kept for the next call. It is given back then.
const SPARE_LIFE: Duration = Duration::from_secs(60);

/// Slots that were bound and not needed, for the next call.
#[derive(Debug, Default)]
pub(super) struct Spare {
    slots: Mutex<Vec<(Instant, Arc<NearEnd>)>>,
}

impl Spare {
    fn take(&self) -> Vec<Arc<NearEnd>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let all = std::mem::take(&mut *slots);
        let fresh = all.into_iter().filter(|(since, _)| since.elapsed() < SPARE_LIFE);
        fresh.map(|(_, near)| near).collect()
    }

    /// Answers whether there was room for it.
    fn put(&self, unused: Arc<NearEnd>) -> bool {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let fits =
            slots.len() < SLOTS && !slots.iter().any(|(_, known)| known.relay == unused.relay);
        if fits {
            slots.push((Instant::now(), unused));
        }
        fits
    }

    fn forget_old(&self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|(since, _)| since.elapsed() < SPARE_LIFE);
    }
}

/// Slots for a call, as far as they are there. What is not used goes back for the next one.
pub(super) struct NearSlots {
    sessions: Sessions,
    bound: Vec<Arc<NearEnd>>,
    coming: mpsc::UnboundedReceiver<Result<Arc<NearEnd>, NoSlot>>,
    /// The last word of whoever gave none.
    pub(super) refusal: Option<NoSlot>,
}

impl NearSlots {
    /// Waits until there is one, or none will come. Those that come later are for the next call.
    pub(super) async fn ready(&mut self) {
        while self.bound.is_empty() {
            let Some(outcome) = self.coming.recv().await else { return };
            self.take(outcome);
        }
        while let Ok(outcome) = self.coming.try_recv() {
            self.take(outcome);
        }
    }

    fn take(&mut self, outcome: Result<Arc<NearEnd>, NoSlot>) {
        match outcome {
            Ok(near) if self.bound.iter().any(|known| known.relay == near.relay) => {
                self.sessions.spare(near);
            }
            Ok(near) => self.bound.push(near),
            Err(refused) => {
                self.refusal = Some(self.refusal.map_or(refused, |before| before.or(refused)));
            }
        }
    }

    /// Those that are there, the nearest first, but for one of this relay.
    pub(super) fn take_all(&mut self, besides: &NodeId) -> Vec<Arc<NearEnd>> {
        let all = std::mem::take(&mut self.bound);
        let (own, mut others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|near| near.relay == *besides);
        self.bound = own;
        others.sort_by_key(|near| near.rtt());
        others
    }
}

impl Drop for NearSlots {
    fn drop(&mut self) {
        self.bound.drain(..).for_each(|near| self.sessions.spare(near));
    }
}

impl Sessions {
    /// Keeps a slot that was not needed for the next call, for a while.
    fn spare(&self, unused: Arc<NearEnd>) {
        if self.inner.spare.put(unused) {
            let inner = Arc::downgrade(&self.inner);
            tokio::spawn(async move {
                sleep(SPARE_LIFE).await;
                if let Some(inner) = inner.upgrade() {
                    inner.spare.forget_old();
                }
            });
        }
    }

    /// Asks for slots, and has this end of each bound.
    pub(super) fn near_slots(&self) -> NearSlots {
        let bound = self.inner.spare.take();
        let besides: Vec<NodeId> = bound.iter().map(|near| near.relay).collect();
        let (sender, coming) = mpsc::unbounded_channel();
        for nth in 0..SLOTS.saturating_sub(bound.len()) {
            let (sessions, besides, sender) = (self.clone(), besides.clone(), sender.clone());
            tokio::spawn(async move {
                let outcome = match sessions.inner.control.ask_slot(&besides, nth).await {
                    Ok(granted) => {
                        let endpoint = &sessions.inner.parts.endpoint;
                        let Some(near) = NearEnd::of_grant(endpoint, granted).await else { return };
                        Ok(near)
                    }
                    Err(refused) => Err(refused),
                };
                if let Err(unwanted) = sender.send(outcome)
                    && let Ok(near) = unwanted.0
                {
                    sessions.spare(near);
                }
            });
        }
        NearSlots { sessions: self.clone(), bound, coming, refusal: None }
    }
}

#[cfg(test)]
impl Sessions {
    /// Asks for the slots of an offer that is not made then.
    pub(crate) async fn call_off_an_offer(&self) {
        let mut slots = self.near_slots();
        while slots.bound.len() < SLOTS
            && let Some(outcome) = slots.coming.recv().await
        {
            slots.take(outcome);
        }
    }

    /// The relay of the first slot that is granted.
    pub(crate) async fn relay_of_a_slot(&self) -> Result<NodeId, NoSlot> {
        let granted = self.inner.control.ask_slot(&[], 0).await;
        granted.map(|granted| granted.relay)
    }

    /// The slots that an offer would name.
    pub(crate) async fn relays_for_an_offer(
        &self,
        peer: &NodeId,
    ) -> skein_proto::BoundedVec<skein_proto::session::RelayEnd, 3> {
        let mut slots = self.near_slots();
        slots.ready().await;
        let near = slots.take_all(&NodeId::from_bytes([0; 32]));
        let seal = self.seal_for(peer).expect("its id is a key");
        skein_proto::BoundedVec::truncated(near.iter().filter_map(|near| near.for_far_end(&seal)))
    }
}
