#![allow(clippy::expect_used, clippy::unwrap_used)]

use super::*;
use crate::socket::{RecvMeta, Transmit, WritePoller};
use frame::HEADER;
use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::atomic::AtomicU16;
use std::task::{Context, Poll};

/// What was sent: to whom, in which segments, which bytes.
type Sent = (SocketAddr, Option<usize>, Vec<u8>);

#[derive(Debug, Default)]
struct Wire {
    sent: Mutex<Vec<Sent>>,
    /// How each of what was sent was marked.
    marks: Mutex<Vec<Option<EcnCodepoint>>>,
    /// As many calls are taken, if that is limited; then it is full.
    room: Mutex<Option<usize>>,
    /// The port that the system refuses to send to.
    refuses: AtomicU16,
    /// It takes one datagram at a time.
    has_no_batches: AtomicBool,
}

impl Wire {
    fn has_room_for(&self, calls: Option<usize>) {
        *self.room.lock().unwrap() = calls;
    }
}

impl DatagramSocket for Wire {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut room = self.room.lock().unwrap();
        *room = match *room {
            Some(0) => return Err(io::ErrorKind::WouldBlock.into()),
            limit => limit.map(|calls| calls - 1),
        };
        if transmit.destination.port() == self.refuses.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let sent = (transmit.destination, transmit.segment_size, transmit.contents.to_vec());
        self.sent.lock().unwrap().push(sent);
        self.marks.lock().unwrap().push(transmit.ecn);
        Ok(())
    }

    fn write_poller(self: Arc<Self>) -> Pin<Box<dyn WritePoller>> {
        unreachable!("these tests flush by hand")
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn max_transmit_segments(&self) -> usize {
        if self.has_no_batches.load(Ordering::Relaxed) { 1 } else { 64 }
    }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

struct Lab {
    wire: Arc<Wire>,
    relay: Relay,
}

impl Lab {
    fn new(limits: RelayLimits) -> Self {
        let wire = Arc::<Wire>::default();
        let socket = Arc::clone(&wire) as Arc<dyn DatagramSocket>;
        Self { wire, relay: Relay::new(socket, Arc::default(), [7; 32], limits) }
    }

    /// With a slot whose ends are at the ports 1 and 2.
    fn bound() -> (Self, Grant) {
        let lab = Self::new(RelayLimits::default());
        let grant = lab.relay.grant(&name("anna")).unwrap();
        lab.bind(&grant, 0, at(1));
        lab.bind(&grant, 1, at(2));
        (lab, grant)
    }

    fn taken(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.wire.sent.lock().unwrap())
    }

    fn cookie_for(&self, slot: SlotNumber, from: SocketAddr) -> Cookie {
        let ask = Frame::Bind { slot, proof: [0; 16] }.encode();
        self.relay.receive(from, batched(&ask, ask.len()));
        let sent = self.taken();
        assert_eq!((sent.len(), sent[0].0), (1, from));
        let Some(Frame::Challenge { cookie, .. }) = Frame::decode(&sent[0].2) else {
            panic!("no challenge")
        };
        cookie
    }

    fn bind(&self, grant: &Grant, end: usize, from: SocketAddr) {
        let slot = grant.slot;
        let cookie = self.cookie_for(slot, from);
        let key = &grant.keys[end];
        let bind = Frame::Bind { slot, proof: key.bind_proof(slot, &cookie) }.encode();
        self.relay.receive(from, batched(&bind, bind.len()));
        let sent = self.taken();
        let proof = key.bound_proof(slot, &cookie);
        assert_eq!(Frame::decode(&sent[0].2), Some(Frame::Bound { slot, proof }));
    }
}

fn batched(bytes: &[u8], stride: usize) -> Batch<'_> {
    Batch { bytes, stride, ecn: None }
}

/// `count` packets of a slot in one batch, each `stride` bytes with its header.
fn batch(slot: SlotNumber, count: usize, stride: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..count {
        bytes.extend_from_slice(&frame::data_header(slot));
        bytes.resize(bytes.len() + stride - HEADER, 0x40 + u8::try_from(number % 64).unwrap());
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_came_goes_out_as_it_was() {
    let (lab, grant) = Lab::bound();
    let bytes = batch(grant.slot, 10, 1_208);
    lab.relay.receive(at(1), batched(&bytes, 1_208));
    assert_eq!(lab.taken(), [(at(2), Some(1_208), bytes.clone())]);
    lab.relay.receive(at(2), batched(&bytes[..1_208], 1_208));
    assert_eq!(lab.taken(), [(at(1), None, bytes[..1_208].to_vec())]);
    assert_eq!(lab.relay.usage().bytes, 11 * 1_208);
}

#[tokio::test(start_paused = true)]
async fn where_the_system_takes_no_batches_each_packet_goes_by_itself() {
    let (lab, grant) = Lab::bound();
    lab.wire.has_no_batches.store(true, Ordering::Relaxed);
    let bytes = [batch(grant.slot, 3, 1_208), batch(grant.slot, 1, 500)].concat();
    lab.relay.receive(at(1), batched(&bytes, 1_208));
    let packets: Vec<Sent> =
        bytes.chunks(1_208).map(|packet| (at(2), None, packet.to_vec())).collect();
    assert_eq!(lab.taken(), packets);

    // When there is room for some of them only, the others follow, and none goes twice.
    lab.wire.has_room_for(Some(2));
    lab.relay.receive(at(1), batched(&bytes, 1_208));
    assert_eq!(lab.taken(), packets[..2]);
    lab.wire.has_room_for(Some(1));
    lab.relay.flush();
    assert!(lab.relay.is_waiting());
    lab.wire.has_room_for(None);
    lab.relay.flush();
    assert_eq!(lab.taken(), packets[2..]);
    assert_eq!(lab.relay.usage().bytes, 2 * bytes.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn what_the_system_refuses_to_send_counts_as_dropped() {
    let (lab, grant) = Lab::bound();
    lab.wire.refuses.store(2, Ordering::Relaxed);
    let bytes = batch(grant.slot, 10, 1_208);
    lab.relay.receive(at(1), batched(&bytes, 1_208));
    lab.relay.receive(at(2), batched(&bytes, 1_208));
    let usage = lab.relay.usage();
    assert_eq!((usage.bytes, usage.dropped_unsendable), (12_080, 12_080));
    assert!(!lab.relay.is_waiting(), "to try again would be in vain");
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_two_slots_is_parted() {
    let (lab, grant) = Lab::bound();
    let other = lab.relay.grant(&name("anna")).unwrap();
    lab.bind(&other, 0, at(1));
    lab.bind(&other, 1, at(3));
    let bytes = [batch(grant.slot, 2, 100), batch(other.slot, 3, 100)].concat();
    lab.relay.receive(at(1), batched(&bytes, 100));
    let sent: Vec<_> = lab.taken().into_iter().map(|(to, _, b)| (to, b.len())).collect();
    assert_eq!(sent, [(at(2), 200), (at(3), 300)]);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_knows_the_number_of_a_slot_gains_nothing() {
    let (lab, grant) = Lab::bound();
    lab.relay.receive(at(66), batched(&batch(grant.slot, 5, 100), 100));
    let sent = lab.taken();
    assert_eq!(sent.len(), 1, "one answer, to the stranger himself");
    assert!(sent[0].0 == at(66) && sent[0].2.len() < 100);

    // He answers the challenge as well as he can.
    lab.cookie_for(grant.slot, at(66));
    let stolen = grant.keys[0].bind_proof(grant.slot, &lab.cookie_for(grant.slot, at(1)));
    for proof in [[1; 16], stolen] {
        let bind = Frame::Bind { slot: grant.slot, proof }.encode();
        lab.relay.receive(at(66), batched(&bind, bind.len()));
    }
    assert_eq!((lab.taken().len(), lab.relay.usage().forged), (0, 2));
    lab.relay.receive(at(1), batched(&batch(grant.slot, 1, 100), 100));
    assert_eq!(lab.taken()[0].0, at(2), "the slot is as it was");
}

#[tokio::test(start_paused = true)]
async fn a_recorded_bind_cannot_be_sent_from_elsewhere_or_later() {
    let (lab, grant) = Lab::bound();
    let cookie = lab.cookie_for(grant.slot, at(1));
    let proof = grant.keys[0].bind_proof(grant.slot, &cookie);
    let recorded = Frame::Bind { slot: grant.slot, proof }.encode();
    lab.relay.receive(at(66), batched(&recorded, recorded.len()));
    tokio::time::advance(COOKIE_LIFE * 2).await;
    lab.relay.receive(at(1), batched(&recorded, recorded.len()));
    assert_eq!((lab.taken().len(), lab.relay.usage().forged), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_address_has_changed_is_challenged_and_bound_anew() {
    let (lab, grant) = Lab::bound();
    let packet = batch(grant.slot, 1, 100);
    lab.relay.receive(at(10), batched(&packet, 100));
    let sent = lab.taken();
    let Some(Frame::Challenge { slot, cookie }) = Frame::decode(&sent[0].2) else { panic!() };
    let bind = Frame::Bind { slot, proof: grant.keys[0].bind_proof(slot, &cookie) };
    lab.relay.receive(at(10), batched(&bind.encode(), 24));
    lab.taken();
    lab.relay.receive(at(2), batched(&packet, 100));
    assert_eq!(lab.taken()[0].0, at(10));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_with_more_than_it_was() {
    let (lab, grant) = Lab::bound();
    for length in HEADER + 1..60 {
        let packet = batch(grant.slot, 1, length);
        lab.relay.receive(at(66), batched(&packet, length));
        let answered: usize = lab.taken().iter().map(|(_, _, bytes)| bytes.len()).sum();
        assert!(answered <= length);
    }
    let unknown = Frame::Bind { slot: SlotNumber::new(9), proof: [0; 16] };
    lab.relay.receive(at(66), batched(&unknown.encode(), 24));
    assert!(lab.taken().is_empty(), "a slot that is not there is not answered for");
}

#[tokio::test(start_paused = true)]
async fn limits_hold_and_can_be_changed_while_packets_pass() {
    let (lab, grant) = Lab::bound();
    let second = batch(grant.slot, 50, 1_000);
    let pass = |times: usize| {
        (0..times).for_each(|_| lab.relay.receive(at(1), batched(&second, 1_000)));
        lab.taken().len()
    };
    let defaults = RelayLimits::default();
    lab.relay.set_limits(RelayLimits { slot_rate: 400_000, ..defaults });
    assert_eq!(pass(10), 2, "a burst of 128 KiB");
    tokio::time::advance(Duration::from_millis(250)).await;
    assert_eq!(pass(10), 2);
    lab.relay.set_limits(RelayLimits {
        slot_rate: u32::MAX,
        name_rate: u32::MAX,
        total_rate: u32::MAX,
        ..defaults
    });
    assert_eq!(pass(10), 10);
    let usage = lab.relay.usage();
    assert_eq!(usage.bytes + usage.dropped_over_rate, 30 * 50_000);
    lab.relay.set_limits(RelayLimits { slots: 0, ..defaults });
    assert_eq!((pass(1), lab.relay.usage().slots), (0, 0), "a donor may stop at once");
    assert_eq!(lab.relay.grant(&name("anna")), Err(GrantRefused::OptedOut));
}

#[tokio::test(start_paused = true)]
async fn what_a_name_and_what_all_may_move_can_be_changed_while_packets_pass() {
    let most = RelayLimits {
        slot_rate: u32::MAX,
        name_rate: u32::MAX,
        total_rate: u32::MAX,
        ..RelayLimits::default()
    };
    let lab = Lab::new(most);
    let slots = [("anna", 1), ("anna", 3), ("bert", 5)].map(|(who, port)| {
        let grant = lab.relay.grant(&name(who)).unwrap();
        (0..2).for_each(|end| lab.bind(&grant, end, at(port + end as u16)));
        (grant.slot, port)
    });
    // Batches of 52 kB, through each slot in turn; how many of them pass.
    let pass = || {
        let mut passed = [0; 3];
        for _ in 0..10 {
            for ((slot, port), passed) in slots.iter().zip(&mut passed) {
                lab.relay.receive(at(*port), batched(&batch(*slot, 50, 1_000), 1_000));
                *passed += lab.taken().len();
            }
        }
        passed
    };
    assert_eq!(pass(), [10, 10, 10]);
    lab.relay.set_limits(RelayLimits { name_rate: 400_000, ..most });
    assert_eq!(pass(), [1, 1, 2], "128 KiB for each name");
    lab.relay.set_limits(RelayLimits { total_rate: 400_000, ..most });
    assert_eq!(pass(), [1, 1, 0], "128 KiB for all");
    lab.relay.set_limits(most);
    assert_eq!(pass(), [10, 10, 10]);

    let another = || lab.relay.grant(&name("anna")).err();
    lab.relay.set_limits(RelayLimits { slots_per_name: 2, ..most });
    assert_eq!(another(), Some(GrantRefused::TooMany));
    lab.relay.set_limits(RelayLimits { slots_per_name: 3, ..most });
    assert_eq!((another(), another()), (None, Some(GrantRefused::TooMany)));
}

#[tokio::test(start_paused = true)]
async fn slots_are_bounded_by_name_and_in_all_and_given_back() {
    let lab = Lab::new(RelayLimits { slots: 3, slots_per_name: 2, ..RelayLimits::default() });
    let grant = |who: &str| lab.relay.grant(&name(who));
    let first = grant("anna").unwrap();
    assert_eq!(grant("anna").err(), None);
    assert_eq!(grant("anna").err(), Some(GrantRefused::TooMany));
    assert_eq!(grant("bert").err(), None);
    assert_eq!(grant("bert").err(), Some(GrantRefused::Full), "nobody has many more");
    lab.relay.release(first.slot);
    assert_eq!(grant("bert").err(), None);
    tokio::time::advance(RelayLimits::default().idle).await;
    assert_eq!(lab.relay.expire(), 3);
    assert_eq!(lab.relay.usage().slots, 0);
    assert!(lab.relay.table().is_forgotten(), "nobody is remembered who has no slot");
}

#[tokio::test(start_paused = true)]
async fn when_all_slots_are_taken_who_has_most_makes_room_for_who_has_none() {
    let lab = Lab::new(RelayLimits { slots: 4, ..RelayLimits::default() });
    let grants: Vec<_> = (0..4).map(|_| lab.relay.grant(&name("anna")).unwrap()).collect();
    for (grant, end) in [(0, 0), (0, 1), (2, 0), (3, 0)] {
        tokio::time::advance(Duration::from_secs(1)).await;
        lab.bind(&grants[grant], end, at(1));
    }
    let is_there = |grant: &Grant| lab.relay.table().salt(grant.slot).is_some();
    let berts = lab.relay.grant(&name("bert")).unwrap();
    assert_eq!(grants.iter().map(is_there).collect::<Vec<_>>(), [true, false, true, true]);
    lab.relay.grant(&name("cora")).unwrap();
    assert_eq!(grants.iter().map(is_there).collect::<Vec<_>>(), [false, false, true, true]);
    assert_eq!(lab.relay.grant(&name("bert")).err(), Some(GrantRefused::Full));
    lab.relay.grant(&name("dora")).unwrap();
    assert_eq!(lab.relay.grant(&name("emil")).err(), Some(GrantRefused::Full), "one each");
    assert!(is_there(&berts) && lab.relay.usage().slots == 4);
}

#[tokio::test(start_paused = true)]
async fn a_name_gives_back_its_own_slots_and_nobody_elses() {
    let lab = Lab::new(RelayLimits { slots_per_name: 2, ..RelayLimits::default() });
    let slots: Vec<_> = (0..2).map(|_| lab.relay.grant(&name("anna")).unwrap().slot).collect();
    assert!(!lab.relay.release_of(&name("bert"), slots[0]), "it is not his");
    assert_eq!(lab.relay.grant(&name("anna")).err(), Some(GrantRefused::TooMany));
    assert!(lab.relay.release_of(&name("anna"), slots[0]));
    assert!(!lab.relay.release_of(&name("anna"), slots[0]), "once");
    let other = lab.relay.grant(&name("bert")).unwrap().slot;
    assert!(!lab.relay.release_of(&name("anna"), other), "another one in its place");
    let usage = lab.relay.usage();
    assert_eq!((usage.slots, usage.released, usage.unreleased), (2, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn to_give_slots_back_and_take_others_gains_no_bytes() {
    let (lab, grant) = Lab::bound();
    let (burst, owner) = (lab.relay.limits().name_rate as usize / 4, name("anna"));
    let passes = |slot| lab.relay.table().pass(slot, at(1), burst / 2, lab.relay.nanos());
    assert!(matches!(passes(grant.slot), table::Passage::To(_)));
    assert!(!lab.relay.release_of(&owner, grant.slot), "half of the burst is used up");
    tokio::time::advance(Duration::from_millis(125)).await;
    assert!(lab.relay.release_of(&owner, grant.slot), "what is forgotten is as if it were new");
}

#[tokio::test(start_paused = true)]
async fn a_full_socket_delays_and_then_drops_the_oldest() {
    let (lab, grant) = Lab::bound();
    let unlimited = RelayLimits {
        slot_rate: u32::MAX,
        name_rate: u32::MAX,
        total_rate: u32::MAX,
        ..RelayLimits::default()
    };
    lab.relay.set_limits(unlimited);
    lab.wire.has_room_for(Some(0));
    let bytes = batch(grant.slot, 60, 1_000);
    (0..100).for_each(|_| lab.relay.receive(at(1), batched(&bytes, 1_000)));
    assert!(lab.relay.is_waiting());
    assert_eq!(lab.relay.usage().bytes, 0, "nothing has been moved yet");
    lab.wire.has_room_for(None);
    lab.relay.flush();
    let sent: usize = lab.taken().iter().map(|(_, _, bytes)| bytes.len()).sum();
    let usage = lab.relay.usage();
    assert_eq!((sent as u64, usage.bytes + usage.dropped_queue), (usage.bytes, 6_000_000));
    assert!(!lab.relay.is_waiting() && sent > 3_900_000, "{sent}");
}

fn early(grant: &Grant, end: usize, bytes: usize) -> Vec<u8> {
    let packet = vec![0xc0; bytes];
    let proof = grant.keys[end].early_proof(grant.slot, &packet);
    Frame::Early { slot: grant.slot, proof, packet: &packet }.encode()
}

impl Lab {
    /// With a slot of which one end is at the port 1; the other one has its key only.
    fn half_bound() -> (Self, Grant) {
        let lab = Self::new(RelayLimits::default());
        let grant = lab.relay.grant(&name("anna")).unwrap();
        lab.bind(&grant, 0, at(1));
        (lab, grant)
    }

    /// What is sent to each port when this comes from one.
    fn moved(&self, from: u16, frame: &[u8]) -> Vec<(u16, Vec<u8>)> {
        self.relay.receive(at(from), batched(frame, frame.len()));
        self.taken().into_iter().map(|(to, _, bytes)| (to.port(), bytes)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_with_its_key_sends_before_it_has_proven_its_address_and_little_comes_back() {
    let (lab, grant) = Lab::half_bound();
    let sent = lab.moved(2, &early(&grant, 1, 1_200));
    let packet = [&frame::data_header(grant.slot)[..], &[0xc0; 1_200]].concat();
    assert_eq!((sent[0].0, &sent[0].1), (1, &packet), "as any packet of the slot");
    assert_eq!(sent[1].0, 2, "and the end is asked to prove its address");
    assert!(matches!(Frame::decode(&sent[1].1), Some(Frame::Challenge { .. })));

    let back = batch(grant.slot, 1, 1_000);
    let came_back = (0..10).filter(|_| !lab.moved(1, &back).is_empty()).count();
    assert_eq!(came_back, 3, "three times what came from there");
    assert_eq!(lab.relay.usage().early, 4);

    lab.bind(&grant, 1, at(2));
    let came_back = (0..10).filter(|_| lab.moved(1, &back) == [(2, back.clone())]).count();
    assert_eq!(came_back, 10, "it has proven it");
    assert!(lab.relay.table().early.is_empty());
}

#[tokio::test(start_paused = true)]
async fn packets_keep_their_marks_of_congestion_and_what_the_relay_says_itself_has_none() {
    use EcnCodepoint::{Ce, Ect0, Ect1};
    let (lab, grant) = Lab::half_bound();
    let marked = |from: u16, bytes: &[u8], ecn| {
        lab.wire.marks.lock().unwrap().clear();
        let stride = bytes.len().min(1_000);
        lab.relay.receive(at(from), Batch { bytes, stride, ecn });
        lab.wire.marks.lock().unwrap().clone()
    };
    let (ahead, back) = (early(&grant, 1, 900), batch(grant.slot, 2, 1_000));
    assert_eq!(marked(2, &ahead, Some(Ce)), [Some(Ce), None], "an early packet, and a challenge");
    assert_eq!(marked(1, &back, Some(Ect0)), [Some(Ect0)], "what comes back for it");
    lab.taken();
    lab.bind(&grant, 1, at(2));
    for ecn in [Some(Ect0), Some(Ect1), Some(Ce), None] {
        assert_eq!(marked(1, &back, ecn), [ecn]);
        lab.wire.has_room_for(Some(0));
        assert_eq!(marked(1, &back, ecn), []);
        lab.wire.has_room_for(None);
        lab.relay.flush();
        assert_eq!(*lab.wire.marks.lock().unwrap(), [ecn], "after it has waited");
    }
}

#[tokio::test(start_paused = true)]
async fn early_packets_are_few_and_allow_nothing_to_be_sent_to_somebody_else() {
    let (lab, grant) = Lab::half_bound();
    let frame = early(&grant, 1, 1_200);
    assert_eq!(lab.moved(2, &frame).len(), 2);
    assert_eq!(lab.moved(3, &early(&grant, 1, 20)).len(), 2, "it is somewhere else now");
    let back = batch(grant.slot, 1, 1_000);
    assert!(lab.moved(1, &back).is_empty(), "hardly anything came from there");
    let to_the_other_end = |sent: Vec<(u16, Vec<u8>)>| sent.iter().any(|(to, _)| *to == 1);
    let moved = (0..100).filter(|_| to_the_other_end(lab.moved(2, &frame))).count();
    assert_eq!(moved, 5, "8 KiB in all");
    assert!(lab.relay.usage().dropped_unbound > 100_000);
    lab.relay.release(grant.slot);
    assert!(lab.relay.table().early.is_empty());
}

#[tokio::test(start_paused = true)]
async fn early_packets_without_the_key_of_an_end_move_nothing_and_answer_nothing() {
    let (lab, grant) = Lab::half_bound();
    let mut forged = early(&grant, 1, 1_200);
    *forged.last_mut().unwrap() ^= 1;
    assert!(lab.moved(2, &forged).is_empty());
    let unknown = Grant { slot: SlotNumber::new(5), ..grant.clone() };
    assert!(lab.moved(2, &early(&unknown, 1, 1_200)).is_empty());
    assert_eq!((lab.relay.usage().forged, lab.relay.usage().foreign), (1, 1));

    // A frame that was seen on its way and comes again from elsewhere once the end is bound.
    lab.bind(&grant, 1, at(2));
    let sent = lab.moved(3, &early(&grant, 1, 1_200));
    assert!(matches!(&sent[..], [(3, challenge)] if challenge.len() < 30), "{sent:?}");
    assert_eq!(lab.moved(2, &early(&grant, 1, 1_200)).len(), 1, "to the other end as before");
}

#[tokio::test(start_paused = true)]
async fn an_end_may_not_send_early_to_one_that_is_not_there() {
    let lab = Lab::new(RelayLimits::default());
    let grant = lab.relay.grant(&name("anna")).unwrap();
    let sent = lab.moved(2, &early(&grant, 1, 1_200));
    assert!(matches!(&sent[..], [(2, challenge)] if challenge.len() < 30), "{sent:?}");
    assert!(lab.moved(1, &early(&grant, 0, 1_200)).iter().all(|(to, _)| *to == 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_name_sends_to_addresses_that_nobody_has_proven_is_little_whatever_its_slots() {
    let lab = Lab::new(RelayLimits::default());
    let sent_in_a_minute = || {
        let mut sent = 0;
        for _ in 0..40 {
            // Both ends of a slot, of which one seems to be at a victim's address.
            let grant = lab.relay.grant(&name("anna")).unwrap();
            lab.bind(&grant, 0, at(1));
            lab.moved(2, &early(&grant, 1, 1_200));
            lab.moved(2, &early(&grant, 1, 1_200));
            let back = batch(grant.slot, 1, 1_208);
            (0..6).for_each(|_| sent += lab.moved(1, &back).len() * back.len());
            lab.relay.release(grant.slot);
        }
        sent
    };
    let first = sent_in_a_minute();
    assert!((40_000..=48 * 1_024).contains(&first), "{first}");
    assert_eq!(sent_in_a_minute(), 0);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(sent_in_a_minute(), first, "the next minute");
}
