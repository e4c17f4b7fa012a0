//! How often what others say of this node may have effects.

use std::time::Duration;
use tokio::time::Instant;

/// So many at once, and one more after each pause: the generic cell rate algorithm (ITU-T I.371,
/// virtual scheduling).
#[derive(Debug)]
pub(super) struct Allowance {
    at_once: u32,
    pause: Duration,
    /// When all are there again.
    full_at: Option<Instant>,
}

impl Allowance {
    pub(super) const fn new(at_once: u32, pause: Duration) -> Self {
        Self { at_once, pause, full_at: None }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let there = self.next(now) <= now;
        if there {
            self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + self.pause);
        }
        there
    }

    /// When there is one.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let spent = self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        now + (spent + self.pause).saturating_sub(self.pause * self.at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_what_there_is_at_once_and_then_one_after_each_pause() {
        let minute = Duration::from_secs(60);
        let (mut allowance, start) = (Allowance::new(3, minute), Instant::now());
        assert!((0..3).all(|_| allowance.take(start)));
        assert!(!allowance.take(start));
        assert_eq!(allowance.next(start), start + minute);
        assert!(!allowance.take(start + minute / 2) && allowance.take(start + minute));
        assert!(!allowance.take(start + minute));
        let later = start + minute * 60;
        assert_eq!((0..9).filter(|_| allowance.take(later)).count(), 3);
    }
}
