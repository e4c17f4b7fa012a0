//! The network as its sockets see it.

#![allow(clippy::expect_used)]
use super::{LinkProfile, Network, SimSocket};
use crate::socket::{DatagramSocket, RecvMeta, Transmit};
use std::future::poll_fn;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

fn address(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 1).into()
}

fn send(from: &SimSocket, to: SocketAddr, bytes: &[u8]) {
    let destination = to;
    let transmit =
        Transmit { destination, ecn: None, contents: bytes, segment_size: None, src_ip: None };
    from.try_send(&transmit).expect("these sockets take everything");
}

async fn receive(at: &SimSocket) -> (SocketAddr, Vec<u8>) {
    let mut bytes = [0; 2_000];
    let mut meta = [RecvMeta::default()];
    poll_fn(|cx| at.poll_recv(cx, &mut [IoSliceMut::new(&mut bytes)], &mut meta))
        .await
        .expect("a datagram");
    (meta[0].addr, bytes[..meta[0].len].to_vec())
}

#[tokio::test(start_paused = true)]
async fn a_datagram_takes_the_delay_of_both_lines() {
    let network = Network::new(1);
    let slow = LinkProfile::default().latency(Duration::from_millis(40));
    let one = network.socket(address(1), slow).expect("free");
    let two = network.socket(address(2), LinkProfile::default()).expect("free");
    let start = Instant::now();
    send(&one, address(2), b"hello");
    assert_eq!(receive(&two).await, (address(1), b"hello".to_vec()));
    assert_eq!(start.elapsed(), Duration::from_millis(45));
}

#[tokio::test(start_paused = true)]
async fn a_line_passes_no_more_than_its_rate() {
    let network = Network::new(1);
    let line = LinkProfile::default().latency(Duration::ZERO).rate(10_000);
    let one = network.socket(address(1), line).expect("free");
    let two =
        network.socket(address(2), LinkProfile::default().latency(Duration::ZERO)).expect("free");
    let start = Instant::now();
    for _ in 0..5 {
        send(&one, address(2), &[0; 1_000]);
    }
    // The first takes 100 ms to pass; the second then has waited for as long as it may, and
    // there is no room for the third.
    receive(&two).await;
    receive(&two).await;
    assert_eq!(start.elapsed(), Duration::from_millis(200));
    assert_eq!(network.stats().overflowed, 3);
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_its_losses() {
    let losses = |seed| {
        let network = Network::new(seed);
        let one = network.socket(address(1), LinkProfile::default().loss(0.3)).expect("free");
        let _two = network.socket(address(2), LinkProfile::default()).expect("free");
        (0..200)
            .map(|_| {
                let before = network.stats().lost;
                send(&one, address(2), b"x");
                network.stats().lost > before
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(losses(7), losses(7));
    assert_ne!(losses(7), losses(8));
    let lost = losses(7).into_iter().filter(|lost| *lost).count();
    assert!((30..90).contains(&lost), "{lost} of 200 at 30 %");
}

#[tokio::test(start_paused = true)]
async fn nothing_passes_a_cut_line_until_it_is_mended() {
    let network = Network::new(1);
    let one = network.socket(address(1), LinkProfile::default()).expect("free");
    let two = network.socket(address(2), LinkProfile::default()).expect("free");
    send(&one, address(2), b"on its way");
    network.cut(address(2));
    send(&one, address(2), b"into the void");
    network.heal(address(2));
    send(&one, address(2), b"through");
    assert_eq!(receive(&two).await.1, b"through");
    assert_eq!(network.stats().unreachable, 2);
}

#[tokio::test(start_paused = true)]
async fn an_address_is_free_again_when_its_socket_is_dropped() {
    let network = Network::new(1);
    let one = network.socket(address(1), LinkProfile::default()).expect("free");
    assert!(network.socket(address(1), LinkProfile::default()).is_err());
    drop(one);
    assert!(network.socket(address(1), LinkProfile::default()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_ipv6_socket_sees_ipv4_as_the_system_shows_it() {
    let network = Network::new(1);
    let six: SocketAddr = "[2001:db8::1]:5".parse().expect("an address");
    let one = network.socket(address(1), LinkProfile::default()).expect("free");
    let two = network.socket(six, LinkProfile::default()).expect("free");
    send(&one, six, b"x");
    let (source, _) = receive(&two).await;
    assert_eq!(source.to_string(), "[::ffff:10.0.0.1]:1");
    send(&two, source, b"y");
    assert_eq!(receive(&one).await.0, six);
}
