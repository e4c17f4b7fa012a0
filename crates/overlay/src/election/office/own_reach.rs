//! Whether a supernode can be reached itself: it asks neighbours to find out, one after the other.

use super::Office;
use crate::election::RoleReason;
use crate::io::Now;
use crate::overlay::Overlay;
use rand::seq::IteratorRandom;
use skein_proto::election::{Candidacy, Standing, Verdict};
use skein_proto::message::RoleSetting;
use skein_proto::{Instant, NodeId, Username};
use std::collections::BTreeSet;
use std::time::Duration;

/// How often a supernode has it checked that it can still be reached; soon after it has begun, and
/// again soon when it could not.
pub(super) const CHECK: Duration = Duration::from_secs(4 * 60 * 60);
pub(super) const FIRST_CHECK: Duration = Duration::from_secs(60);
const SECOND_CHECK: Duration = Duration::from_secs(5 * 60);

/// Verdicts in a row after which a supernode is taken to be out of reach, of neighbours of distinct
/// names as far as there are so many: neighbours are drawn at random, and where a tenth of them lie
/// one in a thousand supernodes hears three liars.
const VERDICTS: usize = 3;

/// Verdicts that are kept in mind.
const MAX_VERDICTS: usize = 16;

/// What a supernode knows of its own reachability by the last verdict of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnReach {
    Unknown,
    Reached,
    Lost { failed: u8, tried: u8 },
}

impl Office {
    /// What a neighbour of this name found out about this supernode itself, where so many names are
    /// among the neighbours.
    pub(super) fn on_own_standing(
        &mut self,
        (peer, name): (NodeId, &Username),
        standing: &Standing,
        names: usize,
        now: Instant,
    ) -> OwnReach {
        if self.check_asked != Some(peer) {
            return OwnReach::Unknown;
        }
        self.check_asked = None;
        let Verdict::Unreachable { failed, tried } = standing.verdict else {
            self.unreached_by.clear();
            return OwnReach::Reached;
        };
        self.unreached_by.push(name.clone());
        self.next_check = now + SECOND_CHECK;
        let distinct: BTreeSet<&Username> = self.unreached_by.iter().collect();
        // One may lie, or ask liars.
        if self.unreached_by.len() < VERDICTS || distinct.len() < VERDICTS.min(names) {
            self.unreached_by.truncate(MAX_VERDICTS);
            return OwnReach::Unknown;
        }
        OwnReach::Lost { failed, tried }
    }
}

impl Overlay {
    /// A neighbour says what it found out about this supernode. Where its user wants it to be one,
    /// it stays one, and says what is wrong.
    pub(in crate::election) fn on_own_standing(
        &mut self,
        peer: NodeId,
        standing: &Standing,
        now: Now,
    ) {
        let names: BTreeSet<&Username> = self
            .neighbours
            .linked()
            .filter_map(|node| self.core.peers.get(&node)?.name())
            .collect();
        let Some(name) = self.core.peers.get(&peer).and_then(|peer| peer.name()) else { return };
        let Some(office) = &mut self.election.office else { return };
        let reach = office.on_own_standing((peer, name), standing, names.len(), now.instant);
        let is_free = self.core.config.role == RoleSetting::Auto;
        match reach {
            OwnReach::Unknown => {}
            OwnReach::Lost { failed, tried } if is_free => {
                office.resign(RoleReason::LostReach { failed, tried }, now.instant);
            }
            OwnReach::Lost { failed, tried } => {
                office.unreached_by.clear();
                office.next_check = now.instant + CHECK;
                let reason = RoleReason::UserWishUnreached { failed, tried };
                self.election.set_reason(reason, now.instant);
            }
            OwnReach::Reached => {
                office.next_check = now.instant + self.core.jitter(CHECK);
                let reason = self.election.reason(now.instant);
                if matches!(reason, RoleReason::UserWishUnreached { .. }) {
                    self.election.set_reason(RoleReason::UserWish, now.instant);
                }
            }
        }
    }

    /// Asks a neighbour from time to time to find out whether this supernode can be reached.
    pub(super) fn check_own_reach(&mut self, office: &mut Office, now: Now) {
        if now.instant < office.next_check {
            return;
        }
        // Whoever has looked for too many lately says nothing; then another one is asked.
        office.next_check = now.instant + self.core.jitter(SECOND_CHECK);
        let last = office.check_asked;
        let core = &mut self.core;
        let others = self.neighbours.linked().filter(|node| Some(*node) != last);
        // Rather one of a name that has not spoken yet.
        let (fresh, rest): (Vec<NodeId>, Vec<NodeId>) = others.partition(|node| {
            let name = core.peers.get(node).and_then(|peer| peer.name());
            name.is_some_and(|name| !office.unreached_by.contains(name))
        });
        let helper = if fresh.is_empty() { rest } else { fresh }.into_iter().choose(&mut core.rng);
        office.check_asked = helper;
        if let Some(helper) = helper {
            let capacity = self.core.config.max_children;
            self.core.send(helper, Candidacy { willing: true, capacity });
        }
    }
}
