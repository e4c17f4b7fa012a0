//! Whether what only one node has is found.

use super::{Outcome, percent, report_of};
use crate::report::Report;

/// Nobody comes or goes.
pub const SCENARIO: &str = include_str!("../../scenarios/rare-file.toml");

/// Half of all nodes are turned over within the hour.
pub const WITH_CHURN: &str = include_str!("../../scenarios/rare-file-churn.toml");

/// Measures it without churn.
pub fn measure(seed: u64) -> Outcome {
    found(SCENARIO, seed, 0.99)
}

/// Measures it with churn.
pub fn with_churn(seed: u64) -> Outcome {
    found(WITH_CHURN, seed, 0.95)
}

fn found(text: &str, seed: u64, bar: f64) -> Outcome {
    match report_of(text, seed) {
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
