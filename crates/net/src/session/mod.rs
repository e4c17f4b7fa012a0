//! Sessions: connections whose path may change under them.
//!
//! QUIC sees one address for the peer of a session, and never another: a *virtual* one, drawn at
//! random for each session, which no datagram ever carries. What QUIC sends there goes along the
//! session's *route* of the moment; what comes along any of its routes, QUIC sees as coming from
//! there. So a session begins over a relay, goes on directly, and falls back, without a new
//! handshake and without a word to the application. A change of the route is no migration in the
//! sense of QUIC (RFC 9000, section 9): keys, streams and what is in flight stay as they are.
//!
//! A route is an address and a number, that of the relay's slot or one that both sides have
//! agreed on. Each packet has the number before it ([`frame`]): the receiver
//! knows by it, and by where it came from, which session it belongs to, and takes nothing else.

mod binding;
mod doubt;
mod early;
mod first;
mod probing;

use crate::connection::canonical;
use crate::paths::prober::Prober;
use crate::relay::frame::{self, Frame, HEADER, SlotNumber};
use crate::socket::{DatagramSocket, RecvMeta, Transmit, mapped};
use crate::stats::Counters;
use dashmap::DashMap;
use futures_util::task::AtomicWaker;
use rand::RngExt;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::Context;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

pub use binding::{BindError, Binding};
pub use first::{FirstPacket, MAX_FIRST, MIN_FIRST, NotFirst};
pub(crate) use probing::Probing;

/// Batches for QUIC that came in one buffer with those of another address, and wait to be given to
/// QUIC by the next receive call. A call fills 32 buffers at most.
const MAX_PENDING: usize = 256;

/// QUIC's packets before it has looked for longer ones that pass (RFC 9000, section 14).
const LEAST_PACKET: usize = 1_200;

/// Where the packets of a session go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The relay, or the peer itself.
    pub to: SocketAddr,
    /// The number of the relay's slot, or the one that both sides have agreed on.
    pub number: SlotNumber,
}

impl Route {
    /// With an IPv4 address as what it is, in whatever form the socket has shown it.
    fn canonical(self) -> Self {
        Self { to: canonical(self.to), number: self.number }
    }
}

/// The route of a session, shared with whoever sends.
#[derive(Debug)]
struct Inner {
    address: SocketAddr,
    route: RwLock<Option<Route>>,
    /// Batches sent, whatever the route was.
    sent: AtomicU64,
    /// The connection over it is dialled from this side.
    dialled: AtomicBool,
    /// Somebody wants to know when the next one is sent.
    watched: AtomicBool,
    sends: Notify,
    /// Whoever waits for the first packet.
    held: Mutex<Option<oneshot::Sender<FirstPacket>>>,
    /// Somebody does.
    holds: AtomicBool,
    /// The route is a slot whose near end was not bound when it was looked at last.
    early: AtomicBool,
    /// It may be that nothing gets through along the route.
    doubts: AtomicBool,
    doubt: Mutex<doubt::Doubt>,
    /// The connection over it, while there is one.
    quic: Mutex<Option<quinn::Connection>>,
    ended: CancellationToken,
}

impl Inner {
    fn count_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        if self.watched.load(Ordering::Relaxed) && self.watched.swap(false, Ordering::Relaxed) {
            self.sends.notify_one();
        }
    }
}

/// A session at the end of one of its routes.
#[derive(Debug)]
struct Arrival {
    inner: Arc<Inner>,
    /// Batches that came along this route.
    received: AtomicU64,
}

/// A session of an endpoint. It ends, and its routes with it, when it is dropped; a connection
/// over it then runs into its idle timeout, so close that first.
pub struct Session {
    inner: Arc<Inner>,
    routes: Mutex<Vec<Route>>,
    table: Arc<Sessions>,
}

impl Session {
    /// The address to dial the peer at, and the one that its dial seems to come from.
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// The route of the moment.
    pub fn route(&self) -> Option<Route> {
        *self.inner.route.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes packets from this route as well. Answers false if it belongs to another session.
    pub fn listen(&self, route: Route) -> bool {
        let route = route.canonical();
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if routes.contains(&route) {
            return true;
        }
        let mut free = false;
        self.table.by_route.entry(route).or_insert_with(|| {
            free = true;
            Arc::new(Arrival { inner: Arc::clone(&self.inner), received: AtomicU64::new(0) })
        });
        if free {
            routes.push(route);
        }
        free
    }

    /// Sends along this route from now on; packets are taken from all routes as before.
    pub fn send_along(&self, route: Route) {
        let route = route.canonical();
        let before =
            self.inner.route.write().unwrap_or_else(PoisonError::into_inner).replace(route);
        if before != Some(route) {
            self.inner.trust();
        }
        self.inner.is_early_along(route, &self.table);
    }

    /// Takes no packets from this route any more.
    pub fn forget(&self, route: Route) {
        let route = route.canonical();
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = routes.iter().position(|known| *known == route) {
            routes.swap_remove(at);
            self.table.by_route.remove(&route);
        }
    }

    /// Batches sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.inner.sent.load(Ordering::Relaxed)
    }

    /// Batches that have come along this route so far.
    pub fn received(&self, route: Route) -> u64 {
        let arrival = self.table.by_route.get(&route.canonical());
        arrival.map_or(0, |arrival| arrival.received.load(Ordering::Relaxed))
    }

    /// How long the packets of QUIC may be at present. What it has found out along one route, it takes
    /// for granted along all: it knows of none.
    pub(crate) fn packet_size(&self) -> usize {
        let quic = self.inner.quic.lock().unwrap_or_else(PoisonError::into_inner);
        quic.as_ref().map_or(LEAST_PACKET, |quic| quic.stats().path.current_mtu.into())
    }

    /// Lets [`Self::sends_again`] end with the next batch that is sent.
    pub(crate) fn tell_when_it_sends(&self) {
        self.inner.watched.store(true, Ordering::Relaxed);
    }

    /// Waits for a batch to be sent, after [`Self::tell_when_it_sends`].
    pub(crate) async fn sends_again(&self) {
        self.inner.sends.notified().await;
    }

    /// Lets a prober share the socket with this session.
    pub(crate) fn probe_with(&self, prober: Arc<Prober>) -> Probing {
        Probing::new(Arc::clone(&self.table), prober)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address is a secret of this process: who knows it could aim at the session.
        f.debug_struct("Session").field("route", &self.route()).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.table.by_address.remove(&self.inner.address);
        self.inner.ended.cancel();
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        for route in routes.iter() {
            self.table.by_route.remove(route);
        }
    }
}

/// The sessions of an endpoint.
#[derive(Debug)]
pub(crate) struct Sessions {
    socket: Arc<dyn DatagramSocket>,
    counters: Arc<Counters>,
    by_address: DashMap<SocketAddr, Arc<Inner>>,
    by_route: DashMap<Route, Arc<Arrival>>,
    probers: DashMap<SlotNumber, Arc<Prober>>,
    /// The socket takes IPv6, and IPv4 only as mapped into it.
    is_v6: bool,
    bindings: DashMap<Route, Arc<binding::State>>,
    pending: Mutex<VecDeque<(RecvMeta, Vec<u8>)>>,
    /// Whoever reads the socket, to be woken when something is put in beside it.
    reader: AtomicWaker,
}

impl Sessions {
    pub(crate) fn new(socket: Arc<dyn DatagramSocket>, counters: Arc<Counters>) -> Self {
        let is_v6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
        Self {
            socket,
            counters,
            is_v6,
            by_address: DashMap::new(),
            by_route: DashMap::new(),
            probers: DashMap::new(),
            bindings: DashMap::new(),
            pending: Mutex::default(),
            reader: AtomicWaker::new(),
        }
    }

    /// Datagrams that the system refused to send.
    pub(crate) fn refused(&self) -> u64 {
        self.socket.refused()
    }

    /// A session without a route.
    pub(crate) fn open(self: &Arc<Self>) -> Session {
        let address = virtual_address();
        let inner = Arc::new(Inner {
            address,
            route: RwLock::new(None),
            sent: AtomicU64::new(0),
            dialled: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            sends: Notify::new(),
            held: Mutex::default(),
            holds: AtomicBool::new(false),
            early: AtomicBool::new(false),
            doubts: AtomicBool::new(false),
            doubt: Mutex::default(),
            quic: Mutex::default(),
            ended: CancellationToken::new(),
        });
        self.by_address.insert(address, Arc::clone(&inner));
        Session { inner, routes: Mutex::default(), table: Arc::clone(self) }
    }

    /// The connection over the session with this address, if there is one; none once it has ended.
    pub(crate) fn carries(&self, address: &SocketAddr, quic: Option<quinn::Connection>) {
        if let Some(inner) = self.by_address.get(address) {
            *inner.quic.lock().unwrap_or_else(PoisonError::into_inner) = quic;
        }
    }

    /// This side dials the peer of the session with this address, if there is one.
    pub(crate) fn dials(&self, address: &SocketAddr) {
        if let Some(inner) = self.by_address.get(address) {
            inner.dialled.store(true, Ordering::Relaxed);
        }
    }

    /// Ends with the session of this address; at once if there is none.
    pub(crate) fn ended(&self, address: &SocketAddr) -> CancellationToken {
        let token = self.by_address.get(address).map(|inner| inner.ended.clone());
        token.unwrap_or_else(|| {
            let ended = CancellationToken::new();
            ended.cancel();
            ended
        })
    }

    /// Whether this side has dialled the peer at this address: then nobody dials from there, and
    /// what looks like it is this side's own dial, sent back by a relay.
    pub(crate) fn has_dialled(&self, address: &SocketAddr) -> bool {
        let session = self.by_address.get(address);
        session.is_some_and(|inner| inner.dialled.load(Ordering::Relaxed))
    }

    /// Sends what is meant for a session along its route. Answers `None` if it is for none.
    pub(crate) fn try_send(&self, transmit: &Transmit<'_>) -> Option<io::Result<()>> {
        if !is_virtual(&transmit.destination) {
            return None;
        }
        let route = match self.by_address.get(&transmit.destination) {
            Some(inner) if inner.holds.load(Ordering::Relaxed) && inner.hold(transmit) => {
                return Some(Ok(()));
            }
            Some(inner) => {
                inner.count_sent();
                let route = *inner.route.read().unwrap_or_else(PoisonError::into_inner);
                if inner.early.load(Ordering::Relaxed)
                    && let Some(route) = route
                    && let Some(sent) = self.try_send_early(&inner, route, transmit)
                {
                    return Some(sent);
                }
                if inner.doubts.load(Ordering::Relaxed) {
                    self.send_elsewhere(&inner, transmit);
                }
                route
            }
            None => None,
        };
        let Some(route) = route else {
            // As on any path that is down: what is sent is lost.
            self.counters.session_datagrams_unroutable.increment();
            return Some(Ok(()));
        };
        let destination = self.on_socket(route.to);
        let transmit = Transmit { destination, src_ip: None, ..*transmit };
        Some(self.socket.try_send_framed(&frame::data_header(route.number), &transmit))
    }

    /// Takes data frames of one number that came in one batch, if they belong to a session: what
    /// is left at the beginning of `run` is QUIC's, and the answer says what QUIC is to make of it.
    pub(crate) fn receive(
        &self,
        number: SlotNumber,
        run: &mut [u8],
        batch: RecvMeta,
    ) -> Option<RecvMeta> {
        let route = Route { to: canonical(batch.addr), number };
        let arrival = self.by_route.get(&route).map(|arrival| Arc::clone(&arrival))?;
        arrival.received.fetch_add(1, Ordering::Relaxed);
        if arrival.inner.doubts.load(Ordering::Relaxed) {
            self.hears_in_doubt(&arrival.inner, route);
        }
        let len = strip(run, batch.stride);
        let stride = batch.stride - HEADER;
        Some(RecvMeta { addr: arrival.inner.address, len, stride, ..batch })
    }

    /// Keeps a batch for QUIC that the buffer it came in has no room for.
    pub(crate) fn keep(&self, meta: RecvMeta, bytes: &[u8]) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.len() < MAX_PENDING {
            pending.push_back((meta, bytes.to_vec()));
        } else {
            self.counters.session_datagrams_overflowed.increment();
        }
    }

    /// A batch that was kept, if there is one and it fits.
    pub(crate) fn take_pending(&self, buffer: &mut [u8], meta: &mut RecvMeta) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((kept, bytes)) = pending.pop_front() else { return false };
        let Some(room) = buffer.get_mut(..bytes.len()) else { return false };
        room.copy_from_slice(&bytes);
        *meta = kept;
        true
    }

    /// Has `cx` woken when a batch is kept for QUIC that did not come through the socket. Answers
    /// whether there is one already.
    pub(crate) fn wait_for_pending(&self, cx: &Context<'_>) -> bool {
        self.reader.register(cx.waker());
        !self.pending.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes a frame of a relay that is no data. Answers false if it is for no session.
    pub(crate) fn on_frame(&self, source: SocketAddr, datagram: &[u8]) -> bool {
        let source = canonical(source);
        if self.on_probe(source, datagram) {
            return true;
        }
        let (number, answer) = match Frame::decode(datagram) {
            Some(Frame::Challenge { slot, cookie }) => (slot, Ok(cookie)),
            Some(Frame::Bound { slot, proof }) => (slot, Err(proof)),
            _ => return false,
        };
        let route = Route { to: source, number };
        let Some(state) = self.bindings.get(&route).map(|state| Arc::clone(&state)) else {
            return false;
        };
        match answer {
            Ok(cookie) => {
                if let Some(answer) = state.on_challenge(number, cookie) {
                    self.send_frame(source, &answer);
                }
            }
            Err(proof) => state.on_bound(number, &proof),
        }
        true
    }

    /// Sends one frame. One that the system has no room for is lost, as in a network.
    fn send_frame(&self, to: SocketAddr, frame: &Frame<'_>) {
        self.send_bytes(to, &frame.encode());
    }

    fn send_bytes(&self, to: SocketAddr, contents: &[u8]) {
        let transmit = Transmit {
            destination: self.on_socket(to),
            ecn: None,
            contents,
            segment_size: None,
            src_ip: None,
        };
        if self.socket.try_send(&transmit).is_ok() {
            self.counters.datagrams_out.increment();
        }
    }

    /// An address in the form that the socket sends to.
    fn on_socket(&self, address: SocketAddr) -> SocketAddr {
        if self.is_v6 { mapped(address) } else { address }
    }
}

/// Takes the headers out of a batch; answers what length is left.
fn strip(batch: &mut [u8], stride: usize) -> usize {
    let mut kept = 0;
    let mut at = 0;
    while at < batch.len() {
        let end = (at + stride).min(batch.len());
        batch.copy_within(at + HEADER..end, kept);
        kept += end - at - HEADER;
        at = end;
    }
    kept
}

/// 104 random bits and a random port in the unique local range (RFC 4193), which no router passes
/// on: a datagram with such a source address that came from outside would have to be guessed.
fn virtual_address() -> SocketAddr {
    let mut rng = rand::rng();
    let bits = (0xfd_u128 << 120) | (0x5e_1a_u128 << 104) | (rng.random::<u128>() >> 24);
    SocketAddr::from((Ipv6Addr::from_bits(bits), rng.random_range(1..=u16::MAX)))
}

/// Whether an address is one that sessions have.
pub(crate) fn is_virtual(address: &SocketAddr) -> bool {
    match address {
        SocketAddr::V6(address) => address.ip().to_bits() >> 104 == 0xfd_5e_1a,
        SocketAddr::V4(_) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_framed_comes_out_as_it_went_in(
            bytes in proptest::collection::vec(any::<u8>(), 1..300),
            segment in 1_usize..60,
        ) {
            let header = frame::data_header(SlotNumber::new(3));
            let mut framed: Vec<u8> =
                bytes.chunks(segment).flat_map(|chunk| [&header[..], chunk].concat()).collect();
            let length = strip(&mut framed, segment + HEADER);
            prop_assert_eq!(&framed[..length], &bytes[..]);
        }
    }

    #[test]
    fn virtual_addresses_are_told_from_real_ones_and_from_each_other() {
        let (one, other) = (virtual_address(), virtual_address());
        assert!(is_virtual(&one) && is_virtual(&other) && one != other);
        assert!(!is_virtual(&"[fd00::1]:4701".parse().unwrap()));
        assert!(!is_virtual(&"192.0.2.1:4701".parse().unwrap()));
    }
}
