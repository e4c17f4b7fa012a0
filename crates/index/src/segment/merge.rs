//! Making one segment of several, in steps that can be as short as one likes.
//!
//! Nothing of the old segments is taken to pieces that need not be: strings are merged in their
//! order, posting lists are renumbered, and what is written of a document is copied with other
//! codes. Documents that are gone are left out; those that go while it runs are noted by whoever
//! removes them ([`Merge::killed`]).

use super::build::Parts;
use super::codes::Coder;
use super::documents::{DocumentsWriter, Part, for_each_code};
use super::renumber::{Gathered, Renumbering};
use super::strings::{Scan, StringNo, Strings, StringsWriter};
use super::{Holder, Place, Segment, prefix};
use crate::array::Array;
use crate::class::Class;
use crate::register::OwnerNo;
use std::sync::Arc;

/// Work that a document takes in all phases together, in the units in which a step is measured: one
/// unit is about 40 ns. Where most words are new it is twice as much as where few are; this is
/// for the former.
const UNITS: usize = 32;

/// What one element takes in each phase, in these units.
const PLACE: usize = 2;
const RANK: usize = 2;
const STRING: usize = 3;
const USE: usize = 4;
const WORD: usize = 8;
const DOCUMENT: usize = 6;

/// Postings that take one unit to be renumbered.
const POSTINGS: usize = 4;

/// One of the segments that are merged.
#[derive(Debug)]
struct Source {
    segment: Arc<Segment>,
    /// The new place of each place, and the new rank of each rank.
    places: Renumbering,
    ranks: Renumbering,
    /// The provisional number of each string: see [`Merge::texts`].
    strings: Renumbering,
    /// How far the step at hand has come.
    at: u32,
    /// What orders the next document, and its place.
    key: Option<(u32, u64)>,
    place: Place,
}

impl Source {
    fn look_at_place(&mut self) {
        self.place = self.at;
        let owner = match self.segment.share(self.at) {
            Some(_) => OwnerNo::MAX,
            None => self.segment.owner(self.at),
        };
        self.key = self.segment.content(self.at).map(|content| (owner, prefix(&content)));
    }

    fn look_at_rank(&mut self) {
        self.place = self.segment.place(self.at);
        let class = u32::from(self.segment.class(self.at));
        let content = self.segment.content(self.place).filter(|_| self.at < self.segment.len());
        self.key = content.map(|content| (class, prefix(&content)));
    }
}

/// One of the segments, and a place or a string of it.
type Origin = [u32; 2];

/// A merge on its way.
#[derive(Debug)]
pub(crate) struct Merge {
    sources: Vec<Source>,
    phase: Phase,
    /// Where documents come from, by new place.
    order: Array<Origin>,
    /// The old strings of each provisional one: those that are equal have one number, and they are
    /// in order. One is of `texts[i]..texts[i + 1]` in `members`.
    texts: Array<u32>,
    members: Array<Origin>,
    coder: Coder,
    /// The final number of each provisional string, as far as strings are written.
    numbers: Array<StringNo>,
    parts: Parts,
    writer: StringsWriter,
    strings: Strings,
    documents: DocumentsWriter,
    inside: Gathered,
    outside: Gathered,
    killed: Vec<Origin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Places,
    Ranks,
    Strings,
    Uses,
    Lists,
    Codes,
    Plain,
    Documents,
    Done,
}

impl Merge {
    /// The most segments that one merge takes.
    pub(crate) const MAX_SOURCES: usize = 64;

    /// Begins to merge segments, of which there are at most [`Merge::MAX_SOURCES`].
    pub(crate) fn new(segments: impl IntoIterator<Item = Arc<Segment>>) -> Self {
        let source = |segment: Arc<Segment>| Source {
            places: Renumbering::new(segment.len() as usize),
            ranks: Renumbering::new(segment.len() as usize),
            strings: Renumbering::new(segment.strings.len()),
            segment,
            at: 0,
            key: None,
            place: 0,
        };
        let sources: Vec<Source> = segments.into_iter().map(source).collect();
        let len = sources.iter().map(|it| it.segment.live() as usize).sum();
        let strings: usize = sources.iter().map(|it| it.segment.strings.len()).sum();
        Self {
            sources,
            phase: Phase::Places,
            order: Array::with_capacity(len),
            // Lists that grow are copied now and then, all at once.
            texts: Array::with_capacity(strings + 1),
            members: Array::with_capacity(strings),
            coder: Coder::new(0),
            numbers: Array::default(),
            parts: Parts::new(len),
            writer: StringsWriter::default(),
            strings: Strings::default(),
            documents: DocumentsWriter::default(),
            inside: Gathered::default(),
            outside: Gathered::default(),
            killed: Vec::new(),
        }
    }

    /// Whether anything is left of what is merged.
    pub(crate) fn is_live(&self) -> bool {
        self.sources.iter().any(|it| it.segment.live() > 0)
    }

    pub(crate) fn has(&self, segment: u64) -> bool {
        self.sources.iter().any(|it| it.segment.id == segment)
    }

    /// Notes that a document of one of the segments has gone.
    pub(crate) fn killed(&mut self, segment: u64, place: Place) {
        if let Some(source) = self.sources.iter().position(|it| it.segment.id == segment) {
            self.killed.push([source as u32, place]);
        }
    }

    /// Goes on for about so many documents. Answers whether all is done.
    pub(crate) fn step(&mut self, budget: usize) -> bool {
        let mut left = budget.saturating_mul(UNITS);
        while left > 0 && self.phase != Phase::Done {
            let (used, is_over) = match self.phase {
                Phase::Places => self.step_places(left),
                Phase::Ranks => self.step_ranks(left),
                Phase::Strings => self.step_strings(left),
                Phase::Uses => self.step_uses(left),
                Phase::Lists => self.step_lists(left),
                Phase::Codes => self.coder.step(left),
                Phase::Plain => self.step_plain(left),
                Phase::Documents => self.step_documents(left),
                Phase::Done => (0, true),
            };
            left = left.saturating_sub(used);
            if is_over {
                self.sources.iter_mut().for_each(|it| it.at = 0);
                self.next_phase();
            }
        }
        self.phase == Phase::Done
    }

    fn next_phase(&mut self) {
        self.phase = match self.phase {
            Phase::Places => Phase::Ranks,
            Phase::Ranks => Phase::Strings,
            Phase::Strings => {
                self.texts.push(self.members.len() as u32);
                self.coder = Coder::new(self.texts.len() - 1);
                Phase::Uses
            }
            Phase::Uses => {
                let sizes = self.sources.iter().map(|it| it.segment.strings.sizes());
                let (bytes, lists) = sizes.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
                let strings = self.coder.strings();
                self.numbers = Array::with_capacity(strings);
                self.writer = StringsWriter::with_capacity(strings, bytes, lists);
                Phase::Lists
            }
            Phase::Lists => {
                self.strings = std::mem::take(&mut self.writer).finish();
                Phase::Codes
            }
            Phase::Codes => {
                let bytes = self.sources.iter().map(|it| it.segment.documents.text_bytes()).sum();
                let codes = self.coder.by_code().len();
                let len = self.order.len();
                self.documents = DocumentsWriter::new(len, bytes, codes, self.strings.len());
                Phase::Plain
            }
            Phase::Plain => Phase::Documents,
            Phase::Documents | Phase::Done => Phase::Done,
        };
    }

    /// Orders the documents that are live by owner and content.
    fn step_places(&mut self, budget: usize) -> (usize, bool) {
        self.sources.iter_mut().for_each(Source::look_at_place);
        for done in (0..budget).step_by(PLACE) {
            let Some(i) = self.first_source() else { return (done, true) };
            let source = &mut self.sources[i];
            if source.segment.is_live(source.at) && self.order.len() < self.order.capacity() {
                source.places.set(source.at, self.order.len() as u32);
                self.order.push([i as u32, source.at]);
            }
            source.at += 1;
            source.look_at_place();
        }
        (budget, false)
    }

    /// Orders them by class and content.
    fn step_ranks(&mut self, budget: usize) -> (usize, bool) {
        self.sources.iter_mut().for_each(Source::look_at_rank);
        for done in (0..budget).step_by(RANK) {
            let Some(i) = self.first_source() else { return (done, true) };
            let source = &mut self.sources[i];
            if let Some(place) = source.places.get(source.place) {
                // The class is the first part of the key by which ranks are ordered.
                let class = source.key.map_or(0, |(class, _)| class) as Class;
                source.ranks.set(source.at, self.parts.push_rank(class, place));
            }
            source.at += 1;
            source.look_at_rank();
        }
        (budget, false)
    }

    /// The source whose next document comes first.
    fn first_source(&self) -> Option<usize> {
        let mut first: Option<(usize, (u32, u64))> = None;
        for (i, source) in self.sources.iter().enumerate() {
            let Some(key) = source.key else { continue };
            let is_first = first.is_none_or(|(other, least)| {
                let content = |source: &Source| source.segment.content(source.place);
                let later = |i: usize| self.sources.get(i).and_then(content);
                key < least || (key == least && content(source) < later(other))
            });
            if is_first {
                first = Some((i, key));
            }
        }
        first.map(|(i, _)| i)
    }

    /// Finds equal strings.
    fn step_strings(&mut self, budget: usize) -> (usize, bool) {
        let segments: Vec<Arc<Segment>> =
            self.sources.iter().map(|it| it.segment.clone()).collect();
        let mut scans: Vec<(Scan<'_>, bool)> = segments
            .iter()
            .zip(&self.sources)
            .map(|(segment, source)| {
                let mut scan = segment.strings.starting_at(source.at);
                let has_more = scan.next().is_some();
                (scan, has_more)
            })
            .collect();
        let mut done = 0;
        let mut found: Vec<usize> = Vec::with_capacity(scans.len());
        while done < budget {
            let least = scans.iter().filter(|it| it.1).map(|it| it.0.bytes()).min();
            let Some(least) = least else { return (done, true) };
            found.clear();
            let equal = scans.iter().enumerate().filter(|(_, it)| it.1 && it.0.bytes() == least);
            found.extend(equal.map(|(i, _)| i));
            let text = self.texts.len() as u32;
            self.texts.push(self.members.len() as u32);
            for i in &found {
                let source = &mut self.sources[*i];
                source.strings.set(source.at, text);
                self.members.push([*i as u32, source.at]);
                source.at += 1;
                let (scan, has_more) = &mut scans[*i];
                *has_more = scan.next().is_some();
            }
            done += STRING * found.len();
        }
        (done, false)
    }

    /// Counts how often each string is used in documents.
    fn step_uses(&mut self, budget: usize) -> (usize, bool) {
        let Some(first) = self.sources.first_mut() else { return (0, true) };
        let start = first.at as usize;
        let end = self.order.len().min(start + budget.div_ceil(USE));
        first.at = end as u32;
        for [source, place] in &self.order[start..end] {
            let source = &self.sources[*source as usize];
            let documents = &source.segment.documents;
            for_each_code(documents.body(*place), |part| {
                if let Part::Code(code) = part
                    && let Some(string) = source.strings.get(documents.string(code))
                {
                    self.coder.count(string);
                }
            });
        }
        ((end - start) * USE, end == self.order.len())
    }

    /// Writes the strings with their lists.
    fn step_lists(&mut self, budget: usize) -> (usize, bool) {
        let universe = self.order.len();
        let mut scans: Vec<(Scan<'_>, StringNo)> =
            self.sources.iter().map(|it| (it.segment.strings.starting_at(it.at), it.at)).collect();
        let (inside, outside) = (&mut self.inside, &mut self.outside);
        let mut done = 0;
        while self.numbers.len() < self.coder.strings() && done < budget {
            let text = self.numbers.len();
            inside.clear();
            outside.clear();
            let members = &self.members[self.texts[text] as usize..self.texts[text + 1] as usize];
            let mut name = 0;
            for [source, _] in members {
                name = *source as usize;
                let (scan, at) = &mut scans[name];
                let Some((_, lists)) = scan.next() else { continue };
                *at += 1;
                let source = &self.sources[name];
                let [first, second] = source.segment.strings.written_lists(lists);
                inside.add(first.0, first.1, &source.ranks);
                outside.add(second.0, second.1, &source.ranks);
            }
            if members.len() > 1 {
                inside.sort(universe);
                outside.sort(universe);
            }
            let (inside, outside) = (inside.numbers(), outside.numbers());
            if self.coder.is_used(text as u32) || !inside.is_empty() || !outside.is_empty() {
                self.numbers.push(self.writer.len() as StringNo);
                self.writer.push(scans[name].0.bytes(), inside, outside, universe);
            } else {
                self.numbers.push(StringNo::MAX);
            }
            done += WORD + (inside.len() + outside.len()) / POSTINGS;
        }
        let ends: Vec<StringNo> = scans.into_iter().map(|it| it.1).collect();
        for (source, at) in self.sources.iter_mut().zip(ends) {
            source.at = at;
        }
        (done, self.numbers.len() == self.coder.strings())
    }

    /// Writes which string each code stands for.
    fn step_plain(&mut self, budget: usize) -> (usize, bool) {
        let codes = self.coder.by_code();
        let start = self.documents.codes();
        let end = codes.len().min(start + budget.div_ceil(STRING));
        for text in codes.get(start..end).unwrap_or_default() {
            let number = self.numbers.get(*text as usize).copied().unwrap_or_default();
            self.documents.push_code(number, &self.strings);
        }
        ((end - start) * STRING, end == codes.len())
    }

    /// Writes the documents.
    fn step_documents(&mut self, budget: usize) -> (usize, bool) {
        let Some(first) = self.sources.first_mut() else { return (0, true) };
        let start = first.at as usize;
        let end = self.order.len().min(start + budget.div_ceil(DOCUMENT));
        first.at = end as u32;
        for (new, [source, place]) in (start as Place..).zip(&self.order[start..end]) {
            let source = &self.sources[*source as usize];
            let segment = &source.segment;
            self.documents.push_body(segment.documents.body(*place), |code| {
                let string = source.strings.get(segment.documents.string(code));
                string.map_or(0, |string| self.coder.code(string))
            });
            let holder = segment.holder(*place);
            let owner = match &holder {
                Holder::One(owner) => *owner,
                Holder::Several(_) => OwnerNo::MAX,
            };
            if let Some(content) = segment.content(*place) {
                self.parts.push(new, owner, &content, &holder);
            }
        }
        ((end - start) * DOCUMENT, end == self.order.len())
    }

    /// The new segment, without the documents that went meanwhile; `None` if none is left. It
    /// must be done.
    pub(crate) fn finish(self, id: u64) -> Option<Segment> {
        if self.order.is_empty() {
            return None;
        }
        let segment = self.parts.finish(id, self.documents.finish(), self.strings);
        for [source, place] in &self.killed {
            let source = self.sources.get(*source as usize);
            if let Some(new) = source.and_then(|it| it.places.get(*place)) {
                segment.kill(new);
            }
        }
        (segment.live() > 0).then_some(segment)
    }

    /// Bytes of memory, without the old segments.
    pub(crate) fn bytes(&self) -> u64 {
        let source = |it: &Source| it.places.bytes() + it.ranks.bytes() + it.strings.bytes();
        self.sources.iter().map(source).sum::<u64>()
            + self.order.bytes()
            + self.members.bytes()
            + self.texts.bytes()
            + self.numbers.bytes()
            + self.coder.bytes()
            + self.inside.bytes()
            + self.outside.bytes()
            + self.parts.bytes()
            + self.writer.bytes()
            + self.strings.bytes()
            + self.documents.bytes()
    }
}
