//! Going through all that is indexed: all words, and all documents.

use crate::store::Store;
use crate::text::RecordWords;
use crate::vocabulary::{Pending, VocabularyChanges};

impl Store {
    /// As [`Index::take_vocabulary_changes`](crate::Index::take_vocabulary_changes).
    pub(crate) fn take_vocabulary_changes(&mut self) -> VocabularyChanges {
        if let Some(changes) = self.pending.take() {
            return changes;
        }
        let mut pending = Pending::wanted();
        self.for_each_word(|word| pending.word_appeared(word, &self.hasher));
        self.for_each_document(|words| {
            pending.document(words.iter().map(|(word, _)| word), true);
        });
        self.pending = pending;
        self.pending.take().unwrap_or_default()
    }

    /// As [`Index::forget_vocabulary`](crate::Index::forget_vocabulary).
    pub(crate) fn forget_vocabulary(&mut self) {
        self.pending = Pending::default();
    }

    /// As [`Index::is_vocabulary_told`](crate::Index::is_vocabulary_told).
    pub(crate) fn is_vocabulary_told(&self) -> bool {
        self.pending.is_taken()
    }

    /// Whether changes of the vocabulary tell of pairs.
    pub(crate) const fn tells_of_pairs(&self) -> bool {
        self.pending.has_pairs()
    }

    /// Goes through the words of all documents that are in segments.
    pub(crate) fn for_each_document(&self, mut see: impl FnMut(&RecordWords)) {
        let mut words = RecordWords::default();
        for segment in &self.segments {
            for file in (0..segment.len()).filter(|it| segment.is_live(*it)) {
                if let Some(file) = segment.file(file) {
                    words.read(file.path.as_str(), file.tags.as_deref());
                    see(&words);
                }
            }
        }
    }

    /// Goes through all different words in their order.
    pub(crate) fn for_each_word(&self, mut see: impl FnMut(&str)) {
        let mut scans: Vec<_> = self.segments.iter().map(|it| it.strings.starting_at(0)).collect();
        scans.retain_mut(|scan| scan.next().is_some());
        while let Some(least) = scans.iter().map(|scan| scan.bytes()).min() {
            let least = least.to_vec();
            if let Ok(word) = std::str::from_utf8(&least)
                && self.has_word(word)
            {
                see(word);
            }
            scans.retain_mut(|scan| scan.bytes() != least || scan.next().is_some());
        }
    }
}
