//! The share library: which files this node shares.
//!
//! Folders that the user shares are scanned in the background, and again when the operating system
//! reports a change. What is known of each file is kept in an embedded database in the data
//! folder, its hash tree beside it (see [`outboard`]), so that a file is read once and then only
//! when it has changed.
//!
//! | file | subject |
//! |---|---|
//! | `library.db` | shares, folders, files (SQLite) |
//! | `outboards/ab/cd….obao4` | the hash tree of each content over 16 KiB |
//!
//! What is shared: regular files with at least one byte and a UTF-8 path of at most 512 bytes.
//! Left out: hidden files and folders (names that begin with a dot), symbolic links, unfinished
//! downloads, the node's own data folder, and that of what people have sent to the user.

mod config;
mod core;
mod error;
mod hash;
mod located;
pub mod outboard;
mod queue;
mod scan;
mod share;
mod stats;
mod store;
mod tags;
#[cfg(test)]
mod tests;
mod touched;
mod walk;
mod watch;
mod worker;

pub use config::LibraryConfig;
pub use error::{LibraryError, ShareError};
pub use located::LocatedFile;
pub use stats::LibraryStats;
pub use store::LibraryChange;

use self::core::Core;
use crate::api::types::{DaemonEvent, LibraryStatus, ScanProgress, Share};
use hash::Hasher;
use outboard::OutboardFolder;
use share::ShareEntry;
use skein_proto::{ContentId, FileMeta, FilePath};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{ShareRow, Store, StoreError, Totals};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use worker::Worker;

/// The most folders that can be shared: each has a task and a watcher, and systems allow some
/// hundred watchers to a user.
pub const MAX_SHARES: usize = 100;

/// The most files in one answer of [`Library::files_after`].
pub const MAX_PAGE: usize = 10_000;

/// How many events wait for a slow listener before it misses some.
const EVENTS_KEPT: usize = 256;

/// The share library. Clones are handles to the same one; it closes when the last one is dropped,
/// or, in an orderly way, by [`Library::close`].
#[derive(Clone, Debug)]
pub struct Library {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
    shares: Mutex<BTreeMap<PathBuf, Active>>,
    /// Held while shares are added or removed, one at a time.
    changing: tokio::sync::Mutex<()>,
}

/// A share with the task that looks after it.
#[derive(Debug)]
struct Active {
    entry: Arc<ShareEntry>,
    requests: mpsc::Sender<oneshot::Sender<()>>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.cancel.cancel();
    }
}

impl Library {
    /// Opens the library in the node's data folder, or makes it, and begins to scan.
    ///
    /// # Errors
    /// [`LibraryError`] when a setting is out of range, or the data folder or the database in it
    /// cannot be used.
    pub async fn open(dir: &Path, config: LibraryConfig) -> Result<Self, LibraryError> {
        config.check()?;
        let unusable = |source| LibraryError::DataFolder { path: dir.to_owned(), source };
        let data_dir = tokio::fs::canonicalize(dir).await.map_err(unusable)?;
        let outboards = data_dir.join("outboards");
        let opened = tokio::task::spawn_blocking(move || OutboardFolder::open(outboards)).await;
        let outboards = opened.map_err(io::Error::other).flatten().map_err(unusable)?;
        let mark = outboards.mark();
        let store = Store::open(&data_dir.join("library.db"), outboards.clone()).await?;
        // The mark of the last run is still there when it did not end in an orderly way.
        let sweep = mark.exists();
        tokio::fs::write(&mark, b"").await.map_err(unusable)?;

        let private = config.private().map(Path::to_owned);
        let real = tokio::task::spawn_blocking(move || private.as_deref().map(real_path));
        let private = real.await.map_err(|panic| unusable(io::Error::other(panic)))?;

        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let core = Arc::new(Core {
            store,
            hasher: Hasher::new(outboards),
            counters: Arc::default(),
            hash_permits: Arc::new(Semaphore::new(config.hash_workers())),
            config,
            data_dir,
            private,
            events,
            cancel: CancellationToken::new(),
            tracker: TaskTracker::new(),
        });
        let mut totals = core.store.totals().await?;
        let library = Self {
            inner: Arc::new(Inner {
                core: core.clone(),
                shares: Mutex::default(),
                changing: tokio::sync::Mutex::default(),
            }),
        };
        if sweep {
            library.sweep();
        }
        for row in core.store.shares().await? {
            if row.removed {
                library.purge(row.id);
            } else {
                let totals = totals.remove(&row.id).unwrap_or_default();
                library.start(row, totals);
            }
        }
        Ok(library)
    }

    /// Ends all scans and closes the database. Handles that are left answer with
    /// [`LibraryError`]s.
    pub async fn close(&self) {
        let core = &self.inner.core;
        core.cancel.cancel();
        core.tracker.close();
        core.tracker.wait().await;
        core.store.close().await;
        let _ = tokio::fs::remove_file(core.store.outboards().mark()).await;
    }

    fn shares_now(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Active>> {
        // Each change of the map is complete in itself, also when a thread panicked after it.
        self.inner.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, share: i64) -> Option<Arc<ShareEntry>> {
        let shares = self.shares_now();
        shares.values().find(|active| active.entry.id == share).map(|active| active.entry.clone())
    }

    fn start(&self, row: ShareRow, totals: Totals) -> Share {
        let core = &self.inner.core;
        let entry = Arc::new(ShareEntry::new(row, totals, core.config.quiet()));
        let (requests, receiver) = mpsc::channel(worker::REQUESTS);
        let cancel = core.cancel.child_token();
        // A scan begins at once, and whoever asks in between shall not take it for done.
        entry.state().scan = Some(ScanProgress::default());
        let worker = Worker::new(core.clone(), entry.clone(), receiver, cancel.clone());
        let task = core.tracker.spawn(worker.run());
        let share = entry.describe();
        self.shares_now().insert(entry.path.clone(), Active { entry, requests, cancel, task });
        share
    }

    /// Deletes the rows of a share that was taken back, in the background.
    fn purge(&self, share: i64) {
        let core = self.inner.core.clone();
        // What is left is deleted when the library is opened again.
        let purge = async move { core.store.purge_share(share).await };
        self.tidy("what was known of a removed share", purge);
    }

    /// Removes hash trees that belong to no file, in the background.
    fn sweep(&self) {
        let core = self.inner.core.clone();
        let sweep = async move { core.store.sweep_outboards().await };
        self.tidy("hash trees that belong to no file", sweep);
    }

    /// Works on the database until it is done or the library closes.
    fn tidy(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) {
        let cancel = self.inner.core.cancel.clone();
        self.inner.core.tracker.spawn(async move {
            if let Some(Err(error)) = cancel.run_until_cancelled(work).await {
                tracing::warn!(%error, "cannot delete {what}");
            }
        });
    }

    /// Shares a folder and begins to scan it.
    ///
    /// # Errors
    /// [`LibraryError::Unshareable`] says what is wrong with the folder.
    pub async fn add_share(&self, path: &Path) -> Result<Share, LibraryError> {
        self.check_open()?;
        let _changing = self.inner.changing.lock().await;
        let path = self.shareable(path).await?;
        let name = self.free_name(&path)?;
        let row = self.inner.core.store.add_share(&path, &name).await?;
        tracing::info!(share = %path.display(), name, "shared");
        Ok(self.start(row, Totals::default()))
    }

    async fn shareable(&self, asked: &Path) -> Result<PathBuf, ShareError> {
        let unreadable = |source| ShareError::Unreadable { path: asked.to_owned(), source };
        let path = tokio::fs::canonicalize(asked).await.map_err(unreadable)?;
        if !tokio::fs::metadata(&path).await.map_err(unreadable)?.is_dir() {
            return Err(ShareError::NotAFolder(path));
        }
        drop(tokio::fs::read_dir(&path).await.map_err(unreadable)?);
        if path.parent().is_none() {
            return Err(ShareError::Root(path));
        }
        let (own, whose) = (self.inner.core.data_dir.clone(), path.clone());
        let keys = move || whose.starts_with(own) || whose.ancestors().any(core::holds_keys);
        // What cannot be found out is not shared.
        if tokio::task::spawn_blocking(keys).await.unwrap_or(true) {
            return Err(ShareError::DataFolder(path));
        }
        if self.inner.core.is_private(&path) {
            return Err(ShareError::Private(path));
        }
        let shares = self.shares_now();
        if shares.contains_key(&path) {
            return Err(ShareError::Already(path));
        }
        if let Some(other) = shares.keys().find(|other| path.starts_with(other)) {
            return Err(ShareError::Inside { other: other.clone(), path });
        }
        if let Some(other) = shares.keys().find(|other| other.starts_with(&path)) {
            return Err(ShareError::Over { other: other.clone(), path });
        }
        if shares.len() >= MAX_SHARES {
            return Err(ShareError::TooMany { limit: MAX_SHARES });
        }
        Ok(path)
    }

    /// The folder's last part, with a number behind it if another share has that name.
    fn free_name(&self, path: &Path) -> Result<String, ShareError> {
        let unusable = || ShareError::Name(path.to_owned());
        path.to_str().ok_or_else(unusable)?;
        let base = path.file_name().and_then(|name| name.to_str()).ok_or_else(unusable)?;
        let shares = self.shares_now();
        let taken = |name: &str| shares.values().any(|active| active.entry.name == name);
        let numbered = (2..=MAX_SHARES + 1).map(|number| format!("{base} ({number})"));
        let name = std::iter::once(base.to_owned()).chain(numbered).find(|name| !taken(name));
        // A file in it must have a path that can be published.
        name.filter(|name| FilePath::new(format!("{name}/x")).is_ok()).ok_or_else(unusable)
    }

    /// Shares a folder no longer. Its files are withdrawn when this returns.
    ///
    /// # Errors
    /// [`LibraryError::NotShared`], or a failure of the database.
    pub async fn remove_share(&self, path: &Path) -> Result<(), LibraryError> {
        self.check_open()?;
        let _changing = self.inner.changing.lock().await;
        let path = self.known_path(path).await?;
        let share = self.shares_now().get(&path).map(|active| active.entry.id);
        let Some(share) = share else { return Err(LibraryError::NotShared(path)) };
        // First of all, so that a share which stays published stays listed.
        self.inner.core.store.mark_removed(share).await?;
        let Some(active) = self.shares_now().remove(&path) else {
            return Err(LibraryError::NotShared(path));
        };
        active.cancel.cancel();
        let _ = active.task.await;
        self.purge(active.entry.id);
        tracing::info!(share = %path.display(), "no longer shared");
        Ok(())
    }

    /// The path under which a share is kept. The folder itself may be gone.
    async fn known_path(&self, asked: &Path) -> Result<PathBuf, LibraryError> {
        if self.shares_now().contains_key(asked) {
            return Ok(asked.to_owned());
        }
        let path = tokio::fs::canonicalize(asked).await.unwrap_or_else(|_| asked.to_owned());
        if self.shares_now().contains_key(&path) {
            Ok(path)
        } else {
            Err(LibraryError::NotShared(path))
        }
    }

    /// Scans a share now, and waits until a scan that began after this call has ended. How it
    /// ended is said by [`Share::problem`].
    ///
    /// # Errors
    /// [`LibraryError::NotShared`], or [`LibraryError::Closed`] when the library or the share is
    /// closed meanwhile.
    pub async fn rescan(&self, path: &Path) -> Result<(), LibraryError> {
        self.check_open()?;
        let path = self.known_path(path).await?;
        let requests = self.shares_now().get(&path).map(|active| active.requests.clone());
        let requests = requests.ok_or(LibraryError::NotShared(path))?;
        let (done, ended) = oneshot::channel();
        requests.send(done).await.map_err(|_| LibraryError::Closed)?;
        ended.await.map_err(|_| LibraryError::Closed)
    }

    /// The shared folders, by path.
    pub fn shares(&self) -> Vec<Share> {
        self.shares_now().values().map(|active| active.entry.describe()).collect()
    }

    /// The library in numbers.
    pub fn status(&self) -> LibraryStatus {
        let mut status = LibraryStatus::default();
        for share in self.shares() {
            status.shares += 1;
            status.files += share.files;
            status.bytes += share.bytes;
            status.scanning |= share.scan.is_some();
        }
        status
    }

    /// What the library has done since it was opened.
    pub fn stats(&self) -> LibraryStats {
        self.inner.core.counters.read()
    }

    /// What is published, ordered by content id, from behind `after`: at most `limit` contents
    /// and at most [`MAX_PAGE`], each once, under the first of its paths. An empty answer means
    /// that there are no more.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn files_after(
        &self,
        after: Option<ContentId>,
        limit: usize,
    ) -> Result<Vec<FileMeta>, LibraryError> {
        let limit = limit.min(MAX_PAGE);
        Ok(self.inner.core.store.files_after(after.as_ref(), limit).await?)
    }

    /// Tells of everything that is published or withdrawn from now on, in batches of at most some
    /// thousand contents, in the order in which it happens. To begin with, subscribe first and then
    /// read all pages of [`Self::files_after`]; do the same again after a `Lagged`.
    pub fn changes(&self) -> broadcast::Receiver<Arc<LibraryChange>> {
        self.inner.core.store.changes()
    }

    /// Tells how scans go on, at most five times a second for each share, and when they end.
    pub fn events(&self) -> broadcast::Receiver<DaemonEvent> {
        self.inner.core.events.subscribe()
    }

    fn check_open(&self) -> Result<(), LibraryError> {
        if self.inner.core.cancel.is_cancelled() { Err(LibraryError::Closed) } else { Ok(()) }
    }
}

/// A path without links, also of what is not there yet.
fn real_path(path: &Path) -> PathBuf {
    let real = path.ancestors().find_map(|around| {
        let real = around.canonicalize().ok()?;
        Some(real.join(path.strip_prefix(around).ok()?))
    });
    // `join` with an empty path would leave a slash at the end.
    real.map_or_else(|| path.to_owned(), |real| real.components().collect())
}
