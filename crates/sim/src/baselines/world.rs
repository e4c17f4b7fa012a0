//! What drives the state machines of a baseline: nodes on wires, timers, coming and going, and the
//! books of who sent how much for what.
//!
//! A node has an address, its number on the wires. Whoever comes again has a new address, as with
//! most access lines, so what others remember of it is stale.

use crate::physics::{self, Line, Physics};
use crate::queue::Queue;
use crate::workload::{Churn, Content, Population};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use skein_proto::Instant;
use std::time::Duration;

/// Where a node can be reached; no two nodes, not even of the same user, ever have the same.
pub type Address = u32;

/// How long a node waits for an answer before it takes the other for dead: more than twice the
/// longest round trip, so that a busy line is not taken for a death.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// What nodes send each other.
pub trait Message {
    /// Its size in bytes, by the specification.
    fn bytes(&self) -> u64;

    /// The user's look-up or search that it belongs to; all others are maintenance.
    fn operation(&self) -> Option<u32>;

    /// How many messages of the same kind this one stands for, where only a sample is sent.
    fn weight(&self) -> u64 {
        1
    }

    /// Whether a sender that gets no answer hears of it after [`ANSWER_TIMEOUT`].
    fn wants_answer(&self) -> bool;
}

/// A node: a state machine that knows nothing but what it is told here.
pub trait Peer: Sized {
    /// What it sends and receives.
    type Message: Message;
    /// What it wants to be reminded of.
    type Timer;
    /// What a user asks for.
    type Ask;
    /// What all nodes know from the start: settings, and what the users share.
    type Shared;

    /// A node that is about to come, with nothing but what all nodes know.
    fn new(user: u32, address: Address, shared: &Self::Shared, rng: &mut SmallRng) -> Self;

    /// It starts; `joined` when it stands in the network already and has only to set its timers.
    fn start(&mut self, joined: bool, ctx: &mut Context<'_, Self>);

    /// A message has come.
    fn received(&mut self, from: Address, message: Self::Message, ctx: &mut Context<'_, Self>);

    /// Nobody has answered a message that wants an answer.
    fn unanswered(&mut self, to: Address, message: Self::Message, ctx: &mut Context<'_, Self>);

    /// A timer is due.
    fn timer(&mut self, timer: Self::Timer, ctx: &mut Context<'_, Self>);

    /// The user asks for something.
    fn ask(&mut self, operation: u32, ask: Self::Ask, ctx: &mut Context<'_, Self>);

    /// A connection has ended with the death of the other end.
    fn link_down(&mut self, _peer: Address, _ctx: &mut Context<'_, Self>) {}

    /// Whether newcomers are sent to it, when it stands in the network.
    fn is_contact(&self) -> bool {
        true
    }

    /// Those that this node holds a connection to, who hear of its death from their own systems.
    fn links(&self) -> Vec<Address> {
        Vec::new()
    }

    /// Bytes of what it must remember of others to do its work, as packed as its messages are.
    fn state_bytes(&self) -> u64;
}

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

/// What all nodes of a world have in common.
struct Common<P: Peer> {
    now: Instant,
    queue: Queue<Event<P>>,
    physics: Physics,
    rng: SmallRng,
    shared: P::Shared,
    population: Population,
    /// Those that are up, and where each stands among them.
    alive: Vec<Address>,
    place: Vec<Option<u32>>,
    joined: Vec<bool>,
    /// Those that newcomers are sent to; the dead among them are noticed when they are drawn.
    contacts: Vec<Address>,
    operations: Vec<Operation>,
    maintenance: Tally,
}

impl<P: Peer> Common<P> {
    fn send(&mut self, from: Address, to: Address, message: P::Message) {
        let (bytes, weight) = (message.bytes(), message.weight());
        self.count(message.operation(), bytes * weight, weight);
        let at = self.physics.send(from, to, bytes, self.now);
        self.queue.push(at, Event::Deliver { from, to, message });
    }

    fn count(&mut self, operation: Option<u32>, bytes: u64, messages: u64) {
        match operation.and_then(|number| self.operations.get_mut(number as usize)) {
            Some(operation) => {
                operation.messages += messages;
                operation.bytes += bytes;
            }
            None => {
                self.maintenance.messages += messages;
                self.maintenance.bytes += bytes;
            }
        }
    }

    fn is_alive(&self, address: Address) -> bool {
        self.place.get(address as usize).is_some_and(Option::is_some)
    }
}

/// What a node may do and see while it handles something.
pub struct Context<'a, P: Peer> {
    /// The node's own address.
    pub me: Address,
    common: &'a mut Common<P>,
}

impl<P: Peer> Context<'_, P> {
    /// What time it is.
    pub fn now(&self) -> Instant {
        self.common.now
    }

    /// Random numbers.
    pub fn rng(&mut self) -> &mut SmallRng {
        &mut self.common.rng
    }

    /// What all nodes know.
    pub fn shared(&self) -> &P::Shared {
        &self.common.shared
    }

    /// Sends a message.
    pub fn send(&mut self, to: Address, message: P::Message) {
        self.common.send(self.me, to, message);
    }

    /// Wants to be reminded after a while.
    pub fn timer(&mut self, after: Duration, timer: P::Timer) {
        let at = self.common.now + after;
        self.common.queue.push(at, Event::Timer { at: self.me, timer });
    }

    /// A node that stands in the network, as a host cache or login service names one to newcomers.
    pub fn contact(&mut self) -> Option<Address> {
        let Common { contacts, place, rng, .. } = &mut *self.common;
        // Of two nodes one is somebody else.
        for _ in 0..8 {
            let address = loop {
                let index = rng.random_range(0..contacts.len().max(1));
                let address = *contacts.get(index)?;
                if place[address as usize].is_some() {
                    break address;
                }
                contacts.swap_remove(index);
            };
            if address != self.me {
                return Some(address);
            }
        }
        None
    }

    /// The round trip to a node, measured by a probe and its answer of so many bytes each, which
    /// are counted as maintenance; `None` if it is dead. The result is there at once: when it comes
    /// a round trip later makes no difference to those who ask.
    pub fn measure(&mut self, peer: Address, bytes: u64) -> Option<Duration> {
        let alive = self.common.is_alive(peer);
        let messages = if alive { 2 } else { 1 };
        self.common.count(None, bytes * messages, messages);
        alive.then(|| self.common.physics.latency(self.me, peer) * 2)
    }

    /// Says that this node stands in the network now: it counts where the truth is asked for.
    pub fn joined(&mut self) {
        if !std::mem::replace(&mut self.common.joined[self.me as usize], true) {
            self.common.contacts.push(self.me);
        }
    }

    /// Ends a look-up. Only its first answer counts.
    pub fn answer(&mut self, operation: u32, node: Address, hops: u32) {
        let at = self.common.now;
        if let Some(operation) = self.common.operations.get_mut(operation as usize) {
            operation.answer.get_or_insert(Answer { at, hops, node });
        }
    }

    /// Brings a hit of a search to the user who asked.
    pub fn hit(&mut self, operation: u32, content: Content, hops: u32) {
        let at = self.common.now;
        if let Some(operation) = self.common.operations.get_mut(operation as usize) {
            operation.hits.push(Hit { at, content, hops });
        }
    }
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
