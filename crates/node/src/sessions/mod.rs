//! Sessions with peers by name: one connection for all uses of a peer, whatever path it takes.
//!
//! [`Sessions::open`] gives the session with a peer, a live one if there is one. What a peer opens
//! on it goes to whoever has asked for streams of that kind with [`Sessions::on_stream`].

mod accept;
mod answer;
mod call;
mod called;
mod callers;
mod control;
mod counts;
mod direct;
mod error;
mod hello;
mod keep;
mod lease;
mod moving;
mod name;
mod open;
mod opening;
mod path;
mod paths;
mod peer;
mod ping;
mod pulse;
mod relayed;
mod slots;
mod source;
mod whereabouts;

pub(crate) use control::{EVENTS_WAITING, SessionEvent};
pub use counts::SessionCounts;
pub use error::{NoSlot, SessionError};
pub use name::{NodeMark, PeerName, PeerNameError};
pub use path::{PathKind, PathState};
pub use peer::PeerSession;

use crate::daemon::clock::unix_now;
use crate::daemon::driver::Driver;
use called::Awaited;
use callers::Callers;
use control::Control;
use counts::Counts;
use dashmap::DashMap;
use futures_util::future::BoxFuture;
use hello::Own;
use keep::Keeper;
use paths::Paths;
use skein_net::paths::Side;
use skein_net::{Connection, Endpoint, Stream};
use skein_proto::message::MessageKind;
use skein_proto::{BoundedVec, KeyPair, Message, NodeId, SessionId, SignedCredential, Username};
use slots::{NearSlots, Spare};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use whereabouts::Whereabouts;

/// Sessions at the same time. Each has a connection and a task.
const MAX_SESSIONS: usize = 4_096;

/// Streams that a peer with a name may have open at once: each service in use has one. One that is
/// allowed and not used costs some 40 bytes.
const MAX_STREAMS: u32 = 256;

/// Sessions that begin or end before a slow listener misses some.
const CHANGES_KEPT: usize = 256;

/// Serves a stream that a peer has opened; the message is the first on it.
pub(crate) type Handler =
    Arc<dyn Fn(Arc<PeerSession>, Message, Stream) -> BoxFuture<'static, ()> + Send + Sync>;

/// A session has begun or ended.
#[derive(Clone, Debug)]
pub(crate) struct SessionChange {
    /// Whose node the peer is.
    pub(crate) name: Username,
    /// The peer.
    pub(crate) node: NodeId,
    /// Whether it has begun.
    pub(crate) live: bool,
}

/// What the sessions work with.
pub(crate) struct Parts {
    pub(crate) endpoint: Endpoint,
    pub(crate) driver: Driver,
    pub(crate) key: KeyPair,
    pub(crate) login_key: NodeId,
    /// Whether no peer is to be told where this node is, nor shown by being dialled.
    pub(crate) hidden: bool,
    /// This node's credential, and all that come after it.
    pub(crate) credential: watch::Receiver<Option<SignedCredential>>,
}

/// The sessions of this node. Clones are the same.
#[derive(Clone)]
pub(crate) struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    control: Control,
    live: DashMap<NodeId, Arc<PeerSession>>,
    /// Sessions whose place another one with the same node has taken, and that may be used still.
    displaced: Mutex<Vec<Weak<PeerSession>>>,
    handlers: DashMap<MessageKind, Handler>,
    /// Peers that are being called: whoever else wants them waits.
    opening: opening::Turns,
    /// Sessions that were answered, or are about to be, and not dialled yet, by the address that QUIC
    /// has for the peer.
    awaited: DashMap<SocketAddr, Awaited>,
    seen: accept::Seen,
    taking: Semaphore,
    callers: Callers,
    /// Ends the session that a peer has begun on a connection, by the connection's id: when it begins
    /// another one there, the first has no more use.
    welcomed: DashMap<usize, (Weak<PeerSession>, CancellationToken)>,
    spare: Spare,
    /// Held while a session that was awaited becomes a live one.
    entering: Mutex<()>,
    whereabouts: Whereabouts,
    counts: Counts,
    changes: broadcast::Sender<SessionChange>,
    #[cfg(test)]
    unused: std::sync::OnceLock<std::time::Duration>,
}

impl Inner {
    /// How long a session is kept that nobody uses.
    fn unused(&self) -> std::time::Duration {
        #[cfg(test)]
        if let Some(unused) = self.unused.get() {
            return *unused;
        }
        keep::UNUSED
    }
}

impl Sessions {
    pub(crate) fn new(parts: Parts) -> Self {
        let control = Control::new(parts.driver.clone());
        let inner = Inner {
            parts,
            control,
            live: DashMap::new(),
            displaced: Mutex::default(),
            handlers: DashMap::new(),
            opening: opening::Turns::default(),
            awaited: DashMap::new(),
            seen: accept::Seen::default(),
            taking: Semaphore::new(accept::MAX_TAKING),
            callers: Callers::default(),
            welcomed: DashMap::new(),
            spare: Spare::default(),
            entering: Mutex::default(),
            whereabouts: Whereabouts::default(),
            counts: Counts::default(),
            changes: broadcast::channel(CHANGES_KEPT).0,
            #[cfg(test)]
            unused: std::sync::OnceLock::new(),
        };
        let sessions = Self { inner: Arc::new(inner) };
        sessions.on_stream(MessageKind::SessionPing, ping::answer);
        sessions
    }

    /// From now on, sessions that nobody uses are kept so long.
    #[cfg(test)]
    pub(crate) fn keep_unused(&self, unused: std::time::Duration) {
        self.inner.unused.set(unused).expect("said once");
    }

    /// Takes what the overlay tells, until it tells nothing more.
    pub(crate) async fn listen(self, mut events: mpsc::Receiver<SessionEvent>) {
        let take = async {
            while let Some(event) = events.recv().await {
                if let Some(offer) = self.inner.control.on_event(event) {
                    let sessions = self.clone();
                    tokio::spawn(async move { sessions.on_offer(*offer).await });
                }
            }
        };
        let asks = self.asks();
        tokio::select! {
            () = take => {}
            () = self.inner.whereabouts.keep_up(&asks) => {}
        }
    }

    /// Sessions that begin and end from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<SessionChange> {
        self.inner.changes.subscribe()
    }

    fn changed(&self, session: &PeerSession, live: bool) {
        let (name, node) = (session.name().clone(), session.node());
        // Nobody may be listening.
        let _ = self.inner.changes.send(SessionChange { name, node, live });
    }

    /// What has been counted so far.
    pub(crate) fn counts(&self) -> SessionCounts {
        self.inner.counts.snapshot(self.all().len(), self.inner.control.leases().counts())
    }

    /// The ids of the connections that must not be closed for want of traffic.
    pub(crate) fn in_use(&self) -> Vec<usize> {
        let is_used = |session: &Arc<PeerSession>| session.is_dialler() || session.is_used(true);
        let live = self.inner.live.iter().filter(|entry| is_used(entry.value()));
        let mut ids: Vec<usize> = live.map(|entry| entry.value().connection().id()).collect();
        // Each is held once here, as those that are live are by their table.
        let displaced: Vec<_> = self.displaced().iter().filter_map(Weak::upgrade).collect();
        let displaced = displaced.iter().filter(|session| is_used(session));
        ids.extend(displaced.map(|session| session.connection().id()));
        ids
    }

    fn displaced(&self) -> MutexGuard<'_, Vec<Weak<PeerSession>>> {
        self.inner.displaced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The live session with a node, if there is one.
    pub(crate) fn live(&self, node: &NodeId) -> Option<Arc<PeerSession>> {
        let session = Arc::clone(&*self.inner.live.get(node)?);
        (!session.connection().is_closed() && !session.has_expired(unix_now())).then_some(session)
    }

    /// Whether this is the live session with its node: another one may have taken its place.
    fn has_entered(&self, session: &Arc<PeerSession>) -> bool {
        let live = self.inner.live.get(&session.node());
        live.is_some_and(|live| Arc::ptr_eq(&*live, session))
    }

    /// All live sessions.
    pub(crate) fn all(&self) -> Vec<Arc<PeerSession>> {
        let all = self.inner.live.iter().map(|entry| Arc::clone(entry.value()));
        all.filter(|session| !session.connection().is_closed()).collect()
    }

    /// From now on, streams that begin with a message of this kind go to `handler`. Only peers that
    /// have shown whose node they are get that far.
    pub(crate) fn on_stream<F>(
        &self,
        kind: MessageKind,
        handler: impl Fn(Arc<PeerSession>, Message, Stream) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let handler: Handler =
            Arc::new(move |session, message, stream| Box::pin(handler(session, message, stream)));
        self.inner.handlers.insert(kind, handler);
    }

    /// Whether streams that begin with a message of this kind are for sessions.
    pub(crate) fn takes(&self, kind: MessageKind) -> bool {
        kind == MessageKind::SessionHello || self.inner.handlers.contains_key(&kind)
    }

    /// Serves a stream of a peer, until it is done with.
    pub(crate) async fn serve(&self, connection: Connection, first: Message, stream: Stream) {
        if let Message::SessionHello(hello) = first {
            self.welcome(connection, &hello, stream).await;
            return;
        }
        let handler = self.inner.handlers.get(&first.kind()).map(|handler| Arc::clone(&handler));
        let session = self.session_of(&connection);
        let (Some(handler), Some(session)) = (handler, session) else {
            tracing::debug!(peer = %connection.peer().short(), "a stream of a peer without a name");
            return;
        };
        let _served = session.serve();
        handler(Arc::clone(&session), first, stream).await;
    }

    /// The name of this node's user, if it has one now.
    pub(crate) fn own_name(&self) -> Option<Username> {
        Some(self.inner.parts.credential.borrow().as_ref()?.unverified().name.clone())
    }

    /// Has ready, as far as that can be, what a call takes beside the callee's whereabouts.
    fn prepare(&self) -> NearSlots {
        let sessions = self.clone();
        tokio::spawn(async move { sessions.whereabouts().await });
        self.near_slots()
    }

    /// Where this node may be reached, as far as it is known; what becomes known later is news.
    fn known_whereabouts(&self) -> (whereabouts::Own, watch::Receiver<whereabouts::Own>) {
        let mut moves = self.inner.whereabouts.watch();
        let own = moves.borrow_and_update().clone();
        (self.tellable(own), moves)
    }

    /// Where this node may be reached; nowhere where nobody is to know.
    async fn whereabouts(&self) -> whereabouts::Own {
        // A short while after it was asked for, this is known and comes at once.
        self.tellable(self.inner.whereabouts.find(&self.asks()).await)
    }

    fn asks(&self) -> whereabouts::Asks<'_, Driver> {
        let Parts { endpoint, driver, .. } = &self.inner.parts;
        whereabouts::Asks { endpoint, near: driver }
    }

    fn tellable(&self, own: whereabouts::Own) -> whereabouts::Own {
        match self.inner.parts.hidden {
            true => whereabouts::Own { candidates: BoundedVec::default(), ..own },
            false => own,
        }
    }

    fn own(&self) -> Result<Own, SessionError> {
        let credential = self.inner.parts.credential.borrow().clone();
        let credential = credential.filter(|held| unix_now() < held.unverified().expires);
        let credential = credential.ok_or(SessionError::NotMember)?;
        Ok(Own { session: None, credential, nat: self.inner.whereabouts.nat() })
    }

    /// Says who this node is over a connection that is there.
    async fn introduce(&self, connection: Connection) -> Result<Arc<PeerSession>, SessionError> {
        let own = self.own()?;
        let login_key = &self.inner.parts.login_key;
        let (stream, theirs) = hello::introduce(&connection, &own, login_key, unix_now()).await?;
        let session = self.enter(PeerSession::new(theirs, &own, connection, None))?;
        session.begin_keeping();
        let keeper = Keeper::new(self.clone(), Arc::clone(&session), stream);
        tokio::spawn(keeper.run(Vec::new(), None));
        Ok(session)
    }

    fn enter(&self, session: PeerSession) -> Result<Arc<PeerSession>, SessionError> {
        session.connection().allow_streams(MAX_STREAMS);
        let live = &self.inner.live;
        if live.len() >= MAX_SESSIONS && !live.contains_key(&session.node()) {
            self.inner.counts.refused();
            return Err(SessionError::TooMany(MAX_SESSIONS));
        }
        let session = Arc::new(session);
        self.inner.counts.opened(&session);
        if let Some(before) = live.insert(session.node(), Arc::clone(&session)) {
            let mut displaced = self.displaced();
            displaced.retain(|known| known.strong_count() > 0);
            displaced.push(Arc::downgrade(&before));
        }
        self.changed(&session, true);
        Ok(session)
    }

    /// Lets the paths of a session be looked for, unless this node hides.
    fn may_be_direct(&self, paths: &Paths, (session, peer): (SessionId, NodeId), side: Side) {
        let Parts { endpoint, key, hidden, .. } = &self.inner.parts;
        if let (false, Some(settings)) =
            (hidden, direct::settings(endpoint, key, &peer, session, side))
        {
            paths.may_be_direct(endpoint, settings);
        }
    }

    /// A session has ended.
    fn remove(&self, session: &Arc<PeerSession>) {
        let same = |_: &NodeId, live: &Arc<PeerSession>| Arc::ptr_eq(live, session);
        if self.inner.live.remove_if(&session.node(), same).is_some() {
            self.changed(session, false);
        }
    }
}
