//! The callee's side once it has taken an offer: the caller's connection comes in, and says who it
//! is.

use super::callers::{Place, Share};
use super::hello::{Own, Theirs};
use super::keep::Keeper;
use super::paths::Paths;
use super::peer::PeerSession;
use super::{Sessions, hello};
use crate::daemon::clock::unix_now;
use skein_net::{CloseReason, Connection, Stream};
use skein_proto::session::{Offer, SessionHello};
use skein_proto::{NodeId, SessionId, Username};
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long the caller may take to dial after it was answered.
const DIAL_PATIENCE: Duration = Duration::from_secs(20);

/// How long a caller whose connection is there may take to say who it is. It sends that first of
/// all; what comes before has overtaken it.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);

/// A session whose offer was taken, until the caller is there.
#[derive(Debug)]
pub(super) struct Awaited {
    session: SessionId,
    peer: NodeId,
    /// What the offer says of the caller.
    theirs: Theirs,
    paths: Arc<Paths>,
    /// Of the caller's name.
    _place: Place,
}

impl Awaited {
    /// Of an offer whose credential was checked.
    pub(super) fn new(offer: &Offer, theirs: Theirs, paths: Arc<Paths>, place: Place) -> Self {
        Self { session: offer.session, peer: offer.from, theirs, paths, _place: place }
    }
}

impl Sessions {
    /// Lets the caller of a session in, for a while.
    pub(super) fn await_dial(&self, awaited: Awaited) {
        let address = awaited.paths.session().address();
        self.inner.awaited.insert(address, awaited);
        let sessions = self.clone();
        tokio::spawn(async move {
            sleep(DIAL_PATIENCE).await;
            sessions.give_up(&address);
        });
    }

    /// Awaits the caller of a session no more.
    pub(super) fn give_up(&self, address: &SocketAddr) {
        self.inner.awaited.remove(address);
    }

    /// The session that streams of a connection belong to: one that is live, or one whose caller has
    /// just got through. It need not have said who it is: its offer has.
    pub(super) fn session_of(&self, connection: &Connection) -> Option<Arc<PeerSession>> {
        let of_connection = |live: &Arc<PeerSession>| live.connection() == connection;
        if let Some(live) = self.live(&connection.peer()).filter(of_connection) {
            return Some(live);
        }
        let _entering = self.entering();
        let live = self.live(&connection.peer());
        if live.as_ref().is_some_and(of_connection) {
            return live;
        }
        let enter = || {
            let own = self.own().ok()?;
            let awaited = self.take_awaited(connection, |_| true)?;
            let place = self.share_of(&awaited.theirs.name)?;
            let paths = Some(awaited.paths);
            let session = PeerSession::new(awaited.theirs, &own, connection.clone(), paths);
            session.holds(place);
            let session = self.enter(session).ok()?;
            tokio::spawn(self.clone().expect_hello(Arc::downgrade(&session), connection.clone()));
            Some(session)
        };
        enter().or(live)
    }

    fn take_awaited(
        &self,
        connection: &Connection,
        is_it: impl Fn(&Awaited) -> bool,
    ) -> Option<Awaited> {
        let address = connection.remote_address();
        let fits =
            |_: &SocketAddr, awaited: &Awaited| awaited.peer == connection.peer() && is_it(awaited);
        self.inner.awaited.remove_if(&address, fits).map(|(_, awaited)| awaited)
    }

    /// A session has been entered by what came before the caller's hello: nobody keeps it until that
    /// is there.
    async fn expect_hello(self, session: Weak<PeerSession>, connection: Connection) {
        tokio::select! {
            _ = connection.closed() => {}
            () = sleep(HELLO_PATIENCE) => {}
        }
        let Some(session) = session.upgrade().filter(|session| !session.is_kept()) else { return };
        connection.close(CloseReason::Misbehaved);
        self.remove(&session);
    }

    fn share_of(&self, name: &Username) -> Option<Place> {
        let place = self.inner.callers.take(name, Share::Sessions);
        if place.is_none() {
            self.inner.counts.over_share();
        }
        place
    }

    /// The session of a peer that has said who it is. Nothing if another one keeps it, or the peer has
    /// as many as it may.
    fn admit(
        &self,
        connection: &Connection,
        hello: &SessionHello,
        theirs: Theirs,
        own: &Own,
    ) -> Option<Arc<PeerSession>> {
        let _entering = self.entering();
        let live = self.live(&connection.peer());
        let made_for =
            live.filter(|live| live.connection() == connection && live.paths().is_some());
        if let Some(session) = made_for {
            // What was made for one session is not another one's: its keeper knows the path. It has
            // none yet if it was entered by what came before its hello.
            if *session.name() != theirs.name || !session.begin_keeping() {
                self.inner.counts.over_share();
                return None;
            }
            session.holds_until(theirs.expires);
            session.set_nats(None, Some(theirs.nat));
            return Some(session);
        }
        // The connection may be one of other uses: only the stream is dropped.
        let place = self.share_of(&theirs.name)?;
        let is_for = |awaited: &Awaited| hello.session == Some(awaited.session);
        let awaited = self.take_awaited(connection, is_for);
        if awaited.is_none() && connection.is_over_session() {
            self.inner.counts.over_share();
            return None;
        }
        let paths = awaited.map(|awaited| awaited.paths);
        let session = PeerSession::new(theirs, own, connection.clone(), paths);
        session.holds(place);
        session.begin_keeping();
        self.enter(session).ok()
    }

    /// Between being awaited and being live, a session is neither: streams that come at the same time
    /// as the hello, on another thread, would belong to none.
    fn entering(&self) -> MutexGuard<'_, ()> {
        self.inner.entering.lock().unwrap_or_else(PoisonError::into_inner)
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
        let checked = hello::check(hello, login_key, &connection.peer(), unix_now());
        let Ok(theirs) = checked else {
            return connection.close(CloseReason::NotAllowed);
        };
        let Some(session) = self.admit(&connection, hello, theirs, &own) else { return };
        if stream.sender.send(&own.hello()).await.is_err() {
            return self.remove(&session);
        }
        let (id, this, superseded) =
            (connection.id(), Arc::downgrade(&session), CancellationToken::new());
        let before = self.inner.welcomed.insert(id, (this.clone(), superseded.clone()));
        if let Some((_, before)) = before {
            before.cancel();
        }
        Keeper::new(self.clone(), session, stream).until(superseded).run(Vec::new(), None).await;
        self.inner.welcomed.remove_if(&id, |_, (last, _)| last.ptr_eq(&this));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::driver::Driver;
    use crate::sessions::Parts;
    use skein_net::simnet::{LinkProfile, Network};
    use skein_net::{Endpoint, EndpointConfig};
    use skein_proto::session::NatKind;
    use skein_proto::{BoundedVec, Credential, KeyPair, Signed, SignedCredential, UnixTime};
    use std::sync::Barrier;
    use tokio::sync::watch;
    use tokio::task::spawn_blocking;

    const LOGIN: [u8; 32] = [200; 32];

    fn credential(name: &str, node: NodeId) -> SignedCredential {
        let (name, issued) = (Username::parse(name).expect("a name"), unix_now());
        let expires = UnixTime(issued.0 + UnixTime::DAY);
        let credential = Credential { name, node, issued, expires, registered: UnixTime(0) };
        Signed::new(credential, &KeyPair::from_seed(&LOGIN))
    }

    fn endpoint(network: &Network, seed: u8) -> (KeyPair, Endpoint) {
        let key = KeyPair::from_seed(&[seed; 32]);
        let line = LinkProfile::default().latency(Duration::ZERO);
        let socket = network.socket(([10, 0, 0, seed], 4701).into(), line).expect("free");
        let endpoint = Endpoint::with_socket(&key, socket, EndpointConfig::default());
        (key, endpoint.expect("an endpoint"))
    }

    /// The callee's sessions, whose overlay has ended.
    fn sessions(key: KeyPair, endpoint: Endpoint) -> Sessions {
        let credential = Some(credential("callee", key.node_id()));
        Sessions::new(Parts {
            endpoint,
            driver: Driver::ended(),
            key,
            login_key: KeyPair::from_seed(&LOGIN).node_id(),
            hidden: false,
            credential: watch::Sender::new(credential).subscribe(),
        })
    }

    /// Awaits the caller of a session at the address of a connection that is there already.
    fn await_caller(sessions: &Sessions, caller: &Connection, session: SessionId, theirs: Theirs) {
        let offer = Offer {
            session,
            from: caller.peer(),
            to: sessions.inner.parts.endpoint.node_id(),
            expires: theirs.expires,
            nat: theirs.nat,
            candidates: BoundedVec::default(),
            relays: BoundedVec::default(),
            first: BoundedVec::default(),
        };
        let place = sessions.inner.callers.take(&theirs.name, Share::Awaited).expect("a place");
        let (_, moves) = sessions.known_whereabouts();
        let paths = Paths::new(sessions.inner.parts.endpoint.open_session(), moves);
        let awaited = Awaited::new(&offer, theirs, Arc::new(paths), place);
        sessions.inner.awaited.insert(caller.remote_address(), awaited);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stream_that_comes_beside_the_hello_belongs_to_the_session_that_the_hello_begins() {
        let network = Network::new(1);
        let (callee, caller) = (endpoint(&network, 1), endpoint(&network, 2));
        let at = [callee.1.local_addr().expect("an address")];
        let dialled = caller.1.connect(callee.0.node_id(), &at);
        let (dialled, accepted) = tokio::join!(dialled, callee.1.accept());
        let (_dialled, accepted) = (dialled.expect("connected"), accepted.expect("connected"));
        let sessions = sessions(callee.0, callee.1);
        let credential = credential("caller", caller.0.node_id());
        let (name, nat) = (credential.unverified().name.clone(), NatKind::Unknown);
        let theirs = Theirs { name, nat, expires: credential.unverified().expires };

        // As many rounds as find the two in the middle of each other, on any machine.
        for round in 0..2_000_u128 {
            let session = SessionId::from_bytes(round.to_be_bytes());
            await_caller(&sessions, &accepted, session, theirs.clone());
            let start = Arc::new(Barrier::new(2));
            let (here, connection, starts) = (sessions.clone(), accepted.clone(), start.clone());
            let streams = spawn_blocking(move || {
                starts.wait();
                here.session_of(&connection)
            });
            let hello =
                SessionHello { session: Some(session), credential: credential.clone(), nat };
            let (here, connection, theirs) = (sessions.clone(), accepted.clone(), theirs.clone());
            let hellos = spawn_blocking(move || {
                let own = here.own().expect("a member");
                start.wait();
                here.admit(&connection, &hello, theirs, &own)
            });
            let (of_stream, of_hello) = tokio::join!(streams, hellos);
            let of_hello = of_hello.expect("it ran").expect("the hello is good");
            let of_stream = of_stream.expect("it ran");
            let same = of_stream.is_some_and(|of_stream| Arc::ptr_eq(&of_stream, &of_hello));
            assert!(same, "round {round}: the stream belongs to no session");
            assert!(of_hello.paths().is_some(), "it is the one that was awaited");
            sessions.remove(&of_hello);
        }
        assert_eq!(sessions.counts().over_share, 0);
    }
}
