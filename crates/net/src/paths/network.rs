//! The network that this machine is in: its addresses, each change of them, and what its router
//! promises.

use super::mapping::{Mapping, TheRouter};
use crate::endpoint::Endpoint;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// How often the addresses of the interfaces are read: one system call of some microseconds, and
/// the same on every system. A path that dies by the change is noticed sooner, by its silence.
const LOOK: Duration = Duration::from_secs(2);

/// What an endpoint knows of the network around it.
#[derive(Debug)]
pub(crate) struct Surroundings {
    bound: SocketAddr,
    addresses: watch::Sender<Vec<IpAddr>>,
    looking: Once,
    mapping: Mutex<Option<Arc<Mapping>>>,
    /// A silence that the routers here survive, as sessions have measured it.
    keep_alive: Mutex<Option<Duration>>,
}

impl Surroundings {
    /// Of a socket that is bound to this address.
    pub(crate) fn new(bound: SocketAddr) -> Self {
        let addresses = watch::Sender::new(Vec::new());
        let looking = Once::new();
        Self { bound, addresses, looking, mapping: Mutex::default(), keep_alive: Mutex::default() }
    }

    fn watch(self: &Arc<Self>) -> watch::Receiver<Vec<IpAddr>> {
        self.looking.call_once(|| {
            self.addresses.send_replace(addresses_of(self.bound));
            if self.bound.ip().is_unspecified() {
                tokio::spawn(look(Arc::downgrade(self)));
            }
        });
        self.addresses.subscribe()
    }

    fn mapping(&self) -> Option<Arc<Mapping>> {
        self.mapping.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the mapping back, as far as the router listens.
    pub(crate) async fn unmap_port(&self) {
        let mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mapping) = mapping {
            mapping.end().await;
        }
    }

    /// A silence that the routers here survive, if a session has measured it.
    pub(crate) fn keep_alive(&self) -> Option<Duration> {
        *self.keep_alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session has measured it.
    pub(crate) fn keeps_alive(&self, silence: Duration) {
        *self.keep_alive.lock().unwrap_or_else(PoisonError::into_inner) = Some(silence);
    }
}

async fn look(surroundings: Weak<Surroundings>) {
    let mut turns = interval(LOOK);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let Some(surroundings) = surroundings.upgrade() else { return };
        let addresses = addresses_of(surroundings.bound);
        let changed = surroundings.addresses.send_if_modified(|known| {
            let changed = *known != addresses;
            if changed {
                tracing::info!(?addresses, "this machine has other addresses than before");
                *known = addresses;
            }
            changed
        });
        if changed {
            *surroundings.keep_alive.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// The addresses that a socket receives at: that which it is bound to, or those of all interfaces
/// but the loopback one.
fn addresses_of(bound: SocketAddr) -> Vec<IpAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound.ip()];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::debug!(%error, "the interfaces of this machine are not known");
        Vec::new()
    });
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(if_addrs::Interface::ip)
        .filter(|ip| ip.is_ipv4() || bound.is_ipv6())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

impl Endpoint {
    /// The addresses that this node's socket receives at: that which it is bound to, or those of
    /// all interfaces but the loopback one.
    pub fn own_addresses(&self) -> Vec<IpAddr> {
        addresses_of(self.surroundings().bound)
    }

    /// The same, and each change of them, noticed within two seconds. All [`Paths`](super::Paths)
    /// of this endpoint hear of it by themselves; whoever keeps a list of candidates gathers anew
    /// and tells the peers. Must be called within a tokio runtime.
    pub fn watch_network(&self) -> watch::Receiver<Vec<IpAddr>> {
        self.surroundings().watch()
    }

    /// A silence after which the routers here are known to remember where to send what comes, as the
    /// sessions of this endpoint have measured it in the network that it is in. `None` if none has.
    pub fn keep_alive(&self) -> Option<Duration> {
        self.surroundings().keep_alive()
    }

    /// Asks the router, by UPnP, NAT-PMP or PCP, to pass on to this node what comes to a port of
    /// its own; the mapping is renewed until the endpoint is closed, and asked for again while there
    /// is none, and of the next router when the node moves. Of a socket that is bound to one address,
    /// nothing is asked. Must be called within a tokio runtime.
    pub fn map_port(&self) {
        let surroundings = self.surroundings();
        let Some(port) = NonZeroU16::new(surroundings.bound.port()) else { return };
        if !surroundings.bound.ip().is_unspecified() {
            return;
        }
        let addresses = surroundings.watch();
        let mut mapping = surroundings.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        mapping.get_or_insert_with(|| Mapping::keep(addresses, move || TheRouter::new(port)));
    }

    /// What the router has promised, once it has, and each change of it; see
    /// [`mapped_address`](Self::mapped_address). `None` if it was not asked.
    pub fn watch_mapping(&self) -> Option<watch::Receiver<Option<SocketAddrV4>>> {
        self.surroundings().mapping().map(|mapping| mapping.watch())
    }

    /// What the router has promised, once it has. `None` if it was not asked.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        let address = *self.watch_mapping()?.borrow();
        address.map(SocketAddr::V4)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_socket_for_all_addresses_has_none_that_nobody_else_can_reach() {
        assert_eq!(addresses_of("127.0.0.1:1".parse().unwrap()).len(), 1);
        for bound in ["[::]:1", "0.0.0.0:1"] {
            let addresses = addresses_of(bound.parse().unwrap());
            assert!(addresses.iter().all(|ip| !ip.is_loopback() && !ip.is_unspecified()));
        }
        let of_v4 = addresses_of("0.0.0.0:1".parse().unwrap());
        assert!(of_v4.iter().all(IpAddr::is_ipv4));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_looks_any_more_when_the_endpoint_is_gone() {
        let surroundings = Arc::new(Surroundings::new("0.0.0.0:1".parse().unwrap()));
        let mut seen = surroundings.watch();
        drop(surroundings);
        assert!(seen.changed().await.is_err());
    }
}
