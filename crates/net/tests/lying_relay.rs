//! What a relay can do that does not do as it should: it sees where both ends are and when they
//! talk, and it may let nothing through. It changes nothing of what they say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use bytes::Bytes;
use common::*;
use skein_net::relay::EndKey;
use skein_net::relay::frame::{Frame, SlotNumber};
use skein_net::session::{Binding, Route, Session};
use skein_net::simnet::{LinkProfile, Network, SimSocket};
use skein_net::{DatagramSocket, Endpoint, EndpointConfig, RecvMeta, Transmit};
use std::future::poll_fn;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const SLOT: SlotNumber = SlotNumber::new(77);
const COOKIE: [u8; 16] = [1; 16];
const PATIENCE: Duration = Duration::from_secs(5);

/// What the relay makes of the packets that it is to pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// Changes a byte of every fifth.
    Changes,
    /// Sends each twice, and each once more a hundred packets later.
    Repeats,
    /// Sends each back to where it came from, too.
    Reflects,
    /// Puts packets of its own between, some of them looking like QUIC's.
    Invents,
    /// Has no key, and says that it has bound the ends.
    IsNone,
}

struct Liar {
    socket: Arc<SimSocket>,
    lie: Lie,
    keys: [EndKey; 2],
    ends: [Option<SocketAddr>; 2],
    passed: usize,
    kept: Vec<(SocketAddr, Vec<u8>)>,
}

impl Liar {
    fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: bytes,
            segment_size: None,
            src_ip: None,
        };
        self.socket.try_send(&transmit).unwrap();
    }

    async fn run(mut self) {
        let mut bytes = [0; 65_536];
        let mut meta = [RecvMeta::default()];
        loop {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            poll_fn(|cx| self.socket.poll_recv(cx, &mut buffers, &mut meta)).await.unwrap();
            let RecvMeta { addr, len, stride, .. } = meta[0];
            for datagram in bytes[..len].chunks(stride) {
                self.take(addr, datagram.to_vec());
            }
        }
    }

    fn take(&mut self, from: SocketAddr, datagram: Vec<u8>) {
        match Frame::decode(&datagram) {
            Some(Frame::Bind { proof, .. }) if proof == [0; 16] => {
                self.send(from, &Frame::Challenge { slot: SLOT, cookie: COOKIE }.encode());
            }
            Some(Frame::Bind { proof, .. }) => {
                let is_of = |end: &usize| self.keys[*end].bind_proof(SLOT, &COOKIE) == proof;
                let Some(end) = (0..2).find(is_of) else { return };
                self.ends[end] = Some(from);
                let proof = match self.lie {
                    Lie::IsNone => [7; 16],
                    _ => self.keys[end].bound_proof(SLOT, &COOKIE),
                };
                self.send(from, &Frame::Bound { slot: SLOT, proof }.encode());
            }
            Some(Frame::Data { .. }) => self.pass(from, datagram),
            _ => {}
        }
    }

    fn pass(&mut self, from: SocketAddr, mut datagram: Vec<u8>) {
        let other = self.ends.iter().position(|end| *end == Some(from)).map(|end| 1 - end);
        let Some(to) = other.and_then(|other| self.ends[other]) else { return };
        self.passed += 1;
        match self.lie {
            Lie::Changes if self.passed.is_multiple_of(5) => {
                let at = 8 + self.passed % (datagram.len() - 8);
                datagram[at] ^= 0x20;
            }
            Lie::Repeats => {
                self.send(to, &datagram);
                self.kept.push((to, datagram.clone()));
                if self.kept.len() > 100 {
                    let (to, old) = self.kept.remove(0);
                    self.send(to, &old);
                }
            }
            Lie::Reflects => self.send(from, &datagram),
            Lie::Invents => {
                let mut invented = datagram.clone();
                invented.iter_mut().skip(9).for_each(|byte| *byte = byte.wrapping_mul(31));
                self.send(to, &invented);
                self.send(to, &datagram[..9]);
                self.send(to, &Frame::Bound { slot: SLOT, proof: [9; 16] }.encode());
                self.send(to, &Frame::Challenge { slot: SLOT, cookie: [2; 16] }.encode());
            }
            _ => {}
        }
        self.send(to, &datagram);
    }
}

/// Two ends of a slot of a relay that lies.
struct Scene {
    ends: [Endpoint; 2],
    sessions: [Session; 2],
    bindings: [Binding; 2],
}

impl Scene {
    fn new(lie: Lie) -> Self {
        let network = Network::new(5);
        let at = SocketAddr::from(([10, 0, 0, 9], 4_000));
        let socket = network.socket(at, LinkProfile::default()).unwrap();
        let keys = [1, 2].map(|n| EndKey::from_bytes([n; 32]));
        let (passed, kept) = (0, Vec::new());
        let liar = Liar { socket, lie, keys: keys.clone(), ends: [None; 2], passed, kept };
        tokio::spawn(liar.run());
        let ends = [1, 2].map(|seed| on(&network, seed, EndpointConfig::default()));
        let route = Route { to: at, number: SLOT };
        let bindings = [0, 1].map(|end: usize| ends[end].join_slot(route, keys[end].clone()));
        let sessions = [0, 1].map(|end: usize| {
            let session = ends[end].open_session();
            assert!(session.listen(route));
            session.send_along(route);
            session
        });
        Self { ends, sessions, bindings }
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_changes_repeats_reflects_or_invents_packets_alters_no_byte() {
    for lie in [Lie::Changes, Lie::Repeats, Lie::Reflects, Lie::Invents] {
        let scene = Scene::new(lie);
        for binding in &scene.bindings {
            binding.bind(PATIENCE).await.expect("it binds them");
        }
        let peer = scene.ends[1].node_id();
        let dialled = scene.ends[0].connect(peer, &[scene.sessions[0].address()]).await;
        let dialled = dialled.unwrap_or_else(|error| panic!("{lie:?}: {error}"));
        let accepted = scene.ends[1].accept().await.unwrap();
        assert_eq!(accepted.peer(), scene.ends[0].node_id(), "{lie:?}: no one else");
        let sending = dialled.clone();
        let sent = tokio::spawn(async move {
            let mut stream = sending.open_stream().await.unwrap();
            for block in 0..300_u16 {
                let block = u8::try_from(block % 251).unwrap();
                stream.sender.send_raw(Bytes::from(vec![block; 1_000])).await.unwrap();
            }
            stream.sender.finish().await.unwrap();
            stream.sender.delivered().await.unwrap();
        });
        let mut stream = accepted.accept_stream().await.unwrap();
        let mut received = 0;
        while let Some(bytes) = stream.receiver.recv_raw(8_000).await.unwrap() {
            for byte in &bytes {
                assert_eq!(usize::from(*byte), received / 1_000 % 251, "{lie:?}: at {received}");
                received += 1;
            }
        }
        assert_eq!(received, 300_000, "{lie:?}");
        sent.await.unwrap();
        assert!(!dialled.is_closed() && !accepted.is_closed(), "{lie:?}");
        let reflected = scene.ends[0].stats().handshakes_reflected;
        assert!(reflected > 0 || lie != Lie::Reflects, "what comes back is noticed");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_not_the_relay_cannot_say_that_an_end_is_bound() {
    let scene = Scene::new(Lie::IsNone);
    scene.bindings[0].bind(PATIENCE).await.expect_err("it has no key");
    assert_eq!(scene.bindings[0].times_bound(), 0);
}
