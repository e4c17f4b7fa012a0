//! Which string gets which code: small ones for those that are used often.
//!
//! Codes are given by counting sort, so that it is done in steps, each as short as one likes.
//! Strings that are used about equally often (within an eighth) stay in the order of their numbers.

use super::documents::Code;
use crate::array::Array;

/// Groups of strings that are used about equally often: eight for each doubling of a number of 32
/// bits.
const GROUPS: usize = 256;

/// Counts how often strings are used, and then gives codes to those that are.
#[derive(Debug)]
pub(crate) struct Coder {
    uses: Array<u32>,
    /// How many strings each group has, and later the next code of each.
    groups: [u32; GROUPS],
    codes: Array<Code>,
    by_code: Array<u32>,
    /// How far the pass at hand has come.
    at: usize,
    is_counted: bool,
}

impl Coder {
    /// For so many strings, none of which is used yet.
    pub(crate) fn new(strings: usize) -> Self {
        let (codes, by_code) = (Array::default(), Array::default());
        let groups = [0; GROUPS];
        Self { uses: Array::lent_zeroed(strings), groups, codes, by_code, at: 0, is_counted: false }
    }

    pub(crate) fn strings(&self) -> usize {
        self.uses.len()
    }

    /// Notes that strings are used once more.
    #[inline]
    pub(crate) fn count(&mut self, strings: impl Iterator<Item = u32>) {
        let all = &mut *self.uses;
        for string in strings {
            if let Some(uses) = all.get_mut(string as usize) {
                *uses = uses.saturating_add(1);
            }
        }
    }

    /// How often each string is used.
    pub(crate) fn uses(&self) -> &[u32] {
        &self.uses
    }

    /// Goes on giving codes, for so many strings. Answers for how many it did, and whether all
    /// have their codes.
    pub(crate) fn step(&mut self, budget: usize) -> (usize, bool) {
        let start = self.at;
        let end = self.uses.len().min(start.saturating_add(budget));
        self.at = end;
        let (codes, by_code) = (&mut *self.codes, &mut *self.by_code);
        let uses = self.uses.get(start..end).unwrap_or_default();
        for (string, uses) in (start..).zip(uses) {
            let Some(next) = group(*uses).and_then(|group| self.groups.get_mut(group)) else {
                continue;
            };
            if self.is_counted {
                codes[string] = *next;
                by_code[*next as usize] = string as u32;
            }
            *next += 1;
        }
        if end < self.uses.len() {
            return (end - start, false);
        }
        if self.is_counted {
            return (end - start, true);
        }
        let mut sum = 0;
        for group in &mut self.groups {
            sum += std::mem::replace(group, sum);
        }
        self.by_code = Array::lent_zeroed(sum as usize);
        self.codes = Array::lent_zeroed(self.uses.len());
        (self.at, self.is_counted) = (0, true);
        (end - start, false)
    }

    /// About how often each string of a code is used: up to which code how often.
    pub(crate) fn frequencies(&self) -> Box<[(Code, u32)]> {
        let mut before = 0;
        let ends = (0..).zip(self.groups.iter());
        let ends = ends.filter(|(_, end)| std::mem::replace(&mut before, **end) < **end);
        ends.map(|(group, end)| (*end, uses_of(group))).collect()
    }

    /// Notes that a string is used so often.
    #[inline]
    pub(crate) fn count_all(&mut self, string: u32, uses: u32) {
        if let Some(all) = self.uses.get_mut(string as usize) {
            *all = all.saturating_add(uses);
        }
    }

    /// The code of each string that is used.
    pub(crate) fn codes(&self) -> &[Code] {
        &self.codes
    }

    /// The string of each code.
    pub(crate) fn by_code(&self) -> &[u32] {
        &self.by_code
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.uses.bytes() + self.codes.bytes() + self.by_code.bytes()
    }
}

/// The group of strings that are used so often; the more often, the smaller.
fn group(uses: u32) -> Option<usize> {
    let octave = uses.checked_ilog2()?;
    let eighth = (u64::from(uses) << 3 >> octave) & 7;
    (GROUPS - 1).checked_sub(octave as usize * 8 + eighth as usize)
}

/// How often a string of a group is used, in the middle of the group: exactly, if it is seldom.
fn uses_of(group: usize) -> u32 {
    let (octave, eighth) = ((GROUPS - 1 - group) / 8, (GROUPS - 1 - group) % 8);
    // Between eight and sixteen eighths, and a half of one.
    u32::try_from((16 + 2 * eighth as u64 + 1) << octave >> 4).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn who_is_used_more_often_has_a_smaller_code(
            uses in proptest::collection::vec(0_u32..40, 0..60),
            budget in 1_usize..20,
        ) {
            let mut coder = Coder::new(uses.len());
            for (string, uses) in (0..).zip(&uses) {
                coder.count((0..*uses).map(|_| string));
            }
            while !coder.step(budget).1 {}
            let mut first = 0;
            for (end, uses) in coder.frequencies() {
                for string in &coder.by_code()[first..end as usize] {
                    let exact = coder.uses()[*string as usize];
                    prop_assert!(exact.abs_diff(uses) * 16 <= exact, "{} for {}", uses, exact);
                }
                first = end as usize;
            }
            prop_assert_eq!(first, coder.by_code().len());
            let used = uses.iter().filter(|uses| **uses > 0).count();
            prop_assert_eq!(coder.by_code().len(), used);
            for (code, string) in (0..).zip(coder.by_code()) {
                prop_assert!(coder.uses()[*string as usize] > 0);
                prop_assert_eq!(coder.codes()[*string as usize], code);
            }
            for pair in coder.by_code().windows(2) {
                let [one, other] = [pair[0], pair[1]].map(|it| uses[it as usize]);
                prop_assert!(one * 9 / 8 >= other, "{} before {}", one, other);
            }
        }
    }
}
