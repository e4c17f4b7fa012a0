//! `skein-sim`: the figures that the simulator vouches for.
#![allow(clippy::print_stdout)]

use clap::{Parser, Subcommand};
use skein_sim::bars::BARS;
use skein_sim::baselines::command::{Compare, CompareError, Floods};
use std::process::ExitCode;

/// Runs the overlay of thousands of nodes in virtual time.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  skein-sim list\n  skein-sim bar parent-death --seed 7"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Names all figures, with what is measured and the bar.
    List,
    /// Compares the systems before this one, measured in one workload.
    Compare(Compare),
    /// Measures what floods cost that find a given share of what is there.
    Floods(Floods),
    /// Measures one figure; exits with 0 only when its bar holds.
    Bar {
        /// Which figure, see `list`.
        name: String,
        /// The seed of the run: the same seed gives the same run.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::List => {
            for bar in BARS {
                println!("{:20} {} (bar: {})", bar.name, bar.what, bar.bar);
            }
            ExitCode::SUCCESS
        }
        Command::Compare(compare) => exit(compare.run(Vec::new())),
        Command::Floods(floods) => exit(floods.run()),
        Command::Bar { name, seed } => {
            let Some(bar) = BARS.iter().find(|bar| bar.name == name) else {
                eprintln!("skein-sim: there is no figure {name:?}: see `skein-sim list`");
                return ExitCode::from(2);
            };
            println!("{}: {} (seed {seed})", bar.name, bar.what);
            let outcome = (bar.measure)(seed);
            let verdict = if outcome.holds { "holds" } else { "DOES NOT HOLD" };
            println!("bar {}: {verdict}", bar.bar);
            println!("{}", outcome.figure);
            if outcome.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

fn exit(result: Result<(), CompareError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skein-sim: {error}");
            ExitCode::from(2)
        }
    }
}
