//! How often something may happen for each of many: some at once, then one in a while.

use skein_proto::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// A limit for each key, by the generic cell rate algorithm (ITU-T I.371): one moment is kept a
/// key, and a key that could have everything at once again is forgotten.
#[derive(Debug)]
pub(crate) struct Pace<K> {
    burst: u32,
    every: Duration,
    most: usize,
    /// Until when what was granted is not made up for.
    owed: BTreeMap<K, Instant>,
}

impl<K: Ord> Pace<K> {
    /// `burst` at once, then one in `every`, for each of at most `most` keys at a time.
    pub(crate) const fn new(burst: u32, every: Duration, most: usize) -> Self {
        Self { burst, every, most, owed: BTreeMap::new() }
    }

    /// Whether this one may now; if so, it is accounted for.
    pub(crate) fn take(&mut self, key: K, now: Instant) -> bool {
        if !self.owed.contains_key(&key) && self.owed.len() >= self.most {
            self.owed.retain(|_, until| *until > now);
            if self.owed.len() >= self.most {
                return false;
            }
        }
        let until = self.owed.entry(key).or_insert(now);
        let next = (*until).max(now) + self.every;
        let granted = next.since(now) <= self.every * self.burst;
        if granted {
            *until = next;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn some_at_once_and_then_one_in_a_while() {
        let mut pace = Pace::new(3, MINUTE, 10);
        let granted = |pace: &mut Pace<u8>, now| (0..10).filter(|_| pace.take(1, now)).count();
        assert_eq!(granted(&mut pace, Instant::START), 3);
        assert!(pace.take(2, Instant::START), "another one has a limit of its own");
        assert_eq!(granted(&mut pace, Instant::START + MINUTE), 1);
        assert_eq!(granted(&mut pace, Instant::START + MINUTE * 9), 3);
    }

    #[test]
    fn there_are_no_more_keys_than_allowed() {
        let mut pace = Pace::new(1, MINUTE, 2);
        assert!(pace.take(1, Instant::START) && pace.take(2, Instant::START));
        assert!(!pace.take(3, Instant::START));
        assert!(pace.take(3, Instant::START + MINUTE), "the others are forgotten by now");
    }
}
