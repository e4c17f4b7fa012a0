//! Which results come first.

use skein_proto::ContentId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How well an entry fits the words; the smaller, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fit {
    /// Words of the query that only begin a word of the entry.
    pub(crate) only_begun: u16,
    /// Words of the query that are not in the file name.
    pub(crate) outside_name: u16,
    /// The length of the file name: in a shorter one the words are more of the whole.
    pub(crate) name_chars: u16,
}

/// The place of a content among the results; the smaller, the earlier. No two are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// That of the best entry of the content.
    pub(crate) fit: Fit,
    /// Matching records of the content.
    pub(crate) sources: Reverse<u64>,
    /// Decides ties, the same way at every supernode.
    pub(crate) content: ContentId,
}

/// The best so many of what is pushed.
pub(crate) struct Best<T> {
    /// The worst of them on top.
    heap: BinaryHeap<T>,
    limit: usize,
}

impl<T: Ord> Best<T> {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { heap: BinaryHeap::new(), limit }
    }

    pub(crate) fn push(&mut self, item: T) {
        if self.heap.len() < self.limit {
            self.heap.push(item);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && item < *worst
        {
            *worst = item;
        }
    }

    /// What was kept, the best first.
    pub(crate) fn into_sorted(self) -> Vec<T> {
        self.heap.into_sorted_vec()
    }
}
