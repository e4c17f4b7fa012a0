//! The callee's side: an offer is checked, its relays are bound, an answer goes back, and the
//! caller's connection comes in.

use super::Sessions;
use super::callers::{Place, Share};
use super::keep::Keeper;
use super::paths::Paths;
use super::peer::PeerSession;
use super::relayed::{NearEnd, micros};
use crate::daemon::clock::unix_now;
use futures_util::future::join_all;
use skein_net::paths::Side;
use skein_net::{CloseReason, Connection, Stream};
use skein_overlay::Input;
use skein_proto::credential::CLOCK_SKEW;
use skein_proto::session::{
    Answer, OFFER_LIFE, Offer, OfferRefusal, SessionAnswer, SessionHello, SessionOffer,
    SessionRefused,
};
use skein_proto::{BoundedVec, NodeId, SessionId, Signed, UnixTime};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Offers that are being taken at the same time. Each waits for relays, a second or two.
pub(super) const MAX_TAKING: usize = 64;

/// How long the caller may take to dial after it was answered.
const DIAL_PATIENCE: Duration = Duration::from_secs(20);

/// Sessions that were answered and not dialled yet.
const MAX_AWAITED: usize = 1_024;

/// How long the callee waits for a slot of its own, while it binds those of the offer. The caller
/// waits meanwhile; what comes later becomes a reserve in the course of the session.
const OWN_SLOT_PATIENCE: Duration = Duration::from_millis(700);

/// Sessions that were seen and could be replayed: an offer lives for a minute.
const MAX_SEEN: usize = 8_192;

/// A session that was answered, until the caller dials.
#[derive(Debug)]
pub(super) struct Awaited {
    peer: NodeId,
    paths: Paths,
    /// Of the caller's name.
    _place: Place,
}

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
        let offered = join_all(offer.relays.iter().map(|end| NearEnd::of_offer(endpoint, end)));
        let mut besides: Vec<NodeId> = offer.relays.iter().map(|end| end.relay).collect();
        besides.push(offer.from);
        let added = timeout(OWN_SLOT_PATIENCE, async {
            let granted = self.inner.control.ask_slot(&besides).await.ok()?;
            NearEnd::of_grant(endpoint, granted).await
        });
        let (offered, added, whereabouts) = tokio::join!(offered, added, self.whereabouts());
        let added = added.ok().flatten();

        let moves = self.inner.whereabouts.watch();
        let paths = Paths::new(endpoint.open_session(), moves);
        let mut bound = Vec::new();
        for (near, end) in offered.into_iter().zip(&offer.relays) {
            bound.push(near.as_ref().map(|near| micros(near.rtt)));
            if let Some(near) = near {
                paths.add(near, Some(Duration::from_micros(end.rtt_us.into())));
            }
        }
        let ours = added.as_ref().and_then(|near| near.for_far_end());
        if let Some(near) = added {
            paths.add(near, None);
        }
        if paths.use_best().is_none() {
            return Err(OfferRefusal::NoPath);
        }
        let answer = Answer {
            session: offer.session,
            from: offer.from,
            to: offer.to,
            expires: unix_now().plus(OFFER_LIFE),
            nat: whereabouts.nat,
            candidates: whereabouts.candidates,
            bound: BoundedVec::truncated(bound),
            relays: BoundedVec::truncated(ours),
        };
        let candidates = (&answer.candidates[..], &offer.candidates[..]);
        self.look_for_direct(&paths, (offer.session, offer.from), Side::Callee, candidates);
        self.await_dial(offer, paths, awaited);
        let answer = Signed::new(answer, &self.inner.parts.key);
        Ok(SessionAnswer { answer, credential: own.credential })
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

    fn await_dial(&self, offer: &Offer, paths: Paths, place: Place) {
        let (session, peer) = (offer.session, offer.from);
        self.inner.awaited.insert(session, Awaited { peer, paths, _place: place });
        let sessions = self.clone();
        tokio::spawn(async move {
            sleep(DIAL_PATIENCE).await;
            sessions.inner.awaited.remove(&session);
        });
    }

    /// A peer says who it is, on a connection that it has dialled.
    pub(super) async fn welcome(
        &self,
        connection: Connection,
        hello: &SessionHello,
        mut stream: Stream,
    ) {
        let Ok(own) = self.own() else { return };
        if !self.inner.callers.may_introduce(connection.peer()) {
            return self.inner.counts.over_share();
        }
        let login_key = &self.inner.parts.login_key;
        let checked = super::hello::check(hello, login_key, &connection.peer(), unix_now());
        let Ok(theirs) = checked else {
            return connection.close(CloseReason::NotAllowed);
        };
        // What was made for one session is not another one's: its keeper knows the path.
        let kept = self.live(&connection.peer()).filter(|live| live.paths().is_some());
        let taken = kept.is_some_and(|live| live.connection().id() == connection.id());
        let place = self.inner.callers.take(&theirs.name, Share::Sessions).filter(|_| !taken);
        let Some(_place) = place else {
            // The connection may be one of other uses: only the stream is dropped.
            return self.inner.counts.over_share();
        };
        let from = connection.remote_address();
        let awaited = hello.session.and_then(|session| {
            let fits = |awaited: &Awaited| {
                awaited.peer == connection.peer() && awaited.paths.session().address() == from
            };
            self.inner.awaited.remove_if(&session, |_, awaited| fits(awaited))
        });
        let paths = awaited.map(|(_, awaited)| awaited.paths);
        let session = PeerSession::new(theirs, &own, connection.clone(), paths);
        let Ok(session) = self.enter(session) else { return };
        if stream.sender.send(&own.hello()).await.is_err() {
            return self.remove(&session);
        }
        let (id, this, superseded) =
            (connection.id(), Arc::downgrade(&session), CancellationToken::new());
        let before = self.inner.welcomed.insert(id, (this.clone(), superseded.clone()));
        if let Some((_, before)) = before {
            before.cancel();
        }
        Keeper::new(self.clone(), session, stream).until(superseded).run(Vec::new()).await;
        self.inner.welcomed.remove_if(&id, |_, (last, _)| last.ptr_eq(&this));
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
