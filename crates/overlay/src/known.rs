//! The supernodes that a node knows of, with how they fared.

use rand::Rng;
use rand::seq::IndexedRandom;
use skein_proto::{BoundedVec, Instant, NodeId, SupernodeEntry, UnixTime};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Supernodes kept in mind. The login service's list has 200, a FastTrack client cached as many;
/// gossip among supernodes adds some. An entry takes about 150 bytes.
pub const MAX_KNOWN: usize = 1_000;

/// How long a supernode is left alone after it failed for the first time; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// The longest that a supernode is left alone: half of the 10 minutes that a home router takes to
/// come back and be found again.
const MAX_RETRY: Duration = Duration::from_secs(300);

/// After so many failures in a row a supernode is forgotten.
const MAX_FAILURES: u32 = 8;

#[derive(Clone, Debug)]
struct Known {
    addresses: Vec<SocketAddr>,
    load_percent: u8,
    seen: UnixTime,
    /// This node has talked to it: hearsay does not change its addresses any more.
    proven: bool,
    failures: u32,
    retry_at: Instant,
}

/// The supernodes that a node knows of.
#[derive(Debug, Default)]
pub struct KnownSupernodes {
    entries: HashMap<NodeId, Known>,
    changed: bool,
}

impl KnownSupernodes {
    /// How many are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether this one is known.
    pub fn contains(&self, node: &NodeId) -> bool {
        self.entries.contains_key(node)
    }

    /// Where to find it.
    pub fn addresses(&self, node: &NodeId) -> Option<Vec<SocketAddr>> {
        self.entries.get(node).map(|known| known.addresses.clone())
    }

    /// Takes in what somebody said. Answers whether there was room for it.
    pub(crate) fn hear_of(&mut self, entry: &SupernodeEntry, now: UnixTime) -> bool {
        if entry.addresses.is_empty() {
            return true;
        }
        // Nobody has seen anything in the future.
        let seen = entry.seen.min(now);
        if let Some(known) = self.entries.get_mut(&entry.node) {
            if !known.proven && seen >= known.seen {
                known.addresses = entry.addresses.to_vec();
                known.load_percent = entry.load_percent;
            }
            known.seen = known.seen.max(seen);
            return true;
        }
        if self.entries.len() >= MAX_KNOWN && !self.evict_staler_than(seen) {
            return false;
        }
        self.changed = true;
        let known = Known {
            addresses: entry.addresses.to_vec(),
            load_percent: entry.load_percent,
            seen,
            proven: false,
            failures: 0,
            retry_at: Instant::START,
        };
        self.entries.insert(entry.node, known);
        true
    }

    fn evict_staler_than(&mut self, seen: UnixTime) -> bool {
        let stalest = self
            .entries
            .iter()
            .filter(|(_, known)| !known.proven)
            .min_by_key(|(node, known)| (known.seen, **node))
            .map(|(node, known)| (*node, known.seen));
        match stalest {
            Some((node, last)) if last < seen => self.entries.remove(&node).is_some(),
            _ => false,
        }
    }

    /// This supernode has answered.
    pub(crate) fn proved(
        &mut self,
        node: NodeId,
        addresses: &[SocketAddr],
        load: Option<u8>,
        now: UnixTime,
    ) {
        if !self.entries.contains_key(&node)
            && self.entries.len() >= MAX_KNOWN
            && !self.evict_staler_than(now)
        {
            return;
        }
        let known = self.entries.entry(node).or_insert_with(|| {
            self.changed = true;
            Known {
                addresses: Vec::new(),
                load_percent: 0,
                seen: now,
                proven: true,
                failures: 0,
                retry_at: Instant::START,
            }
        });
        known.addresses = addresses.iter().copied().take(4).collect();
        known.load_percent = load.unwrap_or(known.load_percent);
        known.seen = now;
        known.proven = true;
        known.failures = 0;
        known.retry_at = Instant::START;
    }

    /// This supernode did not answer, or answered that it is none.
    pub(crate) fn failed(&mut self, node: &NodeId, now: Instant) {
        let Some(known) = self.entries.get_mut(node) else { return };
        known.failures += 1;
        known.proven = false;
        if known.failures >= MAX_FAILURES {
            self.entries.remove(node);
            self.changed = true;
            return;
        }
        let pause = FIRST_RETRY.saturating_mul(1 << (known.failures - 1)).min(MAX_RETRY);
        known.retry_at = now + pause;
    }

    /// It is no supernode any more.
    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.changed |= self.entries.remove(node).is_some();
    }

    /// Up to `count` that may be tried now, the light ones more often than the full ones.
    pub(crate) fn pick(
        &self,
        count: usize,
        now: Instant,
        rng: &mut impl Rng,
        exclude: impl Fn(&NodeId) -> bool,
    ) -> Vec<(NodeId, Vec<SocketAddr>)> {
        let mut ready: Vec<(&NodeId, &Known)> = self
            .entries
            .iter()
            .filter(|(node, known)| known.retry_at <= now && !exclude(node))
            .collect();
        // A fixed order first: what is picked depends on the seed alone, not on the hash map.
        ready.sort_unstable_by_key(|(node, _)| **node);
        let weight = |(_, known): &(&NodeId, &Known)| f64::from(110 - known.load_percent.min(100));
        ready
            .sample_weighted(rng, count, weight)
            .map(|picked| picked.map(|(node, known)| (**node, known.addresses.clone())).collect())
            .unwrap_or_default()
    }

    /// The `count` freshest, to be told to others or kept for the next start.
    pub fn freshest(&self, count: usize) -> Vec<SupernodeEntry> {
        let mut all: Vec<(&NodeId, &Known)> =
            self.entries.iter().filter(|(_, known)| known.failures == 0).collect();
        all.sort_unstable_by_key(|(node, known)| {
            (!known.proven, std::cmp::Reverse(known.seen), **node)
        });
        all.into_iter()
            .take(count)
            .map(|(node, known)| SupernodeEntry {
                node: *node,
                addresses: BoundedVec::truncated(known.addresses.iter().copied()),
                load_percent: known.load_percent,
                seen: known.seen,
            })
            .collect()
    }

    /// Whether the set has changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn entry(number: u16, seen: u64) -> SupernodeEntry {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        SupernodeEntry {
            node: NodeId::from_bytes(id),
            addresses: BoundedVec::truncated([SocketAddr::from(([10, 0, 0, 1], 1 + number))]),
            load_percent: 10,
            seen: UnixTime(seen),
        }
    }

    #[test]
    fn hearsay_does_not_move_a_supernode_that_has_answered() {
        let mut known = KnownSupernodes::default();
        let real: SocketAddr = "192.0.2.1:4701".parse().expect("an address");
        known.proved(entry(1, 0).node, &[real], Some(5), UnixTime(10));
        known.hear_of(&entry(1, 50), UnixTime(60));
        assert_eq!(known.addresses(&entry(1, 0).node), Some(vec![real]));
    }

    #[test]
    fn a_flood_of_made_up_supernodes_pushes_out_no_fresher_one() {
        let mut known = KnownSupernodes::default();
        let now = UnixTime(1_000);
        for number in 0..1_000 {
            assert!(known.hear_of(&entry(number, 500), now));
        }
        assert!(!known.hear_of(&entry(2_000, 400), now));
        assert!(known.hear_of(&entry(2_001, u64::MAX), now), "the future counts as now");
        assert_eq!(known.len(), MAX_KNOWN);
    }

    #[test]
    fn one_that_fails_is_left_alone_for_longer_each_time_and_then_forgotten() {
        let mut known = KnownSupernodes::default();
        let mut rng = StdRng::seed_from_u64(1);
        known.hear_of(&entry(1, 1), UnixTime(1));
        let node = entry(1, 1).node;
        let mut now = Instant::START;
        for failure in 0..MAX_FAILURES {
            assert_eq!(known.pick(5, now, &mut rng, |_| false).len(), 1, "failure {failure}");
            known.failed(&node, now);
            assert!(known.pick(5, now, &mut rng, |_| false).is_empty());
            now = now + MAX_RETRY;
        }
        assert!(known.is_empty());
    }
}
