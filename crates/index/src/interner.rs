//! Strings with numbers, while a segment is put together, and the hash by which they are found.

use crate::array::Array;
use std::hash::{BuildHasher as _, RandomState};

/// Turns words into numbers that cannot be guessed, so that nobody can choose words that all fall
/// on the same spot of a table. The numbers differ from run to run and are never seen outside.
///
/// Eight bytes at a time are multiplied with a secret, and the halves of the product are laid over
/// each other (the way of wyhash and its kin). That is no cryptographic hash; but who knows neither
/// the secrets nor any result can do no better than guess, and it takes a fifth of the time
/// of one that is.
#[derive(Clone, Debug)]
pub(crate) struct WordHasher {
    secrets: [u64; 3],
}

impl Default for WordHasher {
    fn default() -> Self {
        // The only source of randomness that the standard library has.
        let random = RandomState::new();
        // A factor with few bits would mix little.
        let secret = |which: u8| random.hash_one(which) | 1 << 63 | 1;
        Self { secrets: [secret(0), secret(1), secret(2)] }
    }
}

impl WordHasher {
    #[inline]
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        let [first, factor, last] = self.secrets;
        let mut state = first;
        let mut rest = bytes;
        while rest.len() > 8 {
            let (chunk, later) = rest.split_at(8);
            state = fold(state ^ head(chunk), factor);
            rest = later;
        }
        // The length last, or it could be made up for by bytes that differ as it does.
        fold(fold(state ^ head(rest), factor) ^ bytes.len() as u64, last)
    }
}

#[inline]
const fn fold(one: u64, other: u64) -> u64 {
    let product = one as u128 * other as u128;
    product as u64 ^ (product >> 64) as u64
}

/// The first eight bytes as a number that sorts as they do; what is missing counts as zeros.
#[inline]
pub(crate) fn head(text: &[u8]) -> u64 {
    if let Some(bytes) = text.first_chunk() {
        return u64::from_be_bytes(*bytes);
    }
    // Two reads that overlap, instead of a loop over the bytes.
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let (first, last) = (u32::from_be_bytes(*first), u32::from_be_bytes(*last));
        return u64::from(first) << 32 | u64::from(last) << (64 - 8 * text.len());
    }
    let byte = |at: usize| text.get(at).map_or(0, |byte| u64::from(*byte) << (56 - 8 * at));
    byte(0) | byte(1) | byte(2)
}

/// Numbers found by the hashes of what they stand for: a hash table with linear probing, at most
/// half full. In each slot stand the upper half of a hash and a number, so that what is meant is
/// looked at only where both hashes are alike.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// The number plus one; zero where there is none.
    slots: Array<u64>,
    len: usize,
}

impl Numbers {
    /// The number of something with this hash, of which `is_it` is true.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.slot(hash, is_it).1
    }

    /// The slot where something is or would be, and its number if it is there.
    #[inline]
    fn slot(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> (usize, Option<u32>) {
        let slots = &*self.slots;
        let mask = slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        while let Some(slot) = slots.get(at).filter(|slot| **slot != 0) {
            let number = (*slot as u32).wrapping_sub(1);
            if slot >> 32 == hash >> 32 && is_it(number) {
                return (at, Some(number));
            }
            at = (at + 1) & mask;
        }
        (at, None)
    }

    /// As [`Numbers::find`]; and puts `number` in its place. `hash_of` gives the hash of each
    /// number that was put in.
    #[inline]
    pub(crate) fn replace(
        &mut self,
        hash: u64,
        number: u32,
        is_it: impl Fn(u32) -> bool,
        hash_of: impl Fn(u32) -> u64,
    ) -> Option<u32> {
        self.make_room(hash_of);
        let (at, before) = self.slot(hash, is_it);
        self.put(at, hash, number, before.is_none());
        before
    }

    /// As [`Numbers::find`]; what is new is given `number`.
    #[inline]
    pub(crate) fn find_or_put(
        &mut self,
        hash: u64,
        number: u32,
        is_it: impl Fn(u32) -> bool,
        hash_of: impl Fn(u32) -> u64,
    ) -> Option<u32> {
        self.make_room(hash_of);
        let (at, before) = self.slot(hash, is_it);
        if before.is_none() {
            self.put(at, hash, number, true);
        }
        before
    }

    #[inline]
    fn put(&mut self, at: usize, hash: u64, number: u32, is_new: bool) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = (hash >> 32) << 32 | u64::from(number.wrapping_add(1));
            self.len += usize::from(is_new);
        }
    }

    #[inline]
    fn make_room(&mut self, hash_of: impl Fn(u32) -> u64) {
        if self.len * 2 >= self.slots.len() {
            self.grow(hash_of);
        }
    }

    #[cold]
    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        let size = (self.slots.len() * 2).max(64);
        let before = std::mem::replace(&mut self.slots, Array::zeroed(size));
        let slots = &mut *self.slots;
        for slot in before.iter().filter(|slot| **slot != 0) {
            let mut at = hash_of((*slot as u32).wrapping_sub(1)) as usize & (size - 1);
            while slots[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            slots[at] = *slot;
        }
    }
}

/// Different strings, numbered in the order of their coming.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    text: Array<u8>,
    /// Where each string ends.
    ends: Array<u32>,
    hashes: Array<u64>,
    numbers: Numbers,
}

impl Interner {
    pub(crate) const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all strings together.
    pub(crate) const fn text_bytes(&self) -> usize {
        self.text.len()
    }

    #[inline]
    pub(crate) fn text(&self, number: u32) -> &[u8] {
        text(&self.text, &self.ends, number)
    }

    /// The hash that a string came with.
    pub(crate) fn hash(&self, number: u32) -> u64 {
        self.hashes.get(number as usize).copied().unwrap_or_default()
    }

    /// The number of a string, which is a new one if the string is new.
    #[inline]
    pub(crate) fn intern(&mut self, string: &[u8], hash: u64) -> u32 {
        let new = self.ends.len() as u32;
        let (all, ends, hashes) = (&*self.text, &*self.ends, &*self.hashes);
        let is_it = |number| text(all, ends, number) == string;
        let hash_of = |number: u32| hashes.get(number as usize).copied().unwrap_or_default();
        if let Some(number) = self.numbers.find_or_put(hash, new, is_it, hash_of) {
            return number;
        }
        self.text.extend_from_slice(string);
        self.ends.push(self.text.len() as u32);
        self.hashes.push(hash);
        new
    }
}

#[inline]
fn text<'a>(all: &'a [u8], ends: &[u32], number: u32) -> &'a [u8] {
    let at = number as usize;
    let start = ends.get(at.wrapping_sub(1)).copied().unwrap_or_default();
    let end = ends.get(at).copied().unwrap_or_default();
    all.get(start as usize..end as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equal_strings_have_equal_numbers(texts in proptest::collection::vec("[ab]{0,8}", 0..300)) {
            let mut interner = Interner::default();
            let mut seen: Vec<String> = Vec::new();
            for text in &texts {
                // Hashes that collide make no difference.
                let number = interner.intern(text.as_bytes(), text.len() as u64 * 64);
                let expected = seen.iter().position(|it| it == text).unwrap_or(seen.len());
                prop_assert_eq!(number as usize, expected);
                if expected == seen.len() {
                    seen.push(text.clone());
                }
                prop_assert_eq!(interner.text(number), text.as_bytes());
            }
            prop_assert_eq!(interner.len(), seen.len());
        }

        #[test]
        fn heads_sort_as_their_texts_do(one in "[a-c\0]{0,12}", other in "[a-c\0]{0,12}") {
            let pad = |text: &str| {
                let mut bytes = text.as_bytes().to_vec();
                bytes.resize(bytes.len().max(8), 0);
                bytes.truncate(8);
                bytes
            };
            let heads = (head(one.as_bytes()), head(other.as_bytes()));
            prop_assert_eq!(heads.0.cmp(&heads.1), pad(&one).cmp(&pad(&other)));
        }
    }

    #[test]
    fn texts_that_differ_in_anything_have_different_hashes_that_fill_all_bits() {
        let hasher = WordHasher::default();
        let mut hashes = Vec::new();
        for len in 0..40_usize {
            let zeros = vec![0; len];
            hashes.push(hasher.hash(&zeros));
            for at in 0..len {
                let mut text = zeros.clone();
                text[at] = 1;
                hashes.push(hasher.hash(&text));
            }
        }
        let (all, any) = hashes.iter().fold((u64::MAX, 0), |(all, any), it| (all & it, any | it));
        assert_eq!((all, any), (0, u64::MAX));
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
        assert_ne!(hasher.hash(b"word"), WordHasher::default().hash(b"word"));
    }
}
