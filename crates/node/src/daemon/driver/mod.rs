//! Drives the overlay: what happens on the network, in the library and at the user's side goes in,
//! what the overlay wants done goes out to the tasks that do it.
//!
//! One task owns the state machine. Local inputs come before those of remote peers, so that no
//! peer can keep the user waiting.

mod carry_out;
mod links;
mod task;

#[cfg(test)]
pub(super) use links::CROSSING;

use super::clock::Clock;
use super::link::LinkEvent;
use super::remember::Memory;
use super::searchers::Searchers;
use super::wishes::WishHits;
use crate::api::types::DaemonEvent;
use crate::library::Library;
use crate::relay::Donor;
use crate::sessions::SessionEvent;
use skein_net::{Connection, Endpoint, Stream};
use skein_overlay::{Counters, FoundNode, FoundSource, Input, Overlay, Snapshot};
use skein_proto::directory::{DirectoryKey, FindOutcome};
use skein_proto::evidence::ShowEvidence;
use skein_proto::message::Hello;
use skein_proto::query::Coverage;
use skein_proto::supernode::Load;
use skein_proto::{HitGroup, NodeId, Query, QueryId, Username};
use std::net::SocketAddr;
use std::time::Duration;
use task::Task;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Messages of all peers that wait for the state machine. When it is full the peers wait, each on
/// its own stream.
const REMOTE_QUEUE: usize = 1_024;

/// Local inputs that wait.
const LOCAL_QUEUE: usize = 256;

/// Hits of one search that wait for whoever shows them.
const HITS_QUEUE: usize = 1_024;

/// How long somebody who looks a name up waits for supernodes that have just come to keep it, and
/// how often they are asked meanwhile: a newcomer asks for records 3 to 5 s after it has come.
const FETCHED_WITHIN: Duration = Duration::from_secs(12);
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// What comes from peers. It waits for its turn behind all that comes from this machine.
#[derive(Debug)]
pub(super) enum FromPeer {
    /// A link has something to tell.
    Link { peer: NodeId, generation: u64, event: LinkEvent },
    /// A peer has opened a control stream and greeted.
    Greeted(Box<Greeted>),
    /// Something came on a stream of its own.
    Aside(Box<Input>),
}

/// A control stream that a peer has opened, with the greeting that came on it.
#[derive(Debug)]
pub(super) struct Greeted {
    connection: Connection,
    stream: Stream,
    hello: Hello,
}

/// What comes of a search.
#[derive(Debug)]
pub(crate) enum SearchUpdate {
    Hits(Vec<HitGroup>),
    Done(Coverage),
}

/// What came of a look-up in the directory; every record was checked.
#[derive(Debug)]
pub(crate) struct DirectoryAnswer {
    pub(crate) outcome: FindOutcome,
    pub(crate) nodes: Vec<FoundNode>,
    pub(crate) sources: Vec<FoundSource>,
}

/// How the overlay is doing.
#[derive(Clone, Debug)]
pub(crate) struct OverlayView {
    pub(crate) snapshot: Snapshot,
    pub(crate) counters: Counters,
    /// Links cut since the peer did not read.
    pub(crate) links_stalled: u64,
    /// Hits dropped since whoever shows them did not keep up.
    pub(crate) hits_unread: u64,
    /// What the overlay told about sessions and was dropped since they did not keep up.
    pub(crate) session_events_dropped: u64,
    /// The ids of the connections that carry a control stream.
    pub(crate) linked: Vec<usize>,
}

enum Order {
    Input(Input),
    Dialled { peer: NodeId, outcome: Option<(Connection, Stream)> },
    Search { id: QueryId, query: Query, wanted: u16, updates: mpsc::Sender<SearchUpdate> },
    Find { id: QueryId, key: DirectoryKey, answer: oneshot::Sender<DirectoryAnswer> },
    View(oneshot::Sender<OverlayView>),
    Reputations(Vec<Username>, oneshot::Sender<Vec<u16>>),
    Evidence(oneshot::Sender<Vec<ShowEvidence>>),
    Supernode(NodeId, oneshot::Sender<Option<Vec<SocketAddr>>>),
    NearSupernodes(oneshot::Sender<Vec<NodeId>>),
    Release { relay: NodeId, slot: u64, answer: oneshot::Sender<bool> },
}

/// What the login service is asked for on the overlay's behalf.
#[derive(Clone, Debug)]
pub(crate) enum LoginWish {
    Bootstrap { willing: bool },
    Report { load: Load, addresses: Vec<SocketAddr> },
}

/// A handle to the driver's task.
#[derive(Clone, Debug)]
pub(crate) struct Driver {
    orders: mpsc::Sender<Order>,
    from_peers: mpsc::Sender<FromPeer>,
    /// Where searches are cancelled when their stream is dropped, without waiting. It needs no
    /// limit: each search is cancelled once at most, and searches have to wait for their turn.
    cancels: mpsc::UnboundedSender<QueryId>,
}

/// What the driver's task works with.
pub(crate) struct Parts {
    pub(crate) overlay: Overlay,
    pub(crate) clock: Clock,
    pub(crate) endpoint: Endpoint,
    pub(crate) library: Library,
    pub(crate) memory: Memory,
    pub(crate) events: broadcast::Sender<DaemonEvent>,
    pub(crate) wishes: mpsc::Sender<LoginWish>,
    /// Where it goes what comes of the user's own wishes.
    pub(crate) wish_hits: mpsc::Sender<WishHits>,
    /// This machine's relay.
    pub(crate) donor: Donor,
    /// Where it goes what the overlay tells about sessions.
    pub(crate) sessions: mpsc::Sender<SessionEvent>,
    pub(crate) ended: CancellationToken,
}

impl Driver {
    /// Starts the task. It ends when `ended` is cancelled, after it has said goodbye to the peers.
    pub(crate) fn start(parts: Parts) -> (Self, tokio::task::JoinHandle<()>) {
        let (orders, local) = mpsc::channel(LOCAL_QUEUE);
        let (cancels, cancelled) = mpsc::unbounded_channel();
        let (from_peers, remote) = mpsc::channel(REMOTE_QUEUE);
        let driver = Self { orders, from_peers, cancels };
        let (searchers, done) = Searchers::new();
        let task = Task::new(driver.clone(), parts, searchers);
        let handle = tokio::spawn(task.run(local, cancelled, done, remote));
        (driver, handle)
    }

    /// One whose task has ended.
    #[cfg(test)]
    pub(crate) fn ended() -> Self {
        let (orders, from_peers) = (mpsc::channel(1).0, mpsc::channel(1).0);
        Self { orders, from_peers, cancels: mpsc::unbounded_channel().0 }
    }

    /// Hands an input to the overlay.
    pub(crate) async fn input(&self, input: Input) {
        self.order(Order::Input(input)).await;
    }

    /// A peer has opened a control stream and greeted.
    pub(crate) async fn inbound(&self, connection: Connection, stream: Stream, hello: Hello) {
        let greeted = Box::new(Greeted { connection, stream, hello });
        if self.from_peers.send(FromPeer::Greeted(greeted)).await.is_err() {
            tracing::debug!("the driver has ended; a greeting is dropped");
        }
    }

    /// Starts a search; dropping the stream of updates cancels it.
    pub(crate) async fn search(&self, id: QueryId, query: Query, wanted: u16) -> SearchUpdates {
        let (updates, receiver) = mpsc::channel(HITS_QUEUE);
        self.order(Order::Search { id, query, wanted, updates }).await;
        SearchUpdates { id, receiver, cancels: self.cancels.clone(), done: false }
    }

    /// Looks something up in the directory; `None` once the driver has ended. It takes half a
    /// minute at most.
    pub(crate) async fn find(&self, key: DirectoryKey) -> Option<DirectoryAnswer> {
        let (answer, receiver) = oneshot::channel();
        let id = QueryId::from_bytes(rand::random());
        self.order(Order::Find { id, key, answer }).await;
        receiver.await.ok()
    }

    /// The same for somebody who waits for it: supernodes that have just come to keep a key mostly
    /// have its records within seconds, and nobody tells when, so they are asked a few times.
    pub(crate) async fn find_patiently(&self, key: DirectoryKey) -> Option<DirectoryAnswer> {
        let give_up = tokio::time::Instant::now() + FETCHED_WITHIN;
        loop {
            let answer = self.find(key.clone()).await?;
            let next = tokio::time::Instant::now() + ASK_AGAIN;
            if answer.outcome != FindOutcome::Fetching || next > give_up {
                return Some(answer);
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// How the overlay is doing; `None` once the driver has ended.
    pub(crate) async fn view(&self) -> Option<OverlayView> {
        let (sender, receiver) = oneshot::channel();
        self.order(Order::View(sender)).await;
        receiver.await.ok()
    }

    /// Hands in what a peer sent on a stream of its own; it waits for its turn like all that comes
    /// from peers.
    pub(crate) async fn aside(&self, input: Input) {
        if self.from_peers.send(FromPeer::Aside(Box::new(input))).await.is_err() {
            tracing::debug!("the driver has ended; what a peer sent is dropped");
        }
    }

    /// The reputations of these names; `None` once the driver has ended.
    pub(crate) async fn reputations(&self, names: Vec<Username>) -> Option<Vec<u16>> {
        let (sender, receiver) = oneshot::channel();
        self.order(Order::Reputations(names, sender)).await;
        receiver.await.ok()
    }

    /// What this node carries about its own name; `None` once the driver has ended.
    pub(crate) async fn evidence(&self) -> Option<Vec<ShowEvidence>> {
        let (sender, receiver) = oneshot::channel();
        self.order(Order::Evidence(sender)).await;
        receiver.await.ok()
    }

    /// Where a supernode is, if this node knows that by itself.
    pub(crate) async fn vouched_supernode(&self, node: NodeId) -> Option<Vec<SocketAddr>> {
        let (sender, receiver) = oneshot::channel();
        self.order(Order::Supernode(node, sender)).await;
        receiver.await.ok().flatten()
    }

    /// The supernodes that this node is linked with by its own choice, those first that it would ask
    /// first; none once the driver has ended.
    pub(crate) async fn near_supernodes(&self) -> Vec<NodeId> {
        let (sender, receiver) = oneshot::channel();
        self.order(Order::NearSupernodes(sender)).await;
        receiver.await.unwrap_or_default()
    }

    /// Gives a slot back to the relay that has granted it. Answers whether the relay was told: only
    /// one that this node is linked with can be.
    pub(crate) async fn release_slot(&self, relay: NodeId, slot: u64) -> bool {
        let (sender, receiver) = oneshot::channel();
        self.order(Order::Release { relay, slot, answer: sender }).await;
        receiver.await.unwrap_or(false)
    }

    async fn order(&self, order: Order) {
        if self.orders.send(order).await.is_err() {
            tracing::debug!("the driver has ended; an order is dropped");
        }
    }
}

/// What comes of one search, until it is dropped.
#[derive(Debug)]
pub(crate) struct SearchUpdates {
    id: QueryId,
    receiver: mpsc::Receiver<SearchUpdate>,
    cancels: mpsc::UnboundedSender<QueryId>,
    done: bool,
}

impl SearchUpdates {
    /// The next update; `None` after the end.
    pub(crate) async fn next(&mut self) -> Option<SearchUpdate> {
        let update = self.receiver.recv().await;
        self.done |= matches!(update, None | Some(SearchUpdate::Done(_)));
        update
    }
}

impl Drop for SearchUpdates {
    fn drop(&mut self) {
        if !self.done {
            // Fails only when the driver has ended, and its searches with it.
            let _ = self.cancels.send(self.id);
        }
    }
}
