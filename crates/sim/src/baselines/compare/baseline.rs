//! A baseline as a contender, and what all of them have in common when they are measured.

use super::{Contender, Figures, Setup};
use crate::baselines::world::{Peer, World};

/// How a baseline is measured.
type Measure = fn(&str, &Setup, &(dyn Fn(f64) + Sync)) -> Figures;

/// One of the systems that were there before.
#[derive(Clone, Copy, Debug)]
pub struct Baseline {
    name: &'static str,
    measure: Measure,
}

impl Baseline {
    pub(super) const fn new(name: &'static str, measure: Measure) -> Self {
        Self { name, measure }
    }
}

impl Contender for Baseline {
    fn name(&self) -> &'static str {
        self.name
    }

    fn measure(&self, setup: &Setup, progress: &(dyn Fn(f64) + Sync)) -> Option<Figures> {
        Some((self.measure)(self.name, setup, progress))
    }
}

/// A network of all nodes that has found itself, and has run until it is calm.
pub(super) fn settled<P: Peer>(
    shared: P::Shared,
    setup: &Setup,
    converge: impl FnOnce(&mut World<P>),
) -> World<P> {
    let population = setup.workload.population.clone();
    let mut world = World::new(shared, population, setup.physics.clone(), setup.seed);
    for user in 0..setup.nodes {
        world.add(user);
    }
    converge(&mut world);
    world.start();
    world.run_for(setup.settle);
    world
}

/// Bytes of state: the mean of all nodes and the most.
pub(super) fn memory<P: Peer>(world: &World<P>) -> (f64, f64) {
    let bytes = || world.alive().iter().filter_map(|at| world.peer(*at)).map(Peer::state_bytes);
    let count = world.alive().len().max(1) as f64;
    (bytes().sum::<u64>() as f64 / count, bytes().max().unwrap_or_default() as f64)
}

/// Bytes of maintenance by node and second, while something runs.
pub(super) fn maintenance<P: Peer>(world: &mut World<P>, run: impl FnOnce(&mut World<P>)) -> f64 {
    let (before, from) = (world.maintenance().bytes, world.now());
    run(world);
    let seconds = world.now().since(from).as_secs_f64().max(1e-6);
    (world.maintenance().bytes - before) as f64 / seconds / world.alive().len().max(1) as f64
}
