//! Files of which there is one copy, in a small quiet network.

use super::Outcome;
use crate::network::{Network, Settings};
use crate::population::{file, settle};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Measures it.
pub fn measure(seed: u64) -> Outcome {
    let mut network = Network::new(Settings { seed, ..Settings::default() });
    let (_, children, settled) = settle(&mut network, 20, 400);
    let mut rng = StdRng::seed_from_u64(seed);
    let searches = 200;
    let mut found = 0;
    for _ in 0..searches {
        let wanted = rng.random_range(0..children.len());
        let Some(asker) = children.choose(&mut rng) else { break };
        let outcome = network.search(*asker, &format!("rare{wanted} song"), 10);
        let target = file(&format!("common/rare{wanted} song.mp3")).content;
        found += u32::from(outcome.contents().contains(&target));
    }
    Outcome {
        figure: format!("{} of {searches} found", found),
        holds: settled && found == searches,
    }
}
