//! How much of what is found is what it is called, while some share decoys.

use super::{Order, Outcome, percent};

/// 5 % of all names poison the index.
pub const SCENARIO: &str = include_str!("../../scenarios/poison.toml");

/// Measures it.
pub fn measure(order: &Order) -> Outcome {
    let report = match order.run(SCENARIO, &[]) {
        Ok(report) => report,
        Err(outcome) => return outcome,
    };
    let all = &report.all_searches;
    Outcome {
        figure: format!(
            "{} of the hits are genuine, recall {}",
            percent(all.genuine),
            percent(all.recall)
        ),
        holds: all.genuine >= 0.95 && all.searches > 0,
    }
}
