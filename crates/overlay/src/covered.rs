//! Which supernodes a search has covered, told apart by their tags.

use skein_proto::Tag;
use std::collections::BTreeSet;

/// A set of tags. So few supernodes share a tag that a tag counts for one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Covered {
    /// The tags of the supernodes that are known, ascending, each once: nearly all that is taken in
    /// is among them.
    known: Vec<u32>,
    /// In the same order: the nodes of whom each holds the metadata, and whether it is in the set.
    nodes: Vec<u32>,
    marks: Vec<bool>,
    missing: usize,
    others: BTreeSet<u32>,
}

/// A tag as a number, in the same order: numbers are compared in one step.
pub(crate) fn number([a, b, c]: Tag) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}

/// The tag that is this [`number`].
pub(crate) fn tag(number: u32) -> Tag {
    let [_, a, b, c] = number.to_be_bytes();
    [a, b, c]
}

impl Covered {
    /// Takes in a tag, and says whether it was new.
    pub(crate) fn insert(&mut self, tag: Tag) -> bool {
        match self.known.binary_search(&number(tag)) {
            Ok(at) => {
                let mark = self.marks.get_mut(at);
                let is_new = mark.is_some_and(|mark| !std::mem::replace(mark, true));
                self.missing -= usize::from(is_new);
                is_new
            }
            Err(_) => self.others.insert(number(tag)),
        }
    }

    pub(crate) fn contains(&self, tag: Tag) -> bool {
        match self.known.binary_search(&number(tag)) {
            Ok(at) => self.marks.get(at).copied().unwrap_or(false),
            Err(_) => self.others.contains(&number(tag)),
        }
    }

    /// Says once which supernodes are known, with the nodes of whom each holds the metadata.
    pub(crate) fn expect(&mut self, supernodes: Vec<(Tag, u32)>) {
        let mut supernodes: Vec<(u32, u32)> =
            supernodes.into_iter().map(|(tag, nodes)| (number(tag), nodes)).collect();
        supernodes.sort_unstable();
        for (tag, nodes) in supernodes {
            if self.known.last() == Some(&tag) {
                if let Some(sum) = self.nodes.last_mut() {
                    *sum = sum.saturating_add(nodes);
                }
                continue;
            }
            let is_in = self.others.remove(&tag);
            self.known.push(tag);
            self.nodes.push(nodes);
            self.marks.push(is_in);
            self.missing += usize::from(!is_in);
        }
    }

    /// Supernodes that are known and not in the set.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// Whether this one is among those: known and not in the set.
    pub(crate) fn misses(&self, tag: Tag) -> bool {
        let at = self.known.binary_search(&number(tag));
        at.is_ok_and(|at| self.marks.get(at) == Some(&false))
    }

    /// The nodes of whom the supernodes in the set hold the metadata.
    pub(crate) fn nodes(&self) -> u64 {
        let marked = self.marks.iter().zip(&self.nodes).filter(|(mark, _)| **mark);
        marked.map(|(_, nodes)| u64::from(*nodes)).sum()
    }

    /// The same of one, if it is in the set.
    pub(crate) fn nodes_of(&self, tag: Tag) -> Option<u32> {
        let at = self.known.binary_search(&number(tag)).ok()?;
        self.nodes.get(at).copied().filter(|_| self.marks.get(at) == Some(&true))
    }

    /// All tags.
    pub(crate) fn tags(&self) -> impl Iterator<Item = Tag> {
        let marked = self.known.iter().zip(&self.marks).filter(|(_, mark)| **mark);
        marked.map(|(tag, _)| *tag).chain(self.others.iter().copied()).map(tag)
    }

    /// How many tags there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len() - self.missing + self.others.len()
    }

    /// How many there are.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn supernodes(&self) -> f64 {
        // Far fewer than 2^52.
        self.len() as f64
    }
}

/// How many there are of which so many different ones were seen in so many draws: the solution of
/// `different = all × (1 - exp(-draws / all))`. Where next to none was drawn twice it is some large
/// number.
pub(crate) fn population(different: f64, draws: f64) -> f64 {
    if different < 1.0 {
        return different;
    }
    let seen = |all: f64| all * (1.0 - (-draws / all).exp());
    let (mut low, mut high) = (different, different * 1_000.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if seen(middle) < different { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_known_and_those_that_are_not_are_one_set() {
        let mut covered = Covered::default();
        assert!(covered.insert([0, 0, 1]) && covered.insert([9, 9, 9]));
        covered.expect(vec![([0, 0, 3], 7), ([0, 0, 1], 5), ([0, 0, 2], 11), ([0, 0, 2], 13)]);
        assert_eq!((covered.missing(), covered.nodes(), covered.supernodes()), (2, 5, 2.0));
        assert!(covered.insert([0, 0, 2]) && !covered.insert([0, 0, 2]));
        assert!(!covered.insert([0, 0, 1]) && !covered.insert([9, 9, 9]));
        assert_eq!((covered.missing(), covered.nodes(), covered.supernodes()), (1, 29, 3.0));
        let of = |last| covered.nodes_of([0, 0, last]);
        assert_eq!([of(1), of(2), of(3), of(4)], [Some(5), Some(24), None, None]);
        let contains = [[0, 0, 1], [0, 0, 3], [9, 9, 9]].map(|tag| covered.contains(tag));
        assert_eq!(contains, [true, false, true]);
        let misses = [[0, 0, 1], [0, 0, 3], [9, 9, 8]].map(|tag| covered.misses(tag));
        assert_eq!(misses, [false, true, false]);
        assert_eq!(covered.tags().collect::<Vec<_>>(), [[0, 0, 1], [0, 0, 2], [9, 9, 9]]);
    }

    #[test]
    fn a_population_is_found_from_what_was_drawn_twice() {
        let different = 950.0 * (1.0 - (-1_600.0_f64 / 950.0).exp());
        assert!((population(different, 1_600.0) - 950.0).abs() < 0.01);
        assert!(population(80.0, 80.0) > 10_000.0, "nobody was drawn twice");
        assert!(population(3.0, 300.0) < 3.01);
    }
}
