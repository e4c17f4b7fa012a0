//! Marks of explicit congestion notification, over sockets of the system.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::relay::RelayLimits;
use crate::relay::frame::{Frame, SlotNumber};
use crate::session::Route;
use EcnCodepoint::{Ce, Ect0, Ect1};
use std::future::poll_fn;

/// A socket that the runtime knows to have room.
async fn bound() -> Arc<UdpSocket> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0).into(), 1 << 20);
    let socket = Arc::new(socket.unwrap());
    let mut poller = Arc::clone(&socket).write_poller();
    poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
    socket
}

/// What a socket receives next, and how it is marked.
async fn next(
    mut poll: impl FnMut(
        &mut Context<'_>,
        &mut [IoSliceMut<'_>],
        &mut [RecvMeta],
    ) -> Poll<io::Result<usize>>,
) -> (Vec<u8>, RecvMeta) {
    let mut bytes = vec![0; 65_536];
    let mut meta = [RecvMeta::default()];
    loop {
        let received = poll_fn(|cx| poll(cx, &mut [IoSliceMut::new(&mut bytes)], &mut meta));
        received.await.unwrap();
        if meta[0].len > 0 {
            return (bytes[..meta[0].len].to_vec(), meta[0]);
        }
    }
}

async fn received(socket: &UdpSocket) -> (Vec<u8>, RecvMeta) {
    next(|cx, buffers, meta| socket.poll_recv(cx, buffers, meta)).await
}

async fn of_quic(node: &Demultiplexer) -> (Vec<u8>, RecvMeta) {
    next(|cx, buffers, meta| node.poll_recv(cx, buffers, meta)).await
}

fn send(from: &UdpSocket, to: &UdpSocket, contents: &[u8], ecn: Option<EcnCodepoint>) {
    let destination = to.local_addr().unwrap();
    let transmit = Transmit { destination, ecn, contents, segment_size: None, src_ip: None };
    from.try_send(&transmit).unwrap();
}

/// A node over a socket of its own.
async fn node() -> (Demultiplexer, Arc<UdpSocket>) {
    let own = bound().await;
    let socket = Arc::clone(&own) as Arc<dyn DatagramSocket>;
    let counters = Arc::<Counters>::default();
    let sessions = Arc::new(Sessions::new(Arc::clone(&socket), Arc::clone(&counters)));
    let limits = RelayLimits { slots: 1, ..RelayLimits::default() };
    let relay = Relay::new(Arc::clone(&socket), Arc::clone(&counters), [1; 32], limits);
    (Demultiplexer::new(socket, counters, sessions, Arc::new(relay)), own)
}

const NUMBER: SlotNumber = SlotNumber::new(1);
const MARKS: [Option<EcnCodepoint>; 4] = [Some(Ect0), Some(Ce), None, Some(Ect1)];

#[tokio::test]
async fn quic_gets_the_marks_that_came_with_and_without_a_session() {
    let (peer, (node, own)) = (bound().await, node().await);
    let session = node.sessions.open();
    assert!(session.listen(Route { to: peer.local_addr().unwrap(), number: NUMBER }));
    let plain = [0x40; 100];
    let framed = [&frame::data_header(NUMBER)[..], &plain].concat();
    for ecn in MARKS {
        send(&peer, &own, &plain, ecn);
        let (bytes, meta) = of_quic(&node).await;
        assert_eq!((bytes.as_slice(), meta.ecn), (&plain[..], ecn));
        send(&peer, &own, &framed, ecn);
        let (bytes, meta) = of_quic(&node).await;
        assert_eq!((bytes.as_slice(), meta.addr, meta.ecn), (&plain[..], session.address(), ecn));
    }
}

#[tokio::test]
async fn the_marks_of_quic_are_on_what_goes_out_with_and_without_a_session() {
    let (peer, (node, _own)) = (bound().await, node().await);
    let to = peer.local_addr().unwrap();
    let session = node.sessions.open();
    session.send_along(Route { to, number: NUMBER });
    let contents = [0x40; 300];
    for destination in [mapped(to), session.address()] {
        let header = if destination == session.address() { HEADER } else { 0 };
        // One right behind the other: what is marked otherwise does not go with it.
        for ecn in MARKS {
            for segment_size in [Some(100), None] {
                let contents = if segment_size.is_some() { &contents } else { &contents[..100] };
                let transmit = Transmit { destination, ecn, contents, segment_size, src_ip: None };
                node.try_send(&transmit).unwrap();
            }
        }
        for ecn in MARKS {
            let mut left = 4 * (100 + header);
            while left > 0 {
                let (bytes, meta) = received(&peer).await;
                assert_eq!(meta.ecn, ecn, "{destination}");
                left = left.checked_sub(bytes.len()).expect("those of one mark together");
            }
        }
    }
}

#[tokio::test]
async fn a_relay_passes_on_the_marks_of_packets() {
    let (relay, own) = node().await;
    let ends = [bound().await, bound().await];
    let grant = relay.relay.grant(&skein_proto::Username::parse("anna").unwrap()).unwrap();
    let slot = grant.slot;
    let relays = async { of_quic(&relay).await };
    let passes = async {
        for (end, key) in ends.iter().zip(&grant.keys) {
            send(end, &own, &Frame::Bind { slot, proof: [0; 16] }.encode(), None);
            let (challenge, _) = received(end).await;
            let Some(Frame::Challenge { cookie, .. }) = Frame::decode(&challenge) else {
                panic!("no challenge: {challenge:?}");
            };
            let proof = key.bind_proof(slot, &cookie);
            send(end, &own, &Frame::Bind { slot, proof }.encode(), None);
            received(end).await;
        }
        let packet = [&frame::data_header(slot)[..], &[0x40; 100]].concat();
        for ecn in MARKS {
            send(&ends[0], &own, &packet, ecn);
            let (bytes, meta) = received(&ends[1]).await;
            assert_eq!((&bytes, meta.ecn), (&packet, ecn));
        }
    };
    tokio::select! {
        other = relays => panic!("nothing is for the relay's own QUIC: {other:?}"),
        () = passes => {}
    }
}
