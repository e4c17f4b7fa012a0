//! Words, and which entries have them.

use crate::memory;
use crate::slab::Slab;
use crate::text::{beginning_hash, beginnings, word_hash};
use crate::vocabulary::Pending;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// The number of a word, below 2³¹: see [`crate::catalogue::WordRef`].
pub(crate) type WordId = u32;

/// The number of an entry of the catalogue.
pub(crate) type EntryId = u32;

#[derive(Debug)]
struct Word {
    text: Arc<str>,
    /// In ascending order.
    postings: Vec<EntryId>,
}

impl Word {
    fn heap_bytes(&self) -> u64 {
        // An `Arc` keeps two counters before its text.
        memory::allocation(self.text.len() + 16)
            + memory::vector::<EntryId>(self.postings.capacity())
    }
}

/// The dictionary. A word is there from [`Dictionary::intern`] until its last posting is removed.
#[derive(Debug)]
pub(crate) struct Dictionary {
    ids: BTreeMap<Arc<str>, WordId>,
    words: Slab<Word>,
    heap: u64,
    postings: u64,
    pub(crate) pending: Pending,
}

impl Dictionary {
    pub(crate) fn new() -> Self {
        Self {
            ids: BTreeMap::new(),
            words: Slab::new(),
            heap: 0,
            postings: 0,
            pending: Pending::default(),
        }
    }

    pub(crate) fn id(&self, text: &str) -> Option<WordId> {
        self.ids.get(text).copied()
    }

    pub(crate) fn text(&self, id: WordId) -> Option<&str> {
        self.words.get(id).map(|word| &*word.text)
    }

    pub(crate) fn postings(&self, id: WordId) -> &[EntryId] {
        self.words.get(id).map_or(&[], |word| &word.postings)
    }

    /// Different words.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// Postings of all words together.
    pub(crate) const fn posting_count(&self) -> u64 {
        self.postings
    }

    /// All words in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.ids.keys().map(|text| &**text)
    }

    /// The words that begin with `prefix`, in their order.
    pub(crate) fn starting_with<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = WordId> + 'a {
        self.ids
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(text, _)| text.starts_with(prefix))
            .map(|(_, id)| *id)
    }

    /// The number of a word, which is added when it is new; `None` if there are no numbers left.
    pub(crate) fn intern(&mut self, text: &str) -> Option<WordId> {
        if let Some(id) = self.id(text) {
            return Some(id);
        }
        let text: Arc<str> = text.into();
        let word = Word { text: text.clone(), postings: Vec::new() };
        let heap = word.heap_bytes();
        let id = self.words.insert(word)?;
        if self.pending.is_wanted() {
            for hash in self.keys_of_its_own(&text) {
                self.pending.appeared(hash);
            }
        }
        self.ids.insert(text, id);
        self.heap += heap;
        Some(id)
    }

    /// Adds postings that are not there yet.
    ///
    /// They come in batches since each touched list is gone over once for a batch: a common word
    /// has a list of megabytes.
    pub(crate) fn add(&mut self, mut postings: Vec<(WordId, EntryId)>) {
        postings.sort_unstable();
        for group in postings.chunk_by(|a, b| a.0 == b.0) {
            let [(id, _), ..] = group else { continue };
            let Some(word) = self.words.get_mut(*id) else { continue };
            self.heap -= word.heap_bytes();
            merge(&mut word.postings, group.iter().map(|(_, entry)| *entry));
            self.heap += word.heap_bytes();
            self.postings += group.len() as u64;
        }
    }

    /// Removes postings, and the words that have none left.
    pub(crate) fn remove(&mut self, mut postings: Vec<(WordId, EntryId)>) {
        postings.sort_unstable();
        for group in postings.chunk_by(|a, b| a.0 == b.0) {
            let [(id, _), ..] = group else { continue };
            let Some(word) = self.words.get_mut(*id) else { continue };
            self.heap -= word.heap_bytes();
            let before = word.postings.len();
            subtract(&mut word.postings, group.iter().map(|(_, entry)| *entry));
            self.postings -= (before - word.postings.len()) as u64;
            if !word.postings.is_empty() {
                self.heap += word.heap_bytes();
            } else if let Some(word) = self.words.remove(*id) {
                self.ids.remove(&word.text);
                if self.pending.is_wanted() {
                    for hash in self.keys_of_its_own(&word.text) {
                        self.pending.vanished(hash);
                    }
                }
            }
        }
    }

    /// The hashes of a word that is not in the dictionary, and of those of its beginnings that no
    /// word in it has.
    fn keys_of_its_own(&self, word: &str) -> Vec<u64> {
        let mut keys = vec![word_hash(word)];
        // Whoever has a beginning has all shorter ones.
        for beginning in beginnings(word) {
            if self.starting_with(beginning).next().is_some() {
                break;
            }
            keys.push(beginning_hash(beginning));
        }
        keys
    }

    /// Goes through the hashes of all words and their beginnings, each once.
    pub(crate) fn for_each_key(&self, mut see: impl FnMut(u64)) {
        let mut before = "";
        for word in self.iter() {
            see(word_hash(word));
            // In the order of the words, those with the same beginning stand side by side.
            for beginning in beginnings(word).take_while(|text| !before.starts_with(text)) {
                see(beginning_hash(beginning));
            }
            before = word;
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        memory::b_tree::<(Arc<str>, WordId)>(self.ids.len())
            + self.words.bytes()
            + self.heap
            + self.pending.bytes()
    }
}

/// Merges ascending numbers into an ascending list, from its end, without a second list.
fn merge(list: &mut Vec<EntryId>, added: impl DoubleEndedIterator<Item = EntryId> + Clone) {
    let mut old = list.len();
    list.extend(added.clone());
    let mut end = list.len();
    for number in added.rev() {
        while old > 0 && list[old - 1] > number {
            end -= 1;
            old -= 1;
            list[end] = list[old];
        }
        end -= 1;
        list[end] = number;
        if old == end {
            break;
        }
    }
}

/// Removes ascending numbers from an ascending list.
fn subtract(list: &mut Vec<EntryId>, removed: impl Iterator<Item = EntryId>) {
    let mut removed = removed.peekable();
    let Some(first) = removed.peek().copied() else { return };
    let start = list.partition_point(|number| *number < first);
    let mut kept = start;
    for i in start..list.len() {
        let number = list[i];
        while removed.next_if(|gone| *gone < number).is_some() {}
        if removed.next_if_eq(&number).is_none() {
            list[kept] = number;
            kept += 1;
        }
    }
    list.truncate(kept);
    if kept < list.capacity() / 4 {
        list.shrink_to(kept * 2);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn lists_merge_and_subtract_like_sets(
            old in btree_set(0_u32..200, 0..100),
            other in btree_set(0_u32..200, 0..100),
        ) {
            let added: Vec<u32> = other.difference(&old).copied().collect();
            let mut list: Vec<u32> = old.iter().copied().collect();
            merge(&mut list, added.iter().copied());
            let union: Vec<u32> = old.union(&other).copied().collect();
            prop_assert_eq!(&list, &union);

            subtract(&mut list, other.iter().copied());
            let difference: Vec<u32> = old.difference(&other).copied().collect();
            prop_assert_eq!(&list, &difference);
        }

        #[test]
        fn a_beginning_stands_for_all_words_that_have_it(
            words in vec("[abñ日]{1,4}", 0..40),
            prefix in "[abñ日]{0,3}",
        ) {
            let mut dictionary = Dictionary::new();
            for word in &words {
                dictionary.intern(word).expect("numbers are left");
            }
            let found: Vec<_> =
                dictionary.starting_with(&prefix).filter_map(|id| dictionary.text(id)).collect();
            let sorted: BTreeSet<_> = words.iter().map(String::as_str).collect();
            let expected: Vec<_> = sorted.into_iter().filter(|w| w.starts_with(&prefix)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_word_goes_with_its_last_posting() {
        let mut dictionary = Dictionary::new();
        let word = dictionary.intern("word").expect("numbers are left");
        dictionary.add(vec![(word, 5), (word, 3)]);
        assert_eq!(dictionary.postings(word), [3, 5]);

        dictionary.remove(vec![(word, 3)]);
        assert_eq!(dictionary.id("word"), Some(word));
        dictionary.remove(vec![(word, 5)]);
        assert_eq!(dictionary.id("word"), None);
        assert_eq!((dictionary.len(), dictionary.posting_count(), dictionary.bytes()), (0, 0, 0));
    }
}
