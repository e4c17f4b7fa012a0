//! The words of a record: rule 12.

use super::split::is_ascii_apostrophe;
use super::{MAX_RECORD_WORDS, MAX_WORD_CHARS, words};
use crate::interner::head;
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
    /// The folded texts, with what stands between the words.
    text: String,
    words: Vec<Word>,
}

/// Where a word is.
#[derive(Clone, Copy, Debug)]
struct Word {
    /// Its first bytes, which nearly always tell words apart.
    head: u64,
    start: u32,
    end: u32,
    in_name: bool,
}

/// Whether each byte is an ASCII letter or digit.
const IS_WORD: [bool; 256] = {
    let mut is_word = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        is_word[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    is_word
};

/// Whether a byte is an ASCII letter or digit.
#[inline]
pub(crate) fn is_word_byte(byte: u8) -> bool {
    IS_WORD[usize::from(byte)]
}

impl RecordWords {
    /// Takes the words of a record in place of those that were there.
    pub(crate) fn read(&mut self, path: &str, tags: Option<&MediaTags>) {
        self.read_texts(
            path,
            tags.into_iter().flat_map(|tags| {
                [&tags.title, &tags.artist, &tags.album]
                    .into_iter()
                    .flatten()
                    .map(|text| text.as_str())
            }),
        );
    }

    /// The same, for tags that are given as their texts: title, artist, album.
    pub(crate) fn read_texts<'a>(&mut self, path: &str, tags: impl Iterator<Item = &'a str>) {
        self.text.clear();
        self.words.clear();
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.add(name, true);
        tags.for_each(|text| self.add(text, false));
        if !folders.is_empty() {
            folders.rsplit('/').for_each(|text| self.add(text, false));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        let text = |word: &Word| self.text.get(word.start as usize..word.end as usize);
        self.words.iter().map(move |word| (text(word).unwrap_or_default(), word.in_name))
    }

    fn add(&mut self, text: &str, in_name: bool) {
        if !text.is_ascii() {
            for word in words(text) {
                let start = self.text.len();
                self.text.push_str(&word);
                self.keep(start, self.text.len(), in_name);
            }
            return;
        }
        // What the rules say of ASCII, without the steps in between: most words are read often, and
        // from here on never copied.
        let mut at = self.text.len();
        if text.bytes().any(is_ascii_apostrophe) {
            self.text.extend(without_apostrophes(text.as_bytes()).map(char::from));
        } else {
            self.text.push_str(text);
        }
        self.text[at..].make_ascii_lowercase();
        loop {
            let rest = self.text.as_bytes().get(at..).unwrap_or_default();
            let Some(before) = rest.iter().position(|byte| is_word_byte(*byte)) else { return };
            let rest = &rest[before..];
            let length = rest.iter().position(|byte| !is_word_byte(*byte)).unwrap_or(rest.len());
            let start = at + before;
            at = start + length;
            self.keep(start, start + length.min(MAX_WORD_CHARS), in_name);
        }
    }

    /// Keeps a part of the text as a word, if it is one more.
    #[inline]
    fn keep(&mut self, start: usize, end: usize, in_name: bool) {
        let text = |start: usize, end: usize| self.text.as_bytes().get(start..end);
        let word = text(start, end).unwrap_or_default();
        let head = head(word);
        let is_there =
            |it: &Word| it.head == head && text(it.start as usize, it.end as usize) == Some(word);
        if self.words.len() < MAX_RECORD_WORDS && !self.words.iter().any(is_there) {
            self.words.push(Word { head, start: start as u32, end: end as u32, in_name });
        }
    }
}

/// The bytes of a text without the apostrophes inside its words.
fn without_apostrophes(text: &[u8]) -> impl Iterator<Item = u8> {
    let is_word = |at: usize| text.get(at).is_some_and(|byte| is_word_byte(*byte));
    let is_inside = move |at: usize| is_word(at.wrapping_sub(1)) && is_word(at + 1);
    let kept = move |(at, byte): &(usize, &u8)| !(is_ascii_apostrophe(**byte) && is_inside(*at));
    text.iter().enumerate().filter(kept).map(|(_, byte)| *byte)
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
