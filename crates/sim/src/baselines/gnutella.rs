//! Gnutella 0.4: every node equal, every search flooded.
//!
//! "The Gnutella Protocol Specification v0.4" (Clip2, revisions 1.2 and 1.6) and what Ripeanu,
//! Iamnitchi and Foster ("Mapping the Gnutella Network", IEEE Internet Computing 2002) measured of
//! its network: 3.4 connections a node on average, with degrees that follow a power law.
//!
//! A descriptor goes to all connections but the one it came from, each id once, until its time to
//! live is used up. Hits and pongs go back the way the query or ping has come; where that way is
//! broken they are lost. A node that joins gets first addresses from a host cache, which the
//! specification leaves open, and sends one ping; real nodes sent many more. Connections are those
//! of TCP: the system of a node that dies closes them.

mod message;

pub use message::Message;

use super::library::{Library, Seen};
use super::world::{Address, Context, Peer, World};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use std::time::Duration;

/// Bytes of a descriptor's header: id 16, kind 1, time to live 1, hops 1, length 4.
const HEADER: u64 = 23;

/// The time to live that the specification and nearly all nodes used.
pub const TTL: u8 = 7;

/// Degrees follow a power law with this exponent from [`FEWEST`] to [`MOST`] connections, whose
/// mean is 3.4.
const EXPONENT: f64 = 2.75;
const FEWEST: usize = 2;
const MOST: usize = 40;

/// Addresses that a node keeps of the pongs that it got.
const HOST_CACHE: usize = 50;

/// How long a node waits before it tries again to get connections.
const RETRY: Duration = Duration::from_secs(5);

/// What all nodes know.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What is shared and asked for.
    pub library: Library,
    /// The time to live of queries.
    pub ttl: u8,
    /// Of so many pings one is sent, and counted as often: in large networks with churn all pings
    /// are more than a machine can simulate (and more than the real one could carry).
    pub ping_sample: u32,
}

/// Connections are to be looked after.
#[derive(Clone, Copy, Debug)]
pub struct Retry;

/// A node.
#[derive(Debug)]
pub struct Gnutella {
    user: u32,
    /// How many connections it wants.
    degree: usize,
    links: Vec<Address>,
    dialling: Vec<Address>,
    hosts: Vec<Address>,
    queries: Seen,
    pings: Seen,
    pinged: bool,
    waiting: bool,
}

impl Peer for Gnutella {
    type Message = Message;
    type Timer = Retry;
    type Ask = u32;
    type Shared = Shared;

    fn new(user: u32, _: Address, _: &Shared, rng: &mut SmallRng) -> Self {
        Self {
            user,
            degree: draw_degree(rng),
            links: Vec::new(),
            dialling: Vec::new(),
            hosts: Vec::new(),
            queries: Seen::default(),
            pings: Seen::default(),
            pinged: false,
            waiting: false,
        }
    }

    fn start(&mut self, joined: bool, ctx: &mut Context<'_, Self>) {
        self.pinged = joined;
        self.connect(ctx);
    }

    fn received(&mut self, from: Address, message: Message, ctx: &mut Context<'_, Self>) {
        match message {
            // A node takes a connection more than it wants, so that newcomers find a place.
            Message::Connect if self.links.len() > self.degree => {
                ctx.send(from, Message::Refused);
            }
            Message::Connect => {
                self.add(from, ctx);
                ctx.send(from, Message::Ok);
            }
            Message::Ok => {
                self.dialling.retain(|dialled| *dialled != from);
                self.add(from, ctx);
                self.ping(ctx);
            }
            Message::Refused => {
                self.dialling.retain(|dialled| *dialled != from);
                self.hosts.retain(|host| *host != from);
                self.retry_later(ctx);
            }
            Message::Ping { id, ttl, weight } => {
                if self.pings.insert(id, from) {
                    ctx.send(from, Message::Pong { id, at: ctx.me, weight });
                    self.flood(from, ttl, ctx, |ttl| Message::Ping { id, ttl, weight });
                }
            }
            Message::Pong { id, at, weight } => match self.pings.from(id) {
                Some(back) if back == ctx.me => self.remember(at, ctx),
                Some(back) => self.send_back(back, Message::Pong { id, at, weight }, ctx),
                None => {}
            },
            Message::Query { operation, search, ttl, hops, text_bytes } => {
                if self.queries.insert(operation, from) {
                    let hops = hops + 1;
                    self.reply(operation, search, hops, from, ctx);
                    let query = |ttl| Message::Query { operation, search, ttl, hops, text_bytes };
                    self.flood(from, ttl, ctx, query);
                }
            }
            Message::QueryHit { operation, hops, files, files_bytes } => {
                match self.queries.from(operation) {
                    Some(back) if back == ctx.me => {
                        for content in files {
                            ctx.hit(operation, content, hops.into());
                        }
                    }
                    Some(back) => {
                        let hit = Message::QueryHit { operation, hops, files, files_bytes };
                        self.send_back(back, hit, ctx);
                    }
                    None => {}
                }
            }
        }
    }

    fn unanswered(&mut self, to: Address, _: Message, ctx: &mut Context<'_, Self>) {
        self.dialling.retain(|dialled| *dialled != to);
        self.hosts.retain(|host| *host != to);
        self.connect(ctx);
    }

    fn timer(&mut self, _: Retry, ctx: &mut Context<'_, Self>) {
        self.waiting = false;
        self.connect(ctx);
    }

    fn ask(&mut self, operation: u32, search: u32, ctx: &mut Context<'_, Self>) {
        self.queries.insert(operation, ctx.me);
        let Shared { library, ttl, .. } = ctx.shared();
        let (ttl, text) = (*ttl, library.text_bytes(search));
        let own = library.matches(search, self.user).to_vec();
        let text_bytes = u16::try_from(text).unwrap_or(u16::MAX);
        for content in own {
            ctx.hit(operation, content, 0);
        }
        for link in &self.links {
            ctx.send(*link, Message::Query { operation, search, ttl, hops: 0, text_bytes });
        }
    }

    fn link_down(&mut self, peer: Address, ctx: &mut Context<'_, Self>) {
        self.links.retain(|link| *link != peer);
        self.connect(ctx);
    }

    fn links(&self) -> Vec<Address> {
        self.links.clone()
    }

    /// 6 bytes for each address, 16 for each id.
    fn state_bytes(&self) -> u64 {
        let addresses = self.links.len() + self.hosts.len();
        let seen = self.queries.len() + self.pings.len();
        addresses as u64 * 6 + seen as u64 * (16 + 6)
    }
}

impl Gnutella {
    /// Dials until there are as many connections as wanted.
    fn connect(&mut self, ctx: &mut Context<'_, Self>) {
        let missing = self.degree.saturating_sub(self.links.len() + self.dialling.len());
        for _ in 0..missing {
            let cached = self.hosts.pop();
            let Some(host) = cached.or_else(|| ctx.contact()) else { break };
            if host != ctx.me && !self.links.contains(&host) && !self.dialling.contains(&host) {
                self.dialling.push(host);
                ctx.send(host, Message::Connect);
            }
        }
        if self.links.is_empty() && self.dialling.is_empty() {
            self.retry_later(ctx);
        }
    }

    fn retry_later(&mut self, ctx: &mut Context<'_, Self>) {
        if !std::mem::replace(&mut self.waiting, true) {
            ctx.timer(RETRY, Retry);
        }
    }

    fn add(&mut self, peer: Address, ctx: &mut Context<'_, Self>) {
        if !self.links.contains(&peer) {
            self.links.push(peer);
        }
        ctx.joined();
    }

    /// The one ping of a node that has joined.
    fn ping(&mut self, ctx: &mut Context<'_, Self>) {
        if std::mem::replace(&mut self.pinged, true) {
            return;
        }
        let weight = ctx.shared().ping_sample.max(1);
        if ctx.rng().random_range(0..weight) > 0 {
            return;
        }
        // Every node pings once, so its address is an id that nobody else uses.
        let id = ctx.me;
        self.pings.insert(id, ctx.me);
        for link in &self.links {
            ctx.send(*link, Message::Ping { id, ttl: TTL, weight });
        }
    }

    fn remember(&mut self, host: Address, ctx: &mut Context<'_, Self>) {
        if self.hosts.len() < HOST_CACHE {
            self.hosts.push(host);
        } else {
            let index = ctx.rng().random_range(0..HOST_CACHE);
            self.hosts[index] = host;
        }
    }

    /// Passes a descriptor on to all but the one it came from, if it may live on.
    fn flood(
        &self,
        from: Address,
        ttl: u8,
        ctx: &mut Context<'_, Self>,
        message: impl Fn(u8) -> Message,
    ) {
        if ttl > 1 {
            for link in self.links.iter().filter(|link| **link != from) {
                ctx.send(*link, message(ttl - 1));
            }
        }
    }

    fn reply(
        &self,
        operation: u32,
        search: u32,
        hops: u8,
        back: Address,
        ctx: &mut Context<'_, Self>,
    ) {
        let library = &ctx.shared().library;
        let files = library.matches(search, self.user);
        if files.is_empty() {
            return;
        }
        let files_bytes = u32::try_from(library.name_bytes(files, 8 + 2)).unwrap_or(u32::MAX);
        let files = files.into();
        self.send_back(back, Message::QueryHit { operation, hops, files, files_bytes }, ctx);
    }

    /// A step of the way back, if the connection still stands.
    fn send_back(&self, to: Address, message: Message, ctx: &mut Context<'_, Self>) {
        if self.links.contains(&to) {
            ctx.send(to, message);
        }
    }
}

fn draw_degree(rng: &mut impl Rng) -> usize {
    // By inverting the continuous law from half below the least to half above the most.
    let power = 1.0 - EXPONENT;
    let (least, most) = (FEWEST as f64 - 0.5, MOST as f64 + 0.5);
    let (a, b) = (least.powf(power), most.powf(power));
    let drawn = (a + rng.random::<f64>() * (b - a)).powf(1.0 / power);
    (drawn.round() as usize).clamp(FEWEST, MOST)
}

/// Connects all nodes at random with the degrees that they want.
pub fn converge(world: &mut World<Gnutella>, rng: &mut SmallRng) {
    let alive = world.alive().to_vec();
    let mut ends: Vec<Address> = Vec::new();
    for at in &alive {
        let degree = world.peer(*at).map_or(0, |peer| peer.degree);
        ends.extend(std::iter::repeat_n(*at, degree));
    }
    ends.shuffle(rng);
    for pair in ends.chunks_exact(2) {
        let (a, b) = (pair[0], pair[1]);
        // The few who would be connected twice, or to themselves, find others when they start.
        let known = world.peer(a).is_none_or(|peer| peer.links.contains(&b));
        if a != b && !known {
            for (from, to) in [(a, b), (b, a)] {
                if let Some(peer) = world.peer_mut(from) {
                    peer.links.push(to);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::baselines::testing::{library, running, seconds};
    use crate::workload::Search;
    use rand::SeedableRng;

    fn converged(nodes: u32, ttl: u8) -> World<Gnutella> {
        let library = library(nodes, 7);
        let mut world = running(Shared { library, ttl, ping_sample: 1 }, nodes, converge);
        world.run_for(seconds(30));
        world
    }

    fn search(world: &mut World<Gnutella>, by: Address, search: &Search) -> u32 {
        let number = world.shared_mut().library.prepare(search);
        let operation = world.ask(by, number);
        world.run_for(seconds(30));
        operation
    }

    #[test]
    fn degrees_have_the_mean_that_was_measured() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mean = (0..100_000).map(|_| draw_degree(&mut rng)).sum::<usize>() as f64 / 100_000.0;
        assert!((3.2..3.6).contains(&mean), "{mean}");
    }

    #[test]
    fn a_flood_crosses_each_link_at_most_twice_and_finds_what_is_there() {
        let mut world = converged(1_000, 30);
        let links: usize = (0..1_000).map(|at| world.peer(at).unwrap().links.len()).sum();
        let mut rng = SmallRng::seed_from_u64(2);
        let rare = world.shared().library.workload().rare_search(&mut rng).unwrap();
        let operation = search(&mut world, 17, &rare);
        let operation = &world.operations()[operation as usize];
        // Both ends of all links, but the one by which each node was reached first; and the hits.
        let flood = (links - 1_000 + 1) as u64;
        let hits = operation.messages - flood;
        assert!((1..=60).contains(&hits), "{} of {flood}", operation.messages);
        assert!(operation.hits.iter().any(|hit| hit.content == rare.target));
    }

    #[test]
    fn a_short_time_to_live_reaches_the_neighbourhood_only() {
        let mut world = converged(1_000, 2);
        let workload = world.shared().library.workload().clone();
        let peer = world.peer(5).unwrap();
        let near = peer.links.len() as u64;
        let next: usize =
            peer.links.iter().map(|link| world.peer(*link).unwrap().links.len() - 1).sum();
        let rare = workload.rare_search(&mut SmallRng::seed_from_u64(4)).unwrap();
        let operation = search(&mut world, 5, &rare);
        let messages = world.operations()[operation as usize].messages;
        assert!(messages >= near && messages <= near + next as u64 + 2, "{messages}");
    }

    #[test]
    fn a_newcomer_pings_everyone_and_gets_connections() {
        let mut world = converged(300, TTL);
        let before = world.maintenance();
        let address = world.add(0);
        world.join(address);
        world.run_for(seconds(30));
        let peer = world.peer(address).unwrap();
        assert!(peer.links.len() >= peer.degree.min(2), "{:?}", peer.links);
        assert!(!peer.hosts.is_empty());
        // Each of 300 nodes answers, over some hops.
        let sent = world.maintenance().messages - before.messages;
        assert!(sent > 1_000, "{sent}");
    }

    #[test]
    fn who_loses_connections_finds_others() {
        let mut world = converged(300, TTL);
        for address in (0..300).step_by(3) {
            world.kill(address);
        }
        world.run_for(seconds(120));
        for address in world.alive() {
            let peer = world.peer(*address).unwrap();
            assert!(peer.links.iter().all(|link| link % 3 != 0), "{address}");
            assert!(!peer.links.is_empty(), "{address}");
        }
    }
}
