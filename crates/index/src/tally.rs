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

/// A hash table with linear probing, in which words stand in the order of their hashes (Amble and Knuth,
/// "Ordered hash tables", 1974): who looks for one that is not there sees so at the first one behind
/// it, and all are written anew one behind the other. Twelve bytes a word, and from 70 to 80 % of
/// them in use: doubling would leave half of them empty, and there are as many words as a fifth of
/// the records.
#[derive(Debug, Default)]
struct Shard {
    /// Three for each slot.
    numbers: Array<u32>,
    /// Slots where words may have their homes. Behind them there are a few for those that are moved on.
    homes: usize,
    len: usize,
    bytes: u64,
}

/// The two halves of the hash of a word, and how many documents have it; zeros where there is none.
type Slot = [u32; 3];

const fn slot_of(hash: u64, documents: u32) -> Slot {
    [(hash >> 32) as u32, hash as u32, documents]
}

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
        shard.is_some_and(|shard| find(shard.slots(), shard.homes, hash).is_ok())
    }

    /// Reads where words stand and says nothing of it: what is read side by side waits for memory once,
    /// and is at hand when the words are counted.
    pub(crate) fn touch(&self, hashes: impl Iterator<Item = u64>) {
        let look = |hash: u64| {
            let shard = self.shards.get(shard_of(hash, self.shards.len()))?;
            shard.slots().get(home(hash, shard.homes)).map(|slot| count_of(*slot))
        };
        std::hint::black_box(hashes.filter_map(look).fold(0, |sum, it| sum ^ it));
    }

    /// Notes so many documents more that have a word. Answers whether they are the first.
    pub(crate) fn add(&mut self, hash: u64, documents: u32) -> bool {
        debug_assert_ne!(documents, 0, "a slot of none is an empty one");
        if self.shards.is_empty() {
            self.shards.push(Shard::default());
        }
        let is_new =
            self.change(hash, |shard, salt, moved| shard.add(hash, documents, salt, moved));
        self.words += usize::from(is_new);
        if self.words > self.shards.len() * SHARD_WORDS {
            self.cut();
        }
        is_new
    }

    /// Notes one document less that has a word. Answers whether it was the last.
    pub(crate) fn remove(&mut self, hash: u64) -> bool {
        let is_gone = self.change(hash, |shard, salt, moved| shard.remove(hash, salt, moved));
        self.words -= usize::from(is_gone);
        if self.words == 0 {
            *self = Self { moved: self.moved, ..Self::default() };
        } else if self.words * 2 < (self.shards.len() - 1) * SHARD_WORDS {
            self.join();
        }
        is_gone
    }

    /// Changes the shard of a word, and says what the change did.
    fn change(
        &mut self,
        hash: u64,
        change: impl FnOnce(&mut Shard, usize, &mut u64) -> bool,
    ) -> bool {
        let at = shard_of(hash, self.shards.len());
        let Some(shard) = self.shards.get_mut(at) else { return false };
        let before = shard.bytes;
        let answer = change(shard, at, &mut self.moved);
        self.bytes = self.bytes - before + shard.bytes;
        answer
    }

    /// Cuts the next shard in two.
    fn cut(&mut self) {
        let (from, to) = (buddy(self.shards.len()), self.shards.len());
        let Some(shard) = self.shards.get_mut(from) else { return };
        self.moved += shard.len as u64;
        let goes = |slot: &&Slot| shard_of(hash_of(**slot), to + 1) == to;
        let len = shard.words().filter(goes).count();
        let new = Shard::of(len, shard.words().filter(goes), to);
        let old = Shard::of(shard.len - len, shard.words().filter(|slot| !goes(slot)), from);
        self.bytes = self.bytes - shard.bytes + old.bytes + new.bytes;
        *shard = old;
        self.shards.push(new);
    }

    /// Puts the last shard into the one that it was cut from.
    fn join(&mut self) {
        let Some(last) = self.shards.pop() else { return };
        let to = buddy(self.shards.len());
        let Some(shard) = self.shards.get_mut(to) else { return };
        self.moved += (last.len + shard.len) as u64;
        let mut all: Vec<Slot> = last.words().chain(shard.words()).copied().collect();
        all.sort_unstable_by_key(|slot| hash_of(*slot));
        let joined = Shard::of(all.len(), all.iter(), to);
        self.bytes = self.bytes - last.bytes - shard.bytes + joined.bytes;
        *shard = joined;
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
    /// So many words that are all different, in the order of their hashes. See [`room_for`] for `salt`.
    fn of<'a>(len: usize, words: impl Iterator<Item = &'a Slot> + Clone, salt: usize) -> Self {
        if len == 0 { Self::default() } else { Self::with_homes(len, words, room_for(len, salt)) }
    }

    fn with_homes<'a>(
        len: usize,
        words: impl Iterator<Item = &'a Slot> + Clone,
        homes: usize,
    ) -> Self {
        // Seldom the last ones are moved on farther than that.
        let mut more = (homes / 4).min(32) + 1;
        loop {
            let mut numbers = Array::zeroed((homes + more) * 3);
            if put(numbers.as_chunks_mut().0, homes, words.clone()) {
                let bytes = numbers.bytes();
                return Self { numbers, homes, len, bytes };
            }
            more *= 2;
        }
    }

    #[inline]
    fn slots(&self) -> &[Slot] {
        self.numbers.as_chunks().0
    }

    /// All words, in the order of their hashes.
    fn words(&self) -> impl Iterator<Item = &Slot> + Clone {
        self.slots().iter().filter(|slot| count_of(**slot) > 0)
    }

    #[inline]
    fn add(&mut self, hash: u64, documents: u32, salt: usize, moved: &mut u64) -> bool {
        let homes = self.homes;
        let (slots, _) = self.numbers.as_chunks_mut();
        match find(slots, homes, hash) {
            Ok(at) => {
                let [_, _, count] = &mut slots[at];
                *count = count.saturating_add(documents);
                false
            }
            Err(at) => {
                self.insert(at, slot_of(hash, documents), salt, moved);
                true
            }
        }
    }

    /// Puts a word where [`find`] says that it would be.
    fn insert(&mut self, at: usize, word: Slot, salt: usize, moved: &mut u64) {
        let is_full = (self.len + 1) * 5 > self.homes * 4;
        let (slots, _) = self.numbers.as_chunks_mut();
        let behind = slots.get(at..).unwrap_or_default();
        let free = behind.iter().position(|slot| count_of(*slot) == 0);
        match free.filter(|_| !is_full) {
            Some(free) => {
                // Those behind move on by one.
                slots.copy_within(at..at + free, at + 1);
                slots[at] = word;
                self.len += 1;
            }
            None => {
                let homes = if is_full { room_for(self.len + 1, salt) } else { self.homes };
                *moved += self.len as u64;
                let (before, behind) = self.slots().split_at(at);
                let all = before.iter().chain([&word]).chain(behind);
                let all = all.filter(|slot| count_of(**slot) > 0);
                *self = Self::with_homes(self.len + 1, all, homes);
            }
        }
    }

    fn remove(&mut self, hash: u64, salt: usize, moved: &mut u64) -> bool {
        let homes = self.homes;
        let (slots, _) = self.numbers.as_chunks_mut();
        let Ok(at) = find(slots, homes, hash) else { return false };
        slots[at][2] -= 1;
        if count_of(slots[at]) > 0 {
            return false;
        }
        self.len -= 1;
        // Those behind move up, until one stands where it should.
        let behind = (at + 1..).zip(slots.iter().skip(at + 1));
        let stay =
            |(at, slot): (usize, &Slot)| count_of(*slot) == 0 || home(hash_of(*slot), homes) == at;
        let end = behind.clone().find(|it| stay(*it)).map_or(slots.len(), |it| it.0);
        slots.copy_within(at + 1..end, at);
        slots[end - 1] = Slot::default();
        if self.len * 2 < homes && homes > 16 {
            *moved += self.len as u64;
            *self = Self::with_homes(self.len, self.words(), room_for(self.len, salt));
        }
        true
    }
}

/// How many homes there are in a shard of so many words. All shards grow alike; if each had as many, all
/// would be full in the same moment. So each has a few more or less than the others.
const fn room_for(words: usize, salt: usize) -> usize {
    words * (134 + (salt * 7 + words) % 13) / 100 + 3
}

/// Writes words, which are in the order of their hashes, into empty slots. Answers whether there was room.
fn put<'a>(slots: &mut [Slot], homes: usize, words: impl Iterator<Item = &'a Slot>) -> bool {
    let mut next = 0;
    for word in words {
        let at = home(hash_of(*word), homes).max(next);
        let Some(slot) = slots.get_mut(at) else { return false };
        *slot = *word;
        next = at + 1;
    }
    true
}

/// Where a word stands, or else where it would.
#[inline]
fn find(slots: &[Slot], homes: usize, hash: u64) -> Result<usize, usize> {
    let mut at = home(hash, homes);
    while let Some(slot) = slots.get(at) {
        // One question, since nobody can foresee which of both it is.
        if (count_of(*slot) == 0) | (hash_of(*slot) >= hash) {
            let is_it = (count_of(*slot) != 0) & (hash_of(*slot) == hash);
            return if is_it { Ok(at) } else { Err(at) };
        }
        at += 1;
    }
    Err(at)
}

/// Where a word should stand, of so many slots.
#[inline]
const fn home(hash: u64, homes: usize) -> usize {
    ((hash as u128 * homes as u128) >> 64) as usize
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
            if word == SHARD_WORDS as u64 {
                // The first shard has been written anew each time that it was full.
                assert!(before > word, "{before} were moved of those in one shard");
            }
            assert!(tally.add(hash(word), 1));
            most = most.max(tally.moved() - before);
            before = tally.moved();
        }
        assert!((0..60_000).all(|word| tally.has(hash(word))) && !tally.has(hash(60_000)));
        assert_eq!(tally.bytes, tally.shards.iter().map(|it| it.numbers.bytes()).sum::<u64>());
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
        fn it_counts_as_a_map_does(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..60), 0..600),
            are_last in any::<bool>(),
        ) {
            let mut tally = Tally::default();
            let mut model: BTreeMap<u64, u32> = BTreeMap::new();
            // All in one shard, and many with one home, which may be among the last ones.
            let first = if are_last { 0xf << 60 } else { 0 };
            let hash = |word: u64| first | ((word / 3) << 55) | ((word % 3) << 40);
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
