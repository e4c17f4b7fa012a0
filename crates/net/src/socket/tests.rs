#![allow(clippy::expect_used)]

use super::*;
use crate::paths::frame::{Body, LENGTH, ProbeFrame, ProbeKey, Side};
use crate::paths::prober::Prober;
use crate::relay::EndKey;
use crate::relay::frame::{Frame, HEADER, SlotNumber};
use crate::session::{Binding, Probing, Route, Session};
use proptest::prelude::*;

/// Keeps what is sent.
#[derive(Debug, Default)]
struct Wire {
    sent: Mutex<Vec<Vec<u8>>>,
}

impl DatagramSocket for Wire {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let mut sent = self.sent.lock().expect("nobody panics with it");
        sent.extend(transmit.contents.chunks(segment).map(<[u8]>::to_vec));
        Ok(())
    }

    fn write_poller(self: Arc<Self>) -> Pin<Box<dyn WritePoller>> {
        unreachable!("these tests do not wait for room")
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

fn demultiplexer(slots: u32) -> (Demultiplexer, Arc<Wire>) {
    let wire = Arc::<Wire>::default();
    let socket = Arc::clone(&wire) as Arc<dyn DatagramSocket>;
    let counters = Arc::<Counters>::default();
    let sessions = Arc::new(Sessions::new(Arc::clone(&socket), Arc::clone(&counters)));
    let limits = crate::relay::RelayLimits { slots, ..Default::default() };
    let relay = Relay::new(Arc::clone(&socket), Arc::clone(&counters), [1; 32], limits);
    (Demultiplexer::new(socket, counters, sessions, Arc::new(relay)), wire)
}

proptest! {
    #[test]
    fn a_batch_keeps_all_of_quic_and_nothing_else(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        stride in 0_usize..50,
    ) {
        let (demultiplexer, _) = demultiplexer(0);
        let stride_used = stride.max(1);
        let expected: Vec<u8> =
            bytes.chunks(stride_used).filter(|c| c[0] >= 0x40).flatten().copied().collect();
        let mut buffer = bytes.clone();
        let mut meta = RecvMeta { addr: PEER, len: bytes.len(), stride, ..RecvMeta::default() };
        demultiplexer.sort(&mut buffer, &mut meta);

        prop_assert_eq!(&buffer[..meta.len], &expected[..]);
        let stats = demultiplexer.counters.snapshot();
        prop_assert_eq!(stats.datagrams_in, bytes.chunks(stride_used).count() as u64);
    }
}

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 4_000);
const SIDE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)), 4_000);
const PROBED: SlotNumber = SlotNumber::new(4);
const BOUND: SlotNumber = SlotNumber::new(5);

fn probe_key() -> ProbeKey {
    ProbeKey::from_bytes([8; 32])
}

fn end_key() -> EndKey {
    EndKey::from_bytes([9; 32])
}

/// A node that has two sessions with a peer, which is observed and relays for it, and for which it
/// relays in turn.
struct Node {
    demultiplexer: Demultiplexer,
    wire: Arc<Wire>,
    slot: SlotNumber,
    sessions: [Session; 2],
    _probing: Probing,
    _binding: Binding,
}

impl Node {
    fn new() -> Self {
        let (demultiplexer, wire) = demultiplexer(1);
        let table = &demultiplexer.sessions;
        let sessions = [1, 2].map(|number| {
            let session = table.open();
            assert!(session.listen(Route { to: PEER, number: SlotNumber::new(number) }));
            session
        });
        let prober = Prober::of_connection(PROBED, probe_key(), Side::Caller);
        let probing = Probing::new(Arc::clone(table), Arc::new(prober));
        let route = Route { to: PEER, number: BOUND };
        let binding = Binding::new(Arc::clone(table), route, end_key(), true);

        let name = skein_proto::Username::parse("anna").expect("a name");
        let grant = demultiplexer.relay.grant(&name).expect("a free slot");
        let slot = grant.slot;
        for (source, key) in [PEER, SIDE].into_iter().zip(&grant.keys) {
            let ask = Frame::Bind { slot, proof: [0; 16] }.encode();
            demultiplexer.relay.receive(source, Batch { bytes: &ask, stride: 24, ecn: None });
            let challenge = wire.sent.lock().expect("sound").pop().expect("a challenge");
            let Some(Frame::Challenge { cookie, .. }) = Frame::decode(&challenge) else {
                panic!("no challenge: {challenge:?}");
            };
            let proof = key.bind_proof(slot, &cookie);
            let bind = Frame::Bind { slot, proof }.encode();
            demultiplexer.relay.receive(source, Batch { bytes: &bind, stride: 24, ecn: None });
        }
        wire.sent.lock().expect("sound").clear();
        Self { demultiplexer, wire, slot, sessions, _probing: probing, _binding: binding }
    }

    /// What QUIC gets, by address.
    fn receive(&self, batch: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut buffer = batch.to_vec();
        let mut meta = RecvMeta { len: batch.len(), stride: LENGTH, ..RecvMeta::default() };
        meta.addr = PEER;
        self.demultiplexer.sort(&mut buffer, &mut meta);
        let mut got = Vec::new();
        while meta.len > 0 {
            for datagram in buffer[..meta.len].chunks(meta.stride) {
                got.push((meta.addr, datagram.to_vec()));
            }
            meta.len = 0;
            self.demultiplexer.sessions.take_pending(&mut buffer, &mut meta);
        }
        got
    }
}

/// What a peer may send; all but the last are of the same length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Quic,
    Session(usize),
    Probe,
    Relayed,
    Unknown,
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let kind = prop_oneof![
        Just(Kind::Quic),
        (0_usize..2).prop_map(Kind::Session),
        Just(Kind::Probe),
        Just(Kind::Relayed),
        Just(Kind::Unknown),
    ];
    proptest::collection::vec(kind, 1..30)
}

/// The datagram of one kind that is the `turn`th of its batch.
fn datagram(node: &Node, kind: Kind, turn: u8) -> Vec<u8> {
    let slot = |number| [&frame::data_header(number)[..], &[turn; LENGTH - HEADER]].concat();
    match kind {
        Kind::Quic => [&[0x40][..], &[turn; LENGTH - 1]].concat(),
        Kind::Session(which) => slot(SlotNumber::new(which as u64 + 1)),
        Kind::Relayed => slot(node.slot),
        Kind::Probe => {
            let body = Body::Probe { in_use: false };
            let frame = ProbeFrame { number: PROBED, transaction: 1 + u64::from(turn), body };
            frame.seal(&probe_key(), Side::Callee).to_vec()
        }
        Kind::Unknown => [&[0x3f][..], &[turn; LENGTH - 1]].concat(),
    }
}

proptest! {
    #[test]
    fn everybody_gets_his_own_of_a_mixed_batch(kinds in kinds(), challenged in any::<bool>()) {
        let node = Node::new();
        let sent: Vec<Vec<u8>> =
            (0_u8..).zip(&kinds).map(|(turn, kind)| datagram(&node, *kind, turn)).collect();
        let mut batch = sent.concat();
        if challenged {
            batch.extend(Frame::Challenge { slot: BOUND, cookie: [7; 16] }.encode());
        }
        let got = node.receive(&batch);

        let of_kind = |wanted: Kind| {
            kinds.iter().zip(&sent).filter(move |(kind, _)| **kind == wanted).map(|(_, sent)| sent)
        };
        let of_quic = |address: SocketAddr| {
            got.iter().filter(move |(from, _)| *from == address).map(|(_, bytes)| bytes.as_slice())
        };
        prop_assert!(of_quic(PEER).eq(of_kind(Kind::Quic).map(Vec::as_slice)));
        for (which, session) in node.sessions.iter().enumerate() {
            let packets = of_kind(Kind::Session(which)).map(|bytes| &bytes[HEADER..]);
            prop_assert!(of_quic(session.address()).eq(packets));
        }
        let out = node.wire.sent.lock().expect("nobody panics with it");
        let relayed = out.iter().filter(|bytes| frame::data_slot(bytes) == Some(node.slot));
        prop_assert!(relayed.eq(of_kind(Kind::Relayed)));
        let replies = out.iter().filter(|bytes| ProbeFrame::number(bytes) == Some(PROBED));
        prop_assert_eq!(replies.count(), of_kind(Kind::Probe).count());
        let binds = out.iter().filter(|bytes| {
            matches!(Frame::decode(bytes), Some(Frame::Bind { slot: BOUND, .. }))
        });
        prop_assert_eq!(binds.count(), usize::from(challenged));
        let unknown = node.demultiplexer.counters.snapshot().datagrams_unknown;
        prop_assert_eq!(unknown, of_kind(Kind::Unknown).count() as u64);
    }
}

#[test]
fn what_comes_from_port_0_is_answered_by_nobody() {
    let node = Node::new();
    let nowhere = SocketAddr::new(PEER.ip(), 0);
    for kind in [Kind::Quic, Kind::Session(0), Kind::Probe, Kind::Relayed, Kind::Unknown] {
        let mut bytes = datagram(&node, kind, 1);
        let mut meta = RecvMeta { len: LENGTH, stride: LENGTH, ..RecvMeta::default() };
        meta.addr = nowhere;
        node.demultiplexer.sort(&mut bytes, &mut meta);
        assert_eq!(meta.len, 0, "{kind:?}");
    }
    assert!(node.wire.sent.lock().expect("nobody panics with it").is_empty());
    let stats = node.demultiplexer.counters.snapshot();
    assert_eq!((stats.datagrams_in, stats.datagrams_from_nowhere), (5, 5));
}
