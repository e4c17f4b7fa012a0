//! What follows when a link comes up, is greeted over, and goes.

use crate::io::Now;
use crate::join::ParentChange;
use crate::overlay::Overlay;
use crate::peers::{Greeting, Peer};
use crate::snapshot::Relation;
use crate::sources::sources;
use skein_proto::message::{Hello, PartingReason};
use skein_proto::{NodeId, Role};
use std::net::SocketAddr;
use std::time::Duration;

impl Overlay {
    /// A connection is there; who the other side is and what it is comes with its greeting.
    pub(crate) fn on_link_up(
        &mut self,
        peer: NodeId,
        address: SocketAddr,
        rtt: Duration,
        now: Now,
    ) {
        if self.core.peers.contains_key(&peer) {
            self.on_link_down(peer, now);
        }
        let is_full = self.core.peers.len() >= self.core.config.max_links;
        if self.leaving || is_full {
            self.core.counters.links_over_limit += u64::from(is_full);
            self.core.hang_up(peer, PartingReason::Leaving);
            return;
        }
        let entry = Peer { address, rtt, since: now.instant, hello: None };
        self.core.peers.insert(peer, Box::new(entry));
        self.note_link(peer);
        self.core.greet(peer);
        let load = self.load();
        self.join.on_link_up(&mut self.core, peer, now);
        self.neighbours.on_link_up(&mut self.core, peer, load, now);
    }

    /// The other side says what it is.
    pub(crate) fn on_hello(&mut self, peer: NodeId, hello: Hello, now: Now) {
        let observed = hello.observed;
        let credential = hello.credential.clone().filter(|credential| {
            let sound = self.core.credentials.check(credential, &peer, now.unix).is_ok();
            if !sound {
                self.core.counters.credentials_refused += 1;
            }
            sound
        });
        let Some(known) = self.core.peers.get_mut(&peer) else { return };
        // Whoever comes to put a record where it belongs shows a credential, too.
        if self.children.bond(&peer).is_some() {
            self.children.doubt_credentials();
        }
        if self.neighbours.is_linked(&peer) {
            self.neighbours.doubt_credentials();
        }
        let is_super = hello.role == Role::Super;
        // Over one version of IP nobody sees where this node is with the other.
        let sees = observed.is_ipv4() == known.address.is_ipv4();
        let name = credential.as_ref().map(|credential| credential.unverified().name.clone());
        known.hello = Some(Greeting::new(hello, known.address, credential));
        if let Some(name) = &name {
            self.children.rename(peer, name);
            // A stranger must not decide where this node says that it is.
            if sees {
                self.core.observed.add(peer, observed);
            }
        }
        if is_super && name.is_some() {
            // Who dials this node, and what he says that he is, anybody can choose: it proves nothing.
            let chosen = self.join.uses(&peer)
                || self.neighbours.uses(&peer)
                || self.core.courier.awaits(&peer);
            if chosen {
                self.core.proved(&peer, None, now.unix);
            } else {
                self.core.introduced(&peer, now.unix);
            }
            self.core.hand_over_waiting(peer);
            self.on_directory_linked(peer, now);
        } else if !is_super {
            self.core.known.forget(&peer);
        }
        if is_super {
            self.core.membership.doubts.on_greeted(&peer);
        } else if self.core.role == Role::Super {
            self.core.doubt_renounced(peer, now);
        }
    }

    /// The connection is gone without a goodbye.
    pub(crate) fn on_link_down(&mut self, peer: NodeId, now: Now) {
        self.core.peers.remove(&peer);
        self.core.courier.on_lost(&peer);
        if self.children.remove(&peer) {
            self.core.counters.children_lost += 1;
        }
        if self.neighbours.on_link_lost(&mut self.core, &peer, now) {
            self.core.doubt_lost(peer, now);
        }
        self.tables.on_lost(&peer);
        if !self.floods.is_unused() {
            let sources = sources!(self);
            self.floods.on_peer_lost(&mut self.core, &sources, &peer, now);
        }
        let change = self.join.on_link_lost(&mut self.core, peer, now);
        self.on_parent_change(change, now);
    }

    /// Ends the link with a neighbour.
    pub(crate) fn let_go(&mut self, neighbour: NodeId, reason: PartingReason, now: Now) {
        self.core.part(neighbour, reason);
        self.lose_neighbour(&neighbour, now);
    }

    /// This peer is no neighbour any more, by the word of either side.
    pub(crate) fn lose_neighbour(&mut self, peer: &NodeId, now: Now) {
        if self.neighbours.on_link_lost(&mut self.core, peer, now) {
            self.tables.on_lost(peer);
            let sources = sources!(self);
            self.floods.on_peer_lost(&mut self.core, &sources, peer, now);
        }
    }

    /// This peer has broken a rule: its link is ended.
    pub(crate) fn misbehaved(&mut self, peer: NodeId, now: Now) {
        self.core.counters.links_misbehaved += 1;
        self.next_step = Some(now.instant);
        self.core.hang_up(peer, PartingReason::Misbehaved);
        self.lose_neighbour(&peer, now);
        self.on_link_down(peer, now);
    }

    /// What follows from another parent, or none.
    pub(crate) fn on_parent_change(&mut self, change: Option<ParentChange>, now: Now) {
        if change.is_some() {
            self.forget_candidacy();
        }
        match change {
            Some(ParentChange::Gained(parent)) => {
                self.lost_at = self.join.take_lost_at().or(self.lost_at);
                self.begin_with(parent, now);
            }
            Some(ParentChange::Lost(parent)) => {
                self.publisher.stop();
                self.searches.on_parent_lost(parent, now);
                self.on_directory_parent_lost(parent, now);
            }
            Some(ParentChange::Moved { from, to }) => {
                self.publisher.stop();
                self.searches.on_parent_lost(from, now);
                self.on_directory_parent_lost(from, now);
                self.begin_with(to, now);
            }
            None => {}
        }
    }

    /// Says everything to a new parent. Whose child this node is comes first: until the parent can show
    /// that to those who keep the name's budget, it grants next to no searches, and those which the
    /// last parent has left unanswered come all at once.
    fn begin_with(&mut self, parent: NodeId, now: Now) {
        self.repeat_farewell(parent);
        self.on_directory_parent(parent, now);
        self.publisher.start(&mut self.core, parent);
        self.searches.on_parent(&mut self.core, parent, now);
        self.show_evidence(parent);
    }

    /// Whether this peer is a supernode that this node has chosen, or agreed with.
    pub(crate) fn is_above(&self, peer: &NodeId) -> bool {
        matches!(self.relation(peer), Relation::Parent | Relation::Standby | Relation::Neighbour)
    }
}
