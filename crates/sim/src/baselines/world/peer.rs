//! What a protocol must say of its nodes and messages, to be driven by a [`World`](super::World).

use super::Context;
use rand::rngs::SmallRng;
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
