//! Opening a session by name: who is meant, where that node is, and which way leads to it.

use super::call::Naming;
use super::opening::Opening;
use super::slots::NearSlots;
use super::{NodeMark, PeerName, PeerSession, SessionError, Sessions};
use skein_net::Connection;
use skein_overlay::FoundNode;
use skein_proto::directory::{DirectoryKey, FindOutcome};
use skein_proto::session::OfferRefusal;
use skein_proto::{NodeId, Username};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a connection over a session may take to become a session of this node's: whoever has
/// made it says a few words first.
const MADE_WITHIN: Duration = Duration::from_secs(2);

impl Sessions {
    /// The session with a peer: a live one if there is one, else a new one.
    ///
    /// # Errors
    /// [`SessionError`].
    pub(crate) async fn open(&self, peer: &PeerName) -> Result<Arc<PeerSession>, SessionError> {
        if let Some(session) = self.live_with(peer) {
            return Ok(session);
        }
        let opening = Opening::new(&self.inner.opening, peer);
        let _turn = opening.turn().await;
        self.open_new(peer).await
    }

    /// The session with a node of which it is known where it is attached: a live one if there is
    /// one, else a new one, by no other way than an offer. The directory is asked only if the node
    /// is attached there no more.
    ///
    /// # Errors
    /// [`SessionError`].
    pub(crate) async fn open_at(
        &self,
        found: &FoundNode,
    ) -> Result<Arc<PeerSession>, SessionError> {
        let peer = PeerName::NodeOf(found.name.clone(), found.node.into());
        let opening = Opening::new(&self.inner.opening, &peer);
        let _turn = opening.turn().await;
        if let Some(session) = self.live(&found.node) {
            return Ok(session);
        }
        self.own()?;
        match self.call(found, Naming::Claimed, self.prepare()).await {
            Err(SessionError::Refused(OfferRefusal::NotHere | OfferRefusal::ParentUnreachable)) => {
                self.open_new(&peer).await
            }
            outcome => outcome,
        }
    }

    async fn open_new(&self, peer: &PeerName) -> Result<Arc<PeerSession>, SessionError> {
        let name = match peer {
            PeerName::User(name) | PeerName::NodeOf(name, _) => name,
            PeerName::Node(node) => return self.open_known(*node).await,
        };
        // Somebody else may have called the peer while this one waited.
        if let Some(session) = self.live_with(peer) {
            return Ok(session);
        }
        self.own()?;
        let slots = self.prepare();
        let found = self.look_up(name).await?;
        let node = self.choose(peer, &found)?;
        if let Some(session) = self.live(&node.node) {
            return Ok(session);
        }
        self.reach(node, slots).await
    }

    /// The nodes of a user, as the directory knows them.
    ///
    /// # Errors
    /// [`SessionError::Unknown`] if it knows none.
    pub(crate) async fn look_up(&self, name: &Username) -> Result<Vec<FoundNode>, SessionError> {
        let key = DirectoryKey::Name(name.clone());
        let answer = self.inner.control.driver().find_patiently(key).await;
        let answer = answer.ok_or(SessionError::Ending)?;
        match answer.outcome {
            FindOutcome::Answered if answer.nodes.is_empty() => {
                Err(SessionError::Unknown(name.clone()))
            }
            FindOutcome::Answered => Ok(answer.nodes),
            FindOutcome::OverBudget => Err(SessionError::OverBudget),
            FindOutcome::NotAttached => Err(SessionError::NotAttached),
            FindOutcome::Fetching => Err(SessionError::DirectoryFetching),
            FindOutcome::Unreachable | FindOutcome::Elsewhere => {
                Err(SessionError::DirectoryUnreachable)
            }
        }
    }

    /// The one of a user's nodes that is meant.
    ///
    /// # Errors
    /// [`SessionError::NoSuchNode`], and those of [`Self::look_up`].
    pub(crate) async fn whole_id(
        &self,
        name: &Username,
        mark: &NodeMark,
    ) -> Result<NodeId, SessionError> {
        if let Some(node) = mark.whole() {
            return Ok(node);
        }
        let found = self.look_up(name).await?;
        let meant = found.iter().filter(|found| mark.is_of(&found.node));
        let latest = meant.max_by_key(|found| found.seen).map(|found| found.node);
        let nobody = || SessionError::NoSuchNode { name: name.clone(), node: mark.clone() };
        latest.ok_or_else(nobody)
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
            PeerName::NodeOf(name, node) => (name, Some(node)),
            PeerName::Node(node) => return Err(SessionError::Nameless(*node)),
        };
        let meant = |found: &&FoundNode| node.is_none_or(|node| node.is_of(&found.node));
        let mut meant: Vec<&FoundNode> = found.iter().filter(meant).collect();
        if let (Some(node), true) = (node, meant.is_empty()) {
            return Err(SessionError::NoSuchNode { name: name.clone(), node: node.clone() });
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
        self.session_over(connection.ok_or(SessionError::Nameless(node))?).await
    }

    /// The session over a connection that is there: one that is live or awaited; else this node says
    /// who it is.
    pub(super) async fn session_over(
        &self,
        connection: Connection,
    ) -> Result<Arc<PeerSession>, SessionError> {
        if let Some(session) = self.session_of(&connection) {
            return Ok(session);
        }
        if !connection.is_over_session() {
            return self.introduce(connection).await;
        }
        // Another call of this node's has made it, and is about to say so. It has no path but that
        // call's.
        let mut changes = self.changes();
        let made = async {
            loop {
                if let Some(session) = self.session_of(&connection) {
                    return Ok(session);
                }
                tokio::select! {
                    error = connection.closed() => return Err(error.into()),
                    _ = changes.recv() => {}
                }
            }
        };
        timeout(MADE_WITHIN, made).await.unwrap_or(Err(SessionError::NotTaken))
    }

    fn live_with(&self, peer: &PeerName) -> Option<Arc<PeerSession>> {
        self.all().into_iter().find(|session| match peer {
            PeerName::User(name) => session.name() == name,
            PeerName::NodeOf(name, node) => session.name() == name && node.is_of(&session.node()),
            PeerName::Node(node) => session.node() == *node,
        })
    }

    /// Opens a session with a node that was looked up.
    ///
    /// A node that this one is connected with anyway, such as its parent, needs no path; a
    /// supernode is where it says that it is. With all others it begins over a relay, and only
    /// where there is none at the addresses that the directory knows.
    async fn reach(
        &self,
        found: &FoundNode,
        slots: NearSlots,
    ) -> Result<Arc<PeerSession>, SessionError> {
        let endpoint = &self.inner.parts.endpoint;
        if let Some(connection) = endpoint.connection(&found.node) {
            return self.session_over(connection).await;
        }
        let may_dial = !self.inner.parts.hidden && !found.addresses.is_empty();
        if found.parent.is_none()
            && may_dial
            && let Ok(connection) = endpoint.connect(found.node, &found.addresses).await
        {
            return self.session_over(connection).await;
        }
        match self.call(found, Naming::Proven, slots).await {
            Err(error) if may_dial && error.may_be_the_relays() => {
                match endpoint.connect(found.node, &found.addresses).await {
                    Ok(connection) => self.session_over(connection).await,
                    Err(_) => Err(error),
                }
            }
            outcome => outcome,
        }
    }
}
