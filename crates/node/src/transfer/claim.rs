//! Who wants a download that is for this node alone.

use super::{TransferError, Transfers};
use std::path::PathBuf;
use std::sync::Arc;

/// Somebody wants a download; others may, too, and so may the user.
#[derive(Debug)]
pub struct Claim {
    id: u64,
    /// One for the download, and one for each claim to it.
    shared: Arc<()>,
}

impl Claim {
    pub(super) fn new(id: u64, shared: &Arc<()>) -> Self {
        Self { id, shared: Arc::clone(shared) }
    }

    /// The number of the download.
    pub fn id(&self) -> u64 {
        self.id
    }

    fn is_last(&self) -> bool {
        Arc::strong_count(&self.shared) <= 2
    }
}

impl Transfers {
    /// Gives a claim up: a download that nobody else wants is called off. What the user has asked
    /// for goes on.
    pub async fn give_up(&self, claim: Claim) {
        if let Some(id) = self.unwanted(claim) {
            // It may be over already.
            let _ = self.cancel(id).await;
        }
    }

    /// As [`Self::give_up`], for good: what had come of a download that nobody else wants is removed,
    /// and it is listed no longer. If it was complete before that, it stays, and this is its file.
    pub async fn discard(&self, claim: Claim) -> Option<PathBuf> {
        let id = self.unwanted(claim)?;
        if let Err(TransferError::Complete { path, .. }) = self.cancel(id).await {
            return Some(path);
        }
        if let Err(error) = self.forget(id).await {
            tracing::warn!(%error, "what came of a file that is not wanted stays");
        }
        None
    }

    /// Takes a claim back. Answers the download if nobody wants it any more.
    fn unwanted(&self, claim: Claim) -> Option<u64> {
        let id = claim.id;
        // Of two that give up at the same time one is the last.
        let state = self.lock();
        let is_private = state.entries.get(&id).is_some_and(|entry| entry.private);
        let unwanted = is_private && claim.is_last();
        drop(claim);
        unwanted.then_some(id)
    }
}
