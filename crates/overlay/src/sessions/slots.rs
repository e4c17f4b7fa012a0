//! Slots of relays: whom this node asks for one, and what it answers to those who ask.

use crate::core::Core;
use crate::io::{Now, Output};
use crate::overlay::Overlay;
use skein_proto::session::{AskSlot, ReleaseSlot, SlotGrant, SlotRefusal, SlotReply};
use skein_proto::{BoundedVec, Instant, NodeId, Role, SignedCredential};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a supernode may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Questions that are not answered yet. A session has three slots at most.
const MAX_ASKED: usize = 1_024;

/// What came of asking for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotOutcome {
    /// There is one.
    Granted {
        /// The relay.
        relay: NodeId,
        /// What it has shown of whose node it is.
        credential: Option<Box<SignedCredential>>,
        /// The slot.
        grant: Box<SlotGrant>,
    },
    /// The supernode that was asked gives none.
    Refused(NodeId, SlotRefusal),
    /// There is no supernode to ask, besides those that need not be.
    NobodyToAsk,
}

/// Questions of this node that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Asked {
    open: BTreeMap<u64, (NodeId, Instant)>,
}

impl Asked {
    fn begin(&mut self, number: u64, of: NodeId, now: Instant) -> bool {
        let room = self.open.len() < MAX_ASKED;
        if room {
            self.open.insert(number, (of, now + PATIENCE));
        }
        room
    }

    fn end(&mut self, number: u64, of: &NodeId) -> bool {
        let asked = self.open.get(&number).is_some_and(|(asked, _)| asked == of);
        if asked {
            self.open.remove(&number);
        }
        asked
    }

    pub(super) fn tidy(&mut self, now: Instant) {
        self.open.retain(|_, (_, until)| now < *until);
    }
}

impl Overlay {
    /// The user wants a slot of a relay besides these. This node itself is none for its own
    /// sessions: a supernode can be reached directly.
    pub(crate) fn on_user_ask_slot(&mut self, ask: u64, besides: &[NodeId], nth: usize, now: Now) {
        let near = self.near_supernodes(now);
        let Some(relay) = near.into_iter().filter(|node| !besides.contains(node)).nth(nth) else {
            return give(&mut self.core, ask, SlotOutcome::NobodyToAsk);
        };
        if !self.sessions.asked.begin(ask, relay, now.instant) {
            self.core.counters.slots_over_limit += 1;
            return give(&mut self.core, ask, SlotOutcome::NobodyToAsk);
        }
        self.core.outputs.push_back(Output::SlotAsked { ask, relay });
        self.core.send(relay, AskSlot { number: ask });
    }

    /// Where a supernode is that this node knows by itself: the login service has named it, or it has
    /// shown its credential. What a peer says of a relay is no more than hearsay.
    pub fn vouched_supernode(&self, node: &NodeId) -> Option<Vec<SocketAddr>> {
        self.core.known.vouched_addresses(node)
    }

    /// The supernodes that this node is linked with, those first that it would ask first: its parent,
    /// its standby, and neighbours by their round trip.
    pub fn near_supernodes(&self, now: Now) -> Vec<NodeId> {
        let tied = [self.join.parent(), self.join.standby()];
        let mut near: Vec<NodeId> = tied.into_iter().flatten().collect();
        let mut others: Vec<(Duration, NodeId)> = self
            .neighbours
            .linked()
            .filter_map(|node| Some((self.core.peers.get(&node)?.rtt, node)))
            .collect();
        others.sort_unstable();
        near.extend(others.into_iter().map(|(_, node)| node));
        near.retain(|node| self.core.is_member_super(node, now.unix));
        near
    }

    /// A peer wants a slot.
    pub(crate) fn on_ask_slot(&mut self, peer: NodeId, ask: AskSlot, now: Now) {
        let number = ask.number;
        let name =
            self.core.peers.get(&peer).and_then(|known| {
                Some(known.valid_credential(now.unix)?.unverified().name.clone())
            });
        let refusal = match name {
            _ if !self.may_ask(&peer, now) => SlotRefusal::TooFast,
            _ if self.core.role != Role::Super => SlotRefusal::OptedOut,
            None => SlotRefusal::NoCredential,
            Some(name) => {
                let asker = peer;
                self.core.outputs.push_back(Output::GrantSlot { asker, number, name });
                return;
            }
        };
        self.core.counters.slots_refused += 1;
        self.core.send(peer, SlotReply { number, outcome: Err(refusal) });
    }

    /// A slot of the user's is needed no more. A relay that is not linked any more takes it back for
    /// want of use.
    pub(crate) fn on_user_release(&mut self, relay: NodeId, slot: u64) {
        if self.core.peers.contains_key(&relay) {
            self.core.send(relay, ReleaseSlot { slot });
        }
    }

    /// A peer gives a slot back.
    pub(crate) fn on_release(&mut self, peer: NodeId, release: ReleaseSlot, now: Now) {
        let known = self.core.peers.get(&peer);
        let credential = known.and_then(|known| known.valid_credential(now.unix));
        let Some(name) = credential.map(|credential| credential.unverified().name.clone()) else {
            self.core.counters.session_messages_unasked += 1;
            return;
        };
        if self.core.budgets.take_release(&peer, now.instant) {
            let slot = release.slot;
            self.core.outputs.push_back(Output::ReleaseSlot { slot, name });
        } else {
            self.core.counters.requests_over_budget += 1;
        }
    }

    /// What the relay of this machine says to [`Output::GrantSlot`].
    pub(crate) fn on_slot_granted(
        &mut self,
        asker: NodeId,
        number: u64,
        outcome: Result<SlotGrant, SlotRefusal>,
        now: Now,
    ) {
        let core = &mut self.core;
        let addresses = BoundedVec::truncated(core.own_addresses());
        let outcome = outcome.map(|grant| SlotGrant { addresses, ..grant });
        let counter = if outcome.is_ok() {
            core.budgets.slot_granted(&asker, now.instant);
            &mut core.counters.slots_granted
        } else {
            &mut core.counters.slots_refused
        };
        *counter += 1;
        core.send(asker, SlotReply { number, outcome });
    }

    /// A supernode answers.
    pub(crate) fn on_slot_reply(&mut self, peer: NodeId, reply: SlotReply) {
        if !self.sessions.asked.end(reply.number, &peer) {
            self.core.counters.session_messages_unasked += 1;
            return;
        }
        let outcome = match reply.outcome {
            Ok(grant) => {
                let known = self.core.peers.get(&peer).and_then(|peer| peer.hello.as_ref());
                let credential = known.and_then(|hello| hello.credential.clone()).map(Box::new);
                SlotOutcome::Granted { relay: peer, credential, grant: Box::new(grant) }
            }
            Err(refusal) => SlotOutcome::Refused(peer, refusal),
        };
        give(&mut self.core, reply.number, outcome);
    }
}

fn give(core: &mut Core, ask: u64, outcome: SlotOutcome) {
    core.outputs.push_back(Output::Slot { ask, outcome });
}
