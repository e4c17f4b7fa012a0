//! Who publishes, and how much of the quota each one uses.

use crate::distinct::Distinct;
use crate::memory;
use crate::slab::Slab;
use crate::table::Table;
use skein_proto::{FileMeta, NodeId, Username};
use std::collections::BTreeSet;
use std::hash::Hasher as _;
use std::sync::Arc;

/// The number of an owner. Those of removed owners are given out again.
pub(crate) type OwnerNo = u32;

/// Owners that are copied when one of them changes.
const CHUNK: usize = 64;

/// Parts of the table of names, for the same reason.
const NAME_SHARDS: usize = 64;

/// Who an owner is.
type Identity = (NodeId, Username);

/// The hash of a name, and an owner with it.
type Named = (u32, OwnerNo);

/// Who the owners are, as searches need to know. A copy costs little, and a changed copy a little
/// more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    owners: Vec<Arc<Vec<Option<Identity>>>>,
    /// Pairs of the hash of a name and an owner, in ascending order; none until there is an owner.
    names: Vec<Arc<Vec<Named>>>,
    /// What names and the table of names take.
    heap: u64,
}

impl Directory {
    pub(crate) fn get(&self, owner: OwnerNo) -> Option<&Identity> {
        let chunk = self.owners.get(owner as usize / CHUNK)?;
        chunk.get(owner as usize % CHUNK)?.as_ref()
    }

    /// The owners of this name in ascending order: one user may have several nodes.
    pub(crate) fn named(&self, name: &Username) -> Vec<OwnerNo> {
        let hash = name_hash(name);
        let shard = self.names.get(hash as usize % NAME_SHARDS).map_or(&[][..], |it| it);
        let start = shard.partition_point(|(it, _)| *it < hash);
        let owners = shard.iter().skip(start).take_while(|(it, _)| *it == hash);
        let has_name = |owner: &OwnerNo| self.get(*owner).is_some_and(|(_, it)| it == name);
        owners.map(|(_, owner)| *owner).filter(has_name).collect()
    }

    fn set(&mut self, owner: OwnerNo, identity: Option<Identity>) {
        let name = |identity: &Option<Identity>| {
            identity.as_ref().map_or(0, |(_, name)| memory::allocation(name.as_str().len()))
        };
        if self.names.is_empty() {
            self.names.resize_with(NAME_SHARDS, Arc::default);
            self.heap += NAME_SHARDS as u64 * memory::allocation(40);
        }
        let at = owner as usize / CHUNK;
        if self.owners.len() <= at {
            self.owners.resize_with(at + 1, || Arc::new(vec![None; CHUNK]));
        }
        let hash = identity.as_ref().map(|(_, name)| name_hash(name));
        self.heap += name(&identity);
        let chunk = self.owners.get_mut(at).map(Arc::make_mut);
        let slot = chunk.and_then(|chunk| chunk.get_mut(owner as usize % CHUNK));
        let before = slot.and_then(|slot| std::mem::replace(slot, identity));
        self.heap -= name(&before);
        let mut shard = |hash: u32, change: fn(&mut Vec<Named>, Named)| {
            if let Some(shard) = self.names.get_mut(hash as usize % NAME_SHARDS) {
                self.heap -= memory::vector::<Named>(shard.capacity());
                change(Arc::make_mut(shard), (hash, owner));
                self.heap += memory::vector::<Named>(shard.capacity());
            }
        };
        if let Some((_, name)) = before {
            shard(name_hash(&name), |shard, pair| shard.retain(|it| *it != pair));
        }
        if let Some(hash) = hash {
            shard(hash, |shard, pair| {
                if let Err(at) = shard.binary_search(&pair) {
                    shard.insert(at, pair);
                }
            });
        }
    }

    fn bytes(&self) -> u64 {
        let chunk = memory::allocation(40) + memory::vector::<Option<Identity>>(CHUNK);
        self.owners.len() as u64 * (8 + chunk) + self.heap
    }
}

/// Not secret: whoever makes names collide only makes filters on these names slower.
fn name_hash(name: &Username) -> u32 {
    #[allow(deprecated)] // Its result is the same everywhere, which is all that is asked of it.
    let mut hasher = std::hash::SipHasher::new();
    hasher.write(name.as_str().as_bytes());
    hasher.finish() as u32
}

/// What one owner has, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Owner {
    /// It is unknown by now, and only there until its records are forgotten.
    pub(crate) is_leaving: bool,
    pub(crate) records: u64,
    /// What its records are charged.
    pub(crate) charged: u64,
    /// Words of all its records, each counted in each record, and one for a record without any:
    /// never less than the different ones.
    pub(crate) word_uses: u64,
    /// Only kept while the quota may be exceeded, since it takes half as much as all else.
    // In a box of its own, for few owners ever have it.
    pub(crate) words: Option<Box<Distinct>>,
    /// What it offers together with others.
    pub(crate) shares: BTreeSet<u32>,
}

impl Owner {
    fn bytes(&self) -> u64 {
        self.words.as_ref().map_or(0, |it| it.bytes()) + memory::b_tree::<u32>(self.shares.len())
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
    owners: Slab<Owner>,
    pub(crate) directory: Arc<Directory>,
    heap: u64,
    /// Owners who are unknown by now, with records that are still to be forgotten.
    leaving: usize,
}

impl Register {
    pub(crate) fn new() -> Self {
        let directory = Arc::default();
        Self { nodes: Table::new(), owners: Slab::new(), directory, heap: 0, leaving: 0 }
    }

    pub(crate) fn number(&self, node: &NodeId) -> Option<OwnerNo> {
        self.nodes.get(node).copied()
    }

    pub(crate) fn get(&self, owner: OwnerNo) -> Option<&Owner> {
        self.owners.get(owner)
    }

    pub(crate) fn change(&mut self, owner: OwnerNo, change: impl FnOnce(&mut Owner)) {
        let Some(known) = self.owners.get_mut(owner) else { return };
        self.heap -= known.bytes();
        change(known);
        self.heap += known.bytes();
    }

    /// Takes the words of an owner, who must be given them back.
    pub(crate) fn take_words(&mut self, owner: OwnerNo) -> Option<Box<Distinct>> {
        let mut words = None;
        self.change(owner, |known| words = known.words.take());
        words
    }

    /// Owners, with those that are retired.
    pub(crate) const fn len(&self) -> usize {
        self.owners.len()
    }

    /// Adds an owner, or changes its name. Answers whether that changed anything, and then whether it
    /// is a new one.
    pub(crate) fn set(&mut self, node: NodeId, name: &Username) -> Option<bool> {
        let owner = self.number(&node);
        let is_new = owner.is_none();
        let known = owner.and_then(|owner| self.directory.get(owner));
        if known.is_some_and(|(_, it)| it == name) {
            return None;
        }
        let owner = owner.or_else(|| self.owners.insert(Owner::default()))?;
        self.nodes.insert(node, owner);
        Arc::make_mut(&mut self.directory).set(owner, Some((node, name.clone())));
        Some(is_new)
    }

    /// Makes an owner unknown, of whom the next snapshot shows nothing any more. Nobody else has its
    /// number until it is given free.
    pub(crate) fn retire(&mut self, node: &NodeId) {
        let Some(owner) = self.nodes.remove(node) else { return };
        self.change(owner, |known| known.is_leaving = true);
        Arc::make_mut(&mut self.directory).set(owner, None);
        self.leaving += 1;
    }

    /// Whether there are owners who were made unknown and whose numbers are not free yet.
    pub(crate) const fn has_leaving(&self) -> bool {
        self.leaving > 0
    }

    pub(crate) fn is_leaving(&self, owner: OwnerNo) -> bool {
        self.get(owner).is_some_and(|known| known.is_leaving)
    }

    /// Gives the number of a retired owner free, whose records are gone already.
    pub(crate) fn free(&mut self, owner: OwnerNo) {
        if let Some(gone) = self.owners.remove(owner) {
            self.heap -= gone.bytes();
            self.leaving -= usize::from(gone.is_leaving);
        }
        if self.owners.len() == 0 {
            self.directory = Arc::default();
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.nodes.bytes() + self.owners.bytes() + self.directory.bytes() + self.heap
    }
}
