//! Threads that search the index of a supernode beside the task that decides: while one of them is
//! busy with words that every second file has, messages go on. They merge its segments as well, in
//! short pieces, and give back to the system what it does not need any more.

use skein_index::{Unneeded, Upkeep};
use skein_overlay::{LookUp, LookedUp};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::sync::mpsc;

/// The most threads: more searches than that are seldom under way at the same time.
const MAX_THREADS: usize = 16;

/// Documents by which a merge goes on before it is handed back: it keeps a search that waits for
/// a thread waiting for two milliseconds.
const PIECE: usize = 2048;

/// What the threads are given.
#[derive(Debug)]
enum Job {
    LookUp(LookUp),
    Upkeep(Upkeep),
    GiveBack(Unneeded),
}

/// What comes of it.
#[derive(Debug)]
pub(super) enum Done {
    LookedUp(LookedUp),
    /// Merging has gone on; `None` if it has failed.
    Upkeep(Option<Upkeep>),
    /// Some memory is the system's again; the rest is to follow.
    GivenBack(Option<Unneeded>),
}

/// The threads, which start with the first job: an ordinary node has none.
#[derive(Debug)]
pub(super) struct Searchers {
    jobs: Option<Sender<Job>>,
    /// It needs no limit: each job is answered once, and the overlay bounds searches, merges are one at a
    /// time, and what is given back is what the index had.
    answers: mpsc::UnboundedSender<Done>,
}

impl Searchers {
    /// No threads yet, and where their answers come out. They end when this is dropped.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Done>) {
        let (answers, receiver) = mpsc::unbounded_channel();
        (Self { jobs: None, answers }, receiver)
    }

    /// Has a search carried out.
    pub(super) fn search(&mut self, look_up: LookUp) {
        self.give(Job::LookUp(look_up));
    }

    /// Has a merge go on.
    pub(super) fn tend(&mut self, upkeep: Upkeep) {
        self.give(Job::Upkeep(upkeep));
    }

    /// Has some memory given back to the system.
    pub(super) fn give_back(&mut self, unneeded: Unneeded) {
        self.give(Job::GiveBack(unneeded));
    }

    fn give(&mut self, job: Job) {
        let answers = &self.answers;
        let jobs = self.jobs.get_or_insert_with(|| start(answers));
        // Without any thread, which a system short of memory refuses, it is done here.
        if let Err(refused) = jobs.send(job) {
            self.jobs = None;
            let _ = self.answers.send(carry_out(refused.0));
        }
    }
}

/// Starts as many threads as there are cores.
fn start(answers: &mpsc::UnboundedSender<Done>) -> Sender<Job> {
    let (sender, receiver) = channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let cores = thread::available_parallelism().map_or(2, usize::from);
    for number in 0..cores.min(MAX_THREADS) {
        let (jobs, answers) = (Arc::clone(&receiver), answers.clone());
        let thread = thread::Builder::new().name(format!("index-{number}"));
        if let Err(error) = thread.spawn(move || work(&jobs, &answers)) {
            tracing::warn!(%error, "a thread for searches was not started");
        }
    }
    sender
}

fn work(jobs: &Mutex<Receiver<Job>>, answers: &mpsc::UnboundedSender<Done>) {
    loop {
        // Whoever waits for a job holds the lock, and the others wait for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if answers.send(carry_out(job)).is_err() {
            return;
        }
    }
}

/// What comes of a job. There is an answer whatever happens, since the overlay counts them.
fn carry_out(job: Job) -> Done {
    match job {
        Job::LookUp(look_up) => {
            let looked_up = catch_unwind(AssertUnwindSafe(|| look_up.run()));
            Done::LookedUp(looked_up.unwrap_or_else(|_| {
                tracing::error!("a search of the index has failed: a fault of this program");
                look_up.nothing()
            }))
        }
        Job::Upkeep(mut upkeep) => {
            let merged = catch_unwind(AssertUnwindSafe(move || {
                upkeep.run(PIECE);
                upkeep
            }));
            if merged.is_err() {
                tracing::error!("merging in the index has failed: a fault of this program");
            }
            Done::Upkeep(merged.ok())
        }
        Job::GiveBack(unneeded) => Done::GivenBack(unneeded.give_back_some()),
    }
}
