//! What a figure is, and what its measurement comes to.

use anyhow::Result;
use futures_util::future::BoxFuture;
use std::fmt::Display;

/// A figure that the project states.
pub struct Figure {
    /// Its subcommand.
    pub name: &'static str,
    /// What is measured, on which workload.
    pub what: &'static str,
    /// What it must reach, against its reference.
    pub bar: &'static str,
    /// Measures it and its reference.
    pub measure: for<'a> fn(&'a Run) -> BoxFuture<'a, Result<Outcome>>,
}

/// What a measurement came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The figure with its unit, in one line.
    pub figure: String,
    /// Whether the bar holds.
    pub holds: bool,
    /// All numbers, by names that end with their unit.
    pub values: Vec<(&'static str, f64)>,
}

/// How a measurement is run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// A smaller workload.
    pub quick: bool,
    /// For a program: steps are not told.
    pub json: bool,
}

impl Run {
    /// The whole workload, or the smaller one.
    pub fn size<T>(&self, whole: T, quick: T) -> T {
        if self.quick { quick } else { whole }
    }

    /// Tells a step to whoever watches.
    #[allow(clippy::print_stdout)] // It is what the program is for.
    pub fn say(&self, step: impl Display) {
        if !self.json {
            println!("  {step}");
        }
    }
}
