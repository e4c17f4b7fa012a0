//! Threads that search the index of a supernode beside the task that decides: while one of them is
//! busy with words that every second file has, messages go on.

use skein_overlay::{LookUp, LookedUp};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::sync::mpsc;

/// The most threads: more searches than that are seldom under way at the same time.
const MAX_THREADS: usize = 16;

/// The threads, which start with the first search: an ordinary node has none.
#[derive(Debug)]
pub(super) struct Searchers {
    jobs: Option<Sender<LookUp>>,
    /// It needs no limit: each look-up is answered once, and the overlay bounds those.
    answers: mpsc::UnboundedSender<LookedUp>,
}

impl Searchers {
    /// No threads yet, and where their answers come out. They end when this is dropped.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<LookedUp>) {
        let (answers, receiver) = mpsc::unbounded_channel();
        (Self { jobs: None, answers }, receiver)
    }

    /// Has a search carried out.
    pub(super) fn search(&mut self, look_up: LookUp) {
        let answers = &self.answers;
        let jobs = self.jobs.get_or_insert_with(|| start(answers));
        // Without any thread, which a system short of memory refuses, it is done here.
        if let Err(refused) = jobs.send(look_up) {
            self.jobs = None;
            let _ = self.answers.send(answer(&refused.0));
        }
    }
}

/// Starts as many threads as there are cores.
fn start(answers: &mpsc::UnboundedSender<LookedUp>) -> Sender<LookUp> {
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

fn work(jobs: &Mutex<Receiver<LookUp>>, answers: &mpsc::UnboundedSender<LookedUp>) {
    loop {
        // Whoever waits for a job holds the lock, and the others wait for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(look_up) = job else { return };
        if answers.send(answer(&look_up)).is_err() {
            return;
        }
    }
}

/// The answer to a look-up. There is one whatever happens, since the overlay counts them.
fn answer(look_up: &LookUp) -> LookedUp {
    catch_unwind(AssertUnwindSafe(|| look_up.run())).unwrap_or_else(|_| {
        tracing::error!("a search of the index has failed, which is a fault of this program");
        look_up.nothing()
    })
}
