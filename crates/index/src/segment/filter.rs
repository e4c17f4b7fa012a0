//! Which contents a segment may have: a Bloom filter in which all bits of a content are in one
//! word of 64 (Putze, Sanders and Singler, "Cache-, hash- and space-efficient Bloom filters",
//! 2007), so that a look costs one access to memory.

use crate::array::Array;
use skein_proto::ContentId;

/// Bits of the filter for each content: one or two wrong answers in a hundred.
const BITS: usize = 10;

/// Bits that a content sets.
const SET: u32 = 5;

#[derive(Debug, Default)]
pub(crate) struct Filter {
    words: Array<u64>,
}

impl Filter {
    pub(crate) fn new(contents: usize) -> Self {
        Self { words: Array::zeroed((contents * BITS).div_ceil(64)) }
    }

    pub(crate) fn add(&mut self, content: &ContentId) {
        let (at, mask) = self.place(content);
        if let Some(word) = self.words.get_mut(at) {
            *word |= mask;
        }
    }

    #[inline]
    pub(crate) fn may_have(&self, content: &ContentId) -> bool {
        let (at, mask) = self.place(content);
        self.words.get(at).is_some_and(|word| word & mask == mask)
    }

    /// A content is a hash: its own bytes say where it goes. The first eight do not, for contents
    /// are found by them.
    fn place(&self, content: &ContentId) -> (usize, u64) {
        let (chunks, _) = content.as_bytes().as_chunks::<8>();
        let [_, which, bits, _] = chunks else { return (0, 0) };
        let which = u64::from_le_bytes(*which);
        let bits = u64::from_le_bytes(*bits);
        let at = (u128::from(which) * self.words.len() as u128) >> 64;
        let mask = (0..SET).fold(0, |mask, i| mask | 1 << (bits >> (6 * i) & 63));
        (at as usize, mask)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.words.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(number: u32) -> ContentId {
        ContentId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    #[test]
    fn what_was_added_may_be_there_and_little_else() {
        let mut filter = Filter::new(10_000);
        (0..10_000).for_each(|number| filter.add(&content(number)));
        assert!((0..10_000).all(|number| filter.may_have(&content(number))));
        let wrong = (10_000..110_000).filter(|number| filter.may_have(&content(*number))).count();
        assert!(wrong < 2_000, "{wrong} of 100,000");
        assert!(!Filter::new(0).may_have(&content(1)));
    }
}
