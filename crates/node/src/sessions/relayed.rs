//! This node's end of a relay's slot.

use super::callers::Leave;
use super::control::Granted;
use super::lease::Lease;
use super::{Parts, Sessions};
use futures_util::stream::{FuturesUnordered, StreamExt};
use skein_net::relay::EndKey;
use skein_net::relay::frame::SlotNumber;
use skein_net::session::{Binding, Route};
use skein_net::{Endpoint, Way};
use skein_proto::session::{KeySeal, RelayEnd, SlotKey};
use skein_proto::{BoundedVec, NodeId, SignedCredential};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long binding a slot may take: two round trips of the longest path, and one loss.
pub(super) const BIND_PATIENCE: Duration = Duration::from_millis(1_500);

/// How long a tunnel over TCP to a relay may take to open: the handshakes of TCP and TLS, two round
/// trips of the longest path, at the second port that is tried.
const TUNNEL_PATIENCE: Duration = Duration::from_millis(2_000);

/// Addresses of a relay that are tried, all at once: one of IPv4 and one of IPv6. To each go four
/// frames of 40 bytes at most in the time that there is, and to one of them the answer to the offer's
/// first packet, at most three times as long as that: so a receiver sends no more for an offer,
/// wherever its addresses point, than a QUIC server for a first packet.
const MAX_ADDRESSES: usize = 2;

/// This node's end of a slot.
#[derive(Debug)]
pub(super) struct NearEnd {
    pub(super) relay: NodeId,
    pub(super) addresses: BoundedVec<SocketAddr, 4>,
    pub(super) binding: Binding,
    /// What leads to the relay, for as long as the slot is held.
    way: OnceLock<Way>,
    pub(super) load_percent: u8,
    /// Where this node was granted the slot.
    lease: Option<Arc<Lease>>,
    /// Of what this node adds to sessions that others begin.
    leave: OnceLock<Leave>,
    rtt_us: AtomicU32,
    /// The same as it was the last time that it was bound.
    lately_us: AtomicU32,
}

/// An end of a slot, with the key to it.
struct End {
    relay: NodeId,
    addresses: BoundedVec<SocketAddr, 4>,
    slot: u64,
    key: SlotKey,
    rtt_us: u32,
    load_percent: u8,
}

impl End {
    /// One that the other side has told of.
    fn told(end: &RelayEnd, seal: &KeySeal) -> Self {
        let RelayEnd { relay, ref addresses, slot, ref key, rtt_us, load_percent } = *end;
        let (addresses, key) = (addresses.clone(), seal.open(&relay, slot, key));
        Self { relay, addresses, slot, key, rtt_us, load_percent }
    }
}

impl NearEnd {
    /// An end that the relay does not know of yet.
    fn new(endpoint: &Endpoint, end: &End, to: SocketAddr, lease: Option<Arc<Lease>>) -> Self {
        let route = Route { to, number: SlotNumber::new(end.slot) };
        let rtt = endpoint.connection(&end.relay).map(|linked| linked.rtt());
        // That of the far end is as good a guess as any.
        let rtt_us = rtt.map_or(end.rtt_us, micros);
        Self {
            relay: end.relay,
            addresses: end.addresses.clone(),
            binding: endpoint.join_slot(route, EndKey::from_bytes(end.key.0)),
            load_percent: end.load_percent,
            lease,
            leave: OnceLock::new(),
            way: OnceLock::new(),
            rtt_us: AtomicU32::new(rtt_us),
            lately_us: AtomicU32::new(rtt_us),
        }
    }

    /// Holds this for as long as there is the slot.
    pub(super) fn holds(&self, leave: Leave) {
        // There is one of it.
        let _ = self.leave.set(leave);
    }

    pub(super) fn route(&self) -> Route {
        self.binding.route()
    }

    pub(super) fn slot(&self) -> u64 {
        self.route().number.get()
    }

    /// The round trip to the relay, as it was when the end was bound. Relays are compared by it.
    pub(super) fn rtt(&self) -> Duration {
        Duration::from_micros(self.rtt_us.load(Ordering::Relaxed).into())
    }

    /// The round trip to the relay, as it was when the end was bound last. What waits in a queue on
    /// the way is in it.
    pub(super) fn lately(&self) -> Duration {
        Duration::from_micros(self.lately_us.load(Ordering::Relaxed).into())
    }

    /// Tells the relay again where this end is. Answers whether it lives.
    pub(super) async fn renew(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        let bound = self.binding.bind(patience).await.is_ok();
        if bound {
            // A question and its challenge, a proof and its receipt: two round trips.
            self.lately_us.store(micros(begun.elapsed() / 2), Ordering::Relaxed);
        }
        bound
    }

    /// What the other side is told of it, if this node was granted the slot. `seal` is for that side.
    pub(super) fn for_far_end(&self, seal: &KeySeal) -> Option<RelayEnd> {
        let (relay, slot) = (self.relay, self.slot());
        Some(RelayEnd {
            relay,
            addresses: self.addresses.clone(),
            slot,
            key: seal.seal(&relay, slot, &self.lease.as_ref()?.key),
            rtt_us: self.rtt_us.load(Ordering::Relaxed),
            load_percent: self.load_percent,
        })
    }

    /// Whose node the relay is, if it has shown that to this node.
    pub(super) fn credential(&self) -> Option<&SignedCredential> {
        self.lease.as_ref()?.credential.as_deref()
    }

    /// Makes sure that packets get to the relay. Where UDP is blocked, a way there has to be opened
    /// first.
    pub(super) async fn prepare(&self, endpoint: &Endpoint) -> bool {
        let way = endpoint.prepare(self.relay, self.route().to);
        if let Ok(Some(way)) = timeout(TUNNEL_PATIENCE, way).await {
            // Another one leads there as well, and ends with the last that is held.
            let _ = self.way.set(way);
        }
        self.way.get().is_some()
    }

    /// Tells the relay where this end is, and proves it.
    async fn prove(&self, endpoint: &Endpoint) -> bool {
        if !self.prepare(endpoint).await {
            return false;
        }
        let bound = self.renew(BIND_PATIENCE).await;
        if bound {
            self.rtt_us.store(self.lately_us.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        bound
    }

    /// The near end of a slot that was granted to this node, bound.
    pub(super) async fn of_grant(endpoint: &Endpoint, granted: Granted) -> Option<Arc<Self>> {
        let Granted { relay, grant, lease } = granted;
        let [near, _] = grant.keys;
        let end = End {
            relay,
            addresses: grant.addresses,
            slot: grant.slot,
            key: near,
            rtt_us: 0,
            load_percent: grant.load_percent,
        };
        let lease = Some(Arc::new(lease));
        if grant.bound
            && let Some(linked) = endpoint.connection(&relay)
        {
            let near = Self::new(endpoint, &end, linked.remote_address(), lease);
            near.binding.is_bound_by_grant();
            // That is there already, and is to stay.
            return near.prepare(endpoint).await.then(|| Arc::new(near));
        }
        Ends::new(endpoint, &end, &end.addresses, lease).prove_one(endpoint).await
    }
}

/// This node's end of a slot, at each address where the relay may be.
#[derive(Debug)]
pub(super) struct Ends(Vec<Arc<NearEnd>>);

impl Ends {
    fn new(
        endpoint: &Endpoint,
        end: &End,
        named: &[SocketAddr],
        lease: Option<Arc<Lease>>,
    ) -> Self {
        if endpoint.node_id() == end.relay {
            return Self(Vec::new());
        }
        // One that this node is connected with is reached where it is connected.
        let linked = endpoint.connection(&end.relay).map(|connection| connection.remote_address());
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in linked.into_iter().chain(named.iter().copied()) {
            let is_one = !address.ip().is_unspecified() && !addresses.contains(&address);
            if is_one && addresses.len() < MAX_ADDRESSES && endpoint.has_way_to(address) {
                addresses.push(address);
            }
        }
        let near = |to| Arc::new(NearEnd::new(endpoint, end, to, lease.clone()));
        Self(addresses.into_iter().map(near).collect())
    }

    /// The likeliest of them.
    pub(super) fn first(&self) -> Option<&Arc<NearEnd>> {
        self.0.first()
    }

    /// Binds at all addresses at once; the first that answers is the one.
    pub(super) async fn prove_one(self, endpoint: &Endpoint) -> Option<Arc<NearEnd>> {
        let is_only_one = self.0.len() < 2;
        let prove = async |near: Arc<NearEnd>| near.prove(endpoint).await.then_some(near);
        let mut attempts: FuturesUnordered<_> = self.0.into_iter().map(prove).collect();
        while let Some(attempt) = attempts.next().await {
            if let Some(near) = attempt {
                // Those that come later must not be what the relay goes by.
                drop(attempts);
                if !is_only_one {
                    near.binding.insist();
                }
                return Some(near);
            }
        }
        None
    }
}

impl Sessions {
    /// What keys are sealed with that this node and a peer tell each other. `None` if the peer's id is
    /// no key.
    pub(super) fn seal_for(&self, peer: &NodeId) -> Option<KeySeal> {
        KeySeal::new(&self.inner.parts.key, peer)
    }

    /// This node's end of a slot that the other side has told of. A relay learns where its ends are,
    /// and could be the peer's accomplice, or its own machine: who hides goes to supernodes only
    /// that it knows by itself, and there where it knows them to be.
    pub(super) async fn ends_of(&self, end: &RelayEnd, seal: &KeySeal) -> Ends {
        let Parts { endpoint, hidden, .. } = &self.inner.parts;
        let end = &End::told(end, seal);
        if !hidden {
            return Ends::new(endpoint, end, &end.addresses, None);
        }
        let known = match endpoint.connection(&end.relay) {
            Some(_) => None,
            None => self.inner.control.driver().vouched_supernode(end.relay).await,
        };
        Ends::new(endpoint, end, &known.unwrap_or_default(), None)
    }
}

/// What a path over a relay costs: both round trips, and a quarter more where the relay is as good
/// as full.
pub(super) fn cost(near: Duration, far: Duration, load_percent: u8) -> Duration {
    let sum = near + far;
    sum + sum * u32::from(load_percent.min(100)) / 400
}

pub(super) fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_relays_the_nearer_one_costs_less_unless_it_is_full() {
        let ms = Duration::from_millis;
        assert!(cost(ms(10), ms(20), 0) < cost(ms(20), ms(20), 0));
        assert!(cost(ms(10), ms(25), 100) > cost(ms(20), ms(20), 0));
        assert_eq!(cost(ms(40), ms(40), 100), ms(100));
    }
}
