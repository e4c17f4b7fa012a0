//! How the set of different words changes: what a query routing table is kept in step with.

use crate::memory;
use crate::text::word_hash;
use std::collections::BTreeMap;

/// What has changed in the set of different words since the last time that it was asked for. A
/// word that came and went in between is in neither list. The words are given by their
/// [hashes](word_hash), in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VocabularyChanges {
    /// Words that are new.
    pub appeared: Vec<u64>,
    /// Words that no record has any more.
    pub vanished: Vec<u64>,
}

/// The changes that nobody has asked for yet. There are never more than words now and words at the
/// last asking.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// By how much the number of words with this hash has changed; never zero. `None` until it
    /// is asked for the first time: most indexes have no routing table to keep.
    changes: Option<BTreeMap<u64, i32>>,
}

impl Pending {
    pub(crate) fn appeared(&mut self, word: &str) {
        self.change(word, 1);
    }

    pub(crate) fn vanished(&mut self, word: &str) {
        self.change(word, -1);
    }

    fn change(&mut self, word: &str, by: i32) {
        let Some(changes) = &mut self.changes else { return };
        let hash = word_hash(word);
        let change = changes.entry(hash).or_insert(0);
        *change += by;
        if *change == 0 {
            changes.remove(&hash);
        }
    }

    /// The changes since the last time; `None` the first time, when all words have appeared.
    pub(crate) fn take(&mut self) -> Option<VocabularyChanges> {
        let changes = self.changes.replace(BTreeMap::new())?;
        let mut taken = VocabularyChanges::default();
        for (hash, change) in changes {
            let list = if change > 0 { &mut taken.appeared } else { &mut taken.vanished };
            // Two words of one hash count as two, as they do in a filter that counts.
            list.extend(std::iter::repeat_n(hash, change.unsigned_abs() as usize));
        }
        Some(taken)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.changes.as_ref().map_or(0, |changes| memory::b_tree::<(u64, i32)>(changes.len()))
    }
}
