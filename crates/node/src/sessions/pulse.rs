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

/// Looks in which something was sent without an answer before the path counts as broken: QUIC's
/// probes go on.
const SENT_IN_VAIN: u32 = 3;

/// The totals of a connection, as a look finds them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Frames of the peer's that QUIC has decrypted. Nobody else can make this number rise.
    pub(super) decrypted: u64,
    /// Batches that have come along what is in use. It has to be read after `decrypted`: a batch
    /// that was decrypted is among them then.
    pub(super) received: u64,
    /// Frames sent that need an answer.
    pub(super) asking: u64,
    /// Bytes that the peer's last answer has left without one.
    pub(super) unanswered: u64,
}

/// What a look at the connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Something has come.
    Well,
    /// Nothing has come since the last look, for whatever reason.
    Quiet,
    /// Nothing has come for long, and nothing that was sent needs an answer. Asking the relay is
    /// worth it, once: a receiver in the middle of a transfer sends nothing that tells it where this
    /// node is.
    Idle,
    /// What was sent has no answer for too long: ask the relay whether it lives.
    Suspicious,
    /// Nothing comes whatever is sent.
    Broken,
}

/// What has been seen of a path.
#[derive(Debug)]
pub(super) struct Watch {
    last: Totals,
    /// Frames decrypted and batches received when something was heard last.
    then: (u64, u64),
    heard: Instant,
    moved: Instant,
    /// What was sent first without anything having been heard since was seen at this look.
    waiting_since: Option<Instant>,
    /// Looks at which something had been sent since then.
    in_vain: u32,
    /// Whether the relay was asked in this silence, though nothing waits for an answer.
    asked: bool,
    /// How much had been sent when the path was suspected last.
    suspected_at: Option<u64>,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last: Totals::default(),
            then: (0, 0),
            heard: now,
            moved: now,
            waiting_since: None,
            in_vain: 0,
            asked: false,
            suspected_at: None,
        }
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
        self.waiting_since = self.waiting_since.map(|_| now);
        (self.heard, self.in_vain, self.asked, self.suspected_at) = (now, 0, false, None);
    }

    /// Whether something was sent that needs an answer and has none.
    pub(super) fn awaits_answer(&self) -> bool {
        self.waiting_since.is_some()
    }

    /// Looks at the totals. `rtt` is what a round trip takes at present.
    pub(super) fn look(&mut self, totals: Totals, rtt: Duration, now: Instant) -> Look {
        let Totals { decrypted, received, asking, unanswered } = totals;
        let before = std::mem::replace(&mut self.last, totals);
        let sent = asking != before.asking;
        if sent || decrypted != before.decrypted {
            self.moved = now;
        }
        // What comes along the path counts only if QUIC has made something of it: a relay can send
        // whatever it likes.
        if decrypted != self.then.0 && received != self.then.1 {
            self.then = (decrypted, received);
            self.waiting_since = (unanswered > 0).then_some(now);
            self.restart(now);
            return Look::Well;
        }
        if sent {
            self.waiting_since.get_or_insert(now);
            self.in_vain += 1;
        }
        let Some(since) = self.waiting_since else {
            let long = now - self.heard >= SILENCE + rtt * 2;
            let asks = long && !self.asked && now - self.moved < IDLE;
            self.asked |= asks;
            return if asks { Look::Idle } else { Look::Quiet };
        };
        let silent = now - since;
        if silent >= BROKEN + rtt * 3 && self.in_vain >= SENT_IN_VAIN {
            return Look::Broken;
        }
        // Once more whenever more was sent.
        let suspected = self.suspected_at == Some(asking);
        if silent >= SILENCE + rtt * 2 && !suspected && now - self.moved < IDLE {
            self.suspected_at = Some(asking);
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
    fn looks(
        for_ms: u64,
        rtt: Duration,
        traffic: impl Fn(u64) -> Totals,
    ) -> impl Iterator<Item = (u64, Look)> {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        (0..for_ms)
            .step_by(50)
            .map(move |ms| (ms, watch.look(traffic(ms), rtt, start + Duration::from_millis(ms))))
    }

    /// When it says so first. All that has come was decrypted.
    fn first(look: Look, for_ms: u64, traffic: impl Fn(u64) -> (u64, u64)) -> Option<u64> {
        let totals = |ms| {
            let (received, asking) = traffic(ms);
            Totals { decrypted: received, received, asking, unanswered: 0 }
        };
        looks(for_ms, RTT, totals).find(|(_, found)| *found == look).map(|(ms, _)| ms)
    }

    #[test]
    fn a_sender_that_hears_nothing_is_suspicious_within_a_quarter_of_a_second() {
        let traffic = |ms: u64| (ms.min(1_000), ms * 10);
        let at = first(Look::Suspicious, 3_000, traffic).expect("noticed");
        assert!((1_150..1_300).contains(&at), "{at}");
    }

    #[test]
    fn a_sender_whose_window_is_full_is_as_quick() {
        let full = |ms: u64| {
            let done = ms.min(1_000);
            Totals { decrypted: done, received: done, asking: done, unanswered: 9_000 }
        };
        let mut looks = looks(3_000, RTT, full);
        let at = looks.find(|(_, look)| *look == Look::Suspicious).expect("noticed").0;
        assert!((1_150..1_300).contains(&at), "{at}");
    }

    #[test]
    fn a_receiver_whose_transfer_stops_asks_once() {
        let traffic = |ms: u64| (ms.min(1_000) * 10, 1);
        let at = first(Look::Idle, 3_000, traffic).expect("noticed");
        assert!((1_150..1_300).contains(&at), "{at}");
        assert_eq!(first(Look::Suspicious, 60_000, traffic), None, "it may just be over");
        assert_eq!(first(Look::Broken, 60_000, traffic), None);
    }

    #[test]
    fn a_relay_that_answers_and_lets_nothing_through_is_found_out() {
        let probes = |ms: u64| (1, 1 + u64::from((ms.max(1)).ilog2()));
        let at = first(Look::Broken, 20_000, probes).expect("noticed");
        assert!(at < 3_000, "{at}");
    }

    #[test]
    fn what_nobody_can_decrypt_is_no_sign_of_life() {
        let junk = |ms: u64| Totals {
            decrypted: ms.min(1_000),
            received: ms,
            asking: ms * 10,
            unanswered: 0,
        };
        let found: Vec<_> = looks(3_000, RTT, junk).collect();
        let first = |look| found.iter().find(|(_, found)| *found == look).map(|(ms, _)| *ms);
        assert!(first(Look::Suspicious).is_some_and(|at| at < 1_300), "{found:?}");
        assert!(first(Look::Broken).is_some_and(|at| at < 2_700), "{found:?}");
    }

    #[test]
    fn after_a_pause_an_answer_has_its_round_trip() {
        let rtt = Duration::from_millis(150);
        let talk = |ms: u64| {
            let asking = ms.saturating_sub(3_000).div_ceil(20);
            let answers = 1 + ms.saturating_sub(3_150).div_ceil(20);
            Totals { decrypted: answers, received: answers, asking, unanswered: 0 }
        };
        for (ms, look) in looks(6_000, rtt, talk) {
            assert!(!matches!(look, Look::Suspicious | Look::Broken), "{look:?} at {ms}");
        }
    }

    #[test]
    fn an_idle_connection_is_left_alone_but_for_its_keep_alives() {
        let keep_alive = |ms: u64| (ms / 4_000 * 40, ms / 4_000 * 40);
        assert_eq!(first(Look::Broken, 60_000, keep_alive), None);
        let watch = Watch::new(Instant::now());
        assert_eq!(watch.next_look(watch.moved + IDLE), IDLE_LOOK);
    }
}
