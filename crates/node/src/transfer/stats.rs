//! What transfers have counted.

use super::task::Shared;
use super::{Transfers, UploadStats};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of the download side since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadStats {
    /// Downloads that run at present.
    pub active: u64,
    /// Bytes of files that were verified and written.
    pub bytes: u64,
    /// Of these, bytes that came through a relay.
    pub relayed_bytes: u64,
    /// Sources that a download gave up since they sent wrong bytes.
    pub corrupt_sources: u64,
    /// Sources that a download did not take in: it knew enough, and none that was of no use.
    pub sources_refused: u64,
    /// Sessions that downloads use at present.
    pub sessions: u64,
    /// Sources whose addresses answered.
    pub dialled: u64,
    /// Sources that a session was opened with.
    pub over_sessions: u64,
    /// Sources that no session could be opened with.
    pub sessions_failed: u64,
    /// Sources that were not asked since too many sessions were in use for downloads.
    pub sessions_over_limit: u64,
}

impl Transfers {
    /// Counts of the download side.
    pub fn download_stats(&self) -> DownloadStats {
        let Shared { counts, reach, .. } = &*self.inner.shared;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DownloadStats {
            active: self.running() as u64,
            bytes: get(&counts.bytes),
            relayed_bytes: get(&counts.relayed_bytes),
            corrupt_sources: get(&counts.corrupt_sources),
            sources_refused: get(&counts.sources_refused),
            sessions: reach.sessions_in_use() as u64,
            dialled: get(&reach.counts.dialled),
            over_sessions: get(&reach.counts.over_sessions),
            sessions_failed: get(&reach.counts.failed),
            sessions_over_limit: get(&reach.counts.over_limit),
        }
    }

    /// Counts of the upload side.
    pub fn upload_stats(&self) -> UploadStats {
        self.inner.uploader.stats()
    }
}
