//! A connection to one peer whose key is proven.

use crate::congestion::Window;
use crate::error::{CloseReason, ConnectionError};
use crate::session::{self, Probing};
use crate::stats::Counters;
use crate::stream::Stream;
use crate::tunnel::Tunnels;
use bytes::Bytes;
use quinn::VarInt;
use skein_proto::NodeId;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A connection to one peer whose key is proven. Clones are the same connection.
///
/// It lives until one side closes it or the peer is silent for too long; to let go of the last
/// clone does *not* close it, since the endpoint keeps it for
/// [`Endpoint::connect`](crate::Endpoint::connect) to use again.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    quic: quinn::Connection,
    peer: NodeId,
    dialler: bool,
    established: Instant,
    /// Where its packets went when the handshake was done, which has shown that the peer receives
    /// there (RFC 9000, section 8.1).
    established_along: SocketAddr,
    said: OnceLock<CloseReason>,
    wide_window: u32,
    counters: Arc<Counters>,
    tunnels: Option<Arc<Tunnels>>,
    /// Where the tunnel came from through which it was last seen to go.
    tunnelled_from: Mutex<SocketAddr>,
    /// Says where it sees the other end, while the connection lives.
    observer: Mutex<Option<Arc<Probing>>>,
}

impl Connection {
    pub(crate) fn new(
        quic: quinn::Connection,
        peer: NodeId,
        dialler: bool,
        wide_window: u32,
        counters: Arc<Counters>,
        tunnels: Option<Arc<Tunnels>>,
    ) -> Self {
        let established = Instant::now();
        let said = OnceLock::new();
        let address = canonical(quic.remote_address());
        let seen = tunnels.as_ref().and_then(|tunnels| tunnels.peer_of(address));
        let tunnelled_from = Mutex::new(seen.unwrap_or(address));
        let inner = Inner {
            quic,
            peer,
            dialler,
            established,
            established_along: address,
            said,
            wide_window,
            counters,
            tunnels,
            tunnelled_from,
            observer: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Lets the peer ask where it is seen, and be asked; `None` once the connection has ended.
    pub(crate) fn observe_with(&self, observer: Option<Probing>) {
        *self.inner.observer.lock().unwrap_or_else(PoisonError::into_inner) =
            observer.map(Arc::new);
    }

    pub(crate) fn observer(&self) -> Option<Arc<Probing>> {
        self.inner.observer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who is at the other end.
    pub fn peer(&self) -> NodeId {
        self.inner.peer
    }

    /// Where the peer is seen at present; it may change when the peer moves to another network. Of
    /// a peer that dialled through a tunnel it is the address of its TCP connection. Of one over a
    /// [session](crate::session) it is the address that QUIC has for it, a secret of this process:
    /// what others are told is [`Self::seen_at`].
    pub fn remote_address(&self) -> SocketAddr {
        let address = self.route_address();
        let Some(tunnels) = &self.inner.tunnels else { return address };
        let mut known = self.inner.tunnelled_from.lock().unwrap_or_else(PoisonError::into_inner);
        match tunnels.peer_of(address) {
            Some(peer) => *known = peer,
            // The tunnel has just ended, and its successor is not there yet.
            None if Tunnels::is_virtual(address) => {}
            None => *known = address,
        }
        *known
    }

    /// Where the peer is seen at present, as it may be told to anybody. With port 0 if the peer
    /// dialled through a tunnel, since the port of that is none to reach it at; `[::]:0` over a
    /// [session](crate::session), whose packets come along many paths.
    pub fn seen_at(&self) -> SocketAddr {
        if session::is_virtual(&self.route_address()) {
            return (Ipv6Addr::UNSPECIFIED, 0).into();
        }
        let mut address = self.remote_address();
        if self.is_over_tcp() && !self.is_dialler() {
            address.set_port(0);
        }
        address
    }

    /// Where the peer is seen at present, as this node's own user may be shown it: as
    /// [`Self::remote_address`], but `[::]:0` over a [session](crate::session), whose own address is a
    /// secret.
    pub fn shown_at(&self) -> SocketAddr {
        match session::is_virtual(&self.route_address()) {
            true => (Ipv6Addr::UNSPECIFIED, 0).into(),
            false => self.remote_address(),
        }
    }

    /// Where its packets go at present, as QUIC has it.
    pub(crate) fn route_address(&self) -> SocketAddr {
        canonical(self.inner.quic.remote_address())
    }

    /// Where its packets go, if the peer is known to receive there: `None` if it has moved since the
    /// handshake, and over a session.
    pub(crate) fn proven_address(&self) -> Option<SocketAddr> {
        let address = self.route_address();
        let proven = address == self.inner.established_along && !session::is_virtual(&address);
        proven.then_some(address)
    }

    /// Whether it goes through a tunnel over TCP at present.
    pub fn is_over_tcp(&self) -> bool {
        let address = self.inner.quic.remote_address();
        self.inner.tunnels.as_ref().is_some_and(|tunnels| tunnels.carries(address))
    }

    /// The present estimate of the round trip.
    pub fn rtt(&self) -> Duration {
        self.inner.quic.rtt()
    }

    /// What has gone over it.
    pub fn stats(&self) -> ConnectionStats {
        let stats = self.inner.quic.stats();
        ConnectionStats {
            bytes_in: stats.udp_rx.bytes,
            bytes_out: stats.udp_tx.bytes,
            packets_out: stats.path.sent_packets,
            packets_lost: stats.path.lost_packets,
            congestion_window: stats.path.cwnd,
            decrypted: all_frames(&stats.frame_rx),
            acknowledgements_in: stats.frame_rx.acks,
            eliciting: all_frames(&stats.frame_tx)
                - stats.frame_tx.acks
                - stats.frame_tx.connection_close,
        }
    }

    /// Bytes sent and not acknowledged by the peer's last acknowledgement.
    pub fn unacknowledged(&self) -> u64 {
        let window = self.inner.quic.congestion_state().into_any().downcast::<Window>();
        window.map_or(0, |window| window.in_flight())
    }

    /// Whether it was made over a [session](crate::session), whose address is nobody's.
    pub fn is_over_session(&self) -> bool {
        session::is_virtual(&self.route_address())
    }

    /// Whether this side dialled.
    pub fn is_dialler(&self) -> bool {
        self.inner.dialler
    }

    /// When it was established, on tokio's clock.
    pub fn established_at(&self) -> Instant {
        self.inner.established
    }

    /// Tells this connection from all others of this endpoint that are in use.
    pub fn id(&self) -> usize {
        self.inner.quic.stable_id()
    }

    /// Opens a stream. The peer learns of it with the first bytes on it. Waits while as many are
    /// open as the peer allows.
    ///
    /// # Errors
    /// [`ConnectionError`] if the connection has ended, or ends while waiting.
    pub async fn open_stream(&self) -> Result<Stream, ConnectionError> {
        match self.inner.quic.open_bi().await {
            Ok(halves) => Ok(self.stream(halves)),
            Err(error) => Err(self.error(error)),
        }
    }

    /// The next stream that the peer opens. Any number of tasks may wait; each stream goes to one
    /// of them. It may be dropped while waiting and loses nothing.
    ///
    /// # Errors
    /// [`ConnectionError`] when the connection has ended.
    pub async fn accept_stream(&self) -> Result<Stream, ConnectionError> {
        match self.inner.quic.accept_bi().await {
            Ok(halves) => Ok(self.stream(halves)),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Its packets go, or are about to go, another way than those before, which may all be lost: lets
    /// QUIC send a few at once, however many are in flight.
    pub fn begin_anew(&self) {
        let quic = &self.inner.quic;
        if let Ok(window) = quic.congestion_state().into_any().downcast::<Window>() {
            window.extend();
        }
        // That many are allowed already. What it does is to let QUIC look what it may send.
        quic.set_max_concurrent_uni_streams(VarInt::from_u32(0));
    }

    /// Lets the peer have so many streams open at once on this connection, in place of the setting
    /// [`max_streams`](crate::EndpointConfig::max_streams).
    pub fn allow_streams(&self, streams: u32) {
        self.inner.quic.set_max_concurrent_bi_streams(VarInt::from_u32(streams));
    }

    /// The largest datagram that fits on the present path in bytes; `None` where the peer takes no
    /// datagrams.
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.inner.quic.max_datagram_size()
    }

    /// Sends a datagram, which may get lost. When the line is full, the oldest that waits makes room
    /// for it. Answers false if it is too large for the path, or the peer takes none.
    ///
    /// # Errors
    /// [`ConnectionError`] if the connection has ended.
    pub fn send_datagram(&self, packet: Bytes) -> Result<bool, ConnectionError> {
        match self.inner.quic.send_datagram(packet) {
            Ok(()) => Ok(true),
            Err(quinn::SendDatagramError::ConnectionLost(error)) => Err(self.error(error)),
            Err(_) => Ok(false),
        }
    }

    /// The next datagram of the peer. It may be dropped while waiting and loses nothing; of several
    /// that wait, each datagram goes to one.
    ///
    /// # Errors
    /// [`ConnectionError`] when the connection has ended.
    pub async fn read_datagram(&self) -> Result<Bytes, ConnectionError> {
        self.inner.quic.read_datagram().await.map_err(|error| self.error(error))
    }

    /// Lets this connection hold as much unread and unacknowledged data as the setting
    /// [`transfer_window`](crate::EndpointConfig::transfer_window) says. For connections that carry
    /// files; there is no way back until it ends.
    pub fn widen_for_transfer(&self) {
        self.inner.quic.set_receive_window(VarInt::from_u32(self.inner.wide_window));
        self.inner.quic.set_send_window(self.inner.wide_window.into());
    }

    /// The half of [`Connection::widen_for_transfer`] that is for what this side sends. Whoever only
    /// serves files widens no more than this, so that the peer cannot make it hold as much unread.
    pub fn widen_for_sending(&self) {
        self.inner.quic.set_send_window(self.inner.wide_window.into());
    }

    /// Ends it at once: the peer is told why, all streams of both sides break off. What was sent
    /// and not yet acknowledged may be lost, see
    /// [`FrameSender::delivered`](crate::FrameSender::delivered).
    pub fn close(&self, reason: CloseReason) {
        // The first reason stands, as it does in QUIC.
        let _ = self.inner.said.set(reason);
        self.inner.quic.close(VarInt::from_u32(reason.code()), reason.to_string().as_bytes());
    }

    /// Waits until it has ended, and tells why.
    pub async fn closed(&self) -> ConnectionError {
        let error = self.inner.quic.closed().await;
        self.error(error)
    }

    /// Why it has ended, if it has.
    pub fn close_reason(&self) -> Option<ConnectionError> {
        self.inner.quic.close_reason().map(|error| self.error(error))
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.inner.quic.close_reason().is_some()
    }

    /// Notes why the endpoint closes all of its connections.
    pub(crate) fn note_reason(&self, reason: CloseReason) {
        let _ = self.inner.said.set(reason);
    }

    pub(crate) fn error(&self, error: quinn::ConnectionError) -> ConnectionError {
        ConnectionError::from_quinn(error, self.inner.said.get().copied())
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    fn stream(&self, (send, receive): (quinn::SendStream, quinn::RecvStream)) -> Stream {
        Stream::new(self.clone(), send, receive)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer())
            .field("address", &self.seen_at())
            .field("dialler", &self.is_dialler())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Connection {}

impl Hash for Connection {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.inner).hash(state);
    }
}

/// What has gone over a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Bytes received, with all that QUIC adds.
    pub bytes_in: u64,
    /// Bytes sent, with all that QUIC adds.
    pub bytes_out: u64,
    /// Packets sent on the present path.
    pub packets_out: u64,
    /// Packets lost on the present path.
    pub packets_lost: u64,
    /// Bytes that may be in flight at present.
    pub congestion_window: u64,
    /// Frames of the peer's, as QUIC has decrypted them: what did not come from the peer is not among
    /// them, and of what came twice, one.
    pub decrypted: u64,
    /// Acknowledgements among them.
    pub acknowledgements_in: u64,
    /// Frames sent that the peer has to acknowledge (RFC 9000, section 13.2).
    pub eliciting: u64,
}

fn all_frames(stats: &quinn::FrameStats) -> u64 {
    [
        stats.acks,
        stats.ack_frequency,
        stats.crypto,
        stats.connection_close,
        stats.data_blocked,
        stats.datagram,
        stats.handshake_done.into(),
        stats.immediate_ack,
        stats.max_data,
        stats.max_stream_data,
        stats.max_streams_bidi,
        stats.max_streams_uni,
        stats.new_connection_id,
        stats.new_token,
        stats.path_challenge,
        stats.path_response,
        stats.ping,
        stats.reset_stream,
        stats.retire_connection_id,
        stats.stream_data_blocked,
        stats.streams_blocked_bidi,
        stats.streams_blocked_uni,
        stats.stop_sending,
        stats.stream,
    ]
    .into_iter()
    .sum()
}

/// An address as people know it: a socket for both families sees IPv4 as `::ffff:a.b.c.d`.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
