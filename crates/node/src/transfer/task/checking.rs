//! What is looked at before anything is fetched: what a killed process has left beyond its record,
//! and a complete file that somebody wants again though it is not what it was.

use super::{Command, SHOW_TIME, Task};
use crate::api::types::{Download, DownloadState};
use crate::transfer::copy::Progress;
use crate::transfer::journal::Stage;
use crate::transfer::recover::recover;
use crate::transfer::seen::is_whole;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

impl Task {
    /// Looks what the files hold beyond the record, and goes on with that. Answers how the download
    /// ends, if it is called off meanwhile.
    pub(super) async fn recover(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Option<Stage> {
        let of = self.record.unconfirmed_bytes();
        let size = self.record.size.filter(|_| of > 0)?;
        let before = self.record.runs().len();
        let (shared, record) = (Arc::clone(&self.shared), self.record.clone());
        let (progress, called_off) = (Arc::<Progress>::default(), CancellationToken::new());
        let (counted, off) = (Arc::clone(&progress), called_off.clone());
        let reading = async move {
            let Some(_turn) = off.run_until_cancelled(shared.turns.acquire()).await else {
                return Err(io::ErrorKind::Interrupted.into());
            };
            let shared = Arc::clone(&shared);
            let read = move || recover(&record, &shared.journal, &*shared.disk, &counted);
            blocking(read).await
        };
        let (read, stage) =
            self.follow(reading, (&*progress, checking(of)), &called_off, commands).await;
        match read {
            Ok(runs) if runs.len() > before => {
                self.go_on_with(size, runs);
                let name = &self.record.name;
                tracing::info!(name, bytes = self.resumed, "found what a killed download had");
                // Now it goes on record.
                self.unconfirmed = self.unconfirmed.max(1);
            }
            Err(error) if stage.is_none() => {
                tracing::warn!(%error, "a download cannot be looked through");
            }
            Ok(_) | Err(_) => {}
        }
        if stage.is_none() {
            self.looked();
        }
        stage
    }

    /// Reads a file that was complete once. Answers whether it still is, or nobody wants to know
    /// any more; else what is right of it will be copied, and the file itself is left alone.
    pub(super) async fn check(
        &mut self,
        doubted: PathBuf,
        commands: &mut mpsc::Receiver<Command>,
    ) -> bool {
        let mut is_over = true;
        match self.read_all(&doubted, commands).await {
            Ok(true) => self.record.complete_at(doubted),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.view.send_replace(self.record.as_shown());
                return true;
            }
            Ok(false) | Err(_) => {
                let shown = doubted.display();
                tracing::warn!(file = %shown, "a downloaded file has changed since");
                self.trouble.note(format!("{shown} has changed since and is left alone"));
                is_over = false;
                if let Some(dir) = doubted.parent() {
                    self.record.dir = dir.to_owned();
                }
                self.record.copy_from(doubted);
                self.record.stage = Stage::Active;
                (self.record.part, self.record.target) = (None, None);
                self.record.verified = Vec::new();
            }
        }
        let (journal, record) = (self.shared.journal.clone(), self.record.clone());
        let saved = tokio::task::spawn_blocking(move || journal.save(&record)).await;
        if let Err(error) = saved.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            tracing::warn!(%error, "cannot put a download on record");
        }
        if is_over {
            let mut shown = self.record.as_shown();
            shown.resumed = shown.verified;
            self.view.send_replace(shown);
        } else {
            self.looked();
        }
        is_over
    }

    async fn read_all(
        &mut self,
        file: &Path,
        commands: &mut mpsc::Receiver<Command>,
    ) -> io::Result<bool> {
        let Some(size) = self.record.size else { return Ok(false) };
        let progress = Arc::new(Progress::default());
        let (counted, content) = (Arc::clone(&progress), self.record.content);
        let (file, tree) = (file.to_owned(), self.shared.journal.outboard(&content));
        let reading = blocking(move || is_whole(&file, &tree, &content, size, &counted));
        let called_off = CancellationToken::new();
        self.follow(reading, (&*progress, checking(size)), &called_off, commands).await.0
    }

    /// Waits until a reading has ended, shows how far it is, and calls it off when the download is.
    /// Answers with how the download ends then.
    pub(super) async fn follow<T>(
        &mut self,
        reading: impl Future<Output = io::Result<T>>,
        (progress, show): (&Progress, impl Fn(&mut Download, u64)),
        called_off: &CancellationToken,
        commands: &mut mpsc::Receiver<Command>,
    ) -> (io::Result<T>, Option<Stage>) {
        tokio::pin!(reading);
        let mut stage = None;
        let read = loop {
            tokio::select! {
                read = &mut reading => break read,
                command = commands.recv(), if stage.is_none() => {
                    match command {
                        Some(Command::AddSources(sources)) => self.add_sources(sources),
                        Some(Command::Publish) => self.publish().await,
                        Some(Command::Cancel) => stage = Some(Stage::Cancelled),
                        Some(Command::Stop) | None => stage = Some(Stage::Active),
                    }
                    if stage.is_some() {
                        progress.stop();
                        called_off.cancel();
                    }
                }
                () = tokio::time::sleep(SHOW_TIME) => {
                    self.view.send_modify(|view| show(view, progress.bytes()));
                }
            }
        };
        (read, stage)
    }

    /// It goes on after the look.
    fn looked(&mut self) {
        let (resumed, verified) = (self.resumed, self.swarm.verified_bytes());
        self.view.send_modify(|view| {
            view.state = DownloadState::Running;
            (view.resumed, view.verified) = (resumed, verified);
        });
    }
}

/// Shows of a look how far it is.
fn checking(of: u64) -> impl Fn(&mut Download, u64) {
    move |view, read| view.state = DownloadState::Checking { read, of }
}

/// Reads beside the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}
