//! Look-ups of the nodes' users in the directory, and what comes of them.

use crate::network::Network;
use rand::RngExt;
use skein_overlay::{FoundNode, FoundSource, Input};
use skein_proto::directory::{DirectoryKey, FindOutcome};
use skein_proto::{Instant, NodeId, QueryId, Username};
use std::time::Duration;

/// What a look-up brought.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// How it went; `None` while it runs.
    pub outcome: Option<FindOutcome>,
    /// The nodes of a name.
    pub nodes: Vec<FoundNode>,
    /// Sources of a content.
    pub sources: Vec<FoundSource>,
    /// From the question to the answer.
    pub took: Option<Duration>,
    /// When it was asked.
    pub asked_at: Instant,
}

impl Network {
    /// Starts a look-up.
    pub fn start_find(&mut self, id: NodeId, key: DirectoryKey) -> QueryId {
        let find = QueryId::from_bytes(self.rng.random());
        let asked_at = self.now();
        let lookup =
            Lookup { outcome: None, nodes: Vec::new(), sources: Vec::new(), took: None, asked_at };
        self.lookups.insert(find, lookup);
        self.feed(id, Input::Find { id: find, key });
        find
    }

    /// Runs a look-up to its end, 60 s of virtual time at most.
    pub fn find(&mut self, id: NodeId, key: DirectoryKey) -> Lookup {
        let find = self.start_find(id, key);
        let over = |network: &Self| {
            network.lookups.get(&find).is_some_and(|lookup| lookup.outcome.is_some())
        };
        self.run_until(Duration::from_secs(60), over);
        let nothing = Lookup {
            outcome: None,
            nodes: Vec::new(),
            sources: Vec::new(),
            took: None,
            asked_at: self.now(),
        };
        self.lookups.remove(&find).unwrap_or(nothing)
    }

    /// The name of a node's user.
    pub fn name(&self, id: NodeId) -> Option<Username> {
        self.number(&id).map(|node| self.disks[node as usize].name.clone())
    }

    /// A look-up that was started and not taken out.
    pub fn lookup(&self, find: QueryId) -> Option<&Lookup> {
        self.lookups.get(&find)
    }

    /// Takes out a look-up, ended or not.
    pub fn take_lookup(&mut self, find: QueryId) -> Option<Lookup> {
        self.lookups.remove(&find)
    }

    pub(crate) fn on_found(
        &mut self,
        id: QueryId,
        outcome: FindOutcome,
        nodes: Vec<FoundNode>,
        sources: Vec<FoundSource>,
    ) {
        let now = self.now();
        if let Some(lookup) = self.lookups.get_mut(&id) {
            lookup.outcome = Some(outcome);
            lookup.took = Some(now.since(lookup.asked_at));
            lookup.nodes = nodes;
            lookup.sources = sources;
        }
    }
}
