//! What the tests of the baselines share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::library::Library;
use super::world::{Address, Peer, World};
use crate::physics;
use crate::workload::{Settings, Workload};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::time::Duration;

/// A world with a node for each of so many users, none of them started.
pub fn world<P: Peer>(shared: P::Shared, nodes: u32, seed: u64) -> World<P> {
    let population = workload(nodes, seed).population;
    let mut world = World::new(shared, population, physics::Settings::default(), seed);
    for user in 0..nodes {
        world.add(user);
    }
    world
}

/// The same, and all of them know of each other what `converge` lets them know, and run.
pub fn running<P: Peer>(
    shared: P::Shared,
    nodes: u32,
    converge: impl FnOnce(&mut World<P>, &mut SmallRng),
) -> World<P> {
    let mut world = world(shared, nodes, 7);
    converge(&mut world, &mut SmallRng::seed_from_u64(1));
    world.start();
    world
}

/// Looks up so many keys, each at one of the `askers`; answers which share was answered as `truth`
/// has it, and the hops and the time of each of those.
pub fn look_up<P: Peer<Ask = u64>>(
    world: &mut World<P>,
    count: usize,
    askers: &[Address],
    draw_key: impl Fn(&World<P>, &mut SmallRng) -> u64,
    truth: impl Fn(u64) -> Option<Address>,
) -> (f64, Vec<(u32, Duration)>) {
    let mut rng = SmallRng::seed_from_u64(3);
    let asked: Vec<(u32, u64)> = (0..count)
        .map(|_| {
            let by = askers[rng.random_range(0..askers.len())];
            let key = draw_key(world, &mut rng);
            (world.ask(by, key), key)
        })
        .collect();
    world.run_for(seconds(20));
    let right: Vec<_> = asked
        .iter()
        .filter_map(|(number, key)| {
            let operation = &world.operations()[*number as usize];
            let answer = operation.answer?;
            let time = answer.at.since(operation.asked);
            (Some(answer.node) == truth(*key)).then_some((answer.hops, time))
        })
        .collect();
    (right.len() as f64 / count as f64, right)
}

pub fn workload(nodes: u32, seed: u64) -> Workload {
    Workload::new(&Settings::default(), nodes, seed).unwrap()
}

pub fn library(nodes: u32, seed: u64) -> Library {
    Library::new(Arc::new(workload(nodes, seed)))
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
