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

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.slots.bytes()
    }

    /// The number of something with this hash, of which `is_it` is true.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        slot(&self.slots, hash, is_it).1
    }

    /// Reads where something with this hash would be, and answers nothing of use.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) -> u32 {
        touch(&self.slots, hash)
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
        self.reserve(1, hash_of);
        let slots = &mut *self.slots;
        let (at, before) = slot(slots, hash, is_it);
        slots[at] = number + 1;
        self.len += usize::from(before.is_none());
        before
    }

    /// Makes sure that there is room for so many more.
    #[inline]
    fn reserve(&mut self, more: usize, hash_of: impl Fn(u32) -> u64) {
        let least = (self.len + more) * 2;
        if least > self.slots.len() {
            self.grow(least, hash_of);
        }
    }

    #[cold]
    fn grow(&mut self, least: usize, hash_of: impl Fn(u32) -> u64) {
        let size = least.next_power_of_two().max(self.slots.len() * 4).max(64);
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

/// What is where something with this hash should be.
#[inline]
fn touch(slots: &[u32], hash: u64) -> u32 {
    slots.get(hash as usize & slots.len().wrapping_sub(1)).copied().unwrap_or_default()
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

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.text.bytes() + self.entries.bytes() + self.numbers.bytes()
    }

    /// All strings.
    pub(crate) fn view(&self) -> View<'_> {
        View { text: &self.text, entries: &self.entries }
    }

    /// Room for so many more strings of so many bytes together, to be added one after the other.
    pub(crate) fn open(&mut self, strings: usize, bytes: usize) -> Interning<'_> {
        let entries = &*self.entries;
        let hash_of = |number: u32| entries.get(number as usize).map_or(0, |entry| entry[0]);
        self.numbers.reserve(strings, hash_of);
        self.entries.reserve(strings);
        // A short text is written with its head as a whole.
        self.text.reserve(bytes + size_of::<u64>());
        let (text, text_len) = self.text.with_room();
        let (entries, len) = self.entries.with_room();
        let Numbers { slots, len: taken } = &mut self.numbers;
        Interning { text, text_len, entries, len, slots, taken }
    }
}

/// An [`Interner`] to which strings are added.
#[derive(Debug)]
pub(crate) struct Interning<'a> {
    text: &'a mut [u8],
    text_len: &'a mut usize,
    entries: &'a mut [Entry],
    len: &'a mut usize,
    slots: &'a mut [u32],
    taken: &'a mut usize,
}

impl Interning<'_> {
    /// Reads where strings with these hashes are or would be, and answers nothing of use: who looks for
    /// several waits for memory once.
    #[inline]
    pub(crate) fn touch(&self, hashes: impl Iterator<Item = u64>) {
        std::hint::black_box(hashes.fold(0, |all, hash| all ^ touch(self.slots, hash)));
    }

    /// The number of a string, of which the hash and the head are known. It is a new one if the
    /// string is new. What there is no room for has the number of the first one.
    #[inline]
    pub(crate) fn intern(&mut self, string: &[u8], hash: u64, head: u64) -> u32 {
        let len = string.len() as u64;
        let (text, entries) = (&*self.text, &*self.entries);
        let is_it = |number: u32| {
            entries.get(number as usize).is_some_and(|it| {
                let [other, start, place] = *it;
                (other, start) == (hash, head)
                    && place & u64::from(u32::MAX) == len
                    && (len <= 8 || text_of(text, *it) == string)
            })
        };
        let (at, known) = slot(self.slots, hash, is_it);
        if let Some(number) = known {
            return number;
        }
        let (new, start) = (*self.len, *self.text_len);
        let (Some(slot), Some(free)) = (self.slots.get_mut(at), self.entries.get_mut(new)) else {
            return 0;
        };
        let room = self.text.get_mut(start..).unwrap_or_default();
        if let Some(bytes) = room.first_chunk_mut().filter(|_| string.len() <= size_of::<u64>()) {
            *bytes = head.to_be_bytes();
        } else if let Some(bytes) = room.get_mut(..string.len()) {
            bytes.copy_from_slice(string);
        }
        *free = entry(hash, head, start, string.len());
        *slot = new as u32 + 1;
        *self.len += 1;
        *self.taken += 1;
        *self.text_len += string.len();
        new as u32
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

    /// As [`View::text`]; a short one is copied to `room`, since its head is nearer than its text.
    #[inline]
    pub(crate) fn text_in(self, number: u32, room: &'a mut [u8; 8]) -> &'a [u8] {
        let entry = self.entry(number);
        let [_, head, place] = entry;
        *room = head.to_be_bytes();
        room.get(..place as u32 as usize).unwrap_or_else(|| text_of(self.text, entry))
    }

    /// Reads something of a string, and answers nothing of use.
    #[inline]
    pub(crate) fn touch(self, number: u32) -> u64 {
        self.entry(number)[2]
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
        fn equal_strings_have_equal_numbers(
            texts in proptest::collection::vec("[ab]{0,8}|[ab]{8,12}", 0..300),
            together in 1_usize..20,
        ) {
            let mut interner = Interner::default();
            let mut seen: Vec<String> = Vec::new();
            for some in texts.chunks(together) {
                let bytes = some.iter().map(String::len).sum();
                let mut interning = interner.open(some.len(), bytes);
                for text in some {
                    // Hashes that collide make no difference.
                    let hash = text.len() as u64 * 64;
                    let number = interning.intern(text.as_bytes(), hash, head(text.as_bytes()));
                    let expected = seen.iter().position(|it| it == text).unwrap_or(seen.len());
                    prop_assert_eq!(number as usize, expected);
                    if expected == seen.len() {
                        seen.push(text.clone());
                    }
                }
                for (number, text) in (0..).zip(&seen) {
                    prop_assert_eq!(interner.view().text(number), text.as_bytes());
                    let mut room = [0; 8];
                    let text_in = interner.view().text_in(number, &mut room);
                    prop_assert_eq!(text_in, text.as_bytes());
                }
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
