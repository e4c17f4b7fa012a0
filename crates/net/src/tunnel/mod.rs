//! Tunnels: the same datagrams over TCP, for nodes whose network passes no UDP.
//!
//! A tunnel is a TLS connection between two nodes that carries what the UDP sockets of the two
//! would have carried: QUIC packets and frames, one behind the other ([`wire`]). TLS proves the
//! two keys as QUIC does, and hides from the network what is inside.
//!
//! The side that dialled goes on to send to the other one's *UDP address*; beneath QUIC, sessions
//! and the relay, [`TunnelSocket`] puts what goes there into the tunnel. So nothing above it knows
//! of tunnels, and when UDP works again, the same connections go on without the tunnel. The side
//! that was dialled gives each tunnel a *virtual address* ([`virtual_address`]), from which the
//! datagrams seem to come. To its QUIC a move between the two is a peer that changes its address
//! (RFC 9000, section 9), to its relay an end whose router gave it another port.
//!
//! A tunnel leads to the node that took it, and nowhere else: what comes out of it is handled like
//! any datagram that this node received.

mod accept;
mod base;
mod carry;
mod dial;
pub mod probe;
mod queue;
mod settings;
mod socket;
mod way;
pub mod wire;

pub(crate) use base::{Base, open_base};
pub(crate) use dial::{Opened, patience};
pub use settings::TunnelPorts;
pub(crate) use settings::{Timing, TunnelSettings};
pub(crate) use socket::TunnelSocket;
pub use way::Way;

use crate::config::Limits;
use crate::connection::canonical;
use crate::crowd::Crowd;
use crate::gate::Allowances;
use crate::paths::candidate::is_private;
use crate::socket::DatagramSocket;
use crate::stats::Counters;
use crate::tls::{CertificateFailure, Identity};
use bytes::Bytes;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use probe::Token;
use queue::Queue;
use rand::RngExt;
use skein_proto::NodeId;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The application protocol inside TLS (RFC 7301).
const ALPN: &[u8] = b"skein-tcp/1";

/// Datagrams of all tunnels that wait to be received. A reader that finds no room waits, and TCP
/// makes the sender wait.
const INBOX: usize = 512;

/// How long what waits in a tunnel may take to be written when the endpoint ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long QUIC has to say goodbye through the tunnels of an endpoint that was dropped.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What an endpoint knows of UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UdpState {
    /// Nothing has come yet, and nothing else either.
    Unknown,
    /// A node was reached over it.
    Works,
    /// TCP brought an answer where UDP brought none, and no connection over UDP has come about
    /// since, but for those inside the same private network.
    Blocked,
    /// It was turned off.
    Off,
}

/// A datagram out of a tunnel, and where it seems to come from.
type Inbound = (SocketAddr, Bytes);

/// One end of a tunnel.
#[derive(Debug)]
struct Pipe {
    /// What it is known by to those above: the peer's UDP address where this side dialled, a
    /// virtual address where the peer did.
    address: SocketAddr,
    /// Who is at the other end.
    node: NodeId,
    /// Where the other end of the TCP connection is.
    peer: SocketAddr,
    queue: Queue,
    /// Shows over UDP that its bearer is the other end.
    token: Mutex<Token>,
    /// Whether what goes to `address` takes UDP again.
    over_udp: AtomicBool,
    /// Whether a datagram, or the answer to a probe, came over UDP.
    udp: UdpSigns,
    /// When a datagram came through it, in milliseconds since `Tunnels::started`.
    heard: AtomicU64,
    /// When something went through it to the end of a slot that this node relays, likewise; 0 if
    /// nothing ever has.
    relayed: AtomicU64,
    /// Whether it was dialled for a connection, rather than for ways to a relay alone.
    kept: AtomicBool,
    /// Ways that need it.
    ways: AtomicUsize,
    /// Ends it at once.
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct UdpSigns {
    answered: Notify,
    datagram: AtomicBool,
    /// When a probe of the other end was last answered.
    probed: Mutex<Option<Instant>>,
}

/// All tunnels of an endpoint.
pub(crate) struct Tunnels {
    base: Arc<dyn DatagramSocket>,
    has_udp: bool,
    /// The address of the base is IPv6, which IPv4 is mapped into.
    is_v6: bool,
    counters: Arc<Counters>,
    client: rustls::ClientConfig,
    server: Arc<rustls::ServerConfig>,
    allowances: Allowances,
    /// Handshakes of others.
    beginnings: Arc<Crowd>,
    /// Tunnels of others.
    places: Arc<Crowd>,
    timing: Timing,
    by_address: DashMap<SocketAddr, Arc<Pipe>>,
    by_token: DashMap<Token, Arc<Pipe>>,
    /// Tunnels in `by_address`; where there are none, no datagram looks there.
    live: AtomicUsize,
    inbox: mpsc::Sender<Inbound>,
    udp: AtomicU8,
    started: Instant,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Whether a connection of this node goes to this address.
    connected: OnceLock<Box<dyn Fn(NodeId, SocketAddr) -> bool + Send + Sync>>,
}

impl fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnels").field("live", &self.live).finish_non_exhaustive()
    }
}

impl Tunnels {
    /// Tunnels beside `base`; what comes out of them is received by the socket.
    pub(crate) fn start(
        base: Base,
        identity: &Identity,
        counters: Arc<Counters>,
        limits: Limits,
        timing: Timing,
    ) -> Result<(Arc<Self>, TunnelSocket), CertificateFailure> {
        let mut client = identity.client()?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        let mut server = identity.server()?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        let (inbox, come) = mpsc::channel(INBOX);
        let is_v6 = base.socket.local_addr().is_ok_and(|address| address.is_ipv6());
        let tunnels = Arc::new(Self {
            base: base.socket,
            has_udp: base.has_udp,
            is_v6,
            counters,
            client,
            server: Arc::new(server),
            allowances: Allowances::new(limits),
            beginnings: Crowd::new(limits.pending, limits.pending),
            places: Crowd::new(limits.incoming, accept::MAX_PER_SOURCE),
            timing,
            by_address: DashMap::new(),
            by_token: DashMap::new(),
            live: AtomicUsize::new(0),
            inbox,
            udp: AtomicU8::new(UNKNOWN),
            started: Instant::now(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            connected: OnceLock::new(),
        });
        for listener in base.listeners {
            tunnels.tasks.spawn(accept::serve(Arc::clone(&tunnels), listener));
        }
        let socket = TunnelSocket::new(Arc::clone(&tunnels), come);
        Ok((tunnels, socket))
    }

    /// What is known of UDP.
    pub(crate) fn udp_state(&self) -> UdpState {
        match self.udp.load(Ordering::Relaxed) {
            _ if !self.has_udp => UdpState::Off,
            BLOCKED => UdpState::Blocked,
            WORKS => UdpState::Works,
            _ => UdpState::Unknown,
        }
    }

    /// Lets it ask whether a node is connected at an address: tunnels of others that carry no
    /// connection are let go.
    pub(crate) fn ask_for_connections(
        &self,
        connected: impl Fn(NodeId, SocketAddr) -> bool + Send + Sync + 'static,
    ) {
        // There is one endpoint over each.
        let _ = self.connected.set(Box::new(connected));
    }

    /// Notes that a node was authenticated over UDP. In a network that blocks UDP to the internet
    /// its own machines may still reach each other.
    pub(crate) fn reached_over_udp(&self, address: SocketAddr) {
        if self.udp_state() != UdpState::Blocked || !is_private(canonical(address).ip()) {
            self.set_udp(WORKS);
        }
    }

    fn set_udp(&self, state: u8) {
        if self.udp.load(Ordering::Relaxed) != state {
            self.udp.store(state, Ordering::Relaxed);
        }
    }

    /// Where the TCP connection of an accepted tunnel comes from; `None` if it is no virtual
    /// address of a live one.
    pub(crate) fn peer_of(&self, address: SocketAddr) -> Option<SocketAddr> {
        if !is_virtual(&address) {
            return None;
        }
        self.by_address.get(&address).map(|pipe| canonical(pipe.peer))
    }

    /// Whether this stands for a tunnel that a peer has dialled.
    pub(crate) fn is_virtual(address: SocketAddr) -> bool {
        is_virtual(&address)
    }

    /// Whether what goes to this address goes through a tunnel.
    pub(crate) fn carries(&self, address: SocketAddr) -> bool {
        is_virtual(&address) || self.pipe_to(address).is_some()
    }

    /// The tunnel that leads to an address, unless UDP is used again.
    fn pipe_to(&self, address: SocketAddr) -> Option<Arc<Pipe>> {
        if self.live.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let pipe = self.by_address.get(&canonical(address))?;
        (!pipe.over_udp.load(Ordering::Relaxed)).then(|| Arc::clone(&pipe))
    }

    /// Enters a tunnel, unless its address has one.
    fn enter(&self, pipe: &Arc<Pipe>) -> bool {
        match self.by_address.entry(pipe.address) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(Arc::clone(pipe));
                self.live.fetch_add(1, Ordering::Relaxed);
                true
            }
        }
    }

    fn remove(&self, pipe: &Arc<Pipe>) {
        let mine = |_: &SocketAddr, other: &Arc<Pipe>| Arc::ptr_eq(other, pipe);
        if self.by_address.remove_if(&pipe.address, mine).is_some() {
            self.live.fetch_sub(1, Ordering::Relaxed);
        }
        pipe.queue.close();
    }

    /// Ends all tunnels when what waits in them is written, and takes no more.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        for pipe in &self.by_address {
            pipe.queue.close();
        }
        self.tasks.close();
        if timeout(FAREWELL, self.tasks.wait()).await.is_err() {
            for pipe in &self.by_address {
                pipe.stop.cancel();
            }
        }
    }

    /// The same, without anybody who waits for it.
    pub(crate) fn let_go(self: &Arc<Self>) {
        let tunnels = Arc::clone(self);
        // Without a runtime nothing of this endpoint runs any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !self.stop.is_cancelled()
        {
            runtime.spawn(async move {
                tokio::time::sleep(LAST_WORDS).await;
                tunnels.close().await;
            });
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

const UNKNOWN: u8 = 0;
const WORKS: u8 = 1;
const BLOCKED: u8 = 2;

impl Pipe {
    fn new(address: SocketAddr, node: NodeId, peer: SocketAddr, token: Token) -> Arc<Self> {
        Arc::new(Self {
            address,
            node,
            peer,
            queue: Queue::default(),
            token: Mutex::new(token),
            over_udp: AtomicBool::new(false),
            udp: UdpSigns::default(),
            heard: AtomicU64::new(0),
            relayed: AtomicU64::new(0),
            kept: AtomicBool::new(false),
            ways: AtomicUsize::new(0),
            stop: CancellationToken::new(),
        })
    }
}

/// 104 random bits and a random port in the unique local range (RFC 4193), as the addresses of
/// sessions have them: it stands for a tunnel, and no datagram ever carries it.
fn virtual_address() -> SocketAddr {
    let mut rng = rand::rng();
    let bits = (0xfd_u128 << 120) | (0x5e_1b_u128 << 104) | (rng.random::<u128>() >> 24);
    SocketAddr::from((Ipv6Addr::from_bits(bits), rng.random_range(1..=u16::MAX)))
}

fn is_virtual(address: &SocketAddr) -> bool {
    match address {
        SocketAddr::V6(address) => address.ip().to_bits() >> 104 == 0xfd_5e_1b,
        SocketAddr::V4(_) => false,
    }
}

#[cfg(test)]
mod tests;
