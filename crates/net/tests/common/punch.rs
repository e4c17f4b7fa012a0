//! Two peers behind routers of every kind, in virtual time.

use super::{key, on_line};
use skein_net::paths::{Gathered, PathSettings, PathState, Paths, ProbeKey, Side};
use skein_net::relay::RelayLimits;
use skein_net::relay::frame::SlotNumber;
use skein_net::session::{Binding, Route, Session};
use skein_net::simnet::{LinkProfile, NatKind, Network, Realm};
use skein_net::{Connection, Endpoint, EndpointConfig};
use skein_proto::Username;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

pub const KEY: ProbeKey = ProbeKey::from_bytes([42; 32]);
pub const NUMBER: SlotNumber = SlotNumber::new(4_711);

/// Where a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Public,
    Behind(NatKind),
    /// Behind a router behind a router, both port-restricted.
    Double,
}

pub const PLACES: [Place; 7] = [
    Place::Public,
    Place::Behind(NatKind::FullCone),
    Place::Behind(NatKind::AddressRestricted),
    Place::Behind(NatKind::PortRestricted),
    Place::Behind(NatKind::Symmetric),
    Place::Behind(NatKind::SymmetricRandom),
    Place::Double,
];

/// An end of a session, and all that keeps it alive.
pub struct End {
    pub endpoint: Endpoint,
    pub realm: Realm,
    pub session: Arc<Session>,
    pub binding: Binding,
    pub observers: Vec<Connection>,
    pub gathered: Gathered,
    pub paths: Option<Paths>,
}

/// Two peers, a relay, and two that see them.
pub struct Meeting {
    pub network: Network,
    pub relay: Endpoint,
    pub observers: [Endpoint; 2],
    pub ends: [End; 2],
    pub started: Instant,
}

pub fn limits() -> EndpointConfig {
    let rate = u32::MAX;
    let (slot_rate, name_rate, total_rate) = (rate, rate, rate);
    EndpointConfig::default().relay(RelayLimits {
        slot_rate,
        name_rate,
        total_rate,
        ..RelayLimits::default()
    })
}

/// Puts a peer where it shall be.
pub fn place(
    network: &Network,
    which: u8,
    place: Place,
    line: LinkProfile,
    timeout: Duration,
) -> (Endpoint, Realm) {
    let outside: IpAddr = [203, 0, 113, which].into();
    let realm = match place {
        Place::Public => Realm::INTERNET,
        Place::Behind(kind) => network.nat(kind, outside, Realm::INTERNET, timeout),
        Place::Double => {
            let kind = NatKind::PortRestricted;
            let outer = network.nat(kind, outside, Realm::INTERNET, timeout);
            network.nat(kind, [100, 64, which, 2].into(), outer, timeout)
        }
    };
    let ip: IpAddr = match place {
        Place::Public => [198, 51, 100, which].into(),
        _ => [192, 168, which, 2].into(),
    };
    let socket = network.socket_in(realm, SocketAddr::new(ip, 4_701), line).expect("free");
    let endpoint = Endpoint::with_socket(&key(which), socket, EndpointConfig::default());
    (endpoint.expect("an endpoint"), realm)
}

impl Meeting {
    pub async fn new(places: [Place; 2]) -> Self {
        Self::on_lines(places, LinkProfile::default(), Duration::from_secs(60)).await
    }

    pub async fn on_lines(places: [Place; 2], line: LinkProfile, mapping: Duration) -> Self {
        let network = Network::new(5);
        let ends = [1, 2]
            .map(|which| place(&network, which, places[usize::from(which) - 1], line, mapping));
        Self::of(network, ends, line).await
    }

    pub async fn of(network: Network, ends: [(Endpoint, Realm); 2], line: LinkProfile) -> Self {
        let relay = on_line(&network, 9, limits(), line);
        let observers = [7, 8].map(|seed| on_line(&network, seed, limits(), line));
        let name = Username::parse("anna").expect("a name");
        let grant = relay.relay().grant(&name).expect("a slot");
        let route = Route { to: super::address(&relay), number: grant.slot };
        let mut built = Vec::new();
        for ((endpoint, realm), key) in ends.into_iter().zip(grant.keys) {
            let mut connections = Vec::new();
            for observer in &observers {
                let address = [super::address(observer)];
                let dialled = endpoint.connect(observer.node_id(), &address).await;
                connections.push(dialled.expect("everybody reaches who is public"));
            }
            let binding = endpoint.join_slot(route, key);
            binding.bind(Duration::from_secs(5)).await.expect("bound");
            let gathered = endpoint.gather(&connections).await;
            let session = Arc::new(endpoint.open_session());
            assert!(session.listen(route));
            session.send_along(route);
            let observers = connections;
            let paths = None;
            built.push(End { endpoint, realm, session, binding, observers, gathered, paths });
        }
        let started = Instant::now();
        let ends: [End; 2] = built.try_into().ok().expect("two of them");
        Self { network, relay, observers, ends, started }
    }

    /// Both ends begin to look for a direct path.
    pub fn punch(&mut self) {
        self.started = Instant::now();
        let lists = [1, 0].map(|other: usize| self.ends[other].gathered.candidates.clone());
        for ((end, side), theirs) in
            self.ends.iter_mut().zip([Side::Caller, Side::Callee]).zip(lists)
        {
            let settings = PathSettings::new(side, NUMBER, KEY);
            let paths = Paths::start(&end.endpoint, Arc::clone(&end.session), settings);
            paths.relay_over(Some(end.binding.route()));
            paths.meet(theirs);
            end.paths = Some(paths);
        }
    }

    /// The callee says once more where it is.
    pub fn name_again(&self) {
        let candidates = self.ends[1].gathered.candidates.clone();
        self.ends[0].paths.as_ref().expect("started").meet(candidates);
    }

    /// A connection over the session: the caller's end and the callee's.
    pub async fn connect(&self) -> (Connection, Connection) {
        let address = [self.ends[0].session.address()];
        let peer = self.ends[1].endpoint.node_id();
        let dialled = self.ends[0].endpoint.connect(peer, &address).await;
        let accepted = self.ends[1].endpoint.accept().await;
        (dialled.expect("a connection"), accepted.expect("a connection"))
    }

    pub fn state(&self, end: usize) -> PathState {
        self.ends[end].paths.as_ref().expect("started").state()
    }

    /// Waits until an end's state is as wanted; false if it is not within this time.
    pub async fn reaches(
        &self,
        end: usize,
        within: Duration,
        wanted: impl Fn(&PathState) -> bool,
    ) -> bool {
        let mut states = self.ends[end].paths.as_ref().expect("started").watch();
        let deadline = Instant::now() + within;
        timeout_at(deadline, states.wait_for(wanted)).await.is_ok_and(|state| state.is_ok())
    }

    /// Whether both ends send directly within this time.
    pub async fn becomes_direct(&self, within: Duration) -> bool {
        let direct = |state: &PathState| state.direct.is_some();
        self.reaches(0, within, direct).await
            && self.reaches(1, within.saturating_sub(self.started.elapsed()), direct).await
    }
}

/// Sends blocks of 1,000 bytes, checks their hash at the other end, and answers the longest time
/// in which nothing arrived.
pub async fn transfer(from: Connection, to: Connection, blocks: usize) -> Duration {
    let block = |n: usize| vec![u8::try_from(n % 251).expect("less than 251"); 1_000];
    let sending = tokio::spawn(async move {
        let mut stream = from.open_stream().await.expect("a stream");
        for n in 0..blocks {
            stream.sender.send_raw(block(n).into()).await.expect("sent");
        }
        stream.sender.finish().await.expect("finished");
        stream.sender.delivered().await.expect("delivered");
    });
    let mut stream = to.accept_stream().await.expect("a stream");
    let (mut hash, mut received) = (blake3::Hasher::new(), 0);
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while let Some(bytes) = stream.receiver.recv_raw(8_000).await.expect("received") {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        received += bytes.len();
        hash.update(&bytes);
    }
    let mut expected = blake3::Hasher::new();
    (0..blocks).for_each(|n| _ = expected.update(&block(n)));
    assert_eq!((received, hash.finalize()), (blocks * 1_000, expected.finalize()));
    sending.await.expect("sent");
    longest
}
