//! `skein-bench`: the figures that the project states, each measured beside its reference in the
//! same run.

mod corpus;
mod figure;
mod figures;
mod line;
mod network;
mod quic;
mod statistics;
mod usage;
mod worker;

use clap::{Arg, ArgAction, ArgMatches, Command};
use figure::{Figure, Outcome, Run};
use figures::FIGURES;
use serde_json::json;
use std::process::ExitCode;

/// The bar does not hold, or could not be measured.
const FAILED: u8 = 1;

/// The command line makes no sense; clap uses the same.
const WRONG_USE: u8 = 2;

fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let json = || flag("json", "Print one line of JSON instead of text");
    let quick = || flag("quick", "A smaller workload; the bar is judged all the same");
    Command::new("skein-bench")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Measures the figures of the project, each beside its reference")
        .after_help("A figure is the last line; it exits with 0 only when its bar holds.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("Name all figures and their bars").arg(json()))
        .subcommands(
            FIGURES.iter().map(|figure| {
                Command::new(figure.name).about(figure.what).arg(json()).arg(quick())
            }),
        )
        .subcommand(Command::new(worker::SUBCOMMAND).hide(true).arg(Arg::new("job").required(true)))
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("list", matches)) => list(matches.get_flag("json")),
        Some((worker::SUBCOMMAND, matches)) => work(matches),
        Some((name, matches)) => match FIGURES.iter().find(|figure| figure.name == name) {
            Some(figure) => measure(figure, matches),
            None => ExitCode::from(WRONG_USE),
        },
        None => ExitCode::from(WRONG_USE),
    }
}

#[allow(clippy::print_stdout)] // It is what the program is for.
fn list(json: bool) -> ExitCode {
    for Figure { name, what, bar, .. } in FIGURES {
        if json {
            println!("{}", json!({ "name": name, "what": what, "bar": bar }));
        } else {
            println!("{name:16} {what}\n{:16} bar: {bar}", "");
        }
    }
    ExitCode::SUCCESS
}

fn measure(figure: &Figure, matches: &ArgMatches) -> ExitCode {
    let run = Run { quick: matches.get_flag("quick"), json: matches.get_flag("json") };
    if cfg!(debug_assertions) {
        eprintln!("skein-bench: this is a debug build: its figures mean nothing");
    }
    match in_runtime(async {
        tell_beginning(figure, run);
        (figure.measure)(&run).await
    }) {
        Ok(outcome) => {
            tell_outcome(figure, run, &outcome);
            if outcome.holds { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
        }
        Err(error) => {
            eprintln!("skein-bench: {} could not be measured: {error:#}", figure.name);
            ExitCode::from(FAILED)
        }
    }
}

fn work(matches: &ArgMatches) -> ExitCode {
    let job = matches.get_one::<String>("job").and_then(|job| serde_json::from_str(job).ok());
    let Some(job) = job else {
        eprintln!("skein-bench: workers are started by measurements only");
        return ExitCode::from(WRONG_USE);
    };
    match in_runtime(worker::work(job)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skein-bench: a worker failed: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn in_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Runtime::new()?.block_on(work)
}

#[allow(clippy::print_stdout)] // It is what the program is for.
fn tell_beginning(figure: &Figure, run: Run) {
    if !run.json {
        println!("{}: {}", figure.name, figure.what);
    }
}

#[allow(clippy::print_stdout)] // It is what the program is for.
fn tell_outcome(figure: &Figure, run: Run, outcome: &Outcome) {
    if run.json {
        let values: serde_json::Map<_, _> =
            outcome.values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let told = json!({
            "name": figure.name,
            "what": figure.what,
            "bar": figure.bar,
            "figure": outcome.figure,
            "holds": outcome.holds,
            "quick": run.quick,
            "values": values,
        });
        println!("{told}");
        return;
    }
    println!("bar {}: {}", figure.bar, if outcome.holds { "holds" } else { "DOES NOT HOLD" });
    let mark = if run.quick { " (of the quick workload)" } else { "" };
    println!("{}{mark}", outcome.figure);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_a_subcommand_with_its_own_name() {
        command().debug_assert();
        for figure in FIGURES {
            let matches = command().try_get_matches_from(["skein-bench", figure.name, "--quick"]);
            assert!(matches.is_ok_and(|it| it.subcommand_name() == Some(figure.name)));
        }
    }

    #[test]
    fn wrong_use_is_told_from_a_bar_that_does_not_hold() {
        for words in
            [&["skein-bench", "speed"][..], &["skein-bench"], &["skein-bench", "list", "x"]]
        {
            let error = command().try_get_matches_from(words).map(drop).map_err(|e| e.exit_code());
            assert_eq!(error, Err(i32::from(WRONG_USE)), "{words:?}");
        }
    }
}
