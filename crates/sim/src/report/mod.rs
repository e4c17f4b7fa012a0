//! What a run has found: a table for people, JSON for programs, plots for both.

pub mod plots;

use crate::scenario::{Rates, Recall, Sample};
use crate::workload::Way;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What a run has found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The name of the scenario.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// The seed: the same seed gives the same run.
    pub seed: u64,
    /// Nodes, those that were away included.
    pub nodes: u32,
    /// Children that a supernode takes.
    pub max_children: u32,
    /// From which second on it was measured.
    pub measured_from: f64,
    /// Seconds of virtual time.
    pub virtual_seconds: f64,
    /// Seconds that it took.
    pub wall_seconds: f64,
    /// Messages that arrived, timers and the like.
    pub happenings: u64,
    /// The network from time to time.
    pub samples: Vec<Sample>,
    /// What was made to happen, and when.
    pub events: Vec<(f64, String)>,
    /// Messages by kind, count and bytes, from the start of what is measured to the end of the run.
    pub kinds: BTreeMap<String, (u64, u64)>,
    /// Searches that were begun.
    pub searches_begun: u64,
    /// Those of them that nothing could be found for.
    pub searches_for_nothing: u64,
    /// Those of them whose asker was gone before the end.
    pub askers_gone: u64,
    /// Messages that belong to searches, for each that was begun.
    pub messages_per_search: f64,
    /// All searches that something was there for, and whose asker stayed.
    pub all_searches: Recall,
    /// The same by the number of copies that were there.
    pub by_copies: Vec<Recall>,
    /// The searches that found what was meant, by the best way from its holders to the asker.
    pub ways: Ways,
    /// What ordinary nodes send and receive.
    pub ordinary: Rates,
    /// What supernodes send and receive.
    pub supernode: Rates,
    /// Nodes that went, by churn.
    pub departures: u64,
    /// The overlay's own counters, of all nodes that run at the end.
    pub counters: BTreeMap<String, u64>,
}

/// How many of what was found could be fetched in which way, by the NATs of both ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ways {
    /// Asker and holder can dial each other, in one direction at least.
    pub dialled: u64,
    /// They punch a hole.
    pub punched: u64,
    /// They need a relay.
    pub relayed: u64,
}

impl Ways {
    /// One more.
    pub fn count(&mut self, way: Way) {
        *match way {
            Way::Dialled => &mut self.dialled,
            Way::Punched => &mut self.punched,
            Way::Relayed => &mut self.relayed,
        } += 1;
    }
}

impl Report {
    /// Samples of what was measured.
    pub fn measured(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.measured)
    }

    /// The fewest supernodes of which any 70 % can still hold all nodes that run: as many as there
    /// should be, so that 30 % may die at once.
    pub fn optimum(&self, sample: &Sample) -> f64 {
        (f64::from(sample.alive) / (f64::from(self.max_children.max(1)) * 0.7)).max(1.0)
    }

    /// Seconds from a moment until a share of all nodes that run can be found again, and could be in
    /// every later sample as well; `None` if it does not come to that.
    pub fn searchable_again(&self, from: f64, share: f64) -> Option<f64> {
        let is_good = |sample: &&Sample| {
            sample.alive > 0 && f64::from(sample.searchable) >= share * f64::from(sample.alive)
        };
        let backwards = self.samples.iter().rev().take_while(|sample| sample.at > from);
        backwards.take_while(is_good).last().map(|sample| sample.at - from)
    }
}

/// The most memory that this process has taken, in bytes; 0 where the system does not say.
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1_024
}

/// Seconds of processors that this process has taken with all its threads, for itself and by the
/// system; 0 where the system does not say.
pub fn cpu_seconds() -> f64 {
    /// How many ticks Linux counts in a second for programs, on all machines of today.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, which may hold anything, stands in parentheses; the times are the 12th and the 13th
    // field behind it.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    ticks.flatten().map(|ticks| f64::from(ticks) / TICKS).sum()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.samples.last().cloned().unwrap_or_default();
        let most = |value: fn(&Sample) -> f64| self.measured().map(value).fold(0.0, f64::max);
        writeln!(f, "{}: {}", self.name, self.about)?;
        let rows = [
            ("nodes", format!("{}, {} of them there at the end", self.nodes, last.alive)),
            ("time", {
                let (run, wall) = (self.virtual_seconds, self.wall_seconds);
                let cpu = cpu_seconds();
                format!("{run:.0} s of virtual time in {wall:.1} s (processors: {cpu:.1} s)")
            }),
            ("happenings", format!("{}", self.happenings)),
            ("peak memory", format!("{} MiB", peak_memory() >> 20)),
            ("departures", format!("{}", self.departures)),
            ("supernodes", format!("{} at the end", last.supernodes)),
            ("children", {
                let fullest = most(|sample| f64::from(sample.children_most));
                format!("{:.1} on average at the end, {fullest:.0} at most", last.children_mean)
            }),
            ("can be found", {
                let share = f64::from(last.searchable) / f64::from(last.alive.max(1));
                format!("{:.2} % of those there at the end", share * 100.0)
            }),
            ("busiest supernode", {
                format!("{:.1} messages a second at most", most(|sample| sample.busiest))
            }),
            ("ordinary node", bytes_a_second(&self.ordinary)),
            ("supernode", bytes_a_second(&self.supernode)),
            ("messages a search", format!("{:.1}", self.messages_per_search)),
            ("to be fetched", {
                let Ways { dialled, punched, relayed } = self.ways;
                format!("{dialled} by a dial, {punched} through a hole, {relayed} over a relay")
            }),
            ("searches", {
                let (nothing, gone) = (self.searches_for_nothing, self.askers_gone);
                format!("{} ({nothing} for nothing, {gone} askers gone)", self.searches_begun)
            }),
        ];
        for (what, value) in rows {
            writeln!(f, "  {what:18} {value}")?;
        }
        writeln!(
            f,
            "  {:>10} {:>9} {:>8} {:>8} {:>10} {:>8} {:>8} {:>8}",
            "copies", "searches", "found", "recall", "first hit", "p99", "end", "asked"
        )?;
        for recall in self.by_copies.iter().chain([&self.all_searches]) {
            let copies = match (recall.from, recall.to) {
                (0, _) => "all".to_owned(),
                (from, u32::MAX) => format!("{from}+"),
                (from, to) if from == to => format!("{from}"),
                (from, to) => format!("{from}-{to}"),
            };
            let time = |time: Option<f64>| time.map_or("-".to_owned(), |t| format!("{t:.2} s"));
            writeln!(
                f,
                "  {copies:>10} {:>9} {:>6.2} % {:>6.2} % {:>10} {:>8} {:>8} {:>8.1}",
                recall.searches,
                recall.found * 100.0,
                recall.recall * 100.0,
                time(recall.first_hit_median),
                time(recall.first_hit_p99),
                time(recall.took_median),
                recall.supernodes,
            )?;
        }
        writeln!(f, "  {:>18} {:>12} {:>14}", "message", "count", "bytes")?;
        for (kind, (messages, bytes)) in &self.kinds {
            if *messages > 0 {
                writeln!(f, "  {kind:>18} {messages:>12} {bytes:>14}")?;
            }
        }
        Ok(())
    }
}

fn bytes_a_second(rates: &Rates) -> String {
    format!(
        "{:.0} B/s on the wire on average ({:.0} of messages), median {:.0}, p99 {:.0}",
        rates.mean, rates.messages_mean, rates.median, rates.p99
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_is_counted_from_the_event() {
        let sample = |at, searchable| Sample { at, alive: 100, searchable, ..Sample::default() };
        let samples = vec![sample(10.0, 100), sample(20.0, 60), sample(30.0, 99)];
        let report = Report { samples, ..Report::default() };
        assert_eq!(report.searchable_again(15.0, 0.99), Some(15.0));
        assert_eq!(report.searchable_again(15.0, 1.0), None);
    }
}
