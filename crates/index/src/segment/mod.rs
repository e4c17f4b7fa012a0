//! A segment: documents that came together, with their words, as they stay until they are merged
//! with others. Nothing in it changes but which documents are still there.
//!
//! Documents have two numbers. Their *place* orders them by owner and content: what an owner has
//! stands together, so that nothing else need be kept of who owns what. Their *rank* orders them by
//! class and content, the best first; posting lists are made of ranks.

mod body;
mod build;
mod codes;
pub(crate) mod documents;
pub(crate) mod draft;
mod filter;
pub(crate) mod merge;
mod pieces;
pub(crate) mod postings;
mod renumber;
pub(crate) mod room;
mod source;
pub(crate) mod strings;

use crate::array::Array;
use crate::class::{Class, class};
use crate::code::{LiveBits, Packed};
use crate::memory;
use crate::register::OwnerNo;
use crate::sources::Share;
use crate::waste::Waste;
use documents::Documents;
use filter::MOST_BITS;
pub(crate) use filter::{Filter, Probe};
use room::Room;
use skein_proto::{ContentId, FileMeta, MediaTags};
use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use strings::Strings;

/// A document by owner and content.
pub(crate) type Place = u32;

/// A document by class and content.
pub(crate) type Rank = u32;

/// Who offers a document.
#[derive(Clone, Debug)]
pub(crate) enum Holder {
    One(OwnerNo),
    Several(Arc<Share>),
}

impl Holder {
    pub(crate) fn is_of(&self, owner: OwnerNo) -> bool {
        match self {
            Self::One(other) => *other == owner,
            Self::Several(share) => share.owners().contains(owner),
        }
    }
}

/// Documents and their words.
#[derive(Debug)]
pub(crate) struct Segment {
    /// No two segments of an index ever have the same.
    pub(crate) id: u64,
    /// By place.
    contents: Array<[u8; 32]>,
    pub(crate) documents: Documents,
    pub(crate) strings: Strings,
    /// The place of each rank.
    places: Packed,
    /// Where the ranks of each class that there is begin.
    classes: Box<[(Class, Rank)]>,
    /// Where the places of each owner begin, in ascending order of both.
    owners: Box<[(OwnerNo, Place)]>,
    /// The holders of the last places, which belong to no single owner.
    shares: Box<[Arc<Share>]>,
    filter: Filter,
    /// Says nothing in a large segment.
    words: Filter,
    live: LiveBits,
    dead: AtomicU32,
}

impl Segment {
    /// All documents, those that are gone included.
    pub(crate) const fn len(&self) -> u32 {
        self.live.len() as u32
    }

    /// Documents that are gone.
    pub(crate) fn dead(&self) -> u32 {
        self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn live(&self) -> u32 {
        self.len() - self.dead()
    }

    /// Which documents are still there.
    pub(crate) const fn live_bits(&self) -> &LiveBits {
        &self.live
    }

    #[inline]
    pub(crate) fn is_live(&self, place: Place) -> bool {
        self.live.get(place)
    }

    /// Takes a document away. Answers whether it was still there.
    pub(crate) fn kill(&self, place: Place) -> bool {
        let was_live = self.live.clear(place);
        self.dead.fetch_add(u32::from(was_live), Ordering::Relaxed);
        was_live
    }

    #[inline]
    pub(crate) fn place(&self, rank: Rank) -> Place {
        self.places.get(rank as usize)
    }

    #[inline]
    pub(crate) fn content(&self, place: Place) -> Option<ContentId> {
        self.contents.get(place as usize).map(|bytes| ContentId::from_bytes(*bytes))
    }

    /// The places of several ranks.
    #[inline]
    pub(crate) fn places(&self, ranks: &[Rank], places: &mut [Place]) {
        for (place, rank) in places.iter_mut().zip(ranks) {
            *place = self.place(*rank);
        }
    }

    /// Reads something of some contents and says nothing of it, so that they are at hand soon.
    #[inline]
    pub(crate) fn touch(&self, places: &[Place]) {
        let contents = &*self.contents;
        let first = |place: &Place| contents.get(*place as usize).map_or(0, |[first, ..]| *first);
        std::hint::black_box(places.iter().fold(0, |sum, place| sum ^ first(place)));
    }

    pub(crate) fn file(&self, place: Place) -> Option<FileMeta> {
        self.file_in(place, &mut Room::new())
    }

    /// As [`Segment::file`], for whoever reads several.
    pub(crate) fn file_in(&self, place: Place, room: &mut Room) -> Option<FileMeta> {
        let content = self.content(place)?;
        let it = self.documents.description(place, &self.strings, room)?;
        Some(FileMeta { content, size: it.size, kind: it.kind, path: it.path, tags: it.tags })
    }

    /// What the words of a document are made of: its path, which is put together in `room`, and its
    /// tags.
    pub(crate) fn texts_in<'r>(
        &self,
        place: Place,
        room: &'r mut Room,
    ) -> Option<(&'r str, Option<Box<MediaTags>>)> {
        self.documents.texts(place, &self.strings, room)
    }

    /// The class of a document, and where the ranks of that class end.
    pub(crate) fn class_run(&self, rank: Rank) -> (Class, Rank) {
        let behind = self.classes.partition_point(|(_, start)| *start <= rank);
        let end = self.classes.get(behind).map_or(self.len(), |(_, start)| *start);
        (self.classes.get(behind.wrapping_sub(1)).map_or(0, |(class, _)| *class), end)
    }

    /// The ranks of a class.
    pub(crate) fn ranks_of(&self, class: Class) -> Range<Rank> {
        let at = self.classes.partition_point(|(it, _)| *it < class);
        let start = |at: usize| self.classes.get(at).map_or(self.len(), |(_, start)| *start);
        match self.classes.get(at) {
            Some((it, first)) if *it == class => *first..start(at + 1),
            _ => start(at)..start(at),
        }
    }

    pub(crate) fn classes(&self) -> impl Iterator<Item = Class> {
        self.classes.iter().map(|(class, _)| *class)
    }

    /// The first rank that is of no class up to this one.
    pub(crate) fn end_of(&self, class: Class) -> Rank {
        self.ranks_of(class).end
    }

    /// The places of what one owner alone offers.
    pub(crate) fn places_of(&self, owner: OwnerNo) -> Range<Place> {
        let at = self.owners.partition_point(|(it, _)| *it < owner);
        let start = |at: usize| self.owners.get(at).map_or(self.shared(), |(_, start)| *start);
        match self.owners.get(at) {
            Some((it, first)) if *it == owner => *first..start(at + 1),
            _ => 0..0,
        }
    }

    /// Those of them that are still there.
    pub(crate) fn live_places_of(&self, owner: OwnerNo) -> impl Iterator<Item = Place> {
        let Range { start, end } = self.places_of(owner);
        let next = move |from| self.live.next(from).filter(|place| *place < end);
        std::iter::successors(next(start), move |place| next(place + 1))
    }

    /// The places of what several owners offer.
    pub(crate) fn shared_places(&self) -> Range<Place> {
        self.shared()..self.len()
    }

    fn shared(&self) -> Place {
        self.len() - self.shares.len() as Place
    }

    pub(crate) fn share(&self, place: Place) -> Option<&Arc<Share>> {
        self.shares.get(place.checked_sub(self.shared())? as usize)
    }

    /// Who offers a document.
    pub(crate) fn holder(&self, place: Place) -> Holder {
        if let Some(share) = self.share(place) {
            return Holder::Several(share.clone());
        }
        Holder::One(self.owner(place))
    }

    /// The only owner of a document that has one.
    pub(crate) fn owner(&self, place: Place) -> OwnerNo {
        let behind = self.owners.partition_point(|(_, start)| *start <= place);
        self.owners.get(behind.wrapping_sub(1)).map_or(OwnerNo::MAX, |(owner, _)| *owner)
    }

    /// The owner of a document, and where what comes of the same one ends. What is shared has
    /// `OwnerNo::MAX`, which no owner is.
    pub(crate) fn run_of(&self, place: Place) -> (OwnerNo, Place) {
        if place >= self.shared() {
            return (OwnerNo::MAX, self.len());
        }
        let behind = self.owners.partition_point(|(_, start)| *start <= place);
        let end = self.owners.get(behind).map_or(self.shared(), |(_, start)| *start);
        let owner = self.owners.get(behind.wrapping_sub(1));
        (owner.map_or(OwnerNo::MAX, |(owner, _)| *owner), end)
    }

    /// Whether any of these owners, who are in ascending order, offers a document.
    pub(crate) fn is_of(&self, place: Place, owners: &[OwnerNo]) -> bool {
        match self.share(place) {
            None => owners.binary_search(&self.owner(place)).is_ok(),
            Some(share) => {
                let all = share.owners();
                if all.len() < owners.len() {
                    return all.iter().any(|owner| owners.binary_search(&owner).is_ok());
                }
                owners.iter().any(|owner| all.contains(*owner))
            }
        }
    }

    /// The class of a document as it was read.
    pub(crate) fn class_of(&self, place: Place, file: &FileMeta) -> Class {
        let sources = self.share(place).map_or(1, |share| share.owners().len());
        class(file.path.file_name().chars().count(), sources)
    }

    /// Whether a document of this content may be here: how often a yes is wrong, [`filter`] says.
    pub(crate) fn may_have(&self, content: &ContentId) -> bool {
        self.admits(Probe::new(content.as_bytes()))
    }

    /// As [`Segment::may_have`], for who asks several segments.
    #[inline]
    pub(crate) fn admits(&self, probe: Probe) -> bool {
        self.filter.may_have(probe)
    }

    /// As [`Segment::admits`], of at most 64 contents: a bit for each.
    pub(crate) fn admits_of(&self, probes: &[Probe]) -> u64 {
        self.filter.may_have_of(probes)
    }

    /// A filter of the contents that are still there.
    pub(crate) fn filter_of_live(&self) -> Filter {
        let mut filter = Filter::new(self.live() as usize, MOST_BITS);
        for (place, content) in (0..).zip(self.contents.iter()) {
            if self.is_live(place) {
                filter.add(Probe::new(content));
            }
        }
        filter
    }

    /// Whether a document with this word may be here.
    #[inline]
    pub(crate) fn may_have_word(&self, probe: Probe) -> bool {
        self.words.is_empty() || self.words.may_have(probe)
    }

    /// The documents of a content that are still there, among places that belong together.
    pub(crate) fn find_places<'a>(
        &'a self,
        range: Range<Place>,
        content: &'a ContentId,
    ) -> impl Iterator<Item = Place> + use<'a> {
        let contents = &*self.contents;
        let found = find(range, content, |place| contents.get(place as usize));
        found.filter(|place| self.is_live(*place))
    }

    /// The documents of a content that are still there, of one class.
    pub(crate) fn find_ranks<'a>(
        &'a self,
        class: Class,
        content: &'a ContentId,
    ) -> impl Iterator<Item = Rank> + use<'a> {
        let contents = &*self.contents;
        let content_of = |rank: Rank| contents.get(self.place(rank) as usize);
        let found = find(self.ranks_of(class), content, content_of);
        found.filter(|rank| self.is_live(self.place(*rank)))
    }

    /// Whether any live document is of this content: all are looked at.
    pub(crate) fn has_live(&self, content: &ContentId) -> bool {
        let all = (0..).zip(self.contents.iter());
        all.into_iter().any(|(place, it)| it == content.as_bytes() && self.is_live(place))
    }

    /// Gives up all that it has, in pieces.
    pub(crate) fn take_apart(self, waste: &mut Waste) {
        let Self { contents, documents, strings, places, owners, filter, words, live, .. } = self;
        let bytes = contents.bytes();
        waste.add(contents, bytes);
        documents.take_apart(waste);
        strings.take_apart(waste);
        let bytes = places.bytes() + filter.bytes() + words.bytes() + live.bytes();
        waste.add((places, filter, words, live, owners), bytes);
        waste.add_shares(self.shares.into_vec());
    }

    /// Bytes of memory, without the shares, which go from segment to segment.
    pub(crate) fn bytes(&self) -> u64 {
        memory::allocation(size_of::<Self>() + 16)
            + self.contents.bytes()
            + self.documents.bytes()
            + self.strings.bytes()
            + self.places.bytes()
            + memory::vector::<(Class, Rank)>(self.classes.len())
            + memory::vector::<(OwnerNo, Place)>(self.owners.len())
            + memory::vector::<Arc<Share>>(self.shares.len())
            + self.filter.bytes()
            + self.words.bytes()
            + self.live.bytes()
    }
}

/// The numbers of a content among those of a range, which are in the order of their contents.
///
/// Contents are hashes, so that their bytes tell about where they are: a few guesses come first, each
/// as far from the one before as there are numbers for what is between them, then halves, which liars
/// who make up their contents cannot slow down. Whole contents are only compared where their first
/// bytes are alike.
fn find<'a, At: Fn(u32) -> Option<&'a [u8; 32]>>(
    range: Range<u32>,
    content: &'a ContentId,
    at: At,
) -> impl Iterator<Item = u32> + use<'a, At> {
    const GUESSES: u32 = 3;
    let key = prefix(content);
    // How many numbers there are for a part of all contents.
    let count = u128::from(range.end.saturating_sub(range.start));
    let numbers = |part: u64| ((u128::from(part) * count) >> u64::BITS) as u32;
    let (mut low, mut high) = (range.start, range.end);
    let mut middle = low.saturating_add(numbers(key));
    let mut guesses = 0;
    // After the guesses it is near the end that moved last, and sought there by doubling steps.
    let (mut stride, mut from_low) = (1, true);
    while low < high {
        if guesses >= GUESSES {
            let share = if high - low > stride * 2 {
                let share = if from_low { stride } else { high - low - stride };
                stride *= 2;
                share
            } else {
                (high - low) / 2
            };
            middle = low + share;
        }
        guesses += 1;
        middle = middle.clamp(low, high - 1);
        let Some(bytes) = at(middle) else { break };
        let found = first_bytes(bytes);
        from_low = found < key || (found == key && bytes < content.as_bytes());
        let seen = middle;
        if from_low {
            low = seen + 1;
            middle = low.saturating_add(numbers(key - found));
        } else {
            high = seen;
            middle = high.saturating_sub(numbers(found - key) + 1);
        }
    }
    (low..range.end).take_while(move |number| at(*number) == Some(content.as_bytes()))
}

/// The first bytes of a content as a number that sorts as contents do.
pub(crate) fn prefix(content: &ContentId) -> u64 {
    first_bytes(content.as_bytes())
}

#[inline]
fn first_bytes(content: &[u8; 32]) -> u64 {
    content.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_content_is_found_wherever_it_stands(
            mut firsts in proptest::collection::vec(any::<u8>(), 0..300),
            sought in any::<u8>(),
            narrow in any::<bool>(),
        ) {
            firsts.sort_unstable();
            let contents: Vec<ContentId> = firsts
                .iter()
                .map(|first| {
                    let mut bytes = [0; 32];
                    bytes[if narrow { 20 } else { 0 }] = *first;
                    ContentId::from_bytes(bytes)
                })
                .collect();
            let mut bytes = [0; 32];
            bytes[if narrow { 20 } else { 0 }] = sought;
            let sought = ContentId::from_bytes(bytes);
            let found = find(0..contents.len() as u32, &sought, |at| {
                contents.get(at as usize).map(ContentId::as_bytes)
            });
            let expected = (0..contents.len() as u32).filter(|at| contents[*at as usize] == sought);
            prop_assert!(found.eq(expected));
        }
    }
}
