//! The words of a record: rule 12.

use super::split::is_ascii_apostrophe;
use super::{MAX_RECORD_WORDS, MAX_WORD_CHARS, words};
use skein_proto::{FileMeta, MediaTags};

/// A word of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordWord {
    /// The word.
    pub text: String,
    /// Whether it stands in the file name.
    pub in_name: bool,
}

/// The different words of a record, those of the file name first, at most [`MAX_RECORD_WORDS`].
pub fn record_words(file: &FileMeta) -> Vec<RecordWord> {
    let mut words = RecordWords::default();
    words.read(file.path.as_str(), file.tags.as_deref());
    words.iter().map(|(text, in_name)| RecordWord { text: text.to_owned(), in_name }).collect()
}

/// The words of one record after the other, in memory that is used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordWords {
    text: String,
    /// Where each word ends in `text`, and whether it stands in the file name.
    words: Vec<(usize, bool)>,
}

impl RecordWords {
    /// Takes the words of a record in place of those that were there.
    pub(crate) fn read(&mut self, path: &str, tags: Option<&MediaTags>) {
        self.text.clear();
        self.words.clear();
        let mut parts = path.rsplit('/');
        self.add(parts.next().unwrap_or_default(), true);
        let tags = tags.into_iter().flat_map(|tags| [&tags.title, &tags.artist, &tags.album]);
        for text in tags.flatten().map(|text| text.as_str()).chain(parts) {
            self.add(text, false);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        let starts = std::iter::once(0).chain(self.words.iter().map(|(end, _)| *end));
        let words = starts.zip(&self.words);
        words.map(|(start, (end, in_name))| (&self.text[start..*end], *in_name))
    }

    fn add(&mut self, text: &str, in_name: bool) {
        if !text.is_ascii() {
            for word in words(text) {
                let start = self.text.len();
                self.text.push_str(&word);
                self.keep(start, in_name);
            }
            return;
        }
        // What the rules say of ASCII, without the steps in between.
        let bytes = text.as_bytes();
        let mut start = self.text.len();
        for (i, byte) in bytes.iter().enumerate() {
            if byte.is_ascii_alphanumeric() {
                if self.text.len() - start < MAX_WORD_CHARS {
                    self.text.push(char::from(byte.to_ascii_lowercase()));
                }
                continue;
            }
            let next_is_word = bytes.get(i + 1).is_some_and(u8::is_ascii_alphanumeric);
            if is_ascii_apostrophe(*byte) && next_is_word && self.text.len() > start {
                continue;
            }
            self.keep(start, in_name);
            start = self.text.len();
        }
        self.keep(start, in_name);
    }

    /// Keeps the text from `start` on as a word, if it is one more.
    fn keep(&mut self, start: usize, in_name: bool) {
        let (before, word) = self.text.split_at(start);
        let is_there = || {
            let mut from = 0;
            self.words.iter().any(|(to, _)| &before[std::mem::replace(&mut from, *to)..*to] == word)
        };
        if word.is_empty() || self.words.len() == MAX_RECORD_WORDS || is_there() {
            self.text.truncate(start);
        } else {
            self.words.push((self.text.len(), in_name));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::text::fold;
    use crate::text::split::runs;
    use proptest::prelude::*;
    use skein_proto::{BoundedString, ContentId, FilePath, Kind};

    fn file(path: &str, tags: Option<MediaTags>) -> FileMeta {
        FileMeta {
            content: ContentId::from_bytes([0; 32]),
            size: 0,
            kind: Kind::Other,
            path: FilePath::new(path).expect("a path"),
            tags: tags.map(Box::new),
        }
    }

    #[test]
    fn the_words_of_a_record_come_from_its_name_then_its_tags_then_its_folders() {
        let text = |text| Some(BoundedString::truncated(text));
        let tags = MediaTags {
            artist: text("The Band"),
            title: text("Halo"),
            album: text("First"),
            ..Default::default()
        };
        let found = record_words(&file("Music/Band, The/01 Halo.mp3", Some(tags)));
        let found: Vec<_> = found.iter().map(|word| (word.text.as_str(), word.in_name)).collect();
        let in_name = [("01", true), ("halo", true), ("mp3", true)];
        let elsewhere = [("the", false), ("band", false), ("first", false), ("music", false)];
        assert_eq!(found, [&in_name[..], &elsewhere[..]].concat());
    }

    #[test]
    fn a_record_has_a_bounded_number_of_words() {
        let many: Vec<String> = (0..100).map(|i| i.to_string()).collect();
        let found = record_words(&file(&format!("folder/{}", many.join(" ")), None));
        assert_eq!(found.len(), MAX_RECORD_WORDS);
        assert!(found.iter().all(|word| word.in_name));
    }

    proptest! {
        #[test]
        fn ascii_is_cut_as_all_text_is(text in "[a-dA-D0-3 ._'`-]{0,100}") {
            let mut words = RecordWords::default();
            words.add(&text, true);
            let mut expected: Vec<String> = Vec::new();
            for word in runs(&fold(&text)).iter().flat_map(|run| run.terms()) {
                if !expected.contains(&word) && expected.len() < MAX_RECORD_WORDS {
                    expected.push(word);
                }
            }
            let found: Vec<_> = words.iter().map(|(word, _)| word.to_owned()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
