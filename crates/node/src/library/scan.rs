//! One scan: finds out what differs between a share and what is known of it, and stores that.
//!
//! Folders are compared one at a time, so that memory is bounded by the largest folder and not by
//! the share. New files are stored before files that are gone are removed: a file that was moved
//! is then found under its old name and needs no hashing, and is never withdrawn in between.

use super::core::Core;
use super::hash::{HashError, Hashed};
use super::queue::{Done, HashQueue, Task};
use super::share::{EXAMPLES, ShareEntry};
use super::stats::Counters;
use super::store::{BATCH, Batch, NewFile, StoreError};
use super::walk::{self, FoundFile, Listing, Settled};
use crate::api::types::{DaemonEvent, ScanProgress};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;

/// The longest time that hashed files wait to be stored: what a killed scan loses at most.
const FLUSH: Duration = Duration::from_millis(500);

/// The time between two reports of progress: five a second.
const REPORT: Duration = Duration::from_millis(200);

/// Which part of a share is scanned.
#[derive(Debug)]
pub(super) enum Scope {
    /// All of it.
    Whole,
    /// These folders; with all folders in them when the value is true.
    Folders(BTreeMap<String, bool>),
}

/// What a scan found beside the files.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The device that the share is on.
    pub(super) device: u64,
    /// Folders with files that were being written, and how many these are.
    pub(super) deferred: BTreeMap<String, u64>,
    /// Folders that were looked at.
    pub(super) visited: HashSet<String>,
    /// How many files and folders could not be read.
    pub(super) unreadable: u64,
    /// The first of them.
    pub(super) examples: Vec<String>,
}

/// Why a scan did not come to its end. What it had stored by then stays.
#[derive(Debug)]
pub(super) enum ScanError {
    /// The folder of the share is not there or cannot be read.
    Root(io::Error),
    /// The folder of the share is empty and on another disk than before.
    Unmounted,
    /// The database or a hash tree cannot be written.
    Store(StoreError),
    /// The library closes.
    Cancelled,
}

impl From<StoreError> for ScanError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A folder that has to be looked at.
struct Pending {
    path: String,
    parent: Option<i64>,
    deep: bool,
}

/// A scan that runs.
pub(super) struct Scan {
    core: Arc<Core>,
    share: Arc<ShareEntry>,
    cancel: CancellationToken,
    stack: Vec<Pending>,
    visited: HashSet<String>,
    queue: HashQueue,
    batch: Batch,
    flushed: Instant,
    /// Rows of files that are gone, to be removed at the end.
    gone: Vec<i64>,
    gone_folders: Vec<String>,
    progress: ScanProgress,
    reported: Option<Instant>,
    report: Report,
}

impl Scan {
    pub(super) fn new(core: Arc<Core>, share: Arc<ShareEntry>, cancel: &CancellationToken) -> Self {
        Self {
            queue: HashQueue::new(core.clone(), share.clone(), cancel),
            core,
            share,
            cancel: cancel.clone(),
            stack: Vec::new(),
            visited: HashSet::new(),
            batch: Batch::default(),
            flushed: Instant::now(),
            gone: Vec::new(),
            gone_folders: Vec::new(),
            progress: ScanProgress::default(),
            reported: None,
            report: Report::default(),
        }
    }

    /// Scans to the end.
    pub(super) async fn run(mut self, scope: Scope) -> Result<Report, ScanError> {
        self.share.bytes_hashed.store(0, Ordering::Relaxed);
        self.report.device = self.check_root().await?;
        self.plan(scope).await?;
        self.tell();
        while let Some(folder) = self.stack.pop() {
            if self.cancel.is_cancelled() {
                return Err(ScanError::Cancelled);
            }
            self.visit(folder).await?;
            self.queue.start();
            while let Some(done) = self.queue.try_next() {
                self.absorb(done).await?;
            }
            while self.queue.is_full() {
                self.wait_for_job().await?;
            }
            self.tell();
        }
        self.progress.walked = true;
        self.tell();
        while !self.queue.is_empty() {
            self.wait_for_job().await?;
        }
        self.flush().await?;
        self.remove_gone().await?;
        self.report.visited = self.visited;
        Ok(self.report)
    }

    async fn plan(&mut self, scope: Scope) -> Result<(), ScanError> {
        let folders = match scope {
            Scope::Whole => BTreeMap::from([(String::new(), true)]),
            Scope::Folders(folders) => folders,
        };
        for (mut path, mut deep) in folders {
            // A folder that is not known is found from the nearest one around it that is, since
            // unknown folders are always entered.
            while !path.is_empty()
                && self.core.store.folder_id(self.share.id, &path).await?.is_none()
            {
                path.truncate(path.trim_end_matches('/').rfind('/').map_or(0, |slash| slash + 1));
                deep = false;
            }
            self.stack.push(Pending { path, parent: None, deep });
        }
        // A deep visit of a folder must come before a shallow one: only the first one counts. The
        // stack is taken from its end.
        self.stack.sort_by_key(|pending| pending.deep);
        Ok(())
    }

    /// Makes sure that the folder of the share is there, and tells its device.
    async fn check_root(&self) -> Result<u64, ScanError> {
        let root = self.share.path.clone();
        let (device, known_files) = {
            let state = self.share.state();
            (state.device, state.totals.files)
        };
        let found = self.block(move || {
            // A link in the place of the folder, or of one around it, leads elsewhere.
            if std::fs::canonicalize(&root)? != root {
                return Err(io::Error::new(io::ErrorKind::NotFound, "it was replaced by a link"));
            }
            let listing = root_entry(&root)?;
            Ok(listing)
        });
        let (now, empty) = found.await?.map_err(ScanError::Root)?;
        if device != 0 && device != now && empty && known_files > 0 {
            return Err(ScanError::Unmounted);
        }
        Ok(now)
    }

    async fn visit(&mut self, folder: Pending) -> Result<(), ScanError> {
        if !self.visited.insert(folder.path.clone()) {
            return Ok(());
        }
        let path = self.share.path.join(&folder.path);
        let published = format!("{}/{}", self.share.name, folder.path);
        let core = self.core.clone();
        let listed = {
            let path = path.clone();
            self.block(move || walk::list(&path, &published, |folder| core.keeps_out(folder)))
                .await?
        };
        match listed {
            Ok(listing) => self.compare(folder, listing).await,
            Err(error) if folder.path.is_empty() => Err(ScanError::Root(error)),
            Err(error) if is_gone(&error) => {
                self.gone_folders.push(folder.path);
                Ok(())
            }
            Err(error) => {
                // What was known of it stays: it may become readable again.
                self.note(format!("{}: {error}", path.display()));
                Ok(())
            }
        }
    }

    async fn compare(&mut self, folder: Pending, listing: Listing) -> Result<(), ScanError> {
        let known = self.core.store.folder(self.share.id, &folder.path, folder.parent).await?;
        let uncertain: HashSet<_> = listing.uncertain.iter().map(String::as_str).collect();
        listing.unreadable.into_iter().for_each(|line| self.note(line));

        let known_folders: HashSet<_> = known.folders.iter().map(String::as_str).collect();
        let mut there = HashSet::new();
        for name in &listing.folders {
            let path = format!("{}{name}/", folder.path);
            if folder.deep || !known_folders.contains(path.as_str()) {
                self.stack.push(Pending { path: path.clone(), parent: Some(known.id), deep: true });
            }
            there.insert(path);
        }
        for path in known_folders {
            let name = path[folder.path.len()..].trim_end_matches('/');
            if !there.contains(path) && !uncertain.contains(name) {
                self.gone_folders.push(path.to_owned());
            }
        }

        let mut files: HashMap<_, _> =
            known.files.iter().map(|file| (file.name.as_str(), file)).collect();
        let mut changed = Vec::new();
        for file in listing.files {
            self.progress.files_seen += 1;
            match files.remove(file.name.as_str()) {
                Some(known) if known.stat.same_file(&file.stat) => {}
                known => changed.push((file, known.map(|known| known.id))),
            }
        }
        self.gone.extend(
            files.values().filter(|file| !uncertain.contains(&*file.name)).map(|file| file.id),
        );
        self.take_in(known.id, &folder.path, changed).await
    }

    /// Sorts files that are new or have changed: left for later, known from elsewhere, or to be
    /// hashed.
    async fn take_in(
        &mut self,
        folder: i64,
        path: &str,
        mut changed: Vec<(FoundFile, Option<i64>)>,
    ) -> Result<(), ScanError> {
        let settled = Settled::new(SystemTime::now(), self.core.config.settle());
        changed.retain(|(file, known)| {
            let settled = settled.contains(&file.stat);
            if !settled {
                self.batch.remove.extend(known);
                self.defer(path);
            }
            settled
        });
        let folder_path: Arc<str> = path.into();
        while !changed.is_empty() {
            let rest = changed.split_off(changed.len().min(BATCH));
            let part = std::mem::replace(&mut changed, rest);
            let (files, known): (Vec<_>, Vec<_>) = part.into_iter().unzip();
            let mut same = self.core.store.same_files(self.share.id, &files).await?;
            for (at, (file, known)) in files.into_iter().zip(known).enumerate() {
                if let Some((content, tags)) = same.remove(&at) {
                    Counters::count(&self.core.counters.files_moved);
                    let FoundFile { name, stat } = file;
                    let file = NewFile { folder, name, stat, content, tags, outboard: None };
                    self.batch.add.push(file);
                } else {
                    self.progress.files_to_hash += 1;
                    self.progress.bytes_to_hash += file.stat.size;
                    let folder_path = folder_path.clone();
                    self.queue.push(Task { folder, folder_path, file, known });
                }
            }
            self.flush_when_due().await?;
        }
        Ok(())
    }

    async fn wait_for_job(&mut self) -> Result<(), ScanError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(ScanError::Cancelled),
            done = self.queue.next() => self.absorb(done.unwrap_or_default()).await,
            () = tokio::time::sleep(REPORT) => {
                self.tell();
                self.flush_when_due().await
            }
        }
    }

    async fn absorb(&mut self, done: Done) -> Result<(), ScanError> {
        for (task, result) in done {
            self.progress.files_hashed += 1;
            match result {
                Ok(Hashed { content, stat, tags, outboard }) => {
                    let Task { folder, file: FoundFile { name, .. }, .. } = task;
                    self.batch.add.push(NewFile { folder, name, stat, content, tags, outboard });
                }
                Err(HashError::Cancelled) => return Err(ScanError::Cancelled),
                Err(HashError::Store(error)) => return Err(ScanError::Store(error.into())),
                Err(HashError::Changed) => {
                    self.batch.remove.extend(task.known);
                    self.defer(&task.folder_path);
                }
                Err(HashError::Unreadable(error)) => {
                    self.batch.remove.extend(task.known);
                    self.note(format!("{}: {error}", task.path(&self.share).display()));
                }
            }
        }
        self.tell();
        self.flush_when_due().await
    }

    async fn flush_when_due(&mut self) -> Result<(), ScanError> {
        let waiting = self.batch.add.len() + self.batch.remove.len();
        let due = waiting >= BATCH || (waiting > 0 && self.flushed.elapsed() >= FLUSH);
        if due { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), ScanError> {
        self.flushed = Instant::now();
        while !self.batch.add.is_empty() || !self.batch.remove.is_empty() {
            let Batch { add, remove } = &mut self.batch;
            let now = Batch {
                add: add.drain(..add.len().min(BATCH)).collect(),
                remove: remove.drain(..remove.len().min(BATCH)).collect(),
            };
            let grown = self.core.store.apply(now).await?;
            self.share.state().totals += grown;
        }
        Ok(())
    }

    async fn remove_gone(&mut self) -> Result<(), ScanError> {
        if self.gone.is_empty() && self.gone_folders.is_empty() {
            return Ok(());
        }
        // When a disk is taken away, everything on it seems to be gone.
        if self.check_root().await? != self.report.device {
            return Err(ScanError::Unmounted);
        }
        for ids in self.gone.chunks(BATCH) {
            let batch = Batch { add: Vec::new(), remove: ids.to_vec() };
            let grown = self.core.store.apply(batch).await?;
            self.share.state().totals += grown;
        }
        for folder in &self.gone_folders {
            let grown = self.core.store.remove_folder(self.share.id, folder).await?;
            self.share.state().totals += grown;
        }
        Ok(())
    }

    fn defer(&mut self, folder: &str) {
        Counters::count(&self.core.counters.files_deferred);
        if let Some(files) = self.report.deferred.get_mut(folder) {
            *files += 1;
        } else {
            self.report.deferred.insert(folder.to_owned(), 1);
        }
    }

    fn note(&mut self, line: String) {
        self.report.unreadable += 1;
        if self.report.examples.len() < EXAMPLES {
            self.report.examples.push(line);
        }
    }

    /// Tells how far the scan is, but not too often.
    fn tell(&mut self) {
        self.share.state().scan = Some(self.progress.clone());
        if self.reported.is_none_or(|last| last.elapsed() >= REPORT) {
            self.reported = Some(Instant::now());
            let _ = self.core.events.send(DaemonEvent::Scan { share: self.share.describe() });
        }
    }

    async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<io::Result<T>, ScanError> {
        self.core.tracker.spawn_blocking(work).await.map_err(|_| ScanError::Cancelled)
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The device of a folder, and whether it is empty.
fn root_entry(root: &Path) -> io::Result<(u64, bool)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::symlink_metadata(root)?;
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok((metadata.dev(), std::fs::read_dir(root)?.next().is_none()))
}
