//! What the donor has set while the node ran, in a file of the data folder.

use crate::api::types::SetRelay;
use crate::home::{HomeError, files};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tokio::sync::MutexGuard;

/// What the donor has set, in memory and on disk.
#[derive(Debug)]
pub(super) struct Kept {
    file: PathBuf,
    set: Mutex<SetRelay>,
    /// One change at a time: memory must not get ahead of the disk, nor behind it.
    turn: tokio::sync::Mutex<()>,
}

impl Kept {
    /// Reads what was set. A file that cannot be read counts as none, and that is logged.
    pub(super) fn open(file: PathBuf) -> Self {
        let set = match files::read_small(&file) {
            Ok(None) => SetRelay::default(),
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(file = %file.display(), %error, "what was set of the relay is lost");
                SetRelay::default()
            }),
            Err(error) => {
                tracing::warn!(%error, "what was set of the relay cannot be read");
                SetRelay::default()
            }
        };
        Self { file, set: Mutex::new(set), turn: tokio::sync::Mutex::default() }
    }

    /// What is set.
    pub(super) fn get(&self) -> SetRelay {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else changes it.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Keeps this from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) async fn put(&self, set: SetRelay) -> Result<(), HomeError> {
        let file = self.file.clone();
        let write = move || match set == SetRelay::default() {
            true => files::remove(&file),
            false => files::write_atomic(&file, &serde_json::to_vec(&set).unwrap_or_default()),
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.unwrap_or_else(|panic| {
            Err(HomeError::io("write", &self.file, std::io::Error::other(panic)))
        })?;
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = set;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_was_set_is_there_after_a_restart_until_it_is_taken_back() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("relay.json");
        let set = SetRelay { slots: Some(3), ..SetRelay::default() };
        Kept::open(file.clone()).put(set).await.unwrap();
        let after = Kept::open(file.clone());
        assert_eq!(after.get(), set);
        after.put(SetRelay::default()).await.unwrap();
        assert_eq!(Kept::open(file.clone()).get(), SetRelay::default());
        assert!(!file.exists());
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("relay.json");
        std::fs::write(&file, "{\"slots\": -1}").unwrap();
        assert_eq!(Kept::open(file).get(), SetRelay::default());
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_not_set() {
        let temp = tempfile::tempdir().unwrap();
        let kept = Kept::open(temp.path().join("gone").join("relay.json"));
        let set = SetRelay { rate: Some(7), ..SetRelay::default() };
        assert!(kept.put(set).await.is_err());
        assert_eq!(kept.get(), SetRelay::default());
    }
}
