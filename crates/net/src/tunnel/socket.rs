//! The UDP socket with tunnels beside it.

use super::probe::UdpProbe;
use super::{Inbound, Tunnels, is_virtual};
use crate::connection::canonical;
use crate::relay::frame::{self, HEADER};
use crate::socket::{DatagramSocket, RecvMeta, Transmit, WritePoller, mapped, send_put_together};
use crate::stats::Counter;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The least time between two answers to probes of one tunnel.
const ANSWERS_APART: Duration = Duration::from_secs(1);

/// Datagrams of one batch at most, as many as Linux joins.
const SEGMENTS: usize = 64;

/// A socket that sends through a tunnel what goes to its address, and receives from all of them.
#[derive(Debug)]
pub(crate) struct TunnelSocket {
    tunnels: Arc<Tunnels>,
    inbox: Mutex<Inbox>,
    /// Whose turn it is to be received from first, so that neither keeps the other waiting.
    tunnels_first: AtomicBool,
}

#[derive(Debug)]
struct Inbox {
    come: mpsc::Receiver<Inbound>,
    /// Taken out, and did not fit.
    next: Option<Inbound>,
}

impl Inbox {
    /// Fills a buffer with datagrams of one tunnel, equally long but for the last. Answers where
    /// they are from, how long each is, and how long all are.
    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        lost: &Counter,
    ) -> Poll<Option<(SocketAddr, usize, usize)>> {
        let mut batch: Option<(SocketAddr, usize, usize)> = None;
        loop {
            let (from, datagram) = match self.next.take() {
                Some(next) => next,
                None => match self.come.poll_recv(cx) {
                    Poll::Ready(Some(next)) => next,
                    // What was filled is handed out first.
                    Poll::Ready(None) | Poll::Pending if batch.is_some() => break,
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                },
            };
            let (stride, filled) = match batch {
                None if datagram.len() > buffer.len() => {
                    lost.increment();
                    continue;
                }
                None => (datagram.len(), 0),
                Some((same, stride, filled)) => {
                    let fits = datagram.len() <= stride
                        && filled + datagram.len() <= buffer.len()
                        && filled < SEGMENTS * stride;
                    if same != from || !fits {
                        self.next = Some((from, datagram));
                        break;
                    }
                    (stride, filled)
                }
            };
            let end = filled + datagram.len();
            buffer[filled..end].copy_from_slice(&datagram);
            batch = Some((from, stride, end));
            if datagram.len() < stride {
                break;
            }
        }
        Poll::Ready(batch)
    }
}

impl TunnelSocket {
    pub(super) fn new(tunnels: Arc<Tunnels>, come: mpsc::Receiver<Inbound>) -> Self {
        let inbox = Mutex::new(Inbox { come, next: None });
        Self { tunnels, inbox, tunnels_first: AtomicBool::new(false) }
    }

    fn poll_tunnels(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<usize> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = &self.tunnels.counters.tunnel_datagrams_lost;
        let mut filled = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Poll::Ready(Some((from, stride, len))) = inbox.poll_batch(cx, buffer, lost) else {
                break;
            };
            let addr = self.tunnels.as_the_base_has_it(from);
            *meta = RecvMeta { addr, len, stride, ..RecvMeta::default() };
            filled += 1;
        }
        if filled > 0 { Poll::Ready(filled) } else { Poll::Pending }
    }

    /// Takes out what is meant for the tunnels of what came over UDP.
    fn notice(&self, buffers: &[IoSliceMut<'_>], meta: &mut [RecvMeta]) {
        for (buffer, meta) in buffers.iter().zip(meta) {
            if meta.addr.port() == 0 {
                continue;
            }
            // Whoever sends a probe sends nothing else over UDP meanwhile, so it comes alone.
            match UdpProbe::decode(&buffer[..meta.len.min(buffer.len())]) {
                Some(probe) => {
                    self.tunnels.on_probe(meta.addr, probe);
                    meta.len = 0;
                }
                None => self.tunnels.heard_udp(meta.addr),
            }
        }
    }
}

impl Tunnels {
    /// An address in the form in which the UDP socket gives it.
    pub(super) fn as_the_base_has_it(&self, address: SocketAddr) -> SocketAddr {
        if self.is_v6 { mapped(address) } else { address }
    }

    /// Notes that a datagram came over UDP. Anybody can send one: it says something to a tunnel
    /// that is tried without, and nothing of UDP as such.
    fn heard_udp(&self, from: SocketAddr) {
        if self.counters.tunnels_outgoing_live.get() > 0
            && let Some(pipe) = self.by_address.get(&canonical(from))
        {
            pipe.udp.datagram.store(true, Ordering::Relaxed);
        }
    }

    fn on_probe(&self, from: SocketAddr, probe: UdpProbe) {
        match probe {
            UdpProbe::Probe(token) => {
                let Some(pipe) = self.by_token.get(&token).map(|pipe| Arc::clone(&pipe)) else {
                    self.counters.datagrams_unknown.increment();
                    return;
                };
                let mut answered = pipe.udp.probed.lock().unwrap_or_else(PoisonError::into_inner);
                if answered.is_some_and(|at: Instant| at.elapsed() < ANSWERS_APART) {
                    return;
                }
                *answered = Some(Instant::now());
                let contents = UdpProbe::Answer(token).encode();
                let transmit = Transmit {
                    destination: from,
                    ecn: None,
                    contents: &contents,
                    segment_size: None,
                    src_ip: None,
                };
                if self.base.try_send(&transmit).is_ok() {
                    self.counters.tunnel_probes_answered.increment();
                }
            }
            UdpProbe::Answer(token) => {
                let Some(pipe) = self.by_address.get(&canonical(from)) else { return };
                if *pipe.token.lock().unwrap_or_else(PoisonError::into_inner) == token {
                    pipe.udp.answered.notify_one();
                }
            }
        }
    }
}

impl DatagramSocket for TunnelSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tunnels.base.local_addr()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let counters = &self.tunnels.counters;
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let Some(pipe) = self.tunnels.pipe_to(transmit.destination) else {
            if is_virtual(&transmit.destination) {
                let lost = transmit.contents.len().div_ceil(segment);
                counters.tunnel_datagrams_lost.add(lost as u64);
                return Ok(());
            }
            return self.tunnels.base.try_send(transmit);
        };
        if frame::shows_bound(transmit.contents) {
            pipe.relayed.store(self.tunnels.millis(), Ordering::Relaxed);
        }
        for datagram in transmit.contents.chunks(segment) {
            counters.tunnel_datagrams_out.increment();
            counters.tunnel_datagrams_dropped.add(pipe.queue.push(datagram));
        }
        Ok(())
    }

    fn try_send_framed(&self, header: &[u8; HEADER], transmit: &Transmit<'_>) -> io::Result<()> {
        let to = transmit.destination;
        match self.tunnels.pipe_to(to).is_some() || is_virtual(&to) {
            true => send_put_together(self, header, transmit),
            false => self.tunnels.base.try_send_framed(header, transmit),
        }
    }

    fn write_poller(self: Arc<Self>) -> Pin<Box<dyn WritePoller>> {
        Arc::clone(&self.tunnels.base).write_poller()
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let tunnels_first = self.tunnels_first.fetch_xor(true, Ordering::Relaxed);
        if tunnels_first && let Poll::Ready(count) = self.poll_tunnels(cx, buffers, meta) {
            return Poll::Ready(Ok(count));
        }
        match self.tunnels.base.poll_recv(cx, buffers, meta) {
            Poll::Ready(Ok(count)) => {
                self.notice(&buffers[..count], &mut meta[..count]);
                Poll::Ready(Ok(count))
            }
            Poll::Pending if !tunnels_first => self.poll_tunnels(cx, buffers, meta).map(Ok),
            other => other,
        }
    }

    fn max_transmit_segments(&self) -> usize {
        self.tunnels.base.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.tunnels.base.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.tunnels.base.may_fragment()
    }

    fn refused(&self) -> u64 {
        self.tunnels.base.refused()
    }
}
