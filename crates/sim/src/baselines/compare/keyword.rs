//! Contenders that search for words: Napster, Gnutella, FastTrack.

use super::baseline::{Baseline, maintenance, memory, settled};
use super::{Both, Figures, Quality, Sample, Setup};
use crate::baselines::library::Library;
use crate::baselines::world::{Address, Peer, World};
use crate::baselines::{fasttrack, gnutella, napster};
use crate::workload::{Content, Search};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a search may take: floods are over after some seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Pieces of the warm-up, for the sake of progress.
const PIECES: u32 = 10;

/// Messages of pings that a run may send; beyond that a sample of them is sent.
const PING_MESSAGES: f64 = 5e6;

/// Hops of FastTrack's floods: enough to reach everyone.
const FASTTRACK_TTL: u8 = 7;

/// A protocol for keyword searches.
trait Keyword: Peer<Ask = u32> {
    fn shared(library: Library, setup: &Setup) -> Self::Shared;
    fn library(shared: &mut Self::Shared) -> &mut Library;
    fn converge(world: &mut World<Self>, rng: &mut SmallRng);
}

impl Keyword for napster::Napster {
    fn shared(library: Library, _: &Setup) -> Self::Shared {
        napster::Shared { library }
    }
    fn library(shared: &mut Self::Shared) -> &mut Library {
        &mut shared.library
    }
    fn converge(world: &mut World<Self>, _: &mut SmallRng) {
        napster::converge(world);
    }
}

impl Keyword for gnutella::Gnutella {
    fn shared(library: Library, setup: &Setup) -> Self::Shared {
        // Everyone who comes pings all others, and each answers over some hops.
        let time = (setup.warm_up + setup.window).as_secs_f64();
        let session = setup.churn.session_mean().map_or(f64::INFINITY, |mean| mean.as_secs_f64());
        let nodes = f64::from(setup.nodes);
        let messages = nodes * time / session * nodes * 10.0;
        let ping_sample = (messages / PING_MESSAGES).ceil().max(1.0) as u32;
        gnutella::Shared { library, ttl: gnutella::TTL, ping_sample }
    }
    fn library(shared: &mut Self::Shared) -> &mut Library {
        &mut shared.library
    }
    fn converge(world: &mut World<Self>, rng: &mut SmallRng) {
        gnutella::converge(world, rng);
    }
}

impl Keyword for fasttrack::FastTrack {
    fn shared(library: Library, _: &Setup) -> Self::Shared {
        fasttrack::Shared::new(library, FASTTRACK_TTL)
    }
    fn library(shared: &mut Self::Shared) -> &mut Library {
        &mut shared.library
    }
    fn converge(world: &mut World<Self>, rng: &mut SmallRng) {
        fasttrack::converge(world, rng);
    }
}

/// Napster.
pub const NAPSTER: Baseline = Baseline::new("Napster", measure::<napster::Napster>);

/// Gnutella 0.4.
pub const GNUTELLA: Baseline = Baseline::new("Gnutella 0.4", measure::<gnutella::Gnutella>);

/// FastTrack.
pub const FASTTRACK: Baseline = Baseline::new("FastTrack", measure::<fasttrack::FastTrack>);

fn measure<P: Keyword>(name: &str, setup: &Setup, progress: &(dyn Fn(f64) + Sync)) -> Figures {
    let mut rng = SmallRng::seed_from_u64(setup.seed ^ 0x3e74c4);
    let shared = P::shared(Library::new(setup.workload.clone()), setup);
    let mut world = settled(shared, setup, |world: &mut World<P>| P::converge(world, &mut rng));
    let (memory_mean, memory_most) = memory(&world);
    let total = f64::from(setup.searches * 2 + PIECES);
    let mut done = 0.0;
    let mut step = || {
        done += 1.0;
        progress(done / total);
    };
    let quiet = search(&mut world, setup, setup.quiet, &mut rng, &mut step);
    world.set_churn(setup.churn);
    for _ in 0..PIECES {
        world.run_for(setup.warm_up / PIECES);
        step();
    }
    let churn = search(&mut world, setup, setup.window, &mut rng, &mut step);
    Figures {
        system: name.to_owned(),
        nodes: setup.nodes,
        memory_mean,
        memory_most,
        look_up: Some(Both { quiet: quiet.0, churn: churn.0 }),
        search: Some(Both { quiet: quiet.1, churn: churn.1 }),
        maintenance: Both { quiet: quiet.2, churn: churn.2 },
    }
}

/// A search that was made.
struct Asked {
    operation: u32,
    search: Search,
    rare: bool,
    /// What was there when it was asked for.
    available: Vec<Content>,
}

/// Searches over a time: look-ups of rare files and searches for popular words by turns. Answers
/// the quality of both, and the rate of maintenance.
fn search<P: Keyword>(
    world: &mut World<P>,
    setup: &Setup,
    time: Duration,
    rng: &mut SmallRng,
    step: &mut impl FnMut(),
) -> (Quality, Quality, f64) {
    let workload = setup.workload.clone();
    let mut asked = Vec::new();
    let rate = maintenance(world, |world| {
        let gap = time.saturating_sub(PATIENCE) / setup.searches.max(1);
        for number in 0..setup.searches {
            let rare = number % 2 == 0;
            let Some(by) = draw_user(world, setup.nodes, rng) else { continue };
            let present = |user| world.address_of(user).is_some();
            let search = draw_search(setup, rare, present, rng);
            let available = workload.available(&search, |user| world.address_of(user).is_some());
            let prepared = P::library(world.shared_mut()).prepare(&search);
            let operation = world.ask(by, prepared);
            asked.push(Asked { operation, search, rare, available });
            world.run_for(gap);
            step();
        }
        world.run_for(PATIENCE);
    });
    let samples = |rare: bool| -> Vec<Sample> {
        let of = asked.iter().filter(|asked| asked.rare == rare);
        of.filter_map(|asked| sample(world, asked)).collect()
    };
    (Quality::of(&samples(true)), Quality::of(&samples(false)), rate)
}

/// A search for something that is there.
pub(super) fn draw_search(
    setup: &Setup,
    rare: bool,
    present: impl Fn(u32) -> bool,
    rng: &mut SmallRng,
) -> Search {
    let workload = &setup.workload;
    let draw = |rng: &mut SmallRng| {
        let rare = if rare { workload.rare_search(rng) } else { None };
        rare.unwrap_or_else(|| workload.two_word_search(rng))
    };
    let there = |search: &Search| {
        workload.holdings.holders(search.target).iter().any(|user| present(*user))
    };
    let first = draw(rng);
    (0..32).map(|_| draw(rng)).find(there).unwrap_or(first)
}

fn sample<P: Keyword>(world: &World<P>, asked: &Asked) -> Option<Sample> {
    let operation = &world.operations()[asked.operation as usize];
    if world.peer(operation.by).is_none() && operation.hits.is_empty() {
        // Who asked has gone: nobody waits for the answer any more.
        return None;
    }
    let found: BTreeSet<Content> = operation.hits.iter().map(|hit| hit.content).collect();
    let success = if asked.rare {
        f64::from(u8::from(found.contains(&asked.search.target)))
    } else {
        let there = asked.available.iter().filter(|content| found.contains(content)).count();
        there as f64 / asked.available.len().max(1) as f64
    };
    // What the node has itself is no answer of the network.
    let mut hits = operation.hits.iter().filter(|hit| hit.hops > 0);
    let first =
        if asked.rare { hits.find(|hit| hit.content == asked.search.target) } else { hits.next() };
    Some(Sample {
        success,
        reached: first.map(|hit| (hit.hops, hit.at.since(operation.asked))),
        messages: operation.messages,
        bytes: operation.bytes,
        timeouts: operation.timeouts,
    })
}

/// A user's node that is up, no server.
fn draw_user<P: Peer>(world: &World<P>, users: u32, rng: &mut SmallRng) -> Option<Address> {
    (0..64).find_map(|_| world.address_of(rng.random_range(0..users)))
}
