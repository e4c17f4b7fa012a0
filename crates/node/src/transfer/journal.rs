//! What is kept of a download between runs: one small file for each content.

use super::seen::Seen;
use crate::api::types::{DownloadState, Source};
use crate::home::{remove, write_atomic};
use serde::{Deserialize, Serialize};
use skein_proto::ContentId;
use skein_swarm::{Run, RunSet};
use std::io;
use std::path::{Path, PathBuf};

/// Sources that are kept for the next run: enough to begin with, until others are found.
const MAX_SOURCES: usize = 64;

/// Downloads that are over and still listed. The oldest ones are forgotten first.
const MAX_FINISHED: usize = 200;

/// Folders in which a complete file is remembered to be; in others it is only put again.
const MAX_COPIES: usize = 16;

/// The largest record that is read. A hundred thousand runs, a fragmented terabyte, have 2 MB.
const MAX_RECORD_BYTES: u64 = 16 * 1024 * 1024;

/// A download as it is on disk. What `verified` names was flushed before it was written here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub id: u64,
    pub content: ContentId,
    /// The wanted name, cleaned.
    pub name: String,
    /// The folder that it goes to.
    pub dir: PathBuf,
    pub stage: Stage,
    /// Proven length in bytes.
    pub size: Option<u64>,
    /// Where its bytes are until it is complete.
    pub part: Option<PathBuf>,
    /// Where it is, or goes to, once it is complete.
    pub target: Option<PathBuf>,
    /// Runs of chunk groups: first one, and the one behind the last.
    pub verified: Vec<(u64, u64)>,
    pub sources: Vec<Source>,
    /// A complete file of this content: its bytes are copied from there, as far as they are right.
    #[serde(default)]
    pub copy_of: Option<PathBuf>,
    /// Where else the complete file was put; it may have been moved or removed since.
    #[serde(default)]
    pub copies: Vec<PathBuf>,
    /// Whether it is nobody's business: no more sources are looked for, nobody is told that it is
    /// here, and nobody is served of it.
    #[serde(default)]
    pub private: bool,
    /// How the complete file looked when its bytes were last known to be right.
    #[serde(default)]
    pub seen: Option<Seen>,
    /// A complete file that looks otherwise by now: it is read before it counts as complete.
    #[serde(skip)]
    pub doubted: Option<PathBuf>,
}

/// How far a download is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    /// It goes on.
    Active,
    /// Every byte is here, and the file gets its name.
    Naming,
    /// It is complete.
    Done,
    /// It was called off.
    Cancelled,
    /// It could not go on.
    Failed(String),
}

impl Stage {
    /// How it is shown.
    pub fn state(&self) -> DownloadState {
        match self {
            Self::Active | Self::Naming => DownloadState::Running,
            Self::Done => DownloadState::Done,
            Self::Cancelled => DownloadState::Cancelled,
            Self::Failed(reason) => DownloadState::Failed { reason: reason.clone() },
        }
    }
}

impl Record {
    /// The verified chunk groups.
    pub fn runs(&self) -> RunSet {
        self.verified.iter().map(|&(start, end)| Run { start, end }).collect()
    }

    /// Sets the verified chunk groups.
    pub fn set_runs(&mut self, runs: &RunSet) {
        self.verified = runs.iter().map(|run| (run.start, run.end)).collect();
    }

    /// Remembers where the complete file is, beside its target.
    pub fn add_copy(&mut self, path: PathBuf) {
        self.copies.retain(|known| *known != path);
        if self.copies.len() == MAX_COPIES {
            self.copies.remove(0);
        }
        self.copies.push(path);
    }

    /// Sets the sources to begin with next time.
    pub fn set_sources<'a>(&mut self, sources: impl IntoIterator<Item = &'a Source>) {
        self.sources = sources.into_iter().take(MAX_SOURCES).cloned().collect();
    }
}

/// The folder of the records.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// Makes the folder, if it is missing.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Where the hash tree of a content is kept.
    pub fn outboard(&self, content: &ContentId) -> PathBuf {
        self.dir.join(format!("{content}.obao4"))
    }

    fn path(&self, content: &ContentId) -> PathBuf {
        self.dir.join(format!("{content}.json"))
    }

    /// Puts a record in place of the one before. It is on disk when this returns.
    pub fn save(&self, record: &Record) -> io::Result<()> {
        let bytes = serde_json::to_vec(record)?;
        write_atomic(&self.path(&record.content), &bytes).map_err(io::Error::other)
    }

    /// The record of a content.
    pub fn get(&self, content: &ContentId) -> io::Result<Record> {
        read(&self.path(content))
    }

    /// Forgets a download and its hash tree.
    pub fn forget(&self, content: &ContentId) {
        for path in [self.path(content), self.outboard(content)] {
            if let Err(error) = remove(&path) {
                tracing::warn!(%error, "cannot forget a download");
            }
        }
    }

    /// All records, by their ids. Damaged ones are told and left where they are; of those that
    /// are over, the oldest are forgotten when there are too many.
    pub fn load(&self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read(&path) {
                Ok(record) if self.path(&record.content) == path => records.push(record),
                Ok(_) => {
                    tracing::warn!(path = %path.display(), "a download record has a wrong name")
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot read a download record");
                }
            }
        }
        records.sort_unstable_by_key(|record| record.id);
        let done = records.iter().filter(|record| record.stage == Stage::Done).count();
        let mut surplus = done.saturating_sub(MAX_FINISHED);
        records.retain(|record| {
            let forget = surplus > 0 && record.stage == Stage::Done;
            if forget {
                surplus -= 1;
                self.forget(&record.content);
            }
            !forget
        });
        Ok(records)
    }
}

fn read(path: &Path) -> io::Result<Record> {
    if path.metadata()?.len() > MAX_RECORD_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is over 16 MiB"));
    }
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(number: u8, stage: Stage) -> Record {
        Record {
            id: number.into(),
            content: ContentId::from_bytes([number; 32]),
            name: "a".to_owned(),
            dir: PathBuf::from("/tmp"),
            stage,
            size: Some(5),
            part: None,
            target: None,
            verified: vec![(0, 1)],
            sources: Vec::new(),
            copy_of: None,
            copies: Vec::new(),
            private: false,
            seen: None,
            doubted: None,
        }
    }

    #[test]
    fn records_come_back_in_the_order_of_their_ids() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path().join("downloads")).unwrap();
        for number in [3, 1, 2] {
            journal.save(&record(number, Stage::Active)).unwrap();
        }
        let ids: Vec<u64> = journal.load().unwrap().iter().map(|record| record.id).collect();
        assert_eq!(ids, [1, 2, 3]);
        journal.forget(&ContentId::from_bytes([2; 32]));
        assert_eq!(journal.load().unwrap().len(), 2);
    }

    #[test]
    fn a_damaged_record_does_not_hide_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path().to_owned()).unwrap();
        journal.save(&record(1, Stage::Failed("no".to_owned()))).unwrap();
        std::fs::write(journal.path(&ContentId::from_bytes([2; 32])), "{\"id\":").unwrap();
        assert_eq!(journal.load().unwrap(), [record(1, Stage::Failed("no".to_owned()))]);
    }
}
