//! How the set of different words, and of words that stand together, changes: what a query routing
//! table is kept in step with.

use crate::interner::WordHasher;
use crate::memory;
use crate::tally::Tally;
use crate::text::{beginning_hash, beginnings, count_pairs, for_each_pair, word_hash};
use std::collections::BTreeMap;

/// Pairs, counted once for each document, up to which an index tells of them: what fits into a
/// table of a quarter of a mebibyte, or 1,000 to 10,000 documents. With more documents most pairs of
/// frequent words do stand together somewhere, so that pairs tell less, and take more.
const MAX_PAIRS: u64 = 150_000;

/// What has changed in the set of different words and their beginnings since the last time that it
/// was asked for. One that came and went in between is in neither list. They are given by their
/// hashes ([`word_hash`](crate::text::word_hash), [`beginning_hash`](crate::text::beginning_hash)),
/// in ascending order. While there are few enough, the pairs of words
/// ([`pair_hash`](crate::text::pair_hash)) are among them, once for each document that has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VocabularyChanges {
    /// Those that are new.
    pub appeared: Vec<u64>,
    /// Those that no record has any more.
    pub vanished: Vec<u64>,
    /// Whether the index tells of pairs.
    pub pairs: bool,
    /// It has begun to tell of pairs, or ceased to: the lists are not enough, and all keys are to be
    /// asked for ([`Index::for_each_key`](crate::Index::for_each_key)).
    pub incomplete: bool,
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
    /// Pairs in all documents.
    pairs: u64,
    /// There are too many to tell of them.
    crowded: bool,
    /// Whether that has changed since the changes were asked for.
    turned: bool,
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
            if self.beginnings.add(hasher.hash(beginning.as_bytes()), 1) {
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
            if self.beginnings.remove(hasher.hash(beginning.as_bytes())) {
                self.change(beginning_hash(beginning), -1);
            }
        }
    }

    /// Notes a document with these words that was not there, or one that is there no more.
    pub(crate) fn document<'a>(&mut self, words: impl Iterator<Item = &'a str>, came: bool) {
        if self.changes.is_none() {
            return;
        }
        let mut count = 0;
        if self.crowded {
            // Nobody is told of them: to hash them would cost more than all else.
            count = count_pairs(words);
        } else {
            for_each_pair(words, |hash| {
                count += 1;
                self.change(hash, if came { 1 } else { -1 });
            });
        }
        self.pairs = if came { self.pairs + count } else { self.pairs.saturating_sub(count) };
        let crowded = self.pairs > if self.crowded { MAX_PAIRS / 2 } else { MAX_PAIRS };
        self.turned |= std::mem::replace(&mut self.crowded, crowded) != crowded;
    }

    /// Whether pairs are told of.
    pub(crate) const fn has_pairs(&self) -> bool {
        !self.crowded
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
        let mut taken = VocabularyChanges {
            pairs: !self.crowded,
            incomplete: std::mem::take(&mut self.turned),
            ..VocabularyChanges::default()
        };
        for (hash, change) in changes {
            let list = if change > 0 { &mut taken.appeared } else { &mut taken.vanished };
            // Two words of one hash count as two, as they do in a filter that counts.
            list.extend(std::iter::repeat_n(hash, change.unsigned_abs() as usize));
        }
        Some(taken)
    }

    /// Whether all changes so far have been taken.
    pub(crate) fn is_taken(&self) -> bool {
        !self.turned && self.changes.as_ref().is_some_and(BTreeMap::is_empty)
    }

    pub(crate) fn bytes(&self) -> u64 {
        let changes = self.changes.as_ref().map_or(0, BTreeMap::len);
        memory::b_tree::<(u64, i32)>(changes) + self.beginnings.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sixty words, and so 1,770 pairs.
    fn document(number: u32) -> Vec<String> {
        (0..60).map(|word| format!("{:04}of{number}", word * 100 + number % 100)).collect()
    }

    #[test]
    fn an_index_of_too_many_pairs_tells_of_none_until_half_of_them_are_gone() {
        let mut pending = Pending::wanted();
        let note = |pending: &mut Pending, number: u32, came: bool| {
            pending.document(document(number).iter().map(String::as_str), came);
            pending.take().unwrap_or_default()
        };
        for number in 0..84 {
            let changes = note(&mut pending, number, true);
            assert_eq!(
                (changes.appeared.len(), changes.pairs, changes.incomplete),
                (1_770, true, false)
            );
        }
        let changes = note(&mut pending, 84, true);
        assert_eq!((changes.pairs, changes.incomplete), (false, true));
        let changes = note(&mut pending, 85, true);
        assert_eq!((changes.appeared.len(), changes.pairs, changes.incomplete), (0, false, false));
        for number in 43..86 {
            assert!(!note(&mut pending, number, false).pairs);
        }
        let changes = note(&mut pending, 42, false);
        assert_eq!((changes.pairs, changes.incomplete), (true, true));
        assert_eq!(note(&mut pending, 41, false).vanished.len(), 1_770);
    }
}
