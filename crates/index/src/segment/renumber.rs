//! New numbers for old ones, and posting lists made of them.

use super::postings::{BATCH, Cursor, Form, Numbers};
use crate::array::Array;
use crate::code::varint;

/// From one document in so many on, a list is brought into order as a bitmap.
const MANY: usize = 64;

/// New numbers by old ones. What is not numbered yet is zero, so that a large list is made without
/// writing to it: the system gives out memory that is zero, page by page, when it is used. (What is no
/// larger than mappings that are kept may have one of those, which is cleared.)
#[derive(Debug)]
pub(crate) struct Renumbering(Array<u32>);

impl Renumbering {
    pub(crate) fn new(len: usize) -> Self {
        Self(Array::lent_zeroed(len))
    }

    pub(crate) fn set(&mut self, old: u32, new: u32) {
        if let Some(slot) = self.0.get_mut(old as usize) {
            *slot = new.saturating_add(1);
        }
    }

    /// `None` for what is not in the new segment.
    #[inline]
    pub(crate) fn get(&self, old: u32) -> Option<u32> {
        self.0.get(old as usize)?.checked_sub(1)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

/// A list of one segment as it is written, and the new numbers of its documents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<'a> {
    pub(crate) form: Form,
    pub(crate) bytes: &'a [u8],
    pub(crate) new: &'a Renumbering,
}

impl List<'_> {
    /// At least as many as there are in the list.
    pub(crate) fn estimate(&self) -> usize {
        match self.form {
            Form::Short => self.bytes.len(),
            Form::Blocked | Form::Dense => varint::take(&mut { self.bytes }) as usize,
        }
    }
}

/// Two lists that are put together in several steps, as bitmaps.
#[derive(Debug)]
pub(crate) struct LongList {
    both: [Bits; 2],
    /// Which list of which segment is next, and the first number that is.
    at: usize,
    least: u32,
}

/// A bit for each document, and how many are set.
#[derive(Debug, Default)]
struct Bits {
    words: Array<u64>,
    count: usize,
}

impl LongList {
    /// Of documents below `universe`.
    pub(crate) fn new(universe: usize) -> Self {
        let words = universe.div_ceil(64);
        let both = [(); 2].map(|()| Bits { words: Array::lent_zeroed(words), count: 0 });
        Self { both, at: 0, least: 0 }
    }

    /// Goes on for about so many postings. Answers how many those were, and whether all are there.
    pub(crate) fn step(&mut self, lists: &[[List<'_>; 2]], budget: usize) -> (usize, bool) {
        let mut done = 0;
        let mut numbers = [0; BATCH];
        while let Some(both) = lists.get(self.at / 2) {
            let List { form, bytes, new } = both[self.at % 2];
            let bits = &mut self.both[self.at % 2];
            let mut cursor = Cursor::new(form, bytes);
            loop {
                if done >= budget {
                    return (done, false);
                }
                let count = cursor.fill(self.least, &mut numbers);
                let numbers = numbers.get(..count).unwrap_or_default();
                let words = &mut *bits.words;
                for new in numbers.iter().filter_map(|number| new.get(*number)) {
                    if let Some(word) = words.get_mut(new as usize / 64) {
                        *word |= 1 << (new % 64);
                        bits.count += 1;
                    }
                }
                done += count;
                match numbers.last().and_then(|last| last.checked_add(1)) {
                    Some(next) => self.least = next,
                    None => break,
                }
            }
            (self.at, self.least) = (self.at + 1, 0);
        }
        (done, true)
    }

    /// The two lists.
    pub(crate) fn lists(&self) -> [Numbers<'_>; 2] {
        [0, 1].map(|at| Numbers::Bits(&self.both[at].words, self.both[at].count))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.both.iter().map(|it| it.words.bytes()).sum()
    }
}

/// A list of documents that is put together from those of several segments. It is used again for
/// the next one.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    numbers: Array<u32>,
    bits: Array<u64>,
}

impl Gathered {
    pub(crate) fn clear(&mut self) {
        self.numbers.clear();
    }

    /// Adds what is left of a list of one segment.
    pub(crate) fn add(&mut self, list: &List<'_>) {
        let List { form, bytes, new } = *list;
        if bytes.is_empty() {
            return;
        }
        if form == Form::Short {
            // Most lists are short by far.
            let (new, mut rest, mut next) = (&*new.0, bytes, 0_u32);
            while !rest.is_empty() {
                let number = next.wrapping_add(varint::take32(&mut rest));
                next = number.wrapping_add(1);
                if let Some(new) = new.get(number as usize).and_then(|new| new.checked_sub(1)) {
                    self.numbers.push(new);
                }
            }
            return;
        }
        Cursor::new(form, bytes).for_each_batch(|numbers| {
            for few in numbers.chunks(8) {
                let (mut kept, mut count) = ([0; 8], 0);
                for (slot, number) in kept.iter_mut().zip(few.iter().filter_map(|it| new.get(*it)))
                {
                    *slot = number;
                    count += 1;
                }
                self.numbers.extend_from_slice(kept.get(..count).unwrap_or_default());
            }
        });
    }

    /// Brings those of several segments into order; all are below `universe`, and no two equal.
    pub(crate) fn sort(&mut self, universe: usize) {
        if self.numbers.len() < 2 {
            return;
        }
        if self.numbers.len() * MANY < universe {
            // Runs that are sorted already, which the stable sort merges.
            self.numbers.sort();
            return;
        }
        if self.bits.len() * 64 < universe {
            self.bits = Array::lent_zeroed(universe.div_ceil(64));
        }
        for number in self.numbers.iter() {
            if let Some(word) = self.bits.get_mut(*number as usize / 64) {
                *word |= 1 << (number % 64);
            }
        }
        let mut sorted = self.numbers.iter_mut();
        for (at, word) in (0..).zip(self.bits.iter_mut()) {
            let mut rest = std::mem::take(word);
            while rest != 0
                && let Some(number) = sorted.next()
            {
                *number = at * 64 + rest.trailing_zeros();
                rest &= rest - 1;
            }
        }
    }

    pub(crate) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.numbers.bytes() + self.bits.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::postings::write;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lists_of_several_segments_become_one_in_order(
            words in proptest::collection::vec(
                proptest::collection::vec(0_usize..5, 1..400), 1..4),
        ) {
            // Document n is number n / 4 of segment n % 4; those of segment 4 are gone.
            let mut gathered = Gathered::default();
            for owners in words {
                gathered.clear();
                for segment in 0..4 {
                    let mut new = Renumbering::new(owners.len());
                    let all: Vec<u32> = (0..owners.len() as u32).collect();
                    for (number, owner) in (0..).zip(&owners) {
                        if *owner == segment {
                            new.set(number, number);
                        }
                    }
                    let mut bytes = Vec::new();
                    let form = write(Numbers::Listed(&all), all.len() * 100, &mut bytes);
                    gathered.add(&List { form, bytes: &bytes, new: &new });
                }
                let live = |number: &u32| owners[*number as usize] < 4;
                let expected: Vec<u32> = (0..owners.len() as u32).filter(live).collect();
                gathered.sort(owners.len());
                prop_assert_eq!(gathered.numbers(), &expected[..]);
            }
        }
    }
}
