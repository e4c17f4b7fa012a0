//! Names and contents in the directory, looked up at one hop.

use super::Outcome;
use crate::exact::{self, Workload};
use crate::show::Shown;
use std::time::Duration;

/// Measures it.
pub fn measure(seed: u64) -> Outcome {
    let pause = Duration::from_secs(2);
    let workload = Workload { seed, supernodes: 300, ordinary: 3_000, lookups: 2_000, pause };
    let mut shown = Shown::new("exact-lookup");
    let exact = exact::run(&workload, &mut |progress| shown.tell(&progress));
    shown.end();
    let share = f64::from(exact.first_try) / f64::from(exact.asked.max(1));
    let median = exact.times.get(exact.times.len() / 2).copied().unwrap_or_default();
    Outcome {
        figure: format!(
            "{:.2} % at the first try, one hop from the supernode that asks, {} of {} in the end, median {} ms, {} comings and goings",
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
