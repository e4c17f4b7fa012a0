//! This node's end of a relay's slot.

use super::control::Granted;
use futures_util::stream::{FuturesUnordered, StreamExt};
use skein_net::relay::EndKey;
use skein_net::relay::frame::SlotNumber;
use skein_net::session::{Binding, Route};
use skein_net::{Endpoint, Way};
use skein_proto::session::{RelayEnd, SlotKey};
use skein_proto::{BoundedVec, NodeId, SignedCredential};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long binding a slot may take: two round trips of the longest path, and one loss.
pub(super) const BIND_PATIENCE: Duration = Duration::from_millis(1_500);

/// How long a tunnel over TCP to a relay may take to open: the handshakes of TCP and TLS, two round
/// trips of the longest path, at the second port that is tried.
const TUNNEL_PATIENCE: Duration = Duration::from_millis(2_000);

/// Addresses of a relay that are tried, all at once: one of IPv4 and one of IPv6. To each go four
/// frames of 40 bytes at most in the time that there is, so that an offer with three relays makes
/// its receiver send less than the offer itself is long, wherever its addresses point.
const MAX_ADDRESSES: usize = 2;

/// This node's end of a slot, bound.
#[derive(Debug)]
pub(super) struct NearEnd {
    pub(super) relay: NodeId,
    pub(super) addresses: BoundedVec<SocketAddr, 4>,
    pub(super) binding: Binding,
    /// What leads to the relay, for as long as the slot is held.
    _way: Way,
    pub(super) rtt: Duration,
    pub(super) load_percent: u8,
    /// What this node has that the far end does not know, where it was granted the slot.
    far: Option<Far>,
}

/// What comes with a slot beside this node's end.
#[derive(Debug)]
struct Far {
    key: SlotKey,
    /// Whose node the relay is.
    credential: Option<Box<SignedCredential>>,
}

impl NearEnd {
    pub(super) fn route(&self) -> Route {
        self.binding.route()
    }

    pub(super) fn slot(&self) -> u64 {
        self.route().number.get()
    }

    /// What the other side is told of it, if this node was granted the slot.
    pub(super) fn for_far_end(&self) -> Option<RelayEnd> {
        Some(RelayEnd {
            relay: self.relay,
            addresses: self.addresses.clone(),
            slot: self.slot(),
            key: self.far.as_ref()?.key,
            rtt_us: micros(self.rtt),
            load_percent: self.load_percent,
        })
    }

    /// Whose node the relay is, if it has shown that to this node.
    pub(super) fn credential(&self) -> Option<&SignedCredential> {
        self.far.as_ref()?.credential.as_deref()
    }

    /// Binds the near end of a slot that was granted to this node.
    pub(super) async fn of_grant(endpoint: &Endpoint, granted: Granted) -> Option<Arc<Self>> {
        let Granted { relay, credential, grant } = granted;
        let [near, far] = grant.keys;
        let end = RelayEnd {
            relay,
            addresses: grant.addresses,
            slot: grant.slot,
            key: near,
            rtt_us: 0,
            load_percent: grant.load_percent,
        };
        bind(endpoint, &end, Some(Far { key: far, credential })).await.map(Arc::new)
    }

    /// Binds the end of a slot that the other side has told of.
    pub(super) async fn of_offer(endpoint: &Endpoint, end: &RelayEnd) -> Option<Arc<Self>> {
        bind(endpoint, end, None).await.map(Arc::new)
    }
}

/// Binds at all addresses at once; the first that answers is the one.
async fn bind(endpoint: &Endpoint, end: &RelayEnd, far: Option<Far>) -> Option<NearEnd> {
    if endpoint.node_id() == end.relay {
        return None;
    }
    // One that this node is connected with is reached where it is connected.
    let linked = endpoint.connection(&end.relay).map(|connection| connection.remote_address());
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in linked.into_iter().chain(end.addresses.iter().copied()) {
        if !address.ip().is_unspecified() && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.truncate(MAX_ADDRESSES);
    let number = SlotNumber::new(end.slot);
    let mut attempts: FuturesUnordered<_> = addresses
        .into_iter()
        .map(|to| {
            let key = EndKey::from_bytes(end.key.0);
            let binding = endpoint.join_slot(Route { to, number }, key);
            async move {
                // Where UDP is blocked, a way there has to be opened first.
                let way =
                    timeout(TUNNEL_PATIENCE, endpoint.prepare(end.relay, to)).await.ok()??;
                let begun = Instant::now();
                binding.bind(BIND_PATIENCE).await.ok()?;
                // A question and its challenge, a proof and its receipt: two round trips.
                Some((binding, way, begun.elapsed() / 2))
            }
        })
        .collect();
    while let Some(attempt) = attempts.next().await {
        if let Some((binding, way, rtt)) = attempt {
            return Some(NearEnd {
                relay: end.relay,
                addresses: end.addresses.clone(),
                binding,
                _way: way,
                rtt,
                load_percent: end.load_percent,
                far,
            });
        }
    }
    None
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
