//! The system's UDP socket.

use super::burst::Burst;
use super::offload::Offload;
use super::{DatagramSocket, RecvMeta, Transmit, WritePoller};
use crate::relay::frame::HEADER;
use quinn::udp::BATCH_SIZE;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::sync::Notify;

/// The system's UDP socket, with all the offloads that quinn-udp finds (GSO, GRO, ECN). Must be
/// used within the tokio runtime that it was bound in.
#[derive(Debug)]
pub struct UdpSocket {
    inner: Arc<Inner>,
    burst_waits: Arc<Notify>,
}

#[derive(Debug)]
struct Inner {
    socket: tokio::net::UdpSocket,
    offload: Offload,
    burst: Mutex<Burst>,
}

impl UdpSocket {
    /// Opens a socket with kernel buffers of `buffer` bytes each, as far as the system grants
    /// them. An unspecified IPv6 address takes IPv4 as well, where the system can. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(address: SocketAddr, buffer: usize) -> io::Result<Self> {
        use socket2::{Domain, Protocol, Socket, Type};
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(io::Error::other("no tokio runtime is running"));
        }
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6()
            && address.ip().is_unspecified()
            && let Err(error) = socket.set_only_v6(false)
        {
            tracing::debug!(%error, "this socket takes IPv6 only");
        }
        for (what, set) in [
            ("receive", socket.set_recv_buffer_size(buffer)),
            ("send", socket.set_send_buffer_size(buffer)),
        ] {
            if let Err(error) = set {
                tracing::debug!(%error, what, bytes = buffer, "the system's own buffer is kept");
            }
        }
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        let offload = Offload::new((&socket).into())?;
        let socket = tokio::net::UdpSocket::from_std(socket.into())?;
        let inner = Arc::new(Inner { socket, offload, burst: Mutex::default() });
        let burst_waits = Arc::<Notify>::default();
        tokio::spawn(flush_bursts(Arc::downgrade(&inner), Arc::clone(&burst_waits)));
        Ok(Self { inner, burst_waits })
    }
}

impl Inner {
    fn burst(&self) -> MutexGuard<'_, Burst> {
        self.burst.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits. Answers [`io::ErrorKind::WouldBlock`] if there is no room; then it still
    /// waits.
    fn flush(&self, burst: &mut Burst) -> io::Result<()> {
        if burst.is_empty() {
            return Ok(());
        }
        let sent = self.send(&burst.transmit());
        if !matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            burst.clear();
        }
        sent
    }

    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.offload.send(&self.socket, transmit)
    }
}

/// Sends the bursts that wait when whoever began them has done his turn: tokio runs a task that was
/// woken after the one that woke it.
async fn flush_bursts(inner: Weak<Inner>, waits: Arc<Notify>) {
    loop {
        waits.notified().await;
        loop {
            // The socket is not kept open by this.
            let Some(inner) = inner.upgrade() else { return };
            let sent = inner.flush(&mut inner.burst());
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if inner.socket.writable().await.is_err() {
                        return;
                    }
                }
                // As in a network: what cannot be sent is lost.
                Ok(()) | Err(_) => break,
            }
        }
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        // The last words of a connection may wait. Where there is no room for them, they are lost.
        let burst = self.inner.burst();
        if !burst.is_empty() {
            let _ = self.inner.send(&burst.transmit());
        }
        drop(burst);
        self.burst_waits.notify_one();
    }
}

impl DatagramSocket for UdpSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.socket.local_addr()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.send(transmit)
    }

    fn try_send_framed(&self, header: &[u8; HEADER], transmit: &Transmit<'_>) -> io::Result<()> {
        let mut burst = self.inner.burst();
        if !burst.takes(header, transmit, self.inner.offload.max_segments()) {
            // What of the burst before was refused is lost, and nothing of this one.
            match self.inner.flush(&mut burst) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let first = burst.is_empty();
        burst.add(header, transmit);
        if !burst.is_complete() {
            drop(burst);
            if first {
                self.burst_waits.notify_one();
            }
            return Ok(());
        }
        let sent = self.inner.flush(&mut burst);
        if sent.is_err() && first {
            // Whoever hands it over tries again with all of it.
            burst.clear();
            return sent;
        }
        Ok(())
    }

    fn write_poller(self: Arc<Self>) -> Pin<Box<dyn WritePoller>> {
        Box::pin(Room { inner: Arc::clone(&self.inner), wait: None })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Inner { socket, offload, .. } = &*self.inner;
        let most = buffers.len().min(meta.len()).min(BATCH_SIZE);
        loop {
            ready!(socket.poll_recv_ready(cx))?;
            let mut received = 0;
            let tried = socket.try_io(Interest::READABLE, || {
                received = offload.recv(socket, buffers, meta)?;
                match received < most {
                    // There is no more: tokio need not be told so by another call.
                    true => Err(io::ErrorKind::WouldBlock.into()),
                    false => Ok(()),
                }
            });
            // Other errors than that there is nothing are about datagrams sent before.
            if tried.is_ok() || received > 0 {
                return Poll::Ready(Ok(received));
            }
        }
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.offload.max_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.offload.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.offload.may_fragment()
    }

    fn refused(&self) -> u64 {
        self.inner.offload.refused()
    }
}

/// Waits for room to send.
struct Room {
    inner: Arc<Inner>,
    wait: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

impl WritePoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, wait } = &mut *self;
        if wait.is_none() && inner.socket.try_io(Interest::WRITABLE, || Ok(())).is_ok() {
            return Poll::Ready(Ok(()));
        }
        let future = wait.get_or_insert_with(|| {
            let inner = Arc::clone(inner);
            Box::pin(async move { inner.socket.writable().await })
        });
        let result = ready!(future.as_mut().poll(cx));
        *wait = None;
        Poll::Ready(result)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::future::poll_fn;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const HEADER_BYTES: &[u8; HEADER] = b"8 bytes:";

    fn batch(contents: &[u8], destination: SocketAddr, segment: usize) -> Transmit<'_> {
        let segment_size = (contents.len() > segment).then_some(segment);
        Transmit { destination, ecn: None, contents, segment_size, src_ip: None }
    }

    /// A socket that the runtime knows to have room.
    async fn bound(address: SocketAddr) -> Arc<UdpSocket> {
        let socket = Arc::new(UdpSocket::bind(address, 1 << 20).unwrap());
        let mut poller = Arc::clone(&socket).write_poller();
        poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        socket
    }

    /// The next datagrams that come, one by one, in the order in which they came.
    async fn receive(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        while datagrams.len() < count {
            let mut bytes = vec![0; 65_536];
            let mut meta = [RecvMeta::default()];
            let received =
                poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut bytes)], &mut meta));
            assert_eq!(received.await.unwrap(), 1);
            let whole = &bytes[..meta[0].len];
            datagrams.extend(whole.chunks(meta[0].stride).map(<[u8]>::to_vec));
        }
        datagrams
    }

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    fn framed_by(header: &[u8], contents: &[u8], segment: usize) -> Vec<Vec<u8>> {
        contents.chunks(segment).map(|datagram| [header, datagram].concat()).collect()
    }

    fn framed(contents: &[u8], segment: usize) -> Vec<Vec<u8>> {
        framed_by(HEADER_BYTES, contents, segment)
    }

    #[tokio::test]
    async fn each_datagram_has_the_header_before_it_and_the_last_may_be_shorter() {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let contents: Vec<u8> = (0..=255).cycle().take(3_500).collect();
        for (from, to) in [(v4, v4), (v6, v6), (both, v4)] {
            let (from, to) = (bound(from).await, bound(to).await);
            let mut destination = to.local_addr().unwrap();
            if from.local_addr().unwrap().is_ipv6() {
                destination = super::super::mapped(destination);
            }
            for (length, segment) in [(3_500, 1_000), (3_000, 1_000), (900, 900)] {
                let contents = &contents[..length];
                let transmit = batch(contents, destination, segment);
                from.try_send_framed(HEADER_BYTES, &transmit).unwrap();
                let expected = framed(contents, segment);
                assert_eq!(receive(&to, expected.len()).await, expected);
            }
        }
    }

    #[tokio::test]
    async fn what_is_sent_in_one_turn_goes_together_and_in_order() {
        let (from, to) = (bound(loopback()).await, bound(loopback()).await);
        let destination = to.local_addr().unwrap();
        let mut expected = Vec::new();
        for number in 0..6 {
            let contents = vec![number; 12_000];
            let transmit = batch(&contents, destination, 1_200);
            from.try_send_framed(HEADER_BYTES, &transmit).unwrap();
            expected.extend(framed(&contents, 1_200));
        }
        assert_eq!(receive(&to, expected.len()).await, expected);
    }

    /// Datagrams of 1,000 bytes to a port that somebody listens at, in one call if that is possible.
    async fn sends_batches(from: &UdpSocket) -> bool {
        let to = bound(loopback()).await;
        let contents = vec![7; 4_000];
        from.try_send(&batch(&contents, to.local_addr().unwrap(), 1_000)).unwrap();
        assert_eq!(receive(&to, 4).await, framed_by(&[], &contents, 1_000));
        from.max_transmit_segments() > 1
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_sent_to_says_nothing_about_the_device() {
        let socket = bound(loopback()).await;
        if !sends_batches(&socket).await {
            return; // There is nothing to lose.
        }
        let contents = vec![7; 4_000];
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let elsewhere = SocketAddr::from((Ipv6Addr::LOCALHOST, 4_701));
        // A source that this machine does not have is what an answer to a broadcast would bear.
        let from_nobody = Transmit {
            src_ip: Some(Ipv4Addr::new(192, 0, 2, 255).into()),
            ..batch(&contents, SocketAddr::from((Ipv4Addr::LOCALHOST, 4_701)), 1_000)
        };
        for (refused, transmit) in [
            (4, batch(&contents, nowhere, 1_000)),
            (5, batch(&contents[..1_000], nowhere, 1_000)),
            (9, batch(&contents, elsewhere, 1_000)),
            (13, from_nobody),
        ] {
            assert!(socket.try_send(&transmit).is_err(), "{transmit:?}");
            assert_eq!(socket.refused(), refused);
            assert!(sends_batches(&socket).await, "{transmit:?}");
        }
    }

    #[tokio::test]
    async fn batches_go_out_one_by_one_where_the_device_takes_none() {
        let (from, to) = (bound(loopback()).await, bound(loopback()).await);
        from.inner.offload.go_without();
        assert_eq!(from.max_transmit_segments(), 1);
        let contents = vec![9; 3_500];
        let transmit = batch(&contents, to.local_addr().unwrap(), 1_000);
        from.try_send(&transmit).unwrap();
        assert_eq!(receive(&to, 4).await, framed_by(&[], &contents, 1_000));
        from.try_send_framed(HEADER_BYTES, &transmit).unwrap();
        assert_eq!(receive(&to, 4).await, framed(&contents, 1_000));
    }

    #[tokio::test]
    async fn what_waits_when_the_socket_is_dropped_is_sent() {
        let (from, to) = (bound(loopback()).await, bound(loopback()).await);
        let contents = vec![1; 2_400];
        let transmit = batch(&contents, to.local_addr().unwrap(), 1_200);
        from.try_send_framed(HEADER_BYTES, &transmit).unwrap();
        drop(from);
        assert_eq!(receive(&to, 2).await, framed(&contents, 1_200));
    }
}
