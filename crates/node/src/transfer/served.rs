//! What can be served to others.

use super::partial::Partial;
use super::store::{Granted, StoredFile};
use skein_swarm::{RunSet, groups_of};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

/// Something that can be served.
#[derive(Clone, Debug)]
pub(super) enum Served {
    /// A whole file that is shared.
    Whole(StoredFile),
    /// A whole file that was downloaded.
    Own(OwnFile),
    /// A whole file that is for this peer.
    Granted(Granted),
    /// A download that is under way.
    Part(Arc<Partial>),
}

/// A file that was downloaded: the user may move or change it at any moment.
#[derive(Clone, Debug)]
pub(super) struct OwnFile {
    pub file: StoredFile,
    /// Whether it was found gone or changed: it is not served any more.
    pub gone: Arc<AtomicBool>,
}

impl OwnFile {
    /// Whether it is where it was, with the length that it had.
    pub async fn is_there(&self) -> bool {
        if self.gone.load(Ordering::Relaxed) {
            return false;
        }
        let found = tokio::fs::metadata(&self.file.path).await;
        let why = match found {
            Ok(found) if found.len() == self.file.size => return true,
            Ok(_) => "its length has changed".to_owned(),
            Err(error) => error.to_string(),
        };
        self.give_up(&why);
        false
    }

    /// Serves it no more. That is said once: others may ask for it as often as they like.
    pub fn give_up(&self, error: &str) {
        if !self.gone.swap(true, Ordering::Relaxed) {
            tracing::warn!(path = %self.file.path.display(), error, "a downloaded file is not served any more");
        }
    }
}

impl Served {
    pub fn size(&self) -> u64 {
        match self {
            Self::Whole(file)
            | Self::Own(OwnFile { file, .. })
            | Self::Granted(Granted { file, .. }) => file.size,
            Self::Part(partial) => partial.size,
        }
    }

    pub fn have(&self) -> RunSet {
        match self {
            Self::Whole(file)
            | Self::Own(OwnFile { file, .. })
            | Self::Granted(Granted { file, .. }) => RunSet::full(groups_of(file.size)),
            Self::Part(partial) => partial.written(),
        }
    }

    /// Cancelled when nothing more of it may be sent.
    pub fn gone(&self) -> CancellationToken {
        match self {
            Self::Granted(granted) => granted.gone.clone(),
            Self::Whole(_) | Self::Own(_) | Self::Part(_) => CancellationToken::new(),
        }
    }
}
