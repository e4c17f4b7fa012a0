//! Records in and out: who has what, within which limits.

use crate::distinct::{are_few, uses_of};
use crate::index::Index;
use crate::limits::PublishOutcome;
use crate::register::{OwnerNo, charge};
use crate::segment::Holder;
use crate::store::{Admitted, At, ShareChange};
use crate::text::RecordWords;
use skein_proto::FileMeta;

/// Records that come before memory is reckoned again, as long as it is by so many bytes less than it
/// may be: far more than so many records can take.
const UNRECKONED: u32 = 63;
const PLENTY: u64 = 16 * 1024 * 1024;

impl Index {
    /// Gives an owner this record in place of the one it had, if limits allow it. `admitted` is as with
    /// [`Store::find`](crate::store::Store::find).
    pub(crate) fn take_in(
        &mut self,
        owner: OwnerNo,
        file: &mut FileMeta,
        admitted: (&Admitted, usize),
        outcome: &mut PublishOutcome,
    ) {
        self.make_way();
        let (own, mut same) = self.store.find(owner, file, Some(admitted));
        if own.is_some() && own == same {
            outcome.replaced += 1;
            return;
        }
        // Quotas are judged as if the earlier record were gone; if the new one is refused it comes
        // back. Readers see neither: what goes is seen to go when the call is over.
        let before = own.and_then(|at| self.store.file(at));
        if let Some(at) = own {
            self.give_up(owner, at);
            same = self.store.find(owner, file, None).1;
        }
        let words = self.store.read_words(file);
        if self.has_room(owner, file, &words) {
            let counter = if own.is_some() { &mut outcome.replaced } else { &mut outcome.accepted };
            *counter += 1;
            self.attach(owner, file, &words, same);
        } else {
            outcome.over_quota += 1;
            if let Some(mut before) = before {
                let words = self.store.read_words(&before);
                let same = self.store.find(owner, &before, None).1;
                self.attach(owner, &mut before, &words, same);
                self.store.put_back(words);
            }
        }
        self.store.put_back(words);
    }

    fn attach(
        &mut self,
        owner: OwnerNo,
        file: &mut FileMeta,
        words: &RecordWords,
        same: Option<At>,
    ) {
        let content = file.content;
        self.records += 1;
        self.pieces.brought += 1;
        self.register.change(owner, |known| {
            known.records += 1;
            known.charged += charge(file);
            known.word_uses += uses_of(words);
            if let Some(all) = &mut known.words {
                all.add(&file.content, words);
            }
        });
        match same {
            Some(at) => {
                let change = self.store.add_owner(at, owner, file, words);
                self.note(&change);
            }
            None => self.store.add(file, Holder::One(owner), words),
        }
        if same.is_some() {
            self.take_from_leaving(owner, &content);
        }
    }

    /// Takes a record from an owner.
    pub(crate) fn give_up(&mut self, owner: OwnerNo, at: At) {
        let file = self.store.file(at);
        debug_assert!(file.is_some(), "what was written of a document is read again");
        let Some(mut file) = file else { return };
        let words = self.store.read_words(&file);
        self.uncount(owner, 1);
        let limit = self.limits.owner_words;
        self.register.change(owner, |known| {
            known.records -= 1;
            known.charged -= charge(&file);
            known.word_uses -= uses_of(&words);
            if are_few(known.word_uses, limit) {
                known.words = None;
            }
            if let Some(all) = &mut known.words {
                all.remove(&file.content, &words);
            }
        });
        let change = self.store.remove_owner(at, owner, &mut file, &words);
        self.store.put_back(words);
        self.note(&change);
    }

    /// Keeps the lists of shares in step with the shares.
    fn note(&mut self, change: &ShareChange) {
        for (owner, share) in &change.joined {
            self.register.change(*owner, |known| {
                known.shares.insert(*share);
            });
        }
        for (owner, share) in &change.left {
            self.register.change(*owner, |known| {
                known.shares.remove(share);
            });
        }
    }

    /// Whether there is memory for one more record. Where there is plenty, it is reckoned for some at a
    /// time.
    fn has_memory(&mut self) -> bool {
        if let Some(left) = self.unreckoned.checked_sub(1) {
            self.unreckoned = left;
            return true;
        }
        let bytes = self.bytes_in_need();
        self.unreckoned = if bytes + PLENTY < self.limits.total_bytes { UNRECKONED } else { 0 };
        bytes < self.limits.total_bytes
    }

    fn has_room(&mut self, owner: OwnerNo, file: &FileMeta, words: &RecordWords) -> bool {
        let limits = &self.limits;
        let Some(known) = self.register.get(owner) else { return false };
        known.records < limits.owner_records
            && known.charged + charge(file) <= limits.owner_bytes
            && self.records < limits.total_records
            && self.store.has_room_for(words, limits.total_words)
            && self.has_memory()
            && self.words_fit(owner, words)
    }
}
