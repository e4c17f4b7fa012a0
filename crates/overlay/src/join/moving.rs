//! Changing the parent while the present one lives: the new one agrees before the old one is left.

use super::{Join, ParentChange, Tie, TieState};
use crate::core::Core;
use crate::io::{Event, Now};
use skein_proto::message::{Attach, AttachReply, Bond, PartingReason, Probe};
use skein_proto::supernode::Load;
use skein_proto::{Instant, NodeId, SupernodeEntry};
use std::net::SocketAddr;
use std::time::Duration;

/// How long all of it may take: a dial over the longest paths, and an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a child looks whether there is a much better parent. To publish all anew costs more
/// than a little distance, so it is seldom; it is jittered widely, so that the children of a full
/// supernode do not go together.
pub(super) const REVIEW: Duration = Duration::from_secs(20 * 60);

/// How full or how far a parent must be before another one is looked for at all.
const FULL_PERCENT: u8 = 80;
const FAR: Duration = Duration::from_millis(150);

/// How many times lower the cost of another parent must be.
pub(super) const MUCH_BETTER: u64 = 2;

/// Points by which a supernode may be fuller than the parent said that sends a child to it. Where there
/// are many supernodes the parent may be wrong by 25 points, since none tells smaller changes of its
/// load at once, and it has named one that seemed emptier than itself by fifteen: beyond this it is
/// hardly better, and most likely others were sent to it as well.
const FULLER: u8 = 10;

/// A parent that is to take the place of the present one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    target: NodeId,
    /// The children that it has said it has.
    children: u32,
    /// How full it may be, in percent, where that is still to be asked.
    at_most: Option<u8>,
    asked: bool,
    pub(super) deadline: Instant,
}

impl Join {
    /// Leaves the parent for the supernode that it names, which is so full as far as it knows, if
    /// that one is not much fuller, and takes this node. Answers whether it is tried.
    pub(crate) fn follow(&mut self, core: &mut Core, to: &SupernodeEntry, now: Now) -> bool {
        let at_most = to.load_percent.saturating_add(FULLER);
        self.move_to(core, (to.node, to.addresses.to_vec()), (0, Some(at_most)), now)
    }

    /// Leaves the parent for another supernode, once that one has agreed; whoever has no parent
    /// keeps looking for one. `at_most`: how full it may be, where that is to be asked first, by which
    /// its children are told anew. Answers whether it is tried.
    pub(super) fn move_to(
        &mut self,
        core: &mut Core,
        (target, addresses): (NodeId, Vec<SocketAddr>),
        (children, at_most): (u32, Option<u8>),
        now: Now,
    ) -> bool {
        let parent = self.parent();
        if parent.is_none() || parent == Some(target) || target == core.me || self.moving.is_some()
        {
            return false;
        }
        if self.standby() == Some(target) {
            // A standby takes its children over its limit, since their parent may be dead: that
            // place is not for those who could as well stay.
            return false;
        }
        let is_linked = core.peers.get(&target).is_some_and(|peer| peer.hello.is_some());
        if !is_linked && addresses.is_empty() {
            return false;
        }
        let deadline = now.instant + PATIENCE;
        self.moving = Some(Move { target, children, at_most, asked: false, deadline });
        if is_linked {
            self.on_target_up(core, target);
        } else {
            core.dial(target, addresses);
        }
        true
    }

    pub(super) fn is_target(&self, peer: &NodeId) -> bool {
        self.moving.is_some_and(|moving| moving.target == *peer)
    }

    /// The target has been reached.
    pub(super) fn on_target_up(&mut self, core: &mut Core, peer: NodeId) {
        let Some(moving) = self.moving.as_mut().filter(|moving| moving.target == peer) else {
            return;
        };
        if moving.at_most.is_some() {
            core.send(peer, Probe);
        } else {
            moving.asked = true;
            core.send(peer, Attach { bond: Bond::Active });
        }
    }

    /// The target says how full it is.
    pub(super) fn on_target_load(&mut self, core: &mut Core, peer: NodeId, load: Load) {
        let Some(moving) = self.moving.as_mut().filter(|moving| moving.target == peer) else {
            return;
        };
        let Some(at_most) = moving.at_most.take() else { return };
        moving.children = load.children;
        if load.percent() <= at_most {
            self.on_target_up(core, peer);
        } else {
            core.counters.moves_spared += 1;
            self.moving = None;
        }
    }

    /// The target has gone, or does not answer.
    pub(super) fn give_up_move(&mut self, core: &mut Core, now: Now) {
        if let Some(moving) = self.moving.take() {
            core.known.failed(&moving.target, now.instant);
        }
    }

    /// The target's answer, if it is one; `None` if it is the answer to another question.
    pub(super) fn on_target_reply(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        reply: &AttachReply,
        now: Now,
    ) -> Option<Option<ParentChange>> {
        let moving = self.moving.filter(|moving| moving.target == peer && moving.asked)?;
        self.moving = None;
        let old = self.parent();
        let fit =
            reply.outcome == Ok(Bond::Active) && core.is_member_super(&moving.target, now.unix);
        let Some(old) = old.filter(|_| fit) else {
            core.known.failed(&peer, now.instant);
            // A parent that was lost meanwhile is made up for by the standby, which may be this one.
            let was_standby = self.standby.is_some_and(|tie| tie.node == peer);
            let is_asked = self.parent.is_some_and(|tie| tie.node == peer);
            if !was_standby && !is_asked {
                core.part(peer, PartingReason::Moved);
            }
            return if is_asked { None } else { Some(None) };
        };
        self.standby.take_if(|tie| tie.node == peer);
        let (since, children) = (now.instant, moving.children);
        self.parent = Some(Tie { node: peer, state: TieState::Agreed, since, children });
        self.on_parent_heard();
        self.schedule_review(core, now);
        core.counters.parents_moved += 1;
        core.part(old, PartingReason::MovedTo(peer));
        core.event(Event::Attached { parent: peer });
        Some(Some(ParentChange::Moved { from: old, to: peer }))
    }

    pub(super) fn schedule_review(&mut self, core: &mut Core, now: Now) {
        let spread = core.jitter(REVIEW);
        self.next_review = Some(now.instant + core.jitter(spread));
    }

    /// Whether it is time to look for a better parent, and there is a reason to.
    pub(super) fn review_due(&mut self, core: &mut Core, now: Now) -> bool {
        if self.next_review.is_none_or(|at| now.instant < at) {
            return false;
        }
        self.schedule_review(core, now);
        let Some(parent) = self.parent() else { return false };
        let full = core.known.load_percent(&parent).is_some_and(|load| load >= FULL_PERCENT);
        let far = core.peers.get(&parent).is_some_and(|peer| peer.rtt >= FAR);
        full || far
    }
}
