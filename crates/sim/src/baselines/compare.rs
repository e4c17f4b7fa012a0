//! The comparison of all systems, measured: memory, hops, time, messages, success, with and without
//! churn, for networks of different sizes.
//!
//! Each system is a [`Contender`]: it is told the size, the workload and the churn by a [`Setup`],
//! runs a network of its own, and reports [`Figures`]. Skein's own network takes part in the same
//! way. What is not a system's business stays empty: Chord finds no words, and what Gnutella looks
//! up it finds by flooding the whole name.

mod baseline;
mod exact;
mod keyword;
mod plot;
mod skein;
mod table;

pub use baseline::Baseline;
pub use exact::{CHORD, KELIPS, PASTRY};
pub use keyword::{FASTTRACK, GNUTELLA, NAPSTER};
pub use plot::write_plots;
pub use skein::SkeinRun;
pub use table::table;

use crate::physics;
use crate::workload::{Churn, SettingError, Settings, Workload};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a contender is to run: first without churn, then with it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many nodes are up.
    pub nodes: u32,
    /// The seed of the run.
    pub seed: u64,
    /// What is shared and asked for, by so many users as there are nodes.
    pub workload: Arc<Workload>,
    /// The wires.
    pub physics: physics::Settings,
    /// How long the network runs before anything is measured without churn.
    pub settle: Duration,
    /// How long it is measured without churn; all operations start within it.
    pub quiet: Duration,
    /// How nodes come and go in the second part.
    pub churn: Churn,
    /// How long they have done so before it is measured.
    pub warm_up: Duration,
    /// How long it is measured with churn; all operations start within it.
    pub window: Duration,
    /// Exact look-ups in each part.
    pub look_ups: u32,
    /// Keyword searches in each part, half of them for two words of something popular, half for all
    /// words of a file of a single copy. The latter count as look-ups of what knows nothing better.
    pub searches: u32,
}

impl Setup {
    /// The comparison's own: a turnover of all nodes within an hour, ten minutes of it before five
    /// that are measured; in large networks fewer searches, since each floods all of it.
    ///
    /// # Errors
    /// [`SettingError`]: there are no nodes.
    pub fn new(nodes: u32, seed: u64) -> Result<Self, SettingError> {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Ok(Self {
            nodes,
            seed,
            workload: Arc::new(Workload::new(&Settings::default(), nodes, seed)?),
            physics: physics::Settings::default(),
            settle: minutes(1),
            quiet: minutes(2),
            churn: Churn::turnover(1.0),
            warm_up: minutes(10),
            window: minutes(5),
            look_ups: 1_000,
            searches: match nodes {
                0..=5_000 => 200,
                5_001..=50_000 => 100,
                _ => 40,
            },
        })
    }
}

/// How well operations of one kind went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// How many there were.
    pub operations: u32,
    /// For look-ups, the share that was answered rightly. For searches, the mean share of the
    /// contents that were found, of those that were there.
    pub success: f64,
    /// Hops to the answer, or to the holder of the first hit: the mean.
    pub hops_mean: f64,
    /// The median.
    pub hops_median: f64,
    /// What 95 % stay within.
    pub hops_p95: f64,
    /// Milliseconds to the answer or the first hit: the median.
    pub milliseconds_median: f64,
    /// What 95 % stay within.
    pub milliseconds_p95: f64,
    /// Messages of all nodes for an operation, on average, answers included.
    pub messages: f64,
    /// Bytes of them.
    pub bytes: f64,
    /// Waits in vain for an answer, for an operation, on average.
    pub timeouts: f64,
}

/// Something with and without churn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Both<T> {
    /// Nobody comes or goes.
    pub quiet: T,
    /// As [`Setup::churn`] says.
    pub churn: T,
}

/// What a contender reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Who it is.
    pub system: String,
    /// How many nodes there were.
    pub nodes: u32,
    /// Bytes of what a node remembers of others to do its work (tables, neighbours, an index of what
    /// others share), as packed as on the wire: the mean of all nodes, without churn.
    pub memory_mean: f64,
    /// The same of the node with the most: a server, a supernode.
    pub memory_most: f64,
    /// Look-ups of one thing by its exact name. `None`: it has none.
    pub look_up: Option<Both<Quality>>,
    /// Keyword searches. `None`: it has none.
    pub search: Option<Both<Quality>>,
    /// Bytes that a node sends in a second, on average, for everything but look-ups and searches.
    pub maintenance: Both<f64>,
}

/// A system that can be compared.
///
/// # What Skein's own network reports
/// * `memory_mean`, `memory_most`: the membership of all supernodes, neighbours with their query
///   routing tables, the directory's records, and the index, of an ordinary node and of a
///   supernode.
/// * `look_up`: content ids of single copies by the directory; `hops` counts the supernodes that a
///   question went through after the asker's own node and before the answer came back, the parent
///   included; right is an answer that names a node which has the file and is up.
/// * `search`: two words of something popular, wanting all that is there, so that waves do not stop
///   early; `hops` to the first hit.
/// * `maintenance`: the bytes of all other messages that all nodes sent, without the headers of
///   packets, by node and second.
///
/// It runs the two parts of the [`Setup`] one after the other and spreads its operations over
/// `quiet` and `window`, askers drawn at random of those that are up.
pub trait Contender: Sync {
    /// How it is called in tables.
    fn name(&self) -> &'static str;

    /// Runs it. The share of the work done so far is told to `progress`, 0 to 1. `None`: it cannot
    /// be run with so many nodes.
    fn measure(&self, setup: &Setup, progress: &(dyn Fn(f64) + Sync)) -> Option<Figures>;
}

/// All baselines, in the order of the table.
pub fn baselines() -> Vec<Box<dyn Contender>> {
    let all = [NAPSTER, GNUTELLA, FASTTRACK, CHORD, PASTRY, KELIPS];
    all.into_iter().map(|baseline| Box::new(baseline) as Box<dyn Contender>).collect()
}

/// Runs all contenders, as many at a time as there are threads; the order of the figures is that of
/// the contenders. `progress` is told a contender's index and its share of work done.
pub fn compare(
    contenders: &[Box<dyn Contender>],
    setup: &Setup,
    threads: usize,
    progress: &(dyn Fn(usize, f64) + Sync),
) -> Vec<Figures> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(contender) = contenders.get(index) else { return done };
            let figures = contender.measure(setup, &|share| progress(index, share));
            progress(index, 1.0);
            done.extend(figures.map(|figures| (index, figures)));
        }
    };
    let mut figures: Vec<(usize, Figures)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        // A thread that panicked has said so; the others' figures are still good.
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    });
    figures.sort_by_key(|(index, _)| *index);
    figures.into_iter().map(|(_, figures)| figures).collect()
}

/// One operation's part of a [`Quality`].
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    success: f64,
    /// Hops and time to the answer, if there was one.
    reached: Option<(u32, Duration)>,
    messages: u64,
    bytes: u64,
    timeouts: u32,
}

impl Quality {
    fn of(samples: &[Sample]) -> Self {
        let count = samples.len().max(1) as f64;
        let mean = |value: &dyn Fn(&Sample) -> f64| samples.iter().map(value).sum::<f64>() / count;
        let mut hops: Vec<f64> = Vec::new();
        let mut times: Vec<f64> = Vec::new();
        for (hop, time) in samples.iter().filter_map(|sample| sample.reached) {
            hops.push(f64::from(hop));
            times.push(time.as_secs_f64() * 1_000.0);
        }
        hops.sort_unstable_by(f64::total_cmp);
        times.sort_unstable_by(f64::total_cmp);
        Self {
            operations: samples.len() as u32,
            success: mean(&|sample| sample.success),
            hops_mean: hops.iter().sum::<f64>() / hops.len().max(1) as f64,
            hops_median: percentile(&hops, 0.5),
            hops_p95: percentile(&hops, 0.95),
            milliseconds_median: percentile(&times, 0.5),
            milliseconds_p95: percentile(&times, 0.95),
            messages: mean(&|sample| sample.messages as f64),
            bytes: mean(&|sample| sample.bytes as f64),
            timeouts: mean(&|sample| f64::from(sample.timeouts)),
        }
    }
}

/// The value that such a share of sorted values does not exceed; 0 of none.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(index.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), 10.0);
        assert_eq!(percentile(&values, 0.95), 19.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
        assert_eq!(percentile(&[7.0], 0.95), 7.0);
    }
}
