//! What a segment keeps of each document beside its words: how metadata are written down.
//!
//! A path is cut into pieces, each of which is a string of the segment: the folder as one, then
//! the runs of letters and digits of the file name and what stands between them, where one space
//! is left out. Strings are named by codes that are small for those which are used often.
//!
//! ```text
//! document: | length of all that follows | kind 3 bits, tags 1 bit, length of size 4 bits | size |
//!           | [tags] | code of each piece of the path ... |
//! tags:     | which of them | codes of artist, title, album | bitrate | duration |
//! ```
//!
//! Eight documents stand behind one offset. The texts of the codes that are used most stand apart,
//! as they are: they make up most of all names, and need not be unpacked from the dictionary.

use super::body::{Part, for_each_code, take_head};
use super::room::{Room, STEP};
use super::strings::{StringNo, Strings};
use crate::array::Array;
use crate::code::{Packed, PackedWriter, varint};
use crate::memory;
use crate::waste::Waste;
use skein_proto::{BoundedString, FilePath, Kind, MediaTags};
use std::ops::Range;

/// Documents behind one offset.
const BLOCK: usize = 8;

/// There is one plain text for so many documents: with names as in a natural language they are nine
/// tenths of all pieces, and cost two thirds of a byte a document.
const DOCUMENTS_PER_PLAIN: usize = 16;

/// What a string is called inside documents: the more often it is used, the smaller.
pub(crate) type Code = u32;

/// The metadata of a document, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) size: u64,
    pub(crate) kind: Kind,
    pub(crate) path: FilePath,
    pub(crate) tags: Option<Box<MediaTags>>,
}

/// What a byte at the edge of a piece says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    /// A letter or a digit.
    Word,
    /// What stands between words.
    Between,
    /// Part of a character of several bytes, of which all must be known.
    Unknown,
}

/// What each byte says: most say by themselves whether they are of a word.
const EDGES: [Edge; 256] = {
    let mut edges = [Edge::Between; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte >= 128 {
            edges[byte] = Edge::Unknown;
        } else if (byte as u8).is_ascii_alphanumeric() {
            edges[byte] = Edge::Word;
        }
        byte += 1;
    }
    edges
};

/// Whether a space is understood between two pieces.
#[inline]
pub(super) fn is_joint(before: &[u8], piece: &[u8]) -> bool {
    let (Some(last), Some(first)) = (before.last(), piece.first()) else { return false };
    match (EDGES[usize::from(*last)], EDGES[usize::from(*first)]) {
        (Edge::Unknown, _) | (_, Edge::Unknown) => is_unusual_joint(before, piece),
        edges => edges == (Edge::Word, Edge::Word),
    }
}

#[cold]
fn is_unusual_joint(before: &[u8], piece: &[u8]) -> bool {
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    text(before).ends_with(char::is_alphanumeric) && text(piece).starts_with(char::is_alphanumeric)
}

/// Bytes that are given along with what is written of a document.
const BEHIND: usize = 3;

/// Where documents have been read up to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    next: u32,
    start: u32,
}

/// The documents of a segment.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    starts: Array<u32>,
    bytes: Array<u8>,
    strings: Packed,
    /// About how often each code is used: up to which one how often.
    frequencies: Box<[(Code, u32)]>,
    plain: Plain,
}

/// The texts of the first codes, one behind the other.
#[derive(Debug, Default)]
struct Plain {
    /// Where each one ends, with a zero in front.
    ends: Box<[u32]>,
    /// The texts, and [`STEP`] bytes more.
    bytes: Box<[u8]>,
}

impl Plain {
    /// Where the text of a code is in `bytes`.
    #[inline]
    fn get(&self, code: Code) -> Option<(usize, usize)> {
        let [start, end] = self.ends.get(code as usize..)?.first_chunk()?;
        Some((*start as usize, *end as usize))
    }
}

impl Documents {
    /// What was written of a document: all but the length.
    pub(crate) fn body(&self, number: u32) -> &[u8] {
        let start = self.starts.get(number as usize / BLOCK).copied().unwrap_or_default();
        let mut bytes = self.bytes.get(start as usize..).unwrap_or_default();
        for _ in 0..number as usize % BLOCK {
            let length = varint::take(&mut bytes);
            varint::take_bytes(&mut bytes, length as usize);
        }
        let length = varint::take(&mut bytes);
        varint::take_bytes(&mut bytes, length as usize)
    }

    /// As [`Documents::body`], with some bytes more and how many those are, for who reads one document
    /// after the other: `at` says where it has come to.
    pub(super) fn next_body(&self, number: u32, at: &mut Reading) -> (&[u8], usize) {
        if at.next != number || (number as usize).is_multiple_of(BLOCK) {
            let block = number as usize / BLOCK;
            at.start = self.starts.get(block).copied().unwrap_or_default();
            at.next = (block * BLOCK) as u32;
        }
        loop {
            let bytes = self.bytes.get(at.start as usize..).unwrap_or_default();
            let mut rest = bytes;
            let length = varint::take(&mut rest) as usize;
            at.start += (bytes.len() - rest.len() + length) as u32;
            at.next += 1;
            if at.next > number {
                let end = rest.len().min(length + BEHIND);
                return (rest.get(..end).unwrap_or_default(), end.saturating_sub(length));
            }
        }
    }

    /// Reads something of a document and says nothing of it. Who does so for many documents before
    /// it reads them waits for memory once instead of once for each.
    #[inline]
    pub(crate) fn touch(&self, number: u32) -> u8 {
        // Eight documents are about two lines of a cache.
        let start = self.starts.get(number as usize / BLOCK).copied().unwrap_or_default() as usize;
        let at = |offset| self.bytes.get(start + offset).copied().unwrap_or_default();
        at(0) ^ at(64)
    }

    /// How many codes there are.
    pub(crate) const fn codes(&self) -> usize {
        self.strings.len()
    }

    /// About how often each code is used, the documents that are gone included: up to which code how
    /// often.
    pub(super) fn frequencies(&self) -> &[(Code, u32)] {
        &self.frequencies
    }

    /// The string of a code.
    pub(crate) fn string(&self, code: Code) -> StringNo {
        self.strings.get(code as usize)
    }

    /// Appends the text of a code.
    fn text(&self, code: Code, strings: &Strings, room: &mut Room) {
        match self.plain.get(code) {
            Some((start, end)) => room.push_part(&self.plain.bytes, start, end),
            None => strings.text(self.string(code), room),
        }
    }

    /// Puts a path together of its pieces.
    fn path(&self, mut codes: &[u8], strings: &Strings, room: &mut Room) {
        room.clear();
        let plain = &self.plain.bytes;
        let edge = |byte: Option<&u8>| byte.map_or(Edge::Unknown, |byte| EDGES[usize::from(*byte)]);
        // What the last piece ends with; there is no joint in front of the first one.
        let mut before = Edge::Between;
        while !codes.is_empty() {
            let code = varint::take32(&mut codes);
            let found = self.plain.get(code).filter(|_| before != Edge::Unknown);
            let Some((start, end)) = found.filter(|it| edge(plain.get(it.0)) != Edge::Unknown)
            else {
                self.unusual_piece(code, strings, room);
                before = edge(room.bytes().last());
                continue;
            };
            room.push_space_if(before == Edge::Word && edge(plain.get(start)) == Edge::Word);
            room.push_part(plain, start, end);
            before = edge(plain.get(end.wrapping_sub(1)));
        }
    }

    /// Appends a piece that is not plain, or of which a byte alone does not say what it begins with.
    fn unusual_piece(&self, code: Code, strings: &Strings, room: &mut Room) {
        let at = room.len();
        if at == 0 {
            self.text(code, strings, room);
            return;
        }
        // As if there were a space: it is in most cases, and few bytes move where there is none.
        room.push_space_if(true);
        self.text(code, strings, room);
        let (before, piece) = room.bytes().split_at(at);
        if !is_joint(before, piece.get(1..).unwrap_or_default()) {
            room.remove(at);
        }
    }

    /// Bytes of what is written of all documents.
    pub(crate) fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What is written of a document; its path is put together in `room`.
    pub(crate) fn description(
        &self,
        number: u32,
        strings: &Strings,
        room: &mut Room,
    ) -> Option<Description> {
        let (kind, size, tags) = self.read(number, strings, room);
        let path = FilePath::kept(std::str::from_utf8(room.bytes()).ok()?);
        Some(Description { size, kind, path, tags })
    }

    /// The path, which is put together in `room`, and the tags.
    pub(crate) fn texts<'r>(
        &self,
        number: u32,
        strings: &Strings,
        room: &'r mut Room,
    ) -> Option<(&'r str, Option<Box<MediaTags>>)> {
        let (_, _, tags) = self.read(number, strings, room);
        Some((std::str::from_utf8(room.bytes()).ok()?, tags))
    }

    /// Puts the path together in `room`, and reads the rest.
    fn read(
        &self,
        number: u32,
        strings: &Strings,
        room: &mut Room,
    ) -> (Kind, u64, Option<Box<MediaTags>>) {
        let mut bytes = self.body(number);
        let (kind, size, has_tags) = take_head(&mut bytes);
        let tags = has_tags.then(|| Box::new(self.tags(&mut bytes, strings, room)));
        self.path(bytes, strings, room);
        (kind, size, tags)
    }

    fn tags(&self, bytes: &mut &[u8], strings: &Strings, room: &mut Room) -> MediaTags {
        let which = varint::take(bytes);
        let has = |bit: u64| which >> bit & 1 == 1;
        let mut text = |bytes: &mut &[u8]| {
            room.clear();
            self.text(varint::take32(bytes), strings, room);
            std::str::from_utf8(room.bytes()).ok().and_then(|text| BoundedString::new(text).ok())
        };
        MediaTags {
            artist: has(0).then(|| text(bytes)).flatten(),
            title: has(1).then(|| text(bytes)).flatten(),
            album: has(2).then(|| text(bytes)).flatten(),
            bitrate_kbps: has(3).then(|| varint::take32(bytes)),
            duration_secs: has(4).then(|| varint::take32(bytes)),
        }
    }

    /// Kind and size alone, which most filters are about.
    pub(crate) fn kind_and_size(&self, number: u32) -> (Kind, u64) {
        let (kind, size, _) = take_head(&mut self.body(number));
        (kind, size)
    }

    /// Gives up all that it has, in pieces.
    pub(crate) fn take_apart(self, waste: &mut Waste) {
        let all = self.bytes();
        let bytes = self.bytes.bytes();
        waste.add(self.bytes, bytes);
        waste.add((self.starts, self.strings, self.frequencies, self.plain), all - bytes);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.starts.bytes()
            + self.bytes.bytes()
            + self.strings.bytes()
            + memory::vector::<(Code, u32)>(self.frequencies.len())
            + memory::vector::<u32>(self.plain.ends.len())
            + memory::vector::<u8>(self.plain.bytes.len())
    }
}

/// Appends so many bytes at the front of some, which are few most of the time.
#[inline]
fn extend(to: &mut Vec<u8>, bytes: &[u8], len: usize) {
    /// As many as the kind and the size take at most.
    const FEW: usize = 9;
    if let Some(few) = bytes.first_chunk::<FEW>().filter(|_| len <= FEW) {
        to.extend_from_slice(few);
        to.truncate(to.len() - FEW + len);
    } else {
        to.extend_from_slice(bytes.get(..len).unwrap_or(bytes));
    }
}

/// Takes documents in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct DocumentsWriter {
    len: usize,
    starts: Array<u32>,
    bytes: Array<u8>,
    /// The block at hand, and where its last document begins.
    block: Vec<u8>,
    start: usize,
    strings: PackedWriter,
    frequencies: Box<[(Code, u32)]>,
    plain_ends: Vec<u32>,
    plain_bytes: Vec<u8>,
}

impl DocumentsWriter {
    /// For so many documents of so many bytes (from about so many on, and up to so many without being
    /// copied), with at most so many codes for the strings of a dictionary of that size.
    pub(crate) fn new(documents: usize, bytes: Range<usize>, codes: usize, strings: usize) -> Self {
        let plain = codes.min(documents / DOCUMENTS_PER_PLAIN);
        let mut plain_ends = Vec::with_capacity(plain + 1);
        plain_ends.push(0);
        Self {
            starts: Array::to_finish(documents.div_ceil(BLOCK)),
            bytes: Array::to_finish_large(bytes.end, bytes.start),
            strings: PackedWriter::new(codes, strings),
            plain_ends,
            ..Self::default()
        }
    }

    /// Says about how often each code is used: see [`Documents::frequencies`].
    pub(super) fn set_frequencies(&mut self, frequencies: Box<[(Code, u32)]>) {
        self.frequencies = frequencies;
    }

    /// Names the string that the next code stands for.
    pub(crate) fn push_code(&mut self, string: StringNo, strings: &Strings) {
        self.strings.push(string);
        if self.plain_ends.len() < self.plain_ends.capacity() {
            let mut room = Room::new();
            strings.text(string, &mut room);
            self.plain_bytes.extend_from_slice(room.bytes());
            self.plain_ends.push(self.plain_bytes.len() as u32);
        }
    }

    /// Codes so far.
    pub(crate) const fn codes(&self) -> usize {
        self.strings.len()
    }

    /// Adds a document, with the codes of the texts of its tags, and then of the pieces of its path.
    pub(crate) fn push(
        &mut self,
        (kind, size, tags): (Kind, u64, Option<&MediaTags>),
        mut codes: impl Iterator<Item = Code>,
    ) {
        let size_len = size.checked_ilog2().map_or(0, |bits| bits as usize / 8 + 1);
        let body = self.open();
        body.push((size_len << 4) as u8 | u8::from(tags.is_some()) << 3 | kind as u8);
        body.extend_from_slice(&size.to_le_bytes());
        body.truncate(body.len() - 8 + size_len);
        if let Some(tags) = tags {
            let texts = [&tags.artist, &tags.title, &tags.album];
            let numbers = [tags.bitrate_kbps, tags.duration_secs];
            let there =
                texts.iter().map(|it| it.is_some()).chain(numbers.iter().map(|it| it.is_some()));
            let which: u64 = there.enumerate().map(|(bit, is)| u64::from(is) << bit).sum();
            varint::put(body, which);
            let texts = texts.into_iter().flatten().count();
            codes.by_ref().take(texts).for_each(|code| varint::put(body, u64::from(code)));
            for number in numbers.into_iter().flatten() {
                varint::put(body, u64::from(number));
            }
        }
        codes.for_each(|code| varint::put(body, u64::from(code)));
        self.finish_body();
    }

    /// Adds a document of another segment, with other codes; see [`codes_of`](super::body::codes_of).
    #[inline]
    pub(crate) fn push_body(&mut self, old: (&[u8], usize), mut code: impl FnMut(Code) -> Code) {
        let body = self.open();
        for_each_code(old, |part| match part {
            Part::Verbatim(bytes, len) => extend(body, bytes, len),
            Part::Code(old) => varint::put(body, u64::from(code(old))),
        });
        self.finish_body();
    }

    /// Begins a document, behind a byte for its length.
    #[inline]
    fn open(&mut self) -> &mut Vec<u8> {
        if self.len.is_multiple_of(BLOCK) {
            self.end_block();
            self.starts.push(self.bytes.len() as u32);
        }
        self.start = self.block.len();
        self.block.push(0);
        &mut self.block
    }

    #[inline]
    fn finish_body(&mut self) {
        self.len += 1;
        let length = self.block.len() - self.start - 1;
        if let Some(first) = self.block.get_mut(self.start).filter(|_| length < 0x80) {
            *first = length as u8;
            return;
        }
        let mut bytes = Vec::new();
        varint::put(&mut bytes, length as u64);
        self.block.splice(self.start..=self.start, bytes);
    }

    fn end_block(&mut self) {
        self.bytes.extend_from_slice(&self.block);
        self.block.clear();
    }

    /// Bytes of memory so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.starts.bytes()
            + self.bytes.bytes()
            + memory::vector::<u8>(self.plain_bytes.capacity())
            + self.strings.bytes()
    }

    pub(crate) fn finish(mut self) -> Documents {
        self.end_block();
        self.plain_bytes.extend_from_slice(&[0; STEP]);
        Documents {
            starts: self.starts.finished(),
            bytes: self.bytes.finished(),
            strings: self.strings.finish(),
            frequencies: self.frequencies,
            plain: Plain {
                ends: self.plain_ends.into_boxed_slice(),
                bytes: self.plain_bytes.into_boxed_slice(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::segment::pieces::pieces;
    use crate::segment::postings::Numbers;
    use crate::segment::strings::StringsWriter;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_of_documents_is_read(
            documents in proptest::collection::vec(
                (any::<u64>(), 0_u32..64, "[a-c ._]{0,3}/?[ab東]{1,4}[ .]?[a-c]{1,3}",
                 proptest::option::of((any::<Option<u32>>(), proptest::option::of("[ab]{0,3}")))),
                0..40,
            )
        ) {
            let documents: Vec<Description> = documents
                .into_iter()
                .filter_map(|(size, shift, path, tags)| {
                    let tags = tags.map(|(bitrate_kbps, album)| Box::new(MediaTags {
                        bitrate_kbps,
                        album: album.map(|text| BoundedString::truncated(&text)),
                        ..Default::default()
                    }));
                    let path = FilePath::new(path).ok()?;
                    Some(Description { size: size >> shift, kind: Kind::Video, path, tags })
                })
                .collect();
            let mut texts = std::collections::BTreeSet::new();
            for it in &documents {
                pieces(it.path.as_str(), |piece| { texts.insert(piece.to_owned()); });
                texts.extend(it.tags.iter().flat_map(|tags| &tags.album).map(|text| text.to_string()));
            }
            let texts: Vec<String> = texts.into_iter().collect();
            let mut strings = StringsWriter::default();
            for text in &texts {
                strings.push(text.as_bytes(), [Numbers::Listed(&[]); 2], 1);
            }
            let strings = strings.finish();
            // With as many documents for the plain texts as it takes for half of the codes.
            let room = texts.len() / 2 * DOCUMENTS_PER_PLAIN;
            let mut writer = DocumentsWriter::new(room, 0..0, texts.len(), texts.len());
            let mut copier = DocumentsWriter::new(room, 0..0, texts.len(), texts.len());
            // Codes run backwards, and in the copy forwards.
            for number in 0..texts.len() as StringNo {
                writer.push_code(texts.len() as StringNo - 1 - number, &strings);
                copier.push_code(number, &strings);
            }
            let code = |text: &str| {
                let at = texts.iter().position(|it| it == text).expect("it is there");
                (texts.len() - 1 - at) as Code
            };
            let turn = |code: Code| texts.len() as Code - 1 - code;
            for it in &documents {
                let album = it.tags.iter().flat_map(|tags| &tags.album);
                let mut codes: Vec<Code> = album.map(|text| code(text)).collect();
                pieces(it.path.as_str(), |piece| codes.push(code(piece)));
                writer.push((it.kind, it.size, it.tags.as_deref()), codes.into_iter());
            }
            let written = writer.finish();
            let mut reading = Reading::default();
            for i in 0..documents.len() as u32 {
                copier.push_body(written.next_body(i, &mut reading), turn);
            }
            let copied = copier.finish();
            for (i, it) in documents.iter().enumerate() {
                for read in [&written, &copied] {
                    let description = read.description(i as u32, &strings, &mut Room::new());
                    prop_assert_eq!(description.as_ref(), Some(it));
                    prop_assert_eq!(read.kind_and_size(i as u32), (it.kind, it.size));
                }
            }
        }
    }
}
