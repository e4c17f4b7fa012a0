//! Scenarios: what a run is made of, as a file says it.
//!
//! A scenario is a TOML file. Everything but the name, the number of nodes and the time has a
//! default; a field that is not known is an error, so that a misspelt one does not pass unnoticed.

mod asked;
mod run;
mod watch;

pub use asked::{Answered, Recall};
pub use run::{Progress, Run};
pub use watch::{Rates, Sample};

use crate::workload::{self, Churn};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// What a run is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// How it is called.
    pub name: String,
    /// What it shows.
    #[serde(default)]
    pub about: String,
    /// The seed of everything; the same seed gives the same run.
    #[serde(default = "one")]
    pub seed: u64,
    /// How many nodes there are, those included that are away at first.
    pub nodes: u32,
    /// Over how long a time nodes start for the first time, supernodes by setting in the first
    /// tenth of it.
    #[serde(default = "two_minutes")]
    pub start_seconds: f64,
    /// How long the network then runs before anything is measured.
    #[serde(default = "two_minutes")]
    pub settle_seconds: f64,
    /// How long is measured. Events count from the start of this.
    pub run_seconds: f64,
    /// How often the network is looked at.
    #[serde(default = "ten")]
    pub sample_seconds: f64,
    /// Latency, loss and limits.
    #[serde(default)]
    pub network: Wires,
    /// Who is a supernode.
    #[serde(default)]
    pub roles: Roles,
    /// What is shared and asked for, and over which lines.
    #[serde(default)]
    pub workload: workload::Settings,
    /// Who comes and goes.
    #[serde(default)]
    pub churn: Churning,
    /// How often is asked for what.
    #[serde(default)]
    pub searches: Searches,
    /// What happens when.
    #[serde(default, rename = "event")]
    pub events: Vec<Event>,
    /// Nodes that spoil what others search for.
    #[serde(default)]
    pub poisoners: Poisoners,
}

/// Latency, loss and limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wires {
    /// The longest one-way latency in milliseconds.
    pub max_latency_ms: f64,
    /// The most that jitter adds to a way, in milliseconds.
    pub jitter_ms: f64,
    /// The share of packets that are lost.
    pub loss: f64,
    /// Whether lines have the bandwidth that the workload says, or none has a limit.
    pub bandwidth: bool,
    /// Children that a supernode takes.
    pub max_children: u32,
    /// Neighbours that a supernode has.
    pub max_neighbours: usize,
    /// Supernodes that the login service names at once.
    pub login_list: usize,
}

impl Default for Wires {
    /// Half of the packets between continents, 0.5 % loss, and the defaults of the overlay.
    fn default() -> Self {
        Self {
            max_latency_ms: 150.0,
            jitter_ms: 20.0,
            loss: 0.005,
            bandwidth: true,
            max_children: 150,
            max_neighbours: 40,
            login_list: 200,
        }
    }
}

/// Who is a supernode. The nodes with neither setting are `auto`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Roles {
    /// The share of nodes that are set to be supernodes: they can be reached, and have the best
    /// uplinks.
    pub supernodes: f64,
    /// The share of nodes that are set to be ordinary.
    pub ordinary: f64,
}

/// Who comes and goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Churning {
    /// How long nodes stay and are away.
    pub model: Churn,
    /// The share of those who go that say goodbye; the others just vanish.
    pub goodbyes: f64,
    /// Whether supernodes by setting come and go like the others.
    pub spare_supernodes: bool,
}

/// How often is asked for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Searches {
    /// Searches that a node begins in an hour.
    pub per_node_hour: f64,
    /// The share of them that look for something that one node has.
    pub rare: f64,
    /// How many different contents are enough.
    pub wanted: u16,
}

impl Default for Searches {
    fn default() -> Self {
        Self { per_node_hour: 1.0, rare: 0.3, wanted: 30 }
    }
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When, from the start of what is measured.
    pub at_seconds: f64,
    /// What.
    pub r#do: Deed,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Deed {
    /// A share of all supernodes dies, without a word and for good.
    KillSupernodes {
        /// Which share.
        share: f64,
    },
    /// A share of all nodes ends without a word, each to start again some time later.
    RestartNodes {
        /// Which share.
        share: f64,
        /// The longest time that one is away; each draws its own.
        away_seconds: f64,
    },
    /// The login service is gone.
    LoginDown,
    /// The login service is back.
    LoginUp,
}

/// Nodes that spoil what others search for: they share made-up files with the names of what is
/// asked for most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Poisoners {
    /// Their share of all names. They come on top of the scenario's nodes.
    pub share: f64,
    /// How many made-up files each of them shares.
    pub files: u32,
    /// How many of the most popular names they use.
    pub names: u32,
}

/// Why a scenario cannot be run. Whoever wrote it can mend it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no scenario.
    #[error("{}: {why}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong, in one line.
        why: String,
    },
    /// A value is out of its range.
    #[error("{0}")]
    OutOfRange(#[from] workload::SettingError),
}

impl Scenario {
    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// [`ScenarioError`], in one line.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads a scenario from the text of a file; `path` is for errors.
    ///
    /// # Errors
    /// [`ScenarioError`], in one line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                1 + text.get(..span.start).unwrap_or_default().matches('\n').count()
            });
            let why = format!("line {line}: {}", error.message().replace('\n', " "));
            ScenarioError::Malformed { path: path.to_owned(), why }
        })?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Looks whether all values are in their ranges.
    ///
    /// # Errors
    /// [`ScenarioError::OutOfRange`].
    pub fn check(&self) -> Result<(), ScenarioError> {
        use workload::check;
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let time = |value: f64| (0.0..=1e8).contains(&value);
        let millis = |value: f64| (0.0..=999.0).contains(&value);
        check(self.nodes > 0, "nodes", "at least 1")?;
        check(time(self.start_seconds), "start_seconds", "0 to 100,000,000")?;
        check(time(self.settle_seconds), "settle_seconds", "0 to 100,000,000")?;
        check(time(self.run_seconds), "run_seconds", "0 to 100,000,000")?;
        let sample = time(self.sample_seconds) && self.sample_seconds >= 0.1;
        check(sample, "sample_seconds", "0.1 to 100,000,000")?;
        check(millis(self.network.max_latency_ms), "network.max_latency_ms", "0 to 999")?;
        check(millis(self.network.jitter_ms), "network.jitter_ms", "0 to 999")?;
        check(share(self.network.loss), "network.loss", "0 to 1")?;
        check(share(self.roles.supernodes), "roles.supernodes", "0 to 1")?;
        let roles = self.roles.supernodes + self.roles.ordinary;
        check(share(self.roles.ordinary) && share(roles), "roles", "shares of 0 to 1 in all")?;
        check(share(self.churn.goodbyes), "churn.goodbyes", "0 to 1")?;
        self.churn.model.check()?;
        let often = (0.0..=3_600.0).contains(&self.searches.per_node_hour);
        check(often, "searches.per_node_hour", "0 to 3,600")?;
        check(share(self.searches.rare), "searches.rare", "0 to 1")?;
        check((1..=1_000).contains(&self.searches.wanted), "searches.wanted", "1 to 1,000")?;
        let few = (0.0..=0.9).contains(&self.poisoners.share);
        check(few, "poisoners.share", "0 to 0.9")?;
        for event in &self.events {
            check(time(event.at_seconds), "event.at_seconds", "0 to 100,000,000")?;
            if let Deed::KillSupernodes { share: of } | Deed::RestartNodes { share: of, .. } =
                event.r#do
            {
                check(share(of), "event: share", "0 to 1")?;
            }
        }
        Ok(())
    }

    /// The time before anything is measured.
    pub fn before(&self) -> Duration {
        Duration::from_secs_f64(self.start_seconds + self.settle_seconds)
    }
}

fn one() -> u64 {
    1
}

fn ten() -> f64 {
    10.0
}

fn two_minutes() -> f64 {
    120.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const SMALL: &str = "name = 'a'\nnodes = 10\nrun_seconds = 60\n";

    fn parse(text: &str) -> Result<Scenario, String> {
        Scenario::parse(text, Path::new("a.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_scenario_says_little_when_it_wants_little() {
        let scenario = parse(SMALL).unwrap();
        assert_eq!(scenario.before(), Duration::from_secs(240));
        let written = toml::to_string(&scenario).unwrap();
        assert_eq!(parse(&written).unwrap(), scenario);
    }

    #[test]
    fn events_are_read() {
        let text = format!(
            "{SMALL}[[event]]\nat_seconds = 5\ndo = {{ kill_supernodes = {{ share = 0.3 }} }}\n\
             [[event]]\nat_seconds = 6\ndo = 'login_down'\n"
        );
        let events: Vec<Deed> = parse(&text).unwrap().events.into_iter().map(|e| e.r#do).collect();
        assert_eq!(events, [Deed::KillSupernodes { share: 0.3 }, Deed::LoginDown]);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (line, expected) in [
            ("node = 3", "a.toml: line 4: unknown field `node`"),
            ("[network]\nloss = 7", "network.loss is out of range: 0 to 1"),
            ("seed = 'x'", "a.toml: line 4: invalid type: string \"x\", expected u64"),
            ("[churn]\nmodel = { kind = 'sessions' }", "a.toml: line 5: missing field `session`"),
        ] {
            let error = parse(&format!("{SMALL}{line}\n")).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
