//! A network in memory, for tests of whole nodes in virtual time.
//!
//! Under a tokio runtime of one thread whose clock is paused, time jumps to the next event as
//! soon as every task waits: minutes of a network's life take milliseconds. Loss and jitter come
//! from a seed. (The keys that TLS draws are still random; they change no length and no time.)
//!
//! A datagram passes the sender's line and then the receiver's. Each has a delay, a loss and a
//! rate in either direction, and in front of a line with a rate there is a queue that drops what
//! does not fit, as routers do. Addresses are the caller's to choose, and who knows one can send to
//! it, unless there is a router with address translation between the two ([`Network::nat`]).

mod nat;
mod receive;

use crate::socket::{DatagramSocket, EcnCodepoint, RecvMeta, Transmit, WritePoller};
use nat::Nat;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use receive::SEGMENTS;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

pub use nat::{NatKind, Realm};

/// The largest datagram that passes: Ethernet's 1,500 bytes without the headers of IPv4 and UDP.
/// A larger one is lost without a word, as on paths that filter ICMP.
pub const MAX_DATAGRAM: usize = 1_472;

/// Datagrams that wait at a socket for being received; further ones are lost, as from a full
/// kernel buffer.
const INBOX: usize = 4_096;

/// What a line between a socket and the middle of the network is like, in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkProfile {
    latency: Duration,
    jitter: Duration,
    loss: f64,
    bytes_per_second: Option<u64>,
    queue: Duration,
}

impl Default for LinkProfile {
    /// A line without loss or limit and with a delay of 5 ms: two of them make a round trip of
    /// 20 ms.
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss: 0.0,
            bytes_per_second: None,
            queue: Duration::from_millis(100),
        }
    }
}

impl LinkProfile {
    /// The delay in one direction. tokio's clock counts in milliseconds.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The most by which the delay of a datagram is longer; each draws its own, so they overtake
    /// each other.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// The share of datagrams that get lost in one direction, from 0 to 1.
    #[must_use]
    pub fn loss(mut self, share: f64) -> Self {
        self.loss = share.clamp(0.0, 1.0);
        self
    }

    /// The bytes a second that pass in one direction.
    #[must_use]
    pub fn rate(mut self, bytes_per_second: u64) -> Self {
        self.bytes_per_second = Some(bytes_per_second.max(1));
        self
    }

    /// How long a datagram may wait for its turn on a line with a rate (default 100 ms); one that
    /// would wait longer is lost.
    #[must_use]
    pub fn queue(mut self, longest_wait: Duration) -> Self {
        self.queue = longest_wait;
        self
    }
}

/// What became of the datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkStats {
    /// Sent by any socket.
    pub sent: u64,
    /// Received by a socket.
    pub delivered: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost since a line was cut, or nobody listens at the address.
    pub unreachable: u64,
    /// Lost since a queue or an inbox was full.
    pub overflowed: u64,
    /// Lost since they were larger than [`MAX_DATAGRAM`].
    pub too_large: u64,
}

/// A network in memory. Clones are the same network.
#[derive(Clone, Debug)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

impl Network {
    /// A network without sockets. The same seed gives the same losses to the same datagrams.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            ports: BTreeMap::new(),
            nats: BTreeMap::new(),
            cut: BTreeSet::new(),
            blocked: BTreeSet::new(),
            moved: BTreeMap::new(),
            sequence: 0,
            stats: NetworkStats::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Opens a socket. It closes when it is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] if there is one at this address.
    pub fn socket(&self, address: SocketAddr, profile: LinkProfile) -> io::Result<Arc<SimSocket>> {
        self.socket_in(Realm::INTERNET, address, profile)
    }

    /// The same behind a router; see [`Network::nat`].
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] if there is one at this address, in whatever realm.
    pub fn socket_in(
        &self,
        realm: Realm,
        address: SocketAddr,
        profile: LinkProfile,
    ) -> io::Result<Arc<SimSocket>> {
        let mut state = self.lock();
        if state.ports.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.ports.insert(address, Port::new(realm, profile));
        Ok(Arc::new(SimSocket { network: self.clone(), address, timer: Mutex::new(None) }))
    }

    /// Puts up a router with address translation. `outside` is its address in the realm `parent`,
    /// another router's or the internet; a mapping that nothing was sent through for `timeout` is
    /// gone. The realm behind it is returned; its own hosts reach each other directly, and not by
    /// the outside address.
    pub fn nat(&self, kind: NatKind, outside: IpAddr, parent: Realm, timeout: Duration) -> Realm {
        let mut state = self.lock();
        let realm = Realm(u32::try_from(state.nats.len()).unwrap_or(u32::MAX).saturating_add(1));
        state.nats.insert(realm, Nat::new(kind, outside, parent, timeout));
        realm
    }

    /// Lets a router forget its mappings, as when it is started again: what is behind it gets new
    /// ports.
    pub fn forget_mappings(&self, behind: Realm) {
        if let Some(nat) = self.lock().nats.get_mut(&behind) {
            nat.forget();
        }
    }

    /// Cuts the line of an address: from now on nothing gets in or out, not even what is on its
    /// way to it. The sockets at both ends see nothing of it.
    pub fn cut(&self, address: SocketAddr) {
        let mut state = self.lock();
        state.cut.insert(address);
        if let Some(port) = state.ports.get_mut(&address) {
            let dropped = port.inbox.len() as u64;
            port.inbox.clear();
            state.stats.unreachable += dropped;
        }
    }

    /// Mends a line that was cut.
    pub fn heal(&self, address: SocketAddr) {
        self.lock().cut.remove(&address);
    }

    /// Lets nothing pass from one socket to another, either way; what they exchange with others
    /// passes. Addresses are those of the sockets, whatever routers make of them.
    pub fn block(&self, one: SocketAddr, other: SocketAddr) {
        self.lock().blocked.extend([(one, other), (other, one)]);
    }

    /// Lets it pass again.
    pub fn unblock(&self, one: SocketAddr, other: SocketAddr) {
        self.lock().blocked.retain(|pair| *pair != (one, other) && *pair != (other, one));
    }

    /// Carries a socket into another realm, where it has another address. The socket itself sees
    /// nothing of it, as one that is bound to all addresses of a machine. What is on its way to the
    /// old address is lost.
    ///
    /// # Panics
    /// If there is no such socket, or one at the new address: the test is wrong.
    pub fn move_to(&self, socket: SocketAddr, realm: Realm, address: SocketAddr) {
        let mut state = self.lock();
        let now_at = *state.moved.get(&socket).unwrap_or(&socket);
        assert!(!state.ports.contains_key(&address), "{address} is taken");
        let port = state.ports.remove(&now_at);
        let Some(mut port) = port else { panic!("no socket at {socket}") };
        port.realm = realm;
        port.inbox.clear();
        state.ports.insert(address, port);
        state.moved.insert(socket, address);
    }

    /// Changes what the line of an address is like, for what is sent from now on.
    pub fn set_profile(&self, address: SocketAddr, profile: LinkProfile) {
        if let Some(port) = self.lock().ports.get_mut(&address) {
            port.profile = profile;
        }
    }

    /// What became of the datagrams so far.
    pub fn stats(&self) -> NetworkStats {
        self.lock().stats
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere has failed already; what it left is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State {
    random: Xoshiro256PlusPlus,
    ports: BTreeMap<SocketAddr, Port>,
    nats: BTreeMap<Realm, Nat>,
    cut: BTreeSet<SocketAddr>,
    blocked: BTreeSet<(SocketAddr, SocketAddr)>,
    /// Where sockets are that were carried away from the address that they were opened at.
    moved: BTreeMap<SocketAddr, SocketAddr>,
    sequence: u64,
    stats: NetworkStats,
}

/// What the network knows of a socket.
#[derive(Debug)]
struct Port {
    realm: Realm,
    profile: LinkProfile,
    up: Lane,
    down: Lane,
    inbox: BinaryHeap<Reverse<Datagram>>,
    reader: Option<Waker>,
}

impl Port {
    fn new(realm: Realm, profile: LinkProfile) -> Self {
        let (up, down) = (Lane::default(), Lane::default());
        Self { realm, profile, up, down, inbox: BinaryHeap::new(), reader: None }
    }
}

/// A datagram on its way; the earliest goes first, and of two the one that was sent first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    due: Instant,
    sequence: u64,
    source: SocketAddr,
    ecn: Option<u8>,
    bytes: Vec<u8>,
}

/// One direction of a line: busy with what was sent before until then.
#[derive(Debug, Default)]
struct Lane {
    free_at: Option<Instant>,
}

enum Loss {
    Chance,
    Overflow,
}

impl Lane {
    /// When a datagram that reaches this lane at `at` leaves it at the other end.
    fn pass(
        &mut self,
        profile: &LinkProfile,
        random: &mut Xoshiro256PlusPlus,
        at: Instant,
        bytes: usize,
    ) -> Result<Instant, Loss> {
        if profile.loss > 0.0 && random.random_bool(profile.loss) {
            return Err(Loss::Chance);
        }
        let mut leaves = at;
        if let Some(rate) = profile.bytes_per_second {
            let begins = self.free_at.map_or(at, |free| free.max(at));
            if begins.saturating_duration_since(at) > profile.queue {
                return Err(Loss::Overflow);
            }
            leaves = begins + Duration::from_secs_f64(bytes as f64 / rate as f64);
            self.free_at = Some(leaves);
        }
        let jitter = match profile.jitter {
            Duration::ZERO => Duration::ZERO,
            most => most.mul_f64(random.random()),
        };
        Ok(leaves + profile.latency + jitter)
    }
}

impl State {
    /// Puts one datagram on its way; gives back who is to be woken.
    fn send(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        ecn: Option<EcnCodepoint>,
        bytes: &[u8],
    ) -> Option<Waker> {
        self.stats.sent += 1;
        if bytes.len() > MAX_DATAGRAM {
            self.stats.too_large += 1;
            return None;
        }
        let source = *self.moved.get(&source).unwrap_or(&source);
        let sender = source;
        let Some((source, destination)) = self.route(source, unmapped(destination)) else {
            self.stats.unreachable += 1;
            return None;
        };
        let blocked = self.blocked.contains(&(sender, destination));
        if blocked || self.cut.contains(&sender) || self.cut.contains(&destination) {
            self.stats.unreachable += 1;
            return None;
        }
        let due = match self.travel(sender, destination, bytes.len()) {
            Ok(due) => due?,
            Err(Loss::Chance) => {
                self.stats.lost += 1;
                return None;
            }
            Err(Loss::Overflow) => {
                self.stats.overflowed += 1;
                return None;
            }
        };
        self.sequence += 1;
        let sequence = self.sequence;
        let port = self.ports.get_mut(&destination)?;
        if port.inbox.len() >= INBOX {
            self.stats.overflowed += 1;
            return None;
        }
        let source = as_seen_by(destination, source);
        let ecn = ecn.map(|ecn| ecn as u8);
        let bytes = bytes.to_vec();
        port.inbox.push(Reverse(Datagram { due, sequence, source, ecn, bytes }));
        port.reader.take()
    }

    /// Which socket a datagram gets to, and what its source is there.
    fn route(
        &mut self,
        mut source: SocketAddr,
        mut to: SocketAddr,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let mut realm = self.ports.get(&source)?.realm;
        loop {
            if self.ports.get(&to).is_some_and(|port| port.realm == realm) {
                return Some((source, to));
            }
            let inner = self
                .nats
                .iter()
                .find(|(_, nat)| nat.parent == realm && nat.outside == to.ip())
                .map(|(inner, nat)| (*inner, nat.inward(source, to)));
            if let Some((inner, inside)) = inner {
                to = inside?;
                realm = inner;
                continue;
            }
            let nat = self.nats.get_mut(&realm)?;
            if nat.outside == to.ip() {
                return None;
            }
            source = nat.outward(source, to);
            realm = nat.parent;
        }
    }

    fn travel(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: usize,
    ) -> Result<Option<Instant>, Loss> {
        let mut at = Instant::now();
        if let Some(port) = self.ports.get_mut(&source) {
            at = port.up.pass(&port.profile, &mut self.random, at, bytes)?;
        }
        let Some(port) = self.ports.get_mut(&destination) else {
            return Ok(None);
        };
        port.down.pass(&port.profile, &mut self.random, at, bytes).map(Some)
    }
}

/// A socket of a [`Network`].
#[derive(Debug)]
pub struct SimSocket {
    network: Network,
    address: SocketAddr,
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        let address = state.moved.remove(&self.address).unwrap_or(self.address);
        state.ports.remove(&address);
    }
}

impl DatagramSocket for SimSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for bytes in transmit.contents.chunks(segment) {
            let mut state = self.network.lock();
            let reader = state.send(self.address, transmit.destination, transmit.ecn, bytes);
            drop(state);
            if let Some(reader) = reader {
                reader.wake();
            }
        }
        Ok(())
    }

    fn write_poller(self: Arc<Self>) -> Pin<Box<dyn WritePoller>> {
        Box::pin(AlwaysWritable)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut state = self.network.lock();
            let State { ports, stats, moved, .. } = &mut *state;
            let address = moved.get(&self.address).unwrap_or(&self.address);
            let Some(port) = ports.get_mut(address) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            let now = Instant::now();
            let mut count = 0;
            for (buffer, meta) in buffers.iter_mut().zip(meta.iter_mut()) {
                let Some(first) = port.due(now) else { break };
                let length = first.bytes.len().min(buffer.len());
                buffer[..length].copy_from_slice(&first.bytes[..length]);
                *meta = RecvMeta {
                    addr: first.source,
                    len: length,
                    stride: length,
                    ecn: first.ecn.and_then(EcnCodepoint::from_bits),
                    dst_ip: Some(self.address.ip()),
                };
                let joined = port.join(&first, now, &mut buffer[length..]);
                meta.len += joined.bytes;
                stats.delivered += 1 + joined.datagrams;
                count += 1;
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            port.reader = Some(cx.waker().clone());
            let Some(Reverse(first)) = port.inbox.peek() else {
                *timer = None;
                return Poll::Pending;
            };
            let due = first.due;
            drop(state);
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn max_receive_segments(&self) -> usize {
        SEGMENTS
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// These sockets drop what does not fit, and so never make a sender wait.
#[derive(Debug)]
struct AlwaysWritable;

impl WritePoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A destination as sockets are entered: a socket for both families writes IPv4 as IPv6.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A source as a socket of the receiver's family sees it.
fn as_seen_by(receiver: SocketAddr, source: SocketAddr) -> SocketAddr {
    match (receiver.ip(), source.ip()) {
        (IpAddr::V6(_), IpAddr::V4(ip)) => {
            SocketAddr::new(ip.to_ipv6_mapped().into(), source.port())
        }
        _ => source,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use std::future::poll_fn;

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
        let two = network
            .socket(address(2), LinkProfile::default().latency(Duration::ZERO))
            .expect("free");
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
}
