//! Which contents the index may have at all, so that its segments are not asked for what is new.
//!
//! Whoever publishes brings what nobody has, or what he had before; and each of some dozen segments would
//! be asked for it, with a look at memory that is in no cache. While much comes there is a counting Bloom
//! filter of all live documents (Fan, Cao, Almeida and Broder, "Summary cache", 2000), with all counters
//! of a content in one word, so that one look tells of most. What goes is taken out of it, so that an
//! owner who comes back is told at once that nothing is there any more.
//!
//! It cannot grow. When there are as many documents as it was made for, another one is made in steps:
//! what comes and goes meanwhile is counted in both, as far as the new one has counted it. What is counted
//! is known by segment and place: segments that are still to be counted stay until they are.

use crate::array::Array;
use crate::segment::merge::Merge;
use crate::segment::{Place, Segment};
use crate::waste::Waste;
use skein_proto::ContentId;
use std::sync::Arc;

/// Bits of a counter, of which a word has sixteen.
const COUNTER: u32 = 4;

/// A counter that has come so far stays there: how often it was counted further is not known.
const FULL: u64 = (1 << COUNTER) - 1;

/// Documents for each word, if there are as many as the filter was made for: then one answer in
/// fifteen is a wrong yes. With four of them it would be one in six, and building took 2 % longer.
const DOCUMENTS: usize = 2;

/// It is made for so many times as many documents as there are.
const ROOM: usize = 4;

/// The same where there are so many: four times as much would be a fifth of what their segments take.
const MANY_DOCUMENTS: usize = 512 * 1024;
const LESS_ROOM: usize = 2;

/// It is given up when there are so many times fewer than it was made for.
const EMPTY: usize = 32;

/// Fewer segments are asked one by one, and so are those of fewer documents.
const LEAST_SEGMENTS: usize = 8;
const LEAST_DOCUMENTS: usize = 16 * 1024;

/// The first one is made when so many documents have come, since it was calm, that there are at most so
/// many times as many in all: where few come to many, counting those takes longer than all that it spares.
const COME: usize = 2;

/// Documents that are counted with each change, for each that has come or gone, and beside these: most of
/// the time that these take, while another filter is made.
const PACE: usize = 16;
const LEAST_PACE: usize = 1024;

/// Words that are cleared for each document that would be counted: at first each page is one that the
/// system has to give out.
const CLEARED: usize = 4;

/// Documents that take as long to be counted as one takes to be merged.
const COUNTED: u64 = 16;

/// Where a content is counted in any filter.
#[derive(Clone, Copy, Debug)]
struct Spot {
    /// Which word, of 2⁶⁴.
    at: u64,
    /// How far to the left its two counters are.
    shifts: [u32; 2],
}

impl Spot {
    /// A content is a hash. What it is found by in segments, and in their filters, is left out: two that
    /// are alike here are no more so there.
    #[inline]
    fn new(content: &ContentId) -> Self {
        let (chunks, _) = content.as_bytes().as_chunks::<8>();
        let [_, _, bits, at] = chunks else { return Self { at: 0, shifts: [0; 2] } };
        let [.., one] = *bits;
        let shift = |counter: u8| u32::from(counter & 15) * COUNTER;
        Self { at: u64::from_le_bytes(*at), shifts: [shift(one), shift(one >> 4)] }
    }
}

/// The filter.
#[derive(Debug)]
struct Counters {
    words: Array<u64>,
}

impl Counters {
    fn word(&mut self, spot: Spot) -> Option<&mut u64> {
        let words = &mut *self.words;
        words.get_mut(scaled(spot.at, words.len()))
    }

    fn give_back(self, waste: &mut Waste) {
        let bytes = self.words.bytes();
        waste.add_spare(self.words, bytes);
    }

    #[inline]
    fn may_have(&self, spot: Spot) -> bool {
        let word = self.words.get(scaled(spot.at, self.words.len())).copied().unwrap_or_default();
        spot.shifts.iter().all(|shift| word >> shift & FULL != 0)
    }

    #[inline]
    fn add(&mut self, spot: Spot) {
        let Some(word) = self.word(spot) else { return };
        for shift in spot.shifts {
            if *word >> shift & FULL != FULL {
                *word += 1 << shift;
            }
        }
    }

    #[inline]
    fn remove(&mut self, spot: Spot) {
        let Some(word) = self.word(spot) else { return };
        for shift in spot.shifts {
            let count = *word >> shift & FULL;
            debug_assert_ne!(count, 0, "what goes was counted when it came");
            if count != FULL && count != 0 {
                *word -= 1 << shift;
            }
        }
    }
}

#[inline]
const fn scaled(at: u64, words: usize) -> usize {
    ((at as u128 * words as u128) >> 64) as usize
}

/// A filter that is made.
#[derive(Debug)]
struct Making {
    counters: Counters,
    /// Words of it that are cleared.
    cleared: usize,
    /// Segments that are to be counted, once all is cleared. Of the last one some documents are.
    segments: Option<Vec<Arc<Segment>>>,
    /// How many these are.
    counted: Place,
}

impl Making {
    /// Whether a document is counted already, or was when it came.
    fn has(&self, segment: &Segment, place: Place) -> bool {
        let Some(segments) = &self.segments else { return false };
        match segments.iter().rposition(|it| it.id == segment.id) {
            Some(at) => at + 1 == segments.len() && place < self.counted,
            None => true,
        }
    }

    /// Goes on for so many documents. Answers whether all are counted.
    fn step(&mut self, all: &[Arc<Segment>], documents: usize) -> bool {
        let words = &mut *self.counters.words;
        if self.cleared < words.len() {
            let end = words.len().min(self.cleared + documents.saturating_mul(CLEARED));
            words.get_mut(self.cleared..end).unwrap_or_default().fill(0);
            self.cleared = end;
            return false;
        }
        let segments = self.segments.get_or_insert_with(|| all.to_vec());
        let mut left = documents;
        while left > 0
            && let Some(segment) = segments.last()
        {
            let end = segment
                .len()
                .min(self.counted.saturating_add(left.min(Place::MAX as usize) as Place));
            for place in (self.counted..end).filter(|place| segment.is_live(*place)) {
                if let Some(content) = segment.content(place) {
                    self.counters.add(Spot::new(&content));
                }
            }
            left -= (end - self.counted) as usize;
            self.counted = end;
            if end == segment.len() {
                segments.pop();
                self.counted = 0;
            }
        }
        segments.is_empty()
    }
}

/// Which contents the index may have.
#[derive(Debug)]
pub(crate) struct Presence {
    /// There is none when it is calm, nor as long as there is little.
    counters: Option<Counters>,
    making: Option<Making>,
    least_documents: usize,
    least_segments: usize,
    /// Documents that have come since it was given up.
    come: usize,
    /// Documents that are counted for each that has come or gone, and beside these.
    pace: [usize; 2],
    /// Bytes that another filter may take.
    left: u64,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            counters: None,
            making: None,
            least_documents: LEAST_DOCUMENTS,
            least_segments: LEAST_SEGMENTS,
            come: 0,
            pace: [PACE, LEAST_PACE],
            left: u64::MAX,
        }
    }
}

impl Presence {
    /// Begins with so few documents, in any number of segments, and counts few with each change.
    pub(crate) const fn begin_with(&mut self, documents: usize) {
        self.least_documents = documents;
        self.least_segments = 1;
        self.pace = [0, 5];
    }

    /// Whether a document of this content may be there. It is certain that none is where the answer is no.
    #[inline]
    pub(crate) fn may_have(&self, content: &ContentId) -> bool {
        self.counters.as_ref().is_none_or(|it| it.may_have(Spot::new(content)))
    }

    /// As [`Presence::may_have`], of at most 64: a bit for each. It is waited for memory once.
    pub(crate) fn may_have_of<'a>(&self, contents: impl Iterator<Item = &'a ContentId>) -> u64 {
        let Some(counters) = &self.counters else { return u64::MAX };
        (0..u64::BITS).zip(contents).fold(0, |found, (i, content)| {
            found | u64::from(counters.may_have(Spot::new(content))) << i
        })
    }

    /// A document is drafted.
    #[inline]
    pub(crate) fn came(&mut self, content: &ContentId) {
        self.come += 1;
        let spot = Spot::new(content);
        if let Some(counters) = &mut self.counters {
            counters.add(spot);
        }
        if let Some(making) = self.making.as_mut().filter(|it| it.segments.is_some()) {
            making.counters.add(spot);
        }
    }

    /// One that was drafted has gone.
    pub(crate) fn drafted_is_gone(&mut self, content: &ContentId) {
        let spot = Spot::new(content);
        if let Some(counters) = &mut self.counters {
            counters.remove(spot);
        }
        if let Some(making) = self.making.as_mut().filter(|it| it.segments.is_some()) {
            making.counters.remove(spot);
        }
    }

    /// Some of a segment, which were live, have gone.
    pub(crate) fn are_gone(&mut self, segment: &Segment, places: &[Place]) {
        let Self { counters, making, .. } = self;
        if counters.is_none() && making.is_none() {
            return;
        }
        // Their words are touched together before any is changed.
        if let Some(counters) = counters {
            let contents = places.iter().filter_map(|place| segment.content(*place));
            let touched = contents.filter(|it| counters.may_have(Spot::new(it))).count();
            std::hint::black_box(touched);
        }
        for place in places {
            let Some(content) = segment.content(*place) else { continue };
            let spot = Spot::new(&content);
            if let Some(counters) = counters {
                counters.remove(spot);
            }
            if let Some(making) = making.as_mut().filter(|it| it.has(segment, *place)) {
                making.counters.remove(spot);
            }
        }
    }

    /// Whether it tells of anything: else the segments alone do.
    pub(crate) const fn is_on(&self) -> bool {
        self.counters.is_some()
    }

    /// Whether anything that is merged is still to be counted: until then it stays as it is.
    pub(crate) fn holds(&self, merge: &Merge) -> bool {
        let segments = self.making.as_ref().and_then(|it| it.segments.as_ref());
        segments.is_some_and(|segments| segments.iter().any(|it| merge.has(it.id)))
    }

    /// Another filter may take so many bytes.
    pub(crate) const fn allow(&mut self, left: u64) {
        self.left = left;
    }

    /// Goes on along with a change by which so many documents came and went, when nothing is drafted.
    /// Answers what work that was, in documents.
    pub(crate) fn step(
        &mut self,
        all: &[Arc<Segment>],
        documents: usize,
        changed: usize,
        waste: &mut Waste,
    ) -> u64 {
        let capacity = self.counters.as_ref().map(|it| it.words.len() * DOCUMENTS);
        if capacity.is_some_and(|it| documents * EMPTY < it) {
            self.give_up(waste);
            return 0;
        }
        let is_due = match capacity {
            Some(capacity) => documents > capacity,
            None => {
                documents >= self.least_documents
                    && all.len() >= self.least_segments
                    && self.come.saturating_mul(COME) >= documents
            }
        };
        let room = if documents < MANY_DOCUMENTS { ROOM } else { LESS_ROOM };
        let words = documents.saturating_mul(room).div_ceil(DOCUMENTS).max(1);
        let has_room = words.saturating_mul(size_of::<u64>()) as u64 <= self.left;
        if self.making.is_none() && is_due && has_room {
            let counters = Counters { words: Array::lent_zeroed(words) };
            self.making = Some(Making { counters, cleared: 0, segments: None, counted: 0 });
        }
        let Some(making) = &mut self.making else { return 0 };
        let [for_each, beside] = self.pace;
        let pace = changed.saturating_mul(for_each).saturating_add(beside);
        if making.step(all, pace) {
            let made = self.making.take().map(|it| it.counters);
            let before = std::mem::replace(&mut self.counters, made);
            before.into_iter().for_each(|it| it.give_back(waste));
        }
        pace as u64 / COUNTED
    }

    /// Gives up the filter, when it is calm or memory is short.
    pub(crate) fn give_up(&mut self, waste: &mut Waste) {
        self.come = 0;
        let making = self.making.take().map(|it| it.counters);
        self.counters.take().into_iter().chain(making).for_each(|it| it.give_back(waste));
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        let of = |it: &Counters| it.words.bytes();
        self.counters.as_ref().map_or(0, of) + self.making.as_ref().map_or(0, |it| of(&it.counters))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::testing::file_at;
    use crate::{Index, Limits};
    use proptest::prelude::*;
    use skein_proto::{NodeId, Username};

    fn content(number: u32) -> ContentId {
        file_at(number, "any").content
    }

    /// What the filter of an index should be, if no counter is full.
    fn counted_anew(index: &Index, words: usize) -> Counters {
        let mut counters = Counters { words: Array::lent_zeroed(words) };
        for segment in &index.store.segments {
            let live = (0..segment.len()).filter(|place| segment.is_live(*place));
            let contents = live.filter_map(|place| segment.content(place));
            contents.for_each(|content| counters.add(Spot::new(&content)));
        }
        counters
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// An owner publishes some of thirty contents, each under one name or another one.
        Publish(u8, Vec<(u32, bool)>),
        Withdraw(u8, Vec<u32>),
        Remove(u8),
        /// A merge is taken, or goes on by so much and comes back.
        Upkeep(usize),
        /// Nothing comes, and nothing goes.
        Nothing,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let contents = proptest::collection::vec(0_u32..30, 1..12);
        let named = proptest::collection::vec((0_u32..30, any::<bool>()), 1..12);
        prop_oneof![
            6 => (0_u8..4, named).prop_map(|(a, b)| Step::Publish(a, b)),
            3 => (0_u8..4, contents).prop_map(|(a, b)| Step::Withdraw(a, b)),
            1 => (0_u8..4).prop_map(Step::Remove),
            2 => (1_usize..20).prop_map(Step::Upkeep),
            2 => Just(Step::Nothing),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn each_live_document_is_counted_once_whatever_has_come_and_gone(
            steps in proptest::collection::vec(any_step(), 1..80),
            pieces in prop_oneof![Just((1, 0)), Just((3, 1)), Just((1_000, 100))],
        ) {
            let mut index = Index::new(Limits::default())
                .leaving_in_pieces_of(pieces.0, pieces.1)
                .counting_contents_from(1);
            let owner = |number: u8| NodeId::from_bytes([number + 1; 32]);
            let name = Username::parse("alice").expect("a name");
            let mut away = None;
            for step in steps {
                match step {
                    Step::Publish(number, contents) => {
                        let path = |is_other| if is_other { "another name" } else { "some name" };
                        let files = contents.into_iter().map(|(it, other)| file_at(it, path(other)));
                        index.set_owner(owner(number), &name);
                        index.publish(&owner(number), files);
                    }
                    Step::Withdraw(number, contents) => {
                        let contents: Vec<ContentId> = contents.into_iter().map(content).collect();
                        index.withdraw(&owner(number), &contents);
                    }
                    Step::Remove(number) => drop(index.remove_owner(&owner(number))),
                    Step::Upkeep(documents) => match away.take() {
                        None => {
                            let kept = std::mem::take(&mut index.store.presence);
                            // To take one means that it is calm; here the filter goes on.
                            away = index.store.take_upkeep();
                            index.store.presence = kept;
                        }
                        Some(mut upkeep) => {
                            upkeep.run(documents);
                            index.give_back(upkeep);
                        }
                    },
                    Step::Nothing => drop(index.withdraw(&owner(0), &[])),
                }
                let presence = &index.store.presence;
                if let Some(counters) = &presence.counters {
                    let expected = counted_anew(&index, counters.words.len());
                    let is_full = |it: &Counters| {
                        it.words.iter().any(|word| {
                            (0..u64::BITS).step_by(4).any(|shift| word >> shift & FULL == FULL)
                        })
                    };
                    let is_right = is_full(counters) || *counters.words == *expected.words;
                    prop_assert!(is_right, "{:x?} and not {:x?}", &*counters.words, &*expected.words);
                }
            }
        }
    }

    #[test]
    fn what_is_there_is_never_denied_and_most_of_the_rest_is() {
        const COUNT: u32 = 4_000;
        let spot = |number: u32| Spot::new(&content(number));
        let words = Array::lent_zeroed(COUNT as usize / DOCUMENTS);
        let mut counters = Counters { words };
        (0..COUNT).for_each(|number| counters.add(spot(number)));
        assert!((0..COUNT).all(|number| counters.may_have(spot(number))));
        let wrong = |counters: &Counters| {
            (COUNT..COUNT * 11).filter(|number| counters.may_have(spot(*number))).count()
        };
        // One in fifteen, of ten times as many as there are.
        assert!(wrong(&counters) < COUNT as usize * 3 / 4, "{} wrong", wrong(&counters));
        // What goes is denied afterwards, as is what comes and goes more often than a counter counts.
        (0..COUNT).step_by(2).for_each(|number| counters.remove(spot(number)));
        assert!((0..COUNT).skip(1).step_by(2).all(|number| counters.may_have(spot(number))));
        let still = (0..COUNT).step_by(2).filter(|number| counters.may_have(spot(*number))).count();
        assert!(still < COUNT as usize / 40, "{still} of those that went");
        for _ in 0..2 * FULL {
            counters.add(spot(1));
        }
        for _ in 0..2 * FULL {
            counters.remove(spot(1));
        }
        assert!(counters.may_have(spot(1)), "a full counter stays full");
    }

    #[test]
    fn it_has_room_for_four_times_as_many_or_for_twice_as_many_of_many() {
        for (documents, room) in [(500_000, 4), (600_000, 2)] {
            let come = documents / 2;
            let mut presence = Presence { least_segments: 0, come, ..Presence::default() };
            presence.step(&[], documents, 0, &mut Waste::default());
            let words = presence.making.expect("it is due").counters.words.len();
            assert_eq!(words * DOCUMENTS, documents * room);
        }
    }

    #[test]
    fn it_is_made_when_as_much_has_come_since_it_was_calm_as_was_there_before() {
        let mut presence = Presence { least_segments: 0, ..Presence::default() };
        let mut waste = Waste::default();
        let mut is_made_after = |came: u32| {
            (0..came).for_each(|number| presence.came(&content(number)));
            presence.step(&[], 40_000, 0, &mut waste);
            let is_made = presence.making.is_some();
            if is_made {
                presence.give_up(&mut waste);
            }
            is_made
        };
        let made = [1, 19_998, 1, 19_999, 1].map(&mut is_made_after);
        assert_eq!(made, [false, false, true, false, true]);
    }
}
