//! Receiving as the system does: what is due, and what is joined to it.

use super::state::{Datagram, Port};
use std::cmp::Reverse;
use tokio::time::Instant;

/// Datagrams that are given to a receiver as one batch at most, as Linux joins them (generic
/// receive offload).
pub(super) const SEGMENTS: usize = 64;

/// What was put behind a datagram.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) datagrams: u64,
    pub(super) bytes: usize,
}

impl Port {
    /// The next datagram that has arrived.
    pub(super) fn due(&mut self, now: Instant) -> Option<Datagram> {
        self.inbox.peek().filter(|first| first.0.due <= now)?;
        self.inbox.pop().map(|Reverse(datagram)| datagram)
    }

    /// Puts behind a datagram what has arrived after it from the same address with the same mark:
    /// datagrams of the same length, and perhaps a shorter last one, whatever is in them.
    pub(super) fn join(&mut self, first: &Datagram, now: Instant, room: &mut [u8]) -> Joined {
        let stride = first.bytes.len();
        let mut joined = Joined::default();
        for _ in 1..SEGMENTS {
            let Some(Reverse(next)) = self.inbox.peek() else { break };
            let same = next.source == first.source && next.ecn == first.ecn && next.due <= now;
            let length = next.bytes.len();
            let fits = (1..=stride).contains(&length) && joined.bytes + length <= room.len();
            if !same || !fits {
                break;
            }
            room[joined.bytes..joined.bytes + length].copy_from_slice(&next.bytes);
            joined.datagrams += 1;
            joined.bytes += length;
            self.inbox.pop();
            if length < stride {
                break;
            }
        }
        joined
    }
}
