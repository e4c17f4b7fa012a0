//! Sending with what the system and its devices can do, and without where they cannot.
//!
//! Some devices take no batches of equally long datagrams (generic segmentation offload): the
//! system then refuses them with `EIO` or `EINVAL`, and gives no earlier sign of it. quinn-udp takes
//! *every* such error for that, and every `EINVAL` for a kernel that cannot mark datagrams (ECN),
//! and goes without both from then on. The system says `EINVAL` to other things as well, to a
//! destination without a port or a scope, for one, or to a batch of datagrams that are longer than
//! the line takes; and anybody can have a node answer to a forged address. So here it is looked
//! who was to blame: whether the first datagram of the batch passes by itself.

use super::Transmit;
use quinn::udp::{UdpSockRef, UdpSocketState};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A socket's state of the offloads, and how often the system refused to send.
#[derive(Debug)]
pub(super) struct Offload {
    state: RwLock<UdpSocketState>,
    /// Datagrams that one call may send.
    most: AtomicUsize,
    gro_segments: usize,
    may_fragment: bool,
    refused: AtomicU64,
}

impl Offload {
    pub(super) fn new(socket: UdpSockRef<'_>) -> io::Result<Self> {
        let state = UdpSocketState::new(socket)?;
        Ok(Self {
            most: AtomicUsize::new(state.max_gso_segments()),
            gro_segments: state.gro_segments(),
            may_fragment: state.may_fragment(),
            refused: AtomicU64::new(0),
            state: RwLock::new(state),
        })
    }

    /// Datagrams that one call may send.
    pub(super) fn max_segments(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    pub(super) fn gro_segments(&self) -> usize {
        self.gro_segments
    }

    pub(super) fn may_fragment(&self) -> bool {
        self.may_fragment
    }

    /// Datagrams that the system has refused to send.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Receives as many as there are.
    pub(super) fn recv(
        &self,
        socket: &UdpSocket,
        buffers: &mut [io::IoSliceMut<'_>],
        meta: &mut [super::RecvMeta],
    ) -> io::Result<usize> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).recv(socket.into(), buffers, meta)
    }

    /// Sends datagrams, in as few calls as it can.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is no room for the first of them; of other errors, the
    /// first. What could not be sent because of those is lost and counted.
    pub(super) fn send(&self, socket: &UdpSocket, transmit: &Transmit<'_>) -> io::Result<()> {
        let (segment, count) = segments(transmit);
        if transmit.destination.port() == 0 {
            // Nobody listens there, and the system would say what it says of missing offloads.
            self.refuse(count);
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match self.max_segments() {
            most if count <= most => self.send_batch(socket, transmit),
            most => self.send_apart(socket, transmit, segment * most, false),
        }
    }

    /// Sends as many as one call may send.
    fn send_batch(&self, socket: &UdpSocket, transmit: &Transmit<'_>) -> io::Result<()> {
        let (segment, count) = segments(transmit);
        let error = match self.send_at_once(socket, transmit) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => error,
            sent => return sent,
        };
        if count <= 1 || !may_be_about_offload(&error) {
            self.refuse(count);
            return Err(error);
        }
        let (first, rest) = transmit.contents.split_at(segment);
        let one = Transmit { contents: first, segment_size: None, ..*transmit };
        if let Err(error) = self.send_at_once(socket, &one) {
            // It is not the batch that is refused. What there is no room for is sent again.
            if error.kind() != io::ErrorKind::WouldBlock {
                self.refuse(count);
            }
            return Err(error);
        }
        if self.most.swap(1, Ordering::Relaxed) > 1 {
            tracing::info!("the system does not send several datagrams in one call here");
        }
        self.send_apart(socket, &Transmit { contents: rest, ..*transmit }, segment, true)
    }

    /// Sends in pieces of so many bytes. If some have gone before, nothing may be sent again, and
    /// what there is no room for is lost.
    fn send_apart(
        &self,
        socket: &UdpSocket,
        transmit: &Transmit<'_>,
        length: usize,
        mut begun: bool,
    ) -> io::Result<()> {
        let (segment, _) = segments(transmit);
        let mut result = Ok(());
        for contents in transmit.contents.chunks(length.max(1)) {
            let segment_size = (contents.len() > segment).then_some(segment);
            let piece = Transmit { contents, segment_size, ..*transmit };
            match self.send_batch(socket, &piece) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !begun {
                        return Err(error);
                    }
                    self.refuse(contents.len().div_ceil(segment));
                }
                sent => result = result.and(sent),
            }
            begun = true;
        }
        result
    }

    fn send_at_once(&self, socket: &UdpSocket, transmit: &Transmit<'_>) -> io::Result<()> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let sent = socket.try_io(Interest::WRITABLE, || state.try_send(socket.into(), transmit));
        drop(state);
        if sent.as_ref().is_err_and(may_be_about_offload) {
            self.start_anew(socket);
        }
        sent
    }

    /// Forgets what quinn-udp has made of an error.
    fn start_anew(&self, socket: &UdpSocket) {
        if let Ok(fresh) = UdpSocketState::new(socket.into()) {
            *self.state.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    }

    #[cfg(test)]
    pub(super) fn go_without(&self) {
        self.most.store(1, Ordering::Relaxed);
    }

    fn refuse(&self, datagrams: usize) {
        self.refused.fetch_add(datagrams as u64, Ordering::Relaxed);
    }
}

/// The length of a batch's datagrams, and how many they are.
fn segments(transmit: &Transmit<'_>) -> (usize, usize) {
    let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
    (segment, transmit.contents.len().div_ceil(segment))
}

/// Whether quinn-udp takes an error for a sign that batches, or marks, cannot be sent.
fn may_be_about_offload(error: &io::Error) -> bool {
    // EIO has no kind of its own.
    const EIO: i32 = 5;
    error.kind() == io::ErrorKind::InvalidInput || error.raw_os_error() == Some(EIO)
}
