//! What a supernode does with a query before others are asked: its own index is searched.

use super::{Arrival, Floods, HOP_PATIENCE, MAX_BRANCHES, MAX_WANTED};
use crate::branch::{Branch, Then, finish, retain_sound, tell_end};
use crate::core::Core;
use crate::covered::{Starts, number};
use crate::io::Now;
use crate::lookup::{Asker, LookedUp};
use crate::seen::fingerprint;
use crate::sources::{Sources, Wanted, nothing};
use crate::waves::Waves;
use rand::seq::SliceRandom;
use skein_index::Index;
use skein_proto::query::StopReason;
use skein_proto::routing::SharedBytes;
use skein_proto::{Common, NodeId, QueryId, Tag};
use std::sync::Arc;
use std::time::Duration;

/// Who need not be asked any more, of the tags that came with a query. It is worked out once for all
/// who got the same copy of them.
struct Done {
    /// The tags as numbers, ascending.
    tags: Vec<u32>,
    starts: Starts,
}

impl Done {
    fn of(besides: &SharedBytes<6144>) -> Arc<Self> {
        if let Some(done) = besides.outcome::<Arc<Self>>() {
            return done.clone();
        }
        let (tags, _) = besides.as_chunks::<3>();
        let mut tags: Vec<u32> = tags.iter().map(|tag| number(*tag)).collect();
        // Stable, since that goes by the stretches which are in order as they come.
        tags.sort();
        let done = Arc::new(Self { starts: Starts::of(&tags), tags });
        besides.leave(done.clone());
        done
    }

    fn has(&self, tag: Tag) -> bool {
        self.starts.find(&self.tags, number(tag)).is_some()
    }
}

/// How long the own index is waited for before the others are asked without it: less than whoever
/// asked waits for this node.
const INDEX_PATIENCE: Duration = Duration::from_secs(1);

/// How long a search may take in all: several rounds of all waves, each as slow as it may be. A child
/// waits some seconds longer for its end.
const PATIENCE: Duration = Duration::from_secs(12);

impl Floods {
    /// Passes a neighbour's query on.
    pub(super) fn relay(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        mut branch: Box<Branch>,
        (id, from, hops, besides): (QueryId, NodeId, u8, SharedBytes<6144>),
        now: Now,
    ) {
        if hops == 0 {
            finish(core, branch);
            return;
        }
        let search = branch.search;
        let linked = sources.neighbours.linked().filter(|node| *node != from);
        let mut next: Vec<NodeId> = Vec::with_capacity(sources.neighbours.count());
        let mut excluded = 0;
        if hops == 1 {
            let done = Done::of(&besides);
            // Those that were done before are named again: how many there are is told from how often
            // the same ones are.
            branch.reserve_covered(sources.neighbours.count());
            for node in linked {
                let tag = search.tag(&node);
                if done.has(tag) {
                    branch.cover([tag]);
                } else {
                    next.push(node);
                }
            }
            let mut may = sources.tables.may_answer_of(&next, &branch.looked_for.keys).into_iter();
            next.retain(|node| {
                let may = may.next().unwrap_or(true);
                excluded += u64::from(!may);
                branch.cover((!may).then(|| search.tag(node)));
                may
            });
        } else {
            next.extend(linked);
        }
        if hops == 2 {
            let done = Done::of(&besides);
            next.shuffle(&mut core.rng);
            let all = next.len();
            let is_done = |tag| done.has(tag);
            let among = (&mut next, core.membership.len());
            let told = self.views.choose(search, &core.me, among, is_done, now.instant);
            core.counters.looks_spared += (all - next.len()) as u64;
            branch.cover(told);
        }
        if next.is_empty() {
            core.counters.table_excluded += excluded;
            finish(core, branch);
            return;
        }
        let over = if self.branches.len() >= MAX_BRANCHES {
            Some(&mut core.counters.branches_over_limit)
        } else if core.budgets.take_relays(&from, next.len(), now.instant) {
            None
        } else {
            Some(&mut core.counters.relays_over_budget)
        };
        if let Some(counter) = over {
            *counter += 1;
            branch.coverage.stopped = StopReason::OverBudget;
            self.seen.forget((search, branch.looked_for.fingerprint), &from);
            finish(core, branch);
            return;
        }
        // Where nobody is asked, those that are not excluded would be missing in the rate.
        core.counters.table_excluded += excluded;
        let deadline = now.instant + HOP_PATIENCE * (u32::from(hops) + 1);
        let group = next.into_iter().map(|node| (node, besides.clone()));
        branch.ask(core, id, group, hops - 1, deadline);
        branch.ends = deadline;
        self.insert(core, id, branch, deadline);
    }

    /// A query begins here: of a child, or of this node's user.
    pub(crate) fn begin(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        arrival: Arrival,
        now: Now,
    ) {
        let Arrival { reply_id, id, query, wanted, reply_to } = arrival;
        let wanted = usize::from(wanted.clamp(1, MAX_WANTED));
        if self.branches.contains_key(&id) || !self.seen.begin((id, fingerprint(&query)), now) {
            // Whoever draws an id that was seen hears nothing but the end.
            core.counters.floods_duplicate += 1;
            tell_end(core, reply_to, reply_id, nothing(StopReason::OverBudget));
            return;
        }
        let coverage = sources.own_coverage(core);
        let query = Common::from(query);
        let Some(looked_for) = Wanted::of(&query) else {
            // Nothing matches it anywhere, so nobody else is troubled with it.
            tell_end(core, reply_to, reply_id, coverage);
            return;
        };
        if !self.look_ups.has_room(core, Asker::Own) {
            tell_end(core, reply_to, reply_id, nothing(StopReason::OverBudget));
            return;
        }
        let branch = Branch::origin((reply_to, reply_id, id), query, looked_for, wanted);
        let mut branch = Box::new(branch);
        branch.coverage.supernodes_known = coverage.supernodes_known;
        branch.ends = now.instant + PATIENCE;
        self.look_up(core, sources, (id, branch, Then::Widen), now);
    }

    /// Has this supernode's own index searched.
    pub(super) fn look_up(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        (id, mut branch, then): (QueryId, Box<Branch>, Then),
        now: Now,
    ) {
        let wish = (id, branch.looked_for.clone(), branch.wanted());
        let number = self.look_ups.begin(core, &sources.children.index, wish);
        branch.look_up = Some((number, Some(then)));
        self.insert(core, id, branch, now.instant + INDEX_PATIENCE);
    }

    /// Has this supernode's own index searched for something that is no query, unless there is too
    /// much to do. Answers with the number of the look-up, whose end is told by
    /// [`Self::end_look_up`].
    pub(crate) fn look_up_besides(
        &mut self,
        core: &mut Core,
        index: &Index,
        look: (QueryId, Arc<Wanted>, usize),
    ) -> Option<u64> {
        let has_room = self.look_ups.has_room(core, Asker::Neighbour);
        has_room.then(|| self.look_ups.begin(core, index, look))
    }

    /// A look-up of [`Self::look_up_besides`] has been answered.
    pub(crate) fn end_look_up(&mut self) {
        self.look_ups.end();
    }

    /// This supernode's own index has been searched.
    pub(crate) fn on_looked_up(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        looked_up: LookedUp,
        now: Now,
    ) {
        self.look_ups.end();
        let LookedUp { number, id, found } = looked_up;
        let branch = self.branches.get_mut(&id);
        let waits = |branch: &&mut Box<Branch>| {
            branch.look_up.as_ref().is_some_and(|(waited_for, _)| *waited_for == number)
        };
        let Some((_, then)) = branch.filter(waits).and_then(|branch| branch.look_up.take()) else {
            core.counters.look_ups_unasked += 1;
            return;
        };
        let Some(mut branch) = self.remove(id) else { return };
        let groups = sources.children.grouped(core, found, now);
        branch.pass_on(core, groups, None);
        branch.count_own(sources.own_coverage(core));
        match then {
            Some(then) => self.follow(core, sources, (id, branch, then), now),
            None => {
                // The others have been asked meanwhile.
                let (at, is_over) = (branch.deadline, branch.waiting.is_empty());
                self.insert(core, id, branch, at);
                self.end_if_full(core, sources, id, now);
                if is_over {
                    self.go_on(core, sources, id, now);
                }
            }
        }
    }

    /// The own index has been searched, or has taken too long: goes on with the others.
    pub(super) fn follow(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        (id, mut branch, then): (QueryId, Box<Branch>, Then),
        now: Now,
    ) {
        match then {
            Then::Relay { .. } if branch.is_full() => {
                branch.coverage.stopped = StopReason::Enough;
                finish(core, branch);
            }
            Then::Relay { from, hops, besides } => {
                self.relay(core, sources, branch, (id, from, hops, besides), now);
            }
            Then::Widen => self.begin_waves(core, sources, (id, branch), now),
        }
    }

    /// What a search that began here has not found in the own index is looked for elsewhere.
    fn begin_waves(
        &mut self,
        core: &mut Core,
        sources: &Sources<'_>,
        (id, mut branch): (QueryId, Box<Branch>),
        now: Now,
    ) {
        let is_answered = !branch.is_full() && self.look_in_cache(core, &mut branch, now);
        if is_answered {
            finish(core, branch);
        } else if branch.is_full() {
            branch.coverage.stopped = StopReason::Enough;
            finish(core, branch);
        } else if self.branches.len() >= MAX_BRANCHES {
            core.counters.branches_over_limit += 1;
            branch.coverage.stopped = StopReason::OverBudget;
            finish(core, branch);
        } else {
            let waves = Waves::new(id, &core.me, core.config.max_hops - 1);
            self.widen(core, sources, (id, branch, Box::new(waves)), now);
        }
    }

    /// Answers from what others said to the same a moment ago, if that was all there is.
    fn look_in_cache(&mut self, core: &mut Core, branch: &mut Branch, now: Now) -> bool {
        let cached = self.cache.get(&branch.looked_for.parsed, branch.wanted(), now.instant);
        let Some((mut groups, coverage)) = cached else {
            core.counters.cache_misses += 1;
            return false;
        };
        core.counters.cache_hits += 1;
        // They were checked when they came, but credentials run out.
        let wanted = &branch.looked_for;
        let matches = |file: &_, owner: &_| wanted.matches(file, owner);
        let _ = retain_sound(core, matches, &mut groups, now);
        branch.pass_on(core, groups, None);
        let is_answered = branch.is_full() || coverage.stopped == StopReason::Exhausted;
        if is_answered {
            branch.coverage = coverage;
        }
        is_answered
    }
}
