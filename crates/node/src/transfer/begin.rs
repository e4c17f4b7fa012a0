//! How a download begins, or goes on: as the user wants it, or after a restart.

use super::finish::{Found, inspect};
use super::folder::{Folder, Here, find, is_folder};
use super::journal::{Record, Stage};
use super::task::{Command, Task};
use super::{Claim, Entry, State, TransferError, Transfers, names};
use crate::api::types::{DownloadState, Source};
use skein_proto::ContentId;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::mpsc;

/// Downloads that may run at the same time. Each of them keeps two files open and may hold some
/// megabytes of bytes that wait to be written.
const MAX_RUNNING: usize = 256;

/// Commands that may wait for a download to take them in.
const COMMANDS_WAITING: usize = 16;

impl Transfers {
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
    /// no others, and nobody is told of it or served of it. One that the user fetches at present,
    /// or that is complete, stays what it is. [`Self::give_up`] takes the claim back.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_private(
        &self,
        content: ContentId,
        name_hint: &str,
        sources: Vec<Source>,
        folder: Folder<'_>,
    ) -> Result<Claim, TransferError> {
        let id = self.start_as(content, name_hint, sources, folder, true).await?;
        let state = self.lock();
        let entry = state.entries.get(&id).ok_or(TransferError::NotFound(id))?;
        Ok(Claim::new(id, &entry.claims))
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
            match self.go_on(id, &sources, (&dir, asked), private)? {
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
            seen: None,
            doubted: None,
        };
        record.set_sources(&sources);
        self.inner.shared.journal.save(&record).map_err(TransferError::Journal)?;
        self.spawn(&mut self.lock(), record, sources);
        Ok(id)
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
        (dir, asked): (&Path, bool),
        private: bool,
    ) -> Result<Option<u64>, TransferError> {
        let (shown, publish) = {
            let mut state = self.lock();
            let Some(entry) = state.entries.get_mut(&id) else { return Ok(None) };
            let shown = entry.view.borrow().clone();
            if !shown.state.is_final() {
                if asked && !is_folder(shown.path.parent(), dir) {
                    let dir = shown.path.parent().unwrap_or(&shown.path).to_owned();
                    return Err(TransferError::Elsewhere { id, dir });
                }
                if let Some(commands) = &entry.commands {
                    let _ = commands.try_send(Command::AddSources(sources.to_vec()));
                }
                // What the user wants is looked for everywhere.
                let publish = !private && std::mem::replace(&mut entry.private, false);
                (None, entry.commands.clone().filter(|_| publish))
            } else {
                (Some(shown), None)
            }
        };
        if let Some(commands) = publish {
            // If it does not listen any more it is over.
            let _ = commands.blocking_send(Command::Publish);
        }
        let Some(shown) = shown else { return Ok(Some(id)) };
        let Ok(mut record) = self.inner.shared.journal.get(&shown.content) else { return Ok(None) };
        match find(&record, dir, asked) {
            Here::InPlace(path) if record.doubts(&path) => {
                self.check_running(&self.lock())?;
                if let Some(part) = record.part.take() {
                    // What came of a further copy is of no use any more; should it stay, it is
                    // only in the way.
                    let _ = std::fs::remove_file(part);
                }
                record.doubted = Some(path);
                self.spawn(&mut self.lock(), record, sources.to_vec());
                return Ok(Some(id));
            }
            Here::InPlace(_) => {
                if let Some(entry) = self.lock().entries.get(&id) {
                    entry.gone.store(false, Ordering::Relaxed);
                    entry.view.send_if_modified(|view| !std::mem::replace(&mut view.as_left, true));
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
        record.private = private;
        record.target = None;
        if inspect(&record, &self.inner.shared.journal) == Found::Gone {
            record.begin_anew();
        }
        self.inner.shared.journal.save(&record).map_err(TransferError::Journal)?;
        self.spawn(&mut self.lock(), record, sources.to_vec());
        Ok(Some(id))
    }

    pub(super) fn drop_entry(&self, id: u64) {
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
    pub(super) fn restore(&self, state: &mut State, mut record: Record) {
        if !matches!(record.stage, Stage::Active | Stage::Naming) {
            let entry = Entry::new(&record);
            state.by_content.insert(record.content, record.id);
            state.entries.insert(record.id, entry);
            return;
        }
        match inspect(&record, &self.inner.shared.journal) {
            Found::AsRecorded => record.stage = Stage::Active,
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
        let unconfirmed = record.unconfirmed_bytes();
        if record.doubted.is_some() {
            let of = record.size.unwrap_or(0);
            (shown.state, shown.verified) = (DownloadState::Checking { read: 0, of }, 0);
        } else if unconfirmed > 0 {
            shown.state = DownloadState::Checking { read: 0, of: unconfirmed };
        }
        shown.resumed = shown.verified;
        entry.view.send_replace(shown);
        entry.commands = Some(commands.clone());
        entry.private = record.private;
        entry.gone.store(false, Ordering::Relaxed);
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
}

impl Record {
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
