//! The index at one moment, as readers see it.

use crate::interner::WordHasher;
use crate::register::Directory;
use crate::segment::{Place, Segment};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// All segments, and who their owners are. What a document loses meanwhile (itself, an owner) is
/// seen at once; what is new is seen by the next snapshot.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) directory: Arc<Directory>,
    /// Whether there may be documents of owners who are not known any more.
    pub(crate) has_leaving: bool,
}

impl Snapshot {
    /// Whether those who offer a document have all gone, and it is only still to be forgotten.
    pub(crate) fn is_left_over(&self, segment: &Segment, place: Place) -> bool {
        let is_known = |owner| self.directory.get(owner).is_some();
        self.has_leaving
            && match segment.share(place) {
                None => !is_known(segment.owner(place)),
                Some(share) => !share.owners().iter().any(is_known),
            }
    }
}

/// What the writer and all readers have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) prefixes_cut: AtomicU64,
    pub(crate) searches_cut: AtomicU64,
    /// How words are told apart.
    pub(crate) hasher: WordHasher,
}
