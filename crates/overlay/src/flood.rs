//! How a query goes through the supernodes, and how its hits come back.
//!
//! The supernode where a query begins looks in its own index and then steers the search by
//! [`crate::waves`]. Whoever is asked looks in its index, unless it has done so for the same
//! neighbour, and passes the query on as far as it was asked to: with one hop left to those
//! neighbours whose tables do not exclude them, with more to all; never back to where it came from.
//! Each of those who ask is answered on its own, whatever others who came before were answered (see
//! [`crate::seen`]). Hits return along the reverse path. The end returns the same way: whoever has passed a query on waits for the end of each
//! branch (or for its deadline, or for the loss of the neighbour), adds up what was reached, and
//! then says that its own part is over. So the origin knows when a wave is over, and which part of
//! the network was covered, without waiting for a fixed time (an "echo" in the sense of Chang,
//! "Echo Algorithms", IEEE TSE 1982).
//!
//! Nobody passes on what is not an answer: each hop checks that a hit matches the query and that
//! its owner's credential holds, so that whoever sends anything else is a neighbour, and known.

mod own_index;

use crate::branch::{Branch, ReplyTo, Then, finish, retain_sound, take_up_to, tell_end};
use crate::budget::Ask;
use crate::cache::Cache;
use crate::core::Core;
use crate::hashed::HashMap;
use crate::io::Now;
use crate::lookup::{Asker, LookUps};
use crate::seen::{Seen, Sight};
use crate::sources::{Sources, Wanted, nothing};
use crate::tables::MOST_NODES;
use crate::views::Views;
use crate::waves::{Next, Outlook, Waves};
use rand::RngExt;
use rand::seq::SliceRandom;
use skein_proto::message::{Flood, Hits, SearchDone};
use skein_proto::query::StopReason;
use skein_proto::routing::SharedBytes;
use skein_proto::{HitGroup, Instant, NodeId, Query, QueryId};
use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::time::Duration;

/// Queries that wait for neighbours at the same time. One takes some kilobytes, and up to 200 KB
/// when it has found nearly a thousand contents of many sources each.
const MAX_BRANCHES: usize = 4_096;

/// What one more hop adds to the time that the end of a query is waited for: a round trip of the
/// longest paths (0.5 s), and the time of a busy index.
const HOP_PATIENCE: Duration = Duration::from_millis(1_500);

/// What one more hop adds to the time until the next wave goes out though not all of the last one
/// have answered: most do within a round trip, and one that is dead must not hold up the others.
const WAVE_PATIENCE: Duration = Duration::from_millis(600);

/// How long hits wait at those who pass a query on for others to go along with, and for the end: as
/// long as most of those asked take to answer, who mostly have few hits each. Whoever began the search
/// waits for its neighbours for longer than that before it asks more.
const HITS_PATIENCE: Duration = Duration::from_millis(250);

/// After so many queries in a row that it left without an end, a neighbour is let go: whoever asks
/// would wait for it in vain each time. One that says the end of some takes longer to come to it, and
/// does not in the long run if it leaves fewer than one in six without.
const MAX_UNANSWERED: u32 = 10;
/// What one without an end counts, of which each with an end takes off one.
const UNANSWERED: u32 = 5;

/// Queries called off at once when whoever asked them is gone. The others run into their own
/// deadlines: neighbours must not be buried in messages since one of them came and went.
const MAX_CALLED_OFF: usize = 256;

/// The most hits that anyone may ask for.
const MAX_WANTED: u16 = 1_000;

/// The queries that pass through this node.
#[derive(Debug, Default)]
pub(crate) struct Floods {
    seen: Seen,
    /// By the ids under which others are asked: those of the searches that began here, and one drawn
    /// for each query of a neighbour.
    /// Each stands by itself, where something else has just been: a place among those of this node is
    /// in no cache, and most queries are over a moment later.
    branches: HashMap<QueryId, Box<Branch>>,
    /// Those that whoever asked does not know, by who did and under which id.
    ways: HashMap<(ReplyTo, QueryId), QueryId>,
    /// When each branch is to be looked at, so that nobody looks through them with each message.
    deadlines: BTreeSet<(Instant, QueryId)>,
    /// The queries that a neighbour has left without an end, [`UNANSWERED`] for each.
    unanswered: HashMap<NodeId, u32>,
    cache: Cache,
    look_ups: LookUps,
    views: Views,
}

/// A query as it arrived.
pub(crate) struct Arrival {
    /// Under which id whoever asks has asked.
    pub(crate) reply_id: QueryId,
    /// Under which id others are asked.
    pub(crate) id: QueryId,
    pub(crate) query: Query,
    pub(crate) wanted: u16,
    pub(crate) reply_to: ReplyTo,
}

impl Floods {
    /// A neighbour passes a query on.
    pub(crate) fn on_flood(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        peer: NodeId,
        flood: Flood,
        now: Now,
    ) {
        let refuse = |core: &mut Core, stopped| {
            tell_end(core, ReplyTo::Peer(peer), flood.id, nothing(stopped));
        };
        let granted = core.budgets.take(&peer, Ask::Flood, now.instant);
        if !sources.neighbours.is_linked(&peer) || !granted {
            core.counters.floods_over_budget += 1;
            // The link may have ended on this side only so far.
            refuse(core, if granted { StopReason::Unreached } else { StopReason::OverBudget });
            return;
        }
        let Some(looked_for) = Wanted::of(&flood.query) else {
            refuse(core, StopReason::Exhausted);
            return;
        };
        let hops = flood.hops_left.min(core.config.max_hops - 1);
        let search = (flood.search, looked_for.fingerprint);
        let is_under_way = self.ways.contains_key(&(ReplyTo::Peer(peer), flood.id));
        let sight = match is_under_way {
            true => Sight::Known,
            false => self.seen.note(search, &peer, hops, now),
        };
        let Sight::New { passes_on } = sight else {
            core.counters.floods_duplicate += 1;
            refuse(core, StopReason::Exhausted);
            return;
        };
        let index = &sources.children.index;
        let looks_up = flood.index && !sources.tables.own_excludes(index, &looked_for.keys);
        if looks_up && !self.look_ups.has_room(core, Asker::Neighbour) {
            self.seen.forget(search, &peer);
            refuse(core, StopReason::OverBudget);
            return;
        }
        let hops = if passes_on { hops } else { 0 };
        let wanted = usize::from(flood.wanted.clamp(1, MAX_WANTED));
        let way = (ReplyTo::Peer(peer), flood.id, flood.search);
        let mut branch = Box::new(Branch::new(way, flood.query, looked_for, wanted));
        let own = sources.own_coverage(core);
        branch.coverage.supernodes_known = own.supernodes_known;
        if flood.index {
            core.counters.floods_answered += 1;
            core.counters.floods_excluded += u64::from(!looks_up);
        } else {
            core.counters.floods_widened += 1;
        }
        let id = QueryId::from_bytes(core.rng.random());
        if looks_up {
            branch.owes_index = true;
            let then = Then::Relay { from: peer, hops, besides: flood.besides };
            self.look_up(core, sources, (id, branch, then), now);
        } else {
            if flood.index {
                branch.count_own(own);
            }
            self.relay(core, sources, branch, (id, peer, hops, flood.besides), now);
        }
    }

    /// Sends out the next wave of a search that began here, or ends it.
    fn widen(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        (id, mut branch, mut waves): (QueryId, Box<Branch>, Box<Waves>),
        now: Now,
    ) {
        let mut free: Vec<NodeId> =
            sources.neighbours.linked().filter(|node| !branch.waiting.contains_key(node)).collect();
        free.shuffle(&mut core.rng);
        let next = waves.next(&Outlook {
            free: &free,
            may_answer: &|node| sources.tables.may_answer(node, &branch.looked_for.keys),
            has_table: &|node| sources.tables.is_known(node),
            members: &|see| {
                let all = core.membership.iter();
                all.for_each(|member| {
                    let nodes = member.load.children.saturating_add(1);
                    see(&member.node, nodes.min(MOST_NODES));
                });
            },
            missed: &|| core.membership.missed(),
            found: branch.found(),
            wanted: branch.still_wanted(),
            is_waiting: !branch.waiting.is_empty(),
        });
        core.counters.table_excluded += waves.take_excluded();
        let mut look_again = branch.waiting.values().map(|asked| asked.deadline).min();
        match next {
            Next::Ask(group, hops) if !group.is_empty() => {
                let deadline = now.instant + HOP_PATIENCE * (u32::from(hops) + 2);
                let group: Vec<(NodeId, SharedBytes<6144>)> = match hops {
                    0 => group.into_iter().map(|node| (node, SharedBytes::default())).collect(),
                    _ => waves.settled(&group),
                };
                branch.ask(core, id, group, hops, deadline);
                look_again = Some(now.instant + WAVE_PATIENCE * (u32::from(hops) + 1));
            }
            Next::Ask(..) | Next::Covered => {}
            Next::TooFar => {
                branch.coverage.stopped = branch.coverage.stopped.worse(StopReason::Unreached);
            }
        }
        if look_again.is_none() && waves.is_short() {
            branch.coverage.stopped = branch.coverage.stopped.worse(StopReason::Unreached);
        }
        branch.waves = Some(waves);
        // When all others have answered, the own index may still do.
        match look_again.or(branch.look_up.is_some().then_some(branch.ends)) {
            Some(at) => {
                let at = at.min(branch.ends);
                self.insert(core, id, branch, at);
            }
            None => self.conclude(core, sources, branch, now),
        }
    }

    /// Hits come back. Answers whether they were by the rules.
    #[must_use]
    pub(crate) fn on_hits(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        peer: NodeId,
        hits: Hits,
        now: Now,
    ) -> bool {
        let id = hits.id;
        let honest = self.take_in(core, (peer, id, hits.groups.into_vec()), now);
        self.end_if_full(core, sources, id, now);
        self.send_on_soon(core, id, now);
        honest
    }

    /// Takes in hits of somebody who was asked for them.
    fn take_in(
        &mut self,
        core: &mut Core,
        (peer, id, mut groups): (NodeId, QueryId, Vec<HitGroup>),
        now: Now,
    ) -> bool {
        let branch = self.branches.get_mut(&id);
        let Some(branch) = branch.filter(|branch| branch.waiting.contains_key(&peer)) else {
            core.counters.hits_unasked +=
                groups.iter().map(|group| group.files.len() as u64).sum::<u64>();
            return true;
        };
        if groups.is_empty() {
            return true;
        }
        let wanted = &branch.looked_for;
        let matches = |file: &_, owner: &_| wanted.matches(file, owner);
        let honest = retain_sound(core, matches, &mut groups, now);
        if let Some(asked) = branch.waiting.get_mut(&peer) {
            core.counters.hits_over_wanted += take_up_to(&mut groups, &mut asked.hits_left);
            asked.brought |= !groups.is_empty();
        }
        branch.pass_on(core, groups, Some(peer));
        honest
    }

    /// Sees to it that hits are passed on before long, if the query is still under way.
    fn send_on_soon(&mut self, core: &mut Core, id: QueryId, now: Now) {
        let Some(branch) = self.branches.get_mut(&id) else { return };
        if branch.waves.is_some() || branch.has_many_unsent() {
            branch.send_unsent(core);
        } else if branch.has_unsent() {
            let at = branch.deadline.min(now.instant + HITS_PATIENCE);
            self.deadlines.remove(&(branch.deadline, id));
            self.deadlines.insert((at, id));
            branch.deadline = at;
        }
    }

    /// Ends a query for which enough has come.
    fn end_if_full(&mut self, core: &mut Core, sources: &Sources<'_>, id: QueryId, now: Now) {
        if let Some(branch) = self.branches.get_mut(&id).filter(|branch| branch.is_full()) {
            branch.coverage.stopped = branch.coverage.stopped.worse(StopReason::Enough);
            self.call_off(core, sources, id, now);
        }
    }

    /// A branch of a query is over, and brings its last hits. Answers whether they were by the rules.
    #[must_use]
    pub(crate) fn on_done(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        peer: NodeId,
        done: SearchDone,
        now: Now,
    ) -> bool {
        let id = done.id;
        let honest = self.take_in(core, (peer, id, done.groups.into_vec()), now);
        let Some(branch) = self.branches.get_mut(&id) else { return honest };
        let Some(asked) = branch.waiting.remove(&peer) else { return honest };
        answered(&mut self.unanswered, peer);
        let searched = done.coverage.supernodes_asked > 0;
        if searched
            && asked.hops == 0
            && !branch.looked_for.keys.is_empty()
            && sources.tables.is_known(&peer)
        {
            core.counters.table_asks += 1;
            core.counters.table_misses += u64::from(!asked.brought);
        }
        if searched {
            branch.answered(peer);
        } else {
            branch.refused(&peer);
        }
        let believed = branch.believable_tags(asked.hops);
        let told = done.covered.get(..believed).unwrap_or(&done.covered);
        if asked.hops == 1 && done.coverage.stopped == StopReason::Exhausted {
            let members = core.membership.iter().map(|member| &member.node);
            let known = (core.membership.len(), members);
            self.views.learn(peer, (branch.search, told), known, now.instant);
        }
        branch.told(&peer, told);
        let stopped = match done.coverage.stopped {
            // Only whoever asked can call a search off. One that has nobody to ask is no supernode
            // any more.
            StopReason::Cancelled | StopReason::NotAttached => StopReason::Unreached,
            reason => reason,
        };
        let coverage = &mut branch.coverage;
        coverage.supernodes_asked =
            coverage.supernodes_asked.saturating_add(done.coverage.supernodes_asked);
        coverage.nodes_covered = coverage.nodes_covered.saturating_add(done.coverage.nodes_covered);
        coverage.stopped = coverage.stopped.worse(stopped);
        let is_last = branch.waiting.is_empty();
        self.end_if_full(core, sources, id, now);
        if is_last {
            self.go_on(core, sources, id, now);
        }
        self.send_on_soon(core, id, now);
        honest
    }

    /// Gives up the searches of this node's user, which go on elsewhere: what each was for.
    pub(crate) fn give_up_users(&mut self, core: &mut Core) -> Vec<(QueryId, Query, u16)> {
        let of_user = self.branches.iter().filter(|(_, it)| it.reply_to == ReplyTo::User);
        let mut ids: Vec<QueryId> = of_user.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let given_up = ids.into_iter().filter_map(|id| {
            let mut branch = self.remove(id)?;
            branch.cancel_waiting(core, id);
            branch.pass_on_rest(core);
            let wanted = u16::try_from(branch.wanted()).unwrap_or(MAX_WANTED);
            Some((branch.reply_id, Query::clone(&branch.query), wanted))
        });
        given_up.collect()
    }

    /// Forgets what others answered: this node is no supernode any more.
    pub(crate) fn forget_answers(&mut self) {
        self.cache = Cache::default();
    }

    /// Whoever waits for the hits of a query wants no more.
    pub(crate) fn on_cancel(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        from: ReplyTo,
        id: QueryId,
        now: Now,
    ) {
        let id = self.ways.get(&(from, id)).copied().unwrap_or(id);
        if let Some(branch) = self.branches.get_mut(&id).filter(|b| b.reply_to == from) {
            branch.coverage.stopped = StopReason::Cancelled;
            self.call_off(core, sources, id, now);
        }
    }

    /// The link with a peer is gone: it will not answer, and nobody waits there.
    pub(crate) fn on_peer_lost(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        peer: &NodeId,
        now: Now,
    ) {
        self.unanswered.remove(peer);
        self.views.forget(peer);
        let mut called_off = 0;
        let touched: BTreeSet<QueryId> = self
            .branches
            .iter()
            .filter(|(_, b)| b.reply_to == ReplyTo::Peer(*peer) || b.waiting.contains_key(peer))
            .map(|(id, _)| *id)
            .collect();
        for id in touched {
            let Some(branch) = self.branches.get_mut(&id) else { continue };
            if branch.reply_to == ReplyTo::Peer(*peer) {
                if called_off < MAX_CALLED_OFF {
                    called_off += 1;
                    branch.cancel_waiting(core, id);
                } else {
                    core.counters.calls_off_over_limit += 1;
                }
                self.remove(id);
                continue;
            }
            branch.waiting.remove(peer);
            branch.unanswered(peer);
            if branch.waiting.is_empty() {
                self.go_on(core, sources, id, now);
            }
        }
    }

    /// Looks at what has waited for its time. Answers the neighbours that have left too many
    /// queries without an end.
    #[must_use]
    pub(crate) fn step(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        now: Now,
    ) -> BTreeSet<NodeId> {
        let mut dead = BTreeSet::new();
        let due = |(at, _): &(Instant, QueryId)| now.instant >= *at;
        while let Some((_, id)) = self.deadlines.first().copied().filter(due) {
            let Some(branch) = self.branches.get_mut(&id) else {
                self.deadlines.pop_first();
                continue;
            };
            // Those asked have an earlier deadline, so there is nothing to call off there.
            for node in branch.take_late(now.instant) {
                core.counters.branches_timed_out += 1;
                branch.unanswered(&node);
                let unanswered = self.unanswered.entry(node).or_default();
                *unanswered += UNANSWERED;
                if *unanswered >= MAX_UNANSWERED * UNANSWERED {
                    dead.insert(node);
                }
            }
            self.go_on(core, sources, id, now);
        }
        dead
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Those who were waited for have answered, or their time is over.
    fn go_on(&mut self, core: &mut Core, sources: &Sources<'_>, id: QueryId, now: Now) {
        let Some(mut branch) = self.remove(id) else { return };
        if let Some((number, Some(then))) = branch.look_up.take_if(|(_, then)| then.is_some()) {
            // The others are asked meanwhile.
            core.counters.look_ups_timed_out += 1;
            branch.look_up = Some((number, None));
            if let Then::Relay { from, .. } = &then {
                self.seen.forget((branch.search, branch.looked_for.fingerprint), from);
            }
            self.follow(core, sources, (id, branch, then), now);
            return;
        }
        branch.pass_on_wave(core);
        if branch.waves.is_some() && now.instant >= branch.ends {
            branch.coverage.stopped = branch.coverage.stopped.worse(StopReason::TimedOut);
            branch.cancel_waiting(core, id);
            self.conclude(core, sources, branch, now);
        } else if let Some(waves) = branch.waves.take() {
            self.widen(core, sources, (id, branch, waves), now);
        } else if let Some(at) = branch.waiting.values().map(|asked| asked.deadline).min() {
            self.insert(core, id, branch, at);
        } else if branch.look_up.is_some() && now.instant < branch.ends {
            let at = branch.ends;
            self.insert(core, id, branch, at);
        } else {
            finish(core, branch);
        }
    }

    fn call_off(&mut self, core: &mut Core, sources: &Sources<'_>, id: QueryId, now: Now) {
        if let Some(mut branch) = self.remove(id) {
            branch.cancel_waiting(core, id);
            self.conclude(core, sources, branch, now);
        }
    }

    fn insert(&mut self, core: &mut Core, id: QueryId, mut branch: Box<Branch>, deadline: Instant) {
        branch.send_unsent(core);
        branch.deadline = deadline;
        self.deadlines.insert((deadline, id));
        if let Some(way) = branch.way() {
            self.ways.insert(way, id);
        }
        self.branches.insert(id, branch);
    }

    fn remove(&mut self, id: QueryId) -> Option<Box<Branch>> {
        let branch = self.branches.remove(&id)?;
        self.deadlines.remove(&(branch.deadline, id));
        if let Some(way) = branch.way() {
            self.ways.remove(&way);
        }
        Some(branch)
    }

    /// Says that a query is over, and, if it began here, how much of the network it covered: a
    /// supernode counts whose index was searched, or whose table excludes it.
    fn conclude(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        mut branch: Box<Branch>,
        now: Now,
    ) {
        if let Some(waves) = &branch.waves {
            core.counters.covered_made_up += u64::from(waves.made_up());
            let own = sources.own_coverage(core);
            let own_nodes = if branch.owes_index { 0 } else { own.nodes_covered };
            let mut nodes = u64::from(own_nodes) + waves.nodes();
            // Neighbours say it with their tables, and sooner.
            for (node, told) in sources.tables.told_nodes() {
                if let Some(announced) = waves.nodes_of(&node) {
                    nodes = nodes.saturating_sub(announced.into()) + u64::from(told);
                }
            }
            let coverage = &mut branch.coverage;
            coverage.nodes_covered = u32::try_from(nodes).unwrap_or(u32::MAX);
            let unsearched = u32::from(branch.owes_index);
            coverage.supernodes_asked = waves.supernodes().saturating_sub(unsearched);
            coverage.supernodes_known = own.supernodes_known.max(waves.size());
        }
        branch.pass_on_rest(core);
        if branch.waves.is_some() {
            let answer = branch.take_answer();
            self.cache.put(
                &branch.looked_for.parsed,
                branch.wanted(),
                answer,
                branch.coverage,
                now.instant,
            );
        }
        finish(core, branch);
    }
}

/// A neighbour has said the end of a query: of those that it left without one, so many count less.
fn answered(unanswered: &mut HashMap<NodeId, u32>, peer: NodeId) {
    if let Entry::Occupied(mut left) = unanswered.entry(peer) {
        *left.get_mut() -= 1;
        if *left.get() == 0 {
            left.remove();
        }
    }
}
