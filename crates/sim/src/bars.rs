//! The figures that the simulator vouches for, each with its bar.

use crate::exact::{self, Workload};
use crate::network::{Network, Settings};
use crate::population::settle;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// What a measurement came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The figure with its unit.
    pub figure: String,
    /// Whether the bar holds.
    pub holds: bool,
}

/// A figure and its bar.
pub struct Bar {
    /// How it is called.
    pub name: &'static str,
    /// What is measured, on which workload.
    pub what: &'static str,
    /// What it must reach.
    pub bar: &'static str,
    /// Measures it with a seed.
    pub measure: fn(u64) -> Outcome,
}

/// All figures.
pub const BARS: &[Bar] = &[
    Bar {
        name: "single-copy-recall",
        what: "files of one copy found from anywhere; 20 supernodes, 400 nodes, 200 searches",
        bar: "100 %",
        measure: single_copy_recall,
    },
    Bar {
        name: "parent-death",
        what: "a parent dies: longest time until its children are searchable elsewhere; \
               20 supernodes, 400 nodes",
        bar: "<= 8 s",
        measure: parent_death,
    },
    Bar {
        name: "clique",
        what: "reputation after 30 days: 50 names that sign whatever helps each other, against \
               20,000 people with measured sessions, most of whom share nothing",
        bar: "<= the median honest node",
        measure: crate::reputation::bar,
    },
    Bar {
        name: "exact-lookup",
        what: "names and contents found at the first try, sessions of 2.9 h for everyone; \
               300 supernodes, 3,000 nodes, 2,000 look-ups over 67 min",
        bar: ">= 99 %, median 1 hop",
        measure: exact_lookup,
    },
];

fn network(seed: u64) -> Network {
    Network::new(Settings { seed, ..Settings::default() })
}

fn exact_lookup(seed: u64) -> Outcome {
    let pause = Duration::from_secs(2);
    let workload = Workload { seed, supernodes: 300, ordinary: 3_000, lookups: 2_000, pause };
    let exact = exact::run(&workload);
    let share = f64::from(exact.first_try) / f64::from(exact.asked.max(1));
    let median = exact.times.get(exact.times.len() / 2).copied().unwrap_or_default();
    Outcome {
        figure: format!(
            "{:.2} % at the first try, {} of {} in the end, median {} ms, {} comings and goings",
            share * 100.0,
            exact.right,
            exact.asked,
            median.as_millis(),
            exact.flips,
        ),
        // More than half of all at the first try is a median of one hop.
        holds: share >= 0.99,
    }
}

fn single_copy_recall(seed: u64) -> Outcome {
    let mut network = network(seed);
    let (_, children, settled) = settle(&mut network, 20, 400);
    let mut rng = StdRng::seed_from_u64(seed);
    let searches = 200;
    let mut found = 0;
    for _ in 0..searches {
        let wanted = rng.random_range(0..children.len());
        let Some(asker) = children.choose(&mut rng) else { break };
        let outcome = network.search(*asker, &format!("rare{wanted} song"), 10);
        let target = crate::population::file(&format!("common/rare{wanted} song.mp3")).content;
        found += u32::from(outcome.contents().contains(&target));
    }
    Outcome {
        figure: format!("{} of {searches} found", found),
        holds: settled && found == searches,
    }
}

fn parent_death(seed: u64) -> Outcome {
    let mut network = network(seed);
    let (supers, children, settled) = settle(&mut network, 20, 400);
    // Standbys are found after the parents; without one a node must search anew.
    network.run_for(Duration::from_secs(60));
    let mut longest = Duration::ZERO;
    let mut all = settled;
    for victim in supers.iter().take(5) {
        let died = network.now();
        let orphans: Vec<_> = children
            .iter()
            .copied()
            .filter(|child| {
                network.snapshot(*child).is_some_and(|s| s.parent.parent == Some(*victim))
            })
            .collect();
        network.kill(*victim);
        network.run_for(Duration::from_millis(1));
        let healed = |network: &Network| {
            orphans.iter().all(|child| {
                network.snapshot(*child).is_some_and(|s| {
                    s.parent.parent.is_some_and(|p| p != *victim) && s.parent.complete
                })
            })
        };
        let deadline = network.now() + Duration::from_secs(120);
        while !healed(&network) && network.now() < deadline {
            network.run_for(Duration::from_millis(100));
        }
        all &= healed(&network);
        longest = longest.max(network.now().since(died));
        network.run_for(Duration::from_secs(60));
    }
    Outcome {
        figure: format!("{:.1} s", longest.as_secs_f64()),
        holds: all && longest <= Duration::from_secs(8),
    }
}
