//! Notices that a path lets nothing through, from what comes along it and what is sent.

use std::time::Duration;
use tokio::time::Instant;

/// How often a connection that moves packets is looked at, and one that moves none.
pub(super) const BUSY_LOOK: Duration = Duration::from_millis(50);
pub(super) const IDLE_LOOK: Duration = Duration::from_millis(1_000);

/// A connection counts as idle when it has moved nothing for so long.
const IDLE: Duration = Duration::from_secs(5);

/// A silence that is worth a question to the relay, beyond two round trips. The delayed
/// acknowledgement of the peer (25 ms, RFC 9000, section 18.2) and a few lost packets fit in.
const SILENCE: Duration = Duration::from_millis(150);

/// A silence in which QUIC has sent several probes (RFC 9002, section 6.2) and none was answered:
/// the relay may answer for itself, but lets nothing through.
const BROKEN: Duration = Duration::from_millis(1_500);

/// Looks in which something was sent without an answer before the path counts as broken. A lone
/// acknowledgement needs no answer; QUIC's probes go on.
const SENT_IN_VAIN: u32 = 3;

/// What a look at the connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Something has come.
    Well,
    /// Nothing has come since the last look, for whatever reason.
    Quiet,
    /// Nothing has come for too long: ask the relay whether it lives.
    Suspicious,
    /// Nothing comes whatever is sent.
    Broken,
}

/// What has been seen of a path.
#[derive(Debug)]
pub(super) struct Watch {
    received: u64,
    bytes_out: u64,
    heard: Instant,
    moved: Instant,
    /// Looks at which something had been sent since anything was heard.
    in_vain: u32,
    /// Whether the relay was asked since then, at what number of bytes sent.
    asked_at: Option<u64>,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self { received: 0, bytes_out: 0, heard: now, moved: now, in_vain: 0, asked_at: None }
    }

    /// When to look again.
    pub(super) fn next_look(&self, now: Instant) -> Duration {
        if now - self.moved >= IDLE { IDLE_LOOK } else { BUSY_LOOK }
    }

    /// Whether anything has come since then.
    pub(super) fn heard_since(&self, then: Instant) -> bool {
        self.heard > then
    }

    /// Takes the path as new: it gets its time before it is suspected.
    pub(super) fn restart(&mut self, now: Instant) {
        (self.heard, self.in_vain, self.asked_at) = (now, 0, None);
    }

    /// Whether something was sent that nothing has come for since. A lone acknowledgement needs no
    /// answer.
    pub(super) fn awaits_answer(&self) -> bool {
        self.in_vain > 1
    }

    /// Looks at the totals of what was received along the path, and of the bytes sent.
    pub(super) fn look(
        &mut self,
        received: u64,
        bytes_out: u64,
        rtt: Duration,
        now: Instant,
    ) -> Look {
        let heard = received != self.received;
        let sent = bytes_out != self.bytes_out;
        (self.received, self.bytes_out) = (received, bytes_out);
        if heard || sent {
            self.moved = now;
        }
        if heard {
            self.restart(now);
            return Look::Well;
        }
        self.in_vain += u32::from(sent);
        let silent = now - self.heard;
        if silent >= BROKEN + rtt * 3 && self.in_vain >= SENT_IN_VAIN {
            return Look::Broken;
        }
        // A receiver in the middle of a transfer sends nothing that needs an answer, and so asks
        // once for each silence; a sender asks again whenever it has sent more.
        let asked = self.asked_at == Some(bytes_out);
        if silent >= SILENCE + rtt * 2 && !asked && now - self.moved < IDLE {
            self.asked_at = Some(bytes_out);
            return Look::Suspicious;
        }
        Look::Quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);

    /// Looks every 50 ms; `traffic` tells the totals at each millisecond.
    fn first(look: Look, for_ms: u64, traffic: impl Fn(u64) -> (u64, u64)) -> Option<u64> {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        (0..for_ms).step_by(50).find(|ms| {
            let (received, bytes_out) = traffic(*ms);
            watch.look(received, bytes_out, RTT, start + Duration::from_millis(*ms)) == look
        })
    }

    #[test]
    fn a_sender_that_hears_nothing_is_suspicious_within_a_quarter_of_a_second() {
        let traffic = |ms: u64| (ms.min(1_000), ms * 10);
        let at = first(Look::Suspicious, 3_000, traffic).expect("noticed");
        assert!((1_150..1_300).contains(&at), "{at}");
    }

    #[test]
    fn a_receiver_whose_transfer_stops_asks_as_well() {
        let traffic = |ms: u64| (ms.min(1_000) * 10, ms.min(1_025));
        let at = first(Look::Suspicious, 3_000, traffic).expect("noticed");
        assert!((1_150..1_300).contains(&at), "{at}");
        assert_eq!(first(Look::Broken, 60_000, traffic), None, "it may just be over");
    }

    #[test]
    fn a_relay_that_answers_and_lets_nothing_through_is_found_out() {
        let probes = |ms: u64| (1, 1 + u64::from((ms.max(1)).ilog2()));
        let at = first(Look::Broken, 20_000, probes).expect("noticed");
        assert!(at < 3_000, "{at}");
    }

    #[test]
    fn an_idle_connection_is_left_alone_but_for_its_keep_alives() {
        let keep_alive = |ms: u64| (ms / 4_000 * 40, ms / 4_000 * 40);
        assert_eq!(first(Look::Broken, 60_000, keep_alive), None);
        let watch = Watch::new(Instant::now());
        assert_eq!(watch.next_look(watch.moved + IDLE), IDLE_LOOK);
    }
}
