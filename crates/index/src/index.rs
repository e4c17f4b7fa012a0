//! The index as its owners change it.

use crate::departure::Pieces;
use crate::limits::{Limits, PublishOutcome};
use crate::register::{OwnerNo, Register};
use crate::search::{Found, Reader};
use crate::snapshot::Shared;
use crate::spare::{self, Own};
use crate::store::Store;
use crate::survey::KeyScan;
use crate::text::{MAX_RECORD_WORDS, ParsedQuery};
use crate::vocabulary::VocabularyChanges;
use skein_proto::{ContentId, FileMeta, NodeId, Query, Username};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Records of which it is asked together which segments may have their contents: a bit for each.
const AT_A_TIME: usize = u64::BITS as usize;

/// A keyword index over the records of many owners.
///
/// A record is one content as one owner describes it; an owner has one record of each content.
/// No call panics, and none does more than its arguments and the [`Limits`] allow.
#[derive(Debug)]
pub struct Index {
    pub(crate) limits: Limits,
    pub(crate) register: Register,
    pub(crate) store: Store,
    /// Those of known owners.
    pub(crate) records: u64,
    /// Owners who have gone, with records that are still to be forgotten.
    pub(crate) leaving: VecDeque<OwnerNo>,
    pub(crate) leaving_records: u64,
    pub(crate) pieces: Pieces,
    /// Records that may come before memory is reckoned again.
    pub(crate) unreckoned: u32,
    /// Whether there are owners of whom readers do not know yet.
    has_unshown: bool,
    pub(crate) shared: Arc<Shared>,
}

impl Index {
    /// An empty index.
    pub fn new(limits: Limits) -> Self {
        let store = Store::default();
        let shared = Arc::new(Shared { hasher: store.hasher.clone(), ..Shared::default() });
        Self {
            limits,
            register: Register::new(),
            store,
            records: 0,
            leaving: VecDeque::new(),
            leaving_records: 0,
            pieces: Pieces::default(),
            unreckoned: 0,
            has_unshown: false,
            shared,
        }
    }

    /// Sets what it takes of memory at most, in bytes. What it has stays, even if it is more.
    pub fn limit_to(&mut self, total_bytes: u64) {
        self.limits.total_bytes = total_bytes;
        self.unreckoned = 0;
    }

    /// Whether it has as many records or words, or takes as much memory, as it may, so that it refuses
    /// further records.
    pub fn is_full(&self) -> bool {
        self.used().into_iter().any(|(used, limit)| used >= limit)
    }

    /// How much of what it may have of records, words and memory it has, of whichever it has most: from
    /// 0 to 1, or above where less has become allowed.
    pub fn filled(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // Shares, of numbers below 2^53.
        let share = |(used, limit): (u64, u64)| used as f64 / limit.max(1) as f64;
        self.used().map(share).into_iter().fold(0.0, f64::max)
    }

    /// What is used of each limit of the whole. Where one more record could bring more words than there
    /// may be, there are as many as there may.
    fn used(&self) -> [(u64, u64); 3] {
        let limits = &self.limits;
        let words = limits.total_words.saturating_sub(MAX_RECORD_WORDS as u64 - 1);
        [
            (self.records, limits.total_records),
            (self.words() as u64, words.max(1)),
            (self.bytes_in_need(), limits.total_bytes),
        ]
    }

    /// A view for searches on other threads.
    pub fn reader(&self) -> Reader {
        Reader { shared: self.shared.clone() }
    }

    /// Makes an owner known, or changes the name that filters know it by. Who may be an owner,
    /// and how many, is for the caller to say.
    pub fn set_owner(&mut self, owner: NodeId, name: &Username) {
        match self.register.set(owner, name) {
            // Readers find nothing of it before the end of the call that brings its first record.
            Some(true) => self.has_unshown = true,
            Some(false) => self.show(),
            None => {}
        }
    }

    /// Takes in records of a known owner, one after the other. Of an unknown owner none is taken.
    pub fn publish(
        &mut self,
        owner: &NodeId,
        add: impl IntoIterator<Item = FileMeta>,
    ) -> PublishOutcome {
        self.publish_all([(*owner, add)])
    }

    /// As [`Index::publish`], for several owners at once: it costs less than one after the other.
    pub fn publish_all<Files: IntoIterator<Item = FileMeta>>(
        &mut self,
        add: impl IntoIterator<Item = (NodeId, Files)>,
    ) -> PublishOutcome {
        self.changing(|index| index.publish_each(add))
    }

    fn publish_each<Files: IntoIterator<Item = FileMeta>>(
        &mut self,
        add: impl IntoIterator<Item = (NodeId, Files)>,
    ) -> PublishOutcome {
        let mut outcome = PublishOutcome::default();
        let mut some: Vec<FileMeta> = Vec::new();
        for (owner, files) in add {
            let Some(owner) = self.register.number(&owner) else {
                outcome.over_quota += files.into_iter().count() as u64;
                continue;
            };
            // Where they may be is asked for many at a time.
            let mut files = files.into_iter();
            loop {
                some.extend(files.by_ref().take(AT_A_TIME));
                if some.is_empty() {
                    break;
                }
                let admitted = self.store.admitting(&some);
                for (number, file) in some.iter_mut().enumerate() {
                    self.take_in(owner, file, (&admitted, number), &mut outcome);
                    self.flush_if_large();
                }
                some.clear();
            }
        }
        self.flush();
        outcome
    }

    /// Forgets an owner's records of these contents, and says how many there were.
    pub fn withdraw(&mut self, owner: &NodeId, remove: &[ContentId]) -> u64 {
        self.changing(|index| index.withdraw_all(owner, remove))
    }

    fn withdraw_all(&mut self, owner: &NodeId, remove: &[ContentId]) -> u64 {
        let Some(owner) = self.register.number(owner) else { return 0 };
        let mut removed = 0;
        for content in remove {
            if let Some(at) = self.store.find_own(owner, content) {
                self.give_up(owner, at);
                removed += 1;
            }
            self.flush_if_large();
        }
        self.flush();
        removed
    }

    /// Goes on with what is left over, forgetting owners who have gone and merging what came in small
    /// pieces, for about so many documents, and answers whether there is nothing left to do. Every
    /// change does its share of that by itself; who has time to spare makes searches faster and
    /// memory less with it.
    pub fn maintain(&mut self, documents: usize) -> bool {
        self.changing(|index| {
            if index.has_leaving() {
                index.forget_leaving(documents);
                index.store.flush(&index.register, &index.shared);
                return false;
            }
            index.store.maintain(documents, &index.register, &index.shared)
        })
    }

    /// Records of all known owners together.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Records of owners who have gone that are still to be forgotten. Nobody finds them, and they do
    /// not count against limits of records; but they take memory.
    pub const fn leaving_records(&self) -> u64 {
        self.leaving_records
    }

    /// Records of one owner.
    pub fn owner_records(&self, owner: &NodeId) -> u64 {
        let owner = self.register.number(owner).and_then(|owner| self.register.get(owner));
        owner.map_or(0, |owner| owner.records)
    }

    /// Known owners.
    pub fn owners(&self) -> usize {
        self.register.len() - self.leaving.len()
    }

    /// Pairs of a content and a set of metadata: what is stored once however many share it.
    pub const fn entries(&self) -> usize {
        self.store.documents()
    }

    /// Pairs of a word and an entry that has it.
    pub const fn postings(&self) -> u64 {
        self.store.postings()
    }

    /// Parts of which the index is made at the moment.
    pub const fn segments(&self) -> usize {
        self.store.segments()
    }

    /// Bytes of memory, reckoned from what every part of the index has reserved and the usual
    /// cost of an allocation.
    pub fn memory_bytes(&self) -> u64 {
        self.register.bytes() + self.store.bytes()
    }

    /// Whether any record has exactly this word, which is given as [`text::words`](crate::text::words) gives it.
    pub fn has_word(&self, word: &str) -> bool {
        self.store.has_word(word)
    }

    /// Different words.
    pub const fn words(&self) -> usize {
        self.store.words()
    }

    /// Goes through all different words in their order.
    pub fn for_each_word(&self, see: impl FnMut(&str)) {
        self.store.for_each_word(see);
    }

    /// Goes through the hashes of all different words and of the beginnings of each (rules 20 and 21
    /// of [`text`](crate::text)), and, as long as the changes tell of them, of the pairs (rule 22) of
    /// each document.
    pub fn for_each_key(&self, see: impl FnMut(u64)) {
        self.scan_keys().run(usize::MAX, see);
    }

    /// As [`Index::for_each_key`], in pieces.
    pub fn scan_keys(&self) -> KeyScan {
        self.store.scan_keys()
    }

    /// What has changed in the set of different words and of pairs since this was last asked. Changes
    /// are noted from the first time on, at most some more than twice as many as do not undo each
    /// other.
    pub fn take_vocabulary_changes(&mut self) -> VocabularyChanges {
        self.store.take_vocabulary_changes()
    }

    /// Notes no changes of the vocabulary any more, until they are asked for anew.
    pub fn forget_vocabulary(&mut self) {
        self.store.forget_vocabulary();
    }

    /// Whether [`Index::take_vocabulary_changes`] has told of all there is: nothing has changed since.
    pub fn is_vocabulary_told(&self) -> bool {
        self.store.is_vocabulary_told()
    }

    /// Searches so far in which a beginning stood for more than
    /// [`MAX_PREFIX_WORDS`](crate::MAX_PREFIX_WORDS) words, so that not all of them were tried.
    pub fn prefixes_cut(&self) -> u64 {
        self.shared.prefixes_cut.load(Ordering::Relaxed)
    }

    /// Searches so far that ended with what they had found, since there was more to do for them than
    /// [`MAX_SEARCH_WORK`](crate::MAX_SEARCH_WORK).
    pub fn searches_cut(&self) -> u64 {
        self.shared.searches_cut.load(Ordering::Relaxed)
    }

    /// The best matches. `limit` bounds the different contents; of each the best
    /// [`MAX_SOURCES_PER_CONTENT`](crate::MAX_SOURCES_PER_CONTENT) records come along, one after the
    /// other.
    ///
    /// First come records that have all words in the file name, then those that have some in tags
    /// or folders, then those in which some word is only begun. Among these, a file name that is half
    /// as long is worth as much as twice the owners who offer the same; then the content id decides.
    /// A content stands where its best record does. Its records are ordered alike, then by owner; which
    /// ones come of a document that more owners have is not said.
    ///
    /// Of a query that asks for very much work only some matches are found: see
    /// [`MAX_SEARCH_WORK`](crate::MAX_SEARCH_WORK).
    ///
    /// A query that cannot be parsed has no matches: see [`ParsedQuery::parse`] for why.
    pub fn search(&self, query: &Query, limit: usize) -> Vec<Found> {
        self.reader().search(query, limit)
    }

    /// As [`Index::search`], for a query that is parsed already.
    pub fn find(&self, query: &ParsedQuery, limit: usize) -> Vec<Found> {
        self.reader().find(query, limit)
    }

    /// Makes a change, for which mappings are at hand that earlier ones needed.
    pub(crate) fn changing<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> T {
        // What a change has left there that ended in a panic is of no use to anybody.
        drop(spare::exchange(self.store.take_spare()));
        self.store.presence.allow(self.limits.total_bytes.saturating_sub(self.memory_bytes()));
        let outcome = change(self);
        let own = spare::exchange(Own::default());
        if self.memory_bytes() > self.limits.total_bytes {
            self.store.give_up_presence();
        }
        let left = self.limits.total_bytes.saturating_sub(self.memory_bytes());
        self.store.keep_spare(own, left);
        if self.memory_bytes() > self.limits.total_bytes {
            self.store.give_back_large();
        }
        outcome
    }

    /// Bytes of memory without what only makes changes faster, and is given up when memory is short.
    pub(crate) fn bytes_in_need(&self) -> u64 {
        self.memory_bytes() - self.store.spare_bytes()
    }

    fn flush_if_large(&mut self) {
        if self.store.is_large() {
            self.flush();
        }
    }

    /// Ends a change.
    pub(crate) fn flush(&mut self) {
        if std::mem::take(&mut self.has_unshown) {
            self.show();
        }
        self.store.seal(&self.register, &self.shared);
        self.forget_share();
        self.store.flush(&self.register, &self.shared);
    }

    pub(crate) fn show(&self) {
        self.store.show(&self.register, &self.shared);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::array::Array;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn a_large_index_keeps_what_a_change_needed_for_the_next_one_and_reckons_it() {
        let mut index = Index::new(Limits::default());
        // Of all that is dropped in a call it is known afterwards how much may be kept.
        let needs = |index: &mut Index, bytes: usize| {
            index.changing(|_| {
                let mut array = Array::<u8>::lent(bytes);
                let before = array.bytes();
                array.extend_zeroed(bytes);
                before as usize
            })
        };
        assert_eq!([needs(&mut index, 2 * MIB), needs(&mut index, 2 * MIB)], [0, 0]);
        assert_eq!(index.memory_bytes(), 0, "an index so small keeps nothing");
        index.store.settled_bytes = 20 * MIB as u64;
        assert_eq!([needs(&mut index, 2 * MIB), needs(&mut index, 2 * MIB)], [0, 0]);
        assert_eq!(
            (index.memory_bytes(), index.bytes_in_need()),
            (22 * MIB as u64, 20 * MIB as u64)
        );
        assert_eq!(needs(&mut index, MIB), 2 * MIB, "it was used before");
        // No more than is left below the limit; and none when nothing is left to do. Until it is given
        // back nobody is refused for it.
        index.limit_to(21 * MIB as u64);
        index.changing(|_| ());
        assert_eq!(index.store.waste.spare_bytes(), 2 * MIB as u64);
        assert_eq!(
            (index.memory_bytes(), index.bytes_in_need()),
            (22 * MIB as u64, 20 * MIB as u64)
        );
        index.store.waste.give_back(2 * MIB as u64);
        assert_eq!(index.memory_bytes(), 20 * MIB as u64);
        index.limit_to(u64::MAX);
        assert_eq!([needs(&mut index, 2 * MIB), needs(&mut index, 2 * MIB)], [0, 0]);
        assert_eq!(index.memory_bytes(), 22 * MIB as u64);
        // What is in one large piece is given back where memory is short, and else waits for others.
        index.store.waste.add_spare((), 5 * MIB as u64);
        index.changing(|_| ());
        assert_eq!(index.store.waste.spare_bytes(), 5 * MIB as u64);
        index.limit_to(27 * MIB as u64 - 1);
        index.changing(|_| ());
        assert_eq!(index.store.waste.spare_bytes(), 2 * MIB as u64, "what was kept waits");
        index.limit_to(u64::MAX);
        index.changing(|index| index.store.give_up_room());
        assert_eq!(index.memory_bytes(), 22 * MIB as u64);
        let unneeded = index.take_unneeded(true).expect("two megabytes");
        assert_eq!((unneeded.bytes(), index.memory_bytes()), (2 * MIB as u64, 20 * MIB as u64));
        assert!(unneeded.give_back_some().is_none());
    }
}
