//! Sessions with peers by name: one connection for all uses of a peer, whatever path it takes.
//!
//! [`Sessions::open`] gives the session with a peer, a live one if there is one. What a peer opens
//! on it goes to whoever has asked for streams of that kind with [`Sessions::on_stream`].

mod error;
mod hello;
mod name;
mod path;
mod peer;

pub use error::SessionError;
pub use name::{PeerName, PeerNameError};
pub use path::{PathKind, PathState};
pub use peer::PeerSession;

use crate::daemon::clock::unix_now;
use crate::daemon::driver::Driver;
use dashmap::DashMap;
use futures_util::future::BoxFuture;
use hello::{Own, Theirs};
use skein_net::{CloseReason, Connection, Endpoint, Stream};
use skein_overlay::FoundNode;
use skein_proto::directory::{DirectoryKey, FindOutcome};
use skein_proto::message::MessageKind;
use skein_proto::session::{NatKind, SessionHello};
use skein_proto::{Message, NodeId, SignedCredential, Username};
use std::sync::Arc;
use tokio::sync::watch;

/// Sessions at the same time. Each has a connection and a task.
const MAX_SESSIONS: usize = 4_096;

/// Serves a stream that a peer has opened; the message is the first on it.
pub(crate) type Handler =
    Arc<dyn Fn(Arc<PeerSession>, Message, Stream) -> BoxFuture<'static, ()> + Send + Sync>;

/// What the sessions work with.
pub(crate) struct Parts {
    pub(crate) endpoint: Endpoint,
    pub(crate) driver: Driver,
    pub(crate) login_key: NodeId,
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
    live: DashMap<NodeId, Arc<PeerSession>>,
    handlers: DashMap<MessageKind, Handler>,
}

impl Sessions {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { inner: Arc::new(Inner { parts, live: DashMap::new(), handlers: DashMap::new() }) }
    }

    /// The session with a peer: a live one if there is one, else a new one.
    ///
    /// # Errors
    /// [`SessionError`].
    pub(crate) async fn open(&self, peer: &PeerName) -> Result<Arc<PeerSession>, SessionError> {
        let found = match peer {
            PeerName::Node(node) => return self.open_known(*node).await,
            PeerName::User(name) | PeerName::NodeOf(name, _) => {
                if let Some(session) = self.live_with(peer) {
                    return Ok(session);
                }
                self.find(name).await?
            }
        };
        let node = self.choose(peer, &found)?;
        if let Some(session) = self.live(&node.node) {
            return Ok(session);
        }
        self.dial(node).await
    }

    /// The live session with a node, if there is one.
    pub(crate) fn live(&self, node: &NodeId) -> Option<Arc<PeerSession>> {
        let session = Arc::clone(&*self.inner.live.get(node)?);
        (!session.connection().is_closed()).then_some(session)
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
        let session = self.live(&connection.peer());
        let (Some(handler), Some(session)) = (handler, session) else {
            tracing::debug!(peer = %connection.peer().short(), "a stream of a peer without a name");
            return;
        };
        let _served = session.serve();
        handler(Arc::clone(&session), first, stream).await;
    }

    fn live_with(&self, peer: &PeerName) -> Option<Arc<PeerSession>> {
        self.all().into_iter().find(|session| match peer {
            PeerName::User(name) => session.name() == name,
            PeerName::NodeOf(name, node) => session.name() == name && session.node() == *node,
            PeerName::Node(node) => session.node() == *node,
        })
    }

    async fn find(&self, name: &Username) -> Result<Vec<FoundNode>, SessionError> {
        let answer = self.inner.parts.driver.find(DirectoryKey::Name(name.clone())).await;
        let answer = answer.ok_or(SessionError::Ending)?;
        match answer.outcome {
            FindOutcome::Answered if answer.nodes.is_empty() => {
                Err(SessionError::Unknown(name.clone()))
            }
            FindOutcome::Answered => Ok(answer.nodes),
            FindOutcome::OverBudget => Err(SessionError::OverBudget),
            FindOutcome::NotAttached => Err(SessionError::NotAttached),
            FindOutcome::Unreachable | FindOutcome::Elsewhere => {
                Err(SessionError::DirectoryUnreachable)
            }
        }
    }

    /// The node that is meant: of several that are there, the one that said so last.
    fn choose<'a>(
        &self,
        peer: &PeerName,
        found: &'a [FoundNode],
    ) -> Result<&'a FoundNode, SessionError> {
        let me = self.inner.parts.endpoint.node_id();
        let (name, node) = match peer {
            PeerName::User(name) => (name, None),
            PeerName::NodeOf(name, node) => (name, Some(*node)),
            PeerName::Node(node) => return Err(SessionError::Nameless(*node)),
        };
        let meant = |found: &&FoundNode| node.is_none_or(|node| node == found.node);
        let mut meant: Vec<&FoundNode> = found.iter().filter(meant).collect();
        if let (Some(node), true) = (node, meant.is_empty()) {
            return Err(SessionError::NoSuchNode { name: name.clone(), node });
        }
        meant.retain(|found| found.node != me);
        if meant.is_empty() {
            return Err(SessionError::Own);
        }
        let best = meant.into_iter().filter(|found| found.online).max_by_key(|found| found.seen);
        best.ok_or_else(|| SessionError::Offline(name.clone()))
    }

    async fn open_known(&self, node: NodeId) -> Result<Arc<PeerSession>, SessionError> {
        if node == self.inner.parts.endpoint.node_id() {
            return Err(SessionError::Own);
        }
        if let Some(session) = self.live(&node) {
            return Ok(session);
        }
        let connection = self.inner.parts.endpoint.connection(&node);
        self.introduce(connection.ok_or(SessionError::Nameless(node))?).await
    }

    async fn dial(&self, node: &FoundNode) -> Result<Arc<PeerSession>, SessionError> {
        let connection = self.inner.parts.endpoint.connect(node.node, &node.addresses).await?;
        self.introduce(connection).await
    }

    fn own(&self) -> Result<Own, SessionError> {
        let credential = self.inner.parts.credential.borrow().clone();
        let credential = credential.filter(|held| unix_now() < held.unverified().expires);
        let credential = credential.ok_or(SessionError::NotMember)?;
        Ok(Own { session: None, credential, nat: NatKind::Unknown })
    }

    /// Says who this node is over a connection that it has dialled, or has.
    async fn introduce(&self, connection: Connection) -> Result<Arc<PeerSession>, SessionError> {
        let login_key = self.inner.parts.login_key;
        let own = self.own()?;
        let (stream, theirs) = hello::introduce(&connection, &own, &login_key, unix_now()).await?;
        let session = self.enter(connection, theirs)?;
        let held = Arc::clone(&session);
        tokio::spawn(async move { keep(&held, stream).await });
        Ok(session)
    }

    /// A peer says who it is.
    async fn welcome(&self, connection: Connection, hello: &SessionHello, mut stream: Stream) {
        let login_key = self.inner.parts.login_key;
        let Ok(own) = self.own() else { return };
        let theirs = match hello::check(hello, &login_key, &connection.peer(), unix_now()) {
            Ok(theirs) => theirs,
            Err(_) => return connection.close(CloseReason::NotAllowed),
        };
        let Ok(session) = self.enter(connection, theirs) else { return };
        if stream.sender.send(&own.hello()).await.is_ok() {
            keep(&session, stream).await;
        }
    }

    fn enter(
        &self,
        connection: Connection,
        theirs: Theirs,
    ) -> Result<Arc<PeerSession>, SessionError> {
        let live = &self.inner.live;
        live.retain(|_, session| !session.connection().is_closed());
        if live.len() >= MAX_SESSIONS {
            return Err(SessionError::TooMany(MAX_SESSIONS));
        }
        let path = PathState {
            kind: PathKind::Direct { address: connection.remote_address() },
            rtt: connection.rtt(),
            nat_here: NatKind::Unknown,
            nat_there: theirs.nat,
            reserve: None,
            since: unix_now().0,
        };
        let session = Arc::new(PeerSession::new(theirs.name, connection, path));
        live.insert(session.node(), Arc::clone(&session));
        Ok(session)
    }
}

/// Takes what the peer tells about the session, until it tells nothing more.
async fn keep(session: &PeerSession, mut stream: Stream) {
    while let Ok(Some(Message::SessionNews(news))) = stream.receiver.recv().await {
        tracing::debug!(peer = %session.node().short(), ?news, "news of a session");
    }
}
