//! What a relay costs, and what a session over it carries: against a bare UDP forwarder with
//! segmentation offload between the same two programs.
//!
//! Sender, receiver and whatever is between them are processes of their own.

mod direct;
mod ends;
mod middle;
mod slot_ends;
mod slots;

use crate::figure::{Figure, Outcome, Run};
use crate::statistics::median;
use crate::worker::{Job, Worker};
use anyhow::Result;
use ends::{Cost, Ends, Way};
use futures_util::FutureExt as _;
use middle::{Question, Slot};
use std::net::SocketAddr;

pub use direct::DIRECT;
pub use ends::ship;
pub use middle::{forward, relay};
pub use slot_ends::{sink, source};
pub use slots::SLOTS;

/// The most CPU that a relay may take, of the bare forwarder's.
const CPU_BAR: f64 = 1.15;

/// The least that a relayed session carries, of what the same transfer carries through the bare
/// forwarder.
const GOODPUT_BAR: f64 = 0.95;

/// What the relay's CPU costs.
pub const CPU: Figure = Figure {
    name: "relay-cpu",
    what: "CPU of a relay for a gigabyte between two processes, against a bare GSO/GRO forwarder \
           that carries the same datagrams",
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

/// Rounds of each, by turns; many short ones, since on a busy machine single ones say little.
const ROUNDS: usize = 21;

/// What is between the two ends, and what goes through it.
#[derive(Clone, Copy, Debug)]
enum Through {
    /// A session, through a relay.
    Relay,
    /// A session in the same frames, through the forwarder.
    Forwarder,
    /// Raw quinn, through the forwarder.
    Raw,
}

/// The processes in the middle.
struct Middle {
    relay: Worker,
    relay_at: SocketAddr,
    forwarder: Worker,
    forwarder_at: SocketAddr,
}

impl Middle {
    async fn start() -> Result<Self> {
        let (forwarder, forwarder_at) = Worker::start(&Job::Forward).await?;
        let (relay, relay_at) = Worker::start(&Job::Relay).await?;
        Ok(Self { relay, relay_at, forwarder, forwarder_at })
    }

    /// Ships bytes between two new processes; the CPU is that of whoever is in the middle.
    async fn ship(&mut self, through: Through, bytes: u64) -> Result<Cost> {
        let mut ends = Ends::start().await?;
        let at = self.forwarder_at;
        let (ways, middle) = match through {
            Through::Relay => {
                let Slot { slot, keys } = self.relay.ask(&Question::Grant).await?;
                let relay = self.relay_at;
                (keys.map(|key| Way::Relayed { relay, slot, key }), &mut self.relay)
            }
            Through::Forwarder => {
                let () = self.forwarder.ask(&Question::ForwardTo(ends.receiver_address())).await?;
                ([0, 1].map(|_| Way::Direct { peer: at, number: 7 }), &mut self.forwarder)
            }
            Through::Raw => {
                let () = self.forwarder.ask(&Question::ForwardTo(ends.raw_receiver())).await?;
                ([0, 1].map(|_| Way::Raw(at)), &mut self.forwarder)
            }
        };
        let before: f64 = middle.ask(&Question::Cpu).await?;
        let Cost { wall, .. } = ends.ship(ways, bytes).await?;
        let after: f64 = middle.ask(&Question::Cpu).await?;
        ends.end().await?;
        Ok(Cost { cpu: after - before, wall })
    }

    async fn end(self) -> Result<()> {
        self.relay.end().await?;
        self.forwarder.end().await
    }
}

/// What a gigabyte took each time.
struct Round {
    relay: Cost,
    other: Cost,
}

/// Ships by turns through the relay and in another way.
async fn rounds(run: &Run, other: Through) -> Result<Vec<Round>> {
    let bytes: u64 = run.size(384, 64) << 20;
    run.say(format_args!("{} MiB through each, {ROUNDS} rounds by turns", bytes >> 20));
    let mut middle = Middle::start().await?;
    let gigabytes = bytes as f64 / 1e9;
    let mut rounds = Vec::new();
    for number in 0..=ROUNDS {
        // Each is the first as often as the other, so that what goes on beside is fair to both.
        let order = if number % 2 == 0 { [Through::Relay, other] } else { [other, Through::Relay] };
        let mut costs = Vec::new();
        for through in order {
            costs.push(middle.ship(through, bytes).await?.over(gigabytes));
        }
        if number % 2 == 1 {
            costs.reverse();
        }
        let [relay, through_other] = costs[..] else { continue };
        if number == 0 {
            // What is made once is made.
            continue;
        }
        run.say(format_args!(
            "round {number}: relay {:.3} CPU s/GB at {:.0} MB/s, forwarder {:.3} at {:.0}",
            relay.cpu,
            1e3 / relay.wall,
            through_other.cpu,
            1e3 / through_other.wall,
        ));
        rounds.push(Round { relay, other: through_other });
    }
    middle.end().await?;
    Ok(rounds)
}

async fn measure_cpu(run: &Run) -> Result<Outcome> {
    let rounds = rounds(run, Through::Forwarder).await?;
    let relay = median(rounds.iter().map(|round| round.relay.cpu));
    let forwarder = median(rounds.iter().map(|round| round.other.cpu));
    let ratio = median(rounds.iter().map(|round| round.relay.cpu / round.other.cpu));
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
    let rounds = rounds(run, Through::Raw).await?;
    let relay = 1e3 / median(rounds.iter().map(|round| round.relay.wall));
    let forwarder = 1e3 / median(rounds.iter().map(|round| round.other.wall));
    let ratio = median(rounds.iter().map(|round| round.other.wall / round.relay.wall));
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
