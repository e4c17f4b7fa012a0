//! How the set of different words changes: what a query routing table is kept in step with.

use crate::memory;
use std::collections::BTreeMap;

/// What has changed in the set of different words and their beginnings since the last time that it
/// was asked for. One that came and went in between is in neither list. They are given by their
/// hashes ([`word_hash`](crate::text::word_hash), [`beginning_hash`](crate::text::beginning_hash)),
/// in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VocabularyChanges {
    /// Those that are new.
    pub appeared: Vec<u64>,
    /// Those that no record has any more.
    pub vanished: Vec<u64>,
}

/// The changes that nobody has asked for yet. There are never more than words and beginnings
/// now and at the last asking.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// By how much the number of words or beginnings with this hash has changed; never zero. `None` until it
    /// is asked for the first time: most indexes have no routing table to keep.
    changes: Option<BTreeMap<u64, i32>>,
}

impl Pending {
    /// Whether anybody asks for changes.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.changes.is_some()
    }

    pub(crate) fn appeared(&mut self, hash: u64) {
        self.change(hash, 1);
    }

    pub(crate) fn vanished(&mut self, hash: u64) {
        self.change(hash, -1);
    }

    fn change(&mut self, hash: u64, by: i32) {
        let Some(changes) = &mut self.changes else { return };
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
