//! Children that have moved to another supernode, or become one.
//!
//! The new parent's neighbours hear of what a child has published there with its next table, some
//! seconds later. Until then the records stay in the old parent's index, with the new parent as the
//! one to reach the child through, so that a child that moves is found all the time. It is no child
//! here any more: nothing is promised to it, and it takes nobody's place.

use crate::hashed::HashMap;
use skein_proto::{Instant, NodeId, Owner, UnixTime};
use std::collections::VecDeque;
use std::time::Duration;

/// How long the records of one that has moved stay: as long as it takes to publish some thousand
/// files anew, and then the longest pause between two tables, twice.
pub(crate) const KEPT: Duration = Duration::from_secs(30);

/// Who has moved away lately.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    owners: HashMap<NodeId, (Instant, Owner)>,
    /// In the order in which they went; some have come back since, or gone once more.
    order: VecDeque<(Instant, NodeId)>,
}

impl Departed {
    /// One has moved, and is shown as `owner` until it is forgotten. Answers who is forgotten at once
    /// since no more than `limit` are kept: the one that went first.
    pub(crate) fn add(&mut self, owner: Owner, limit: usize, now: Instant) -> Option<NodeId> {
        let (node, until) = (owner.node, now + KEPT);
        self.owners.insert(node, (until, owner));
        self.order.push_back((until, node));
        if self.owners.len() > limit { self.pop(|_| true) } else { None }
    }

    /// It has come back, or is to be forgotten. Answers whether it was here.
    pub(crate) fn remove(&mut self, node: &NodeId) -> bool {
        let was_here = self.owners.remove(node).is_some();
        if self.owners.is_empty() {
            self.order = VecDeque::new();
        }
        was_here
    }

    /// The next one whose time is over.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<NodeId> {
        self.pop(|until| now >= until)
    }

    /// The one that went first.
    pub(crate) fn pop_first(&mut self) -> Option<NodeId> {
        self.pop(|_| true)
    }

    fn pop(&mut self, may_go: impl Fn(Instant) -> bool) -> Option<NodeId> {
        while let Some((until, node)) = self.order.front().copied().filter(|(at, _)| may_go(*at)) {
            self.order.pop_front();
            let is_current = self.owners.get(&node).is_some_and(|(current, _)| *current == until);
            if is_current {
                self.remove(&node);
                return Some(node);
            }
        }
        None
    }

    /// When [`Departed::pop_due`] has something to answer, at the earliest.
    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.order.front().map(|(until, _)| *until)
    }

    /// Whether there is nobody.
    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// How one that has moved is shown to those who look for what it offers.
    pub(crate) fn owner(&self, node: &NodeId, now: UnixTime) -> Option<&Owner> {
        let (_, owner) = self.owners.get(node)?;
        (now < owner.credential.unverified().expires).then_some(owner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use skein_proto::{BoundedVec, Credential, KeyPair, Signed};

    fn owner(number: u8) -> Owner {
        let key = KeyPair::from_seed(&[number; 32]);
        let node = key.node_id();
        let name = format!("peer{number}").parse().expect("a name");
        let (issued, expires) = (UnixTime(0), UnixTime(1_000));
        let credential = Credential { name, node, issued, expires, registered: issued };
        Owner {
            node,
            credential: Signed::new(credential, &key),
            addresses: BoundedVec::default(),
            parent: NodeId::from_bytes([9; 32]),
        }
    }

    #[test]
    fn whoever_has_moved_is_kept_for_a_time_and_whoever_comes_back_is_not() {
        let mut departed = Departed::default();
        let (one, two) = (owner(1), owner(2));
        let later = Instant::START + Duration::from_secs(5);
        assert_eq!(departed.add(one.clone(), 9, Instant::START), None);
        assert_eq!(departed.add(two.clone(), 9, later), None);
        assert_eq!(departed.owner(&one.node, UnixTime(999)), Some(&one));
        assert_eq!(departed.owner(&one.node, UnixTime(1_000)), None, "its credential ran out");
        assert_eq!(departed.next_wakeup(), Some(Instant::START + KEPT));
        assert_eq!(departed.pop_due(later), None);
        assert!(departed.remove(&two.node) && !departed.remove(&two.node));
        // It goes once more: its first time is over, and the second one counts.
        let again = later + Duration::from_secs(5);
        assert_eq!(departed.add(two.clone(), 9, again), None);
        assert_eq!(departed.pop_due(later + KEPT), Some(one.node));
        assert_eq!(departed.pop_due(later + KEPT), None);
        assert!(departed.owner(&two.node, UnixTime(0)).is_some());
        assert_eq!(departed.pop_due(again + KEPT), Some(two.node));
        assert!(departed.is_empty() && departed.next_wakeup().is_none());
    }

    #[test]
    fn no_more_are_kept_than_fit() {
        let mut departed = Departed::default();
        for number in 1..=3 {
            assert_eq!(departed.add(owner(number), 3, Instant::START), None);
        }
        assert_eq!(departed.add(owner(4), 3, Instant::START), Some(owner(1).node));
        assert_eq!(departed.pop_first(), Some(owner(2).node));
    }
}
