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

/// How long a node waits at first before it has the supernodes that it knows kept once more for its next
/// start, twice as long each time, and at most: it hears of others all the time, and most of what was kept
/// a while ago is as good. One that ends has them kept as they are then.
pub(crate) const REMEMBER: Duration = Duration::from_secs(60);
const REMEMBER_AT_MOST: Duration = Duration::from_secs(8 * 60);

/// A supernode's links that are neither a child's nor a neighbour's, as of the last look at all
/// links, and those made since. While no tie has ended there are no others to be closed, and a
/// supernode has some hundred links that are tied.
#[derive(Debug)]
pub(crate) struct Loose(Vec<NodeId>);

impl Overlay {
    /// A link was made, which is tied to nothing yet.
    pub(crate) fn note_link(&mut self, peer: NodeId) {
        let links = self.core.peers.len();
        match &mut self.loose {
            Some(loose) if loose.0.len() < links => loose.0.push(peer),
            // Links that come and go all the time: the next look is at all that there are by then.
            _ => self.loose = None,
        }
    }

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
        if now.instant >= self.next_remember && self.core.known.take_changed() {
            self.next_remember = now.instant + self.remember_pause;
            self.remember_pause = (self.remember_pause * 2).min(REMEMBER_AT_MOST);
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
        let untied = self.children.take_untied() | self.neighbours.take_untied();
        let known = self.loose.take().filter(|_| !untied);
        let is_loose = |node: &NodeId| {
            self.core.peers.contains_key(node)
                && self.children.bond(node).is_none()
                && !self.neighbours.uses(node)
        };
        let mut loose: Vec<NodeId> = match known {
            Some(loose) => loose.0.into_iter().filter(is_loose).collect(),
            None => self.core.peers.keys().copied().filter(is_loose).collect(),
        };
        loose.sort_unstable();
        loose.dedup();
        for node in &loose {
            let since = self.core.peers.get(node).map(|peer| peer.since);
            if since.is_some_and(|since| now.instant.since(since) >= IDLE_LINK)
                && !self.join.uses(node)
                && !self.core.courier.used_lately(node, now.instant)
            {
                self.core.counters.links_idle += 1;
                self.core.hang_up(*node, PartingReason::Moved);
            }
        }
        if self.core.role == Role::Super {
            self.loose = Some(Box::new(Loose(loose)));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::config::Config;
    use crate::peers::Greeting;
    use skein_proto::message::{Attach, Bond, RoleSetting};
    use skein_proto::{Credential, Instant, KeyPair, Signed, UnixTime, Username};

    #[test]
    fn a_link_that_has_lost_its_use_is_closed_and_so_is_one_made_since() {
        let login = KeyPair::from_seed(&[1; 32]);
        let at = |secs| Now {
            instant: Instant::START + Duration::from_secs(secs),
            unix: UnixTime(1_000 + secs),
        };
        let config = Config::new(login.node_id()).role(RoleSetting::Super);
        let mut overlay = Overlay::new(KeyPair::from_seed(&[2; 32]), config, [3; 32], at(0));
        let link = |overlay: &mut Overlay, number: u8, secs| {
            let node = NodeId::from_bytes([number; 32]);
            let name = Username::parse(&format!("node{number}")).expect("a name");
            let (issued, expires) = (UnixTime(0), UnixTime(1 << 40));
            let credential = Credential { name, node, issued, expires, registered: issued };
            let credential = Some(Signed::new(credential, &login));
            let (agent, role, listen) = (String::new(), Role::Ordinary, Vec::new());
            let owner = None;
            overlay.on_link_up(node, ([192, 0, 2, number], 1).into(), Duration::ZERO, at(secs));
            let peer = overlay.core.peers.get_mut(&node).expect("it was linked");
            peer.hello = Some(Greeting { agent, role, credential, owner, listen });
            node
        };
        let hung_up = |overlay: &mut Overlay, secs| {
            overlay.core.outputs.clear();
            overlay.close_idle_links(at(secs));
            let hung_up = overlay.core.outputs.iter().filter_map(|output| match output {
                Output::HangUp { peer, .. } => Some(*peer),
                _ => None,
            });
            hung_up.collect::<Vec<_>>()
        };
        let (child, stranger) = (link(&mut overlay, 4, 0), link(&mut overlay, 5, 0));
        let attach = Attach { bond: Bond::Active };
        overlay.children.on_attach(&mut overlay.core, child, attach, at(0));
        assert_eq!(overlay.children.count(), 1);

        assert_eq!(hung_up(&mut overlay, 10), []);
        assert_eq!(hung_up(&mut overlay, 21), [stranger]);
        overlay.on_link_down(stranger, at(22));
        let late = link(&mut overlay, 6, 23);
        assert_eq!(hung_up(&mut overlay, 30), []);
        assert_eq!(hung_up(&mut overlay, 43), [late]);
        overlay.children.remove(&child);
        assert_eq!(hung_up(&mut overlay, 44), [child, late]);
    }
}
