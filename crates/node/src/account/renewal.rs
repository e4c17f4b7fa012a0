//! When to ask for a fresh credential.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein_proto::UnixTime;
use std::time::Duration;

/// The longest wait before the first renewal of a node that starts with a credential that is due
/// already. After a power cut a whole network starts at once; ten seconds spread 10,000 nodes to
/// 1,000 a second, and nobody waits for them, since the credential still holds.
const START_SPREAD: Duration = Duration::from_secs(10);

/// The wait after the first failure: a service that is restarted is back by then.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// The longest wait between two tries. A third of a day's credential has room for 48 of them,
/// and a service that comes back has all its nodes again within ten minutes.
const LAST_RETRY: Duration = Duration::from_secs(10 * 60);

/// The waits of one node between its renewals. It reads no clock and draws from its own seed, so
/// it can be replayed.
#[derive(Debug)]
pub struct RenewalSchedule {
    random: StdRng,
    failures: u32,
}

impl RenewalSchedule {
    /// Starts with no failure. Nodes must have different seeds: that is what spreads them.
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), failures: 0 }
    }

    /// How long to wait until a credential is to be renewed: until two thirds of its lifetime are
    /// over, give or take a twelfth. So a third of the lifetime is left for an outage of the
    /// login service.
    pub fn due_in(&mut self, issued: UnixTime, expires: UnixTime, now: UnixTime) -> Duration {
        self.failures = 0;
        let lifetime = expires.since(issued);
        let twelfths = self.random.random_range(7.0..=9.0);
        let wait = lifetime.mul_f64(twelfths / 12.0).saturating_sub(now.since(issued));
        if !wait.is_zero() {
            return wait;
        }
        // The remaining time may be short, or over.
        let spread = START_SPREAD.min(expires.since(now) / 4);
        spread.mul_f64(self.random.random_range(0.0..=1.0))
    }

    /// As [`RenewalSchedule::due_in`], for a credential that was just issued. One that is due again
    /// already comes of clocks that disagree; to ask at once would ask without end.
    pub fn after_success(
        &mut self,
        issued: UnixTime,
        expires: UnixTime,
        now: UnixTime,
    ) -> Duration {
        let least = (expires.since(issued) / 12).min(expires.since(now) / 2).max(FIRST_RETRY);
        self.due_in(issued, expires, now).max(least)
    }

    /// How long to wait after a failure: exponential back-off, of which the second half is drawn
    /// at random, so that nodes that failed together come back apart. As a credential runs out,
    /// the tries become as frequent as the rest of its time asks for.
    ///
    /// `at_least` is what the service asked for, if it did.
    pub fn after_failure(
        &mut self,
        expires: UnixTime,
        now: UnixTime,
        at_least: Duration,
    ) -> Duration {
        let mut ceiling = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        let remaining = expires.since(now);
        if !remaining.is_zero() {
            ceiling = ceiling.min((remaining / 4).max(FIRST_RETRY));
        }
        let wait = ceiling.mul_f64(self.random.random_range(0.5..=1.0));
        // Nodes that were all told the same number shall not come back together either.
        if wait < at_least { at_least.saturating_add(wait) } else { wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = UnixTime::DAY;

    fn seconds(range: std::ops::RangeInclusive<u64>) -> std::ops::RangeInclusive<Duration> {
        Duration::from_secs(*range.start())..=Duration::from_secs(*range.end())
    }

    #[test]
    fn a_credential_is_renewed_around_two_thirds_of_its_lifetime() {
        let waits: Vec<_> = (0..200)
            .map(|seed| RenewalSchedule::new(seed).due_in(UnixTime(0), UnixTime(DAY), UnixTime(0)))
            .collect();
        let allowed = seconds(DAY * 7 / 12..=DAY * 9 / 12);
        assert!(waits.iter().all(|wait| allowed.contains(wait)), "{waits:?}");
        let mean = waits.iter().sum::<Duration>() / 200;
        assert!(seconds(DAY * 65 / 100..=DAY * 68 / 100).contains(&mean), "{mean:?}");
    }

    #[test]
    fn nodes_that_were_issued_together_renew_apart() {
        let wait =
            |seed| RenewalSchedule::new(seed).due_in(UnixTime(0), UnixTime(DAY), UnixTime(0));
        assert_ne!(wait(1), wait(2));
        assert_eq!(wait(1), wait(1), "a seed can be replayed");
    }

    #[test]
    fn what_is_overdue_is_renewed_soon_but_not_by_all_at_once() {
        let wait = |seed| {
            RenewalSchedule::new(seed).due_in(UnixTime(0), UnixTime(DAY), UnixTime(DAY * 9 / 10))
        };
        assert!((0..100).all(|seed| wait(seed) <= START_SPREAD));
        assert_ne!(wait(1), wait(2));
        let expired = RenewalSchedule::new(1).due_in(UnixTime(0), UnixTime(10), UnixTime(11));
        assert_eq!(expired, Duration::ZERO);
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_make_renewals_follow_upon_each_other() {
        let mut schedule = RenewalSchedule::new(1);
        for (ahead, least) in [(DAY * 3 / 4, DAY / 12), (DAY - 100, 50), (DAY, 2), (2 * DAY, 2)] {
            let wait = schedule.after_success(UnixTime(0), UnixTime(DAY), UnixTime(ahead));
            assert!(wait >= Duration::from_secs(least), "{wait:?} with {ahead} s ahead");
        }
        let usual = schedule.after_success(UnixTime(0), UnixTime(DAY), UnixTime(0));
        assert!(usual >= Duration::from_secs(DAY * 7 / 12));
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_ten_minutes() {
        let mut schedule = RenewalSchedule::new(1);
        let mut ceiling = FIRST_RETRY;
        for _ in 0..40 {
            let wait = schedule.after_failure(UnixTime(DAY), UnixTime(0), Duration::ZERO);
            assert!((ceiling / 2..=ceiling).contains(&wait), "{wait:?} of {ceiling:?}");
            ceiling = (ceiling * 2).min(LAST_RETRY);
        }
        let _ = schedule.due_in(UnixTime(0), UnixTime(DAY), UnixTime(0));
        let wait = schedule.after_failure(UnixTime(DAY), UnixTime(0), Duration::ZERO);
        assert!(wait <= FIRST_RETRY, "a success starts the count again: {wait:?}");
    }

    #[test]
    fn tries_become_frequent_before_the_end_and_patient_behind_it() {
        let mut schedule = RenewalSchedule::new(1);
        for _ in 0..20 {
            schedule.after_failure(UnixTime(DAY), UnixTime(0), Duration::ZERO);
        }
        let near = schedule.after_failure(UnixTime(40), UnixTime(0), Duration::ZERO);
        assert!(near <= Duration::from_secs(10), "{near:?}");
        let behind = schedule.after_failure(UnixTime(40), UnixTime(41), Duration::ZERO);
        assert!(behind >= LAST_RETRY / 2, "{behind:?}");
    }

    #[test]
    fn the_service_is_left_alone_for_as_long_as_it_asks() {
        let asked = Duration::from_secs(60);
        let wait =
            |seed| RenewalSchedule::new(seed).after_failure(UnixTime(DAY), UnixTime(0), asked);
        assert!((0..100).all(|seed| wait(seed) > asked && wait(seed) <= asked + FIRST_RETRY));
        assert_ne!(wait(1), wait(2));
    }

    proptest! {
        #[test]
        fn no_times_make_it_panic(issued: u64, expires: u64, now: u64, seed: u64) {
            let (issued, expires, now) = (UnixTime(issued), UnixTime(expires), UnixTime(now));
            let mut schedule = RenewalSchedule::new(seed);
            let _ = schedule.due_in(issued, expires, now);
            let _ = schedule.after_failure(expires, now, Duration::ZERO);
        }
    }
}
