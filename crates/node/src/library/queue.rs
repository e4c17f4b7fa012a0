//! The files of one scan that have to be hashed, and the threads that do it.

use super::core::Core;
use super::hash::{HashError, Hashed};
use super::share::ShareEntry;
use super::walk::FoundFile;
use skein_proto::fetch::GROUP_BYTES;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How many files may wait before the scan looks at no further folders: enough to tell early how
/// much there is to do, at about 150 bytes each.
const MAX_QUEUED: usize = 65_536;

/// A thread takes several small files at a time, so that handing them over costs little: at most
/// so many files, or so many bytes.
const JOB_FILES: usize = 64;
const JOB_BYTES: u64 = 64 * GROUP_BYTES;

/// A file that has to be hashed.
#[derive(Debug)]
pub(super) struct Task {
    /// The number of its folder.
    pub(super) folder: i64,
    /// The path of its folder in the share.
    pub(super) folder_path: Arc<str>,
    /// What was found.
    pub(super) file: FoundFile,
    /// The row that it replaces.
    pub(super) known: Option<i64>,
}

impl Task {
    /// Where the file is.
    pub(super) fn path(&self, share: &ShareEntry) -> PathBuf {
        let mut path = share.path.join(&*self.folder_path);
        path.push(&self.file.name);
        path
    }
}

/// What became of some files.
pub(super) type Done = Vec<(Task, Result<Hashed, HashError>)>;

/// Files that wait, and files that are being hashed. Dropping it stops the hashing.
#[derive(Debug)]
pub(super) struct HashQueue {
    core: Arc<Core>,
    share: Arc<ShareEntry>,
    cancel: CancellationToken,
    _cancel_jobs: DropGuard,
    waiting: VecDeque<Task>,
    jobs: JoinSet<Done>,
}

impl HashQueue {
    pub(super) fn new(core: Arc<Core>, share: Arc<ShareEntry>, cancel: &CancellationToken) -> Self {
        let cancel = cancel.child_token();
        Self {
            core,
            share,
            _cancel_jobs: cancel.clone().drop_guard(),
            cancel,
            waiting: VecDeque::new(),
            jobs: JoinSet::new(),
        }
    }

    pub(super) fn push(&mut self, task: Task) {
        self.waiting.push_back(task);
    }

    /// Whether no further files should be put in until some were taken out.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_QUEUED
    }

    /// Whether all files have been hashed and taken out.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.jobs.is_empty()
    }

    /// Gives waiting files to the threads.
    pub(super) fn start(&mut self) {
        // Twice as many jobs as threads, so that a thread never waits for the scan.
        while self.jobs.len() < self.core.config.hash_workers() * 2 && !self.waiting.is_empty() {
            let mut tasks = Vec::new();
            let mut bytes = 0;
            while tasks.len() < JOB_FILES && bytes < JOB_BYTES {
                let Some(task) = self.waiting.pop_front() else { break };
                bytes += task.file.stat.size;
                tasks.push(task);
            }
            let (core, share) = (self.core.clone(), self.share.clone());
            self.jobs.spawn(run_job(core, share, self.cancel.clone(), tasks));
        }
    }

    /// What has been done since the last call, without waiting.
    pub(super) fn try_next(&mut self) -> Option<Done> {
        let done = self.jobs.try_join_next();
        self.taken(done)
    }

    /// Waits for the next job; `None` when there is none.
    pub(super) async fn next(&mut self) -> Option<Done> {
        self.start();
        let done = self.jobs.join_next().await;
        self.taken(done)
    }

    fn taken(&mut self, done: Option<Result<Done, tokio::task::JoinError>>) -> Option<Done> {
        self.start();
        // A job does not come back when the runtime ends or when hashing panicked. Its files are
        // still not stored, so that the next scan looks at them again.
        Some(done?.unwrap_or_default())
    }
}

async fn run_job(
    core: Arc<Core>,
    share: Arc<ShareEntry>,
    cancel: CancellationToken,
    tasks: Vec<Task>,
) -> Done {
    // The semaphore is never closed; if it were, nothing could be hashed any more.
    let Ok(permit) = core.hash_permits.clone().acquire_owned().await else { return Done::new() };
    let worker = core.clone();
    let done = core.tracker.spawn_blocking(move || {
        let _permit = permit;
        let hash = |task: Task| {
            let (path, progress) = (task.path(&share), &share.bytes_hashed);
            let stat = &task.file.stat;
            let result = worker.hasher.hash(&path, stat, &worker.counters, progress, &cancel);
            (task, result)
        };
        tasks.into_iter().map(hash).collect()
    });
    done.await.unwrap_or_default()
}
