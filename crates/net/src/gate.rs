//! Which inbound handshakes are begun.
//!
//! A handshake costs this node about 0.7 ms of CPU and 29 KiB; the packet that begins it costs a
//! stranger nothing, and its source address may be forged. So, before anything is spent:
//!
//! 1. there must be room for another connection and another handshake;
//! 2. an address gets a burst of handshakes and then so many a second. Over it, and whenever half
//!    of the handshakes under way are taken, a newcomer must first prove that it receives what is
//!    sent to its address (a Retry packet, RFC 9000, section 8.1.2);
//! 3. an address that is proven has an allowance of its own, so that nobody can use up another's
//!    by forging its address; over that one it is refused.

use crate::clock::{Moment, TokioClock};
use crate::config::Limits;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Addresses whose recent handshakes are remembered, about 100 bytes each. When there are more,
/// those that have their full allowance again are forgotten; if that is not enough, newcomers
/// must prove their address, and those that did are refused.
const MAX_REMEMBERED: usize = 65_536;

/// The least time between two sweeps through the remembered addresses.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What becomes of an inbound attempt.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Go on, holding these places.
    Admit(Admission),
    /// Let it prove its address.
    Retry,
    /// Refuse it, for this reason.
    Refuse(Full),
}

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Rate,
    Pending,
    Connections,
}

/// The places that a handshake, and the connection after it, take.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Given back when the handshake is over.
    pub(crate) handshake: OwnedSemaphorePermit,
    /// Given back when the connection is.
    pub(crate) connection: OwnedSemaphorePermit,
}

/// Decides about inbound handshakes.
#[derive(Debug)]
pub(crate) struct Gate {
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    half: usize,
    allowances: Allowances,
}

/// How many handshakes each address may begin.
#[derive(Debug)]
pub(crate) struct Allowances {
    swept: Mutex<Instant>,
    rate: RateLimiter<Source, DashMapStateStore<Source>, TokioClock, NoOpMiddleware<Moment>>,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(limits.incoming)),
            handshakes: Arc::new(Semaphore::new(limits.pending)),
            half: limits.pending / 2,
            allowances: Allowances::new(limits),
        }
    }

    /// Decides about an attempt from `address`; `proven` if it showed that it receives there.
    pub(crate) fn judge(&self, address: IpAddr, proven: bool) -> Verdict {
        let or_retry = |full| if proven { Verdict::Refuse(full) } else { Verdict::Retry };
        let Ok(connection) = Arc::clone(&self.connections).try_acquire_owned() else {
            // No proof makes room for it.
            return Verdict::Refuse(Full::Connections);
        };
        let Ok(handshake) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            return or_retry(Full::Pending);
        };
        if !proven && self.handshakes.available_permits() < self.half {
            return Verdict::Retry;
        }
        if !self.allowances.take(address, proven) {
            return or_retry(Full::Rate);
        }
        Verdict::Admit(Admission { handshake, connection })
    }
}

impl Allowances {
    pub(crate) fn new(limits: Limits) -> Self {
        let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(limits.per_second))
            .allow_burst(at_least_one(limits.burst));
        Self {
            swept: Mutex::new(Instant::now()),
            rate: RateLimiter::dashmap_with_clock(quota, TokioClock::start()),
        }
    }

    /// Whether an address may begin another one; if so, it is accounted for.
    pub(crate) fn take(&self, address: IpAddr, proven: bool) -> bool {
        if self.rate.len() >= MAX_REMEMBERED {
            self.forget_old();
            if self.rate.len() >= MAX_REMEMBERED {
                return false;
            }
        }
        self.rate.check_key(&Source { prefix: subscriber(address), proven }).is_ok()
    }

    /// Forgets the addresses that have their full allowance again. To look at all of them is work
    /// that strangers must not be able to ask for with every packet.
    fn forget_old(&self) {
        let now = Instant::now();
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(*swept) >= SWEEP_EVERY {
            *swept = now;
            self.rate.retain_recent();
        }
    }
}

/// Who shares an allowance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Source {
    prefix: IpAddr,
    proven: bool,
}

/// Who counts as one: an IPv4 address, or the /64 that one IPv6 subscriber has at least (RFC 6177).
pub(crate) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    fn gate(pending: usize, burst: u32) -> Gate {
        let (incoming, outgoing, dials, accepted) = (100, 1, 1, 1);
        Gate::new(Limits { incoming, outgoing, pending, dials, accepted, burst, per_second: 1 })
    }

    fn v4(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_gets_its_burst_then_its_rate() {
        let gate = gate(100, 3);
        for _ in 0..3 {
            assert!(matches!(gate.judge(v4(1), false), Verdict::Admit(_)));
        }
        assert!(matches!(gate.judge(v4(1), false), Verdict::Retry));
        assert!(matches!(gate.judge(v4(2), false), Verdict::Admit(_)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(matches!(gate.judge(v4(1), false), Verdict::Admit(_)));
        assert!(matches!(gate.judge(v4(1), false), Verdict::Retry));
    }

    #[tokio::test(start_paused = true)]
    async fn forged_attempts_do_not_use_up_the_allowance_of_who_is_proven() {
        let gate = gate(100, 1);
        for _ in 0..50 {
            gate.judge(v4(1), false);
        }
        assert!(matches!(gate.judge(v4(1), true), Verdict::Admit(_)));
        assert!(matches!(gate.judge(v4(1), true), Verdict::Refuse(Full::Rate)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_of_ipv6_is_one_address() {
        let gate = gate(100, 1);
        let of = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(matches!(gate.judge(of("2001:db8:0:1::1"), true), Verdict::Admit(_)));
        assert!(matches!(
            gate.judge(of("2001:db8:0:1:ffff::2"), true),
            Verdict::Refuse(Full::Rate)
        ));
        assert!(matches!(gate.judge(of("2001:db8:0:2::1"), true), Verdict::Admit(_)));
        assert!(matches!(gate.judge(of("::ffff:192.0.2.1"), true), Verdict::Admit(_)));
        assert!(matches!(gate.judge(v4(1), true), Verdict::Refuse(Full::Rate)));
    }

    #[tokio::test(start_paused = true)]
    async fn from_half_of_the_handshakes_on_an_address_must_be_proven() {
        let gate = gate(4, 100);
        let first = [gate.judge(v4(1), false), gate.judge(v4(1), false)];
        assert!(first.iter().all(|verdict| matches!(verdict, Verdict::Admit(_))));
        assert!(matches!(gate.judge(v4(1), false), Verdict::Retry));
        let second = [gate.judge(v4(1), true), gate.judge(v4(1), true)];
        assert!(second.iter().all(|verdict| matches!(verdict, Verdict::Admit(_))));
        assert!(matches!(gate.judge(v4(1), true), Verdict::Refuse(Full::Pending)));
        assert!(matches!(gate.judge(v4(1), false), Verdict::Retry));
        drop(first);
        assert!(matches!(gate.judge(v4(1), true), Verdict::Admit(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded_and_forgotten_in_time() {
        let gate = gate(100, 2);
        let address = |n: usize| IpAddr::from(u32::try_from(n).expect("small").to_be_bytes());
        for n in 0..MAX_REMEMBERED {
            gate.judge(address(n), false);
        }
        assert!(matches!(gate.judge(address(MAX_REMEMBERED), false), Verdict::Retry));
        assert!(matches!(gate.judge(address(0), true), Verdict::Refuse(Full::Rate)));
        assert_eq!(gate.allowances.rate.len(), MAX_REMEMBERED);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(matches!(gate.judge(address(MAX_REMEMBERED), false), Verdict::Admit(_)));
        assert_eq!(gate.allowances.rate.len(), 1);
    }
}
