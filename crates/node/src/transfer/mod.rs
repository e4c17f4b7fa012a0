//! Transfers: downloads from many sources at once, every 16 KiB verified before it is written;
//! and uploads of what this node shares, has downloaded, or is downloading.
//!
//! ```text
//!   Transfers   the list of downloads; incoming requests         mod, begin, stats
//!   Task        one download: swarm, network and disk together   task, fetch, view
//!   Reach       the way to a source: dialled, or over a session  reach, via
//!   Uploader    one stream for each request                      upload, served, ranges
//!   Partial     bytes and hash tree of a download on disk        partial, disk, finish, names
//!   Folder      where a download goes; files that are here       folder, copy, seen, forget
//!   Journal     what a restart needs to know                     journal, recover
//! ```
//!
//! What a download asks of whom is decided by [`skein_swarm`]; this module does it.

mod begin;
mod claim;
mod copy;
mod disk;
mod error;
mod fetch;
mod finish;
mod folder;
mod forget;
mod journal;
mod names;
mod partial;
mod ranges;
mod reach;
mod recover;
mod seen;
mod served;
mod stats;
mod store;
mod task;
#[cfg(test)]
mod tests;
mod upload;
mod via;
mod view;

pub use claim::Claim;
pub use disk::{Disk, LocalDisk, WritableFile};
pub use error::TransferError;
pub use folder::Folder;
pub(crate) use names::{is_invisible, sanitise as clean_name};
pub use stats::DownloadStats;
pub use store::{
    ContentStore, Granted, Grants, Membership, SessionWay, SourceFinder, SourceSessions, StoredFile,
};
pub use upload::UploadStats;

use crate::api::types::{Download, DownloadState, Source};
use journal::{Journal, Record};
use reach::Reach;
use served::{OwnFile, Served};
use skein_net::{Connection, Endpoint, Stream};
use skein_proto::ContentId;
use skein_proto::fetch::{FetchRequest, GROUP_BYTES};
use skein_swarm::{Order, UploadConfig};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use task::{Command, Counts, PartialSlot, Shared};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use upload::Uploader;

/// Settings of transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransferConfig {
    /// Slots and queue of the upload side.
    pub upload: UploadConfig,
    /// Whether those without a credential are served, after all members. By default they are not.
    pub serve_guests: bool,
    /// In which order the parts of a file are fetched.
    pub order: Order,
    /// How long a source is dialled before a session with it is opened as well (default 1 s).
    pub head_start: Duration,
}

impl Default for TransferConfig {
    fn default() -> Self {
        Self {
            upload: UploadConfig::default(),
            serve_guests: false,
            order: Order::default(),
            head_start: reach::HEAD_START,
        }
    }
}

/// What transfers are built from.
pub struct TransferParts {
    /// The network.
    pub endpoint: Endpoint,
    /// The folder for what a restart needs to know, such as `DATA/downloads`.
    pub journal_dir: PathBuf,
    /// What is shared.
    pub store: Arc<dyn ContentStore>,
    /// What is not shared, and may be fetched by some all the same.
    pub grants: Option<Arc<dyn Grants>>,
    /// Finds more sources.
    pub finder: Arc<dyn SourceFinder>,
    /// Opens sessions with sources that cannot be dialled; without it those are not reached.
    pub sessions: Option<Arc<dyn SourceSessions>>,
    /// Who this node is.
    pub membership: Arc<dyn Membership>,
    /// Where downloads go; [`LocalDisk`] but in tests.
    pub disk: Arc<dyn Disk>,
    /// Settings.
    pub config: TransferConfig,
}

/// All transfers of a node. Clones are the same.
///
/// Dropping the last one ends all downloads at once, as if the process had been killed;
/// [`Transfers::stop`] puts on record what has come so far.
#[derive(Clone)]
pub struct Transfers {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    uploader: Uploader,
    /// Held while a download begins or goes on, one at a time, over all that is written for it:
    /// the state itself is never held while a disk works, since whoever asks for it would wait.
    beginning: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_id: u64,
    entries: BTreeMap<u64, Entry>,
    by_content: HashMap<ContentId, u64>,
    tasks: JoinSet<()>,
}

struct Entry {
    content: ContentId,
    view: watch::Sender<Download>,
    commands: Option<mpsc::Sender<Command>>,
    slot: PartialSlot,
    /// Whether nobody is served of it.
    private: bool,
    /// See [`Claim`].
    claims: Arc<()>,
    /// Whether the complete file was found gone or changed since it was last asked for.
    gone: Arc<AtomicBool>,
}

impl Entry {
    fn is_over(&self) -> bool {
        self.view.borrow().state.is_final()
    }
}

impl Transfers {
    /// Reads what is on record and goes on with the downloads that were not over; what their files
    /// hold beyond that is looked at meanwhile. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`TransferError::Journal`] if the folder cannot be read or made.
    pub fn new(parts: TransferParts) -> Result<Self, TransferError> {
        let journal = Journal::open(parts.journal_dir).map_err(TransferError::Journal)?;
        let records = journal.load().map_err(TransferError::Journal)?;
        let uploader = Uploader::new(
            parts.store,
            parts.grants,
            Arc::clone(&parts.membership),
            parts.config.upload,
            parts.config.serve_guests,
        );
        let shared = Arc::new(Shared {
            reach: Reach::new(parts.endpoint, parts.sessions, parts.config.head_start),
            journal,
            disk: parts.disk,
            finder: parts.finder,
            membership: parts.membership,
            order: parts.config.order,
            counts: Counts::default(),
            turns: Semaphore::new(task::AT_A_TIME),
        });
        let (beginning, state) = (Mutex::default(), Mutex::default());
        let inner = Inner { shared, uploader, beginning, state };
        let transfers = Self { inner: Arc::new(inner) };
        {
            let mut state = transfers.lock();
            for record in records {
                state.next_id = state.next_id.max(record.id);
                transfers.restore(&mut state, record);
            }
        }
        Ok(transfers)
    }

    /// Tells a download of more sources. It does nothing if there is none of this content, or it
    /// is over.
    pub fn add_sources(&self, content: &ContentId, sources: Vec<Source>) {
        let state = self.lock();
        let entry = state.by_content.get(content).and_then(|id| state.entries.get(id));
        if let Some(commands) = entry.and_then(|entry| entry.commands.as_ref()) {
            // A download that is too busy to listen has sources, and it asks when it needs more.
            let _ = commands.try_send(Command::AddSources(sources));
        }
    }

    /// All downloads, by their numbers.
    pub fn list(&self) -> Vec<Download> {
        self.lock().entries.values().map(|entry| entry.view.borrow().clone()).collect()
    }

    /// A download, now and whenever it changes.
    pub fn watch(&self, id: u64) -> Option<watch::Receiver<Download>> {
        self.lock().entries.get(&id).map(|entry| entry.view.subscribe())
    }

    /// Calls a download off. What was fetched is kept for a later try.
    ///
    /// # Errors
    /// [`TransferError::NotFound`], [`TransferError::Complete`].
    pub async fn cancel(&self, id: u64) -> Result<(), TransferError> {
        let (commands, mut view) = {
            let state = self.lock();
            let entry = state.entries.get(&id).ok_or(TransferError::NotFound(id))?;
            (entry.commands.clone(), entry.view.subscribe())
        };
        if let Some(commands) = commands {
            // If it does not listen any more it is over.
            let _ = commands.send(Command::Cancel).await;
            tokio::select! {
                _ = view.wait_for(|view| view.state.is_final()) => {}
                () = commands.closed() => {}
            }
        }
        let shown = view.borrow();
        match shown.state {
            DownloadState::Done => Err(TransferError::Complete { id, path: shown.path.clone() }),
            _ => Ok(()),
        }
    }

    /// Downloads that run.
    pub fn running(&self) -> usize {
        self.lock().entries.values().filter(|entry| !entry.is_over()).count()
    }

    /// Downloads that look what is there, before they go on.
    pub fn checking(&self) -> usize {
        let checks = |entry: &&Entry| entry.view.borrow().state.is_checking();
        self.lock().entries.values().filter(checks).count()
    }

    /// Serves a request that came on a stream of a connection, to its end. It runs as long as the
    /// upload does: the caller gives it a task of its own.
    pub async fn handle_stream(
        &self,
        connection: Connection,
        request: FetchRequest,
        stream: Stream,
    ) {
        let own = self.own(&request.content);
        self.inner.uploader.serve(&connection, request, stream, own).await;
    }

    /// Ends all downloads for this run of the daemon, and puts on record what they have.
    pub async fn stop(&self) {
        let (commands, mut tasks) = {
            let mut state = self.lock();
            let commands: Vec<_> =
                state.entries.values_mut().filter_map(|entry| entry.commands.take()).collect();
            (commands, std::mem::take(&mut state.tasks))
        };
        for commands in commands {
            let _ = commands.send(Command::Stop).await;
        }
        while tasks.join_next().await.is_some() {}
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds it can leave it half-changed by a panic.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this node has downloaded, or is downloading.
    fn own(&self, content: &ContentId) -> Option<Served> {
        let state = self.lock();
        let entry = state.entries.get(state.by_content.get(content)?)?;
        if entry.private {
            return None;
        }
        if let Some(partial) = &*entry.slot.lock().unwrap_or_else(PoisonError::into_inner) {
            return Some(Served::Part(Arc::clone(partial)));
        }
        let shown = entry.view.borrow();
        let size = shown.size.filter(|_| shown.state == DownloadState::Done)?;
        let outboard = (size > GROUP_BYTES).then(|| self.inner.shared.journal.outboard(content));
        let file = StoredFile { path: shown.path.clone(), size, outboard };
        Some(Served::Own(OwnFile { file, gone: Arc::clone(&entry.gone) }))
    }
}

impl Entry {
    fn new(record: &Record) -> Self {
        Self {
            content: record.content,
            view: watch::Sender::new(record.as_shown()),
            commands: None,
            slot: PartialSlot::default(),
            private: record.private,
            claims: Arc::default(),
            gone: Arc::default(),
        }
    }
}
