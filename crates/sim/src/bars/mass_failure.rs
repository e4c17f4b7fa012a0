//! The collapse of December 2010, and what this network makes of it.

use super::{Outcome, report_of};
use crate::report::Report;

/// 30 % of all supernodes die, 40 % of all nodes restart.
pub const SCENARIO: &str = include_str!("../../scenarios/mass-failure.toml");

/// Measures it.
pub fn measure(seed: u64) -> Outcome {
    match report_of(SCENARIO, seed) {
        Ok(report) => judge(&report),
        Err(outcome) => outcome,
    }
}

/// The load of a supernode is what it calls so itself ([`Load`](skein_proto::supernode::Load)): its
/// children. What is normal is the most that any of them had in the two quiet minutes before. The
/// messages of the busiest are told beside it, and do not decide: they come in the seconds in which
/// those who lost their parent attach and publish elsewhere.
pub fn judge(report: &Report) -> Outcome {
    let Some((when, _)) = report.events.first() else {
        return Outcome::failed("nothing has happened");
    };
    let most = |after: bool, value: fn(&crate::scenario::Sample) -> f64| {
        let samples = report.measured().filter(|sample| (sample.at > *when) == after);
        samples.map(value).fold(0.0, f64::max)
    };
    let children = most(true, |s| f64::from(s.children_most))
        / most(false, |s| f64::from(s.children_most)).max(1.0);
    let messages = most(true, |s| s.busiest) / most(false, |s| s.busiest).max(1.0);
    let again = report.searchable_again(*when, 0.99);
    let time = again.map_or("never".to_owned(), |seconds| format!("in {seconds:.0} s"));
    Outcome {
        figure: format!(
            "99 % can be found again {time}; peak {children:.2} x the children and \
             {messages:.2} x the messages of the busiest supernode before"
        ),
        holds: again.is_some_and(|seconds| seconds <= 60.0) && children <= 2.0,
    }
}
