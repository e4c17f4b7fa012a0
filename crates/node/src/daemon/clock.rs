//! What time it is, for the state machines.

use skein_overlay::Now;
use skein_proto::{Instant, UnixTime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The daemon's clock: tokio's for what passes, the system's for the calendar.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    /// What time it is.
    pub fn now(&self) -> Now {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { instant: Instant::from_micros(micros), unix: unix_now() }
    }

    /// When that moment is, on tokio's clock.
    pub fn at(&self, instant: Instant) -> tokio::time::Instant {
        self.start + Duration::from_micros(instant.as_micros())
    }
}

/// The calendar time. A clock before 1970 counts as 1970.
pub fn unix_now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
