//! The index at one moment, as readers see it.

use crate::interner::WordHasher;
use crate::register::Directory;
use crate::segment::Segment;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// All segments, and who their owners are. What a document loses meanwhile (itself, an owner) is
/// seen at once; what is new is seen by the next snapshot.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) directory: Arc<Directory>,
}

/// What the writer and all readers have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) prefixes_cut: AtomicU64,
    /// How words are told apart.
    pub(crate) hasher: WordHasher,
}
