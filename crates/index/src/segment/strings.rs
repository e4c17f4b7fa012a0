//! The strings of a segment, sorted, with the posting lists of those that are words.
//!
//! Sixteen strings stand in a block, each as the length of what it shares with the one before it
//! and what differs (front coding). The first eight bytes of each block's first string stand
//! apart, in an array small enough for a cache: a look-up goes through it by halves and then
//! through one block, or two where many blocks begin alike.
//!
//! ```text
//! block:   | lengths, a byte for each string | bytes of the texts, 2 bytes | texts | lists |
//! lengths: | shared 4 bits | own 4 bits |
//! text:    | [rest of shared] [rest of own] own bytes |
//! lists:   for each string the length of its list in bytes x 8, its form, and one bit that says
//!          whether there is a second one, then that one's length x 4 and its form
//! ```
//!
//! Of one kind each they are gone through without a question in between: to read a string out takes
//! a few instructions for each one before it.

use super::postings::{self, Cursor, Form, Numbers};
use super::room::{Room, STEP};
use crate::array::Array;
use crate::code::varint;
use crate::interner::head;
use crate::waste::Waste;
use std::ops::Range;

/// The number of a string in the order of the strings.
pub(crate) type StringNo = u32;

/// Strings of a block.
const BLOCK: usize = 16;

/// From this on a length does not fit into its four bits, and the rest of it follows.
const LONG: usize = 15;

/// Bytes of the [`head`] of a string: most strings have no more.
const HEAD: usize = size_of::<u64>();

/// All strings of a segment.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    len: usize,
    /// The first bytes of each block's first string, as one number that sorts as they do.
    heads: Array<u64>,
    /// Where each block begins in `bytes` and in `lists`.
    starts: Array<[u32; 2]>,
    bytes: Array<u8>,
    lists: Array<u8>,
}

/// Where the lists of a string are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListsAt {
    start: usize,
    inside: (Form, usize),
    outside: (Form, usize),
}

impl ListsAt {
    /// Whether any document has the string as a word.
    pub(crate) const fn is_word(&self) -> bool {
        self.len() > 0
    }

    /// Bytes of both lists.
    const fn len(&self) -> usize {
        self.inside.1 + self.outside.1
    }
}

impl Strings {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.heads.bytes() + self.starts.bytes() + self.bytes.bytes() + self.lists.bytes()
    }

    /// Gives up all that it has, in pieces.
    pub(crate) fn take_apart(self, waste: &mut Waste) {
        let [bytes, lists] = [self.bytes.bytes(), self.lists.bytes()];
        let all = self.bytes();
        waste.add(self.bytes, bytes);
        waste.add(self.lists, lists);
        waste.add((self.heads, self.starts), all - bytes - lists);
    }

    /// Bytes of the texts, and of the lists.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.bytes.len(), self.lists.len())
    }

    /// The documents that have a word in the file name, and those that have it elsewhere only.
    pub(crate) fn lists(&self, at: ListsAt) -> (Option<Cursor<'_>>, Option<Cursor<'_>>) {
        let [inside, outside] = self.written_lists(at);
        (cursor(inside), cursor(outside))
    }

    /// Reads something of them, and answers nothing of use.
    #[inline]
    pub(crate) fn touch_lists(&self, at: ListsAt) -> u8 {
        self.lists.get(at.start).copied().unwrap_or_default()
    }

    /// The same two lists as they are written.
    pub(crate) fn written_lists(&self, at: ListsAt) -> [(Form, &[u8]); 2] {
        let list = |start: usize, (form, len): (Form, usize)| {
            (form, self.lists.get(start..start + len).unwrap_or_default())
        };
        [list(at.start, at.inside), list(at.start + at.inside.1, at.outside)]
    }

    /// All strings from the first one that is not below `least`, in order.
    pub(crate) fn from(&self, least: &str) -> Scan<'_> {
        let mut scan = self.scan(self.block_of(least.as_bytes()));
        while let Some(found) = scan.next() {
            if scan.bytes() >= least.as_bytes() {
                scan.held = Some(found);
                break;
            }
        }
        scan
    }

    /// The last block that begins with no more than a text: where it is, or stands before it.
    fn block_of(&self, text: &[u8]) -> usize {
        let head = head(text);
        let start = self.heads.partition_point(|it| *it < head);
        let (_, rest) = self.heads.split_at(start);
        let equal = rest.iter().take_while(|it| **it == head).take(2).count();
        // Where several heads are equal, the whole strings decide.
        let equal = if equal < 2 { equal } else { rest.partition_point(|it| *it == head) };
        let (mut low, mut high) = (start, start + equal);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.first_of(middle) <= text {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1)
    }

    /// The block that has the string with exactly this text if any has, of which something is read: who
    /// looks into many dictionaries waits for their blocks once instead of once for each.
    #[inline]
    pub(crate) fn touch(&self, text: &str) -> usize {
        let block = self.block_of(text.as_bytes());
        let start = self.starts.get(block).map_or(0, |[start, _]| *start as usize);
        std::hint::black_box(self.bytes.get(start).copied());
        block
    }

    /// The string with exactly this text.
    pub(crate) fn find(&self, text: &str) -> Option<(StringNo, ListsAt)> {
        self.find_in(self.block_of(text.as_bytes()), text)
    }

    /// As [`Strings::find`], where [`Strings::touch`] has answered the block.
    pub(crate) fn find_in(&self, block: usize, text: &str) -> Option<(StringNo, ListsAt)> {
        let text = text.as_bytes();
        let Block { lengths, mut texts, mut lists, mut start } = self.block(block);
        // How much of the text the string before begins with.
        let mut common = 0;
        let at = lengths.iter().position(|length| {
            let (shared, own) = take_text(*length, &mut texts);
            if shared <= common {
                // One that shares less than was common is behind the text, as are all later ones:
                // they are not found either.
                let rest = text.get(shared..).unwrap_or_default();
                common = shared + own.iter().zip(rest).take_while(|(a, b)| a == b).count();
            }
            common == text.len() && shared + own.len() == common
        })?;
        for _ in 0..at {
            start += take_lists(&mut lists, start).len();
        }
        Some(((block * BLOCK + at) as StringNo, take_lists(&mut lists, start)))
    }

    /// Appends the text of a string.
    #[inline]
    pub(crate) fn text(&self, number: StringNo, out: &mut Room) {
        let Block { lengths, texts, .. } = self.block(number as usize / BLOCK);
        let Some(lengths) = lengths.get(..=number as usize % BLOCK) else { return };
        let (from, mut at, mut len) = (out.len(), 0, 0);
        for length in lengths {
            let (shared, own) = (usize::from(length >> 4), usize::from(length & 15));
            if shared == LONG || own == LONG || !out.copy_step(from + shared, texts, at) {
                Self::long_text(lengths, texts, out);
                return;
            }
            at += own;
            len = shared + own;
        }
        out.set_len(from + len);
    }

    /// As [`Strings::text`], where strings are long.
    fn long_text(lengths: &[u8], mut texts: &[u8], out: &mut Room) {
        let mut parts: [(usize, &[u8]); BLOCK] = [(0, &[]); BLOCK];
        for (part, length) in parts.iter_mut().zip(lengths) {
            *part = take_text(*length, &mut texts);
        }
        // From the last one backwards, each string gives what the later ones share with it: few
        // of them have to be copied.
        let Some(([first @ .., (shared, own)], _)) = parts.split_at_checked(lengths.len()) else {
            return;
        };
        let from = out.len();
        let mut wanted = *shared;
        out.set_len(from + wanted);
        out.push(own);
        for (shared, own) in first.iter().rev() {
            if *shared < wanted {
                out.copy(from + shared, own.get(..wanted - shared).unwrap_or(own));
                wanted = *shared;
            }
        }
    }

    /// The texts of all strings from a number on.
    pub(crate) fn texts_from(&self, number: StringNo) -> TextScan<'_> {
        let mut scan = self.text_scan(number as usize / BLOCK);
        while scan.next < number && scan.next().is_some() {}
        scan
    }

    /// The lists of all strings from a number on.
    pub(crate) fn lists_from(&self, number: StringNo) -> ListScan<'_> {
        let mut scan = self.list_scan(number as usize / BLOCK);
        while scan.next < number && scan.next().is_some() {}
        scan
    }

    fn scan(&self, block: usize) -> Scan<'_> {
        Scan { texts: self.text_scan(block), lists: self.list_scan(block), held: None }
    }

    fn text_scan(&self, block: usize) -> TextScan<'_> {
        let next = (block * BLOCK) as StringNo;
        TextScan { strings: self, lengths: &[], texts: &[], next, text: Vec::new() }
    }

    fn list_scan(&self, block: usize) -> ListScan<'_> {
        ListScan { strings: self, lists: &[], start: 0, next: (block * BLOCK) as StringNo }
    }

    /// What is written of a block; nothing behind the last one.
    #[inline]
    fn block(&self, number: usize) -> Block<'_> {
        let Some([start, lists]) = self.starts.get(number) else { return Block::default() };
        let bytes = self.bytes.get(*start as usize..).unwrap_or_default();
        let count = (self.len - number * BLOCK).min(BLOCK);
        let Some((lengths, rest)) = bytes.split_at_checked(count) else { return Block::default() };
        let Some(([low, high], texts)) = rest.split_first_chunk() else { return Block::default() };
        let texts_len = usize::from(u16::from_le_bytes([*low, *high]));
        let behind = texts.get(texts_len..).unwrap_or_default();
        Block { lengths, texts, lists: behind, start: *lists as usize }
    }

    fn first_of(&self, block: usize) -> &[u8] {
        let Block { lengths, mut texts, .. } = self.block(block);
        lengths.first().map_or(&[], |length| take_text(*length, &mut texts).1)
    }
}

/// A block of strings, or what is left of it.
#[derive(Clone, Debug, Default)]
struct Block<'a> {
    lengths: &'a [u8],
    /// The texts, and what stands behind them.
    texts: &'a [u8],
    /// The lengths of the lists.
    lists: &'a [u8],
    /// Where the lists begin.
    start: usize,
}

/// How many bytes two texts begin alike with. Of most words the first eight tell.
#[inline]
fn common(one: &[u8], other: &[u8]) -> usize {
    if let (Some(a), Some(b)) = (one.first_chunk::<HEAD>(), other.first_chunk::<HEAD>())
        && a == b
    {
        let later = one.iter().zip(other).skip(HEAD).take_while(|(a, b)| a == b).count();
        return HEAD + later;
    }
    let differing = head(one) ^ head(other);
    // What is missing counts as zeros, which are in no text.
    (differing.leading_zeros() as usize / 8).min(one.len()).min(other.len())
}

fn cursor((form, bytes): (Form, &[u8])) -> Option<Cursor<'_>> {
    (!bytes.is_empty()).then(|| Cursor::new(form, bytes))
}

/// Takes the bytes of a string that it does not share with the one before, and says how many it
/// shares.
#[inline]
fn take_text<'a>(length: u8, texts: &mut &'a [u8]) -> (usize, &'a [u8]) {
    let (mut shared, mut own) = (usize::from(length >> 4), usize::from(length & 15));
    if shared == LONG {
        shared += varint::take(texts) as usize;
    }
    if own == LONG {
        own += varint::take(texts) as usize;
    }
    (shared, varint::take_bytes(texts, own))
}

/// Takes the bytes of a string behind what it shares with the one before, which is in `text`. Answers what
/// is left.
#[inline]
fn append_text<'a>(length: u8, mut texts: &'a [u8], text: &mut Vec<u8>) -> &'a [u8] {
    let (shared, own) = (usize::from(length >> 4), usize::from(length & 15));
    if let Some(few) = texts.first_chunk::<HEAD>().filter(|_| shared < LONG && own <= HEAD) {
        text.truncate(shared);
        text.extend_from_slice(few);
        text.truncate(shared + own);
        return texts.get(own..).unwrap_or_default();
    }
    let (shared, own) = take_text(length, &mut texts);
    text.truncate(shared);
    text.extend_from_slice(own);
    texts
}

/// Takes the lengths of the lists of a string, which begin at `start`.
#[inline]
fn take_lists(lists: &mut &[u8], start: usize) -> ListsAt {
    let inside = varint::take(lists);
    let outside = if inside & 4 == 0 { 0 } else { varint::take(lists) };
    ListsAt {
        start,
        inside: (Form::from_tag(inside), (inside >> 3) as usize),
        outside: (Form::from_tag(outside), (outside >> 2) as usize),
    }
}

/// Strings one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Scan<'a> {
    texts: TextScan<'a>,
    lists: ListScan<'a>,
    /// One that was looked at already and is the next.
    held: Option<(StringNo, ListsAt)>,
}

impl Scan<'_> {
    /// The text of the string that came last.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.texts.bytes()
    }

    /// The next string, whose text [`Scan::bytes`] gives from then on.
    pub(crate) fn next(&mut self) -> Option<(StringNo, ListsAt)> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        Some((self.texts.next()?, self.lists.next()?))
    }
}

/// The texts of strings one after the other.
#[derive(Clone, Debug)]
pub(crate) struct TextScan<'a> {
    strings: &'a Strings,
    /// What is left of the block at hand.
    lengths: &'a [u8],
    texts: &'a [u8],
    next: StringNo,
    text: Vec<u8>,
}

impl TextScan<'_> {
    /// The text of the string that came last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.text
    }

    /// The next string, whose text [`TextScan::bytes`] gives from then on.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<StringNo> {
        if self.lengths.is_empty() {
            let block = self.strings.block(self.next as usize / BLOCK);
            (self.lengths, self.texts) = (block.lengths, block.texts);
        }
        let (length, later) = self.lengths.split_first()?;
        self.lengths = later;
        self.texts = append_text(*length, self.texts, &mut self.text);
        self.next += 1;
        Some(self.next - 1)
    }
}

/// Where the lists of strings are, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct ListScan<'a> {
    strings: &'a Strings,
    /// What is left of the block at hand.
    lists: &'a [u8],
    start: usize,
    next: StringNo,
}

impl ListScan<'_> {
    /// The lists of the next string.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<ListsAt> {
        if self.next as usize >= self.strings.len {
            return None;
        }
        if (self.next as usize).is_multiple_of(BLOCK) {
            let block = self.strings.block(self.next as usize / BLOCK);
            (self.lists, self.start) = (block.lists, block.start);
        }
        let at = take_lists(&mut self.lists, self.start);
        self.start += at.len();
        self.next += 1;
        Some(at)
    }
}

/// Takes strings in their order, each once, and makes the dictionary of them.
#[derive(Debug, Default)]
pub(crate) struct StringsWriter {
    len: usize,
    heads: Array<u64>,
    starts: Array<[u32; 2]>,
    bytes: Array<u8>,
    lists: Array<u8>,
    before: Vec<u8>,
    /// The block at hand: its lengths, texts and lengths of lists, and the lists.
    lengths: Vec<u8>,
    texts: Vec<u8>,
    list_lengths: Vec<u8>,
    list: Vec<u8>,
    /// Pairs of a word and a document.
    pub(crate) postings: u64,
}

impl StringsWriter {
    /// For so many strings, of about so many bytes of text and of lists (from about so many on, and up to
    /// so many without being copied).
    pub(crate) fn with_capacity(strings: usize, bytes: usize, lists: Range<usize>) -> Self {
        Self {
            heads: Array::to_finish(strings.div_ceil(BLOCK)),
            starts: Array::to_finish(strings.div_ceil(BLOCK)),
            bytes: Array::to_finish(bytes),
            lists: Array::to_finish_large(lists.end, lists.start),
            ..Self::default()
        }
    }

    /// Adds a string with its lists, which are empty if it is no word of a document.
    pub(crate) fn push(&mut self, text: &[u8], lists: [Numbers<'_>; 2], universe: usize) {
        let [inside, outside] = lists;
        let shared = if self.len.is_multiple_of(BLOCK) {
            self.end_block();
            self.heads.push(head(text));
            self.starts.push([self.bytes.len() as u32, self.lists.len() as u32]);
            0
        } else {
            common(&self.before, text)
        };
        let own = &text[shared..];
        self.lengths.push((shared.min(LONG) << 4 | own.len().min(LONG)) as u8);
        if shared >= LONG || own.len() >= LONG {
            for length in [shared, own.len()] {
                if length >= LONG {
                    varint::put(&mut self.texts, (length - LONG) as u64);
                }
            }
        }
        if text.len() <= HEAD {
            // As a number, of which all bytes are copied at once.
            let head = head(text);
            let own_head = head.checked_shl(8 * shared as u32).unwrap_or_default();
            let len = self.texts.len() + own.len();
            self.texts.extend_from_slice(&own_head.to_be_bytes());
            self.texts.truncate(len);
            self.before.clear();
            self.before.extend_from_slice(&head.to_be_bytes());
            self.before.truncate(text.len());
        } else {
            self.texts.extend_from_slice(own);
            self.before.clear();
            self.before.extend_from_slice(text);
        }
        let start = self.list.len();
        let form = postings::write(inside, universe, &mut self.list);
        let middle = self.list.len();
        let more = u64::from(outside.len() > 0);
        let lengths = &mut self.list_lengths;
        varint::put(lengths, ((middle - start) as u64) << 3 | more << 2 | form.tag());
        if more == 1 {
            let form = postings::write(outside, universe, &mut self.list);
            varint::put(lengths, ((self.list.len() - middle) as u64) << 2 | form.tag());
        }
        self.postings += (inside.len() + outside.len()) as u64;
        self.len += 1;
    }

    fn end_block(&mut self) {
        if self.lengths.is_empty() {
            return;
        }
        // Sixteen texts, of which none is longer than a path, with their lengths.
        let texts_len = u16::try_from(self.texts.len()).unwrap_or(u16::MAX);
        let texts_len = texts_len.to_le_bytes();
        for part in [&self.lengths, &texts_len[..], &self.texts, &self.list_lengths] {
            self.bytes.extend_from_slice(part);
        }
        self.lists.extend_from_slice(&self.list);
        for part in [&mut self.lengths, &mut self.texts, &mut self.list_lengths, &mut self.list] {
            part.clear();
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.heads.bytes() + self.starts.bytes() + self.bytes.bytes() + self.lists.bytes()
    }

    pub(crate) fn finish(mut self) -> Strings {
        self.end_block();
        if self.len > 0 {
            // So much may be read behind the start of each text.
            self.bytes.extend_from_slice(&[0; STEP]);
        }
        Strings {
            len: self.len,
            heads: self.heads.finished(),
            starts: self.starts.finished(),
            bytes: self.bytes.finished(),
            lists: self.lists.finished(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Lists = (Vec<u32>, Vec<u32>);

    fn strings(map: &BTreeMap<String, Lists>) -> Strings {
        let mut writer = StringsWriter::default();
        for (text, (inside, outside)) in map {
            writer.push(text.as_bytes(), [inside, outside].map(|it| Numbers::Listed(it)), 1_000);
        }
        writer.finish()
    }

    fn numbers(cursor: Option<Cursor<'_>>) -> Vec<u32> {
        let mut numbers = Vec::new();
        if let Some(cursor) = cursor {
            cursor.for_each(|number| numbers.push(number));
        }
        numbers
    }

    proptest! {
        #[test]
        fn texts_begin_alike_as_far_as_their_bytes_are_equal(
            one in "[ab\0]{0,12}|abcdefgh[ab]{0,4}",
            other in "[ab\0]{0,12}|abcdefgh[ab]{0,4}",
        ) {
            let (one, other) = (one.as_bytes(), other.as_bytes());
            let expected = one.iter().zip(other).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(common(one, other), expected);
        }

        #[test]
        fn each_string_is_found_with_its_lists_and_no_other(
            texts in proptest::collection::btree_set("[abñ日]{1,20}|abcdefgh[ab]{0,4}", 0..80),
            others in proptest::collection::vec("[abñ日]{0,3}|abcdefgh[ab]{0,4}", 0..20),
        ) {
            let map: BTreeMap<String, Lists> = texts
                .iter()
                .enumerate()
                .map(|(i, text)| {
                    let list = |count| (0..count as u32).map(|n| n * 5).collect();
                    (text.clone(), (list(i % 3 * 70), list(i % 4)))
                })
                .collect();
            let strings = strings(&map);
            for (number, (text, lists)) in map.iter().enumerate() {
                let (found, at) = strings.find(text).expect("it was written");
                prop_assert_eq!(found as usize, number);
                let (inside, outside) = strings.lists(at);
                prop_assert_eq!(&(numbers(inside), numbers(outside)), lists);
                let mut out = Room::new();
                out.push(b"before");
                strings.text(found, &mut out);
                prop_assert_eq!(out.bytes(), &[b"before", text.as_bytes()].concat());
                let mut texts = strings.texts_from(found);
                prop_assert_eq!((texts.next(), texts.bytes()), (Some(found), text.as_bytes()));
                let at = strings.lists_from(found).next().unwrap_or_default();
                let (inside, outside) = strings.lists(at);
                prop_assert_eq!(&(numbers(inside), numbers(outside)), lists);
            }
            for other in &others {
                prop_assert_eq!(strings.find(other).is_some(), map.contains_key(other));
                let mut scan = strings.from(other);
                let mut seen = Vec::new();
                while scan.next().is_some() {
                    seen.push(String::from_utf8(scan.bytes().to_vec()).expect("whole characters"));
                }
                let expected: Vec<_> = map.range(other.clone()..).map(|(text, _)| text.clone()).collect();
                prop_assert_eq!(seen, expected);
            }
        }
    }
}
