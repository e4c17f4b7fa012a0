//! Values in numbered slots; the numbers of removed ones are given out again.
//!
//! Slots are in chunks, so that none is moved when there are more of them.

use crate::memory;

/// Slots of a chunk.
const CHUNK: usize = 512;

#[derive(Debug)]
pub(crate) struct Slab<T> {
    /// All but the last one are full.
    chunks: Vec<Vec<Option<T>>>,
    /// Vacant slots; those at or behind the last slot are no longer meant.
    vacant: Vec<u32>,
    len: usize,
    /// What the chunks take.
    bytes: u64,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), vacant: Vec::new(), len: 0, bytes: 0 }
    }

    /// Slots, vacant ones included.
    fn end(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Puts a value into a slot; `None` if all 2³² − 1 numbers are taken.
    pub(crate) fn insert(&mut self, value: T) -> Option<u32> {
        while let Some(number) = self.vacant.pop() {
            // New slots are added only while `vacant` is empty, so a number in range is vacant.
            if let Some(slot) = self.slot(number) {
                *slot = Some(value);
                self.len += 1;
                return Some(number);
            }
        }
        let number = u32::try_from(self.end()).ok().filter(|number| *number != u32::MAX)?;
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::new());
        }
        if let Some(last) = self.chunks.last_mut() {
            if last.len() == last.capacity() {
                // By doubling, a third of the memory would be empty on average.
                self.bytes -= memory::vector::<Option<T>>(last.capacity());
                last.reserve_exact((last.len() / 8 + 4).min(CHUNK - last.len()));
                self.bytes += memory::vector::<Option<T>>(last.capacity());
            }
            last.push(Some(value));
        }
        self.len += 1;
        Some(number)
    }

    /// The number that the next value will get.
    pub(crate) fn vacant(&self) -> u32 {
        let mut vacant = self.vacant.iter().rev();
        let next = vacant.find(|number| (**number as usize) < self.end());
        next.copied().unwrap_or(self.end() as u32)
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.slot(number)?.take()?;
        self.len -= 1;
        self.vacant.push(number);
        self.give_back();
        Some(value)
    }

    /// Returns the memory of what is vacant at the end.
    fn give_back(&mut self) {
        while let Some(last) = self.chunks.last_mut() {
            while last.last().is_some_and(Option::is_none) {
                last.pop();
            }
            if !last.is_empty() {
                break;
            }
            self.bytes -= memory::vector::<Option<T>>(last.capacity());
            self.chunks.pop();
        }
        if self.chunks.is_empty() {
            *self = Self::new();
        } else if self.vacant.len() > self.end() * 2 + CHUNK {
            let end = self.end();
            self.vacant.retain(|number| (*number as usize) < end);
            self.vacant.shrink_to(self.vacant.len() * 2);
        }
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let chunk = self.chunks.get(number as usize / CHUNK)?;
        chunk.get(number as usize % CHUNK)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slot(number)?.as_mut()
    }

    fn slot(&mut self, number: u32) -> Option<&mut Option<T>> {
        let chunk = self.chunks.get_mut(number as usize / CHUNK)?;
        chunk.get_mut(number as usize % CHUNK)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the slots themselves, not of what the values point to.
    pub(crate) const fn bytes(&self) -> u64 {
        memory::vector::<Vec<Option<T>>>(self.chunks.capacity())
            + memory::vector::<u32>(self.vacant.capacity())
            + self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_slab_holds_what_a_map_holds(steps in proptest::collection::vec(any::<(bool, u16)>(), 0..1_500)) {
            let mut slab = Slab::new();
            let mut model = BTreeMap::new();
            for (step, (insert, which)) in steps.into_iter().enumerate() {
                if insert || model.is_empty() {
                    let number = slab.insert(step).expect("numbers are left");
                    prop_assert_eq!(model.insert(number, step), None);
                } else {
                    let at = usize::from(which) % model.len();
                    let number = *model.keys().nth(at).expect("in range");
                    prop_assert_eq!(slab.remove(number), model.remove(&number));
                    prop_assert_eq!(slab.remove(number), None);
                }
                prop_assert_eq!(slab.len(), model.len());
            }
            for (number, value) in &model {
                prop_assert_eq!(slab.get(*number), Some(value));
            }
            for number in model.into_keys() {
                slab.remove(number);
            }
            prop_assert_eq!(slab.bytes(), 0);
        }
    }
}
