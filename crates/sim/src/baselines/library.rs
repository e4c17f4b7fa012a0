//! What the nodes of a network for keyword searches share.

use super::world::Address;
use crate::workload::{Content, Search, Workload};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The most results that a node sends of its own files, as one byte counts them in Gnutella.
pub const MOST_RESULTS: usize = 255;

/// What every user shares, and the searches that are made.
///
/// That a node looks for a search's words among its own files always has the same result: it is
/// worked out once for all nodes, when the search is made.
#[derive(Clone, Debug)]
pub struct Library {
    workload: Arc<Workload>,
    searches: Vec<Prepared>,
}

#[derive(Clone, Debug)]
struct Prepared {
    text_bytes: u64,
    matches: FxHashMap<u32, Vec<Content>>,
}

impl Library {
    /// The files of a workload.
    pub const fn new(workload: Arc<Workload>) -> Self {
        Self { workload, searches: Vec::new() }
    }

    /// Whose files these are.
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// Makes a search; answers its number.
    pub fn prepare(&mut self, search: &Search) -> u32 {
        let catalogue = &self.workload.catalogue;
        let mut matches: FxHashMap<u32, Vec<Content>> = FxHashMap::default();
        for content in catalogue.matching(&search.words) {
            for user in self.workload.holdings.holders(content) {
                matches.entry(*user).or_default().push(content);
            }
        }
        let text_bytes = catalogue.text(&search.words).len() as u64;
        self.searches.push(Prepared { text_bytes, matches });
        // Searches are counted by u32, as operations are.
        self.searches.len() as u32 - 1
    }

    /// What a user's own files have for a search, at most [`MOST_RESULTS`].
    pub fn matches(&self, search: u32, user: u32) -> &[Content] {
        let found = self.searches.get(search as usize).and_then(|s| s.matches.get(&user));
        found.map_or(&[], |found| &found[..found.len().min(MOST_RESULTS)])
    }

    /// All users who have something for a search, in the order of their numbers.
    pub fn holders(&self, search: u32) -> Vec<u32> {
        let matches = self.searches.get(search as usize).map(|search| &search.matches);
        let mut users: Vec<u32> = matches.into_iter().flat_map(|m| m.keys()).copied().collect();
        users.sort_unstable();
        users
    }

    /// Bytes of a search's words.
    pub fn text_bytes(&self, search: u32) -> u64 {
        self.searches.get(search as usize).map_or(0, |search| search.text_bytes)
    }

    /// Bytes of the names of files, and so many more for each.
    pub fn name_bytes(&self, contents: &[Content], more: u64) -> u64 {
        let name = |content: &Content| self.workload.catalogue.file_name(*content).len() as u64;
        contents.iter().map(|content| name(content) + more).sum()
    }
}

/// Which searches have come by, and from whom: what stops a flood from going round, and shows hits
/// the way back. Of so many the older half is forgotten.
#[derive(Debug, Default)]
pub struct Seen {
    new: FxHashMap<u32, Address>,
    old: FxHashMap<u32, Address>,
}

impl Seen {
    /// Half of the most that is remembered: some minutes of a busy network.
    const HALF: usize = 2_048;

    /// Remembers from whom something came; answers whether it is new.
    pub fn insert(&mut self, id: u32, from: Address) -> bool {
        if self.from(id).is_some() {
            return false;
        }
        if self.new.len() >= Self::HALF {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(id, from);
        true
    }

    /// From whom something came first.
    pub fn from(&self, id: u32) -> Option<Address> {
        self.new.get(&id).or_else(|| self.old.get(&id)).copied()
    }

    /// How much is remembered.
    pub fn len(&self) -> usize {
        self.new.len() + self.old.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
