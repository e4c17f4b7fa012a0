//! The network: nodes, links between them, a login service, and a queue of what happens when.

mod alive;
mod credentials;
mod deeds;
mod disk;
mod lives;
mod login;
mod node;
mod outputs;
mod run;
mod shard;
mod team;
mod tending;

use crate::catalogue::{Catalogue, Shelf};
use crate::find::Lookup;
use crate::physics::{self, Line, Physics, Traffic};
use crate::queue::Queue;
use crate::search::SearchOutcome;
pub use alive::Alive;
pub use deeds::Tally;
use disk::Disk;
use login::Login;
use node::Links;
pub(crate) use node::{Mind, SimNode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use run::{Happening, Window};
use rustc_hash::FxHashMap;
use shard::Nodes;
use skein_overlay::{Config, Contacts, Event, Input, Now, Output, Overlay, Snapshot};
use skein_proto::credential::SignedCredential;
use skein_proto::message::RoleSetting;
use skein_proto::{
    ContentId, FileMeta, HitGroup, Instant, KeyPair, NodeId, QueryId, UnixTime, Username,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use team::Team;

/// The settings of a network.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed of everything.
    pub seed: u64,
    /// The longest one-way latency between two nodes, without the delays of their lines; the
    /// shortest is a twentieth of it.
    pub max_latency: Duration,
    /// The most that jitter adds to a way.
    pub jitter: Duration,
    /// The share of packets that are lost; a lost one is sent again.
    pub loss: f64,
    /// The line of nodes that are added without one of their own.
    pub line: Line,
    /// How long a supernode takes to search its index.
    pub index_time: Duration,
    /// After how long without an answer a transport says that a peer is silent.
    pub silent_after: Duration,
    /// After how long without an answer a transport gives a connection up.
    pub idle_timeout: Duration,
    /// How long a dial is tried.
    pub dial_timeout: Duration,
    /// Children that a supernode takes.
    pub max_children: u32,
    /// Neighbours that a supernode has.
    pub max_neighbours: usize,
    /// How long a credential holds.
    pub credential_lifetime: Duration,
    /// Whether nodes renew the credentials that the login service gave them in time.
    pub renewals: bool,
    /// Supernodes that the login service names at once.
    pub login_list: usize,
    /// Whether what nodes tell their users is kept; it grows for as long as they run.
    pub keep_events: bool,
    /// The length of a window of time whose happenings are worked off together; no longer than half
    /// of what the shortest way takes, which is a twentieth of `max_latency`, since what comes of one
    /// window is carried out during the next. Zero: one after the other.
    pub window: Duration,
    /// Threads that work at the same time, where windows have a length. What comes of a run does
    /// not depend on it.
    pub threads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            max_latency: Duration::from_millis(100),
            jitter: Duration::ZERO,
            loss: 0.0,
            line: Line::default(),
            // Some microseconds, which are nothing beside a way.
            index_time: Duration::ZERO,
            // What the daemon needs at worst: a keep-alive every 4 s, 2 s without an answer to it,
            // and it looks every half second.
            silent_after: Duration::from_millis(6_500),
            idle_timeout: Duration::from_secs(15),
            dial_timeout: Duration::from_secs(3),
            max_children: 150,
            max_neighbours: 40,
            credential_lifetime: Duration::from_secs(24 * 60 * 60),
            renewals: true,
            login_list: 200,
            keep_events: true,
            window: Duration::ZERO,
            threads: 1,
        }
    }
}

/// The calendar time at which a simulation starts.
const EPOCH: UnixTime = UnixTime(1_800_000_000);

/// What part of the longest way the shortest one is.
const SHORTEST: u32 = 20;

/// A simulated network. Its nodes are numbered from 0 in the order in which they were added.
pub struct Network {
    settings: Settings,
    pub(crate) rng: StdRng,
    login: Login,
    /// The wires.
    pub physics: Physics,
    /// All files.
    pub catalogue: Catalogue,
    numbers: FxHashMap<NodeId, u32>,
    /// The ids of all nodes by number, apart from the nodes so that a look at one of them costs
    /// no more than it must.
    ids: Vec<NodeId>,
    pub(crate) nodes: Nodes,
    pub(crate) disks: Vec<Disk>,
    alive: Alive,
    /// Counts the lives of each node: each start and each end.
    lives: Vec<u32>,
    queue: Queue<Happening>,
    now: Instant,
    links_made: u32,
    pub(crate) searches: FxHashMap<QueryId, SearchOutcome>,
    pub(crate) lookups: FxHashMap<QueryId, Lookup>,
    traffic: Vec<(u64, u64)>,
    /// What nodes were told of their wishes: who, which wish, and the hits.
    pub wish_hits: Vec<(NodeId, QueryId, Vec<HitGroup>)>,
    /// What nodes told their users about sessions, with whose node it was.
    pub sessions: Vec<(NodeId, Output)>,
    slots: u64,
    /// Whether nodes behave.
    pub tally: Tally,
    team: Team,
    /// The window of time that is being worked off.
    window: Window,
    /// The one before it, as far as what the nodes did in it is yet to be carried out.
    last: Window,
    /// What happens in the next one, as far as it is taken from the queue.
    ahead: Vec<(Instant, Happening)>,
    contacts: Contacts,
    /// What happened, in all.
    pub happenings: u64,
}

impl Network {
    /// An empty network with a login service.
    pub fn new(settings: Settings) -> Self {
        Self::with_files(settings, Catalogue::default())
    }

    /// An empty network with a login service, whose nodes will share some of these files.
    pub fn with_files(mut settings: Settings, catalogue: Catalogue) -> Self {
        let window = settings.window.min(settings.max_latency / SHORTEST / 2);
        // Moments are whole microseconds.
        settings.window = Duration::from_micros(window.as_micros().try_into().unwrap_or(u64::MAX));
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let key = KeyPair::from_seed(&rng.random());
        let wires = physics::Settings {
            max_latency: settings.max_latency,
            min_latency: settings.max_latency / SHORTEST,
            jitter: settings.jitter,
            loss: settings.loss,
        };
        Self {
            login: Login::new(key, settings.login_list),
            physics: Physics::new(wires, rng.random()),
            catalogue,
            numbers: FxHashMap::default(),
            ids: Vec::new(),
            nodes: Nodes::default(),
            disks: Vec::new(),
            lives: Vec::new(),
            alive: Alive::default(),
            queue: Queue::new(),
            now: Instant::START,
            links_made: 0,
            searches: FxHashMap::default(),
            lookups: FxHashMap::default(),
            traffic: Vec::new(),
            wish_hits: Vec::new(),
            sessions: Vec::new(),
            slots: 0,
            tally: Tally::default(),
            team: Team::new(settings.threads),
            window: Window::new(&settings),
            last: Window::new(&settings),
            ahead: Vec::new(),
            contacts: Contacts::in_common(),
            happenings: 0,
            settings,
            rng,
        }
    }

    /// The login service's key pair, for those who act in its name.
    pub fn login_key(&self) -> KeyPair {
        self.login.key.clone()
    }

    /// Neighbours that a supernode has at most.
    pub fn max_neighbours(&self) -> usize {
        self.settings.max_neighbours
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What time it is for the nodes.
    pub fn time(&self) -> Now {
        time_at(self.now)
    }

    /// How many nodes there are, dead ones included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The number of a node.
    pub fn number(&self, id: &NodeId) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    /// The id of a node.
    pub fn id(&self, node: u32) -> NodeId {
        self.ids[node as usize]
    }

    /// Counts the lives of a node: each start and each end.
    pub fn life(&self, node: u32) -> u32 {
        self.lives[node as usize]
    }

    /// What its user wants a node to be.
    pub fn role_of(&self, node: u32) -> RoleSetting {
        self.disks[node as usize].role
    }

    /// How many links a node has.
    pub fn links_of(&self, node: u32) -> usize {
        self.nodes[node as usize].links.len()
    }

    /// Whether a node runs.
    pub fn is_alive(&self, node: u32) -> bool {
        self.alive.has(node)
    }

    /// Which nodes run.
    pub fn alive(&self) -> Alive {
        self.alive.clone()
    }

    /// Adds a node with a valid credential, which starts at once.
    pub fn add_node(&mut self, role: RoleSetting, files: Vec<FileMeta>) -> NodeId {
        let files = files.into_iter().map(|file| self.catalogue.add(file)).collect();
        let node = self.add(role, files, self.settings.line);
        self.id(node)
    }

    /// Adds a node with a valid credential, files of the catalogue and a line, which starts at
    /// once.
    pub fn add(&mut self, role: RoleSetting, files: Vec<u32>, line: Line) -> u32 {
        let node = self.place(role, files, line);
        self.restart_node(node);
        node
    }

    /// Adds a node that does not run yet: [`Network::restart_node`] starts it, or
    /// [`Network::start_node_at`].
    pub fn place(&mut self, role: RoleSetting, files: Vec<u32>, line: Line) -> u32 {
        let seed = self.rng.random();
        let id = KeyPair::from_seed(&seed).node_id();
        let name = name_of(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let node =
            self.insert(id, Mind::Off { was_super: false, since: self.now }, role, name, line);
        self.alive.set(node, false);
        self.nodes[node as usize].alive = false;
        let disk = &mut self.disks[node as usize];
        disk.seed = seed;
        disk.shelf.extend(&self.catalogue, files);
        node
    }

    /// Adds a node that shows this credential.
    pub fn add_node_with(
        &mut self,
        role: RoleSetting,
        files: Vec<FileMeta>,
        key: &KeyPair,
        credential: SignedCredential,
    ) -> NodeId {
        let id = key.node_id();
        let (config, chance) = (self.config(role, None), self.rng.random());
        let overlay = Overlay::new(key.clone(), config, chance, self.time());
        let mind = Mind::Overlay(Box::new(overlay));
        let name = credential.unverified().name.clone();
        let node = self.insert(id, mind, role, name, self.settings.line);
        let files: Vec<u32> = files.into_iter().map(|file| self.catalogue.add(file)).collect();
        let disk = &mut self.disks[node as usize];
        disk.seed = *key.seed();
        disk.shelf.extend(&self.catalogue, files);
        self.feed_to(node, Input::Listening(vec![address_of(node)]));
        self.feed_to(node, Input::Credential(credential));
        id
    }

    pub(crate) fn insert(
        &mut self,
        id: NodeId,
        mind: Mind,
        role: RoleSetting,
        name: Username,
        line: Line,
    ) -> u32 {
        let number = self.physics.add(line);
        self.numbers.insert(id, number);
        self.ids.push(id);
        self.alive.set(number, true);
        self.lives.push(0);
        let (shelf, known, evidence) = (Shelf::default(), Vec::new(), None);
        self.disks.push(Disk { seed: [0; 32], name, role, shelf, known, evidence });
        self.nodes.push(SimNode {
            mind,
            links: Links::default(),
            alive: true,
            life: 0,
            wake: None,
            tending: None,
            events: Vec::new(),
        });
        number
    }

    /// `away`: how long ago it last ran, if it was a supernode then.
    fn config(&self, role: RoleSetting, away: Option<Duration>) -> Config {
        Config::new(self.login.key.node_id())
            .role(role)
            .was_super(away.is_some())
            .away(away)
            .max_children(self.settings.max_children)
            .max_neighbours(self.settings.max_neighbours)
            .contacts(self.contacts.clone())
    }

    /// Whether the login service answers from now on.
    pub fn set_login_up(&mut self, up: bool) {
        self.login.up = up;
    }

    /// Changes what a node shares.
    pub fn change_files(&mut self, id: NodeId, added: Vec<FileMeta>, removed: Vec<ContentId>) {
        let Some(node) = self.number(&id) else { return };
        self.catch_up_with(node);
        let shelf = &mut self.disks[node as usize].shelf;
        for content in &removed {
            shelf.remove(&self.catalogue, content);
        }
        for file in &added {
            let number = self.catalogue.add(file.clone());
            shelf.add(&self.catalogue, number);
        }
        self.feed_to(node, Input::LibraryChanged { added, removed });
    }

    /// The numbers of the files that a node shares, by ascending content id.
    pub fn files(&self, node: u32) -> &[u32] {
        self.disks[node as usize].shelf.files()
    }

    /// How a node is doing.
    pub fn snapshot(&self, id: NodeId) -> Option<Snapshot> {
        self.nodes.get(self.number(&id)? as usize).filter(|node| node.alive)?;
        Some(self.overlay(id)?.snapshot(self.time()))
    }

    /// A node's state machine, for its counters.
    pub fn overlay(&self, id: NodeId) -> Option<&Overlay> {
        self.overlay_of(self.number(&id)?)
    }

    /// A node's state machine; a puppet has none.
    pub fn overlay_of(&self, node: u32) -> Option<&Overlay> {
        match &self.nodes.get(node as usize)?.mind {
            Mind::Overlay(overlay) => Some(overlay),
            Mind::Puppet(_) | Mind::Off { .. } => None,
        }
    }

    /// What a node told its user, if that is kept.
    pub fn events(&self, id: NodeId) -> &[(Instant, Event)] {
        match self.number(&id) {
            Some(node) => &self.nodes[node as usize].events,
            None => &[],
        }
    }

    /// Messages sent, by the name of their kind: count and bytes of their frames.
    pub fn traffic(&self) -> BTreeMap<&'static str, (u64, u64)> {
        let kinds = skein_proto::message::MessageKind::ALL.iter();
        kinds
            .filter_map(|kind| {
                let sent = *self.traffic.get(*kind as usize)?;
                (sent.0 > 0).then_some((kind.name(), sent))
            })
            .collect()
    }

    /// What one node has sent and received.
    pub fn traffic_of(&self, node: u32) -> Traffic {
        self.physics.traffic(node)
    }
}

/// What time it is for the nodes.
fn time_at(instant: Instant) -> Now {
    Now { instant, unix: EPOCH.plus(instant.since(Instant::START)) }
}

/// Where a node is: neighbours in number are far apart in address, so that nodes which are added
/// one after the other do not all share a prefix. No two of the first 2^30 nodes are at one place.
pub(crate) fn address_of(number: u32) -> SocketAddr {
    let network = 11 + (number % 64) as u8;
    // An odd factor moves 24-bit numbers about without letting two fall together.
    let [_, a, b, c] = ((number / 64).wrapping_mul(0x9e_3779)).to_be_bytes();
    SocketAddr::from(([network, a, b, c], 4701))
}

#[allow(clippy::expect_used)]
pub(crate) fn name_of(number: u32) -> Username {
    Username::parse(&format!("node{number}")).expect("a word and a number make a name")
}
