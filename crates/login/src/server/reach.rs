//! Whether a node can be reached from outside: the service dials it back.
//!
//! The dial comes from a socket that the node never sent to, so that a NAT which lets in only
//! answers is noticed. It goes to the node's own observed address, and to one address of the other
//! version of IP that the node names, and to nothing else. That one may be somebody else's, so it is
//! knocked at no more often than if its owner had asked for it.

use super::clock::Clock;
use super::limits::Limits;
use super::stats::Counters;
use skein_net::is_public;
use skein_proto::{BoundedVec, NodeId};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Addresses of one node.
pub(super) type Addresses = BoundedVec<SocketAddr, 4>;

/// How many dial-backs run at once. Each has a socket and may last for
/// [`super::reach::DIAL_TIMEOUT`].
const MAX_DIALS: usize = 32;

/// How long a dial may take: three round trips of half a second and a lost packet.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a success is believed: ten reports.
const KEEP_REACHED: Duration = Duration::from_secs(10 * 60);

/// How long a failure is believed: less than the time between two reports, so that each report of
/// a node that has mended its firewall is looked into.
const KEEP_FAILED: Duration = Duration::from_secs(30);

/// How many results are kept: some 2 MiB.
const MAX_RESULTS: usize = 10_000;

/// Dials a node back. Behind a trait so that tests can be without sockets.
pub trait DialBack: Send + Sync {
    /// The addresses among `addresses` at which `node` answers with its own key, dialled from a
    /// socket that was never used before.
    fn dial(
        &self,
        node: NodeId,
        addresses: Vec<SocketAddr>,
    ) -> Pin<Box<dyn Future<Output = Vec<SocketAddr>> + Send + '_>>;
}

/// What is known of whether nodes can be reached.
pub(super) struct Reach {
    dialer: Box<dyn DialBack>,
    dials: Semaphore,
    results: Mutex<HashMap<(NodeId, Vec<SocketAddr>), Found>>,
    limits: Arc<Limits>,
    clock: Clock,
    counters: Arc<Counters>,
}

#[derive(Clone, Debug)]
struct Found {
    addresses: Vec<SocketAddr>,
    at: Duration,
}

impl Found {
    fn is_fresh(&self, now: Duration) -> bool {
        let keep = if self.addresses.is_empty() { KEEP_FAILED } else { KEEP_REACHED };
        now.saturating_sub(self.at) < keep
    }
}

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// The node answers at these addresses; at none of them if it cannot be reached.
    At(Addresses),
    /// Too many checks are under way, or were made for this address.
    Busy,
}

impl Reach {
    pub(super) fn new(
        dialer: Box<dyn DialBack>,
        limits: Arc<Limits>,
        clock: Clock,
        counters: Arc<Counters>,
    ) -> Self {
        let (dials, results) = (Semaphore::new(MAX_DIALS), Mutex::default());
        Self { dialer, dials, results, limits, clock, counters }
    }

    /// Where `node`, seen at `observed`, can be reached of the addresses that it says.
    pub(super) async fn check(
        &self,
        node: NodeId,
        observed: IpAddr,
        listen: &Addresses,
    ) -> Reached {
        let own = own_addresses(observed, listen);
        self.counters.foreign_addresses.add_many(listen.len() - own.claimed);
        if own.addresses.is_empty() {
            return Reached::At(Addresses::default());
        }
        let mut dialled = own.addresses;
        dialled.extend(own.other);
        let mut key = (node, dialled.clone());
        let now = self.clock.steady();
        if let Some(found) = self.results().get(&key).filter(|found| found.is_fresh(now)) {
            return Reached::At(Addresses::truncated(found.addresses.iter().copied()));
        }
        // Who names another port each time must not use up the places of all others.
        if self.limits.dial_back(observed).is_err() {
            return Reached::Busy;
        }
        if own.other.is_some_and(|other| self.limits.dial_back_unseen(other.ip()).is_err()) {
            dialled.pop();
            // What is found is of no more than what is dialled.
            key.1.clone_from(&dialled);
            if let Some(found) = self.results().get(&key).filter(|found| found.is_fresh(now)) {
                return Reached::At(Addresses::truncated(found.addresses.iter().copied()));
            }
        }
        let Ok(_permit) = self.dials.try_acquire() else {
            self.counters.dial_backs_over_limit.add();
            return Reached::Busy;
        };
        self.counters.dial_backs.add();
        let mut reached = self.dialer.dial(node, dialled.clone()).await;
        // A dialer that answers with anything else than it was asked for is not believed.
        reached.retain(|address| dialled.contains(address));
        if !reached.is_empty() {
            self.counters.dial_backs_reached.add();
        }
        self.keep(key, Found { addresses: reached.clone(), at: self.clock.steady() });
        Reached::At(Addresses::truncated(reached))
    }

    fn keep(&self, key: (NodeId, Vec<SocketAddr>), found: Found) {
        let mut results = self.results();
        if results.len() >= MAX_RESULTS {
            let now = found.at;
            results.retain(|_, old| old.is_fresh(now));
            if results.len() >= MAX_RESULTS {
                // Forgetting costs a dial-back, remembering costs memory without end.
                results.clear();
            }
        }
        results.insert(key, found);
    }

    fn results(&self) -> MutexGuard<'_, HashMap<(NodeId, Vec<SocketAddr>), Found>> {
        // Each change is one call: what a panicking thread left behind is whole.
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").finish_non_exhaustive()
    }
}

struct Own {
    addresses: Vec<SocketAddr>,
    /// One of the other version of IP, which nobody has observed.
    other: Option<SocketAddr>,
    claimed: usize,
}

/// Of the addresses that a node says it listens on, those that are its own: the observed IP, or
/// an unspecified one, which stands for it; and one that may be.
fn own_addresses(observed: IpAddr, listen: &Addresses) -> Own {
    let observed = observed.to_canonical();
    let mut own = Own { addresses: Vec::new(), other: None, claimed: 0 };
    for address in listen {
        let ip = address.ip().to_canonical();
        if address.port() == 0 {
            continue;
        }
        if !ip.is_unspecified() && ip != observed {
            // Somebody on the inside of this network's router may name what is out there.
            let is_other = ip.is_ipv4() != observed.is_ipv4() && is_public(ip);
            if is_other && own.other.is_none() {
                own.other = Some(SocketAddr::new(ip, address.port()));
                own.claimed += 1;
            }
            continue;
        }
        own.claimed += 1;
        let address = SocketAddr::new(observed, address.port());
        if !own.addresses.contains(&address) {
            own.addresses.push(address);
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::{Rate, RateLimits};
    use skein_proto::UnixTime;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Reaches everything, and remembers what it was asked for.
    struct Everywhere(Arc<Mutex<Vec<Vec<SocketAddr>>>>);

    impl DialBack for Everywhere {
        fn dial(
            &self,
            _: NodeId,
            addresses: Vec<SocketAddr>,
        ) -> Pin<Box<dyn Future<Output = Vec<SocketAddr>> + Send + '_>> {
            self.0.lock().expect("whole").push(addresses.clone());
            Box::pin(std::future::ready(addresses))
        }
    }

    /// Reaches nothing, ever, and does not even come back.
    struct Never;

    impl DialBack for Never {
        fn dial(
            &self,
            _: NodeId,
            _: Vec<SocketAddr>,
        ) -> Pin<Box<dyn Future<Output = Vec<SocketAddr>> + Send + '_>> {
            Box::pin(std::future::pending())
        }
    }

    fn addresses(texts: &[&str]) -> Addresses {
        Addresses::truncated(texts.iter().map(|text| text.parse().expect("an address")))
    }

    fn reach(dialer: impl DialBack + 'static) -> (Reach, Arc<AtomicU64>) {
        let seconds = Arc::new(AtomicU64::new(0));
        let steady = Arc::clone(&seconds);
        let clock =
            Clock::new(|| UnixTime(0), move || Duration::from_secs(steady.load(Ordering::Relaxed)));
        let counters = Arc::<Counters>::default();
        let rates = RateLimits { dial_backs: Rate::new(40, DIAL_TIMEOUT), ..RateLimits::default() };
        let limits = Arc::new(Limits::new(&rates, &clock, Arc::clone(&counters)));
        (Reach::new(Box::new(dialer), limits, clock, counters), seconds)
    }

    const NODE: NodeId = NodeId::from_bytes([1; 32]);

    #[tokio::test]
    async fn only_the_nodes_own_address_is_ever_dialled() {
        let dialled = Arc::default();
        let (reach, _) = reach(Everywhere(Arc::clone(&dialled)));
        let observed = "192.0.2.7".parse().expect("an address");
        let listen = addresses(&["198.51.100.1:53", "0.0.0.0:4701", "[::]:4701", "192.0.2.7:0"]);
        let own = addresses(&["192.0.2.7:4701"]);
        assert_eq!(reach.check(NODE, observed, &listen).await, Reached::At(own.clone()));
        assert_eq!(*dialled.lock().expect("whole"), [own.into_vec()]);
        assert_eq!(reach.counters.snapshot().foreign_addresses, 2);
        let foreign = addresses(&["198.51.100.1:53"]);
        let nowhere = Reached::At(Addresses::default());
        assert_eq!(reach.check(NODE, observed, &foreign).await, nowhere);
        assert_eq!(reach.counters.snapshot().dial_backs, 1);
    }

    #[tokio::test]
    async fn a_success_is_believed_for_a_while() {
        let (reach, seconds) = reach(Everywhere(Arc::default()));
        let (observed, listen) = ("192.0.2.7".parse().expect("an address"), "0.0.0.0:4701");
        let listen = addresses(&[listen]);
        for (second, dials) in [(0, 1), (599, 1), (600, 2)] {
            seconds.store(second, Ordering::Relaxed);
            reach.check(NODE, observed, &listen).await;
            assert_eq!(reach.counters.snapshot().dial_backs, dials, "after {second} s");
        }
    }

    #[tokio::test]
    async fn no_more_dials_are_under_way_than_allowed() {
        let (reach, _) = reach(Never);
        let (observed, listen) = ("192.0.2.7".parse().expect("an address"), "0.0.0.0:4701");
        let listen = addresses(&[listen]);
        let reach = Arc::new(reach);
        let mut dials = tokio::task::JoinSet::new();
        for number in 0..40 {
            let (reach, listen) = (Arc::clone(&reach), listen.clone());
            let node = NodeId::from_bytes([number; 32]);
            dials.spawn(async move { reach.check(node, observed, &listen).await });
        }
        // The dials that were let through never end; the others end at once.
        for _ in 0..40 - MAX_DIALS {
            let refused = dials.join_next().await.expect("one of them").expect("no panic");
            assert_eq!(refused, Reached::Busy);
        }
        assert_eq!(reach.counters.snapshot().dial_backs_over_limit, 8);
    }

    #[tokio::test]
    async fn one_public_address_of_the_other_version_is_dialled_as_well() {
        let dialled = Arc::<Mutex<Vec<_>>>::default();
        let (reach, _) = reach(Everywhere(Arc::clone(&dialled)));
        let (v4, v6) = ("192.0.2.7", "2001:db8::7");
        for (observed, listen, expected) in [
            (
                v4,
                ["[::]:1", "[2001:db8::7]:1", "[2001:db8::8]:1"],
                vec!["192.0.2.7:1", "[2001:db8::7]:1"],
            ),
            (v6, ["[::]:2", "10.0.0.1:2", "192.0.2.7:3"], vec!["[2001:db8::7]:2", "192.0.2.7:3"]),
            (v4, ["[::]:3", "[fd00::1]:3", "[::1]:3"], vec!["192.0.2.7:3"]),
            (v6, ["[::]:4", "127.0.0.1:22", "100.64.0.1:4"], vec!["[2001:db8::7]:4"]),
        ] {
            let observed = observed.parse().expect("an address");
            let expected = addresses(&expected);
            let outcome = reach.check(NODE, observed, &addresses(&listen)).await;
            assert_eq!(outcome, Reached::At(expected.clone()));
            let last = dialled.lock().expect("whole").pop();
            assert_eq!(last.map(Addresses::truncated), Some(expected));
        }
        // Of those that could not be its own.
        assert_eq!(reach.counters.snapshot().foreign_addresses, 6);
    }

    #[tokio::test]
    async fn nobody_has_an_address_knocked_at_without_end_that_may_be_somebody_elses() {
        let (reach, _) = reach(Everywhere(Arc::default()));
        for number in 1..=60 {
            let observed = IpAddr::from([192, 0, 2, number]);
            let listen = addresses(&["0.0.0.0:1", "[2001:db8::7]:1"]);
            let outcome = reach.check(NODE, observed, &listen).await;
            let Reached::At(reached) = outcome else { panic!("its own address is looked at") };
            assert_eq!(reached.len(), if number <= 40 { 2 } else { 1 }, "{number}");
        }
        assert_eq!(reach.counters.snapshot().limited_dial_backs, 20);
    }

    #[tokio::test]
    async fn who_names_another_port_each_time_is_not_dialled_without_end() {
        let (reach, _) = reach(Everywhere(Arc::default()));
        let observed = "192.0.2.7".parse().expect("an address");
        for port in 1..=41 {
            let listen = Addresses::truncated([SocketAddr::from(([0, 0, 0, 0], port))]);
            let outcome = reach.check(NODE, observed, &listen).await;
            assert_eq!(outcome == Reached::Busy, port == 41, "port {port}");
        }
        let stats = reach.counters.snapshot();
        assert_eq!((stats.dial_backs, stats.limited_dial_backs), (40, 1));
    }
}
