//! Sessions by name between whole nodes: over relays that die, and directly.

use super::*;
use crate::api::backend::EventStream;
use crate::api::types::{PingEvent, SessionPath, StartPing};
use crate::sessions::{PathKind, PeerName, PeerSession, SessionError};
use skein_net::simnet::NatKind;
use skein_proto::message::MessageKind;
use skein_proto::session::{NatKind as SeenNat, SessionHello};
use tokio::sync::mpsc;

/// Three supernodes that know each other, and two nodes that are attached to two of them. Time is
/// virtual from then on: how busy the machine is has no part in how sessions go. Before another
/// scene is made it has to be resumed.
pub(super) struct Scene {
    pub(super) network: Network,
    pub(super) supers: Vec<Node>,
    pub(super) alice: Node,
    pub(super) bob: Node,
    /// What the two are behind, in this order, if anything.
    pub(super) homes: Vec<Realm>,
}

/// After so long, in virtual time, all slots that the ends of a new session have named are bound, and
/// it goes over the best of them: a keeper that failed to get one looks again after 5 s.
pub(super) const SETTLED: Duration = Duration::from_secs(10);

impl Scene {
    pub(super) async fn new(reach: Reach) -> Self {
        Self::behind(None, reach).await
    }

    /// The same with the two behind routers of a kind, each behind its own.
    pub(super) async fn behind(router: Option<NatKind>, reach: Reach) -> Self {
        let network = Network::new(9);
        let plans = [1, 2, 3].map(|host| Plan::new(host, RoleSetting::Super));
        let known: Vec<SupernodeEntry> = plans.iter().map(Plan::entry).collect();
        let mut supers = Vec::new();
        for plan in plans {
            supers.push(plan.start(&network, &known).await);
        }
        for node in &supers {
            node.until("linked", |status| {
                status.supernode.as_ref().is_some_and(|own| own.neighbours == 2)
            })
            .await;
        }
        let (mut children, mut homes) = (Vec::new(), Vec::new());
        for host in [11, 12] {
            let mut plan = Plan::new(host, RoleSetting::Ordinary);
            plan.reach = reach;
            let home = router.map(|kind| home(&network, kind, host));
            homes.extend(home);
            let realm = home.unwrap_or(Realm::INTERNET);
            let child = plan.start_in(&network, realm, &known).await;
            child
                .until("attached twice", |status| {
                    status.attachment.parent.is_some() && status.attachment.standby.is_some()
                })
                .await;
            children.push(child);
        }
        let (bob, alice) = (children.pop().unwrap(), children.pop().unwrap());
        let scene = Self { network, supers, alice, bob, homes };
        scene.found().await;
        tokio::time::pause();
        scene
    }

    /// Waits until the directory knows bob.
    async fn found(&self) {
        let name = Username::parse("user12").unwrap();
        let look = async {
            while !self.alice.backend().find(name.clone()).await.is_ok_and(|found| found[0].online)
            {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("bob is found");
    }

    pub(super) async fn ping(&self) -> Pings {
        let ping = StartPing { peer: "@user12".into(), count: None, interval_ms: Some(20) };
        let mut events = self.alice.backend().ping(ping).await.expect("a session");
        let Some(PingEvent::Connected { path, .. }) = events.next().await else {
            panic!("no session");
        };
        Pings { events, path }
    }
}

/// What is behind a router of its own.
pub(super) fn home(network: &Network, kind: NatKind, which: u8) -> Realm {
    let outside = [203, 0, 113, which].into();
    network.nat(kind, outside, Realm::INTERNET, Duration::from_secs(60))
}

pub(super) struct Pings {
    events: EventStream<PingEvent>,
    pub(super) path: SessionPath,
}

impl Pings {
    /// Waits until a ping has been answered while the path is as wanted.
    pub(super) async fn until(&mut self, what: &str, wanted: impl Fn(&SessionPath) -> bool) {
        let wait = async {
            loop {
                match self.events.next().await.expect("pings go on") {
                    PingEvent::Path { path } => self.path = path,
                    PingEvent::Pong { .. } if wanted(&self.path) => return,
                    PingEvent::Pong { .. } | PingEvent::Lost { .. } => {}
                    other => panic!("it is one session throughout: {other:?}"),
                }
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("not {what}: {:?}", self.path);
        }
    }
}

pub(super) fn relay_of(path: &SessionPath) -> Option<NodeId> {
    match path.kind {
        PathKind::Relayed { relay, .. } => Some(relay),
        PathKind::Direct { .. } => None,
    }
}

#[tokio::test]
async fn a_session_of_nodes_that_hide_moves_to_its_reserve_when_the_relay_dies() {
    let scene = Scene::new(Reach::RelayOnly).await;
    let found = scene.alice.backend().find(Username::parse("user12").unwrap()).await.unwrap();
    assert!(found[0].addresses.is_empty(), "{found:?}");
    let mut pings = scene.ping().await;
    pings.until("with a reserve", |path| path.reserve.is_some()).await;
    let sessions = scene.bob.backend().sessions();
    assert_eq!((sessions[0].name.as_str(), sessions[0].called), ("user11", false));

    // Until all that was named is bound, it may go to the nearer one by itself.
    drop(pings);
    tokio::time::sleep(SETTLED).await;
    let mut pings = scene.ping().await;
    let relay = relay_of(&pings.path).expect("a relay");
    let dying = scene.supers.iter().find(|node| node.id() == relay).expect("one of them");
    let cut = tokio::time::Instant::now();
    scene.network.cut(address(dying.plan.host));
    pings.until("over the reserve", |path| relay_of(path).is_some_and(|now| now != relay)).await;
    let took = cut.elapsed();
    eprintln!("a ping was answered over the reserve {took:?} after the relay was cut off");
    assert!(took < Duration::from_secs(1), "a ping was answered {took:?} after the relay was cut");
    let again = |path: &SessionPath| path.reserve.is_some_and(|reserve| reserve != relay);
    pings.until("with a new reserve", again).await;
}

#[tokio::test]
async fn a_session_of_nodes_that_do_not_hide_goes_on_directly() {
    let scene = Scene::new(Reach::Open).await;
    let mut pings = scene.ping().await;
    pings.until("direct", |path| relay_of(path).is_none()).await;
    assert_eq!(pings.path.kind, PathKind::Direct { address: address(12) });
}

#[tokio::test]
async fn all_who_want_a_peer_share_one_session() {
    let scene = Scene::new(Reach::RelayOnly).await;
    let sessions = &scene.alice.daemon.parts.sessions;
    let bob: PeerName = "@user12".parse().unwrap();
    let (one, other) = tokio::join!(sessions.open(&bob), sessions.open(&bob));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!(one.name().as_str(), "user12");
    let back = scene.bob.daemon.parts.sessions.open(&"@user11".parse().unwrap()).await.unwrap();
    assert_eq!(back.node(), scene.alice.id(), "the callee uses it as well");
    assert_eq!(scene.bob.daemon.parts.sessions.all().len(), 1);

    let own = sessions.open(&"@user11".parse().unwrap()).await;
    assert!(matches!(own, Err(SessionError::Own)), "{own:?}");
    let nobody = sessions.open(&"@nobody".parse().unwrap()).await;
    assert!(matches!(nobody, Err(SessionError::Unknown(_))), "{nobody:?}");
}

#[tokio::test]
async fn a_session_with_the_parent_ends_for_want_of_use_and_its_connection_does_not() {
    let scene = Scene::new(Reach::Open).await;
    let status = scene.alice.backend().status().await.unwrap();
    let parent = status.attachment.parent.expect("attached");
    let host = scene.supers.iter().find(|node| node.id() == parent).expect("one of them").plan.host;
    let sessions = &scene.alice.daemon.parts.sessions;
    sessions.keep_unused(Duration::from_millis(200));
    let mut changes = sessions.changes();
    let session = sessions.open(&format!("@user{host}").parse().unwrap()).await.unwrap();
    assert_eq!(session.node(), parent);
    let connection = session.connection().clone();
    drop(session);
    let ended = async { while changes.recv().await.unwrap().live {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("nobody uses it");
    assert!(!connection.is_closed(), "it carries the link to the parent");
    let status = scene.alice.backend().status().await.unwrap();
    assert_eq!(status.attachment.parent.expect("attached"), parent);
    sessions.open(&format!("@user{host}").parse().unwrap()).await.expect("another one");
}

#[tokio::test]
async fn who_introduces_itself_without_end_has_one_session_and_is_slowed_down() {
    let scene = Scene::new(Reach::Open).await;
    let parent = scene.alice.backend().status().await.unwrap().attachment.parent.expect("attached");
    let parent = scene.supers.iter().find(|node| node.id() == parent).expect("one of them");
    let connection = scene.alice.daemon.parts.endpoint.connection(&parent.id()).expect("a link");
    let credential = credential("user11", scene.alice.id());
    let hello = SessionHello { session: None, credential, nat: SeenNat::Public };
    // The shares of names are counted in real time.
    let begun = std::time::Instant::now();
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut stream = connection.open_stream().await.unwrap();
        stream.sender.send(&hello.clone().into()).await.unwrap();
        // It is answered, or dropped.
        let _ = stream.receiver.recv().await;
        held.push(stream);
    }
    let sessions = &parent.daemon.parts.sessions;
    let counts = sessions.counts();
    assert_eq!(sessions.all().len(), 1);
    // Eight at once and one a second; one more for the second that may have begun.
    assert!((1..=9 + begun.elapsed().as_secs()).contains(&counts.begun_direct), "{counts:?}");
    assert_eq!(counts.over_share, 40 - counts.begun_direct, "{counts:?}");
    assert!(!connection.is_closed(), "it carries the link as well");
}

#[tokio::test]
async fn a_session_lasts_no_longer_than_what_the_peer_has_shown() {
    let scene = Scene::new(Reach::RelayOnly).await;
    let bob: PeerName = "@user12".parse().unwrap();
    let ours = scene.alice.daemon.parts.sessions.open(&bob).await.unwrap();
    let accepted = async {
        loop {
            if let Some(theirs) = scene.bob.daemon.parts.sessions.live(&scene.alice.id()) {
                return theirs;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let theirs = tokio::time::timeout(PATIENCE, accepted).await.expect("accepted");
    let first = theirs.expires();

    let (name, node) = (Username::parse("user11").unwrap(), scene.alice.id());
    let (issued, expires) = (clock::unix_now(), UnixTime(first.0 + 60));
    let renewed = Credential { name, node, issued, expires, registered: UnixTime(0) };
    scene.alice.daemon.parts.member.renewed(Signed::new(renewed, &login()));
    let shown = async {
        while theirs.expires() == first {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.expect("the new one is shown");
    assert_eq!(theirs.expires(), expires);
    assert!(!ours.connection().is_closed());

    theirs.expire();
    let closed = tokio::time::timeout(PATIENCE, ours.connection().closed()).await;
    closed.expect("who shows nothing has no session");
}

const PIECE: usize = 10_000;

fn piece(number: usize) -> Vec<u8> {
    vec![u8::try_from(number % 251).unwrap(); PIECE]
}

/// Lets a node take what comes behind a probe; its hash and length are told at the end of it.
fn swallow(node: &Node) -> mpsc::UnboundedReceiver<(usize, blake3::Hash)> {
    let (tell, told) = mpsc::unbounded_channel();
    let take = move |_: Arc<PeerSession>, _: Message, mut stream: Stream| {
        let tell = tell.clone();
        async move {
            let (mut hasher, mut length) = (blake3::Hasher::new(), 0);
            while let Ok(Some(bytes)) = stream.receiver.recv_raw(PIECE).await {
                hasher.update(&bytes);
                length += bytes.len();
            }
            let _ = tell.send((length, hasher.finalize()));
        }
    };
    node.daemon.parts.sessions.on_stream(MessageKind::Probe, take);
    told
}

#[tokio::test]
async fn when_both_ends_move_at_once_they_meet_again_and_no_byte_is_lost() {
    let kind = NatKind::PortRestricted;
    let scene = Scene::behind(Some(kind), Reach::Open).await;
    let mut swallowed = swallow(&scene.bob);
    let mut pings = scene.ping().await;
    pings.until("direct", |path| relay_of(path).is_none()).await;
    let PathKind::Direct { address: before } = pings.path.kind else { panic!("direct") };
    assert_eq!((pings.path.nat_here, pings.path.nat_there), (SeenNat::Cone, SeenNat::Cone));

    let sessions = &scene.alice.daemon.parts.sessions;
    let session = sessions.open(&"@user12".parse().unwrap()).await.unwrap();
    let mut stream = session.connection().open_stream().await.unwrap();
    let (moved, mut may_end) = mpsc::channel::<()>(1);
    let sending = tokio::spawn(async move {
        stream.sender.send(&Probe.into()).await.unwrap();
        let (mut hasher, mut number) = (blake3::Hasher::new(), 0);
        while may_end.try_recv().is_err() {
            hasher.update(&piece(number));
            stream.sender.send_raw(piece(number).into()).await.unwrap();
            number += 1;
            // The relay's rate is the default one; this is far below it.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stream.sender.finish().await.unwrap();
        (number * PIECE, hasher.finalize())
    });
    for (host, which) in [(11, 111), (12, 112)] {
        let elsewhere = home(&scene.network, kind, which);
        scene.network.move_to(address(host), elsewhere, address(which));
    }
    let elsewhere = |path: &SessionPath| match path.kind {
        PathKind::Direct { address } => address.ip() != before.ip(),
        PathKind::Relayed { .. } => false,
    };
    pings.until("direct in the new networks", elsewhere).await;
    moved.send(()).await.unwrap();
    let sent = sending.await.unwrap();
    assert_eq!(swallowed.recv().await, Some(sent));
    assert!(!session.connection().is_closed());
}
