//! What a keyword search costs, against floods that find as much.

use super::{Order, Outcome, percent};
use crate::baselines::equal_recall::{self, Asked, Target};
use crate::report::plots::Plot;
use crate::workload::Workload;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

/// 100,000 nodes that search by keywords.
pub const SCENARIO: &str = include_str!("../../scenarios/search-cost.toml");

/// Searches by which the floods are measured: each reaches up to 100,000 nodes.
const SAMPLE: usize = 40;

/// Measures it.
pub fn measure(order: &Order) -> Outcome {
    let (scenario, report) =
        match (order.scenario(SCENARIO), order.run(SCENARIO, &[Plot::Messages])) {
            (Ok(scenario), Ok(report)) => (scenario, report),
            (Err(outcome), _) | (_, Err(outcome)) => return outcome,
        };
    let seed = order.seed;
    // The very same workload.
    let workload = match Workload::new(&scenario.workload, scenario.nodes, seed) {
        Ok(workload) => Arc::new(workload),
        Err(error) => return Outcome::failed(error),
    };
    let mut rng = StdRng::seed_from_u64(seed);
    let searches: Vec<Asked> = (0..SAMPLE)
        .map(|_| Asked {
            by: rng.random_range(0..scenario.nodes),
            search: workload.popular_search(&mut rng),
        })
        .collect();
    let recall = report.all_searches.recall;
    let target = Target { wanted: usize::from(scenario.searches.wanted), recall };
    let fasttrack = equal_recall::fasttrack(&workload, &searches, target, seed);
    let gnutella = equal_recall::gnutella(&workload, &searches, target, seed);
    let own = report.messages_per_search;
    Outcome {
        figure: format!(
            "{own:.0} messages at a recall of {}: 1/{:.0} of blind flooding ({:.0} at {}), \
             1/{:.1} of flooding among supernodes ({:.0} at {})",
            percent(recall),
            gnutella.messages / own,
            gnutella.messages,
            percent(gnutella.recall),
            fasttrack.messages / own,
            fasttrack.messages,
            percent(fasttrack.recall),
        ),
        holds: own > 0.0 && gnutella.messages >= 50.0 * own && fasttrack.messages >= 5.0 * own,
    }
}
