//! What the nodes of a network have in common, and what one of them may do.

use super::{Address, Answer, Event, Hit, Message, Operation, Peer, Tally};
use crate::physics::Physics;
use crate::queue::Queue;
use crate::workload::{Content, Population};
use rand::RngExt;
use rand::rngs::SmallRng;
use skein_proto::Instant;
use std::time::Duration;

/// What all nodes of a world have in common.
pub(super) struct Common<P: Peer> {
    pub(super) now: Instant,
    pub(super) queue: Queue<Event<P>>,
    pub(super) physics: Physics,
    pub(super) rng: SmallRng,
    pub(super) shared: P::Shared,
    pub(super) population: Population,
    /// Those that are up, and where each stands among them.
    pub(super) alive: Vec<Address>,
    pub(super) place: Vec<Option<u32>>,
    pub(super) joined: Vec<bool>,
    /// Those that newcomers are sent to; the dead among them are noticed when they are drawn.
    pub(super) contacts: Vec<Address>,
    pub(super) operations: Vec<Operation>,
    pub(super) maintenance: Tally,
}

impl<P: Peer> Common<P> {
    pub(super) fn send(&mut self, from: Address, to: Address, message: P::Message) {
        let (bytes, weight) = (message.bytes(), message.weight());
        self.count(message.operation(), bytes * weight, weight);
        let at = self.physics.send(from, to, bytes, self.now);
        self.queue.push(at, Event::Deliver { from, to, message });
    }

    pub(super) fn count(&mut self, operation: Option<u32>, bytes: u64, messages: u64) {
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

    pub(super) fn is_alive(&self, address: Address) -> bool {
        self.place.get(address as usize).is_some_and(Option::is_some)
    }
}

/// What a node may do and see while it handles something.
pub struct Context<'a, P: Peer> {
    /// The node's own address.
    pub me: Address,
    pub(super) common: &'a mut Common<P>,
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
