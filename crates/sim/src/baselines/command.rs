//! The commands that compare.

use super::compare::{Contender, Figures, Setup, baselines, compare, table, write_plots};
use super::equal_recall::{self, Asked, Cost, Target};
use crate::show;
use crate::workload::{SettingError, Settings, Workload};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// Compares Napster, Gnutella, FastTrack, Chord, Pastry, Kelips and Skein in one workload.
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
    /// Runs nothing, but shows what earlier runs have printed with `--json` into these files.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["nodes", "seed", "only", "threads"])]
    pub figures: Vec<PathBuf>,
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
    /// A file of figures cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file has something else than figures in it.
    #[error("{file} is no line of JSON that compare has printed: {source}")]
    Foreign {
        /// The file.
        file: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
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
        let all = if self.figures.is_empty() { self.measure(more)? } else { self.read()? };
        if self.json {
            show::print(format_args!("{}\n", serde_json::to_string(&all)?));
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

    fn measure(&self, more: Vec<Box<dyn Contender>>) -> Result<Vec<Figures>, CompareError> {
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
            self.print(*nodes, &figures);
            all.extend(figures);
        }
        Ok(all)
    }

    /// What earlier runs printed, the smallest networks first.
    fn read(&self) -> Result<Vec<Figures>, CompareError> {
        let mut all: Vec<Figures> = Vec::new();
        for file in &self.figures {
            let text = std::fs::read_to_string(file)
                .map_err(|source| CompareError::Read { file: file.clone(), source })?;
            let figures: Vec<Figures> = serde_json::from_str(&text)
                .map_err(|source| CompareError::Foreign { file: file.clone(), source })?;
            all.extend(figures);
        }
        all.sort_by_key(|figures| figures.nodes);
        // A chunk is never empty.
        for figures in all.chunk_by(|a, b| a.nodes == b.nodes) {
            self.print(figures[0].nodes, figures);
        }
        Ok(all)
    }

    fn print(&self, nodes: u32, figures: &[Figures]) {
        if !self.json {
            show::print(format_args!(
                "{nodes} nodes; with churn all of them are turned over within an hour\n\n"
            ));
            show::print(format_args!("{}\n", table(figures)));
        }
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
            show::print(format_args!("{}\n", serde_json::to_string(&costs)?));
            return Ok(());
        }
        for (system, Cost { ttl, recall, messages, bytes }) in costs {
            let (recall, kilobytes) = (recall * 100.0, bytes / 1_000.0);
            show::print(format_args!(
                "{system:12} TTL {ttl:2}: {recall:.1} % found with {messages:.0} messages and \
                 {kilobytes:.1} kB a search\n"
            ));
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
    fn what_an_earlier_run_printed_can_be_shown_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("figures.json");
        let figures = Figures { system: "Ring".to_owned(), nodes: 10, ..Figures::default() };
        let text = serde_json::to_string(std::slice::from_ref(&figures)).expect("JSON");
        std::fs::write(&file, text).expect("a file");
        let mut command = Compare {
            nodes: Vec::new(),
            seed: 1,
            only: Vec::new(),
            json: true,
            plots: None,
            figures: vec![file.clone()],
            threads: None,
        };
        assert_eq!(command.read().expect("figures"), [figures]);
        std::fs::write(&file, "{}").expect("a file");
        assert!(matches!(command.read(), Err(CompareError::Foreign { .. })));
        command.figures = vec![folder.path().join("missing")];
        assert!(matches!(command.read(), Err(CompareError::Read { .. })));
    }

    #[test]
    fn a_system_that_is_not_known_is_an_error_that_names_the_known_ones() {
        let command = Compare {
            nodes: vec![100],
            seed: 1,
            only: vec!["freenet".to_owned()],
            json: false,
            plots: None,
            figures: Vec::new(),
            threads: None,
        };
        let error = command.run(Vec::new()).map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.contains("freenet") && text.contains("Kelips")));
    }
}
