//! Who may have one of the places for neighbours.
//!
//! All that a supernode hears of others comes from its neighbours, so nobody may come to hold all of
//! the places. Whoever is in the view counts against the supernodes that its name may own there; a
//! newcomer, which cannot be in the view before somebody has heard it, has one of a few places
//! until the next newcomer needs it.

use super::{Neighbours, State};
use crate::core::{Core, INFORMED};
use crate::io::Now;
use crate::variety::Prefix;
use skein_proto::message::Refusal;
use skein_proto::rumour::OwnerNumber;
use skein_proto::supernode::Load;
use skein_proto::{Instant, NodeId, Role};
use std::time::Duration;

/// Neighbours over the limit that are taken when they ask, so that a full network still takes in
/// a new supernode.
const COURTESY_PLACES: usize = 10;

/// Neighbours of one name: of 40, five names in a hundred that are hostile have two as it is, and
/// whoever wants all places needs twenty names.
const MAX_OF_NAME: usize = 2;

/// Places for supernodes that are not in the view.
const NEWCOMERS: usize = 4;

/// How long a newcomer keeps its place at least: its first word reaches a thousand supernodes
/// within five seconds.
const INTRODUCTION: Duration = Duration::from_secs(10);

impl Neighbours {
    /// Whether one who asks for a link is taken; if another one has to make place for it, that one
    /// is given up at the next step.
    pub(super) fn take(
        &mut self,
        core: &Core,
        peer: NodeId,
        load: Load,
        now: Now,
    ) -> Result<Load, Refusal> {
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
        if self.is_linked(&peer) {
            return Ok(load);
        }
        let fits = self.has_room(core) && self.suits(core, &peer) && self.is_welcome(core, &peer);
        if !fits || !self.may_be_introduced(core, &peer, now.instant) {
            return Err(Refusal::Full);
        }
        Ok(load)
    }

    /// Whether not too many neighbours share the prefix of this one; twice as many may as are looked
    /// for, since it is not for this node to choose who asks.
    fn suits(&self, core: &Core, peer: &NodeId) -> bool {
        let Some(cap) = self.prefix_cap else { return true };
        let prefix = |node: &NodeId| core.peers.get(node).map(|peer| Prefix::of(&peer.address));
        let own = prefix(peer);
        self.linked().filter(|node| prefix(node) == own).count() < 2 * cap
    }

    pub(super) fn has_room(&self, core: &Core) -> bool {
        self.count() < core.config.max_neighbours + COURTESY_PLACES
    }

    /// Whether one more of the name of this peer may be a neighbour.
    pub(super) fn is_welcome(&self, core: &Core, peer: &NodeId) -> bool {
        let owner = core.peers.get(peer).and_then(|peer| peer.owner());
        owner.is_none_or(|owner| self.is_owner_welcome(core, owner))
    }

    /// Whether one more of this name may be a neighbour. Where few supernodes are known all of them
    /// may be one person's, who needs all links that there are.
    pub(super) fn is_owner_welcome(&self, core: &Core, owner: OwnerNumber) -> bool {
        let is_same = |node: &NodeId| {
            core.peers.get(node).and_then(|peer| peer.owner()).is_some_and(|other| other == owner)
        };
        core.membership.len() < INFORMED || self.linked().filter(is_same).count() < MAX_OF_NAME
    }

    /// Whether this peer is in the view, or there is a place for one that is not.
    fn may_be_introduced(&mut self, core: &Core, peer: &NodeId, now: Instant) -> bool {
        let is_known = |node: &NodeId| core.membership.get(node).is_some();
        if core.membership.len() < INFORMED || is_known(peer) {
            return true;
        }
        let newcomers = self.states.iter().filter_map(|(node, state)| match state {
            State::Linked { since, .. } if !is_known(node) => Some((*since, *node)),
            State::Linked { .. } | State::Asked { .. } => None,
        });
        let (mut count, mut oldest) = (0, None);
        for newcomer in newcomers {
            count += 1;
            oldest = Some(oldest.map_or(newcomer, |oldest| newcomer.min(oldest)));
        }
        if count < NEWCOMERS {
            return true;
        }
        // One that was given its place for long enough and is still in nobody's view goes.
        let Some((since, node)) = oldest.filter(|_| self.displaced.is_none()) else { return false };
        let is_over = now.since(since) >= INTRODUCTION;
        if is_over {
            self.displaced = Some(node);
            self.next_review = self.next_review.min(now);
        }
        is_over
    }
}
