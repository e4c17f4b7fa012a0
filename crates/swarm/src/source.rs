//! One source of a download: what it has, how fast it is, when it may be asked again.

use crate::runs::{Run, RunSet};
use rand::{Rng, RngExt};
use skein_proto::Instant;
use std::time::Duration;

/// The wait after a first failure: long enough for a connection to be set up anew, short enough
/// that a hiccup goes unnoticed.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);

/// The longest wait after failures. A source that was down for an hour is found again within it.
const MAX_BACK_OFF: Duration = Duration::from_secs(5 * 60);

/// After so many failures in a row a source is given up; with the waits between them that takes
/// about a minute. It comes back when somebody finds it anew.
const MAX_FAILURES: u32 = 6;

/// How long a source that was given up stays so, even if it is found again at once: at first about
/// as long as a file that was moved back needs to be shared again; twice as long each time, so
/// that one that is found but never has it costs little.
const GIVEN_UP_FOR: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// The shortest and the longest time after which a busy source is asked again, whatever it says.
const BUSY_WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5 * 60));

/// How much the newest measurement counts in the rate, in percent: the mean of about the last
/// five, so that one slow second does not undo the pipeline.
const RATE_WEIGHT: u64 = 30;

/// Over how long the rate is measured at a time.
const RATE_WINDOW: Duration = Duration::from_millis(500);

/// What a source has of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Have {
    /// All of it.
    All,
    /// These chunk groups, and perhaps more later.
    Some(RunSet),
}

impl Have {
    /// Whether it has all groups of a run.
    pub fn contains_run(&self, run: Run) -> bool {
        match self {
            Self::All => true,
            Self::Some(groups) => groups.contains_run(run),
        }
    }
}

/// What a source is good for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not asked yet what it has.
    New,
    /// Asked what it has.
    Probing,
    /// It can be asked for data.
    Ready,
    /// Not before this time; then it is what `then_new` says.
    Waiting { until: Instant, then_new: bool, busy: bool },
    /// Given up until it is found again, and that not before this time.
    GivenUp { until: Instant },
    /// It sent wrong bytes: never again in this download.
    Banned,
}

/// A source.
#[derive(Debug)]
pub(crate) struct Source {
    pub phase: Phase,
    /// The file size that it claims.
    pub claim: Option<u64>,
    pub have: Have,
    /// When it last said what it has.
    pub probed: Instant,
    pub failures: u32,
    /// How long it stays given up when that happens next.
    give_up_for: Duration,
    /// How often it was given up.
    given_up: u32,
    /// Whether it has brought something right.
    pub proven: bool,
    pub rate: Rate,
    /// Requests that it is working on.
    pub outstanding: u32,
    /// The group behind the last one that it was asked for.
    pub next_group: u64,
    /// Whether its bytes come through somebody else.
    pub relayed: bool,
}

impl Source {
    pub fn new(now: Instant) -> Self {
        Self {
            phase: Phase::New,
            claim: None,
            have: Have::Some(RunSet::new()),
            probed: now,
            failures: 0,
            give_up_for: GIVEN_UP_FOR.0,
            given_up: 0,
            proven: false,
            rate: Rate::default(),
            outstanding: 0,
            next_group: u64::MAX,
            relayed: false,
        }
    }

    /// It did not answer, or broke off.
    pub fn failed(&mut self, now: Instant, rng: &mut impl Rng) {
        self.failures += 1;
        if self.failures >= MAX_FAILURES {
            self.give_up(now);
            return;
        }
        let base = FIRST_BACK_OFF.saturating_mul(1 << (self.failures - 1)).min(MAX_BACK_OFF);
        // Half of the wait is random, so that those whom one failure hit do not return as one.
        let wait = base.mul_f64(rng.random_range(0.5..1.0));
        self.phase = Phase::Waiting { until: now + wait, then_new: true, busy: false };
    }

    /// It asked to come again later.
    pub fn busy(&mut self, retry: Duration, now: Instant) {
        let until = now + retry.clamp(BUSY_WAIT.0, BUSY_WAIT.1);
        self.phase = Phase::Waiting { until, then_new: false, busy: true };
    }

    /// It brought something right.
    pub fn delivered(&mut self) {
        self.failures = 0;
        self.give_up_for = GIVEN_UP_FOR.0;
        self.proven = true;
    }

    /// It is of no use at present.
    pub fn give_up(&mut self, now: Instant) {
        self.failures = 0;
        self.given_up = self.given_up.saturating_add(1);
        self.phase = Phase::GivenUp { until: now + self.give_up_for };
        self.give_up_for = (self.give_up_for * 2).min(GIVEN_UP_FOR.1);
    }

    /// How little is lost with it, if it may make place for another one: it is banned, or was given
    /// up so often and has never brought anything.
    pub fn uselessness(&self) -> Option<u32> {
        match self.phase {
            _ if self.outstanding > 0 => None,
            Phase::Banned => Some(u32::MAX),
            Phase::GivenUp { .. } if !self.proven => Some(self.given_up),
            _ => None,
        }
    }

    /// Whether it has nothing to do now and may have more of the file later.
    pub fn may_grow(&self) -> bool {
        self.outstanding == 0 && self.have != Have::All
    }

    /// It was found again.
    pub fn revive(&mut self, now: Instant) {
        if matches!(self.phase, Phase::GivenUp { until } if now >= until) {
            self.phase = Phase::New;
        }
    }

    /// Moves on what only had to wait.
    pub fn wake(&mut self, now: Instant) {
        if let Phase::Waiting { until, then_new, .. } = self.phase
            && now >= until
        {
            self.phase = if then_new { Phase::New } else { Phase::Ready };
        }
    }
}

/// A rate in bytes a second, measured from arrivals.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    smoothed: Option<u64>,
    window: Option<(Instant, u64)>,
}

impl Rate {
    /// The source begins to work: idle time before does not count.
    pub fn begin(&mut self, now: Instant) {
        self.window = Some((now, 0));
    }

    /// Bytes came.
    pub fn add(&mut self, bytes: u64, now: Instant) {
        let (since, sum) = self.window.unwrap_or((now, 0));
        let sum = sum.saturating_add(bytes);
        let took = now.since(since);
        if took < RATE_WINDOW {
            self.window = Some((since, sum));
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let measured = sum.saturating_mul(1_000_000) / micros;
        self.smoothed = Some(match self.smoothed {
            None => measured,
            Some(old) => (old * (100 - RATE_WEIGHT) + measured * RATE_WEIGHT) / 100,
        });
        self.window = Some((now, 0));
    }

    /// Bytes a second, once known.
    pub const fn get(&self) -> Option<u64> {
        self.smoothed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_source_that_keeps_failing_is_asked_ever_more_rarely_and_then_given_up() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut now = Instant::START;
        let mut source = Source::new(now);
        let mut last = Duration::ZERO;
        for _ in 1..MAX_FAILURES {
            source.failed(now, &mut rng);
            let Phase::Waiting { until, then_new: true, busy: false } = source.phase else {
                panic!("it waits, but is {:?}", source.phase);
            };
            assert!(until.since(now) >= last / 2);
            last = until.since(now);
            now = until;
            source.wake(now);
            assert_eq!(source.phase, Phase::New);
        }
        source.failed(now, &mut rng);
        source.revive(now);
        assert!(matches!(source.phase, Phase::GivenUp { .. }));
        source.revive(now + GIVEN_UP_FOR.0);
        assert_eq!(source.phase, Phase::New);
    }

    #[test]
    fn a_source_without_the_file_is_asked_again_within_seconds_and_ever_more_rarely() {
        let (mut now, mut source) = (Instant::START, Source::new(Instant::START));
        let mut waits = Vec::new();
        for _ in 0..6 {
            source.give_up(now);
            let Phase::GivenUp { until } = source.phase else { panic!("{:?}", source.phase) };
            waits.push(until.since(now).as_secs());
            now = until;
            source.revive(now);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn the_rate_follows_what_arrives() {
        let mut rate = Rate::default();
        rate.begin(Instant::START);
        for tenth in 1..=100 {
            rate.add(100_000, Instant::from_micros(tenth * 100_000));
        }
        assert_eq!(rate.get(), Some(1_000_000));
    }
}
