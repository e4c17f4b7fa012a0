//! How soon sessions go directly between nodes behind routers of every kind, in virtual time: how
//! busy the machine is has no part in it.

use super::sessions::home;
use super::*;
use crate::sessions::PeerName;
use skein_net::CloseReason;
use skein_net::simnet::NatKind;
use tokio::time::{Instant, sleep, timeout};

/// Within so long of the question a session goes directly wherever a punch can succeed.
const BAR: Duration = Duration::from_secs(2);

/// The delay of each node's line: 160 ms from one to the other and back, which is as far as from one
/// continent to another.
const LINE: Duration = Duration::from_millis(40);

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Public,
    Behind(NatKind),
    /// Behind a router behind a router, both port-restricted.
    Double,
}

const PLACES: [Place; 7] = [
    Place::Public,
    Place::Behind(NatKind::FullCone),
    Place::Behind(NatKind::AddressRestricted),
    Place::Behind(NatKind::PortRestricted),
    Place::Behind(NatKind::Symmetric),
    Place::Behind(NatKind::SymmetricRandom),
    Place::Double,
];

impl Place {
    fn realm(self, network: &Network, which: u8) -> Realm {
        match self {
            Self::Public => Realm::INTERNET,
            Self::Behind(kind) => home(network, kind, which),
            Self::Double => {
                let outer = home(network, NatKind::PortRestricted, which);
                let outside = [100, 64, which, 2].into();
                network.nat(NatKind::PortRestricted, outside, outer, Duration::from_secs(60))
            }
        }
    }

    /// Whether the router takes another port for each destination, which is not where others have
    /// seen the node.
    fn is_symmetric(self) -> bool {
        matches!(self, Self::Behind(NatKind::Symmetric | NatKind::SymmetricRandom))
    }

    /// Whether the router minds the port that packets come from.
    fn minds_ports(self) -> bool {
        self.is_symmetric() || matches!(self, Self::Behind(NatKind::PortRestricted) | Self::Double)
    }

    /// Whether a plain punch can succeed. Where one end has to guess the port of the other it may:
    /// that depends on how many others that one has sent to since it was seen.
    fn can_meet(self, other: Self) -> bool {
        !(self.is_symmetric() && other.minds_ports() || other.is_symmetric() && self.minds_ports())
    }
}

/// A node in each place, attached twice.
async fn row(network: &Network, first: u8, known: &[SupernodeEntry]) -> Vec<(Place, Node)> {
    let mut row = Vec::new();
    for (place, host) in PLACES.into_iter().zip(first..) {
        let realm = place.realm(network, host);
        let node = Plan::new(host, RoleSetting::Ordinary).start_in(network, realm, known).await;
        row.push((place, node));
    }
    for (_, node) in &row {
        node.until("attached twice", |status| {
            status.attachment.parent.is_some() && status.attachment.standby.is_some()
        })
        .await;
    }
    row
}

/// How long it took until there was a session, and until it went directly, if it did soon.
async fn session(caller: &Node, callee: &Node) -> (Duration, Option<Duration>) {
    let begun = Instant::now();
    let peer: PeerName = format!("@user{}", callee.plan.host).parse().unwrap();
    let session = caller.daemon.parts.sessions.open(&peer).await.expect("a session");
    let connected = begun.elapsed();
    let mut path = session.path();
    let direct = timeout(2 * BAR, path.wait_for(|path| path.kind.is_direct())).await;
    let direct = direct.is_ok().then(|| begun.elapsed());
    assert_eq!(direct.is_some(), session.path_now().direct_after.is_some());
    session.connection().close(CloseReason::Done);
    (connected, direct)
}

#[tokio::test]
async fn sessions_go_directly_within_two_seconds_wherever_routers_let_them() {
    let network = Network::new(11);
    let plans = [1, 2, 3].map(|host| Plan::new(host, RoleSetting::Super));
    let known: Vec<SupernodeEntry> = plans.iter().map(Plan::entry).collect();
    let mut supers = Vec::new();
    for plan in plans {
        supers.push(plan.start(&network, &known).await);
    }
    let (callers, callees) = (row(&network, 11, &known).await, row(&network, 21, &known).await);
    for (_, callee) in &callees {
        let name = Username::parse(&format!("user{}", callee.plan.host)).unwrap();
        let asker = callers[0].1.backend();
        let known = async {
            while !asker.find(name.clone()).await.is_ok_and(|found| found[0].online) {
                sleep(Duration::from_millis(200)).await;
            }
        };
        timeout(PATIENCE, known).await.expect("the directory knows all");
    }
    for (_, node) in callers.iter().chain(&callees) {
        network.set_profile(address(node.plan.host), LinkProfile::default().latency(LINE));
    }

    tokio::time::pause();
    let mut late = Vec::new();
    for (one, caller) in &callers {
        for (other, callee) in &callees {
            let (connected, direct) = session(caller, callee).await;
            eprintln!("{one:?} to {other:?}: connected {connected:?}, direct {direct:?}");
            if one.can_meet(*other) && direct.is_none_or(|took| took > BAR) {
                late.push((one, other, direct));
            }
        }
    }
    assert!(late.is_empty(), "{late:#?}");
}
