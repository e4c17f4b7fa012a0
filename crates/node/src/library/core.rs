//! What all tasks of the library have in common.

use super::config::LibraryConfig;
use super::hash::Hasher;
use super::stats::Counters;
use super::store::Store;
use crate::api::types::DaemonEvent;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What all tasks of the library have in common.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) store: Store,
    pub(super) hasher: Hasher,
    pub(super) counters: Arc<Counters>,
    pub(super) config: LibraryConfig,
    /// The node's own folder.
    pub(super) data_dir: PathBuf,
    /// The folder of what people have sent to the user.
    pub(super) private: Option<PathBuf>,
    /// One permit for each thread that may hash.
    pub(super) hash_permits: Arc<Semaphore>,
    pub(super) events: broadcast::Sender<DaemonEvent>,
    /// Ends everything.
    pub(super) cancel: CancellationToken,
    /// Knows of all tasks and blocking jobs that have not ended.
    pub(super) tracker: TaskTracker,
}

impl Core {
    /// Whether a folder is one that is left out of every share, or lies in one.
    pub(super) fn keeps_out(&self, folder: &Path) -> bool {
        folder.starts_with(&self.data_dir) || self.is_private(folder) || holds_keys(folder)
    }

    /// Whether a folder is that of what people have sent to the user, or lies in it.
    pub(super) fn is_private(&self, folder: &Path) -> bool {
        self.private.as_ref().is_some_and(|private| folder.starts_with(private))
    }
}

/// Whether a folder is the data folder of a node, or of a login service: whoever has the keys in
/// there is that node, or rules that network.
pub(super) fn holds_keys(folder: &Path) -> bool {
    ["node.key", "login.key"].iter().any(|key| folder.join(key).exists())
}
