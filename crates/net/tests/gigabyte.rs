//! A large transfer that changes its way twice: from a relay to a direct path, and from there to
//! another relay; in virtual time, so that all of it takes no longer than the copying.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use bytes::Bytes;
use common::punch::*;
use skein_net::Connection;
use skein_net::session::Route;
use skein_net::simnet::{LinkProfile, NatKind};
use skein_proto::Username;
use std::time::Duration;
use tokio::sync::watch;

const PIECE: usize = 64 * 1_024;
const SIZE: usize = 1 << 30;
const CONE: Place = Place::Behind(NatKind::PortRestricted);
const SOON: Duration = Duration::from_secs(3);

/// Pseudo-random bytes, so that a piece in the wrong place is noticed.
fn pieces() -> impl Iterator<Item = Bytes> {
    let mut output = blake3::Hasher::new().update(b"a gigabyte").finalize_xof();
    (0..SIZE / PIECE).map(move |_| {
        let mut piece = vec![0; PIECE];
        output.fill(&mut piece);
        piece.into()
    })
}

async fn send(connection: Connection) -> blake3::Hash {
    connection.widen_for_transfer();
    let mut stream = connection.open_stream().await.unwrap();
    let mut hasher = blake3::Hasher::new();
    for piece in pieces() {
        hasher.update(&piece);
        stream.sender.send_raw(piece).await.unwrap();
    }
    stream.sender.finish().await.unwrap();
    stream.sender.delivered().await.unwrap();
    hasher.finalize()
}

async fn receive(connection: Connection, progress: watch::Sender<usize>) -> (usize, blake3::Hash) {
    connection.widen_for_transfer();
    let mut stream = connection.accept_stream().await.unwrap();
    let (mut hasher, mut received) = (blake3::Hasher::new(), 0);
    while let Some(bytes) = stream.receiver.recv_raw(PIECE).await.unwrap() {
        hasher.update(&bytes);
        received += bytes.len();
        progress.send_replace(received);
    }
    (received, hasher.finalize())
}

#[tokio::test(start_paused = true)]
async fn a_large_transfer_from_relay_to_direct_to_another_relay_is_whole() {
    let line = LinkProfile::default().rate(50_000_000);
    let mut meeting = Meeting::on_lines([CONE, CONE], line, Duration::from_secs(60)).await;
    let other = common::on_line(&meeting.network, 10, limits(), line);
    let grant = other.relay().grant(&Username::parse("anna").unwrap());
    let grant = grant.unwrap();
    let reserve = Route { to: common::address(&other), number: grant.slot };
    let mut bindings = Vec::new();
    for (end, key) in meeting.ends.iter().zip(grant.keys) {
        let binding = end.endpoint.join_slot(reserve, key);
        binding.bind(SOON).await.expect("bound");
        bindings.push(binding);
    }

    let (dialled, accepted) = meeting.connect().await;
    let (tell, mut progress) = watch::channel(0);
    let sending = tokio::spawn(send(dialled.clone()));
    let receiving = tokio::spawn(receive(accepted, tell));
    progress.wait_for(|received| *received > SIZE / 3).await.unwrap();
    let first = meeting.relay.relay().usage().bytes;
    meeting.punch();
    assert!(meeting.becomes_direct(SOON).await);
    progress.wait_for(|received| *received > SIZE / 3 * 2).await.unwrap();
    let while_direct = meeting.relay.relay().usage().bytes - first;

    let [near, far] = [0, 1].map(|end: usize| common::address(&meeting.ends[end].endpoint));
    for end in &meeting.ends {
        end.paths.as_ref().unwrap().relay_over(Some(reserve));
    }
    meeting.network.cut(common::address(&meeting.relay));
    meeting.network.block(near, far);
    let sent = sending.await.unwrap();
    assert_eq!(receiving.await.unwrap(), (SIZE, sent));
    assert!(!dialled.is_closed(), "it is one connection throughout");
    let (first, size) = (first as f64, SIZE as f64);
    let second = other.relay().usage().bytes as f64;
    assert!(first > size * 0.3, "the beginning went over the relay: {first}");
    assert!((while_direct as f64) < size * 0.25, "the middle did not: {while_direct}");
    assert!(second > size * 0.2, "the end went over the other relay: {second}");
}
