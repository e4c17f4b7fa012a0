//! How much an index takes, from one owner and in all.

/// Bounds of an [`Index`](crate::Index). A record over one of them is not taken, and counted as
/// [`PublishOutcome::over_quota`]; what is there already stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records of one owner. 100,000 by default: a large music collection has 50,000 files.
    pub owner_records: u64,
    /// Bytes of metadata of one owner: for each record 64, and the lengths of its path and tags.
    /// 32 MiB by default, 335 bytes for each of 100,000 records, where 150 are usual.
    pub owner_bytes: u64,
    /// Different words of one owner. 100,000 by default: honest vocabularies grow with about the
    /// square root of the text (Heaps' law), made-up ones linearly.
    pub owner_words: u64,
    /// Records of all owners together. Five million by default: 150 children with 33,000 each.
    pub total_records: u64,
    /// Different words in all. Four million by default, so that 40 owners who do nothing but
    /// make up words are needed to fill it.
    pub total_words: u64,
    /// Bytes of memory in all, as [`Index::memory_bytes`](crate::Index::memory_bytes) reckons
    /// them, without what only makes changes faster: that is given up when the limit is passed with it.
    /// 2 GiB by default, where a record costs about 75 bytes and, while segments are merged, up
    /// to twice that for the million documents of the largest one.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            owner_records: 100_000,
            owner_bytes: 32 * 1024 * 1024,
            owner_words: 100_000,
            total_records: 5_000_000,
            total_words: 4_000_000,
            total_bytes: 2 * 1024 * 1024 * 1024,
        }
    }
}

/// What became of the records of one call of [`Index::publish`](crate::Index::publish).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOutcome {
    /// Records that were taken in and are new.
    pub accepted: u64,
    /// Records that took the place of an earlier one with the same content.
    pub replaced: u64,
    /// Records that were not taken, since a limit was reached or the owner is not known. Where
    /// the owner had an earlier record of that content, it keeps that one.
    pub over_quota: u64,
}
