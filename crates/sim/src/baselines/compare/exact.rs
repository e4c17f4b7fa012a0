//! Contenders that look keys up: Chord, Pastry, Kelips.

use super::baseline::{Baseline, maintenance, memory, settled};
use super::{Both, Figures, Quality, Sample, Setup};
use crate::baselines::world::{Address, Answer, Peer, World};
use crate::baselines::{chord, kelips, pastry};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// Moments of a measurement at which operations start, and the truth is taken.
const BATCHES: u32 = 10;

/// How long an operation of the last batch may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is responsible for a key.
type Truth = Box<dyn Fn(u64) -> Option<Address>>;

/// A protocol for exact look-ups.
trait Exact: Peer<Ask = u64> {
    fn shared(nodes: u32) -> Self::Shared;
    fn converge(world: &mut World<Self>, rng: &mut SmallRng);
    fn truth(world: &World<Self>) -> Truth;
    fn draw_key(world: &World<Self>, rng: &mut SmallRng) -> u64;
}

impl Exact for chord::Chord {
    fn shared(nodes: u32) -> Self::Shared {
        chord::Shared::for_nodes(nodes)
    }
    fn converge(world: &mut World<Self>, _: &mut SmallRng) {
        chord::converge(world);
    }
    fn truth(world: &World<Self>) -> Truth {
        Box::new(chord::truth(world))
    }
    fn draw_key(_: &World<Self>, rng: &mut SmallRng) -> u64 {
        rng.random()
    }
}

impl Exact for pastry::Pastry {
    fn shared(nodes: u32) -> Self::Shared {
        pastry::Shared::for_nodes(nodes)
    }
    fn converge(world: &mut World<Self>, rng: &mut SmallRng) {
        pastry::converge(world, rng);
    }
    fn truth(world: &World<Self>) -> Truth {
        Box::new(pastry::truth(world))
    }
    fn draw_key(_: &World<Self>, rng: &mut SmallRng) -> u64 {
        rng.random()
    }
}

impl Exact for kelips::Kelips {
    fn shared(nodes: u32) -> Self::Shared {
        kelips::Shared::for_nodes(nodes)
    }
    fn converge(world: &mut World<Self>, rng: &mut SmallRng) {
        kelips::converge(world, rng);
    }
    fn truth(world: &World<Self>) -> Truth {
        Box::new(kelips::truth(world))
    }
    /// The file of somebody who is there.
    fn draw_key(world: &World<Self>, rng: &mut SmallRng) -> u64 {
        let alive = world.alive();
        u64::from(world.user_of(alive[rng.random_range(0..alive.len())]))
    }
}

/// Chord.
pub const CHORD: Baseline = Baseline::new("Chord", measure::<chord::Chord>);

/// Pastry.
pub const PASTRY: Baseline = Baseline::new("Pastry", measure::<pastry::Pastry>);

/// Kelips.
pub const KELIPS: Baseline = Baseline::new("Kelips", measure::<kelips::Kelips>);

fn measure<P: Exact>(name: &str, setup: &Setup, progress: &(dyn Fn(f64) + Sync)) -> Figures {
    let mut rng = SmallRng::seed_from_u64(setup.seed ^ 0xe4ac7);
    let shared = P::shared(setup.nodes);
    let mut world = settled(shared, setup, |world: &mut World<P>| P::converge(world, &mut rng));
    let (memory_mean, memory_most) = memory(&world);
    let total = (setup.quiet + setup.warm_up + setup.window).as_secs_f64();
    let mut done = 0.0;
    let mut step = |time: Duration| {
        done += time.as_secs_f64();
        progress(done / total);
    };
    let quiet = look_up(&mut world, setup, setup.quiet, &mut rng, &mut step);
    world.set_churn(setup.churn);
    for _ in 0..BATCHES {
        world.run_for(setup.warm_up / BATCHES);
        step(setup.warm_up / BATCHES);
    }
    let churn = look_up(&mut world, setup, setup.window, &mut rng, &mut step);
    Figures {
        system: name.to_owned(),
        nodes: setup.nodes,
        memory_mean,
        memory_most,
        look_up: Some(Both { quiet: quiet.0, churn: churn.0 }),
        search: None,
        maintenance: Both { quiet: quiet.1, churn: churn.1 },
    }
}

/// Looks up in batches over a time. An answer is right if it names who was responsible when it was
/// asked for or who is when all have answered.
fn look_up<P: Exact>(
    world: &mut World<P>,
    setup: &Setup,
    time: Duration,
    rng: &mut SmallRng,
    step: &mut impl FnMut(Duration),
) -> (Quality, f64) {
    let mut samples = Vec::new();
    let gap = (time / BATCHES).max(PATIENCE);
    let rate = maintenance(world, |world| {
        for batch in 0..BATCHES {
            let before = P::truth(world);
            let count = (setup.look_ups * (batch + 1) / BATCHES) - setup.look_ups * batch / BATCHES;
            let asked: Vec<(u32, u64)> = (0..count)
                .filter_map(|_| {
                    let by = draw_member(world, rng)?;
                    let key = P::draw_key(world, rng);
                    Some((world.ask(by, key), key))
                })
                .collect();
            world.run_for(gap);
            step(gap);
            let after = P::truth(world);
            for (number, key) in asked {
                let operation = &world.operations()[number as usize];
                let alive = world.peer(operation.by).is_some();
                if !alive && operation.answer.is_none() {
                    // Who asked has gone: nobody waits for the answer any more.
                    continue;
                }
                let right = operation.answer.is_some_and(|answer| {
                    let node = Some(answer.node);
                    node == before(key) || node == after(key)
                });
                let reached = |answer: Answer| (answer.hops, answer.at.since(operation.asked));
                samples.push(Sample {
                    success: f64::from(u8::from(right)),
                    reached: operation.answer.filter(|_| right).map(reached),
                    messages: operation.messages,
                    bytes: operation.bytes,
                    timeouts: operation.timeouts,
                });
            }
        }
    });
    (Quality::of(&samples), rate)
}

/// Somebody who is up and has joined.
pub(super) fn draw_member<P: Peer>(world: &World<P>, rng: &mut SmallRng) -> Option<Address> {
    let alive = world.alive();
    // Nearly all have joined.
    let mut draw = || alive.get(rng.random_range(0..alive.len().max(1))).copied();
    (0..64).filter_map(|_| draw()).find(|address| world.has_joined(*address))
}
