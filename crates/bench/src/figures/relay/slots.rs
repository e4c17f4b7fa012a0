//! What many slots of a relay cost: each one that is idle, and ten thousand that share the traffic
//! of one.

use super::middle::{Question, Slot};
use super::slot_ends::Order;
use crate::figure::{Figure, Outcome, Run};
use crate::statistics::median;
use crate::worker::{Job, Worker};
use anyhow::Result;
use futures_util::FutureExt as _;
use std::net::SocketAddr;

/// Slots that share the traffic.
const MANY: u32 = 10_000;

/// The most bytes that an idle slot may take.
const MEMORY_BAR: f64 = 1_024.0;

/// The most CPU for a gigabyte through many slots, of that through one.
const CPU_BAR: f64 = 1.25;

/// The figure.
pub const SLOTS: Figure = Figure {
    name: "relay-slots",
    what: "memory of an idle slot, each of another name; CPU of a relay for a gigabyte through \
           10,000 slots at a fixed rate, against the same through one slot of another relay",
    bar: "<= 1 KiB; <= 1.25 x one slot",
    measure: |run| measure(run).boxed(),
};

/// Datagrams that are sent at once for one slot: one each, as ten thousand callers would send; and
/// as many as QUIC sends at once in a transfer.
const BATCHES: [usize; 2] = [1, 10];

/// Rounds of each, by turns; many short ones, since on a busy machine single ones say little.
const ROUNDS: usize = 15;

/// Rounds in which a bare forwarder carries the same datagrams. It judges nothing, but shows whether
/// the system itself finds so many slots dearer than one.
const FLOOR_ROUNDS: usize = 7;

/// Whatever is in the middle, and two processes that send through so many slots of it.
struct Stage {
    middle: Worker,
    source: Worker,
    sink: Worker,
    bytes_per_slot: f64,
}

impl Stage {
    async fn of_relay(slots: u32) -> Result<Self> {
        let (mut relay, at): (_, SocketAddr) = Worker::start(&Job::Relay).await?;
        let (mut source, _): (_, SocketAddr) = Worker::start(&Job::Source).await?;
        let (mut sink, _): (_, SocketAddr) = Worker::start(&Job::Sink).await?;
        // What is made once is made.
        Self::bind(&mut relay, at, [&mut source, &mut sink], 1).await?;
        let before: u64 = relay.ask(&Question::Memory).await?;
        if slots > 1 {
            Self::bind(&mut relay, at, [&mut source, &mut sink], slots - 1).await?;
        }
        let after: u64 = relay.ask(&Question::Memory).await?;
        let bytes_per_slot = after.saturating_sub(before) as f64 / f64::from(slots);
        Ok(Self { middle: relay, source, sink, bytes_per_slot })
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

    async fn of_forwarder(slots: u32) -> Result<Self> {
        let (mut forwarder, at): (_, SocketAddr) = Worker::start(&Job::Forward).await?;
        let (mut source, _): (_, SocketAddr) = Worker::start(&Job::Source).await?;
        let (mut sink, sink_at): (_, SocketAddr) = Worker::start(&Job::Sink).await?;
        let () = forwarder.ask(&Question::ForwardTo(sink_at)).await?;
        let numbers: Vec<u64> = (0..slots).map(|_| rand::random()).collect();
        for end in [&mut source, &mut sink] {
            let order = Order::Use { forwarder: at, numbers: numbers.clone() };
            let () = end.ask(&order).await?;
        }
        Ok(Self { middle: forwarder, source, sink, bytes_per_slot: 0.0 })
    }

    /// Sends that much; answers the CPU seconds of the middle for each gigabyte that it moved, and
    /// what share of all that was.
    async fn send(&mut self, bytes: u64, batch: usize) -> Result<(f64, f64)> {
        let cpu_before: f64 = self.middle.ask(&Question::Cpu).await?;
        let moved_before: u64 = self.middle.ask(&Question::Moved).await?;
        let sent: u64 = self.source.ask(&Order::Send { bytes, batch }).await?;
        let moved: u64 = self.middle.ask(&Question::Moved).await?;
        let cpu: f64 = self.middle.ask(&Question::Cpu).await?;
        let moved = (moved - moved_before) as f64;
        Ok(((cpu - cpu_before) / (moved / 1e9), moved / sent as f64))
    }

    async fn end(self) -> Result<()> {
        self.source.end().await?;
        self.sink.end().await?;
        self.middle.end().await
    }
}

/// Sends through many slots and through one by turns, and answers the medians of both and that of
/// their ratios.
async fn compare(
    run: &Run,
    [many, one]: [&mut Stage; 2],
    rounds: usize,
    (bytes, batch): (u64, usize),
) -> Result<[f64; 3]> {
    let mut costs = Vec::new();
    for number in 0..=rounds {
        // Each is the first as often as the other, so that what goes on beside is fair to both.
        let ((through_one, one_share), (through_many, many_share)) = if number % 2 == 0 {
            let first = one.send(bytes, batch).await?;
            (first, many.send(bytes, batch).await?)
        } else {
            let first = many.send(bytes, batch).await?;
            (one.send(bytes, batch).await?, first)
        };
        if number == 0 {
            continue;
        }
        run.say(format_args!(
            "{batch} at once, round {number}: {MANY} slots {through_many:.3} CPU s/GB ({:.1} % \
             arrived), one slot {through_one:.3} ({:.1} %)",
            many_share * 100.0,
            one_share * 100.0
        ));
        costs.push((through_many, through_one));
    }
    Ok([
        median(costs.iter().map(|(many, _)| *many)),
        median(costs.iter().map(|(_, one)| *one)),
        median(costs.iter().map(|(many, one)| many / one)),
    ])
}

async fn measure(run: &Run) -> Result<Outcome> {
    let bytes = run.size(200_000_000, 100_000_000);
    run.say(format_args!("{} MB through each, {ROUNDS} rounds by turns", bytes / 1_000_000));
    let mut floors = Vec::new();
    let (mut many, mut one) = (Stage::of_forwarder(MANY).await?, Stage::of_forwarder(1).await?);
    for batch in BATCHES {
        run.say("a bare forwarder:");
        floors.push(compare(run, [&mut many, &mut one], FLOOR_ROUNDS, (bytes, batch)).await?);
    }
    many.end().await?;
    one.end().await?;

    let (mut many, mut one) = (Stage::of_relay(MANY).await?, Stage::of_relay(1).await?);
    let memory = many.bytes_per_slot;
    let mut worst: f64 = 0.0;
    let mut values = vec![("bytes_per_idle_slot", memory)];
    let names = [
        ("ratio_single_datagrams", "ratio_single_datagrams_forwarder"),
        ("ratio_batches", "ratio_batches_forwarder"),
    ];
    for ((batch, [floor_many, floor_one, floor]), (name, floor_name)) in
        BATCHES.into_iter().zip(floors).zip(names)
    {
        run.say("the relay:");
        let [through_many, through_one, ratio] =
            compare(run, [&mut many, &mut one], ROUNDS, (bytes, batch)).await?;
        run.say(format_args!(
            "{batch} at once: {MANY} slots {through_many:.3} CPU s/GB, one slot {through_one:.3}, \
             {ratio:.2} x; a bare forwarder {floor_many:.3}, {floor_one:.3}, {floor:.2} x",
        ));
        values.extend([(name, ratio), (floor_name, floor)]);
        worst = worst.max(ratio);
    }
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
