//! The commands that compare.
#![allow(clippy::print_stdout)]

use super::compare::{Contender, Figures, Setup, baselines, compare, table, write_plots};
use super::equal_recall::{self, Asked, Cost, Target};
use crate::workload::{SettingError, Settings, Workload};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// Compares Napster, Gnutella, FastTrack, Chord, Pastry and Kelips in one workload.
#[derive(Args, Clone, Debug)]
pub struct Compare {
    /// Sizes of networks, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000",
        value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub nodes: Vec<u32>,
    /// The seed of the runs: the same seed gives the same figures.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only these systems, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Prints one line of JSON instead of tables.
    #[arg(long)]
    pub json: bool,
    /// Writes charts (SVG) into this folder.
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// How many systems run at the same time; as many as there are processors if not given.
    #[arg(long)]
    pub threads: Option<NonZeroUsize>,
}

/// Why a comparison did not come about.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompareError {
    /// The caller named a system that is not known.
    #[error("there is no system {name:?}: there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The caller asked for a workload that does not exist.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The folder for charts cannot be written.
    #[error("cannot write charts into {folder}: {source}")]
    Plots {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The figures cannot be put into JSON, which would be a fault of this program.
    #[error("cannot print the figures: {0}")]
    Json(#[from] serde_json::Error),
}

impl Compare {
    /// Runs the baselines and `more`, and prints what came out.
    ///
    /// # Errors
    /// [`CompareError`].
    pub fn run(&self, more: Vec<Box<dyn Contender>>) -> Result<(), CompareError> {
        let mut contenders = baselines();
        contenders.extend(more);
        self.check_names(&contenders)?;
        contenders.retain(|contender| self.wants(contender.name()));
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = self.threads.map_or(processors, NonZeroUsize::get);
        let mut all: Vec<Figures> = Vec::new();
        for nodes in &self.nodes {
            let setup = Setup::new(*nodes, self.seed)?;
            let bars = Bars::new(*nodes, &contenders);
            let figures =
                compare(&contenders, &setup, threads, &|index, share| bars.set(index, share));
            bars.clear();
            if !self.json {
                let turnover = "all nodes turned over within an hour";
                println!("{nodes} nodes; with churn: {turnover}; seed {}\n", self.seed);
                println!("{}", table(&figures));
            }
            all.extend(figures);
        }
        if self.json {
            println!("{}", serde_json::to_string(&all)?);
        }
        if let Some(folder) = &self.plots {
            let files = write_plots(&all, folder)
                .map_err(|source| CompareError::Plots { folder: folder.clone(), source })?;
            for file in files {
                eprintln!("wrote {}", file.display());
            }
        }
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| is_called(name, only))
    }

    fn check_names(&self, contenders: &[Box<dyn Contender>]) -> Result<(), CompareError> {
        for only in &self.only {
            if !contenders.iter().any(|contender| is_called(contender.name(), only)) {
                let known: Vec<&str> = contenders.iter().map(|c| c.name()).collect();
                let known = known.join(", ");
                return Err(CompareError::Unknown { name: only.clone(), known });
            }
        }
        Ok(())
    }
}

/// What floods cost that find a given share of what is there: Gnutella's, and FastTrack's.
#[derive(Args, Clone, Debug)]
pub struct Floods {
    /// How many nodes there are.
    #[arg(long, default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub nodes: u32,
    /// The share of what is wanted and there that is to be found, 0 to 1.
    #[arg(long, default_value_t = 0.95)]
    pub recall: f64,
    /// How many different contents a search wants.
    #[arg(long, default_value_t = 100)]
    pub wanted: usize,
    /// How many searches are made, half of them for files of a single copy.
    #[arg(long, default_value_t = 20)]
    pub searches: u32,
    /// The seed of the runs: the same seed gives the same figures.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Prints one line of JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

impl Floods {
    /// Measures both, and prints what came out.
    ///
    /// # Errors
    /// [`CompareError`].
    pub fn run(&self) -> Result<(), CompareError> {
        let workload = Arc::new(Workload::new(&Settings::default(), self.nodes, self.seed)?);
        let mut rng = SmallRng::seed_from_u64(self.seed);
        let searches = Asked::sample(&workload, self.searches, &mut rng);
        let target = Target { wanted: self.wanted, recall: self.recall };
        let spinner = ProgressBar::new_spinner();
        spinner.enable_steady_tick(std::time::Duration::from_millis(200));
        spinner.set_message("Gnutella 0.4");
        let gnutella = equal_recall::gnutella(&workload, &searches, target, self.seed);
        spinner.set_message("FastTrack");
        let fasttrack = equal_recall::fasttrack(&workload, &searches, target, self.seed);
        spinner.finish_and_clear();
        let costs = [("Gnutella 0.4", gnutella), ("FastTrack", fasttrack)];
        if self.json {
            println!("{}", serde_json::to_string(&costs)?);
            return Ok(());
        }
        for (system, Cost { ttl, recall, messages, bytes }) in costs {
            let (recall, kilobytes) = (recall * 100.0, bytes / 1_000.0);
            println!(
                "{system:12} TTL {ttl:2}: {recall:.1} % found with {messages:.0} messages and \
                 {kilobytes:.1} kB a search"
            );
        }
        Ok(())
    }
}

/// Whether somebody means this system: its name, or the first word of it, in any case.
fn is_called(name: &str, asked: &str) -> bool {
    let first = name.split(' ').next().unwrap_or(name);
    name.eq_ignore_ascii_case(asked) || first.eq_ignore_ascii_case(asked)
}

/// A bar for each system, on a terminal only.
struct Bars {
    all: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl Bars {
    fn new(nodes: u32, contenders: &[Box<dyn Contender>]) -> Self {
        let all = MultiProgress::new();
        // A wrong template would be a fault of this program; the default style does as well.
        let style = ProgressStyle::with_template("{msg:24} {bar:40} {percent:>3} %  {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = |contender: &dyn Contender| {
            let bar = all.add(ProgressBar::new(1_000).with_style(style.clone()));
            bar.set_message(format!("{} ({nodes})", contender.name()));
            bar
        };
        let bars = contenders.iter().map(|contender| bar(contender.as_ref())).collect();
        Self { all, bars }
    }

    fn set(&self, index: usize, share: f64) {
        if let Some(bar) = self.bars.get(index) {
            bar.set_position((share.clamp(0.0, 1.0) * 1_000.0) as u64);
        }
    }

    fn clear(&self) {
        for bar in &self.bars {
            bar.finish_and_clear();
        }
        // Nothing can be said about a terminal that has gone.
        let _ = self.all.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_called_by_their_first_word_in_any_case() {
        assert!(is_called("Gnutella 0.4", "gnutella"));
        assert!(is_called("Chord", "chord"));
        assert!(!is_called("Chord", "kelips"));
    }

    #[test]
    fn a_system_that_is_not_known_is_an_error_that_names_the_known_ones() {
        let command = Compare {
            nodes: vec![100],
            seed: 1,
            only: vec!["freenet".to_owned()],
            json: false,
            plots: None,
            threads: None,
        };
        let error = command.run(Vec::new()).map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.contains("freenet") && text.contains("Kelips")));
    }
}
