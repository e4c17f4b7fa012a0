//! Whether searches and budgets hold while everyone comes and goes.

use super::{Order, Outcome, percent};
use crate::report::plots::Plot;

/// As many nodes go within the hour as there are.
pub const SCENARIO: &str = include_str!("../../scenarios/churn.toml");

/// Bytes in a second of an ordinary node, on average, in and out, with the headers and keep-alives
/// of the transport.
const BYTES: f64 = 200.0;

/// Measures it.
pub fn measure(order: &Order) -> Outcome {
    let report = match order.run(SCENARIO, &[Plot::Recall, Plot::Nodes]) {
        Ok(report) => report,
        Err(outcome) => return outcome,
    };
    let (recall, ordinary) = (report.all_searches.recall, report.ordinary.mean);
    Outcome {
        figure: format!(
            "recall {}, an ordinary node {ordinary:.0} B/s, a supernode {:.0} B/s",
            percent(recall),
            report.supernode.mean,
        ),
        holds: recall >= 0.95 && ordinary <= BYTES && report.all_searches.searches > 0,
    }
}
