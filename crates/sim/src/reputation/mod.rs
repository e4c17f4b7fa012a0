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
use skein_overlay::reputation::formula::{Claim, MATURE_DAYS, assess};
use std::fmt;

/// Sizes of cliques.
pub const CLIQUES: [u32; 6] = [5, 10, 20, 50, 100, 200];

/// Days that they have had.
pub const DAYS: [u32; 4] = [1, 7, 30, 90];

/// The names and the days of the bar.
const BAR_NAMES: u32 = 50;
const BAR_DAYS: u32 = 30;

/// Nodes that are there day and night of which the median is looked at: whom they meet is chance.
const ALWAYS_ON: u32 = 51;

/// Names that were kept for so many days before they first signed count in full from the start.
const KEPT_DAYS: u32 = MATURE_DAYS;

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
    /// The most of the [`DAYS`] that are looked at.
    pub days: u32,
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
    /// The median honest node that is there day and night, leads nobody and shares nothing.
    pub always_on: u16,
    /// A member of each of the [`CLIQUES`] whose names are all as old as these days.
    pub cliques: Reached,
    /// The same if they had been kept for a quarter of a year before.
    pub kept: Reached,
}

/// What a member of each of the [`CLIQUES`] reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// By what the clique signs alone.
    pub alone: [u16; 6],
    /// If its machine is truly there day and night as well, as the median one that is.
    pub always_on: [u16; 6],
}

/// The reputations of honest people and of cliques.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One row for each of the [`DAYS`] that are looked at.
    pub rows: Vec<Row>,
    /// Supernodes at a time.
    pub supernodes: usize,
}

/// Runs the honest network and lets cliques of all sizes sign what they like.
///
/// # Errors
/// [`SettingError`] if there is no such workload.
pub fn run(settings: Settings) -> Result<Report, SettingError> {
    let days = WARM_UP + settings.days;
    let (start, end) = (u64::from(WARM_UP) * DAY, u64::from(days) * DAY);
    let workload = Workload::new(&workload::Settings::default(), settings.nodes, settings.seed)?;
    let mut rng = StdRng::seed_from_u64(settings.seed);
    let presence = Presence::new(&workload, end, &mut rng);
    let names = Names::new(settings.nodes, days, &mut rng);
    let sample = settings.sample.min(settings.nodes);
    let mut people: Vec<Totals> =
        (0..sample).map(|node| ties(&presence, node, presence.sessions(node), &mut rng)).collect();
    downloads(&workload, &presence, start, &mut people, &mut rng);
    // Nodes behind NATs that lead nobody and share nothing, but never go.
    let always: Vec<Vec<Claim<u32>>> = (settings.nodes..settings.nodes + ALWAYS_ON)
        .map(|node| ties(&presence, node, &[Span { from: start, to: end }], &mut rng))
        .map(|one| one.claims(&names, FIRST_DAY))
        .collect();
    let people: Vec<Vec<Claim<u32>>> =
        people.iter().map(|one| one.claims(&names, FIRST_DAY)).collect();
    let today = FIRST_DAY + days - 1;
    let rows = DAYS.into_iter().filter(|days| *days <= settings.days);
    let rows = rows.map(|days| row(&people, &always, days, today)).collect();
    Ok(Report { rows, supernodes: presence.places() })
}

fn row(people: &[Vec<Claim<u32>>], always: &[Vec<Claim<u32>>], days: u32, today: u32) -> Row {
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
    let mut always: Vec<Vec<Claim<u32>>> = always.iter().map(|claims| within(claims)).collect();
    always.sort_by_cached_key(|claims| assess(claims.iter().copied(), &[], today).reputation);
    let always = &always[always.len() / 2];
    let reached = |age| {
        let signed = |names| clique(names, age, since..=today).into_iter();
        Reached {
            alone: CLIQUES.map(|names| assess(signed(names), &[], today).reputation),
            always_on: CLIQUES.map(|names| {
                assess(signed(names).chain(always.iter().copied()), &[], today).reputation
            }),
        }
    };
    Row {
        days,
        honest: [1, 2, 3].map(|quarters| quantile(quarters).0),
        honest_partners: quantile(2).1,
        always_on: assess(always.iter().copied(), &[], today).reputation,
        cliques: reached(0),
        kept: reached(KEPT_DAYS),
    }
}

/// The bar: after a month, the best of fifty colluding names against the median honest node, whether
/// they do nothing but sign or their machines are truly there as well. All tables go to standard
/// error.
pub fn bar(seed: u64) -> Outcome {
    let settings = Settings { nodes: 20_000, sample: 4_000, days: 90, seed };
    let report = match run(settings) {
        Ok(report) => report,
        Err(error) => return Outcome { figure: error.to_string(), holds: false },
    };
    eprint!("{report}");
    report.judge()
}

impl Report {
    /// What the clique of the bar and the median honest node reach after a month.
    fn judge(&self) -> Outcome {
        let row = self.rows.iter().find(|row| row.days == BAR_DAYS);
        let clique = CLIQUES.iter().position(|names| *names == BAR_NAMES);
        let (Some(row), Some(clique)) = (row, clique) else {
            return Outcome { figure: "no month in the report".to_owned(), holds: false };
        };
        let of = |reached: &Reached| (reached.alone[clique], reached.always_on[clique]);
        let ((alone, always_on), (kept, kept_always_on)) = (of(&row.cliques), of(&row.kept));
        let median = row.honest[1];
        Outcome {
            figure: format!(
                "clique of {BAR_NAMES}: {alone} by signing, {always_on} if its machines are there \
                 day and night as well; median honest node: {median} (names kept for \
                 {KEPT_DAYS} days before the month: {kept}, {kept_always_on})"
            ),
            holds: alone <= median && always_on <= median,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| days | honest: lower quartile | median | upper quartile | always on |")?;
        let kinds = ["clique", "kept names"];
        for what in kinds {
            for names in CLIQUES {
                write!(f, " {what}, {names} |")?;
            }
        }
        writeln!(f, "\n|{}", "---|".repeat(5 + kinds.len() * CLIQUES.len()))?;
        for row in &self.rows {
            let [lower, median, upper] = row.honest;
            write!(f, "| {} | {lower} | {median} | {upper} | {} |", row.days, row.always_on)?;
            for Reached { alone, always_on } in [row.cliques, row.kept] {
                for (alone, always_on) in alone.iter().zip(always_on) {
                    write!(f, " {alone} ({always_on}) |")?;
                }
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
    fn a_clique_of_fifty_stays_below_the_median_honest_node_in_a_smaller_network_too() {
        let settings = Settings { nodes: 12_000, sample: 400, days: 30, seed: 1 };
        let report = run(settings).unwrap();
        println!("{report}");
        let month = report.rows.iter().find(|row| row.days == 30).unwrap();
        assert!(month.cliques.alone[3] * 5 <= month.honest[1], "{report}");
        assert!(month.cliques.always_on[3] < month.honest[1], "{report}");
        assert!(report.judge().holds, "{report}");
        // A month's honest use of a machine that is always on is worth far more than what a clique
        // signs.
        assert!(month.always_on > 5 * month.cliques.alone[3], "{report}");
        assert!(month.honest[0] < month.honest[1] && month.honest[1] < month.honest[2], "{report}");
    }

    #[test]
    fn the_same_seed_gives_the_same_report() {
        let settings = Settings { nodes: 300, sample: 50, days: 90, seed: 2 };
        assert_eq!(run(settings).unwrap(), run(settings).unwrap());
    }
}
