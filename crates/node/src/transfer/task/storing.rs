//! What a download writes, or copies from a file that is here; and the disk that takes nothing more.

use super::checking::blocking;
use super::{Command, DISK_RETRY, Task, Worker};
use crate::api::types::{Download, SourcePath};
use crate::transfer::copy::{self, Progress};
use crate::transfer::disk::is_full;
use crate::transfer::finish::{allocate, check_room, missing_bytes};
use crate::transfer::journal::Stage;
use crate::transfer::partial::Batch;
use skein_swarm::{Input, RequestId, RunSet};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::mpsc;
use tokio::time::Instant as Clock;
use tokio_util::sync::CancellationToken;

impl Task {
    /// Writes verified bytes, and only then counts them.
    pub(super) async fn store(&mut self, request: RequestId, batch: Batch) {
        if self.partial.is_none() {
            let Some(size) = self.workers.get(&request).map(|worker| worker.size) else { return };
            self.open_files(size).await;
        }
        let Some(partial) = self.partial.clone() else { return };
        let worker = self.workers.get(&request);
        let source = worker.map(|worker| worker.source);
        let path = worker.and_then(Worker::path);
        let (Some(run), bytes) = (batch.run, batch.bytes()) else { return };
        let written = tokio::task::spawn_blocking(move || partial.write(&batch)).await;
        match written.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(()) => {
                self.unconfirmed += bytes;
                self.shared.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
                if path == Some(SourcePath::SessionRelayed) {
                    self.shared.counts.relayed_bytes.fetch_add(bytes, Ordering::Relaxed);
                }
                self.rate.add(bytes, Clock::now());
                if let Some(known) = source.and_then(|source| self.sources.get(&source)) {
                    self.shared.membership.verified(&known.node, &known.name, bytes);
                    if let Some(path) = path {
                        self.via.brought(known, path, bytes);
                    }
                }
                self.tell(Input::Verified { request, run });
            }
            Err(error) => self.pause(&error),
        }
    }

    /// Makes or opens the files; what stands in the way becomes the reason to wait.
    pub(super) async fn open_files(&mut self, size: u64) {
        if self.problem.is_some() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let mut record = self.record.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let partial = allocate(&*shared.disk, &shared.journal, &mut record, size);
            (partial, record)
        });
        let (partial, record) = match opened.await {
            Ok(opened) => opened,
            Err(panic) => return self.pause(&io::Error::other(panic)),
        };
        self.record = record;
        match partial {
            Ok(partial) => {
                let partial = Arc::new(partial);
                *self.slot.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Arc::clone(&partial));
                self.partial = Some(partial);
            }
            Err(error) => self.pause(&error),
        }
    }

    /// Takes the bytes from a file that is here already, as far as they are right; what is missing
    /// then is fetched. Answers how the download ends, if it is called off meanwhile.
    pub(super) async fn copy(&mut self, commands: &mut mpsc::Receiver<Command>) -> Option<Stage> {
        if self.partial.is_none()
            && let Some(size) = self.record.size
        {
            self.open_files(size).await;
        }
        let (partial, from) = (self.partial.clone()?, self.record.copy_of.clone()?);
        let (size, content) = (partial.size, self.record.content);
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let copy = move || copy::copy(&from, &partial, &content, &shared);
        let show = |view: &mut Download, bytes| view.verified = bytes;
        let called_off = CancellationToken::new();
        let (copied, stage) =
            self.follow(blocking(copy), (&*progress, show), &called_off, commands).await;
        match copied {
            Ok(runs) => self.copied(size, runs),
            Err(_) if stage.is_some() => {}
            Err(error) if is_full(&error) => self.pause(&error),
            Err(error) => {
                tracing::warn!(content = %content.short(), %error, "cannot copy a file that is here");
                self.trouble.note(format!("the file that is here could not be copied: {error}"));
                self.record.copy_of = None;
            }
        }
        stage
    }

    /// Goes on with what is here after the copy.
    fn copied(&mut self, size: u64, runs: RunSet) {
        self.record.copy_of = None;
        self.go_on_with(size, runs);
        self.unconfirmed += self.resumed;
    }

    /// These chunk groups are here; what is missing is fetched.
    pub(super) fn go_on_with(&mut self, size: u64, runs: RunSet) {
        self.record.set_runs(&runs);
        if !runs.is_empty() {
            let (order, seed) = (self.shared.order, rand::random());
            self.swarm = skein_swarm::Download::resume(order, seed, size, runs);
            for source in self.sources.keys().copied().collect::<Vec<_>>() {
                self.tell(Input::SourceFound { source });
            }
        }
        self.resumed = self.swarm.verified_bytes();
        self.unshown = true;
    }

    /// Waits until the disk takes bytes again. What was written stays.
    pub(super) fn pause(&mut self, error: &io::Error) {
        let dir = self.record.dir.display();
        // The operating system's message for a full disk does not say where.
        let reason = if is_full(error) && error.raw_os_error().is_some() {
            format!("the disk is full: {dir}")
        } else {
            format!("cannot write to {dir}: {error}")
        };
        tracing::warn!(content = %self.record.content.short(), %reason, "a download is stuck");
        if needs_a_person(error) {
            self.hopeless = Some(reason.clone());
        }
        self.problem = Some((reason, Clock::now() + DISK_RETRY));
        self.tell(Input::Pause);
    }

    pub(super) async fn retry_when_due(&mut self) {
        let now = Clock::now();
        let Some((_, at)) = &mut self.problem else { return };
        if *at > now {
            return;
        }
        *at = now + DISK_RETRY;
        let size = self.record.size.unwrap_or(0);
        let needed = missing_bytes(size, self.swarm.verified());
        let (disk, dir) = (Arc::clone(&self.shared.disk), self.record.dir.clone());
        let room = tokio::task::spawn_blocking(move || check_room(&*disk, &dir, needed)).await;
        if matches!(room, Ok(Ok(()))) {
            self.problem = None;
            if self.partial.is_none()
                && let Some(size) = self.record.size
            {
                self.open_files(size).await;
            }
            if self.problem.is_none() {
                self.tell(Input::Resume);
            }
        }
    }
}

/// Whether waiting does not help: somebody has to change the folder, or choose another one.
fn needs_a_person(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory
    )
}
