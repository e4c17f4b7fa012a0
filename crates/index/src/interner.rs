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
        self.hash_headed(head(bytes), bytes)
    }

    /// As [`WordHasher::hash`], of bytes whose [`head`] is known.
    #[inline]
    pub(crate) fn hash_headed(&self, first: u64, bytes: &[u8]) -> u64 {
        let [start, factor, last] = self.secrets;
        let mut state = fold(start ^ first, factor);
        let mut rest = bytes;
        while rest.len() > 8 {
            rest = &rest[8..];
            state = fold(state ^ head(rest), factor);
        }
        // The length last, or it could be made up for by bytes that differ as it does.
        fold(state ^ bytes.len() as u64, last)
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

/// A table of which less than one slot in so many is in use is given up rather than cleared.
const LITTLE: usize = 32;

/// Numbers found by the hashes of what they stand for: a hash table with linear probing, at most
/// half full.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// The number plus one; zero where there is none. As many as a power of two.
    slots: Array<u32>,
    len: usize,
}

impl Numbers {
    /// Takes all out. The room is kept, unless much less would have done.
    pub(crate) fn clear(&mut self) {
        if self.len * LITTLE < self.slots.len() {
            self.slots = Array::default();
        } else {
            self.slots.fill(0);
        }
        self.len = 0;
    }

    /// The number of something with this hash, of which `is_it` is true.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        slot(&self.slots, hash, is_it).1
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
        let (at, before) = self.seat(hash, is_it, hash_of);
        self.slots[at] = number + 1;
        self.len += usize::from(before.is_none());
        before
    }

    /// As [`Numbers::find`]; what is new is given `number`.
    #[inline]
    fn find_or_put(
        &mut self,
        hash: u64,
        number: u32,
        is_it: impl Fn(u32) -> bool,
        hash_of: impl Fn(u32) -> u64,
    ) -> Option<u32> {
        let (at, before) = self.seat(hash, is_it, hash_of);
        if before.is_none() {
            self.slots[at] = number + 1;
            self.len += 1;
        }
        before
    }

    /// As [`Numbers::find`]; and where the number is, or belongs.
    #[inline]
    fn seat(
        &mut self,
        hash: u64,
        is_it: impl Fn(u32) -> bool,
        hash_of: impl Fn(u32) -> u64,
    ) -> (usize, Option<u32>) {
        if self.len * 2 >= self.slots.len() {
            self.grow(hash_of);
        }
        slot(&self.slots, hash, is_it)
    }

    #[cold]
    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        let size = (self.slots.len() * 4).max(64);
        let before = std::mem::replace(&mut self.slots, Array::zeroed(size));
        let slots = &mut *self.slots;
        for slot in before.iter().filter(|slot| **slot != 0) {
            let mut at = hash_of(slot - 1) as usize & (size - 1);
            while slots[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            slots[at] = *slot;
        }
    }
}

/// The slot where something is or would be, and its number if it is there.
#[inline]
fn slot(slots: &[u32], hash: u64, is_it: impl Fn(u32) -> bool) -> (usize, Option<u32>) {
    let mask = slots.len().wrapping_sub(1);
    let mut at = hash as usize & mask;
    while let Some(slot) = slots.get(at).filter(|slot| **slot != 0) {
        if is_it(slot - 1) {
            return (at, Some(slot - 1));
        }
        at = (at + 1) & mask;
    }
    (at, None)
}

/// A string of an [`Interner`]: its hash, its head (the first bytes, of most words all there are),
/// and where it begins and how long it is.
type Entry = [u64; 3];

const fn entry(hash: u64, head: u64, start: usize, len: usize) -> Entry {
    [hash, head, (start as u64) << 32 | len as u64]
}

#[inline]
fn text_of(all: &[u8], [_, _, place]: Entry) -> &[u8] {
    let (start, len) = ((place >> 32) as usize, place as u32 as usize);
    all.get(start..start + len).unwrap_or_default()
}

/// Different strings, numbered in the order of their coming.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    text: Array<u8>,
    entries: Array<Entry>,
    numbers: Numbers,
}

impl Interner {
    /// Takes all strings out, and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
        self.numbers.clear();
    }

    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all strings together.
    pub(crate) const fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// All strings.
    pub(crate) fn view(&self) -> View<'_> {
        View { text: &self.text, entries: &self.entries }
    }

    /// The number of a string, of which the hash and the head are known. It is a new one if the
    /// string is new.
    #[inline]
    pub(crate) fn intern(&mut self, string: &[u8], hash: u64, head: u64) -> u32 {
        let new = self.entries.len() as u32;
        let (text, entries) = (&self.text, &*self.entries);
        let len = string.len() as u64;
        let is_it = |number: u32| {
            entries.get(number as usize).is_some_and(|it| {
                let [other, start, place] = *it;
                (other, start) == (hash, head)
                    && place & u64::from(u32::MAX) == len
                    && (len <= 8 || text_of(text, *it) == string)
            })
        };
        let hash_of = |number: u32| entries.get(number as usize).map_or(0, |entry| entry[0]);
        if let Some(number) = self.numbers.find_or_put(hash, new, is_it, hash_of) {
            return number;
        }
        self.entries.push(entry(hash, head, self.text.len(), string.len()));
        self.text.extend_from_slice(string);
        new
    }
}

/// The strings of an [`Interner`], when no more are to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    text: &'a [u8],
    entries: &'a [Entry],
}

impl<'a> View<'a> {
    pub(crate) const fn len(self) -> usize {
        self.entries.len()
    }

    #[inline]
    fn entry(self, number: u32) -> Entry {
        self.entries.get(number as usize).copied().unwrap_or_default()
    }

    #[inline]
    pub(crate) fn text(self, number: u32) -> &'a [u8] {
        text_of(self.text, self.entry(number))
    }

    /// The first bytes of a string: see [`head`].
    #[inline]
    pub(crate) fn head(self, number: u32) -> u64 {
        self.entry(number)[1]
    }

    /// The hash that a string came with.
    #[inline]
    pub(crate) fn hash(self, number: u32) -> u64 {
        self.entry(number)[0]
    }
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
                let hash = text.len() as u64 * 64;
                let number = interner.intern(text.as_bytes(), hash, head(text.as_bytes()));
                let expected = seen.iter().position(|it| it == text).unwrap_or(seen.len());
                prop_assert_eq!(number as usize, expected);
                if expected == seen.len() {
                    seen.push(text.clone());
                }
                prop_assert_eq!(interner.view().text(number), text.as_bytes());
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
