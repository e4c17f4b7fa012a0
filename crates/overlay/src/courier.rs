//! Messages to supernodes that this node has no link with: they wait while the link is made.
//!
//! Whoever asks a supernode for one thing only, by way of [`crate::core::Core::deliver`], need not
//! know whether the two are linked. A link made for that is kept while it is used.

use crate::hashed::HashMap;
use skein_proto::{Instant, Message, NodeId};
use std::time::Duration;

/// Supernodes that messages wait for, messages that wait for one of them, and all together: most
/// are below a kilobyte, and none is above 64.
const MAX_PEERS: usize = 1_024;
const MAX_MESSAGES: usize = 64;
const MAX_ALL: usize = 4_096;

/// Of these limits the part for what anybody can cause a lot of, hits of wishes and questions for
/// budgets: look-ups and dial-backs find room beside it.
const COMMON_SHARE: usize = 2;

/// How long a link is kept after its last use: a few look-ups in a row find it open.
const KEEP: Duration = Duration::from_secs(60);

/// How long a message may wait: a dial over the longest paths, with its retransmissions.
const PATIENCE: Duration = Duration::from_secs(8);

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// It waits, and is the first: somebody has to dial.
    First,
    /// It waits behind others.
    Behind,
    /// There was no room.
    Refused,
}

#[derive(Debug)]
struct Queue {
    since: Instant,
    messages: Vec<Message>,
}

/// Messages that wait for a link.
#[derive(Debug, Default)]
pub(crate) struct Courier {
    queues: HashMap<NodeId, Queue>,
    waiting: usize,
    failed: Vec<(NodeId, Message)>,
    last_use: HashMap<NodeId, Instant>,
}

impl Courier {
    /// Keeps a message until its receiver has greeted.
    pub(crate) fn wait(&mut self, peer: NodeId, message: Message, now: Instant) -> Waiting {
        let is_common = matches!(
            message,
            Message::WishHit(_) | Message::SpendReport(_) | Message::BudgetWanted(_)
        );
        let share = if is_common { COMMON_SHARE } else { 1 };
        if self.waiting >= MAX_ALL / share {
            return Waiting::Refused;
        }
        if let Some(queue) = self.queues.get_mut(&peer) {
            if queue.messages.len() >= MAX_MESSAGES {
                return Waiting::Refused;
            }
            self.waiting += 1;
            queue.messages.push(message);
            return Waiting::Behind;
        }
        if self.queues.len() >= MAX_PEERS / share {
            return Waiting::Refused;
        }
        self.waiting += 1;
        self.on_use(peer, now);
        self.queues.insert(peer, Queue { since: now, messages: vec![message] });
        Waiting::First
    }

    /// What waited for this peer.
    pub(crate) fn take_waiting(&mut self, peer: &NodeId) -> Vec<Message> {
        let messages = self.queues.remove(peer).map(|queue| queue.messages).unwrap_or_default();
        self.waiting -= messages.len();
        messages
    }

    /// Whether something waits for this peer, so that the link was made for it.
    pub(crate) fn awaits(&self, peer: &NodeId) -> bool {
        self.queues.contains_key(peer)
    }

    /// There will be no link with this peer.
    pub(crate) fn on_lost(&mut self, peer: &NodeId) {
        self.last_use.remove(peer);
        for message in self.take_waiting(peer) {
            self.failed.push((*peer, message));
        }
    }

    /// What could not be delivered since the last call, with whom it was meant for.
    pub(crate) fn take_failed(&mut self) -> Vec<(NodeId, Message)> {
        std::mem::take(&mut self.failed)
    }

    /// A link is of use now.
    pub(crate) fn on_use(&mut self, peer: NodeId, now: Instant) {
        self.last_use.insert(peer, now);
    }

    /// Whether the link with this peer is worth keeping for what it was used for lately.
    pub(crate) fn used_lately(&self, peer: &NodeId, now: Instant) -> bool {
        self.last_use.get(peer).is_some_and(|at| now.since(*at) < KEEP)
    }

    /// Gives up on what has waited for too long.
    pub(crate) fn tidy(&mut self, now: Instant) {
        self.last_use.retain(|_, at| now.since(*at) < KEEP);
        if self.last_use.is_empty() {
            // Most nodes have no use for its room any more.
            self.last_use = HashMap::default();
        }
        let mut late: Vec<NodeId> = self
            .queues
            .iter()
            .filter(|(_, queue)| now.since(queue.since) >= PATIENCE)
            .map(|(peer, _)| *peer)
            .collect();
        late.sort_unstable();
        for peer in late {
            self.on_lost(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_proto::message::Probe;

    fn peer(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    #[test]
    fn what_waits_is_handed_over_once() {
        let mut courier = Courier::default();
        let now = Instant::START;
        assert_eq!(courier.wait(peer(1), Probe.into(), now), Waiting::First);
        assert_eq!(courier.wait(peer(1), Probe.into(), now), Waiting::Behind);
        assert_eq!(courier.take_waiting(&peer(1)).len(), 2);
        courier.on_lost(&peer(1));
        assert!(courier.take_failed().is_empty());
    }

    #[test]
    fn what_cannot_be_delivered_comes_back() {
        let mut courier = Courier::default();
        let now = Instant::START;
        courier.wait(peer(1), Probe.into(), now);
        courier.tidy(now + PATIENCE / 2);
        assert!(courier.take_failed().is_empty());
        courier.tidy(now + PATIENCE);
        assert_eq!(courier.take_failed(), [(peer(1), Probe.into())]);
    }

    #[test]
    fn nobody_fills_the_queues() {
        let mut courier = Courier::default();
        for _ in 0..MAX_MESSAGES {
            assert_ne!(courier.wait(peer(1), Probe.into(), Instant::START), Waiting::Refused);
        }
        assert_eq!(courier.wait(peer(1), Probe.into(), Instant::START), Waiting::Refused);
        let taken = (2..=255_u8).map(peer).flat_map(|peer| [peer; MAX_MESSAGES]);
        let taken = taken
            .filter(|peer| courier.wait(*peer, Probe.into(), Instant::START) != Waiting::Refused);
        assert_eq!(taken.count() + MAX_MESSAGES, MAX_ALL);
        courier.take_waiting(&peer(1));
        assert_eq!(courier.wait(peer(1), Probe.into(), Instant::START), Waiting::First);
    }
}
