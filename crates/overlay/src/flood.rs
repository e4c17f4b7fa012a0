//! How a query goes through the supernodes, and how its hits come back.
//!
//! A supernode answers a query from its own index, and where that is not enough it asks its
//! neighbours: once for each query id, never back to where the query came from, within a hop
//! limit. Hits return along the reverse path. The end returns the same way: whoever has passed a
//! query on waits for the end of each branch (or for its deadline, or for the loss of the
//! neighbour), adds up what was reached, and then says that its own part is over. So the origin
//! knows when the search is over, and how much of the network it covered, without waiting for a
//! fixed time (an "echo" in the sense of Chang, "Echo Algorithms", IEEE TSE 1982).

use crate::bucket::TokenBucket;
use crate::children::Children;
use crate::core::Core;
use crate::io::{Now, Output};
use crate::neighbours::Neighbours;
use skein_proto::message::{CancelSearch, Flood, Hits, SearchDone};
use skein_proto::query::{Coverage, StopReason};
use skein_proto::{
    BoundedVec, ContentId, FileMeta, HitGroup, Instant, Message, NodeId, Query, QueryId, Role, pack,
};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

/// How long a query id is remembered: far longer than a query lives.
const SEEN_FOR: Duration = Duration::from_secs(60);

/// Query ids remembered: 1,000 a second for a minute. An entry takes about 60 bytes.
const MAX_SEEN: usize = 65_536;

/// Queries that wait for neighbours at the same time.
const MAX_BRANCHES: usize = 4_096;

/// Queries that a neighbour may pass on: what 150 children of its own and of the supernodes
/// behind it ask in a busy minute.
const FLOODS_PER_SECOND: u64 = 400;
const FLOOD_BURST: u64 = 1_600;

/// What one more hop adds to the time that the end of a query is waited for: a round trip of the
/// longest paths (0.5 s), and the time of a busy index.
const HOP_PATIENCE: Duration = Duration::from_millis(1_500);

/// Sources of one content that are worth passing on: a download uses fewer at once.
const SOURCES_PER_CONTENT: u32 = 16;

/// The most hits that anyone may ask for.
const MAX_WANTED: u16 = 1_000;

/// Who waits for the hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    User,
    Peer(NodeId),
}

#[derive(Debug)]
struct Branch {
    reply_to: ReplyTo,
    wanted: usize,
    contents: HashSet<ContentId>,
    records_left: u32,
    waiting: BTreeSet<NodeId>,
    coverage: Coverage,
    deadline: Instant,
}

/// The queries that pass through this node.
#[derive(Debug, Default)]
pub(crate) struct Floods {
    seen: HashSet<QueryId>,
    seen_order: VecDeque<(Instant, QueryId)>,
    branches: HashMap<QueryId, Branch>,
    budgets: HashMap<NodeId, TokenBucket>,
}

/// A query as it arrived.
pub(crate) struct Arrival {
    pub(crate) id: QueryId,
    pub(crate) query: Query,
    pub(crate) wanted: u16,
    pub(crate) hops_left: u8,
    pub(crate) reply_to: ReplyTo,
}

impl Floods {
    /// Remembers a query id. Answers whether it is new.
    fn is_new(&mut self, id: QueryId, now: Instant) -> bool {
        while let Some((at, old)) = self.seen_order.front() {
            if now.since(*at) < SEEN_FOR && self.seen_order.len() < MAX_SEEN {
                break;
            }
            self.seen.remove(old);
            self.seen_order.pop_front();
        }
        let new = self.seen.insert(id);
        if new {
            self.seen_order.push_back((now, id));
        }
        new
    }

    /// A neighbour passes a query on.
    pub(crate) fn on_flood(
        &mut self,
        core: &mut Core,
        children: &Children,
        neighbours: &Neighbours,
        peer: NodeId,
        flood: Flood,
        now: Now,
    ) {
        let nothing = |stopped| Coverage {
            supernodes_asked: 0,
            supernodes_known: 0,
            nodes_covered: 0,
            stopped,
        };
        let budget = self
            .budgets
            .entry(peer)
            .or_insert_with(|| TokenBucket::new(FLOODS_PER_SECOND, FLOOD_BURST, now.instant));
        if !neighbours.is_linked(&peer) || !budget.take(now.instant) {
            core.counters.floods_over_budget += 1;
            core.send(peer, SearchDone { id: flood.id, coverage: nothing(StopReason::OverBudget) });
            return;
        }
        if !self.is_new(flood.id, now.instant) {
            core.counters.floods_duplicate += 1;
            core.send(peer, SearchDone { id: flood.id, coverage: nothing(StopReason::Exhausted) });
            return;
        }
        core.counters.floods_answered += 1;
        let arrival = Arrival {
            id: flood.id,
            query: flood.query,
            wanted: flood.wanted,
            hops_left: flood.hops_left.min(core.config.max_hops),
            reply_to: ReplyTo::Peer(peer),
        };
        self.answer(core, children, neighbours, arrival, now);
    }

    /// A query begins here: of a child, or of this node's user.
    pub(crate) fn begin(
        &mut self,
        core: &mut Core,
        children: &Children,
        neighbours: &Neighbours,
        arrival: Arrival,
        now: Now,
    ) {
        // Whoever draws an id that is under way hears nothing but the end.
        if self.is_new(arrival.id, now.instant) {
            self.answer(core, children, neighbours, arrival, now);
        } else {
            core.counters.floods_duplicate += 1;
            let coverage = Coverage {
                supernodes_asked: 0,
                supernodes_known: 0,
                nodes_covered: 0,
                stopped: StopReason::OverBudget,
            };
            finish(core, arrival.reply_to, arrival.id, coverage);
        }
    }

    fn answer(
        &mut self,
        core: &mut Core,
        children: &Children,
        neighbours: &Neighbours,
        arrival: Arrival,
        now: Now,
    ) {
        let Arrival { id, query, wanted, hops_left, reply_to } = arrival;
        let wanted = usize::from(wanted.clamp(1, MAX_WANTED));
        let records = u32::try_from(wanted).unwrap_or(u32::MAX) * SOURCES_PER_CONTENT;
        let own_node = u32::from(core.role == Role::Super);
        let mut branch = Branch {
            reply_to,
            wanted,
            contents: HashSet::new(),
            records_left: records,
            waiting: BTreeSet::new(),
            coverage: Coverage {
                supernodes_asked: 1,
                supernodes_known: u32::try_from(core.known.len()).unwrap_or(u32::MAX) + own_node,
                nodes_covered: children.actives() + own_node,
                stopped: StopReason::Exhausted,
            },
            deadline: now.instant + HOP_PATIENCE * (u32::from(hops_left) + 1),
        };
        let groups = children.search(core, &query, wanted, now);
        branch.pass_on(core, id, groups);

        let back = match reply_to {
            ReplyTo::Peer(peer) => Some(peer),
            ReplyTo::User => None,
        };
        let next: BTreeSet<NodeId> =
            neighbours.linked().filter(|node| Some(*node) != back).collect();
        if branch.is_full() {
            branch.coverage.stopped = StopReason::Enough;
        } else if next.is_empty() {
            // Nobody else to ask.
        } else if hops_left == 0 {
            branch.coverage.stopped = StopReason::HopLimit;
        } else if self.branches.len() >= MAX_BRANCHES {
            core.counters.branches_over_limit += 1;
            branch.coverage.stopped = StopReason::OverBudget;
        } else {
            let still_wanted = wanted - branch.contents.len();
            let flood = Flood {
                id,
                query,
                wanted: u16::try_from(still_wanted).unwrap_or(MAX_WANTED),
                hops_left: hops_left - 1,
            };
            for node in &next {
                core.counters.floods_forwarded += 1;
                core.send(*node, flood.clone());
            }
            branch.waiting = next;
            self.branches.insert(id, branch);
            return;
        }
        finish(core, reply_to, id, branch.coverage);
    }

    /// Hits come back.
    pub(crate) fn on_hits(&mut self, core: &mut Core, peer: NodeId, hits: Hits, now: Now) {
        let id = hits.id;
        let Some(branch) = self.branches.get_mut(&id).filter(|b| b.waiting.contains(&peer)) else {
            core.counters.hits_unasked += 1;
            return;
        };
        let mut groups = hits.groups.into_vec();
        if branch.reply_to == ReplyTo::User {
            retain_genuine(core, &mut groups, now);
        }
        branch.pass_on(core, id, groups);
        if branch.is_full() {
            branch.coverage.stopped = branch.coverage.stopped.worse(StopReason::Enough);
            self.end(core, id, true);
        }
    }

    /// A branch of a query is over.
    pub(crate) fn on_done(&mut self, core: &mut Core, peer: NodeId, done: SearchDone) {
        let Some(branch) = self.branches.get_mut(&done.id) else { return };
        if !branch.waiting.remove(&peer) {
            return;
        }
        let coverage = &mut branch.coverage;
        coverage.supernodes_asked =
            coverage.supernodes_asked.saturating_add(done.coverage.supernodes_asked);
        coverage.nodes_covered = coverage.nodes_covered.saturating_add(done.coverage.nodes_covered);
        coverage.supernodes_known = coverage.supernodes_known.max(coverage.supernodes_asked);
        coverage.stopped = coverage.stopped.worse(done.coverage.stopped);
        if branch.waiting.is_empty() {
            self.end(core, done.id, false);
        }
    }

    /// Whoever waits for the hits of a query wants no more.
    pub(crate) fn on_cancel(&mut self, core: &mut Core, from: ReplyTo, id: QueryId) {
        if let Some(branch) = self.branches.get_mut(&id).filter(|b| b.reply_to == from) {
            branch.coverage.stopped = StopReason::Cancelled;
            self.end(core, id, true);
        }
    }

    /// The link with a peer is gone: it will not answer, and nobody waits there.
    pub(crate) fn on_peer_lost(&mut self, core: &mut Core, peer: &NodeId) {
        self.budgets.remove(peer);
        let touched: BTreeSet<QueryId> = self
            .branches
            .iter()
            .filter(|(_, b)| b.reply_to == ReplyTo::Peer(*peer) || b.waiting.contains(peer))
            .map(|(id, _)| *id)
            .collect();
        for id in touched {
            let Some(branch) = self.branches.get_mut(&id) else { continue };
            if branch.reply_to == ReplyTo::Peer(*peer) {
                self.cancel_waiting(core, id);
                self.branches.remove(&id);
                continue;
            }
            branch.waiting.remove(peer);
            branch.coverage.stopped = branch.coverage.stopped.worse(StopReason::TimedOut);
            if branch.waiting.is_empty() {
                self.end(core, id, false);
            }
        }
    }

    /// Ends what has waited for too long.
    pub(crate) fn step(&mut self, core: &mut Core, now: Instant) {
        let due: BTreeSet<QueryId> = self
            .branches
            .iter()
            .filter(|(_, branch)| now >= branch.deadline)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            core.counters.branches_timed_out += 1;
            if let Some(branch) = self.branches.get_mut(&id) {
                branch.coverage.stopped = branch.coverage.stopped.worse(StopReason::TimedOut);
            }
            self.end(core, id, true);
        }
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.branches.values().map(|branch| branch.deadline).min()
    }

    fn end(&mut self, core: &mut Core, id: QueryId, cancel: bool) {
        if cancel {
            self.cancel_waiting(core, id);
        }
        if let Some(branch) = self.branches.remove(&id) {
            finish(core, branch.reply_to, id, branch.coverage);
        }
    }

    fn cancel_waiting(&mut self, core: &mut Core, id: QueryId) {
        if let Some(branch) = self.branches.get_mut(&id) {
            for node in std::mem::take(&mut branch.waiting) {
                core.send(node, CancelSearch { id });
            }
        }
    }
}

impl Branch {
    fn is_full(&self) -> bool {
        self.contents.len() >= self.wanted || self.records_left == 0
    }

    /// Passes on as many of the hits as are still wanted.
    fn pass_on(&mut self, core: &mut Core, id: QueryId, groups: Vec<HitGroup>) {
        let mut kept = Vec::new();
        for group in groups {
            let before = group.files.len();
            let files: Vec<FileMeta> =
                group.files.into_iter().filter(|file| self.admit(file.content)).collect();
            core.counters.hits_over_wanted += (before - files.len()) as u64;
            core.counters.hits_passed += files.len() as u64;
            if !files.is_empty() {
                kept.push(HitGroup { owner: group.owner, files: BoundedVec::truncated(files) });
            }
        }
        if kept.is_empty() {
            return;
        }
        match self.reply_to {
            ReplyTo::User => core.outputs.push_back(Output::Hits { id, groups: kept }),
            ReplyTo::Peer(peer) => {
                for hits in pack::hits(id, kept) {
                    core.send(peer, hits);
                }
            }
        }
    }

    fn admit(&mut self, content: ContentId) -> bool {
        if self.records_left == 0 {
            return false;
        }
        if self.contents.len() >= self.wanted && !self.contents.contains(&content) {
            return false;
        }
        self.contents.insert(content);
        self.records_left -= 1;
        true
    }
}

fn finish(core: &mut Core, reply_to: ReplyTo, id: QueryId, coverage: Coverage) {
    match reply_to {
        ReplyTo::User => core.outputs.push_back(Output::SearchDone { id, coverage }),
        ReplyTo::Peer(peer) => {
            let message = Message::SearchDone(SearchDone { id, coverage });
            core.send(peer, message);
        }
    }
}

/// Drops the hits whose owner's credential does not hold: the name that a user sees, and the key
/// that is dialled, must belong together.
pub(crate) fn retain_genuine(core: &mut Core, groups: &mut Vec<HitGroup>, now: Now) {
    groups.retain(|group| {
        let owner = &group.owner;
        let genuine = core.credentials.check(&owner.credential, &owner.node, now.unix).is_ok();
        if !genuine {
            core.counters.hits_forged += group.files.len() as u64;
        }
        genuine
    });
}
