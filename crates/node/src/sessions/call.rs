//! The caller's side: slots, an offer, an answer, a dial over the relay.

use super::control::Granted;
use super::error::SessionError;
use super::hello::Own;
use super::keep::Keeper;
use super::paths::Paths;
use super::peer::PeerSession;
use super::relayed::NearEnd;
use super::{Sessions, hello};
use crate::daemon::clock::unix_now;
use futures_util::future::join_all;
use skein_net::CloseReason;
use skein_net::paths::Side;
use skein_overlay::FoundNode;
use skein_proto::credential::CLOCK_SKEW;
use skein_proto::session::{
    Answer, OFFER_LIFE, Offer, OfferRefusal, RelayEnd, SessionAnswer, SessionOffer, SlotRefusal,
};
use skein_proto::{BoundedVec, NodeId, SessionId, Signed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Slots that an offer begins with: one to use and one in reserve. The callee adds one.
const SLOTS: usize = 2;

/// How long a slot that was not used is kept for the next call; a relay takes it back after 120 s.
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

    fn put(&self, unused: Vec<Arc<NearEnd>>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        slots.extend(unused.into_iter().map(|near| (now, near)));
        slots.truncate(SLOTS);
    }
}

/// Slots for a call. What is not used goes back for the next one.
pub(super) struct NearSlots {
    pub(super) bound: Vec<Arc<NearEnd>>,
    pub(super) refusal: Option<SlotRefusal>,
}

impl Sessions {
    /// Asks for slots and binds this end of each, at the same time as the callee is looked up.
    pub(super) async fn near_slots(&self) -> NearSlots {
        let mut bound = self.inner.spare.take();
        let mut refusal = None;
        let mut granted: Vec<Granted> = Vec::new();
        while bound.len() + granted.len() < SLOTS {
            let of_bound = bound.iter().map(|near| near.relay);
            let besides: Vec<NodeId> =
                of_bound.chain(granted.iter().map(|granted| granted.relay)).collect();
            match self.inner.control.ask_slot(&besides).await {
                Ok(next) => granted.push(next),
                Err(refused) => {
                    refusal = Some(refused);
                    break;
                }
            }
        }
        let endpoint = &self.inner.parts.endpoint;
        let ends = join_all(granted.into_iter().map(|it| NearEnd::of_grant(endpoint, it))).await;
        bound.extend(ends.into_iter().flatten());
        bound.sort_by_key(|near| near.rtt);
        NearSlots { bound, refusal }
    }

    /// Gives back what a call did not need.
    pub(super) fn spare(&self, slots: NearSlots) {
        self.inner.spare.put(slots.bound);
    }

    /// Calls a node over relays.
    pub(super) async fn call(
        &self,
        found: &FoundNode,
        mut slots: NearSlots,
    ) -> Result<Arc<PeerSession>, SessionError> {
        let mut own = self.own()?;
        slots.bound.retain(|near| near.relay != found.node);
        let endpoint = &self.inner.parts.endpoint;
        let session = SessionId::from_bytes(rand::random());
        own.session = Some(session);
        let relays = slots.bound.iter().filter_map(|near| near.for_far_end());
        let whereabouts = self.whereabouts().await;
        let moves = self.inner.whereabouts.watch();
        own.nat = whereabouts.nat;
        let offer = Offer {
            session,
            from: endpoint.node_id(),
            to: found.node,
            expires: unix_now().plus(OFFER_LIFE),
            nat: own.nat,
            candidates: whereabouts.candidates,
            relays: BoundedVec::truncated(relays),
        };
        let message = SessionOffer {
            offer: Signed::new(offer.clone(), &self.inner.parts.key),
            credential: own.credential.clone(),
            at: found.parent.as_ref().map_or(found.node, |parent| parent.node),
        };
        let reply = self.inner.control.offer(message).await?;
        let answer = self.check_answer(&offer, &reply)?;

        let paths = Paths::new(endpoint.open_session(), moves);
        for (near, far) in slots.bound.into_iter().zip(&answer.bound) {
            if let Some(far) = far {
                paths.add(near, Some(Duration::from_micros((*far).into())));
            }
        }
        let theirs = answer.relays.to_vec();
        let later = self.join(&paths, theirs).await;
        if paths.use_best().is_none() {
            return Err(match slots.refusal {
                Some(refusal) if later.is_empty() => SessionError::NoRelay(refusal),
                _ => SessionError::Refused(OfferRefusal::NoPath),
            });
        }
        let of = (session, found.node);
        let candidates = (&offer.candidates[..], &answer.candidates[..]);
        self.look_for_direct(&paths, of, Side::Caller, candidates);
        self.connect(found.node, own, paths, later).await
    }

    /// Binds this end of the callee's slots where there is no other. Answers those that the session
    /// is to bind in its own time.
    async fn join(&self, paths: &Paths, theirs: Vec<RelayEnd>) -> Vec<RelayEnd> {
        if paths.has_any() {
            return theirs;
        }
        let endpoint = &self.inner.parts.endpoint;
        let ends = join_all(theirs.iter().map(|end| NearEnd::of_offer(endpoint, end))).await;
        for (near, end) in ends.into_iter().zip(&theirs) {
            if let Some(near) = near {
                paths.add(near, Some(Duration::from_micros(end.rtt_us.into())));
            }
        }
        Vec::new()
    }

    async fn connect(
        &self,
        node: NodeId,
        own: Own,
        paths: Paths,
        later: Vec<RelayEnd>,
    ) -> Result<Arc<PeerSession>, SessionError> {
        let endpoint = &self.inner.parts.endpoint;
        let address = paths.session().address();
        let connection = endpoint.connect(node, &[address]).await?;
        // The peer may have dialled meanwhile: then its session is the one.
        let paths = (connection.remote_address() == address).then_some(paths);
        if let (None, Some(session)) = (&paths, self.live(&node)) {
            return Ok(session);
        }
        let login_key = &self.inner.parts.login_key;
        let introduced = hello::introduce(&connection, &own, login_key, unix_now()).await;
        let (stream, theirs) = introduced.inspect_err(|error| {
            if matches!(error, SessionError::Unproven) {
                connection.close(CloseReason::NotAllowed);
            }
        })?;
        let session = self.enter(PeerSession::new(theirs, &own, connection, paths))?;
        let keeper = Keeper::new(self.clone(), Arc::clone(&session), stream);
        tokio::spawn(keeper.run(later));
        Ok(session)
    }

    fn check_answer(&self, offer: &Offer, reply: &SessionAnswer) -> Result<Answer, SessionError> {
        let unsound = |_| SessionError::Unproven;
        let now = unix_now();
        let login_key = &self.inner.parts.login_key;
        reply.credential.check(login_key, &offer.to, now).map_err(unsound)?;
        let signed = reply.answer.verify(&offer.to).map_err(|_| SessionError::Unproven)?;
        let same =
            (signed.session, signed.from, signed.to) == (offer.session, offer.from, offer.to);
        if !same || now > signed.expires.plus(CLOCK_SKEW) {
            return Err(SessionError::Unproven);
        }
        Ok(signed.clone())
    }
}
