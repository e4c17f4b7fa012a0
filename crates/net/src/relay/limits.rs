//! What a donor gives: how much of what, changed while the relay runs.

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
    /// 1,000 slots; all of them together a tenth of a home line of 100 Mbit/s up; a slot, and all of
    /// one name, the half of that, which carries a video call (4 Mbit/s): whoever sends as much as he
    /// can leaves the others as much.
    fn default() -> Self {
        Self {
            slots: 1_000,
            slots_per_name: 16,
            slot_rate: 625_000,
            name_rate: 625_000,
            total_rate: 1_250_000,
            idle: Duration::from_secs(120),
        }
    }
}

/// How fast buckets of bytes fill, and how much they hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    bytes_per_second: u64,
    /// How long an empty one takes to be full, in nanoseconds.
    fill: u64,
}

impl Rate {
    /// The rate of a limit, with the burst that goes with it.
    pub(super) fn new(bytes_per_second: u32) -> Self {
        let bytes_per_second = u64::from(bytes_per_second).max(1);
        let in_nanos = u64::try_from(BURST.as_nanos()).unwrap_or(u64::MAX);
        let fill = in_nanos.max(u64::from(LEAST_BURST) * NANOS / bytes_per_second);
        Self { bytes_per_second, fill }
    }
}

const NANOS: u64 = 1_000_000_000;

/// A token bucket of bytes, as one number: when it will be full again, in nanoseconds. Those of
/// many slots share the [`Rate`] and the clock, so that eight bytes are all there is to fetch; what
/// it has gained meanwhile is reckoned when it is looked at. That is the generic cell rate
/// algorithm (ITU-T I.371, virtual scheduling) with cells of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// What the bucket will be when so many bytes have been taken out at `now`; `None` if there are
    /// not as many in it.
    pub(super) fn without(self, bytes: usize, rate: &Rate, now: u64) -> Option<Self> {
        let bytes = u64::try_from(bytes).ok()?;
        // Rounded up, so that what passes is never more than the rate.
        let takes = bytes.checked_mul(NANOS)?.div_ceil(rate.bytes_per_second);
        let full_at = self.full_at.max(now).checked_add(takes)?;
        (full_at - now <= rate.fill).then_some(Self { full_at })
    }

    /// Whether it is as a new one would be.
    pub(super) fn is_full(self, now: u64) -> bool {
        self.full_at <= now
    }
}

/// What a line carries around each datagram: the headers of UDP and IPv6. The donor's rate is that
/// of the line, and many small datagrams must not be cheaper than they are.
const OVERHEAD: usize = 48;

/// What a batch of datagrams of `stride` bytes takes of a line.
pub(super) fn on_the_line(bytes: usize, stride: usize) -> usize {
    bytes + OVERHEAD * bytes.div_ceil(stride.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLISECOND: u64 = 1_000_000;

    fn take(bucket: &mut Bucket, bytes: usize, rate: &Rate, now: u64) -> bool {
        let less = bucket.without(bytes, rate, now);
        *bucket = less.unwrap_or(*bucket);
        less.is_some()
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (mut bucket, rate) = (Bucket::default(), Rate::new(1_000_000));
        let now = 7 * NANOS;
        assert!(take(&mut bucket, 250_000, &rate, now), "a quarter of a second's worth");
        assert!(!take(&mut bucket, 1, &rate, now));
        let later = now + 100 * MILLISECOND;
        assert!(take(&mut bucket, 100_000, &rate, later) && !take(&mut bucket, 1, &rate, later));
    }

    #[test]
    fn small_datagrams_cost_what_the_line_carries_for_them() {
        assert_eq!(on_the_line(1_200, 1_200), 1_248);
        assert_eq!(on_the_line(90, 9), 570);
        assert_eq!(on_the_line(10, 9), 106, "two of them");
    }

    #[test]
    fn a_slow_bucket_still_takes_a_whole_batch() {
        let (mut bucket, rate) = (Bucket::default(), Rate::new(1_000));
        let more_than_it_ever_holds = LEAST_BURST as usize + 1;
        assert!(!take(&mut bucket, more_than_it_ever_holds, &rate, NANOS));
        assert!(take(&mut bucket, 65_536, &rate, NANOS));
    }

    proptest! {
        #[test]
        fn never_does_more_pass_than_burst_and_rate_allow(
            bytes_per_second in 1_u32..,
            batches in proptest::collection::vec((0_u64..50 * MILLISECOND, 1_usize..70_000), 1..200),
        ) {
            let (mut bucket, rate) = (Bucket::default(), Rate::new(bytes_per_second));
            let (mut now, mut passed) = (0, 0_u128);
            for (pause, bytes) in batches {
                now += pause;
                if take(&mut bucket, bytes, &rate, now) {
                    passed += bytes as u128;
                }
                let in_nanos = u128::from(rate.fill + now);
                let allowed = in_nanos * u128::from(bytes_per_second) / u128::from(NANOS);
                prop_assert!(passed <= allowed);
            }
        }
    }
}
