//! The relay of a session dies in the middle of transfers: how long nothing comes.

use super::sessions::{SETTLED, Scene, relay_of};
use super::*;
use crate::sessions::{PeerName, PeerSession};
use skein_proto::message::MessageKind;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Within so long of a relay's death, data flows again.
pub(super) const BAR: Duration = Duration::from_secs(1);

const PIECE: usize = 10_000;

/// A stream of pieces from one node to another.
struct Flow {
    arrivals: mpsc::UnboundedReceiver<(Instant, usize)>,
    sending: JoinHandle<usize>,
    enough: CancellationToken,
}

impl Flow {
    /// Sends as fast as it goes, or a piece each `pace`.
    async fn start(from: &Node, to: &Node, pace: Option<Duration>) -> Self {
        let (tell, arrivals) = mpsc::unbounded_channel();
        let take = move |_: Arc<PeerSession>, _: Message, mut stream: Stream| {
            let tell = tell.clone();
            async move {
                while let Ok(Some(bytes)) = stream.receiver.recv_raw(PIECE).await {
                    let _ = tell.send((Instant::now(), bytes.len()));
                }
            }
        };
        to.daemon.parts.sessions.on_stream(MessageKind::Probe, take);
        let peer: PeerName = format!("@user{}", to.plan.host).parse().unwrap();
        let session = from.daemon.parts.sessions.open(&peer).await.unwrap();
        let enough = CancellationToken::new();
        let ended = enough.clone();
        let sending = tokio::spawn(async move {
            let mut stream = session.connection().open_stream().await.unwrap();
            stream.sender.send(&Probe.into()).await.unwrap();
            let mut sent = 0;
            while !ended.is_cancelled() {
                stream.sender.send_raw(vec![7; PIECE].into()).await.unwrap();
                sent += PIECE;
                if let Some(pace) = pace {
                    sleep(pace).await;
                }
            }
            stream.sender.finish().await.unwrap();
            sent
        });
        Self { arrivals, sending, enough }
    }

    /// The longest time without an arrival, from `start` to now.
    fn longest_silence(&mut self, start: Instant, received: &mut usize) -> Duration {
        let (mut last, mut longest) = (start, Duration::ZERO);
        while let Ok((at, length)) = self.arrivals.try_recv() {
            *received += length;
            longest = longest.max(at.saturating_duration_since(last));
            last = last.max(at);
        }
        longest.max(last.elapsed())
    }
}

/// Waits for a second in which all of them flow without a pause. What is lost while two transfers
/// find out what the line takes holds up either of them now and then.
async fn until_they_flow(flows: &mut [Flow], received: &mut [usize]) {
    let flowing = async {
        loop {
            let begun = Instant::now();
            sleep(BAR).await;
            let silences = flows.iter_mut().zip(&mut *received);
            let longest = silences.map(|(flow, received)| flow.longest_silence(begun, received));
            if longest.max().is_some_and(|silence| silence < BAR / 4) {
                return;
            }
        }
    };
    timeout(10 * BAR, flowing).await.expect("they flow as they should");
}

/// Who sends in a trial, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flows {
    pub(super) to_bob: bool,
    pub(super) to_alice: bool,
    pub(super) pace: Option<Duration>,
}

/// Does something to the relay of a session of two nodes that hide, in the middle of these flows, and
/// answers for each how long nothing came, and whether the session goes over another relay then.
pub(super) async fn silences(
    scene: &Scene,
    flows: Flows,
    harm: impl FnOnce(&Scene, &Node),
) -> (Vec<Duration>, bool) {
    let Flows { to_bob, to_alice, pace } = flows;
    // The relay lets through no more than one of them.
    let line = LinkProfile::default().rate(1_000_000);
    for host in [11, 12] {
        scene.network.set_profile(address(host), line);
    }
    let mut pings = scene.ping().await;
    pings.until("with a reserve", |path| path.reserve.is_some()).await;
    drop(pings);
    sleep(SETTLED).await;

    let mut flows = Vec::new();
    if to_bob {
        flows.push(Flow::start(&scene.alice, &scene.bob, pace).await);
    }
    if to_alice {
        flows.push(Flow::start(&scene.bob, &scene.alice, pace).await);
    }
    let mut received = vec![0; flows.len()];
    until_they_flow(&mut flows, &mut received).await;
    let session = scene.alice.daemon.parts.sessions.live(&scene.bob.id()).expect("a session");
    let relay = relay_of(&session.shown(session.path_now())).expect("a relay");
    let harmed = scene.supers.iter().find(|node| node.id() == relay).expect("one of them");
    let then = Instant::now();
    harm(scene, harmed);
    sleep(4 * BAR).await;
    let after = flows.iter_mut().zip(&mut received);
    let silences = after.map(|(flow, received)| flow.longest_silence(then, received)).collect();
    for (mut flow, mut received) in flows.into_iter().zip(received) {
        flow.enough.cancel();
        let sent = flow.sending.await.unwrap();
        let rest = async {
            while received < sent {
                received += flow.arrivals.recv().await.expect("the rest").1;
            }
        };
        timeout(PATIENCE, rest).await.expect("all of it");
        assert_eq!(received, sent);
    }
    tokio::time::resume();
    assert!(!session.connection().is_closed());
    let now = relay_of(&session.shown(session.path_now())).expect("a relay");
    (silences, now != relay)
}

/// Cuts off the relay of a session in the middle of these flows.
async fn relay_dies(flows: Flows) {
    for reach in [Reach::RelayOnly, Reach::Open] {
        let scene = Scene::new(reach).await;
        // Nodes that do not hide look for a direct path, and there is none.
        scene.network.block(address(11), address(12));
        let cut = |scene: &Scene, relay: &Node| scene.network.cut(address(relay.plan.host));
        let (silences, moved) = silences(&scene, flows, cut).await;
        assert!(moved, "it goes over the reserve");
        for silence in silences {
            eprintln!("{flows:?}, {reach:?}: nothing came for {silence:?}");
            eprintln!("figure silence_ms {}", silence.as_millis());
            assert!(silence < BAR, "{flows:?}, {reach:?}: nothing came for {silence:?}");
        }
    }
}

#[tokio::test]
async fn full_lines_carry_on_in_both_directions_within_a_second_of_a_relays_death() {
    relay_dies(Flows { to_bob: true, to_alice: true, pace: None }).await;
}

#[tokio::test]
async fn a_call_carries_on_in_both_directions_within_a_second_of_a_relays_death() {
    let pace = Some(Duration::from_millis(20));
    relay_dies(Flows { to_bob: true, to_alice: true, pace }).await;
}

#[tokio::test]
async fn a_transfer_in_either_direction_carries_on_within_a_second_of_a_relays_death() {
    for (to_bob, to_alice) in [(true, false), (false, true)] {
        relay_dies(Flows { to_bob, to_alice, pace: None }).await;
    }
}
