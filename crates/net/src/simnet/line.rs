//! Lines between sockets and the middle of the network: delay, loss, rate and queue.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use std::time::Duration;
use tokio::time::Instant;

/// What a line between a socket and the middle of the network is like, in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkProfile {
    latency: Duration,
    jitter: Duration,
    loss: f64,
    bytes_per_second: Option<u64>,
    queue: Duration,
}

impl Default for LinkProfile {
    /// A line without loss or limit and with a delay of 5 ms: two of them make a round trip of
    /// 20 ms.
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss: 0.0,
            bytes_per_second: None,
            queue: Duration::from_millis(100),
        }
    }
}

impl LinkProfile {
    /// The delay in one direction. tokio's clock counts in milliseconds.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The most by which the delay of a datagram is longer; each draws its own, so they overtake
    /// each other.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// The share of datagrams that get lost in one direction, from 0 to 1.
    #[must_use]
    pub fn loss(mut self, share: f64) -> Self {
        self.loss = share.clamp(0.0, 1.0);
        self
    }

    /// The bytes a second that pass in one direction.
    #[must_use]
    pub fn rate(mut self, bytes_per_second: u64) -> Self {
        self.bytes_per_second = Some(bytes_per_second.max(1));
        self
    }

    /// How long a datagram may wait for its turn on a line with a rate (default 100 ms); one that
    /// would wait longer is lost.
    #[must_use]
    pub fn queue(mut self, longest_wait: Duration) -> Self {
        self.queue = longest_wait;
        self
    }
}

/// One direction of a line: busy with what was sent before until then.
#[derive(Debug, Default)]
pub(super) struct Lane {
    free_at: Option<Instant>,
}

/// Why a datagram does not pass a lane.
pub(super) enum Loss {
    Chance,
    Overflow,
}

impl Lane {
    /// When a datagram that reaches this lane at `at` leaves it at the other end.
    pub(super) fn pass(
        &mut self,
        profile: &LinkProfile,
        random: &mut Xoshiro256PlusPlus,
        at: Instant,
        bytes: usize,
    ) -> Result<Instant, Loss> {
        if profile.loss > 0.0 && random.random_bool(profile.loss) {
            return Err(Loss::Chance);
        }
        let mut leaves = at;
        if let Some(rate) = profile.bytes_per_second {
            let begins = self.free_at.map_or(at, |free| free.max(at));
            if begins.saturating_duration_since(at) > profile.queue {
                return Err(Loss::Overflow);
            }
            leaves = begins + Duration::from_secs_f64(bytes as f64 / rate as f64);
            self.free_at = Some(leaves);
        }
        let jitter = match profile.jitter {
            Duration::ZERO => Duration::ZERO,
            most => most.mul_f64(random.random()),
        };
        Ok(leaves + profile.latency + jitter)
    }
}
