//! An end of a relay's slot: it tells the relay where it is, and tells it again when its router
//! has given it another address.

use super::{Route, Sessions};
use crate::paths::candidate::{Candidate, CandidateKind};
use crate::relay::EndKey;
use crate::relay::frame::{Cookie, Frame, Proof, SlotNumber};
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
    /// The last challenge that was answered, and when.
    answered: Mutex<(Cookie, Option<Instant>)>,
    /// How often the relay has bound this end.
    bound: watch::Sender<u64>,
}

impl State {
    /// The answer to a challenge, unless it was given just now: each packet that was under way when
    /// the address changed is challenged.
    pub(super) fn on_challenge(&self, slot: SlotNumber, cookie: Cookie) -> Option<Frame<'static>> {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let lately = answered.1.is_some_and(|at| now.duration_since(at) < AGAIN);
        if answered.0 == cookie && lately {
            return None;
        }
        *answered = (cookie, Some(now));
        Some(Frame::Bind { slot, cookie, proof: self.key.bind_proof(slot, &cookie) })
    }

    pub(super) fn is_bound(&self) -> bool {
        *self.bound.borrow() > 0
    }

    /// Shows that a packet comes from this end.
    pub(super) fn early_proof(&self, slot: SlotNumber, packet: &[u8]) -> Proof {
        self.key.early_proof(slot, packet)
    }

    pub(super) fn on_bound(&self, slot: SlotNumber, proof: &Proof) {
        let cookie = self.answered.lock().unwrap_or_else(PoisonError::into_inner).0;
        if *proof == self.key.bound_proof(slot, &cookie) {
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
        let state =
            Arc::new(State { key, answered: Mutex::default(), bound: watch::Sender::new(0) });
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
                let frame = Frame::Bind { slot, cookie: [0; 16], proof: [0; 16] };
                self.table.send_frame(self.route.to, &frame);
                tokio::select! {
                    _ = bound.changed() => return,
                    () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                }
            }
        };
        timeout(patience, ask).await.map_err(|_| BindError { relay: self.route })
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
