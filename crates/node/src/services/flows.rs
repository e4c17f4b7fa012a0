//! Datagrams for applications: each connection of a session carries any number of flows, told apart
//! by a number that the receiver of each has chosen.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use skein_net::Connection;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Packets of one flow that wait to be taken. Voice sends 50 a second, so this is more than a
/// second of it; whoever is later than that wants the new ones.
const QUEUE: usize = 64;

/// Bytes of a flow's number in front of each packet.
const NUMBER_BYTES: usize = 4;

/// The flows of all connections. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Flows {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By connection and number.
    open: DashMap<(usize, u32), mpsc::Sender<Bytes>>,
    /// The connections whose datagrams are being read.
    read: DashMap<usize, ()>,
    next: AtomicU32,
    dropped: AtomicU64,
}

impl Flows {
    /// Opens a flow on a connection: its number for the peer to use, and what comes in. Must be
    /// called within a tokio runtime.
    pub(super) fn open(&self, connection: &Connection) -> (u32, Incoming) {
        let (sender, packets) = mpsc::channel(QUEUE);
        let id = connection.id();
        // Numbers come round after 4 billion flows; one that is taken then is passed over.
        let number = loop {
            let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
            if let Entry::Vacant(place) = self.inner.open.entry((id, number)) {
                place.insert(sender);
                break number;
            }
        };
        if self.inner.read.insert(id, ()).is_none() {
            tokio::spawn(read(self.clone(), connection.clone()));
        }
        let key = (id, number);
        (number, Incoming { flows: self.clone(), key, packets })
    }

    /// Sends a packet in a flow of the peer's.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn send(&self, connection: &Connection, flow: u32, packet: &[u8]) -> io::Result<()> {
        let mut datagram = BytesMut::with_capacity(NUMBER_BYTES + packet.len());
        datagram.put_u32(flow);
        datagram.put_slice(packet);
        match connection.send_datagram(datagram.freeze()) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.inner.dropped.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(io::Error::new(io::ErrorKind::NotConnected, error)),
        }
    }

    /// Packets that were too large for their path, belonged to no flow, or came faster than they
    /// were taken.
    pub(super) fn dropped(&self) -> u64 {
        self.inner.dropped.load(Ordering::Relaxed)
    }
}

/// What comes in one flow, until it is dropped.
#[derive(Debug)]
pub(super) struct Incoming {
    flows: Flows,
    key: (usize, u32),
    packets: mpsc::Receiver<Bytes>,
}

impl Incoming {
    /// The next packet; `None` once the connection has ended. It may be dropped while waiting and
    /// loses nothing.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.packets.recv().await
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.flows.inner.open.remove(&self.key);
    }
}

/// Hands out what comes on a connection, until it ends.
async fn read(flows: Flows, connection: Connection) {
    let id = connection.id();
    while let Ok(mut datagram) = connection.read_datagram().await {
        let flow = (datagram.len() >= NUMBER_BYTES).then(|| datagram.get_u32());
        let open = flow.and_then(|flow| flows.inner.open.get(&(id, flow)));
        let taken = open.is_some_and(|open| open.try_send(datagram).is_ok());
        if !taken {
            flows.inner.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
    flows.inner.read.remove(&id);
    flows.inner.open.retain(|(connection, _), _| *connection != id);
}
