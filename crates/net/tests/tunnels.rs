//! Nodes whose network passes no UDP, over real sockets of this machine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use bytes::Bytes;
use common::*;
use skein_net::relay::RelayLimits;
use skein_net::session::Route;
use skein_net::{
    CloseReason, Connection, DialError, Endpoint, EndpointConfig, TunnelPorts, UdpState,
};
use skein_proto::Username;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(60);

/// An endpoint without UDP that nobody can dial.
fn blocked(seed: u8) -> Endpoint {
    bind_with(seed, EndpointConfig::dial_only().udp(false))
}

async fn send(connection: &Connection, bytes: usize) {
    let mut stream = connection.open_stream().await.unwrap();
    for block in 0..bytes / 1_000 {
        let block = u8::try_from(block % 251).unwrap();
        stream.sender.send_raw(Bytes::from(vec![block; 1_000])).await.unwrap();
    }
    stream.sender.finish().await.unwrap();
    stream.sender.delivered().await.unwrap();
}

async fn receive(connection: &Connection) -> usize {
    let mut stream = connection.accept_stream().await.unwrap();
    let mut received = 0;
    while let Some(bytes) = stream.receiver.recv_raw(8_000).await.unwrap() {
        for byte in &bytes {
            assert_eq!(usize::from(*byte), received / 1_000 % 251, "at {received}");
            received += 1;
        }
    }
    received
}

#[tokio::test]
async fn a_node_without_udp_reaches_another_and_both_send() {
    let (without, with) = (blocked(1), bind(2));
    let (dialled, accepted) = connected(&without, &with).await;
    assert_eq!(accepted.peer(), without.node_id());
    assert!(dialled.is_over_tcp() && accepted.is_over_tcp());
    assert_eq!(dialled.remote_address(), address(&with), "as if it were UDP");
    assert!(accepted.remote_address().ip().is_loopback(), "where the TCP connection is from");
    assert_eq!(without.udp_state(), UdpState::Off);

    let ((), got) = tokio::join!(send(&dialled, 3_000_000), receive(&accepted));
    assert_eq!(got, 3_000_000);
    let ((), got) = tokio::join!(send(&accepted, 3_000_000), receive(&dialled));
    assert_eq!(got, 3_000_000);

    let stats = with.stats();
    assert_eq!((stats.tunnels_accepted, stats.tunnels_incoming_live), (1, 1));
    assert!(stats.tunnel_datagrams_in > 2_000 && stats.tunnel_datagrams_out > 2_000);
    assert_eq!(stats.tunnel_datagrams_lost, 0);
    without.close(CloseReason::Leaving).await;
    let closed = accepted.closed().await;
    assert_eq!(closed.to_string(), "closed by the peer: shutting down", "it could say goodbye");
}

#[tokio::test]
async fn where_udp_works_no_tunnel_is_opened() {
    let (one, other) = (bind(1), bind(2));
    let (dialled, accepted) = connected(&one, &other).await;
    assert!(!dialled.is_over_tcp() && !accepted.is_over_tcp());
    assert_eq!(one.udp_state(), UdpState::Works);
    assert_eq!(one.stats().tunnels_dialled + other.stats().tunnels_accepted, 0);
}

#[tokio::test]
async fn a_tunnel_leads_to_exactly_the_node_that_was_dialled() {
    let (without, with) = (blocked(1), bind(2));
    let dialled = without.connect(key(3).node_id(), &[address(&with)]).await;
    assert!(matches!(dialled, Err(DialError::Unreachable { .. })), "{dialled:?}");
    assert_eq!((without.stats().tunnels_dialled, with.stats().tunnels_accepted), (0, 0));
}

#[tokio::test]
async fn who_takes_no_tunnels_is_not_reached_through_one() {
    let config = EndpointConfig::default().tunnel_ports(TunnelPorts::Off);
    let (without, with) = (blocked(1), bind_with(2, config));
    let dialled = without.connect(with.node_id(), &[address(&with)]).await;
    assert!(matches!(dialled, Err(DialError::Unreachable { .. })), "{dialled:?}");
}

#[tokio::test]
async fn two_nodes_without_udp_reach_each_other_if_one_takes_tunnels() {
    let config = EndpointConfig::default().udp(false);
    let (without, takes) = (blocked(1), bind_with(2, config));
    let (dialled, accepted) = connected(&without, &takes).await;
    let ((), got) = tokio::join!(send(&dialled, 100_000), receive(&accepted));
    assert_eq!(got, 100_000);
}

#[tokio::test]
async fn a_relay_carries_a_session_of_a_node_without_udp() {
    let (slot_rate, name_rate, total_rate) = (u32::MAX, u32::MAX, u32::MAX);
    let limits = RelayLimits { slot_rate, name_rate, total_rate, ..RelayLimits::default() };
    let relay = bind_with(9, EndpointConfig::default().relay(limits));
    let accepting = EndpointConfig::default().udp(false).tunnel_ports(TunnelPorts::Off);
    let ends = [blocked(1), bind_with(2, accepting)];
    let name = Username::parse("anna").unwrap();
    let grant = relay.relay().grant(&name).unwrap();
    let route = Route { to: address(&relay), number: grant.slot };
    let mut sessions = Vec::new();
    let (mut bindings, mut ways) = (Vec::new(), Vec::new());
    for (end, key) in ends.iter().zip(grant.keys) {
        ways.push(end.prepare(relay.node_id(), route.to).await.expect("a way"));
        let binding = end.join_slot(route, key);
        binding.bind(PATIENCE).await.expect("bound");
        let session = end.open_session();
        assert!(session.listen(route));
        session.send_along(route);
        sessions.push(session);
        bindings.push(binding);
    }
    let (dialled, accepted) = tokio::join!(
        async { ends[0].connect(ends[1].node_id(), &[sessions[0].address()]).await.unwrap() },
        async { ends[1].accept().await.unwrap() }
    );
    let ((), got) = tokio::join!(send(&dialled, 500_000), receive(&accepted));
    assert_eq!(got, 500_000);
    assert!(relay.relay().usage().bytes > 500_000);
    assert_eq!(relay.stats().tunnels_incoming_live, 2);
    assert_eq!(relay.connections().len(), 0, "the relay is no party to it");
}

/// Passes TCP on to another address, one connection after the other, and breaks the one it has
/// when it is told to.
async fn flaky(to: SocketAddr) -> (SocketAddr, tokio::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (break_it, mut broken) = tokio::sync::mpsc::channel::<()>(1);
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(to).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                told = broken.recv() => if told.is_none() { return },
            }
        }
    });
    (address, break_it)
}

#[tokio::test]
async fn a_connection_survives_the_end_of_the_tcp_connection_below_it() {
    let (without, with) = (blocked(1), bind(2));
    let (through, break_it) = flaky(address(&with)).await;
    let through = [through];
    let (dialled, accepted) =
        tokio::join!(without.connect(with.node_id(), &through), with.accept());
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    let (mut near, mut far) = stream_between(&dialled, &accepted).await;
    break_it.send(()).await.unwrap();

    near.sender.send(&probe()).await.unwrap();
    let got = far.receiver.recv_within(PATIENCE).await;
    assert_eq!(got, Ok(Some(probe())));
    far.sender.send(&probe_reply()).await.unwrap();
    assert_eq!(near.receiver.recv_within(PATIENCE).await, Ok(Some(probe_reply())));
    assert!(accepted.is_over_tcp());
    assert_eq!((without.stats().tunnels_redialled, with.stats().tunnels_accepted), (1, 2));
}
