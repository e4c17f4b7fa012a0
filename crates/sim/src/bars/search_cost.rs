//! What a keyword search costs, against floods that find as much.

use super::{Order, Outcome, percent};
use crate::baselines::equal_recall::{self, Asked, Cost, Target};
use crate::report::Report;
use crate::report::plots::Plot;
use crate::scenario::Scenario;
use crate::workload::{SettingError, Workload};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein_proto::message::MessageKind;
use std::sync::Arc;

/// 100,000 nodes that search by keywords.
pub const SCENARIO: &str = include_str!("../../scenarios/search-cost.toml");

/// Searches by which the floods are measured: each reaches up to 100,000 nodes.
const SAMPLE: usize = 40;

/// What a search costs, and what the floods cost that find as much.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Messages of a search.
    pub own: f64,
    /// Messages of all routing tables in the same time, for each search: they are sent whether
    /// anybody searches or not.
    pub tables: f64,
    /// Bytes of them, for each search.
    pub table_bytes: f64,
    /// What it found of what was wanted and there, which the floods are to find as well.
    pub recall: f64,
    /// Blind flooding.
    pub gnutella: Cost,
    /// Flooding among supernodes.
    pub fasttrack: Cost,
}

impl Costs {
    /// How many times as many messages blind flooding takes.
    pub fn to_gnutella(&self) -> f64 {
        self.gnutella.messages / self.own
    }

    /// How many times as many messages flooding among supernodes takes.
    pub fn to_fasttrack(&self) -> f64 {
        self.fasttrack.messages / self.own
    }
}

/// Measures it.
pub fn measure(order: &Order) -> Outcome {
    let (scenario, report) =
        match (order.scenario(SCENARIO), order.run(SCENARIO, &[Plot::Messages])) {
            (Ok(scenario), Ok(report)) => (scenario, report),
            (Err(outcome), _) | (_, Err(outcome)) => return outcome,
        };
    if report.all_searches.searches == 0 {
        return Outcome::failed("nobody searched for anything that was there");
    }
    match compare(&scenario, &report, SAMPLE) {
        Ok(costs) => judge(&costs),
        Err(error) => Outcome::failed(error),
    }
}

fn judge(costs: &Costs) -> Outcome {
    let Costs { own, tables, table_bytes, recall, gnutella, fasttrack } = costs;
    Outcome {
        figure: format!(
            "{own:.0} messages at a recall of {}: 1/{:.0} of blind flooding ({:.0} at {}), \
             1/{:.1} of flooding among supernodes ({:.0} at {}); beside them {tables:.0} messages \
             of routing tables for each, {:.0} kB, whoever searches",
            percent(*recall),
            costs.to_gnutella(),
            gnutella.messages,
            percent(gnutella.recall),
            costs.to_fasttrack(),
            fasttrack.messages,
            percent(fasttrack.recall),
            table_bytes / 1_000.0,
        ),
        holds: costs.to_gnutella() >= 50.0 && costs.to_fasttrack() >= 5.0,
    }
}

/// What both floods cost in the workload of a run, by so many searches, to find what it found.
///
/// # Errors
/// [`SettingError`] if the scenario's workload is not sound.
pub fn compare(scenario: &Scenario, report: &Report, sample: usize) -> Result<Costs, SettingError> {
    let seed = report.seed;
    // The very same workload.
    let workload = Arc::new(Workload::new(&scenario.workload, scenario.nodes, seed)?);
    let mut rng = StdRng::seed_from_u64(seed);
    let searches: Vec<Asked> = (0..sample)
        .map(|_| Asked {
            by: rng.random_range(0..scenario.nodes),
            search: workload.popular_search(&mut rng),
        })
        .collect();
    let recall = report.all_searches.recall;
    let target = Target { wanted: usize::from(scenario.searches.wanted), recall };
    let fasttrack = equal_recall::fasttrack(&workload, &searches, target, seed);
    let gnutella = equal_recall::gnutella(&workload, &searches, target, seed);
    let (tables, table_bytes) =
        report.kinds.get(MessageKind::TableUpdate.name()).copied().unwrap_or_default();
    let each = |all: u64| all as f64 / (report.searches_begun as f64).max(1.0);
    Ok(Costs {
        own: report.messages_per_search,
        tables: each(tables),
        table_bytes: each(table_bytes),
        recall,
        gnutella,
        fasttrack,
    })
}
