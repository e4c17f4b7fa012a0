//! The words of a record: rule 12.

use super::hash::count_pairs;
use super::split::is_ascii_apostrophe;
use super::{MAX_RECORD_WORDS, MAX_WORD_CHARS, words};
use crate::interner::{WordHasher, head};
use skein_proto::{FileMeta, MediaTags};
use std::ops::Range;

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
    /// Where the file name begins in the path.
    name_start: usize,
    /// The runs of letters and digits of the file name as it is written.
    runs: Vec<Run>,
    /// Whether the file name is of ASCII alone and cut into words just so.
    is_plain: bool,
}

/// Where a word is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    /// Its first bytes, which nearly always tell words apart.
    pub(crate) head: u64,
    /// Its hash, if one was asked for.
    pub(crate) hash: u64,
    start: u32,
    end: u32,
    pub(crate) in_name: bool,
}

/// A run of letters and digits of a file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// The number of the word that it is, if its letters are small ones.
    pub(crate) word: Option<u32>,
}

/// What a byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    Word,
    Between,
    /// An apostrophe, or a part of a character that is not ASCII.
    Other,
}

const BYTES: [Byte; 256] = {
    let mut bytes = [Byte::Between; 256];
    let mut byte = 0;
    while byte < 256 {
        let it = byte as u8;
        if it.is_ascii_alphanumeric() {
            bytes[byte] = Byte::Word;
        } else if !it.is_ascii() || is_ascii_apostrophe(it) {
            bytes[byte] = Byte::Other;
        }
        byte += 1;
    }
    bytes
};

/// Whether a byte is an ASCII letter or digit.
#[inline]
pub(crate) fn is_word_byte(byte: u8) -> bool {
    BYTES[usize::from(byte)] == Byte::Word
}

impl RecordWords {
    /// Takes the words of a record in place of those that were there.
    pub(crate) fn read(&mut self, path: &str, tags: Option<&MediaTags>) {
        self.text.clear();
        self.words.clear();
        self.runs.clear();
        self.name_start = last_slash(path.as_bytes()).map_or(0, |slash| slash + 1);
        let (folders, name) = path.split_at(self.name_start);
        self.is_plain = self.add(name, true);
        for text in tags.into_iter().flat_map(|tags| [&tags.title, &tags.artist, &tags.album]) {
            text.iter().for_each(|text| {
                self.add(text, false);
            });
        }
        if let Some(folders) = folders.strip_suffix('/') {
            folders.rsplit('/').for_each(|text| {
                self.add(text, false);
            });
        }
    }

    /// As [`RecordWords::read`], with the hashes of the words.
    pub(crate) fn read_hashed(
        &mut self,
        path: &str,
        tags: Option<&MediaTags>,
        hasher: &WordHasher,
    ) {
        self.read(path, tags);
        for word in &mut self.words {
            let text = self.text.as_bytes().get(word.start as usize..word.end as usize);
            word.hash = hasher.hash_headed(word.head, text.unwrap_or_default());
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.words.len()
    }

    /// At least as many bytes as all words have together.
    pub(crate) const fn text_len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        self.words.iter().map(|word| (self.text_of(word), word.in_name))
    }

    pub(crate) fn words(&self) -> &[Word] {
        &self.words
    }

    #[inline]
    pub(crate) fn text_of(&self, word: &Word) -> &str {
        self.text.get(word.start as usize..word.end as usize).unwrap_or_default()
    }

    /// How many pairs the words have: see [`count_pairs`]. It is asked of every record that comes or
    /// goes, and four bytes of ASCII are four characters.
    pub(crate) fn pairs(&self) -> u64 {
        const ASCII: u32 = 0x8080_8080;
        let mut heads = [0; MAX_RECORD_WORDS];
        let mut count = 0;
        for word in &self.words {
            let first = (word.head >> 32) as u32;
            if first & ASCII != 0 {
                return count_pairs(self.iter().map(|(word, _)| word));
            }
            if word.end - word.start >= 4
                && !heads.get(..count).is_some_and(|seen| seen.contains(&first))
                && let Some(free) = heads.get_mut(count)
            {
                *free = first;
                count += 1;
            }
        }
        let count = count as u64;
        count * count.saturating_sub(1) / 2
    }

    /// The hashes of the words.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = u64> {
        self.words.iter().map(|word| word.hash)
    }

    /// Where the file name begins in the path.
    pub(crate) const fn name_start(&self) -> usize {
        self.name_start
    }

    /// The runs of the file name, if it is of ASCII alone and cut into words just so.
    pub(crate) fn runs(&self) -> Option<&[Run]> {
        self.is_plain.then_some(&self.runs)
    }

    /// Adds the words of a text. Answers whether it is cut into words just as it is written.
    fn add(&mut self, text: &str, in_name: bool) -> bool {
        if self.add_plain(text, in_name) {
            return true;
        }
        if text.is_ascii() {
            let plain = without_apostrophes(text.as_bytes()).map(char::from).collect::<String>();
            self.add_plain(&plain, in_name);
            return false;
        }
        for word in words(text) {
            let start = self.text.len();
            self.text.push_str(&word);
            keep(&mut self.words, self.text.as_bytes(), start..start + word.len(), in_name);
        }
        false
    }

    /// What the rules say of ASCII without apostrophes, without the steps in between. Adds nothing
    /// if there is anything else.
    fn add_plain(&mut self, text: &str, in_name: bool) -> bool {
        let Self { text: all, words, runs, .. } = self;
        let (base, before) = (all.len(), words.len());
        all.push_str(text);
        all[base..].make_ascii_lowercase();
        let all_bytes = all.as_bytes();
        let bytes = &all_bytes[base..];
        let is_small = bytes == text.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match BYTES[usize::from(*byte)] {
                Byte::Word => {}
                Byte::Between => {
                    at += 1;
                    continue;
                }
                Byte::Other => {
                    all.truncate(base);
                    words.truncate(before);
                    runs.clear();
                    return false;
                }
            }
            let start = at;
            while bytes.get(at).is_some_and(|byte| is_word_byte(*byte)) {
                at += 1;
            }
            let end = at.min(start + MAX_WORD_CHARS);
            let word = keep(words, all_bytes, base + start..base + end, in_name);
            if in_name {
                let is_word = end == at
                    && (is_small || text.as_bytes().get(start..at) == bytes.get(start..at));
                let word = word.filter(|_| is_word);
                runs.push(Run { start: start as u32, end: at as u32, word });
            }
        }
        true
    }
}

/// Keeps a part of a text as a word, if it is one more. Answers which word it is.
#[inline]
fn keep(words: &mut Vec<Word>, all: &[u8], range: Range<usize>, in_name: bool) -> Option<u32> {
    let length = range.len();
    let head = match all.get(range.start..).and_then(<[u8]>::first_chunk) {
        // Eight bytes at a time, and then without those behind the word.
        Some(bytes) if length < 8 => u64::from_be_bytes(*bytes) & !(u64::MAX >> (8 * length)),
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => head(all.get(range.clone()).unwrap_or_default()),
    };
    let is_it = |it: &Word| {
        it.head == head
            && (it.end - it.start) as usize == length
            && (length <= 8
                || all.get(it.start as usize..it.end as usize) == all.get(range.clone()))
    };
    if let Some(at) = words.iter().position(is_it) {
        return Some(at as u32);
    }
    if length == 0 || words.len() == MAX_RECORD_WORDS {
        return None;
    }
    let (start, end) = (range.start as u32, range.end as u32);
    words.push(Word { head, hash: 0, start, end, in_name });
    Some(words.len() as u32 - 1)
}

/// Where the last slash of a path is.
fn last_slash(path: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let (chunks, rest) = path.as_chunks::<8>();
    if let Some(at) = rest.iter().rposition(|byte| *byte == b'/') {
        return Some(chunks.len() * 8 + at);
    }
    // Whether any of eight bytes is zero, or here a slash, is seen from all of them at once.
    let has_slash = |chunk: &[u8; 8]| {
        let zero = u64::from_ne_bytes(*chunk) ^ (ONES * u64::from(b'/'));
        zero.wrapping_sub(ONES) & !zero & (ONES << 7) != 0
    };
    let chunk = chunks.iter().rposition(has_slash)?;
    let at = chunks.get(chunk)?.iter().rposition(|byte| *byte == b'/')?;
    Some(chunk * 8 + at)
}

/// The bytes of a text without the apostrophes inside its words, and with spaces for the others.
fn without_apostrophes(text: &[u8]) -> impl Iterator<Item = u8> {
    let is_word = |at: usize| text.get(at).is_some_and(|byte| is_word_byte(*byte));
    let is_inside = move |at: usize| is_word(at.wrapping_sub(1)) && is_word(at + 1);
    text.iter().enumerate().filter_map(move |(at, byte)| match *byte {
        byte if !is_ascii_apostrophe(byte) => Some(byte),
        _ if is_inside(at) => None,
        _ => Some(b' '),
    })
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

        #[test]
        fn pairs_are_counted_by_the_first_bytes_as_by_characters(text in "([ab]{1,5}[ cß東]){0,12}") {
            let mut words = RecordWords::default();
            words.add(&text, true);
            prop_assert_eq!(words.pairs(), count_pairs(words.iter().map(|(word, _)| word)));
        }
    }
}
