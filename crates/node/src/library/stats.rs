//! What the library has done since it was opened.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What the library has done since it was opened; every figure only grows.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct LibraryStats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)+
        }

        impl Counters {
            pub(super) fn read(&self) -> LibraryStats {
                LibraryStats { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Files that were read and hashed.
    files_hashed,
    /// Their bytes.
    bytes_hashed,
    /// Files that needed no hashing, since they were known under another name.
    files_moved,
    /// Times that a file was left for later, since it was being written.
    files_deferred,
    /// Media files whose tags could not be read.
    tag_failures,
    /// Scans of whole shares that came to their end.
    scans,
    /// Scans of single folders, after a change was reported.
    folder_scans,
    /// Times that more changes were reported than are kept, so that the share was scanned wholly.
    change_overflows,
    /// Times that a file was asked for and found to be no longer what was published.
    stale_files,
    /// Times that the database or a hash tree could not be written.
    store_failures,
}

impl Counters {
    /// Counts one.
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
