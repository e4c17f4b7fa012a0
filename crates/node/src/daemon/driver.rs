//! Drives the overlay: what happens on the network, in the library and at the user's side goes in,
//! what the overlay wants done goes out to the tasks that do it.
//!
//! One task owns the state machine. Local inputs come before those of remote peers, so that no
//! peer can keep the user waiting.

use super::clock::Clock;
use super::conduct::tell;
use super::link::{LinkEvent, LinkHandle};
use super::remember::Memory;
use super::searchers::Searchers;
use super::wishes::WishHits;
use crate::api::types::DaemonEvent;
use crate::library::Library;
use crate::relay::Donor;
use crate::sessions::SessionEvent;
use skein_net::{Connection, Endpoint, Stream};
use skein_overlay::{
    Counters, Event, FoundNode, FoundSource, Input, LookedUp, Output, Overlay, Snapshot,
};
use skein_proto::directory::{DirectoryKey, FindOutcome};
use skein_proto::evidence::{GiveReceipt, ShowEvidence};
use skein_proto::message::{Hello, PartingReason};
use skein_proto::query::Coverage;
use skein_proto::supernode::Load;
use skein_proto::{ContentId, HitGroup, Message, NodeId, Query, QueryId, Username};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Messages of all peers that wait for the state machine. When it is full the peers wait, each on
/// its own stream.
const REMOTE_QUEUE: usize = 1_024;

/// Local inputs that wait.
const LOCAL_QUEUE: usize = 256;

/// Hits of one search that wait for whoever shows them.
const HITS_QUEUE: usize = 1_024;

/// When a library that could not be read is asked again.
const LIBRARY_RETRY: Duration = Duration::from_secs(10);

/// How long a peer that is connected may take to let this side open a control stream.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// Two control streams that came up within this time may have been opened at the same time, by
/// either side. Later on, a peer that opens another one has given up the one before: it was
/// restarted, or has lost the connection where this side has not noticed yet.
pub(super) const CROSSING: Duration = Duration::from_secs(2);

/// The least time between two wake-ups: tokio's timers count in milliseconds. Should the overlay
/// ever ask for a time that is over, it must not keep a whole core busy.
const NAP: Duration = Duration::from_millis(1);

/// How long all peers together are given to read the farewell.
const FAREWELL: Duration = Duration::from_secs(3);

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
}

/// What the login service is asked for on the overlay's behalf.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LoginWish {
    Bootstrap { willing: bool },
    Report { load: Load },
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
        let (searchers, looked_up) = Searchers::new();
        let task = Task {
            driver: driver.clone(),
            parts,
            links: HashMap::new(),
            link_tasks: TaskTracker::new(),
            searches: HashMap::new(),
            searchers,
            finds: HashMap::new(),
            next_generation: 0,
            links_stalled: 0,
            hits_unread: 0,
            session_events_dropped: 0,
        };
        let handle = tokio::spawn(task.run(local, cancelled, looked_up, remote));
        (driver, handle)
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

struct Task {
    driver: Driver,
    parts: Parts,
    links: HashMap<NodeId, LinkHandle>,
    link_tasks: TaskTracker,
    searches: HashMap<QueryId, mpsc::Sender<SearchUpdate>>,
    /// Who searches the index.
    searchers: Searchers,
    /// The overlay ends each look-up, and so bounds them.
    finds: HashMap<QueryId, oneshot::Sender<DirectoryAnswer>>,
    next_generation: u64,
    links_stalled: u64,
    hits_unread: u64,
    session_events_dropped: u64,
}

impl Task {
    async fn run(
        mut self,
        mut local: mpsc::Receiver<Order>,
        mut cancelled: mpsc::UnboundedReceiver<QueryId>,
        mut looked_up: mpsc::UnboundedReceiver<LookedUp>,
        mut remote: mpsc::Receiver<FromPeer>,
    ) {
        let ended = self.parts.ended.clone();
        self.carry_out();
        loop {
            let now = self.parts.clock.now();
            let wake = self.parts.overlay.next_wakeup(now);
            let wake = wake.map(|at| self.parts.clock.at(at).max(Instant::now() + NAP));
            tokio::select! {
                biased;
                () = ended.cancelled() => break,
                Some(id) = cancelled.recv() => self.handle(Input::CancelSearch { id }),
                Some(order) = local.recv() => self.obey(order),
                // What is under way is brought to its end before more begins.
                Some(found) = looked_up.recv() => self.handle(Input::LookedUp(found)),
                Some(event) = remote.recv() => self.on_peer(event),
                () = sleep_until(wake) => self.handle(Input::Tick),
            }
        }
        self.handle(Input::Leave);
        // What peers still say does not matter any more.
        drop(remote);
        for (_, link) in self.links.drain() {
            link.close(PartingReason::Leaving);
        }
        self.link_tasks.close();
        if timeout(FAREWELL, self.link_tasks.wait()).await.is_err() {
            tracing::debug!(left = self.link_tasks.len(), "some peers were not told of the end");
        }
        self.parts.memory.close().await;
    }

    fn handle(&mut self, input: Input) {
        let now = self.parts.clock.now();
        self.parts.overlay.handle(input, now);
        self.carry_out();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Input(input) => self.handle(input),
            Order::Dialled { peer, outcome: Some((connection, stream)) } => {
                self.on_dialled(peer, connection, stream);
            }
            Order::Dialled { peer, outcome: None } => {
                if !self.links.contains_key(&peer) {
                    self.handle(Input::DialFailed { peer });
                }
            }
            // Whoever wanted it has gone, and the cancellation may have overtaken it.
            Order::Search { updates, .. } if updates.is_closed() => {}
            Order::Search { id, query, wanted, updates } => {
                self.searches.insert(id, updates);
                self.handle(Input::Search { id, query, wanted });
            }
            Order::Find { id, key, answer } => {
                self.finds.insert(id, answer);
                self.handle(Input::Find { id, key });
            }
            // Whoever asked may have gone.
            Order::Reputations(names, answer) => {
                let of = |name: &Username| self.parts.overlay.reputation_of(name);
                let _ = answer.send(names.iter().map(of).collect());
            }
            Order::Supernode(node, answer) => {
                let _ = answer.send(self.parts.overlay.vouched_supernode(&node));
            }
            Order::Evidence(answer) => {
                let _ = answer.send(self.parts.overlay.evidence_pages());
            }
            Order::View(answer) => {
                let view = OverlayView {
                    snapshot: self.parts.overlay.snapshot(self.parts.clock.now()),
                    counters: *self.parts.overlay.counters(),
                    links_stalled: self.links_stalled,
                    hits_unread: self.hits_unread,
                    session_events_dropped: self.session_events_dropped,
                    linked: self.links.values().map(|link| link.connection.id()).collect(),
                };
                // Whoever asked may have gone.
                let _ = answer.send(view);
            }
        }
    }

    /// Of two control streams that crossed, both sides keep the one that the smaller id opened.
    fn keeps_own(&self, peer: &NodeId) -> bool {
        self.parts.endpoint.node_id() < *peer
    }

    fn on_inbound(&mut self, Greeted { connection, stream, hello }: Greeted) {
        let peer = connection.peer();
        let crossed = self
            .links
            .get(&peer)
            .is_some_and(|link| link.opened_here && link.since.elapsed() <= CROSSING);
        if crossed && self.keeps_own(&peer) {
            tracing::debug!(peer = %peer.short(), "a control stream that crossed ours is dropped");
            return;
        }
        self.link_up(peer, connection, stream, false);
        self.handle(Input::Received { peer, message: Box::new(hello.into()) });
    }

    fn on_dialled(&mut self, peer: NodeId, connection: Connection, stream: Stream) {
        let crossed = self.links.get(&peer).is_some_and(|link| !link.opened_here);
        if crossed && !self.keeps_own(&peer) {
            return;
        }
        self.link_up(peer, connection, stream, true);
    }

    fn link_up(&mut self, peer: NodeId, connection: Connection, stream: Stream, opened_here: bool) {
        if self.links.remove(&peer).is_some() {
            self.handle(Input::LinkDown { peer });
        }
        self.next_generation += 1;
        let address = connection.seen_at();
        let rtt = connection.rtt();
        let link = LinkHandle::start(
            self.next_generation,
            connection,
            stream,
            opened_here,
            self.driver.from_peers.clone(),
            &self.link_tasks,
        );
        self.links.insert(peer, link);
        self.handle(Input::LinkUp { peer, address, rtt });
    }

    fn on_peer(&mut self, from: FromPeer) {
        match from {
            FromPeer::Link { peer, generation, event } => {
                self.on_link_event(peer, generation, event);
            }
            FromPeer::Greeted(greeted) => self.on_inbound(*greeted),
            FromPeer::Aside(input) => self.handle(*input),
        }
    }

    fn on_link_event(&mut self, peer: NodeId, generation: u64, event: LinkEvent) {
        let current = self.links.get(&peer).is_some_and(|link| link.generation == generation);
        if !current {
            return;
        }
        match event {
            LinkEvent::Message(message) => self.handle(Input::Received { peer, message }),
            LinkEvent::Silent => self.handle(Input::LinkSilent { peer }),
            LinkEvent::Ended => {
                self.links.remove(&peer);
                self.handle(Input::LinkDown { peer });
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.parts.overlay.poll_output() {
            match output {
                Output::Dial { peer, addresses } => self.dial(peer, addresses),
                Output::DialBack { dial, node, addresses } => self.dial_back(dial, node, addresses),
                Output::Send { peer, message } => self.send(peer, message),
                Output::HangUp { peer, reason } => self.hang_up(peer, reason),
                Output::WantFiles { page, after, limit } => self.fetch_page(page, after, limit),
                Output::WantBootstrap { willing } => {
                    self.wish(LoginWish::Bootstrap { willing });
                }
                Output::Report { load } => self.wish(LoginWish::Report { load }),
                Output::RememberSupernodes(entries) => self.parts.memory.set(entries),
                Output::RememberEvidence(record) => self.parts.memory.set_evidence(*record),
                Output::Receipt { peer, receipt } => {
                    self.give(peer, GiveReceipt { receipt: *receipt })
                }
                Output::LookUp(look_up) => self.searchers.search(look_up),
                Output::Hits { id, groups } => {
                    if let Some(updates) = self.searches.get(&id)
                        && let Err(mpsc::error::TrySendError::Full(_)) =
                            updates.try_send(SearchUpdate::Hits(groups))
                    {
                        self.hits_unread += 1;
                    }
                }
                Output::WishHits { id, groups } => {
                    if self.parts.wish_hits.try_send((id, groups)).is_err() {
                        self.hits_unread += 1;
                    }
                }
                Output::SearchDone { id, coverage } => {
                    if let Some(updates) = self.searches.remove(&id) {
                        // The end must arrive even where hits were dropped.
                        tokio::spawn(async move {
                            let _ = updates.send(SearchUpdate::Done(coverage)).await;
                        });
                    }
                }
                Output::Found { id, outcome, nodes, sources } => {
                    if let Some(answer) = self.finds.remove(&id) {
                        // Whoever asked may have gone.
                        let _ = answer.send(DirectoryAnswer { outcome, nodes, sources });
                    }
                }
                Output::GrantSlot { asker, number, name } => self.grant(asker, number, &name),
                Output::Slot { ask, outcome } => {
                    self.on_session(SessionEvent::Slot(ask, outcome));
                }
                Output::SessionOffered(offer) => self.on_session(SessionEvent::Offered(offer)),
                Output::SessionAnswered(answer) => {
                    self.on_session(SessionEvent::Answered(answer));
                }
                Output::SessionRefused(refused) => {
                    self.on_session(SessionEvent::Refused(refused));
                }
                Output::Event(event) => self.announce(event),
            }
        }
    }

    fn on_session(&mut self, event: SessionEvent) {
        // Whoever waits gives up in time; a caller is answered by nobody.
        if self.parts.sessions.try_send(event).is_err() {
            self.session_events_dropped += 1;
        }
    }

    /// The donor's relay decides.
    fn grant(&mut self, asker: NodeId, number: u64, name: &Username) {
        let connection = self.parts.endpoint.connection(&asker);
        let outcome = self.parts.donor.grant(name, connection.as_ref());
        let now = self.parts.clock.now();
        self.parts.overlay.handle(Input::SlotGranted { asker, number, outcome }, now);
    }

    fn dial(&self, peer: NodeId, addresses: Vec<SocketAddr>) {
        let endpoint = self.parts.endpoint.clone();
        let driver = self.driver.clone();
        tokio::spawn(async move {
            let outcome = match endpoint.connect(peer, &addresses).await {
                Ok(connection) => match timeout(OPEN_PATIENCE, connection.open_stream()).await {
                    Ok(Ok(stream)) => Some((connection, stream)),
                    Ok(Err(error)) => {
                        tracing::debug!(peer = %peer.short(), %error, "no control stream");
                        None
                    }
                    Err(_) => {
                        tracing::debug!(peer = %peer.short(), "no control stream is allowed");
                        None
                    }
                },
                Err(error) => {
                    tracing::debug!(peer = %peer.short(), %error, "not reached");
                    None
                }
            };
            driver.order(Order::Dialled { peer, outcome }).await;
        });
    }

    /// The overlay bounds how many of these are under way.
    fn dial_back(&self, dial: u64, node: NodeId, addresses: Vec<SocketAddr>) {
        let driver = self.driver.clone();
        tokio::spawn(async move {
            let reached = super::reach::reaches_any(node, addresses).await;
            driver.input(Input::DialledBack { dial, reached }).await;
        });
    }

    fn send(&mut self, peer: NodeId, message: Box<Message>) {
        let Some(link) = self.links.get(&peer) else { return };
        if !link.send(message) {
            tracing::info!(peer = %peer.short(), "a peer does not read; its link is cut");
            self.links_stalled += 1;
            if let Some(link) = self.links.remove(&peer) {
                link.close(PartingReason::Misbehaved);
            }
            let now = self.parts.clock.now();
            self.parts.overlay.handle(Input::LinkDown { peer }, now);
        }
    }

    fn hang_up(&mut self, peer: NodeId, reason: PartingReason) {
        if let Some(link) = self.links.remove(&peer) {
            link.close(reason);
            let now = self.parts.clock.now();
            self.parts.overlay.handle(Input::LinkDown { peer }, now);
        }
    }

    fn fetch_page(&self, page: u64, after: Option<ContentId>, limit: usize) {
        let library = self.parts.library.clone();
        let driver = self.driver.clone();
        let ended = self.parts.ended.clone();
        tokio::spawn(async move {
            loop {
                match library.files_after(after, limit).await {
                    Ok(files) => {
                        let last = files.len() < limit;
                        driver.input(Input::Files { page, files, last }).await;
                        return;
                    }
                    Err(error) => tracing::error!(%error, "what is shared cannot be read"),
                }
                // A full or failing disk may recover; until then nothing more can be published.
                let pause = tokio::time::sleep(LIBRARY_RETRY);
                if ended.run_until_cancelled(pause).await.is_none() {
                    return;
                }
            }
        });
    }

    fn give(&self, uploader: NodeId, receipt: GiveReceipt) {
        // One that has gone by now gets the next total when it is met again.
        let Some(connection) = self.parts.endpoint.connection(&uploader) else { return };
        tokio::spawn(async move {
            if let Err(error) = tell(&connection, vec![receipt.into()]).await {
                tracing::debug!(peer = %uploader.short(), %error, "a receipt was not given");
            }
        });
    }

    fn wish(&mut self, wish: LoginWish) {
        if self.parts.wishes.try_send(wish).is_err() && matches!(wish, LoginWish::Bootstrap { .. })
        {
            let now = self.parts.clock.now();
            self.parts.overlay.handle(Input::BootstrapFailed, now);
        }
    }

    fn announce(&self, event: Event) {
        let event = match event {
            Event::Attached { parent } => {
                tracing::info!(parent = %parent.short(), "attached");
                return;
            }
            Event::Published { records, recovery } => {
                tracing::info!(records, ?recovery, "everything is published");
                let snapshot = self.parts.overlay.snapshot(self.parts.clock.now());
                // A supernode publishes into its own index: it is attached to nobody.
                let Some(parent) = snapshot.parent.parent else { return };
                DaemonEvent::Attached { parent }
            }
            Event::Detached { parent, standby } => {
                tracing::info!(parent = %parent.short(), standby, "the parent is lost");
                let reason = if standby {
                    "the parent is lost; the standby takes over"
                } else {
                    "the parent is lost; looking for another"
                };
                DaemonEvent::Detached { reason: reason.to_owned() }
            }
            Event::RoleChanged { role, reason } => {
                let reason = reason.to_string();
                tracing::info!(?role, reason, "the role has changed");
                self.parts.memory.set_role(role);
                DaemonEvent::RoleChanged { role, reason }
            }
            _ => return,
        };
        // Nobody may be listening.
        let _ = self.parts.events.send(event);
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
