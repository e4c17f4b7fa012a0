//! Who publishes, what, and how much of the quota it uses.

use crate::catalogue::{ContentNo, Entry};
use crate::dictionary::{EntryId, WordId};
use crate::memory;
use crate::slab::Slab;
use crate::table::Table;
use skein_proto::{FileMeta, NodeId, Username};
use std::collections::{BTreeMap, BTreeSet};

/// The number of an owner.
pub(crate) type OwnerNo = u32;

/// One owner.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) node: NodeId,
    name: Username,
    /// The entry under which it offers each content.
    records: Table<ContentNo, EntryId>,
    /// How many of its records have each word.
    words: Table<WordId, u32>,
    /// What its records are charged.
    charged: u64,
}

impl Owner {
    pub(crate) fn records(&self) -> u64 {
        self.records.len() as u64
    }

    pub(crate) fn words(&self) -> u64 {
        self.words.len() as u64
    }

    pub(crate) const fn charged(&self) -> u64 {
        self.charged
    }

    pub(crate) fn has_word(&self, word: WordId) -> bool {
        self.words.get(&word).is_some()
    }

    pub(crate) fn record(&self, content: ContentNo) -> Option<EntryId> {
        self.records.get(&content).copied()
    }

    /// Its entries in ascending order.
    pub(crate) fn entries(&self) -> Vec<EntryId> {
        let mut entries: Vec<_> = self.records.unordered_values().copied().collect();
        entries.sort_unstable();
        entries
    }

    fn attach(&mut self, id: EntryId, entry: &Entry) {
        self.records.insert(entry.content, id);
        self.charged += charge(&entry.file);
        for word in &entry.words {
            match self.words.get_mut(&word.word()) {
                Some(count) => *count += 1,
                None => {
                    self.words.insert(word.word(), 1);
                }
            }
        }
    }

    fn detach(&mut self, entry: &Entry) {
        self.records.remove(&entry.content);
        self.charged -= charge(&entry.file);
        for word in &entry.words {
            if let Some(count) = self.words.get_mut(&word.word()) {
                *count -= 1;
                if *count == 0 {
                    self.words.remove(&word.word());
                }
            }
        }
    }

    fn heap_bytes(&self) -> u64 {
        memory::allocation(self.name.as_str().len()) + self.records.bytes() + self.words.bytes()
    }
}

/// What a record counts against its owner's quota of bytes: what it says, and 64 bytes for the
/// numbers in it. It is no reckoning of memory, so that it stays the same whoever else
/// publishes the same.
pub(crate) fn charge(file: &FileMeta) -> u64 {
    let tags = file.tags.as_ref().map_or(0, |tags| {
        let texts = [&tags.artist, &tags.title, &tags.album].into_iter().flatten();
        texts.map(|tag| tag.len()).sum()
    });
    (64 + file.path.as_str().len() + tags) as u64
}

/// All owners.
#[derive(Debug)]
pub(crate) struct Register {
    nodes: Table<NodeId, OwnerNo>,
    names: BTreeMap<Username, BTreeSet<OwnerNo>>,
    owners: Slab<Owner>,
    heap: u64,
}

impl Register {
    pub(crate) fn new() -> Self {
        Self { nodes: Table::new(), names: BTreeMap::new(), owners: Slab::new(), heap: 0 }
    }

    pub(crate) fn number(&self, node: &NodeId) -> Option<OwnerNo> {
        self.nodes.get(node).copied()
    }

    pub(crate) fn get(&self, owner: OwnerNo) -> Option<&Owner> {
        self.owners.get(owner)
    }

    /// Notes that an owner offers an entry.
    pub(crate) fn attach(&mut self, owner: OwnerNo, id: EntryId, entry: &Entry) {
        self.change(owner, |known| known.attach(id, entry));
    }

    /// Notes that an owner no longer offers an entry.
    pub(crate) fn detach(&mut self, owner: OwnerNo, entry: &Entry) {
        self.change(owner, |known| known.detach(entry));
    }

    fn change(&mut self, owner: OwnerNo, change: impl FnOnce(&mut Owner)) {
        let Some(known) = self.owners.get_mut(owner) else { return };
        self.heap -= known.heap_bytes();
        change(known);
        self.heap += known.heap_bytes();
    }

    pub(crate) const fn len(&self) -> usize {
        self.owners.len()
    }

    /// The owners of this name in ascending order: one user may have several nodes.
    pub(crate) fn named(&self, name: &Username) -> Vec<OwnerNo> {
        self.names.get(name).into_iter().flatten().copied().collect()
    }

    /// Adds an owner, or changes its name.
    pub(crate) fn set(&mut self, node: NodeId, name: &Username) {
        let owner = match self.number(&node) {
            Some(owner) => {
                self.forget_name(owner);
                self.change(owner, |known| known.name = name.clone());
                owner
            }
            None => {
                let fresh = Owner {
                    node,
                    name: name.clone(),
                    records: Table::new(),
                    words: Table::new(),
                    charged: 0,
                };
                let heap = fresh.heap_bytes();
                let Some(owner) = self.owners.insert(fresh) else { return };
                self.heap += heap;
                self.nodes.insert(node, owner);
                owner
            }
        };
        self.names.entry(name.clone()).or_default().insert(owner);
    }

    /// Removes an owner, whose records are gone already.
    pub(crate) fn remove(&mut self, owner: OwnerNo) {
        self.forget_name(owner);
        if let Some(gone) = self.owners.remove(owner) {
            self.heap -= gone.heap_bytes();
            self.nodes.remove(&gone.node);
        }
    }

    fn forget_name(&mut self, owner: OwnerNo) {
        let Some(name) = self.owners.get(owner).map(|known| &known.name) else { return };
        if let Some(same_name) = self.names.get_mut(name) {
            same_name.remove(&owner);
            if same_name.is_empty() {
                self.names.remove(name);
            }
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        // Each name has a copy here, and a set that is one node for up to 11 nodes of a user.
        let name = memory::allocation(Username::MAX_CHARS) + memory::allocation(64);
        memory::b_tree::<(Username, BTreeSet<OwnerNo>)>(self.names.len())
            + self.names.len() as u64 * name
            + self.nodes.bytes()
            + self.owners.bytes()
            + self.heap
    }
}
