//! How fast addresses are probed that have not answered: a peer names them, and whoever has them
//! may never have asked for a packet.

use std::time::Duration;
use tokio::time::Instant;

/// Pause between two probes (Ta in RFC 8445, section 14): a router that is asked for many mappings
/// at once drops some.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// Probes that may be sent at that pace: two bursts to as many addresses as a session has.
const ALLOWANCE: u32 = 512;

/// One more is allowed in so long. Then what a peer brings about by naming addresses again and again
/// is no more than what it takes to name them.
const GAIN: Duration = Duration::from_secs(1);

/// The turns of the probes of one session.
#[derive(Debug)]
pub(super) struct Pace {
    left: u32,
    gained: Instant,
    next_turn: Instant,
}

impl Pace {
    pub(super) fn new(start: Instant) -> Self {
        Self { left: ALLOWANCE, gained: start, next_turn: start }
    }

    /// When the next probe may be sent.
    pub(super) fn next_turn(&self) -> Instant {
        self.next_turn
    }

    /// A probe is sent.
    pub(super) fn spend(&mut self, now: Instant) {
        while self.gained + GAIN <= now && self.left < ALLOWANCE {
            self.gained += GAIN;
            self.left += 1;
        }
        if self.left == ALLOWANCE {
            self.gained = now;
        }
        self.left = self.left.saturating_sub(1);
        self.next_turn = now + if self.left > 0 { PAUSE } else { GAIN };
    }

    /// This node has moved, which is nothing that the peer did: all may be probed anew.
    pub(super) fn start_over(&mut self, now: Instant) {
        *self = Self { next_turn: self.next_turn.min(now), ..Self::new(now) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_in(pace: &mut Pace, start: Instant, span: Duration) -> u32 {
        let mut sent = 0;
        let mut now = start;
        while now < start + span {
            pace.spend(now);
            sent += 1;
            now = pace.next_turn();
        }
        sent
    }

    #[test]
    fn what_is_allowed_is_used_up_and_grows_slowly() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let minute = Duration::from_secs(60);
        let first = sent_in(&mut pace, start, minute);
        assert!((ALLOWANCE..ALLOWANCE + 61).contains(&first), "{first}");
        let second = sent_in(&mut pace, start + minute, minute);
        assert!(second <= 61, "{second}");
        let rested = start + minute * 60;
        assert!(sent_in(&mut pace, rested, minute) >= ALLOWANCE, "after an hour of rest");
        pace.start_over(rested + minute);
        assert!(sent_in(&mut pace, rested + minute, minute) >= ALLOWANCE, "elsewhere");
    }
}
