//! How many documents have each word: which words there are.

use crate::array::Array;
use crate::memory;

/// Tables of their own, so that none takes long to grow.
const SHARDS: usize = 32;

/// Words, known by their hashes, with the number of documents that have each.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// None until there is a word.
    shards: Vec<Shard>,
    words: usize,
    /// What the shards take.
    bytes: u64,
}

/// A hash table with linear probing. Twelve bytes a word, and from 71 to 80 % of them in use:
/// doubling would leave half of them empty, and there are as many words as a fifth of the records.
#[derive(Debug, Default)]
struct Shard {
    slots: Array<Slot>,
    len: usize,
}

/// The two halves of a hash, and how many documents have its word; none where there is no word.
type Slot = [u32; 3];

const fn hash_of([high, low, _]: Slot) -> u64 {
    (high as u64) << 32 | low as u64
}

const fn count_of([_, _, count]: Slot) -> u32 {
    count
}

impl Tally {
    /// Different words.
    pub(crate) const fn len(&self) -> usize {
        self.words
    }

    pub(crate) fn has(&self, hash: u64) -> bool {
        self.shards.get(shard(hash)).is_some_and(|shard| shard.find(hash).is_ok())
    }

    /// Notes so many documents more that have a word. Answers whether they are the first.
    pub(crate) fn add(&mut self, hash: u64, documents: u32) -> bool {
        if self.shards.is_empty() {
            self.shards.resize_with(SHARDS, Shard::default);
        }
        let is_new = self.change(hash, |shard| shard.add(hash, documents));
        self.words += usize::from(is_new);
        is_new
    }

    /// Notes one document less that has a word. Answers whether it was the last.
    pub(crate) fn remove(&mut self, hash: u64) -> bool {
        let is_gone = self.change(hash, |shard| shard.remove(hash));
        self.words -= usize::from(is_gone);
        if self.words == 0 {
            *self = Self::default();
        }
        is_gone
    }

    /// Changes the shard of a word, and says what the change did.
    fn change(&mut self, hash: u64, change: impl FnOnce(&mut Shard) -> bool) -> bool {
        let Some(shard) = self.shards.get_mut(shard(hash)) else { return false };
        let size = shard.slots.len();
        let answer = change(shard);
        if shard.slots.len() != size {
            self.bytes = self.shards.iter().map(Shard::bytes).sum();
        }
        answer
    }

    pub(crate) const fn bytes(&self) -> u64 {
        memory::vector::<Shard>(self.shards.len()) + self.bytes
    }
}

const fn shard(hash: u64) -> usize {
    (hash >> 59) as usize
}

impl Shard {
    fn bytes(&self) -> u64 {
        self.slots.bytes()
    }

    /// Where a word stands, or else where it would.
    fn find(&self, hash: u64) -> Result<usize, usize> {
        find(&self.slots, hash)
    }

    fn add(&mut self, hash: u64, documents: u32) -> bool {
        let slots = &mut *self.slots;
        let at = match find(slots, hash) {
            Ok(at) => {
                let [_, _, count] = &mut slots[at];
                *count = count.saturating_add(documents);
                return false;
            }
            Err(at) => at,
        };
        let at = if (self.len + 1) * 5 > slots.len() * 4 {
            self.resize((self.len + 1) * 7 / 5 + 3);
            self.find(hash).unwrap_or_else(|at| at)
        } else {
            at
        };
        self.slots[at] = [(hash >> 32) as u32, hash as u32, documents];
        self.len += 1;
        true
    }

    fn remove(&mut self, hash: u64) -> bool {
        let slots = &mut *self.slots;
        let Ok(mut hole) = find(slots, hash) else { return false };
        let size = slots.len();
        slots[hole][2] -= 1;
        if count_of(slots[hole]) > 0 {
            return false;
        }
        self.len -= 1;
        // Those behind move up, as far as their homes allow, so that no gap parts them from there.
        let mut at = after(hole, size);
        while count_of(slots[at]) != 0 {
            let home = home(hash_of(slots[at]), size);
            let may_move =
                if hole <= at { home <= hole || home > at } else { home <= hole && home > at };
            if may_move {
                slots[hole] = slots[at];
                slots[at] = Slot::default();
                hole = at;
            }
            at = after(at, size);
        }
        if self.len * 2 < size && size > 16 {
            self.resize(self.len * 7 / 5 + 3);
        }
        true
    }

    fn resize(&mut self, size: usize) {
        let before = std::mem::replace(&mut self.slots, Array::zeroed(size));
        let slots = &mut *self.slots;
        for slot in before.iter().filter(|slot| count_of(**slot) > 0) {
            if let Err(at) = find(slots, hash_of(*slot)) {
                slots[at] = *slot;
            }
        }
    }
}

/// Where a word stands among slots, or else where it would.
#[inline]
fn find(slots: &[Slot], hash: u64) -> Result<usize, usize> {
    let mut at = home(hash, slots.len());
    while let Some(slot) = slots.get(at) {
        if count_of(*slot) == 0 {
            return Err(at);
        }
        if hash_of(*slot) == hash {
            return Ok(at);
        }
        at = after(at, slots.len());
    }
    Err(0)
}

/// Where a word should stand, of so many slots.
#[inline]
const fn home(hash: u64, slots: usize) -> usize {
    (((hash << 5) as u128 * slots as u128) >> 64) as usize
}

/// The slot behind one, of so many.
const fn after(at: usize, slots: usize) -> usize {
    if at + 1 == slots { 0 } else { at + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_counts_as_a_map_does(steps in proptest::collection::vec((any::<bool>(), 0_u64..60), 0..600)) {
            let mut tally = Tally::default();
            let mut model: BTreeMap<u64, u32> = BTreeMap::new();
            // All in one shard, and many with one home.
            let hash = |word: u64| ((word / 3) << 50) | (word % 3);
            for (add, word) in steps {
                let hash = hash(word);
                if add {
                    let documents = word as u32 % 3 + 1;
                    let count = model.entry(hash).or_default();
                    prop_assert_eq!(tally.add(hash, documents), *count == 0);
                    *count += documents;
                } else {
                    let before = model.get(&hash).copied().unwrap_or_default();
                    prop_assert_eq!(tally.remove(hash), before == 1);
                    if before <= 1 {
                        model.remove(&hash);
                    } else {
                        model.insert(hash, before - 1);
                    }
                }
                prop_assert_eq!(tally.len(), model.len());
            }
            prop_assert!((0..60).all(|word| tally.has(hash(word)) == model.contains_key(&hash(word))));
            for (hash, count) in model {
                (0..count).for_each(|_| { tally.remove(hash); });
            }
            prop_assert_eq!(tally.bytes(), 0);
        }
    }
}
