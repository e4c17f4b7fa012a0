//! What a node knows of others: the leaf set and the routing table.

use super::{Pastry, Shared};
use crate::baselines::world::{Address, World};
use rand::RngExt;
use rand::rngs::SmallRng;
use std::time::Duration;

/// Bits of a digit: the paper's usual `b`.
const DIGIT_BITS: u32 = 4;

/// Values of a digit, and so columns of the routing table.
pub(super) const COLUMNS: usize = 1 << DIGIT_BITS;

/// A node as others know it. Ids are 64 bits of the 128, which is enough for a million nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its place on the ring.
    pub id: u64,
    /// Its address.
    pub at: Address,
}

/// How far two places are from each other on the ring, the shorter way.
pub(super) fn distance(a: u64, b: u64) -> u64 {
    a.wrapping_sub(b).min(b.wrapping_sub(a))
}

/// How many first digits two ids have in common.
pub(super) const fn common_digits(a: u64, b: u64) -> usize {
    // At most 16.
    ((a ^ b).leading_zeros() / DIGIT_BITS) as usize
}

/// One digit of an id, counted from the first.
pub(super) const fn digit(id: u64, place: usize) -> usize {
    (id >> (64 - DIGIT_BITS * (place as u32 + 1))) as usize % COLUMNS
}

/// An entry of the routing table, and how far it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) node: Node,
    pub(super) round_trip: Duration,
}

/// All that a node knows of others.
#[derive(Debug)]
pub(super) struct Tables {
    me: Node,
    /// The nearest in ascending direction, the nearest first.
    pub(super) larger: Vec<Node>,
    /// The nearest in descending direction, the nearest first.
    pub(super) smaller: Vec<Node>,
    side: usize,
    entries: Vec<Option<Entry>>,
}

impl Tables {
    pub(super) fn new(me: Node, shared: &Shared) -> Self {
        Self {
            me,
            larger: Vec::with_capacity(shared.leaves_a_side),
            smaller: Vec::with_capacity(shared.leaves_a_side),
            side: shared.leaves_a_side,
            entries: vec![None; shared.rows * COLUMNS],
        }
    }

    /// The leaf set, each node once.
    pub(super) fn leaves(&self) -> Vec<Node> {
        let mut leaves = self.larger.clone();
        let only = |node: &&Node| !self.larger.contains(node);
        leaves.extend(self.smaller.iter().filter(only));
        leaves
    }

    pub(super) fn rows(&self) -> usize {
        self.entries.len() / COLUMNS
    }

    pub(super) fn row(&self, row: usize) -> Vec<Node> {
        let entries = self.entries.get(row * COLUMNS..(row + 1) * COLUMNS).unwrap_or_default();
        entries.iter().flatten().map(|entry| entry.node).collect()
    }

    pub(super) fn entry(&self, row: usize, column: usize) -> Option<Node> {
        Some((*self.entries.get(row * COLUMNS + column)?)?.node)
    }

    /// All nodes of both tables, each once.
    pub(super) fn all(&self) -> Vec<Node> {
        let mut all = self.leaves();
        all.extend(self.entries.iter().flatten().map(|entry| entry.node));
        all.sort_unstable_by_key(|node| node.at);
        all.dedup_by_key(|node| node.at);
        all
    }

    /// Whether a node would be a leaf: nearer than the farthest on one side, or there is room.
    pub(super) fn wants_leaf(&self, node: Node) -> bool {
        let side = |leaves: &[Node], far: &dyn Fn(u64) -> u64| {
            leaves.len() < self.side
                || leaves.last().is_some_and(|last| far(node.id) < far(last.id))
        };
        let known = self.larger.contains(&node) || self.smaller.contains(&node);
        node.at != self.me.at
            && !known
            && (side(&self.larger, &|id| id.wrapping_sub(self.me.id))
                || side(&self.smaller, &|id| self.me.id.wrapping_sub(id)))
    }

    /// Takes a node into the leaf set where it belongs there.
    pub(super) fn add_leaf(&mut self, node: Node) {
        let me = self.me.id;
        if node.at == self.me.at {
            return;
        }
        let insert = |leaves: &mut Vec<Node>, far: &dyn Fn(u64) -> u64| {
            if leaves.iter().all(|known| known.at != node.at) {
                let index = leaves.partition_point(|known| far(known.id) < far(node.id));
                leaves.insert(index, node);
                leaves.truncate(self.side);
            }
        };
        insert(&mut self.larger, &|id| id.wrapping_sub(me));
        insert(&mut self.smaller, &|id| me.wrapping_sub(id));
    }

    /// Where a node stands in the routing table, if there is such a row.
    fn slot(&self, node: Node) -> Option<usize> {
        let row = common_digits(self.me.id, node.id);
        (node.at != self.me.at && row < self.rows()).then(|| row * COLUMNS + digit(node.id, row))
    }

    /// Whether the routing table has another node, or none, in the place of this one.
    pub(super) fn wants_entry(&self, node: Node) -> bool {
        self.slot(node)
            .is_some_and(|slot| self.entries[slot].is_none_or(|entry| entry.node.at != node.at))
    }

    /// Takes a node into the routing table where it is nearer than what is there.
    pub(super) fn add_entry(&mut self, node: Node, round_trip: Duration) {
        let Some(slot) = self.slot(node) else { return };
        if self.entries[slot].is_none_or(|entry| round_trip < entry.round_trip) {
            self.entries[slot] = Some(Entry { node, round_trip });
        }
    }

    /// Forgets a dead node. Answers the row and column where it stood in the routing table.
    pub(super) fn forget(&mut self, dead: Address) -> Option<(usize, usize)> {
        self.larger.retain(|node| node.at != dead);
        self.smaller.retain(|node| node.at != dead);
        let is_dead = |entry: &Option<Entry>| entry.is_some_and(|entry| entry.node.at == dead);
        let slot = self.entries.iter().position(is_dead)?;
        self.entries[slot] = None;
        Some((slot / COLUMNS, slot % COLUMNS))
    }

    /// Who comes next on the way to a key; `None` when nobody known is nearer than this node.
    /// It is the core routing routine of the paper of 2001.
    pub(super) fn next_hop(&self, key: u64) -> Option<Node> {
        let me = self.me;
        let up = self
            .larger
            .last()
            .is_some_and(|last| key.wrapping_sub(me.id) <= last.id.wrapping_sub(me.id));
        let down = self
            .smaller
            .last()
            .is_some_and(|last| me.id.wrapping_sub(key) <= me.id.wrapping_sub(last.id));
        let nearer = |node: &&Node| distance(node.id, key) < distance(me.id, key);
        if up || down {
            let leaves = self.larger.iter().chain(&self.smaller);
            return leaves.filter(nearer).min_by_key(|node| distance(node.id, key)).copied();
        }
        let row = common_digits(me.id, key);
        if let Some(node) = self.entry(row, digit(key, row)) {
            return Some(node);
        }
        // The rare case: anyone who shares as many digits and is nearer.
        let entries = self.entries.iter().flatten().map(|entry| &entry.node);
        let known = entries.chain(&self.larger).chain(&self.smaller);
        known
            .filter(|node| common_digits(node.id, key) >= row)
            .filter(nearer)
            .min_by_key(|node| distance(node.id, key))
            .copied()
    }
}

fn ring(world: &World<Pastry>, members: impl Iterator<Item = Address>) -> Vec<Node> {
    let mut ring: Vec<Node> =
        members.filter_map(|address| Some(world.peer(address)?.node())).collect();
    ring.sort_unstable_by_key(|node| node.id);
    ring
}

/// Nodes that were looked at for each entry of a routing table: the nearest of so many was chosen.
/// It is no perfect table, as those of a network that grew by joining are none.
const CANDIDATES: usize = 16;

/// Sets all tables as they are when nobody has come or gone for long.
pub fn converge(world: &mut World<Pastry>, rng: &mut SmallRng) {
    let shared: Shared = *world.shared();
    let alive = world.alive().to_vec();
    let ring = ring(world, alive.into_iter());
    let count = ring.len();
    for (index, node) in ring.iter().enumerate() {
        let mut tables = Tables::new(*node, &shared);
        for step in 1..=shared.leaves_a_side.min(count.saturating_sub(1)) {
            tables.larger.push(ring[(index + step) % count]);
            tables.smaller.push(ring[(index + count - step) % count]);
        }
        for row in 0..shared.rows {
            let bits = 64 - DIGIT_BITS * (row as u32 + 1);
            for column in 0..COLUMNS {
                if column == digit(node.id, row) {
                    continue;
                }
                let mask = u64::MAX.checked_shl(bits + DIGIT_BITS).unwrap_or_default();
                let first = (node.id & mask) | (column as u64) << bits;
                let from = ring.partition_point(|other| other.id < first);
                let last = first | ((1 << bits) - 1);
                let to = from + ring[from..].partition_point(|other| other.id <= last);
                if from == to {
                    continue;
                }
                for number in 0..CANDIDATES.min(to - from) {
                    let chosen = if to - from <= CANDIDATES {
                        from + number
                    } else {
                        rng.random_range(from..to)
                    };
                    let round_trip = world.round_trip(node.at, ring[chosen].at);
                    tables.add_entry(ring[chosen], round_trip);
                }
            }
        }
        if let Some(peer) = world.peer_mut(node.at) {
            peer.set_tables(tables);
        }
    }
}

/// Answers who is numerically nearest to a key, by all who stand in the network now.
pub fn truth(world: &World<Pastry>) -> impl Fn(u64) -> Option<Address> + use<> {
    let ring = ring(world, world.members());
    move |key| {
        let count = ring.len();
        let after = ring.partition_point(|node| node.id < key);
        let near = [after, after + count.saturating_sub(1)].map(|index| index % count.max(1));
        let near = near.into_iter().filter_map(|index| ring.get(index));
        near.min_by_key(|node| distance(node.id, key)).map(|node| node.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_counted_from_the_first() {
        assert_eq!(digit(0x1234_0000_0000_0000, 0), 1);
        assert_eq!(digit(0x1234_0000_0000_0000, 3), 4);
        assert_eq!(common_digits(0x1234_0000_0000_0000, 0x1235_0000_0000_0000), 3);
        assert_eq!(common_digits(7, 7), 16);
        assert_eq!(distance(1, u64::MAX), 2);
    }
}
