//! The supernodes that a node knows of, with how they fared.

use rand::Rng;
use rand::seq::IndexedRandom;
use skein_proto::{BoundedVec, Instant, NodeId, SupernodeEntry, UnixTime};
use std::cmp::Reverse;
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

/// After so many failures in a row a supernode is forgotten, unless it is one of the last few that
/// are vouched for.
const MAX_FAILURES: u32 = 8;

/// Supernodes that are vouched for are not forgotten while there are no more than these: it may
/// be this node's own line that is dead, and when that is back it needs somebody to try. As many
/// as are kept for the next start.
pub(crate) const LAST_RESORT: usize = 200;

#[derive(Clone, Debug)]
struct Known {
    addresses: Vec<SocketAddr>,
    load_percent: u8,
    seen: UnixTime,
    /// The login service has named it, or it has shown a credential to this node. What is only
    /// hearsay may be made up, so it never takes the place of what is vouched for.
    vouched: bool,
    /// This node talks to it: nobody else changes its addresses.
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

    /// Takes in what a peer said, or, with `vouched`, the login service. Answers whether there was
    /// room for it.
    pub(crate) fn hear_of(&mut self, entry: &SupernodeEntry, vouched: bool, now: UnixTime) -> bool {
        if entry.addresses.is_empty() {
            return true;
        }
        // Nobody has seen anything in the future.
        let seen = entry.seen.min(now);
        if let Some(known) = self.entries.get_mut(&entry.node) {
            // Hearsay may say where a supernode has moved to, but only once it is lost there.
            let believed = vouched || !known.vouched || known.failures > 0;
            if believed && !known.proven && seen >= known.seen {
                known.addresses = entry.addresses.to_vec();
                known.load_percent = entry.load_percent;
                known.seen = seen;
            }
            known.vouched |= vouched;
            return true;
        }
        if self.entries.len() >= MAX_KNOWN && !self.make_room(vouched, seen) {
            return false;
        }
        self.changed = true;
        let known = Known {
            addresses: entry.addresses.to_vec(),
            load_percent: entry.load_percent,
            seen,
            vouched,
            proven: false,
            failures: 0,
            retry_at: Instant::START,
        };
        self.entries.insert(entry.node, known);
        true
    }

    /// Forgets one that is worth less than a newcomer, if there is any.
    fn make_room(&mut self, vouched: bool, seen: UnixTime) -> bool {
        let least = self
            .entries
            .iter()
            .filter(|(_, known)| !known.proven)
            .min_by_key(|(node, known)| (known.vouched, known.seen, **node))
            .map(|(node, known)| (*node, (known.vouched, known.seen)));
        match least {
            Some((node, worth)) if worth < (vouched, seen) => self.entries.remove(&node).is_some(),
            _ => false,
        }
    }

    /// This supernode has answered, and its credential holds. Answers whether there was room for
    /// it.
    pub(crate) fn proved(
        &mut self,
        node: NodeId,
        addresses: &[SocketAddr],
        load: Option<u8>,
        now: UnixTime,
    ) -> bool {
        if !self.entries.contains_key(&node)
            && self.entries.len() >= MAX_KNOWN
            && !self.make_room(true, now)
        {
            return false;
        }
        let known = self.entries.entry(node).or_insert_with(|| {
            self.changed = true;
            Known {
                addresses: Vec::new(),
                load_percent: 0,
                seen: now,
                vouched: true,
                proven: true,
                failures: 0,
                retry_at: Instant::START,
            }
        });
        known.addresses = addresses.iter().copied().take(4).collect();
        known.load_percent = load.unwrap_or(known.load_percent);
        known.seen = now;
        known.vouched = true;
        known.proven = true;
        known.failures = 0;
        known.retry_at = Instant::START;
        true
    }

    /// This supernode did not answer, or answered that it is none.
    pub(crate) fn failed(&mut self, node: &NodeId, now: Instant) {
        let is_last_resort = self.entries.len() <= LAST_RESORT;
        let Some(known) = self.entries.get_mut(node) else { return };
        known.failures = (known.failures + 1).min(MAX_FAILURES);
        known.proven = false;
        if known.failures == MAX_FAILURES && !(known.vouched && is_last_resort) {
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

    /// Up to `count` that may be tried now, the light ones more often than the full ones. Half of
    /// them are vouched for if there are so many, however much hearsay there is beside them.
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
        let mut picked: Vec<(NodeId, Vec<SocketAddr>)> = Vec::new();
        for (most, only_vouched) in [(count.div_ceil(2), true), (count, false)] {
            let left: Vec<(&NodeId, &Known)> = ready
                .iter()
                .filter(|(node, known)| {
                    (known.vouched || !only_vouched) && picked.iter().all(|(one, _)| one != *node)
                })
                .copied()
                .collect();
            let sample = left.sample_weighted(rng, most - picked.len(), weight);
            picked.extend(
                sample.into_iter().flatten().map(|(node, known)| (**node, known.addresses.clone())),
            );
        }
        picked
    }

    /// The `count` freshest that did not fail, to be told to others: first those that this node
    /// talks to, then those that are vouched for, then hearsay.
    pub fn freshest(&self, count: usize) -> Vec<SupernodeEntry> {
        self.best(count, |known| known.failures == 0)
    }

    /// Those to be kept for the next start: what is vouched for, even if it does not answer at
    /// present. It may be this node's own line that is dead.
    pub(crate) fn to_remember(&self) -> Vec<SupernodeEntry> {
        self.best(LAST_RESORT, |known| known.vouched)
    }

    fn best(&self, count: usize, wanted: impl Fn(&Known) -> bool) -> Vec<SupernodeEntry> {
        let mut all: Vec<(&NodeId, &Known)> =
            self.entries.iter().filter(|(_, known)| wanted(known)).collect();
        all.sort_unstable_by_key(|(node, known)| {
            (!known.proven, !known.vouched, known.failures, Reverse(known.seen), **node)
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
        for vouched in [false, true] {
            known.hear_of(&entry(1, 50), vouched, UnixTime(60));
        }
        assert_eq!(known.addresses(&entry(1, 0).node), Some(vec![real]));
    }

    #[test]
    fn a_flood_of_made_up_supernodes_pushes_out_no_fresher_one() {
        let mut known = KnownSupernodes::default();
        let now = UnixTime(1_000);
        for number in 0..1_000 {
            assert!(known.hear_of(&entry(number, 500), false, now));
        }
        assert!(!known.hear_of(&entry(2_000, 400), false, now));
        assert!(known.hear_of(&entry(2_001, u64::MAX), false, now), "the future counts as now");
        assert_eq!(known.len(), MAX_KNOWN);
    }

    #[test]
    fn hearsay_never_takes_the_place_of_what_the_login_service_has_named() {
        let mut known = KnownSupernodes::default();
        let now = UnixTime(1_000);
        for number in 0..3 {
            known.hear_of(&entry(number, 1), true, now);
        }
        for number in 10..3_000 {
            known.hear_of(&entry(number, u64::MAX), false, now);
        }
        assert_eq!(known.len(), MAX_KNOWN);
        let mut rng = StdRng::seed_from_u64(1);
        let picked = known.pick(5, Instant::START, &mut rng, |_| false);
        let named = (0..3).filter(|n| picked.iter().any(|(node, _)| *node == entry(*n, 0).node));
        assert_eq!((picked.len(), named.count()), (5, 3), "they are tried first");
        assert!(known.hear_of(&entry(5, 1), true, now), "and there is room for more of them");
    }

    #[test]
    fn the_last_ones_that_are_vouched_for_are_never_forgotten() {
        let mut known = KnownSupernodes::default();
        known.hear_of(&entry(1, 1), true, UnixTime(1));
        let mut now = Instant::START;
        for _ in 0..100 {
            known.failed(&entry(1, 1).node, now);
            now = now + MAX_RETRY;
        }
        assert_eq!(known.pick(5, now, &mut StdRng::seed_from_u64(1), |_| false).len(), 1);
        assert!(known.freshest(5).is_empty(), "nobody else is told of it");
        assert_eq!(known.to_remember().len(), 1);
    }

    #[test]
    fn one_that_fails_is_left_alone_for_longer_each_time_and_then_forgotten() {
        let mut known = KnownSupernodes::default();
        let mut rng = StdRng::seed_from_u64(1);
        known.hear_of(&entry(1, 1), false, UnixTime(1));
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
