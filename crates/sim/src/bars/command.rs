//! The commands that name and measure figures.

use super::{BARS, Bar, Measure, Order};
use crate::show::print;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// The command line makes no sense; clap uses the same.
const WRONG_USE: u8 = 2;

/// Names all figures, with what is measured and the bar.
#[derive(Args, Clone, Debug)]
pub struct List {
    /// Prints one line of JSON for each figure instead of text.
    #[arg(long)]
    pub json: bool,
}

impl List {
    /// Prints them.
    pub fn run(&self) {
        for Bar { name, what, bar, .. } in BARS {
            if self.json {
                print(format_args!("{}\n", json!({ "name": name, "what": what, "bar": bar })));
            } else {
                print(format_args!("{name:20} {what} (bar: {bar})\n"));
            }
        }
    }
}

/// Measures one figure; exits with 0 only when its bar holds.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  skein-sim bar mass-failure --plots plots\n  \
                        skein-sim bar search-cost --nodes 10000 --json")]
pub struct MeasureOne {
    /// Which figure, see `list`.
    pub name: String,
    /// The seed of the run: the same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Another number of nodes than the bar's own; the bar is judged all the same.
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub nodes: Option<u32>,
    /// Writes plots of the run (SVG) into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub plots: Option<PathBuf>,
    /// Prints one line of JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

impl MeasureOne {
    /// Measures it, prints the figure last, and answers how the program ends.
    pub fn run(&self) -> ExitCode {
        let Self { name, seed, nodes, plots, json } = self;
        let Some(bar) = BARS.iter().find(|bar| bar.name == *name) else {
            eprintln!("skein-sim: there is no figure {name:?}: see `skein-sim list`");
            return ExitCode::from(WRONG_USE);
        };
        if matches!(bar.measure, Measure::Fixed(_)) && (nodes.is_some() || plots.is_some()) {
            eprintln!("skein-sim: {name} has one size and no plots: leave out --nodes, --plots");
            return ExitCode::from(WRONG_USE);
        }
        // A run that fails is replayed by its seed, so that is said first.
        if *json {
            eprintln!("seed {seed}");
        } else {
            print(format_args!("{}: {} (seed {seed})\n", bar.name, bar.what));
        }
        let outcome = match bar.measure {
            Measure::Scenario(measure) => {
                measure(&Order { seed: *seed, nodes: *nodes, plots: plots.clone() })
            }
            Measure::Fixed(measure) => measure(*seed),
        };
        if *json {
            let told = json!({
                "name": name, "seed": seed, "nodes": nodes, "bar": bar.bar,
                "figure": outcome.figure, "holds": outcome.holds,
            });
            print(format_args!("{told}\n"));
        } else {
            let verdict = if outcome.holds { "holds" } else { "DOES NOT HOLD" };
            let size = nodes.map_or_else(String::new, |nodes| format!(" with {nodes} nodes"));
            print(format_args!("bar {}: {verdict}{size}\n", bar.bar));
            print(format_args!("{}\n", outcome.figure));
        }
        if outcome.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
