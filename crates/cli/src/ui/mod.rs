//! What is printed, and how: for people or as JSON, with colour or without.

pub mod dialogue;
pub mod format;
pub mod live;
pub mod paint;
pub mod progress;
pub mod table;

use crate::failure::Failure;
use paint::Paint;
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The way out for everything that a command has to say: results on standard output, everything
/// else on standard error.
#[derive(Clone, Debug)]
pub struct Ui {
    /// Print values for programs, one JSON value a line.
    pub json: bool,
    /// Say nothing but results and errors.
    pub quiet: bool,
    /// Say more about each result.
    pub details: bool,
    /// How to paint standard output.
    pub out: Paint,
    /// How to paint standard error.
    pub err: Paint,
    /// What stands behind `skein` in commands that people are told, so that they reach the same
    /// node: nothing, or an option with a space in front.
    addressing: String,
}

impl Ui {
    /// Looks at where the output goes.
    pub fn new(json: bool, quiet: bool, details: bool, color: ColorChoice) -> Self {
        Self {
            json,
            quiet,
            details,
            out: Paint::decide(color, io::stdout().is_terminal()),
            err: Paint::decide(color, io::stderr().is_terminal()),
            addressing: String::new(),
        }
    }

    /// The same, with `addressing` behind `skein` in commands that people are told.
    pub fn addressing(self, addressing: String) -> Self {
        Self { addressing, ..self }
    }

    /// A text with commands that people are told, as in "run `skein up`": each of them reaches the
    /// same node, also where the text comes from elsewhere.
    pub fn addressed(&self, text: &str) -> String {
        let mut parts = text.split("`skein ");
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let words = if part.starts_with("--data-dir ") { "" } else { self.addressing.as_str() };
            out.push_str(&format!("`skein{words} {part}"));
        }
        out
    }

    /// Prints a line of the result.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn line(&self, text: impl Display) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }

    /// Prints a value of the result as a line of JSON.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn value(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::failed(format!("cannot write the result: {error}")))?;
        self.line(text)
    }

    /// Prints a result: as JSON for programs, as `people` says for people.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn result<T: Serialize>(
        &self,
        value: &T,
        people: impl FnOnce(&T, Paint) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            return self.value(value);
        }
        let text = people(value, self.out);
        if text.is_empty() { Ok(()) } else { self.line(text.trim_end()) }
    }

    /// Says that something was done, where that it worked is all there is to say: as
    /// [`Ui::result`], but silent for people who want silence, and with commands addressed.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn done<T: Serialize>(
        &self,
        value: &T,
        people: impl FnOnce(&T, Paint) -> String,
    ) -> Result<(), Failure> {
        let addressed = |value: &T, paint| self.addressed(&people(value, paint));
        if self.quiet && !self.json { Ok(()) } else { self.result(value, addressed) }
    }

    /// Says something to people that is not the result: a hint, or what goes on. Commands in it are
    /// addressed.
    pub fn note(&self, text: impl Display) {
        if !self.quiet && !self.json {
            let text = self.addressed(&text.to_string());
            // A note that cannot be shown is no reason to fail.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Whether moving pictures (bars, spinners) can be seen by somebody.
    pub fn is_animated(&self) -> bool {
        !self.quiet && !self.json && console::user_attended_stderr() && !is_dumb_terminal()
    }

    /// Whether lines on standard output can be rewritten in place.
    pub fn can_rewrite(&self) -> bool {
        !self.json && io::stdout().is_terminal() && !is_dumb_terminal()
    }
}

/// Whether the terminal says that it understands no control sequences.
pub fn is_dumb_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
