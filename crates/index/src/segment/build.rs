//! Documents that are to become a segment, and how they do.

use super::codes::Coder;
use super::documents::{Documents, DocumentsWriter, pieces};
use super::filter::Filter;
use super::strings::{StringNo, Strings, StringsWriter, head};
use super::{Holder, Place, Rank, Segment, prefix};
use crate::array::Array;
use crate::class::{Class, class};
use crate::code::{LiveBits, PackedWriter};
use crate::interner::{Interner, WordHasher};
use crate::register::OwnerNo;
use crate::sources::Share;
use skein_proto::{ContentId, FileMeta};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// What orders the places of shared documents behind those of all owners.
const SHARED: OwnerNo = OwnerNo::MAX;

#[derive(Debug)]
pub(crate) struct Drafted {
    pub(crate) file: FileMeta,
    pub(crate) holder: Holder,
    pub(crate) is_live: bool,
    words: Range<usize>,
    /// Another document of the same content.
    before: Option<usize>,
}

impl Drafted {
    fn class(&self) -> Class {
        let sources = match &self.holder {
            Holder::One(_) => 1,
            Holder::Several(share) => share.owners().len(),
        };
        class(self.file.path.file_name().chars().count(), sources)
    }

    fn owner(&self) -> OwnerNo {
        match &self.holder {
            Holder::One(owner) => *owner,
            Holder::Several(_) => SHARED,
        }
    }
}

/// Documents that are on their way into the index.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    documents: Vec<Drafted>,
    /// The last document of each content.
    contents: HashMap<ContentId, usize>,
    strings: Interner,
    /// The words of all documents, and whether each stands in the file name.
    words: Vec<(u32, bool)>,
}

impl Draft {
    pub(crate) const fn len(&self) -> usize {
        self.documents.len()
    }

    pub(crate) fn get(&self, number: usize) -> Option<&Drafted> {
        self.documents.get(number)
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut Drafted> {
        self.documents.get_mut(number)
    }

    /// The live documents of a content.
    pub(crate) fn find(&self, content: &ContentId) -> impl Iterator<Item = usize> {
        let last = self.contents.get(content).copied();
        let all = std::iter::successors(last, |at| self.documents.get(*at)?.before);
        all.filter(|at| self.documents.get(*at).is_some_and(|it| it.is_live))
    }

    /// Makes room for so many documents more.
    pub(crate) fn reserve(&mut self, documents: usize) {
        self.documents.reserve(documents);
        self.contents.reserve(documents);
    }

    /// Adds a document with its words, their hashes, and whether each stands in the file name.
    pub(crate) fn push<'a>(
        &mut self,
        file: FileMeta,
        holder: Holder,
        words: impl Iterator<Item = (&'a str, u64, bool)>,
    ) {
        let start = self.words.len();
        for (text, hash, in_name) in words {
            self.words.push((self.strings.intern(text, hash), in_name));
        }
        let number = self.documents.len();
        let before = self.contents.insert(file.content, number);
        let words = start..self.words.len();
        self.documents.push(Drafted { file, holder, is_live: true, words, before });
    }

    /// The segment of all that are live; `None` if none is.
    pub(crate) fn build(mut self, id: u64, hasher: &WordHasher) -> Option<Segment> {
        // By place: an owner's together, in the order of their contents.
        let mut order: Vec<(OwnerNo, u64, &Drafted)> = self
            .documents
            .iter()
            .filter(|it| it.is_live)
            .map(|it| (it.owner(), prefix(&it.file.content), it))
            .collect();
        let full = |it: &Drafted| it.file.content;
        order.sort_unstable_by(|a, b| {
            (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| full(a.2).cmp(&full(b.2)))
        });
        let len = order.len();
        if len == 0 {
            return None;
        }
        let mut ranked: Vec<(Class, u64, Place)> = (0..)
            .zip(&order)
            .map(|(place, (_, prefix, it))| (it.class(), *prefix, place))
            .collect();
        ranked.sort_unstable_by(|a, b| {
            let content = |place: Place| order.get(place as usize).map(|it| it.2.file.content);
            (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| (content(a.2), a.2).cmp(&(content(b.2), b.2)))
        });

        // The pieces of all documents, as they will be written.
        let mut used: Vec<u32> = Vec::with_capacity(len * 8);
        let mut ends: Vec<usize> = Vec::with_capacity(len);
        let strings = &mut self.strings;
        for (_, _, it) in &order {
            let words = self.words.get(it.words.clone()).unwrap_or_default();
            let mut words = words.iter().map(|(word, _)| *word).peekable();
            for_each_text(it, |text| {
                // Most pieces of a file name are its words, one after the other.
                let same = words.next_if(|word| strings.text(*word) == text);
                used.push(same.unwrap_or_else(|| strings.intern(text, hasher.hash(text))));
            });
            ends.push(used.len());
        }

        let lists = Lists::new(
            strings.len(),
            ranked.iter().map(|(_, _, place)| {
                let words = order.get(*place as usize).map(|it| it.2.words.clone());
                words.and_then(|words| self.words.get(words)).unwrap_or_default()
            }),
        );
        let mut coder = Coder::new(strings.len());
        used.iter().for_each(|string| coder.count(*string));
        while !coder.step(usize::MAX).1 {}
        let mut writer = StringsWriter::default();
        let mut numbers = vec![StringNo::MAX; strings.len()];
        for string in in_order(strings) {
            let (inside, outside) = lists.of(string);
            if coder.is_used(string) || !inside.is_empty() || !outside.is_empty() {
                numbers[string as usize] = writer.len() as StringNo;
                writer.push(strings.text(string).as_bytes(), inside, outside, len);
            }
        }
        let dictionary = writer.finish();

        let (bytes, codes) = (used.len() * 2 + len * 7, coder.by_code().len());
        let mut documents = DocumentsWriter::new(len, bytes, codes, dictionary.len());
        for string in coder.by_code() {
            documents.push_code(numbers[*string as usize], &dictionary);
        }
        let mut start = 0;
        let mut parts = Parts::new(len);
        for ((place, (owner, _, it)), end) in (0..).zip(&order).zip(ends) {
            let file = &it.file;
            let codes = used[start..end].iter().map(|string| coder.code(*string));
            documents.push((file.kind, file.size, file.tags.as_deref()), codes);
            start = end;
            parts.push(place, *owner, &file.content, &it.holder);
        }
        for (class, _, place) in &ranked {
            parts.push_rank(*class, *place);
        }
        Some(parts.finish(id, documents.finish(), dictionary))
    }
}

/// The numbers of strings in the order of the strings.
fn in_order(strings: &Interner) -> impl Iterator<Item = u32> {
    // As one number, the first bytes and the number of a string are sorted without a question.
    let text = |it: &u128| strings.text(*it as u32);
    let key = |it: u32| u128::from(head(strings.text(it).as_bytes())) << 32 | u128::from(it);
    let mut sorted: Vec<u128> = (0..strings.len() as u32).map(key).collect();
    sorted.sort_unstable();
    for equal in sorted.chunk_by_mut(|a, b| a >> 32 == b >> 32).filter(|it| it.len() > 1) {
        equal.sort_unstable_by(|a, b| text(a).cmp(text(b)));
    }
    sorted.into_iter().map(|it| it as u32)
}

/// The texts of a document in the order in which their codes are written.
fn for_each_text(it: &Drafted, mut see: impl FnMut(&str)) {
    if let Some(tags) = &it.file.tags {
        [&tags.artist, &tags.title, &tags.album].into_iter().flatten().for_each(|text| see(text));
    }
    pieces(it.file.path.as_str(), see);
}

/// Posting lists by counting: those of each string one behind the other.
struct Lists {
    /// Where the list of each string begins: inside the name, then outside.
    starts: Vec<usize>,
    ranks: Vec<u32>,
}

impl Lists {
    fn new<'a>(strings: usize, documents: impl Iterator<Item = &'a [(u32, bool)]> + Clone) -> Self {
        let slot = |(word, in_name): &(u32, bool)| *word as usize * 2 + usize::from(!in_name);
        let mut starts = vec![0; strings * 2 + 1];
        for word in documents.clone().flatten() {
            starts[slot(word) + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut ends = starts.clone();
        let mut ranks = vec![0; starts.last().copied().unwrap_or_default()];
        for (rank, words) in (0..).zip(documents) {
            for word in words {
                let end = &mut ends[slot(word)];
                ranks[*end] = rank;
                *end += 1;
            }
        }
        Self { starts, ranks }
    }

    fn of(&self, string: u32) -> (&[u32], &[u32]) {
        let list = |slot: usize| &self.ranks[self.starts[slot]..self.starts[slot + 1]];
        (list(string as usize * 2), list(string as usize * 2 + 1))
    }
}

/// What a segment is put together from, in the order of the places and of the ranks.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    contents: Array<[u8; 32]>,
    owners: Vec<(OwnerNo, Place)>,
    shares: Vec<Arc<Share>>,
    filter: Filter,
    classes: Vec<(Class, Rank)>,
    /// The place of each rank.
    places: PackedWriter,
}

impl Parts {
    pub(crate) fn new(len: usize) -> Self {
        let contents = Array::with_capacity(len);
        let places = PackedWriter::new(len, len);
        Self { contents, filter: Filter::new(len), places, ..Self::default() }
    }

    pub(crate) fn push(
        &mut self,
        place: Place,
        owner: OwnerNo,
        content: &ContentId,
        holder: &Holder,
    ) {
        self.contents.push(*content.as_bytes());
        self.filter.add(content);
        match holder {
            Holder::Several(share) => self.shares.push(share.clone()),
            Holder::One(_) if self.owners.last().is_none_or(|(last, _)| *last != owner) => {
                self.owners.push((owner, place));
            }
            Holder::One(_) => {}
        }
    }

    /// Bytes of memory so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.contents.bytes() + self.places.bytes() + self.filter.bytes()
    }

    /// Adds the place of the next rank, and answers which rank that is.
    pub(crate) fn push_rank(&mut self, class: Class, place: Place) -> Rank {
        let rank = self.places.len() as Rank;
        if self.classes.last().is_none_or(|(last, _)| *last != class) {
            self.classes.push((class, rank));
        }
        self.places.push(place);
        rank
    }

    pub(crate) fn finish(self, id: u64, documents: Documents, strings: Strings) -> Segment {
        let len = self.contents.len();
        Segment {
            id,
            contents: self.contents.finished(),
            documents,
            strings,
            places: self.places.finish(),
            classes: self.classes.into_boxed_slice(),
            owners: self.owners.into_boxed_slice(),
            shares: self.shares.into_boxed_slice(),
            filter: self.filter,
            live: LiveBits::all(len),
            dead: AtomicU32::new(0),
        }
    }
}
