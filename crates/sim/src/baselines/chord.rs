//! Chord: a ring with successor lists, fingers and periodic stabilisation.
//!
//! Stoica, Morris, Karger, Kaashoek, Balakrishnan, "Chord: A Scalable Peer-to-peer Lookup Service
//! for Internet Applications", SIGCOMM 2001; the version of 2003 in Transactions on Networking adds
//! the successor list to the choice of the next hop and the check of the predecessor. Look-ups are
//! iterative, as in the paper's simulator: the asker talks to each node on the way.
//! The last hop is the owner of the key itself, which is asked for what it keeps.
//!
//! The papers give no format. Counted are the fields: 5 bytes for kind and number of a request, 20
//! for a key (SHA-1), and 26 for a node (20 for its id, 4 for an IPv4 address, 2 for a port).

mod lookup;
mod message;
mod ring;

pub use message::Message;
pub use ring::{Node, converge, truth};

use super::world::{Address, Context, Peer};
use lookup::{Purpose, Walk};
use rand::RngExt;
use rand::rngs::SmallRng;
use ring::{between, finger_start};
use std::time::Duration;

/// Bytes of kind and number of a request.
const HEADER: u64 = 5;
/// Bytes of a key.
const KEY: u64 = 20;
/// Bytes of a node.
const NODE: u64 = 26;

/// Stabilisation runs at random times between these two, 30 s on average, as in the simulations of
/// the paper, each time with one finger and the predecessor.
const STABILISE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(45));

/// What all nodes know.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    /// How many successors a node keeps.
    pub successors: usize,
    /// The lowest finger, as a power of two, that is worth keeping: those below it all point to
    /// the successor.
    pub lowest_finger: u32,
}

impl Shared {
    /// For about so many nodes: `2 log2 N` successors, with which the ring holds when half of all
    /// nodes fail, and fingers that reach beyond the successor.
    pub fn for_nodes(nodes: u32) -> Self {
        let log = nodes.max(2).next_power_of_two().trailing_zeros();
        Self { successors: 2 * log as usize, lowest_finger: 64 - log - 4 }
    }
}

/// What a node wants to be reminded of.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// Stabilisation is due.
    Stabilise,
    /// Joining did not work: it is tried again.
    Join,
}

/// A node.
#[derive(Debug)]
pub struct Chord {
    me: Node,
    predecessor: Option<Node>,
    successors: Vec<Node>,
    /// The first node at or after each finger's start; what is not known is the successor's.
    fingers: Vec<Option<Node>>,
    /// Whether stabilisation runs.
    running: bool,
    /// The finger that is looked at next.
    next_finger: usize,
    walks: Vec<Walk>,
    next_walk: u32,
}

impl Peer for Chord {
    type Message = Message;
    type Timer = Timer;
    type Ask = u64;
    type Shared = Shared;

    fn new(_user: u32, address: Address, shared: &Shared, rng: &mut SmallRng) -> Self {
        Self {
            me: Node { id: rng.random(), at: address },
            predecessor: None,
            successors: Vec::new(),
            fingers: vec![None; (64 - shared.lowest_finger) as usize],
            running: false,
            next_finger: 0,
            walks: Vec::new(),
            next_walk: 0,
        }
    }

    fn start(&mut self, joined: bool, ctx: &mut Context<'_, Self>) {
        if joined {
            self.begin_rounds(ctx);
        } else {
            self.join(ctx);
        }
    }

    fn received(&mut self, from: Address, message: Message, ctx: &mut Context<'_, Self>) {
        match message {
            Message::FindNext { operation, walk, key, failed } => {
                if let Some(failed) = failed {
                    self.forget(failed);
                }
                let (node, owner) = self.step(key);
                ctx.send(from, Message::Next { operation, walk, node, owner });
            }
            Message::Next { walk, node, owner, .. } => self.on_next(walk, node, owner, ctx),
            Message::Get { operation, walk } => ctx.send(from, Message::Got { operation, walk }),
            Message::Got { walk, .. } => self.on_got(walk, ctx),
            Message::Stabilise => {
                let successors = self.successors.clone().into_boxed_slice();
                let predecessor = self.predecessor;
                ctx.send(from, Message::Neighbours { predecessor, successors });
            }
            Message::Neighbours { predecessor, successors } => {
                self.on_neighbours(from, predecessor, &successors, ctx);
            }
            Message::Notify(node) => {
                let closer = |known: Node| between(node.id, known.id, self.me.id);
                if node.at != self.me.at && self.predecessor.is_none_or(closer) {
                    self.predecessor = Some(node);
                }
                // The second node of a ring: the first has no other successor yet.
                if self.successors.is_empty() {
                    self.successors.push(node);
                }
            }
            Message::Ping => ctx.send(from, Message::Pong),
            Message::Pong => {}
            Message::GetFingers => {
                let fingers = self.distinct_fingers().into_boxed_slice();
                ctx.send(from, Message::Fingers(fingers));
            }
            Message::Fingers(nodes) => self.adopt_fingers(&nodes, ctx.shared()),
        }
    }

    fn unanswered(&mut self, to: Address, message: Message, ctx: &mut Context<'_, Self>) {
        self.forget(to);
        match message {
            Message::FindNext { walk, .. } | Message::Get { walk, .. } => {
                self.on_silence(walk, to, ctx);
            }
            Message::Stabilise if self.successors.is_empty() => self.join(ctx),
            Message::Stabilise => self.stabilise(ctx),
            _ => {}
        }
    }

    fn timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        match timer {
            Timer::Join if self.successors.is_empty() => self.join(ctx),
            Timer::Join => {}
            Timer::Stabilise => {
                let (least, most) = STABILISE;
                let after = ctx.rng().random_range(least..=most);
                ctx.timer(after, Timer::Stabilise);
                self.stabilise(ctx);
                if let Some(predecessor) = self.predecessor {
                    ctx.send(predecessor.at, Message::Ping);
                }
                self.fix_finger(ctx);
            }
        }
    }

    fn ask(&mut self, operation: u32, key: u64, ctx: &mut Context<'_, Self>) {
        self.walk(Purpose::Ask(operation), key, None, ctx);
    }

    fn state_bytes(&self) -> u64 {
        let mut nodes: Vec<Address> = self.fingers.iter().flatten().map(|node| node.at).collect();
        nodes.extend(self.successors.iter().chain(&self.predecessor).map(|node| node.at));
        nodes.sort_unstable();
        nodes.dedup();
        nodes.len() as u64 * NODE
    }
}

impl Chord {
    fn join(&mut self, ctx: &mut Context<'_, Self>) {
        self.walks.retain(|walk| !matches!(walk.purpose, Purpose::Join));
        // Whom nobody answers tries again.
        ctx.timer(Duration::from_secs(5), Timer::Join);
        match ctx.contact() {
            Some(contact) => {
                let contact = Node { id: self.me.id, at: contact };
                self.walk(Purpose::Join, self.me.id, Some(contact), ctx);
            }
            // The first node is a ring of its own.
            None => {
                ctx.joined();
                self.begin_rounds(ctx);
            }
        }
    }

    fn begin_rounds(&mut self, ctx: &mut Context<'_, Self>) {
        if std::mem::replace(&mut self.running, true) {
            return;
        }
        // Nodes have started at different times.
        let first = ctx.rng().random_range(Duration::ZERO..STABILISE.1);
        ctx.timer(first, Timer::Stabilise);
    }

    fn stabilise(&mut self, ctx: &mut Context<'_, Self>) {
        if let Some(successor) = self.successors.first() {
            ctx.send(successor.at, Message::Stabilise);
        }
    }

    fn on_neighbours(
        &mut self,
        from: Address,
        predecessor: Option<Node>,
        successors: &[Node],
        ctx: &mut Context<'_, Self>,
    ) {
        let Some(successor) = self.successors.first().copied().filter(|first| first.at == from)
        else {
            return;
        };
        let most = ctx.shared().successors;
        let others = successors.iter().copied().filter(|node| node.at != self.me.at);
        self.successors = std::iter::once(successor).chain(others).take(most).collect();
        match predecessor {
            Some(node) if between(node.id, self.me.id, successor.id) => {
                self.successors.insert(0, node);
                self.successors.truncate(most);
                // It stands nearer, if it lives: its own list tells.
                ctx.send(node.at, Message::Stabilise);
                ctx.send(node.at, Message::Notify(self.me));
            }
            _ => ctx.send(successor.at, Message::Notify(self.me)),
        }
        ctx.joined();
    }

    fn adopt_fingers(&mut self, nodes: &[Node], shared: &Shared) {
        for (number, finger) in self.fingers.iter_mut().enumerate() {
            let start = finger_start(self.me.id, shared.lowest_finger + number as u32);
            let distance = |node: &&Node| node.id.wrapping_sub(start);
            let known = nodes.iter().filter(|node| node.at != self.me.at);
            if finger.is_none() {
                *finger = known.min_by_key(distance).copied();
            }
        }
    }

    fn distinct_fingers(&self) -> Vec<Node> {
        let mut fingers: Vec<Node> =
            self.fingers.iter().flatten().chain(self.successors.first()).copied().collect();
        fingers.dedup_by_key(|node| node.at);
        fingers
    }

    /// Looks one finger up, the next in turn that lies beyond the successor.
    fn fix_finger(&mut self, ctx: &mut Context<'_, Self>) {
        let Some(successor) = self.successors.first().copied() else { return };
        let lowest = ctx.shared().lowest_finger;
        for _ in 0..self.fingers.len() {
            let number = self.next_finger % self.fingers.len();
            self.next_finger = number + 1;
            let start = finger_start(self.me.id, lowest + number as u32);
            if between(start, self.me.id, successor.id) || start == successor.id {
                self.fingers[number] = Some(successor);
                continue;
            }
            self.walk(Purpose::Finger(number), start, None, ctx);
            return;
        }
    }

    /// Who comes next on the way to a key, and whether it owns it.
    fn step(&self, key: u64) -> (Node, bool) {
        let Some(successor) = self.successors.first().copied() else { return (self.me, true) };
        if between(key, self.me.id, successor.id) || key == successor.id {
            return (successor, true);
        }
        let known = self.fingers.iter().flatten().chain(&self.successors);
        let preceding = known.filter(|node| between(node.id, self.me.id, key));
        match preceding.max_by_key(|node| node.id.wrapping_sub(self.me.id)) {
            Some(node) => (*node, false),
            None => (successor, true),
        }
    }

    fn forget(&mut self, dead: Address) {
        self.successors.retain(|node| node.at != dead);
        for finger in &mut self.fingers {
            if finger.is_some_and(|node| node.at == dead) {
                *finger = None;
            }
        }
        if self.predecessor.is_some_and(|node| node.at == dead) {
            self.predecessor = None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::baselines::testing::{self, running, seconds, world};
    use crate::baselines::world::World;

    fn converged(nodes: u32) -> World<Chord> {
        running(Shared::for_nodes(nodes), nodes, |world, _| converge(world))
    }

    /// Looks up so many random keys; answers which share was right and the hops of each.
    fn look_up(world: &mut World<Chord>, count: usize) -> (f64, Vec<u32>) {
        let (askers, truth) = (world.alive().to_vec(), truth(world));
        let draw_key = |_: &World<Chord>, rng: &mut SmallRng| rng.random();
        let (right, answers) = testing::look_up(world, count, &askers, draw_key, truth);
        (right, answers.into_iter().map(|(hops, _)| hops).collect())
    }

    #[test]
    fn a_look_up_takes_about_half_of_log2_n_hops() {
        let mut world = converged(1_024);
        let (right, hops) = look_up(&mut world, 500);
        let mean = f64::from(hops.iter().sum::<u32>()) / hops.len() as f64;
        assert_eq!(right, 1.0);
        assert!((4.0..=6.0).contains(&mean), "{mean}");
        assert!(hops.iter().all(|hops| *hops <= 11), "{:?}", hops.iter().max());
    }

    #[test]
    fn a_ring_builds_itself_from_nodes_that_join_one_by_one() {
        let mut world = world(Shared::for_nodes(64), 64, 7);
        for address in 0..64 {
            world.join(address);
            world.run_for(seconds(5));
        }
        world.run_for(seconds(1_200));
        let truth_of = truth(&world);
        for address in 0..64 {
            let peer = world.peer(address).unwrap();
            let next = truth_of(peer.me.id.wrapping_add(1));
            assert_eq!(peer.successors.first().map(|node| node.at), next, "{address}");
        }
        let (right, _) = look_up(&mut world, 200);
        assert_eq!(right, 1.0);
    }

    #[test]
    fn the_ring_heals_when_a_third_of_it_dies_at_once() {
        let mut world = converged(600);
        for address in (0..600).step_by(3) {
            world.kill(address);
        }
        let (wrong_at_first, _) = look_up(&mut world, 200);
        assert!(world.operations().iter().any(|operation| operation.timeouts > 0));
        world.run_for(seconds(600));
        let (right, _) = look_up(&mut world, 300);
        assert!(right > 0.99, "{right}, at first {wrong_at_first}");
    }

    #[test]
    fn a_quiet_node_sends_little() {
        let mut world = converged(1_000);
        world.run_for(seconds(60));
        let before = world.maintenance();
        world.run_for(seconds(300));
        let bytes = world.maintenance().bytes - before.bytes;
        let rate = bytes as f64 / 300.0 / 1_000.0;
        // Each 30 s: a list of 20 successors, a ping, and a finger in some 5 steps.
        assert!((20.0..45.0).contains(&rate), "{rate} B/s");
    }
}
