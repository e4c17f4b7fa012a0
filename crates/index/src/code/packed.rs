//! A list of numbers of one width in bits.

use crate::array::Array;

/// Numbers below a bound, each in as many bits as the bound needs.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    width: u32,
    len: usize,
    /// One word more than is filled, so that a number is read from two words without a question.
    words: Array<u64>,
}

impl Packed {
    /// The number at this place; zero behind the end.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> u32 {
        let bit = at * self.width as usize;
        let Some([low, high]) = self.words.get(bit / 64..bit / 64 + 2) else { return 0 };
        let pair = u128::from(*low) | u128::from(*high) << 64;
        ((pair >> (bit % 64)) as u64 & ((1_u64 << self.width) - 1)) as u32
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.words.bytes()
    }
}

/// Packs numbers one after the other.
#[derive(Debug, Default)]
pub(crate) struct PackedWriter {
    packed: Packed,
}

impl PackedWriter {
    /// For at most so many numbers that are all below `bound`; others are left out.
    pub(crate) fn new(capacity: usize, bound: usize) -> Self {
        let width = (usize::BITS - bound.saturating_sub(1).leading_zeros()).clamp(1, 32);
        let words = (capacity * width as usize).div_ceil(64) + 1;
        Self { packed: Packed { width, len: 0, words: Array::zeroed(words) } }
    }

    #[inline]
    pub(crate) fn push(&mut self, number: u32) {
        let bit = self.packed.len * self.packed.width as usize;
        let pair = u128::from(number) << (bit % 64);
        if let Some([low, high]) = self.packed.words.get_mut(bit / 64..bit / 64 + 2) {
            *low |= pair as u64;
            *high |= (pair >> 64) as u64;
        }
        self.packed.len += 1;
    }

    pub(crate) const fn len(&self) -> usize {
        self.packed.len
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.packed.bytes()
    }

    pub(crate) fn finish(self) -> Packed {
        self.packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_is_got(width in 1_u32..=32, raw in proptest::collection::vec(any::<u32>(), 0..100)) {
            let numbers: Vec<u32> = raw.iter().map(|number| number >> (32 - width)).collect();
            let mut writer = PackedWriter::new(numbers.len(), 1_usize << width);
            numbers.iter().for_each(|number| writer.push(*number));
            let packed = writer.finish();
            for (i, number) in numbers.iter().enumerate() {
                prop_assert_eq!(packed.get(i), *number);
            }
            prop_assert_eq!(packed.get(numbers.len() + 200), 0);
        }
    }
}
