//! How long it takes from a name to the first byte on its way to that user's node over a relay, as a
//! program sees it that asks the local API.

use crate::figure::{Figure, Outcome, Run};
use crate::network::{self, LOOK_EVERY, Manner, PATIENCE, wait_for};
use crate::statistics::{median, quantile};
use crate::worker::Worker;
use anyhow::{Context as _, Result, bail, ensure};
use futures_util::StreamExt as _;
use futures_util::future::{FutureExt as _, try_join_all};
use skein_node::api::ApiClient;
use skein_node::api::types::{PingEvent, RoleSetting, StartPing, Status};
use skein_node::home::Home;
use skein_node::sessions::PathKind;
use skein_proto::Username;
use std::time::{Duration, Instant};

/// How much longer than the look-up and a round trip it may take: an offer is signed once and checked
/// twice, a handshake has two signatures on either side, and five processes share two cores.
const ALLOWANCE: Duration = Duration::from_millis(12);

/// The figure.
pub const FIGURE: Figure = Figure {
    name: "first-byte",
    what: "time from a name to the first byte that goes to it over a relay; 3 supernodes, a caller \
           and the callees as processes, either node behind a line of 25 ms, against the look-up \
           and a round trip of the relayed path",
    bar: "median <= look-up + one relayed round trip + 12 ms",
    measure: |run| measure(run).boxed(),
};

/// The delay of a node's line, each way. The supernodes have none.
const LINE: Duration = Duration::from_millis(25);

/// Supernodes.
const SUPERNODES: usize = 3;

/// Pings over each session: the median of them is its round trip.
const PINGS: u32 = 7;

/// Look-ups of each callee; the median counts.
const LOOK_UPS: usize = 5;

/// The time between two calls: a caller may make many at once, but not for long.
const PAUSE: Duration = Duration::from_millis(500);

/// Seconds, of one call.
#[derive(Clone, Copy, Debug)]
struct Timing {
    look_up: f64,
    round_trip: f64,
    /// From the question until there is a session.
    first: f64,
    /// Until the first answer over it.
    answered: f64,
}

async fn measure(run: &Run) -> Result<Outcome> {
    let callees = run.size(12, 4);
    let network = Network::start(callees + 1).await?;
    run.say(format_args!("one call to each of {callees} nodes, none of which was called before"));
    let mut timings = Vec::new();
    // The first is not counted: code is still cold.
    for number in 0..=callees {
        let timing = network.call(number).await?;
        if number > 0 {
            run.say(format_args!(
                "look-up {:.1} ms, relayed round trip {:.1} ms, session {:.1} ms, first answer {:.1} ms",
                timing.look_up * 1e3,
                timing.round_trip * 1e3,
                timing.first * 1e3,
                timing.answered * 1e3
            ));
            timings.push(timing);
        }
        tokio::time::sleep(PAUSE).await;
    }
    network.end().await?;
    let of = |what: fn(&Timing) -> f64| median(timings.iter().map(what)) * 1e3;
    let over = |timing: &Timing| timing.first - timing.look_up - timing.round_trip;
    let excess = median(timings.iter().map(over)) * 1e3;
    let late = quantile(timings.iter().map(over), 0.95) * 1e3;
    let (look_up, round_trip) = (of(|it| it.look_up), of(|it| it.round_trip));
    let (first, answered) = (of(|it| it.first), of(|it| it.answered));
    Ok(Outcome {
        figure: format!(
            "{first:.1} ms: look-up ({look_up:.1} ms), one relayed round trip ({round_trip:.1} ms) \
             and {excess:.1} ms (95 % within {late:.1} ms); answered after {answered:.1} ms"
        ),
        holds: excess <= ALLOWANCE.as_secs_f64() * 1e3,
        values: vec![
            ("first_byte_ms", first),
            ("look_up_ms", look_up),
            ("round_trip_ms", round_trip),
            ("excess_ms", excess),
            ("excess_p95_ms", late),
            ("answered_ms", answered),
        ],
    })
}

/// The network: the caller, and those whom it calls.
struct Network {
    caller: ApiClient,
    callees: Vec<Username>,
    workers: Vec<Worker>,
    base: network::Network,
}

impl Network {
    async fn start(callees: usize) -> Result<Self> {
        let base = network::Network::start().await?;
        let mut workers = Vec::new();
        let mut supernodes = Vec::new();
        for number in 0..SUPERNODES {
            let home = base.enrol(format!("super{number}")).await?;
            let (worker, client) = network::run(&[&home], Manner::of(RoleSetting::Super)).await?;
            workers.push(worker);
            supernodes.extend(client);
        }
        network::wait_until_linked(supernodes.iter()).await?;
        // What goes directly goes over no relay.
        let distant = Manner { hidden: true, line: LINE, ..Manner::of(RoleSetting::Ordinary) };
        let home = base.enrol("caller".to_owned()).await?;
        let (worker, mut caller) = network::run(&[&home], distant).await?;
        workers.push(worker);
        let caller = caller.pop().context("no caller")?;
        let names: Vec<String> = (0..callees).map(|number| format!("callee{number}")).collect();
        let homes = try_join_all(names.iter().cloned().map(|name| base.enrol(name))).await?;
        let homes: Vec<&Home> = homes.iter().collect();
        let (worker, clients) = network::run(&homes, distant).await?;
        workers.push(worker);
        for node in clients.iter().chain([&caller]) {
            let attached = |status: &Status| {
                let attachment = &status.attachment;
                attachment.parent.is_some() && attachment.standby.is_some()
            };
            wait_for(node, "attach", attached).await?;
        }
        let callees =
            names.iter().map(|name| Username::parse(name)).collect::<Result<Vec<_>, _>>()?;
        let network = Self { caller, callees, workers, base };
        for name in &network.callees {
            network.wait_until_known(name).await?;
        }
        Ok(network)
    }

    async fn wait_until_known(&self, name: &Username) -> Result<()> {
        let wait = async {
            while !self.caller.find(name).await.is_ok_and(|found| found.iter().any(|it| it.online))
            {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.context("a callee is not found")
    }

    async fn call(&self, number: usize) -> Result<Timing> {
        let name = &self.callees[number];
        let mut look_ups = Vec::new();
        for _ in 0..LOOK_UPS {
            let started = Instant::now();
            self.caller.find(name).await?;
            look_ups.push(started.elapsed().as_secs_f64());
        }
        let ping =
            StartPing { peer: format!("@{name}"), count: Some(PINGS), interval_ms: Some(20) };
        let started = Instant::now();
        let mut events = self.caller.ping(&ping).await?;
        let (mut first, mut answered, mut round_trips) = (None, None, Vec::new());
        loop {
            let event = tokio::time::timeout(PATIENCE, events.next()).await;
            let Some(event) = event.context("a ping hangs")? else { break };
            match event? {
                PingEvent::Connected { path, .. } => {
                    first = Some(started.elapsed().as_secs_f64());
                    ensure!(matches!(path.kind, PathKind::Relayed { .. }), "it is not relayed");
                }
                PingEvent::Pong { rtt_us, .. } => {
                    answered.get_or_insert_with(|| started.elapsed().as_secs_f64());
                    round_trips.push(rtt_us as f64 / 1e6);
                }
                PingEvent::Lost { .. } | PingEvent::Path { .. } | PingEvent::Done { .. } => {}
                PingEvent::Ended { reason } => bail!("a session has ended: {reason}"),
            }
        }
        Ok(Timing {
            look_up: median(look_ups),
            round_trip: median(round_trips),
            first: first.context("no session")?,
            answered: answered.context("no answer")?,
        })
    }

    async fn end(self) -> Result<()> {
        for worker in self.workers.into_iter().rev() {
            worker.end().await?;
        }
        self.base.end().await;
        Ok(())
    }
}
