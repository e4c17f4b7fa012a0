//! A UDP socket behind a line with a delay, in user space: measurements of waiting times need
//! distances, and not every system can make them.

use skein_net::{
    AlwaysWritable, DatagramSocket, EcnCodepoint, RecvMeta, Transmit, UdpSocket, WritePoller,
};
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

/// The kernel's buffers for the socket, in bytes.
const KERNEL_BUFFER: usize = 1 << 20;

/// The most that one call receives: what offloading puts together.
const BATCH: usize = 65_536;

/// A socket whose datagrams are delayed, those that come as those that go. There is no limit to how
/// many are under way: what is measured with it sends little.
#[derive(Debug)]
pub struct Line {
    udp: Arc<UdpSocket>,
    delay: Duration,
    out: UnboundedSender<Delayed<Outbound>>,
    arrived: Mutex<UnboundedReceiver<Inbound>>,
}

type Delayed<T> = (Instant, T);
type Inbound = (RecvMeta, Vec<u8>);

#[derive(Debug)]
struct Outbound {
    to: SocketAddr,
    ecn: Option<EcnCodepoint>,
    segment: Option<usize>,
    bytes: Vec<u8>,
}

impl Line {
    /// Opens a socket whose datagrams take `delay` from here to the network, and as long back. Must
    /// be called within a tokio runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(address: SocketAddr, delay: Duration) -> io::Result<Arc<Self>> {
        let udp = Arc::new(UdpSocket::bind(address, KERNEL_BUFFER)?);
        let (out, waiting) = unbounded_channel();
        tokio::spawn(send(Arc::clone(&udp), waiting));
        let (came, coming) = unbounded_channel();
        tokio::spawn(receive(Arc::clone(&udp), delay, came));
        let (arrive, arrived) = unbounded_channel();
        tokio::spawn(deliver(coming, arrive));
        Ok(Arc::new(Self { udp, delay, out, arrived: Mutex::new(arrived) }))
    }
}

impl DatagramSocket for Line {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let datagrams = Outbound {
            to: transmit.destination,
            ecn: transmit.ecn,
            segment: transmit.segment_size,
            bytes: transmit.contents.to_vec(),
        };
        let sent = self.out.send((Instant::now() + self.delay, datagrams));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
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
        let (Some(buffer), Some(first)) = (buffers.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((of, bytes)) = ready!(arrived.poll_recv(cx)) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        *first = RecvMeta { len: length, ..of };
        Poll::Ready(Ok(1))
    }

    fn max_transmit_segments(&self) -> usize {
        self.udp.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.udp.max_receive_segments()
    }
}

async fn send(udp: Arc<UdpSocket>, mut waiting: UnboundedReceiver<Delayed<Outbound>>) {
    let mut room = Arc::clone(&udp).write_poller();
    while let Some((due, Outbound { to, ecn, segment, bytes })) = waiting.recv().await {
        sleep_until(due).await;
        let transmit = Transmit {
            destination: to,
            ecn,
            contents: &bytes,
            segment_size: segment,
            src_ip: None,
        };
        while udp.try_send(&transmit).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        {
            if poll_fn(|cx| room.as_mut().poll_writable(cx)).await.is_err() {
                return;
            }
        }
    }
}

async fn receive(udp: Arc<UdpSocket>, delay: Duration, came: UnboundedSender<Delayed<Inbound>>) {
    let mut bytes = vec![0; BATCH];
    let mut meta = [RecvMeta::default()];
    loop {
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        let received = poll_fn(|cx| udp.poll_recv(cx, &mut buffers, &mut meta)).await;
        let due = Instant::now() + delay;
        if received.is_ok() && came.send((due, (meta[0], bytes[..meta[0].len].to_vec()))).is_err() {
            return;
        }
    }
}

async fn deliver(
    mut coming: UnboundedReceiver<Delayed<Inbound>>,
    arrive: UnboundedSender<Inbound>,
) {
    while let Some((due, datagrams)) = coming.recv().await {
        sleep_until(due).await;
        if arrive.send(datagrams).is_err() {
            return;
        }
    }
}
