//! What the names have that asked for slots: how many of them, and one bucket of bytes each.

use super::limits::Bucket;
use skein_proto::Username;
use std::collections::HashMap;

/// The accounts of all names that have slots. The bucket of a name with one slot lies in that slot,
/// where a packet's way comes by anyway; only that of a name with several is kept here.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    by_name: HashMap<Username, Account>,
    shared: Vec<Bucket>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Account {
    slots: u32,
    bucket: Kept,
}

/// Where the bucket of a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// In its only slot, by index.
    InSlot(u32),
    /// Among the shared ones.
    Shared(u32),
}

/// What another slot of a name makes of its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is the only slot, and keeps the bucket.
    Alone,
    /// It shares this bucket.
    Shares(u32),
    /// It shares this bucket with the slot `of`, which kept it by itself so far: it is to be moved.
    SharesWith {
        /// The index of that slot.
        of: u32,
        /// The bucket that is shared from now on.
        bucket: u32,
    },
}

impl Accounts {
    /// Slots of a name.
    pub(super) fn slots_of(&self, name: &Username) -> u32 {
        self.by_name.get(name).map_or(0, |account| account.slots)
    }

    /// The name with most slots, and how many they are.
    pub(super) fn heaviest(&self) -> Option<(&Username, u32)> {
        let all = self.by_name.iter().map(|(name, account)| (name, account.slots));
        all.max_by_key(|(_, slots)| *slots)
    }

    /// A name gets the slot with this index.
    pub(super) fn add(&mut self, name: &Username, slot: u32) -> Added {
        let Some(account) = self.by_name.get_mut(name) else {
            let account = Account { slots: 1, bucket: Kept::InSlot(slot) };
            self.by_name.insert(name.clone(), account);
            return Added::Alone;
        };
        account.slots += 1;
        let of = match account.bucket {
            Kept::Shared(bucket) => return Added::Shares(bucket),
            Kept::InSlot(of) => of,
        };
        let bucket = self.free.pop().unwrap_or_else(|| {
            self.shared.push(Bucket::default());
            // There are no more of them than slots, whose indexes are of this type.
            (self.shared.len() - 1) as u32
        });
        account.bucket = Kept::Shared(bucket);
        Added::SharesWith { of, bucket }
    }

    /// A name has lost a slot. Nobody is remembered who has none.
    pub(super) fn remove(&mut self, name: &Username) {
        let Some(account) = self.by_name.get_mut(name) else { return };
        account.slots -= 1;
        if account.slots == 0 {
            if let Kept::Shared(bucket) = account.bucket {
                self.free.push(bucket);
            }
            self.by_name.remove(name);
        }
    }

    /// A bucket that several slots share.
    pub(super) fn shared_mut(&mut self, bucket: u32) -> Option<&mut Bucket> {
        self.shared.get_mut(bucket as usize)
    }

    /// Fills all of them.
    pub(super) fn fill(&mut self) {
        self.shared.fill(Bucket::default());
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.free.len() == self.shared.len()
    }
}
