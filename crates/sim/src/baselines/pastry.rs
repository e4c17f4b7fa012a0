//! Pastry: routing by digits of ids, each time to a near node, and a leaf set at the end.
//!
//! Rowstron and Druschel, "Pastry: Scalable, Decentralized Object Location, and Routing for
//! Large-Scale Peer-to-Peer Systems", Middleware 2001, with `b` = 4. From Castro, Costa, Rowstron,
//! "Performance and Dependability of Structured Peer-to-Peer Overlays", DSN 2004: each hop is
//! acknowledged, so that a dead one costs a time-out and another way; heartbeats run along the ring
//! every 30 s; rows of the routing table are exchanged every 20 min; nobody gets into a table before
//! it has been probed; and there is no neighbourhood set.
//!
//! The papers give no format. Counted are the fields: 5 bytes for kind and number of a message, 16
//! for a key, and 22 for a node (16 for its id, 4 for an IPv4 address, 2 for a port).

mod maintain;
mod message;
mod tables;

pub use message::Message;
pub use tables::{Node, converge, truth};

use super::world::{Address, Context, Peer};
use rand::RngExt;
use rand::rngs::SmallRng;
use skein_proto::Instant;
use std::time::Duration;
use tables::Tables;

/// Bytes of kind and number of a message.
const HEADER: u64 = 5;
/// Bytes of a key.
const KEY: u64 = 16;
/// Bytes of a node.
const NODE: u64 = 22;

/// A heartbeat to the neighbour in descending direction (DSN 2004).
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Rows are exchanged with a random node of each (DSN 2004).
const EXCHANGE: Duration = Duration::from_secs(20 * 60);

/// Hops after which a message is dropped; a way takes `log16 N + 1` of them.
const MAX_HOPS: u32 = 40;

/// What all nodes know.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    /// Rows of the routing table.
    rows: usize,
    /// Half of the leaf set.
    leaves_a_side: usize,
}

impl Shared {
    /// For about so many nodes: a row more than the digits that tell them apart, and 16 leaves
    /// (Middleware 2001: 2^b of them, or twice as many).
    pub fn for_nodes(nodes: u32) -> Self {
        let bits = nodes.max(2).next_power_of_two().trailing_zeros();
        Self { rows: bits.div_ceil(4) as usize + 1, leaves_a_side: 8 }
    }
}

/// What is routed.
#[derive(Clone, Copy, Debug)]
pub enum Cargo {
    /// A user's look-up, to be answered to the asker.
    Ask {
        /// Its number.
        operation: u32,
        /// Who asked.
        by: Address,
    },
    /// A node that joins: everyone on the way helps it.
    Join(Node),
}

/// What a node wants to be reminded of.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// A heartbeat is due.
    Heartbeat,
    /// Rows are to be exchanged.
    Exchange,
    /// Joining did not work: it is tried again.
    Join,
}

/// A node.
#[derive(Debug)]
pub struct Pastry {
    me: Node,
    tables: Tables,
    joined: bool,
    /// The neighbour in ascending direction, and when it was heard last.
    watched: Option<(Address, Instant)>,
}

impl Peer for Pastry {
    type Message = Message;
    type Timer = Timer;
    type Ask = u64;
    type Shared = Shared;

    fn new(_user: u32, address: Address, shared: &Shared, rng: &mut SmallRng) -> Self {
        let me = Node { id: rng.random(), at: address };
        Self { me, tables: Tables::new(me, shared), joined: false, watched: None }
    }

    fn start(&mut self, joined: bool, ctx: &mut Context<'_, Self>) {
        if joined {
            self.run(ctx);
        } else {
            self.join(ctx);
        }
    }

    fn received(&mut self, from: Address, message: Message, ctx: &mut Context<'_, Self>) {
        if self.watched.is_some_and(|(watched, _)| watched == from) {
            self.watched = Some((from, ctx.now()));
        }
        match message {
            Message::Route { key, hops, cargo } => {
                let operation = match cargo {
                    Cargo::Ask { operation, .. } => Some(operation),
                    Cargo::Join(_) => None,
                };
                ctx.send(from, Message::Ack { operation });
                self.route(key, hops, cargo, ctx);
            }
            Message::Ack { .. } | Message::Heartbeat | Message::Alive => {}
            Message::Answer { operation, hops } => ctx.answer(operation, from, hops),
            Message::Row(nodes) => {
                for node in nodes {
                    self.consider(node, ctx);
                }
            }
            Message::Leaves { nodes, joined } => self.on_leaves(&nodes, joined, ctx),
            Message::Announce(node) => self.consider(node, ctx),
            Message::Probe => ctx.send(from, Message::Alive),
            Message::Gone(dead) => {
                // Others may be wrong: the node asks for itself.
                if self.tables.leaves().iter().any(|leaf| leaf.at == dead) {
                    ctx.send(dead, Message::Probe);
                }
            }
            Message::GetLeaves => self.send_leaves(from, false, ctx),
            Message::GetRow(row) => {
                let mut nodes = self.tables.row(usize::from(row));
                nodes.push(self.me);
                ctx.send(from, Message::Row(nodes.into()));
            }
            Message::GetEntry(row, column) => {
                let entry = self.tables.entry(row.into(), column.into());
                ctx.send(from, Message::Row(entry.into_iter().collect()));
            }
        }
    }

    fn unanswered(&mut self, to: Address, message: Message, ctx: &mut Context<'_, Self>) {
        self.on_death(to, ctx);
        if let Message::Route { key, hops, cargo } = message {
            // The hop was not made.
            self.route(key, hops.saturating_sub(1), cargo, ctx);
        }
    }

    fn timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        match timer {
            Timer::Join if self.joined => {}
            Timer::Join => self.join(ctx),
            Timer::Heartbeat => self.beat(ctx),
            Timer::Exchange => self.exchange(ctx),
        }
    }

    fn ask(&mut self, operation: u32, key: u64, ctx: &mut Context<'_, Self>) {
        self.route(key, 0, Cargo::Ask { operation, by: self.me.at }, ctx);
    }

    fn state_bytes(&self) -> u64 {
        self.tables.all().len() as u64 * NODE
    }
}

impl Pastry {
    const fn node(&self) -> Node {
        self.me
    }

    fn set_tables(&mut self, tables: Tables) {
        self.tables = tables;
        self.joined = true;
    }

    /// Sends something a hop further, or is where it goes.
    fn route(&mut self, key: u64, hops: u32, cargo: Cargo, ctx: &mut Context<'_, Self>) {
        if let Cargo::Join(joiner) = cargo {
            self.help(joiner, ctx);
        }
        let next = self.tables.next_hop(key).filter(|next| match cargo {
            // A newcomer whom some have in their tables already is not the end of its own way.
            Cargo::Join(joiner) => next.at != joiner.at,
            Cargo::Ask { .. } => true,
        });
        match (next, cargo) {
            (Some(_), _) if hops >= MAX_HOPS => {}
            (Some(next), cargo) => {
                ctx.send(next.at, Message::Route { key, hops: hops + 1, cargo });
            }
            (None, Cargo::Ask { operation, by }) if by == self.me.at => {
                ctx.answer(operation, by, hops);
            }
            (None, Cargo::Ask { operation, by }) => {
                ctx.send(by, Message::Answer { operation, hops });
            }
            (None, Cargo::Join(joiner)) => self.send_leaves(joiner.at, true, ctx),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::baselines::testing::{self, running, seconds, world};
    use crate::baselines::world::World;

    fn converged(nodes: u32) -> World<Pastry> {
        running(Shared::for_nodes(nodes), nodes, converge)
    }

    /// Looks up so many random keys; answers which share was right, and hops and time of each.
    fn look_up(world: &mut World<Pastry>, count: usize) -> (f64, Vec<(u32, Duration)>) {
        let (askers, truth) = (world.alive().to_vec(), truth(world));
        let draw_key = |_: &World<Pastry>, rng: &mut SmallRng| rng.random();
        testing::look_up(world, count, &askers, draw_key, truth)
    }

    #[test]
    fn a_look_up_takes_at_most_one_hop_more_than_digits() {
        let mut world = converged(1_000);
        let (right, answers) = look_up(&mut world, 500);
        assert_eq!(right, 1.0);
        // log16 1000 = 2.5.
        assert!(answers.iter().all(|(hops, _)| *hops <= 4), "{answers:?}");
        let mean = f64::from(answers.iter().map(|(hops, _)| hops).sum::<u32>()) / 500.0;
        assert!((1.8..=3.0).contains(&mean), "{mean}");
    }

    #[test]
    fn the_first_hops_are_short() {
        let world = converged(1_000);
        let (mut near, mut any) = (Duration::ZERO, Duration::ZERO);
        for address in 0..1_000 {
            let peer = world.peer(address).unwrap();
            for node in peer.tables.row(0) {
                near += world.round_trip(address, node.at);
                any += world.round_trip(address, (node.at + 499) % 1_000);
            }
        }
        assert!(near * 2 < any, "{near:?} of {any:?}");
    }

    #[test]
    fn a_network_builds_itself_from_nodes_that_join_one_by_one() {
        let mut world = world(Shared::for_nodes(100), 100, 7);
        for address in 0..100 {
            world.join(address);
            world.run_for(seconds(3));
        }
        world.run_for(seconds(60));
        assert_eq!(world.members().count(), 100);
        let (right, _) = look_up(&mut world, 300);
        assert_eq!(right, 1.0);
    }

    #[test]
    fn the_leaf_sets_heal_when_a_fifth_of_all_dies_at_once() {
        let mut world = converged(500);
        for address in (0..500).step_by(5) {
            world.kill(address);
        }
        world.run_for(seconds(300));
        let (right, _) = look_up(&mut world, 300);
        assert!(right > 0.99, "{right}");
        assert!(world.operations().iter().any(|operation| operation.timeouts > 0));
    }
}
