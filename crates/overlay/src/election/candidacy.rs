//! What an ordinary node does: it offers itself, is weighed, accepts, and moves when asked to.

use super::RoleReason;
use crate::io::Now;
use crate::overlay::Overlay;
use skein_proto::election::{
    Candidacy, Declined, Invite, InviteReply, Redirect, Standing, Verdict,
};
use skein_proto::message::RoleSetting;
use skein_proto::{NodeId, Role};
use std::time::Duration;

/// How long one that stepped down stays an ordinary node, unless the need is urgent: roles of
/// gtk-gnutella's nodes change half an hour apart at least.
const REST: Duration = Duration::from_secs(30 * 60);

/// From which fill on, in percent, the need is urgent enough for one that has just stepped down.
const URGENT_PERCENT: u8 = 85;

/// How long a supernode that asked for no reason is not believed again. Each of its children stands
/// in for [`super::trial`]'s probation once in that time at most.
const DISTRUST: Duration = Duration::from_secs(24 * 60 * 60);

/// The least time between two moves at a parent's wish.
const MOVE_EVERY: Duration = Duration::from_secs(30);

impl Overlay {
    /// The machine has been measured.
    pub(crate) fn on_capability(&mut self, children: u32, on_battery: bool, now: Now) {
        self.core.config.max_children = self.core.config.children_setting.min(children);
        self.election.on_battery = on_battery;
        let is_free =
            self.core.role == Role::Ordinary && self.core.config.role == RoleSetting::Auto;
        if on_battery && is_free {
            self.election.set_reason(RoleReason::OnBattery, now.instant);
        } else if self.election.reason == RoleReason::OnBattery {
            self.election.set_reason(RoleReason::NotWeighed, now.instant);
        }
        self.offer();
    }

    fn candidacy(&self) -> Candidacy {
        Candidacy {
            willing: self.core.config.role == RoleSetting::Auto && !self.election.on_battery,
            capacity: self.core.config.max_children,
        }
    }

    /// Offers this node to its parent, if that knows all that it shares and there is news. A node
    /// that was never willing says nothing.
    pub(crate) fn offer(&mut self) {
        let Some(parent) = self.join.parent().filter(|_| self.publisher.is_complete()) else {
            return;
        };
        let candidacy = self.candidacy();
        let is_news = match self.election.told {
            Some(told) => told != candidacy,
            None => candidacy.willing,
        };
        if is_news {
            self.election.told = Some(candidacy);
            self.core.send(parent, candidacy);
        }
    }

    /// The parent is another one, or gone: it knows nothing of this node.
    pub(crate) fn forget_candidacy(&mut self) {
        self.election.told = None;
    }

    /// Somebody who was told of this node says how it stands.
    pub(crate) fn on_standing(&mut self, peer: NodeId, standing: Standing, now: Now) {
        if self.core.role == Role::Super {
            self.on_own_standing(peer, &standing, now);
            return;
        }
        if self.join.parent() != Some(peer) || self.election.told.is_none() {
            return;
        }
        let fill_percent = standing.fill_percent;
        let seconds = |secs: u32| Duration::from_secs(secs.into());
        let reason = match standing.verdict {
            // It has said so itself, and knows better why.
            Verdict::Unwilling => return,
            Verdict::NotNeeded => RoleReason::EnoughSupernodes { fill_percent },
            Verdict::TooYoung { up_secs, asked_secs } => {
                RoleReason::TooYoung { up: seconds(up_secs), asked: seconds(asked_secs) }
            }
            Verdict::LowReputation { has, asked } => RoleReason::LowReputation { has, asked },
            Verdict::TooSmall { capacity, asked } => RoleReason::TooSmall { capacity, asked },
            Verdict::Unreachable { failed, tried } => RoleReason::Unreachable { failed, tried },
            Verdict::Unproven => RoleReason::Unproven { fill_percent },
            Verdict::Ready { fitness } => RoleReason::Ready { fill_percent, fitness },
        };
        self.election.set_reason(reason, now.instant);
    }

    /// A supernode asks this node to become one.
    pub(crate) fn on_invite(&mut self, peer: NodeId, invite: Invite, now: Now) {
        let rests = self.election.resigned.is_some_and(|at| now.instant.since(at) < REST);
        let misled = self
            .election
            .misled
            .is_some_and(|(by, at)| by == peer && now.instant.since(at) < DISTRUST);
        let outcome = if self.core.role == Role::Super || self.join.parent() != Some(peer) {
            Err(Declined::NotYours)
        } else if !self.candidacy().willing {
            Err(Declined::NotWilling)
        } else if misled || (rests && invite.fill_percent < URGENT_PERCENT) {
            Err(Declined::TooSoon)
        } else {
            Ok(())
        };
        self.core.send(peer, InviteReply { outcome });
        if outcome.is_err() {
            return;
        }
        let by_name = self.core.peers.get(&peer).and_then(|peer| peer.name().cloned());
        let Invite { fill_percent, fitness } = invite;
        self.core.counters.promotions += 1;
        self.become_super(RoleReason::Invited { by: peer, by_name, fill_percent, fitness }, now);
    }

    /// The parent asks this node to move to a supernode that has more room.
    pub(crate) fn on_redirect(&mut self, peer: NodeId, redirect: &Redirect, now: Now) {
        let lately = self.election.redirected.is_some_and(|at| now.instant.since(at) < MOVE_EVERY);
        if self.join.parent() != Some(peer) || lately || redirect.to.node == self.core.me {
            return;
        }
        self.election.redirected = Some(now.instant);
        self.core.hear_of(std::slice::from_ref(&redirect.to), false, now);
        self.join.follow(&mut self.core, &redirect.to, now);
    }

    /// This node has stepped down.
    pub(crate) fn on_resigned(&mut self, now: Now) {
        self.election.resigned = Some(now.instant);
        self.core.counters.demotions += 1;
    }
}
