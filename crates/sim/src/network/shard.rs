//! The nodes, dealt out so that several threads can let them work at the same time.

use super::deeds::Deeds;
use super::node::{Notice, SimNode};
use super::{Settings, time_at};
use skein_proto::Instant;
use skein_proto::key::memo;
use std::ops::{Index, IndexMut};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Parts that the nodes are dealt out to: the cores of the machine that the figures are stated for.
/// It is a constant since it must not depend on the machine what comes of a run, though it does not
/// matter for that.
pub(super) const SHARDS: usize = 2;

/// Below so many tasks in a shard it costs more to wake another thread than to work.
const WORTH_WAKING: usize = 4;

/// All nodes by their numbers.
#[derive(Default)]
pub(crate) struct Nodes {
    shards: [Box<Shard>; SHARDS],
    len: usize,
}

#[derive(Default)]
struct Shard(Vec<SimNode>);

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
    /// Its place among all tasks of all shards.
    pub(super) order: u32,
    pub(super) node: u32,
    pub(super) at: Instant,
    pub(super) notice: Notice,
}

/// How many deeds a task came to.
pub(super) struct Done {
    pub(super) order: u32,
    pub(super) node: u32,
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
    fn run(&mut self, work: &mut Work) {
        for Task { order, node, at, notice } in work.tasks.drain(..) {
            let before = work.deeds.len();
            if let Some(found) = self.0.get_mut(node as usize / SHARDS) {
                found.notice(notice, time_at(at), &mut work.deeds);
            }
            let deeds = work.deeds.len() - before;
            work.done.push(Done { order, node, at, deeds });
        }
    }
}

/// Threads that work beside the one that the network belongs to.
#[derive(Default)]
pub(super) struct Team {
    helpers: Vec<Helper>,
}

struct Helper {
    jobs: Option<SyncSender<(Box<Shard>, Work)>>,
    results: Receiver<(Box<Shard>, Work)>,
    thread: Option<JoinHandle<()>>,
}

impl Team {
    /// So many threads in all; more than there are shards are of no use.
    pub(super) fn new(threads: usize) -> Self {
        let count = threads.clamp(1, SHARDS) - 1;
        Self { helpers: (0..count).map(|_| Helper::new()).collect() }
    }

    /// Lets all shards do their work. What comes of it does not depend on how many threads there
    /// are, since no shard sees another one.
    pub(super) fn run(&mut self, nodes: &mut Nodes, work: &mut [Work; SHARDS]) {
        let mut away = [false; SHARDS];
        // The first shard is done here, and those for which there is no helper.
        for (shard, helper) in (1..SHARDS).zip(&self.helpers) {
            if work[shard].tasks.len() >= WORTH_WAKING && !work[0].tasks.is_empty() {
                helper.send(std::mem::take(&mut nodes.shards[shard]), &mut work[shard]);
                away[shard] = true;
            }
        }
        for shard in (0..SHARDS).filter(|shard| !away[*shard]) {
            nodes.shards[shard].run(&mut work[shard]);
        }
        for (shard, helper) in (1..SHARDS).zip(&mut self.helpers) {
            if away[shard] {
                (nodes.shards[shard], work[shard]) = helper.receive();
            }
        }
    }
}

impl Helper {
    fn new() -> Self {
        let (jobs, inbox) = sync_channel::<(Box<Shard>, Work)>(1);
        let (outbox, results) = sync_channel(1);
        let memo = memo::share();
        let thread = std::thread::spawn(move || {
            memo::adopt(memo);
            while let Ok((mut shard, mut work)) = inbox.recv() {
                shard.run(&mut work);
                if outbox.send((shard, work)).is_err() {
                    return;
                }
            }
        });
        Self { jobs: Some(jobs), results, thread: Some(thread) }
    }

    fn send(&self, shard: Box<Shard>, work: &mut Work) {
        if let Some(jobs) = &self.jobs {
            // One that has died is noticed when its results are asked for.
            let _ = jobs.send((shard, std::mem::take(work)));
        }
    }

    fn receive(&mut self) -> (Box<Shard>, Work) {
        if let Ok(result) = self.results.recv() {
            return result;
        }
        // A node has panicked: so does whoever runs it.
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => resume_unwind(panic),
            _ => unreachable!("a helper ends when its jobs do, and they have not"),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panic has been passed on, or comes while this one unwinds.
            let _ = thread.join();
        }
    }
}
