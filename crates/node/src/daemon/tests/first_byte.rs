//! How long it takes until two nodes talk over a relay, and what nobody gains by it.

use super::sessions::Scene;
use super::*;
use crate::sessions::{PathKind, PeerName, PeerSession};
use skein_net::session::MIN_FIRST;
use skein_overlay::Input;
use skein_proto::message::{MessageKind, ProbeReply};
use skein_proto::session::{NatKind, Offer, RelayEnd, SessionHello, SessionOffer};
use skein_proto::{NodeId, SessionId};
use tokio::time::{Instant, sleep, timeout};

/// The delay of either node's line. Those of the supernodes have none, so that a packet is as long
/// under way by one of them as by two.
const LINE: Duration = Duration::from_millis(40);

/// From one node over a relay to the other one, and back.
const ROUND_TRIP: Duration = Duration::from_millis(160);

/// tokio's clock counts in milliseconds, and each of the lines on the way rounds up once.
const ALLOWANCE: Duration = Duration::from_millis(10);

fn bob() -> PeerName {
    "@user12".parse().unwrap()
}

/// Two nodes that have nothing but their supernodes between them; the clock stands still from now on
/// unless everybody waits.
async fn relayed_scene() -> Scene {
    let scene = Scene::new(Reach::Open).await;
    let line = |latency| LinkProfile::default().latency(latency);
    for node in &scene.supers {
        scene.network.set_profile(address(node.plan.host), line(Duration::ZERO));
    }
    for node in [&scene.alice, &scene.bob] {
        scene.network.set_profile(address(node.plan.host), line(LINE));
    }
    scene.network.block(address(11), address(12));
    scene.bob.daemon.parts.sessions.on_stream(MessageKind::Probe, answer_probe);
    scene
}

async fn answer_probe(_: Arc<PeerSession>, _: Message, mut stream: Stream) {
    let reply = ProbeReply { role: Role::Ordinary, load: Default::default() };
    stream.sender.send(&reply.into()).await.unwrap();
    stream.sender.finish().await.unwrap();
}

async fn look_up(scene: &Scene) -> Duration {
    let begun = Instant::now();
    let name = Username::parse("user12").unwrap();
    scene.alice.daemon.parts.sessions.look_up(&name).await.expect("bob is known");
    begun.elapsed()
}

/// Sends a byte and waits for one that comes back.
async fn talk(session: &PeerSession) {
    let mut stream = session.connection().open_stream().await.unwrap();
    let reply = stream.request(&Probe.into(), Duration::from_secs(5)).await.expect("an answer");
    assert!(matches!(reply, Some(Message::ProbeReply(_))), "{reply:?}");
}

#[tokio::test]
async fn the_first_byte_goes_after_the_look_up_and_one_round_trip_over_the_relay() {
    let scene = relayed_scene().await;
    let look_up = look_up(&scene).await;
    let begun = Instant::now();
    let session = scene.alice.daemon.parts.sessions.open(&bob()).await.expect("a session");
    let took = begun.elapsed();
    assert!(took <= look_up + ROUND_TRIP + ALLOWANCE, "{took:?}, the look-up {look_up:?}");
    assert!(matches!(session.path_now().kind, PathKind::Relayed { .. }));
    assert_eq!(session.name().as_str(), "user12");

    talk(&session).await;
    let took = begun.elapsed();
    let answered = look_up + 2 * ROUND_TRIP + 2 * ALLOWANCE;
    assert!(took <= answered, "the byte was not held up on its way: {took:?}, {look_up:?}");
    let counts = scene.bob.daemon.parts.sessions.counts();
    assert_eq!((counts.live, counts.no_first_packet, counts.over_share), (1, 0, 0));
}

#[tokio::test]
async fn a_session_comes_about_when_what_the_callee_sends_first_is_lost() {
    let scene = relayed_scene().await;
    let offered = look_up(&scene).await + ROUND_TRIP / 2;
    let line = LinkProfile::default().latency(LINE);
    let losing = async {
        sleep(offered.saturating_sub(ALLOWANCE)).await;
        scene.network.set_profile(address(12), line.loss(1.0));
        sleep(2 * ALLOWANCE).await;
        scene.network.set_profile(address(12), line);
    };
    let begun = Instant::now();
    let bob = bob();
    let (session, ()) = tokio::join!(scene.alice.daemon.parts.sessions.open(&bob), losing);
    assert!(scene.network.stats().lost > 0, "something was lost");
    talk(&session.expect("a session")).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_offer_that_carries_something_else_is_taken_as_one_that_carries_nothing() {
    let scene = relayed_scene().await;
    let sessions = &scene.bob.daemon.parts.sessions;
    // A packet of a connection that bob has, and more zeros than a packet may have.
    for (number, first) in [vec![0x40; MIN_FIRST], vec![0; 10]].into_iter().enumerate() {
        let relays = scene.alice.daemon.parts.sessions.relays_for_an_offer(&scene.bob.id()).await;
        offer_by_hand(&scene, u8::try_from(number).unwrap(), first, relays).await;
        let seen = async {
            while sessions.counts().no_first_packet <= number as u64 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, seen).await.expect("it is counted");
    }
    let session = scene.alice.daemon.parts.sessions.open(&bob()).await.expect("a session");
    talk(&session).await;
}

/// Makes an offer as alice, that carries what nobody should send.
pub(super) async fn offer_by_hand(
    scene: &Scene,
    number: u8,
    first: Vec<u8>,
    relays: BoundedVec<RelayEnd, 3>,
) {
    let key = Home::open(scene.alice.plan.data.path().join("home")).unwrap().node_key().unwrap();
    let (from, to): (NodeId, NodeId) = (scene.alice.id(), scene.bob.id());
    let name = Username::parse("user12").unwrap();
    let sessions = &scene.alice.daemon.parts.sessions;
    let found = sessions.look_up(&name).await.unwrap().remove(0);
    let offer = Offer {
        session: SessionId::from_bytes([number; 16]),
        from,
        to,
        expires: clock::unix_now().plus(Duration::from_secs(50)),
        nat: NatKind::Unknown,
        candidates: BoundedVec::default(),
        relays,
        first: BoundedVec::truncated(first),
    };
    let message = SessionOffer {
        offer: Signed::new(offer, &key),
        credential: credential("user11", from),
        at: found.parent.map_or(to, |parent| parent.node),
    };
    scene.alice.daemon.parts.driver.input(Input::OfferSession(Box::new(message))).await;
}

#[tokio::test]
async fn a_peer_says_who_it_is_once_on_a_connection() {
    let scene = relayed_scene().await;
    let session = scene.alice.daemon.parts.sessions.open(&bob()).await.expect("a session");
    talk(&session).await;
    let hello = SessionHello {
        session: None,
        credential: credential("user11", scene.alice.id()),
        nat: NatKind::Unknown,
    };
    for _ in 0..3 {
        let mut stream = session.connection().open_stream().await.unwrap();
        let answer = stream.request(&hello.clone().into(), PATIENCE).await;
        assert!(!matches!(answer, Ok(Some(_))), "{answer:?}");
    }
    assert_eq!(scene.bob.daemon.parts.sessions.counts().over_share, 3);
    talk(&session).await;
}
