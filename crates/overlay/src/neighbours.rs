//! A supernode's links to other supernodes.
//!
//! Together they are a random graph in which everybody has about as many links, which stays in one
//! piece when half of all supernodes go at once. Once in a while one link is given up for another,
//! so that searches begin at ever new parts of the network. Links that were chosen among few, while
//! the network was small or little of it was known, stand in each other's neighbourhood, so that who
//! looks around through them sees the same supernodes again and again: they are given up soon.

mod fit;
mod places;

use crate::budget::Ask;
use crate::core::{Core, INFORMED, earlier};
use crate::io::{Now, Output};
use crate::variety::{self, Mix};
use rand::seq::IndexedRandom;
use skein_proto::message::{Detach, Link, LinkReply, PartingReason, Refusal};
use skein_proto::supernode::Load;
use skein_proto::{BoundedVec, Instant, NodeId, UnixTime};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How often a supernode that has too few neighbours looks for more, and how often one that has
/// enough looks whether that is still so.
const REVIEW: Duration = Duration::from_secs(2);
const CALM_REVIEW: Duration = Duration::from_secs(20);

/// How often a neighbour is given up for another one: with 40 neighbours, and as many links given
/// up by the other side, a link lives for an hour and a half. A new link costs a routing table each
/// way, so 400 bytes a second go into this.
const RESHUFFLE: Duration = Duration::from_secs(300);

/// The same where links were chosen among few: 40 of them are replaced within four minutes.
const HASTY_RESHUFFLE: Duration = Duration::from_secs(6);

/// How long one that could not be linked is left alone, doubled each time, and one that has given
/// this node up.
const RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// Supernodes that are left alone at a time; of more, some are tried too soon.
const MAX_AVOIDED: usize = 1_024;

/// Neighbours dialled at once, so that a supernode that starts does not dial 40 at a time.
const DIALS_AT_ONCE: usize = 8;

/// How long a supernode may take to answer whether it wants to be a neighbour.
const PATIENCE: Duration = Duration::from_secs(6);

/// Of two supernodes the one with the smaller id dials at once; the other one leaves it so much
/// time, so that the two do not dial each other: a handshake over the longest paths and some more.
const COURTESY: Duration = Duration::from_secs(2);

/// How often a supernode asks the login service for others: often while it is alone, and the first
/// times at once, since the first supernodes of a network are started together and report within a
/// second of each other.
const LONELY_BOOTSTRAP: Duration = Duration::from_millis(500);
const BOOTSTRAP: Duration = Duration::from_secs(120);

/// The same for one that knows enough others.
const INFORMED_BOOTSTRAP: Duration = Duration::from_secs(600);

/// Neighbours over the limit that are kept. Those beyond are given up one by one, or a network that
/// has grown would have no place left, neither for newcomers nor for other links.
const SPARE: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Asked for, or being dialled, until then.
    Asked { deadline: Instant },
    /// Linked since then, when so many supernodes were known.
    Linked { known: u32, since: Instant },
}

impl State {
    fn is_linked(self) -> bool {
        matches!(self, Self::Linked { .. })
    }

    /// Whether the choice was among less than half of the supernodes that are known now.
    fn is_provincial(self, known: u32) -> bool {
        matches!(self, Self::Linked { known: then, .. } if then < known / 2)
    }
}

/// One that is left alone for a while.
#[derive(Clone, Copy, Debug, Default)]
struct Avoided {
    failures: u32,
    until: Instant,
}

/// A supernode's links to other supernodes.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    states: BTreeMap<NodeId, State>,
    /// Those that are linked, by ascending id, in one piece: each query goes through them.
    linked: Vec<NodeId>,
    /// Those that were linked since this was last asked.
    new: Vec<NodeId>,
    /// Those that shall dial this node, and until when they are waited for.
    courtesies: BTreeMap<NodeId, Instant>,
    avoided: BTreeMap<NodeId, Avoided>,
    /// Neighbours of one prefix that are fine; none is counted before the first review.
    prefix_cap: Option<usize>,
    /// The one that another one makes place for, once it is linked.
    successor: Option<NodeId>,
    /// There are too many, and one is to be given up.
    surplus: bool,
    /// The newcomer that another newcomer takes the place of.
    displaced: Option<NodeId>,
    /// Whether some that were linked or asked are not any more, since this was last asked.
    untied: bool,
    /// Those that are linked are fit until then, as of the last look at all of them.
    sound_until: UnixTime,
    next_reshuffle: Option<Instant>,
    next_review: Instant,
    next_bootstrap: Instant,
    lonely_bootstraps: u32,
}

/// Supernodes named to one who asks for a link: as many as make it [informed](INFORMED), since then
/// it has the signed word of all of them and goes by that.
const NAMED: usize = INFORMED;

impl Neighbours {
    /// Those that are linked, by ascending id.
    pub(crate) fn linked(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.linked.iter().copied()
    }

    pub(crate) fn count(&self) -> usize {
        self.linked.len()
    }

    /// Those that are linked and were linked, or linked once more, since this was last asked.
    pub(crate) fn take_new(&mut self) -> Vec<NodeId> {
        let mut new = std::mem::take(&mut self.new);
        new.retain(|peer| self.is_linked(peer));
        new
    }

    pub(crate) fn is_linked(&self, peer: &NodeId) -> bool {
        self.linked.binary_search(peer).is_ok()
    }

    pub(crate) fn uses(&self, peer: &NodeId) -> bool {
        self.states.contains_key(peer)
    }

    /// Looks for neighbours where some are missing.
    pub(crate) fn step(&mut self, core: &mut Core, load: Load, now: Now) {
        self.give_up(core, now);
        if now.instant >= self.next_bootstrap {
            let lonely = self.count() == 0;
            let pause = if lonely {
                self.lonely_bootstraps = self.lonely_bootstraps.saturating_add(1);
                core.back_off(self.lonely_bootstraps - 1, LONELY_BOOTSTRAP, BOOTSTRAP)
            } else {
                self.lonely_bootstraps = 0;
                let informed = core.membership.len() >= INFORMED;
                core.jitter(if informed { INFORMED_BOOTSTRAP } else { BOOTSTRAP })
            };
            self.next_bootstrap = now.instant + pause;
            core.outputs.push_back(Output::WantBootstrap { willing: false });
        }
        if now.instant < self.next_review {
            return;
        }
        self.courtesies.retain(|_, until| *until + REVIEW * 8 > now.instant);
        self.avoided.retain(|_, avoided| avoided.until + LONGEST_RETRY > now.instant);
        let asked = self.states.len() - self.count();
        let missing = core.config.max_neighbours.saturating_sub(self.states.len());
        self.surplus = self.count() > core.config.max_neighbours + SPARE;
        let calm = missing == 0 && !self.surplus && !self.is_provincial(core);
        let pause = if calm { CALM_REVIEW } else { REVIEW };
        self.next_review = now.instant + core.jitter(pause);
        let mut room = missing.min(DIALS_AT_ONCE.saturating_sub(asked));
        let reshuffles = missing == 0 && self.reshuffle_due(core, now);
        room += usize::from(reshuffles);
        if room == 0 {
            return;
        }
        for (node, addresses) in self.pick(core, room, now) {
            if core.peers.contains_key(&node) {
                self.ask(core, node, load, now);
            } else {
                let wait = *self.courtesies.entry(node).or_insert(now.instant + COURTESY);
                if core.me > node && now.instant < wait {
                    continue;
                }
                self.states.insert(node, State::Asked { deadline: now.instant + PATIENCE });
                core.dial(node, addresses);
            }
            if reshuffles {
                self.successor = Some(node);
            }
        }
    }

    /// Others were heard of: where some are missing, they are not left waiting.
    pub(crate) fn on_heard(&mut self, now: Now) {
        if self.linked.is_empty() {
            self.next_review = self.next_review.min(now.instant);
        }
    }

    /// Gives up on those that do not answer.
    fn give_up(&mut self, core: &mut Core, now: Now) {
        if self.asked_until().is_none_or(|deadline| now.instant < deadline) {
            return;
        }
        let late = self.states.iter().filter(|(_, state)| match state {
            State::Asked { deadline } => now.instant >= *deadline,
            State::Linked { .. } => false,
        });
        for node in late.map(|(node, _)| *node).collect::<Vec<_>>() {
            self.states.remove(&node);
            self.untied = true;
            self.avoid(core, &node, now);
        }
    }

    /// Whether it is time to give a neighbour up for another one, where there are others.
    fn reshuffle_due(&mut self, core: &mut Core, now: Now) -> bool {
        let pause = if self.is_provincial(core) { HASTY_RESHUFFLE } else { RESHUFFLE };
        let next = now.instant + core.jitter(pause);
        let due = self.next_reshuffle.map_or(next, |due| due.min(next));
        let is_due = now.instant >= due;
        self.next_reshuffle = Some(if is_due { next } else { due });
        is_due && core.membership.len() > self.states.len()
    }

    /// Whether some neighbours were chosen among few.
    fn is_provincial(&self, core: &Core) -> bool {
        let known = known(core);
        self.states.values().any(|state| state.is_provincial(known))
    }

    /// Whom to ask: supernodes of the view that make the neighbours a good mix; where there are
    /// not enough, those that the login service or others have named.
    fn pick(&mut self, core: &mut Core, room: usize, now: Now) -> Vec<(NodeId, Vec<SocketAddr>)> {
        let mut mix = Mix::default();
        for node in self.states.keys() {
            let member = core.membership.get(node);
            let address = match core.peers.get(node) {
                Some(peer) => Some(peer.address),
                None => member.and_then(|member| member.addresses.first().copied()),
            };
            if let Some(address) = address {
                mix.add(&address, member.map(|member| member.since));
            }
        }
        let wanted = core.config.max_neighbours;
        let avoided = |node: &NodeId| {
            self.avoided.get(node).is_some_and(|avoided| now.instant < avoided.until)
        };
        let fits = |node: &NodeId| !self.states.contains_key(node) && !avoided(node);
        let choice = variety::choose(&core.membership, mix, (room, wanted), &mut core.rng, fits);
        let mut picked = choice.picked;
        picked.retain(|(node, _)| {
            let owner = core.membership.owner(node);
            owner.is_none_or(|owner| self.is_owner_welcome(core, owner))
        });
        let me = core.me;
        // In a network that is known as a whole nobody is missing, and there is no need to look.
        let short = room.saturating_sub(picked.len());
        if short > 0 {
            let others = core.known.pick(short, now.instant, &mut core.rng, |node| {
                *node == me || !fits(node) || core.membership.get(node).is_some()
            });
            picked.extend(others);
        }
        let few = core.membership.len() <= wanted;
        self.prefix_cap = (!few).then_some(choice.cap);
        picked
    }

    /// Leaves one alone for a while.
    fn avoid(&mut self, core: &mut Core, node: &NodeId, now: Now) {
        core.known.failed(node, now.instant);
        if self.avoided.len() >= MAX_AVOIDED && !self.avoided.contains_key(node) {
            core.counters.neighbours_avoided_over_limit += 1;
            return;
        }
        let avoided = self.avoided.entry(*node).or_default();
        let pause = RETRY.saturating_mul(1 << avoided.failures.min(8)).min(LONGEST_RETRY);
        *avoided = Avoided { failures: avoided.failures + 1, until: now.instant + pause };
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        earlier(self.asked_until(), Some(self.next_review.min(self.next_bootstrap)))
    }

    /// When the first of those that were asked is late.
    fn asked_until(&self) -> Option<Instant> {
        if self.states.len() == self.count() {
            return None;
        }
        let asked = self.states.values().filter_map(|state| match state {
            State::Asked { deadline } => Some(*deadline),
            State::Linked { .. } => None,
        });
        asked.min()
    }

    fn ask(&mut self, core: &mut Core, node: NodeId, load: Load, now: Now) {
        self.states.insert(node, State::Asked { deadline: now.instant + PATIENCE });
        core.send(node, Link { load });
    }

    /// A dialled supernode is there.
    pub(crate) fn on_link_up(&mut self, core: &mut Core, peer: NodeId, load: Load, now: Now) {
        if matches!(self.states.get(&peer), Some(State::Asked { .. })) {
            self.ask(core, peer, load, now);
        }
    }

    /// The link is gone. Answers whether a neighbour is lost.
    pub(crate) fn on_link_lost(&mut self, core: &mut Core, peer: &NodeId, now: Now) -> bool {
        let Some(state) = self.states.remove(peer) else { return false };
        self.untied = true;
        self.avoid(core, peer, now);
        if !state.is_linked() {
            return false;
        }
        self.linked.retain(|node| node != peer);
        core.counters.neighbours_lost += 1;
        // Not at once: when many are lost together, not all of the rest look for others at the
        // same moment.
        self.next_review = self.next_review.min(now.instant + core.jitter(REVIEW));
        true
    }

    /// Somebody wants to be a neighbour.
    pub(crate) fn on_link(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        link: Link,
        load: Load,
        now: Now,
    ) {
        if !core.budgets.take(&peer, Ask::Request, now.instant) {
            core.counters.requests_over_budget += 1;
            let outcome = Err(Refusal::TooFast);
            core.send(peer, LinkReply { outcome, others: BoundedVec::default() });
            return;
        }
        let outcome = self.take(core, peer, load, now);
        match outcome {
            Ok(_) => self.link(core, peer, link.load, now),
            Err(_) => core.counters.neighbours_refused += 1,
        }
        let others = BoundedVec::truncated(core.others(NAMED, &peer));
        core.send(peer, LinkReply { outcome, others });
    }

    /// The answer of a supernode that was asked.
    pub(crate) fn on_link_reply(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        reply: &LinkReply,
        now: Now,
    ) {
        match self.states.get(&peer) {
            // The two asked each other at the same time: that they agree is settled.
            Some(State::Linked { .. }) => return,
            Some(State::Asked { .. }) => {}
            None => {
                if reply.outcome.is_ok() {
                    // It answers too late, or was never asked, and counts this node as a
                    // neighbour: it must not go on to do so.
                    core.send(peer, Detach { reason: PartingReason::Moved });
                }
                return;
            }
        }
        self.states.remove(&peer);
        self.untied = true;
        core.hear_of(&reply.others, false, now);
        match reply.outcome {
            Ok(load)
                if core.is_member_super(&peer, now.unix)
                    && (self.has_room(core) || self.successor == Some(peer))
                    && self.is_welcome(core, &peer) =>
            {
                self.link(core, peer, load, now);
            }
            Ok(_) => {
                self.avoid(core, &peer, now);
                core.part(peer, PartingReason::Moved);
            }
            Err(refusal) => {
                self.avoid(core, &peer, now);
                if refusal == Refusal::NotSuper {
                    core.known.forget(&peer);
                }
            }
        }
        // Those that it named may be missing here.
        self.next_review = self.next_review.min(now.instant + Duration::from_millis(50));
    }

    fn link(&mut self, core: &mut Core, peer: NodeId, load: Load, now: Now) {
        let state = State::Linked { known: known(core), since: now.instant };
        self.states.insert(peer, state);
        self.doubt_credentials();
        if let Err(at) = self.linked.binary_search(&peer) {
            self.linked.insert(at, peer);
            core.counters.neighbours_linked += 1;
        }
        self.new.push(peer);
        self.courtesies.remove(&peer);
        self.avoided.remove(&peer);
        core.membership.epidemic.on_neighbour(now.instant);
        core.proved(&peer, Some(load.percent()), now.unix);
    }

    /// The neighbour that is to be given up: if another one has come in its place, or there are too
    /// many.
    pub(crate) fn take_outgoing(&mut self, core: &mut Core) -> Option<NodeId> {
        let displaced = self.displaced.take().filter(|node| self.is_linked(node));
        if displaced.is_some_and(|node| core.membership.get(&node).is_none()) {
            return displaced;
        }
        let surplus = std::mem::take(&mut self.surplus);
        let Some(successor) = self.successor else {
            let too_many = surplus && self.count() > core.config.max_neighbours + SPARE;
            return too_many.then(|| self.dispensable(core, None)).flatten();
        };
        match self.states.get(&successor) {
            Some(State::Asked { .. }) => return None,
            Some(State::Linked { .. }) => {}
            None => {
                self.successor = None;
                return None;
            }
        }
        self.successor = None;
        if self.count() <= core.config.max_neighbours {
            return None;
        }
        self.dispensable(core, Some(successor))
    }

    /// The neighbour that is missed the least: one that was chosen among few, and of those rather
    /// one that has enough others.
    fn dispensable(&self, core: &mut Core, successor: Option<NodeId>) -> Option<NodeId> {
        let known = known(core);
        let all = self.states.iter();
        let others = all.filter(|(node, it)| it.is_linked() && Some(**node) != successor);
        let ranked: Vec<_> = others
            .map(|(node, state)| {
                let member = core.membership.get(node);
                let links = member.map_or(0, |member| member.load.neighbours);
                let has_enough = links as usize > core.config.max_neighbours;
                ((state.is_provincial(known), has_enough), *node)
            })
            .collect();
        let best = ranked.iter().map(|(rank, _)| *rank).max()?;
        let equals: Vec<NodeId> =
            ranked.into_iter().filter(|(rank, _)| *rank == best).map(|(_, node)| node).collect();
        equals.choose(&mut core.rng).copied()
    }

    /// Lets go of all of them.
    pub(crate) fn dissolve(&mut self, core: &mut Core, reason: PartingReason) {
        self.linked = Vec::new();
        self.untied = true;
        for (node, state) in std::mem::take(&mut self.states) {
            match state {
                State::Linked { .. } => core.part(node, reason),
                State::Asked { .. } => core.hang_up(node, reason),
            }
        }
    }
}

/// Supernodes that are known, this one included.
fn known(core: &Core) -> u32 {
    u32::try_from(core.membership.len() + 1).unwrap_or(u32::MAX)
}
