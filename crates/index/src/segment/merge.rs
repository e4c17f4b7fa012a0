//! Making one segment of several, in steps that can be as short as one likes.
//!
//! Nothing of the old segments is taken to pieces that need not be: strings are merged in their
//! order, posting lists are renumbered, and what is written of a document is copied with other
//! codes. Documents that are gone are left out; those that go while it runs are noted by whoever
//! removes them ([`Merge::killed`]).

use super::build::{Parts, codes};
use super::documents::{Code, DocumentsWriter, Part, for_each_code};
use super::postings::Cursor;
use super::strings::{ListsAt, Scan, StringNo, StringsWriter};
use super::{Holder, Place, Rank, Segment, prefix};
use crate::class::Class;
use crate::memory;
use crate::register::OwnerNo;
use std::sync::Arc;

/// A document that is not in the new segment.
const GONE: u32 = u32::MAX;

/// One of the segments that are merged.
#[derive(Debug)]
struct Source {
    segment: Arc<Segment>,
    /// The new place of each place, and the new rank of each rank.
    places: Vec<u32>,
    ranks: Vec<u32>,
    /// The provisional number of each string: see [`Merge::texts`].
    strings: Vec<u32>,
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
        self.key = self.segment.content(self.at).map(|content| (owner, prefix(content)));
    }

    fn look_at_rank(&mut self) {
        self.place = self.segment.place(self.at);
        let class = u32::from(self.segment.class(self.at));
        let content = self.segment.content(self.place).filter(|_| self.at < self.segment.len());
        self.key = content.map(|content| (class, prefix(content)));
    }
}

/// A merge on its way.
#[derive(Debug)]
pub(crate) struct Merge {
    sources: Vec<Source>,
    phase: Phase,
    /// Where documents come from, by new place.
    order: Vec<(u8, Place)>,
    /// The old strings of each provisional one: those that are equal have one number, and they are
    /// in order. One is of `texts[i]..texts[i + 1]` in `members`.
    texts: Vec<u32>,
    members: Vec<(u8, StringNo)>,
    uses: Vec<u32>,
    codes: Vec<Code>,
    by_code: Vec<u32>,
    /// The final number of each provisional string.
    numbers: Vec<StringNo>,
    parts: Parts,
    strings: StringsWriter,
    documents: DocumentsWriter,
    killed: Vec<(u8, Place)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Places,
    Ranks,
    Strings,
    Uses,
    Lists,
    Codes,
    Documents,
    Done,
}

impl Merge {
    /// The most segments that one merge takes.
    pub(crate) const MAX_SOURCES: usize = 64;

    /// Begins to merge segments, of which there are at most [`Merge::MAX_SOURCES`].
    pub(crate) fn new(segments: impl IntoIterator<Item = Arc<Segment>>) -> Self {
        let source = |segment: Arc<Segment>| Source {
            places: vec![GONE; segment.len() as usize],
            ranks: vec![GONE; segment.len() as usize],
            strings: vec![GONE; segment.strings.len()],
            segment,
            at: 0,
            key: None,
            place: 0,
        };
        let sources: Vec<Source> = segments.into_iter().map(source).collect();
        let len = sources.iter().map(|it| it.segment.live() as usize).sum();
        Self {
            sources,
            phase: Phase::Places,
            order: Vec::with_capacity(len),
            texts: Vec::new(),
            members: Vec::new(),
            uses: Vec::new(),
            codes: Vec::new(),
            by_code: Vec::new(),
            numbers: Vec::new(),
            parts: Parts::new(len),
            strings: StringsWriter::default(),
            documents: DocumentsWriter::default(),
            killed: Vec::new(),
        }
    }

    pub(crate) fn has(&self, segment: u64) -> bool {
        self.sources.iter().any(|it| it.segment.id == segment)
    }

    /// Notes that a document of one of the segments has gone.
    pub(crate) fn killed(&mut self, segment: u64, place: Place) {
        if let Some(source) = self.sources.iter().position(|it| it.segment.id == segment) {
            self.killed.push((source as u8, place));
        }
    }

    /// Goes on for about so many documents. Answers whether all is done.
    pub(crate) fn step(&mut self, budget: usize) -> bool {
        // Each document is touched by four phases, and its strings by three.
        let mut left = budget * 6;
        while left > 0 && self.phase != Phase::Done {
            let (used, is_over) = match self.phase {
                Phase::Places => self.step_places(left),
                Phase::Ranks => self.step_ranks(left),
                Phase::Strings => self.step_strings(left),
                Phase::Uses => self.step_uses(left),
                Phase::Lists => self.step_lists(left),
                Phase::Codes => self.step_codes(),
                Phase::Documents => self.step_documents(left),
                Phase::Done => (0, true),
            };
            left = left.saturating_sub(used);
            if is_over {
                self.sources.iter_mut().for_each(|it| it.at = 0);
                self.phase = match self.phase {
                    Phase::Places => Phase::Ranks,
                    Phase::Ranks => Phase::Strings,
                    Phase::Strings => Phase::Uses,
                    Phase::Uses => Phase::Lists,
                    Phase::Lists => Phase::Codes,
                    Phase::Codes => Phase::Documents,
                    Phase::Documents | Phase::Done => Phase::Done,
                };
            }
        }
        self.phase == Phase::Done
    }

    /// Orders the documents that are live by owner and content.
    fn step_places(&mut self, budget: usize) -> (usize, bool) {
        self.sources.iter_mut().for_each(Source::look_at_place);
        for done in 0..budget {
            let Some(i) = self.first_source() else { return (done, true) };
            let source = &mut self.sources[i];
            if source.segment.is_live(source.at) && self.order.len() < self.order.capacity() {
                source.places[source.at as usize] = self.order.len() as u32;
                self.order.push((i as u8, source.at));
            }
            source.at += 1;
            source.look_at_place();
        }
        (budget, false)
    }

    /// Orders them by class and content.
    fn step_ranks(&mut self, budget: usize) -> (usize, bool) {
        self.sources.iter_mut().for_each(Source::look_at_rank);
        for done in 0..budget {
            let Some(i) = self.first_source() else { return (done, true) };
            let source = &mut self.sources[i];
            let place = source.places[source.place as usize];
            if place != GONE {
                let rank = self.parts.places.len() as Rank;
                source.ranks[source.at as usize] = rank;
                self.parts.places.push(place);
                // It is the first part of the key by which ranks are ordered.
                self.parts.begin_class(source.key.map_or(0, |(class, _)| class) as Class, rank);
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
                let content = |source: &Source| source.segment.content(source.place).copied();
                let later = |i: usize| self.sources.get(i).and_then(content);
                key < least || (key == least && content(source) < later(other))
            });
            if is_first {
                first = Some((i, key));
            }
        }
        first.map(|(i, _)| i)
    }

    /// Finds equal strings. It cannot be interrupted between two strings at no cost, since a scan
    /// begins at a block: so it takes whole stretches.
    fn step_strings(&mut self, budget: usize) -> (usize, bool) {
        let mut scans: Vec<(Scan<'_>, StringNo, bool)> = self
            .sources
            .iter()
            .map(|it| {
                let mut scan = it.segment.strings.starting_at(it.at);
                let has_more = scan.next().is_some();
                (scan, it.at, has_more)
            })
            .collect();
        let mut done = 0;
        let mut found: Vec<(usize, StringNo)> = Vec::new();
        loop {
            let least = scans.iter().filter(|it| it.2).map(|it| it.0.bytes()).min();
            let Some(least) = least else { break };
            if done >= budget {
                break;
            }
            found.clear();
            let equal = scans.iter().enumerate().filter(|(_, it)| it.2 && it.0.bytes() == least);
            found.extend(equal.map(|(i, it)| (i, it.1)));
            self.texts.push(self.members.len() as u32);
            for (i, number) in &found {
                self.members.push((*i as u8, *number));
                if let Some((scan, at, has_more)) = scans.get_mut(*i) {
                    *at += 1;
                    *has_more = scan.next().is_some();
                }
            }
            done += found.len().max(1);
        }
        let is_over = scans.iter().all(|it| !it.2);
        let ends: Vec<StringNo> = scans.into_iter().map(|it| it.1).collect();
        for (source, at) in self.sources.iter_mut().zip(ends) {
            source.at = at;
        }
        if is_over {
            let count = self.texts.len();
            self.texts.push(self.members.len() as u32);
            for (text, range) in (0_u32..).zip(self.texts.windows(2)) {
                let [start, end] = range else { continue };
                for (source, number) in &self.members[*start as usize..*end as usize] {
                    self.sources[usize::from(*source)].strings[*number as usize] = text;
                }
            }
            self.uses = vec![0; count];
            self.numbers = vec![StringNo::MAX; count];
        }
        (done, is_over)
    }

    /// Counts how often each string is used in documents.
    fn step_uses(&mut self, budget: usize) -> (usize, bool) {
        let Some(first) = self.sources.first_mut() else { return (0, true) };
        let start = first.at as usize;
        let end = self.order.len().min(start + budget);
        first.at = end as u32;
        for (source, place) in &self.order[start..end] {
            let source = &self.sources[usize::from(*source)];
            let documents = &source.segment.documents;
            for_each_code(documents.body(*place), |part| {
                if let Part::Code(code) = part {
                    let string = source.strings[documents.string(code) as usize];
                    self.uses[string as usize] += 1;
                }
            });
        }
        (end - start, end == self.order.len())
    }

    /// Writes the strings with their lists.
    fn step_lists(&mut self, budget: usize) -> (usize, bool) {
        let universe = self.order.len();
        let mut scans: Vec<(Scan<'_>, StringNo)> =
            self.sources.iter().map(|it| (it.segment.strings.starting_at(it.at), it.at)).collect();
        // How many texts are done is what the numbers that are read tell.
        let mut text = self.next_text();
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        let mut done = 0;
        while text < self.uses.len() && done < budget {
            inside.clear();
            outside.clear();
            let members = &self.members[self.texts[text] as usize..self.texts[text + 1] as usize];
            let mut name = 0;
            for (source, _) in members {
                name = usize::from(*source);
                let (scan, at) = &mut scans[name];
                let Some((_, lists)) = scan.next() else { continue };
                *at += 1;
                let source = &self.sources[name];
                renumber(source, lists, &mut inside, &mut outside);
            }
            if members.len() > 1 {
                // Runs that are sorted already, which the stable sort merges.
                inside.sort();
                outside.sort();
            }
            if self.uses[text] > 0 || !inside.is_empty() || !outside.is_empty() {
                self.numbers[text] = self.strings.len() as StringNo;
                self.strings.push(scans[name].0.bytes(), &inside, &outside, universe);
            }
            done += 1 + (inside.len() + outside.len()) / 8;
            text += 1;
        }
        let ends: Vec<StringNo> = scans.into_iter().map(|it| it.1).collect();
        for (source, at) in self.sources.iter_mut().zip(ends) {
            source.at = at;
        }
        (done, text == self.uses.len())
    }

    /// The first text that is not written yet: the least that a source comes to next.
    fn next_text(&self) -> usize {
        let next = self.sources.iter().filter_map(|it| it.strings.get(it.at as usize)).min();
        next.map_or(self.uses.len(), |text| *text as usize)
    }

    /// Gives codes to strings, which is one sort.
    fn step_codes(&mut self) -> (usize, bool) {
        (self.codes, self.by_code) = codes(&self.uses);
        let bytes = self.sources.iter().map(|it| it.segment.documents.text_bytes()).sum();
        self.documents = DocumentsWriter::with_capacity(self.order.len(), bytes);
        (self.uses.len() / 4, true)
    }

    /// Writes the documents.
    fn step_documents(&mut self, budget: usize) -> (usize, bool) {
        let Some(first) = self.sources.first_mut() else { return (0, true) };
        let start = first.at as usize;
        let end = self.order.len().min(start + budget);
        first.at = end as u32;
        for (new, (source, place)) in (start as Place..).zip(&self.order[start..end]) {
            let source = &self.sources[usize::from(*source)];
            let segment = &source.segment;
            self.documents.push_body(segment.documents.body(*place), |code| {
                let string = source.strings[segment.documents.string(code) as usize];
                self.codes[string as usize]
            });
            let holder = segment.holder(*place);
            let owner = match &holder {
                Holder::One(owner) => *owner,
                Holder::Several(_) => OwnerNo::MAX,
            };
            if let Some(content) = segment.content(*place) {
                self.parts.push(new, owner, content, &holder);
            }
        }
        (end - start, end == self.order.len())
    }

    /// The new segment, without the documents that went meanwhile; `None` if none is left. It
    /// must be done.
    pub(crate) fn finish(self, id: u64) -> Option<Segment> {
        if self.order.is_empty() {
            return None;
        }
        let coded: Vec<StringNo> =
            self.by_code.iter().map(|text| self.numbers[*text as usize]).collect();
        let documents = self.documents.finish(&coded, self.strings.len());
        let segment = self.parts.finish(id, documents, self.strings);
        for (source, place) in &self.killed {
            let places = self.sources.get(usize::from(*source)).map(|it| &it.places);
            let new = places.and_then(|places| places.get(*place as usize));
            if let Some(new) = new.filter(|new| **new != GONE) {
                segment.kill(*new);
            }
        }
        (segment.live() > 0).then_some(segment)
    }

    /// Bytes of memory, without the old segments.
    pub(crate) fn bytes(&self) -> u64 {
        let source = |it: &Source| {
            memory::vector::<u32>(it.places.len())
                + memory::vector::<u32>(it.ranks.len())
                + memory::vector::<u32>(it.strings.len())
        };
        self.sources.iter().map(source).sum::<u64>()
            + memory::vector::<(u8, Place)>(self.order.capacity())
            + memory::vector::<(u8, StringNo)>(self.members.capacity())
            + memory::vector::<u32>(self.texts.capacity())
            + memory::vector::<u32>(self.uses.capacity() * 4)
            + self.parts.bytes()
            + self.strings.bytes()
            + self.documents.bytes()
    }
}

/// Adds the new ranks of the documents of two lists.
fn renumber(source: &Source, at: ListsAt, inside: &mut Vec<u32>, outside: &mut Vec<u32>) {
    let (first, second) = source.segment.strings.lists(at);
    let add = |list: Option<Cursor<'_>>, to: &mut Vec<u32>| {
        if let Some(list) = list {
            list.for_each(|rank| {
                let new = source.ranks[rank as usize];
                if new != GONE {
                    to.push(new);
                }
            });
        }
    };
    add(first, inside);
    add(second, outside);
}
