//! How many documents have each word: which words there are.

use crate::memory;

/// Tables of their own, so that none takes long to grow.
const SHARDS: usize = 64;

/// Words, known by their hashes, with the number of documents that have each.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// None until there is a word.
    shards: Vec<Shard>,
    words: usize,
}

/// A hash table with linear probing. Twelve bytes a word, and from 71 to 80 % of them in use:
/// doubling would leave half of them empty, and there are as many words as a fifth of the records.
#[derive(Debug, Default)]
struct Shard {
    hashes: Vec<u64>,
    /// Zero where there is none.
    counts: Vec<u32>,
    len: usize,
}

impl Tally {
    /// Different words.
    pub(crate) const fn len(&self) -> usize {
        self.words
    }

    pub(crate) fn has(&self, hash: u64) -> bool {
        self.shards.get(shard(hash)).is_some_and(|shard| shard.find(hash).is_ok())
    }

    /// Notes one document more that has a word. Answers whether it is the first.
    pub(crate) fn add(&mut self, hash: u64) -> bool {
        if self.shards.is_empty() {
            self.shards.resize_with(SHARDS, Shard::default);
        }
        let is_new = self.shards.get_mut(shard(hash)).is_some_and(|shard| shard.add(hash));
        self.words += usize::from(is_new);
        is_new
    }

    /// Notes one document less that has a word. Answers whether it was the last.
    pub(crate) fn remove(&mut self, hash: u64) -> bool {
        let is_gone = self.shards.get_mut(shard(hash)).is_some_and(|shard| shard.remove(hash));
        self.words -= usize::from(is_gone);
        if self.words == 0 {
            self.shards = Vec::new();
        }
        is_gone
    }

    pub(crate) fn bytes(&self) -> u64 {
        let each = |shard: &Shard| {
            memory::vector::<u64>(shard.hashes.len()) + memory::vector::<u32>(shard.counts.len())
        };
        memory::vector::<Shard>(self.shards.len()) + self.shards.iter().map(each).sum::<u64>()
    }
}

const fn shard(hash: u64) -> usize {
    (hash >> 58) as usize
}

impl Shard {
    /// Where a word should stand.
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash << 6) * self.hashes.len() as u128) >> 64) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.hashes.len() { 0 } else { at + 1 }
    }

    /// Where a word stands, or else where it would.
    fn find(&self, hash: u64) -> Result<usize, usize> {
        if self.hashes.is_empty() {
            return Err(0);
        }
        let mut at = self.home(hash);
        while self.counts[at] != 0 {
            if self.hashes[at] == hash {
                return Ok(at);
            }
            at = self.after(at);
        }
        Err(at)
    }

    fn add(&mut self, hash: u64) -> bool {
        let at = match self.find(hash) {
            Ok(at) => {
                self.counts[at] = self.counts[at].saturating_add(1);
                return false;
            }
            Err(at) => at,
        };
        let at = if (self.len + 1) * 5 > self.hashes.len() * 4 {
            self.resize((self.len + 1) * 7 / 5 + 3);
            self.find(hash).unwrap_or_else(|at| at)
        } else {
            at
        };
        self.hashes[at] = hash;
        self.counts[at] = 1;
        self.len += 1;
        true
    }

    fn remove(&mut self, hash: u64) -> bool {
        let Ok(mut hole) = self.find(hash) else { return false };
        self.counts[hole] -= 1;
        if self.counts[hole] > 0 {
            return false;
        }
        self.len -= 1;
        // Those behind move up, as far as their homes allow, so that no gap parts them from there.
        let mut at = self.after(hole);
        while self.counts[at] != 0 {
            let home = self.home(self.hashes[at]);
            let may_move =
                if hole <= at { home <= hole || home > at } else { home <= hole && home > at };
            if may_move {
                self.hashes[hole] = self.hashes[at];
                self.counts[hole] = std::mem::take(&mut self.counts[at]);
                hole = at;
            }
            at = self.after(at);
        }
        if self.len * 2 < self.hashes.len() && self.hashes.len() > 16 {
            self.resize(self.len * 7 / 5 + 3);
        }
        true
    }

    fn resize(&mut self, size: usize) {
        let hashes = std::mem::replace(&mut self.hashes, vec![0; size]);
        let counts = std::mem::replace(&mut self.counts, vec![0; size]);
        for (hash, count) in hashes.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
            if let Err(at) = self.find(hash) {
                self.hashes[at] = hash;
                self.counts[at] = count;
            }
        }
    }
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
                    let count = model.entry(hash).or_default();
                    *count += 1;
                    prop_assert_eq!(tally.add(hash), *count == 1);
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
