//! The index as its owners change it.

use crate::catalogue::{Catalogue, WordRef};
use crate::dictionary::{Dictionary, EntryId, WordId};
use crate::limits::{Limits, PublishOutcome};
use crate::register::{OwnerNo, Register, charge};
use crate::text::{self, RecordWord};
use crate::vocabulary::VocabularyChanges;
use skein_proto::{ContentId, FileMeta, NodeId, Username};
use std::sync::atomic::{AtomicU64, Ordering};

/// Postings that are gathered before the lists are gone over: enough for some thousand records,
/// half a megabyte.
const BATCH_POSTINGS: usize = 64 * 1024;

/// A keyword index over the records of many owners.
///
/// A record is one content as one owner describes it; an owner has one record of each content.
/// No call panics, and none does more than its arguments and the [`Limits`] allow.
#[derive(Debug)]
pub struct Index {
    limits: Limits,
    pub(crate) dictionary: Dictionary,
    pub(crate) catalogue: Catalogue,
    pub(crate) register: Register,
    records: u64,
    pub(crate) prefixes_cut: AtomicU64,
}

/// Changes whose posting lists are still to be gone over. Entries are dismantled at its end
/// only, so that within it no number changes its meaning.
#[derive(Default)]
struct Batch {
    added: Vec<(WordId, EntryId)>,
    /// Entries that have lost an owner, maybe their last.
    loosened: Vec<EntryId>,
}

impl Index {
    /// An empty index.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            dictionary: Dictionary::new(),
            catalogue: Catalogue::new(),
            register: Register::new(),
            records: 0,
            prefixes_cut: AtomicU64::new(0),
        }
    }

    /// Makes an owner known, or changes the name that filters know it by. Who may be an owner,
    /// and how many, is for the caller to say.
    pub fn set_owner(&mut self, owner: NodeId, name: &Username) {
        self.register.set(owner, name);
    }

    /// Takes in records of a known owner, one after the other. Of an unknown owner none is taken.
    pub fn publish(
        &mut self,
        owner: &NodeId,
        add: impl IntoIterator<Item = FileMeta>,
    ) -> PublishOutcome {
        let mut outcome = PublishOutcome::default();
        let Some(owner) = self.register.number(owner) else {
            outcome.over_quota = add.into_iter().count() as u64;
            return outcome;
        };
        let mut batch = Batch::default();
        for file in add {
            let content = self.catalogue.content_no(&file.content);
            let known = self.register.get(owner);
            let before = content.and_then(|content| known?.record(content));
            let counter = match (self.put(owner, file, before, &mut batch), before) {
                (false, _) => &mut outcome.over_quota,
                (true, Some(_)) => &mut outcome.replaced,
                (true, None) => &mut outcome.accepted,
            };
            *counter += 1;
            if batch.added.len() >= BATCH_POSTINGS {
                self.finish(std::mem::take(&mut batch));
            }
        }
        self.finish(batch);
        outcome
    }

    /// Forgets an owner's records of these contents, and says how many there were.
    pub fn withdraw(&mut self, owner: &NodeId, remove: &[ContentId]) -> u64 {
        let Some(owner) = self.register.number(owner) else { return 0 };
        let mut batch = Batch::default();
        let mut removed = 0;
        for content in remove {
            let content = self.catalogue.content_no(content);
            let known = self.register.get(owner);
            if let Some(entry) = content.and_then(|content| known?.record(content)) {
                self.detach(owner, entry, &mut batch);
                removed += 1;
            }
        }
        self.finish(batch);
        removed
    }

    /// Forgets all records of an owner, who stays known.
    pub fn clear_owner(&mut self, owner: &NodeId) {
        if let Some(owner) = self.register.number(owner) {
            self.clear(owner);
        }
    }

    /// Forgets an owner with all its records, and says how many there were.
    pub fn remove_owner(&mut self, owner: &NodeId) -> u64 {
        let Some(owner) = self.register.number(owner) else { return 0 };
        let removed = self.clear(owner);
        self.register.remove(owner);
        removed
    }

    /// Records of all owners together.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Records of one owner.
    pub fn owner_records(&self, owner: &NodeId) -> u64 {
        let owner = self.register.number(owner).and_then(|owner| self.register.get(owner));
        owner.map_or(0, |owner| owner.records())
    }

    /// Known owners.
    pub const fn owners(&self) -> usize {
        self.register.len()
    }

    /// Different contents.
    pub const fn contents(&self) -> usize {
        self.catalogue.content_count()
    }

    /// Pairs of a content and a set of metadata: what is stored once however many share it.
    pub const fn entries(&self) -> usize {
        self.catalogue.len()
    }

    /// Pairs of a word and an entry that has it.
    pub const fn postings(&self) -> u64 {
        self.dictionary.posting_count()
    }

    /// Bytes of memory, reckoned from what every part of the index has reserved and the usual
    /// cost of an allocation.
    pub fn memory_bytes(&self) -> u64 {
        self.dictionary.bytes() + self.catalogue.bytes() + self.register.bytes()
    }

    /// Whether any record has exactly this word, which is given as [`text::words`] gives it.
    pub fn has_word(&self, word: &str) -> bool {
        self.dictionary.id(word).is_some()
    }

    /// Different words.
    pub fn words(&self) -> usize {
        self.dictionary.len()
    }

    /// Goes through all different words in their order.
    pub fn for_each_word(&self, see: impl FnMut(&str)) {
        self.dictionary.iter().for_each(see);
    }

    /// Goes through the hashes of all different words and of their beginnings (rules 18 and 19 of
    /// [`text`]), each once, in the order of the words.
    pub fn for_each_key(&self, see: impl FnMut(u64)) {
        self.dictionary.for_each_key(see);
    }

    /// What has changed in the set of different words and beginnings since this was last asked. The
    /// first time all have appeared; changes are noted from then on, at most as many as there are
    /// now and were then.
    pub fn take_vocabulary_changes(&mut self) -> VocabularyChanges {
        self.dictionary.pending.take().unwrap_or_else(|| {
            let mut appeared = Vec::with_capacity(self.words());
            self.for_each_key(|hash| appeared.push(hash));
            appeared.sort_unstable();
            VocabularyChanges { appeared, vanished: Vec::new() }
        })
    }

    /// Searches so far in which a beginning stood for more than
    /// [`MAX_PREFIX_WORDS`](crate::MAX_PREFIX_WORDS) words, so that not all of them were tried.
    pub fn prefixes_cut(&self) -> u64 {
        self.prefixes_cut.load(Ordering::Relaxed)
    }

    /// Gives an owner this record in place of the one it had; `false` if it is over quota, with
    /// everything as it was.
    fn put(
        &mut self,
        owner: OwnerNo,
        file: FileMeta,
        before: Option<EntryId>,
        batch: &mut Batch,
    ) -> bool {
        let found = self.catalogue.find(&file);
        if found.is_some() && found == before {
            return true;
        }
        if let Some(before) = before {
            self.detach(owner, before, batch);
        }
        let words = text::record_words(&file);
        let entry = if self.has_room(owner, &file, &words) {
            found.or_else(|| self.create(file, &words, batch))
        } else {
            None
        };
        if let Some(entry) = entry.or(before) {
            self.attach(owner, entry);
        }
        entry.is_some()
    }

    fn has_room(&self, owner: OwnerNo, file: &FileMeta, words: &[RecordWord]) -> bool {
        let Some(owner) = self.register.get(owner) else { return false };
        let limits = &self.limits;
        let ids = words.iter().map(|word| self.dictionary.id(&word.text));
        let (mut new_to_all, mut new_to_owner) = (0, 0);
        for id in ids {
            new_to_all += u64::from(id.is_none());
            new_to_owner += u64::from(!id.is_some_and(|id| owner.has_word(id)));
        }
        let numbers_left = self.catalogue.len() < u32::MAX as usize;
        numbers_left
            && owner.records() < limits.owner_records
            && owner.charged() + charge(file) <= limits.owner_bytes
            && owner.words() + new_to_owner <= limits.owner_words
            && self.records < limits.total_records
            && self.dictionary.len() as u64 + new_to_all <= limits.total_words.min(1 << 31)
            && self.memory_bytes() < limits.total_bytes
    }

    fn create(
        &mut self,
        file: FileMeta,
        words: &[RecordWord],
        batch: &mut Batch,
    ) -> Option<EntryId> {
        let mut refs = Vec::with_capacity(words.len());
        for word in words {
            refs.push(WordRef::new(self.dictionary.intern(&word.text)?, word.in_name));
        }
        refs.sort_unstable();
        let postings: Vec<WordId> = refs.iter().map(|word| word.word()).collect();
        let entry = self.catalogue.insert(file, refs.into_boxed_slice())?;
        batch.added.extend(postings.into_iter().map(|word| (word, entry)));
        Some(entry)
    }

    fn attach(&mut self, owner: OwnerNo, id: EntryId) {
        self.catalogue.add_owner(id, owner);
        if let Some(entry) = self.catalogue.entry(id) {
            self.register.attach(owner, id, entry);
            self.records += 1;
        }
    }

    fn detach(&mut self, owner: OwnerNo, id: EntryId, batch: &mut Batch) {
        if let Some(entry) = self.catalogue.entry(id) {
            self.register.detach(owner, entry);
            self.records -= 1;
        }
        self.catalogue.remove_owner(id, owner);
        batch.loosened.push(id);
    }

    fn clear(&mut self, owner: OwnerNo) -> u64 {
        let mut batch = Batch::default();
        let entries = self.register.get(owner).map(|known| known.entries()).unwrap_or_default();
        for entry in &entries {
            self.detach(owner, *entry, &mut batch);
        }
        self.finish(batch);
        entries.len() as u64
    }

    /// Brings the posting lists up to date and dismantles entries without an owner.
    fn finish(&mut self, mut batch: Batch) {
        self.dictionary.add(batch.added);
        batch.loosened.sort_unstable();
        batch.loosened.dedup();
        let mut gone = Vec::new();
        for id in batch.loosened {
            if self.catalogue.entry(id).is_some_and(|entry| entry.owners.is_empty())
                && let Some(entry) = self.catalogue.remove(id)
            {
                gone.extend(entry.words.iter().map(|word| (word.word(), id)));
            }
        }
        self.dictionary.remove(gone);
    }
}
