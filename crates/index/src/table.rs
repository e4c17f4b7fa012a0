//! A hash map that shrinks, and whose size in memory is the same in every run.
//!
//! The standard one never shrinks by itself, and what it says of its capacity depends on the hash
//! seed. Keys here are strangers' choice, so the seeded hash stays; only its order must never
//! show.

use crate::memory;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

#[derive(Debug)]
pub(crate) struct Table<K, V> {
    map: HashMap<K, V>,
    /// The most elements since the memory was last given back.
    peak: usize,
}

impl<K: Eq + Hash, V> Table<K, V> {
    pub(crate) fn new() -> Self {
        Self { map: HashMap::new(), peak: 0 }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.map.insert(key, value);
        self.peak = self.peak.max(self.map.len());
        before
    }

    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let value = self.map.remove(key)?;
        if self.map.len() <= self.peak / 4 {
            self.map.shrink_to_fit();
            self.peak = self.map.len();
        }
        Some(value)
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.map.get(key)
    }

    pub(crate) fn bytes(&self) -> u64 {
        memory::hash_table::<(K, V)>(self.peak)
    }
}
