//! What sessions and the overlay say to each other: questions that wait for an answer, by number.

use super::error::{NoSlot, SessionError};
use super::lease::{Lease, Leases};
use crate::daemon::driver::Driver;
use dashmap::DashMap;
use skein_overlay::{Input, SlotOutcome};
use skein_proto::session::{
    OfferRefusal, SessionAnswer, SessionOffer, SessionRefused, SlotGrant, SlotRefusal,
};
use skein_proto::{NodeId, SessionId};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// How long a supernode that is linked may take to grant a slot. Whoever waits has a user waiting.
const SLOT_PATIENCE: Duration = Duration::from_secs(2);

/// How long all that are asked for one slot may take together.
const SLOTS_PATIENCE: Duration = Duration::from_secs(3);

/// How long an answer may take: two dials among supernodes, and the callee's binding.
const ANSWER_PATIENCE: Duration = Duration::from_secs(12);

/// Offers and events of the overlay that wait for the sessions.
pub(crate) const EVENTS_WAITING: usize = 1_024;

/// What the overlay tells the sessions.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// This supernode is asked for a slot.
    SlotAsked(u64, NodeId),
    /// What came of asking for a slot.
    Slot(u64, SlotOutcome),
    /// Somebody calls.
    Offered(Box<SessionOffer>),
    /// Somebody answers.
    Answered(Box<SessionAnswer>),
    /// Somebody refuses.
    Refused(SessionRefused),
}

type AnswerOrRefusal = Result<Box<SessionAnswer>, OfferRefusal>;

/// Asks the overlay, and hands out its answers. Clones are the same.
#[derive(Clone)]
pub(super) struct Control {
    driver: Driver,
    leases: Leases,
    slots: Arc<DashMap<u64, Question>>,
    answers: Arc<DashMap<SessionId, oneshot::Sender<AnswerOrRefusal>>>,
}

/// A slot of a relay that was granted to this node. Whoever drops it gives it back.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) relay: NodeId,
    pub(super) grant: SlotGrant,
    pub(super) lease: Lease,
}

/// What came of asking for a slot.
#[derive(Debug)]
enum Given {
    Granted(Box<Granted>),
    Refused(NodeId, SlotRefusal),
    /// Of whom is not known where it has not come to be asked for.
    Silent(Option<NodeId>),
    NobodyToAsk,
}

/// A slot was asked for.
struct Question {
    /// Of whom, as soon as that is known.
    of: Option<NodeId>,
    tell: oneshot::Sender<Given>,
}

/// Somebody waits for an answer, until this is dropped.
struct Waiting<'a, K: Eq + Hash, V> {
    all: &'a DashMap<K, V>,
    key: K,
}

impl<'a, K: Eq + Hash + Copy, V> Waiting<'a, K, V> {
    fn begin(all: &'a DashMap<K, V>, key: K, tell: V) -> Self {
        all.insert(key, tell);
        Self { all, key }
    }
}

impl<K: Eq + Hash, V> Drop for Waiting<'_, K, V> {
    fn drop(&mut self) {
        self.all.remove(&self.key);
    }
}

impl Control {
    pub(super) fn new(driver: Driver) -> Self {
        let leases = Leases::new(driver.clone());
        Self { driver, leases, slots: Arc::default(), answers: Arc::default() }
    }

    pub(super) fn leases(&self) -> &Leases {
        &self.leases
    }

    pub(super) fn driver(&self) -> &Driver {
        &self.driver
    }

    /// A slot of a supernode besides these, of which the `nth` is asked. The error is the last refusal,
    /// if anybody has refused.
    pub(super) async fn ask_slot(&self, besides: &[NodeId], nth: usize) -> Result<Granted, NoSlot> {
        let mut besides = besides.to_vec();
        let mut last = NoSlot::NobodyToAsk;
        let ends = Instant::now() + SLOTS_PATIENCE;
        // Each that refuses or is silent excludes one more; a node is linked with a few supernodes that
        // matter, and who is a child with two.
        for _ in 0..3 {
            let patience = SLOT_PATIENCE.min(ends - Instant::now());
            if patience.is_zero() {
                break;
            }
            match self.ask_one((besides.clone(), nth), patience).await {
                Given::Granted(granted) => return Ok(*granted),
                Given::Refused(relay, refusal) => {
                    last = NoSlot::Refused(refusal);
                    besides.push(relay);
                }
                Given::Silent(relay) => {
                    last = last.or(NoSlot::Silent);
                    let Some(relay) = relay else { break };
                    besides.push(relay);
                }
                Given::NobodyToAsk => break,
            }
        }
        Err(last)
    }

    async fn ask_one(&self, (besides, nth): (Vec<NodeId>, usize), patience: Duration) -> Given {
        let ask = rand::random();
        let (tell, told) = oneshot::channel();
        let _waiting = Waiting::begin(&self.slots, ask, Question { of: None, tell });
        self.driver.input(Input::AskSlot { ask, besides, nth }).await;
        match timeout(patience, told).await {
            Ok(Ok(given)) => given,
            Ok(Err(_)) => Given::NobodyToAsk,
            Err(_) => {
                let of = self.slots.get(&ask).and_then(|question| question.of);
                Given::Silent(of)
            }
        }
    }

    /// Sends an offer and waits for what comes back. Whether an answer is genuine is still to be
    /// checked.
    pub(super) async fn offer(&self, offer: SessionOffer) -> Result<SessionAnswer, SessionError> {
        let session = offer.offer.unverified().session;
        let (sender, receiver) = oneshot::channel();
        let _waiting = Waiting::begin(&self.answers, session, sender);
        self.driver.input(Input::OfferSession(Box::new(offer))).await;
        match timeout(ANSWER_PATIENCE, receiver).await {
            Ok(Ok(Ok(answer))) => Ok(*answer),
            Ok(Ok(Err(reason))) => Err(SessionError::Refused(reason)),
            Ok(Err(_)) => Err(SessionError::Ending),
            Err(_) => Err(SessionError::Silent),
        }
    }

    fn given(&self, outcome: SlotOutcome) -> Given {
        match outcome {
            SlotOutcome::Granted { relay, credential, grant } => {
                let lease = self.leases.begin((relay, grant.slot), grant.keys[1], credential);
                Given::Granted(Box::new(Granted { relay, grant: *grant, lease }))
            }
            SlotOutcome::Refused(relay, refusal) => Given::Refused(relay, refusal),
            SlotOutcome::NobodyToAsk => Given::NobodyToAsk,
        }
    }

    /// Takes an event that is an answer; gives back an offer.
    pub(super) fn on_event(&self, event: SessionEvent) -> Option<Box<SessionOffer>> {
        match event {
            SessionEvent::SlotAsked(ask, relay) => {
                if let Some(mut question) = self.slots.get_mut(&ask) {
                    question.of = Some(relay);
                }
            }
            SessionEvent::Slot(ask, outcome) => {
                // What nobody waits for any more is given back at once.
                let given = self.given(outcome);
                if let Some((_, question)) = self.slots.remove(&ask) {
                    let _ = question.tell.send(given);
                }
            }
            SessionEvent::Answered(answer) => {
                let session = answer.answer.unverified().session;
                if let Some((_, waiting)) = self.answers.remove(&session) {
                    let _ = waiting.send(Ok(answer));
                }
            }
            SessionEvent::Refused(SessionRefused { session, reason }) => {
                if let Some((_, waiting)) = self.answers.remove(&session) {
                    let _ = waiting.send(Err(reason));
                }
            }
            SessionEvent::Offered(offer) => return Some(offer),
        }
        None
    }
}
