//! What happens when: a calendar queue (Brown, "Calendar Queues", CACM 1988) of two levels.
//!
//! Virtual time only moves forward and most events lie within a few seconds, so a sorted tree of
//! all of them would spend its time on cache misses. Here an event goes straight into the slot of
//! its millisecond, and only the few events of the slot that is due are ever sorted.

use skein_proto::Instant;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// A slot is 2^10 µs long: short enough that even a million nodes put only some hundred events
/// into it.
const SLOT_BITS: u32 = 10;

/// The slots of one turn: 2^14 of them are 16.8 s, longer than nearly every message and timer.
const TURN_BITS: u32 = 14;

const SLOTS: usize = 1 << TURN_BITS;

/// Events by the time at which they happen; those of the same time in the order in which they were
/// pushed.
#[derive(Debug)]
pub struct Queue<E> {
    /// The slot that is due, in descending order: the next event is the last one.
    due: Vec<(Instant, E)>,
    /// What was pushed into the due slot, or before it, after it was sorted. It comes after the
    /// events in `due` of the same time.
    late: BinaryHeap<Reverse<Late<E>>>,
    pushed_late: u64,
    /// The number of the slot that is due, counted from the start of time.
    slot: u64,
    /// The slots of this turn, each in the order of pushing.
    slots: Vec<Vec<(Instant, E)>>,
    /// One bit for each slot that is not empty.
    filled: Vec<u64>,
    /// Later turns by their numbers, each in the order of pushing.
    turns: BTreeMap<u64, Vec<(Instant, E)>>,
    len: usize,
}

#[derive(Debug)]
struct Late<E> {
    at: Instant,
    order: u64,
    event: E,
}

impl<E> PartialEq for Late<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl<E> Eq for Late<E> {}
impl<E> PartialOrd for Late<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Late<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Queue<E> {
    /// A queue without events. It takes half a mebibyte.
    pub fn new() -> Self {
        Self {
            due: Vec::new(),
            late: BinaryHeap::new(),
            pushed_late: 0,
            slot: 0,
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            filled: vec![0; SLOTS / 64],
            turns: BTreeMap::new(),
            len: 0,
        }
    }

    /// How many events are waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing will happen any more.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an event. One for a time that is over happens next.
    pub fn push(&mut self, at: Instant, event: E) {
        self.len += 1;
        let slot = at.as_micros() >> SLOT_BITS;
        if slot <= self.slot {
            self.pushed_late += 1;
            self.late.push(Reverse(Late { at, order: self.pushed_late, event }));
        } else if slot >> TURN_BITS == self.slot >> TURN_BITS {
            self.put(slot, at, event);
        } else {
            self.turns.entry(slot >> TURN_BITS).or_default().push((at, event));
        }
    }

    /// When the next event happens.
    pub fn next_at(&mut self) -> Option<Instant> {
        self.settle();
        let due = self.due.last().map(|(at, _)| *at);
        let late = self.late.peek().map(|Reverse(late)| late.at);
        match (due, late) {
            (Some(due), Some(late)) => Some(due.min(late)),
            (due, late) => due.or(late),
        }
    }

    /// Takes the next event out.
    pub fn pop(&mut self) -> Option<(Instant, E)> {
        self.settle();
        let late_first = match (self.due.last(), self.late.peek()) {
            (Some((due, _)), Some(Reverse(late))) => late.at < *due,
            (None, Some(_)) => true,
            _ => false,
        };
        let next = if late_first {
            self.late.pop().map(|Reverse(late)| (late.at, late.event))
        } else {
            self.due.pop()
        };
        self.len -= usize::from(next.is_some());
        next
    }

    fn put(&mut self, slot: u64, at: Instant, event: E) {
        let index = index_of(slot);
        self.slots[index].push((at, event));
        self.filled[index / 64] |= 1 << (index % 64);
    }

    /// Moves on to the next slot that holds something, if the due one is used up.
    fn settle(&mut self) {
        if !self.due.is_empty() || !self.late.is_empty() || self.len == 0 {
            return;
        }
        let Some(index) = self.next_filled() else {
            self.next_turn();
            return self.settle();
        };
        self.slot = (self.slot & !(SLOTS as u64 - 1)) | index as u64;
        self.filled[index / 64] &= !(1 << (index % 64));
        // The emptied vector is given back: the slots together would keep the room of the busiest
        // moment of each.
        self.due = std::mem::take(&mut self.slots[index]);
        // Stable, so reversed first: of two events of the same time the earlier one is popped,
        // from the end, first.
        self.due.reverse();
        self.due.sort_by_key(|(at, _)| Reverse(*at));
    }

    fn next_filled(&self) -> Option<usize> {
        let from = index_of(self.slot);
        let (first, rest) = (from / 64, from % 64);
        let head = self.filled[first] & (u64::MAX << rest);
        let word = if head != 0 {
            first
        } else {
            (first + 1..self.filled.len()).find(|word| self.filled[*word] != 0)?
        };
        let bits = if word == first { head } else { self.filled[word] };
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    fn next_turn(&mut self) {
        let Some((turn, events)) = self.turns.pop_first() else { return };
        self.slot = turn << TURN_BITS;
        for (at, event) in events {
            self.put(at.as_micros() >> SLOT_BITS, at, event);
        }
    }
}

/// Where a slot stands within its turn.
fn index_of(slot: u64) -> usize {
    // Masked to 14 bits, which fit.
    (slot & (SLOTS as u64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use proptest::prelude::*;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn what_happens_at_the_same_time_happens_in_the_order_of_pushing() {
        let mut queue = Queue::new();
        for number in 0..100 {
            queue.push(at(5_000 + number % 2), number);
        }
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop()).map(|(_, event)| event).collect();
        let even = (0..100).filter(|n| n % 2 == 0);
        assert_eq!(order, even.chain((0..100).filter(|n| n % 2 == 1)).collect::<Vec<_>>());
    }

    #[test]
    fn an_event_for_the_past_happens_next() {
        let mut queue = Queue::new();
        queue.push(at(90_000_000), "later");
        queue.push(at(50_000_000), "now");
        assert_eq!(queue.pop(), Some((at(50_000_000), "now")));
        queue.push(at(1), "overdue");
        assert_eq!(queue.pop(), Some((at(1), "overdue")));
        assert_eq!(queue.pop(), Some((at(90_000_000), "later")));
        assert_eq!(queue.pop(), None);
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_list_does(
            steps in proptest::collection::vec((0..4_u8, 0..40_000_u64, 0..3_u64), 1..400),
        ) {
            let mut queue = Queue::new();
            let mut list: Vec<(Instant, usize)> = Vec::new();
            let mut now = Instant::START;
            for (number, (what, near, far)) in steps.into_iter().enumerate() {
                if what == 0 {
                    list.sort_by_key(|(at, _)| *at);
                    let expected = if list.is_empty() { None } else { Some(list.remove(0)) };
                    prop_assert_eq!(queue.next_at(), expected.map(|(at, _)| at));
                    prop_assert_eq!(queue.pop(), expected);
                    now = expected.map_or(now, |(at, _)| at);
                } else {
                    let when = at(now.as_micros() + near + far * 30_000_000);
                    queue.push(when, number);
                    list.push((when, number));
                }
                prop_assert_eq!(queue.len(), list.len());
            }
        }
    }
}
