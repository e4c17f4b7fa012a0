//! The collapse of December 2010, and what this network makes of it.

use super::{Order, Outcome};
use crate::report::Report;
use crate::report::plots::Plot;

/// 30 % of all supernodes die, 40 % of all nodes restart.
pub const SCENARIO: &str = include_str!("../../scenarios/mass-failure.toml");

/// Measures it.
pub fn measure(order: &Order) -> Outcome {
    match order.run(SCENARIO, &[Plot::Nodes, Plot::Children, Plot::Load, Plot::Recall]) {
        Ok(report) => judge(&report),
        Err(outcome) => outcome,
    }
}

/// The load of a supernode is what it calls so itself ([`Load`](skein_proto::supernode::Load)): its
/// children. What is normal is the most that any of them had in the two quiet minutes before. The
/// messages of the busiest are told beside it, and do not decide: they come in the seconds in which
/// those who lost their parent attach and publish elsewhere.
///
/// That nobody exits is not judged here: a simulated node goes when the scenario says so, and a panic
/// of its code ends the run. The drill with real processes asks every one that is left.
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
    let time = again.map_or("never".to_owned(), |seconds| format!("in {seconds:.0} s, for good"));
    Outcome {
        figure: format!(
            "99 % can be found again {time}; peak {children:.2} x the children and \
             {messages:.2} x the messages of the busiest supernode before",
        ),
        holds: again.is_some_and(|seconds| seconds <= 60.0) && children <= 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Sample;

    fn judged(searchable: [u32; 4], children: u32) -> Outcome {
        let samples = [(10.0, 50), (20.0, children), (30.0, 50), (90.0, 50)];
        let samples =
            samples.into_iter().zip(searchable).map(|((at, children_most), searchable)| Sample {
                at,
                measured: true,
                alive: 100,
                searchable,
                children_most,
                ..Sample::default()
            });
        let events = vec![(15.0, "a failure".to_owned())];
        judge(&Report { samples: samples.collect(), events, ..Report::default() })
    }

    #[test]
    fn a_failure_that_is_not_made_good_or_that_overloads_somebody_is_not_withstood() {
        assert!(judged([100, 60, 99, 100], 100).holds);
        assert!(!judged([100, 60, 98, 99], 100).holds, "that took too long");
        assert!(!judged([100, 99, 99, 98], 100).holds, "a relapse");
        assert!(!judged([100, 60, 99, 100], 101).holds, "more than twice the children");
    }
}
