//! All supernodes of the network, as this supernode knows them, on a ring.
//!
//! A supernode's place on the ring is the hash of its id; a key belongs to the supernodes that
//! follow it (consistent hashing, Karger et al. 1997; one hop with full membership, Gupta, Liskov
//! and Rodrigues, NSDI 2004).

use skein_proto::supernode::Load;
use skein_proto::{NodeId, UnixTime};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Bound;

/// A place on the ring: the first 16 bytes of a BLAKE3 hash, as a big-endian number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place(pub(crate) u128);

impl Place {
    /// The place of a supernode.
    pub(crate) fn of_node(node: &NodeId) -> Self {
        Self::of(b"skein ring node", node.as_bytes())
    }

    /// The place of a key of this sort.
    pub(crate) fn of(sort: &[u8], key: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(sort).update(&[0]).update(key);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(u128::from_be_bytes(bytes))
    }
}

/// What is known of a supernode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) node: NodeId,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) load: Load,
    /// When it became a supernode.
    pub(crate) since: UnixTime,
    /// When it last said so.
    pub(crate) issued: UnixTime,
}

/// Somebody came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Joined(NodeId),
    Left(NodeId),
}

/// All supernodes, this node excluded, on a ring that this node is on as well.
#[derive(Debug)]
pub(crate) struct Membership {
    me: (Place, NodeId),
    ring: BTreeMap<Place, Member>,
    places: HashMap<NodeId, Place>,
    changes: Vec<Change>,
}

impl Membership {
    pub(crate) fn new(me: NodeId) -> Self {
        Self {
            me: (Place::of_node(&me), me),
            ring: BTreeMap::new(),
            places: HashMap::new(),
            changes: Vec::new(),
        }
    }

    /// Others known.
    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(crate) fn get(&self, node: &NodeId) -> Option<&Member> {
        self.ring.get(self.places.get(node)?)
    }

    pub(crate) fn addresses(&self, node: &NodeId) -> Option<Vec<SocketAddr>> {
        self.get(node).map(|member| member.addresses.clone()).filter(|found| !found.is_empty())
    }

    /// All others, in the order of the ring.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.ring.values()
    }

    /// The first `count` supernodes at or behind a place, this node among them if it is one.
    pub(crate) fn successors(&self, place: Place, count: usize) -> Vec<NodeId> {
        let behind = self.ring.range((Bound::Included(place), Bound::Unbounded));
        let around = self.ring.range((Bound::Unbounded, Bound::Excluded(place)));
        let mut found: Vec<(u128, NodeId)> = behind
            .chain(around)
            .take(count)
            .map(|(at, member)| (at.0.wrapping_sub(place.0), member.node))
            .collect();
        found.push((self.me.0.0.wrapping_sub(place.0), self.me.1));
        found.sort_unstable();
        found.truncate(count);
        found.into_iter().map(|(_, node)| node).collect()
    }

    /// Whether this node is one of the `count` supernodes that a place belongs to.
    pub(crate) fn is_mine(&self, place: Place, count: usize) -> bool {
        self.successors(place, count).contains(&self.me.1)
    }

    /// Takes in what is known of a supernode.
    pub(crate) fn insert(&mut self, member: Member) {
        if member.node == self.me.1 {
            return;
        }
        let place = Place::of_node(&member.node);
        let node = member.node;
        self.places.insert(node, place);
        if self.ring.insert(place, member).is_none() {
            self.changes.push(Change::Joined(node));
        }
    }

    /// A supernode is gone.
    pub(crate) fn remove(&mut self, node: &NodeId) {
        if let Some(place) = self.places.remove(node) {
            self.ring.remove(&place);
            self.changes.push(Change::Left(*node));
        }
    }

    /// Who came and went since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u8) -> Member {
        Member {
            node: NodeId::from_bytes([number; 32]),
            addresses: Vec::new(),
            load: Load::default(),
            since: UnixTime(0),
            issued: UnixTime(0),
        }
    }

    #[test]
    fn a_place_belongs_to_those_that_follow_it_around_the_ring() {
        let me = NodeId::from_bytes([99; 32]);
        let mut membership = Membership::new(me);
        (1..20).for_each(|number| membership.insert(member(number)));
        let mut all: Vec<(Place, NodeId)> = (1..20)
            .map(|number| member(number).node)
            .chain([me])
            .map(|node| (Place::of_node(&node), node))
            .collect();
        all.sort_unstable();
        for key in 0..50_u8 {
            let place = Place::of(b"test", &[key]);
            let first = all.iter().position(|(at, _)| *at >= place).unwrap_or(0);
            let expected: Vec<NodeId> = (0..3).map(|n| all[(first + n) % all.len()].1).collect();
            assert_eq!(membership.successors(place, 3), expected);
            assert_eq!(membership.is_mine(place, 3), expected.contains(&me));
        }
    }

    #[test]
    fn comings_and_goings_are_told_once() {
        let mut membership = Membership::new(NodeId::from_bytes([99; 32]));
        membership.insert(member(1));
        membership.insert(member(1));
        membership.remove(&member(1).node);
        membership.remove(&member(1).node);
        let node = member(1).node;
        assert_eq!(membership.take_changes(), [Change::Joined(node), Change::Left(node)]);
        assert_eq!(membership.len(), 0);
    }
}
