//! Searches of the nodes' users, and what comes of them.

use crate::network::Network;
use rand::RngExt;
use skein_overlay::Input;
use skein_proto::query::{Coverage, Filter};
use skein_proto::{Ask, BoundedString, ContentId, HitGroup, Instant, NodeId, Query, QueryId};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a search brought.
#[derive(Clone, Debug)]
pub struct SearchOutcome {
    /// The hits, as they came.
    pub groups: Vec<HitGroup>,
    /// How complete it was; `None` while it runs.
    pub coverage: Option<Coverage>,
    /// From the question to the first hit.
    pub first_hit: Option<Duration>,
    /// From the question to the end.
    pub took: Option<Duration>,
    /// Who asked.
    pub asker: u32,
    /// When.
    pub asked_at: Instant,
}

impl SearchOutcome {
    fn new(asker: u32, asked_at: Instant) -> Self {
        let (coverage, first_hit, took) = (None, None, None);
        Self { groups: Vec::new(), coverage, first_hit, took, asker, asked_at }
    }

    /// The different contents that were found.
    pub fn contents(&self) -> BTreeSet<ContentId> {
        self.groups.iter().flat_map(|group| group.files.iter().map(|file| file.content)).collect()
    }
}

impl Network {
    /// Starts a search for words; its outcome is found under the id.
    pub fn start_search(&mut self, id: NodeId, words: &str, wanted: u16) -> QueryId {
        self.start_query(id, Ask::Words(BoundedString::truncated(words)), wanted)
    }

    /// Starts a search.
    pub fn start_query(&mut self, id: NodeId, ask: Ask, wanted: u16) -> QueryId {
        let query_id = QueryId::from_bytes(self.rng.random());
        let query = Query { ask, filter: Filter::default() };
        let Some(asker) = self.number(&id) else { return query_id };
        self.searches.insert(query_id, SearchOutcome::new(asker, self.now()));
        self.feed(id, Input::Search { id: query_id, query, wanted });
        query_id
    }

    /// Runs a search to its end.
    pub fn search(&mut self, id: NodeId, words: &str, wanted: u16) -> SearchOutcome {
        let query = self.start_search(id, words, wanted);
        self.finish_search(id, query)
    }

    /// Runs until a search is over, 60 s of virtual time at most.
    pub fn finish_search(&mut self, id: NodeId, query: QueryId) -> SearchOutcome {
        self.run_until(Duration::from_secs(60), |network| {
            network.outcome(id, query).is_some_and(|outcome| outcome.coverage.is_some())
        });
        let nobody = || SearchOutcome::new(u32::MAX, self.now());
        self.outcome(id, query).cloned().unwrap_or_else(nobody)
    }

    /// How a search stands.
    pub fn outcome(&self, id: NodeId, query: QueryId) -> Option<&SearchOutcome> {
        let asker = self.number(&id)?;
        self.searches.get(&query).filter(|search| search.asker == asker)
    }

    /// How a search stands; it is forgotten.
    pub fn take_outcome(&mut self, query: QueryId) -> Option<SearchOutcome> {
        self.searches.remove(&query)
    }

    pub(crate) fn on_hits(&mut self, query: QueryId, groups: Vec<HitGroup>) {
        let now = self.now();
        if let Some(search) = self.searches.get_mut(&query) {
            search.first_hit.get_or_insert(now.since(search.asked_at));
            search.groups.extend(groups);
        }
    }

    pub(crate) fn on_search_done(&mut self, query: QueryId, coverage: Coverage) {
        let now = self.now();
        if let Some(search) = self.searches.get_mut(&query) {
            search.coverage = Some(coverage);
            search.took = Some(now.since(search.asked_at));
        }
    }
}
