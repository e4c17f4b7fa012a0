//! An end of a relay's slot: it tells the relay where it is, and tells it again when its router
//! has given it another address.

use super::{Route, Sessions};
use crate::paths::candidate::{Candidate, CandidateKind};
use crate::relay::EndKey;
use crate::relay::frame::{Cookie, Frame, Proof, SlotNumber};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Pauses between two attempts, doubled each time: the first is a round trip of most paths.
const FIRST_PAUSE: Duration = Duration::from_millis(150);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// After how long the same challenge is answered again: the answer may have been lost.
const AGAIN: Duration = Duration::from_millis(200);

/// Challenges that are answered in that time, whatever is in them: each packet that was under way
/// when the address changed is challenged, all with one cookie, or two where the relay's time to
/// change it has come. More are forged, by somebody who knows the number of the slot.
const ANSWERS: usize = 4;

/// Cookies that are kept for what the relay says to them: whoever forges challenges does not make
/// this end forget the relay's own within a round trip.
const KEPT: usize = 32;

/// The relay does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the relay at {} does not answer for this slot", relay.to)]
pub struct BindError {
    /// The relay and the slot.
    pub relay: Route,
}

/// What is known of a slot on this side.
#[derive(Debug)]
pub(super) struct State {
    key: EndKey,
    /// The last challenges that were answered, and when, the latest at the end.
    answered: Mutex<VecDeque<(Cookie, Instant)>>,
    /// How often the relay has bound this end.
    bound: watch::Sender<u64>,
    /// The cookie with which it did so last.
    bound_with: Mutex<Option<Cookie>>,
}

impl State {
    fn new(key: EndKey) -> Self {
        let bound = watch::Sender::new(0);
        Self { key, answered: Mutex::default(), bound, bound_with: Mutex::default() }
    }

    /// The proof that was good last, once more.
    fn insistence(&self, slot: SlotNumber) -> Option<Frame<'static>> {
        let cookie = (*self.bound_with.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(Frame::Bind { slot, proof: self.key.bind_proof(slot, &cookie) })
    }

    /// The answer to a challenge, unless it was given just now, or too many others were.
    pub(super) fn on_challenge(&self, slot: SlotNumber, cookie: Cookie) -> Option<Frame<'static>> {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let lately = answered.iter().filter(|(_, at)| now.duration_since(*at) < AGAIN);
        if lately.clone().any(|(known, _)| *known == cookie) || lately.count() >= ANSWERS {
            return None;
        }
        if answered.len() >= KEPT {
            answered.pop_front();
        }
        answered.push_back((cookie, now));
        Some(Frame::Bind { slot, proof: self.key.bind_proof(slot, &cookie) })
    }

    pub(super) fn is_bound(&self) -> bool {
        *self.bound.borrow() > 0
    }

    /// Shows that a packet comes from this end.
    pub(super) fn early_proof(&self, slot: SlotNumber, packet: &[u8]) -> Proof {
        self.key.early_proof(slot, packet)
    }

    pub(super) fn on_bound(&self, slot: SlotNumber, proof: &Proof) {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let is_of = |(cookie, _): &(Cookie, Instant)| *proof == self.key.bound_proof(slot, cookie);
        // The latest first, which it is but where somebody else has forged some.
        if let Some((cookie, _)) = answered.iter().rev().find(|one| is_of(one)) {
            *self.bound_with.lock().unwrap_or_else(PoisonError::into_inner) = Some(*cookie);
            self.bound.send_modify(|times| *times += 1);
        }
    }
}

/// This end of a relay's slot. While it lives, challenges of the relay are answered.
#[derive(Debug)]
pub struct Binding {
    route: Route,
    state: Arc<State>,
    /// Whether what the relay says is told to this one: a relay can be there, and there is no older
    /// one of the same slot.
    entered: bool,
    table: Arc<Sessions>,
}

impl Binding {
    pub(crate) fn new(table: Arc<Sessions>, relay: Route, key: EndKey, loopback: bool) -> Self {
        let relay = relay.canonical();
        let state = Arc::new(State::new(key));
        // A peer may have named it: nothing is sent where no relay can be.
        let named = Candidate { address: relay.to, kind: CandidateKind::Local };
        let mut entered = false;
        if named.is_plausible(loopback) {
            table.bindings.entry(relay).or_insert_with(|| {
                entered = true;
                Arc::clone(&state)
            });
        }
        Self { route: relay, state, entered, table }
    }

    /// The relay and the slot.
    pub fn route(&self) -> Route {
        self.route
    }

    /// Tells the relay where this end is, and waits until it has proven it.
    ///
    /// # Errors
    /// [`BindError`] if that takes longer than `patience`, and at once if this node had joined the
    /// slot already, or nobody can be at that address.
    pub async fn bind(&self, patience: Duration) -> Result<(), BindError> {
        if !self.entered {
            return Err(BindError { relay: self.route });
        }
        let mut bound = self.state.bound.subscribe();
        bound.mark_unchanged();
        let ask = async {
            let mut pause = FIRST_PAUSE;
            loop {
                let slot = self.route.number;
                let frame = Frame::Bind { slot, proof: [0; 16] };
                self.table.send_frame(self.route.to, &frame);
                tokio::select! {
                    _ = bound.changed() => return,
                    () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                }
            }
        };
        timeout(patience, ask).await.map_err(|_| BindError { relay: self.route })
    }

    /// Proves once more what was proven last, without waiting for an answer: where this end was bound
    /// from two addresses at once, the relay takes the one that proves it last. It holds for as long
    /// as the relay's cookie does, ten seconds at least.
    pub fn insist(&self) {
        if let Some(frame) = self.state.insistence(self.route.number) {
            self.table.send_frame(self.route.to, &frame);
        }
    }

    /// The relay has said, over a connection that is authenticated, that it has bound this end
    /// without being asked.
    pub fn is_bound_by_grant(&self) {
        self.state.bound.send_modify(|times| *times += 1);
    }

    /// How often the relay has bound this end: more than once where its address has changed.
    pub fn times_bound(&self) -> u64 {
        *self.state.bound.borrow()
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        self.table.bindings.remove_if(&self.route, |_, known| Arc::ptr_eq(known, &self.state));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SLOT: SlotNumber = SlotNumber::new(7);

    #[tokio::test(start_paused = true)]
    async fn forged_challenges_are_answered_seldom_and_do_not_hide_the_relays_own() {
        let key = EndKey::from_bytes([3; 32]);
        let state = State::new(key.clone());
        let genuine = [9; 16];
        assert!(state.on_challenge(SLOT, genuine).is_some());
        assert!(state.on_challenge(SLOT, genuine).is_none(), "that was answered just now");
        let mut answers = 0;
        for forged in 0..100_u8 {
            tokio::time::advance(Duration::from_millis(10)).await;
            answers +=
                usize::from(state.on_challenge(SLOT, [forged.wrapping_add(10); 16]).is_some());
        }
        assert!((15..=25).contains(&answers), "{answers} in a second");
        state.on_bound(SLOT, &key.bound_proof(SLOT, &[200; 16]));
        assert!(!state.is_bound(), "nobody has asked with that");
        assert!(state.insistence(SLOT).is_none());
        state.on_bound(SLOT, &key.bound_proof(SLOT, &genuine));
        assert!(state.is_bound());
        let proof = key.bind_proof(SLOT, &genuine);
        assert_eq!(state.insistence(SLOT), Some(Frame::Bind { slot: SLOT, proof }));
        tokio::time::advance(AGAIN).await;
        assert!(state.on_challenge(SLOT, genuine).is_some(), "the answer may have been lost");
    }
}
