//! Plain values in a mapping.
//!
//! A mapping is of bytes. Whoever sees them as numbers has to ask each time whether they are aligned and
//! how many there are, and so a tenth of what building an index took was such questions. Here they
//! are asked once: the values stand beside the mapping that they borrow, which a safe struct cannot say by
//! itself (`ouroboros` makes one that can).

#![expect(clippy::mut_from_ref, reason = "the macro makes a function that borrows so")]

use crate::spare::Used;
use bytemuck::Pod;
use memmap2::MmapMut;
use ouroboros::self_referencing;

/// A mapping, seen as values. All of them are initialised.
#[derive(Debug)]
pub(crate) struct Mapped<T: Pod> {
    pair: Pair<T>,
    /// The bytes of the mapping.
    len: usize,
    /// How many of them have been written to, from the front: see [`Used`].
    pub(crate) touched: usize,
}

#[self_referencing]
#[derive(Debug)]
struct Pair<T: Pod> {
    mapping: MmapMut,
    #[borrows(mut mapping)]
    values: &'this mut [T],
}

impl<T: Pod> Mapped<T> {
    /// As many values as the mapping has room for. Its length must be a number of them: otherwise there
    /// are none.
    pub(crate) fn new(used: Used) -> Self {
        let Used { mapping, touched } = used;
        let len = mapping.len();
        // A mapping begins with a page, so that its start is aligned for any number.
        let pair =
            Pair::new(mapping, |mapping| bytemuck::try_cast_slice_mut(mapping).unwrap_or_default());
        Self { pair, len, touched }
    }

    /// The bytes of the mapping.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn values(&self) -> &[T] {
        self.pair.borrow_values()
    }

    #[inline]
    pub(crate) fn values_mut(&mut self) -> &mut [T] {
        self.pair.with_values_mut(|values| &mut **values)
    }

    /// The mapping, to be used for something else.
    pub(crate) fn into_used(self) -> Used {
        Used { mapping: self.pair.into_heads().mapping, touched: self.touched }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    #[test]
    fn what_is_written_as_values_is_there_as_bytes() {
        let mapping = MmapMut::map_anon(16).expect("sixteen bytes");
        let mut mapped = Mapped::<u32>::new(Used { mapping, touched: 0 });
        assert_eq!((mapped.values(), mapped.len()), (&[0; 4][..], 16));
        mapped.values_mut()[1] = u32::from_be(7);
        let moved = Box::new(mapped);
        assert_eq!(moved.values(), [0, u32::from_be(7), 0, 0]);
        let mut expected = [0; 16];
        expected[7] = 7;
        assert_eq!(*moved.into_used().mapping, expected);
        // Fourteen bytes are no number of values.
        let mapping = MmapMut::map_anon(14).expect("fourteen bytes");
        assert!(Mapped::<u32>::new(Used { mapping, touched: 0 }).values().is_empty());
    }
}
