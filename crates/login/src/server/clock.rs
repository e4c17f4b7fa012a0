//! What time it is, as the service is told.

use governor::clock::Clock as GovernorClock;
use governor::nanos::Nanos;
use skein_proto::UnixTime;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

type UnixFn = dyn Fn() -> UnixTime + Send + Sync;
type SteadyFn = dyn Fn() -> Duration + Send + Sync;

/// Two clocks: the calendar for what is signed and stored, and one that never goes back for rate
/// limits, which an operator who sets the calendar must not upset.
#[derive(Clone)]
pub struct Clock {
    unix: Arc<UnixFn>,
    steady: Arc<SteadyFn>,
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        let start = Instant::now();
        Self::new(
            || {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                UnixTime(since.map_or(0, |since| since.as_secs()))
            },
            move || start.elapsed(),
        )
    }

    /// Clocks of the caller's: the calendar, and the time since any fixed moment.
    pub fn new(
        unix: impl Fn() -> UnixTime + Send + Sync + 'static,
        steady: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self { unix: Arc::new(unix), steady: Arc::new(steady) }
    }

    /// The calendar.
    pub fn unix(&self) -> UnixTime {
        (self.unix)()
    }

    /// The clock that never goes back.
    pub fn steady(&self) -> Duration {
        (self.steady)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

impl GovernorClock for Clock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.steady())
    }
}
