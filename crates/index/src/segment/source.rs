//! One of the segments that are merged.

use super::documents::Reading;
use super::renumber::Renumbering;
use super::{Place, Rank, Segment, prefix};
use crate::array::Array;
use crate::register::OwnerNo;
use std::sync::Arc;

/// Documents whose keys are read together: then memory is waited for once instead of once for each.
const AHEAD: usize = 16;

/// What orders documents: an owner or a class, and the first bytes of the content.
pub(super) type Key = u128;

/// A key behind those of all documents.
pub(super) const END: Key = Key::MAX;

/// One of the segments that are merged.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) segment: Arc<Segment>,
    /// The new place of each place, and the new rank of each rank.
    pub(super) places: Renumbering,
    pub(super) ranks: Renumbering,
    /// The provisional number of each string.
    pub(super) strings: Renumbering,
    /// The provisional number of the string of each code, and later the new code.
    pub(super) codes: Array<u32>,
    /// Nothing of it is gone, so that it is known about how often each code is used.
    pub(super) is_whole: bool,
    /// How far the step at hand has come.
    pub(super) at: u32,
    /// Where its documents have been read up to.
    pub(super) reading: Reading,
    ahead: [Next; AHEAD],
    /// Those of `ahead` that are still to come.
    next: usize,
    len: usize,
}

/// A document that is still to come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Next {
    pub(super) key: Key,
    pub(super) place: Place,
    pub(super) rank: Rank,
}

impl Source {
    pub(super) fn new(segment: Arc<Segment>) -> Self {
        Self {
            places: Renumbering::new(segment.len() as usize),
            ranks: Renumbering::new(segment.len() as usize),
            strings: Renumbering::new(segment.strings.len()),
            codes: Array::lent(segment.documents.codes()),
            segment,
            is_whole: false,
            at: 0,
            reading: Reading::default(),
            ahead: [Next::default(); AHEAD],
            next: 0,
            len: 0,
        }
    }

    /// The key of the next document; [`END`] behind the last one.
    #[inline]
    pub(super) fn key(&self) -> Key {
        if self.next < self.len { self.ahead[self.next].key } else { END }
    }

    /// The content of the next document.
    pub(super) fn content(&self) -> Option<[u8; 32]> {
        let next = self.ahead.get(self.next..self.len)?.first()?;
        self.segment.content(next.place).map(|content| *content.as_bytes())
    }

    /// Takes the next document.
    #[inline]
    pub(super) fn take(&mut self) -> Next {
        let next = self.ahead[self.next.min(AHEAD - 1)];
        self.next += 1;
        next
    }

    /// Whether [`Source::look_at_places`] or [`Source::look_at_ranks`] is due.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.next >= self.len
    }

    /// Looks at the next documents by place, as far as they are live.
    pub(super) fn look_at_places(&mut self) {
        let segment = &*self.segment;
        (self.next, self.len) = (0, 0);
        let (mut owner, mut end) = (OwnerNo::MAX, 0);
        while self.len < AHEAD && self.at < segment.len() {
            let place = self.at;
            self.at += 1;
            if !segment.is_live(place) {
                continue;
            }
            if place >= end {
                (owner, end) = segment.run_of(place);
            }
            self.ahead[self.len] = Next { key: u128::from(owner), place, rank: 0 };
            self.len += 1;
        }
        self.look_at_contents();
    }

    /// Looks at the next documents by rank, as far as they have a new place.
    pub(super) fn look_at_ranks(&mut self) {
        let segment = &*self.segment;
        (self.next, self.len) = (0, 0);
        let (mut class, mut end) = (0, 0);
        while self.len < AHEAD && self.at < segment.len() {
            let rank = self.at;
            self.at += 1;
            let place = segment.place(rank);
            if self.places.get(place).is_some() {
                if rank >= end {
                    (class, end) = segment.class_run(rank);
                }
                self.ahead[self.len] = Next { key: u128::from(class), place, rank };
                self.len += 1;
            }
        }
        self.look_at_contents();
    }

    fn look_at_contents(&mut self) {
        for next in self.ahead.iter_mut().take(self.len) {
            let content = self.segment.content(next.place);
            next.key = next.key << 64 | u128::from(content.map_or(0, |it| prefix(&it)));
        }
    }

    /// Begins a phase.
    pub(super) fn rewind(&mut self) {
        (self.at, self.next, self.len) = (0, 0, 0);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.places.bytes() + self.ranks.bytes() + self.strings.bytes() + self.codes.bytes()
    }
}

/// Puts something into a list in descending order. Of the few sources that there are mostly, it is
/// quicker from the end on, one by one, than by halves, which no processor can foresee.
#[inline]
pub(super) fn insert<T: Copy + Ord>(list: &mut Vec<T>, new: T) {
    list.push(new);
    let mut at = list.len() - 1;
    while at > 0 && list[at - 1] < new {
        list[at] = list[at - 1];
        at -= 1;
    }
    list[at] = new;
}

/// The first part of a key, and 32 bits of the content: those that have both in common are told apart by the
/// whole contents.
const fn shortened(key: Key) -> u64 {
    ((key >> 64) as u64) << 32 | (key as u64) >> 32
}

/// Goes on taking documents in the order of their keys, at most so many. `look` reads the keys of
/// a source's next documents, `take` takes the next one. Answers how many those were, and whether
/// none is left.
pub(super) fn in_order(
    sources: &mut [Source],
    most: usize,
    look: fn(&mut Source),
    mut take: impl FnMut(usize, &mut Source),
) -> (usize, bool) {
    // The front of the key of each source's next document above the number of the source, in descending
    // order: the least is taken from the end.
    let mut keys: Vec<u128> = Vec::with_capacity(sources.len());
    let insert = |keys: &mut Vec<u128>, key: Key, source: usize| {
        if key != END {
            insert(keys, u128::from(shortened(key)) << 64 | source as u128);
        }
    };
    for (i, source) in sources.iter_mut().enumerate() {
        if source.is_due() {
            look(source);
        }
        insert(&mut keys, source.key(), i);
    }
    let mut done = 0;
    while done < most {
        let Some(mut first) = keys.pop() else { return (done, true) };
        let front = |waiting: u128| (waiting >> 64) as u64;
        let second = keys.last().map_or(u64::MAX, |it| front(*it));
        if front(first) == second {
            // Their first bytes are alike: the whole contents decide.
            let content = |waiting: u128| sources.get(waiting as u64 as usize)?.content();
            let alike = keys.iter_mut().rev().take_while(|it| front(**it) == second);
            if let Some(other) = alike.min_by_key(|it| content(**it))
                && content(*other) < content(first)
            {
                std::mem::swap(&mut first, other);
            }
        }
        let first = first as u64 as usize;
        let Some(source) = sources.get_mut(first) else { return (done, true) };
        // As long as nothing of the others comes before it.
        let next = loop {
            take(first, source);
            done += 1;
            if source.is_due() {
                look(source);
            }
            let next = source.key();
            if done >= most || shortened(next) >= second {
                break next;
            }
        };
        insert(&mut keys, next, first);
    }
    (done, false)
}
