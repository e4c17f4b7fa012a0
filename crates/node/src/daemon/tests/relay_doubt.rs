//! What a session takes for a sign that its relay works, or does not.

use super::sessions::{Pings, SETTLED, Scene, relay_of};
use super::*;
use crate::api::types::{PingEvent, SessionPath, StartPing};
use skein_net::relay::frame::{Frame, SlotNumber};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The first byte of what relays pass on.
const DATA: u8 = 0x01;

/// Two nodes that hide, and talk over a relay; there is a reserve.
struct Doubted {
    scene: Scene,
    pings: Option<Pings>,
    used: NodeId,
    reserve: NodeId,
    /// Moves when it began.
    before: u64,
}

impl Doubted {
    async fn new() -> Self {
        let scene = Scene::new(Reach::RelayOnly).await;
        let mut pings = scene.ping().await;
        pings.until("with a reserve", |path| path.reserve.is_some()).await;
        // Until all that was named is bound, it may go to the nearer one by itself.
        drop(pings);
        sleep(SETTLED).await;
        let mut pings = scene.ping().await;
        pings.until("with a reserve", |path| path.reserve.is_some()).await;
        let used = relay_of(&pings.path).expect("a relay");
        let reserve = pings.path.reserve.expect("a reserve");
        let before = moves(&scene);
        Self { scene, pings: Some(pings), used, reserve, before }
    }

    /// Nobody pings any more.
    fn quiet(mut self) -> Self {
        self.pings = None;
        self
    }

    fn relay(&self) -> Option<NodeId> {
        let sessions = &self.scene.alice.daemon.parts.sessions;
        let session = sessions.live(&self.scene.bob.id()).expect("a session");
        relay_of(&session.shown(session.path_now()))
    }

    fn at(&self, relay: NodeId) -> SocketAddr {
        let node = self.scene.supers.iter().find(|node| node.id() == relay);
        address(node.expect("one of them").plan.host)
    }

    fn line(&self, relay: NodeId, latency: u64, jitter: u64) {
        let [latency, jitter] = [latency, jitter].map(Duration::from_millis);
        let line = LinkProfile::default().latency(latency).jitter(jitter);
        self.scene.network.set_profile(self.at(relay), line);
    }

    /// A relay passes nothing on from now on, and sends both ends something else instead.
    fn lies(&self, relay: NodeId) -> JoinHandle<()> {
        let at = self.at(relay);
        let sessions = &self.scene.alice.daemon.parts.sessions;
        let slots = sessions.live(&self.scene.bob.id()).expect("a session").slots();
        let slot = slots.iter().find(|(of, _)| *of == relay).expect("a slot").1;
        let junk = Frame::Data { slot: SlotNumber::new(slot), packet: &[0x40] }.encode();
        self.scene.network.mute(at, DATA);
        let network = self.scene.network.clone();
        tokio::spawn(async move {
            loop {
                for end in [11, 12] {
                    network.inject(at, address(end), &junk);
                }
                sleep(Duration::from_millis(20)).await;
            }
        })
    }

    fn moved(&self) -> u64 {
        moves(&self.scene) - self.before
    }

    /// Pings at this pace for a while; none may be lost.
    async fn talk(&self, pace: Duration, times: u32) {
        let interval_ms = Some(u32::try_from(pace.as_millis()).unwrap());
        let ping = StartPing { peer: "@user12".into(), count: Some(times), interval_ms };
        let mut events = self.scene.alice.backend().ping(ping).await.expect("a session");
        while let Some(event) = events.next().await {
            let lost = matches!(event, PingEvent::Lost { .. } | PingEvent::Ended { .. });
            assert!(!lost, "{event:?}");
        }
    }
}

fn moves(scene: &Scene) -> u64 {
    let nodes = [&scene.alice, &scene.bob];
    nodes.map(|node| node.daemon.parts.sessions.counts().moved).iter().sum()
}

#[tokio::test]
async fn a_reserve_pulls_no_session_to_itself_by_what_nobody_can_decrypt() {
    let doubted = Doubted::new().await.quiet();
    doubted.line(doubted.used, 40, 0);
    let lying = doubted.lies(doubted.reserve);
    doubted.talk(Duration::from_secs(2), 10).await;
    assert_eq!(doubted.moved(), 0);
    assert_eq!(doubted.relay(), Some(doubted.used));
    lying.abort();
}

#[tokio::test]
async fn a_relay_that_sends_something_else_instead_of_packets_is_left() {
    let mut doubted = Doubted::new().await;
    let begun = Instant::now();
    let (used, lying) = (doubted.used, doubted.lies(doubted.used));
    let elsewhere = |path: &SessionPath| relay_of(path).is_some_and(|now| now != used);
    doubted.pings.take().expect("pings").until("over the reserve", elsewhere).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    lying.abort();
}

#[tokio::test]
async fn a_relay_that_works_is_kept_whatever_the_pauses_and_however_quick_the_reserve_is() {
    let doubted = Doubted::new().await.quiet();
    // It was much quicker when it was bound.
    doubted.line(doubted.used, 45, 12);
    doubted.line(doubted.reserve, 32, 12);
    doubted.talk(Duration::from_secs(1), 60).await;
    doubted.talk(Duration::from_secs(3), 10).await;
    assert_eq!(doubted.moved(), 0);
    assert_eq!(doubted.relay(), Some(doubted.used));
}

#[tokio::test]
async fn a_slot_that_one_end_has_given_up_is_none_of_the_other_ends() {
    let mut doubted = Doubted::new().await;
    let (alice, bob) = (&doubted.scene.alice, &doubted.scene.bob);
    let slots = |node: &Node, peer: &Node| {
        let session = node.daemon.parts.sessions.live(&peer.id()).expect("a session");
        session.slots()
    };
    let of_reserve = |(relay, _): &&(NodeId, u64)| *relay == doubted.reserve;
    let slot = *slots(alice, bob).iter().find(of_reserve).expect("a slot");
    doubted.scene.network.block(address(11), doubted.at(doubted.reserve));
    let begun = Instant::now();
    // In the pause that begins, the relays are asked whether they live.
    doubted.pings = None;
    while slots(&doubted.scene.alice, &doubted.scene.bob).contains(&slot) {
        assert!(begun.elapsed() < Duration::from_secs(40), "it does not notice");
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_millis(200)).await;
    assert!(!slots(&doubted.scene.bob, &doubted.scene.alice).contains(&slot), "bob was told");
    assert_eq!(doubted.moved(), 0);
}
