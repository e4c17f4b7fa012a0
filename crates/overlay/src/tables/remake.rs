//! A table that is made anew, a piece at a time.

use super::counted::Counted;
use skein_index::{Index, KeyScan, VocabularyChanges};
use std::collections::BTreeMap;

/// Keys that are added at a time: one to two milliseconds.
const PIECE: usize = 8 * 1024;

/// A table of all keys of an index, which changes while it is made: the keys as they were when it
/// was begun, and then what has changed since.
#[derive(Debug)]
pub(super) struct Remake {
    table: Counted,
    scan: KeyScan,
    is_scanned: bool,
    /// By how much there is more of each hash since the scan began. When that is over it becomes part of
    /// the table.
    meanwhile: BTreeMap<u64, i64>,
    pairs: bool,
}

impl Remake {
    /// Begins one of this size. All changes of the vocabulary are to have been taken just before.
    pub(super) fn new(index: &Index, log2_bits: u8, pairs: bool) -> Self {
        Self {
            table: Counted::new(log2_bits),
            scan: index.scan_keys(),
            is_scanned: false,
            meanwhile: BTreeMap::new(),
            pairs,
        }
    }

    /// Whether pairs of words will be in it.
    pub(super) const fn has_pairs(&self) -> bool {
        self.pairs
    }

    /// Notes what has changed.
    pub(super) fn note(&mut self, changes: &VocabularyChanges) {
        let lists = [
            (&changes.appeared, 1),
            (&changes.vanished, -1),
            (&changes.pairs_appeared, 1),
            (&changes.pairs_vanished, -1),
        ];
        for (list, by) in lists {
            for hash in list {
                let change = self.meanwhile.entry(*hash).or_insert(0);
                *change += by;
                if *change == 0 {
                    self.meanwhile.remove(hash);
                }
            }
        }
    }

    /// Goes on by a piece. Answers whether the table is as the index is.
    pub(super) fn go_on(&mut self) -> bool {
        let (table, meanwhile) = (&mut self.table, &mut self.meanwhile);
        if !self.is_scanned {
            self.is_scanned = self.scan.run(PIECE, |key| {
                table.add(key);
            });
            return self.is_scanned && meanwhile.is_empty();
        }
        for _ in 0..PIECE {
            let Some((hash, by)) = meanwhile.pop_first() else { return true };
            for _ in 0..by.unsigned_abs() {
                if by > 0 {
                    table.add(hash)
                } else {
                    table.remove(hash)
                };
            }
        }
        meanwhile.is_empty()
    }

    /// The table, once it is whole.
    pub(super) fn into_table(self) -> Counted {
        self.table
    }
}
