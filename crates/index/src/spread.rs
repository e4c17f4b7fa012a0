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
pub(crate) struct Sorter<T: Pod> {
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
        self.bring_home(values, part);
        settle(values, key);
    }

    /// Brings values into the order of their homes, of which there are as many as values.
    fn bring_home(&mut self, values: &mut [T], part: impl Fn(&T) -> u64) {
        let len = values.len();
        let home = |value: &T| home(part(value), len);
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
    }
}

/// Where a value stands among so many if all are at equal distances.
#[inline]
const fn home(part: u64, len: usize) -> usize {
    ((part as u128 * len as u128) >> 64) as usize
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
    fn what_is_spread_stands_by_its_homes_before_any_two_are_compared() {
        let hash = |number: u32| *blake3::hash(&number.to_le_bytes()).as_bytes();
        let part = |bytes: &[u8; 32]| bytes.first_chunk().map_or(0, |it| u64::from_be_bytes(*it));
        let mut values: Vec<[u8; 32]> = (0..10_000).map(hash).collect();
        let mut sorted = values.clone();
        sorted.sort_unstable();
        let mut sorter = Sorter::new(values.len());
        sorter.bring_home(&mut values, part);
        assert!(values.is_sorted_by_key(|value| home(part(value), sorted.len())));
        // What is left to be done is less than a step for each.
        let at = |value: &[u8; 32]| sorted.binary_search(value).unwrap_or(usize::MAX);
        let steps: usize = (0..).zip(&values).map(|(i, value)| at(value).abs_diff(i)).sum();
        assert!(steps < values.len(), "{steps} steps");
        sorter.sort(&mut values, |it| *it, part);
        assert_eq!(values, sorted);
    }

    #[test]
    fn what_is_not_spread_at_all_takes_no_longer_than_any_sort() {
        // A step for each pair would take minutes.
        let mut values: Vec<u64> = (0..300_000).rev().collect();
        Sorter::new(300_000).sort(&mut values, |it| *it, |it| *it);
        assert!(values.is_sorted());
    }
}
