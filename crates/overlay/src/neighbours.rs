//! A supernode's links to other supernodes.

use crate::core::{Core, earlier};
use crate::io::{Now, Output};
use skein_proto::message::{Detach, Link, LinkReply, PartingReason, Refusal};
use skein_proto::supernode::Load;
use skein_proto::{BoundedVec, Instant, NodeId, Role};
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
        let outcome = self.take(core, peer, load, now);
        if outcome.is_ok() {
            if self.states.insert(peer, State::Linked) != Some(State::Linked) {
                core.counters.neighbours_linked += 1;
            }
            self.met(core, peer, link.load, now);
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
        let claims_super = other
            .and_then(|other| other.hello.as_ref())
            .is_some_and(|hello| hello.role == Role::Super);
        if !claims_super {
            return Err(Refusal::NotSuper);
        }
        if self.count() >= core.config.max_neighbours + COURTESY_PLACES && !self.is_linked(&peer) {
            return Err(Refusal::Full);
        }
        Ok(load)
    }

    /// The answer of a supernode that was asked.
    pub(crate) fn on_link_reply(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        reply: &LinkReply,
        now: Now,
    ) {
        core.hear_of(&reply.others, now);
        if !self.states.contains_key(&peer) {
            return;
        }
        match reply.outcome {
            Ok(load) => {
                if self.states.insert(peer, State::Linked) != Some(State::Linked) {
                    core.counters.neighbours_linked += 1;
                }
                self.met(core, peer, load, now);
            }
            Err(refusal) => {
                self.states.remove(&peer);
                if refusal == Refusal::NotSuper {
                    core.known.forget(&peer);
                } else {
                    core.known.failed(&peer, now.instant);
                }
            }
        }
        // Those that it named may be missing here.
        self.next_review = self.next_review.min(now.instant + Duration::from_millis(50));
    }

    fn met(&mut self, core: &mut Core, peer: NodeId, load: Load, now: Now) {
        self.courtesies.remove(&peer);
        if let Some(known) = core.peers.get(&peer) {
            let addresses = known.listen_addresses();
            core.known.proved(peer, &addresses, Some(load.percent()), now.unix);
        }
    }

    /// Lets go of all of them.
    pub(crate) fn dissolve(&mut self, core: &mut Core, reason: PartingReason) {
        for (node, state) in std::mem::take(&mut self.states) {
            if state == State::Linked {
                core.send(node, Detach { reason });
            }
            core.hang_up(node, reason);
        }
    }
}
