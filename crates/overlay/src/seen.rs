//! The query ids that this node has seen lately, and how far it took each query.

use crate::io::Now;
use skein_proto::{Instant, Query, QueryId};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How long a query id is remembered: far longer than a query lives.
const SEEN_FOR: Duration = Duration::from_secs(60);

/// Query ids remembered: 1,000 a second for a minute. An entry takes about 100 bytes.
const MAX_SEEN: usize = 65_536;

/// What a query id is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It was not seen before.
    New,
    /// The index was searched, but the query shall go further than it did.
    Further,
    /// It went as far before.
    Known,
    /// It was another query: whoever sends it now makes it up.
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// A fingerprint of the query.
    query: u64,
    hops: u8,
}

/// The query ids that this node has seen lately.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    entries: HashMap<QueryId, Entry>,
    order: VecDeque<(Instant, QueryId)>,
}

impl Seen {
    /// Notes that a query goes so many hops on from here, and says what it was before.
    pub(crate) fn note(&mut self, id: QueryId, query: &Query, hops: u8, now: Now) -> Sight {
        while let Some((at, old)) = self.order.front() {
            if now.instant.since(*at) < SEEN_FOR && self.order.len() < MAX_SEEN {
                break;
            }
            self.entries.remove(old);
            self.order.pop_front();
        }
        let query = fingerprint(query);
        match self.entries.get_mut(&id) {
            None => {
                self.entries.insert(id, Entry { query, hops });
                self.order.push_back((now.instant, id));
                Sight::New
            }
            Some(entry) if entry.query != query => Sight::Other,
            Some(entry) if hops <= entry.hops => Sight::Known,
            Some(entry) => {
                entry.hops = hops;
                Sight::Further
            }
        }
    }
}

/// The same for the same query. It is never sent, so that it need not be the same elsewhere.
fn fingerprint(query: &Query) -> u64 {
    let mut hasher = DefaultHasher::new();
    query.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_proto::{Ask, BoundedString, UnixTime};

    fn query(words: &str) -> Query {
        let filter = skein_proto::query::Filter::default();
        Query { ask: Ask::Words(BoundedString::truncated(words)), filter }
    }

    fn at(secs: u64) -> Now {
        Now { instant: Instant::START + Duration::from_secs(secs), unix: UnixTime(secs) }
    }

    #[test]
    fn a_query_may_go_further_but_not_the_same_way_twice() {
        let mut seen = Seen::default();
        let id = QueryId::from_bytes([1; 16]);
        let steps = [(0, Sight::New), (0, Sight::Known), (1, Sight::Further), (1, Sight::Known)];
        for (hops, expected) in steps {
            assert_eq!(seen.note(id, &query("song"), hops, at(0)), expected);
        }
        assert_eq!(seen.note(id, &query("other"), 2, at(0)), Sight::Other);
        assert_eq!(seen.note(id, &query("song"), 0, at(60)), Sight::New, "it is forgotten");
    }

    #[test]
    fn made_up_ids_take_no_more_than_their_room() {
        let mut seen = Seen::default();
        for number in 0..MAX_SEEN as u128 + 10 {
            let id = QueryId::from_bytes(number.to_le_bytes());
            assert_eq!(seen.note(id, &query("song"), 0, at(0)), Sight::New);
        }
        assert_eq!(seen.entries.len(), MAX_SEEN);
        assert_eq!(seen.order.len(), MAX_SEEN);
    }
}
