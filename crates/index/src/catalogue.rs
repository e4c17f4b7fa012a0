//! What is offered: contents, and under which metadata.

use crate::dictionary::{EntryId, WordId};
use crate::memory;
use crate::register::OwnerNo;
use crate::slab::Slab;
use crate::table::Table;
use skein_proto::{ContentId, FileMeta, MediaTags};
use std::mem::size_of;

/// The number of a content.
pub(crate) type ContentNo = u32;

/// A word of an entry: its number in the upper 31 bits, and whether it stands in the file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WordRef(u32);

impl WordRef {
    pub(crate) const fn new(word: WordId, in_name: bool) -> Self {
        Self(word << 1 | in_name as u32)
    }

    pub(crate) const fn word(self) -> WordId {
        self.0 >> 1
    }

    pub(crate) const fn in_name(self) -> bool {
        self.0 & 1 == 1
    }
}

/// One content under one set of metadata.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) content: ContentNo,
    pub(crate) file: FileMeta,
    /// In ascending order of their numbers.
    pub(crate) words: Box<[WordRef]>,
    /// Who publishes exactly this, in ascending order. Empty only inside a batch of changes.
    pub(crate) owners: Vec<OwnerNo>,
    /// The length of the file name.
    pub(crate) name_chars: u16,
}

impl Entry {
    /// Whether it has the word, and if so whether that stands in the file name.
    pub(crate) fn word(&self, id: WordId) -> Option<bool> {
        let at = self.words.binary_search_by_key(&id, |word| word.word()).ok()?;
        self.words.get(at).map(|word| word.in_name())
    }

    fn heap_bytes(&self) -> u64 {
        let text = |text: &str| memory::allocation(text.len());
        let tags = self.file.tags.as_ref().map_or(0, |tags| {
            let texts = [&tags.artist, &tags.title, &tags.album].into_iter().flatten();
            memory::allocation(size_of::<MediaTags>()) + texts.map(|tag| text(tag)).sum::<u64>()
        });
        text(self.file.path.as_str())
            + tags
            + memory::vector::<WordRef>(self.words.len())
            + memory::vector::<OwnerNo>(self.owners.capacity())
    }
}

/// All contents and entries.
#[derive(Debug)]
pub(crate) struct Catalogue {
    ids: Table<ContentId, ContentNo>,
    /// The entries of each content, never none.
    contents: Slab<Vec<EntryId>>,
    entries: Slab<Entry>,
    heap: u64,
}

impl Catalogue {
    pub(crate) fn new() -> Self {
        Self { ids: Table::new(), contents: Slab::new(), entries: Slab::new(), heap: 0 }
    }

    pub(crate) fn content_no(&self, id: &ContentId) -> Option<ContentNo> {
        self.ids.get(id).copied()
    }

    /// The entries of a content.
    pub(crate) fn entries_of(&self, content: ContentNo) -> &[EntryId] {
        self.contents.get(content).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn entry(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// The entry with exactly this metadata.
    pub(crate) fn find(&self, file: &FileMeta) -> Option<EntryId> {
        let content = self.content_no(&file.content)?;
        let is_it = |id: &EntryId| self.entry(*id).is_some_and(|entry| entry.file == *file);
        self.entries_of(content).iter().copied().find(is_it)
    }

    /// Entries in all.
    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Different contents.
    pub(crate) const fn content_count(&self) -> usize {
        self.contents.len()
    }

    /// Adds an entry that nobody owns yet; `None` if there are no numbers left.
    pub(crate) fn insert(&mut self, file: FileMeta, words: Box<[WordRef]>) -> Option<EntryId> {
        let content = match self.content_no(&file.content) {
            Some(content) => content,
            None => {
                let content = self.contents.insert(Vec::new())?;
                self.ids.insert(file.content, content);
                content
            }
        };
        let name_chars = file.path.file_name().chars().count();
        let name_chars = u16::try_from(name_chars).unwrap_or(u16::MAX);
        let entry = Entry { content, file, words, owners: Vec::new(), name_chars };
        let heap = entry.heap_bytes();
        let id = self.entries.insert(entry)?;
        self.heap += heap;
        if let Some(entries) = self.contents.get_mut(content) {
            let before = memory::vector::<EntryId>(entries.capacity());
            entries.push(id);
            self.heap += memory::vector::<EntryId>(entries.capacity()) - before;
        }
        Some(id)
    }

    /// Removes an entry and, with its last one, the content.
    pub(crate) fn remove(&mut self, id: EntryId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.heap -= entry.heap_bytes();
        if let Some(entries) = self.contents.get_mut(entry.content) {
            self.heap -= memory::vector::<EntryId>(entries.capacity());
            entries.retain(|other| *other != id);
            if entries.len() < entries.capacity() / 4 {
                entries.shrink_to(entries.len() * 2);
            }
            if entries.is_empty() {
                self.contents.remove(entry.content);
                self.ids.remove(&entry.file.content);
            } else {
                self.heap += memory::vector::<EntryId>(entries.capacity());
            }
        }
        Some(entry)
    }

    pub(crate) fn add_owner(&mut self, id: EntryId, owner: OwnerNo) {
        self.change_owners(id, |owners| {
            if let Err(at) = owners.binary_search(&owner) {
                // Most entries have one owner for ever: room for four would be three too many.
                if owners.is_empty() {
                    owners.reserve_exact(1);
                }
                owners.insert(at, owner);
            }
        });
    }

    pub(crate) fn remove_owner(&mut self, id: EntryId, owner: OwnerNo) {
        self.change_owners(id, |owners| {
            if let Ok(at) = owners.binary_search(&owner) {
                owners.remove(at);
            }
            if owners.len() < owners.capacity() / 4 {
                owners.shrink_to(owners.len() * 2);
            }
        });
    }

    fn change_owners(&mut self, id: EntryId, change: impl FnOnce(&mut Vec<OwnerNo>)) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        self.heap -= memory::vector::<OwnerNo>(entry.owners.capacity());
        change(&mut entry.owners);
        self.heap += memory::vector::<OwnerNo>(entry.owners.capacity());
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.ids.bytes() + self.contents.bytes() + self.entries.bytes() + self.heap
    }
}
