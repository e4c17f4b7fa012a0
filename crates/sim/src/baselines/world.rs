//! What drives the state machines of a baseline: nodes on wires, timers, coming and going, and the
//! books of who sent how much for what.
//!
//! A node has an address, its number on the wires. Whoever comes again has a new address, as with
//! most access lines, so what others remember of it is stale.

mod context;
mod peer;

pub use context::Context;
pub use peer::{ANSWER_TIMEOUT, Address, Message, Peer};

use crate::physics::{self, Line, Physics};
use crate::queue::Queue;
use crate::workload::{Churn, Content, Population};
use context::Common;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use skein_proto::Instant;
use std::time::Duration;

/// A user's look-up or search, and what it has come to.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Who asked.
    pub by: Address,
    /// When.
    pub asked: Instant,
    /// Messages sent for it, by anyone, answers included.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How often somebody waited in vain for an answer.
    pub timeouts: u32,
    /// How a look-up ended; `None` while it runs or when it was given up.
    pub answer: Option<Answer>,
    /// What a search has brought so far, with repeats.
    pub hits: Vec<Hit>,
}

/// A result of a search.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    /// When it came.
    pub at: Instant,
    /// What was found.
    pub content: Content,
    /// How many hops the question had made to who has it.
    pub hops: u32,
}

/// The end of a look-up.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// When it came.
    pub at: Instant,
    /// How many nodes it went through after the one that asked.
    pub hops: u32,
    /// Whom it names.
    pub node: Address,
}

/// Messages and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages sent.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
}

enum Event<P: Peer> {
    Deliver { from: Address, to: Address, message: P::Message },
    Unanswered { at: Address, by: Address, message: P::Message },
    Timer { at: Address, timer: P::Timer },
    LinkDown { at: Address, peer: Address },
    Go { user: u32 },
    Come { user: u32 },
}

/// A network of one protocol.
pub struct World<P: Peer> {
    peers: Vec<Option<Box<P>>>,
    common: Common<P>,
    user_of: Vec<u32>,
    address_of: Vec<Option<Address>>,
    server: Option<Address>,
    churn: Churn,
    churn_rng: SmallRng,
    /// How many nodes have gone so far.
    pub gone: u64,
}

impl<P: Peer> World<P> {
    /// A network without nodes. The same seed gives the same run.
    pub fn new(
        shared: P::Shared,
        population: Population,
        physics: physics::Settings,
        seed: u64,
    ) -> Self {
        let mut root = SmallRng::seed_from_u64(seed);
        let physics = Physics::new(physics, root.random());
        let rng = SmallRng::from_rng(&mut root);
        Self {
            peers: Vec::new(),
            common: Common {
                now: Instant::START,
                queue: Queue::new(),
                physics,
                rng,
                shared,
                population,
                alive: Vec::new(),
                place: Vec::new(),
                joined: Vec::new(),
                contacts: Vec::new(),
                operations: Vec::new(),
                maintenance: Tally::default(),
            },
            user_of: Vec::new(),
            address_of: Vec::new(),
            server: None,
            churn: Churn::None,
            churn_rng: SmallRng::from_rng(&mut root),
            gone: 0,
        }
    }

    /// Puts a user's node on the wires. It does nothing before [`Self::start`].
    pub fn add(&mut self, user: u32) -> Address {
        self.add_on(user, self.common.population.line(user))
    }

    /// Puts a server on the wires, with a line without limits, which stays whoever goes.
    pub fn add_server(&mut self, user: u32) -> Address {
        let address = self.add_on(user, Line::default());
        self.server = Some(address);
        address
    }

    fn add_on(&mut self, user: u32, line: Line) -> Address {
        let address = self.common.physics.add(line);
        let peer = P::new(user, address, &self.common.shared, &mut self.common.rng);
        self.peers.push(Some(Box::new(peer)));
        self.user_of.push(user);
        if self.address_of.len() <= user as usize {
            self.address_of.resize(user as usize + 1, None);
        }
        self.address_of[user as usize] = Some(address);
        // Addresses are numbers of u32, and so are places.
        self.common.place.push(Some(self.common.alive.len() as u32));
        self.common.alive.push(address);
        self.common.joined.push(false);
        address
    }

    /// Starts all nodes that were added, as nodes that stand in the network already.
    pub fn start(&mut self) {
        for address in self.common.alive.clone() {
            self.with(address, |peer, ctx| {
                if peer.is_contact() {
                    ctx.joined();
                }
                peer.start(true, ctx);
            });
        }
    }

    /// Starts one node that was added and must join.
    pub fn join(&mut self, address: Address) {
        self.with(address, |peer, ctx| peer.start(false, ctx));
    }

    /// From now on users come and go.
    pub fn set_churn(&mut self, churn: Churn) {
        self.churn = churn;
        for address in self.common.alive.clone() {
            if self.server == Some(address) {
                continue;
            }
            let user = self.user_of[address as usize];
            if let Some(after) = self.churn.session(&mut self.churn_rng) {
                self.common.queue.push(self.common.now + after, Event::Go { user });
            }
        }
    }

    /// A user's node dies without a word.
    pub fn kill(&mut self, address: Address) {
        let Some(peer) = self.peers[address as usize].take() else { return };
        self.gone += 1;
        self.address_of[self.user_of[address as usize] as usize] = None;
        if let Some(place) = self.common.place[address as usize].take() {
            self.common.alive.swap_remove(place as usize);
            if let Some(moved) = self.common.alive.get(place as usize) {
                self.common.place[*moved as usize] = Some(place);
            }
        }
        for other in peer.links() {
            // The dying system closes its connections: that takes one way.
            let at = self.common.now + self.common.physics.latency(address, other);
            self.common.queue.push(at, Event::LinkDown { at: other, peer: address });
        }
    }

    /// A user asks at a node; answers the number of the operation.
    pub fn ask(&mut self, by: Address, ask: P::Ask) -> u32 {
        let number = self.common.operations.len() as u32;
        self.common.operations.push(Operation {
            by,
            asked: self.common.now,
            messages: 0,
            bytes: 0,
            timeouts: 0,
            answer: None,
            hits: Vec::new(),
        });
        self.with(by, |peer, ctx| peer.ask(number, ask, ctx));
        number
    }

    /// Runs for so long.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.common.now + time;
        while self.common.queue.next_at().is_some_and(|at| at <= until) {
            let Some((at, event)) = self.common.queue.pop() else { break };
            self.common.now = self.common.now.max(at);
            self.happen(event);
        }
        self.common.now = until;
    }

    fn happen(&mut self, event: Event<P>) {
        match event {
            Event::Deliver { from, to, message } => {
                if self.common.is_alive(to) {
                    self.with(to, |peer, ctx| peer.received(from, message, ctx));
                } else if message.wants_answer() && self.common.is_alive(from) {
                    // The message was under way for one way: the rest of the sender's patience.
                    let way = self.common.physics.latency(from, to);
                    let at = self.common.now + ANSWER_TIMEOUT.saturating_sub(way);
                    self.common.queue.push(at, Event::Unanswered { at: from, by: to, message });
                }
            }
            Event::Unanswered { at, by, message } => {
                let operation = message.operation();
                let operations = &mut self.common.operations;
                if let Some(operation) = operation.and_then(|n| operations.get_mut(n as usize)) {
                    operation.timeouts += 1;
                }
                self.with(at, |peer, ctx| peer.unanswered(by, message, ctx));
            }
            Event::Timer { at, timer } => self.with(at, |peer, ctx| peer.timer(timer, ctx)),
            Event::LinkDown { at, peer: other } => {
                self.with(at, |peer, ctx| peer.link_down(other, ctx));
            }
            Event::Go { user } => {
                if let Some(address) = self.address_of[user as usize] {
                    self.kill(address);
                }
                let after = self.churn.absence(&mut self.churn_rng);
                self.common.queue.push(self.common.now + after, Event::Come { user });
            }
            Event::Come { user } => {
                let address = self.add(user);
                self.join(address);
                if let Some(after) = self.churn.session(&mut self.churn_rng) {
                    self.common.queue.push(self.common.now + after, Event::Go { user });
                }
            }
        }
    }

    /// Lets a node that is up do something.
    pub fn with(&mut self, address: Address, act: impl FnOnce(&mut P, &mut Context<'_, P>)) {
        if let Some(Some(peer)) = self.peers.get_mut(address as usize) {
            act(peer, &mut Context { me: address, common: &mut self.common });
        }
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.common.now
    }

    /// What all nodes know, to be changed.
    pub fn shared_mut(&mut self) -> &mut P::Shared {
        &mut self.common.shared
    }

    /// What all nodes know.
    pub fn shared(&self) -> &P::Shared {
        &self.common.shared
    }

    /// A node that is up.
    pub fn peer(&self, address: Address) -> Option<&P> {
        self.peers.get(address as usize)?.as_deref()
    }

    /// A node that is up, to be changed.
    pub fn peer_mut(&mut self, address: Address) -> Option<&mut P> {
        self.peers.get_mut(address as usize)?.as_deref_mut()
    }

    /// All that are up, in no order.
    pub fn alive(&self) -> &[Address] {
        &self.common.alive
    }

    /// All that are up and have said that they stand in the network, in no order.
    pub fn members(&self) -> impl Iterator<Item = Address> + '_ {
        let joined = |address: &Address| self.common.joined[*address as usize];
        self.common.alive.iter().copied().filter(joined)
    }

    /// Whether a node is up and has said that it stands in the network.
    pub fn has_joined(&self, address: Address) -> bool {
        self.common.is_alive(address) && self.common.joined[address as usize]
    }

    /// The user of a node.
    pub fn user_of(&self, address: Address) -> u32 {
        self.user_of[address as usize]
    }

    /// Where a user's node is, if it is up.
    pub fn address_of(&self, user: u32) -> Option<Address> {
        self.address_of.get(user as usize).copied().flatten()
    }

    /// The round trip between two nodes on quiet lines.
    pub fn round_trip(&self, a: Address, b: Address) -> Duration {
        self.common.physics.latency(a, b) * 2
    }

    /// All operations so far.
    pub fn operations(&self) -> &[Operation] {
        &self.common.operations
    }

    /// What was sent so far for no operation.
    pub fn maintenance(&self) -> Tally {
        self.common.maintenance
    }
}
