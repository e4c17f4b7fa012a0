//! Whole endpoints over a bad network, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use bytes::Bytes;
use common::*;
use skein_net::simnet::{LinkProfile, Network};
use skein_net::{CloseReason, ConnectionError, EndpointConfig, Fault, StreamError};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn everything_arrives_in_order_although_a_tenth_is_lost() {
    let network = Network::new(42);
    let line = LinkProfile::default()
        .latency(Duration::from_millis(20))
        .jitter(Duration::from_millis(10))
        .loss(0.05);
    let alice = on_line(&network, 1, Default::default(), line);
    let bob = on_line(&network, 2, Default::default(), line);
    let (dialled, accepted) = connected(&alice, &bob).await;

    let sending = tokio::spawn(async move {
        let mut stream = dialled.open_stream().await.unwrap();
        stream.sender.send(&probe_reply()).await.unwrap();
        for block in 0..=255_u8 {
            stream.sender.send_raw(Bytes::from(vec![block; 1_000])).await.unwrap();
        }
        stream.sender.finish().await.unwrap();
        stream.sender.delivered().await.unwrap();
        dialled
    });
    let mut stream = accepted.accept_stream().await.unwrap();
    assert_eq!(stream.receiver.recv().await, Ok(Some(probe_reply())));
    let mut received = Vec::new();
    while let Some(bytes) = stream.receiver.recv_raw(5_000).await.unwrap() {
        received.extend_from_slice(&bytes);
    }
    let expected: Vec<u8> = (0..=255_u8).flat_map(|block| [block; 1_000]).collect();
    assert!(received == expected, "{} bytes came", received.len());
    let dialled = sending.await.unwrap();
    assert!(network.stats().lost > 0);
    assert!(dialled.rtt() >= Duration::from_millis(80));
    assert!(dialled.stats().bytes_out > 256_000);
}

#[tokio::test(start_paused = true)]
async fn a_transfer_fills_a_long_fast_line_once_its_window_is_widened() {
    let network = Network::new(3);
    let line = LinkProfile::default()
        .latency(Duration::from_millis(50))
        .rate(12_500_000)
        .queue(Duration::from_millis(200));
    let alice = on_line(&network, 1, Default::default(), line);
    let bob = on_line(&network, 2, Default::default(), line);
    let (dialled, accepted) = connected(&alice, &bob).await;
    dialled.widen_for_transfer();
    accepted.widen_for_transfer();

    const BYTES: usize = 8 * 1024 * 1024;
    let start = Instant::now();
    tokio::spawn(async move {
        let mut stream = dialled.open_stream().await.unwrap();
        stream.sender.send_raw(Bytes::from(vec![7; BYTES])).await.unwrap();
        stream.sender.finish().await.unwrap();
        stream.sender.delivered().await
    });
    let mut stream = accepted.accept_stream().await.unwrap();
    let mut received = 0;
    while let Some(bytes) = stream.receiver.recv_raw(usize::MAX).await.unwrap() {
        received += bytes.len();
    }
    assert_eq!(received, BYTES);
    // 256 KiB in flight would take 32 round trips of 200 ms, 6.4 s; the line itself takes 0.7 s.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanishes_is_noticed_after_the_idle_timeout() {
    let network = Network::new(1);
    let config = || EndpointConfig::default().idle_timeout(Duration::from_secs(12));
    let (alice, bob) = (on(&network, 1, config()), on(&network, 2, config()));
    let (dialled, accepted) = connected(&alice, &bob).await;
    let mut stream = dialled.open_stream().await.unwrap();
    stream.sender.send(&probe()).await.unwrap();
    let mut far = accepted.accept_stream().await.unwrap();
    assert_eq!(far.receiver.recv().await, Ok(Some(probe())));

    network.cut(address(&bob));
    let start = Instant::now();
    let error = dialled.closed().await;
    assert_eq!(error, ConnectionError::TimedOut);
    assert_eq!(error.fault(), Fault::Network);
    let waited = start.elapsed();
    assert!(waited > Duration::from_secs(7) && waited < Duration::from_secs(20), "{waited:?}");
    assert_eq!(stream.receiver.recv().await, Err(StreamError::Connection(error)));
    assert!(alice.connection(&bob.node_id()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_kept_alive_for_hours() {
    let network = Network::new(1);
    let (alice, bob) = (on(&network, 1, Default::default()), on(&network, 2, Default::default()));
    let (dialled, accepted) = connected(&alice, &bob).await;
    // Nothing shall happen in that time, so there is nothing to await; the clock is a paused one.
    tokio::time::sleep(Duration::from_secs(2 * 60 * 60)).await;
    assert!(!dialled.is_closed() && !accepted.is_closed());
    stream_between(&dialled, &accepted).await;
}

#[tokio::test(start_paused = true)]
async fn a_short_cut_of_the_line_costs_nothing() {
    let network = Network::new(1);
    let (alice, bob) = (on(&network, 1, Default::default()), on(&network, 2, Default::default()));
    let (dialled, accepted) = connected(&alice, &bob).await;
    network.cut(address(&bob));
    let (mut near, mut far) = (dialled.open_stream().await.unwrap(), None);
    near.sender.send(&probe()).await.unwrap();
    // So long is the cut; the clock is a paused one.
    tokio::time::sleep(Duration::from_secs(5)).await;
    network.heal(address(&bob));
    let far = far.insert(accepted.accept_stream().await.unwrap());
    assert_eq!(far.receiver.recv().await, Ok(Some(probe())));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_was_killed_and_restarted_is_noticed_by_the_next_packet() {
    let network = Network::new(1);
    let (alice, bob) = (on(&network, 1, Default::default()), on(&network, 2, Default::default()));
    let (dialled, accepted) = connected(&alice, &bob).await;
    // Killed: its farewell does not get out.
    network.cut(address(&bob));
    let where_bob_was = address(&bob);
    bob.close(CloseReason::Leaving).await;
    drop((bob, accepted));
    tokio::time::sleep(Duration::from_millis(100)).await;
    network.heal(where_bob_was);
    let restarted = on(&network, 2, Default::default());

    let start = Instant::now();
    let error = dialled.closed().await;
    assert_eq!(error, ConnectionError::PeerRestarted);
    assert_eq!(error.fault(), Fault::Network);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let (again, _) = connected(&alice, &restarted).await;
    assert!(!again.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_close_reaches_the_peer_with_its_reason() {
    let network = Network::new(1);
    let (alice, bob) = (on(&network, 1, Default::default()), on(&network, 2, Default::default()));
    let (dialled, accepted) = connected(&alice, &bob).await;
    accepted.close(CloseReason::Demoted);
    assert_eq!(dialled.closed().await, ConnectionError::ClosedByPeer(CloseReason::Demoted));
    assert_eq!(accepted.closed().await, ConnectionError::ClosedHere(CloseReason::Demoted));
    let error = dialled.open_stream().await.unwrap_err();
    assert_eq!(error, ConnectionError::ClosedByPeer(CloseReason::Demoted));
    assert_eq!(error.fault(), Fault::Peer);
}

#[tokio::test(start_paused = true)]
async fn closing_an_endpoint_tells_every_peer_and_ends_everything() {
    let network = Network::new(1);
    let (alice, bob) = (on(&network, 1, Default::default()), on(&network, 2, Default::default()));
    let carol = on(&network, 3, Default::default());
    let (to_bob, _) = connected(&alice, &bob).await;
    let (to_carol, _) = connected(&carol, &bob).await;
    bob.close(CloseReason::Leaving).await;
    assert_eq!(to_bob.closed().await, ConnectionError::ClosedByPeer(CloseReason::Leaving));
    assert_eq!(to_carol.closed().await, ConnectionError::ClosedByPeer(CloseReason::Leaving));
    assert_eq!(bob.accept().await, None);
    assert!(bob.connections().is_empty());
    assert_eq!(bob.stats().connections_incoming_live, 0);
    let closed = bob.connect(alice.node_id(), &[address(&alice)]).await;
    assert_eq!(closed, Err(skein_net::DialError::Closed));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_clone_of_an_endpoint_tells_its_peers() {
    let network = Network::new(1);
    let (alice, bob) = (on(&network, 1, Default::default()), on(&network, 2, Default::default()));
    let (dialled, _accepted) = connected(&alice, &bob).await;
    let clone = bob.clone();
    drop(bob);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!dialled.is_closed());
    drop(clone);
    assert_eq!(dialled.closed().await, ConnectionError::ClosedByPeer(CloseReason::Leaving));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_lets_nothing_through_is_not_waited_for_without_end() {
    let network = Network::new(1);
    let small = EndpointConfig::default().connection_window(64 * 1024);
    let (alice, bob) = (on(&network, 1, Default::default()), on(&network, 2, small));
    let (dialled, accepted) = connected(&alice, &bob).await;
    // What nobody reads there fills all that may be under way.
    let (mut near, _far) = stream_between(&dialled, &accepted).await;
    let full = tokio::time::timeout(
        Duration::from_secs(5),
        near.sender.send_raw(Bytes::from(vec![0; 1024 * 1024])),
    );
    assert!(full.await.is_err());

    let mut stream = dialled.open_stream().await.unwrap();
    let patience = Duration::from_secs(3);
    let asked = tokio::time::timeout(4 * patience, stream.request(&probe_reply(), patience)).await;
    assert_eq!(asked, Ok(Err(StreamError::Silent(patience))));
}

#[tokio::test(start_paused = true)]
async fn whoever_only_serves_files_holds_no_more_unread_than_before() {
    let network = Network::new(1);
    let (alice, bob) = (on(&network, 1, Default::default()), on(&network, 2, Default::default()));
    let (dialled, accepted) = connected(&alice, &bob).await;
    let unread_after = async |widen: fn(&skein_net::Connection)| {
        widen(&accepted);
        let (mut near, _far) = stream_between(&dialled, &accepted).await;
        let junk = near.sender.send_raw(Bytes::from(vec![0; 4 * 1024 * 1024]));
        tokio::time::timeout(Duration::from_secs(5), junk).await.is_ok()
    };
    dialled.widen_for_transfer();
    assert!(!unread_after(skein_net::Connection::widen_for_sending).await);
    assert!(unread_after(skein_net::Connection::widen_for_transfer).await);
}
