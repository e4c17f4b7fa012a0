//! Shows on standard error how far a run has come, and on standard output what came of it.

use crate::report::{Report, cpu_seconds, peak_memory};
use crate::scenario::{Progress, Run};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};
use std::process::exit;
use std::time::{Duration, Instant};

/// Seconds of virtual time between two lines where there is no terminal to draw on.
const LINE_EVERY: f64 = 60.0;

/// The longest time on the clock without a line, as far as samples of the network allow.
const LINE_WITHIN: Duration = Duration::from_secs(60);

/// Nothing can be written any more; clap uses the same for wrong use.
const UNWRITTEN: i32 = 2;

/// Prints text as it is. Whoever reads it may stop (`skein-sim list | head`), which is no mistake: the
/// program goes on, and its end still says what came of it.
pub fn print(text: fmt::Arguments<'_>) {
    let written = stdout().write_fmt(text).and_then(|()| stdout().flush());
    if let Some(error) = written.err().filter(|error| error.kind() != ErrorKind::BrokenPipe) {
        eprintln!("skein-sim: nothing can be printed: {error}");
        exit(UNWRITTEN);
    }
}

/// Shows how far something has come: with a bar where standard error is a terminal, and a line for
/// each minute of virtual time where it is not.
pub struct Shown {
    name: String,
    bar: Option<ProgressBar>,
    began: Instant,
    next: f64,
    told: Instant,
}

impl Shown {
    /// Begins, with the name of what is run.
    pub fn new(name: &str) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let template = "{msg} {wide_bar} {percent} % {elapsed} (left: {eta})";
            let style = ProgressStyle::with_template(template);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(1_000).with_style(style)
        });
        let began = Instant::now();
        Self { name: name.to_owned(), bar, began, next: LINE_EVERY, told: began }
    }

    /// It has come so far.
    pub fn tell(&mut self, progress: &Progress) {
        let Progress { at, of, alive } = *progress;
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {at:.0} s, {alive} nodes", self.name));
            bar.set_position((at / of.max(1.0) * 1_000.0) as u64);
        } else if at >= self.next || self.told.elapsed() >= LINE_WITHIN {
            self.told = Instant::now();
            self.next = at - at % LINE_EVERY + LINE_EVERY;
            let seconds = (self.began.elapsed().as_secs_f64(), cpu_seconds());
            eprintln!("{}: {}", self.name, line(progress, seconds, peak_memory()));
        }
    }

    /// It is over.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Runs to the end, and shows how far it has come.
pub fn finish(run: Run, name: &str) -> Report {
    let mut shown = Shown::new(name);
    let report = run.finish(|progress| shown.tell(&progress));
    shown.end();
    report
}

fn line(progress: &Progress, (wall, cpu): (f64, f64), memory: u64) -> String {
    let Progress { at, of, alive } = progress;
    let memory = memory as f64 / 1e9;
    format!("{at:.0} of {of:.0} s, {alive} nodes; {wall:.0} s ({cpu:.0} of CPU), {memory:.2} GB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_what_it_took() {
        let progress = Progress { at: 600.0, of: 3_600.0, alive: 9_950 };
        let line = line(&progress, (31.4, 55.5), 1_060_000_000);
        assert_eq!(line, "600 of 3600 s, 9950 nodes; 31 s (56 of CPU), 1.06 GB");
    }
}
