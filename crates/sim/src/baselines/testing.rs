//! What the tests of the baselines share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::library::Library;
use super::world::{Peer, World};
use crate::physics;
use crate::workload::{Settings, Workload};
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

pub fn workload(nodes: u32, seed: u64) -> Workload {
    Workload::new(&Settings::default(), nodes, seed).unwrap()
}

pub fn library(nodes: u32, seed: u64) -> Library {
    Library::new(Arc::new(workload(nodes, seed)))
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
