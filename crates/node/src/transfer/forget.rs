//! Downloads that are over and need not be listed any more.

use super::{TransferError, Transfers};
use std::io;
use std::path::Path;
use std::sync::PoisonError;

impl Transfers {
    /// Lists a download that is over no longer. A complete file stays where it is, but is not
    /// served any more unless it lies in a share; what came of an incomplete one is removed.
    /// Returns how many bytes of the disk became free.
    ///
    /// # Errors
    /// [`TransferError::NotFound`], [`TransferError::StillRuns`], [`TransferError::Remove`].
    pub async fn forget(&self, id: u64) -> Result<u64, TransferError> {
        let this = self.clone();
        let forgotten = tokio::task::spawn_blocking(move || this.forget_now(id)).await;
        forgotten.map_err(|panic| TransferError::Journal(io::Error::other(panic)))?
    }

    fn forget_now(&self, id: u64) -> Result<u64, TransferError> {
        // Nobody goes on with it meanwhile.
        let _beginning = self.inner.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        let content = {
            let state = self.lock();
            let entry = state.entries.get(&id).ok_or(TransferError::NotFound(id))?;
            if !entry.is_over() {
                return Err(TransferError::StillRuns(id));
            }
            entry.content
        };
        let journal = &self.inner.shared.journal;
        // A record that cannot be read names no partial file; what it was about is gone with it.
        let part = journal.get(&content).ok().and_then(|record| record.part);
        let mut freed = allocated(&journal.outboard(&content));
        if let Some(part) = part {
            freed += allocated(&part);
            match std::fs::remove_file(&part) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(TransferError::Remove { path: part, source });
                }
                _ => {}
            }
        }
        self.drop_entry(id);
        Ok(freed)
    }
}

/// The bytes of the disk that a file takes, without its holes; none if it is not there.
fn allocated(path: &Path) -> u64 {
    /// The unit of `st_blocks`, whatever the file system's own is: see stat(2).
    #[cfg(unix)]
    const BLOCK: u64 = 512;
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::blocks(&metadata).saturating_mul(BLOCK);
    #[cfg(not(unix))]
    return metadata.len();
}
