//! How many documents have each word: which words there are.
//!
//! The table grows by a shard at a time, each of which is cut in two in its turn (Litwin, "Linear
//! hashing", 1980), so that no word makes more than a few thousand others move.

use crate::array::Array;
use crate::memory;

/// Words of a shard on average, until one is cut: it takes 30 µs to write anew. With 512 building was 1 %
/// faster, since arrays so small need no mapping, but the allocator kept all of them when they were gone.
const SHARD_WORDS: usize = 2048;

/// Words, known by their hashes, with the number of documents that have each.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// None until there is a word.
    shards: Vec<Shard>,
    words: usize,
    /// What the shards take.
    bytes: u64,
    /// Words that were moved so far, as tables grew and shrank.
    moved: u64,
}

/// A hash table with linear probing. Twelve bytes a word, and from 70 to 80 % of them in use:
/// doubling would leave half of them empty, and there are as many words as a fifth of the records.
#[derive(Debug, Default)]
struct Shard {
    /// Three for each slot.
    numbers: Array<u32>,
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
        let shard = self.shards.get(shard_of(hash, self.shards.len()));
        shard.is_some_and(|shard| shard.find(hash).is_ok())
    }

    /// Reads where words stand and says nothing of it: what is read side by side waits for memory once,
    /// and is at hand when the words are counted.
    pub(crate) fn touch(&self, hashes: impl Iterator<Item = u64>) {
        let look = |hash: u64| {
            let slots = self.shards.get(shard_of(hash, self.shards.len()))?.slots();
            slots.get(home(hash, slots.len())).map(|slot| count_of(*slot))
        };
        std::hint::black_box(hashes.filter_map(look).fold(0, |sum, it| sum ^ it));
    }

    /// Notes so many documents more that have a word. Answers whether they are the first.
    pub(crate) fn add(&mut self, hash: u64, documents: u32) -> bool {
        if self.shards.is_empty() {
            self.shards.push(Shard::default());
        }
        let is_new = self.change(hash, |shard, salt| shard.add(hash, documents, salt));
        self.words += usize::from(is_new);
        if self.words > self.shards.len() * SHARD_WORDS {
            self.cut();
        }
        is_new
    }

    /// Notes one document less that has a word. Answers whether it was the last.
    pub(crate) fn remove(&mut self, hash: u64) -> bool {
        let is_gone = self.change(hash, |shard, salt| shard.remove(hash, salt));
        self.words -= usize::from(is_gone);
        if self.words == 0 {
            *self = Self { moved: self.moved, ..Self::default() };
        } else if self.words * 2 < (self.shards.len() - 1) * SHARD_WORDS {
            self.join();
        }
        is_gone
    }

    /// Changes the shard of a word, and says what the change did.
    fn change(&mut self, hash: u64, change: impl FnOnce(&mut Shard, usize) -> bool) -> bool {
        let at = shard_of(hash, self.shards.len());
        let Some(shard) = self.shards.get_mut(at) else { return false };
        let (size, bytes) = (shard.slots().len(), shard.bytes());
        let answer = change(shard, at);
        if shard.slots().len() != size {
            self.moved += shard.len as u64;
            self.bytes = self.bytes - bytes + shard.bytes();
        }
        answer
    }

    /// Cuts the next shard in two.
    fn cut(&mut self) {
        let (from, to) = (buddy(self.shards.len()), self.shards.len());
        let Some(shard) = self.shards.get_mut(from) else { return };
        self.moved += shard.len as u64;
        self.bytes -= shard.bytes();
        let (mut stays, mut goes): (Vec<Slot>, Vec<Slot>) = Default::default();
        for slot in shard.slots().iter().filter(|slot| count_of(**slot) > 0) {
            let list = if shard_of(hash_of(*slot), to + 1) == to { &mut goes } else { &mut stays };
            list.push(*slot);
        }
        *shard = Shard::of(&stays, from);
        self.bytes += shard.bytes();
        self.shards.push(Shard::of(&goes, to));
        self.bytes += self.shards.last().map_or(0, Shard::bytes);
    }

    /// Puts the last shard into the one that it was cut from.
    fn join(&mut self) {
        let Some(last) = self.shards.pop() else { return };
        let to = buddy(self.shards.len());
        let Some(shard) = self.shards.get_mut(to) else { return };
        self.bytes -= last.bytes() + shard.bytes();
        self.moved += (last.len + shard.len) as u64;
        let all = last.slots().iter().chain(shard.slots().iter());
        let all: Vec<Slot> = all.filter(|slot| count_of(**slot) > 0).copied().collect();
        *shard = Shard::of(&all, to);
        self.bytes += shard.bytes();
    }

    /// Words that were moved so far.
    pub(crate) const fn moved(&self) -> u64 {
        self.moved
    }

    pub(crate) const fn bytes(&self) -> u64 {
        memory::vector::<Shard>(self.shards.capacity()) + self.bytes
    }
}

/// The shard of a word, of so many.
#[inline]
const fn shard_of(hash: u64, shards: usize) -> usize {
    if shards < 2 {
        return 0;
    }
    // As many as the next power of two, of which those that are not there yet are part of others.
    let at = hash as usize & (shards.next_power_of_two() - 1);
    if at < shards { at } else { buddy(at) }
}

/// The shard from which this one is cut.
const fn buddy(shard: usize) -> usize {
    if shard == 0 { 0 } else { shard ^ 1 << shard.ilog2() }
}

impl Shard {
    /// Words that are all different. See [`room_for`] for `salt`.
    fn of(words: &[Slot], salt: usize) -> Self {
        let mut shard = Self { numbers: Array::default(), len: words.len() };
        if !words.is_empty() {
            shard.numbers = Array::zeroed(room_for(words.len(), salt) * 3);
            shard.put(words);
        }
        shard
    }

    #[inline]
    fn slots(&self) -> &[Slot] {
        self.numbers.as_chunks().0
    }

    fn put(&mut self, words: &[Slot]) {
        let (slots, _) = self.numbers.as_chunks_mut();
        for word in words.iter().filter(|slot| count_of(**slot) > 0) {
            if let Err(at) = find(slots, hash_of(*word)) {
                slots[at] = *word;
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.numbers.bytes()
    }

    /// Where a word stands, or else where it would.
    fn find(&self, hash: u64) -> Result<usize, usize> {
        find(self.slots(), hash)
    }

    fn add(&mut self, hash: u64, documents: u32, salt: usize) -> bool {
        let (slots, _) = self.numbers.as_chunks_mut();
        let at = match find(slots, hash) {
            Ok(at) => {
                let [_, _, count] = &mut slots[at];
                *count = count.saturating_add(documents);
                return false;
            }
            Err(at) => at,
        };
        let at = if (self.len + 1) * 5 > slots.len() * 4 {
            self.resize(room_for(self.len + 1, salt));
            self.find(hash).unwrap_or_else(|at| at)
        } else {
            at
        };
        self.numbers.as_chunks_mut().0[at] = [(hash >> 32) as u32, hash as u32, documents];
        self.len += 1;
        true
    }

    fn remove(&mut self, hash: u64, salt: usize) -> bool {
        let (slots, _) = self.numbers.as_chunks_mut();
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
            self.resize(room_for(self.len, salt));
        }
        true
    }

    fn resize(&mut self, size: usize) {
        let before = std::mem::replace(&mut self.numbers, Array::zeroed(size * 3));
        self.put(before.as_chunks().0);
    }
}

/// The slots of a shard of so many words. All shards grow alike; if each had the same room, all would
/// be full in the same moment. So each has a little more or less than the others.
const fn room_for(words: usize, salt: usize) -> usize {
    words * (134 + (salt * 7 + words) % 13) / 100 + 3
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

    #[test]
    fn no_word_makes_many_others_move() {
        let mut tally = Tally::default();
        let hash = |word: u64| word.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word << 7;
        let mut most = 0;
        let mut before = 0;
        for word in 0..60_000 {
            assert!(tally.add(hash(word), 1));
            most = most.max(tally.moved() - before);
            before = tally.moved();
        }
        assert!((0..60_000).all(|word| tally.has(hash(word))) && !tally.has(hash(60_000)));
        assert_eq!(tally.bytes, tally.shards.iter().map(Shard::bytes).sum::<u64>());
        // What it takes is within a quarter of 12 bytes for each of three slots in four.
        assert!(tally.bytes() < 60_000 * 20, "{} bytes", tally.bytes());
        let grown = tally.moved();
        assert!(grown < 60_000 * 16, "{grown} were moved in all");
        for word in 0..60_000 {
            assert!(tally.remove(hash(word)));
            most = most.max(tally.moved() - before);
            before = tally.moved();
        }
        assert_eq!((tally.len(), tally.bytes()), (0, 0));
        assert!(most < 4 * SHARD_WORDS as u64, "{most} were moved at once");
    }

    proptest! {
        #[test]
        fn it_counts_as_a_map_does(steps in proptest::collection::vec((any::<bool>(), 0_u64..60), 0..600)) {
            let mut tally = Tally::default();
            let mut model: BTreeMap<u64, u32> = BTreeMap::new();
            // All in one shard, and many with one home.
            let hash = |word: u64| ((word / 3) << 50) | ((word % 3) << 40);
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
