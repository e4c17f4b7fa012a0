//! The two lists of a word, as one.

use crate::segment::postings::{BATCH, Cursor};
use crate::segment::strings::ListsAt;
use crate::segment::{Rank, Segment};

/// The documents that have a word in the file name, and those that have it elsewhere only.
#[derive(Debug, Default)]
pub(crate) struct Lists<'a> {
    pub(crate) inside: Option<Cursor<'a>>,
    pub(crate) outside: Option<Cursor<'a>>,
    /// What was read of both, where both are gone through.
    ahead: Option<Box<[Ahead; 2]>>,
}

impl<'a> Lists<'a> {
    pub(crate) fn new(segment: &'a Segment, at: ListsAt) -> Self {
        let (inside, outside) = segment.strings.lists(at);
        Self::of(inside, outside)
    }

    pub(crate) const fn of(inside: Option<Cursor<'a>>, outside: Option<Cursor<'a>>) -> Self {
        Self { inside, outside, ahead: None }
    }

    pub(crate) fn estimate(&self) -> usize {
        [&self.inside, &self.outside].into_iter().flatten().map(Cursor::estimate).sum()
    }

    /// Takes the next ranks, of which the first is not below `least`; none behind the end. Whoever
    /// takes some goes on behind the last one.
    pub(crate) fn fill(&mut self, least: Rank, batch: &mut Batch) {
        match (&mut self.inside, &mut self.outside) {
            (Some(inside), None) => {
                batch.inside = u64::MAX;
                batch.len = inside.fill(least, &mut batch.ranks);
            }
            (None, Some(outside)) => {
                batch.inside = 0;
                batch.len = outside.fill(least, &mut batch.ranks);
            }
            (Some(inside), Some(outside)) => {
                let ahead = self.ahead.get_or_insert_with(|| Box::new([Ahead::new(least); 2]));
                merge(ahead, [inside, outside], batch);
            }
            (None, None) => batch.len = 0,
        }
    }

    /// Which ranks have the word in the file name, and which have it at all.
    pub(crate) fn mark(&mut self, ranks: &[Rank]) -> (u64, u64) {
        let mark = |list: &mut Option<Cursor<'_>>| list.as_mut().map_or(0, |it| it.mark(ranks));
        let inside = mark(&mut self.inside);
        (inside, inside | mark(&mut self.outside))
    }
}

/// What was read of a list and not given away yet.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    ranks: [Rank; BATCH],
    at: usize,
    len: usize,
    /// Where to read on; `None` at the end.
    least: Option<Rank>,
}

impl Ahead {
    const fn new(least: Rank) -> Self {
        Self { ranks: [0; BATCH], at: 0, len: 0, least: Some(least) }
    }

    /// What there is, of which some is read if there is nothing.
    fn look(&mut self, list: &mut Cursor<'_>) -> &[Rank] {
        if self.at == self.len
            && let Some(least) = self.least
        {
            (self.at, self.len) = (0, list.fill(least, &mut self.ranks));
            let last = self.ranks.get(self.len.wrapping_sub(1));
            self.least = last.and_then(|last| last.checked_add(1));
        }
        self.ranks.get(self.at..self.len).unwrap_or_default()
    }
}

/// Takes the next ranks of two lists. Where many words are united, both may have the same ones.
fn merge(ahead: &mut [Ahead; 2], [inside, outside]: [&mut Cursor<'_>; 2], batch: &mut Batch) {
    (batch.len, batch.inside) = (0, 0);
    let [first, second] = ahead;
    while batch.len < BATCH {
        let (these, those) = (first.look(inside), second.look(outside));
        let (mut i, mut k) = (0, 0);
        if those.is_empty() || these.is_empty() {
            let rest = if those.is_empty() { these } else { those };
            if rest.is_empty() {
                return;
            }
            let taken = rest.len().min(BATCH - batch.len);
            batch.ranks[batch.len..batch.len + taken].copy_from_slice(&rest[..taken]);
            if those.is_empty() {
                i = taken;
                batch.inside |= (u64::MAX >> (BATCH - taken)) << batch.len;
            } else {
                k = taken;
            }
            batch.len += taken;
        }
        // Which of two comes first cannot be foreseen: there is no branch for it.
        while let (Some(this), Some(that)) = (these.get(i), those.get(k))
            && let Some(free) = batch.ranks.get_mut(batch.len)
        {
            *free = *this.min(that);
            batch.inside |= u64::from(this <= that) << batch.len;
            i += usize::from(this <= that);
            k += usize::from(that <= this);
            batch.len += 1;
        }
        first.at += i;
        second.at += k;
    }
}

/// Ranks that are looked at together, in ascending order.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) ranks: [Rank; BATCH],
    pub(crate) len: usize,
    /// A bit for each: whether it has all words so far in the file name.
    pub(crate) inside: u64,
}

impl Batch {
    pub(crate) const fn new() -> Self {
        Self { ranks: [0; BATCH], len: 0, inside: 0 }
    }

    pub(crate) fn ranks(&self) -> &[Rank] {
        self.ranks.get(..self.len).unwrap_or_default()
    }

    /// Leaves out those that have no bit here.
    pub(crate) fn keep(&mut self, mask: u64) {
        let (mut rest, mut len, mut inside) = (mask, 0, 0);
        while rest != 0 {
            let at = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if at >= self.len {
                break;
            }
            self.ranks[len] = self.ranks[at];
            inside |= (self.inside >> at & 1) << len;
            len += 1;
        }
        (self.len, self.inside) = (len, inside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::postings::{self, Numbers};
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn two_lists_are_gone_through_as_one(
            // Inside, outside, or both.
            all in btree_map(0_u32..3_000, 1_u8..4, 0..900),
            wanted in 1_u8..4,
        ) {
            let written = [1, 2].map(|which| {
                let ours = all.iter().filter(|(_, has)| **has & which != 0);
                let list: Vec<u32> = ours.map(|(rank, _)| *rank).collect();
                let mut bytes = Vec::new();
                let form = postings::write(Numbers::Listed(&list), 10_000, &mut bytes);
                (form, bytes)
            });
            let cursor = |at: usize| {
                let (form, bytes) = &written[at];
                (wanted >> at & 1 == 1).then(|| Cursor::new(*form, bytes))
            };
            let mut lists = Lists::of(cursor(0), cursor(1));
            let mut found = Vec::new();
            let mut batch = Batch::new();
            let mut least = 0;
            loop {
                lists.fill(least, &mut batch);
                let Some(last) = batch.ranks().last() else { break };
                least = last + 1;
                let bits = (0..).map(|at| batch.inside >> at & 1 == 1);
                found.extend(batch.ranks().iter().copied().zip(bits));
            }
            let expected: Vec<(u32, bool)> = all
                .iter()
                .filter(|(_, has)| *has & wanted != 0)
                .map(|(rank, has)| (*rank, has & wanted & 1 == 1))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
