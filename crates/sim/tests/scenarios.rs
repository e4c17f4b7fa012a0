//! The scenarios of the bars, small and short, with bounds: a change that hurts what is found, how
//! soon a network heals or what it costs fails here.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use skein_sim::bars::{churn, lookup, mass_failure, poison, rare_file};
use skein_sim::report::Report;
use skein_sim::scenario::{Run, Scenario};
use std::path::Path;

const SEED: u64 = 20;
const NODES: u32 = 240;

/// A bar's scenario with 240 nodes, 12 of them supernodes, each of which has room for 40 children.
fn small(text: &str, run_seconds: f64, searches: f64) -> Scenario {
    let mut scenario = Scenario::parse(text, Path::new("a bar's scenario")).unwrap();
    scenario.nodes = NODES;
    scenario.start_seconds = 30.0;
    scenario.settle_seconds = 60.0;
    scenario.run_seconds = run_seconds;
    scenario.roles.supernodes = 0.05;
    scenario.network.max_children = 40;
    scenario.searches.per_node_hour = searches * 3_600.0 / (f64::from(NODES) * run_seconds);
    scenario
}

fn run(scenario: &Scenario) -> Report {
    Run::new(scenario, SEED).unwrap().finish(|_| {})
}

#[test]
fn a_file_of_one_copy_is_found() {
    let report = run(&small(rare_file::SCENARIO, 120.0, 150.0));
    let single = &report.by_copies[0];
    assert!(single.to == 1 && single.searches >= 80, "{single:?}");
    assert!(single.found >= 0.99, "{report}");
}

#[test]
fn a_file_of_one_copy_is_found_while_half_of_all_come_and_go() {
    let report = run(&small(rare_file::WITH_CHURN, 500.0, 200.0));
    let single = &report.by_copies[0];
    assert!(single.to == 1 && single.searches >= 100 && report.departures > 8, "{report}");
    assert!(single.found >= 0.95, "{report}");
}

#[test]
fn searches_hold_while_everyone_comes_and_goes() {
    let report = run(&small(churn::SCENARIO, 500.0, 200.0));
    assert!(report.departures > 20 && report.all_searches.searches > 100, "{report}");
    assert!(report.all_searches.recall >= 0.95, "{report}");
    assert!(report.ordinary.mean <= 300.0, "{report}");
}

#[test]
fn nearly_all_are_found_again_within_a_minute_of_a_mass_failure() {
    let report = run(&small(mass_failure::SCENARIO, 240.0, 100.0));
    let (when, _) = report.events[0];
    let hurt = report.samples.iter().any(|s| s.at > when && s.searchable * 10 < s.alive * 9);
    assert!(hurt, "the failure was one: {report}");
    let again = report.searchable_again(when + 20.0, 0.99);
    assert!(again.is_some_and(|seconds| seconds <= 40.0), "{again:?}: {report}");
}

#[test]
fn most_hits_are_what_they_are_called_while_some_share_decoys() {
    let report = run(&small(poison::SCENARIO, 120.0, 150.0));
    assert!(report.all_searches.searches > 80, "{report}");
    assert!(report.all_searches.genuine >= 0.5, "{report}");
}

#[test]
fn exact_look_ups_are_right_at_the_first_try() {
    let lookups = lookup::look_up(&small(lookup::SCENARIO, 90.0, 0.0), SEED, &mut |_| {}).unwrap();
    assert!(lookups.all >= 200, "{lookups:?}");
    assert!(lookups.share() >= 0.97 && lookups.median <= 1.0, "{lookups:?}");
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let told = |seed| {
        let mut scenario = small(churn::SCENARIO, 60.0, 50.0);
        scenario.nodes = 100;
        let report = Run::new(&scenario, seed).unwrap().finish(|_| {});
        let report = Report { wall_seconds: 0.0, ..report };
        serde_json::to_string(&report).unwrap()
    };
    assert_eq!(told(1), told(1));
    assert_ne!(told(1), told(2));
}

#[test]
fn two_threads_do_what_one_does() {
    let mut scenario = small(mass_failure::SCENARIO, 60.0, 50.0);
    scenario.churn = small(churn::SCENARIO, 60.0, 50.0).churn;
    scenario.events.iter_mut().for_each(|event| event.at_seconds = 20.0);
    let told = |threads| {
        let run = Run::with_threads(&scenario, 5, threads).unwrap();
        let report = Report { wall_seconds: 0.0, ..run.finish(|_| {}) };
        assert!(report.departures > 0 && !report.events.is_empty(), "{report}");
        serde_json::to_string(&report).unwrap()
    };
    assert_eq!(told(1), told(2));
}
