//! Threads that let the shards of a network do their work at the same time.
//!
//! In each window of time the shards that have something to do lie on a desk, those with the most to
//! do on top, and each thread takes one after the other until there is none left. Windows are a
//! few milliseconds of work, and to wake a thread that sleeps takes up to a tenth of that: so whoever
//! waits looks for a while before it sleeps.

use super::shard::{Nodes, SHARDS, Shard, Work};
use skein_proto::key::memo;
use std::hint::spin_loop;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Below so many tasks in all it costs more to share them than to do them.
const WORTH_SHARING: usize = 8;

/// How often one that waits looks before it lets others have the processor between two looks: some
/// 50 µs; and how often it does that before it sleeps. What it waits for is mostly there within a
/// millisecond, and to be woken takes a tenth of that.
const LOOKS: u32 = 4_000;
const YIELDS: u32 = 2_000;

/// Threads that work beside the one that the network belongs to.
#[derive(Default)]
pub(super) struct Team {
    desk: Arc<Desk>,
    helpers: Vec<JoinHandle<()>>,
}

/// A shard with what it has to do.
struct Job {
    number: usize,
    shard: Box<Shard>,
    work: Work,
}

#[derive(Default)]
struct Desk {
    papers: Mutex<Papers>,
    /// Somebody sleeps until there is something to do.
    comes: Condvar,
    /// The one that the network belongs to sleeps until all is done.
    ends: Condvar,
    /// Jobs that nobody has taken yet, for a look without the lock.
    waiting: AtomicUsize,
    /// Jobs that are not done yet, in the same way.
    open: AtomicUsize,
}

#[derive(Default)]
struct Papers {
    /// The one with the most to do last.
    jobs: Vec<Job>,
    done: Vec<Job>,
    sleepers: usize,
    closed: bool,
    /// A helper has panicked.
    failed: bool,
}

impl Team {
    /// So many threads in all; more than there are shards are of no use.
    pub(super) fn new(threads: usize) -> Self {
        let desk = Arc::new(Desk::default());
        let helpers = (1..threads.min(SHARDS)).map(|_| {
            let (desk, memo) = (desk.clone(), memo::share());
            std::thread::spawn(move || {
                memo::adopt(memo);
                desk.help();
            })
        });
        Self { helpers: helpers.collect(), desk }
    }

    /// Lets the helpers begin with the work of all shards, if it is worth that, and answers whether
    /// they do: until [`Self::end`] the nodes are with them.
    #[must_use]
    pub(super) fn begin(&mut self, nodes: &mut Nodes, work: &mut [Work; SHARDS]) -> bool {
        let tasks: usize = work.iter().map(|work| work.tasks.len()).sum();
        let is_shared = !self.helpers.is_empty() && tasks >= WORTH_SHARING;
        if is_shared {
            self.desk.lay_out(nodes, work);
        }
        is_shared
    }

    /// Does what is left of the work, and waits until all of it is done. What comes of it does not
    /// depend on how many threads there are, since no shard sees another one.
    pub(super) fn end(&mut self, nodes: &mut Nodes, work: &mut [Work; SHARDS], is_shared: bool) {
        if !is_shared {
            for (number, work) in work.iter_mut().enumerate() {
                nodes.shard(number).run(work);
            }
            return;
        }
        while let Some(job) = self.desk.take() {
            self.desk.put(job.done());
        }
        for Job { number, shard, work: done } in self.desk.collect() {
            *nodes.shard(number) = shard;
            work[number] = done;
        }
        if self.desk.papers().failed {
            self.fail();
        }
    }

    /// A node has panicked: so does whoever runs it.
    fn fail(&mut self) {
        self.desk.close();
        for helper in self.helpers.drain(..) {
            if let Err(panic) = helper.join() {
                resume_unwind(panic);
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.desk.close();
        for helper in self.helpers.drain(..) {
            // Its panic has been passed on, or comes while this one unwinds.
            let _ = helper.join();
        }
    }
}

impl Job {
    fn done(mut self) -> Self {
        self.shard.run(&mut self.work);
        self
    }
}

impl Desk {
    /// One that panics leaves whole papers behind: it holds no lock while it works.
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lays out the shards that have something to do.
    fn lay_out(&self, nodes: &mut Nodes, work: &mut [Work; SHARDS]) {
        let mut papers = self.papers();
        for (number, work) in work.iter_mut().enumerate().filter(|(_, work)| !work.tasks.is_empty())
        {
            let shard = std::mem::take(nodes.shard(number));
            papers.jobs.push(Job { number, shard, work: std::mem::take(work) });
        }
        papers.jobs.sort_by_key(|job| job.work.tasks.len());
        self.open.store(papers.jobs.len(), Ordering::Release);
        self.waiting.store(papers.jobs.len(), Ordering::Release);
        if papers.sleepers > 0 {
            self.comes.notify_all();
        }
    }

    /// Takes what has the most to do.
    fn take(&self) -> Option<Job> {
        let mut papers = self.papers();
        let job = papers.jobs.pop();
        self.waiting.store(papers.jobs.len(), Ordering::Release);
        job
    }

    /// Puts back what is done.
    fn put(&self, job: Job) {
        let mut papers = self.papers();
        papers.done.push(job);
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.ends.notify_all();
        }
    }

    /// Waits until all is done, and hands it out.
    fn collect(&self) -> Vec<Job> {
        let is_done = || self.open.load(Ordering::Acquire) == 0;
        look_out_for(is_done);
        let mut papers = self.papers();
        while !is_done() && !papers.failed {
            papers = self.ends.wait(papers).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut papers.done)
    }

    /// Works until there will be nothing to do any more.
    fn help(&self) {
        let _alarm = Alarm(self);
        loop {
            look_out_for(|| self.waiting.load(Ordering::Acquire) > 0);
            let mut papers = self.papers();
            while papers.jobs.is_empty() && !papers.closed {
                papers.sleepers += 1;
                papers = self.comes.wait(papers).unwrap_or_else(PoisonError::into_inner);
                papers.sleepers -= 1;
            }
            if papers.closed {
                return;
            }
            drop(papers);
            while let Some(job) = self.take() {
                self.put(job.done());
            }
        }
    }

    fn close(&self) {
        self.papers().closed = true;
        self.comes.notify_all();
    }
}

/// Looks for a while whether something is so.
fn look_out_for(is_so: impl Fn() -> bool) {
    for look in 0..LOOKS + YIELDS {
        if is_so() {
            return;
        }
        if look < LOOKS { spin_loop() } else { std::thread::yield_now() }
    }
}

/// Tells the one that waits for a helper that it has panicked.
struct Alarm<'a>(&'a Desk);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.papers().failed = true;
            self.0.ends.notify_all();
        }
    }
}
