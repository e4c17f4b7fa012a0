//! Exact look-ups in the directory.

use super::{Order, Outcome, percent};
use crate::scenario::{Progress, Run, Scenario, ScenarioError};
use crate::show::Shown;
use crate::workload::Content;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein_proto::directory::DirectoryKey;
use skein_proto::{Instant, QueryId};
use std::time::Duration;

/// Sessions of 2.9 hours.
pub const SCENARIO: &str = include_str!("../../scenarios/lookup.toml");

/// Look-ups in a second.
const RATE: u64 = 4;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A look-up under way: which, when it is judged, and who was there that has the content.
struct Asked {
    id: QueryId,
    judge_at: Instant,
    asker: u32,
    life: u32,
    holders: Vec<u32>,
}

/// What became of all look-ups.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lookups {
    /// Those whose asker stayed.
    pub all: u32,
    /// Those that named a node which had the content and was there.
    pub right: u32,
    /// The median time that they took, in seconds.
    pub median: f64,
}

impl Lookups {
    /// The share of the right ones.
    pub fn share(&self) -> f64 {
        f64::from(self.right) / f64::from(self.all.max(1))
    }
}

/// Measures it.
pub fn measure(order: &Order) -> Outcome {
    let scenario = match order.scenario(SCENARIO) {
        Ok(scenario) => scenario,
        Err(outcome) => return outcome,
    };
    let mut shown = Shown::new(&scenario.name);
    let made = look_up(&scenario, order.seed, &mut |progress| shown.tell(&progress));
    shown.end();
    match made {
        Ok(lookups) => Outcome {
            figure: format!(
                "{} of {} look-ups right, median {:.3} s",
                percent(lookups.share()),
                lookups.all,
                lookups.median
            ),
            holds: lookups.share() >= 0.99 && lookups.all > 0,
        },
        Err(error) => Outcome::failed(error),
    }
}

/// Looks up contents while a scenario runs. Each is asked for once; how many holders were asked for it
/// until one answered is not counted here (see [`exact`](crate::exact)).
/// `progress` hears how far it has come.
///
/// # Errors
/// [`ScenarioError`] if the scenario is not sound.
pub fn look_up(
    scenario: &Scenario,
    seed: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Lookups, ScenarioError> {
    let mut run = Run::new(scenario, seed)?;
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut asked, mut took, mut right, mut all) = (Vec::new(), Vec::new(), 0, 0);
    run.advance_telling(scenario.before(), progress);
    let contents = run.workload.catalogue.len();
    for _ in 0..scenario.run_seconds as u64 * RATE {
        run.advance_telling(Duration::from_millis(1_000 / RATE), progress);
        let (Some(asker), network) = (run.somebody(), &run.network) else { continue };
        let content = Content(rng.random_range(0..contents));
        let there = |node: &u32| *node != asker && network.is_alive(*node);
        let holders = run.workload.holdings.holders(content).iter().copied();
        let holders: Vec<u32> = holders.filter(there).collect();
        if !holders.is_empty() {
            let key = DirectoryKey::Content(run.workload.catalogue.id(content));
            let (who, life) = (run.network.id(asker), run.network.life(asker));
            let id = run.network.start_find(who, key);
            let judge_at = run.network.now() + PATIENCE;
            asked.push(Asked { id, judge_at, asker, life, holders });
        }
        let now = run.network.now();
        let due = asked.iter().take_while(|asked| asked.judge_at <= now).count();
        for asked in asked.drain(..due) {
            let Some(lookup) = run.network.take_lookup(asked.id) else { continue };
            // Whoever has gone reads no answer.
            if run.network.life(asked.asker) != asked.life {
                continue;
            }
            all += 1;
            let named = lookup.sources.iter().filter_map(|source| run.network.number(&source.node));
            right += u32::from(named.into_iter().any(|node| asked.holders.contains(&node)));
            took.extend(lookup.took.map(|time| time.as_secs_f64()));
        }
    }
    took.sort_by(f64::total_cmp);
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    Ok(Lookups { all, right, median })
}
