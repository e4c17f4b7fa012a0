//! Owners who go with all that they have, in pieces of bounded work.
//!
//! What an owner of a hundred thousand records offers takes a tenth of a second to forget, word for
//! word. So whoever goes is unknown at once, and its records go after it: those of most owners in
//! the same call, those of a large one with the calls that follow. Until then searches find them.

use crate::index::Index;
use crate::register::{Owner, OwnerNo};
use skein_proto::NodeId;
use std::collections::VecDeque;

/// Records that are forgotten at once, which takes one to two milliseconds.
const PIECE: usize = 1024;

/// Those that are forgotten along with any other change.
pub(crate) const SHARE: usize = 128;

/// As long as it takes to forget so many records of one owner alone, it takes for one that others
/// have too, since it is written anew.
const SHARED: usize = 4;

impl Index {
    /// Forgets all records of an owner, who stays known. Of one with more than a thousand
    /// (four hundred, where others have them too) the rest is forgotten as with [`Index::remove_owner`].
    pub fn clear_owner(&mut self, owner: &NodeId) {
        let Some(number) = self.register.number(owner) else { return };
        if self.weight_of(number) > PIECE as u64 {
            let name = self.register.directory.get(number).map(|(_, name)| name.clone());
            self.remove_owner(owner);
            if let Some(name) = name {
                self.set_owner(*owner, &name);
            }
        } else {
            self.forget_some(number, PIECE);
            self.flush();
        }
    }

    /// Makes an owner unknown and forgets its records, and says how many there are. Of one with more
    /// than a thousand the rest is forgotten piece by piece, with the changes that follow and by
    /// [`Index::maintain`]: no call takes long, however much an owner has.
    pub fn remove_owner(&mut self, owner: &NodeId) -> u64 {
        let Some(number) = self.register.number(owner) else { return 0 };
        let removed = self.records_of(number);
        self.register.retire(owner);
        self.leaving.push_back(number);
        self.forget_leaving(PIECE);
        self.store.flush(&self.register, &self.shared);
        removed
    }

    /// Whether there are records of owners who have gone.
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Forgets at most so many records of owners who have gone.
    pub(crate) fn forget_leaving(&mut self, most: usize) {
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
        self.records -= alone as u64;
        self.register.change(owner, |known| {
            known.records -= alone as u64;
            shares.iter().for_each(|share| {
                known.shares.remove(share);
            });
            if known.records == 0 {
                *known = Owner::default();
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
