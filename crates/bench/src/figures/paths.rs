//! How sessions change their way: from the relay to a direct path, from a dead relay to another one,
//! and between all pairs of routers.
//!
//! These are asserted by tests, and by `natmatrix`, which know how to build such networks. What they
//! find they also print, as lines `figure NAME VALUE`; here they are run, and held to the bars of the
//! project. The first two are in virtual time, in which a run on a busy machine is as good as another.

use crate::figure::{Figure, Outcome, Run};
use anyhow::{Context, Result, ensure};
use futures_util::FutureExt;
use std::process::Stdio;
use tokio::process::Command;

/// Data flows again within so long of a relay's death.
const DEATH_BAR_MS: f64 = 1_000.0;

/// A session is direct within so long, wherever a plain punch can succeed.
const DIRECT_BAR_MS: f64 = 2_000.0;

/// In round trips along the path that is left.
const STALL_BAR: f64 = 2.0;

/// The longest time without an arrival when a transfer moves from the relay to a direct path.
pub const TO_DIRECT: Figure = Figure {
    name: "relay-to-direct",
    what: "a transfer whose session moves from its relay to a direct path, in virtual time: the \
           longest time in which nothing arrives; its reference is the relayed round trip",
    bar: "every byte arrives, and there is no stall over 2 round trips",
    measure: |run| to_direct(run).boxed(),
};

/// The longest time without an arrival when a relay dies.
pub const KILLED: Figure = Figure {
    name: "relay-killed",
    what: "sessions whose relay is cut off under full lines and calls in either and in both \
           directions, in virtual time: the longest time in which nothing arrives",
    bar: "<= 1 s",
    measure: |run| killed(run).boxed(),
};

/// All pairs of routers.
pub const PAIRS: Figure = Figure {
    name: "all-pairs",
    what: "sessions between real processes behind all pairs of the kernel's own NATs; needs network \
           namespaces",
    bar: "all connect; direct within 2 s where a plain punch can succeed",
    measure: |run| pairs(run).boxed(),
};

async fn to_direct(run: &Run) -> Result<Outcome> {
    let test = ["-p", "skein-net", "--test", "migration", "without_losing_a_byte"];
    let found = Found::of_test(run, &test).await?;
    let (stall, round_trip) = (found.most("stall_ms")?, found.most("round_trip_ms")?);
    let ratio = stall / round_trip;
    Ok(Outcome {
        figure: format!(
            "nothing arrives for {stall:.0} ms at most, {ratio:.2} round trips of {round_trip:.0} ms; \
             no byte is lost"
        ),
        holds: found.passed && ratio <= STALL_BAR,
        values: vec![("stall_ms", stall), ("round_trip_ms", round_trip), ("ratio", ratio)],
    })
}

async fn killed(run: &Run) -> Result<Outcome> {
    let found = Found::of_test(run, &["-p", "skein-node", "--lib", "relay_death"]).await?;
    let all = found.all("silence_ms");
    let longest = found.most("silence_ms")?;
    let least = all.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(Outcome {
        figure: format!(
            "nothing arrives for {least:.0} to {longest:.0} ms, of {} flows",
            all.len()
        ),
        holds: found.passed && longest <= DEATH_BAR_MS,
        values: vec![("silence_least_ms", least), ("silence_most_ms", longest)],
    })
}

async fn pairs(run: &Run) -> Result<Outcome> {
    let program = ["run", "--release", "--locked", "-p", "skein-tests", "--bin", "natmatrix"];
    let found = Found::of(run, &program).await?;
    let number = |name| found.most(name);
    let (pairs, connected) = (number("pairs")?, number("connected")?);
    let (possible, direct) = (number("possible")?, number("direct")?);
    let (median, most) = (number("direct_median_ms")?, number("direct_most_ms")?);
    Ok(Outcome {
        figure: format!(
            "{connected} of {pairs} connect; {direct} of the {possible} for which a plain punch can \
             succeed are direct, half of them within {median:.0} ms and all within {most:.0} ms"
        ),
        holds: found.passed && connected == pairs && direct == possible && most <= DIRECT_BAR_MS,
        values: vec![
            ("pairs", pairs),
            ("connected", connected),
            ("possible", possible),
            ("direct", direct),
            ("direct_median_ms", median),
            ("direct_most_ms", most),
        ],
    })
}

/// What a program has printed.
struct Found {
    figures: Vec<(String, f64)>,
    passed: bool,
}

impl Found {
    async fn of_test(run: &Run, which: &[&str]) -> Result<Self> {
        let words = [&["test", "--release", "--locked"], which, &["--", "--nocapture"]].concat();
        Self::of(run, &words).await
    }

    /// Of what cargo runs with these words.
    async fn of(run: &Run, words: &[&str]) -> Result<Self> {
        run.say(format_args!("cargo {}", words.join(" ")));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(words)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .stdin(Stdio::null())
            .output()
            .await
            .context("cargo cannot be started")?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let figures = figures_in(&text);
        ensure!(!figures.is_empty(), "it told no figure: {text}");
        Ok(Self { figures, passed: output.status.success() })
    }

    fn all(&self, name: &str) -> Vec<f64> {
        self.figures.iter().filter(|(known, _)| known == name).map(|(_, value)| *value).collect()
    }

    fn most(&self, name: &str) -> Result<f64> {
        let most = self.all(name).into_iter().reduce(f64::max);
        most.with_context(|| format!("it did not tell {name}"))
    }
}

fn figures_in(text: &str) -> Vec<(String, f64)> {
    let figure = |line: &str| {
        // The test runner may have begun the line.
        let (_, told) = line.split_once("figure ")?;
        let (name, value) = told.trim_end().split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_among_what_else_is_told() {
        let text = "running 1 test\ntest a ... figure stall_ms 84\nfigure round_trip_ms 80.5\n\
                    a figure of speech\nok\n";
        let expected = [("stall_ms".to_owned(), 84.0), ("round_trip_ms".to_owned(), 80.5)];
        assert_eq!(figures_in(text), expected);
    }
}
