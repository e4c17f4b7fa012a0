//! Transfers: downloads from many sources at once, every 16 KiB verified before it is written;
//! and uploads of what this node shares, has downloaded, or is downloading.
//!
//! ```text
//!   Transfers   the list of downloads; incoming requests         mod
//!   Task        one download: swarm, network and disk together   task, fetch, view
//!   Reach       the way to a source: dialled, or over a session      reach
//!   Uploader    one stream for each request                      upload
//!   Partial     bytes and hash tree of a download on disk        partial, disk, finish, names
//!   Folder      where a download goes; files that are here       folder, copy, forget
//!   Journal     what a restart needs to know                     journal
//! ```
//!
//! What a download asks of whom is decided by [`skein_swarm`]; this module does it.

mod copy;
mod disk;
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
mod store;
mod task;
#[cfg(test)]
mod tests;
mod upload;
mod via;
mod view;

pub use disk::{Disk, LocalDisk, WritableFile};
pub use folder::Folder;
pub(crate) use names::sanitise as clean_name;
pub use store::{
    ContentStore, Grants, Membership, SessionWay, SourceFinder, SourceSessions, StoredFile,
};
pub use upload::UploadStats;

use crate::api::types::{Download, DownloadState, Source};
use finish::{Found, inspect};
use folder::{Here, find, is_folder};
use journal::{Journal, Record, Stage};
use reach::Reach;
use skein_net::{Connection, Endpoint, Stream};
use skein_proto::ContentId;
use skein_proto::fetch::{FetchRequest, GROUP_BYTES};
use skein_swarm::{Order, UploadConfig, bytes_of};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use task::{Command, Counts, PartialSlot, Shared, Task};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use upload::{Served, Uploader};

/// Downloads that may run at the same time. Each of them keeps two files open and may hold some
/// megabytes of bytes that wait to be written.
const MAX_RUNNING: usize = 256;

/// Commands that may wait for a download to take them in.
const COMMANDS_WAITING: usize = 16;

/// Why a download does not start, or is not found.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The folder cannot be written to: the caller should choose another one.
    #[error("cannot download to {dir}: {source}")]
    Destination {
        /// The folder.
        dir: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The folder is not an absolute path, so it is not clear where it is: the caller's fault.
    #[error("{0} is not an absolute path")]
    NotAbsolute(PathBuf),
    /// The content is that of an empty file.
    #[error("an empty file needs no download")]
    Empty,
    /// The content is being downloaded to another folder: the caller should wait for that, or
    /// call it off.
    #[error(
        "download {id} brings this file to {} already: wait for it, or call it off with `skein \
         downloads cancel {id}`",
        dir.display()
    )]
    Elsewhere {
        /// The download.
        id: u64,
        /// Where it goes.
        dir: PathBuf,
    },
    /// Too many downloads run: the caller should wait for one to end, or cancel one.
    #[error("{0} downloads are running already")]
    TooMany(usize),
    /// The download is complete: there is nothing that could be called off.
    #[error("download {id} is complete already: {}", path.display())]
    Complete {
        /// The download.
        id: u64,
        /// The file.
        path: PathBuf,
    },
    /// The download is not over: the caller should cancel it first.
    #[error("download {0} is not over: call it off first with `skein downloads cancel {0}`")]
    StillRuns(u64),
    /// What came of a download cannot be removed: the machine's fault.
    #[error("cannot remove {}: {source}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// There is no such download.
    #[error("there is no download number {0}")]
    NotFound(u64),
    /// The data folder cannot be read or written: the machine's fault.
    #[error("cannot keep a record of downloads: {0}")]
    Journal(#[source] io::Error),
}

/// Settings of transfers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransferConfig {
    /// Slots and queue of the upload side.
    pub upload: UploadConfig,
    /// Whether those without a credential are served, after all members. By default they are not.
    pub serve_guests: bool,
    /// In which order the parts of a file are fetched.
    pub order: Order,
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

/// Counts of the download side since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadStats {
    /// Downloads that run at present.
    pub active: u64,
    /// Bytes of files that were verified and written.
    pub bytes: u64,
    /// Of these, bytes that came through a relay.
    pub relayed_bytes: u64,
    /// Sources that a download gave up since they sent wrong bytes.
    pub corrupt_sources: u64,
    /// Sessions that downloads use at present.
    pub sessions: u64,
    /// Sources whose addresses answered.
    pub dialled: u64,
    /// Sources that a session was opened with.
    pub over_sessions: u64,
    /// Sources that no session could be opened with.
    pub sessions_failed: u64,
    /// Sources that were not asked since too many sessions were in use for downloads.
    pub sessions_over_limit: u64,
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
}

impl Entry {
    fn is_over(&self) -> bool {
        self.view.borrow().state.is_final()
    }
}

impl Transfers {
    /// Reads what is on record and goes on with the downloads that were not over. Must be called
    /// within a tokio runtime.
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
            reach: Reach::new(parts.endpoint, parts.sessions),
            journal,
            disk: parts.disk,
            finder: parts.finder,
            membership: parts.membership,
            order: parts.config.order,
            counts: Counts::default(),
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

    /// Fetches a content into a folder, which is made if it is missing. Returns the number of the
    /// download, which is the one that runs already if there is one of this content; one that was
    /// cancelled or failed goes on. A file that is here already is copied to the folder, if that
    /// was asked for and is another one.
    ///
    /// # Errors
    /// [`TransferError::Elsewhere`] while the content is fetched into another folder.
    /// [`TransferError`] says why it does not start.
    pub async fn start(
        &self,
        content: ContentId,
        name_hint: &str,
        sources: Vec<Source>,
        folder: Folder<'_>,
    ) -> Result<u64, TransferError> {
        self.start_as(content, name_hint, sources, folder, false).await
    }

    /// As [`Self::start`], of a file that is for this node alone: it comes from these sources and
    /// no others, and nobody is told of it or served of it. One that is known already stays what
    /// it is.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_private(
        &self,
        content: ContentId,
        name_hint: &str,
        sources: Vec<Source>,
        folder: Folder<'_>,
    ) -> Result<u64, TransferError> {
        self.start_as(content, name_hint, sources, folder, true).await
    }

    async fn start_as(
        &self,
        content: ContentId,
        name_hint: &str,
        sources: Vec<Source>,
        folder: Folder<'_>,
        private: bool,
    ) -> Result<u64, TransferError> {
        if *content.as_bytes() == *blake3::hash(b"").as_bytes() {
            return Err(TransferError::Empty);
        }
        check_destination(folder.path()).await?;
        let this = self.clone();
        let (dir, asked) = (folder.path().to_owned(), folder.is_asked_for());
        let name = names::sanitise(name_hint, &content.short());
        // It reads and writes the record.
        let begin = tokio::task::spawn_blocking(move || {
            this.begin((content, private), name, sources, dir, asked)
        });
        begin.await.map_err(|panic| TransferError::Journal(io::Error::other(panic)))?
    }

    fn begin(
        &self,
        (content, private): (ContentId, bool),
        name: String,
        sources: Vec<Source>,
        dir: PathBuf,
        asked: bool,
    ) -> Result<u64, TransferError> {
        // The unit in it cannot be left half-changed.
        let _beginning = self.inner.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.lock().by_content.get(&content).copied();
        if let Some(id) = known {
            match self.go_on(id, &sources, &dir, asked)? {
                Some(id) => return Ok(id),
                // It was complete once, and its file is gone.
                None => self.drop_entry(id),
            }
        }
        let id = {
            let mut state = self.lock();
            self.check_running(&state)?;
            state.next_id += 1;
            state.next_id
        };
        let mut record = Record {
            id,
            content,
            name,
            dir,
            stage: Stage::Active,
            size: None,
            part: None,
            target: None,
            verified: Vec::new(),
            sources: Vec::new(),
            copy_of: None,
            copies: Vec::new(),
            private,
        };
        record.set_sources(&sources);
        self.inner.shared.journal.save(&record).map_err(TransferError::Journal)?;
        self.spawn(&mut self.lock(), record, sources);
        Ok(id)
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

    /// Counts of the download side.
    pub fn download_stats(&self) -> DownloadStats {
        let Shared { counts, reach, .. } = &*self.inner.shared;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DownloadStats {
            active: self.running() as u64,
            bytes: get(&counts.bytes),
            relayed_bytes: get(&counts.relayed_bytes),
            corrupt_sources: get(&counts.corrupt_sources),
            sessions: reach.sessions_in_use() as u64,
            dialled: get(&reach.counts.dialled),
            over_sessions: get(&reach.counts.over_sessions),
            sessions_failed: get(&reach.counts.failed),
            sessions_over_limit: get(&reach.counts.over_limit),
        }
    }

    /// Counts of the upload side.
    pub fn upload_stats(&self) -> UploadStats {
        self.inner.uploader.stats()
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

    fn check_running(&self, state: &State) -> Result<(), TransferError> {
        let running = state.entries.values().filter(|entry| !entry.is_over()).count();
        if running < MAX_RUNNING { Ok(()) } else { Err(TransferError::TooMany(running)) }
    }

    /// Goes on with a known download; `None` if it has to begin anew. `asked` says whether the
    /// file has to be in this folder at the end.
    fn go_on(
        &self,
        id: u64,
        sources: &[Source],
        dir: &Path,
        asked: bool,
    ) -> Result<Option<u64>, TransferError> {
        let shown = {
            let state = self.lock();
            let Some(entry) = state.entries.get(&id) else { return Ok(None) };
            let shown = entry.view.borrow().clone();
            if !shown.state.is_final() {
                if asked && !is_folder(shown.path.parent(), dir) {
                    let dir = shown.path.parent().unwrap_or(&shown.path).to_owned();
                    return Err(TransferError::Elsewhere { id, dir });
                }
                if let Some(commands) = &entry.commands {
                    let _ = commands.try_send(Command::AddSources(sources.to_vec()));
                }
                return Ok(Some(id));
            }
            shown
        };
        let Ok(mut record) = self.inner.shared.journal.get(&shown.content) else { return Ok(None) };
        match find(&record, dir, asked) {
            Here::InPlace(path) => {
                if record.stage != Stage::Done || record.target.as_ref() != Some(&path) {
                    if let Some(part) = record.part.take() {
                        // What came of a further copy is of no use any more; should it stay, it
                        // is only in the way.
                        let _ = std::fs::remove_file(part);
                    }
                    record.complete_at(path);
                    self.inner.shared.journal.save(&record).map_err(TransferError::Journal)?;
                    if let Some(entry) = self.lock().entries.get(&id) {
                        entry.view.send_replace(record.as_shown());
                    }
                }
                return Ok(Some(id));
            }
            Here::Elsewhere(path) => record.copy_from(path),
            Here::Nowhere if record.stage == Stage::Done => return Ok(None),
            Here::Nowhere => record.copy_of = None,
        }
        self.check_running(&self.lock())?;
        record.stage = Stage::Active;
        record.dir = dir.to_owned();
        record.target = None;
        if inspect(&record, &self.inner.shared.journal) == Found::Gone {
            record.begin_anew();
        }
        self.inner.shared.journal.save(&record).map_err(TransferError::Journal)?;
        self.spawn(&mut self.lock(), record, sources.to_vec());
        Ok(Some(id))
    }

    fn drop_entry(&self, id: u64) {
        let forgotten = {
            let mut state = self.lock();
            let forgotten = state.entries.remove(&id);
            if let Some(entry) = &forgotten {
                state.by_content.remove(&entry.content);
            }
            forgotten
        };
        if let Some(entry) = forgotten {
            self.inner.shared.journal.forget(&entry.content);
        }
    }

    /// Takes in what is on record.
    fn restore(&self, state: &mut State, mut record: Record) {
        if !matches!(record.stage, Stage::Active | Stage::Naming) {
            let entry = Entry::new(&record);
            state.by_content.insert(record.content, record.id);
            state.entries.insert(record.id, entry);
            return;
        }
        match inspect(&record, &self.inner.shared.journal) {
            Found::AsRecorded => {
                record.stage = Stage::Active;
                match recover::recover(&mut record, &self.inner.shared.journal) {
                    Ok(0) => {}
                    Ok(bytes) => tracing::info!(
                        bytes,
                        name = record.name,
                        "found what a killed download had"
                    ),
                    Err(error) => tracing::warn!(%error, "a download cannot be looked through"),
                }
            }
            Found::Complete => {
                record.stage = Stage::Done;
                record.part = None;
                if let Err(error) = self.inner.shared.journal.save(&record) {
                    tracing::warn!(%error, "cannot put a download on record");
                }
                return self.restore(state, record);
            }
            Found::Gone => record.begin_anew(),
        }
        self.spawn(state, record, Vec::new());
    }

    fn spawn(&self, state: &mut State, record: Record, sources: Vec<Source>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_WAITING);
        let id = record.id;
        state.by_content.insert(record.content, id);
        let entry = state.entries.entry(id).or_insert_with(|| Entry::new(&record));
        let mut shown = record.as_shown();
        shown.resumed = shown.verified;
        entry.view.send_replace(shown);
        entry.commands = Some(commands.clone());
        let task = Task::new(
            Arc::clone(&self.inner.shared),
            record,
            Arc::clone(&entry.slot),
            entry.view.clone(),
        );
        if !sources.is_empty() {
            // The channel has just been made and is empty.
            let _ = commands.try_send(Command::AddSources(sources));
        }
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn(task.run(receiver));
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
        Some(Served::Whole(StoredFile { path: shown.path.clone(), size, outboard }))
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
        }
    }
}

impl Record {
    /// The file that it becomes, or became.
    fn shown_path(&self) -> PathBuf {
        match (&self.stage, &self.target) {
            (Stage::Done | Stage::Naming, Some(target)) => target.clone(),
            _ => self.dir.join(&self.name),
        }
    }

    /// How it is shown while no task runs.
    fn as_shown(&self) -> Download {
        let verified = self
            .size
            .map_or(0, |size| self.runs().iter().map(|run| bytes_of(run, size).len()).sum());
        Download {
            id: self.id,
            content: self.content,
            name: self.name.clone(),
            path: self.shown_path(),
            state: self.stage.state(),
            size: self.size,
            verified,
            resumed: 0,
            rate: 0,
            sources_active: 0,
            sources_known: 0,
            via: Vec::new(),
            trouble: Vec::new(),
        }
    }

    /// Its bytes are gone: nothing of it is here, but perhaps the file that it is a copy of.
    fn begin_anew(&mut self) {
        self.stage = Stage::Active;
        self.size = self.size.filter(|_| self.copy_of.is_some());
        self.part = None;
        self.target = None;
        self.verified = Vec::new();
    }
}

/// Makes the folder, if it is missing, and sees whether a file can be made in it.
async fn check_destination(dir: &Path) -> Result<(), TransferError> {
    if !dir.is_absolute() {
        return Err(TransferError::NotAbsolute(dir.to_owned()));
    }
    let wanted = dir.to_owned();
    let check = move || {
        std::fs::create_dir_all(&wanted)?;
        tempfile::tempfile_in(&wanted).map(drop)
    };
    let checked = tokio::task::spawn_blocking(check).await;
    checked
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
        .map_err(|source| TransferError::Destination { dir: dir.to_owned(), source })
}
