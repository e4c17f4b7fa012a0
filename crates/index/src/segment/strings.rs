//! The strings of a segment, sorted, with the posting lists of those that are words.
//!
//! Sixteen strings stand in a block, each as the length of what it shares with the one before it
//! and what differs (front coding). The first eight bytes of each block's first string stand
//! apart, in an array small enough for a cache: a look-up goes through it by halves and then
//! unpacks one block, or two where many blocks begin alike.
//!
//! ```text
//! string: | shared 4 bits | own 4 bits | [rest of shared] [rest of own] own bytes | inside | outside |
//! inside, outside: length of the list in bytes × 4 + its form; one bit of the first says whether
//! there is a second
//! ```

use super::postings::{self, Cursor, Form};
use crate::array::Array;
use crate::code::varint;
use crate::interner::head;

/// The number of a string in the order of the strings.
pub(crate) type StringNo = u32;

/// Strings of a block.
const BLOCK: usize = 16;

/// From this on a length does not fit into its four bits, and the rest of it follows.
const LONG: usize = 15;

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
        self.inside.1 + self.outside.1 > 0
    }
}

impl Strings {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.heads.bytes() + self.starts.bytes() + self.bytes.bytes() + self.lists.bytes()
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

    /// The same two lists as they are written.
    pub(crate) fn written_lists(&self, at: ListsAt) -> [(Form, &[u8]); 2] {
        let list = |start: usize, (form, len): (Form, usize)| {
            (form, self.lists.get(start..start + len).unwrap_or_default())
        };
        [list(at.start, at.inside), list(at.start + at.inside.1, at.outside)]
    }

    /// All strings from the first one that is not below `least`, in order.
    pub(crate) fn from(&self, least: &str) -> Scan<'_> {
        let head = head(least.as_bytes());
        let start = self.heads.partition_point(|it| *it < head);
        let (_, rest) = self.heads.split_at(start);
        let equal = rest.partition_point(|it| *it == head);
        // Where heads are equal, the whole strings decide.
        let (mut low, mut high) = (start, start + equal);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.first_of(middle).as_slice() <= least.as_bytes() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        // The string may be in the block before the first one that begins behind it.
        let mut scan = self.scan(low.saturating_sub(1));
        while let Some(found) = scan.next() {
            if scan.text.as_slice() >= least.as_bytes() {
                scan.held = Some(found);
                break;
            }
        }
        scan
    }

    /// The string with exactly this text.
    pub(crate) fn find(&self, text: &str) -> Option<(StringNo, ListsAt)> {
        let mut scan = self.from(text);
        let found = scan.next()?;
        (scan.text == text.as_bytes()).then_some(found)
    }

    /// Appends the text of a string.
    #[inline]
    pub(crate) fn text(&self, number: StringNo, out: &mut Vec<u8>) {
        let Some([start, _]) = self.starts.get(number as usize / BLOCK) else { return };
        let mut bytes = self.bytes.get(*start as usize..).unwrap_or_default();
        let last = number as usize % BLOCK;
        let mut parts: [(usize, &[u8]); BLOCK] = [(0, &[]); BLOCK];
        for part in &mut parts[..=last] {
            *part = take_text(&mut bytes);
            let inside = varint::take(&mut bytes);
            if inside & 4 != 0 {
                varint::take(&mut bytes);
            }
        }
        // From the last one backwards, each string gives what the later ones share with it: few
        // of them have to be copied.
        let (mut wanted, own) = parts[last];
        let from = out.len();
        out.resize(from + wanted, 0);
        out.extend_from_slice(own);
        for (shared, own) in parts[..last].iter().rev() {
            if *shared < wanted {
                let own = own.get(..wanted - shared).unwrap_or(own);
                let to = out.iter_mut().skip(from + shared);
                to.zip(own).for_each(|(to, from)| *to = *from);
                wanted = *shared;
            }
        }
    }

    /// All strings from a number on.
    pub(crate) fn starting_at(&self, number: StringNo) -> Scan<'_> {
        let mut scan = self.scan(number as usize / BLOCK);
        while scan.next < number && scan.next().is_some() {}
        scan
    }

    fn scan(&self, block: usize) -> Scan<'_> {
        let [bytes, start] = self.starts.get(block).copied().unwrap_or_default();
        Scan {
            strings: self,
            bytes: self.bytes.get(bytes as usize..).unwrap_or_default(),
            next: (block * BLOCK) as u32,
            lists: start as usize,
            held: None,
            text: Vec::new(),
        }
    }

    fn first_of(&self, block: usize) -> Vec<u8> {
        let mut scan = self.scan(block);
        scan.next();
        scan.text
    }
}

fn cursor((form, bytes): (Form, &[u8])) -> Option<Cursor<'_>> {
    (!bytes.is_empty()).then(|| Cursor::new(form, bytes))
}

/// Takes how much of the string before is shared, and the bytes that are not.
#[inline]
fn take_text<'a>(bytes: &mut &'a [u8]) -> (usize, &'a [u8]) {
    let Some((lengths, rest)) = bytes.split_first() else { return (0, &[]) };
    *bytes = rest;
    let (mut shared, mut own) = (usize::from(lengths >> 4), usize::from(lengths & 15));
    if shared == LONG {
        shared += varint::take(bytes) as usize;
    }
    if own == LONG {
        own += varint::take(bytes) as usize;
    }
    (shared, varint::take_bytes(bytes, own))
}

/// Strings one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Scan<'a> {
    strings: &'a Strings,
    bytes: &'a [u8],
    next: StringNo,
    lists: usize,
    /// One that was looked at already and is the next.
    held: Option<(StringNo, ListsAt)>,
    text: Vec<u8>,
}

impl Scan<'_> {
    /// The text of the string that came last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.text
    }

    /// The next string, whose text [`Scan::bytes`] gives from then on.
    pub(crate) fn next(&mut self) -> Option<(StringNo, ListsAt)> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        if self.next as usize >= self.strings.len {
            return None;
        }
        let (shared, own) = take_text(&mut self.bytes);
        self.text.truncate(shared);
        self.text.extend_from_slice(own);
        let inside = varint::take(&mut self.bytes);
        let outside = if inside & 4 == 0 { 0 } else { varint::take(&mut self.bytes) };
        let at = ListsAt {
            start: self.lists,
            inside: (Form::from_tag(inside), (inside >> 3) as usize),
            outside: (Form::from_tag(outside), (outside >> 2) as usize),
        };
        self.lists += at.inside.1 + at.outside.1;
        self.next += 1;
        Some((self.next - 1, at))
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
    /// The strings of the block at hand as they are written, and their lists.
    entry: Vec<u8>,
    list: Vec<u8>,
    /// Pairs of a word and a document.
    pub(crate) postings: u64,
}

impl StringsWriter {
    /// For so many strings, of about so many bytes of text and of lists.
    pub(crate) fn with_capacity(strings: usize, bytes: usize, lists: usize) -> Self {
        Self {
            heads: Array::with_capacity(strings.div_ceil(BLOCK)),
            starts: Array::with_capacity(strings.div_ceil(BLOCK)),
            bytes: Array::with_capacity(bytes),
            lists: Array::with_capacity(lists),
            ..Self::default()
        }
    }

    /// Adds a string with its lists, which are empty if it is no word of a document.
    pub(crate) fn push(&mut self, text: &[u8], inside: &[u32], outside: &[u32], universe: usize) {
        let shared = if self.len.is_multiple_of(BLOCK) {
            self.end_block();
            self.heads.push(head(text));
            self.starts.push([self.bytes.len() as u32, self.lists.len() as u32]);
            0
        } else {
            self.before.iter().zip(text).take_while(|(a, b)| a == b).count()
        };
        let own = &text[shared..];
        let entry = &mut self.entry;
        entry.push((shared.min(LONG) << 4 | own.len().min(LONG)) as u8);
        for length in [shared, own.len()] {
            if length >= LONG {
                varint::put(entry, (length - LONG) as u64);
            }
        }
        entry.extend_from_slice(own);
        let start = self.list.len();
        let form = postings::write(inside, universe, &mut self.list);
        let middle = self.list.len();
        let more = u64::from(!outside.is_empty());
        varint::put(entry, ((middle - start) as u64) << 3 | more << 2 | form.tag());
        if more == 1 {
            let form = postings::write(outside, universe, &mut self.list);
            varint::put(entry, ((self.list.len() - middle) as u64) << 2 | form.tag());
        }
        self.before.clear();
        self.before.extend_from_slice(text);
        self.postings += (inside.len() + outside.len()) as u64;
        self.len += 1;
    }

    fn end_block(&mut self) {
        self.bytes.extend_from_slice(&self.entry);
        self.lists.extend_from_slice(&self.list);
        self.entry.clear();
        self.list.clear();
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
            writer.push(text.as_bytes(), inside, outside, 1_000);
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
                let mut out = b"before".to_vec();
                strings.text(found, &mut out);
                prop_assert_eq!(out, [b"before", text.as_bytes()].concat());
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
