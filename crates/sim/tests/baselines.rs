//! What is known of the systems before this one, as bounds: a baseline that is broken fails here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use skein_sim::baselines::compare::{Figures, Quality, Setup, baselines, compare};
use skein_sim::workload::Churn;
use std::time::Duration;

const EXACT: [&str; 3] = ["Chord", "Pastry", "Kelips"];

/// Runs these baselines, with five times the comparison's churn for a shorter time.
fn run(nodes: u32, systems: &[&str]) -> Vec<Figures> {
    let setup = Setup {
        look_ups: 300,
        searches: 60,
        churn: Churn::turnover(5.0),
        warm_up: Duration::from_secs(60),
        window: Duration::from_secs(60),
        ..Setup::new(nodes, 3).unwrap()
    };
    let mut contenders = baselines();
    contenders.retain(|contender| systems.contains(&contender.name()));
    compare(&contenders, &setup, 1, &|_, _| {})
}

fn of<'a>(figures: &'a [Figures], system: &str) -> &'a Figures {
    figures.iter().find(|figures| figures.system == system).expect("a system of that name")
}

fn look_up<'a>(figures: &'a [Figures], system: &str) -> &'a Quality {
    &of(figures, system).look_up.as_ref().expect("look-ups").quiet
}

fn search<'a>(figures: &'a [Figures], system: &str) -> &'a Quality {
    &of(figures, system).search.as_ref().expect("searches").quiet
}

#[test]
fn look_ups_take_as_many_hops_as_the_papers_say() {
    for nodes in [100, 1_000] {
        let figures = run(nodes, &["Chord", "Pastry", "Kelips", "Napster"]);
        let log2 = f64::from(nodes).log2();
        let chord = look_up(&figures, "Chord");
        // Half of log2 N, and the step from the predecessor to the owner; less by the successors.
        assert!((log2 / 2.0 - 0.5..log2 / 2.0 + 1.0).contains(&chord.hops_mean), "{chord:?}");
        let pastry = look_up(&figures, "Pastry");
        let digits = (log2 / 4.0).ceil();
        assert!(pastry.hops_p95 <= digits + 1.0, "{pastry:?}");
        assert!(pastry.hops_mean >= digits - 1.0, "{pastry:?}");
        let kelips = look_up(&figures, "Kelips");
        assert_eq!((kelips.hops_median, kelips.hops_p95), (1.0, 1.0));
        let napster = look_up(&figures, "Napster");
        assert_eq!((napster.hops_p95, napster.messages), (1.0, 2.0));
        for system in ["Chord", "Pastry", "Kelips", "Napster"] {
            assert!(look_up(&figures, system).success > 0.99, "{system}");
        }
        // Locality: Pastry's first hops are short ones, Chord's are not.
        assert!(pastry.milliseconds_median < 0.7 * chord.milliseconds_median);
    }
}

#[test]
fn memory_grows_as_the_papers_say() {
    let (small, large) = (run(100, &EXACT), run(1_000, &EXACT));
    let growth = |system: &str| of(&large, system).memory_mean / of(&small, system).memory_mean;
    // Logarithmic, and with the square root: ten times the nodes are 3.2 times the state.
    assert!((1.1..2.0).contains(&growth("Chord")), "{}", growth("Chord"));
    assert!((1.1..2.0).contains(&growth("Pastry")), "{}", growth("Pastry"));
    assert!((2.8..3.6).contains(&growth("Kelips")), "{}", growth("Kelips"));
    // The server of Napster has everything, whoever uses Gnutella next to nothing.
    let words = run(400, &["Napster", "Gnutella 0.4"]);
    let napster = of(&words, "Napster");
    assert!(napster.memory_most > 300.0 * napster.memory_mean);
    assert!(of(&words, "Gnutella 0.4").memory_mean < 100.0);
}

#[test]
fn searches_cost_what_the_structure_makes_of_them() {
    let figures = run(1_000, &["Napster", "Gnutella 0.4", "FastTrack"]);
    // About 1,700 links, each crossed at most twice, and hits on their way back.
    let gnutella = search(&figures, "Gnutella 0.4");
    assert!((1_300.0..3_500.0).contains(&gnutella.messages), "{gnutella:?}");
    assert!(gnutella.success > 0.9, "{gnutella:?}");
    // 8 supernodes, all linked: 28 links, crossed by 7 x 7 messages, and hits.
    let fasttrack = search(&figures, "FastTrack");
    assert!((40.0..90.0).contains(&fasttrack.messages), "{fasttrack:?}");
    assert!(fasttrack.success > 0.99, "{fasttrack:?}");
    let napster = search(&figures, "Napster");
    assert_eq!(napster.messages, 2.0);
}

#[test]
fn churn_costs_timeouts_and_upkeep_and_some_answers() {
    let figures = run(400, &["Gnutella 0.4", "Chord", "Pastry", "Kelips"]);
    for system in EXACT {
        let figures = of(&figures, system);
        let look_up = figures.look_up.as_ref().unwrap();
        assert!(look_up.churn.success > 0.95, "{figures:?}");
        assert!(look_up.churn.timeouts > look_up.quiet.timeouts, "{figures:?}");
        assert!(look_up.churn.milliseconds_p95 > look_up.quiet.milliseconds_p95, "{figures:?}");
        assert!(figures.maintenance.churn > figures.maintenance.quiet, "{figures:?}");
    }
    // Kelips pays for its one hop all the time.
    let upkeep = |system: &str| of(&figures, system).maintenance.quiet;
    assert!(upkeep("Kelips") > 5.0 * upkeep("Chord"));
    assert!(of(&figures, "Gnutella 0.4").maintenance.churn > 20.0);
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let all = || run(100, &["Napster", "Gnutella 0.4", "FastTrack", "Chord", "Pastry", "Kelips"]);
    assert_eq!(all(), all());
}
