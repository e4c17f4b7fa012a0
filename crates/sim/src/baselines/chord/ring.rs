//! The ring: who stands where, and how it looks when nothing has changed for long.

use super::{Chord, Shared};
use crate::baselines::world::{Address, World};

/// A node as others know it. Places are 64 bits of the 160, which is enough for a million nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its place on the ring.
    pub id: u64,
    /// Its address.
    pub at: Address,
}

/// Whether `place` lies after `from` and before `to`, both left out; all but `from` if they are the
/// same.
pub(super) fn between(place: u64, from: u64, to: u64) -> bool {
    let (place, to) = (place.wrapping_sub(from), to.wrapping_sub(from));
    place != 0 && (place < to || to == 0)
}

/// Where a finger starts: so many powers of two after the node.
pub(super) fn finger_start(id: u64, power: u32) -> u64 {
    id.wrapping_add(1 << power)
}

/// The members in the order of the ring.
fn ring(world: &World<Chord>, members: impl Iterator<Item = Address>) -> Vec<Node> {
    let mut ring: Vec<Node> = members.filter_map(|address| Some(world.peer(address)?.me)).collect();
    ring.sort_unstable_by_key(|node| node.id);
    ring
}

/// Where the first node at or after a place stands in the ring.
fn owner(ring: &[Node], place: u64) -> usize {
    let index = ring.partition_point(|node| node.id < place);
    if index == ring.len() { 0 } else { index }
}

/// Sets all tables as stabilisation leaves them when nobody comes and goes.
pub fn converge(world: &mut World<Chord>) {
    let shared: Shared = *world.shared();
    let alive = world.alive().to_vec();
    let ring = ring(world, alive.into_iter());
    let count = ring.len();
    for (index, node) in ring.iter().enumerate() {
        let others = shared.successors.min(count.saturating_sub(1));
        let successors = (1..=others).map(|step| ring[(index + step) % count]).collect();
        let fingers = (shared.lowest_finger..64)
            .map(|power| ring[owner(&ring, finger_start(node.id, power))])
            .map(|finger| (finger.at != node.at).then_some(finger))
            .collect();
        if let Some(peer) = world.peer_mut(node.at) {
            peer.successors = successors;
            peer.fingers = fingers;
            peer.predecessor = (count > 1).then(|| ring[(index + count - 1) % count]);
        }
    }
}

/// Answers who owns a key, by all who stand in the ring now.
pub fn truth(world: &World<Chord>) -> impl Fn(u64) -> Option<Address> + use<> {
    let ring = ring(world, world.members());
    move |key| ring.get(owner(&ring, key)).map(|node| node.at)
}
