//! What the tests of this crate share.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]

pub mod punch;

use skein_net::{Connection, Endpoint, EndpointConfig, Stream};
use skein_proto::message::{Probe, ProbeReply, Role};
use skein_proto::{KeyPair, Message};
use std::net::{Ipv4Addr, SocketAddr};

pub fn key(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

pub fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub fn bind(seed: u8) -> Endpoint {
    bind_with(seed, EndpointConfig::default())
}

pub fn bind_with(seed: u8, config: EndpointConfig) -> Endpoint {
    Endpoint::bind(&key(seed), loopback(), config).expect("a free port")
}

pub fn address(endpoint: &Endpoint) -> SocketAddr {
    endpoint.local_addr().expect("a bound socket")
}

pub fn probe() -> Message {
    Probe.into()
}

pub fn probe_reply() -> Message {
    ProbeReply { role: Role::Super, load: Default::default() }.into()
}

/// Two endpoints with a connection: the dialler's end and the other one.
pub async fn connected(dialler: &Endpoint, listener: &Endpoint) -> (Connection, Connection) {
    let addresses = [address(listener)];
    let (dialled, accepted) =
        tokio::join!(dialler.connect(listener.node_id(), &addresses), listener.accept());
    (dialled.expect("a connection"), accepted.expect("a connection"))
}

/// A stream that both sides know of, by one probe from the dialler.
pub async fn stream_between(dialled: &Connection, accepted: &Connection) -> (Stream, Stream) {
    let mut near = dialled.open_stream().await.expect("a stream");
    near.sender.send(&probe()).await.expect("sent");
    let mut far = accepted.accept_stream().await.expect("a stream");
    assert_eq!(far.receiver.recv().await, Ok(Some(probe())));
    (near, far)
}

/// An endpoint on a network in memory.
pub fn on(network: &skein_net::simnet::Network, seed: u8, config: EndpointConfig) -> Endpoint {
    on_line(network, seed, config, Default::default())
}

/// The same behind a line of the caller's choice.
pub fn on_line(
    network: &skein_net::simnet::Network,
    seed: u8,
    config: EndpointConfig,
    line: skein_net::simnet::LinkProfile,
) -> Endpoint {
    let address = SocketAddr::from(([10, 0, 0, seed], 4_000));
    let socket = network.socket(address, line).expect("a free address");
    Endpoint::with_socket(&key(seed), socket, config).expect("an endpoint")
}
