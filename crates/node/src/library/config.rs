//! How the share library works, as set by the user.

use super::error::LibraryError;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The settings of the share library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryConfig {
    hash_workers: usize,
    watch: bool,
    quiet: Duration,
    settle: Duration,
    rescan: Duration,
    unwatched_rescan: Duration,
    retry: Duration,
    private: Option<PathBuf>,
}

impl Default for LibraryConfig {
    fn default() -> Self {
        Self {
            // One thread seldom saturates a disk with many small files; two do, and leave the
            // other cores of a household machine to its owner.
            hash_workers: 2,
            watch: true,
            // Programs that save a file touch it several times within some hundred milliseconds.
            quiet: Duration::from_millis(500),
            // Copying programs write at least once a second.
            settle: Duration::from_secs(2),
            // The watcher notices changes at once; the rescan only heals what it missed.
            rescan: Duration::from_secs(60 * 60),
            // Without a watcher this is how late a change is noticed. A scan in which nothing
            // changed costs about 10 microseconds a file.
            unwatched_rescan: Duration::from_secs(10 * 60),
            retry: Duration::from_secs(30),
            private: None,
        }
    }
}

impl LibraryConfig {
    /// The most threads that may hash.
    pub const MAX_HASH_WORKERS: usize = 64;
    /// The longest of all times: a week.
    pub const MAX_TIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    /// How many threads read and hash files, of all shares together: 1 to
    /// [`Self::MAX_HASH_WORKERS`]. Each takes about 300 KiB while it works.
    pub fn with_hash_workers(mut self, workers: usize) -> Self {
        self.hash_workers = workers;
        self
    }

    /// Whether the operating system is asked to report changes. Linux takes about 1 KiB of kernel
    /// memory for each folder.
    pub fn with_watch(mut self, watch: bool) -> Self {
        self.watch = watch;
        self
    }

    /// How long nothing more must happen in a share before a reported change is looked at; at
    /// the latest it is after ten times as long.
    pub fn with_quiet(mut self, quiet: Duration) -> Self {
        self.quiet = quiet;
        self
    }

    /// How long a file must have stayed unchanged before it is hashed. It keeps half copied files
    /// out of the network, and changes within one tick of the file system's clock from being
    /// overlooked. Zero turns it off.
    pub fn with_settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// The time between two full scans of a share that is watched; at least a second.
    pub fn with_rescan(mut self, rescan: Duration) -> Self {
        self.rescan = rescan;
        self
    }

    /// The time between two full scans of a share that cannot be watched; at least a second.
    pub fn with_unwatched_rescan(mut self, rescan: Duration) -> Self {
        self.unwatched_rescan = rescan;
        self
    }

    /// After what time a scan is tried again when the folder was missing or the disk full; at
    /// least a second.
    pub fn with_retry(mut self, retry: Duration) -> Self {
        self.retry = retry;
        self
    }

    /// A folder that is left out of every share, whether it is there already or not: that of the
    /// files that people have sent to the user.
    pub fn with_private(mut self, folder: PathBuf) -> Self {
        self.private = Some(folder);
        self
    }

    pub(super) fn private(&self) -> Option<&Path> {
        self.private.as_deref()
    }

    /// How many threads hash.
    pub fn hash_workers(&self) -> usize {
        self.hash_workers
    }

    pub(super) fn watch(&self) -> bool {
        self.watch
    }

    pub(super) fn quiet(&self) -> Duration {
        self.quiet
    }

    pub(super) fn settle(&self) -> Duration {
        self.settle
    }

    pub(super) fn rescan(&self) -> Duration {
        self.rescan
    }

    pub(super) fn unwatched_rescan(&self) -> Duration {
        self.unwatched_rescan
    }

    pub(super) fn retry(&self) -> Duration {
        self.retry
    }

    pub(super) fn check(&self) -> Result<(), LibraryError> {
        if !(1..=Self::MAX_HASH_WORKERS).contains(&self.hash_workers) {
            return Err(LibraryError::Setting { name: "hash workers", range: "1 to 64" });
        }
        let second = Duration::from_secs(1);
        for (name, time, least) in [
            ("quiet time", self.quiet, Duration::ZERO),
            ("settling time", self.settle, Duration::ZERO),
            ("rescan interval", self.rescan, second),
            ("rescan interval without a watcher", self.unwatched_rescan, second),
            ("retry time", self.retry, second),
        ] {
            if time < least {
                return Err(LibraryError::Setting { name, range: "one second to one week" });
            }
            if time > Self::MAX_TIME {
                return Err(LibraryError::Setting { name, range: "at most one week" });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_range_is_refused_with_its_range() {
        assert!(LibraryConfig::default().check().is_ok());
        for bad in [
            LibraryConfig::default().with_hash_workers(0),
            LibraryConfig::default().with_hash_workers(65),
            LibraryConfig::default().with_rescan(Duration::ZERO),
            LibraryConfig::default().with_settle(LibraryConfig::MAX_TIME * 2),
        ] {
            assert!(matches!(bad.check(), Err(LibraryError::Setting { .. })), "{bad:?}");
        }
    }
}
