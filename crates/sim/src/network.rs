//! The network: nodes, links between them, a login service, and a queue of what happens when.

use crate::search::SearchOutcome;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein_overlay::{Config, Event, Input, Now, Output, Overlay, Snapshot};
use skein_proto::credential::{Credential, SignedCredential};
use skein_proto::message::RoleSetting;
use skein_proto::{
    BoundedVec, ContentId, FileMeta, Instant, KeyPair, Message, NodeId, QueryId, Signed,
    SupernodeEntry, UnixTime, Username, codec,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::ops::Bound;
use std::time::Duration;

/// The physics of the network.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed of everything.
    pub seed: u64,
    /// The longest one-way latency between two nodes; the shortest is a twentieth of it.
    pub max_latency: Duration,
    /// After how long without an answer a transport says that a peer is silent.
    pub silent_after: Duration,
    /// After how long without an answer a transport gives a connection up.
    pub idle_timeout: Duration,
    /// Children that a supernode takes.
    pub max_children: u32,
    /// Neighbours that a supernode has.
    pub max_neighbours: usize,
    /// How long a credential holds.
    pub credential_lifetime: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            max_latency: Duration::from_millis(100),
            // What the daemon needs at worst: a keep-alive every 4 s, 2 s without an answer to it,
            // and it looks every half second.
            silent_after: Duration::from_millis(6_500),
            idle_timeout: Duration::from_secs(15),
            max_children: 150,
            max_neighbours: 40,
            credential_lifetime: Duration::from_secs(24 * 60 * 60),
        }
    }
}

pub(crate) struct SimNode {
    pub(crate) mind: Mind,
    name: Username,
    pub(crate) address: SocketAddr,
    place: (f64, f64),
    files: BTreeMap<ContentId, FileMeta>,
    pub(crate) links: BTreeSet<NodeId>,
    known: Vec<SupernodeEntry>,
    role: RoleSetting,
    alive: bool,
    /// Counts the lives of this node, so that what was meant for an earlier one is dropped.
    life: u32,
    wake: Option<Instant>,
    pub(crate) searches: BTreeMap<QueryId, SearchOutcome>,
    events: Vec<(Instant, Event)>,
}

/// What decides for a node.
pub(crate) enum Mind {
    Overlay(Box<Overlay>),
    /// Nothing: a test says what it sends. What it is sent is kept.
    Puppet(Vec<(NodeId, Message)>),
}

enum Happening {
    Input {
        node: NodeId,
        life: u32,
        input: Box<Input>,
    },
    /// Both ends see a link that was dialled.
    Connect {
        from: NodeId,
        to: NodeId,
        life: u32,
    },
    /// One end closed a link on purpose.
    Closed {
        at: NodeId,
        peer: NodeId,
    },
    Wake {
        node: NodeId,
        at: Instant,
    },
    AskLogin {
        node: NodeId,
        willing: bool,
    },
}

struct Scheduled {
    at: Instant,
    order: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The calendar time at which a simulation starts.
const EPOCH: UnixTime = UnixTime(1_800_000_000);

/// A simulated network.
pub struct Network {
    settings: Settings,
    pub(crate) rng: StdRng,
    login: KeyPair,
    login_up: bool,
    reports: BTreeMap<NodeId, (SupernodeEntry, Instant)>,
    invited: Option<(NodeId, Instant)>,
    pub(crate) nodes: BTreeMap<NodeId, SimNode>,
    keys: BTreeMap<NodeId, KeyPair>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    now: Instant,
    next_number: u32,
    /// Messages sent, by the name of their kind: count and bytes.
    pub traffic: BTreeMap<&'static str, (u64, u64)>,
    /// How often an overlay wanted to be woken at a time that was over already: it would spin.
    pub overdue_wakeups: u64,
    /// How often an overlay was woken.
    pub wakeups: u64,
    /// The most that an overlay wanted done because of one input.
    pub most_outputs: usize,
}

impl Network {
    /// An empty network with a login service.
    pub fn new(settings: Settings) -> Self {
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let login = KeyPair::from_seed(&rng.random());
        Self {
            settings,
            rng,
            login,
            login_up: true,
            reports: BTreeMap::new(),
            invited: None,
            nodes: BTreeMap::new(),
            keys: BTreeMap::new(),
            queue: BinaryHeap::new(),
            order: 0,
            now: Instant::START,
            next_number: 0,
            traffic: BTreeMap::new(),
            overdue_wakeups: 0,
            wakeups: 0,
            most_outputs: 0,
        }
    }

    /// The login service's key pair, for those who act in its name.
    pub fn login_key(&self) -> KeyPair {
        self.login.clone()
    }

    /// Neighbours that a supernode has at most.
    pub fn max_neighbours(&self) -> usize {
        self.settings.max_neighbours
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn time(&self) -> Now {
        Now { instant: self.now, unix: EPOCH.plus(self.now.since(Instant::START)) }
    }

    /// Adds a node with a valid credential, which starts at once.
    pub fn add_node(&mut self, role: RoleSetting, files: Vec<FileMeta>) -> NodeId {
        let key = KeyPair::from_seed(&self.rng.random());
        let number = self.next_number;
        self.next_number += 1;
        let credential = self.credential(&key.node_id(), number, &self.login.clone());
        self.add_node_with(role, files, &key, credential)
    }

    /// A credential for a node, signed by `signer`, who need not be the login service.
    pub fn credential(&self, node: &NodeId, number: u32, signer: &KeyPair) -> SignedCredential {
        let issued = self.time().unix;
        let expires = issued.plus(self.settings.credential_lifetime);
        let name = name_of(number);
        Signed::new(Credential { name, node: *node, issued, expires }, signer)
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
        let mind = Mind::Overlay(Box::new(self.new_overlay(key.clone(), role, false)));
        let name = credential.unverified().name.clone();
        let address = self.insert(id, mind, role, name, files);
        self.keys.insert(id, key.clone());
        self.feed(id, Input::Listening(vec![address]));
        self.feed(id, Input::Credential(credential));
        id
    }

    pub(crate) fn insert(
        &mut self,
        id: NodeId,
        mind: Mind,
        role: RoleSetting,
        name: Username,
        files: Vec<FileMeta>,
    ) -> SocketAddr {
        let number = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let [_, a, b, c] = number.to_be_bytes();
        let node = SimNode {
            mind,
            name,
            address: SocketAddr::from(([10, a, b, c], 4701)),
            place: (self.rng.random(), self.rng.random()),
            files: files.into_iter().map(|file| (file.content, file)).collect(),
            links: BTreeSet::new(),
            known: Vec::new(),
            role,
            alive: true,
            life: 0,
            wake: None,
            searches: BTreeMap::new(),
            events: Vec::new(),
        };
        let address = node.address;
        self.nodes.insert(id, node);
        address
    }

    fn new_overlay(&mut self, key: KeyPair, role: RoleSetting, was_super: bool) -> Overlay {
        let config = Config::new(self.login.node_id())
            .role(role)
            .was_super(was_super)
            .max_children(self.settings.max_children)
            .max_neighbours(self.settings.max_neighbours);
        Overlay::new(key, config, self.rng.random(), self.time())
    }

    /// Ends a node without a word, as `kill -9` does.
    pub fn kill(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.alive = false;
        node.life += 1;
        node.wake = None;
        let links = std::mem::take(&mut node.links);
        for peer in links {
            let life = self.life(&peer);
            let silent = self.now + self.settings.silent_after;
            let dead = self.now + self.settings.idle_timeout;
            let input = Box::new(Input::LinkSilent { peer: id });
            self.schedule(silent, Happening::Input { node: peer, life, input });
            self.schedule(dead, Happening::Closed { at: peer, peer: id });
        }
    }

    /// Starts a node again with its files and its cache of supernodes.
    pub fn restart(&mut self, id: NodeId) {
        let Some(role) = self.nodes.get(&id).map(|node| node.role) else { return };
        let was_super = self
            .overlay(id)
            .is_some_and(|overlay| overlay.snapshot(self.time()).role == skein_proto::Role::Super);
        let Some(key) = self.keys.get(&id).cloned() else { return };
        let overlay = self.new_overlay(key, role, was_super);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.mind = Mind::Overlay(Box::new(overlay));
        node.alive = true;
        node.life += 1;
        let entries = node.known.clone();
        let address = node.address;
        let name = node.name.clone();
        let now = self.time();
        let expires = now.unix.plus(self.settings.credential_lifetime);
        let credential =
            Signed::new(Credential { name, node: id, issued: now.unix, expires }, &self.login);
        self.feed(id, Input::Listening(vec![address]));
        self.feed(id, Input::Bootstrap { entries, invited: false });
        self.feed(id, Input::Credential(credential));
    }

    /// Tells a node to end; it says goodbye first.
    pub fn leave(&mut self, id: NodeId) {
        self.feed(id, Input::Leave);
    }

    /// Whether the login service answers from now on.
    pub fn set_login_up(&mut self, up: bool) {
        self.login_up = up;
    }

    /// Changes what a node shares.
    pub fn change_files(&mut self, id: NodeId, added: Vec<FileMeta>, removed: Vec<ContentId>) {
        if let Some(node) = self.nodes.get_mut(&id) {
            for content in &removed {
                node.files.remove(content);
            }
            node.files.extend(added.iter().map(|file| (file.content, file.clone())));
        }
        self.feed(id, Input::LibraryChanged { added, removed });
    }

    /// Hands an input of its user to a node.
    pub fn feed(&mut self, id: NodeId, input: Input) {
        let now = self.time();
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.alive) else { return };
        match &mut node.mind {
            Mind::Overlay(overlay) => overlay.handle(input, now),
            Mind::Puppet(heard) => {
                if let Input::Received { peer, message } = input {
                    heard.push((peer, *message));
                }
                return;
            }
        }
        self.drain(id);
    }

    /// How a node is doing.
    pub fn snapshot(&self, id: NodeId) -> Option<Snapshot> {
        self.nodes.get(&id).filter(|node| node.alive)?;
        Some(self.overlay(id)?.snapshot(self.time()))
    }

    /// A node's state machine, for its counters.
    pub fn overlay(&self, id: NodeId) -> Option<&Overlay> {
        match &self.nodes.get(&id)?.mind {
            Mind::Overlay(overlay) => Some(overlay),
            Mind::Puppet(_) => None,
        }
    }

    fn overlay_mut(&mut self, id: NodeId) -> Option<&mut Overlay> {
        match &mut self.nodes.get_mut(&id)?.mind {
            Mind::Overlay(overlay) => Some(overlay),
            Mind::Puppet(_) => None,
        }
    }

    /// What a node told its user.
    pub fn events(&self, id: NodeId) -> &[(Instant, Event)] {
        self.nodes.get(&id).map(|node| node.events.as_slice()).unwrap_or_default()
    }

    /// Runs for so much virtual time.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// Runs until something is so, at most for so much virtual time. Answers whether it is so.
    pub fn run_until(&mut self, at_most: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + at_most;
        loop {
            if done(self) {
                return true;
            }
            match self.queue.peek() {
                Some(Reverse(next)) if next.at <= end => {}
                _ => {
                    self.now = end;
                    return done(self);
                }
            }
            let Some(Reverse(next)) = self.queue.pop() else { return false };
            self.now = next.at;
            self.happen(next.what);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Input { node, life, input } => {
                let current = self.nodes.get(&node).is_some_and(|n| n.alive && n.life == life);
                let linked = match input.as_ref() {
                    Input::Received { peer, .. } | Input::LinkSilent { peer } => {
                        self.nodes.get(&node).is_some_and(|n| n.links.contains(peer))
                    }
                    _ => true,
                };
                if current && linked {
                    self.feed(node, *input);
                }
            }
            Happening::Connect { from, to, life } => self.connect(from, to, life),
            Happening::Closed { at, peer } => {
                let removed = self.nodes.get_mut(&at).is_some_and(|node| node.links.remove(&peer));
                if removed {
                    self.feed(at, Input::LinkDown { peer });
                }
            }
            Happening::Wake { node, at } => {
                let due = self.nodes.get_mut(&node).is_some_and(|n| {
                    let due = n.alive && n.wake == Some(at);
                    if due {
                        n.wake = None;
                    }
                    due
                });
                if due {
                    self.wakeups += 1;
                    self.feed(node, Input::Tick);
                }
            }
            Happening::AskLogin { node, willing } => self.ask_login(node, willing),
        }
    }

    fn connect(&mut self, from: NodeId, to: NodeId, life: u32) {
        let Some(dialler) = self.nodes.get(&from).filter(|n| n.alive && n.life == life) else {
            return;
        };
        let from_address = dialler.address;
        let Some(target) = self.nodes.get(&to).filter(|node| node.alive) else {
            self.feed(from, Input::DialFailed { peer: to });
            return;
        };
        let to_address = target.address;
        let rtt = self.latency(&from, &to) * 2;
        for (at, peer, address) in [(to, from, from_address), (from, to, to_address)] {
            let new = self.nodes.get_mut(&at).is_some_and(|node| node.links.insert(peer));
            if new {
                self.feed(at, Input::LinkUp { peer, address, rtt });
            }
        }
    }

    fn ask_login(&mut self, id: NodeId, willing: bool) {
        if !self.login_up {
            self.feed(id, Input::BootstrapFailed);
            return;
        }
        let fresh = Duration::from_secs(150);
        let now = self.now;
        let mut entries: Vec<SupernodeEntry> = self
            .reports
            .values()
            .filter(|(_, at)| now.since(*at) < fresh)
            .map(|(entry, _)| entry.clone())
            .collect();
        while entries.len() > 200 {
            let at = self.rng.random_range(0..entries.len());
            entries.swap_remove(at);
        }
        let free = self.invited.is_none_or(|(_, at)| now.since(at) > Duration::from_secs(30));
        let invited = entries.is_empty() && willing && free;
        if invited {
            self.invited = Some((id, now));
        }
        self.feed(id, Input::Bootstrap { entries, invited });
    }

    fn drain(&mut self, id: NodeId) {
        let mut outputs = 0;
        while let Some(output) = self.overlay_mut(id).and_then(Overlay::poll_output) {
            self.carry_out(id, output);
            outputs += 1;
        }
        self.most_outputs = self.most_outputs.max(outputs);
        let now = self.time();
        let Some(wake) = self.overlay(id).map(|overlay| overlay.next_wakeup(now)) else { return };
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.alive) else { return };
        if let Some(at) = wake {
            self.overdue_wakeups += u64::from(at <= self.now);
            // What is due at once is due a moment later: time must go on.
            let at = at.max(self.now + Duration::from_millis(1));
            if node.wake.is_none_or(|wake| at < wake || wake <= self.now) {
                node.wake = Some(at);
                self.schedule(at, Happening::Wake { node: id, at });
            }
        }
    }

    pub(crate) fn carry_out(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Dial { peer, .. } => {
                // A QUIC handshake takes one round trip before either side can send.
                let at = self.now + self.latency(&id, &peer) * 2;
                let life = self.life(&id);
                let alive = self.nodes.get(&peer).is_some_and(|node| node.alive);
                let at = if alive { at } else { self.now + Duration::from_secs(3) };
                self.schedule(at, Happening::Connect { from: id, to: peer, life });
            }
            Output::Send { peer, message } => self.transmit(id, peer, message),
            Output::HangUp { peer, .. } => {
                let had = self.nodes.get_mut(&id).is_some_and(|node| node.links.remove(&peer));
                if had {
                    let at = self.now + self.latency(&id, &peer);
                    self.schedule(at, Happening::Closed { at: peer, peer: id });
                    let life = self.life(&id);
                    let input = Box::new(Input::LinkDown { peer });
                    self.schedule(self.now, Happening::Input { node: id, life, input });
                }
            }
            Output::WantFiles { page, after, limit } => {
                let Some(node) = self.nodes.get(&id) else { return };
                let start = after.map_or(Bound::Unbounded, Bound::Excluded);
                let files: Vec<FileMeta> = node
                    .files
                    .range((start, Bound::Unbounded))
                    .take(limit)
                    .map(|(_, file)| file.clone())
                    .collect();
                let last = files.len() < limit;
                let input = Box::new(Input::Files { page, files, last });
                let life = node.life;
                let at = self.now + Duration::from_millis(1);
                self.schedule(at, Happening::Input { node: id, life, input });
            }
            Output::WantBootstrap { willing } => {
                let at = self.now + self.settings.max_latency;
                self.schedule(at, Happening::AskLogin { node: id, willing });
            }
            Output::Report { load } => {
                let Some(node) = self.nodes.get(&id).filter(|_| self.login_up) else { return };
                let entry = SupernodeEntry {
                    node: id,
                    addresses: BoundedVec::truncated([node.address]),
                    load_percent: load.percent(),
                    seen: self.time().unix,
                };
                self.reports.insert(id, (entry, self.now));
            }
            Output::RememberSupernodes(entries) => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.known = entries;
                }
            }
            Output::Hits { id: query, groups } => self.on_hits(id, query, groups),
            Output::SearchDone { id: query, coverage } => self.on_search_done(id, query, coverage),
            Output::Event(event) => {
                let now = self.now;
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.events.push((now, event));
                }
            }
        }
    }

    pub(crate) fn transmit(&mut self, from: NodeId, to: NodeId, message: Box<Message>) {
        let linked = self.nodes.get(&from).is_some_and(|node| node.links.contains(&to));
        if !linked {
            return;
        }
        // The real codec at both ends: what it refuses never arrives here either.
        let Ok(frame) = codec::encode(&message) else { return };
        let count = self.traffic.entry(message.kind().name()).or_default();
        count.0 += 1;
        count.1 += frame.len() as u64;
        let at = self.now + self.latency(&from, &to);
        let life = self.life(&to);
        let input = Box::new(Input::Received { peer: from, message });
        self.schedule(at, Happening::Input { node: to, life, input });
    }

    /// One way, by the distance of the two places.
    fn latency(&self, a: &NodeId, b: &NodeId) -> Duration {
        let place = |id| self.nodes.get(id).map_or((0.5, 0.5), |node| node.place);
        let ((ax, ay), (bx, by)) = (place(a), place(b));
        let distance = ((ax - bx).hypot(ay - by) / std::f64::consts::SQRT_2).clamp(0.0, 1.0);
        self.settings.max_latency.mul_f64(0.05 + 0.95 * distance)
    }

    fn life(&self, id: &NodeId) -> u32 {
        self.nodes.get(id).map_or(0, |node| node.life)
    }

    fn schedule(&mut self, at: Instant, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at, order: self.order, what }));
    }
}

#[allow(clippy::expect_used)]
pub(crate) fn name_of(number: u32) -> Username {
    Username::parse(&format!("node{number}")).expect("a word and a number make a name")
}
