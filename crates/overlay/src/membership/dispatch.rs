//! How the gossip among supernodes is driven: what comes in, what is due, what goes out.

use super::Membership;
use super::doubts::Step;
use super::epidemic::{Letter, Pace};
use super::judge::Verdict;
use crate::budget::Ask;
use crate::core::{Core, earlier};
use crate::hashed::HashMap;
use crate::io::Now;
use crate::overlay::Overlay;
use crate::peers::Peer;
use rand::RngExt;
use rand::seq::IndexedRandom;
use skein_proto::membership::{Gossip, SupernodeState};
use skein_proto::supernode::Load;
use skein_proto::{BoundedVec, Instant, Message, NodeId, Role};

/// Neighbours that are told when this supernode leaves; they tell the others.
const FAREWELLS: usize = 8;

impl Overlay {
    /// A message of the epidemic. It is taken from neighbours only: they are supernodes that this
    /// one has agreed with. But whoever was one may say itself that it is none any more.
    pub(crate) fn on_gossip(&mut self, peer: NodeId, message: Message, now: Now) {
        let is_among_supers =
            self.neighbours.is_linked(&peer) && self.core.is_member_super(&peer, now.unix);
        if !is_among_supers && !self.is_farewell_of(&peer, &message) {
            self.core.counters.gossip_unasked += 1;
            return;
        }
        let asks = !matches!(message, Message::Gossip(_));
        if asks && !self.core.budgets.take(&peer, Ask::Gossip, now.instant) {
            self.core.counters.gossip_over_budget += 1;
            return;
        }
        let core = &mut self.core;
        let epidemic = &mut core.membership.epidemic;
        let letters = match message {
            Message::Gossip(gossip) => {
                if !core.on_rumours(peer, gossip, now) {
                    self.misbehaved(peer, now);
                }
                return;
            }
            Message::GossipOffer(offer) => {
                epidemic.on_offer(peer, &offer, now.instant);
                return;
            }
            Message::GossipWant(want) => epidemic.on_want(peer, &want),
            Message::GossipDigest(digest) => epidemic.on_digest(peer, &digest, &mut core.rng),
            Message::GossipInventory(inventory) => {
                epidemic.on_inventory(peer, &inventory, now.instant)
            }
            _ => return,
        };
        core.post(letters);
    }

    /// Does what is due in the membership of a supernode.
    pub(crate) fn step_membership(&mut self, load: Load, now: Now) {
        self.core.announce_if_due(load, now);
        if !self.core.membership.is_due(now.instant) {
            return;
        }
        let neighbours: Vec<NodeId> = self.neighbours.linked().collect();
        self.core.settle_doubts(neighbours.len(), now);
        let core = &mut self.core;
        let letters = core.membership.epidemic.step(&neighbours, &mut core.rng, now.instant);
        core.counters.gossip_over_limit = core.membership.epidemic.over_limit;
        core.post(letters);
    }

    /// Whether a peer that counts as a supernode says that it is going, and nothing else.
    fn is_farewell_of(&self, peer: &NodeId, message: &Message) -> bool {
        let Message::Gossip(gossip) = message else { return false };
        let [rumour] = &gossip.rumours[..] else { return false };
        let is_own = rumour
            .record()
            .is_some_and(|record| record.node == *peer && record.state == SupernodeState::Leaving);
        is_own && self.core.role == Role::Super && self.core.membership.get(peer).is_some()
    }

    /// Says to a new parent that this node is no supernode any more. Those that were told when it
    /// stepped down may not have heard it: the links are closed behind it, and where the line is
    /// busy a new link with the same supernode is there before what was sent over the old one.
    pub(crate) fn repeat_farewell(&mut self, parent: NodeId) {
        if let Some(rumour) = self.core.membership.farewell.take() {
            self.core.send(parent, Gossip { rumours: BoundedVec::truncated([rumour]) });
        }
    }

    /// This node is about to be no supernode any more: some neighbours are told, who tell the rest.
    pub(crate) fn bid_farewell(&mut self, now: Now) {
        if self.core.role != Role::Super {
            return;
        }
        self.core.membership.announcer.set_state(SupernodeState::Leaving, now.instant);
        let load = self.load();
        if let Some(rumour) = self.core.announcement(load, now) {
            let linked: Vec<NodeId> = self.neighbours.linked().collect();
            let told: Vec<NodeId> = linked.sample(&mut self.core.rng, FAREWELLS).copied().collect();
            for node in told {
                let rumours = BoundedVec::truncated([rumour.clone()]);
                self.core.send(node, Gossip { rumours });
            }
            self.core.membership.farewell = Some(rumour);
        }
        self.core.membership.clear();
    }
}

impl Core {
    fn post(&mut self, letters: Vec<Letter>) {
        for (peer, message) in letters {
            self.send(peer, message);
        }
    }

    /// Takes in rumours. Answers whether they were by the rules.
    fn on_rumours(&mut self, peer: NodeId, gossip: Gossip, now: Now) -> bool {
        for rumour in gossip.rumours {
            let login_key = &self.config.login_key;
            let verdict = self.membership.hear(rumour, peer, login_key, &mut self.counters, now);
            match verdict {
                Verdict::Forged => return false,
                Verdict::Useless if !self.budgets.take(&peer, Ask::Useless, now.instant) => {
                    self.counters.gossip_over_budget += 1;
                    return true;
                }
                _ => {}
            }
        }
        true
    }

    fn announce_if_due(&mut self, load: Load, now: Now) {
        let announcer = &mut self.membership.announcer;
        if announcer.is_due(now.instant)
            && let Some(rumour) = self.announcement(load, now)
        {
            let pace = self.membership.own_pace(&rumour);
            self.membership.admit(rumour, None, pace);
        }
    }

    /// This supernode's word about itself; none while it has no credential or knows no address of
    /// its own.
    fn announcement(&mut self, load: Load, now: Now) -> Option<skein_proto::Rumour> {
        let addresses = self.own_addresses();
        let members = self.membership.len();
        let announcer = &mut self.membership.announcer;
        let credential = self
            .credential
            .as_ref()
            .filter(|credential| now.unix < credential.unverified().expires);
        let Some(credential) = credential.filter(|_| !addresses.is_empty()) else {
            announcer.put_off(now.instant);
            return None;
        };
        let (instant, unix) = (now.instant, now.unix);
        Some(announcer.announce(
            (&self.key, credential),
            (load, &addresses),
            members,
            (instant, unix),
            &mut self.rng,
        ))
    }

    /// Looks whether what this supernode said of itself still holds.
    pub(crate) fn review_announcement(&mut self, load: Load) {
        let addresses = self.own_addresses();
        let members = self.membership.len();
        self.membership.announcer.review(load, &addresses, members);
    }

    fn settle_doubts(&mut self, links: usize, now: Now) {
        let peers = &self.peers;
        // One that is there as an ordinary node is no supernode.
        let is_linked = |node: &NodeId| role(peers, node) == Some(Role::Super);
        let steps = self.membership.doubts.step(links, is_linked, now.instant);
        for step in steps {
            match step {
                Step::Dial(node) if role(&self.peers, &node) == Some(Role::Ordinary) => {
                    self.membership.lay_to_rest(&node, now.instant);
                }
                Step::Dial(node) => {
                    if let Some(addresses) = self.membership.addresses(&node) {
                        self.dial(node, addresses);
                    }
                }
                Step::Testify(node, version) => {
                    self.counters.suspicions_told += 1;
                    let name = self.credential.as_ref().map(|own| own.unverified().name.clone());
                    if let Some(name) = name {
                        self.membership.testify(node, version, (&self.key, name), now);
                    }
                }
                Step::Bury(node, version) => {
                    let present = self.membership.get(&node);
                    if present.is_some_and(|member| member.issued.0 == version) {
                        self.counters.members_dead += 1;
                        self.membership.lay_to_rest(&node, now.instant);
                    }
                }
            }
        }
    }

    /// The link with a neighbour broke without a goodbye.
    pub(crate) fn doubt_lost(&mut self, node: NodeId, now: Now) {
        if let Some(version) = self.membership.get(&node).map(|member| member.issued.0) {
            let jitter = self.rng.random();
            self.membership.doubts.on_neighbour_lost(node, version, jitter, now.instant);
        }
    }

    /// One that was a supernode greets as an ordinary node.
    pub(crate) fn doubt_renounced(&mut self, node: NodeId, now: Now) {
        if let Some(version) = self.membership.get(&node).map(|member| member.issued.0) {
            let jitter = self.rng.random();
            self.membership.doubts.on_renounced(node, version, jitter, now.instant);
        }
    }

    /// A dial failed.
    pub(crate) fn doubt_unreached(&mut self, node: NodeId, now: Now) {
        if self.peers.contains_key(&node) {
            return;
        }
        let known = self.membership.get(&node);
        if let Some(of) = known.map(|member| (member.issued.0, member.load.neighbours)) {
            let jitter = self.rng.random();
            if self.membership.doubts.on_dial_failed(node, of, jitter, now.instant) {
                self.counters.members_dead += 1;
                self.membership.lay_to_rest(&node, now.instant);
            }
        }
    }
}

/// What a linked node says that it is.
fn role(peers: &HashMap<NodeId, Box<Peer>>, node: &NodeId) -> Option<Role> {
    Some(peers.get(node)?.hello.as_ref()?.role)
}

impl Membership {
    fn own_pace(&self, rumour: &skein_proto::Rumour) -> Pace {
        let before = self.rumour(&self.me.1).and_then(skein_proto::Rumour::record);
        let same = before.map(|record| record.state) == rumour.record().map(|record| record.state);
        if same && !self.announcer.is_urgent() { Pace::Slow } else { Pace::Fast }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.epidemic.is_due(now) || self.doubts.next_wakeup().is_some_and(|at| now >= at)
    }

    /// When a supernode has something to do next.
    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        let wake = earlier(self.epidemic.next_wakeup(), self.doubts.next_wakeup());
        earlier(wake, Some(self.announcer.next_wakeup()))
    }
}
