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
    /// The first bytes of the words.
    seen: Seen,
    /// Where the file name begins in the path.
    name_start: usize,
    /// The runs of letters and digits of the file name as it is written.
    runs: Vec<Run>,
    /// Which bytes of the text at hand are letters and digits.
    blocks: Vec<u64>,
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

/// Whether a byte is an ASCII letter or digit.
#[inline]
pub(crate) const fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// A bit for each of a few numbers, by which most of those that are new are known to be.
#[derive(Clone, Copy, Debug, Default)]
struct Seen(u64);

impl Seen {
    /// Whether this one was certainly not asked for before.
    #[inline]
    fn is_new(&mut self, number: u64) -> bool {
        // An odd factor near the golden ratio, by which neighbours come far apart.
        let bit = 1 << (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58);
        let before = self.0;
        self.0 |= bit;
        before & bit == 0
    }
}

/// Bytes of a text that are looked at together.
const BLOCK: usize = u64::BITS as usize;

/// What there is in a block: a bit for each byte.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Letters and digits.
    words: u64,
    /// Whether any letter is a large one.
    is_large: bool,
    /// Whether there is an apostrophe, or anything that is not ASCII.
    has_other: bool,
}

impl Block {
    /// Of at most [`BLOCK`] bytes. The same is done for each, without a question, which the processor
    /// does for many at a time.
    #[inline]
    fn new(text: &[u8]) -> Self {
        let mut bytes = [b' '; BLOCK];
        let len = text.len().min(BLOCK);
        bytes[..len].copy_from_slice(&text[..len]);
        let (mut large, mut other) = (0, 0);
        let mut marks = [0_u8; BLOCK];
        for (mark, byte) in marks.iter_mut().zip(bytes) {
            let small = byte | 0x20;
            let is_letter = small.wrapping_sub(b'a') < 26;
            *mark = u8::from(is_letter | (byte.wrapping_sub(b'0') < 10));
            large |= u8::from(is_letter & (byte & 0x20 == 0));
            other |= u8::from(!byte.is_ascii() | is_ascii_apostrophe(byte));
        }
        // A factor brings the marks of eight bytes side by side.
        let (eights, _) = marks.as_chunks::<8>();
        let words = eights.iter().rev().fold(0, |words, eight| {
            words << 8 | u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56
        });
        Self { words, is_large: large != 0, has_other: other != 0 }
    }
}

impl RecordWords {
    /// Takes the words of a record in place of those that were there.
    pub(crate) fn read(&mut self, path: &str, tags: Option<&MediaTags>) {
        self.text.clear();
        self.words.clear();
        self.seen = Seen::default();
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
        let all = self.text.as_bytes();
        for word in &mut self.words {
            let text = all.get(word.start as usize..word.end as usize);
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

    /// The bytes of [`RecordWords::text_of`], without a question where characters begin.
    #[inline]
    pub(crate) fn bytes_of(&self, word: &Word) -> &[u8] {
        self.text.as_bytes().get(word.start as usize..word.end as usize).unwrap_or_default()
    }

    /// How many pairs the words have: see [`count_pairs`]. It is asked of every record that comes or
    /// goes, and four bytes of ASCII are four characters.
    pub(crate) fn pairs(&self) -> u64 {
        const ASCII: u32 = 0x8080_8080;
        let (mut count, mut seen, mut all) = (0, Seen::default(), 0);
        for word in &self.words {
            let first = (word.head >> 32) as u32;
            all |= first;
            if word.end - word.start >= 4 {
                seen.is_new(u64::from(first));
                count += 1;
            }
        }
        if all & ASCII != 0 {
            return count_pairs(self.iter().map(|(word, _)| word));
        }
        // Mostly each has a bit of its own, and so they are all different.
        if seen.0.count_ones() < count {
            count = self.different_heads();
        }
        let count = u64::from(count);
        count * count.saturating_sub(1) / 2
    }

    /// How many different first four bytes the words have, all of them ASCII.
    fn different_heads(&self) -> u32 {
        let mut heads = [0; MAX_RECORD_WORDS];
        let mut count = 0;
        for word in self.words.iter().filter(|word| word.end - word.start >= 4) {
            let first = (word.head >> 32) as u32;
            if !heads.get(..count).is_some_and(|seen| seen.contains(&first))
                && let Some(free) = heads.get_mut(count)
            {
                *free = first;
                count += 1;
            }
        }
        count as u32
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
            let range = start..start + word.len();
            keep(&mut self.words, &mut self.seen, self.text.as_bytes(), range, in_name);
        }
        false
    }

    /// What the rules say of ASCII without apostrophes, without the steps in between. Adds nothing
    /// if there is anything else.
    fn add_plain(&mut self, text: &str, in_name: bool) -> bool {
        let Self { text: all, words, runs, seen, blocks, .. } = self;
        blocks.clear();
        let mut is_large = false;
        for block in text.as_bytes().chunks(BLOCK).map(Block::new) {
            if block.has_other {
                return false;
            }
            is_large |= block.is_large;
            blocks.push(block.words);
        }
        let base = all.len();
        all.push_str(text);
        if is_large {
            all[base..].make_ascii_lowercase();
        }
        let all = all.as_bytes();
        let mut see = |start: usize, at: usize| {
            let end = at.min(start + MAX_WORD_CHARS);
            let word = keep(words, seen, all, base + start..base + end, in_name);
            if in_name {
                let is_word = end == at
                    && (!is_large
                        || text.as_bytes().get(start..at) == all.get(base + start..base + at));
                let word = word.filter(|_| is_word);
                runs.push(Run { start: start as u32, end: at as u32, word });
            }
        };
        // Where words begin and end, by turns.
        let (mut start, mut last) = (None, 0);
        for (number, block) in blocks.iter().enumerate() {
            let mut edges = block ^ (block << 1 | last);
            last = block >> (BLOCK - 1);
            while edges != 0 {
                let at = number * BLOCK + edges.trailing_zeros() as usize;
                edges &= edges - 1;
                match start.take() {
                    Some(start) => see(start, at),
                    None => start = Some(at),
                }
            }
        }
        if let Some(start) = start {
            see(start, text.len());
        }
        true
    }
}

/// Keeps a part of a text as a word, if it is one more. Answers which word it is.
#[inline]
fn keep(
    words: &mut Vec<Word>,
    seen: &mut Seen,
    all: &[u8],
    range: Range<usize>,
    in_name: bool,
) -> Option<u32> {
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
    if !seen.is_new(head)
        && let Some(at) = words.iter().position(is_it)
    {
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
    let (rest, chunks) = path.as_rchunks::<8>();
    // Whether any of eight bytes is zero, or here a slash, is seen from all of them at once.
    let has_slash = |chunk: &[u8; 8]| {
        let zero = u64::from_ne_bytes(*chunk) ^ (ONES * u64::from(b'/'));
        zero.wrapping_sub(ONES) & !zero & (ONES << 7) != 0
    };
    let last = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'/');
    match chunks.iter().rposition(has_slash) {
        Some(at) => Some(rest.len() + at * 8 + last(chunks.get(at)?)?),
        None if path.first_chunk().is_some_and(|it| !has_slash(it)) => None,
        None => last(rest),
    }
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
        fn pairs_are_counted_by_the_first_bytes_as_by_characters(
            text in "([ab]{1,5}[ cжß東]){0,12}|([ab]{3,5}c?[ -]){0,12}|([a-d]{4,6} ){0,70}",
        ) {
            let mut words = RecordWords::default();
            words.add(&text, true);
            prop_assert_eq!(words.pairs(), count_pairs(words.iter().map(|(word, _)| word)));
        }
    }
}
