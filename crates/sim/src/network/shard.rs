//! The nodes, dealt out so that several threads can let them work at the same time.

use super::deeds::Deeds;
use super::node::{Notice, SimNode};
use super::{Settings, time_at};
use skein_proto::Instant;
use std::ops::{Index, IndexMut};

/// Parts that the nodes are dealt out to: some for each thread, so that one which is done sooner
/// takes a part more, and no thread waits for longer than the largest part takes.
pub(super) const SHARDS: usize = 32;

/// All nodes by their numbers.
#[derive(Default)]
pub(crate) struct Nodes {
    shards: [Box<Shard>; SHARDS],
    len: usize,
}

/// The nodes of one part.
#[derive(Default)]
pub(super) struct Shard(Vec<SimNode>);

impl Nodes {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, node: SimNode) {
        self.shards[self.len % SHARDS].0.push(node);
        self.len += 1;
    }

    /// One of the parts.
    pub(super) fn shard(&mut self, number: usize) -> &mut Box<Shard> {
        &mut self.shards[number]
    }

    pub(crate) fn get(&self, number: usize) -> Option<&SimNode> {
        self.shards[number % SHARDS].0.get(number / SHARDS)
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut SimNode> {
        self.shards[number % SHARDS].0.get_mut(number / SHARDS)
    }
}

impl Index<usize> for Nodes {
    type Output = SimNode;

    fn index(&self, number: usize) -> &SimNode {
        &self.shards[number % SHARDS].0[number / SHARDS]
    }
}

impl IndexMut<usize> for Nodes {
    fn index_mut(&mut self, number: usize) -> &mut SimNode {
        &mut self.shards[number % SHARDS].0[number / SHARDS]
    }
}

/// Something that a node is to notice.
pub(super) struct Task {
    pub(super) node: u32,
    pub(super) at: Instant,
    pub(super) notice: Notice,
}

/// How many deeds a task came to.
pub(super) struct Done {
    pub(super) node: u32,
    /// In which of its lives.
    pub(super) life: u32,
    pub(super) at: Instant,
    pub(super) deeds: usize,
}

/// What one shard has to do, and what came of it. It is used again and again.
#[derive(Default)]
pub(super) struct Work {
    pub(super) tasks: Vec<Task>,
    pub(super) done: Vec<Done>,
    pub(super) deeds: Deeds,
}

impl Work {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { deeds: Deeds::new(settings), ..Self::default() }
    }
}

impl Shard {
    /// Does the tasks one after the other.
    pub(super) fn run(&mut self, work: &mut Work) {
        for Task { node, at, notice } in work.tasks.drain(..) {
            let before = work.deeds.len();
            let mut life = 0;
            if let Some(found) = self.0.get_mut(node as usize / SHARDS) {
                found.notice(notice, time_at(at), &mut work.deeds);
                life = found.life;
            }
            let deeds = work.deeds.len() - before;
            work.done.push(Done { node, life, at, deeds });
        }
    }
}
