//! Rate limits by address and by name, in bounded memory.

use super::clock::Clock;
use super::config::{Rate, RateLimits};
use super::stats::Counters;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use skein_proto::Username;
use skein_proto::login::LoginRefusal;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many addresses or names one table holds: some 10 MiB for each of the five tables.
const MAX_KEYS: usize = 100_000;

/// How often, at most, a full table is searched for keys that may be forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

type Middleware = NoOpMiddleware<Nanos>;

/// One token bucket for each key. While the table is full of keys that still matter, all share one
/// bucket of the same rate: memory stays bounded, and whoever filled the table gains nothing.
#[derive(Debug)]
struct Table<K: Hash + Eq + Clone> {
    keyed: RateLimiter<K, DashMapStateStore<K>, Clock, Middleware>,
    overflow: RateLimiter<NotKeyed, InMemoryState, Clock, Middleware>,
    clock: Clock,
    max_keys: usize,
    /// The steady clock in milliseconds when the table was last swept.
    swept: AtomicU64,
}

impl<K: Hash + Eq + Clone> Table<K> {
    fn new(rate: Rate, max_keys: usize, clock: &Clock) -> Self {
        // The refill time was checked not to be zero; one nanosecond is as good as no limit.
        let quota = Quota::with_period(rate.refill.max(Duration::from_nanos(1)))
            .unwrap_or_else(|| Quota::per_second(NonZeroU32::MAX))
            .allow_burst(rate.burst);
        Self {
            keyed: RateLimiter::new(quota, DashMapStateStore::default(), clock.clone()),
            overflow: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock: clock.clone(),
            max_keys,
            swept: AtomicU64::new(0),
        }
    }

    /// Takes one token, or says in how many seconds there will be one.
    fn take(&self, key: &K, counters: &Counters) -> Result<(), u32> {
        let verdict = if self.is_full() {
            counters.limit_table_overflows.add();
            self.overflow.check()
        } else {
            self.keyed.check_key(key)
        };
        verdict.map_err(|until| self.seconds_until(&until))
    }

    /// Takes `count` more tokens if there are so many, and none if not.
    fn take_more(&self, key: &K, count: NonZeroU32) {
        if !self.is_full() {
            // The outcome does not matter: an empty bucket is punishment enough.
            let _ = self.keyed.check_key_n(key, count);
        }
    }

    fn is_full(&self) -> bool {
        if self.keyed.len() < self.max_keys {
            return false;
        }
        let now = u64::try_from(self.clock.steady().as_millis()).unwrap_or(u64::MAX);
        let interval = u64::try_from(SWEEP_INTERVAL.as_millis()).unwrap_or(u64::MAX);
        let swept = self.swept.load(Ordering::Relaxed);
        let is_due = swept == 0 || now.saturating_sub(swept) >= interval;
        if is_due
            && self
                .swept
                .compare_exchange(swept, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.keyed.retain_recent();
            self.keyed.shrink_to_fit();
        }
        self.keyed.len() >= self.max_keys
    }

    fn seconds_until(&self, until: &NotUntil<Nanos>) -> u32 {
        let wait = until.wait_time_from(self.clock.now());
        // Rounded up: who comes back at the time given must not be told to wait again.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
    }
}

/// All limits of the service.
#[derive(Debug)]
pub(super) struct Limits {
    requests: Table<IpAddr>,
    registrations: Table<IpAddr>,
    attempts_by_address: Table<IpAddr>,
    attempts_by_name: Table<Username>,
    dial_backs: Table<IpAddr>,
    /// Those to addresses that nobody was seen at. Who names somebody else's must not use up what
    /// that one may have.
    dial_backs_unseen: Table<IpAddr>,
    counters: Arc<Counters>,
}

impl Limits {
    pub(super) fn new(limits: &RateLimits, clock: &Clock, counters: Arc<Counters>) -> Self {
        Self::with_capacity(limits, MAX_KEYS, clock, counters)
    }

    fn with_capacity(
        limits: &RateLimits,
        max_keys: usize,
        clock: &Clock,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            requests: Table::new(limits.requests, max_keys, clock),
            registrations: Table::new(limits.registrations, max_keys, clock),
            attempts_by_address: Table::new(limits.attempts_by_address, max_keys, clock),
            attempts_by_name: Table::new(limits.attempts_by_name, max_keys, clock),
            dial_backs: Table::new(limits.dial_backs, max_keys, clock),
            dial_backs_unseen: Table::new(limits.dial_backs, max_keys, clock),
            counters,
        }
    }

    /// Any request.
    pub(super) fn request(&self, from: IpAddr) -> Result<(), LoginRefusal> {
        let Some(key) = limited(from) else { return Ok(()) };
        self.requests.take(&key, &self.counters).map_err(|retry_secs| {
            self.counters.limited_requests.add();
            LoginRefusal::RateLimited { retry_secs }
        })
    }

    /// A registration.
    pub(super) fn registration(&self, from: IpAddr) -> Result<(), LoginRefusal> {
        let Some(key) = limited(from) else { return Ok(()) };
        self.registrations.take(&key, &self.counters).map_err(|retry_secs| {
            self.counters.limited_registrations.add();
            LoginRefusal::RateLimited { retry_secs }
        })
    }

    /// A dial-back to the address that somebody is seen at.
    pub(super) fn dial_back(&self, to: IpAddr) -> Result<(), LoginRefusal> {
        self.dial_back_by(&self.dial_backs, to)
    }

    /// A dial-back to an address that somebody says is his.
    pub(super) fn dial_back_unseen(&self, to: IpAddr) -> Result<(), LoginRefusal> {
        self.dial_back_by(&self.dial_backs_unseen, to)
    }

    fn dial_back_by(&self, table: &Table<IpAddr>, to: IpAddr) -> Result<(), LoginRefusal> {
        let Some(key) = limited(to) else { return Ok(()) };
        table.take(&key, &self.counters).map_err(|retry_secs| {
            self.counters.limited_dial_backs.add();
            LoginRefusal::RateLimited { retry_secs }
        })
    }

    /// An attempt at a password. It is charged before the password is looked at, so that many
    /// attempts at the same time are no way around the limit.
    pub(super) fn attempt(&self, from: IpAddr, name: &Username) -> Result<(), LoginRefusal> {
        if let Some(key) = limited(from) {
            self.attempts_by_address.take(&key, &self.counters).map_err(|retry_secs| {
                self.counters.limited_attempts_by_address.add();
                LoginRefusal::RateLimited { retry_secs }
            })?;
        }
        self.attempts_by_name.take(name, &self.counters).map_err(|retry_secs| {
            self.counters.limited_attempts_by_name.add();
            LoginRefusal::RateLimited { retry_secs }
        })
    }

    /// The attempt was wrong: it costs the rest of [`RateLimits::WRONG_COSTS`].
    pub(super) fn wrong_password(&self, from: IpAddr, name: &Username) {
        self.counters.wrong_passwords.add();
        let Some(more) = NonZeroU32::new(RateLimits::WRONG_COSTS - 1) else { return };
        if let Some(key) = limited(from) {
            self.attempts_by_address.take_more(&key, more);
        }
        self.attempts_by_name.take_more(name, more);
    }
}

/// The key of an address: an IPv6 /64 is one customer, who owns all of its addresses (RFC 6177).
/// Loopback addresses are not limited, see [`RateLimits`].
fn limited(from: IpAddr) -> Option<IpAddr> {
    let from = from.to_canonical();
    if from.is_loopback() {
        return None;
    }
    Some(match from {
        IpAddr::V4(_) => from,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_proto::UnixTime;

    fn manual_clock() -> (Clock, Arc<AtomicU64>) {
        let seconds = Arc::new(AtomicU64::new(1_000));
        let (unix, steady) = (Arc::clone(&seconds), Arc::clone(&seconds));
        let clock = Clock::new(
            move || UnixTime(unix.load(Ordering::Relaxed)),
            move || Duration::from_secs(steady.load(Ordering::Relaxed)),
        );
        (clock, seconds)
    }

    fn limits(max_keys: usize) -> (Limits, Arc<AtomicU64>) {
        let (clock, seconds) = manual_clock();
        let rate = Rate::new(2, Duration::from_secs(10));
        let rates = RateLimits {
            requests: rate,
            registrations: rate,
            attempts_by_address: Rate::new(1_000, Duration::from_secs(1)),
            attempts_by_name: Rate::new(6, Duration::from_secs(10)),
            ..RateLimits::default()
        };
        (Limits::with_capacity(&rates, max_keys, &clock, Arc::default()), seconds)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn who_waits_as_long_as_told_is_let_in() {
        let (limits, seconds) = limits(100);
        let from = ip("192.0.2.1");
        assert!(limits.request(from).is_ok() && limits.request(from).is_ok());
        let refusal = limits.request(from).expect_err("the burst is used up");
        assert_eq!(refusal, LoginRefusal::RateLimited { retry_secs: 10 });
        seconds.fetch_add(9, Ordering::Relaxed);
        assert!(limits.request(from).is_err());
        seconds.fetch_add(1, Ordering::Relaxed);
        assert!(limits.request(from).is_ok());
        assert!(limits.request(ip("192.0.2.2")).is_ok(), "another address is not concerned");
        assert_eq!(limits.counters.snapshot().limited_requests, 2);
    }

    #[test]
    fn all_addresses_of_a_customer_are_one() {
        let (limits, _) = limits(100);
        assert!(limits.registration(ip("2001:db8:0:1::1")).is_ok());
        assert!(limits.registration(ip("2001:db8:0:1::2")).is_ok());
        assert!(limits.registration(ip("2001:db8:0:1:ffff::3")).is_err());
        assert!(limits.registration(ip("2001:db8:0:2::1")).is_ok());
        assert!(limits.registration(ip("192.0.2.1")).is_ok());
        assert!(limits.registration(ip("::ffff:192.0.2.1")).is_ok());
        assert!(limits.registration(ip("192.0.2.1")).is_err());
    }

    #[test]
    fn wrong_passwords_use_up_the_attempts_of_a_name_five_times_as_fast() {
        let (limits, _) = limits(100);
        let (alice, bob) = (Username::parse("alice"), Username::parse("bob"));
        let (alice, bob) = (alice.expect("a name"), bob.expect("a name"));
        limits.attempt(ip("192.0.2.1"), &alice).expect("the first");
        limits.wrong_password(ip("192.0.2.1"), &alice);
        limits.attempt(ip("192.0.2.2"), &alice).expect("the sixth token");
        assert!(limits.attempt(ip("192.0.2.3"), &alice).is_err());
        assert!(limits.attempt(ip("192.0.2.1"), &bob).is_ok());
        let stats = limits.counters.snapshot();
        assert_eq!((stats.wrong_passwords, stats.limited_attempts_by_name), (1, 1));
    }

    #[test]
    fn attempts_of_an_address_are_limited_whatever_the_names() {
        let (clock, _) = manual_clock();
        let rates = RateLimits {
            attempts_by_address: Rate::new(6, Duration::from_secs(10)),
            ..RateLimits::default()
        };
        let limits = Limits::new(&rates, &clock, Arc::default());
        let attempt = |text| {
            let name = Username::parse(text).expect("a name");
            limits.attempt(ip("192.0.2.1"), &name).map(|()| {
                limits.wrong_password(ip("192.0.2.1"), &name);
            })
        };
        assert!(attempt("alice").is_ok() && attempt("bob").is_ok());
        assert_eq!(attempt("carol"), Err(LoginRefusal::RateLimited { retry_secs: 10 }));
        assert_eq!(limits.counters.snapshot().limited_attempts_by_address, 1);
    }

    #[test]
    fn many_addresses_fill_a_table_and_no_more_than_it() {
        let (limits, seconds) = limits(10);
        let from = |n: u8| IpAddr::from([192, 0, 2, n]);
        let admitted = (0..100).filter(|n| limits.request(from(*n)).is_ok()).count();
        assert_eq!(admitted, 12, "ten with buckets of their own and two by the shared one");
        assert!(limits.requests.keyed.len() <= 10);
        assert!(limits.counters.snapshot().limit_table_overflows > 0);
        seconds.fetch_add(60, Ordering::Relaxed);
        assert!(limits.request(from(200)).is_ok(), "what is forgotten makes room");
        assert!(limits.requests.keyed.len() <= 10);
    }

    #[test]
    fn the_machine_itself_is_not_limited() {
        let (limits, _) = limits(10);
        assert!((0..100).all(|_| limits.request(ip("127.0.0.1")).is_ok()));
        assert!((0..100).all(|_| limits.request(ip("::1")).is_ok()));
    }
}
