//! Documents that are on their way into the index.
//!
//! Each string is found once by its hash when its document comes; from then on there are only
//! numbers, in columns whose memory goes back to the system.

use super::Holder;
use super::documents::is_joint;
use super::pieces::{Piece, pieces, pieces_of_runs};
use crate::array::Array;
use crate::class::{Class, class};
use crate::interner::{Interner, Numbers, View, WordHasher, head};
use crate::memory;
use crate::register::OwnerNo;
use crate::sources::Share;
use crate::text::{MAX_RECORD_WORDS, RecordWords};
use skein_proto::{ContentId, FileMeta, FilePath, Kind, MediaTags};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The owner of shared documents, which orders their places behind those of all owners.
pub(super) const SHARED: OwnerNo = OwnerNo::MAX;

/// Up to so many documents, words are counted one by one, without a table of all strings.
const FEW: usize = 64;

/// Words that are counted at a time: so many looks at memory wait for it together.
const AT_A_TIME: usize = 32;

/// A word, and how many more documents have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) hash: u64,
    pub(crate) documents: u32,
}

/// What is noted of a document beside its content, its size and its strings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Note {
    /// The owner of a document that has one, or [`SHARED`].
    pub(super) owner: OwnerNo,
    /// Characters of the file name.
    name_chars: u32,
    /// Where its words and its texts end.
    words_end: u32,
    texts_end: u32,
    /// The number plus one of another document of the same content; zero if there is none.
    before: u32,
    /// [`KIND`] and the flags above it.
    state: u32,
}

/// The bits of the kind, as in [`Kind::ALL`].
const KIND: u32 = 0xff;

/// The document is still there.
const LIVE: u32 = 0x100;

/// It was there before, in a segment: its words are counted already.
const MOVED: u32 = 0x200;

/// A note as plain numbers.
type Row = [u32; 6];

impl Note {
    const fn row(self) -> Row {
        [self.owner, self.name_chars, self.words_end, self.texts_end, self.before, self.state]
    }

    const fn of([owner, name_chars, words_end, texts_end, before, state]: Row) -> Self {
        Self { owner, name_chars, words_end, texts_end, before, state }
    }

    pub(super) const fn is_live(self) -> bool {
        self.state & LIVE != 0
    }

    pub(super) fn kind(self) -> Kind {
        Kind::ALL.get((self.state & KIND) as usize).copied().unwrap_or_default()
    }
}

/// Documents that are on their way into the index.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    contents: Array<[u8; 32]>,
    sizes: Array<u64>,
    notes: Array<Row>,
    /// The last document of each content.
    by_content: Numbers,
    /// The tags of the documents that have some, in ascending order.
    tags: Vec<(u32, Box<MediaTags>)>,
    /// What these take themselves.
    tag_bytes: u64,
    shares: BTreeMap<u32, Arc<Share>>,
    strings: Interner,
    /// The words of all documents: twice their string, and one more if it is not in the file name.
    words: Array<u32>,
    /// The strings of all documents as they will be written: those of the tags, then the pieces of
    /// the path.
    texts: Array<u32>,
    /// The strings of the document at hand.
    list: Vec<u32>,
    /// The first document whose words are not counted.
    counted: usize,
}

impl Draft {
    /// Takes all out, and keeps the room: who has published does so again, and to write to memory that
    /// is there takes a fraction of the time that the system needs to give it out.
    pub(crate) fn clear(&mut self) {
        self.contents.clear();
        self.sizes.clear();
        self.notes.clear();
        self.by_content.clear();
        self.tags.clear();
        self.tag_bytes = 0;
        self.shares.clear();
        self.strings.clear();
        self.words.clear();
        self.texts.clear();
        self.counted = 0;
    }

    pub(crate) const fn len(&self) -> usize {
        self.notes.len()
    }

    /// Different strings.
    pub(crate) const fn strings(&self) -> usize {
        self.strings.len()
    }

    /// Bytes of the different strings.
    pub(crate) const fn string_bytes(&self) -> usize {
        self.strings.text_bytes()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.contents.bytes()
            + self.sizes.bytes()
            + self.notes.bytes()
            + self.by_content.bytes()
            + memory::vector::<(u32, Box<MediaTags>)>(self.tags.capacity())
            + self.tag_bytes
            + memory::b_tree::<(u32, Arc<Share>)>(self.shares.len())
            + self.strings.bytes()
            + self.words.bytes()
            + self.texts.bytes()
            + memory::vector::<u32>(self.list.capacity())
    }

    fn note(&self, number: usize) -> Note {
        self.notes.get(number).map_or_else(Note::default, |row| Note::of(*row))
    }

    fn change(&mut self, number: usize, change: impl FnOnce(&mut Note)) {
        if let Some(row) = self.notes.get_mut(number) {
            let mut note = Note::of(*row);
            change(&mut note);
            *row = note.row();
        }
    }

    /// The live documents of a content.
    pub(crate) fn find(
        &self,
        content: &ContentId,
        hasher: &WordHasher,
    ) -> impl Iterator<Item = usize> {
        let contents = &*self.contents;
        let is_it = |number: u32| contents.get(number as usize) == Some(content.as_bytes());
        let last = self.by_content.find(hasher.hash(content.as_bytes()), is_it);
        let all = std::iter::successors(last, |at| self.note(*at as usize).before.checked_sub(1));
        all.map(|at| at as usize).filter(|at| self.note(*at).is_live())
    }

    /// Reads something of where a content would be found, and answers nothing of use.
    #[inline]
    pub(crate) fn touch(&self, content: &ContentId, hasher: &WordHasher) -> u32 {
        self.by_content.touch(hasher.hash(content.as_bytes()))
    }

    /// Adds a document with its words, and takes its tags. `is_moved` says that it was there before.
    pub(crate) fn push(
        &mut self,
        file: &mut FileMeta,
        holder: Holder,
        words: &RecordWords,
        is_moved: bool,
        hasher: &WordHasher,
    ) {
        let number = self.len();
        let path = file.path.as_str();
        let tags = file.tags.iter().flat_map(|tags| texts_of(tags));
        // Each string of a path has a byte of it at least.
        let (texts, bytes) = tags.fold((0, 0), |sum, it| (sum.0 + 1, sum.1 + it.len()));
        let most = words.len() + texts + path.len();
        let mut strings = self.strings.open(most, words.text_len() + bytes + path.len());
        strings.touch(words.words().iter().map(|word| word.hash));
        let mut own = [0; MAX_RECORD_WORDS];
        let count = words.len().min(own.len());
        for (slot, word) in own.iter_mut().zip(words.words()) {
            let text = words.bytes_of(word);
            let string = strings.intern(text, word.hash, word.head);
            *slot = string << 1 | u32::from(!word.in_name);
        }
        self.words.extend_from_slice(&own[..count]);
        let list = &mut self.list;
        list.clear();
        let mut add = |list: &mut Vec<u32>, text: &[u8]| {
            let head = head(text);
            list.push(strings.intern(text, hasher.hash_headed(head, text), head));
        };
        for text in file.tags.iter().flat_map(|tags| texts_of(tags)) {
            add(list, text.as_bytes());
        }
        let (folder, name) = path.split_at(words.name_start());
        if let Some(runs) = words.runs() {
            if !folder.is_empty() {
                add(list, folder.as_bytes());
            }
            pieces_of_runs(name, runs, |piece| match piece {
                Piece::Word(word) => {
                    list.push(own.get(word as usize).map_or(0, |string| string >> 1));
                }
                Piece::Text(text) => add(list, text),
            });
        } else {
            pieces(path, |piece| add(list, piece.as_bytes()));
        }
        self.texts.extend_from_slice(&self.list);
        let name_chars = if words.runs().is_some() { name.len() } else { name.chars().count() };
        let contents = &*self.contents;
        let hash_of =
            |number: u32| contents.get(number as usize).map_or(0, |content| hasher.hash(content));
        let content = file.content.as_bytes();
        let is_it = |number: u32| contents.get(number as usize) == Some(content);
        let hash = hasher.hash(content);
        let mut before = self.by_content.replace(hash, number as u32, is_it, hash_of);
        // Who publishes one content again and again must not leave a long way behind.
        while let Some(note) = before.map(|at| self.note(at as usize)).filter(|it| !it.is_live()) {
            before = note.before.checked_sub(1);
        }
        self.contents.push(*content);
        self.sizes.push(file.size);
        let state = u32::from(file.kind as u8) | LIVE | if is_moved { MOVED } else { 0 };
        let owner = match holder {
            Holder::One(owner) => owner,
            Holder::Several(share) => {
                self.shares.insert(number as u32, share);
                SHARED
            }
        };
        let note = Note {
            owner,
            name_chars: name_chars as u32,
            words_end: self.words.len() as u32,
            texts_end: self.texts.len() as u32,
            before: before.map_or(0, |before| before + 1),
            state,
        };
        self.notes.push(note.row());
        if let Some(tags) = file.tags.take() {
            self.tag_bytes += memory::allocation(size_of::<MediaTags>())
                + texts_of(&tags).map(|text| memory::allocation(text.len())).sum::<u64>();
            self.tags.push((number as u32, tags));
        }
    }

    /// The content of a live document.
    pub(crate) fn content(&self, number: usize) -> Option<ContentId> {
        let content = self.contents.get(number).filter(|_| self.note(number).is_live())?;
        Some(ContentId::from_bytes(*content))
    }

    /// Who offers a document.
    pub(crate) fn holder(&self, number: usize) -> Option<Holder> {
        self.notes.get(number)?;
        Some(match self.shares.get(&(number as u32)) {
            Some(share) => Holder::Several(share.clone()),
            None => Holder::One(self.note(number).owner),
        })
    }

    pub(crate) fn set_holder(&mut self, number: usize, holder: Holder) {
        let owner = match holder {
            Holder::One(owner) => {
                if !self.shares.is_empty() {
                    self.shares.remove(&(number as u32));
                }
                owner
            }
            Holder::Several(share) => {
                self.shares.insert(number as u32, share);
                SHARED
            }
        };
        self.change(number, |note| note.owner = owner);
    }

    pub(crate) fn is_of(&self, number: usize, owner: OwnerNo) -> bool {
        self.holder(number).is_some_and(|holder| holder.is_of(owner))
    }

    /// The contents of the live documents that one owner alone offers.
    pub(crate) fn only_of(&self, owner: OwnerNo) -> impl Iterator<Item = ContentId> {
        let notes = self.notes.iter().map(|row| Note::of(*row));
        let own = notes.zip(self.contents.iter());
        let own = own.filter(move |(note, _)| note.is_live() && note.owner == owner);
        own.map(|(_, content)| ContentId::from_bytes(*content))
    }

    /// Takes a document away. Answers whether its words have been counted.
    pub(crate) fn kill(&mut self, number: usize) -> bool {
        self.change(number, |note| note.state &= !LIVE);
        number < self.counted || self.note(number).state & MOVED != 0
    }

    /// A document as it came.
    pub(crate) fn file(&self, number: usize) -> Option<FileMeta> {
        let note = self.note(number);
        let tags = self.tags(number).map(|tags| Box::new(tags.clone()));
        let mut path = Vec::new();
        let texts = tags.as_ref().map_or(0, |tags| texts_of(tags).count());
        for string in self.columns().texts_of(number).iter().skip(texts) {
            let piece = self.strings.view().text(*string);
            if is_joint(&path, piece) {
                path.push(b' ');
            }
            path.extend_from_slice(piece);
        }
        Some(FileMeta {
            content: ContentId::from_bytes(*self.contents.get(number)?),
            size: self.sizes.get(number).copied()?,
            kind: note.kind(),
            path: FilePath::new(String::from_utf8(path).ok()?).ok()?,
            tags,
        })
    }

    fn tags(&self, number: usize) -> Option<&MediaTags> {
        let at = self.tags.binary_search_by_key(&(number as u32), |(number, _)| *number);
        self.tags.get(at.ok()?).map(|(_, tags)| &**tags)
    }

    /// Calls with some words at a time of the documents that came since the last time and are still
    /// there, each once or, of few documents, as often as it is there.
    pub(crate) fn count_words(&mut self, mut see: impl FnMut(&[Counted<'_>])) {
        let new = self.counted..self.len();
        self.counted = new.end;
        let strings = self.strings.view();
        let mut counts = match new.len() {
            0..=FEW => Array::default(),
            _ => Array::<u32>::lent_zeroed(self.strings.len()),
        };
        let slots = &mut *counts;
        let counted = |string: u32, documents: u32| Counted {
            text: strings.text(string),
            hash: strings.hash(string),
            documents,
        };
        let mut some = Vec::with_capacity(AT_A_TIME);
        let (notes, words) = (&*self.notes, &*self.words);
        let mut start = new.start.checked_sub(1).map_or(0, |it| self.note(it).words_end);
        for note in notes.get(new).unwrap_or_default().iter().map(|row| Note::of(*row)) {
            let own = start as usize..note.words_end as usize;
            start = note.words_end;
            if note.state & LIVE == 0 || note.state & MOVED != 0 {
                continue;
            }
            for string in words.get(own).unwrap_or_default().iter().map(|word| word >> 1) {
                match slots.get_mut(string as usize) {
                    Some(count) => *count += 1,
                    None => some.push(counted(string, 1)),
                }
            }
            if some.len() >= AT_A_TIME {
                see(&some);
                some.clear();
            }
        }
        for (string, count) in (0..).zip(counts.iter()).filter(|(_, count)| **count > 0) {
            some.push(counted(string, *count));
            if some.len() >= AT_A_TIME {
                see(&some);
                some.clear();
            }
        }
        see(&some);
    }

    /// All that is drafted, when no more is to come.
    pub(super) fn columns(&self) -> Columns<'_> {
        Columns {
            draft: self,
            contents: &self.contents,
            sizes: &self.sizes,
            notes: &self.notes,
            words: &self.words,
            texts: &self.texts,
            strings: self.strings.view(),
        }
    }
}

/// See [`Draft::columns`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a> {
    draft: &'a Draft,
    pub(super) contents: &'a [[u8; 32]],
    pub(super) sizes: &'a [u64],
    notes: &'a [Row],
    words: &'a [u32],
    texts: &'a [u32],
    pub(super) strings: View<'a>,
}

impl<'a> Columns<'a> {
    pub(super) const fn len(self) -> usize {
        self.notes.len()
    }

    #[inline]
    pub(super) fn note(self, number: usize) -> Note {
        self.notes.get(number).map_or_else(Note::default, |row| Note::of(*row))
    }

    pub(super) fn tags(self, number: usize) -> Option<&'a MediaTags> {
        if self.draft.tags.is_empty() { None } else { self.draft.tags(number) }
    }

    pub(super) fn share(self, number: usize) -> Option<&'a Arc<Share>> {
        self.draft.shares.get(&(number as u32))
    }

    pub(super) fn class(self, number: usize) -> Class {
        let note = self.note(number);
        let sources = match note.owner {
            SHARED => self.share(number).map_or(1, |it| it.owners().len()),
            _ => 1,
        };
        class(note.name_chars as usize, sources)
    }

    /// Twice the string of each word, and one more for those that are not in the file name.
    #[inline]
    pub(super) fn words_of(self, number: usize) -> &'a [u32] {
        self.words_in(number..number + 1)
    }

    /// The same of all live documents, of which there are so many, in any order.
    pub(super) fn each_live_words(self, live: usize, see: impl FnMut(&[u32])) {
        self.each_live(live, |documents| self.words_in(documents), see);
    }

    #[inline]
    fn words_in(self, documents: Range<usize>) -> &'a [u32] {
        self.words.get(self.range(documents, |note| note.words_end)).unwrap_or_default()
    }

    /// The strings that are written of a document.
    #[inline]
    pub(super) fn texts_of(self, number: usize) -> &'a [u32] {
        self.texts_in(number..number + 1)
    }

    /// The same of all live documents, of which there are so many, in any order.
    pub(super) fn each_live_texts(self, live: usize, see: impl FnMut(&[u32])) {
        self.each_live(live, |documents| self.texts_in(documents), see);
    }

    #[inline]
    fn texts_in(self, documents: Range<usize>) -> &'a [u32] {
        self.texts.get(self.range(documents, |note| note.texts_end)).unwrap_or_default()
    }

    /// All at once where no other ones are in between.
    fn each_live(
        self,
        live: usize,
        of: impl Fn(Range<usize>) -> &'a [u32],
        mut see: impl FnMut(&[u32]),
    ) {
        if live == self.len() {
            see(of(0..live));
            return;
        }
        for at in (0..self.len()).filter(|at| self.note(*at).is_live()) {
            see(of(at..at + 1));
        }
    }

    /// Strings that are written of all documents.
    pub(super) const fn texts(self) -> usize {
        self.texts.len()
    }

    #[inline]
    fn range(self, documents: Range<usize>, end: impl Fn(Note) -> u32) -> Range<usize> {
        let end_of = |number: usize| number.checked_sub(1).map_or(0, |last| end(self.note(last)));
        end_of(documents.start) as usize..end_of(documents.end) as usize
    }
}

/// The texts of tags in the order in which they are written.
fn texts_of(tags: &MediaTags) -> impl Iterator<Item = &str> {
    [&tags.artist, &tags.title, &tags.album].into_iter().flatten().map(|text| text.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;
    use skein_proto::BoundedString;

    proptest! {
        #[test]
        fn what_was_pushed_is_there_as_it_came(
            records in proptest::collection::vec(
                (0_u8..20, "[a-cA東 ._-]{0,2}/?[aAb東]{1,3}[ .]{0,2}[a-c]{1,3}",
                 proptest::option::of("[abß ]{0,3}")),
                0..40,
            ),
        ) {
            let hasher = WordHasher::default();
            let mut draft = Draft::default();
            let mut files = Vec::new();
            for (number, path, title) in records {
                let Ok(path) = FilePath::new(path) else { continue };
                let title = title.map(|text| Some(BoundedString::truncated(&text)));
                let tags = title.map(|title| Box::new(MediaTags { title, ..Default::default() }));
                let content = ContentId::from_bytes([number; 32]);
                let file = FileMeta { content, size: number.into(), kind: Kind::Audio, path, tags };
                let mut words = RecordWords::default();
                words.read_hashed(file.path.as_str(), file.tags.as_deref(), &hasher);
                draft.push(&mut file.clone(), Holder::One(number.into()), &words, false, &hasher);
                files.push(file);
            }
            for (number, file) in files.iter().enumerate() {
                prop_assert_eq!(draft.file(number), Some(file.clone()));
            }
            for number in 0..20 {
                let content = ContentId::from_bytes([number; 32]);
                let mut found: Vec<usize> = draft.find(&content, &hasher).collect();
                found.reverse();
                let expected = (0..files.len()).filter(|at| files[*at].content == content);
                prop_assert_eq!(found, expected.collect::<Vec<_>>());
            }
        }
    }
}
