//! What is known of one direct path: whether it works, how fast it is, when it is probed next.

use super::candidate::PathClass;
use super::frame::LENGTH;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Pauses between the probes of a path that has not answered yet, doubled each time: the first is
/// about the difference in time at which two ends begin, the last ones are for routers that take
/// seconds to forget a mapping in the way. Together they last some six seconds.
const BURST: [Duration; 7] = [
    Duration::from_millis(60),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1_600),
    Duration::from_millis(3_200),
];

/// As many attempts as leave nothing of a burst but one.
const AFTER_BURST: u8 = 7;

/// A path that has worked before is tried again this often after a burst in vain.
const RETRY: Duration = Duration::from_secs(30);

/// And so many times; what has changed by then is announced by new candidates or by the peer.
const RETRIES: u8 = 10;

/// Probes whose replies are waited for: as many as are sent in the longest round trip that is
/// waited for while a path is in doubt.
const MAX_IN_FLIGHT: usize = 32;

/// Probes in a row that had their time and brought no reply, after which a path in doubt is given
/// up: fewer would take ordinary loss for the end.
const DOUBTS: usize = 3;

/// How often it is tried whether long datagrams get through: fewer would take ordinary loss for a
/// narrow path.
pub(super) const TRIES: u8 = 3;

/// Samples that are taken at short intervals when one is far from what was measured before: so many
/// bring the smoothed value near to the new one.
const CLOSER: u8 = 8;

/// The round trip of a path, smoothed as in RFC 6298, section 2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rtt {
    smoothed: Duration,
}

impl Rtt {
    fn sample(previous: Option<Self>, sample: Duration) -> Self {
        let smoothed = match previous {
            None => sample,
            Some(Self { smoothed }) => (smoothed * 7 + sample) / 8,
        };
        Self { smoothed }
    }
}

/// A direct path: an address of the peer, seen from the one socket that there is.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) address: SocketAddr,
    pub(super) class: PathClass,
    pub(super) priority: u32,
    /// The peer was told to answer, and has: as often in a row.
    pub(super) replies: u32,
    /// How often it has died while it was in use: one that does is trusted later each time.
    pub(super) deaths: u8,
    /// Packets of the peer are taken from there.
    pub(super) listening: bool,
    /// The peer says that it sends along this path.
    pub(super) peer_uses: bool,
    /// Where the peer sees this node on this path.
    pub(super) observed: Option<SocketAddr>,
    /// Samples in a row by which it was better than the one in use.
    pub(super) wins: u8,
    /// It may have died: it is probed at short intervals.
    pub(super) in_doubt: bool,
    pub(super) next_probe: Option<Instant>,
    /// Datagrams of this length got through in both directions.
    pub(super) width: usize,
    /// How often longer ones were tried, and of which length.
    tries: (u8, usize),
    /// All that is known of it is that a proven probe came from there. Whoever sent that may have
    /// forged the address.
    only_seen: bool,
    /// The next probe that comes from there is answered by one, and the one after by a reply: then
    /// two ends of which neither knows the other's address still get a reply each.
    probe_is_next: bool,
    attempts: u8,
    retries: u8,
    unanswered: u32,
    /// Transaction, time and length.
    in_flight: VecDeque<(u64, Instant, usize)>,
    rtt: Option<Rtt>,
    last_sent: Option<Instant>,
    closer: u8,
    /// When anything of this machine's went along it last.
    last_active: Instant,
    /// For how long nothing had, when the probe went out that is waited for.
    silence: Option<Duration>,
}

impl Path {
    pub(super) fn new(address: SocketAddr, priority: u32, now: Instant) -> Self {
        Self {
            address,
            class: PathClass::of(address),
            priority,
            replies: 0,
            deaths: 0,
            listening: false,
            peer_uses: false,
            observed: None,
            wins: 0,
            in_doubt: false,
            next_probe: Some(now),
            width: 0,
            tries: (0, 0),
            only_seen: false,
            probe_is_next: true,
            attempts: 0,
            retries: 0,
            unanswered: 0,
            in_flight: VecDeque::new(),
            rtt: None,
            last_sent: None,
            closer: 0,
            last_active: now,
            silence: None,
        }
    }

    /// A path to where a probe came from: it is probed when one comes (RFC 8445, section 7.3.1.4),
    /// and in a burst when the peer names it, or it has answered.
    pub(super) fn seen(address: SocketAddr, priority: u32, now: Instant) -> Self {
        Self { only_seen: true, attempts: AFTER_BURST, ..Self::new(address, priority, now) }
    }

    /// The peer has named the address.
    pub(super) fn name(&mut self, now: Instant) {
        if std::mem::replace(&mut self.only_seen, false) && !self.is_live() {
            self.start_over(now);
        }
    }

    /// Whether a probe that has come from there is answered by a probe alone: nobody has named the
    /// address or answered from it, so that the source may be forged.
    pub(super) fn is_answered_by_a_probe(&mut self) -> bool {
        let probe_is_next = self.probe_is_next;
        self.probe_is_next = !probe_is_next;
        self.only_seen && probe_is_next
    }

    /// Whether more than that is known of the address.
    pub(super) fn is_named(&self) -> bool {
        !self.only_seen
    }

    /// Whether it works, but datagrams of this length have not got through yet.
    pub(super) fn is_too_narrow(&self, width: usize) -> bool {
        self.is_live() && !self.in_doubt && self.width < width
    }

    /// Whether it is to be tried (again) with datagrams of this length.
    pub(super) fn may_try(&mut self, width: usize) -> bool {
        if self.tries.1 != width {
            self.tries = (0, width);
        }
        self.tries.0 < TRIES
    }

    /// Longer ones do not get through now. Loss may have been in their way, and the network's ways
    /// change: one more is tried after a pause.
    pub(super) fn tried_in_vain(&mut self, pause: Duration, now: Instant) {
        self.tries.0 = TRIES - 1;
        self.next_probe = Some(now + pause);
    }

    /// What it takes may be another length now.
    pub(super) fn forget_width(&mut self) {
        (self.width, self.tries) = (0, (0, 0));
    }

    /// Whether it has answered lately, and often enough for one that has died before.
    pub(super) fn is_usable(&self) -> bool {
        self.replies > u32::from(self.deaths.min(3)) * 2
    }

    pub(super) fn is_live(&self) -> bool {
        self.replies > 0
    }

    /// The smoothed round trip.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt.map(|rtt| rtt.smoothed)
    }

    /// How long a reply may take, with time for the peer to get round to it.
    fn patience(&self) -> Duration {
        self.rtt().map_or(Duration::from_millis(250), |rtt| rtt * 3 / 2) + Duration::from_millis(50)
    }

    /// For how long a path that is sent along may bring nothing before it is in doubt.
    pub(super) fn quiet_limit(&self) -> Duration {
        (self.rtt().unwrap_or_default() * 3 / 2).max(Duration::from_millis(100))
    }

    /// A probe goes out.
    pub(super) fn sent(&mut self, transaction: u64, length: usize, now: Instant) {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            self.in_flight.pop_front();
        }
        self.in_flight.push_back((transaction, now, length));
        if self.unanswered == 0 && !self.in_doubt {
            self.silence = Some(now.saturating_duration_since(self.last_active));
        }
        if length > LENGTH {
            // That it gets lost says nothing about shorter ones.
            self.tries.0 = self.tries.0.saturating_add(1);
            self.last_active = now;
            self.next_probe = Some(now + self.patience());
            return;
        }
        self.unanswered += 1;
        self.last_sent = Some(now);
        self.last_active = now;
        self.next_probe = if self.in_doubt {
            let short = self.rtt().unwrap_or_default() / 4;
            Some(now + short.max(Duration::from_millis(50)))
        } else if self.is_live() {
            Some(now + self.patience())
        } else {
            self.attempts = self.attempts.saturating_add(1);
            self.next_of_burst(now)
        };
    }

    fn next_of_burst(&mut self, now: Instant) -> Option<Instant> {
        if let Some(pause) = BURST.get(usize::from(self.attempts.max(1)) - 1) {
            return Some(now + *pause);
        }
        if self.deaths == 0 || self.retries >= RETRIES {
            return None;
        }
        self.retries += 1;
        Some(now + RETRY)
    }

    /// A reply came. Answers the round trip; `None` if it answers nothing that was asked.
    pub(super) fn replied(
        &mut self,
        transaction: u64,
        length: usize,
        now: Instant,
    ) -> Option<Duration> {
        let at = self.in_flight.iter().position(|(sent, ..)| *sent == transaction)?;
        let (_, sent, asked) = self.in_flight[at];
        self.in_flight.drain(..=at);
        if length >= asked {
            self.width = self.width.max(asked);
            self.tries.0 = 0;
        }
        let sample = now.saturating_duration_since(sent);
        let far = |rtt| is_clearly_less(sample, rtt) || is_clearly_less(rtt, sample);
        self.only_seen = false;
        self.closer = match self.rtt().is_some_and(far) && self.closer < CLOSER {
            true => self.closer + 1,
            false => 0,
        };
        self.rtt = Some(Rtt::sample(self.rtt, sample));
        self.replies = self.replies.saturating_add(1);
        self.unanswered = 0;
        self.in_doubt = false;
        self.attempts = 0;
        self.retries = 0;
        Some(sample)
    }

    /// Whether the round trip seems to have changed, so that it is measured more closely.
    pub(super) fn is_changing(&self) -> bool {
        self.closer > 0
    }

    /// A probe of the peer is being answered: that keeps the mapping as well as one of this end's.
    pub(super) fn answers(&mut self, now: Instant) {
        self.last_active = now;
    }

    /// For how long nothing had gone along it when it was asked last.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.silence
    }

    /// Whether a path in doubt has had all its chances.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        let patience = self.patience();
        let in_vain = |(_, sent, length): &&(u64, Instant, usize)| {
            *length == LENGTH && now >= *sent + patience
        };
        self.in_doubt && self.in_flight.iter().filter(in_vain).count() >= DOUBTS
    }

    /// Whether the last probe of a path that works has had its time.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.is_live()
            && !self.in_doubt
            && self.unanswered > 0
            && self.last_sent.is_some_and(|sent| now >= sent + self.patience())
    }

    /// Doubts it, from now on.
    pub(super) fn doubt(&mut self, now: Instant) {
        if !self.in_doubt {
            self.in_doubt = true;
            self.unanswered = 0;
            self.next_probe = Some(now);
        }
    }

    /// It has to prove itself again, from the beginning.
    pub(super) fn start_over(&mut self, now: Instant) {
        self.replies = 0;
        self.wins = 0;
        self.retries = 0;
        self.unanswered = 0;
        self.in_doubt = false;
        if !self.only_seen {
            self.attempts = 0;
            self.next_probe = Some(now);
        }
    }

    /// Probes it as soon as its turn comes, once more than it would have been.
    pub(super) fn hasten(&mut self, now: Instant) {
        if !self.only_seen {
            self.attempts = self.attempts.min(2);
        }
        self.next_probe = Some(self.next_probe.map_or(now, |next| next.min(now)));
    }
}

/// Whether one path is faster than another by more than what measuring makes of it.
pub(super) fn clearly_faster(one: &Path, other: &Path) -> bool {
    one.rtt().zip(other.rtt()).is_some_and(|(one, other)| is_clearly_less(one, other))
}

/// By a fifth, and by five milliseconds.
fn is_clearly_less(one: Duration, other: Duration) -> bool {
    one <= other * 4 / 5 && one + Duration::from_millis(5) <= other
}

/// Whether one path is to be taken rather than another when neither is in use.
pub(super) fn preferable(one: &Path, other: &Path) -> bool {
    if one.class == other.class {
        return one.rtt() < other.rtt();
    }
    match one.class > other.class {
        true => !clearly_faster(other, one),
        false => clearly_faster(one, other),
    }
}
