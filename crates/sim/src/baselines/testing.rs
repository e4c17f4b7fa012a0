//! What the tests of the baselines share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::world::{Peer, World};
use crate::physics;
use crate::workload::{Settings, Workload};
use std::time::Duration;

/// A world with a node for each of so many users, none of them started.
pub fn world<P: Peer>(shared: P::Shared, nodes: u32, seed: u64) -> World<P> {
    let workload = Workload::new(&Settings::default(), nodes, seed).unwrap();
    let mut world = World::new(shared, workload.population, physics::Settings::default(), seed);
    for user in 0..nodes {
        world.add(user);
    }
    world
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
