//! `skein-sim`: runs scenarios, and measures the figures that the simulator vouches for.

#[cfg(not(feature = "system-allocator"))]
mod pages;

use clap::{Parser, Subcommand};
use skein_sim::bars::command::{List, MeasureOne};
use skein_sim::baselines::command::{Compare, Floods};
use skein_sim::baselines::compare::SkeinRun;
use skein_sim::report::Report;
use skein_sim::report::plots::{self, Plot};
use skein_sim::scenario::{Run, Scenario};
use skein_sim::show;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What nodes allocate is small, lives long, and is freed by another thread as often as not; and the
/// pages of gigabytes of it are large ones where the system allows that.
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the overlay of thousands of nodes in virtual time.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  skein-sim crates/sim/scenarios/churn.toml --plots plots\n  \
                  skein-sim list\n  skein-sim bar parent-death --seed 7"
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Scenarios to run, one after the other.
    scenarios: Vec<PathBuf>,
    /// The seed of the runs, instead of the scenarios' own: it replays a run.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints one line of JSON for each run instead of a table.
    #[arg(long)]
    json: bool,
    /// Writes plots as SVG into this folder.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Names all figures, with what is measured and the bar.
    List(List),
    /// Compares Skein and the systems before it, measured in one workload.
    Compare(Compare),
    /// Measures what floods cost that find a given share of what is there.
    Floods(Floods),
    /// Measures one figure; exits with 0 only when its bar holds.
    Bar(MeasureOne),
}

fn main() -> ExitCode {
    #[cfg(not(feature = "system-allocator"))]
    pages::keep_large();
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        None => run_all(&arguments),
        Some(Command::List(list)) => {
            list.run();
            Ok(())
        }
        Some(Command::Compare(compare)) => {
            compare.run(vec![Box::new(SkeinRun)]).map_err(Into::into)
        }
        Some(Command::Floods(floods)) => floods.run().map_err(Into::into),
        Some(Command::Bar(bar)) => return bar.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skein-sim: {error}");
            ExitCode::from(2)
        }
    }
}

fn run_all(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    // All are read before the first is run: a mistake in the last one shows at once.
    let scenarios: Vec<Scenario> =
        arguments.scenarios.iter().map(|path| Scenario::read(path)).collect::<Result<_, _>>()?;
    for scenario in scenarios {
        let report = run(&scenario, arguments.seed.unwrap_or(scenario.seed), arguments.json)?;
        if arguments.json {
            show::print(format_args!("{}\n", serde_json::to_string(&report)?));
        } else {
            show::print(format_args!("{report}"));
        }
        if let Some(folder) = &arguments.plots {
            draw(&report, folder)?;
        }
    }
    Ok(())
}

fn run(scenario: &Scenario, seed: u64, json: bool) -> Result<Report, Box<dyn Error>> {
    // A run that fails is replayed by its seed, so that is said first; standard output is one line
    // of JSON for programs.
    if json {
        eprintln!("seed {seed}");
    } else {
        show::print(format_args!("seed {seed}\n"));
    }
    let run = Run::new(scenario, seed)?;
    Ok(show::finish(run, &scenario.name))
}

fn draw(report: &Report, folder: &Path) -> Result<(), Box<dyn Error>> {
    for file in plots::write(report, folder, &Plot::ALL)? {
        eprintln!("{}", file.display());
    }
    Ok(())
}
