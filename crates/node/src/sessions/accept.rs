//! The callee's side: an offer is checked, the first packet that it carries is answered, its relays
//! are bound, and an answer goes back.

use super::called::Awaited;
use super::callers::{Leave, Share};
use super::hello::{Own, Theirs};
use super::paths::Paths;
use super::relayed::{Ends, NearEnd, micros};
use super::{Sessions, direct};
use crate::daemon::clock::unix_now;
use futures_util::future::join_all;
use skein_net::paths::Side;
use skein_net::session::FirstPacket;
use skein_overlay::Input;
use skein_proto::credential::CLOCK_SKEW;
use skein_proto::session::{
    Answer, KeySeal, OFFER_LIFE, Offer, OfferRefusal, SessionAnswer, SessionOffer, SessionRefused,
};
use skein_proto::{BoundedVec, NodeId, SessionId, Signed, UnixTime};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Offers that are being taken at the same time. Each waits for relays, a second or two.
pub(super) const MAX_TAKING: usize = 64;

/// Sessions that were answered and not dialled yet.
const MAX_AWAITED: usize = 1_024;

/// How long the callee waits for a slot of its own, while it binds those of the offer. The caller
/// waits meanwhile; what comes later becomes a reserve in the course of the session.
const OWN_SLOT_PATIENCE: Duration = Duration::from_millis(700);

/// How long the answer waits for those who say where this node is seen, once the relays are bound,
/// which takes longer than they do.
const SEEN_PATIENCE: Duration = Duration::from_millis(100);

/// Sessions that were seen and could be replayed: an offer lives for a minute.
const MAX_SEEN: usize = 8_192;

/// Sessions that were seen, until they would be refused as expired.
#[derive(Debug, Default)]
pub(super) struct Seen {
    sessions: Mutex<HashMap<(NodeId, SessionId), UnixTime>>,
}

/// What is known of a session that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    New,
    Known,
    NoRoom,
}

impl Seen {
    /// Enters a session of a caller's. By the caller as well: whoever sees an offer on its way cannot
    /// spoil its number by an offer of its own.
    fn enter(&self, of: (NodeId, SessionId), expires: UnixTime, now: UnixTime) -> Entry {
        let mut seen = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains_key(&of) {
            return Entry::Known;
        }
        if seen.len() >= MAX_SEEN {
            seen.retain(|_, expires| now < *expires);
        }
        if seen.len() >= MAX_SEEN {
            return Entry::NoRoom;
        }
        seen.insert(of, expires);
        Entry::New
    }
}

impl Sessions {
    /// Somebody calls.
    pub(super) async fn on_offer(&self, message: SessionOffer) {
        let session = message.offer.unverified().session;
        let outcome = match self.inner.taking.try_acquire() {
            Ok(_place) => self.take_offer(&message).await,
            Err(_) => Err(OfferRefusal::Busy),
        };
        let input = match outcome {
            Ok(answer) => Input::AnswerSession(Box::new(answer)),
            Err(reason) => {
                tracing::debug!(%session, %reason, "a session is refused");
                self.inner.counts.offer_refused(reason);
                Input::RefuseSession(SessionRefused { session, reason })
            }
        };
        self.inner.control.driver().input(input).await;
    }

    async fn take_offer(&self, message: &SessionOffer) -> Result<SessionAnswer, OfferRefusal> {
        let offer = self.check_offer(message)?;
        let own = self.own().map_err(|_| OfferRefusal::NotWilling)?;
        let full = self.inner.live.len() >= super::MAX_SESSIONS;
        if full || self.inner.awaited.len() >= MAX_AWAITED {
            return Err(OfferRefusal::Busy);
        }
        // The credential was checked, so that nobody spends the share of others.
        let name = &message.credential.unverified().name;
        let share = |share| {
            let place = self.inner.callers.take(name, share);
            place.ok_or_else(|| {
                self.inner.counts.over_share();
                OfferRefusal::Busy
            })
        };
        let _taking = share(Share::Taking)?;
        let awaited = share(Share::Awaited)?;
        let endpoint = &self.inner.parts.endpoint;
        let paths = Arc::new(Paths::new(endpoint.open_session(), self.inner.whereabouts.watch()));
        let credential = message.credential.unverified();
        let (name, expires) = (credential.name.clone(), credential.expires);
        let theirs = Theirs { name, nat: offer.nat, expires };
        let seal = self.seal_for(&offer.from).ok_or(OfferRefusal::Unsound)?;
        let leave = self.inner.callers.may_add_now(&theirs.name);
        if leave.is_none() {
            self.inner.counts.slot_withheld();
        }
        self.await_dial(Awaited::new(offer, theirs, Arc::clone(&paths), awaited));
        let outcome = self.answer(offer, &own, &paths, (&seal, leave)).await;
        if outcome.is_err() {
            self.give_up(&paths.session().address());
        }
        outcome
    }

    async fn answer(
        &self,
        offer: &Offer,
        own: &Own,
        paths: &Arc<Paths>,
        (seal, leave): (&KeySeal, Option<Leave>),
    ) -> Result<SessionAnswer, OfferRefusal> {
        let endpoint = &self.inner.parts.endpoint;
        let ends = join_all(offer.relays.iter().map(|end| self.ends_of(end, seal))).await;
        // Before the caller can say anything newer over the session.
        self.may_be_direct(paths, (offer.session, offer.from), Side::Callee);
        paths.expect(direct::heard(&offer.candidates));
        let early = ends.first().and_then(Ends::first).cloned();
        let early = early.filter(|_| !offer.first.is_empty());
        let reply_early = self.reply_early(offer, early.as_ref(), paths);
        let offered = join_all(ends.into_iter().map(|ends| ends.prove_one(endpoint)));
        let mut besides: Vec<NodeId> = offer.relays.iter().map(|end| end.relay).collect();
        besides.push(offer.from);
        let added = timeout(OWN_SLOT_PATIENCE, async {
            let leave = leave?;
            let granted = self.inner.control.ask_slot(&besides, 0).await.ok()?;
            let near = NearEnd::of_grant(endpoint, granted).await?;
            near.holds(leave);
            Some(near)
        });
        let sessions = self.clone();
        let seen = tokio::spawn(async move { sessions.whereabouts().await });
        let (offered, added, ()) = tokio::join!(offered, added, reply_early);
        // What is known by then is in the answer, and what becomes known later is told over the
        // session: nobody who is silent keeps the caller waiting.
        let _ = timeout(SEEN_PATIENCE, seen).await;
        let whereabouts = self.tellable(paths.tells());
        let added = added.ok().flatten();
        if let Some(early) = early
            && !offered
                .first()
                .is_some_and(|first| first.as_ref().is_some_and(|first| Arc::ptr_eq(first, &early)))
        {
            // It is not there where it was thought to be.
            paths.could_not_bind(early.slot());
        }
        let mut bound = Vec::new();
        for (near, end) in offered.into_iter().zip(&offer.relays) {
            bound.push(near.as_ref().map(|near| micros(near.rtt())));
            if let Some(near) = near {
                paths.add(near, Some(Duration::from_micros(end.rtt_us.into())));
            }
        }
        let ours = added.as_ref().and_then(|near| near.for_far_end(seal));
        if let Some(near) = added {
            paths.add(near, None);
        }
        if paths.use_best().is_none() {
            return Err(OfferRefusal::NoPath);
        }
        let (session, from, to) = (offer.session, offer.from, offer.to);
        let answer = Answer {
            session,
            from,
            to,
            expires: unix_now().plus(OFFER_LIFE),
            nat: whereabouts.nat,
            candidates: whereabouts.candidates,
            bound: BoundedVec::truncated(bound),
            relays: BoundedVec::truncated(ours),
        };
        paths.look_for_direct();
        let answer = Signed::new(answer, &self.inner.parts.key);
        Ok(SessionAnswer { answer, credential: own.credential.clone() })
    }

    /// Answers the first packet of the caller's dial, if the offer carries it, over the relay that
    /// the caller likes best, without waiting for this end of its slot to be bound.
    async fn reply_early(&self, offer: &Offer, early: Option<&Arc<NearEnd>>, paths: &Paths) {
        let Some(near) = early else { return };
        let Ok(first) = FirstPacket::new(offer.first.to_vec()) else {
            return self.inner.counts.no_first_packet();
        };
        if near.prepare(&self.inner.parts.endpoint).await
            && paths
                .add(Arc::clone(near), Some(Duration::from_micros(offer.relays[0].rtt_us.into())))
            && paths.use_best().is_some()
        {
            paths.session().take_first(&first);
        }
    }

    fn check_offer<'a>(&self, message: &'a SessionOffer) -> Result<&'a Offer, OfferRefusal> {
        let now = unix_now();
        let claimed = message.offer.unverified();
        let login_key = &self.inner.parts.login_key;
        let me = self.inner.parts.endpoint.node_id();
        let in_time = now < claimed.expires && claimed.expires <= now.plus(OFFER_LIFE + CLOCK_SKEW);
        if claimed.to != me || claimed.from == me || !in_time {
            return Err(OfferRefusal::Unsound);
        }
        let credential = message.credential.check(login_key, &claimed.from, now);
        credential.map_err(|_| OfferRefusal::Unsound)?;
        let offer = message.offer.verify(&claimed.from).map_err(|_| OfferRefusal::Unsound)?;
        match self.inner.seen.enter((offer.from, offer.session), offer.expires, now) {
            Entry::New => Ok(offer),
            Entry::Known => Err(OfferRefusal::Unsound),
            Entry::NoRoom => Err(OfferRefusal::Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: NodeId = NodeId::from_bytes([1; 32]);

    #[test]
    fn a_session_is_new_once_for_each_caller() {
        let seen = Seen::default();
        let session = SessionId::from_bytes([1; 16]);
        let enter = |caller, now| seen.enter((caller, session), UnixTime(60), UnixTime(now));
        assert_eq!(enter(CALLER, 0), Entry::New);
        assert_eq!(enter(CALLER, 59), Entry::Known);
        assert_eq!(enter(NodeId::from_bytes([2; 32]), 59), Entry::New, "nobody spoils another's");
    }

    #[test]
    fn what_was_seen_is_bounded_and_forgotten_when_it_has_expired() {
        let seen = Seen::default();
        let session = |number: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            (CALLER, SessionId::from_bytes(bytes))
        };
        for number in 0..MAX_SEEN {
            assert_eq!(seen.enter(session(number), UnixTime(60), UnixTime(0)), Entry::New);
        }
        assert_eq!(seen.enter(session(MAX_SEEN), UnixTime(60), UnixTime(59)), Entry::NoRoom);
        assert_eq!(seen.enter(session(MAX_SEEN), UnixTime(120), UnixTime(60)), Entry::New);
    }
}
