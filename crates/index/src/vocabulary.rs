//! How the set of different words changes: what a query routing table is kept in step with.

use crate::interner::WordHasher;
use crate::memory;
use crate::tally::Tally;
use crate::text::{beginning_hash, beginnings, word_hash};
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
    /// By how much the number of words or beginnings with this hash has changed; never zero.
    /// `None` until it is asked for the first time: most indexes have no routing table to keep.
    changes: Option<BTreeMap<u64, i32>>,
    /// How many words have each beginning.
    beginnings: Tally,
}

impl Pending {
    /// One that notes changes.
    pub(crate) fn wanted() -> Self {
        Self { changes: Some(BTreeMap::new()), ..Self::default() }
    }

    /// Notes a word that was not there.
    pub(crate) fn word_appeared(&mut self, word: &str, hasher: &WordHasher) {
        if self.changes.is_none() {
            return;
        }
        self.change(word_hash(word), 1);
        for beginning in beginnings(word) {
            if self.beginnings.add(hasher.hash(beginning)) {
                self.change(beginning_hash(beginning), 1);
            }
        }
    }

    /// Notes a word that is not there any more.
    pub(crate) fn word_vanished(&mut self, word: &str, hasher: &WordHasher) {
        if self.changes.is_none() {
            return;
        }
        self.change(word_hash(word), -1);
        for beginning in beginnings(word) {
            if self.beginnings.remove(hasher.hash(beginning)) {
                self.change(beginning_hash(beginning), -1);
            }
        }
    }

    fn change(&mut self, hash: u64, by: i32) {
        let Some(changes) = &mut self.changes else { return };
        let change = changes.entry(hash).or_insert(0);
        *change += by;
        if *change == 0 {
            changes.remove(&hash);
        }
    }

    /// The changes since the last time; `None` if they were not noted so far.
    pub(crate) fn take(&mut self) -> Option<VocabularyChanges> {
        let changes = std::mem::take(self.changes.as_mut()?);
        let mut taken = VocabularyChanges::default();
        for (hash, change) in changes {
            let list = if change > 0 { &mut taken.appeared } else { &mut taken.vanished };
            // Two words of one hash count as two, as they do in a filter that counts.
            list.extend(std::iter::repeat_n(hash, change.unsigned_abs() as usize));
        }
        Some(taken)
    }

    pub(crate) fn bytes(&self) -> u64 {
        let changes = self.changes.as_ref().map_or(0, BTreeMap::len);
        memory::b_tree::<(u64, i32)>(changes) + self.beginnings.bytes()
    }
}
