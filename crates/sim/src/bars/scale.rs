//! How large a network can be simulated.

use super::{Order, Outcome, percent};
use crate::report::plots::Plot;
use crate::report::{Report, cpu_seconds, peak_memory};

/// 100,000 nodes for an hour.
pub const SCENARIO: &str = include_str!("../../scenarios/scale.toml");

/// 1,000,000 nodes for some minutes.
pub const MILLION: &str = include_str!("../../scenarios/million.toml");

/// What the hour may take, in seconds and bytes.
const TIME: f64 = 600.0;
const MEMORY: u64 = 12_000_000_000;

/// Measures the hour.
pub fn measure(order: &Order) -> Outcome {
    completes(SCENARIO, order, |seconds, memory| seconds <= TIME && memory <= MEMORY)
}

/// Measures the million.
pub fn million(order: &Order) -> Outcome {
    completes(MILLION, order, |_, _| true)
}

fn completes(text: &str, order: &Order, fits: fn(f64, u64) -> bool) -> Outcome {
    let began = std::time::Instant::now();
    let report = match order.run(text, &[Plot::Nodes, Plot::Recall]) {
        Ok(report) => report,
        Err(outcome) => return outcome,
    };
    let (seconds, memory) = (began.elapsed().as_secs_f64(), peak_memory());
    let searchable = searchable(&report);
    Outcome {
        figure: format!(
            "{seconds:.0} s ({:.0} s of processors) and {:.1} GB for {:.0} s of {} nodes ({} can be found, recall {})",
            cpu_seconds(),
            memory as f64 / 1e9,
            report.virtual_seconds,
            report.nodes,
            percent(searchable),
            percent(report.all_searches.recall),
        ),
        holds: works(&report) && fits(seconds, memory),
    }
}

/// The share of those there at the end that can be found.
fn searchable(report: &Report) -> f64 {
    let last = report.samples.last().cloned().unwrap_or_default();
    f64::from(last.searchable) / f64::from(last.alive.max(1))
}

/// Whether there was a network: one that does nothing is fast. Nearly all of it can be found, and it
/// answers.
pub fn works(report: &Report) -> bool {
    searchable(report) >= 0.95 && report.all_searches.searches > 0
}
