//! New numbers for old ones, and posting lists made of them.

use super::postings::{Cursor, Form};
use crate::array::Array;
use crate::code::varint;

/// From one document in so many on, a list is brought into order as a bitmap.
const MANY: usize = 64;

/// New numbers by old ones. What is not numbered yet is zero, so that a large list is made without
/// writing to it: the system gives out memory that is zero, page by page, when it is used.
#[derive(Debug)]
pub(crate) struct Renumbering(Array<u32>);

impl Renumbering {
    pub(crate) fn new(len: usize) -> Self {
        Self(Array::zeroed(len))
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
    pub(crate) fn add(&mut self, form: Form, bytes: &[u8], new: &Renumbering) {
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
            self.bits = Array::zeroed(universe.div_ceil(64));
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
                    let form = write(&all, all.len() * 100, &mut bytes);
                    gathered.add(form, &bytes, &new);
                }
                let live = |number: &u32| owners[*number as usize] < 4;
                let expected: Vec<u32> = (0..owners.len() as u32).filter(live).collect();
                gathered.sort(owners.len());
                prop_assert_eq!(gathered.numbers(), &expected[..]);
            }
        }
    }
}
