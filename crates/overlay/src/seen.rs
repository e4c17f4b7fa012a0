//! The searches that this node has answered lately, and for whom.
//!
//! A neighbour is answered whatever others were answered before: one that races ahead with a query,
//! or sends another one under the same id, takes nothing away from those who come later.

use crate::hashed::HashMap;
use crate::io::Now;
use skein_proto::{Instant, NodeId, Query, QueryId};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How long a search is remembered: far longer than it lives.
const SEEN_FOR: Duration = Duration::from_secs(60);

/// Searches remembered: 1,000 a second for a minute. An entry takes some 150 bytes, and 16 for each
/// neighbour that asked: 10 MB where each search comes from one, 75 MB at the very most.
const MAX_SEEN: usize = 65_536;

/// How often one neighbour is answered for the same search: once for each number of hops if it began
/// there, and else once for each of those for whom it passes the query on.
const MAX_TIMES: u8 = 3;

/// Neighbours for whom a query is passed on. Those who look around one after the other leave out whom
/// the ones before have asked; and each further one multiplies what a made-up query costs.
const MAX_PASSED_ON_FOR: usize = 3;

/// Neighbours answered: more than a supernode has.
const MAX_ASKERS: usize = 64;

/// What a query is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It is to be answered, and, if so, passed on.
    New { passes_on: bool },
    /// It began here, or whoever asks was answered as often as it may be.
    Known,
}

#[derive(Clone, Copy, Debug)]
struct Asker {
    /// The beginning of its id.
    node: u64,
    times: u8,
    /// Whether the query was passed on for it.
    passed_on: bool,
}

/// Those for whom a search was answered.
#[derive(Debug)]
enum Askers {
    /// It began here.
    Here,
    /// Most are asked by one: it is kept in place.
    One([Asker; 1]),
    Several(Vec<Asker>),
}

impl Askers {
    fn push(&mut self, asker: Asker) {
        match self {
            Self::Here => {}
            Self::One([first]) => *self = Self::Several(vec![*first, asker]),
            Self::Several(askers) => askers.push(asker),
        }
    }
}

/// A search: its id, and a [`fingerprint`] of the query.
pub(crate) type Search = (QueryId, u64);

/// The searches that this node has answered lately.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    entries: HashMap<Search, Askers>,
    order: VecDeque<(Instant, Search)>,
}

impl Seen {
    /// Notes that a search begins here. Answers whether it is new.
    pub(crate) fn begin(&mut self, search: Search, now: Now) -> bool {
        self.expire(now);
        if self.entries.contains_key(&search) {
            return false;
        }
        self.insert(search, Askers::Here, now);
        true
    }

    /// Notes that a neighbour asks, to have the query passed on so many times, and says what that
    /// query is.
    pub(crate) fn note(&mut self, search: Search, asker: &NodeId, hops: u8, now: Now) -> Sight {
        self.expire(now);
        let mut asker = Asker { node: short(asker), times: 1, passed_on: hops > 0 };
        let Some(all) = self.entries.get_mut(&search) else {
            self.insert(search, Askers::One([asker]), now);
            return Sight::New { passes_on: hops > 0 };
        };
        let askers = match all {
            Askers::Here => return Sight::Known,
            Askers::One(askers) => &mut askers[..],
            Askers::Several(askers) => askers,
        };
        let has_room = askers.iter().filter(|it| it.passed_on).count() < MAX_PASSED_ON_FOR;
        if let Some(known) = askers.iter_mut().find(|it| it.node == asker.node) {
            if known.times >= MAX_TIMES {
                return Sight::Known;
            }
            known.times += 1;
            known.passed_on |= hops > 0 && has_room;
            return Sight::New { passes_on: hops > 0 && known.passed_on };
        }
        if askers.len() >= MAX_ASKERS {
            return Sight::Known;
        }
        asker.passed_on &= has_room;
        all.push(asker);
        Sight::New { passes_on: asker.passed_on }
    }

    /// What was noted of a neighbour came to nothing: it may ask once more.
    pub(crate) fn forget(&mut self, search: Search, asker: &NodeId) {
        let asker = short(asker);
        let forget = |askers: &mut [Asker]| {
            askers.iter_mut().filter(|it| it.node == asker).for_each(|it| it.times -= 1);
        };
        match self.entries.get_mut(&search) {
            None | Some(Askers::Here) => {}
            Some(all @ Askers::One(_)) => {
                if let Askers::One(askers) = all {
                    forget(askers);
                    if askers[0].times == 0 {
                        *all = Askers::Several(Vec::new());
                    }
                }
            }
            Some(Askers::Several(askers)) => {
                forget(askers);
                askers.retain(|it| it.times > 0);
            }
        }
    }

    fn insert(&mut self, search: Search, askers: Askers, now: Now) {
        self.entries.insert(search, askers);
        self.order.push_back((now.instant, search));
    }

    fn expire(&mut self, now: Now) {
        while let Some((at, old)) = self.order.front() {
            if now.instant.since(*at) < SEEN_FOR && self.order.len() < MAX_SEEN {
                break;
            }
            self.entries.remove(old);
            self.order.pop_front();
        }
    }
}

/// The beginning of a node's id: one that shares it with that of another cannot be made.
fn short(node: &NodeId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *node.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The same for the same query. It is never sent, so that it need not be the same elsewhere.
pub(crate) fn fingerprint(query: &Query) -> u64 {
    let mut hasher = DefaultHasher::new();
    query.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_proto::{Ask, BoundedString, UnixTime};

    const ID: QueryId = QueryId::from_bytes([1; 16]);
    const PASSED_ON: Sight = Sight::New { passes_on: true };
    const ANSWERED: Sight = Sight::New { passes_on: false };

    fn query(words: &str) -> Query {
        let filter = skein_proto::query::Filter::default();
        Query { ask: Ask::Words(BoundedString::truncated(words)), filter }
    }

    fn at(secs: u64) -> Now {
        Now { instant: Instant::START + Duration::from_secs(secs), unix: UnixTime(secs) }
    }

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    #[test]
    fn a_neighbour_is_answered_at_each_number_of_hops_and_no_more_within_a_minute() {
        let mut seen = Seen::default();
        let song = fingerprint(&query("song"));
        let steps = [(0, ANSWERED), (1, PASSED_ON), (2, PASSED_ON), (2, Sight::Known)];
        for (hops, expected) in steps {
            assert_eq!(seen.note((ID, song), &node(1), hops, at(0)), expected);
        }
        assert_eq!(seen.note((ID, song), &node(1), 0, at(60)), ANSWERED, "it is forgotten");
    }

    #[test]
    fn whoever_asks_first_takes_nothing_away_from_the_others() {
        let mut seen = Seen::default();
        let song = fingerprint(&query("song"));
        for number in 1..=3 {
            assert_eq!(seen.note((ID, song), &node(number), 2, at(0)), PASSED_ON);
        }
        for number in 4..=40 {
            assert_eq!(seen.note((ID, song), &node(number), 1, at(0)), ANSWERED, "not passed on");
        }
        assert_eq!(seen.note((ID, song), &node(1), 1, at(0)), PASSED_ON);
        assert_eq!(
            seen.note((ID, fingerprint(&query("other"))), &node(4), 1, at(0)),
            PASSED_ON,
            "another one"
        );
    }

    #[test]
    fn what_came_to_nothing_does_not_count() {
        let mut seen = Seen::default();
        let song = fingerprint(&query("song"));
        for number in 0..20 {
            let asker = node(number % 5);
            assert_eq!(seen.note((ID, song), &asker, 1, at(0)), PASSED_ON);
            seen.forget((ID, song), &asker);
        }
    }

    #[test]
    fn what_began_here_is_not_answered() {
        let mut seen = Seen::default();
        assert!(seen.begin((ID, fingerprint(&query("song"))), at(0)));
        assert!(!seen.begin((ID, fingerprint(&query("song"))), at(0)));
        assert_eq!(seen.note((ID, fingerprint(&query("song"))), &node(1), 1, at(0)), Sight::Known);
    }

    #[test]
    fn made_up_ids_take_no_more_than_their_room() {
        let (mut seen, song) = (Seen::default(), fingerprint(&query("song")));
        for number in 0..MAX_SEEN as u128 + 10 {
            let id = QueryId::from_bytes(number.to_le_bytes());
            assert_eq!(seen.note((id, song), &node(1), 0, at(0)), ANSWERED);
        }
        assert_eq!(seen.entries.len(), MAX_SEEN);
        assert_eq!(seen.order.len(), MAX_SEEN);
    }
}
