//! What a session on a direct path carries, against raw quinn.

use super::ends::{Cost, Ends, Way};
use crate::figure::{Figure, Outcome, Run};
use crate::statistics::median;
use anyhow::Result;
use futures_util::FutureExt as _;

/// The least that a direct session carries, of what raw quinn does.
const BAR: f64 = 0.95;

/// What a session on a direct path carries.
pub const DIRECT: Figure = Figure {
    name: "direct-goodput",
    what: "goodput of a session on a direct path, against raw quinn with the same settings",
    bar: ">= 0.95 x",
    measure: |run| measure(run).boxed(),
};

/// Many short rounds, since no more than a few percent are to be told.
const ROUNDS: usize = 41;

/// A session, or raw quinn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Session,
    Raw,
}

async fn ship(by: By, bytes: u64) -> Result<Cost> {
    let mut ends = Ends::start().await?;
    let ways = match by {
        By::Session => {
            let direct = |peer| Way::Direct { peer, number: 7 };
            [direct(ends.sender_address()), direct(ends.receiver_address())]
        }
        By::Raw => [0, 1].map(|_| Way::Raw(ends.raw_receiver())),
    };
    let cost = ends.ship(ways, bytes).await?;
    ends.end().await?;
    Ok(cost)
}

async fn measure(run: &Run) -> Result<Outcome> {
    let bytes: u64 = run.size(256, 64) << 20;
    run.say(format_args!("{} MiB in each way, {ROUNDS} rounds by turns", bytes >> 20));
    let gigabytes = bytes as f64 / 1e9;
    let mut rounds = Vec::new();
    for number in 0..=ROUNDS {
        // Each is the first as often as the other, so that what goes on beside is fair to both.
        let (session, raw) = if number % 2 == 0 {
            let session = ship(By::Session, bytes).await?;
            (session, ship(By::Raw, bytes).await?)
        } else {
            let raw = ship(By::Raw, bytes).await?;
            (ship(By::Session, bytes).await?, raw)
        };
        if number == 0 {
            continue;
        }
        let (session, raw) = (session.over(gigabytes), raw.over(gigabytes));
        run.say(format_args!(
            "round {number}: session {:.0} MB/s for {:.2} CPU s/GB, raw quinn {:.0} for {:.2}",
            1e3 / session.wall,
            session.cpu,
            1e3 / raw.wall,
            raw.cpu,
        ));
        rounds.push((session, raw));
    }
    let session = 1e3 / median(rounds.iter().map(|(session, _)| session.wall));
    let raw = 1e3 / median(rounds.iter().map(|(_, raw)| raw.wall));
    let ratio = median(rounds.iter().map(|(session, raw)| raw.wall / session.wall));
    let cpu = median(rounds.iter().map(|(session, raw)| session.cpu / raw.cpu));
    Ok(Outcome {
        figure: format!(
            "{session:.0} MB/s, {ratio:.2} x raw quinn ({raw:.0} MB/s), for {cpu:.2} x its CPU"
        ),
        holds: ratio >= BAR,
        values: vec![
            ("session_mb_per_s", session),
            ("raw_quinn_mb_per_s", raw),
            ("ratio", ratio),
            ("cpu_ratio", cpu),
        ],
    })
}
