//! Where this node may be reached: as it was found out last, and each change of it.
//!
//! It is found out for each call, and anew while sessions last: when this machine has other
//! addresses, when the router promises another one, and when a direct path dies or what is sent over
//! a relay has no answer, which may be all that is seen of a router that has begun to map in another
//! way. In a pause nothing is sent, so somebody is asked now and then whether this node is still seen
//! where it was.
//!
//! Those who are asked can say what they like, so they are the supernodes that this node has chosen
//! itself, where there are two; and what changes only by what they say is told to peers a few times
//! at once and then once a minute.

mod allowance;
mod looks;
mod signs;

use super::direct::told;
use crate::daemon::driver::Driver;
use allowance::Allowance;
use looks::Looks;
use signs::Signs;
use skein_net::paths::{Gathered, Mapping, observers};
use skein_net::{Connection, Endpoint, UdpState};
use skein_proto::session::{Candidate, CandidateKind, NatKind};
use skein_proto::{BoundedVec, NodeId};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// How long what was gathered is good for. A router forgets a mapping after 30 s at the earliest,
/// and a guess of its next port sooner; a burst of calls asks once.
const FRESH: Duration = Duration::from_secs(10);

/// How many times at once peers are told of what only others have seen, and how often after that: a
/// router is started again now and then, and one that is behind two lines takes them in turn for a
/// while. Each time is a list to each peer, and some dozen probes from each.
const TOLD_AT_ONCE: u32 = 8;
const TOLD_EACH: Duration = Duration::from_secs(60);

/// Who is linked with this node by its own choice.
pub(super) trait Near {
    /// The supernodes that this node has chosen, those first that it would ask first.
    fn near_supernodes(&self) -> impl Future<Output = Vec<NodeId>> + Send;
}

impl Near for Driver {
    fn near_supernodes(&self) -> impl Future<Output = Vec<NodeId>> + Send {
        self.near_supernodes()
    }
}

/// Where a node asks: its connections, and by whom they are.
#[derive(Debug)]
pub(super) struct Asks<'a, N> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) near: &'a N,
}

impl<N: Near> Asks<'_, N> {
    /// Those over which to ask, the first first.
    async fn observers(&self) -> Vec<Connection> {
        let near = self.near.near_supernodes().await;
        let all = self.endpoint.connections();
        let place = |connection: &Connection| near.iter().position(|it| *it == connection.peer());
        let (mut chosen, mut others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|connection| place(connection).is_some());
        chosen.sort_by_key(place);
        // Whom this node has dialled has not chosen this node.
        others.sort_by_key(|connection| !connection.is_dialler());
        observers(&chosen, &others)
    }

    async fn seen(&self) -> Own {
        let gathered = self.endpoint.gather(&self.observers().await).await;
        own(&gathered, self.endpoint.udp_state())
    }
}

/// What is told to the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) candidates: BoundedVec<Candidate, 24>,
    pub(super) nat: NatKind,
}

impl Own {
    /// Whether this node knows by itself that something is otherwise, rather than by what others say.
    fn differs_by_itself(&self, other: &Self) -> bool {
        let by_itself = |own: &Self| {
            let is_own = |kind| matches!(kind, CandidateKind::Local | CandidateKind::Mapped);
            let all = own.candidates.iter().filter(|candidate| is_own(candidate.kind));
            (own.nat == NatKind::UdpBlocked, all.copied().collect::<Vec<_>>())
        };
        by_itself(self) != by_itself(other)
    }
}

/// Where this node may be reached.
#[derive(Debug)]
pub(super) struct Whereabouts {
    found: Mutex<Option<Instant>>,
    /// Held by whoever finds it out for a call.
    looking: tokio::sync::Mutex<()>,
    current: watch::Sender<Own>,
    doubts: Notify,
    telling: Mutex<Telling>,
    /// Something waits there to be told.
    held_back: Notify,
}

/// How often peers are told of what others have seen.
#[derive(Debug)]
struct Telling {
    allowance: Allowance,
    /// The last that was found out, if there was no allowance for it.
    waits: Option<Own>,
}

impl Default for Whereabouts {
    fn default() -> Self {
        let allowance = Allowance::new(TOLD_AT_ONCE, TOLD_EACH);
        Self {
            found: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            current: watch::Sender::default(),
            doubts: Notify::new(),
            telling: Mutex::new(Telling { allowance, waits: None }),
            held_back: Notify::new(),
        }
    }
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
    pub(super) async fn find(&self, asks: &Asks<'_, impl Near>) -> Own {
        self.find_by(asks.seen()).await
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
    pub(super) async fn keep_up(&self, asks: &Asks<'_, impl Near>) {
        let mut network = asks.endpoint.watch_network();
        network.mark_unchanged();
        let mut mapping = asks.endpoint.watch_mapping();
        let (mut looks, mut signs) = (Looks::default(), Signs::new(Instant::now()));
        loop {
            let its_time = at(looks.due());
            let may_be_told = at(self.may_be_told());
            tokio::select! {
                Ok(()) = network.changed() => self.begin(&mut looks),
                () = changed(&mut mapping) => self.begin(&mut looks),
                () = self.doubts.notified() => self.begin(&mut looks),
                () = its_time => {
                    if self.is_wanted() {
                        self.found(asks.seen().await);
                    }
                    looks.looked(Instant::now());
                }
                // Says only that there is one more time to wait for.
                () = self.held_back.notified() => {}
                () = may_be_told => self.tell_what_waits(),
                () = sleep_until(signs.due()) => match self.is_wanted() {
                    true => {
                        let observers = asks.observers().await;
                        if signs.ask(&observers, &self.places()).await {
                            self.begin(&mut looks);
                        }
                    }
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
        let now = Instant::now();
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        let mut telling = self.telling();
        telling.waits = None;
        let known = self.current.borrow().clone();
        if known == own {
            return;
        }
        if known.differs_by_itself(&own) || telling.allowance.take(now) {
            self.current.send_replace(own);
        } else {
            telling.waits = Some(own);
            self.held_back.notify_one();
        }
    }

    fn telling(&self) -> MutexGuard<'_, Telling> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When what waits may be told; `None` if nothing does.
    fn may_be_told(&self) -> Option<Instant> {
        let telling = self.telling();
        telling.waits.as_ref().map(|_| telling.allowance.next(Instant::now()))
    }

    fn tell_what_waits(&self) {
        let mut telling = self.telling();
        if telling.waits.is_some()
            && telling.allowance.take(Instant::now())
            && let Some(own) = telling.waits.take()
        {
            self.current.send_replace(own);
        }
    }

    fn forget(&self) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Waits until then, or for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
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

    /// A node that has chosen these.
    struct Chosen(Vec<NodeId>);

    impl Near for Chosen {
        fn near_supernodes(&self) -> impl Future<Output = Vec<NodeId>> + Send {
            std::future::ready(self.0.clone())
        }
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
        let asks = Asks { endpoint: &node, near: &Chosen(Vec::new()) };
        // A session: it sends nothing, and wants to know.
        let mut moves = whereabouts.watch();
        let known = whereabouts.find(&asks).await;
        moves.mark_unchanged();
        assert!(known.candidates.iter().any(|one| one.address.ip() == outside), "{known:?}");
        network.forget_mappings(home);
        let moved = tokio::time::timeout(Duration::from_secs(20), moves.changed());
        tokio::select! {
            () = whereabouts.keep_up(&asks) => unreachable!("it goes on"),
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

    fn seen_at(port: u16) -> Own {
        own(&gathered([1, port], Mapping::Unknown), UdpState::Works)
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_say_anew_each_time_is_told_a_few_times_and_then_once_a_minute() {
        let network = Network::new(3);
        let (_, _, node) = endpoint(&network, 2, Realm::INTERNET);
        let whereabouts = Whereabouts::default();
        let mut told = whereabouts.watch();
        let asks = Asks { endpoint: &node, near: &Chosen(Vec::new()) };
        let liar = async {
            for port in 2..=241 {
                whereabouts.found(seen_at(port));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let count = async {
            let (mut times, mut last) = (0, 0);
            while last < 240 {
                told.changed().await.expect("it is there");
                times += 1;
                let own = told.borrow_and_update().clone();
                last = own.candidates.iter().map(|it| it.address.port()).max().unwrap_or(0);
            }
            times
        };
        let times = tokio::select! {
            () = whereabouts.keep_up(&asks) => unreachable!("it goes on"),
            (times, ()) = async { tokio::join!(count, liar) } => times,
        };
        assert_eq!(times, TOLD_AT_ONCE + 4, "in four minutes, and the last one is told as well");
    }

    #[test]
    fn what_this_node_knows_by_itself_is_told_however_often_it_changes() {
        let whereabouts = Whereabouts::default();
        let mut told = whereabouts.watch();
        for port in 1..100 {
            let mut found = gathered([1, port], Mapping::Unknown);
            found.candidates[1].kind = CandidateKind::Local;
            whereabouts.found(own(&found, UdpState::Works));
            assert!(told.has_changed().expect("it is there"));
            told.mark_unchanged();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_are_not_asked_where_two_are_that_the_node_has_chosen() {
        let network = Network::new(3);
        let (_, to, node) = endpoint(&network, 9, Realm::INTERNET);
        let to = [to];
        let (mut ids, mut linked) = (Vec::new(), Vec::new());
        for seed in 1..=6 {
            let (id, at, other) = endpoint(&network, seed, Realm::INTERNET);
            // Half of them have dialled the node.
            let at = [at];
            let (dialler, accepting) = match seed % 2 {
                0 => (node.connect(id, &at), other.accept()),
                _ => (other.connect(node.node_id(), &to), node.accept()),
            };
            let (dialled, accepted) = tokio::join!(dialler, accepting);
            linked.push((other, dialled.expect("connected"), accepted.expect("connected")));
            ids.push(id);
        }
        let asked = async |chosen: &[usize]| -> Vec<NodeId> {
            let near = Chosen(chosen.iter().map(|at| ids[*at]).collect());
            let asks = Asks { endpoint: &node, near: &near };
            asks.observers().await.iter().map(Connection::peer).collect()
        };
        assert_eq!(asked(&[4, 2]).await, [ids[4], ids[2]]);
        let few = asked(&[4]).await;
        assert_eq!((few.len(), few[0]), (4, ids[4]));
        assert!(few[1..].iter().all(|id| [ids[1], ids[3], ids[5]].contains(id)), "dialled first");
    }
}
