//! A complete file that somebody wants again, and that is not what it was when it was completed.

use super::{Command, SHOW_TIME, Task};
use crate::transfer::copy::Progress;
use crate::transfer::journal::Stage;
use crate::transfer::seen::is_whole;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

impl Task {
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
            self.view.send_replace(self.record.as_shown());
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
        let mut reading =
            tokio::task::spawn_blocking(move || is_whole(&file, &tree, &content, size, &counted));
        let mut stopped = false;
        loop {
            tokio::select! {
                read = &mut reading => {
                    return read.unwrap_or_else(|panic| Err(io::Error::other(panic)));
                }
                command = commands.recv(), if !stopped => match command {
                    Some(Command::AddSources(sources)) => self.add_sources(sources),
                    Some(Command::Publish) => self.publish().await,
                    Some(Command::Cancel | Command::Stop) | None => {
                        stopped = true;
                        progress.stop();
                    }
                },
                () = tokio::time::sleep(SHOW_TIME) => {
                    self.view.send_modify(|view| view.verified = progress.verified());
                }
            }
        }
    }
}
