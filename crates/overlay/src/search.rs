//! The searches of this node's own user, while it is an ordinary node: the parent runs them. When
//! the parent is lost in the middle, the next one is asked; and a node that has become a supernode
//! meanwhile runs them itself. Whoever shows the hits drops those that come twice.

use crate::branch::{retain_sound, take_up_to};
use crate::core::{Core, earlier};
use crate::io::{Now, Output};
use crate::relayed::HITS_PER_WANTED;
use rand::RngExt;
use skein_index::text::ParsedQuery;
use skein_proto::message::{CancelSearch, Hits, Search, SearchDone};
use skein_proto::query::{Coverage, StopReason};
use skein_proto::{HitGroup, Instant, NodeId, Query, QueryId};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a search waits for a parent, where there is none: a node that has just started
/// attaches within that time.
const ATTACH_PATIENCE: Duration = Duration::from_secs(10);

/// How long a parent may take for all of a search. It ends it after 12 s itself, and then passes on
/// what it has held back.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a search may take in all, over however many parents.
const TOTAL_PATIENCE: Duration = Duration::from_secs(60);

/// Searches at the same time.
const MAX_SEARCHES: usize = 64;

#[derive(Debug)]
struct UserSearch {
    query: Query,
    parsed: ParsedQuery,
    wanted: u16,
    /// What the present parent may still send.
    hits_left: usize,
    /// The parent that was asked, and under which id: a new one for each parent, since the old
    /// one is known to the others as asked already.
    asked: Option<(NodeId, QueryId)>,
    /// Whether some parent was asked before.
    asked_before: bool,
    deadline: Instant,
    /// When it is over whatever comes.
    ends: Instant,
}

impl UserSearch {
    fn wait(&mut self, now: Instant, patience: Duration) {
        self.deadline = (now + patience).min(self.ends);
    }
}

/// The searches of this node's own user.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    searches: BTreeMap<QueryId, UserSearch>,
}

impl Searches {
    pub(crate) fn start(
        &mut self,
        core: &mut Core,
        parent: Option<NodeId>,
        wish: (QueryId, Query, u16),
        now: Now,
    ) {
        self.enter(core, wish, false, now);
        if let Some(parent) = parent {
            self.on_parent(core, parent, now);
        }
    }

    /// Goes on with a search that this node has begun as a supernode: the next parent is asked, under
    /// a new id.
    pub(crate) fn take_over(&mut self, core: &mut Core, wish: (QueryId, Query, u16), now: Now) {
        self.enter(core, wish, true, now);
    }

    /// Lets go of those that nobody is asked for: this node is a supernode by now, and does it itself
    /// as soon as it is ready, or they have waited for too long.
    pub(crate) fn hand_over(&mut self, is_ready: bool, now: Instant) -> Vec<(QueryId, Query, u16)> {
        let waits = |_: &QueryId, search: &mut UserSearch| {
            search.asked.is_none() && (is_ready || now >= search.deadline)
        };
        let waiting = self.searches.extract_if(.., waits);
        waiting.map(|(id, search)| (id, search.query, search.wanted)).collect()
    }

    /// Whether nothing is being searched for.
    pub(crate) fn is_empty(&self) -> bool {
        self.searches.is_empty()
    }

    fn enter(
        &mut self,
        core: &mut Core,
        (id, query, wanted): (QueryId, Query, u16),
        asked_before: bool,
        now: Now,
    ) {
        if self.searches.len() >= MAX_SEARCHES {
            core.counters.searches_over_limit += 1;
            end(core, id, StopReason::OverBudget);
            return;
        }
        let parsed = match ParsedQuery::parse(&query) {
            Ok(parsed) if !parsed.is_empty() => parsed,
            // Nothing matches it anywhere.
            _ => {
                end(core, id, StopReason::Exhausted);
                return;
            }
        };
        let search = UserSearch {
            query,
            parsed,
            wanted: wanted.clamp(1, 1_000),
            hits_left: 0,
            asked: None,
            asked_before,
            deadline: now.instant + ATTACH_PATIENCE,
            ends: now.instant + TOTAL_PATIENCE,
        };
        self.searches.insert(id, search);
    }

    /// There is a parent: ask it what was not asked yet.
    pub(crate) fn on_parent(&mut self, core: &mut Core, parent: NodeId, now: Now) {
        for (id, search) in &mut self.searches {
            if search.asked.is_some() {
                continue;
            }
            let wire_id =
                if search.asked_before { QueryId::from_bytes(core.rng.random()) } else { *id };
            search.asked = Some((parent, wire_id));
            search.asked_before = true;
            search.hits_left = usize::from(search.wanted) * HITS_PER_WANTED;
            search.wait(now.instant, PATIENCE);
            let message =
                Search { id: wire_id, query: search.query.clone(), wanted: search.wanted };
            core.send(parent, message);
        }
    }

    /// The parent is gone: its answers will not come.
    pub(crate) fn on_parent_lost(&mut self, parent: NodeId, now: Now) {
        for search in self.searches.values_mut() {
            if search.asked.is_some_and(|(node, _)| node == parent) {
                search.asked = None;
                search.wait(now.instant, ATTACH_PATIENCE);
            }
        }
    }

    fn find(&mut self, peer: NodeId, wire_id: QueryId) -> Option<(QueryId, &mut UserSearch)> {
        self.searches
            .iter_mut()
            .find(|(_, search)| search.asked == Some((peer, wire_id)))
            .map(|(id, search)| (*id, search))
    }

    /// Hits from the parent. Answers whether they were by the rules.
    #[must_use]
    pub(crate) fn on_hits(&mut self, core: &mut Core, peer: NodeId, hits: Hits, now: Now) -> bool {
        self.take_in(core, peer, (hits.id, hits.groups.into_vec()), now)
    }

    fn take_in(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        (wire_id, mut groups): (QueryId, Vec<HitGroup>),
        now: Now,
    ) -> bool {
        let Some((id, search)) = self.find(peer, wire_id) else {
            core.counters.hits_unasked +=
                groups.iter().map(|group| group.files.len() as u64).sum::<u64>();
            return true;
        };
        core.counters.hits_over_wanted += take_up_to(&mut groups, &mut search.hits_left);
        let parsed = &search.parsed;
        let matches = |file: &_, owner: &_| parsed.matches(file, owner);
        let honest = retain_sound(core, matches, &mut groups, now);
        if !groups.is_empty() {
            core.outputs.push_back(Output::Hits { id, groups });
        }
        honest
    }

    /// The end from the parent, with the last hits. Answers whether they were by the rules.
    #[must_use]
    pub(crate) fn on_done(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        done: SearchDone,
        now: Now,
    ) -> bool {
        let honest = self.take_in(core, peer, (done.id, done.groups.into_vec()), now);
        if let Some((id, _)) = self.find(peer, done.id) {
            self.searches.remove(&id);
            core.outputs.push_back(Output::SearchDone { id, coverage: done.coverage });
        }
        honest
    }

    pub(crate) fn cancel(&mut self, core: &mut Core, id: QueryId) {
        let Some(search) = self.searches.remove(&id) else { return };
        if let Some((parent, wire_id)) = search.asked {
            core.send(parent, CancelSearch { id: wire_id });
        }
        end(core, id, StopReason::Cancelled);
    }

    pub(crate) fn step(&mut self, core: &mut Core, now: Instant) {
        while let Some((id, asked)) = self
            .searches
            .iter()
            .find(|(_, search)| now >= search.deadline)
            .map(|(id, search)| (*id, search.asked))
        {
            self.searches.remove(&id);
            if let Some((parent, wire_id)) = asked {
                core.send(parent, CancelSearch { id: wire_id });
                end(core, id, StopReason::TimedOut);
            } else {
                end(core, id, StopReason::NotAttached);
            }
        }
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.searches.values().map(|search| search.deadline).fold(None, |a, b| earlier(a, Some(b)))
    }
}

fn end(core: &mut Core, id: QueryId, stopped: StopReason) {
    let coverage = Coverage { supernodes_asked: 0, supernodes_known: 0, nodes_covered: 0, stopped };
    core.outputs.push_back(Output::SearchDone { id, coverage });
}
