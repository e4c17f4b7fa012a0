//! Parts of the overlay that most nodes never need.
//!
//! A simulator plays a million nodes, of which one in a hundred is a supernode; and all that only a
//! supernode has would stand empty in the others.

use crate::flood::Floods;
use crate::membership::epidemic::Epidemic;
use crate::wishes::Wishes;
use skein_index::{Index, Limits, Unneeded};
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

/// A value that takes the place of a pointer until it is changed for the first time. Before that it
/// reads as the default.
#[derive(Debug)]
pub(crate) struct Rare<T>(Option<Box<T>>);

/// Something with an empty value that all may look at.
pub(crate) trait Empty: Default + 'static {
    /// The empty value.
    fn empty() -> &'static Self;
}

macro_rules! empty {
    ($($type:ty),*) => {$(
        impl Empty for $type {
            fn empty() -> &'static Self {
                static EMPTY: LazyLock<$type> = LazyLock::new(Default::default);
                &EMPTY
            }
        }
    )*};
}

empty!(Floods, Epidemic, Wishes);

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Rare<T> {
    /// Whether it has never been changed.
    pub(crate) fn is_unused(&self) -> bool {
        self.0.is_none()
    }
}

impl<T: Empty> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => T::empty(),
        }
    }
}

impl<T: Empty> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

/// The index of a supernode, which is made when something is put into it.
#[derive(Debug)]
pub(crate) struct RareIndex {
    limits: Limits,
    index: Option<Box<Index>>,
}

impl RareIndex {
    /// One that will have these limits.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, index: None }
    }

    /// Sets what it takes of memory at most. What it has stays, even if it is more.
    pub(crate) fn limit_to(&mut self, total_bytes: u64) {
        self.limits.total_bytes = total_bytes;
        if let Some(index) = &mut self.index {
            index.limit_to(total_bytes);
        }
    }

    /// Whether it takes in nobody's records any more.
    pub(crate) fn is_full(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.is_full())
    }

    /// As [`Index::take_unneeded`].
    pub(crate) fn take_unneeded(&mut self, is_calm: bool) -> Option<Unneeded> {
        self.index.as_mut()?.take_unneeded(is_calm)
    }

    /// How much it has of what it may have, from 0 to 1, or above where less has become allowed.
    pub(crate) fn filled(&self) -> f64 {
        self.index.as_ref().map_or(0.0, |index| index.filled())
    }
}

impl Deref for RareIndex {
    type Target = Index;

    fn deref(&self) -> &Index {
        static EMPTY: LazyLock<Index> = LazyLock::new(|| Index::new(Limits::default()));
        self.index.as_deref().unwrap_or(&EMPTY)
    }
}

impl DerefMut for RareIndex {
    fn deref_mut(&mut self) -> &mut Index {
        self.index.get_or_insert_with(|| Box::new(Index::new(self.limits.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_part_reads_as_empty_and_is_made_when_it_is_changed() {
        let mut index = RareIndex::new(Limits::default());
        assert!(index.take_unneeded(false).is_none() && index.take_unneeded(true).is_none());
        assert_eq!((index.records(), index.index.is_none()), (0, true));
        let name = skein_proto::Username::parse("somebody").expect("a name");
        index.set_owner(skein_proto::NodeId::from_bytes([1; 32]), &name);
        assert_eq!((index.owners(), RareIndex::new(Limits::default()).owners()), (1, 0));
        assert!(!index.is_full() && index.filled() < 1.0);
        index.limit_to(1);
        assert!(index.is_full() && index.filled() > 1.0);
        let mut epidemic: Rare<Epidemic> = Rare::default();
        assert!(epidemic.next_wakeup().is_none() && epidemic.is_unused());
        epidemic.over_limit += 1;
        assert_eq!((epidemic.over_limit, Rare::<Epidemic>::default().over_limit), (1, 0));
    }
}
