//! Values in numbered slots; the numbers of removed ones are given out again.

use crate::memory;

#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Option<T>>,
    /// Vacant slots; those at or behind the end of `slots` are no longer meant.
    vacant: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), vacant: Vec::new(), len: 0 }
    }

    /// Puts a value into a slot; `None` if all 2³² − 1 numbers are taken.
    pub(crate) fn insert(&mut self, value: T) -> Option<u32> {
        while let Some(number) = self.vacant.pop() {
            // New slots are added only while `vacant` is empty, so a number in range is vacant.
            if let Some(slot) = self.slots.get_mut(number as usize) {
                *slot = Some(value);
                self.len += 1;
                return Some(number);
            }
        }
        let number = u32::try_from(self.slots.len()).ok().filter(|number| *number != u32::MAX)?;
        if self.slots.len() == self.slots.capacity() {
            // By doubling, a third of the memory would be empty on average.
            self.slots.reserve_exact(self.slots.len() / 8 + 4);
        }
        self.slots.push(Some(value));
        self.len += 1;
        Some(number)
    }

    /// The number that the next value will get.
    pub(crate) fn vacant(&self) -> u32 {
        let mut vacant = self.vacant.iter().rev();
        let next = vacant.find(|number| (**number as usize) < self.slots.len());
        next.copied().unwrap_or(self.slots.len() as u32)
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.slots.get_mut(number as usize)?.take()?;
        self.len -= 1;
        self.vacant.push(number);
        self.give_back();
        Some(value)
    }

    /// Returns memory when three quarters of the slots could be spared.
    fn give_back(&mut self) {
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        if self.slots.is_empty() {
            *self = Self::new();
        } else if self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to(self.slots.len() * 2);
            let end = self.slots.len();
            self.vacant.retain(|number| (*number as usize) < end);
            self.vacant.shrink_to(self.vacant.len() * 2);
        }
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.slots.get(number as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the slots themselves, not of what the values point to.
    pub(crate) fn bytes(&self) -> u64 {
        memory::vector::<Option<T>>(self.slots.capacity())
            + memory::vector::<u32>(self.vacant.capacity())
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
        fn a_slab_holds_what_a_map_holds(steps in proptest::collection::vec(any::<(bool, u8)>(), 0..300)) {
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
