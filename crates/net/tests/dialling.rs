//! One connection for each pair of nodes, however they come to it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use skein_net::simnet::Network;
use skein_net::{CloseReason, ConnectionError, DialError, EndpointConfig, Fault};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn a_live_connection_is_used_again() {
    let (alice, bob) = (bind(1), bind(2));
    let (dialled, accepted) = connected(&alice, &bob).await;
    assert_eq!(alice.connect(bob.node_id(), &[]).await, Ok(dialled));
    assert_eq!(bob.connect(alice.node_id(), &[]).await, Ok(accepted));
    assert_eq!(alice.stats().handshakes_dialled, 1);
    assert_eq!(alice.stats().connections_outgoing_live, 1);
    assert_eq!(bob.stats().connections_incoming_live, 1);
}

#[tokio::test]
async fn a_closed_connection_is_not_used_again() {
    let (alice, bob) = (bind(1), bind(2));
    let (first, accepted) = connected(&alice, &bob).await;
    accepted.close(CloseReason::Done);
    assert_eq!(first.closed().await, ConnectionError::ClosedByPeer(CloseReason::Done));
    assert!(alice.connection(&bob.node_id()).is_none());
    let (second, _accepted) = connected(&alice, &bob).await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn many_callers_share_one_dial() {
    let (alice, bob) = (bind(1), bind(2));
    let addresses = [address(&bob)];
    let dials = (0..50).map(|_| alice.connect(bob.node_id(), &addresses));
    let connections = futures_util::future::join_all(dials).await;
    assert!(connections.iter().all(|connection| *connection == connections[0]));
    assert!(connections[0].is_ok());
    assert_eq!(alice.stats().handshakes_dialled, 1);
    bob.accept().await.unwrap();
    assert_eq!(bob.stats().handshakes_accepted, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_better_addresses_is_not_bound_to_a_dial_that_fails() {
    let network = Network::new(1);
    let config = EndpointConfig::default;
    let (alice, bob) = (on(&network, 1, config()), on(&network, 2, config()));
    let nobody: SocketAddr = ([10, 0, 0, 99], 1).into();
    let (nowhere, right) = ([nobody], [address(&bob)]);
    let (ill_advised, well_advised) =
        tokio::join!(alice.connect(bob.node_id(), &nowhere), alice.connect(bob.node_id(), &right),);
    assert_eq!(ill_advised, Err(DialError::Unreachable { node: bob.node_id(), tried: 1 }));
    assert_eq!(well_advised.unwrap().peer(), bob.node_id());
}

#[tokio::test(start_paused = true)]
async fn a_dead_address_costs_no_more_than_the_stagger() {
    let network = Network::new(1);
    let config = EndpointConfig::default;
    let (alice, bob) = (on(&network, 1, config()), on(&network, 2, config()));
    let nobody: SocketAddr = ([10, 0, 0, 99], 1).into();
    let start = Instant::now();
    let connection = alice.connect(bob.node_id(), &[nobody, address(&bob)]).await.unwrap();
    assert_eq!(connection.remote_address(), address(&bob));
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_is_reported_within_the_dial_timeout() {
    let network = Network::new(1);
    let patience = Duration::from_secs(3);
    let alice = on(&network, 1, EndpointConfig::default().dial_timeout(patience));
    let bob = key(2).node_id();
    let start = Instant::now();
    let nobody: SocketAddr = ([10, 0, 0, 99], 1).into();
    let error = alice.connect(bob, &[nobody]).await.unwrap_err();
    assert_eq!(error, DialError::Unreachable { node: bob, tried: 1 });
    assert_eq!(error.fault(), Fault::Network);
    assert_eq!(start.elapsed(), patience);
    assert_eq!(alice.stats().dials_failed, 1);
}

#[tokio::test]
async fn an_address_of_the_wrong_kind_fails_at_once() {
    let alice = bind(1);
    let bob = key(2).node_id();
    let wrong: [SocketAddr; 2] = ["[::1]:9".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
    let error = alice.connect(bob, &wrong).await.unwrap_err();
    assert_eq!(error, DialError::Unreachable { node: bob, tried: 2 });
}

#[tokio::test]
async fn a_silent_port_is_not_mistaken_for_a_node() {
    let silent = UdpSocket::bind(loopback()).unwrap();
    let config = EndpointConfig::default().dial_timeout(Duration::from_millis(200));
    let alice = bind_with(1, config);
    let bob = key(2).node_id();
    let error = alice.connect(bob, &[silent.local_addr().unwrap()]).await.unwrap_err();
    assert_eq!(error, DialError::Unreachable { node: bob, tried: 1 });
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_dial_each_other_at_once_agree_on_a_connection() {
    let network = Network::new(1);
    let config = EndpointConfig::default;
    let (one, two) = (on(&network, 1, config()), on(&network, 2, config()));
    let (smaller, larger) = if one.node_id() < two.node_id() { (one, two) } else { (two, one) };
    let (to_larger, to_smaller) = ([address(&larger)], [address(&smaller)]);
    let (out, back) = tokio::join!(
        smaller.connect(larger.node_id(), &to_larger),
        larger.connect(smaller.node_id(), &to_smaller),
    );
    let (out, back) = (out.unwrap(), back.unwrap());
    // Both have accepted one and dialled one by now, or will within a round trip.
    let (accepted_by_larger, accepted_by_smaller) = (larger.accept().await, smaller.accept().await);
    let accepted = [accepted_by_larger.unwrap(), accepted_by_smaller.unwrap()];
    tokio::time::sleep(Duration::from_secs(1)).await;

    // The one that the smaller id dialled is chosen by both.
    let chosen = smaller.connection(&larger.node_id()).unwrap();
    assert!(chosen.is_dialler());
    let other_end = larger.connection(&smaller.node_id()).unwrap();
    assert!(!other_end.is_dialler());
    stream_between(&chosen, &other_end).await;

    // And whatever either side was given still works in both directions.
    for connection in [out, back, accepted[0].clone(), accepted[1].clone()] {
        assert!(!connection.is_closed());
        let mut stream = connection.open_stream().await.unwrap();
        stream.sender.send(&probe()).await.unwrap();
        stream.sender.finish().await.unwrap();
        stream.sender.delivered().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_dials_in_ends_the_wait_for_a_dial_to_it() {
    let network = Network::new(1);
    let config = EndpointConfig::default;
    let (alice, bob) = (on(&network, 1, config()), on(&network, 2, config()));
    // Where bob is said to be, nobody is; but bob knows where alice is.
    let nobody: SocketAddr = ([10, 0, 0, 99], 1).into();
    let start = Instant::now();
    let (nowhere, right) = ([nobody], [address(&alice)]);
    let (waiting, dialled) =
        tokio::join!(alice.connect(bob.node_id(), &nowhere), bob.connect(alice.node_id(), &right),);
    assert!(!waiting.unwrap().is_dialler());
    assert!(dialled.unwrap().is_dialler());
    assert!(start.elapsed() < Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_dial_goes_on_when_its_caller_stops_waiting() {
    let network = Network::new(1);
    let config = EndpointConfig::default;
    let (alice, bob) = (on(&network, 1, config()), on(&network, 2, config()));
    let addresses = [address(&bob)];
    let brief = Duration::from_millis(1);
    let given_up = tokio::time::timeout(brief, alice.connect(bob.node_id(), &addresses)).await;
    assert!(given_up.is_err());
    bob.accept().await.unwrap();
    assert!(alice.connect(bob.node_id(), &[]).await.is_ok());
}

#[tokio::test]
async fn a_second_socket_of_a_node_gets_a_connection_of_its_own() {
    let (alice, bob) = (bind(1), bind(2));
    let (_first, _) = connected(&alice, &bob).await;
    let probe = bind_with(1, EndpointConfig::dial_only());
    let (second, accepted) = connected(&probe, &bob).await;
    assert_eq!(accepted.peer(), alice.node_id());
    assert_eq!(accepted.remote_address(), address(&probe));
    assert!(second.is_dialler());
    assert_eq!(bob.stats().connections_incoming_live, 2);
}

#[tokio::test]
async fn dialled_connections_are_accepted_as_well_where_that_is_wanted() {
    let (alice, bob) = (bind_with(1, EndpointConfig::default().announce_dialled(true)), bind(2));
    let dialled = alice.connect(bob.node_id(), &[address(&bob)]).await.unwrap();
    assert_eq!(alice.accept().await, Some(dialled));
    alice.close(CloseReason::Done).await;
    assert_eq!(alice.accept().await, None);
}

#[tokio::test]
async fn a_dialled_connection_that_finds_the_queue_full_is_counted_and_lives() {
    let config = EndpointConfig::default().announce_dialled(true).accept_queue(1);
    let (alice, bob, carol) = (bind_with(1, config), bind(2), bind(3));
    let (_first, _) = connected(&alice, &bob).await;
    let (second, _) = connected(&alice, &carol).await;
    assert!(!second.is_closed());
    assert_eq!(alice.stats().connections_unannounced, 1);
}
