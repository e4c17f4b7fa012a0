//! A token bucket: so much at once, so much for each second.

use skein_proto::Instant;

/// One token in the bucket's own unit, so that refilling needs no fractions.
const TOKEN: u64 = 1_000_000;

/// A token bucket. It starts full.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    per_second: u64,
    burst: u64,
    level: u64,
    filled: Instant,
}

impl TokenBucket {
    /// A bucket that holds `burst` tokens and gains `per_second`.
    pub(crate) fn new(per_second: u64, burst: u64, now: Instant) -> Self {
        Self { per_second, burst: burst * TOKEN, level: burst * TOKEN, filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let micros = now.as_micros().saturating_sub(self.filled.as_micros());
        self.filled = self.filled.max(now);
        let gained = micros.saturating_mul(self.per_second);
        self.level = self.level.saturating_add(gained).min(self.burst);
    }

    /// Whether nothing was taken for so long that it is as new.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level == self.burst
    }

    /// Whole tokens in it.
    pub(crate) fn level(&mut self, now: Instant) -> u64 {
        self.fill(now);
        self.level / TOKEN
    }

    /// Takes one token if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.take_many(1, now)
    }

    /// Takes so many tokens if they are all there.
    pub(crate) fn take_many(&mut self, count: u64, now: Instant) -> bool {
        self.fill(now);
        let left = count.checked_mul(TOKEN).and_then(|cost| self.level.checked_sub(cost));
        if let Some(left) = left {
            self.level = left;
        }
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_grants_its_burst_and_then_its_rate() {
        let start = Instant::START;
        let mut bucket = TokenBucket::new(2, 3, start);
        assert_eq!((0..10).filter(|_| bucket.take(start)).count(), 3);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..10).filter(|_| bucket.take(later)).count(), 2);
        let much_later = start + Duration::from_secs(1_000);
        assert_eq!((0..10).filter(|_| bucket.take(much_later)).count(), 3);
    }
}
