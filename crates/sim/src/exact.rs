//! How often an exact look-up is right at the first try while everyone comes and goes.

use crate::network::{Network, Settings};
use crate::population::{file, settle};
use crate::scenario::Progress;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use skein_proto::directory::DirectoryKey;
use skein_proto::message::MessageKind;
use skein_proto::{Instant, NodeId};
use std::time::Duration;

/// The mean session of the measurement that the bar is taken from (Gupta, Liskov and Rodrigues,
/// NSDI 2004, for peers as Saroiu et al. measured them).
pub const MEAN_SESSION: Duration = Duration::from_secs(10_440);

/// How long a node is away.
const AWAY: Duration = Duration::from_secs(10 * 60);

/// A node asks, and counts as found or missed, once it has been there for so long; before, its records
/// may still be on their way, and so may the news that it has gone. Look-ups of those who have just
/// come, and by them, are therefore not in the figure.
const KNOWN_AFTER: Duration = Duration::from_secs(60);

/// A workload of exact look-ups.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The seed of everything.
    pub seed: u64,
    /// Supernodes at the start.
    pub supernodes: usize,
    /// Ordinary nodes at the start, each with a file of its own.
    pub ordinary: usize,
    /// Look-ups of names and contents by turns, of ordinary nodes, by any node: supernodes ask as
    /// often as they are many among all.
    pub lookups: u32,
    /// Time between two look-ups.
    pub pause: Duration,
}

/// What came of the look-ups.
#[derive(Clone, Debug, Default)]
pub struct Exact {
    /// Look-ups of somebody who was there.
    pub asked: u32,
    /// How many of them found whom they looked for.
    pub right: u32,
    /// How many of them did so with one question on the ring at most.
    pub first_try: u32,
    /// Questions on the ring that each took, in ascending order: those of the supernode that asks, or
    /// of the parent of the node that asks. None, where that one keeps the key itself.
    pub ring_hops: Vec<u64>,
    /// All questions that each took, an ordinary node's to its parent included, in ascending order.
    pub hops: Vec<u64>,
    /// The time that each took, in ascending order.
    pub times: Vec<Duration>,
    /// Nodes that have gone or come.
    pub flips: u32,
}

struct Life {
    node: NodeId,
    number: usize,
    is_super: bool,
    up: bool,
    since: Instant,
    flips: Instant,
}

/// Runs a workload while every node, supernodes included, comes and goes. `progress` hears with
/// each look-up how far it has come.
pub fn run(workload: &Workload, progress: &mut dyn FnMut(Progress)) -> Exact {
    let settings = Settings { seed: workload.seed, ..Settings::default() };
    let mut network = Network::new(settings);
    let (supers, children, _) = settle(&mut network, workload.supernodes, workload.ordinary);
    network.run_for(Duration::from_secs(200));
    let mut rng = StdRng::seed_from_u64(workload.seed);
    let now = network.now();
    let mut lives: Vec<Life> = Vec::new();
    for (is_super, nodes) in [(true, &supers), (false, &children)] {
        for (number, node) in nodes.iter().enumerate() {
            let flips = now + session(&mut rng, MEAN_SESSION);
            let since = Instant::START;
            lives.push(Life { node: *node, number, is_super, up: true, since, flips });
        }
    }
    let mut exact = Exact::default();
    let of = now + workload.pause * workload.lookups;
    for lookup in 0..workload.lookups {
        let next = network.now() + workload.pause;
        come_and_go(&mut network, &mut lives, next, &mut rng, &mut exact);
        look_up(&mut network, &lives, lookup % 2 == 0, &mut rng, &mut exact);
        let alive = lives.iter().filter(|life| life.up).count() as u32;
        let seconds = |at: Instant| at.since(Instant::START).as_secs_f64();
        progress(Progress { at: seconds(network.now()), of: seconds(of), alive });
    }
    exact.times.sort_unstable();
    exact.ring_hops.sort_unstable();
    exact.hops.sort_unstable();
    exact
}

impl Exact {
    /// The share of look-ups that were right at the first try.
    pub fn share(&self) -> f64 {
        f64::from(self.first_try) / f64::from(self.asked.max(1))
    }
}

/// The median of sorted values.
pub fn median<T: Copy + Default>(sorted: &[T]) -> T {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// A session without memory.
fn session(rng: &mut StdRng, mean: Duration) -> Duration {
    // 1 - u lies in (0, 1], whose logarithm is finite.
    mean.mul_f64(-(1.0 - rng.random::<f64>()).ln())
}

/// Runs up to a moment; whoever's time has come goes without a word, or comes again.
fn come_and_go(
    network: &mut Network,
    lives: &mut [Life],
    to: Instant,
    rng: &mut StdRng,
    exact: &mut Exact,
) {
    while let Some(life) = lives.iter_mut().min_by_key(|life| life.flips)
        && life.flips <= to
    {
        network.run_to(life.flips.max(network.now()));
        if life.up {
            network.kill(life.node);
        } else {
            network.restart(life.node);
        }
        life.up = !life.up;
        life.since = network.now();
        let mean = if life.up { MEAN_SESSION } else { AWAY };
        life.flips = network.now() + session(rng, mean);
        exact.flips += 1;
    }
    network.run_to(to);
}

/// A node that is there looks up an ordinary one that is there.
fn look_up(
    network: &mut Network,
    lives: &[Life],
    by_name: bool,
    rng: &mut StdRng,
    exact: &mut Exact,
) {
    let now = network.now();
    let known = |life: &&Life| life.up && now.since(life.since) >= KNOWN_AFTER;
    let askers: Vec<&Life> = lives.iter().filter(known).collect();
    let targets: Vec<&Life> = lives.iter().filter(known).filter(|life| !life.is_super).collect();
    let (Some(asker), Some(target)) = (askers.choose(rng), targets.choose(rng)) else { return };
    let key = match network.name(target.node) {
        Some(name) if by_name => DirectoryKey::Name(name),
        _ => DirectoryKey::Content(file(&format!("common/rare{} song.mp3", target.number)).content),
    };
    let before = questions(network);
    let found = network.find(asker.node, key);
    let right = if by_name {
        found.nodes.iter().any(|node| node.node == target.node && node.online)
    } else {
        found.sources.iter().any(|source| source.node == target.node)
    };
    // Nobody else looks anything up meanwhile.
    let hops = questions(network) - before;
    let ring_hops = hops.saturating_sub(u64::from(!asker.is_super));
    exact.asked += 1;
    exact.right += u32::from(right);
    exact.first_try += u32::from(right && ring_hops <= 1);
    exact.hops.push(hops);
    exact.ring_hops.push(ring_hops);
    exact.times.extend(found.took);
}

/// Questions of the directory that were sent so far.
fn questions(network: &Network) -> u64 {
    network.traffic().get(MessageKind::Find.name()).map_or(0, |(messages, _)| *messages)
}
