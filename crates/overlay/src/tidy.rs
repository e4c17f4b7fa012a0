//! What a node does from time to time: it hangs up on links without a use, and leaves ties that
//! are no good any more.

use crate::io::{Now, Output};
use crate::overlay::Overlay;
use skein_proto::message::PartingReason;
use skein_proto::{NodeId, Role};
use std::time::Duration;

/// How often a node tidies up: hangs up on links without a use, checks its children's credentials.
pub(crate) const TIDY: Duration = Duration::from_secs(5);

/// The same for an ordinary node that has no links but those with its parent and its standby, and
/// has told its parent all: nothing that it could find is urgent, and most nodes of a network are
/// such ones.
const CALM_TIDY: Duration = Duration::from_secs(60);

/// How old a link without a use may grow: old enough for both sides to find a use for it. One that
/// has lost its use later is closed at the next tidying.
const IDLE_LINK: Duration = Duration::from_secs(20);

/// How often at most a node has the supernodes that it knows kept for its next start: it hears of
/// others all the time.
const REMEMBER: Duration = Duration::from_secs(60);

impl Overlay {
    /// Does what is to be done from time to time.
    pub(crate) fn tidy(&mut self, now: Now) {
        let calm = self.core.role == Role::Ordinary
            && self.core.peers.len() <= 2
            && self.publisher.is_complete();
        self.next_tidy = now.instant + if calm { CALM_TIDY } else { TIDY };
        if calm {
            // Nobody is about to show one again that was met on the way here.
            self.core.credentials.clear();
        }
        self.core.budgets.tidy(now.instant);
        self.allowances.tidy(now.instant);
        self.core.courier.tidy(now.instant);
        self.sessions.tidy(now.instant);
        if self.core.role == Role::Super {
            let load = self.load();
            self.core.membership.sweep(now);
            self.core.review_announcement(load);
        }
        self.tend_reputations(now);
        self.children.expire(&mut self.core, now.unix);
        if self.has_leftovers() {
            self.clear_leftovers();
        }
        self.tidy_directory(now);
        self.expire_ties(now);
        self.close_idle_links(now);
        self.core.release_room();
        let too_soon = self.remembered.is_some_and(|at| now.instant < at + REMEMBER);
        if !too_soon && self.core.known.take_changed() {
            self.remembered = Some(now.instant);
            let remembered = self.core.known.to_remember();
            self.core.outputs.push_back(Output::RememberSupernodes(remembered));
        }
    }

    /// Hangs up on those that there is no use for.
    fn close_idle_links(&mut self, now: Now) {
        // Every child and every neighbour is linked. Where there are no other links all are of use.
        if self.core.role == Role::Super
            && self.core.peers.len() == self.children.count() + self.neighbours.count()
        {
            return;
        }
        let mut idle: Vec<NodeId> = self
            .core
            .peers
            .iter()
            .filter(|(node, peer)| {
                now.instant.since(peer.since) >= IDLE_LINK
                    && self.children.bond(node).is_none()
                    && !self.join.uses(node)
                    && !self.neighbours.uses(node)
                    && !self.core.courier.used_lately(node, now.instant)
            })
            .map(|(node, _)| *node)
            .collect();
        idle.sort_unstable();
        for node in idle {
            self.core.counters.links_idle += 1;
            self.core.hang_up(node, PartingReason::Moved);
        }
    }

    /// Leaves the supernodes that are no good any more: those whose credential ran out, and a
    /// parent that takes nothing in.
    fn expire_ties(&mut self, now: Now) {
        for neighbour in self.neighbours.unfit(&self.core, now.unix) {
            self.core.counters.ties_expired += 1;
            self.let_go(neighbour, PartingReason::CredentialExpired, now);
        }
        for node in self.join.unfit(&self.core, now.unix) {
            self.core.counters.ties_expired += 1;
            let reason = PartingReason::CredentialExpired;
            let change = self.join.leave(&mut self.core, node, reason, now);
            self.on_parent_change(change, now);
        }
        if self.publisher.is_stuck(now.instant)
            && let Some(parent) = self.join.parent()
        {
            self.core.counters.parents_timed_out += 1;
            let change = self.join.leave(&mut self.core, parent, PartingReason::Moved, now);
            self.on_parent_change(change, now);
        }
    }
}
