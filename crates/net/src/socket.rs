//! The one UDP port, behind a trait.
//!
//! Everything that an endpoint sends and receives goes through a [`DatagramSocket`]: the
//! system's ([`UdpSocket`]) or, in tests, an in-memory one. Between it and QUIC stands
//! [`Demultiplexer`], which looks at the first byte of every datagram (RFC 9443 does the same for
//! other protocols):
//!
//! | top bits | what it is |
//! |---|---|
//! | `00` | a frame of ours: a packet of a session, or for the relay; unknown ones are dropped |
//! | `01`, `11` | QUIC: a short or a long header, both with the fixed bit |
//! | `10` | nothing; QUIC drops it |
//!
//! QUIC packets always have the fixed bit, since greasing it (RFC 9287) is off.

mod burst;
mod offload;
mod system;

use crate::connection::canonical;
use crate::relay::frame::{self, HEADER};
use crate::relay::{Batch, Relay};
use crate::session::Sessions;
use crate::stats::Counters;
use quinn::AsyncUdpSocket;
use std::cell::RefCell;
use std::fmt::{self, Debug};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

pub use quinn::UdpPoller as WritePoller;
pub use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
pub use system::UdpSocket;

/// Sends and receives datagrams in batches.
///
/// [`Transmit`] and [`RecvMeta`] may each stand for several datagrams of equal length one behind
/// the other (generic segmentation and receive offload), so that one call to the system moves
/// dozens.
pub trait DatagramSocket: Debug + Send + Sync + 'static {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Sends, or says [`io::ErrorKind::WouldBlock`] when the system's buffer is full; then a poller
    /// tells when to try again.
    ///
    /// # Errors
    /// What the system says; what it refused is lost. A datagram that got lost later is no error.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()>;

    /// The same with `header` before each datagram, as packets of sessions have it.
    ///
    /// # Errors
    /// As [`Self::try_send`].
    fn try_send_framed(&self, header: &[u8; HEADER], transmit: &Transmit<'_>) -> io::Result<()> {
        send_put_together(self, header, transmit)
    }

    /// Makes something that one task can wait on for room to send.
    fn write_poller(self: Arc<Self>) -> Pin<Box<dyn WritePoller>>;

    /// Receives as many as there are: fills a buffer and its meta for each, and returns how many.
    ///
    /// # Errors
    /// What the system says; the endpoint ends by it, except for
    /// [`io::ErrorKind::ConnectionReset`].
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>>;

    /// Datagrams that one [`Transmit`] may stand for.
    fn max_transmit_segments(&self) -> usize {
        1
    }

    /// Datagrams that one [`RecvMeta`] may stand for.
    fn max_receive_segments(&self) -> usize {
        1
    }

    /// Whether datagrams may be cut into pieces on their way; if so, QUIC does not look for the
    /// largest size that passes.
    fn may_fragment(&self) -> bool {
        true
    }

    /// Datagrams so far that the system refused to send, though it had room.
    fn refused(&self) -> u64 {
        0
    }
}

/// The poller of a socket that never makes a sender wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysWritable;

impl WritePoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Puts the header before each datagram of a batch, and sends it in one piece.
pub(crate) fn send_put_together<S: DatagramSocket + ?Sized>(
    socket: &S,
    header: &[u8; HEADER],
    transmit: &Transmit<'_>,
) -> io::Result<()> {
    thread_local! {
        // A batch has 64 KiB at most; to allocate it each time would cost more than to fill it.
        static FRAMED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    FRAMED.with_borrow_mut(|framed| {
        framed.clear();
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(segment) {
            framed.extend_from_slice(header);
            framed.extend_from_slice(datagram);
        }
        socket.try_send(&Transmit {
            contents: framed,
            segment_size: transmit.segment_size.map(|size| size + HEADER),
            ..*transmit
        })
    })
}

/// How many receive calls in a row may bring nothing for QUIC before others get their turn.
const BUSY_CALLS: usize = 16;

/// Gives QUIC its datagrams, sessions theirs, and the relay the rest.
pub(crate) struct Demultiplexer {
    socket: Arc<dyn DatagramSocket>,
    counters: Arc<Counters>,
    sessions: Arc<Sessions>,
    relay: Arc<Relay>,
    /// The socket takes IPv4 only. QUIC is told that it takes IPv6, with IPv4 mapped into it, since
    /// the addresses of sessions are IPv6.
    is_v4: bool,
    /// Waits for the system's socket on behalf of what the relay could not send.
    room: Mutex<Option<Pin<Box<dyn WritePoller>>>>,
}

impl Debug for Demultiplexer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demultiplexer").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Demultiplexer {
    pub(crate) fn new(
        socket: Arc<dyn DatagramSocket>,
        counters: Arc<Counters>,
        sessions: Arc<Sessions>,
        relay: Arc<Relay>,
    ) -> Self {
        let is_v4 = socket.local_addr().is_ok_and(|address| address.is_ipv4());
        Self { socket, counters, sessions, relay, is_v4, room: Mutex::new(None) }
    }

    /// Takes a batch apart, run by run: what comes in one batch from one address may be of any
    /// kind, since a peer may be the relay as well, and whoever joins datagrams looks at their
    /// lengths only. The first address that has something for QUIC gets the buffer; what is for
    /// QUIC from others waits for the next call.
    fn sort(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let batch = *meta;
        let stride = batch.stride.max(1);
        let length = batch.len.min(buffer.len());
        self.counters.datagrams_in.add(length.div_ceil(stride) as u64);
        meta.len = 0;
        if batch.addr.port() == 0 {
            // No socket sends from there, and nothing can be answered to it.
            self.counters.datagrams_from_nowhere.add(length.div_ceil(stride) as u64);
            return;
        }
        let mut at = 0;
        while at < length {
            let rest = &mut buffer[at..length];
            let (run, for_quic) = if is_ours(rest[0]) {
                self.take_ours(batch, rest)
            } else {
                let run = run_of_quic(rest, stride);
                let addr = if self.is_v4 { mapped(batch.addr) } else { batch.addr };
                (run, Some(RecvMeta { addr, len: run, stride, ..batch }))
            };
            if let Some(found) = for_quic {
                let bytes = at..at + found.len;
                if meta.len == 0 {
                    *meta = RecvMeta { len: 0, ..found };
                }
                if meta.addr == found.addr {
                    // Only the last datagram of a batch is shorter, so these stay equally long.
                    if at != meta.len {
                        buffer.copy_within(bytes, meta.len);
                    }
                    meta.len += found.len;
                } else {
                    self.sessions.keep(found, &buffer[bytes]);
                }
            }
            at += run;
        }
    }

    /// Takes up what a batch begins with, a frame of ours or several that belong together. Answers
    /// how long it was, and what of it is for QUIC; that then begins the batch.
    fn take_ours(&self, batch: RecvMeta, bytes: &mut [u8]) -> (usize, Option<RecvMeta>) {
        let stride = batch.stride.max(1);
        let first = &bytes[..stride.min(bytes.len())];
        let run = match frame::data_slot(first) {
            Some(number) => {
                let run = frame::run_length(bytes, stride, number);
                let data = &mut bytes[..run];
                let frames = Batch { bytes: data, stride, ecn: batch.ecn };
                if self.relay.forward(batch.addr, number, frames) {
                    return (run, None);
                }
                if let Some(found) = self.sessions.receive(number, data, batch) {
                    return (run, Some(found));
                }
                run
            }
            None if self.sessions.on_frame(batch.addr, first) => return (first.len(), None),
            None => first.len(),
        };
        let frames = Batch { bytes: &bytes[..run], stride, ecn: batch.ecn };
        self.relay.receive(batch.addr, frames);
        (run, None)
    }

    /// Sends what the relay could not, as soon as there is room.
    fn poll_room(&self, cx: &mut Context<'_>) {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        while self.relay.is_waiting() {
            let poller = room.get_or_insert_with(|| Arc::clone(&self.socket).write_poller());
            match poller.as_mut().poll_writable(cx) {
                Poll::Ready(Ok(())) => self.relay.flush(),
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
    }
}

/// An address as an IPv6 socket sees it (RFC 4291, section 2.5.5.2).
pub(crate) fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Whether a datagram with this first byte is a frame of ours and none of QUIC's.
const fn is_ours(first_byte: u8) -> bool {
    first_byte & 0b1100_0000 == 0
}

/// How many bytes at the beginning of a batch are not ours.
fn run_of_quic(batch: &[u8], stride: usize) -> usize {
    batch.chunks(stride).take_while(|datagram| !is_ours(datagram[0])).map(<[u8]>::len).sum()
}

impl AsyncUdpSocket for Demultiplexer {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn WritePoller>> {
        Arc::clone(&self.socket).write_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = match self.sessions.try_send(transmit) {
            Some(sent) => sent,
            None if self.is_v4 => {
                let destination = canonical(transmit.destination);
                self.socket.try_send(&Transmit { destination, ..*transmit })
            }
            None => self.socket.try_send(transmit),
        };
        match sent {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            // As in a network, it is lost: QUIC would end the connection for any other error.
            Err(_) => return Ok(()),
        }
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        self.counters.datagrams_out.add(transmit.contents.len().div_ceil(segment) as u64);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if let (Some(buffer), Some(first)) = (buffers.first_mut(), meta.first_mut())
            && self.sessions.take_pending(buffer, first)
        {
            return Poll::Ready(Ok(1));
        }
        for _ in 0..BUSY_CALLS {
            let received = self.socket.poll_recv(cx, buffers, meta);
            if let Poll::Ready(Ok(count)) = &received {
                for (buffer, meta) in buffers.iter_mut().zip(meta.iter_mut()).take(*count) {
                    self.sort(buffer, meta);
                }
            }
            if self.relay.is_waiting() {
                self.poll_room(cx);
            }
            if received.is_pending() && self.sessions.wait_for_pending(cx) {
                cx.waker().wake_by_ref();
            }
            let count = ready!(received)?;
            if meta.iter().take(count).any(|meta| meta.len > 0) {
                return Poll::Ready(Ok(count));
            }
        }
        // Nothing was QUIC's. Others get their turn, then this goes on.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?;
        Ok(if self.is_v4 { mapped(address) } else { address })
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

#[cfg(test)]
mod marks;
#[cfg(test)]
mod tests;
