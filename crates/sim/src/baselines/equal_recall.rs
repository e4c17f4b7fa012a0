//! What a search costs when it finds as much as another system's does.
//!
//! A flood's reach is set by its time to live. It is grown here until the searches of a sample find
//! the share that is asked for, and the cost at that reach is the answer: what smaller floods before
//! would have cost is not counted, in the flood's favour. Nobody comes or goes.

use super::library::Library;
use super::world::{Address, Peer, World};
use super::{fasttrack, gnutella};
use crate::physics;
use crate::workload::{Content, Search, Workload};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a flood is given: even slow lines are through with it.
const FLOOD: Duration = Duration::from_secs(30);

/// The longest time to live that is tried: beyond it nothing new is reached.
const MAX_TTL: u8 = 30;

/// A search of a sample.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The user who asks.
    pub by: u32,
    /// What for.
    pub search: Search,
}

impl Asked {
    /// So many searches of users drawn at random: by turns for a file of a single copy, by all
    /// words of its name, and for two words of something popular.
    pub fn sample(workload: &Workload, count: u32, rng: &mut impl Rng) -> Vec<Self> {
        let draw = |number: u32| {
            let by = rng.random_range(0..workload.nodes());
            let rare = if number.is_multiple_of(2) { workload.rare_search(rng) } else { None };
            let search = rare.unwrap_or_else(|| workload.two_word_search(rng));
            Self { by, search }
        };
        (0..count).map(draw).collect()
    }
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// How many different contents a search wants; more do not count.
    pub wanted: usize,
    /// The mean share of what was wanted and there that is to be found, 0 to 1.
    pub recall: f64,
}

/// What a search costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// The time to live that was needed.
    pub ttl: u8,
    /// The recall that it reached, which is the target's or the most that a flood reaches.
    pub recall: f64,
    /// Messages of a search on average, hits on their way back included.
    pub messages: f64,
    /// Bytes of them.
    pub bytes: f64,
}

/// How much of what a search wants has been found: different contents, of as many as are wanted of
/// those that are there. `None` when nothing is there.
pub fn recall(found: &BTreeSet<Content>, available: &[Content], wanted: usize) -> Option<f64> {
    let possible = available.len().min(wanted);
    let right = available.iter().filter(|content| found.contains(content)).count();
    (possible > 0).then(|| right.min(possible) as f64 / possible as f64)
}

/// The cost of blind flooding (Gnutella 0.4) among all users of a workload.
pub fn gnutella(workload: &Arc<Workload>, searches: &[Asked], target: Target, seed: u64) -> Cost {
    let library = Library::new(workload.clone());
    let shared = gnutella::Shared { library, ttl: 1, ping_sample: 1 };
    let mut world = world(shared, workload, seed);
    gnutella::converge(&mut world, &mut SmallRng::seed_from_u64(seed));
    let numbers = searches
        .iter()
        .map(|asked| world.shared_mut().library.prepare(&asked.search))
        .collect::<Vec<u32>>();
    grow(&mut world, searches, &numbers, target, |shared, ttl| shared.ttl = ttl)
}

/// The cost of flooding among supernodes (FastTrack) with the users of a workload.
pub fn fasttrack(workload: &Arc<Workload>, searches: &[Asked], target: Target, seed: u64) -> Cost {
    let shared = fasttrack::Shared::new(Library::new(workload.clone()), 1);
    let mut world = world(shared, workload, seed);
    fasttrack::converge(&mut world, &mut SmallRng::seed_from_u64(seed));
    let numbers = searches
        .iter()
        .map(|asked| world.shared_mut().library.prepare(&asked.search))
        .collect::<Vec<u32>>();
    grow(&mut world, searches, &numbers, target, |shared, ttl| shared.ttl = ttl)
}

fn world<P: Peer>(shared: P::Shared, workload: &Workload, seed: u64) -> World<P> {
    let population = workload.population.clone();
    let mut world = World::new(shared, population, physics::Settings::default(), seed);
    for user in 0..workload.nodes() {
        world.add(user);
    }
    world
}

/// Makes all searches with a longer and longer reach.
fn grow<P: Peer<Ask = u32>>(
    world: &mut World<P>,
    searches: &[Asked],
    numbers: &[u32],
    target: Target,
    set_ttl: impl Fn(&mut P::Shared, u8),
) -> Cost
where
    P::Shared: HasLibrary,
{
    world.start();
    world.run_for(FLOOD);
    let available: Vec<Vec<Content>> = searches
        .iter()
        .map(|asked| world.shared().library().workload().available(&asked.search, |_| true))
        .collect();
    let mut cost = Cost::default();
    for ttl in 1..=MAX_TTL {
        set_ttl(world.shared_mut(), ttl);
        let before = cost;
        cost = Cost { ttl, ..measure(world, searches, numbers, &available, target.wanted) };
        // Nothing new was reached: longer floods are the same.
        let all = cost.recall >= target.recall || cost.messages <= before.messages;
        if all && ttl > 1 || cost.recall >= target.recall {
            break;
        }
    }
    cost
}

fn measure<P: Peer<Ask = u32>>(
    world: &mut World<P>,
    searches: &[Asked],
    numbers: &[u32],
    available: &[Vec<Content>],
    wanted: usize,
) -> Cost {
    let (mut messages, mut bytes, mut recalls) = (0, 0, Vec::new());
    for ((asked, number), available) in searches.iter().zip(numbers).zip(available) {
        let Some(by): Option<Address> = world.address_of(asked.by) else { continue };
        let operation = world.ask(by, *number);
        world.run_for(FLOOD);
        let operation = &world.operations()[operation as usize];
        messages += operation.messages;
        bytes += operation.bytes;
        let found = operation.hits.iter().map(|hit| hit.content).collect();
        recalls.extend(recall(&found, available, wanted));
    }
    let mean = |sum: f64, count: usize| sum / count.max(1) as f64;
    Cost {
        ttl: 0,
        recall: mean(recalls.iter().sum(), recalls.len()),
        messages: mean(messages as f64, searches.len()),
        bytes: mean(bytes as f64, searches.len()),
    }
}

/// What nodes of a keyword network have in common knows what is shared.
trait HasLibrary {
    fn library(&self) -> &Library;
}

impl HasLibrary for gnutella::Shared {
    fn library(&self) -> &Library {
        &self.library
    }
}

impl HasLibrary for fasttrack::Shared {
    fn library(&self) -> &Library {
        &self.library
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::baselines::testing::workload;

    fn sample(workload: &Workload) -> Vec<Asked> {
        Asked::sample(workload, 10, &mut SmallRng::seed_from_u64(5))
    }

    #[test]
    fn more_recall_takes_a_longer_reach_and_more_messages() {
        let workload = Arc::new(workload(2_000, 7));
        let searches = sample(&workload);
        let wanted = usize::MAX;
        let some = gnutella(&workload, &searches, Target { wanted, recall: 0.3 }, 1);
        let most = gnutella(&workload, &searches, Target { wanted, recall: 0.95 }, 1);
        assert!(some.recall >= 0.3 && most.recall >= 0.95, "{some:?} {most:?}");
        assert!(some.ttl < most.ttl && some.messages < most.messages, "{some:?} {most:?}");
        // A flood that finds nearly all asks nearly all.
        assert!(most.messages > 2_000.0, "{most:?}");
    }

    #[test]
    fn supernodes_cost_far_less_for_the_same_recall() {
        let workload = Arc::new(workload(4_000, 7));
        let searches = sample(&workload);
        let target = Target { wanted: 20, recall: 0.95 };
        let blind = gnutella(&workload, &searches, target, 1);
        let supers = fasttrack(&workload, &searches, target, 1);
        assert!(supers.recall >= 0.95, "{supers:?}");
        assert!(supers.messages * 5.0 < blind.messages, "{supers:?} {blind:?}");
    }

    #[test]
    fn recall_counts_what_was_wanted_and_there() {
        let contents = |numbers: &[u32]| numbers.iter().copied().map(Content).collect::<Vec<_>>();
        let found: BTreeSet<Content> = contents(&[1, 2, 9]).into_iter().collect();
        assert_eq!(recall(&found, &contents(&[1, 2, 3, 4]), usize::MAX), Some(0.5));
        assert_eq!(recall(&found, &contents(&[1, 2, 3, 4]), 2), Some(1.0));
        assert_eq!(recall(&found, &[], 10), None);
    }
}
