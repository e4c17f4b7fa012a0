//! What a relay costs, and what a session over it carries: against a bare UDP forwarder with
//! segmentation offload that carries the same QUIC traffic between the same two programs.
//!
//! Sender, receiver and whatever is between them are processes of their own.

use crate::figure::{Figure, Outcome, Run};
use crate::quic::{self, Identity, loopback, open_to_all};
use crate::statistics::median;
use crate::usage::{self, Stopwatch};
use crate::worker::{Boss, Job, Worker};
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::FutureExt as _;
use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use serde::{Deserialize, Serialize};
use skein_net::relay::frame::SlotNumber;
use skein_net::relay::{EndKey, RelayLimits};
use skein_net::session::{Binding, Route, Session};
use skein_net::{Connection, Endpoint};
use skein_proto::{KeyPair, NodeId, Username};
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;

/// The most CPU that a relay may take, of the bare forwarder's.
const CPU_BAR: f64 = 1.15;

/// The least that a relayed session carries, of what the same transfer carries through the bare
/// forwarder.
const GOODPUT_BAR: f64 = 0.95;

/// The least that a direct session carries, of what raw quinn does.
const DIRECT_BAR: f64 = 0.95;

/// What the relay's CPU costs.
pub const CPU: Figure = Figure {
    name: "relay-cpu",
    what: "CPU of a relay for a gigabyte between two processes, against a bare GSO/GRO forwarder",
    bar: "<= 1.15 x the forwarder",
    measure: |run| measure_cpu(run).boxed(),
};

/// What a session over a relay carries.
pub const GOODPUT: Figure = Figure {
    name: "relay-goodput",
    what: "goodput of a relayed session, against the same transfer by raw quinn through a bare \
           forwarder",
    bar: ">= 0.95 x",
    measure: |run| measure_goodput(run).boxed(),
};

/// What a session on a direct path carries.
pub const DIRECT: Figure = Figure {
    name: "direct-goodput",
    what: "goodput of a session on a direct path, against raw quinn with the same settings",
    bar: ">= 0.95 x",
    measure: |run| measure_direct(run).boxed(),
};

/// Rounds of each, by turns.
const ROUNDS: usize = 7;

/// More and shorter ones where no more than a few percent are to be told.
const DIRECT_ROUNDS: usize = 21;

const PATIENCE: Duration = Duration::from_secs(5);

/// How much is given to a stream at a time.
const PIECE: usize = 256 * 1_024;

/// What a connection of ours may have in flight while it carries a file.
const WINDOW: u32 = 8 * 1_024 * 1_024;

/// How the two ends reach each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Way {
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
}

/// An end, as it says itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct End {
    node: NodeId,
    address: SocketAddr,
    /// Where quinn listens without us.
    raw: SocketAddr,
}

/// A slot, as the relay grants it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) slot: u64,
    pub(super) keys: [[u8; 32]; 2],
}

/// What whoever is in the middle is asked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Question {
    Cpu,
    Memory,
    Moved,
    Grant,
    /// So many, each to another name.
    GrantMany(u32),
    ForwardTo(SocketAddr),
}

struct Round {
    relay_cpu: f64,
    relay_wall: f64,
    forwarder_cpu: f64,
    forwarder_wall: f64,
}

async fn rounds(run: &Run) -> Result<Vec<Round>> {
    let bytes: u64 = run.size(1_024, 128) << 20;
    run.say(format_args!("{} MiB through each, {ROUNDS} rounds by turns", bytes >> 20));
    let (mut forwarder, forwarder_at): (_, SocketAddr) = Worker::start(&Job::Forward).await?;
    let (mut relay, relay_at): (_, SocketAddr) = Worker::start(&Job::Relay).await?;
    let gigabytes = bytes as f64 / 1e9;
    let mut rounds = Vec::new();
    for number in 0..=ROUNDS {
        let (forwarder_cpu, forwarder_wall) = {
            let mut ends = Ends::start().await?;
            let to = Question::ForwardTo(ends.receiver_is.raw);
            let () = forwarder.ask(&to).await?;
            let way = Way::Raw(forwarder_at);
            let wall = ends.ship([way.clone(), way], bytes, &mut forwarder).await?;
            ends.end().await?;
            wall
        };
        let (relay_cpu, relay_wall) = {
            let mut ends = Ends::start().await?;
            let granted: Slot = relay.ask(&Question::Grant).await?;
            let ways =
                granted.keys.map(|key| Way::Relayed { relay: relay_at, slot: granted.slot, key });
            let wall = ends.ship(ways, bytes, &mut relay).await?;
            ends.end().await?;
            wall
        };
        if number == 0 {
            // What is made once is made.
            continue;
        }
        run.say(format_args!(
            "round {number}: relay {:.3} CPU s/GB at {:.0} MB/s, forwarder {:.3} at {:.0}",
            relay_cpu / gigabytes,
            gigabytes * 1e3 / relay_wall,
            forwarder_cpu / gigabytes,
            gigabytes * 1e3 / forwarder_wall,
        ));
        rounds.push(Round {
            relay_cpu: relay_cpu / gigabytes,
            relay_wall: relay_wall / gigabytes,
            forwarder_cpu: forwarder_cpu / gigabytes,
            forwarder_wall: forwarder_wall / gigabytes,
        });
    }
    relay.end().await?;
    forwarder.end().await?;
    Ok(rounds)
}

async fn measure_cpu(run: &Run) -> Result<Outcome> {
    let rounds = rounds(run).await?;
    let relay = median(rounds.iter().map(|round| round.relay_cpu));
    let forwarder = median(rounds.iter().map(|round| round.forwarder_cpu));
    let ratio = median(rounds.iter().map(|round| round.relay_cpu / round.forwarder_cpu));
    Ok(Outcome {
        figure: format!(
            "{relay:.3} CPU s/GB of the relay, {ratio:.2} x a bare forwarder ({forwarder:.3})"
        ),
        holds: ratio <= CPU_BAR,
        values: vec![
            ("relay_cpu_s_per_gb", relay),
            ("forwarder_cpu_s_per_gb", forwarder),
            ("ratio", ratio),
        ],
    })
}

async fn measure_goodput(run: &Run) -> Result<Outcome> {
    let rounds = rounds(run).await?;
    let relay = 1e3 / median(rounds.iter().map(|round| round.relay_wall));
    let forwarder = 1e3 / median(rounds.iter().map(|round| round.forwarder_wall));
    let ratio = median(rounds.iter().map(|round| round.forwarder_wall / round.relay_wall));
    Ok(Outcome {
        figure: format!(
            "{relay:.0} MB/s over the relay, {ratio:.2} x through a bare forwarder \
             ({forwarder:.0} MB/s)"
        ),
        holds: ratio >= GOODPUT_BAR,
        values: vec![
            ("relay_mb_per_s", relay),
            ("forwarder_mb_per_s", forwarder),
            ("ratio", ratio),
        ],
    })
}

async fn measure_direct(run: &Run) -> Result<Outcome> {
    let bytes: u64 = run.size(512, 128) << 20;
    run.say(format_args!("{} MiB in each way, {DIRECT_ROUNDS} rounds by turns", bytes >> 20));
    let mut walls = Vec::new();
    for number in 0..=DIRECT_ROUNDS {
        let mut ends = Ends::start().await?;
        let raw = Way::Raw(ends.receiver_is.raw);
        let raw = ends.ship_only([raw.clone(), raw], bytes).await?;
        ends.end().await?;
        let mut ends = Ends::start().await?;
        let direct = |peer| Way::Direct { peer, number: 7 };
        let ways = [direct(ends.sender_is.address), direct(ends.receiver_is.address)];
        let session = ends.ship_only(ways, bytes).await?;
        ends.end().await?;
        if number > 0 {
            let speed = |wall| bytes as f64 / 1e6 / wall;
            run.say(format_args!(
                "round {number}: session {:.0} MB/s, raw quinn {:.0} MB/s",
                speed(session),
                speed(raw)
            ));
            walls.push((session, raw));
        }
    }
    let speed = |wall: f64| bytes as f64 / 1e6 / wall;
    let session = speed(median(walls.iter().map(|(session, _)| *session)));
    let raw = speed(median(walls.iter().map(|(_, raw)| *raw)));
    let ratio = median(walls.iter().map(|(session, raw)| raw / session));
    Ok(Outcome {
        figure: format!("{session:.0} MB/s, {ratio:.2} x raw quinn ({raw:.0} MB/s)"),
        holds: ratio >= DIRECT_BAR,
        values: vec![("session_mb_per_s", session), ("raw_quinn_mb_per_s", raw), ("ratio", ratio)],
    })
}

/// Two processes that ship bytes.
struct Ends {
    receiver: Worker,
    sender: Worker,
    receiver_is: End,
    sender_is: End,
}

impl Ends {
    async fn start() -> Result<Self> {
        let (receiver, receiver_is) = Worker::start(&Job::Ship).await?;
        let (sender, sender_is) = Worker::start(&Job::Ship).await?;
        Ok(Self { receiver, sender, receiver_is, sender_is })
    }

    /// Ships bytes; answers the seconds of CPU that the middle took, and those on the wall.
    async fn ship(
        &mut self,
        ways: [Way; 2],
        bytes: u64,
        middle: &mut Worker,
    ) -> Result<(f64, f64)> {
        let before: f64 = middle.ask(&Question::Cpu).await?;
        let wall = self.ship_only(ways, bytes).await?;
        let after: f64 = middle.ask(&Question::Cpu).await?;
        Ok((after - before, wall))
    }

    async fn ship_only(&mut self, [near, far]: [Way; 2], bytes: u64) -> Result<f64> {
        let () = self.receiver.ask(&Order::Await(near)).await?;
        let order = Order::Send { to: self.receiver_is.node, way: far, bytes };
        self.sender.ask(&order).await
    }

    async fn end(self) -> Result<()> {
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

/// The worker that relays as a node does.
///
/// # Errors
/// The network's.
pub async fn relay(mut boss: Boss) -> Result<()> {
    let (slot_rate, name_rate, total_rate) = (u32::MAX, u32::MAX, u32::MAX);
    let limits = RelayLimits {
        slots: 100_000,
        slots_per_name: 100_000,
        slot_rate,
        name_rate,
        total_rate,
        ..RelayLimits::default()
    };
    let key = KeyPair::from_seed(&rand::random());
    let endpoint = Endpoint::bind(&key, loopback(), open_to_all().relay(limits))?;
    boss.say(&endpoint.local_addr()?)?;
    let mut names = 0;
    let mut grant = || {
        names += 1;
        let name = Username::parse(&format!("donee{names}")).context("a name")?;
        let grant = endpoint.relay().grant(&name)?;
        anyhow::Ok(Slot { slot: grant.slot.get(), keys: grant.keys.map(|key| key.to_bytes()) })
    };
    while let Some(question) = boss.next::<Question>().await? {
        match question {
            Question::Cpu => boss.say(&usage::cpu().as_secs_f64())?,
            Question::Memory => boss.say(&usage::memory()?)?,
            Question::Moved => boss.say(&endpoint.relay().usage().bytes)?,
            Question::Grant => boss.say(&grant()?)?,
            Question::GrantMany(slots) => {
                let granted: Vec<Slot> = (0..slots).map(|_| grant()).collect::<Result<_>>()?;
                boss.say(&granted)?;
            }
            Question::ForwardTo(_) => boss.say(&())?,
        }
    }
    Ok(())
}

/// A socket on loopback as the system has it, with segmentation offload where there is any.
pub(super) fn udp_socket() -> Result<(tokio::net::UdpSocket, UdpSocketState)> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_recv_buffer_size(2 << 20)?;
    socket.set_send_buffer_size(2 << 20)?;
    socket.bind(&loopback().into())?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UdpSocket::from_std(socket.into())?;
    let state = UdpSocketState::new((&socket).into())?;
    Ok((socket, state))
}

/// The worker that forwards whatever comes, and does nothing else: each batch that the system
/// gives it in one piece goes out in one piece.
///
/// # Errors
/// The system's.
pub async fn forward(mut boss: Boss) -> Result<()> {
    let (socket, state) = udp_socket()?;
    boss.say(&socket.local_addr()?)?;
    let (tell, mut told) = tokio::sync::watch::channel(None);
    tokio::spawn(async move {
        let _ = told.changed().await;
        let mut caller = None;
        let mut buffers = vec![vec![0; 65_536]; BATCH_SIZE];
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        loop {
            let _ = socket.readable().await;
            let mut slices: Vec<IoSliceMut<'_>> =
                buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            let received = socket.try_io(Interest::READABLE, || {
                state.recv((&socket).into(), &mut slices, &mut meta)
            });
            let Ok(count) = received else { continue };
            let target: Option<SocketAddr> = *told.borrow_and_update();
            for (buffer, meta) in slices.iter().zip(&meta).take(count) {
                let to = if Some(meta.addr) == target { caller } else { target };
                if Some(meta.addr) != target {
                    caller = Some(meta.addr);
                }
                let Some(destination) = to else { continue };
                let transmit = Transmit {
                    destination,
                    ecn: meta.ecn,
                    contents: &buffer[..meta.len],
                    segment_size: (meta.len > meta.stride).then_some(meta.stride),
                    src_ip: None,
                };
                // What the system has no room for is lost.
                let _ = socket
                    .try_io(Interest::WRITABLE, || state.try_send((&socket).into(), &transmit));
            }
        }
    });
    while let Some(question) = boss.next::<Question>().await? {
        match question {
            Question::Cpu => boss.say(&usage::cpu().as_secs_f64())?,
            Question::ForwardTo(target) => {
                tell.send_replace(Some(target));
                boss.say(&())?;
            }
            _ => boss.say(&())?,
        }
    }
    Ok(())
}
