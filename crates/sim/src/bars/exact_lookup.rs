//! Names and contents in the directory, looked up.

use super::{Outcome, percent};
use crate::exact::{self, Exact, Workload, median};
use crate::show::Shown;
use std::time::Duration;

/// Measures it.
pub fn measure(seed: u64) -> Outcome {
    let pause = Duration::from_secs(2);
    let workload = Workload { seed, supernodes: 300, ordinary: 3_000, lookups: 2_000, pause };
    let mut shown = Shown::new("exact-lookup");
    let exact = exact::run(&workload, &mut |progress| shown.tell(&progress));
    shown.end();
    judge(&exact)
}

fn judge(exact: &Exact) -> Outcome {
    let hops = median(&exact.ring_hops);
    Outcome {
        figure: format!(
            "{} at the first try, {} of {} in the end, a median of {hops} questions on the ring \
             ({} with an ordinary node's to its parent) and of {} ms, {} comings and goings",
            percent(exact.share()),
            exact.right,
            exact.asked,
            median(&exact.hops),
            median(&exact.times).as_millis(),
            exact.flips,
        ),
        holds: exact.share() >= 0.99 && hops <= 1 && exact.asked > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ups_that_take_two_hops_are_not_what_is_wanted() {
        let exact =
            |ring_hops| Exact { asked: 3, right: 3, first_try: 3, ring_hops, ..Exact::default() };
        assert!(judge(&exact(vec![0, 1, 2])).holds);
        assert!(!judge(&exact(vec![0, 2, 2])).holds);
        assert!(!judge(&Exact { first_try: 2, ..exact(vec![1, 1, 2]) }).holds, "one was late");
        assert!(!judge(&Exact::default()).holds, "nobody asked");
    }
}
