//! A socket of the network.

use super::Network;
use super::receive::SEGMENTS;
use super::state::State;
use crate::socket::{
    AlwaysWritable, DatagramSocket, EcnCodepoint, RecvMeta, Transmit, WritePoller,
};
use std::cmp::Reverse;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// A socket of a [`Network`].
#[derive(Debug)]
pub struct SimSocket {
    pub(super) network: Network,
    pub(super) address: SocketAddr,
    pub(super) timer: Mutex<Option<Pin<Box<Sleep>>>>,
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
        // What does not fit is dropped.
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
