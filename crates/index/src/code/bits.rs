//! One bit for each document, which one thread clears while others look.

use crate::memory;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words of 64 bits for so many bits.
const fn words_for(bits: usize) -> usize {
    bits.div_ceil(64)
}

/// Which documents of a segment are still there. Clearing a bit is one atomic operation, so that
/// readers neither wait nor need a copy.
#[derive(Debug)]
pub(crate) struct LiveBits {
    words: Box<[AtomicU64]>,
    len: usize,
}

impl LiveBits {
    /// All bits set.
    pub(crate) fn all(len: usize) -> Self {
        let word = |i: usize| match len - i * 64 {
            rest @ 0..64 => (1_u64 << rest) - 1,
            _ => u64::MAX,
        };
        let words = (0..words_for(len)).map(|i| AtomicU64::new(word(i))).collect();
        Self { words, len }
    }

    /// What they are at the moment.
    pub(crate) fn copy(&self) -> Self {
        let word = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed));
        Self { words: self.words.iter().map(word).collect(), len: self.len }
    }

    /// Whether it is set. Relaxed order is enough: a bit guards no other memory, and a reader that
    /// sees it a moment late has merely searched a moment earlier.
    #[inline]
    pub(crate) fn get(&self, at: u32) -> bool {
        let word = self.words.get(at as usize / 64);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (at % 64) & 1 == 1)
    }

    /// The first bit from `at` on that is set.
    #[inline]
    pub(crate) fn next(&self, at: u32) -> Option<u32> {
        let mut mask = u64::MAX << (at % 64);
        for (number, word) in (at / 64..).zip(self.words.get(at as usize / 64..)?) {
            let rest = word.load(Ordering::Relaxed) & mask;
            if rest != 0 {
                return Some(number * 64 + rest.trailing_zeros());
            }
            mask = u64::MAX;
        }
        None
    }

    /// Clears a bit, and says whether it was set.
    pub(crate) fn clear(&self, at: u32) -> bool {
        let bit = 1 << (at % 64);
        let word = self.words.get(at as usize / 64);
        word.is_some_and(|word| word.fetch_and(!bit, Ordering::Relaxed) & bit != 0)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> u64 {
        memory::vector::<u64>(self.words.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_is_cleared_by_itself_and_once() {
        for len in [0_u32, 1, 63, 64, 65, 200] {
            let bits = LiveBits::all(len as usize);
            assert!((0..len).all(|at| bits.get(at)) && !bits.get(len) && !bits.get(len + 64));
            for at in (0..len).step_by(3) {
                assert!(bits.clear(at) && !bits.clear(at));
            }
            assert!((0..len).all(|at| bits.get(at) == (at % 3 != 0)));
            assert!(!bits.clear(len + 64));
            for at in 0..=len {
                assert_eq!(bits.next(at), (at..len).find(|it| bits.get(*it)));
            }
        }
    }
}
