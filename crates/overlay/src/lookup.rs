//! Searches of this supernode's own index. The driver carries them out on other threads: one for
//! words that half of all names have takes as long as a hundred messages, and would keep all of
//! them waiting.

use crate::core::Core;
use crate::hashed::HashMap;
use crate::io::Output;
use crate::shares::of_holder;
use crate::sources::Wanted;
use skein_index::{Found, Index, Reader};
use skein_proto::{NodeId, QueryId};
use std::sync::Arc;

/// Look-ups under way at the same time. Most are done in a small part of a millisecond, and none for
/// words does more than a bounded amount of work
/// ([`MAX_SEARCH_WORK`](skein_index::MAX_SEARCH_WORK) a page), whatever is asked. To list all that a
/// user has takes longer the more that is, and the more documents have several owners.
const MAX_LOOK_UPS: usize = 256;

/// Those of them that neighbours' queries may take, so that there is room for those of children
/// and of this node's own user.
const MAX_FOR_NEIGHBOURS: usize = 192;

/// Pages of matches that are looked at where single owners fill them. Each costs as much as the
/// first look at most.
const MAX_PAGES: usize = 4;

/// A search of a supernode's index, which may be carried out on any thread.
#[derive(Clone, Debug)]
pub struct LookUp {
    number: u64,
    id: QueryId,
    reader: Reader,
    query: Arc<Wanted>,
    wanted: usize,
}

impl LookUp {
    /// Carries it out. That mostly takes far less than a millisecond, and waits for nobody.
    #[must_use]
    pub fn run(&self) -> LookedUp {
        let query = &self.query.parsed;
        let found = match query.filter().owner {
            Some(_) => self.reader.find(query, self.wanted),
            None => self.find_of_many(),
        };
        LookedUp { found, ..self.nothing() }
    }

    /// The best matches, where no owner takes the room of the others: beyond its share it gets what
    /// they leave.
    fn find_of_many(&self) -> Vec<Found> {
        let share = of_holder(self.wanted);
        let mut shares: HashMap<NodeId, usize> = HashMap::default();
        let (mut chosen, mut beyond) = (Vec::new(), Vec::new());
        let mut left = self.wanted;
        for page in 0..MAX_PAGES {
            let skip = page * self.wanted;
            let found = self.reader.find_page(&self.query.parsed, skip, self.wanted);
            let mut contents = 0;
            for records in found.chunk_by(|a, b| a.file.content == b.file.content) {
                contents += 1;
                let of = |owner: &NodeId| shares.get(owner).copied().unwrap_or(0);
                let owner = records.iter().map(|record| record.owner).min_by_key(of);
                let Some(owner) = owner.filter(|owner| left > 0 && of(owner) < share) else {
                    beyond.push(records.to_vec());
                    continue;
                };
                *shares.entry(owner).or_default() += 1;
                left -= 1;
                chosen.extend_from_slice(records);
            }
            if left == 0 || contents < self.wanted {
                break;
            }
        }
        chosen.extend(beyond.into_iter().take(left).flatten());
        chosen
    }

    /// The answer of whoever could not carry it out.
    #[must_use]
    pub fn nothing(&self) -> LookedUp {
        LookedUp { number: self.number, id: self.id, found: Vec::new() }
    }
}

impl PartialEq for LookUp {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

/// What came of a [`LookUp`].
#[derive(Clone, Debug)]
pub struct LookedUp {
    pub(crate) number: u64,
    pub(crate) id: QueryId,
    pub(crate) found: Vec<Found>,
}

/// How many look-ups are under way.
#[derive(Debug, Default)]
pub(crate) struct LookUps {
    under_way: usize,
    last: u64,
}

impl LookUps {
    /// Whether one more may begin for this asker; it is counted if not.
    pub(crate) fn has_room(&self, core: &mut Core, asker: Asker) -> bool {
        let limit = match asker {
            Asker::Neighbour => MAX_FOR_NEIGHBOURS,
            Asker::Own => MAX_LOOK_UPS,
        };
        let has_room = self.under_way < limit;
        core.counters.look_ups_over_limit += u64::from(!has_room);
        has_room
    }

    /// Begins one, and answers with its number.
    pub(crate) fn begin(
        &mut self,
        core: &mut Core,
        index: &Index,
        (id, query, wanted): (QueryId, Arc<Wanted>, usize),
    ) -> u64 {
        self.under_way += 1;
        self.last += 1;
        let look_up = LookUp { number: self.last, id, reader: index.reader(), query, wanted };
        core.outputs.push_back(Output::LookUp(look_up));
        self.last
    }

    /// One has been answered.
    pub(crate) fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }
}

/// For whom the index is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A neighbour that passes a query on.
    Neighbour,
    /// A child, or this node's own user.
    Own,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use skein_proto::query::Filter;
    use skein_proto::{
        Ask, BoundedString, Common, ContentId, FileMeta, FilePath, Kind, Query, Username,
    };

    fn publish(index: &mut Index, owner: u8, contents: std::ops::Range<u8>, path: &str) {
        let node = NodeId::from_bytes([owner; 32]);
        index.set_owner(node, &Username::parse(&format!("user{owner}")).expect("a name"));
        let file = |content| FileMeta {
            content: ContentId::from_bytes([content; 32]),
            size: 1,
            kind: Kind::Audio,
            path: FilePath::new(path).expect("a path"),
            tags: None,
        };
        index.publish(&node, contents.map(file));
    }

    #[test]
    fn one_owner_gets_what_the_others_leave() {
        let mut index = Index::new(skein_index::Limits::default());
        // Short names stand before long ones.
        publish(&mut index, 1, 0..100, "love.mp3");
        publish(&mut index, 2, 100..104, "love of many words more than that.mp3");
        publish(&mut index, 3, 104..108, "love of many words more than that.mp3");
        let ask = Ask::Words(BoundedString::truncated("love"));
        let query = Common::from(Query { ask, filter: Filter::default() });
        let query = Wanted::of(&query).expect("a query");
        let look_up = LookUp {
            number: 1,
            id: QueryId::from_bytes([0; 16]),
            reader: index.reader(),
            query,
            wanted: 32,
        };
        let found = look_up.run().found;
        let of = |owner: u8| {
            found.iter().filter(|found| found.owner == NodeId::from_bytes([owner; 32])).count()
        };
        assert_eq!([of(1), of(2), of(3)], [24, 4, 4]);
    }
}
