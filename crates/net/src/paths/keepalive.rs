//! How long the routers on a path keep a mapping that nothing passes through.

use std::time::Duration;

/// What every router in use is known to keep. RFC 4787 wants two minutes (REQ-5); 30 s is met
/// often, less hardly ever.
pub(super) const SAFE: Duration = Duration::from_secs(15);

/// More would gain nothing: connections are proven alive more often, and a path that is found dead
/// after minutes is found dead too late.
const LONGEST: Duration = Duration::from_secs(110);

const SHORTEST: Duration = Duration::from_secs(3);

/// Measures on paths that are held ready, never on the one in use: each silence that a mapping
/// survives makes the next one a quarter longer, and one that it does not survive is never waited
/// for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeepAlive {
    interval: Duration,
    /// The shortest silence that a mapping did not survive.
    fatal: Duration,
}

impl KeepAlive {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval: interval.clamp(SHORTEST, LONGEST), fatal: Duration::MAX }
    }

    /// After which silence a path is to be probed.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// The path answered from the same mapping after this silence.
    pub(super) fn survived(&mut self, silence: Duration) {
        if silence >= self.interval {
            // Three quarters of what was fatal: the router's clock may be coarse.
            let most = (self.fatal / 4 * 3).clamp(SHORTEST, LONGEST);
            self.interval = (self.interval * 5 / 4).min(most);
        }
    }

    /// The mapping was gone after this silence.
    pub(super) fn expired(&mut self, silence: Duration) {
        if silence >= SHORTEST {
            self.fatal = self.fatal.min(silence);
            self.interval = self.interval.min(self.fatal / 2).max(SHORTEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets the measure run against a router with this timeout; answers how often a mapping died.
    fn against(timeout: Duration) -> (KeepAlive, u32) {
        let (mut keep, mut deaths) = (KeepAlive::new(SAFE), 0);
        for _ in 0..200 {
            let silence = keep.interval();
            if silence < timeout {
                keep.survived(silence);
            } else {
                keep.expired(silence);
                deaths += 1;
            }
        }
        (keep, deaths)
    }

    #[test]
    fn it_settles_below_what_the_router_keeps_and_finds_out_once() {
        for seconds in [20, 30, 60, 100] {
            let timeout = Duration::from_secs(seconds);
            let (keep, deaths) = against(timeout);
            assert!(keep.interval() < timeout, "{seconds} s: {keep:?}");
            assert!(keep.interval() > timeout / 2, "{seconds} s: {keep:?}");
            assert_eq!(deaths, 1, "{seconds} s");
        }
    }

    #[test]
    fn a_router_that_keeps_less_than_is_safe_is_met_below_that() {
        let (keep, deaths) = against(Duration::from_secs(8));
        assert!(keep.interval() < Duration::from_secs(8));
        assert!(deaths <= 2);
    }

    #[test]
    fn nobody_stays_silent_for_longer_than_makes_sense() {
        let (keep, deaths) = against(Duration::from_secs(3_600));
        assert_eq!((keep.interval(), deaths), (LONGEST, 0));
    }
}
