//! Which supernodes a newcomer is told of.

use rand::Rng;
use rand::seq::SliceRandom;
use skein_proto::{BoundedVec, SupernodeEntry};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// How many supernodes the list is chosen from: the freshest ones. More would only make each
/// look into the store dearer.
pub(super) const MAX_CANDIDATES: u32 = 2_000;

/// Entries of a list.
type Entries = BoundedVec<SupernodeEntry, 200>;

/// Loads that differ by less than this are the same: otherwise all newcomers of a minute would
/// run to the one supernode that is a little emptier than the others.
const LOAD_STEP: u8 = 25;

/// Chooses from `candidates`: the least loaded ones first, but by turns from each address prefix, so
/// that nobody fills the list with machines from one place; in random order, so that the
/// newcomers spread.
pub(super) fn choose(mut candidates: Vec<SupernodeEntry>, rng: &mut impl Rng) -> Entries {
    candidates.shuffle(rng);
    if candidates.len() <= Entries::LIMIT {
        return Entries::truncated(candidates);
    }
    let mut groups = BTreeMap::<_, Vec<SupernodeEntry>>::new();
    for candidate in candidates {
        groups.entry(prefix(&candidate)).or_default().push(candidate);
    }
    let mut groups: Vec<Vec<SupernodeEntry>> = groups.into_values().collect();
    for group in &mut groups {
        // The best is last, where it can be popped; the sort keeps the random order of equals.
        group.sort_by_key(|entry| (std::cmp::Reverse(entry.load_percent / LOAD_STEP), entry.seen));
    }
    groups.shuffle(rng);
    let mut chosen = Vec::with_capacity(Entries::LIMIT);
    while chosen.len() < Entries::LIMIT && !groups.is_empty() {
        groups.retain_mut(|group| {
            chosen.extend(group.pop());
            !group.is_empty()
        });
    }
    chosen.truncate(Entries::LIMIT);
    chosen.shuffle(rng);
    Entries::truncated(chosen)
}

/// The network that an entry is in: a /16 of IPv4, a /32 of IPv6, the usual size of what one
/// provider holds.
fn prefix(entry: &SupernodeEntry) -> Option<(bool, u32)> {
    entry.addresses.first().map(|address: &SocketAddr| match address.ip().to_canonical() {
        IpAddr::V4(v4) => (false, u32::from(v4) >> 16),
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            (true, u32::from(a) << 16 | u32::from(b))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use skein_proto::{NodeId, UnixTime};
    use std::collections::BTreeSet;

    fn entry(number: u32, net: u8, load_percent: u8) -> SupernodeEntry {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let [.., high, low] = number.to_be_bytes();
        SupernodeEntry {
            node: NodeId::from_bytes(id),
            addresses: BoundedVec::truncated([SocketAddr::from(([10, net, high, low], 4700))]),
            load_percent,
            seen: UnixTime(1_000),
        }
    }

    #[test]
    fn a_small_network_is_told_whole_and_in_random_order() {
        let candidates: Vec<_> = (0..200).map(|n| entry(n, 1, 0)).collect();
        let first = choose(candidates.clone(), &mut StdRng::seed_from_u64(1));
        let second = choose(candidates.clone(), &mut StdRng::seed_from_u64(2));
        assert_ne!(first, second);
        let nodes = |list: &Entries| list.iter().map(|e| e.node).collect::<BTreeSet<_>>();
        assert_eq!(nodes(&first), nodes(&second));
        assert_eq!(first.len(), 200);
    }

    #[test]
    fn a_crowd_from_one_place_does_not_crowd_out_the_others() {
        let mut candidates: Vec<_> = (0..1_000).map(|n| entry(n, 1, 0)).collect();
        candidates.extend((1_000..1_090).map(|n| entry(n, 2, 90)));
        let list = choose(candidates, &mut StdRng::seed_from_u64(3));
        let others = list.iter().filter(|e| e.load_percent == 90).count();
        assert_eq!((list.len(), others), (200, 90));
    }

    #[test]
    fn the_least_loaded_come_first() {
        let candidates: Vec<_> =
            (0..400).map(|n| entry(n, 1, if n < 150 { 10 } else { 80 })).collect();
        let list = choose(candidates, &mut StdRng::seed_from_u64(4));
        assert_eq!(list.iter().filter(|e| e.load_percent == 10).count(), 150);
    }
}
