//! How often each of many may do something: a generic cell rate algorithm for each (ITU-T I.371,
//! annex A), which is a token bucket that needs one moment for each.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked at most who has paid, when there are too many: that looks at all of them.
const SWEEP: Duration = Duration::from_secs(1);

/// So many at once, and one more in each interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// At least one.
    pub(crate) burst: u32,
    pub(crate) interval: Duration,
}

/// The rates of all who have done something lately. An entry takes some 60 bytes; who has been
/// silent for long enough is forgotten.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    most: usize,
    /// When everything that somebody has done would have been done at the steady rate.
    paid_until: HashMap<K, Instant>,
    swept: Option<Instant>,
}

impl<K: Eq + Hash + Clone> Rates<K> {
    /// For so many at a time.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, paid_until: HashMap::new(), swept: None }
    }

    /// Whether `who` may do it once more now; if so, it is accounted for. When there are as many as
    /// may be, nobody else may.
    pub(crate) fn admit(&mut self, who: &K, rate: Rate, now: Instant) -> bool {
        if !self.paid_until.contains_key(who) && !self.has_room(now) {
            return false;
        }
        let until = self.paid_until.get(who).map_or(now, |until| (*until).max(now));
        if until.duration_since(now) > rate.interval * rate.burst.saturating_sub(1) {
            return false;
        }
        self.paid_until.insert(who.clone(), until + rate.interval);
        true
    }

    fn has_room(&mut self, now: Instant) -> bool {
        let is_due = self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP);
        if self.paid_until.len() >= self.most && is_due {
            self.swept = Some(now);
            self.paid_until.retain(|_, until| *until > now);
        }
        self.paid_until.len() < self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 8, interval: Duration::from_secs(10) };

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn each_gets_a_burst_and_then_a_trickle() {
        let (mut rates, start) = (Rates::new(10), Instant::now());
        let mut admit = |who: u8, after: u64| rates.admit(&who, RATE, start + secs(after));
        assert_eq!((0..20).filter(|_| admit(1, 0)).count(), 8);
        assert!(!admit(1, 9));
        assert!(admit(1, 10) && !admit(1, 10));
        assert!(admit(2, 10), "each has its own");
        assert_eq!((0..20).filter(|_| admit(1, 10_000)).count(), 8, "it does not save up");
    }

    #[test]
    fn who_has_paid_is_forgotten_and_newcomers_wait_when_there_are_too_many() {
        let (mut rates, start) = (Rates::new(100), Instant::now());
        for who in 0..100 {
            assert!(rates.admit(&who, RATE, start));
        }
        assert!(!rates.admit(&100, RATE, start));
        assert!(rates.admit(&1, RATE, start), "those who are there go on");
        assert!(rates.admit(&100, RATE, start + secs(11)));
        assert_eq!(rates.paid_until.len(), 2, "one has not paid yet, and the newcomer");
    }
}
