//! What is limited, and that each limit is counted.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use skein_net::simnet::Network;
use skein_net::{BindError, CloseReason, ConnectionError, DialError, Endpoint, EndpointConfig};
use std::net::SocketAddr;
use std::time::Duration;

/// Dials from so many nodes, numbered from 10 on, one after the other.
async fn dial_from_many(
    network: &Network,
    count: u8,
    target: &Endpoint,
) -> Vec<(Endpoint, Result<skein_net::Connection, DialError>)> {
    let mut results = Vec::new();
    for seed in 10..10 + count {
        let node = on(network, seed, EndpointConfig::dial_only());
        let result = node.connect(target.node_id(), &[address(target)]).await;
        results.push((node, result));
    }
    results
}

#[tokio::test(start_paused = true)]
async fn a_full_node_refuses_and_has_room_again_when_one_leaves() {
    let network = Network::new(1);
    let bob = on(&network, 2, EndpointConfig::default().max_incoming(3));
    let results = dial_from_many(&network, 5, &bob).await;
    let refused = DialError::Refused { address: address(&bob) };
    assert!(results[..3].iter().all(|(_, result)| result.is_ok()));
    assert!(results[3..].iter().all(|(_, result)| *result == Err(refused.clone())));
    assert_eq!(bob.stats().handshakes_refused_full, 2);
    assert_eq!(bob.stats().connections_incoming_live, 3);

    let leaving = bob.accept().await.unwrap();
    results[0].0.close(CloseReason::Leaving).await;
    leaving.closed().await;
    let (late, _) = &results[4];
    assert!(late.connect(bob.node_id(), &[address(&bob)]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_address_that_dials_too_often_has_to_prove_itself_and_is_then_refused() {
    let network = Network::new(1);
    let bob = on(&network, 2, EndpointConfig::default().handshake_rate(2, 1));
    let mut outcomes = Vec::new();
    for _ in 0..6 {
        // A new socket of the same address for each, as behind one NAT.
        let alice = on(&network, 1, EndpointConfig::dial_only());
        let result = alice.connect(bob.node_id(), &[address(&bob)]).await;
        outcomes.push(result.map(|_| ()));
        alice.close(CloseReason::Done).await;
        drop(alice);
        tokio::task::yield_now().await;
        wait_until_free(&network, 1).await;
    }
    let stats = bob.stats();
    assert_eq!(outcomes[..4], [Ok(()), Ok(()), Ok(()), Ok(())]);
    assert!(stats.handshakes_retried >= 2, "{stats:?}");
    assert!(stats.handshakes_refused_rate >= 1, "{stats:?}");
    assert!(outcomes.contains(&Err(DialError::Refused { address: address(&bob) })));
}

/// The tasks of a dropped endpoint end a little later than the endpoint.
async fn wait_until_free(network: &Network, seed: u8) {
    let address = SocketAddr::from(([10, 0, 0, seed], 4_000));
    while network.socket(address, Default::default()).is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn when_many_handshakes_are_under_way_newcomers_prove_their_address() {
    let network = Network::new(1);
    // Half of two is one: the second handshake at a time has to prove itself, and so gets its turn
    // after the first is done.
    let bob = on(&network, 2, EndpointConfig::default().max_pending_handshakes(2));
    let nodes: Vec<Endpoint> =
        (10..20).map(|seed| on(&network, seed, EndpointConfig::dial_only())).collect();
    let addresses = [address(&bob)];
    let dials = nodes.iter().map(|node| node.connect(bob.node_id(), &addresses));
    let results = futures_util::future::join_all(dials).await;
    let admitted = results.iter().filter(|result| result.is_ok()).count() as u64;
    for _ in 0..admitted {
        bob.accept().await.unwrap();
    }
    let stats = bob.stats();
    assert!(admitted >= 2, "{stats:?}");
    assert!(stats.handshakes_retried > 0, "{stats:?}");
    assert_eq!(stats.handshakes_accepted, admitted);
    assert_eq!(stats.handshakes_refused_pending, 10 - admitted);
}

#[tokio::test(start_paused = true)]
async fn outbound_connections_and_dials_are_limited() {
    let network = Network::new(1);
    let config = EndpointConfig::default().max_outgoing(1).max_dials(1);
    let alice = on(&network, 1, config);
    let (bob, carol) = (on(&network, 2, Default::default()), on(&network, 3, Default::default()));
    let (to_bob, to_carol) = ([address(&bob)], [address(&carol)]);
    let (first, second) = tokio::join!(
        alice.connect(bob.node_id(), &to_bob),
        alice.connect(carol.node_id(), &to_carol),
    );
    let first = first.unwrap();
    assert_eq!(second, Err(DialError::OverLimit { what: "dials at a time", limit: 1 }));
    let third = alice.connect(carol.node_id(), &to_carol).await;
    assert_eq!(third, Err(DialError::OverLimit { what: "outbound connections", limit: 1 }));
    assert_eq!(alice.stats().dials_over_limit, 2);

    first.close(CloseReason::Done);
    first.closed().await;
    while alice.stats().connections_outgoing_live > 0 {
        tokio::task::yield_now().await;
    }
    assert!(alice.connect(carol.node_id(), &to_carol).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_peer_opens_no_more_streams_than_allowed_until_one_ends() {
    let network = Network::new(1);
    let alice = on(&network, 1, Default::default());
    let bob = on(&network, 2, EndpointConfig::default().max_streams(2));
    let (dialled, accepted) = connected(&alice, &bob).await;
    let (first, far_end) = stream_between(&dialled, &accepted).await;
    let (_second, _far) = stream_between(&dialled, &accepted).await;
    let patience = Duration::from_secs(5);
    assert!(tokio::time::timeout(patience, dialled.open_stream()).await.is_err());
    drop((first, far_end));
    assert!(tokio::time::timeout(patience, dialled.open_stream()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_peer_with_too_many_connections_loses_the_oldest() {
    let network = Network::new(1);
    let bob = on(&network, 2, Default::default());
    let mut connections = Vec::new();
    for port in 1..=5 {
        let socket = network.socket(([10, 0, 0, 1], port).into(), Default::default()).unwrap();
        let alice = Endpoint::with_socket(&key(1), socket, EndpointConfig::dial_only()).unwrap();
        let connection = alice.connect(bob.node_id(), &[address(&bob)]).await.unwrap();
        connections.push((alice, connection));
    }
    let reason = connections[0].1.closed().await;
    assert_eq!(reason, ConnectionError::ClosedByPeer(CloseReason::Superseded));
    assert!(connections[1..].iter().all(|(_, connection)| !connection.is_closed()));
    assert_eq!(bob.stats().connections_superseded, 1);
}

#[tokio::test(start_paused = true)]
async fn connections_that_nobody_takes_are_closed_as_soon_as_too_many_wait() {
    let network = Network::new(1);
    let bob = on(&network, 2, EndpointConfig::default().accept_queue(1));
    let results = dial_from_many(&network, 2, &bob).await;
    let (_, second) = &results[1];
    let reason = second.as_ref().unwrap().closed().await;
    assert_eq!(reason, ConnectionError::ClosedByPeer(CloseReason::Busy));
    assert_eq!(bob.stats().connections_dropped_queue_full, 1);
    assert_eq!(bob.accept().await.unwrap().peer(), results[0].0.node_id());
}

#[tokio::test]
async fn an_endpoint_that_only_dials_answers_nobody() {
    let config = EndpointConfig::default().dial_timeout(Duration::from_millis(300));
    let alice = bind_with(1, config);
    let bob = bind_with(2, EndpointConfig::dial_only());
    assert!(alice.connect(bob.node_id(), &[address(&bob)]).await.is_err());
    assert_eq!(bob.accept().await, None);
}

#[tokio::test]
async fn binding_tells_what_is_wrong() {
    let alice = bind(1);
    let taken = address(&alice);
    let again = Endpoint::bind(&key(2), taken, EndpointConfig::default());
    assert!(matches!(again, Err(BindError::AddressInUse(address)) if address == taken));
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
    let elsewhere = Endpoint::bind(&key(2), elsewhere, EndpointConfig::default());
    assert!(matches!(elsewhere, Err(BindError::AddressNotAvailable(_))), "{elsewhere:?}");
    let config = EndpointConfig::default().idle_timeout(Duration::ZERO);
    let unset = Endpoint::bind(&key(2), loopback(), config);
    assert!(matches!(unset, Err(BindError::Config(_))), "{unset:?}");
}
