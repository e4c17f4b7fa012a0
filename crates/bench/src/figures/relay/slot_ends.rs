//! The two ends of many slots.

use super::middle::udp_socket;
use crate::worker::Boss;
use anyhow::{Context as _, Result, ensure};
use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use serde::{Deserialize, Serialize};
use skein_net::relay::EndKey;
use skein_net::relay::frame::{Frame, HEADER, SlotNumber, data_header};
use std::io::{ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::task::JoinSet;

/// Bytes a second in all. A busy machine keeps up with it, and losses stay rare.
const RATE: u64 = 100_000_000;

/// Bytes of each datagram without its frame: what QUIC sends on most paths.
const DATAGRAM: usize = 1_200;

/// How long an answer to a bind is waited for before it is sent again.
const AGAIN: Duration = Duration::from_millis(200);

/// How often that happens before the relay is taken for dead.
const TRIES: usize = 50;

/// The most that the sender catches up at once when others have kept the processor: the relay's
/// buffer holds it.
const CATCH_UP: Duration = Duration::from_millis(5);

/// What an end is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Bind these slots of a relay, each with its key.
    Bind { relay: SocketAddr, slots: Vec<(u64, [u8; 32])> },
    /// Send frames with these numbers to the forwarder there, or receive them.
    Use { forwarder: SocketAddr, numbers: Vec<u64> },
    /// Send so many bytes through all slots in turn.
    Send { bytes: u64, batch: usize },
}

/// A socket as the system has it, with segmentation offload where there is any.
struct Socket {
    socket: tokio::net::UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    fn open() -> Result<Self> {
        let (socket, state) = udp_socket()?;
        Ok(Self { socket, state })
    }

    /// Sends a batch; what the system has no room for is lost.
    fn send(&self, to: SocketAddr, contents: &[u8], segment: usize) -> Result<bool> {
        let segment_size = (contents.len() > segment).then_some(segment);
        let transmit =
            Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
        let sent = self
            .socket
            .try_io(Interest::WRITABLE, || self.state.try_send((&self.socket).into(), &transmit));
        match sent {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Binds a slot, as an end of a session does.
    async fn bind(&self, to: SocketAddr, slot: SlotNumber, key: &EndKey) -> Result<()> {
        let ask = Frame::Bind { slot, proof: [0; 16] }.encode();
        let mut bytes = [0; 2_048];
        for _ in 0..TRIES {
            self.socket.send_to(&ask, to).await?;
            while let Ok(received) =
                tokio::time::timeout(AGAIN, self.socket.recv_from(&mut bytes)).await
            {
                match Frame::decode(&bytes[..received?.0]) {
                    Some(Frame::Challenge { slot: of, cookie }) if of == slot => {
                        let proof = key.bind_proof(slot, &cookie);
                        let bind = Frame::Bind { slot, proof };
                        self.socket.send_to(&bind.encode(), to).await?;
                    }
                    Some(Frame::Bound { slot: of, .. }) if of == slot => return Ok(()),
                    _ => {}
                }
            }
        }
        anyhow::bail!("the relay does not bind a slot")
    }

    /// Receives whatever comes, for ever.
    async fn swallow(&self) {
        let mut buffers = vec![vec![0; 65_536]; BATCH_SIZE];
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        while self.socket.readable().await.is_ok() {
            let mut slices: Vec<IoSliceMut<'_>> =
                buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            // Nothing to receive is no error, and others are told by the next call.
            let _ = self.socket.try_io(Interest::READABLE, || {
                self.state.recv((&self.socket).into(), &mut slices, &mut meta)
            });
        }
    }
}

/// An end of many slots, at one socket for all of them, as for a single one: so both measurements
/// differ in the slots and in nothing else.
struct End {
    socket: Arc<Socket>,
    relay: Option<SocketAddr>,
    slots: Vec<SlotNumber>,
}

impl End {
    fn open() -> Result<Self> {
        let socket = Arc::new(Socket::open()?);
        Ok(Self { socket, relay: None, slots: Vec::new() })
    }

    async fn bind(&mut self, relay: SocketAddr, slots: Vec<(u64, [u8; 32])>) -> Result<()> {
        self.relay = Some(relay);
        for (slot, key) in slots {
            let slot = SlotNumber::new(slot);
            self.socket.bind(relay, slot, &EndKey::from_bytes(key)).await?;
            self.slots.push(slot);
        }
        Ok(())
    }

    /// Sends so many bytes, as evenly as the clock allows. Answers how many it handed over.
    async fn send(&self, bytes: u64, batch: usize) -> Result<u64> {
        let to = self.relay.context("no slot is bound")?;
        ensure!(!self.slots.is_empty(), "no slot is bound");
        let segment = HEADER + DATAGRAM;
        let mut contents = vec![7; segment * batch];
        let (mut sent, mut due, mut turn) = (0, 0.0, 0);
        let mut last = Instant::now();
        while sent < bytes {
            let now = Instant::now();
            due += now.duration_since(last).min(CATCH_UP).as_secs_f64() * RATE as f64;
            last = now;
            while due >= contents.len() as f64 && sent < bytes {
                let number = turn % self.slots.len();
                turn += 1;
                let header = data_header(self.slots[number]);
                for datagram in contents.chunks_mut(segment) {
                    datagram[..HEADER].copy_from_slice(&header);
                }
                due -= contents.len() as f64;
                if self.socket.send(to, &contents, segment)? {
                    sent += contents.len() as u64;
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // What is under way arrives.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(sent)
    }
}

/// The worker that sends through slots.
///
/// # Errors
/// The system's.
pub async fn source(mut boss: Boss) -> Result<()> {
    let mut end = End::open()?;
    boss.say(&end.socket.socket.local_addr()?)?;
    while let Some(order) = boss.next::<Order>().await? {
        match order {
            Order::Bind { relay, slots } => {
                end.bind(relay, slots).await?;
                boss.say(&())?;
            }
            Order::Use { forwarder, numbers } => {
                end.relay = Some(forwarder);
                end.slots = numbers.into_iter().map(SlotNumber::new).collect();
                boss.say(&())?;
            }
            Order::Send { bytes, batch } => boss.say(&end.send(bytes, batch).await?)?,
        }
    }
    Ok(())
}

/// The worker that receives what comes through slots.
///
/// # Errors
/// The system's.
pub async fn sink(mut boss: Boss) -> Result<()> {
    let mut end = End::open()?;
    boss.say(&end.socket.socket.local_addr()?)?;
    let mut swallowing = JoinSet::new();
    while let Some(order) = boss.next::<Order>().await? {
        swallowing.shutdown().await;
        if let Order::Bind { relay, slots } = order {
            end.bind(relay, slots).await?;
        }
        let socket = Arc::clone(&end.socket);
        swallowing.spawn(async move { socket.swallow().await });
        boss.say(&())?;
    }
    Ok(())
}
