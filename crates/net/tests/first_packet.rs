//! The first packet of a dial carried to the peer by others, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use skein_net::relay::{Grant, RelayLimits};
use skein_net::session::{Binding, FirstPacket, Route, Session};
use skein_net::simnet::{LinkProfile, Network};
use skein_net::{Connection, Endpoint, EndpointConfig};
use skein_proto::Username;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(5);

/// From the caller to the relay, and from there to the callee.
const NEAR: Duration = Duration::from_millis(30);
const FAR: Duration = Duration::from_millis(50);

/// tokio's clock counts in milliseconds, and each line rounds up once.
const ROUNDING: Duration = Duration::from_millis(8);

fn donor() -> EndpointConfig {
    EndpointConfig::default().relay(RelayLimits::default())
}

/// A relay, a caller whose end of a slot was bound with the grant, and a callee that has the key of
/// the other one.
struct Scene {
    relay: Endpoint,
    caller: Endpoint,
    callee: Endpoint,
    grant: Grant,
}

impl Scene {
    async fn new() -> Self {
        let network = Network::new(3);
        let line = |latency| LinkProfile::default().latency(latency);
        let on = |seed, latency| on_line(&network, seed, donor(), line(latency));
        let (relay, caller, callee) = (on(9, Duration::ZERO), on(1, NEAR), on(2, FAR));
        let (_, control) = connected(&caller, &relay).await;
        let name = Username::parse("anna").unwrap();
        let grant = relay.relay().grant(&name).unwrap();
        assert!(relay.relay().bind_asker(grant.slot, &control));
        Self { relay, caller, callee, grant }
    }

    fn end(&self, at: &Endpoint, which: usize) -> (Session, Binding) {
        let route = Route { to: address(&self.relay), number: self.grant.slot };
        let binding = at.join_slot(route, self.grant.keys[which].clone());
        if which == 0 {
            binding.is_bound_by_grant();
        }
        let session = at.open_session();
        assert!(session.listen(route));
        session.send_along(route);
        (session, binding)
    }

    /// The caller dials; answers with its first packet, and when it is connected.
    async fn dial(&self, session: &Session) -> (FirstPacket, JoinHandle<(Connection, Instant)>) {
        let held = session.hold_first();
        let (caller, node, to) = (self.caller.clone(), self.callee.node_id(), [session.address()]);
        let dial = tokio::spawn(async move {
            (caller.connect(node, &to).await.expect("a connection"), Instant::now())
        });
        (held.await.expect("the first packet"), dial)
    }
}

/// The caller says something at once, and is answered.
async fn talk(dialled: &Connection, callee: &Endpoint) {
    let mut near = dialled.open_stream().await.expect("a stream");
    near.sender.send(&probe()).await.expect("sent");
    let accepted = callee.accept().await.expect("a connection");
    let mut far = accepted.accept_stream().await.expect("a stream");
    assert_eq!(far.receiver.recv().await, Ok(Some(probe())));
    far.sender.send(&probe_reply()).await.unwrap();
    assert_eq!(near.receiver.recv().await, Ok(Some(probe_reply())));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_takes_the_way_of_its_first_packet_and_one_way_over_the_relay() {
    let scene = Scene::new().await;
    let begun = Instant::now();
    let (session, _bound) = scene.end(&scene.caller, 0);
    let (first, dial) = scene.dial(&session).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);

    sleep(NEAR + FAR).await;
    let (answering, binding) = scene.end(&scene.callee, 1);
    let binds = tokio::spawn(async move { binding.bind(PATIENCE).await.map(|()| binding) });
    answering.take_first(&first);
    let (dialled, at) = dial.await.unwrap();
    let took = at - begun;
    assert!(took <= 2 * (NEAR + FAR) + ROUNDING, "{took:?}");
    let usage = scene.relay.relay().usage();
    assert!(usage.early > 0 && usage.forged == 0, "{usage:?}");

    talk(&dialled, &scene.callee).await;
    let took = begun.elapsed();
    assert!(took <= 4 * (NEAR + FAR) + 2 * ROUNDING, "nothing had to be sent again: {took:?}");
    binds.await.unwrap().expect("the callee has proven its address meanwhile");
    let usage = scene.relay.relay().usage();
    assert_eq!((usage.dropped_unbound, usage.foreign), (0, 0), "{usage:?}");
}

#[tokio::test(start_paused = true)]
async fn a_first_packet_that_whoever_carried_it_has_lost_is_sent_over_the_relay() {
    let scene = Scene::new().await;
    let (session, _bound) = scene.end(&scene.caller, 0);
    let (first, dial) = scene.dial(&session).await;
    let (_answering, binding) = scene.end(&scene.callee, 1);
    binding.bind(PATIENCE).await.expect("bound");
    let begun = Instant::now();
    session.send_first(&first);
    let (dialled, at) = dial.await.unwrap();
    let took = at - begun;
    assert!(took <= 2 * (NEAR + FAR) + ROUNDING, "{took:?}");
    talk(&dialled, &scene.callee).await;
}

#[tokio::test(start_paused = true)]
async fn a_first_packet_that_nobody_sends_again_is_repeated_by_quic() {
    let scene = Scene::new().await;
    let (session, _bound) = scene.end(&scene.caller, 0);
    let (_lost, dial) = scene.dial(&session).await;
    let (_answering, binding) = scene.end(&scene.callee, 1);
    binding.bind(PATIENCE).await.expect("bound");
    talk(&dial.await.unwrap().0, &scene.callee).await;
}

#[tokio::test(start_paused = true)]
async fn a_first_packet_that_comes_twice_makes_one_connection() {
    let scene = Scene::new().await;
    let (session, _bound) = scene.end(&scene.caller, 0);
    let (first, dial) = scene.dial(&session).await;
    let (answering, binding) = scene.end(&scene.callee, 1);
    answering.take_first(&first);
    answering.take_first(&first);
    binding.bind(PATIENCE).await.expect("bound");
    session.send_first(&first);
    talk(&dial.await.unwrap().0, &scene.callee).await;
    sleep(PATIENCE).await;
    assert_eq!(scene.callee.stats().handshakes_accepted, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_ends_with_its_session() {
    let scene = Scene::new().await;
    let (session, _bound) = scene.end(&scene.caller, 0);
    session.hold_first();
    let begun = Instant::now();
    let to = [session.address()];
    let dial = scene.caller.connect(scene.callee.node_id(), &to);
    let (outcome, ()) = tokio::join!(dial, async {
        sleep(Duration::from_millis(100)).await;
        drop(session);
    });
    assert!(outcome.is_err() && begun.elapsed() < Duration::from_millis(110), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn an_asker_that_has_moved_is_not_bound_by_its_grant() {
    let network = Network::new(3);
    let (relay, asker) = (on(&network, 9, donor()), on(&network, 1, donor()));
    let (dialled, control) = connected(&asker, &relay).await;
    let name = Username::parse("anna").unwrap();
    let grant = relay.relay().grant(&name).unwrap();
    let elsewhere = "10.0.0.77:4000".parse().unwrap();
    network.move_to(address(&asker), skein_net::simnet::Realm::INTERNET, elsewhere);
    let (_near, _far) = stream_between(&dialled, &control).await;
    assert!(!relay.relay().bind_asker(grant.slot, &control), "the new address is not proven");
}
