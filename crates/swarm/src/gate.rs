//! How often a peer may ask: a token bucket for each.

use skein_proto::{Instant, NodeId};
use std::collections::HashMap;
use std::time::Duration;

/// Requests that a peer may make at once: two for each of as many small files as run at a time.
const BURST: u32 = 512;

/// How long it takes until one more is allowed: 100 a second. One request costs about 0.2 ms (a
/// signature and a look-up), so that a single peer cannot take more than 2 % of a core for
/// nothing.
const REFILL: Duration = Duration::from_millis(10);

/// Peers that are remembered. A full bucket need not be, so that these have all asked within the
/// last five seconds.
const MAX_PEERS: usize = 10_000;

/// Limits how often each peer asks.
#[derive(Debug, Default)]
pub struct RequestGate {
    /// When each bucket will be full again: one number says how much is in it.
    full_at: HashMap<NodeId, Instant>,
    refused: u64,
}

impl RequestGate {
    /// Whether a peer may ask once more at this time.
    pub fn admit(&mut self, peer: NodeId, now: Instant) -> bool {
        if self.full_at.len() >= MAX_PEERS && !self.full_at.contains_key(&peer) {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= MAX_PEERS {
                self.refused += 1;
                return false;
            }
        }
        let full_at = self.full_at.entry(peer).or_insert(now);
        let next = (*full_at).max(now) + REFILL;
        if next.since(now) > REFILL * BURST {
            self.refused += 1;
            return false;
        }
        *full_at = next;
        true
    }

    /// Requests that came too fast, or when too many peers asked.
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u32) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn millis(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn a_burst_is_allowed_and_then_only_the_steady_rate() {
        let mut gate = RequestGate::default();
        let burst = (0..BURST + 50).filter(|_| gate.admit(peer(1), millis(0))).count();
        assert_eq!(burst, BURST as usize);
        assert_eq!(gate.refused(), 50);
        assert!(gate.admit(peer(2), millis(0)), "others are not concerned");
        let steady = (1..=1_000).filter(|at| gate.admit(peer(1), millis(*at))).count();
        assert_eq!(steady, 100);
    }

    #[test]
    fn peers_that_asked_long_ago_make_room_for_others() {
        let mut gate = RequestGate::default();
        let many = u32::try_from(MAX_PEERS).expect("a small number");
        for number in 0..many {
            assert!(gate.admit(peer(number), millis(0)));
        }
        assert!(!gate.admit(peer(many), millis(5)), "all of them have asked just now");
        assert!(gate.admit(peer(0), millis(5)), "who is known goes on");
        assert!(gate.admit(peer(many), millis(11)));
        assert!(gate.full_at.len() < 10);
    }
}
