//! Making one segment of several, in steps that can be as short as one likes.
//!
//! Nothing of the old segments is taken to pieces that need not be: strings are merged in their
//! order, posting lists are renumbered, and what is written of a document is copied with other
//! codes. Documents that are gone are left out; those that go while it runs are noted by whoever
//! removes them ([`Merge::killed`]).

mod words;

use super::body::codes_of;
use super::build::Parts;
use super::codes::Coder;
use super::documents::DocumentsWriter;
use super::renumber::{Gathered, LongList, Renumbering};
use super::source::{Source, in_order};
use super::strings::{StringNo, Strings, StringsWriter};
use super::{Place, Segment};
use crate::array::Array;
use crate::class::Class;
use crate::interner::WordHasher;
use crate::memory;
use crate::register::OwnerNo;
use crate::waste::Waste;
use std::ops::Range;
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

/// Postings that take one unit to be renumbered, and codes that take one to be looked up.
const POSTINGS: usize = 4;

/// Bits of a bitmap that take one.
const BITS: usize = 256;
const CODES: usize = 4;

/// Bytes that take one unit to be dropped: most are kept to be used again. What is given back to the
/// system takes four times as long.
const FREED: usize = 1024;

/// How much more what is written may take than what it is made of, where codes are longer and
/// distances wider: an array that is too small would be copied as a whole. Room that is not used
/// costs nothing.
const ROOM: usize = 3;

/// One of the segments, and a place or a string of it.
type Origin = [u32; 2];

/// A merge on its way.
#[derive(Debug)]
pub(crate) struct Merge {
    sources: Vec<Source>,
    /// Documents that there were to merge.
    size: u32,
    /// It may take a little longer now and then.
    has_time: bool,
    phase: Phase,
    /// How far the phase at hand has come with the documents.
    at: usize,
    /// Where documents come from, by new place.
    order: Array<Origin>,
    /// The old strings of each provisional one: those that are equal have one number, and they are
    /// in order. One is of `texts[i]..texts[i + 1]` in `members` by the first of both numbers, and
    /// in `text`, unless it is long, by the second one.
    texts: Array<[u32; 2]>,
    members: Array<Origin>,
    text: Array<u8>,
    coder: Coder,
    /// The final number of each provisional string, as far as strings are written.
    numbers: Array<StringNo>,
    parts: Parts,
    writer: StringsWriter,
    strings: Strings,
    documents: DocumentsWriter,
    inside: Gathered,
    outside: Gathered,
    /// The list of a word that is too long for one step.
    long: Option<LongList>,
    /// What has come of it, when all is written.
    made: Option<Segment>,
    /// Which of the segments have lost which documents meanwhile.
    killed: Vec<(usize, Vec<Place>)>,
    hasher: WordHasher,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Places,
    Ranks,
    Strings,
    OldCodes,
    Uses,
    Lists,
    Codes,
    NewCodes,
    Plain,
    Documents,
    Killed,
    Done,
}

impl Merge {
    /// The most segments that one merge takes.
    pub(crate) const MAX_SOURCES: usize = 64;

    /// Begins to merge segments, of which there are at most [`Merge::MAX_SOURCES`]. `is_calm` says that
    /// nothing else is due, `is_aside` that another thread does it: in both cases it may be a little slower
    /// now and then, and what comes of it is put into large pages.
    pub(crate) fn new(
        segments: impl IntoIterator<Item = Arc<Segment>>,
        (is_calm, is_aside): (bool, bool),
        hasher: &WordHasher,
    ) -> Self {
        let sources: Vec<Source> = segments.into_iter().map(Source::new).collect();
        let len = sources.iter().map(|it| it.segment.live() as usize).sum();
        let strings: usize = sources.iter().map(|it| it.segment.strings.len()).sum();
        let bytes: usize = sources.iter().map(|it| it.segment.strings.sizes().0).sum();
        Self {
            sources,
            size: len as u32,
            phase: Phase::Places,
            at: 0,
            order: Array::lent(len),
            // Lists that grow are copied now and then, all at once.
            texts: Array::lent(strings + 1),
            members: Array::lent(strings),
            text: Array::lent(bytes * ROOM),
            coder: Coder::new(0),
            numbers: Array::default(),
            parts: Parts::new(len, is_calm, is_calm || is_aside),
            has_time: is_calm || is_aside,
            writer: StringsWriter::default(),
            strings: Strings::default(),
            documents: DocumentsWriter::default(),
            inside: Gathered::default(),
            outside: Gathered::default(),
            long: None,
            made: None,
            killed: Vec::new(),
            hasher: hasher.clone(),
        }
    }

    /// Whether anything is left of what is merged.
    pub(crate) fn is_live(&self) -> bool {
        self.sources.iter().any(|it| it.segment.live() > 0)
    }

    /// Documents that are merged.
    pub(crate) fn documents(&self) -> u64 {
        self.sources.iter().map(|it| u64::from(it.segment.live())).sum()
    }

    /// Documents that there were when it was begun.
    pub(crate) const fn size(&self) -> u32 {
        self.size
    }

    /// Whether it only writes one segment anew.
    pub(crate) const fn is_of_one(&self) -> bool {
        self.sources.len() == 1
    }

    /// What is merged.
    pub(crate) fn segments(&self) -> impl Iterator<Item = u64> {
        self.sources.iter().map(|it| it.segment.id)
    }

    pub(crate) fn has(&self, segment: u64) -> bool {
        self.sources.iter().any(|it| it.segment.id == segment)
    }

    /// Notes that documents of a segment, which may be one of those that are merged, have gone.
    pub(crate) fn killed(&mut self, segment: u64, places: &[Place]) {
        if let Some(source) = self.sources.iter().position(|it| it.segment.id == segment) {
            self.killed.push((source, places.to_vec()));
            if self.phase == Phase::Done {
                self.phase = Phase::Killed;
            }
        }
    }

    /// Goes on for about so many documents. Answers for how many it did, and whether all is done.
    pub(crate) fn step(&mut self, budget: usize) -> (usize, bool) {
        let budget = budget.saturating_mul(UNITS);
        let mut spent = 0_usize;
        while spent < budget && self.phase != Phase::Done {
            let left = budget - spent;
            let (used, is_over) = match self.phase {
                Phase::Places => self.step_places(left),
                Phase::Ranks => self.step_ranks(left),
                Phase::Strings => self.step_strings(left),
                Phase::OldCodes => self.step_old_codes(left),
                Phase::Uses => self.step_uses(left),
                Phase::Lists => self.step_lists(left),
                Phase::Codes => self.coder.step(left),
                Phase::NewCodes => self.step_new_codes(left),
                Phase::Plain => self.step_plain(left),
                Phase::Documents => self.step_documents(left),
                Phase::Killed => self.step_killed(left),
                Phase::Done => (0, true),
            };
            spent = spent.saturating_add(used);
            if is_over {
                self.sources.iter_mut().for_each(Source::rewind);
                self.at = 0;
                let bytes = self.bytes();
                self.next_phase();
                spent += bytes.saturating_sub(self.bytes()) as usize / FREED;
            }
        }
        (spent / UNITS, self.phase == Phase::Done)
    }

    /// Goes over to the next phase. What no later one needs is dropped, of a large merge some
    /// ten megabytes, most of which are kept to be used again.
    fn next_phase(&mut self) {
        self.phase = match self.phase {
            Phase::Places => Phase::Ranks,
            Phase::Ranks => Phase::Strings,
            Phase::Strings => {
                self.end_text();
                self.coder = Coder::new(self.texts.len() - 1);
                Phase::OldCodes
            }
            Phase::OldCodes => {
                self.sources.iter_mut().for_each(|it| it.strings = Renumbering::new(0));
                Phase::Uses
            }
            Phase::Uses => {
                let bytes: usize = self.sources.iter().map(|it| it.segment.strings.sizes().0).sum();
                let lists = self.room(|it| it.strings.sizes().1);
                let strings = self.coder.strings();
                self.numbers = Array::lent(strings);
                self.writer = StringsWriter::with_capacity(strings, bytes * ROOM, lists);
                self.parts.expect_words(strings);
                Phase::Lists
            }
            Phase::Lists => {
                self.strings = std::mem::take(&mut self.writer).finish();
                (self.texts, self.members, self.text) = Default::default();
                (self.inside, self.outside) = Default::default();
                self.sources.iter_mut().for_each(|it| it.ranks = Renumbering::new(0));
                Phase::Codes
            }
            Phase::Codes => Phase::NewCodes,
            Phase::NewCodes => {
                let bytes = self.room(|it| it.documents.text_bytes());
                let codes = self.coder.by_code().len();
                let len = self.order.len();
                self.documents = DocumentsWriter::new(len, bytes, codes, self.strings.len());
                self.documents.set_frequencies(self.coder.frequencies());
                Phase::Plain
            }
            Phase::Plain => {
                self.numbers = Array::default();
                self.coder = Coder::new(0);
                Phase::Documents
            }
            Phase::Documents => {
                self.order = Array::default();
                self.sources.iter_mut().for_each(|it| it.codes = Array::default());
                let documents = std::mem::take(&mut self.documents).finish();
                let (parts, strings) = (&mut self.parts, &mut self.strings);
                if parts.len() > 0 {
                    let parts = std::mem::take(parts);
                    self.made = Some(parts.finish(0, documents, std::mem::take(strings)));
                }
                Phase::Killed
            }
            Phase::Killed | Phase::Done => Phase::Done,
        };
    }

    /// Bytes of what is written of documents, of which the segments have so many: from how many on large
    /// pages are worth it, and for how many there is room.
    fn room(&self, bytes: impl Fn(&Segment) -> usize) -> Range<usize> {
        let all = self.sources.iter().map(|it| {
            let segment = &it.segment;
            let all = bytes(segment);
            let live = all as u64 * u64::from(segment.live()) / u64::from(segment.len().max(1));
            (all, live as usize)
        });
        let (all, live) = all.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        let least = if self.has_time { live / 16 * 15 } else { 0 };
        least..all * ROOM
    }

    /// Orders the documents that are live by owner and content.
    fn step_places(&mut self, budget: usize) -> (usize, bool) {
        let (sources, order) = (&mut self.sources, &mut self.order);
        let steps = budget.div_ceil(PLACE);
        let (done, is_over) = in_order(sources, steps, Source::look_at_places, |i, source| {
            let next = source.take();
            if order.len() < order.capacity() {
                source.places.set(next.place, order.len() as u32);
                order.push([i as u32, next.place]);
            }
        });
        (done * PLACE, is_over)
    }

    /// Orders them by class and content.
    fn step_ranks(&mut self, budget: usize) -> (usize, bool) {
        let (sources, parts) = (&mut self.sources, &mut self.parts);
        let steps = budget.div_ceil(RANK);
        let (done, is_over) = in_order(sources, steps, Source::look_at_ranks, |_, source| {
            let next = source.take();
            if let Some(place) = source.places.get(next.place) {
                // The class is the first part of the key by which ranks are ordered.
                let class = (next.key >> 64) as Class;
                source.ranks.set(next.rank, parts.push_rank(class, place));
            }
        });
        (done * RANK, is_over)
    }

    /// Looks up the provisional number of each old code. How often each string is used is known of a
    /// segment of which nothing is gone; what is gone must not keep strings.
    fn step_old_codes(&mut self, budget: usize) -> (usize, bool) {
        let mut left = budget.saturating_mul(CODES);
        for source in &mut self.sources {
            let documents = &source.segment.documents;
            let start = source.codes.len();
            let end = documents.codes().min(start.saturating_add(left));
            if start == 0 {
                source.is_whole = source.segment.dead() == 0;
            }
            let frequencies = documents.frequencies();
            let mut at = frequencies.partition_point(|it| it.0 as usize <= start);
            for code in start..end {
                let string = source.strings.get(documents.string(code as u32));
                let string = string.unwrap_or_default();
                source.codes.push(string);
                if source.is_whole
                    && let Some((behind, uses)) = frequencies.get(at)
                {
                    self.coder.count_all(string, *uses);
                    at += usize::from(*behind as usize == code + 1);
                }
            }
            left -= end - start;
            if end < documents.codes() {
                return (budget, false);
            }
        }
        (budget - left / CODES, true)
    }

    /// Looks up the new code for each old one.
    fn step_new_codes(&mut self, budget: usize) -> (usize, bool) {
        let new = self.coder.codes();
        let mut left = budget.saturating_mul(CODES);
        for source in &mut self.sources {
            let start = source.at as usize;
            let end = source.codes.len().min(start.saturating_add(left));
            source.at = end as u32;
            for code in source.codes.iter_mut().take(end).skip(start) {
                *code = new.get(*code as usize).copied().unwrap_or_default();
            }
            left -= end - start;
            if end < source.codes.len() {
                return (budget, false);
            }
        }
        (budget - left / CODES, true)
    }

    /// Counts how often each string is used in documents of segments that are not whole.
    fn step_uses(&mut self, budget: usize) -> (usize, bool) {
        if self.sources.iter().all(|source| source.is_whole) {
            return (0, true);
        }
        let start = self.at;
        let end = self.order.len().min(start + budget.div_ceil(USE));
        self.at = end;
        for [source, place] in &self.order[start..end] {
            let source = &mut self.sources[*source as usize];
            if source.is_whole {
                continue;
            }
            let codes = &*source.codes;
            let documents = &source.segment.documents;
            let strings = codes_of(documents.next_body(*place, &mut source.reading));
            self.coder.count(strings.filter_map(|code| codes.get(code as usize).copied()));
        }
        ((end - start) * USE, end == self.order.len())
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
        let start = self.at;
        let end = self.order.len().min(start + budget.div_ceil(DOCUMENT));
        self.at = end;
        // What comes of one owner comes of one segment, one after the other.
        let mut run = (usize::MAX, OwnerNo::MAX, 0..0);
        for (new, [source, place]) in (start as Place..).zip(&self.order[start..end]) {
            let which = *source as usize;
            let source = &mut self.sources[which];
            let segment = &source.segment;
            let codes = &*source.codes;
            let body = segment.documents.next_body(*place, &mut source.reading);
            self.documents
                .push_body(body, |code| codes.get(code as usize).copied().unwrap_or_default());
            if run.0 != which || !run.2.contains(place) {
                let (owner, end) = segment.run_of(*place);
                run = (which, owner, *place..end);
            }
            if let Some(content) = segment.content(*place) {
                self.parts.push(new, run.1, content.as_bytes(), segment.share(*place));
            }
        }
        ((end - start) * DOCUMENT, end == self.order.len())
    }

    /// Takes out of the new segment what went of the old ones meanwhile.
    fn step_killed(&mut self, budget: usize) -> (usize, bool) {
        let mut done = 0;
        while done < budget
            && let Some((source, places)) = self.killed.pop()
        {
            let (Some(source), Some(made)) = (self.sources.get(source), &self.made) else {
                continue;
            };
            let new = places.iter().filter_map(|place| source.places.get(*place));
            new.for_each(|place| {
                made.kill(place);
            });
            done += places.len();
        }
        (done, self.killed.is_empty())
    }

    /// The new segment, if anything is left; it must be done. The rest is waste.
    pub(crate) fn finish(mut self, id: u64, waste: &mut Waste) -> Option<Segment> {
        let made = self.made.take();
        self.give_up(waste);
        made.filter(|it| it.live() > 0).map(|made| Segment { id, ..made })
    }

    /// Gives up what it has, in pieces.
    pub(crate) fn give_up(self, waste: &mut Waste) {
        if let Some(made) = self.made {
            waste.add_segment(Arc::new(made));
            waste.add(self.sources, 0);
            return;
        }
        self.strings.take_apart(waste);
        self.documents.finish().take_apart(waste);
        let lists = self.writer.bytes() + self.inside.bytes() + self.outside.bytes();
        waste.add((self.writer, self.inside, self.outside, self.long), lists);
        self.parts.take_apart(waste);
        let strings = self.texts.bytes() + self.members.bytes() + self.text.bytes();
        waste.add((self.texts, self.members, self.text), strings);
        let numbers = self.numbers.bytes();
        waste.add(self.numbers, numbers);
        let order = self.order.bytes() + self.coder.bytes();
        waste.add((self.order, self.coder), order);
        let sources = self.sources.iter().map(Source::bytes).sum();
        waste.add(self.sources, sources);
    }

    /// Bytes of memory, without the old segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.sources.iter().map(Source::bytes).sum::<u64>()
            + self.order.bytes()
            + self.members.bytes()
            + self.texts.bytes()
            + self.text.bytes()
            + self.numbers.bytes()
            + self.coder.bytes()
            + self.inside.bytes()
            + self.outside.bytes()
            + self.parts.bytes()
            + self.writer.bytes()
            + self.strings.bytes()
            + self.documents.bytes()
            + self.long.as_ref().map_or(0, LongList::bytes)
            + self.made.as_ref().map_or(0, Segment::bytes)
            + self.killed.iter().map(|(_, it)| memory::vector::<Place>(it.capacity())).sum::<u64>()
    }
}
