//! A list of numbers of one width in bits.

use crate::memory;

/// Numbers below a bound, each in as many bits as the bound needs.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    width: u32,
    /// One word more than is filled, so that a number is read from two words without a question.
    words: Box<[u64]>,
}

impl Packed {
    /// Packs numbers that are all below `bound`.
    pub(crate) fn new(numbers: impl ExactSizeIterator<Item = u32>, bound: usize) -> Self {
        let width = (usize::BITS - bound.saturating_sub(1).leading_zeros()).clamp(1, 32);
        let len = numbers.len();
        let mut words = vec![0_u64; (len * width as usize).div_ceil(64) + 1].into_boxed_slice();
        for (i, number) in numbers.enumerate() {
            let bit = i * width as usize;
            let pair = u128::from(number) << (bit % 64);
            if let [low, high, ..] = &mut words[bit / 64..] {
                *low |= pair as u64;
                *high |= (pair >> 64) as u64;
            }
        }
        Self { width, words }
    }

    /// The number at this place; zero behind the end.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> u32 {
        let bit = at * self.width as usize;
        let Some([low, high]) = self.words.get(bit / 64..bit / 64 + 2) else { return 0 };
        let pair = u128::from(*low) | u128::from(*high) << 64;
        ((pair >> (bit % 64)) as u64 & ((1_u64 << self.width) - 1)) as u32
    }

    pub(crate) fn bytes(&self) -> u64 {
        memory::vector::<u64>(self.words.len())
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
            let packed = Packed::new(numbers.iter().copied(), 1_usize << width);
            for (i, number) in numbers.iter().enumerate() {
                prop_assert_eq!(packed.get(i), *number);
            }
            prop_assert_eq!(packed.get(numbers.len() + 200), 0);
        }
    }
}
