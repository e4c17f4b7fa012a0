//! How drafted documents become a segment.

use super::codes::Coder;
use super::documents::{Documents, DocumentsWriter};
use super::draft::{Columns, Draft, SHARED};
use super::filter::{BITS, Filter, MORE_BITS, MOST_BITS, Probe};
use super::postings::Numbers;
use super::strings::{StringNo, Strings, StringsWriter};
use super::{Place, Rank, Segment};
use crate::array::Array;
use crate::class::Class;
use crate::code::{LiveBits, PackedWriter};
use crate::interner::head;
use crate::register::OwnerNo;
use crate::sources::Share;
use crate::spread::{Sorter, settle};
use crate::waste::Waste;
use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Strings that are written at a time: so many looks at memory wait for it together.
const AT_A_TIME: usize = 16;

/// A number in the lower half, and above it the first part of what orders it. As one number both are
/// sorted without a question.
type Key = u128;

fn key(high: u32, low: u64, number: u32) -> Key {
    Key::from(high) << 96 | Key::from(low) << 32 | Key::from(number)
}

/// Numbers with their keys, of which there are at most so many.
fn listed(most: usize, keys: impl Iterator<Item = Key>) -> Array<Key> {
    let mut listed = Array::lent_zeroed(most);
    let slots = &mut *listed;
    let len = slots.iter_mut().zip(keys).map(|(slot, key)| *slot = key).count();
    listed.truncate(len);
    listed
}

/// What a key has above the number and the first bytes.
const fn high(key: &Key) -> u32 {
    (*key >> 96) as u32
}

/// What stands in the middle: the first bytes.
const fn middle(key: &Key) -> u64 {
    (*key >> 32) as u64
}

/// Sorts strings by their first bytes, of which the first six, a few bits at a time from the last ones on,
/// leave little to be done: unless many begin alike, no string is compared with another one that it does
/// not stand beside.
fn sort_by_head(keys: &mut Array<Key>) {
    /// With fewer the counts would take longer.
    const MANY: usize = 2048;
    if keys.len() < MANY {
        keys.sort_unstable();
        return;
    }
    by_first_bytes(keys);
    settle(keys, |key| *key);
}

/// Bits of a key for its string's first bytes, by which strings are brought into order.
const FIRST: u32 = 48;

/// Brings keys into the order of those bits.
fn by_first_bytes(keys: &mut Array<Key>) {
    const BITS: u32 = 12;
    let mut sorted = Array::lent_zeroed(keys.len());
    for pass in 0..FIRST / BITS {
        let digit = |key: &Key| (key >> (96 - FIRST + pass * BITS)) as usize & ((1 << BITS) - 1);
        let mut starts = [0_u32; 1 << BITS];
        let (from, to) = (&**keys, &mut *sorted);
        for key in from {
            starts[digit(key)] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += std::mem::replace(start, sum);
        }
        for key in from {
            let next = &mut starts[digit(key)];
            to[*next as usize] = *key;
            *next += 1;
        }
        std::mem::swap(keys, &mut sorted);
    }
}

/// Brings those whose keys are equal into order.
fn in_order_of(sorted: &mut [Key], compare: impl Fn(u32, u32) -> Ordering) {
    for equal in sorted.chunk_by_mut(|a, b| a >> 32 == b >> 32).filter(|it| it.len() > 1) {
        equal.sort_unstable_by(|a, b| compare(*a as u32, *b as u32).then(a.cmp(b)));
    }
}

impl Draft {
    /// The segment of all that are live; `None` if none is.
    pub(crate) fn build(&self, id: u64) -> Option<Segment> {
        self.columns().build(id)
    }
}

impl Columns<'_> {
    fn build(self, id: u64) -> Option<Segment> {
        let order = self.by_place();
        let order = &*order;
        let len = order.len();
        if len == 0 {
            return None;
        }
        let ranked = self.by_rank(order);
        let ranked = &*ranked;
        let drafted = |key: &Key| order.get(*key as Place as usize).map_or(0, |key| *key as u32);

        let lists = Lists::new(self, len, ranked.iter().map(|key| drafted(key) as usize));
        let mut coder = Coder::new(self.strings.len());
        self.each_live_texts(len, |texts| coder.count(texts.iter().copied()));
        while !coder.step(usize::MAX).1 {}
        let mut parts = Parts::new(len, false, false);
        let (dictionary, numbers) = self.dictionary(&lists, coder.uses(), &mut parts);
        drop(lists);

        let (bytes, codes) = (self.texts() * 2 + len * 7, coder.by_code().len());
        let mut documents = DocumentsWriter::new(len, 0..bytes, codes, dictionary.len());
        documents.set_frequencies(coder.frequencies());
        let numbers = &*numbers;
        for string in coder.by_code() {
            documents.push_code(numbers[*string as usize], &dictionary);
        }
        let code_of = coder.codes();
        for (place, key) in (0..).zip(order) {
            let at = *key as u32 as usize;
            let (note, size) = (self.note(at), self.sizes[at]);
            let codes = self.texts_of(at).iter().map(|string| code_of[*string as usize]);
            documents.push((note.kind(), size, self.tags(at)), codes);
            let share = if note.owner == SHARED { self.share(at) } else { None };
            parts.push(place, note.owner, &self.contents[at], share);
        }
        for key in ranked {
            parts.push_rank((key >> 96) as Class, *key as Place);
        }
        Some(parts.finish(id, documents.finish(), dictionary))
    }

    /// The live documents, an owner's together, in the order of their contents.
    fn by_place(self) -> Array<Key> {
        let live = (0..self.len()).filter(|at| self.note(*at).is_live());
        let key = |at: usize| key(self.note(at).owner, self.prefix(at), at as u32);
        let content = |number: u32| self.contents.get(number as usize);
        let mut order = listed(self.len(), live.map(key));
        // Mostly owners come one after the other.
        if !order.is_sorted_by_key(high) {
            order.sort_unstable_by_key(|key| (high(key), *key as u32));
        }
        let mut sorter = Sorter::new(order.len());
        for same in order.chunk_by_mut(|a, b| high(a) == high(b)) {
            sorter.sort(same, |key| *key, middle);
        }
        in_order_of(&mut order, |a, b| content(a).cmp(&content(b)));
        order
    }

    /// Their places by class and content.
    fn by_rank(self, order: &[Key]) -> Array<Key> {
        let key = |(place, document): (u32, &Key)| {
            let at = *document as u32 as usize;
            key(u32::from(self.class(at)), self.prefix(at), place)
        };
        let content = |place: u32| {
            let document = order.get(place as usize).map(|key| *key as u32 as usize);
            document.and_then(|at| self.contents.get(at))
        };
        // By class at first, without a comparison. Of one owner they are in the order of their
        // contents already.
        let class = |key: &Key| (key >> 96) as Class;
        let keys = listed(order.len(), (0..).zip(order).map(key));
        let mut starts = [0_u32; Class::MAX as usize + 2];
        for key in keys.iter() {
            starts[usize::from(class(key)) + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut ranked = Array::lent_zeroed(keys.len());
        let slots = &mut *ranked;
        for key in keys.iter() {
            let next = &mut starts[usize::from(class(key))];
            slots[*next as usize] = *key;
            *next += 1;
        }
        let mut sorter = Sorter::new(ranked.len());
        for same in ranked.chunk_by_mut(|a, b| class(a) == class(b)) {
            sorter.sort(same, |key| *key, middle);
        }
        in_order_of(&mut ranked, |a, b| content(a).cmp(&content(b)));
        ranked
    }

    /// The first bytes of a content as a number that sorts as contents do.
    fn prefix(self, number: usize) -> u64 {
        self.contents.get(number).map_or(0, |content| head(content))
    }

    /// The strings that are used, in their order, and the number that each one has then.
    fn dictionary(
        self,
        lists: &Lists,
        uses: &[u32],
        parts: &mut Parts,
    ) -> (Strings, Array<StringNo>) {
        let (strings, len) = (self.strings, parts.capacity());
        parts.expect_words(strings.len());
        let key = |string: u32| key(0, strings.head(string), string);
        let mut order = listed(strings.len(), (0..strings.len() as u32).map(key));
        sort_by_head(&mut order);
        in_order_of(&mut order, |a, b| strings.text(a).cmp(strings.text(b)));
        let lists = lists.view();
        // The usual bytes of a string and of a posting.
        let (bytes, list_bytes) = (strings.len() * 10, lists.ranks.len() * 3 / 2);
        let mut writer = StringsWriter::with_capacity(strings.len(), bytes, 0..list_bytes);
        let mut numbers = Array::lent_zeroed(strings.len());
        let slots = &mut *numbers;
        for some in order.chunks(AT_A_TIME) {
            // What is needed of some of them comes at the same time.
            let touched = some.iter().map(|key| *key as u32).fold(0, |touched, string| {
                let first = lists.of(string).0.first().copied().unwrap_or_default();
                touched ^ strings.touch(string) ^ u64::from(uses[string as usize] ^ first)
            });
            std::hint::black_box(touched);
            for string in some.iter().map(|key| *key as u32) {
                let (inside, outside) = lists.of(string);
                if uses[string as usize] > 0 || !inside.is_empty() || !outside.is_empty() {
                    slots[string as usize] = writer.len() as StringNo;
                    let mut room = [0; 8];
                    let text = strings.text_in(string, &mut room);
                    writer.push(text, [inside, outside].map(Numbers::Listed), len);
                    parts.add_word(strings.hash(string));
                }
            }
        }
        (writer.finish(), numbers)
    }
}

/// Posting lists by counting: those of each string one behind the other, inside the name and then
/// outside.
struct Lists {
    /// Where each list ends.
    ends: Array<u32>,
    ranks: Array<u32>,
}

impl Lists {
    /// Of documents by rank, so many.
    fn new(draft: Columns<'_>, len: usize, documents: impl Iterator<Item = usize>) -> Self {
        // One slot more in front, so that each end is moved from where its list begins.
        let mut ends = Array::<u32>::lent_zeroed(draft.strings.len() * 2 + 1);
        let slots = &mut *ends;
        draft.each_live_words(len, |words| {
            for word in words {
                slots[*word as usize + 1] += 1;
            }
        });
        let mut sum = 0;
        for slot in slots.iter_mut() {
            sum += *slot;
            *slot = sum;
        }
        let mut ranks = Array::lent_zeroed(sum as usize);
        let all = &mut *ranks;
        for (rank, document) in (0..).zip(documents) {
            for word in draft.words_of(document) {
                let end = &mut slots[*word as usize];
                all[*end as usize] = rank;
                *end += 1;
            }
        }
        Self { ends, ranks }
    }

    fn view(&self) -> ListsView<'_> {
        ListsView { ends: &self.ends, ranks: &self.ranks }
    }
}

/// See [`Lists`].
#[derive(Clone, Copy)]
struct ListsView<'a> {
    ends: &'a [u32],
    ranks: &'a [u32],
}

impl<'a> ListsView<'a> {
    fn of(self, string: u32) -> (&'a [u32], &'a [u32]) {
        let inside = string as usize * 2;
        let start = self.ends.get(inside.wrapping_sub(1)).copied().unwrap_or_default() as usize;
        let (middle, end) = (self.ends[inside] as usize, self.ends[inside + 1] as usize);
        (&self.ranks[start..middle], &self.ranks[middle..end])
    }
}

/// The most documents of a segment that has a filter of its words: those of the lower levels, where
/// most searches find nothing.
const MOST_FILTERED: usize = 1 << 17;

/// The most documents of a segment that has a better filter of its contents: of larger ones there are
/// few, in which most of all documents are.
const WELL_FILTERED: usize = 1 << 19;

/// The same of a segment that has the best filter, unless it was made when nothing came.
const BEST_FILTERED: usize = 1 << 18;

/// Contents that are added to a filter at a time: so many looks at memory wait for it together.
const FILTERED_AT_A_TIME: usize = 64;

/// What a segment is put together from, in the order of the places and of the ranks.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Documents for which there is room.
    capacity: usize,
    contents: Array<[u8; 32]>,
    owners: Vec<(OwnerNo, Place)>,
    shares: Vec<Arc<Share>>,
    filter: Filter,
    /// Contents that the filter knows.
    filtered: usize,
    words: Filter,
    classes: Vec<(Class, Rank)>,
    /// The place of each rank.
    places: PackedWriter,
}

impl Parts {
    /// For so many documents. `is_calm` says that they are not merged with others soon, and that few are
    /// looked for; `has_time` that it may take a little longer now and then.
    pub(crate) fn new(len: usize, is_calm: bool, has_time: bool) -> Self {
        let contents = if has_time { Array::to_fill_large(len) } else { Array::to_fill(len) };
        let places = PackedWriter::new(len, len);
        let bits = match len {
            ..=BEST_FILTERED if !is_calm => MOST_BITS,
            ..=WELL_FILTERED => MORE_BITS,
            _ => BITS,
        };
        let filter = Filter::new(len, bits);
        Self { capacity: len, contents, filter, places, ..Self::default() }
    }

    /// Documents so far.
    pub(crate) const fn len(&self) -> usize {
        self.contents.len()
    }

    /// Documents for which there is room.
    pub(crate) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// There will be at most so many words. Those of a large segment are not kept: nearly all that
    /// is sought is in it.
    pub(crate) fn expect_words(&mut self, words: usize) {
        if self.capacity() <= MOST_FILTERED {
            self.words = Filter::new(words, BITS);
        }
    }

    /// Whether words are to be added.
    pub(crate) const fn wants_words(&self) -> bool {
        !self.words.is_empty()
    }

    #[inline]
    pub(crate) fn add_word(&mut self, hash: u64) {
        if self.wants_words() {
            self.words.add(Probe::word(hash));
        }
    }

    pub(crate) fn push(
        &mut self,
        place: Place,
        owner: OwnerNo,
        content: &[u8; 32],
        share: Option<&Arc<Share>>,
    ) {
        self.contents.push(*content);
        if self.contents.len() - self.filtered == FILTERED_AT_A_TIME {
            self.add_to_filter();
        }
        match share {
            Some(share) => self.shares.push(share.clone()),
            None if self.owners.last().is_none_or(|(last, _)| *last != owner) => {
                self.owners.push((owner, place));
            }
            None => {}
        }
    }

    /// Adds the contents that the filter does not know yet.
    fn add_to_filter(&mut self) {
        self.filter.add_all(self.contents.get(self.filtered..).unwrap_or_default());
        self.filtered = self.contents.len();
    }

    /// Bytes of memory so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.contents.bytes() + self.places.bytes() + self.filter.bytes() + self.words.bytes()
    }

    /// Gives up all that it has, in pieces.
    pub(crate) fn take_apart(self, waste: &mut Waste) {
        let bytes = self.bytes();
        waste.add((self.contents, self.places, self.filter, self.words), bytes);
        waste.add_shares(self.shares);
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

    pub(crate) fn finish(mut self, id: u64, documents: Documents, strings: Strings) -> Segment {
        self.add_to_filter();
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
            words: self.words,
            live: LiveBits::all(len),
            dead: AtomicU32::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn many_strings_are_sorted_as_few_are(
            letters in proptest::collection::vec(0_u8..4, 3_000..6_000),
            width in 1_usize..10,
        ) {
            // Those of six letters and more differ behind what is sorted without a comparison.
            let text = |at: usize| letters.iter().cycle().skip(at).take(width + at % 4);
            let heads = (0..letters.len()).map(|at| head(&text(at).copied().collect::<Vec<_>>()));
            let keys: Vec<Key> = (0..).zip(heads).map(|(i, head)| key(0, head, i)).collect();
            let mut sorted = listed(keys.len(), keys.iter().copied());
            by_first_bytes(&mut sorted);
            let mut expected = keys;
            expected.sort_by_key(|key| key >> (96 - FIRST));
            prop_assert_eq!(&*sorted, &expected[..]);
            sort_by_head(&mut sorted);
            expected.sort_unstable();
            prop_assert_eq!(&*sorted, &expected[..]);
        }
    }
}
