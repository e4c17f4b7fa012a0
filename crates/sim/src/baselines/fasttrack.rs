//! FastTrack: supernodes that index their children, and flooding among them.
//!
//! The protocol was never published. Structure and numbers are those that Liang, Kumar and Ross
//! measured ("Understanding KaZaA", 2004, and "The FastTrack Overlay: A Measurement Study",
//! Computer Networks 2006): a supernode has 100 to 150 children and 30 to 50 links to others; a node
//! keeps a cache of 200 supernodes, pings 5 of them and takes one. What they could not see, as who
//! becomes a supernode, is a fixed part of the users with good lines here. There are no query
//! routing tables: a supernode passes a query on to all its links but the one it came from, each
//! query once, until its time to live is used up.
//!
//! Sizes are those of the fields: 5 bytes of header, 6 for an address, 8 for an entry of the cache
//! (with load and freshness), 20 for the hash, 4 for the size of a file.

mod message;
mod searching;
mod topology;

pub use message::Message;
pub use topology::converge;

use super::library::{Library, Seen};
use super::world::{Address, Context, Peer};
use crate::workload::Nat;
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use std::time::Duration;

/// Bytes of a message's kind and length.
const HEADER: u64 = 5;

/// Children that the number of supernodes is reckoned with, the middle of what was measured.
pub const CHILDREN: u32 = 125;
/// The most children of a supernode.
const MOST_CHILDREN: usize = 150;
/// Links that a supernode wants, the middle of what was measured, and the most that it takes.
const LINKS: usize = 40;
const MOST_LINKS: usize = 50;
/// Supernodes that a node keeps in mind.
const CACHE: usize = 200;
/// Supernodes that a node pings before it takes one.
const PINGED: usize = 5;
/// How long a node waits before it tries again to get a parent or links.
const RETRY: Duration = Duration::from_secs(5);

/// What all nodes know.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What is shared and asked for.
    pub library: Library,
    /// How many hops a query makes among supernodes.
    pub ttl: u8,
    /// Users with good lines whose hash is not above this are supernodes.
    threshold: u64,
}

impl Shared {
    /// A network for so many nodes, with one supernode for each [`CHILDREN`] others.
    pub fn new(library: Library, ttl: u8) -> Self {
        let nodes = library.workload().nodes();
        let good = (0..nodes).filter(|user| is_good(&library, *user));
        let mut hashes: Vec<u64> = good.map(hash).collect();
        hashes.sort_unstable();
        let wanted = nodes.div_ceil(CHILDREN + 1) as usize;
        let last = wanted.min(hashes.len()).checked_sub(1);
        let threshold = last.map_or(0, |last| hashes[last]);
        Self { library, ttl, threshold }
    }

    /// Whether a user's node is a supernode whenever it is up.
    pub fn is_super(&self, user: u32) -> bool {
        is_good(&self.library, user) && hash(user) <= self.threshold
    }
}

/// A number that is always the same for a user, and as if drawn.
fn hash(user: u32) -> u64 {
    u64::from(user).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Whether a user's line would do for a supernode: reachable, and 2 Mbit/s up.
fn is_good(library: &Library, user: u32) -> bool {
    let host = library.workload().population.host(user);
    host.nat == Nat::Open && host.up_kbps >= 2_000
}

/// What a node wants to be reminded of.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// The pings have been answered, or not: the best is taken.
    Choose,
    /// Parent or links are to be looked after.
    Retry,
}

/// A node.
#[derive(Debug)]
pub struct FastTrack {
    user: u32,
    is_super: bool,
    cache: Vec<Address>,
    parent: Option<Address>,
    /// Who has answered a ping: children and address.
    offers: Vec<(u8, Address)>,
    choosing: bool,
    waiting: bool,
    /// A supernode's: its children, and the users whose files it indexes.
    children: Vec<(Address, u32)>,
    index_bytes: u64,
    links: Vec<Address>,
    queries: Seen,
}

impl Peer for FastTrack {
    type Message = Message;
    type Timer = Timer;
    type Ask = u32;
    type Shared = Shared;

    fn new(user: u32, _: Address, shared: &Shared, _: &mut SmallRng) -> Self {
        Self {
            user,
            is_super: shared.is_super(user),
            cache: Vec::new(),
            parent: None,
            offers: Vec::new(),
            choosing: false,
            waiting: false,
            children: Vec::new(),
            index_bytes: 0,
            links: Vec::new(),
            queries: Seen::default(),
        }
    }

    fn start(&mut self, joined: bool, ctx: &mut Context<'_, Self>) {
        if !joined {
            self.look_around(ctx);
        }
    }

    fn received(&mut self, from: Address, message: Message, ctx: &mut Context<'_, Self>) {
        match message {
            Message::Ping => {
                let room = self.is_super && self.children.len() < MOST_CHILDREN;
                // There are at most 150.
                let children = self.children.len() as u8;
                ctx.send(from, Message::Pong { children, room });
            }
            Message::Pong { children, room: true } => self.offers.push((children, from)),
            Message::Pong { room: false, .. } => {}
            Message::Attach => self.on_attach(from, ctx),
            Message::Attached(supers) => {
                self.parent = Some(from);
                self.learn(&supers, ctx);
                self.share(from, ctx);
            }
            Message::Full(supers) => {
                self.learn(&supers, ctx);
                self.retry_later(ctx);
            }
            Message::Share { user, bytes } => {
                if let Some(child) = self.children.iter_mut().find(|child| child.0 == from) {
                    child.1 = user;
                    self.index_bytes += bytes;
                }
            }
            Message::Link => {
                if self.is_super && self.links.len() < MOST_LINKS && !self.links.contains(&from) {
                    self.links.push(from);
                    self.learn(&[from], ctx);
                    ctx.send(from, Message::Linked);
                }
            }
            Message::Linked => {
                if !self.links.contains(&from) {
                    self.links.push(from);
                }
            }
            Message::Query { operation, search, ttl, hops, text_bytes } => {
                self.on_query(from, (operation, search, text_bytes), (ttl, hops), ctx);
            }
            Message::Hits { operation, hops, files, files_bytes } => {
                self.on_hits(operation, hops, files, files_bytes, ctx);
            }
        }
    }

    fn unanswered(&mut self, to: Address, _: Message, ctx: &mut Context<'_, Self>) {
        self.cache.retain(|known| *known != to);
        if !self.choosing {
            self.retry_later(ctx);
        }
    }

    fn timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        match timer {
            Timer::Choose => self.choose(ctx),
            Timer::Retry => {
                self.waiting = false;
                self.look_around(ctx);
            }
        }
    }

    fn ask(&mut self, operation: u32, search: u32, ctx: &mut Context<'_, Self>) {
        self.on_ask(operation, search, ctx);
    }

    fn link_down(&mut self, peer: Address, ctx: &mut Context<'_, Self>) {
        self.cache.retain(|known| *known != peer);
        if let Some(index) = self.children.iter().position(|child| child.0 == peer) {
            let (_, user) = self.children.swap_remove(index);
            self.index_bytes = self.index_bytes.saturating_sub(shared_bytes(user, ctx.shared()));
            return;
        }
        self.links.retain(|link| *link != peer);
        if self.parent == Some(peer) {
            self.parent = None;
        }
        self.look_around(ctx);
    }

    fn is_contact(&self) -> bool {
        self.is_super
    }

    fn links(&self) -> Vec<Address> {
        let children = self.children.iter().map(|child| child.0);
        self.links.iter().copied().chain(self.parent).chain(children).collect()
    }

    /// 8 bytes for each entry of the cache, 6 for each other address, 8 for each query seen, and a
    /// supernode's index.
    fn state_bytes(&self) -> u64 {
        let addresses = self.links.len() + self.children.len() + usize::from(self.parent.is_some());
        self.cache.len() as u64 * 8
            + addresses as u64 * 6
            + self.queries.len() as u64 * (2 + 6)
            + self.index_bytes
    }
}

/// Bytes of what a user publishes.
fn shared_bytes(user: u32, shared: &Shared) -> u64 {
    let files = shared.library.workload().shared_by(user);
    shared.library.name_bytes(files, 20 + 4 + 1)
}

impl FastTrack {
    /// A child without a parent pings some supernodes; a supernode asks others for links.
    fn look_around(&mut self, ctx: &mut Context<'_, Self>) {
        if self.is_super {
            ctx.joined();
            return self.get_links(ctx);
        }
        if self.parent.is_some() || std::mem::replace(&mut self.choosing, true) {
            return;
        }
        self.offers.clear();
        for _ in 0..PINGED {
            let cached = self.cache.choose(ctx.rng()).copied();
            if let Some(supernode) = cached.or_else(|| ctx.contact()) {
                ctx.send(supernode, Message::Ping);
            }
        }
        ctx.timer(super::world::ANSWER_TIMEOUT, Timer::Choose);
    }

    fn choose(&mut self, ctx: &mut Context<'_, Self>) {
        self.choosing = false;
        if self.parent.is_some() {
            return;
        }
        match self.offers.iter().min().copied() {
            Some((_, supernode)) => ctx.send(supernode, Message::Attach),
            None => {
                // None of the cache lives or has room: the login service names others.
                self.cache.clear();
                self.retry_later(ctx);
            }
        }
    }

    fn get_links(&mut self, ctx: &mut Context<'_, Self>) {
        let missing = LINKS.saturating_sub(self.links.len());
        let me = ctx.me;
        for _ in 0..missing {
            let cached = self.cache.choose(ctx.rng()).copied();
            let Some(other) = cached.or_else(|| ctx.contact()) else { break };
            if other != me && !self.links.contains(&other) {
                ctx.send(other, Message::Link);
            }
        }
        if missing > LINKS / 4 {
            self.retry_later(ctx);
        }
    }

    fn retry_later(&mut self, ctx: &mut Context<'_, Self>) {
        if !std::mem::replace(&mut self.waiting, true) {
            ctx.timer(RETRY, Timer::Retry);
        }
    }

    fn on_attach(&mut self, from: Address, ctx: &mut Context<'_, Self>) {
        let mut supers: Vec<Address> = self.links.clone();
        supers.extend(&self.cache);
        supers.truncate(CACHE);
        supers.shuffle(ctx.rng());
        if self.is_super && self.children.len() < MOST_CHILDREN {
            // Until the child says what it shares, it stands for nobody.
            self.children.push((from, u32::MAX));
            ctx.send(from, Message::Attached(supers.into()));
        } else {
            ctx.send(from, Message::Full(supers.into()));
        }
    }

    fn learn(&mut self, supers: &[Address], ctx: &mut Context<'_, Self>) {
        let me = ctx.me;
        for supernode in supers.iter().filter(|supernode| **supernode != me) {
            if self.cache.contains(supernode) {
                continue;
            }
            if self.cache.len() < CACHE {
                self.cache.push(*supernode);
            } else {
                let index = ctx.rng().random_range(0..CACHE);
                self.cache[index] = *supernode;
            }
        }
    }

    fn share(&self, parent: Address, ctx: &mut Context<'_, Self>) {
        let (user, bytes) = (self.user, shared_bytes(self.user, ctx.shared()));
        if bytes > 0 {
            ctx.send(parent, Message::Share { user, bytes });
        }
    }
}
