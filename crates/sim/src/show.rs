//! Shows on standard error how far a run has come.

use crate::report::{Report, cpu_seconds, peak_memory};
use crate::scenario::{Progress, Run};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::time::Instant;

/// Seconds of virtual time between two lines where there is no terminal to draw on.
const LINE_EVERY: f64 = 60.0;

/// Runs to the end: with a bar where standard error is a terminal, and a line for each minute of
/// virtual time where it is not.
pub fn finish(run: Run, name: &str) -> Report {
    if !stderr().is_terminal() {
        return in_lines(run, name);
    }
    let bar = ProgressBar::new(1_000);
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {percent} % {elapsed} (left: {eta})");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let report = run.finish(|progress| {
        bar.set_message(format!("{name}: {:.0} s, {} nodes", progress.at, progress.alive));
        bar.set_position((progress.at / progress.of.max(1.0) * 1_000.0) as u64);
    });
    bar.finish_and_clear();
    report
}

fn in_lines(run: Run, name: &str) -> Report {
    let began = Instant::now();
    let mut next = LINE_EVERY;
    run.finish(|progress| {
        if progress.at >= next {
            next = progress.at - progress.at % LINE_EVERY + LINE_EVERY;
            let seconds = (began.elapsed().as_secs_f64(), cpu_seconds());
            eprintln!("{name}: {}", line(&progress, seconds, peak_memory()));
        }
    })
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
