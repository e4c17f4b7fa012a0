//! The figures that the simulator vouches for, each with its bar.

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
];

fn network(seed: u64) -> Network {
    Network::new(Settings { seed, ..Settings::default() })
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
