//! Which contents and which words a segment may have: a Bloom filter in which all bits of one are
//! in one word of 64 (Putze, Sanders and Singler, "Cache-, hash- and space-efficient Bloom
//! filters", 2007), so that a look costs one access to memory.

use crate::array::Array;

/// Bits of the filter for each content or word: one or two wrong answers in a hundred.
pub(crate) const BITS: usize = 10;

/// The same where there are many filters, all of which are asked for whatever comes: four wrong
/// answers in a thousand. Each wrong answer costs as much as a hundred filters.
pub(crate) const MORE_BITS: usize = 16;

/// The same of the smaller ones, of which there are most: one in a thousand.
pub(crate) const MOST_BITS: usize = 24;

/// Bits that each one sets.
const SET: u32 = 6;

/// Where a content or a word is looked for in any filter: the same for all segments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Probe {
    /// Which word, of 2⁶⁴.
    at: u64,
    /// The bits that it sets there.
    mask: u64,
}

impl Probe {
    /// A content is a hash: its own bytes say where it goes. The first eight do not, for contents
    /// are found by them.
    #[inline]
    pub(crate) fn new(content: &[u8; 32]) -> Self {
        let (chunks, _) = content.as_chunks::<8>();
        let [_, at, bits, _] = chunks else { return Self { at: 0, mask: 0 } };
        Self::of(u64::from_le_bytes(*at), u64::from_le_bytes(*bits))
    }

    /// A word by its hash, of which the upper bits say where it goes, and the lower ones what it sets.
    #[inline]
    pub(crate) fn word(hash: u64) -> Self {
        Self::of(hash, hash)
    }

    #[inline]
    fn of(at: u64, bits: u64) -> Self {
        let mask = (0..SET).fold(0, |mask, i| mask | 1 << (bits >> (6 * i) & 63));
        Self { at, mask }
    }
}

#[inline]
const fn scaled(at: u64, words: usize) -> usize {
    ((at as u128 * words as u128) >> 64) as usize
}

#[derive(Debug, Default)]
pub(crate) struct Filter {
    words: Array<u64>,
}

impl Filter {
    /// For so many contents or words, with so many bits for each.
    pub(crate) fn new(count: usize, bits: usize) -> Self {
        Self { words: Array::zeroed((count * bits).div_ceil(64)) }
    }

    /// One that says nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.words.len() == 0
    }

    pub(crate) fn add(&mut self, Probe { at, mask }: Probe) {
        let words = &mut *self.words;
        if let Some(word) = words.get_mut(scaled(at, words.len())) {
            *word |= mask;
        }
    }

    /// Adds contents, of which none waits for another one.
    pub(crate) fn add_all(&mut self, contents: &[[u8; 32]]) {
        let words = &mut *self.words;
        let len = words.len();
        for Probe { at, mask } in contents.iter().map(Probe::new) {
            if let Some(word) = words.get_mut(scaled(at, len)) {
                *word |= mask;
            }
        }
    }

    #[inline]
    pub(crate) fn may_have(&self, probe: Probe) -> bool {
        let Probe { at, mask } = probe;
        let words = &*self.words;
        words.get(scaled(at, words.len())).is_some_and(|word| word & mask == mask)
    }

    /// As [`Filter::may_have`], of at most 64: a bit for each. The looks at memory are independent of
    /// each other, so that it is waited for once.
    pub(crate) fn may_have_of(&self, probes: &[Probe]) -> u64 {
        let words = &*self.words;
        let len = words.len();
        (0..u64::BITS).zip(probes).fold(0, |found, (i, Probe { at, mask })| {
            let word = words.get(scaled(*at, len)).copied().unwrap_or_default();
            found | u64::from(word & mask == *mask) << i
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.words.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(number: u32) -> [u8; 32] {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    #[test]
    fn what_was_added_may_be_there_and_little_else() {
        let mut filter = Filter::new(10_000, BITS);
        filter.add_all(&(0..10_000).map(content).collect::<Vec<_>>());
        assert!((0..10_000).all(|number| filter.may_have(Probe::new(&content(number)))));
        let probes: Vec<Probe> =
            (9_980..10_040).map(|number| Probe::new(&content(number))).collect();
        let found = filter.may_have_of(&probes);
        for (i, probe) in (0..).zip(&probes) {
            assert_eq!(found >> i & 1 == 1, filter.may_have(*probe), "number {i}");
        }
        // A wrong yes costs time only, but must stay rare.
        for (bits, most) in [(BITS, 2_000), (MORE_BITS, 400), (MOST_BITS, 100)] {
            let mut filter = Filter::new(10_000, bits);
            (0..10_000).for_each(|number| filter.add(Probe::new(&content(number))));
            assert!((0..10_000).all(|number| filter.may_have(Probe::new(&content(number)))));
            let wrong = (10_000..110_000)
                .filter(|number| filter.may_have(Probe::new(&content(*number))))
                .count();
            assert!(wrong < most, "{wrong} of 100,000 with {bits} bits");
        }
        assert!(!Filter::new(0, BITS).may_have(Probe::new(&content(1))));
    }
}
