//! The two ends that ship bytes to each other: by raw quinn, or in a session.

use crate::quic::{self, Identity, loopback, open_to_all};
use crate::usage::{self, Stopwatch};
use crate::worker::{Boss, Job, Worker};
use anyhow::{Result, ensure};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skein_net::relay::EndKey;
use skein_net::relay::frame::SlotNumber;
use skein_net::session::{Binding, Route, Session};
use skein_net::{Connection, Endpoint};
use skein_proto::{KeyPair, NodeId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// How much is given to a stream at a time.
const PIECE: usize = 256 * 1_024;

/// What a connection of ours may have in flight while it carries a file.
const WINDOW: u32 = 8 * 1_024 * 1_024;

/// How the two ends reach each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Way {
    /// At this address, by quinn as it is.
    Raw(SocketAddr),
    /// By a session over this slot of a relay.
    Relayed { relay: SocketAddr, slot: u64, key: [u8; 32] },
    /// By a session at this address, with this number.
    Direct { peer: SocketAddr, number: u64 },
}

/// What an end is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Order {
    /// Get ready to be reached in this way.
    Await(Way),
    /// Reach that node, and send so many bytes.
    Send { to: NodeId, way: Way, bytes: u64 },
    /// Say how much CPU time was used so far.
    Cpu,
}

/// An end, as it says itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct End {
    node: NodeId,
    address: SocketAddr,
    /// Where quinn listens without us.
    raw: SocketAddr,
}

/// Seconds that something took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Of CPU time.
    pub(super) cpu: f64,
    /// By the clock on the wall.
    pub(super) wall: f64,
}

impl Cost {
    /// The same for each of so many gigabytes.
    pub(super) fn over(self, gigabytes: f64) -> Self {
        Self { cpu: self.cpu / gigabytes, wall: self.wall / gigabytes }
    }
}

/// Two processes that ship bytes.
pub(super) struct Ends {
    receiver: Worker,
    sender: Worker,
    receiver_is: End,
    sender_is: End,
}

impl Ends {
    pub(super) async fn start() -> Result<Self> {
        let (receiver, receiver_is) = Worker::start(&Job::Ship).await?;
        let (sender, sender_is) = Worker::start(&Job::Ship).await?;
        Ok(Self { receiver, sender, receiver_is, sender_is })
    }

    /// Where the sender's sessions come from.
    pub(super) fn sender_address(&self) -> SocketAddr {
        self.sender_is.address
    }

    /// Where the receiver takes sessions.
    pub(super) fn receiver_address(&self) -> SocketAddr {
        self.receiver_is.address
    }

    /// Where the receiver takes what raw quinn sends.
    pub(super) fn raw_receiver(&self) -> SocketAddr {
        self.receiver_is.raw
    }

    /// Ships bytes; the CPU is that of both ends.
    pub(super) async fn ship(&mut self, [near, far]: [Way; 2], bytes: u64) -> Result<Cost> {
        let () = self.receiver.ask(&Order::Await(near)).await?;
        let before = self.cpu().await?;
        let order = Order::Send { to: self.receiver_is.node, way: far, bytes };
        let wall = self.sender.ask(&order).await?;
        Ok(Cost { cpu: self.cpu().await? - before, wall })
    }

    async fn cpu(&mut self) -> Result<f64> {
        let receiver: f64 = self.receiver.ask(&Order::Cpu).await?;
        let sender: f64 = self.sender.ask(&Order::Cpu).await?;
        Ok(receiver + sender)
    }

    pub(super) async fn end(self) -> Result<()> {
        self.sender.end().await?;
        self.receiver.end().await
    }
}

/// What keeps a session open.
#[derive(Default)]
struct Kept(Vec<(Session, Option<Binding>)>);

impl Kept {
    /// The address to dial for this way.
    async fn prepare(&mut self, endpoint: &Endpoint, way: &Way) -> Result<SocketAddr> {
        let (route, key) = match *way {
            Way::Raw(address) => return Ok(address),
            Way::Relayed { relay, slot, key } => {
                (Route { to: relay, number: SlotNumber::new(slot) }, Some(key))
            }
            Way::Direct { peer, number } => {
                (Route { to: peer, number: SlotNumber::new(number) }, None)
            }
        };
        let binding = key.map(|key| endpoint.join_slot(route, EndKey::from_bytes(key)));
        if let Some(binding) = &binding {
            binding.bind(PATIENCE).await?;
        }
        let session = endpoint.open_session();
        ensure!(session.listen(route), "the route is taken");
        session.send_along(route);
        let address = session.address();
        self.0.push((session, binding));
        Ok(address)
    }
}

/// The worker at either end.
///
/// # Errors
/// The network's.
pub async fn ship(mut boss: Boss) -> Result<()> {
    let endpoint = Endpoint::bind(&KeyPair::from_seed(&rand::random()), loopback(), open_to_all())?;
    let address = endpoint.local_addr()?;
    let raw = Raw::open()?;
    boss.say(&End { node: endpoint.node_id(), address, raw: raw.endpoint.local_addr()? })?;
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(connection) = accepting.accept().await {
            tokio::spawn(swallow(connection));
        }
    });
    let mut kept = Kept::default();
    while let Some(order) = boss.next::<Order>().await? {
        match order {
            Order::Await(way) => {
                if !matches!(way, Way::Raw(_)) {
                    kept.prepare(&endpoint, &way).await?;
                }
                boss.say(&())?;
            }
            Order::Cpu => boss.say(&usage::cpu().as_secs_f64())?,
            Order::Send { way: Way::Raw(to), bytes, .. } => {
                boss.say(&raw.send(to, bytes).await?)?
            }
            Order::Send { to, way, bytes } => {
                let address = kept.prepare(&endpoint, &way).await?;
                let connection = endpoint.connect(to, &[address]).await?;
                boss.say(&send(&connection, bytes).await?)?;
            }
        }
    }
    Ok(())
}

/// quinn without us, with the settings of our endpoints.
struct Raw {
    endpoint: quinn::Endpoint,
    client: quinn::ClientConfig,
}

impl Raw {
    fn open() -> Result<Self> {
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(WINDOW.into()).receive_window(WINDOW.into());
        transport.send_window(WINDOW.into());
        let transport = Arc::new(transport);
        let identity = Identity::new()?;
        let (mut server, mut client) = (identity.server()?, identity.client()?);
        server.transport_config(Arc::clone(&transport));
        client.transport_config(transport);
        let endpoint = quic::endpoint(Some(server))?;
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                tokio::spawn(async move {
                    let connection = incoming.await?;
                    while let Ok((_, mut stream)) = connection.accept_bi().await {
                        while stream.read_chunk(usize::MAX, true).await?.is_some() {}
                    }
                    anyhow::Ok(())
                });
            }
        });
        Ok(Self { endpoint, client })
    }

    async fn send(&self, to: SocketAddr, bytes: u64) -> Result<f64> {
        let connection = quic::connect(&self.endpoint, self.client.clone(), to).await?;
        let piece = Bytes::from(vec![7; PIECE]);
        let watch = Stopwatch::start();
        let (mut stream, _) = connection.open_bi().await?;
        for _ in 0..bytes / PIECE as u64 {
            stream.write_chunk(piece.clone()).await?;
        }
        stream.finish()?;
        stream.stopped().await?;
        Ok(watch.spent().wall)
    }
}

async fn swallow(connection: Connection) {
    connection.widen_for_transfer();
    while let Ok(mut stream) = connection.accept_stream().await {
        while let Ok(Some(_)) = stream.receiver.recv_raw(usize::MAX).await {}
    }
}

async fn send(connection: &Connection, bytes: u64) -> Result<f64> {
    connection.widen_for_transfer();
    let piece = Bytes::from(vec![7; PIECE]);
    let watch = Stopwatch::start();
    let mut stream = connection.open_stream().await?;
    for _ in 0..bytes / PIECE as u64 {
        stream.sender.send_raw(piece.clone()).await?;
    }
    stream.sender.finish().await?;
    stream.sender.delivered().await?;
    Ok(watch.spent().wall)
}
