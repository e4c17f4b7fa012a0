//! Whether what only one node has is found.

use super::{Order, Outcome, percent};
use crate::report::Report;
use crate::report::plots::Plot;

/// Nobody comes or goes.
pub const SCENARIO: &str = include_str!("../../scenarios/rare-file.toml");

/// Half of all nodes are turned over within the hour.
pub const WITH_CHURN: &str = include_str!("../../scenarios/rare-file-churn.toml");

/// Measures it without churn.
pub fn measure(order: &Order) -> Outcome {
    found(SCENARIO, order, 0.99)
}

/// Measures it with churn.
pub fn with_churn(order: &Order) -> Outcome {
    found(WITH_CHURN, order, 0.95)
}

fn found(text: &str, order: &Order, bar: f64) -> Outcome {
    match order.run(text, &[Plot::Recall]) {
        Ok(report) => judge(&report, bar),
        Err(outcome) => outcome,
    }
}

fn judge(report: &Report, bar: f64) -> Outcome {
    let Some(single) = report.by_copies.iter().find(|recall| recall.to == 1) else {
        return Outcome::failed("no search for a single copy was answered");
    };
    Outcome {
        figure: format!("{} of {} searches found it", percent(single.found), single.searches),
        holds: single.found >= bar,
    }
}
