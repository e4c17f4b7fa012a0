//! What reputations come to: those of people who use the network, and those of a clique whose
//! members sign whatever helps each other.
//!
//! Days are cheap here: not messages are simulated but who was tied to whom for how long, and who
//! sent what to whom, as totals of a day. What follows from them is computed by the formula that
//! every node uses ([`skein_overlay::reputation::formula`]).

mod clique;
mod meetings;
mod names;
mod presence;

pub use clique::clique;

use crate::bars::Outcome;
use crate::workload::{self, SettingError, Workload};
use meetings::{DAY, Totals, downloads, ties};
use names::Names;
use presence::{Presence, Span};
use rand::SeedableRng;
use rand::rngs::StdRng;
use skein_overlay::reputation::formula::{Claim, assess};
use std::fmt;

/// Sizes of cliques.
pub const CLIQUES: [u32; 6] = [5, 10, 20, 50, 100, 200];

/// Days that they have had.
pub const DAYS: [u32; 4] = [1, 7, 30, 90];

/// The names and the days of the bar.
const BAR_NAMES: u32 = 50;
const BAR_DAYS: u32 = 30;

/// The network runs for so many days before anything counts.
const WARM_UP: u32 = 10;

/// The first day of a run, in the count of days that evidence has.
const FIRST_DAY: u32 = 20_000;

/// How large a network is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Nodes of honest people.
    pub nodes: u32,
    /// How many of them are looked at.
    pub sample: u32,
    /// The seed of the run.
    pub seed: u64,
}

/// What was reached after so many days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Days since all of them have registered.
    pub days: u32,
    /// The quartiles of honest nodes: a quarter has at most the first, half at most the second.
    pub honest: [u16; 3],
    /// Different partners of the median honest node.
    pub honest_partners: u32,
    /// An honest node that is there day and night.
    pub always_on: u16,
    /// A member of each of the [`CLIQUES`], from what the clique signs alone.
    pub cliques: [u16; 6],
    /// A member of each of them that is truly there day and night as well.
    pub cliques_always_on: [u16; 6],
}

/// The reputations of honest people and of cliques.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One row for each of the [`DAYS`].
    pub rows: Vec<Row>,
    /// Supernodes at a time.
    pub supernodes: usize,
}

/// Runs the honest network and lets cliques of all sizes sign what they like.
///
/// # Errors
/// [`SettingError`] if there is no such workload.
pub fn run(settings: Settings) -> Result<Report, SettingError> {
    let longest = DAYS.iter().copied().max().unwrap_or_default();
    let days = WARM_UP + longest;
    let (start, end) = (u64::from(WARM_UP) * DAY, u64::from(days) * DAY);
    let workload = Workload::new(&workload::Settings::default(), settings.nodes, settings.seed)?;
    let mut rng = StdRng::seed_from_u64(settings.seed);
    let presence = Presence::new(&workload, end, &mut rng);
    let names = Names::new(settings.nodes, days, &mut rng);
    let sample = settings.sample.min(settings.nodes);
    let mut people: Vec<Totals> =
        (0..sample).map(|node| ties(&presence, node, presence.sessions(node), &mut rng)).collect();
    downloads(&workload, &presence, start, &mut people, &mut rng);
    // A node behind a NAT that leads nobody and shares nothing, but never goes.
    let always = ties(&presence, settings.nodes, &[Span { from: start, to: end }], &mut rng);
    let always = always.claims(&names, FIRST_DAY);
    let people: Vec<Vec<Claim<u32>>> =
        people.iter().map(|one| one.claims(&names, FIRST_DAY)).collect();
    let today = FIRST_DAY + days - 1;
    let rows = DAYS.map(|days| row(&people, &always, days, today)).to_vec();
    Ok(Report { rows, supernodes: presence.places() })
}

fn row(people: &[Vec<Claim<u32>>], always: &[Claim<u32>], days: u32, today: u32) -> Row {
    let since = today + 1 - days;
    let within = |claims: &[Claim<u32>]| -> Vec<Claim<u32>> {
        claims.iter().filter(|claim| claim.day >= since).copied().collect()
    };
    let mut honest: Vec<(u16, u32)> = people
        .iter()
        .map(|claims| assess(within(claims), &[], today))
        .map(|assessment| (assessment.reputation, assessment.partners))
        .collect();
    honest.sort_unstable();
    let quantile = |quarters: usize| honest[(honest.len() - 1) * quarters / 4];
    let always = within(always);
    let reached = |claims: Vec<Claim<u32>>| assess(claims, &[], today).reputation;
    Row {
        days,
        honest: [1, 2, 3].map(|quarters| quantile(quarters).0),
        honest_partners: quantile(2).1,
        always_on: reached(always.clone()),
        cliques: CLIQUES.map(|names| reached(clique(names, since..=today))),
        cliques_always_on: CLIQUES.map(|names| {
            reached(clique(names, since..=today).into_iter().chain(always.clone()).collect())
        }),
    }
}

/// The bar: after a month, the best of fifty colluding names against the median honest node. The
/// whole table goes to standard error.
pub fn bar(seed: u64) -> Outcome {
    let settings = Settings { nodes: 20_000, sample: 4_000, seed };
    let report = match run(settings) {
        Ok(report) => report,
        Err(error) => return Outcome { figure: error.to_string(), holds: false },
    };
    eprint!("{report}");
    match report.month() {
        Some((clique, honest)) => Outcome {
            figure: format!("clique of {BAR_NAMES}: {clique}, median honest node: {honest}"),
            holds: clique <= honest,
        },
        None => Outcome { figure: "no month in the report".to_owned(), holds: false },
    }
}

impl Report {
    /// What the clique of the bar and the median honest node reach after a month.
    fn month(&self) -> Option<(u16, u16)> {
        let row = self.rows.iter().find(|row| row.days == BAR_DAYS)?;
        let clique = CLIQUES.iter().position(|names| *names == BAR_NAMES)?;
        Some((row.cliques[clique], row.honest[1]))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| days | honest: lower quartile | median | upper quartile | always on |")?;
        for names in CLIQUES {
            write!(f, " clique of {names} |")?;
        }
        writeln!(f, "\n|{}", "---|".repeat(5 + CLIQUES.len()))?;
        for row in &self.rows {
            let [lower, median, upper] = row.honest;
            write!(f, "| {} | {lower} | {median} | {upper} | {} |", row.days, row.always_on)?;
            for (alone, always) in row.cliques.iter().zip(row.cliques_always_on) {
                write!(f, " {alone} ({always}) |")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_clique_of_fifty_stays_below_the_median_honest_node_in_a_small_network_too() {
        let report = run(Settings { nodes: 2_000, sample: 400, seed: 1 }).unwrap();
        println!("{report}");
        let month = report.rows.iter().find(|row| row.days == 30).unwrap();
        assert!(month.cliques[3] <= month.honest[1], "{report}");
        assert!(month.honest[0] < month.honest[1] && month.honest[1] < month.honest[2], "{report}");
    }

    #[test]
    fn the_same_seed_gives_the_same_report() {
        let settings = Settings { nodes: 300, sample: 50, seed: 2 };
        assert_eq!(run(settings).unwrap(), run(settings).unwrap());
    }
}
