//! Which supernodes a search has covered, told apart by their tags.

use skein_proto::Tag;
use std::collections::BTreeMap;

/// By whose word a supernode is covered: the number of a neighbour, from 1 on.
pub(crate) type Word = u16;

/// By nobody's: it is not covered.
const NOBODY: Word = 0;
/// It has answered itself, its own table excludes it, or several have told of it.
const SURE: Word = Word::MAX;
/// By one neighbour's, and the others were told to leave it alone: they cannot speak for it any more.
const LENT: Word = Word::MAX - 1;

/// What one neighbour has told.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    tags: u32,
    /// Supernodes that are known, and of which nobody else has told.
    alone: u32,
    /// The same of those that are not known.
    strange: u32,
}

impl Tally {
    /// Whether it tells of more that nobody knows than there are newcomers.
    fn is_strange(&self) -> bool {
        self.strange * 10 > self.tags
    }
}

/// Where to look for a number among ascending ones. Each query asks for some thousand tags, and to
/// halve a list of a thousand again and again is to guess wrongly half of the time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Starts {
    /// By how much a number is shifted for that of the stretch that it belongs to.
    shift: u32,
    /// Where each stretch begins, and where the last one ends.
    at: Vec<u32>,
}

impl Starts {
    /// Those of some numbers of [`BITS`] bits: as many stretches as there are numbers, or half as many.
    /// Tags are hashes, so each has one or two; where somebody has made them up it has more.
    pub(crate) fn of(ascending: &[u32]) -> Self {
        let bits = ascending.len().checked_ilog2().unwrap_or(0).min(BITS);
        let shift = BITS - bits;
        let mut at = Vec::with_capacity((1 << bits) + 1);
        for (place, number) in (0..).zip(ascending) {
            while at.len() <= (number >> shift) as usize {
                at.push(place);
            }
        }
        at.resize((1 << bits) + 1, u32::try_from(ascending.len()).unwrap_or(u32::MAX));
        Self { shift, at }
    }

    /// Where a number is among those that this was made of.
    pub(crate) fn find(&self, ascending: &[u32], number: u32) -> Option<usize> {
        let stretch = (number >> self.shift) as usize;
        let (from, to) = (*self.at.get(stretch)? as usize, *self.at.get(stretch + 1)? as usize);
        let at = ascending.get(from..to)?.binary_search(&number).ok()?;
        Some(from + at)
    }
}

/// Bits of a tag.
const BITS: u32 = 24;

/// A set of tags. So few supernodes share a tag that a tag counts for one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Covered {
    /// The tags of the supernodes that are known, ascending, each once: nearly all that is taken in
    /// is among them.
    known: Vec<u32>,
    starts: Starts,
    /// In the same order: the nodes of whom each holds the metadata, and by whose word it is in the
    /// set.
    nodes: Vec<u32>,
    words: Vec<Word>,
    missing: usize,
    others: BTreeMap<u32, Word>,
    tallies: Vec<Tally>,
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
    /// Takes in a tag that is beyond doubt, and says whether it was new.
    pub(crate) fn insert(&mut self, tag: Tag) -> bool {
        self.hear(tag, SURE)
    }

    /// Takes in a tag that a neighbour tells, and says whether it was new.
    pub(crate) fn tell(&mut self, tag: Tag, by: Word) -> bool {
        let count = usize::from(by);
        if self.tallies.len() < count {
            self.tallies.resize(count, Tally::default());
        }
        self.hear(tag, by)
    }

    fn hear(&mut self, tag: Tag, by: Word) -> bool {
        let number = number(tag);
        let found = self.find(number);
        let word = match found {
            Some(at) => self.words.get_mut(at),
            None => Some(self.others.entry(number).or_insert(NOBODY)),
        };
        let Some(word) = word else { return false };
        let before = *word;
        *word = match (before, by) {
            (NOBODY, _) => by,
            (_, SURE) => SURE,
            (SURE | LENT, _) => before,
            _ if before == by => by,
            _ => SURE,
        };
        let is_known = found.is_some();
        let is_confirmed = before != NOBODY && *word != before;
        self.missing -= usize::from(before == NOBODY && is_known);
        if let Some(tally) = self.tally(by) {
            tally.tags += 1;
            tally.alone += u32::from(is_known && before == NOBODY);
            tally.strange += u32::from(!is_known && before == NOBODY);
        }
        if let Some(tally) = self.tally(before).filter(|_| is_confirmed) {
            let alone = if is_known { &mut tally.alone } else { &mut tally.strange };
            *alone = alone.saturating_sub(1);
        }
        before == NOBODY
    }

    fn tally(&mut self, by: Word) -> Option<&mut Tally> {
        self.tallies.get_mut(usize::from(by).checked_sub(1)?)
    }

    /// Leaves it to one neighbour's word that these are covered, since the others are to be told so.
    pub(crate) fn lend(&mut self, which: impl Fn(u32) -> bool) {
        for (at, number) in self.known.iter().enumerate() {
            let Some(word) = self.words.get_mut(at) else { continue };
            let tally = usize::from(*word).checked_sub(1).and_then(|by| self.tallies.get_mut(by));
            if let Some(tally) = tally.filter(|_| which(*number)) {
                *word = LENT;
                tally.alone = tally.alone.saturating_sub(1);
            }
        }
    }

    /// Whether more than so many supernodes hang on the word of one neighbour each, those aside that were
    /// left to it, though the neighbours but for the one that has told most have told of fewer than
    /// `enough`, each time counted.
    pub(crate) fn is_doubtful(&self, hearsay: f64, enough: f64) -> bool {
        let tags = self.tallies.iter().map(|tally| f64::from(tally.tags));
        let largest = tags.clone().fold(0.0, f64::max);
        let alone: f64 = self.tallies.iter().map(|tally| f64::from(tally.alone)).sum();
        alone > hearsay && tags.sum::<f64>() - largest < enough
    }

    /// Tags of which one neighbour alone has told and that belong to nobody who is known, where the
    /// others tell of none: they are made up.
    pub(crate) fn made_up(&self) -> u32 {
        let strange = self.tallies.iter().filter(|tally| tally.is_strange());
        let told = self.tallies.iter().filter(|tally| tally.tags > 0).count();
        if 3 * strange.clone().count() > told { 0 } else { strange.map(|it| it.strange).sum() }
    }

    pub(crate) fn contains(&self, tag: Tag) -> bool {
        match self.find(number(tag)) {
            Some(at) => self.words.get(at).is_some_and(|word| *word != NOBODY),
            None => self.others.contains_key(&number(tag)),
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
            let is_in = self.others.remove(&tag).is_some();
            self.known.push(tag);
            self.nodes.push(nodes);
            self.words.push(if is_in { SURE } else { NOBODY });
            self.missing += usize::from(!is_in);
        }
        self.starts = Starts::of(&self.known);
    }

    fn find(&self, number: u32) -> Option<usize> {
        self.starts.find(&self.known, number)
    }

    /// Supernodes that are known and not in the set.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// Whether this one is among those: known and not in the set.
    pub(crate) fn misses(&self, tag: Tag) -> bool {
        self.find(number(tag)).is_some_and(|at| self.words.get(at) == Some(&NOBODY))
    }

    /// The nodes of whom the supernodes in the set hold the metadata.
    pub(crate) fn nodes(&self) -> u64 {
        let marked = self.words.iter().zip(&self.nodes).filter(|(word, _)| **word != NOBODY);
        marked.map(|(_, nodes)| u64::from(*nodes)).sum()
    }

    /// The same of one, if it is in the set.
    pub(crate) fn nodes_of(&self, tag: Tag) -> Option<u32> {
        let at = self.find(number(tag))?;
        self.nodes.get(at).copied().filter(|_| self.words.get(at) != Some(&NOBODY))
    }

    /// The tags of those that are beyond doubt, or left to one neighbour's word. That of one that is not
    /// known needs a second neighbour's: nobody doubts it, so nothing else would have it looked for.
    pub(crate) fn tags(&self) -> impl Iterator<Item = Tag> {
        let known = self.known.iter().zip(&self.words).chain(&self.others);
        known.filter(|(_, word)| **word >= LENT).map(|(number, _)| tag(*number))
    }

    /// How many tags there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len() - self.missing + self.others.len()
    }

    /// How many there are that are not made up.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn supernodes(&self) -> f64 {
        // Far fewer than 2^52.
        self.len() as f64 - f64::from(self.made_up())
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn a_number_is_found_where_it_is_however_they_are_spread(
            mut some in proptest::collection::vec(prop_oneof![0_u32..40, 0_u32..1 << 24], 0..300),
            others in proptest::collection::vec(prop_oneof![0_u32..40, 0_u32..1 << 24], 0..60),
        ) {
            some.sort_unstable();
            some.dedup();
            let starts = Starts::of(&some);
            for number in some.iter().chain(&others).copied().chain([0, (1 << 24) - 1]) {
                prop_assert_eq!(starts.find(&some, number), some.binary_search(&number).ok());
            }
        }
    }

    fn tags(count: u8) -> Vec<Tag> {
        (1..=count).map(|last| [0, 0, last]).collect()
    }

    fn tell(covered: &mut Covered, tags: &[Tag], by: Word) {
        for tag in tags {
            covered.tell(*tag, by);
        }
    }

    #[test]
    fn what_one_neighbour_tells_is_doubted_until_others_have_told_it_or_looked_around() {
        let mut covered = Covered::default();
        covered.expect(tags(100).into_iter().map(|tag| (tag, 1)).collect());
        tell(&mut covered, &tags(40), 1);
        tell(&mut covered, &tags(40), 1);
        assert!(covered.is_doubtful(5.0, 300.0), "to tell it twice does not help");
        assert_eq!(covered.tags().count(), 0, "and nobody is told to leave them alone");
        tell(&mut covered, &tags(40), 2);
        assert!(!covered.is_doubtful(5.0, 300.0));
        assert_eq!(covered.tags().count(), 40);
        tell(&mut covered, &tags(45), 3);
        assert!(!covered.is_doubtful(5.0, 300.0), "five of a hundred");
        tell(&mut covered, &tags(46), 3);
        assert!(covered.is_doubtful(5.0, 300.0), "the third one's word");
        assert!(!covered.is_doubtful(5.0, 60.0), "the others have looked around enough");
        covered.lend(|number| number > 40);
        assert!(!covered.is_doubtful(5.0, 300.0));
        assert_eq!(covered.tags().count(), 46);
        assert_eq!(covered.supernodes(), 46.0);
    }

    #[test]
    fn nobody_is_told_to_leave_alone_whom_nobody_knows_and_one_has_told_of() {
        let mut covered = Covered::default();
        covered.expect(tags(10).into_iter().map(|tag| (tag, 1)).collect());
        for by in 1..=2 {
            tell(&mut covered, &[[7, 7, by.try_into().expect("small")]], by);
        }
        covered.lend(|_| true);
        assert_eq!(covered.tags().count(), 0);
        tell(&mut covered, &[[7, 7, 1]], 2);
        assert_eq!(covered.tags().collect::<Vec<_>>(), [[7, 7, 1]]);
    }

    #[test]
    fn supernodes_that_one_neighbour_alone_tells_of_and_nobody_knows_are_made_up() {
        let mut covered = Covered::default();
        covered.expect(tags(100).into_iter().map(|tag| (tag, 1)).collect());
        let invented: Vec<Tag> = (0..200).map(|last| [9, 9, last]).collect();
        tell(&mut covered, &invented, 1);
        assert_eq!(covered.made_up(), 0, "it may be that this node knows hardly anybody");
        for by in 2..=4 {
            tell(&mut covered, &tags(40), by);
            tell(&mut covered, &[[7, 7, 1]], by);
        }
        assert_eq!((covered.made_up(), covered.supernodes()), (200, 41.0));
    }

    #[test]
    fn a_population_is_found_from_what_was_drawn_twice() {
        let different = 950.0 * (1.0 - (-1_600.0_f64 / 950.0).exp());
        assert!((population(different, 1_600.0) - 950.0).abs() < 0.01);
        assert!(population(80.0, 80.0) > 10_000.0, "nobody was drawn twice");
        assert!(population(3.0, 300.0) < 3.01);
    }
}
