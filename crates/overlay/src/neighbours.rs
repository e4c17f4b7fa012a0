//! A supernode's links to other supernodes.

use crate::budget::Ask;
use crate::core::{Core, earlier};
use crate::io::{Now, Output};
use skein_proto::message::{Detach, Link, LinkReply, PartingReason, Refusal};
use skein_proto::supernode::Load;
use skein_proto::{BoundedVec, Instant, NodeId, Role, UnixTime};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How often a supernode looks whether it could have more neighbours.
const REVIEW: Duration = Duration::from_secs(2);

/// Neighbours dialled at once, so that a supernode that starts does not dial 40 at a time.
const DIALS_AT_ONCE: usize = 8;

/// How long a supernode may take to answer whether it wants to be a neighbour.
const PATIENCE: Duration = Duration::from_secs(6);

/// Of two supernodes the one with the smaller id dials at once; the other one leaves it so much
/// time, so that the two do not dial each other: a handshake over the longest paths and some more.
const COURTESY: Duration = Duration::from_secs(2);

/// How often a supernode asks the login service for others: often while it is alone.
const LONELY_BOOTSTRAP: Duration = Duration::from_secs(2);
const BOOTSTRAP: Duration = Duration::from_secs(120);

/// Neighbours over the limit that are taken when they ask, so that a full network still takes in
/// a new supernode.
const COURTESY_PLACES: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Asked for, or being dialled, until then.
    Asked {
        deadline: Instant,
    },
    Linked,
}

/// A supernode's links to other supernodes.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    states: BTreeMap<NodeId, State>,
    /// Those that were linked since this was last asked.
    new: Vec<NodeId>,
    /// Those that shall dial this node, and until when they are waited for.
    courtesies: HashMap<NodeId, Instant>,
    next_review: Instant,
    next_bootstrap: Instant,
    lonely_bootstraps: u32,
}

impl Neighbours {
    /// Those that are linked, by ascending id.
    pub(crate) fn linked(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.states.iter().filter(|(_, state)| **state == State::Linked).map(|(node, _)| *node)
    }

    pub(crate) fn count(&self) -> usize {
        self.linked().count()
    }

    /// Those that are linked and were linked, or linked once more, since this was last asked.
    pub(crate) fn take_new(&mut self) -> Vec<NodeId> {
        let mut new = std::mem::take(&mut self.new);
        new.retain(|peer| self.is_linked(peer));
        new
    }

    pub(crate) fn is_linked(&self, peer: &NodeId) -> bool {
        self.states.get(peer) == Some(&State::Linked)
    }

    pub(crate) fn uses(&self, peer: &NodeId) -> bool {
        self.states.contains_key(peer)
    }

    /// Looks for neighbours where some are missing.
    pub(crate) fn step(&mut self, core: &mut Core, load: Load, now: Now) {
        self.states.retain(|node, state| match *state {
            State::Asked { deadline } if now.instant >= deadline => {
                core.known.failed(node, now.instant);
                false
            }
            _ => true,
        });
        if now.instant >= self.next_bootstrap {
            let lonely = self.count() == 0;
            let pause = if lonely {
                self.lonely_bootstraps = self.lonely_bootstraps.saturating_add(1);
                core.back_off(self.lonely_bootstraps - 1, LONELY_BOOTSTRAP, BOOTSTRAP)
            } else {
                self.lonely_bootstraps = 0;
                core.jitter(BOOTSTRAP)
            };
            self.next_bootstrap = now.instant + pause;
            core.outputs.push_back(Output::WantBootstrap { willing: false });
        }
        if now.instant < self.next_review {
            return;
        }
        self.next_review = now.instant + core.jitter(REVIEW);
        self.courtesies.retain(|_, until| *until + REVIEW * 8 > now.instant);
        let asked = self.states.len() - self.count();
        let missing = core.config.max_neighbours.saturating_sub(self.states.len());
        let room = missing.min(DIALS_AT_ONCE.saturating_sub(asked));
        let me = core.me;
        let picked = core.known.pick(room, now.instant, &mut core.rng, |node| {
            *node == me || self.states.contains_key(node)
        });
        for (node, addresses) in picked {
            if core.peers.contains_key(&node) {
                self.ask(core, node, load, now);
                continue;
            }
            let wait = *self.courtesies.entry(node).or_insert(now.instant + COURTESY);
            if me > node && now.instant < wait {
                continue;
            }
            self.states.insert(node, State::Asked { deadline: now.instant + PATIENCE });
            core.dial(node, addresses);
        }
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        let asked = self.states.values().filter_map(|state| match state {
            State::Asked { deadline } => Some(*deadline),
            State::Linked => None,
        });
        earlier(asked.min(), Some(self.next_review.min(self.next_bootstrap)))
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

    /// Those whose credential does not hold any more, or who say that they are no supernodes.
    pub(crate) fn unfit(&self, core: &Core, now: UnixTime) -> Vec<NodeId> {
        self.linked().filter(|node| !core.is_member_super(node, now)).collect()
    }

    /// The link is gone. Answers whether a neighbour is lost.
    pub(crate) fn on_link_lost(&mut self, core: &mut Core, peer: &NodeId, now: Now) -> bool {
        match self.states.remove(peer) {
            Some(State::Linked) => {
                core.counters.neighbours_lost += 1;
                core.known.failed(peer, now.instant);
                true
            }
            Some(State::Asked { .. }) => {
                core.known.failed(peer, now.instant);
                false
            }
            None => false,
        }
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
        if outcome.is_ok() {
            self.link(core, peer, link.load, now);
        } else {
            core.counters.neighbours_refused += 1;
        }
        let others = BoundedVec::truncated(core.others(32, &peer));
        core.send(peer, LinkReply { outcome, others });
    }

    fn take(&self, core: &Core, peer: NodeId, load: Load, now: Now) -> Result<Load, Refusal> {
        if core.role != Role::Super {
            return Err(Refusal::NotSuper);
        }
        let other = core.peers.get(&peer);
        if other.is_none_or(|other| other.valid_credential(now.unix).is_none()) {
            return Err(Refusal::NoCredential);
        }
        if !core.is_member_super(&peer, now.unix) {
            return Err(Refusal::NotSuper);
        }
        if !self.is_linked(&peer) && !self.has_room(core) {
            return Err(Refusal::Full);
        }
        Ok(load)
    }

    fn has_room(&self, core: &Core) -> bool {
        self.count() < core.config.max_neighbours + COURTESY_PLACES
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
            Some(State::Linked) => return,
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
        core.hear_of(&reply.others, false, now);
        match reply.outcome {
            Ok(load) if core.is_member_super(&peer, now.unix) && self.has_room(core) => {
                self.link(core, peer, load, now);
            }
            Ok(_) => {
                core.known.failed(&peer, now.instant);
                core.part(peer, PartingReason::Moved);
            }
            Err(Refusal::NotSuper) => core.known.forget(&peer),
            Err(_) => core.known.failed(&peer, now.instant),
        }
        // Those that it named may be missing here.
        self.next_review = self.next_review.min(now.instant + Duration::from_millis(50));
    }

    fn link(&mut self, core: &mut Core, peer: NodeId, load: Load, now: Now) {
        if self.states.insert(peer, State::Linked) != Some(State::Linked) {
            core.counters.neighbours_linked += 1;
        }
        self.new.push(peer);
        self.courtesies.remove(&peer);
        core.membership.epidemic.on_neighbour(now.instant);
        core.proved(&peer, Some(load.percent()), now.unix);
    }

    /// Lets go of all of them.
    pub(crate) fn dissolve(&mut self, core: &mut Core, reason: PartingReason) {
        for (node, state) in std::mem::take(&mut self.states) {
            match state {
                State::Linked => core.part(node, reason),
                State::Asked { .. } => core.hang_up(node, reason),
            }
        }
    }
}
