//! The figures that the simulator vouches for, each with its bar.

pub mod churn;
pub mod command;
pub mod exact_lookup;
pub mod lookup;
pub mod mass_failure;
pub mod parent_death;
pub mod poison;
pub mod rare_file;
pub mod scale;
pub mod search_cost;
pub mod single_copy_recall;
pub mod supernode_share;

use crate::report::Report;
use crate::report::plots::{self, Plot};
use crate::scenario::{Run, Scenario};
use crate::show;
use std::path::{Path, PathBuf};

/// What a measurement came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The figure with its unit.
    pub figure: String,
    /// Whether the bar holds.
    pub holds: bool,
}

impl Outcome {
    /// There is no figure, since something went wrong.
    fn failed(why: impl ToString) -> Self {
        Self { figure: why.to_string(), holds: false }
    }
}

/// A figure and its bar.
pub struct Bar {
    /// How it is called.
    pub name: &'static str,
    /// What is measured, on which workload.
    pub what: &'static str,
    /// What it must reach.
    pub bar: &'static str,
    /// Measures it.
    pub measure: Measure,
}

/// How a figure is measured.
#[derive(Clone, Copy)]
pub enum Measure {
    /// By a workload of its own, of one size, with a seed.
    Fixed(fn(u64) -> Outcome),
    /// By a scenario, which may be run with other numbers of nodes, and drawn.
    Scenario(fn(&Order) -> Outcome),
}

/// How a scenario's figure is to be measured.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// The seed of the run: the same seed gives the same run.
    pub seed: u64,
    /// The number of nodes, if not that of the bar.
    pub nodes: Option<u32>,
    /// The folder that plots of the run go to.
    pub plots: Option<PathBuf>,
}

impl Order {
    /// The scenario of a bar, of the size that is asked for.
    fn scenario(&self, text: &str) -> Result<Scenario, Outcome> {
        let mut scenario = scenario_of(text).map_err(Outcome::failed)?;
        scenario.nodes = self.nodes.unwrap_or(scenario.nodes);
        Ok(scenario)
    }

    /// Runs a scenario that belongs to a bar, tells on standard error what it found, and draws what
    /// the bar has to show if that is wanted.
    fn run(&self, text: &str, shows: &[Plot]) -> Result<Report, Outcome> {
        let scenario = self.scenario(text)?;
        let run = Run::new(&scenario, self.seed).map_err(Outcome::failed)?;
        let report = show::finish(run, &scenario.name);
        eprint!("{report}");
        if let Some(folder) = &self.plots {
            for file in plots::write(&report, folder, shows).map_err(Outcome::failed)? {
                eprintln!("{}", file.display());
            }
        }
        Ok(report)
    }
}

/// All figures.
pub const BARS: &[Bar] = &[
    Bar {
        name: "scale",
        what: "100,000 nodes, one simulated hour with searches",
        bar: "<= 10 min and <= 12 GB",
        measure: Measure::Scenario(scale::measure),
    },
    Bar {
        name: "million",
        what: "1,000,000 nodes, which come up within five simulated minutes, and search",
        bar: "it completes",
        measure: Measure::Scenario(scale::million),
    },
    Bar {
        name: "rare-file",
        what: "files of one copy, 20,000 nodes, nobody comes or goes",
        bar: ">= 99 % of what an oracle says was there",
        measure: Measure::Scenario(rare_file::measure),
    },
    Bar {
        name: "rare-file-churn",
        what: "files of one copy, 20,000 nodes, 50 % of them turned over in the hour",
        bar: ">= 95 % of what an oracle says was there",
        measure: Measure::Scenario(rare_file::with_churn),
    },
    Bar {
        name: "search-cost",
        what: "messages of a keyword search at equal recall, 100,000 nodes",
        bar: "<= 1/50 of blind flooding, <= 1/5 of flooding among supernodes",
        measure: Measure::Scenario(search_cost::measure),
    },
    Bar {
        name: "lookup",
        what: "contents looked up once, whoever is asked for them meanwhile, 10,000 nodes with \
               sessions of 2.9 h",
        bar: ">= 99 % right",
        measure: Measure::Scenario(lookup::measure),
    },
    Bar {
        name: "mass-failure",
        what: "30 % of supernodes die at once and 40 % of 20,000 nodes restart",
        bar: "99 % attached within 60 s, peak load of any supernode <= 2 x normal",
        measure: Measure::Scenario(mass_failure::measure),
    },
    Bar {
        name: "churn",
        what: "20,000 nodes, 100 % of them turned over in the hour",
        bar: "recall >= 95 %, an ordinary node <= 200 B/s",
        measure: Measure::Scenario(churn::measure),
    },
    Bar {
        name: "supernode-share",
        what: "24 h of measured sessions of 3,000 nodes, all of them `auto`",
        bar: "within 20 % of the optimum, no oscillation",
        measure: Measure::Scenario(supernode_share::measure),
    },
    Bar {
        name: "poison",
        what: "10,000 people, and decoys of what is asked for most by names that are 5 % of all",
        bar: "good-hit share >= 95 %",
        measure: Measure::Scenario(poison::measure),
    },
    Bar {
        name: "clique",
        what: "reputation after 30 days: 50 names that sign whatever helps each other, with and \
               without machines that are there day and night, against 20,000 people with measured \
               sessions, most of whom share nothing",
        bar: "<= the median honest node",
        measure: Measure::Fixed(crate::reputation::bar),
    },
    Bar {
        name: "exact-lookup",
        what: "names and contents found at the first try, sessions of 2.9 h for everyone; \
               300 supernodes, 3,000 nodes, 2,000 look-ups over 67 min, by and for nodes that \
               have been up for a minute",
        bar: ">= 99 %, median 1 hop",
        measure: Measure::Fixed(exact_lookup::measure),
    },
    Bar {
        name: "single-copy-recall",
        what: "files of one copy found from anywhere; 20 supernodes, 400 nodes, 200 searches",
        bar: "100 %",
        measure: Measure::Fixed(single_copy_recall::measure),
    },
    Bar {
        name: "parent-death",
        what: "a parent dies: longest time until its children are searchable elsewhere; \
               20 supernodes, 400 nodes",
        bar: "<= 8 s",
        measure: Measure::Fixed(parent_death::measure),
    },
];

fn scenario_of(text: &str) -> Result<Scenario, crate::scenario::ScenarioError> {
    Scenario::parse(text, Path::new("a scenario of this program"))
}

/// A share in percent.
fn percent(share: f64) -> String {
    // The sum of nothing is -0.0, which is told as 0.
    format!("{:.2} %", share * 100.0 + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenarios_of_all_bars_are_sound() {
        let texts = [
            scale::SCENARIO,
            scale::MILLION,
            rare_file::SCENARIO,
            rare_file::WITH_CHURN,
            search_cost::SCENARIO,
            lookup::SCENARIO,
            mass_failure::SCENARIO,
            churn::SCENARIO,
            supernode_share::SCENARIO,
            poison::SCENARIO,
        ];
        for text in texts {
            scenario_of(text).expect("a sound scenario");
        }
    }
}
