//! Where this node may be reached: as it was found out last, and each change of it.
//!
//! It is found out for each call, and anew while sessions last: when this machine has other
//! addresses, when the router promises another one, and when a direct path dies or what is sent over
//! a relay has no answer, which may be all that is seen of a router that has begun to map in another
//! way. In a pause nothing is sent, so somebody is asked now and then whether this node is still seen
//! where it was.

mod looks;
mod signs;

use super::direct::told;
use looks::Looks;
use signs::Signs;
use skein_net::paths::{Gathered, Mapping};
use skein_net::{Endpoint, UdpState};
use skein_proto::BoundedVec;
use skein_proto::session::{Candidate, NatKind};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// How long what was gathered is good for. A router forgets a mapping after 30 s at the earliest,
/// and a guess of its next port sooner; a burst of calls asks once.
const FRESH: Duration = Duration::from_secs(10);

/// What is told to the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) candidates: BoundedVec<Candidate, 24>,
    pub(super) nat: NatKind,
}

/// Where this node may be reached.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    found: Mutex<Option<Instant>>,
    /// Held by whoever finds it out for a call.
    looking: tokio::sync::Mutex<()>,
    current: watch::Sender<Own>,
    doubts: Notify,
}

impl Whereabouts {
    /// The kind of router, as far as it is known.
    pub(super) fn nat(&self) -> NatKind {
        self.current.borrow().nat
    }

    /// What was found out last, and each change of it.
    pub(super) fn watch(&self) -> watch::Receiver<Own> {
        self.current.subscribe()
    }

    /// Finds out where this node may be reached, unless that was done lately. It takes a round trip
    /// to its supernodes.
    pub(super) async fn find(&self, endpoint: &Endpoint) -> Own {
        self.find_by(seen(endpoint)).await
    }

    /// Of all who want to know at the same time, one looks.
    async fn find_by(&self, look: impl Future<Output = Own>) -> Own {
        if self.is_old() {
            let _looking = self.looking.lock().await;
            if self.is_old() {
                self.found(look.await);
            }
        }
        self.current.borrow().clone()
    }

    fn is_old(&self) -> bool {
        let found = *self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.is_none_or(|at| at.elapsed() >= FRESH)
    }

    /// What is known may not hold any more.
    pub(super) fn doubt(&self) {
        self.doubts.notify_one();
    }

    /// What was found out a while ago may not hold any more.
    pub(super) fn doubt_what_is_old(&self) {
        if self.is_old() {
            self.doubt();
        }
    }

    /// Finds it out anew whenever something has changed, for as long as it is asked to.
    pub(super) async fn keep_up(&self, endpoint: &Endpoint) {
        let mut network = endpoint.watch_network();
        network.mark_unchanged();
        let mut mapping = endpoint.watch_mapping();
        let (mut looks, mut signs) = (Looks::default(), Signs::new(Instant::now()));
        loop {
            let due = looks.due();
            let its_time = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Ok(()) = network.changed() => self.begin(&mut looks),
                () = changed(&mut mapping) => self.begin(&mut looks),
                () = self.doubts.notified() => self.begin(&mut looks),
                () = its_time => {
                    if self.is_wanted() {
                        self.found(seen(endpoint).await);
                    }
                    looks.looked(Instant::now());
                }
                () = sleep_until(signs.due()) => match self.is_wanted() {
                    true if signs.ask(endpoint, &self.places()).await => self.begin(&mut looks),
                    true => {}
                    false => signs.pass(Instant::now()),
                },
            }
        }
    }

    /// Whether there are sessions. Without them nobody is to be told; the next call finds out for
    /// itself.
    fn is_wanted(&self) -> bool {
        self.current.receiver_count() > 0
    }

    /// Where this node may be reached, as it was found out last.
    fn places(&self) -> Vec<SocketAddr> {
        self.current.borrow().candidates.iter().map(|candidate| candidate.address).collect()
    }

    /// Something has changed.
    fn begin(&self, looks: &mut Looks) {
        self.forget();
        looks.begin(Instant::now());
    }

    fn found(&self, own: Own) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.current.send_if_modified(|known| {
            let changed = *known != own;
            if changed {
                *known = own;
            }
            changed
        });
    }

    fn forget(&self) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

async fn seen(endpoint: &Endpoint) -> Own {
    let gathered = endpoint.gather(&endpoint.connections()).await;
    own(&gathered, endpoint.udp_state())
}

async fn changed<T>(watched: &mut Option<watch::Receiver<T>>) {
    if let Some(receiver) = watched
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

fn own(gathered: &Gathered, udp: UdpState) -> Own {
    let mut candidates: Vec<Candidate> = gathered.candidates.iter().filter_map(told).collect();
    // Who was asked first is left to chance, and no change.
    candidates.sort_by_key(|candidate| candidate.address);
    let nat = match (udp, gathered.mapping) {
        (UdpState::Blocked | UdpState::Off, _) => NatKind::UdpBlocked,
        (_, Mapping::Unknown) => NatKind::Unknown,
        (_, Mapping::None) => NatKind::Public,
        (_, Mapping::EndpointIndependent) => NatKind::Cone,
        (_, Mapping::Dependent { .. }) => NatKind::Symmetric,
    };
    Own { candidates: BoundedVec::truncated(candidates), nat }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use skein_net::EndpointConfig;
    use skein_net::paths::{Candidate as NetCandidate, CandidateKind};
    use skein_net::simnet::{LinkProfile, NatKind as RouterKind, Network, Realm};
    use skein_proto::{KeyPair, NodeId};

    fn gathered(ports: [u16; 2], mapping: Mapping) -> Gathered {
        let candidates = ports.map(|port| NetCandidate {
            address: ([192, 0, 2, 1], port).into(),
            kind: CandidateKind::Observed,
        });
        Gathered { candidates: candidates.to_vec(), mapping }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_calls_asks_once() {
        let (whereabouts, asked) = (Whereabouts::default(), std::cell::Cell::new(0));
        let find = |_| {
            whereabouts.find_by(async {
                asked.set(asked.get() + 1);
                tokio::time::sleep(Duration::from_millis(600)).await;
                Own::default()
            })
        };
        futures_util::future::join_all((0..64).map(find)).await;
        assert_eq!(asked.get(), 1);
    }

    fn endpoint(network: &Network, seed: u8, realm: Realm) -> (NodeId, SocketAddr, Endpoint) {
        let key = KeyPair::from_seed(&[seed; 32]);
        let at = SocketAddr::from(([10, 0, 0, seed], 4701));
        let socket = network.socket_in(realm, at, LinkProfile::default()).expect("free");
        let endpoint = Endpoint::with_socket(&key, socket, EndpointConfig::default());
        (key.node_id(), at, endpoint.expect("an endpoint"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_learns_in_a_pause_that_its_router_maps_it_elsewhere() {
        let network = Network::new(3);
        let outside = [203, 0, 113, 1].into();
        let day = Duration::from_secs(86_400);
        let home = network.nat(RouterKind::FullCone, outside, Realm::INTERNET, day);
        let (supernode, at, accepting) = endpoint(&network, 1, Realm::INTERNET);
        let (_, _, node) = endpoint(&network, 2, home);
        let at = [at];
        let linked = tokio::join!(node.connect(supernode, &at), accepting.accept());
        let _linked = (linked.0.expect("connected"), linked.1.expect("connected"));

        let whereabouts = Whereabouts::default();
        // A session: it sends nothing, and wants to know.
        let mut moves = whereabouts.watch();
        let known = whereabouts.find(&node).await;
        moves.mark_unchanged();
        assert!(known.candidates.iter().any(|one| one.address.ip() == outside), "{known:?}");
        network.forget_mappings(home);
        let moved = tokio::time::timeout(Duration::from_secs(20), moves.changed());
        tokio::select! {
            () = whereabouts.keep_up(&node) => unreachable!("it goes on"),
            moved = moved => moved.expect("it looks by itself").expect("it is there"),
        }
        let seen = whereabouts.places().into_iter().filter(|place| place.ip() == outside);
        let before: Vec<_> = known.candidates.iter().map(|one| one.address).collect();
        assert!(seen.into_iter().any(|place| !before.contains(&place)));
    }

    #[test]
    fn the_order_of_answers_makes_no_difference() {
        let mapping = Mapping::Dependent { step: None };
        let (one, other) = (gathered([1, 2], mapping), gathered([2, 1], mapping));
        assert_eq!(own(&one, UdpState::Works), own(&other, UdpState::Works));
        assert_ne!(own(&one, UdpState::Works), own(&gathered([1, 3], mapping), UdpState::Works));
    }

    #[test]
    fn whoever_has_tcp_only_says_so_whatever_its_router_is_like() {
        let known = gathered([1, 1], Mapping::EndpointIndependent);
        assert_eq!(own(&known, UdpState::Works).nat, NatKind::Cone);
        assert_eq!(own(&known, UdpState::Unknown).nat, NatKind::Cone);
        assert_eq!(own(&known, UdpState::Blocked).nat, NatKind::UdpBlocked);
        assert_eq!(own(&known, UdpState::Off).nat, NatKind::UdpBlocked);
    }
}
