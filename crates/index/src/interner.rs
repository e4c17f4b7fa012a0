//! Strings with numbers, while a segment is put together.

use std::hash::{BuildHasher as _, RandomState};

/// Turns words into numbers that cannot be guessed, so that nobody can choose words that all fall
/// on the same spot of a table. The numbers differ from run to run and are never seen outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct WordHasher(RandomState);

impl WordHasher {
    #[inline]
    pub(crate) fn hash(&self, text: &str) -> u64 {
        self.0.hash_one(text)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    len: u32,
    hash: u64,
}

/// Different strings, numbered in the order of their coming.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    text: String,
    entries: Vec<Entry>,
    /// Numbers, each where its hash says or behind; `u32::MAX` where there is none. At most half
    /// full, and as long as a power of two.
    table: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Interner {
    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn text(&self, number: u32) -> &str {
        let entry = self.entries.get(number as usize);
        entry.map_or("", |it| &self.text[it.start as usize..(it.start + it.len) as usize])
    }

    /// The hash that a string came with.
    pub(crate) fn hash(&self, number: u32) -> u64 {
        self.entries.get(number as usize).map_or(0, |entry| entry.hash)
    }

    /// The number of a string, which is a new one if the string is new.
    pub(crate) fn intern(&mut self, text: &str, hash: u64) -> u32 {
        if self.entries.len() * 2 >= self.table.len() {
            self.grow();
        }
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        while self.table[at] != NONE {
            let number = self.table[at];
            if self.hash(number) == hash && self.text(number) == text {
                return number;
            }
            at = (at + 1) & mask;
        }
        let number = self.entries.len() as u32;
        self.table[at] = number;
        let (start, len) = (self.text.len() as u32, text.len() as u32);
        self.entries.push(Entry { start, len, hash });
        self.text.push_str(text);
        number
    }

    fn grow(&mut self) {
        let size = (self.table.len() * 2).max(64);
        self.table.clear();
        self.table.resize(size, NONE);
        for (number, entry) in self.entries.iter().enumerate() {
            let mut at = entry.hash as usize & (size - 1);
            while self.table[at] != NONE {
                at = (at + 1) & (size - 1);
            }
            self.table[at] = number as u32;
        }
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
                let number = interner.intern(text, text.len() as u64 * 64);
                let expected = seen.iter().position(|it| it == text).unwrap_or(seen.len());
                prop_assert_eq!(number as usize, expected);
                if expected == seen.len() {
                    seen.push(text.clone());
                }
                prop_assert_eq!(interner.text(number), text);
            }
            prop_assert_eq!(interner.len(), seen.len());
        }
    }
}
