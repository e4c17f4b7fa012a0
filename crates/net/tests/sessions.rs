//! Sessions over a relay and from there to a direct path, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use bytes::Bytes;
use common::*;
use skein_net::relay::frame::SlotNumber;
use skein_net::relay::{EndKey, RelayLimits};
use skein_net::session::{Binding, Route, Session};
use skein_net::simnet::{LinkProfile, NatKind, Network, Realm};
use skein_net::{Connection, Endpoint, EndpointConfig};
use skein_proto::Username;
use std::time::Duration;

const MAPPING: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(5);

fn generous() -> EndpointConfig {
    let (slot_rate, name_rate, total_rate) = (u32::MAX, u32::MAX, u32::MAX);
    let limits = RelayLimits { slot_rate, name_rate, total_rate, ..RelayLimits::default() };
    EndpointConfig::default().relay(limits)
}

/// Two ends that know each other only by a relay.
struct Lab {
    network: Network,
    relay: Endpoint,
    ends: [Endpoint; 2],
    sessions: [Session; 2],
    bindings: [Binding; 2],
}

impl Lab {
    async fn new(relay: EndpointConfig, line: LinkProfile) -> Self {
        let network = Network::new(5);
        let relay = on_line(&network, 9, relay, line);
        let ends = [1, 2].map(|seed| on_line(&network, seed, EndpointConfig::default(), line));
        let (sessions, bindings) = join(&relay, &ends).await;
        Self { network, relay, ends, sessions, bindings }
    }

    async fn connect(&self) -> (Connection, Connection) {
        let address = [self.sessions[0].address()];
        let dialled = self.ends[0].connect(self.ends[1].node_id(), &address).await;
        (dialled.expect("a connection"), self.ends[1].accept().await.expect("a connection"))
    }
}

/// A slot of a relay between two ends, each of which has a session over it.
async fn join(relay: &Endpoint, ends: &[Endpoint; 2]) -> ([Session; 2], [Binding; 2]) {
    let name = Username::parse("anna").unwrap();
    let grant = relay.relay().grant(&name).unwrap();
    let route = Route { to: address(relay), number: grant.slot };
    let bindings = [0, 1].map(|end: usize| ends[end].join_slot(route, grant.keys[end].clone()));
    for binding in &bindings {
        binding.bind(PATIENCE).await.expect("bound");
    }
    let sessions = [0, 1].map(|end: usize| {
        let session = ends[end].open_session();
        assert!(session.listen(route));
        session.send_along(route);
        session
    });
    (sessions, bindings)
}

async fn send(connection: Connection, bytes: usize) {
    let mut stream = connection.open_stream().await.unwrap();
    for block in 0..bytes / 1_000 {
        let block = u8::try_from(block % 251).unwrap();
        stream.sender.send_raw(Bytes::from(vec![block; 1_000])).await.unwrap();
    }
    stream.sender.finish().await.unwrap();
    stream.sender.delivered().await.unwrap();
}

async fn receive(connection: Connection, mut at: impl FnMut(usize)) -> usize {
    let mut stream = connection.accept_stream().await.unwrap();
    let mut received = 0;
    while let Some(bytes) = stream.receiver.recv_raw(8_000).await.unwrap() {
        for byte in &bytes {
            assert_eq!(usize::from(*byte), received / 1_000 % 251, "at {received}");
            received += 1;
        }
        at(received);
    }
    received
}

#[tokio::test(start_paused = true)]
async fn two_ends_talk_over_a_relay_that_sees_only_ciphertext_of_theirs() {
    let lab = Lab::new(generous(), LinkProfile::default()).await;
    let (dialled, accepted) = lab.connect().await;
    assert_eq!(accepted.peer(), lab.ends[0].node_id(), "the key is proven end to end");
    let sending = tokio::spawn(send(dialled.clone(), 300_000));
    assert_eq!(receive(accepted.clone(), |_| {}).await, 300_000);
    sending.await.unwrap();

    let usage = lab.relay.relay().usage();
    assert!(usage.bytes > 300_000 && usage.foreign == 0 && usage.dropped_unbound == 0);
    assert_eq!(lab.relay.connections().len(), 0, "the relay is no party to it");
    assert_eq!(dialled.remote_address(), lab.sessions[0].address());
    assert!(accepted.remote_address() != address(&lab.ends[0]));
    for end in [&dialled, &accepted] {
        assert_eq!(end.seen_at().to_string(), "[::]:0", "the address of a session is a secret");
        assert_eq!(end.shown_at().to_string(), "[::]:0", "to the user's own programs as well");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_directly_and_falls_back_without_losing_a_byte() {
    let line = LinkProfile::default().rate(2_000_000);
    let lab = Lab::new(generous(), line).await;
    let (dialled, accepted) = lab.connect().await;
    let number = SlotNumber::new(4_711);
    let relayed = lab.sessions[0].route().unwrap();
    let direct = [1, 0].map(|other: usize| Route { to: address(&lab.ends[other]), number });
    for (session, route) in lab.sessions.iter().zip(direct) {
        assert!(session.listen(route));
    }

    let sending = tokio::spawn(send(dialled.clone(), 900_000));
    let mut over_relay = [0; 2];
    let received = receive(accepted.clone(), |received| {
        let moved = lab.relay.relay().usage().bytes;
        if received > 300_000 && lab.sessions[0].route() == Some(relayed) && over_relay[0] == 0 {
            over_relay[0] = moved;
            lab.sessions.iter().zip(direct).for_each(|(session, to)| session.send_along(to));
        }
        if received > 600_000 && over_relay[1] == 0 {
            over_relay[1] = moved;
            lab.network.cut(relayed.to);
            lab.network.heal(relayed.to);
            lab.sessions.iter().for_each(|session| session.send_along(relayed));
        }
    });
    assert_eq!(received.await, 900_000);
    sending.await.unwrap();
    assert!(over_relay[1] - over_relay[0] < 150_000, "the middle went directly: {over_relay:?}");
    assert!(lab.relay.relay().usage().bytes - over_relay[1] > 200_000, "the end over the relay");
    assert!(!dialled.is_closed() && !accepted.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_gets_another_address_binds_it_and_goes_on() {
    let network = Network::new(5);
    let line = LinkProfile::default();
    let relay = on_line(&network, 9, generous(), line);
    let outside = "203.0.113.1".parse().unwrap();
    let behind = network.nat(NatKind::Symmetric, outside, Realm::INTERNET, MAPPING);
    let socket = network.socket_in(behind, "192.168.0.2:4000".parse().unwrap(), line).unwrap();
    let near = Endpoint::with_socket(&key(1), socket, EndpointConfig::default()).unwrap();
    let ends = [near, on_line(&network, 2, EndpointConfig::default(), line)];
    let (sessions, bindings) = join(&relay, &ends).await;
    let lab = Lab { network, relay, ends, sessions, bindings };
    let (dialled, accepted) = lab.connect().await;

    lab.network.forget_mappings(behind);
    let sending = tokio::spawn(send(dialled, 100_000));
    assert_eq!(receive(accepted, |_| {}).await, 100_000);
    sending.await.unwrap();
    assert_eq!(lab.bindings[0].times_bound(), 2);
    assert_eq!(lab.bindings[1].times_bound(), 1);
}

#[tokio::test(start_paused = true)]
async fn in_doubt_both_ends_talk_along_another_route_before_either_has_moved() {
    let lab = Lab::new(generous(), LinkProfile::default()).await;
    let spare = on(&lab.network, 8, generous());
    let grant = spare.relay().grant(&Username::parse("anna").unwrap()).unwrap();
    let other = Route { to: address(&spare), number: grant.slot };
    let mut bindings = Vec::new();
    for (end, key) in lab.ends.iter().zip(grant.keys) {
        let binding = end.join_slot(other, key);
        binding.bind(PATIENCE).await.expect("bound");
        bindings.push(binding);
    }
    let (dialled, accepted) = lab.connect().await;
    for session in &lab.sessions {
        assert!(session.listen(other));
        session.doubt([other, session.route().unwrap()]);
    }
    let tried = |end: usize| lab.ends[end].stats().session_batches_tried_elsewhere;

    lab.network.cut(address(&lab.relay));
    let cut = tokio::time::Instant::now();
    let sending = tokio::spawn(send(dialled.clone(), 20_000));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((tried(0), tried(1)), (0, 0), "a short silence is no reason");
    // More is in flight than may be, and the peer has nothing to send.
    lab.sessions[0].try_others();
    dialled.begin_anew();
    assert_eq!(receive(accepted, |_| {}).await, 20_000);
    sending.await.unwrap();
    assert!(cut.elapsed() < Duration::from_millis(500), "{:?}", cut.elapsed());
    assert!(tried(0) > 0 && tried(1) > 0, "answers go where the question came from");
    for session in &lab.sessions {
        assert!(session.route() != Some(other) && session.received(other) > 0);
        session.send_along(other);
    }
    let before = (tried(0), tried(1));
    send_some(&dialled).await;
    assert_eq!((tried(0), tried(1)), before, "the doubt was about the route before");
}

/// Sends something that nobody takes.
async fn send_some(connection: &Connection) {
    let mut stream = connection.open_stream().await.unwrap();
    stream.sender.send_raw(Bytes::from(vec![1; 1_000])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[tokio::test(start_paused = true)]
async fn two_sessions_over_one_relay_do_not_mix() {
    let lab = Lab::new(generous(), LinkProfile::default()).await;
    let third = on(&lab.network, 3, EndpointConfig::default());
    let ends = [lab.ends[0].clone(), third];
    let (sessions, _bindings) = join(&lab.relay, &ends).await;
    let (dialled, accepted) = lab.connect().await;
    let dial = ends[0].connect(ends[1].node_id(), &[sessions[0].address()]).await;
    let other = ends[1].accept().await.unwrap();
    let sending =
        [tokio::spawn(send(dialled, 400_000)), tokio::spawn(send(dial.unwrap(), 400_000))];
    let (one, two) = tokio::join!(receive(accepted, |_| {}), receive(other, |_| {}));
    assert_eq!((one, two), (400_000, 400_000));
    for sent in sending {
        sent.await.unwrap();
    }
    assert_eq!(lab.ends[0].stats().session_datagrams_overflowed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_relay_with_a_limit_slows_a_session_and_loses_nothing_of_it() {
    let limits = RelayLimits { slot_rate: 500_000, ..RelayLimits::default() };
    let lab = Lab::new(EndpointConfig::default().relay(limits), LinkProfile::default()).await;
    let (dialled, accepted) = lab.connect().await;
    let start = tokio::time::Instant::now();
    let sending = tokio::spawn(send(dialled, 1_500_000));
    assert_eq!(receive(accepted, |_| {}).await, 1_500_000);
    sending.await.unwrap();
    assert!(start.elapsed() > Duration::from_millis(2_500), "{:?}", start.elapsed());
    assert!(lab.relay.relay().usage().dropped_over_rate > 0);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_key_cannot_bind() {
    let lab = Lab::new(generous(), LinkProfile::default()).await;
    let route = lab.bindings[0].route();
    let thief = on(&lab.network, 3, EndpointConfig::default());
    let binding = thief.join_slot(route, EndKey::from_bytes([0; 32]));
    let error = binding.bind(PATIENCE).await.expect_err("no key");
    assert_eq!(error.relay, route);
    assert!(lab.relay.relay().usage().forged > 0);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_joined_twice_stays_with_the_first() {
    let lab = Lab::new(generous(), LinkProfile::default()).await;
    let route = lab.bindings[0].route();
    let again = lab.ends[0].join_slot(route, EndKey::from_bytes([0; 32]));
    assert_eq!(again.bind(PATIENCE).await.expect_err("it is taken").relay, route);
    drop(again);
    lab.bindings[0].bind(PATIENCE).await.expect("it still hears the relay");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_where_no_relay_can_be() {
    let network = Network::new(5);
    let end = on(&network, 1, EndpointConfig::default());
    for to in ["255.255.255.255:4701", "224.0.0.251:5353", "0.0.0.0:4701", "10.0.0.9:0"] {
        let route = Route { to: to.parse().unwrap(), number: SlotNumber::new(7) };
        let binding = end.join_slot(route, EndKey::from_bytes([0; 32]));
        assert!(binding.bind(PATIENCE).await.is_err());
    }
    assert_eq!(end.stats().datagrams_out, 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_dropped_leaves_nothing_behind() {
    let lab = Lab::new(generous(), LinkProfile::default()).await;
    let route = lab.bindings[0].route();
    let Lab { sessions: [first, _second], ends, .. } = lab;
    let other = ends[0].open_session();
    assert!(!other.listen(route), "a route belongs to one session");
    drop(first);
    assert!(other.listen(route));
}
