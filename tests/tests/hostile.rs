//! Garbage: no input takes a node down.

#![allow(clippy::expect_used)]

use skein_proto::codec;
use skein_proto::login::LoginRequest;
use skein_proto::message::{Bond, MessageKind, Probe};
use skein_tests::intruder::Intruder;
use skein_tests::{Network, Node, files};
use std::net::{SocketAddr, UdpSocket};

/// Sends datagrams of all sizes and first bytes, the beginnings of QUIC packets among them.
fn bombard(target: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let mut noise = blake3::Hasher::new().update(b"garbage").finalize_xof();
    for round in 0..2_000_usize {
        let mut datagram = vec![0; round % 1_400];
        noise.fill(&mut datagram);
        if let Some(first) = datagram.first_mut() {
            // Long and short headers of QUIC, and the range of our own frames.
            *first = [0xc0, 0xd0, 0xe0, 0xf0, 0x40, 0x00, 0x3f, *first][round % 8];
        }
        if let Some(version) = datagram.get_mut(1..5).filter(|_| round % 2 == 0) {
            version.copy_from_slice(&1_u32.to_be_bytes());
        }
        // A full socket buffer drops datagrams, as any network does.
        let _ = socket.send_to(&datagram, target);
    }
}

async fn assert_alive(network: &Network, goose: &mut Node, name: &str) {
    assert!(goose.process().is_running(), "{}", goose.process().log());
    let [node] = network.nodes([name]).await;
    let folder = network.folder(&format!("of-{name}"));
    files::write_text(&folder.join(format!("tide of {name}.txt")), name);
    node.share(&folder, 1).await;
    assert_eq!(goose.search(&["tide", name]).await.hits.len(), 1);
}

#[tokio::test]
async fn garbage_on_the_ports_changes_nothing() {
    let mut network = Network::start().await;
    let [mut goose] = network.supernodes(["goose"], &[]).await;
    let targets = [network.login_address(), goose.address()];
    tokio::task::spawn_blocking(move || targets.map(bombard)).await.expect("it is sent");
    assert!(network.login().is_running(), "{}", network.login().log());
    assert_alive(&network, &mut goose, "alice").await;
}

#[tokio::test]
async fn a_peer_that_sends_no_messages_is_hung_up_on() {
    let network = Network::start().await;
    let [mut goose] = network.supernodes(["goose"], &[]).await;
    let probe = codec::encode(&Probe.into()).expect("it fits");
    let header = |length: u32, kind: u16, version: u8| {
        let [k0, k1] = kind.to_be_bytes();
        [&length.to_be_bytes()[..], &[k0, k1, version, 0]].concat()
    };
    let attacks: [(&str, Vec<u8>); 6] = [
        ("noise", vec![0xa5; 4_096]),
        ("a body over its limit", header(u32::MAX, MessageKind::Hits as u16, 1)),
        ("another version", header(0, MessageKind::Probe as u16, 9)),
        ("an unknown critical message", header(0, 0x8001, 1)),
        (
            "a body that is too short",
            [header(3, MessageKind::Search as u16, 1), vec![0; 3]].concat(),
        ),
        ("a message before the greeting", probe),
    ];
    for (seed, (what, bytes)) in (10_u8..).zip(attacks) {
        eprintln!("{what}");
        let intruder = Intruder::new(seed);
        let mut control = intruder.dial(goose.id(), goose.address()).await;
        control.send_raw(&bytes).await;
        control.hung_up().await;
    }
    assert_alive(&network, &mut goose, "alice").await;
}

#[tokio::test]
async fn a_message_out_of_place_is_hung_up_on() {
    let network = Network::start().await;
    let [mut goose] = network.supernodes(["goose"], &[]).await;
    let intruder = Intruder::new(20);
    let credential = Network::credential(&network.login_key(), "mallory", intruder.id(), -60, 600);
    let mut control = intruder.dial(goose.id(), goose.address()).await;
    control.send(intruder.hello(Some(credential))).await;
    assert!(control.attach(Bond::Active).await.is_some());
    control.send(LoginRequest::Renew).await;
    control.hung_up().await;
    assert_alive(&network, &mut goose, "alice").await;
}

#[tokio::test]
async fn a_message_of_a_later_version_is_skipped() {
    let network = Network::start().await;
    let [goose] = network.supernodes(["goose"], &[]).await;
    let intruder = Intruder::new(30);
    let credential = Network::credential(&network.login_key(), "mallory", intruder.id(), -60, 600);
    let mut control = intruder.dial(goose.id(), goose.address()).await;
    control.send(intruder.hello(Some(credential))).await;
    control.send_raw(&[0, 0, 0, 3, 0x7f, 0xff, 1, 0, 1, 2, 3]).await;
    let reply = control.attach(Bond::Active).await.expect("the stream goes on");
    assert_eq!(reply.outcome, Ok(Bond::Active));
}
