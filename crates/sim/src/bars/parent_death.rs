//! How soon the children of a dead parent are found elsewhere.

use super::Outcome;
use crate::network::{Network, Settings};
use crate::population::settle;
use std::time::Duration;

/// Measures it.
pub fn measure(seed: u64) -> Outcome {
    let mut network = Network::new(Settings { seed, ..Settings::default() });
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
