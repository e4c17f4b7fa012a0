//! Whole nodes over a simulated network.
//!
//! Nothing here touches a real network but the listeners of the local APIs. The time is real:
//! SQLite works in threads of its own, of which tokio knows nothing, so that a paused clock would
//! jump to the next deadline in the middle of every look into a library. Where the libraries have
//! nothing to do, a test pauses the clock.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod choosing;
mod crossing;
mod first_byte;
mod inbox;
mod one_way;
mod punching;
mod relay_death;
mod relay_doubt;
mod sessions;
mod slots;

use super::backend::NodeBackend;
use super::*;
use crate::api::backend::Backend;
use crate::api::types::{
    AddShare, ContentHit, Download, DownloadState, DownloadTarget, SearchEvent, StartDownload,
    StartSearch, Status,
};
use crate::config::{ConfigBuilder, Reach, Settings};
use crate::home::Home;
use futures_util::StreamExt;
use skein_net::simnet::{LinkProfile, Network, Realm};
use skein_net::{Connection, ConnectionError, EndpointConfig, Stream};
use skein_proto::message::{Attach, Bond, Hello, PartingReason, Probe, RoleSetting};
use skein_proto::{
    BoundedString, BoundedVec, ContentId, Credential, Filter, Message, Signed, SignedCredential,
    SupernodeEntry, Ticket, UnixTime, Username,
};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn login() -> KeyPair {
    KeyPair::from_seed(&[200; 32])
}

fn address(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 4701).into()
}

fn credential(name: &str, node: NodeId) -> SignedCredential {
    let issued = clock::unix_now();
    let expires = UnixTime(issued.0 + UnixTime::DAY);
    let name = Username::parse(name).unwrap();
    Signed::new(Credential { name, node, issued, expires, registered: UnixTime(0) }, &login())
}

/// A node that has been registered, but does not run yet.
struct Plan {
    host: u8,
    role: RoleSetting,
    reach: Reach,
    data: TempDir,
    node: NodeId,
}

impl Plan {
    fn new(host: u8, role: RoleSetting) -> Self {
        let data = tempfile::tempdir().unwrap();
        let home = Home::open(data.path().join("home")).unwrap();
        let node = home.node_key().unwrap().node_id();
        // Nobody is at this address: these networks live without their login service.
        let ticket = Ticket::new(login().node_id(), ["10.0.0.250:4700".to_owned()]).unwrap();
        home.set_ticket(&ticket).unwrap();
        home.set_credential(&credential(&format!("user{host}"), node)).unwrap();
        Self { host, role, reach: Reach::Open, data, node }
    }

    fn entry(&self) -> SupernodeEntry {
        entry(self.node, self.host)
    }

    fn config(&self) -> Config {
        let settings = Settings {
            data_dir: Some(self.data.path().join("home")),
            download_dir: Some(self.data.path().join("inbox")),
            api_listen: Some(([127, 0, 0, 1], 0).into()),
            role: Some(self.role),
            reach: Some(self.reach),
            ..Settings::default()
        };
        ConfigBuilder::new().no_file().flags(settings).build().unwrap()
    }

    async fn start(self, network: &Network, known: &[SupernodeEntry]) -> Node {
        self.start_in(network, Realm::INTERNET, known).await
    }

    async fn start_in(self, network: &Network, realm: Realm, known: &[SupernodeEntry]) -> Node {
        Home::open(self.data.path().join("home")).unwrap().set_supernodes(known).unwrap();
        let line = LinkProfile::default();
        let socket = network.socket_in(realm, address(self.host), line).unwrap();
        let daemon = Daemon::start_on(self.config(), socket).await.unwrap();
        Node { daemon, plan: self }
    }
}

fn entry(node: NodeId, host: u8) -> SupernodeEntry {
    let addresses = BoundedVec::truncated([address(host)]);
    SupernodeEntry { node, addresses, load_percent: 0, seen: clock::unix_now() }
}

struct Node {
    daemon: Daemon,
    plan: Plan,
}

impl Node {
    fn id(&self) -> NodeId {
        self.plan.node
    }

    fn backend(&self) -> NodeBackend {
        NodeBackend(Arc::clone(&self.daemon.parts))
    }

    /// Waits until its status is as wanted. There is not an event for everything.
    async fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let wait = async {
            loop {
                let status = self.backend().status().await.unwrap();
                if wanted(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(status) => status,
            Err(_) => panic!("not {what}: {:#?}", self.backend().status().await),
        }
    }

    async fn attached_to(&self, parent: NodeId) -> Status {
        self.until("attached", |status| status.attachment.parent == Some(parent)).await
    }

    /// Shares a folder with this file, and waits until the parent has all of it.
    async fn share(&self, name: &str, bytes: &[u8]) {
        let folder = self.plan.data.path().join("music");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(name);
        std::fs::write(&file, bytes).unwrap();
        // What was changed just now might still be written to, and would be left for later.
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(60);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
        self.backend().add_share(AddShare { path: folder }).await.unwrap();
        self.until("published", |status| {
            status.attachment.published == 1 && status.attachment.publish_pending == 0
        })
        .await;
    }

    async fn search(&self, words: &str) -> Vec<ContentHit> {
        let (words, filter) = (words.to_owned(), Filter::default());
        let search = StartSearch { words, filter, limit: Some(1), more: false };
        let events = self.backend().search(search).await.unwrap();
        let hits = events.filter_map(async |event| match event {
            SearchEvent::Hit(hit) => Some(*hit),
            _ => None,
        });
        tokio::time::timeout(PATIENCE, hits.collect()).await.expect("the end of a search")
    }

    /// Searches until there is something: what was published takes a moment to be known.
    async fn find(&self, words: &str) -> ContentHit {
        let searches = async {
            loop {
                if let Some(hit) = self.search(words).await.pop() {
                    return hit;
                }
            }
        };
        tokio::time::timeout(PATIENCE, searches).await.expect("a hit")
    }

    async fn fetch(&self, hit: &ContentHit) -> Vec<u8> {
        let target = DownloadTarget::Content(hit.content);
        let download = StartDownload { target, dir: None };
        let id = self.backend().start_download(download).await.unwrap().id;
        let states = self.backend().watch_download(id).await.unwrap();
        let last = tokio::time::timeout(PATIENCE, states.fold(None, async |_, s| Some(s))).await;
        let last: Download = last.expect("its end").expect("a state");
        assert_eq!(last.state, DownloadState::Done, "{last:?}");
        read(&last.path)
    }

    async fn metric(&self, name: &str) -> u64 {
        let text = self.backend().metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the metric");
        line.trim().parse().unwrap()
    }

    async fn linked(&self) -> usize {
        self.daemon.parts.driver.view().await.unwrap().linked.len()
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Two supernodes that are neighbours.
async fn two_supernodes(network: &Network) -> (Node, Node) {
    let (one, two) = (Plan::new(1, RoleSetting::Super), Plan::new(2, RoleSetting::Super));
    let (first, second) = (one.entry(), two.entry());
    let one = one.start(network, &[second]).await;
    let two = two.start(network, &[first]).await;
    for node in [&one, &two] {
        node.until("linked", |status| {
            status.supernode.as_ref().is_some_and(|supernode| supernode.neighbours == 1)
        })
        .await;
    }
    (one, two)
}

async fn child(network: &Network, host: u8, parent: &Node) -> Node {
    let node = Plan::new(host, RoleSetting::Ordinary);
    let node = node.start(network, &[parent.plan.entry()]).await;
    node.attached_to(parent.id()).await;
    node
}

#[tokio::test]
async fn what_a_child_of_another_supernode_shares_is_found_and_fetched() {
    let network = Network::new(1);
    let (one, two) = two_supernodes(&network).await;
    let alice = child(&network, 3, &one).await;
    let bob = child(&network, 4, &two).await;
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    alice.share("blue danube.ogg", &bytes).await;

    let hit = bob.find("danube").await;
    assert_eq!(hit.sources.len(), 1);
    assert_eq!(hit.sources[0].node, alice.id());
    assert!(bob.fetch(&hit).await == bytes);

    assert_eq!(bob.metric("skein_transfer_bytes_down_total").await, 200_000);
    assert!(alice.metric("skein_transfer_bytes_up_total").await > 200_000);
    assert_eq!(one.metric("skein_overlay_children").await, 1);
    for node in [alice, bob, one, two] {
        node.daemon.shutdown().await;
    }
}

#[tokio::test]
async fn a_download_hears_of_sources_beyond_those_of_its_own_parent() {
    let network = Network::new(9);
    let (one, two) = two_supernodes(&network).await;
    let alice = child(&network, 3, &one).await;
    let bob = child(&network, 4, &two).await;
    let carol = child(&network, 5, &one).await;
    alice.share("blue danube.ogg", b"la la la").await;
    bob.share("an der blauen donau.ogg", b"la la la").await;

    let content = ContentId::from_bytes(*blake3::hash(b"la la la").as_bytes());
    // What was published takes a moment to be known elsewhere.
    let known = async {
        loop {
            let (_, sources) = carol.daemon.parts.finder.offers(content).await;
            let names = |node: &Node| sources.iter().any(|source| source.node == node.id());
            if names(&alice) && names(&bob) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, known).await.expect("both sources");
}

#[tokio::test]
async fn a_child_of_a_dead_supernode_is_searchable_again() {
    let network = Network::new(2);
    let (one, two) = two_supernodes(&network).await;
    let alice = child(&network, 3, &one).await;
    let bob = child(&network, 4, &two).await;
    alice.share("blue danube.ogg", b"la la la").await;
    alice.until("safe", |status| status.attachment.standby == Some(two.id())).await;

    // It is not closed: nobody is told, its packets just stop.
    let before = alice.backend().status().await.unwrap().attachment.parents_lost;
    tokio::time::pause();
    let cut = tokio::time::Instant::now();
    network.cut(address(1));
    let status = alice.attached_to(two.id()).await;
    // The transport alone would have noticed after 15 s.
    assert!(cut.elapsed() < Duration::from_secs(10), "{:?}", cut.elapsed());
    tokio::time::resume();
    assert_eq!(status.attachment.parents_lost, before + 1);
    let hit = bob.find("danube").await;
    assert_eq!(hit.sources[0].node, alice.id());
    alice.until("recovered", |s| s.attachment.last_recovery_ms.is_some()).await;
}

/// Somebody who speaks the protocol, but is no daemon.
struct Stranger {
    endpoint: Endpoint,
    key: KeyPair,
}

impl Stranger {
    fn new(network: &Network, host: u8, key: KeyPair) -> Self {
        let socket = network.socket(address(host), LinkProfile::default()).unwrap();
        let endpoint = Endpoint::with_socket(&key, socket, EndpointConfig::default()).unwrap();
        Self { endpoint, key }
    }

    fn hello(&self, role: Role) -> Message {
        Hello {
            agent: BoundedString::truncated("stranger"),
            role,
            credential: Some(credential("stranger", self.key.node_id())),
            listen: BoundedVec::truncated([self.endpoint.local_addr().unwrap()]),
            observed: address(9),
        }
        .into()
    }

    /// Opens a control stream to a node, and greets.
    async fn link(&self, node: &Node) -> (Connection, Stream) {
        let at = [address(node.plan.host)];
        let connection = self.endpoint.connect(node.id(), &at).await.unwrap();
        let mut stream = connection.open_stream().await.unwrap();
        stream.sender.send(&self.hello(Role::Ordinary)).await.unwrap();
        let hello = stream.receiver.recv_within(PATIENCE).await.unwrap();
        assert!(matches!(hello, Some(Message::Hello(_))), "{hello:?}");
        (connection, stream)
    }
}

async fn supernode(network: &Network) -> Node {
    Plan::new(1, RoleSetting::Super).start(network, &[]).await
}

#[tokio::test]
async fn a_child_is_told_that_its_parent_leaves() {
    let network = Network::new(3);
    let node = supernode(&network).await;
    let stranger = Stranger::new(&network, 5, KeyPair::from_seed(&[5; 32]));
    let (_connection, mut stream) = stranger.link(&node).await;
    stream.sender.send(&Attach { bond: Bond::Active }.into()).await.unwrap();
    node.until("a parent", |status| status.supernode.as_ref().unwrap().children == 1).await;

    let ending = tokio::spawn(node.daemon.shutdown());
    let mut last = None;
    while let Some(message) = stream.receiver.recv_within(PATIENCE).await.expect("a clean end") {
        last = Some(message);
    }
    drop(stream);
    assert!(
        matches!(&last, Some(Message::Detach(detach)) if detach.reason == PartingReason::Leaving),
        "{last:?}"
    );
    ending.await.unwrap();
}

#[tokio::test]
async fn a_peer_that_takes_no_more_messages_has_no_link_any_more() {
    let network = Network::new(4);
    let node = supernode(&network).await;
    let stranger = Stranger::new(&network, 5, KeyPair::from_seed(&[5; 32]));
    let (_connection, mut stream) = stranger.link(&node).await;
    assert_eq!(node.linked().await, 1);

    // Its own half stays open.
    drop(stream.receiver);
    let lost = async {
        while node.linked().await > 0 {
            // The answer to it cannot be sent.
            let _ = stream.sender.send(&Probe.into()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, lost).await.expect("the link to be taken down");
}

#[tokio::test]
async fn a_peer_that_was_restarted_without_a_word_is_linked_again_at_once() {
    let network = Network::new(5);
    let plan = Plan::new(1, RoleSetting::Super);
    // Where both had dialled at the same time, the node would keep the stream that it opened.
    let key = (0..=u8::MAX).map(|seed| KeyPair::from_seed(&[seed; 32]));
    let key = key.into_iter().find(|key| plan.node < key.node_id()).unwrap();
    let before = Stranger::new(&network, 5, key);
    let node = plan.start(&network, &[entry(before.endpoint.node_id(), 5)]).await;
    let dialled = before.endpoint.accept().await.unwrap();
    let mut stream = dialled.accept_stream().await.unwrap();
    stream.sender.send(&before.hello(Role::Super)).await.unwrap();
    assert!(matches!(stream.receiver.recv().await, Ok(Some(Message::Hello(_)))));

    network.cut(address(5));
    let after = Stranger::new(&network, 6, KeyPair::from_seed(&before.key.seed()));
    tokio::time::pause();
    tokio::time::advance(driver::CROSSING + Duration::from_millis(1)).await;
    let started = tokio::time::Instant::now();
    let (_connection, _stream) = after.link(&node).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_second_connection_of_a_linked_peer_is_closed_when_nobody_uses_it() {
    let network = Network::new(8);
    let node = supernode(&network).await;
    let stranger = Stranger::new(&network, 5, KeyPair::from_seed(&[5; 32]));
    let idle = stranger.endpoint.connect(node.id(), &[address(1)]).await.unwrap();
    // The same node once more, as after dials that crossed.
    let twin = Stranger::new(&network, 6, KeyPair::from_seed(&[5; 32]));
    let (linked, mut stream) = twin.link(&node).await;
    stream.sender.send(&Attach { bond: Bond::Active }.into()).await.unwrap();
    node.until("a parent", |status| status.supernode.as_ref().unwrap().children == 1).await;

    tokio::time::pause();
    let closed = tokio::time::timeout(Duration::from_secs(600), idle.closed()).await;
    assert_eq!(closed, Ok(ConnectionError::ClosedByPeer(CloseReason::Done)));
    assert!(!linked.is_closed());
}

#[tokio::test]
async fn a_daemon_that_is_dropped_leaves_nothing_running() {
    let network = Network::new(6);
    let node = supernode(&network).await;
    let stranger = Stranger::new(&network, 5, KeyPair::from_seed(&[5; 32]));
    let (connection, _stream) = stranger.link(&node).await;
    drop(node.daemon);
    tokio::time::timeout(PATIENCE, connection.closed()).await.expect("its end");
    // The socket is gone, and with it the last task that held the endpoint.
    let free = async {
        while network.socket(address(1), LinkProfile::default()).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("the address to be free");
}

#[tokio::test]
async fn a_daemon_that_cannot_start_leaves_nothing_running() {
    let network = Network::new(7);
    let plan = Plan::new(1, RoleSetting::Super);
    std::fs::write(plan.data.path().join("home/library.db"), "no database").unwrap();
    let socket = network.socket(address(1), LinkProfile::default()).unwrap();
    let refused = Daemon::start_on(plan.config(), socket).await.map(drop);
    assert!(matches!(refused, Err(StartError::Library(_))), "{refused:?}");
    let free = async {
        while network.socket(address(1), LinkProfile::default()).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("the address to be free");
    assert!(Home::open(plan.config().data_dir()).unwrap().lock().is_ok());
}
