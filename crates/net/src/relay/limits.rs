//! What a donor gives: how much of what, changed while the relay runs.

use crate::clock::{Moment, TokioClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::time::Duration;

/// How long a burst may be, in time at the full rate: what a router's queue holds. Less would
/// throttle QUIC, which sends a window at a time, far below its rate.
const BURST: Duration = Duration::from_millis(250);

/// The least burst in bytes: one batch of the socket, which goes through as a whole or not at all.
const LEAST_BURST: u32 = 2 * 65_536;

/// What a relay gives away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayLimits {
    /// Slots at the same time, of all; none at all means that this node does not relay.
    pub slots: u32,
    /// Slots at the same time that one name has asked for.
    pub slots_per_name: u32,
    /// Bytes a second through one slot, both directions together; 48 are added for the headers of
    /// each datagram.
    pub slot_rate: u32,
    /// Bytes a second through the slots that one name has asked for.
    pub name_rate: u32,
    /// Bytes a second in all.
    pub total_rate: u32,
    /// After how long without a packet a slot is taken back.
    pub idle: Duration,
}

impl Default for RelayLimits {
    /// 1,000 slots; a slot carries a video call (4 Mbit/s), or a download at night; all of them
    /// together a tenth of a home line of 100 Mbit/s up.
    fn default() -> Self {
        Self {
            slots: 1_000,
            slots_per_name: 16,
            slot_rate: 1_250_000,
            name_rate: 1_250_000,
            total_rate: 1_250_000,
            idle: Duration::from_secs(120),
        }
    }
}

/// A token bucket of bytes (governor's GCRA).
pub(super) type Bucket = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Moment>>;

/// A full bucket that fills with so many bytes a second.
pub(super) fn bucket(bytes_per_second: u32, clock: TokioClock) -> Bucket {
    let burst = u64::from(bytes_per_second) * u64::try_from(BURST.as_millis()).unwrap_or(0) / 1_000;
    let burst = u32::try_from(burst).unwrap_or(u32::MAX).max(LEAST_BURST);
    let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::per_second(at_least_one(bytes_per_second)).allow_burst(at_least_one(burst));
    Bucket::direct_with_clock(quota, clock)
}

/// What a line carries around each datagram: the headers of UDP and IPv6. The donor's rate is that
/// of the line, and many small datagrams must not be cheaper than they are.
const OVERHEAD: usize = 48;

/// What a batch of datagrams of `stride` bytes takes of a line.
pub(super) fn on_the_line(bytes: usize, stride: usize) -> usize {
    bytes + OVERHEAD * bytes.div_ceil(stride.max(1))
}

/// Whether so many bytes may pass now; if so, they are accounted for.
pub(super) fn take(bucket: &Bucket, bytes: usize) -> bool {
    let Some(bytes) = u32::try_from(bytes).ok().and_then(NonZeroU32::new) else { return false };
    matches!(bucket.check_n(bytes), Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_its_burst_and_then_its_rate() {
        let bucket = bucket(1_000_000, TokioClock::start());
        assert!(take(&bucket, 250_000), "a quarter of a second's worth");
        assert!(!take(&bucket, 1_000));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(take(&bucket, 100_000) && !take(&bucket, 1_000));
    }

    #[test]
    fn small_datagrams_cost_what_the_line_carries_for_them() {
        assert_eq!(on_the_line(1_200, 1_200), 1_248);
        assert_eq!(on_the_line(90, 9), 570);
        assert_eq!(on_the_line(10, 9), 106, "two of them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_bucket_still_takes_a_whole_batch() {
        let bucket = bucket(1_000, TokioClock::start());
        assert!(take(&bucket, 65_536));
        assert!(!take(&bucket, LEAST_BURST as usize + 1), "more than it ever holds");
    }
}
