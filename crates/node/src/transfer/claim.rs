//! Who wants a download that is for this node alone.

use super::Transfers;
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
        let id = claim.id;
        let unwanted = {
            // Of two that give up at the same time one is the last.
            let state = self.lock();
            let is_private = state.entries.get(&id).is_some_and(|entry| entry.private);
            let unwanted = is_private && claim.is_last();
            drop(claim);
            unwanted
        };
        if unwanted {
            // It may be over already.
            let _ = self.cancel(id).await;
        }
    }
}
