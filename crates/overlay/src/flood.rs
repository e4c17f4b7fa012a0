//! How a query goes through the supernodes, and how its hits come back.
//!
//! A supernode answers a query from its own index, and where that is not enough it asks its
//! neighbours: once for each query id, never back to where the query came from, within a hop
//! limit. Hits return along the reverse path. The end returns the same way: whoever has passed a
//! query on waits for the end of each branch (or for its deadline, or for the loss of the
//! neighbour), adds up what was reached, and then says that its own part is over. So the origin
//! knows when the search is over, and how much of the network it covered, without waiting for a
//! fixed time (an "echo" in the sense of Chang, "Echo Algorithms", IEEE TSE 1982).
//!
//! Nobody passes on what is not an answer: each hop checks that a hit matches the query and that
//! its owner's credential holds, so that whoever sends anything else is a neighbour, and known.

use crate::branch::{Branch, ReplyTo, finish, retain_sound};
use crate::bucket::TokenBucket;
use crate::budget::Ask;
use crate::children::Children;
use crate::core::Core;
use crate::io::Now;
use crate::neighbours::Neighbours;
use skein_index::text::ParsedQuery;
use skein_proto::message::{Flood, Hits, SearchDone};
use skein_proto::query::{Coverage, StopReason};
use skein_proto::{Instant, NodeId, Query, QueryId, Role};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

/// How long a query id is remembered: far longer than a query lives.
const SEEN_FOR: Duration = Duration::from_secs(60);

/// Query ids remembered: 1,000 a second for a minute. An entry takes about 60 bytes.
const MAX_SEEN: usize = 65_536;

/// Queries that wait for neighbours at the same time. One takes some kilobytes, and up to 60 KB
/// when it has found nearly a thousand contents.
const MAX_BRANCHES: usize = 4_096;

/// Queries of neighbours that are passed on, of all together. Neighbours take 400 a second from
/// this node; what is left of that is for its own children, whose searches come first.
const RELAYS_PER_SECOND: u64 = 300;
const RELAY_BURST: u64 = 600;

/// What one more hop adds to the time that the end of a query is waited for: a round trip of the
/// longest paths (0.5 s), and the time of a busy index.
const HOP_PATIENCE: Duration = Duration::from_millis(1_500);

/// After so many queries in a row that it left without an end, a neighbour is let go: whoever asks
/// would wait for it in vain each time.
const MAX_UNANSWERED: u32 = 10;

/// Queries called off at once when whoever asked them is gone. The others run into their own
/// deadlines: neighbours must not be buried in messages since one of them came and went.
const MAX_CALLED_OFF: usize = 256;

/// The most hits that anyone may ask for.
const MAX_WANTED: u16 = 1_000;

/// The queries that pass through this node.
#[derive(Debug)]
pub(crate) struct Floods {
    seen: HashSet<QueryId>,
    seen_order: VecDeque<(Instant, QueryId)>,
    branches: HashMap<QueryId, Branch>,
    /// The deadlines of all branches, so that nobody looks through them with each message.
    deadlines: BTreeSet<(Instant, QueryId)>,
    relays: TokenBucket,
    /// How many queries in a row a neighbour has left without an end.
    unanswered: HashMap<NodeId, u32>,
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
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            seen: HashSet::new(),
            seen_order: VecDeque::new(),
            branches: HashMap::new(),
            deadlines: BTreeSet::new(),
            relays: TokenBucket::new(RELAYS_PER_SECOND, RELAY_BURST, now),
            unanswered: HashMap::new(),
        }
    }

    /// Remembers a query id. Answers whether it is new.
    fn is_new(&mut self, id: QueryId, now: Instant) -> bool {
        while let Some((at, old)) = self.seen_order.front() {
            if now.since(*at) < SEEN_FOR && self.seen_order.len() < MAX_SEEN {
                break;
            }
            self.seen.remove(old);
            self.seen_order.pop_front();
        }
        // One that is under way is not new, however many ids came since.
        let new = !self.branches.contains_key(&id) && self.seen.insert(id);
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
        let granted = core.budgets.take(&peer, Ask::Flood, now.instant);
        if !neighbours.is_linked(&peer) || !granted {
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
        // Whoever draws an id that was seen hears nothing but the end.
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
        let own_node = u32::from(core.role == Role::Super);
        let coverage = Coverage {
            supernodes_asked: 1,
            supernodes_known: u32::try_from(core.known.len()).unwrap_or(u32::MAX) + own_node,
            nodes_covered: children.actives() + own_node,
            stopped: StopReason::Exhausted,
        };
        let parsed = match ParsedQuery::parse(&query) {
            Ok(parsed) if !parsed.is_empty() => parsed,
            // Nothing matches it anywhere, so nobody else is troubled with it.
            _ => {
                finish(core, reply_to, id, coverage);
                return;
            }
        };
        let groups = children.search(core, &parsed, wanted, now);
        let deadline = now.instant + HOP_PATIENCE * (u32::from(hops_left) + 1);
        let mut branch = Branch::new(reply_to, parsed, wanted, coverage, deadline);
        branch.pass_on(core, id, groups);

        let back = match reply_to {
            ReplyTo::Peer(peer) => Some(peer),
            ReplyTo::User => None,
        };
        let relayed = back.is_some_and(|peer| neighbours.is_linked(&peer));
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
        } else if relayed && !self.relays.take(now.instant) {
            core.counters.relays_over_budget += 1;
            branch.coverage.stopped = StopReason::OverBudget;
        } else {
            let flood = Flood {
                id,
                query,
                wanted: u16::try_from(branch.still_wanted()).unwrap_or(MAX_WANTED),
                hops_left: hops_left - 1,
            };
            for node in &next {
                core.counters.floods_forwarded += 1;
                core.send(*node, flood.clone());
            }
            branch.waiting = next;
            self.deadlines.insert((branch.deadline, id));
            self.branches.insert(id, branch);
            return;
        }
        finish(core, reply_to, id, branch.coverage);
    }

    /// Hits come back. Answers whether they were by the rules.
    #[must_use]
    pub(crate) fn on_hits(&mut self, core: &mut Core, peer: NodeId, hits: Hits, now: Now) -> bool {
        let id = hits.id;
        let Some(branch) = self.branches.get_mut(&id).filter(|b| b.waiting.contains(&peer)) else {
            core.counters.hits_unasked +=
                hits.groups.iter().map(|group| group.files.len() as u64).sum::<u64>();
            return true;
        };
        let mut groups = hits.groups.into_vec();
        let honest = retain_sound(core, &branch.query, &mut groups, now);
        branch.pass_on(core, id, groups);
        if branch.is_full() {
            branch.coverage.stopped = branch.coverage.stopped.worse(StopReason::Enough);
            self.call_off(core, id);
        }
        honest
    }

    /// A branch of a query is over.
    pub(crate) fn on_done(&mut self, core: &mut Core, peer: NodeId, done: SearchDone) {
        let Some(branch) = self.branches.get_mut(&done.id) else { return };
        if !branch.waiting.remove(&peer) {
            return;
        }
        self.unanswered.remove(&peer);
        let coverage = &mut branch.coverage;
        coverage.supernodes_asked =
            coverage.supernodes_asked.saturating_add(done.coverage.supernodes_asked);
        coverage.nodes_covered = coverage.nodes_covered.saturating_add(done.coverage.nodes_covered);
        coverage.supernodes_known = coverage.supernodes_known.max(coverage.supernodes_asked);
        coverage.stopped = coverage.stopped.worse(done.coverage.stopped);
        if branch.waiting.is_empty() {
            self.end(core, done.id);
        }
    }

    /// Whoever waits for the hits of a query wants no more.
    pub(crate) fn on_cancel(&mut self, core: &mut Core, from: ReplyTo, id: QueryId) {
        if let Some(branch) = self.branches.get_mut(&id).filter(|b| b.reply_to == from) {
            branch.coverage.stopped = StopReason::Cancelled;
            self.call_off(core, id);
        }
    }

    /// The link with a peer is gone: it will not answer, and nobody waits there.
    pub(crate) fn on_peer_lost(&mut self, core: &mut Core, peer: &NodeId) {
        self.unanswered.remove(peer);
        let mut called_off = 0;
        let touched: BTreeSet<QueryId> = self
            .branches
            .iter()
            .filter(|(_, b)| b.reply_to == ReplyTo::Peer(*peer) || b.waiting.contains(peer))
            .map(|(id, _)| *id)
            .collect();
        for id in touched {
            let Some(branch) = self.branches.get_mut(&id) else { continue };
            if branch.reply_to == ReplyTo::Peer(*peer) {
                if called_off < MAX_CALLED_OFF {
                    called_off += 1;
                    branch.cancel_waiting(core, id);
                }
                self.remove(id);
                continue;
            }
            branch.waiting.remove(peer);
            branch.coverage.stopped = branch.coverage.stopped.worse(StopReason::TimedOut);
            if branch.waiting.is_empty() {
                self.end(core, id);
            }
        }
    }

    /// Ends what has waited for too long. Answers the neighbours that have left too many queries
    /// in a row without an end.
    #[must_use]
    pub(crate) fn step(&mut self, core: &mut Core, now: Instant) -> BTreeSet<NodeId> {
        let mut dead = BTreeSet::new();
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(at, _)| now >= *at) {
            core.counters.branches_timed_out += 1;
            if let Some(branch) = self.branches.get_mut(&id) {
                branch.coverage.stopped = branch.coverage.stopped.worse(StopReason::TimedOut);
                for node in &branch.waiting {
                    let unanswered = self.unanswered.entry(*node).or_default();
                    *unanswered += 1;
                    if *unanswered >= MAX_UNANSWERED {
                        dead.insert(*node);
                    }
                }
            }
            // Those asked have an earlier deadline, so there is nothing left to call off.
            self.end(core, id);
        }
        dead
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn call_off(&mut self, core: &mut Core, id: QueryId) {
        if let Some(branch) = self.branches.get_mut(&id) {
            branch.cancel_waiting(core, id);
        }
        self.end(core, id);
    }

    fn end(&mut self, core: &mut Core, id: QueryId) {
        if let Some(branch) = self.remove(id) {
            finish(core, branch.reply_to, id, branch.coverage);
        }
    }

    fn remove(&mut self, id: QueryId) -> Option<Branch> {
        let branch = self.branches.remove(&id)?;
        self.deadlines.remove(&(branch.deadline, id));
        Some(branch)
    }
}
