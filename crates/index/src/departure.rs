//! Owners who go with all that they have, in pieces of bounded work.
//!
//! What an owner of a hundred thousand records offers takes a tenth of a second to forget, word for
//! word. So whoever goes is unknown at once, and found by nobody any more; its records are forgotten
//! after that: those of most owners in the same call, those of a large one with the calls that
//! follow. Each of these forgets at least as many as it brings, so that there are never more records
//! than the limits allow for known owners alone.

use crate::index::Index;
use crate::register::{Owner, OwnerNo};
use crate::segment::Holder;
use skein_proto::{ContentId, NodeId};
use std::collections::VecDeque;

/// Records that are forgotten at once, which takes one to two milliseconds.
const PIECE: usize = 1024;

/// Those that are forgotten along with any other change, or as many as it brings.
const SHARE: usize = 128;

/// As long as it takes to forget so many records of one owner alone, it takes for one that others
/// have too, since it is written anew.
const SHARED: usize = 4;

/// Of those who are leaving and have a document that somebody publishes, it is taken from so many at
/// once. Few leave at a time with so much that it is not forgotten in the call.
const MOST_GHOSTS: usize = 8;

/// How much is forgotten at a time.
#[derive(Debug)]
pub(crate) struct Pieces {
    piece: usize,
    share: usize,
    /// Records that the call at hand has brought so far.
    pub(crate) brought: usize,
    /// Those that it has forgotten of owners who are leaving, as their weights tell.
    forgotten: usize,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { piece: PIECE, share: SHARE, brought: 0, forgotten: 0 }
    }
}

impl Index {
    /// The same, with other sizes of the pieces in which owners leave: so many records in the call in
    /// which one goes, and so many along with any other change. For tests, which then see owners of few
    /// records leave as slowly as those of very many.
    #[doc(hidden)]
    #[must_use]
    pub const fn leaving_in_pieces_of(mut self, piece: usize, share: usize) -> Self {
        self.pieces.piece = piece;
        self.pieces.share = share;
        self
    }

    /// The same, in which contents are counted from so many documents on, however few segments there are.
    /// For tests, whose indexes are small.
    #[doc(hidden)]
    #[must_use]
    pub const fn counting_contents_from(mut self, documents: usize) -> Self {
        self.store.presence.begin_with(documents);
        self
    }

    /// Forgets all records of an owner, who stays known. Of one with more than a thousand
    /// (two hundred, where others have them too) the rest is forgotten as with [`Index::remove_owner`].
    pub fn clear_owner(&mut self, owner: &NodeId) {
        self.changing(|index| index.clear(owner));
    }

    fn clear(&mut self, owner: &NodeId) {
        let Some(number) = self.register.number(owner) else { return };
        if self.weight_of(number) > self.pieces.piece as u64 {
            let name = self.register.directory.get(number).map(|(_, name)| name.clone());
            self.remove(owner);
            if let Some(name) = name {
                self.set_owner(*owner, &name);
            }
        } else {
            self.forget_some(number, self.pieces.piece);
            self.flush();
        }
    }

    /// Makes an owner unknown, so that nobody finds its records any more, and says how many there are.
    /// Of one with more than a thousand the rest is forgotten piece by piece, with the changes that
    /// follow and by [`Index::maintain`]: no call takes long, however much an owner has.
    pub fn remove_owner(&mut self, owner: &NodeId) -> u64 {
        self.changing(|index| index.remove(owner))
    }

    fn remove(&mut self, owner: &NodeId) -> u64 {
        let Some(number) = self.register.number(owner) else { return 0 };
        let removed = self.records_of(number);
        self.register.retire(owner);
        self.records -= removed;
        self.leaving_records += removed;
        let forgotten = self.forget_some(number, self.pieces.piece);
        if self.records_of(number) == 0 {
            self.register.free(number);
        } else {
            self.leaving.push_back(number);
        }
        // Its own come first: those of a large owner who has gone before must not keep them.
        self.forget_leaving(self.pieces.piece.saturating_sub(forgotten));
        self.show();
        self.store.flush(&self.register, &self.shared);
        removed
    }

    /// Whether there are records of owners who have gone.
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Forgets at most so many records of owners who have gone, and says how many those were.
    pub(crate) fn forget_leaving(&mut self, most: usize) -> usize {
        let mut left = most;
        let mut has_gone = false;
        while left > 0
            && let Some(owner) = self.leaving.front().copied()
        {
            let forgotten = self.forget_some(owner, left);
            left = left.saturating_sub(forgotten);
            if forgotten == 0 || self.records_of(owner) == 0 {
                self.leaving.pop_front();
                self.register.free(owner);
                has_gone = true;
            }
        }
        if self.leaving.is_empty() {
            self.leaving = VecDeque::new();
        }
        if has_gone {
            self.show();
        }
        most - left
    }

    /// Forgets what is to be forgotten along with the call at hand, which ends.
    pub(crate) fn forget_share(&mut self) {
        let due = self.pieces.share.max(self.pieces.brought);
        self.forget_leaving(due.saturating_sub(self.pieces.forgotten));
        (self.pieces.brought, self.pieces.forgotten) = (0, 0);
    }

    /// Where words or memory may not suffice for one more record, those who are leaving are forgotten
    /// first: one piece in each call.
    pub(crate) fn make_way(&mut self) {
        let left = self.pieces.piece.saturating_sub(self.pieces.forgotten);
        let is_tight = || {
            self.store.may_lack_words(self.limits.total_words)
                || self.bytes_in_need() >= self.limits.total_bytes
        };
        if self.has_leaving() && left > 0 && is_tight() {
            self.pieces.forgotten += self.forget_leaving(left);
            self.store.tidy(&self.register, &self.shared);
        }
    }

    /// Takes a document that an owner publishes from those who are leaving, so that nobody counts among
    /// its sources who has gone, least of all an earlier self of the owner.
    pub(crate) fn take_from_leaving(&mut self, owner: OwnerNo, content: &ContentId) {
        let most = (self.pieces.piece / 2).saturating_sub(self.pieces.forgotten);
        if !self.has_leaving() || most == 0 {
            return;
        }
        let Some(mut at) = self.store.find_own(owner, content) else { return };
        let Some(Holder::Several(share)) = self.store.holder(at) else { return };
        let owners = share.owners().clone();
        let ghosts = self.leaving.iter().filter(|it| owners.contains(**it));
        let ghosts: Vec<OwnerNo> = ghosts.take(most.min(MOST_GHOSTS)).copied().collect();
        for ghost in ghosts {
            self.give_up(ghost, at);
            self.pieces.forgotten += 1;
            let Some(moved) = self.store.find_own(owner, content) else { return };
            at = moved;
        }
    }

    /// Counts fewer records of an owner.
    pub(crate) fn uncount(&mut self, owner: OwnerNo, records: u64) {
        if self.register.is_leaving(owner) {
            self.leaving_records -= records;
        } else {
            self.records -= records;
        }
    }

    /// Forgets at most so many records of an owner, and says how many those were; each that others have
    /// too counts for several.
    fn forget_some(&mut self, owner: OwnerNo, most: usize) -> usize {
        let Some(known) = self.register.get(owner) else { return 0 };
        let some = most.div_ceil(SHARED);
        let shares: Vec<u32> = known.shares.iter().rev().take(some).copied().collect();
        for share in &shares {
            if let Some(at) = self.store.find_share(*share) {
                self.give_up(owner, at);
                self.store.flush_if_large(&self.register, &self.shared);
            }
        }
        // What is no longer shared has moved, and is seen before it is missed where it was.
        self.store.seal(&self.register, &self.shared);
        let left = most.saturating_sub(shares.len() * SHARED);
        let alone = self.store.remove_some_of(owner, left);
        self.uncount(owner, alone as u64);
        self.register.change(owner, |known| {
            known.records -= alone as u64;
            shares.iter().for_each(|share| {
                known.shares.remove(share);
            });
            if known.records == 0 {
                *known = Owner { is_leaving: known.is_leaving, ..Owner::default() };
            }
        });
        shares.len() * SHARED + alone
    }

    /// How long it takes to forget all that an owner has.
    fn weight_of(&self, owner: OwnerNo) -> u64 {
        let weight = |it: &Owner| it.records + (it.shares.len() * (SHARED - 1)) as u64;
        self.register.get(owner).map_or(0, weight)
    }

    fn records_of(&self, owner: OwnerNo) -> u64 {
        self.register.get(owner).map_or(0, |known| known.records)
    }
}
