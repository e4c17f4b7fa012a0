//! The wires: how long a message takes from one node to another, and whether it comes at all.
//!
//! There is no overlay in here: nodes are numbers, messages are so many bytes. The delay of a
//! message is the sum of
//!
//! * its turn on the sender's uplink, behind all that the sender has sent before;
//! * the way: the distance of the two nodes' places (coordinates in a square, as in Vivaldi, Dabek
//!   et al., SIGCOMM 2004) and the access delay of both lines;
//! * jitter: a delay that drifts, as queues in routers do;
//! * its turn on the receiver's downlink;
//! * on an ordered stream, the time to notice the loss of a packet and to send it again; what
//!   was sent behind it waits, too.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHashMap;
use skein_proto::Instant;
use std::time::Duration;

/// Bytes of a packet that carry the application's: the 1,200 that QUIC may always send (RFC 9000,
/// section 14) without [`PACKET_OVERHEAD`].
const PACKET_PAYLOAD: u64 = 1_200 - PACKET_OVERHEAD;

/// What each packet costs beside its payload: IPv4 and UDP headers (28), a short QUIC header with
/// an 8-byte connection id and a 2-byte packet number (11), the authentication tag (16) and the
/// header of a stream frame (5).
pub const PACKET_OVERHEAD: u64 = 60;

/// How fast jitter drifts: from one random value to the next in such a time. It is longer than
/// any jitter, so that a later message never overtakes an earlier one on the same way.
const JITTER_PERIOD: u64 = 1_000_000;

/// What a sender waits beyond a round trip before it takes a packet for lost: the probe timeout
/// of RFC 9002, section 6.2, without samples of the variance.
const PROBE_MARGIN: Duration = Duration::from_millis(25);

/// The physics of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The one-way latency between opposite corners, without access delays.
    pub max_latency: Duration,
    /// The one-way latency between neighbouring nodes, without access delays.
    pub min_latency: Duration,
    /// The most that jitter adds to a way; half of it on average. Less than a second.
    pub jitter: Duration,
    /// The share of packets that are lost, 0 to 1.
    pub loss: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_latency: Duration::from_millis(100),
            min_latency: Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss: 0.0,
        }
    }
}

/// How a node is connected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Bits per second towards the node; 0 stands for no limit.
    pub down_bps: u64,
    /// Bits per second from the node; 0 stands for no limit.
    pub up_bps: u64,
    /// Whether nobody can reach the node who was not dialled by it before.
    pub behind_nat: bool,
    /// What the line adds to each way, in and out.
    pub access_delay: Duration,
}

impl Default for Line {
    /// No limits, reachable.
    fn default() -> Self {
        Self { down_bps: 0, up_bps: 0, behind_nat: false, access_delay: Duration::ZERO }
    }
}

/// What a node has sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages sent.
    pub messages_out: u64,
    /// Messages received; what is lost is not.
    pub messages_in: u64,
    /// Bytes of messages sent.
    pub bytes_out: u64,
    /// Bytes of messages received.
    pub bytes_in: u64,
    /// Packets that they took on the way out, those sent again included.
    pub packets_out: u64,
    /// Packets that came in.
    pub packets_in: u64,
}

impl Traffic {
    /// Bytes on the wire, both ways, with the headers of the packets.
    pub const fn wire_bytes(&self) -> u64 {
        self.bytes_out + self.bytes_in + (self.packets_out + self.packets_in) * PACKET_OVERHEAD
    }

    /// What was added since an earlier count.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            messages_out: self.messages_out - earlier.messages_out,
            messages_in: self.messages_in - earlier.messages_in,
            bytes_out: self.bytes_out - earlier.bytes_out,
            bytes_in: self.bytes_in - earlier.bytes_in,
            packets_out: self.packets_out - earlier.packets_out,
            packets_in: self.packets_in - earlier.packets_in,
        }
    }
}

#[derive(Clone, Debug)]
struct End {
    line: Line,
    place: (f32, f32),
    /// When the uplink is free again.
    up_free: Instant,
    /// What waits on the downlink, and at which time that was so.
    backlog: (u64, Instant),
    traffic: Traffic,
}

/// The wires between numbered nodes.
#[derive(Debug)]
pub struct Physics {
    settings: Settings,
    seed: u64,
    rng: SmallRng,
    ends: Vec<End>,
    /// Ways on which something was held up, and until when what follows must wait for it.
    held_up: FxHashMap<(u32, u32), Instant>,
    /// At how many such ways those that are over are forgotten.
    tidy_at: usize,
}

impl Physics {
    /// Wires without nodes. The same seed gives the same places, jitter and losses.
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            seed,
            rng: SmallRng::seed_from_u64(seed),
            ends: Vec::new(),
            held_up: FxHashMap::default(),
            tidy_at: 1_024,
        }
    }

    /// Adds a node somewhere. Nodes are numbered from 0.
    pub fn add(&mut self, line: Line) -> u32 {
        let number = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.ends.push(End {
            line,
            place: (self.rng.random(), self.rng.random()),
            up_free: Instant::START,
            backlog: (0, Instant::START),
            traffic: Traffic::default(),
        });
        number
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How a node is connected.
    pub fn line(&self, node: u32) -> Line {
        self.ends[node as usize].line
    }

    /// What a node has sent and received.
    pub fn traffic(&self, node: u32) -> Traffic {
        self.ends[node as usize].traffic
    }

    /// How long the way from one node to another takes, without jitter and queues; the same in
    /// both directions.
    pub fn latency(&self, from: u32, to: u32) -> Duration {
        let (a, b) = (&self.ends[from as usize], &self.ends[to as usize]);
        let distance = (a.place.0 - b.place.0).hypot(a.place.1 - b.place.1);
        let share = f64::from(distance) / std::f64::consts::SQRT_2;
        let Settings { min_latency, max_latency, .. } = self.settings;
        min_latency
            + max_latency.saturating_sub(min_latency).mul_f64(share.clamp(0.0, 1.0))
            + a.line.access_delay
            + b.line.access_delay
    }

    /// A handshake of so many ways, there and back: what a dial takes.
    pub fn handshake(&self, from: u32, to: u32, ways: u32) -> Duration {
        self.latency(from, to) * ways
    }

    /// Sends on an ordered and reliable stream: when it arrives, never before what was sent
    /// earlier on the same way.
    pub fn send(&mut self, from: u32, to: u32, bytes: u64, now: Instant) -> Instant {
        let packets = bytes.div_ceil(PACKET_PAYLOAD).max(1);
        let lost = self.lost_of(packets);
        let wire = bytes + (packets + lost) * PACKET_OVERHEAD + lost * PACKET_PAYLOAD.min(bytes);
        let departs = self.depart(from, wire, now);
        let mut arrives = departs + self.latency(from, to) + self.jitter(from, to, departs);
        let mut held = Duration::ZERO;
        if lost > 0 {
            // Each loss is noticed after a round trip and some more; losses of one message are
            // noticed at the same time, but for those of what was sent again.
            held = self.latency(from, to) * 2 + PROBE_MARGIN;
        }
        held += self.receive(to, wire, arrives);
        arrives = self.in_order((from, to), arrives, held, now);
        self.count(from, to, bytes, (packets + lost, packets));
        arrives
    }

    /// Sends in one packet that nobody sends again: when it arrives, or `None` if it is lost. It
    /// may overtake others.
    pub fn send_datagram(
        &mut self,
        from: u32,
        to: u32,
        bytes: u64,
        now: Instant,
    ) -> Option<Instant> {
        let wire = bytes + PACKET_OVERHEAD;
        let departs = self.depart(from, wire, now);
        if self.lost_of(1) > 0 {
            let traffic = &mut self.ends[from as usize].traffic;
            traffic.messages_out += 1;
            traffic.bytes_out += bytes;
            traffic.packets_out += 1;
            return None;
        }
        let arrives = departs + self.latency(from, to) + self.jitter(from, to, departs);
        let held = self.receive(to, wire, arrives);
        self.count(from, to, bytes, (1, 1));
        Some(arrives + held)
    }

    /// When something of this size has left the uplink.
    fn depart(&mut self, from: u32, wire: u64, now: Instant) -> Instant {
        let end = &mut self.ends[from as usize];
        if end.line.up_bps == 0 {
            return now;
        }
        end.up_free = end.up_free.max(now) + transmission(wire, end.line.up_bps);
        end.up_free
    }

    /// How long something of this size waits for the downlink and takes on it.
    fn receive(&mut self, to: u32, wire: u64, at: Instant) -> Duration {
        let end = &mut self.ends[to as usize];
        let rate = end.line.down_bps;
        if rate == 0 {
            return Duration::ZERO;
        }
        let (waiting, since) = end.backlog;
        let bytes_in = |time: Duration| {
            let bytes = u128::from(rate) * time.as_micros() / 8_000_000;
            u64::try_from(bytes).unwrap_or(u64::MAX)
        };
        if at < since {
            // It comes before something that was sent earlier, from farther away. It does not wait
            // for that, only for what must have been there by then; what comes later waits for all.
            end.backlog.0 += wire;
            let ahead = waiting.saturating_sub(bytes_in(since.since(at)));
            return transmission(ahead + wire, rate);
        }
        let left = waiting.saturating_sub(bytes_in(at.since(since))) + wire;
        end.backlog = (left, at);
        transmission(left, rate)
    }

    /// Keeps the order of one way: `held` beyond `arrives`, and not before what was held up there.
    fn in_order(
        &mut self,
        way: (u32, u32),
        arrives: Instant,
        held: Duration,
        now: Instant,
    ) -> Instant {
        // Without holds, times of arrival keep the order of departure: latency is constant, and
        // jitter changes more slowly than time.
        let before = match self.held_up.get(&way) {
            Some(before) if *before > arrives => *before,
            Some(_) if held.is_zero() => {
                self.held_up.remove(&way);
                return arrives;
            }
            None if held.is_zero() => return arrives,
            _ => arrives,
        };
        let at = before.max(arrives + held);
        self.held_up.insert(way, at);
        if self.held_up.len() >= self.tidy_at {
            self.held_up.retain(|_, until| *until > now);
            self.tidy_at = (self.held_up.len() * 2).max(1_024);
        }
        at
    }

    fn lost_of(&mut self, packets: u64) -> u64 {
        let loss = self.settings.loss;
        if loss <= 0.0 {
            return 0;
        }
        // More than a hundred packets lose a fixed share, to within one: each would cost a draw.
        if packets > 100 {
            let expected = packets as f64 * loss;
            return expected as u64 + u64::from(self.rng.random_bool(expected.fract()));
        }
        (0..packets).filter(|_| self.rng.random_bool(loss.min(1.0))).count() as u64
    }

    /// The jitter of a way at a time: linear between random values, so that it changes by less
    /// than a microsecond in a microsecond.
    fn jitter(&self, from: u32, to: u32, at: Instant) -> Duration {
        let most = u64::try_from(self.settings.jitter.as_micros()).unwrap_or(u64::MAX);
        let most = most.min(JITTER_PERIOD - 1);
        if most == 0 {
            return Duration::ZERO;
        }
        let way = mix(self.seed ^ (u64::from(from) << 32 | u64::from(to)));
        let time = at.as_micros() + way % JITTER_PERIOD;
        let (period, within) = (time / JITTER_PERIOD, time % JITTER_PERIOD);
        let value = |period: u64| mix(way ^ period) % (most + 1);
        let (before, after) = (value(period), value(period + 1));
        let sum = before * (JITTER_PERIOD - within) + after * within;
        Duration::from_micros(sum / JITTER_PERIOD)
    }

    fn count(&mut self, from: u32, to: u32, bytes: u64, (out, into): (u64, u64)) {
        let sender = &mut self.ends[from as usize].traffic;
        sender.messages_out += 1;
        sender.bytes_out += bytes;
        sender.packets_out += out;
        let receiver = &mut self.ends[to as usize].traffic;
        receiver.messages_in += 1;
        receiver.bytes_in += bytes;
        receiver.packets_in += into;
    }
}

fn transmission(bytes: u64, bps: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(8_000_000) / bps.max(1))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): all bits depend on all bits.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Instant = Instant::START;

    fn wires(settings: Settings, line: Line, nodes: usize) -> Physics {
        let mut physics = Physics::new(settings, 7);
        for _ in 0..nodes {
            physics.add(line);
        }
        physics
    }

    #[test]
    fn a_slow_uplink_sends_one_after_the_other_and_a_fast_downlink_does_not_care() {
        let line = Line { up_bps: 800_000, down_bps: 80_000_000, ..Line::default() };
        let mut physics = wires(Settings::default(), line, 3);
        // 10,000 bytes in 9 packets.
        let wire = 10_000 + 9 * PACKET_OVERHEAD;
        let one = transmission(wire, 800_000);
        let way = |physics: &Physics, to| physics.latency(0, to) + transmission(wire, 80_000_000);
        assert_eq!(physics.send(0, 1, 10_000, START), START + one + way(&physics, 1));
        assert_eq!(physics.send(0, 2, 10_000, START), START + one * 2 + way(&physics, 2));
    }

    #[test]
    fn many_senders_queue_on_one_downlink() {
        let line = Line { down_bps: 800_000, ..Line::default() };
        let mut physics = wires(Settings::default(), line, 51);
        let last = (1..=50).map(|from| physics.send(from, 0, 10_000, START)).max();
        let all = transmission(50 * 10_540, 800_000);
        let last = last.unwrap_or_default().since(START);
        let off = last.abs_diff(all);
        assert!(off <= Duration::from_millis(200), "{last:?}, not about {all:?}");
    }

    #[test]
    fn a_datagram_is_lost_as_often_as_the_settings_say() {
        let settings = Settings { loss: 0.1, ..Settings::default() };
        let mut physics = wires(settings, Line::default(), 2);
        let lost = (0..10_000).filter(|_| physics.send_datagram(0, 1, 100, START).is_none());
        let lost = lost.count();
        assert!((850..1_150).contains(&lost), "{lost} of 10,000");
        let traffic = physics.traffic(1);
        assert_eq!(traffic.messages_in, 10_000 - lost as u64);
        assert_eq!(physics.traffic(0).bytes_out, 1_000_000);
    }

    #[test]
    fn a_loss_delays_a_stream_by_a_round_trip_and_costs_a_packet() {
        let settings = Settings { loss: 1.0, ..Settings::default() };
        let mut physics = wires(settings, Line::default(), 2);
        let way = physics.latency(0, 1);
        let late = physics.send(0, 1, 100, START).since(START + way * 3 + PROBE_MARGIN);
        assert!(late <= Duration::from_micros(1), "{late:?}");
        assert_eq!((physics.traffic(0).packets_out, physics.traffic(1).packets_in), (2, 1));
    }

    #[test]
    fn what_is_over_is_not_remembered() {
        let settings = Settings { loss: 0.5, ..Settings::default() };
        let mut physics = wires(settings, Line::default(), 200);
        let mut now = START;
        for round in 0..50_000_u32 {
            physics.send(round % 200, (round / 200 + round) % 200, 100, now);
            now = now + Duration::from_millis(10);
        }
        assert!(physics.held_up.len() <= 1_024, "{}", physics.held_up.len());
    }

    proptest! {
        #[test]
        fn a_stream_keeps_its_order(
            seed: u64,
            loss in 0.0..0.5_f64,
            jitter in 0_u64..500,
            sends in proptest::collection::vec((0..3_u32, 1..3_u32, 1..5_000_u64, 0..20_000_u64), 1..200),
        ) {
            let jitter = Duration::from_millis(jitter);
            let settings = Settings { loss, jitter, ..Settings::default() };
            let mut physics = Physics::new(settings, seed);
            let line = Line { up_bps: 1_000_000, down_bps: 5_000_000, ..Line::default() };
            for _ in 0..3 {
                physics.add(line);
            }
            let mut last: FxHashMap<(u32, u32), Instant> = FxHashMap::default();
            let mut now = START;
            for (from, step, bytes, pause) in sends {
                now = now + Duration::from_micros(pause);
                let to = (from + step) % 3;
                let at = physics.send(from, to, bytes, now);
                prop_assert!(at >= now + physics.latency(from, to));
                let before = last.insert((from, to), at).unwrap_or(START);
                prop_assert!(at >= before, "{:?} overtook {:?}", at, before);
            }
        }
    }
}
