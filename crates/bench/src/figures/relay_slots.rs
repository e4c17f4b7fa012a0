//! What many slots of a relay cost: each one that is idle, and ten thousand that share the traffic
//! of one.

use super::relay::{Question, Slot, udp_socket};
use crate::figure::{Figure, Outcome, Run};
use crate::statistics::median;
use crate::worker::{Boss, Job, Worker};
use anyhow::{Context as _, Result, ensure};
use futures_util::FutureExt as _;
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

/// Slots that share the traffic.
const MANY: u32 = 10_000;

/// The most bytes that an idle slot may take.
const MEMORY_BAR: f64 = 1_024.0;

/// The most CPU for a gigabyte through many slots, of that through one.
const CPU_BAR: f64 = 1.25;

/// The figure.
pub const FIGURE: Figure = Figure {
    name: "relay-slots",
    what: "memory of an idle slot, each of another name; CPU of a relay for a gigabyte through \
           10,000 slots at a fixed rate, against the same through one slot of another relay",
    bar: "<= 1 KiB; <= 1.25 x one slot",
    measure: |run| measure(run).boxed(),
};

/// Bytes a second in all. A busy machine keeps up with it, and losses stay rare.
const RATE: u64 = 100_000_000;

/// Bytes of each datagram without its frame: what QUIC sends on most paths.
const DATAGRAM: usize = 1_200;

/// Datagrams that are sent at once for one slot: one each, as ten thousand callers would send; and
/// as many as QUIC sends at once in a transfer.
const BATCHES: [usize; 2] = [1, 10];

/// Rounds of each, by turns.
const ROUNDS: usize = 7;

/// How long an answer to a bind is waited for before it is sent again.
const AGAIN: Duration = Duration::from_millis(200);

/// How often that happens before the relay is taken for dead.
const TRIES: usize = 50;

/// The most that the sender catches up at once when others have kept the processor: the relay's
/// buffer holds it.
const CATCH_UP: Duration = Duration::from_millis(5);

/// What an end is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Order {
    /// Bind these slots, each with its key.
    Bind { relay: SocketAddr, slots: Vec<(u64, [u8; 32])> },
    /// Send so many bytes through all slots in turn.
    Send { bytes: u64, batch: usize },
}

/// A relay, and two processes that send through so many of its slots.
struct Stage {
    relay: Worker,
    source: Worker,
    sink: Worker,
    bytes_per_slot: f64,
}

impl Stage {
    async fn set_up(slots: u32) -> Result<Self> {
        let (mut relay, at): (_, SocketAddr) = Worker::start(&Job::Relay).await?;
        let (mut source, ()) = Worker::start(&Job::Source).await?;
        let (mut sink, ()) = Worker::start(&Job::Sink).await?;
        // What is made once is made.
        Self::bind(&mut relay, at, [&mut source, &mut sink], 1).await?;
        let before: u64 = relay.ask(&Question::Memory).await?;
        if slots > 1 {
            Self::bind(&mut relay, at, [&mut source, &mut sink], slots - 1).await?;
        }
        let after: u64 = relay.ask(&Question::Memory).await?;
        let bytes_per_slot = after.saturating_sub(before) as f64 / f64::from(slots);
        Ok(Self { relay, source, sink, bytes_per_slot })
    }

    async fn bind(
        relay: &mut Worker,
        at: SocketAddr,
        ends: [&mut Worker; 2],
        slots: u32,
    ) -> Result<()> {
        let granted: Vec<Slot> = relay.ask(&Question::GrantMany(slots)).await?;
        for (end, worker) in ends.into_iter().enumerate() {
            let slots = granted.iter().map(|slot| (slot.slot, slot.keys[end])).collect();
            let () = worker.ask(&Order::Bind { relay: at, slots }).await?;
        }
        Ok(())
    }

    /// Sends that much; answers the CPU seconds of the relay for each gigabyte that it moved, and
    /// what share of all that was.
    async fn send(&mut self, bytes: u64, batch: usize) -> Result<(f64, f64)> {
        let cpu_before: f64 = self.relay.ask(&Question::Cpu).await?;
        let moved_before: u64 = self.relay.ask(&Question::Moved).await?;
        let sent: u64 = self.source.ask(&Order::Send { bytes, batch }).await?;
        let moved: u64 = self.relay.ask(&Question::Moved).await?;
        let cpu: f64 = self.relay.ask(&Question::Cpu).await?;
        let moved = (moved - moved_before) as f64;
        Ok(((cpu - cpu_before) / (moved / 1e9), moved / sent as f64))
    }

    async fn end(self) -> Result<()> {
        self.source.end().await?;
        self.sink.end().await?;
        self.relay.end().await
    }
}

async fn measure(run: &Run) -> Result<Outcome> {
    let bytes = run.size(400_000_000, 100_000_000);
    run.say(format_args!("{} MB through each, {ROUNDS} rounds by turns", bytes / 1_000_000));
    let mut many = Stage::set_up(MANY).await?;
    let mut one = Stage::set_up(1).await?;
    let mut worst: f64 = 0.0;
    let mut values = vec![("bytes_per_idle_slot", many.bytes_per_slot)];
    let names = ["ratio_single_datagrams", "ratio_batches"];
    for (batch, name) in BATCHES.into_iter().zip(names) {
        let mut rounds = Vec::new();
        for number in 0..=ROUNDS {
            let (through_one, one_share) = one.send(bytes, batch).await?;
            let (through_many, many_share) = many.send(bytes, batch).await?;
            if number == 0 {
                continue;
            }
            run.say(format_args!(
                "{batch} at once, round {number}: {MANY} slots {through_many:.3} CPU s/GB ({:.1} % \
                 arrived), one slot {through_one:.3} ({:.1} %)",
                many_share * 100.0,
                one_share * 100.0
            ));
            rounds.push((through_many, through_one));
        }
        let ratio = median(rounds.iter().map(|(many, one)| many / one));
        run.say(format_args!(
            "{batch} at once: {MANY} slots {:.3} CPU s/GB, one slot {:.3}, {ratio:.2} x",
            median(rounds.iter().map(|(many, _)| *many)),
            median(rounds.iter().map(|(_, one)| *one)),
        ));
        values.push((name, ratio));
        worst = worst.max(ratio);
    }
    let memory = many.bytes_per_slot;
    many.end().await?;
    one.end().await?;
    Ok(Outcome {
        figure: format!(
            "{memory:.0} bytes an idle slot; {MANY} slots take {worst:.2} x the CPU of one"
        ),
        holds: memory <= MEMORY_BAR && worst <= CPU_BAR,
        values,
    })
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
        let ask = Frame::Bind { slot, cookie: [0; 16], proof: [0; 16] }.encode();
        let mut bytes = [0; 2_048];
        for _ in 0..TRIES {
            self.socket.send_to(&ask, to).await?;
            while let Ok(received) =
                tokio::time::timeout(AGAIN, self.socket.recv_from(&mut bytes)).await
            {
                match Frame::decode(&bytes[..received?.0]) {
                    Some(Frame::Challenge { slot: of, cookie }) if of == slot => {
                        let proof = key.bind_proof(slot, &cookie);
                        let bind = Frame::Bind { slot, cookie, proof };
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
    boss.say(&())?;
    while let Some(order) = boss.next::<Order>().await? {
        match order {
            Order::Bind { relay, slots } => {
                end.bind(relay, slots).await?;
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
    boss.say(&())?;
    let mut swallowing = JoinSet::new();
    while let Some(order) = boss.next::<Order>().await? {
        if let Order::Bind { relay, slots } = order {
            swallowing.shutdown().await;
            end.bind(relay, slots).await?;
            let socket = Arc::clone(&end.socket);
            swallowing.spawn(async move { socket.swallow().await });
        }
        boss.say(&())?;
    }
    Ok(())
}
