//! Datagrams that wait for a tunnel's TCP connection: the oldest go when it is too slow.

use super::wire;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes that wait at most: a quarter of a second of a line of 8 Mbit/s. Were it more, QUIC above
/// would see its round trip grow for seconds before it saw the first loss.
const MAX_BYTES: usize = 256 * 1024;

/// Frames that are no data, and wait at most. They are small, and whoever misses one asks again.
const MAX_CONTROL: usize = 64;

/// Bytes that are written in one go: four records of TLS (RFC 8446, section 5.1).
const WRITE: usize = 64 * 1024;

/// What waits for one tunnel.
#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    control: VecDeque<Box<[u8]>>,
    data: VecDeque<Box<[u8]>>,
    data_bytes: usize,
    closed: bool,
}

impl Queue {
    /// Puts a datagram behind the others. Answers how many had to go for it.
    pub(super) fn push(&self, datagram: &[u8]) -> u64 {
        let mut dropped = 0;
        let mut inner = self.lock();
        if inner.closed || datagram.len() > wire::MAX_DATAGRAM {
            return 1;
        }
        if is_control(datagram) {
            inner.control.push_back(datagram.into());
            if inner.control.len() > MAX_CONTROL {
                inner.control.pop_front();
                dropped += 1;
            }
        } else {
            inner.data_bytes += datagram.len();
            inner.data.push_back(datagram.into());
            while inner.data_bytes > MAX_BYTES {
                let Some(oldest) = inner.data.pop_front() else { break };
                inner.data_bytes -= oldest.len();
                dropped += 1;
            }
        }
        drop(inner);
        self.filled.notify_one();
        dropped
    }

    /// Waits for datagrams, and puts them into `out` as they are written. Answers false when the
    /// queue is closed and empty. One task may wait.
    pub(super) async fn take(&self, out: &mut Vec<u8>) -> bool {
        loop {
            {
                let mut inner = self.lock();
                while out.len() < WRITE
                    && let Some(datagram) = inner.pop()
                {
                    wire::write(&datagram, out);
                }
                if !out.is_empty() {
                    return true;
                }
                if inner.closed {
                    return false;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Takes no more; what waits is still written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The next one, control first.
    fn pop(&mut self) -> Option<Box<[u8]>> {
        self.control.pop_front().or_else(|| {
            let data = self.data.pop_front()?;
            self.data_bytes -= data.len();
            Some(data)
        })
    }
}

/// Whether it is a frame of ours that carries no packet of QUIC.
fn is_control(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0b1100_0000 == 0)
        && crate::relay::frame::data_slot(datagram).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn when_tcp_is_slow_the_oldest_data_goes_and_control_stays() {
        let queue = Queue::default();
        assert_eq!(queue.push(&[0x02; 40]), 0);
        let full = MAX_BYTES / 1_024;
        for number in 0..full {
            assert_eq!(queue.push(&[0x40 + u8::from(number > 0); 1_024]), 0);
        }
        assert_eq!(queue.push(&[0x42; 1_024]), 1);

        let (mut out, mut firsts) = (Vec::new(), Vec::new());
        queue.close();
        while queue.take(&mut out).await {
            let mut come = bytes::BytesMut::from(&out[..]);
            while let Ok(Some(datagram)) = wire::read(&mut come) {
                firsts.push(datagram[0]);
            }
            out.clear();
        }
        assert_eq!((firsts.len(), firsts[0], firsts[1]), (full + 1, 0x02, 0x41));
        assert_eq!(firsts.last(), Some(&0x42));
    }

    #[tokio::test]
    async fn control_is_bounded_and_a_closed_queue_takes_nothing() {
        let queue = Queue::default();
        let dropped: u64 = (0..MAX_CONTROL + 3).map(|_| queue.push(&[0x02; 40])).sum();
        assert_eq!(dropped, 3);
        queue.close();
        assert_eq!(queue.push(&[0x40; 40]), 1);
    }
}
