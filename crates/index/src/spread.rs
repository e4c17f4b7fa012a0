//! Sorting what is spread evenly: hashes, and contents, which are hashes too.
//!
//! Each goes to where it would stand if all were at equal distances, by counting; from there it has a
//! step or two to its place. Whoever makes up contents that are not spread at all is sorted as anything
//! else is.

use crate::array::Array;
use bytemuck::Pod;

/// Up to so many are compared right away.
const FEW: usize = 32;

/// Steps that each may have to its place on average: honest ones have less than one.
const STEPS: usize = 8;

/// What sorts, with room that is used again.
#[derive(Debug)]
pub(crate) struct Sorter<T> {
    starts: Array<u32>,
    copy: Array<T>,
}

impl<T: Pod> Sorter<T> {
    /// For at most so many values at a time.
    pub(crate) fn new(most: usize) -> Self {
        Self { starts: Array::lent(most), copy: Array::lent(most) }
    }

    /// Sorts values by their keys, of which those of all values lie between zero and 2⁶⁴ about as evenly
    /// as `part` says.
    pub(crate) fn sort<K: Ord>(
        &mut self,
        values: &mut [T],
        key: impl Fn(&T) -> K,
        part: impl Fn(&T) -> u64,
    ) {
        if values.is_sorted_by_key(&key) {
            return;
        }
        if values.len() <= FEW {
            values.sort_unstable_by_key(key);
            return;
        }
        let len = values.len();
        let home = |value: &T| ((u128::from(part(value)) * len as u128) >> 64) as usize;
        self.starts.clear();
        self.starts.extend_zeroed(len);
        let starts = &mut *self.starts;
        for value in values.iter() {
            starts[home(value)] += 1;
        }
        let mut sum = 0;
        for start in starts.iter_mut() {
            sum += std::mem::replace(start, sum);
        }
        self.copy.clear();
        self.copy.extend_from_slice(values);
        for value in self.copy.iter() {
            let next = &mut starts[home(value)];
            values[*next as usize] = *value;
            *next += 1;
        }
        settle(values, key);
    }
}

/// Sorts values that are nearly in order.
pub(crate) fn settle<T: Copy, K: Ord>(values: &mut [T], key: impl Fn(&T) -> K) {
    let mut left = values.len() * STEPS;
    for next in 1..values.len() {
        let value = values[next];
        let own = key(&value);
        let mut at = next;
        while at > 0 && key(&values[at - 1]) > own {
            values[at] = values[at - 1];
            at -= 1;
        }
        values[at] = value;
        let Some(rest) = left.checked_sub(next - at) else {
            values.sort_unstable_by_key(key);
            return;
        };
        left = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_are_in_order_however_they_are_spread(
            parts in proptest::collection::vec(any::<u64>(), 0..300),
            shift in 0_u32..64,
        ) {
            let mut sorter = Sorter::new(300);
            for some in [parts.len(), parts.len() / 2] {
                let mut values: Vec<[u64; 2]> =
                    (0..).zip(&parts[..some]).map(|(i, part)| [part >> shift, i % 3]).collect();
                let mut expected = values.clone();
                expected.sort_unstable();
                sorter.sort(&mut values, |it| *it, |it| it[0]);
                prop_assert_eq!(values, expected);
            }
        }
    }

    #[test]
    fn what_is_not_spread_at_all_takes_no_longer_than_any_sort() {
        // A step for each pair would take minutes.
        let mut values: Vec<u64> = (0..300_000).rev().collect();
        Sorter::new(300_000).sort(&mut values, |it| *it, |it| *it);
        assert!(values.is_sorted());
    }
}
