//! Documents that several owners offer.

use crate::memory;
use crate::register::OwnerNo;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// Owners of one part of a set: few enough to be copied in a moment, many enough for a set of
/// 100,000 to have some hundred parts only.
const PART: usize = 512;

/// A set of owners in ascending order, of which a changed copy costs little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnerSet {
    /// None is empty.
    parts: Vec<Arc<[OwnerNo]>>,
    len: usize,
}

impl OwnerSet {
    /// Two different owners.
    pub(crate) fn of_two(one: OwnerNo, other: OwnerNo) -> Self {
        Self { parts: vec![[one.min(other), one.max(other)].into()], len: 2 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = OwnerNo> {
        self.parts.iter().flat_map(|part| part.iter().copied())
    }

    pub(crate) fn contains(&self, owner: OwnerNo) -> bool {
        let part = self.parts.get(self.part_of(owner));
        part.is_some_and(|part| part.binary_search(&owner).is_ok())
    }

    /// The part in which an owner is or would be.
    fn part_of(&self, owner: OwnerNo) -> usize {
        let behind = self.parts.partition_point(|part| part.first().is_some_and(|it| *it <= owner));
        behind.saturating_sub(1)
    }

    /// The set with one owner more.
    pub(crate) fn with(&self, owner: OwnerNo) -> Self {
        let mut set = self.clone();
        let at = self.part_of(owner);
        let part = self.parts.get(at).map_or(&[][..], |part| part);
        let Err(place) = part.binary_search(&owner) else { return set };
        let (before, behind) = part.split_at(place);
        let part = [before, &[owner], behind].concat();
        let halves = match part.len() {
            0..=PART => vec![part.into()],
            // Who comes last has the highest number: full parts stay full then.
            len if place + 1 == len => vec![before.into(), [owner].into()],
            len => vec![part[..len / 2].into(), part[len / 2..].into()],
        };
        set.parts.splice(at..(at + 1).min(self.parts.len()), halves);
        set.len += 1;
        set
    }

    /// The set with one owner less.
    pub(crate) fn without(&self, owner: OwnerNo) -> Self {
        let mut set = self.clone();
        let at = self.part_of(owner);
        let Some(part) = self.parts.get(at) else { return set };
        let Ok(place) = part.binary_search(&owner) else { return set };
        if part.len() == 1 {
            set.parts.remove(at);
        } else if let Some(to) = set.parts.get_mut(at) {
            *to = [&part[..place], &part[place + 1..]].concat().into();
        }
        set.len -= 1;
        set
    }

    fn bytes(&self) -> u64 {
        let owners = |part: &Arc<[OwnerNo]>| memory::allocation(part.len() * 4 + 16);
        memory::vector::<Arc<[OwnerNo]>>(self.parts.capacity())
            + self.parts.iter().map(owners).sum::<u64>()
    }
}

/// Who offers one document of several owners. It goes with the document from segment to segment,
/// and changes under the eyes of readers.
#[derive(Debug)]
pub(crate) struct Share {
    /// Its place in the register of shares.
    pub(crate) number: u32,
    owners: ArcSwap<OwnerSet>,
}

impl Share {
    pub(crate) fn new(number: u32, owners: OwnerSet) -> Self {
        Self { number, owners: ArcSwap::from_pointee(owners) }
    }

    pub(crate) fn owners(&self) -> arc_swap::Guard<Arc<OwnerSet>> {
        self.owners.load()
    }

    pub(crate) fn set(&self, owners: OwnerSet) {
        self.owners.store(Arc::new(owners));
    }

    /// What it takes: the share, the set, and their counters.
    pub(crate) fn bytes(&self) -> u64 {
        memory::allocation(32) + memory::allocation(48) + self.owners.load().bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(
            start in proptest::collection::btree_set(0_u32..3_000, 0..1_500),
            steps in proptest::collection::vec((any::<bool>(), 0_u32..3_000), 0..200),
        ) {
            let mut set = OwnerSet::default();
            for owner in &start {
                set = set.with(*owner);
            }
            let mut model: BTreeSet<u32> = start;
            for (add, owner) in steps {
                if add {
                    set = set.with(owner);
                    model.insert(owner);
                } else {
                    set = set.without(owner);
                    model.remove(&owner);
                }
                prop_assert_eq!(set.contains(owner), add);
            }
            prop_assert_eq!(OwnerSet::of_two(7, 3), OwnerSet::default().with(3).with(7));
            prop_assert_eq!(set.len(), model.len());
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert!(set.parts.iter().all(|part| !part.is_empty() && part.len() <= PART));
            for owner in model {
                set = set.without(owner);
            }
            prop_assert_eq!(set, OwnerSet::default());
        }
    }
}
