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
    asked_at: Instant,
}

impl SearchOutcome {
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
        let asked_at = self.now();
        if let Some(node) = self.nodes.get_mut(&id) {
            node.searches.insert(
                query_id,
                SearchOutcome {
                    groups: Vec::new(),
                    coverage: None,
                    first_hit: None,
                    took: None,
                    asked_at,
                },
            );
        }
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
        self.outcome(id, query).cloned().unwrap_or_else(|| SearchOutcome {
            groups: Vec::new(),
            coverage: None,
            first_hit: None,
            took: None,
            asked_at: self.now(),
        })
    }

    /// How a search stands.
    pub fn outcome(&self, id: NodeId, query: QueryId) -> Option<&SearchOutcome> {
        self.nodes.get(&id)?.searches.get(&query)
    }

    pub(crate) fn on_hits(&mut self, id: NodeId, query: QueryId, groups: Vec<HitGroup>) {
        let now = self.now();
        if let Some(search) = self.search_mut(id, query) {
            search.first_hit.get_or_insert(now.since(search.asked_at));
            search.groups.extend(groups);
        }
    }

    pub(crate) fn on_search_done(&mut self, id: NodeId, query: QueryId, coverage: Coverage) {
        let now = self.now();
        if let Some(search) = self.search_mut(id, query) {
            search.coverage = Some(coverage);
            search.took = Some(now.since(search.asked_at));
        }
    }

    fn search_mut(&mut self, id: NodeId, query: QueryId) -> Option<&mut SearchOutcome> {
        self.nodes.get_mut(&id)?.searches.get_mut(&query)
    }
}
