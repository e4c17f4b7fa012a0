//! What sessions and the overlay say to each other: questions that wait for an answer, by number.

use super::error::SessionError;
use crate::daemon::driver::Driver;
use dashmap::DashMap;
use skein_overlay::{Input, SlotOutcome};
use skein_proto::session::{
    OfferRefusal, SessionAnswer, SessionOffer, SessionRefused, SlotGrant, SlotRefusal,
};
use skein_proto::{NodeId, SessionId, SignedCredential};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a supernode that is linked may take to grant a slot. Whoever waits has a user waiting.
const SLOT_PATIENCE: Duration = Duration::from_secs(2);

/// How long an answer may take: two dials among supernodes, and the callee's binding.
const ANSWER_PATIENCE: Duration = Duration::from_secs(12);

/// Offers and events of the overlay that wait for the sessions.
pub(crate) const EVENTS_WAITING: usize = 1_024;

/// What the overlay tells the sessions.
#[derive(Debug)]
pub(crate) enum SessionEvent {
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
    slots: Arc<DashMap<u64, oneshot::Sender<SlotOutcome>>>,
    answers: Arc<DashMap<SessionId, oneshot::Sender<AnswerOrRefusal>>>,
}

/// A slot of a relay that was granted to this node.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) relay: NodeId,
    /// What the relay has shown of whose node it is.
    pub(super) credential: Option<Box<SignedCredential>>,
    pub(super) grant: SlotGrant,
}

impl Control {
    pub(super) fn new(driver: Driver) -> Self {
        Self { driver, slots: Arc::default(), answers: Arc::default() }
    }

    pub(super) fn driver(&self) -> &Driver {
        &self.driver
    }

    /// A slot of a supernode besides these, of which the `nth` is asked. The error is the last word
    /// of whoever was asked.
    pub(super) async fn ask_slot(
        &self,
        besides: &[NodeId],
        nth: usize,
    ) -> Result<Granted, SlotRefusal> {
        let mut besides = besides.to_vec();
        let mut last = SlotRefusal::OptedOut;
        // Each refusal excludes one more; a node is linked with a few supernodes that matter.
        for _ in 0..3 {
            match self.ask_one(besides.clone(), nth).await {
                Some(SlotOutcome::Granted { relay, credential, grant }) => {
                    return Ok(Granted { relay, credential, grant: *grant });
                }
                Some(SlotOutcome::Refused(relay, refusal)) => {
                    last = refusal;
                    besides.push(relay);
                }
                Some(SlotOutcome::NobodyToAsk) | None => break,
            }
        }
        Err(last)
    }

    async fn ask_one(&self, besides: Vec<NodeId>, nth: usize) -> Option<SlotOutcome> {
        let ask = rand::random();
        let (sender, receiver) = oneshot::channel();
        self.slots.insert(ask, sender);
        self.driver.input(Input::AskSlot { ask, besides, nth }).await;
        let outcome = timeout(SLOT_PATIENCE, receiver).await;
        self.slots.remove(&ask);
        outcome.ok()?.ok()
    }

    /// Sends an offer and waits for what comes back. Whether an answer is genuine is still to be
    /// checked.
    pub(super) async fn offer(&self, offer: SessionOffer) -> Result<SessionAnswer, SessionError> {
        let session = offer.offer.unverified().session;
        let (sender, receiver) = oneshot::channel();
        self.answers.insert(session, sender);
        self.driver.input(Input::OfferSession(Box::new(offer))).await;
        let outcome = timeout(ANSWER_PATIENCE, receiver).await;
        self.answers.remove(&session);
        match outcome {
            Ok(Ok(Ok(answer))) => Ok(*answer),
            Ok(Ok(Err(reason))) => Err(SessionError::Refused(reason)),
            Ok(Err(_)) => Err(SessionError::Ending),
            Err(_) => Err(SessionError::Silent),
        }
    }

    /// Takes an event that is an answer; gives back an offer.
    pub(super) fn on_event(&self, event: SessionEvent) -> Option<Box<SessionOffer>> {
        match event {
            SessionEvent::Slot(ask, outcome) => {
                if let Some((_, waiting)) = self.slots.remove(&ask) {
                    // Whoever asked may have gone.
                    let _ = waiting.send(outcome);
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
