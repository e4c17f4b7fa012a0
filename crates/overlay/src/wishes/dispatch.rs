//! How wishes travel: from a child to its parent, from there to everybody, and the hits back.

use crate::branch::retain_sound;
use crate::budget::Ask;
use crate::io::Now;
use crate::membership::Pace;
use crate::overlay::Overlay;
use crate::wishes::Push;
use skein_proto::message::Bond;
use skein_proto::rumour::News;
use skein_proto::wish::{StandingQuery, WishHit, WishUpdate};
use skein_proto::{
    BoundedVec, FileMeta, HitGroup, Message, NodeId, QueryId, Role, Rumour, Username,
};

/// How often a hit is sent on to another supernode.
const HOPS: u8 = 2;

impl Overlay {
    /// Whoever hands in this node's wishes.
    pub(crate) fn wish_parent(&self) -> Option<NodeId> {
        match self.core.role {
            Role::Super => Some(self.core.me),
            Role::Ordinary => self.join.parent(),
        }
    }

    /// Says what is to be said of this node's own wishes, and delivers what waited.
    pub(crate) fn step_wishes(&mut self, now: Now) {
        let parent = self.wish_parent();
        for standing in self.own_wishes.step(&self.core, parent, now) {
            match parent {
                Some(parent) if parent != self.core.me => {
                    self.core.send(parent, WishUpdate { standing });
                }
                _ => self.spread_wish(standing, now),
            }
        }
        if self.core.role == Role::Super {
            for hit in self.core.membership.wishes.take_ready() {
                self.route_wish_hit(WishHit { hops_left: HOPS, ..hit }, now);
            }
            self.look_for_wishes(now);
        }
    }

    /// A message could not be delivered: if it is a hit, it waits for the wisher.
    pub(crate) fn on_wish_failed(&mut self, message: Message, now: Now) {
        if let Message::WishHit(hit) = message {
            self.keep_wish_hit(hit, now);
        }
    }

    fn keep_wish_hit(&mut self, hit: WishHit, now: Now) {
        if !self.core.membership.wishes.keep(hit, now) {
            self.core.counters.wish_hits_undelivered += 1;
        }
    }

    fn spread_wish(&mut self, standing: StandingQuery, now: Now) {
        if !self.core.membership.wishes.would_take(&standing, now) {
            self.core.counters.wishes_refused += 1;
            return;
        }
        self.core.counters.wishes_taken += 1;
        let rumour = Rumour::new(News::Wish(standing));
        let counters = &mut self.core.counters;
        self.core.membership.admit_wish(rumour, (None, Pace::Fast), counters, now);
    }

    /// A child makes a wish known. Answers whether that was by the rules.
    #[must_use]
    pub(crate) fn on_wish_update(&mut self, peer: NodeId, update: WishUpdate, now: Now) -> bool {
        let wish = update.standing.wish.unverified();
        let is_child = self.children.bond(&peer) == Some(Bond::Active);
        let is_its_own = wish.owner == peer && wish.parent == self.core.me;
        if !is_child || !is_its_own || !self.core.budgets.take(&peer, Ask::Wish, now.instant) {
            self.core.counters.wishes_refused += 1;
            return true;
        }
        if self.core.membership.wishes.says_nothing_new(&update.standing) {
            self.core.counters.wishes_repeated += 1;
            return true;
        }
        if update.standing.expires() <= now.unix {
            self.core.counters.wishes_refused += 1;
            return true;
        }
        if update.standing.check_signatures(&self.core.config.login_key).is_err() {
            return false;
        }
        self.spread_wish(update.standing, now);
        true
    }

    /// Files were published: whoever wished for one of them is told.
    pub(crate) fn push_matches(
        &mut self,
        owner: NodeId,
        found: Vec<(FileMeta, NodeId, QueryId)>,
        now: Now,
    ) {
        let Some(owner) = self.children.owner(&self.core, owner, now) else { return };
        for (file, wisher, id) in found {
            if wisher == owner.node {
                continue;
            }
            let sender = owner.credential.unverified().name.clone();
            let owner = owner.clone();
            self.push(WishHit { id, wisher, hops_left: HOPS, owner, file }, &sender, now);
        }
    }

    /// The files among these that somebody wishes for.
    pub(crate) fn wished_for(
        &self,
        owner: &NodeId,
        files: &[FileMeta],
    ) -> Vec<(FileMeta, NodeId, QueryId)> {
        let name = if *owner == self.core.me {
            self.core.credential.as_ref().map(|credential| &credential.unverified().name)
        } else {
            self.core.peers.get(owner).and_then(|peer| peer.name())
        };
        let Some(name) = name else { return Vec::new() };
        let found = self.core.membership.wishes.matches(files, name).into_iter();
        found
            .filter_map(|(file, wisher, id)| Some((files.get(file)?.clone(), wisher, id)))
            .collect()
    }

    /// Sends a hit on that this sender has, if it may and did not do so a moment ago.
    fn push(&mut self, hit: WishHit, sender: &Username, now: Now) {
        let wish = (&hit.wisher, &hit.id);
        match self.core.membership.wishes.may_push(wish, &hit.file.content, sender, now) {
            Push::Granted => self.route_wish_hit(hit, now),
            Push::Repeated => self.core.counters.wish_hits_repeated += 1,
            Push::OverBudget => self.core.counters.wish_hits_over_budget += 1,
        }
    }

    /// Sends a hit on to where the wisher is.
    fn route_wish_hit(&mut self, mut hit: WishHit, now: Now) {
        let Some((parent, _)) = self.core.membership.wishes.find(&hit.wisher, &hit.id) else {
            self.core.counters.wish_hits_unasked += 1;
            return;
        };
        if hit.wisher == self.core.me {
            // It was made here, or checked when it came.
            let _ = self.own_wishes.on_hit(&mut self.core, hit, now);
        } else if self.children.bond(&hit.wisher) == Some(Bond::Active) {
            self.keep_wish_hit(hit.clone(), now);
            self.core.send(hit.wisher, hit);
        } else if parent == self.core.me || hit.hops_left == 0 {
            self.keep_wish_hit(hit, now);
        } else {
            self.keep_wish_hit(hit.clone(), now);
            hit.hops_left -= 1;
            self.core.deliver(parent, hit, now);
        }
    }

    /// A hit arrives. Answers whether it was by the rules.
    #[must_use]
    pub(crate) fn on_wish_hit(&mut self, peer: NodeId, hit: WishHit, now: Now) -> bool {
        if self.core.role == Role::Ordinary {
            if self.join.parent() != Some(peer) {
                self.core.counters.wish_hits_unasked += 1;
                return true;
            }
            return self.own_wishes.on_hit(&mut self.core, hit, now);
        }
        let granted = self.core.budgets.take(&peer, Ask::Flood, now.instant);
        // Whoever only says of itself that it is a supernode has nobody's files.
        let is_known =
            self.core.membership.get(&peer).is_some() || self.neighbours.is_linked(&peer);
        if !granted || !is_known || !self.core.is_member_super(&peer, now.unix) {
            self.core.counters.wish_hits_unasked += 1;
            return true;
        }
        let found = self.core.membership.wishes.find(&hit.wisher, &hit.id);
        let Some(parsed) = found.map(|(_, parsed)| parsed.clone()) else {
            self.core.counters.wish_hits_unasked += 1;
            return true;
        };
        let files = BoundedVec::truncated([hit.file.clone()]);
        let mut groups = vec![HitGroup { owner: hit.owner.clone(), files }];
        let matches = |file: &_, owner: &_| parsed.matches(file, owner);
        let honest = retain_sound(&mut self.core, matches, &mut groups, now);
        if groups.is_empty() {
            return honest;
        }
        // What others push counts as what is pushed from here does: the wisher has one attention.
        if let Some(sender) = self.core.peers.get(&peer).and_then(|peer| peer.name()).cloned() {
            self.push(WishHit { hops_left: hit.hops_left.min(HOPS), ..hit }, &sender, now);
        }
        honest
    }
}
