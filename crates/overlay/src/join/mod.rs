//! An ordinary node's ties: one active parent, one warm standby.
//!
//! To find them, the node asks up to five supernodes how they are (the number that a FastTrack
//! client asked), ranks those that take children by round trip and load, and asks the best to be
//! its parent and the next to be its standby. When the parent dies the standby is asked.
//!
//! All children of a supernode that dies notice it at the same moment, and when many die those that
//! are left have to take all of them. So each waits for a while of its own, the longer the more
//! children the dead one had: shortly before it turns to its standby, since it cannot be found
//! meanwhile, and much longer before it looks for a new standby, which it may not need for days. Whose
//! user is waiting for an answer does not wait for its turn.

mod moving;
mod seek;

use crate::core::{Core, earlier};
use crate::io::{Event, Now};
use crate::variety::Prefix;
use moving::Move;
use rand::RngExt;
use seek::STANDBY_PAUSE;
use skein_proto::message::{Attach, AttachReply, Bond, PartingReason, Probe, Refusal};
use skein_proto::supernode::Load;
use skein_proto::{Instant, NodeId, UnixTime};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long a supernode may take to answer whether it takes this node.
const REPLY_PATIENCE: Duration = Duration::from_secs(4);

/// Nodes that start, or lose their parent, at the same moment look for one within that time of each
/// other.
const START_SPREAD: Duration = Duration::from_millis(500);

/// How long the children of a supernode that has fallen silent wait at most before they turn to
/// their standbys, for each of them: so fifty of them come in a second, to all supernodes together, and
/// each causes some ten messages. With 150 children nobody waits for more than 3 s, while it has
/// taken 6.5 s to notice.
const TURN: Duration = Duration::from_millis(20);

/// The same for those that have lost their standby as well: many supernodes have died, and each of
/// these probes several others. With 150 children it is 15 s at most.
const LONE_TURN: Duration = Duration::from_millis(100);

/// The same before they look for a standby in the place of the one that was lost, or has become the
/// parent: each probes two supernodes, which costs some ten messages as well. With 150 children it
/// is 45 s at most.
const STANDBY_TURN: Duration = Duration::from_millis(300);

/// The most children that are reckoned with, whatever a supernode has said: as many as one takes by
/// default.
const MOST_CHILDREN: u32 = 150;

/// Pauses between questions to the login service. The first ones are short, since a network that
/// has just been started has its first supernode some seconds later.
const FIRST_BOOTSTRAP_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_BOOTSTRAP_PAUSE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TieState {
    Asked { deadline: Instant },
    Agreed,
}

#[derive(Clone, Copy, Debug)]
struct Tie {
    node: NodeId,
    state: TieState,
    since: Instant,
    /// The children that it has said it has.
    children: u32,
}

#[derive(Clone, Copy, Debug)]
enum Candidate {
    Dialling,
    Probed {
        sent: Instant,
    },
    /// Lower costs are better.
    Ranked {
        cost: u64,
        children: u32,
    },
    /// It takes no children at present.
    Full,
    Useless,
}

#[derive(Debug)]
struct Seeking {
    candidates: BTreeMap<NodeId, Candidate>,
    deadline: Instant,
    /// There is a parent, which is asked as well: this is only about a better one.
    compares: bool,
}

/// What the rest of the overlay must know about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParentChange {
    /// There is a parent now, which knows nothing of this node's files yet.
    Gained(NodeId),
    /// There is none any more.
    Lost(NodeId),
    /// Another one has agreed to take the place of the old one, which lives.
    Moved { from: NodeId, to: NodeId },
}

/// The ties of an ordinary node.
#[derive(Debug, Default)]
pub(crate) struct Join {
    parent: Option<Tie>,
    standby: Option<Tie>,
    seeking: Option<Seeking>,
    /// Those that were ranked and not needed yet, the best first, and how many children they have.
    ranked: VecDeque<(NodeId, u32)>,
    next_seek: Instant,
    seek_failures: u32,
    next_bootstrap: Instant,
    /// Whether those that were asked last are there, and have no room.
    is_crowded: bool,
    bootstrap_failures: u32,
    bootstrap_asked: bool,
    lost_at: Option<Instant>,
    moving: Option<Move>,
    next_review: Option<Instant>,
    /// The parent answers nothing at present.
    parent_silent: bool,
    /// When the standby takes over from a parent that answers nothing.
    take_over_at: Option<Instant>,
    /// Children of the supernode that was last lost.
    lost_children: u32,
    /// How often a parent was lost.
    pub(crate) parents_lost: u64,
}

impl Join {
    /// The parent that has agreed.
    pub(crate) fn parent(&self) -> Option<NodeId> {
        self.parent.filter(|tie| tie.state == TieState::Agreed).map(|tie| tie.node)
    }

    /// When the parent agreed.
    pub(crate) fn parent_since(&self) -> Option<Instant> {
        self.parent.filter(|tie| tie.state == TieState::Agreed).map(|tie| tie.since)
    }

    /// The standby that has agreed.
    pub(crate) fn standby(&self) -> Option<NodeId> {
        self.standby.filter(|tie| tie.state == TieState::Agreed).map(|tie| tie.node)
    }

    /// Since when a lost parent has not been made up for; asking takes it.
    pub(crate) fn take_lost_at(&mut self) -> Option<Instant> {
        self.lost_at.take()
    }

    /// Whether this node needs the link with that peer.
    pub(crate) fn uses(&self, peer: &NodeId) -> bool {
        let tied = |tie: &Option<Tie>| tie.is_some_and(|tie| tie.node == *peer);
        tied(&self.parent)
            || tied(&self.standby)
            || self.is_target(peer)
            || self.seeking.as_ref().is_some_and(|seeking| seeking.candidates.contains_key(peer))
            || self.ranked.iter().any(|(node, _)| node == peer)
    }

    /// Lets go of all ties, for a node that becomes a supernode or leaves.
    pub(crate) fn dissolve(
        &mut self,
        core: &mut Core,
        reason: PartingReason,
    ) -> Option<ParentChange> {
        let lost = self.parent().map(ParentChange::Lost);
        for tie in [self.parent.take(), self.standby.take()].into_iter().flatten() {
            core.part(tie.node, reason);
        }
        self.seeking = None;
        self.moving = None;
        self.next_review = None;
        self.ranked = VecDeque::new();
        self.lost_at = None;
        self.lost_children = 0;
        self.on_parent_heard();
        lost
    }

    /// Does what is due: looks for what is missing, gives up on what does not answer. Answers whether
    /// that was the parent.
    pub(crate) fn step(&mut self, core: &mut Core, now: Now) -> Option<ParentChange> {
        self.expire(core, now);
        let change = self.take_over(core, now);
        self.look(core, now);
        change
    }

    fn look(&mut self, core: &mut Core, now: Now) {
        if let Some(seeking) = &self.seeking {
            let waiting = seeking
                .candidates
                .values()
                .any(|c| matches!(c, Candidate::Dialling | Candidate::Probed { .. }));
            if waiting && now.instant < seeking.deadline {
                return;
            }
            self.rank(core, now);
        }
        self.ask_ranked(core, now);
        let missing = self.is_missing();
        if self.parent().is_some() && self.standby().is_some() {
            self.ranked = VecDeque::new();
        }
        if missing && core.has_credential(now.unix) && now.instant >= self.next_seek {
            self.seek(core, now);
        } else if self.standby.is_some()
            && self.parent.is_some()
            && self.moving.is_none()
            && self.review_due(core, now)
        {
            self.compare(core, now);
        }
    }

    /// When [`Join::step`] has something to do next.
    pub(crate) fn next_wakeup(&self, core: &Core, now: Now) -> Option<Instant> {
        let asked = |tie: &Option<Tie>| match tie.as_ref()?.state {
            TieState::Asked { deadline } => Some(deadline),
            TieState::Agreed => None,
        };
        let mut wake = earlier(asked(&self.parent), asked(&self.standby));
        wake = earlier(wake, self.moving.map(|moving| moving.deadline));
        wake = earlier(wake, self.take_over_at);
        if let Some(seeking) = &self.seeking {
            return earlier(wake, Some(seeking.deadline));
        }
        if self.parent.is_some() && self.standby.is_some() && self.moving.is_none() {
            wake = earlier(wake, self.next_review);
        }
        if self.is_missing() && core.has_credential(now.unix) {
            wake = earlier(wake, Some(self.next_seek));
        }
        wake
    }

    /// Whether something is to be looked for: a parent, or a standby beside one that has agreed.
    fn is_missing(&self) -> bool {
        self.parent.is_none() || (self.standby.is_none() && self.parent().is_some())
    }

    fn expire(&mut self, core: &mut Core, now: Now) {
        for tie in [&mut self.parent, &mut self.standby] {
            if let Some(Tie { node, state: TieState::Asked { deadline }, .. }) = *tie
                && now.instant >= deadline
            {
                core.known.failed(&node, now.instant);
                core.hang_up(node, PartingReason::Moved);
                *tie = None;
            }
        }
        if self.moving.is_some_and(|moving| now.instant >= moving.deadline) {
            self.give_up_move(core, now);
        }
    }

    /// The login service has answered, or not.
    pub(crate) fn on_bootstrap(&mut self, core: &mut Core, now: Now, answered: bool) {
        self.bootstrap_asked = false;
        let pause =
            core.back_off(self.bootstrap_failures, FIRST_BOOTSTRAP_PAUSE, LONGEST_BOOTSTRAP_PAUSE);
        self.bootstrap_failures = self.bootstrap_failures.saturating_add(1);
        self.next_bootstrap = now.instant + pause;
        if answered && self.parent.is_none() && !core.known.is_empty() {
            self.next_seek = now.instant;
        }
    }

    /// A fresh credential came: whoever had none can join now.
    pub(crate) fn on_credential(&mut self, core: &mut Core, now: Now) {
        if self.parent.is_none() {
            self.next_seek = now.instant + START_SPREAD.mul_f64(core.rng.random());
            self.seek_failures = 0;
        }
    }

    pub(crate) fn on_link_up(&mut self, core: &mut Core, peer: NodeId, now: Now) {
        if let Some(candidate) =
            self.seeking.as_mut().and_then(|seeking| seeking.candidates.get_mut(&peer))
        {
            *candidate = Candidate::Probed { sent: now.instant };
            core.send(peer, Probe);
        }
        self.on_target_up(core, peer);
    }

    /// The link is gone, or was never there, or the peer sends this node away.
    pub(crate) fn on_link_lost(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        now: Now,
    ) -> Option<ParentChange> {
        if let Some(candidate) =
            self.seeking.as_mut().and_then(|seeking| seeking.candidates.get_mut(&peer))
        {
            *candidate = Candidate::Useless;
            core.known.failed(&peer, now.instant);
        }
        self.ranked.retain(|(node, _)| *node != peer);
        if self.is_target(&peer) {
            self.give_up_move(core, now);
        }
        self.lose(core, peer, now)
    }

    /// A parent that answers nothing, while a standby is there, is taken for dead when it is this
    /// node's turn: to wait until the transport is sure would leave it unsearchable for longer.
    /// Without a standby it is kept, since it may come back, and another one is looked for.
    pub(crate) fn on_link_silent(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        now: Now,
    ) -> Option<ParentChange> {
        let is_tie = |tie: &Option<Tie>| tie.is_some_and(|tie| tie.node == peer);
        if is_tie(&self.standby) {
            core.hang_up(peer, PartingReason::Moved);
            return self.lose(core, peer, now);
        }
        if is_tie(&self.parent) && self.parent() != Some(peer) {
            // A standby that was asked to take over has died together with the parent.
            core.hang_up(peer, PartingReason::Moved);
            return self.lose(core, peer, now);
        }
        if self.parent() == Some(peer) && self.take_over_at.is_none() {
            self.parent_silent = true;
            self.lost_children = self.parent.map_or(0, |tie| tie.children);
            // If it answers before it is this node's turn it is kept.
            core.send(peer, Probe);
            if self.standby().is_some() {
                self.take_over_at = Some(now.instant + turn(core, TURN, self.lost_children));
                return self.take_over(core, now);
            }
            self.seek_failures = 0;
            self.schedule_seek(core, now);
        }
        None
    }

    /// Turns to the standby if it is time.
    fn take_over(&mut self, core: &mut Core, now: Now) -> Option<ParentChange> {
        self.take_over_at.take_if(|at| now.instant >= *at)?;
        let parent = self.parent().filter(|_| self.standby().is_some())?;
        core.hang_up(parent, PartingReason::Moved);
        self.lose(core, parent, now)
    }

    /// Something came from this peer.
    pub(crate) fn on_heard(&mut self, peer: &NodeId) {
        if self.parent_silent && self.parent() == Some(*peer) {
            self.on_parent_heard();
        }
    }

    /// The user waits for an answer that only a parent can give: it is this node's turn. Where looking has
    /// failed already, its pauses stay.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.take_over_at = self.take_over_at.map(|at| at.min(now));
        if (self.parent.is_none() || self.parent_silent) && self.seek_failures == 0 {
            self.next_seek = self.next_seek.min(now);
        }
    }

    fn on_parent_heard(&mut self) {
        self.parent_silent = false;
        self.take_over_at = None;
    }

    /// A supernode says how it is doing.
    pub(crate) fn on_load(&mut self, peer: &NodeId, load: Load) {
        for tie in [&mut self.parent, &mut self.standby].into_iter().flatten() {
            if tie.node == *peer {
                tie.children = load.children;
            }
        }
    }

    /// Parent and standby, if their credential does not hold any more or they say that they are
    /// no supernodes.
    pub(crate) fn unfit(&self, core: &Core, now: UnixTime) -> Vec<NodeId> {
        let ties = [self.standby(), self.parent()].into_iter().flatten();
        ties.filter(|node| !core.is_member_super(node, now)).collect()
    }

    /// Leaves a parent or standby that is no good.
    pub(crate) fn leave(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        reason: PartingReason,
        now: Now,
    ) -> Option<ParentChange> {
        core.part(peer, reason);
        let change = self.lose(core, peer, now);
        if self.parent.is_none() {
            // Nobody else leaves it just now.
            self.lost_children = 0;
            self.schedule_seek(core, now);
        }
        change
    }

    fn lose(&mut self, core: &mut Core, peer: NodeId, now: Now) -> Option<ParentChange> {
        // Of one that had not agreed yet nobody knows how many others have lost it.
        let shared = |tie: Tie| if tie.state == TieState::Agreed { tie.children } else { 0 };
        if let Some(was_standby) = self.standby.take_if(|tie| tie.node == peer) {
            core.known.failed(&peer, now.instant);
            self.seek_failures = 0;
            self.lost_children = shared(was_standby);
            self.schedule_seek(core, now);
        }
        let was_parent = self.parent.take_if(|tie| tie.node == peer)?;
        self.on_parent_heard();
        self.next_review = None;
        self.seek_failures = 0;
        self.lost_children = shared(was_parent);
        self.schedule_seek(core, now);
        self.bootstrap_failures = 0;
        core.known.failed(&peer, now.instant);
        if was_parent.state != TieState::Agreed {
            return None;
        }
        self.parents_lost += 1;
        core.counters.parents_lost += 1;
        self.lost_at.get_or_insert(now.instant);
        let standby = self.standby.take_if(|tie| tie.state == TieState::Agreed);
        core.event(Event::Detached { parent: peer, standby: standby.is_some() });
        if let Some(tie) = standby {
            self.ask(core, (tie.node, tie.children), Bond::Active, now);
        }
        Some(ParentChange::Lost(peer))
    }

    /// Something was lost: looks for another one in its turn, soon if it is the parent.
    fn schedule_seek(&mut self, core: &mut Core, now: Now) {
        let is_urgent = self.parent.is_none() || self.parent_silent;
        let (each, least) =
            if is_urgent { (LONE_TURN, START_SPREAD) } else { (STANDBY_TURN, STANDBY_PAUSE) };
        let turn = turn(core, each, self.lost_children).max(least.mul_f64(core.rng.random()));
        self.next_seek = now.instant + turn;
    }

    fn ask_ranked(&mut self, core: &mut Core, now: Now) {
        if self.parent.is_none()
            && let Some(best) = self.ranked.pop_front()
        {
            self.ask(core, best, Bond::Active, now);
        }
        // Whoever was to be the parent has refused, or is gone, and there is nobody else.
        if self.parent.is_none()
            && let Some(tie) = self.standby.take_if(|tie| tie.state == TieState::Agreed)
        {
            self.ask(core, (tie.node, tie.children), Bond::Active, now);
        }
        if self.standby.is_none()
            && let Some(best) = self.take_other_prefix(core)
        {
            self.ask(core, best, Bond::Standby, now);
        }
    }

    /// The best that is ranked and not in the network of the parent: what takes one down shall not
    /// take the other down as well. If there is no such one, the best.
    fn take_other_prefix(&mut self, core: &Core) -> Option<(NodeId, u32)> {
        let prefix = |node: &NodeId| core.peers.get(node).map(|peer| Prefix::of(&peer.address));
        let parent = self.parent.and_then(|tie| prefix(&tie.node));
        let other = self.ranked.iter().position(|(node, _)| prefix(node) != parent);
        self.ranked.remove(other.unwrap_or(0))
    }

    fn ask(&mut self, core: &mut Core, (node, children): (NodeId, u32), bond: Bond, now: Now) {
        core.send(node, Attach { bond });
        let deadline = now.instant + REPLY_PATIENCE;
        let tie = Tie { node, state: TieState::Asked { deadline }, since: now.instant, children };
        match bond {
            Bond::Active => self.parent = Some(tie),
            Bond::Standby => self.standby = Some(tie),
        }
    }

    pub(crate) fn on_attach_reply(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        reply: &AttachReply,
        now: Now,
    ) -> Option<ParentChange> {
        if self.is_target(&peer) {
            core.hear_of(&reply.others, false, now);
            if let Some(change) = self.on_target_reply(core, peer, reply, now) {
                return change;
            }
        }
        let asked = |tie: &Option<Tie>| {
            tie.is_some_and(|tie| tie.node == peer && matches!(tie.state, TieState::Asked { .. }))
        };
        if !asked(&self.parent) && !asked(&self.standby) {
            return None;
        }
        core.hear_of(&reply.others, false, now);
        let agree = |tie: &mut Option<Tie>| {
            if let Some(tie) = tie {
                (tie.state, tie.since) = (TieState::Agreed, now.instant);
            }
        };
        if asked(&self.parent) {
            if reply.outcome == Ok(Bond::Active) {
                agree(&mut self.parent);
                self.is_crowded = false;
                self.seek_failures = 0;
                self.bootstrap_failures = 0;
                self.schedule_review(core, now);
                if self.standby.is_none() && self.ranked.is_empty() {
                    self.schedule_seek(core, now);
                }
                core.event(Event::Attached { parent: peer });
                return Some(ParentChange::Gained(peer));
            }
            self.parent = None;
        } else {
            if reply.outcome == Ok(Bond::Standby) {
                agree(&mut self.standby);
                self.seek_failures = 0;
                self.lost_children = 0;
                let silent = self.parent().filter(|_| self.parent_silent)?;
                core.hang_up(silent, PartingReason::Moved);
                return self.lose(core, silent, now);
            }
            self.standby = None;
        }
        // Refused: it is alive, but there is no use in asking it again soon.
        if reply.outcome == Err(Refusal::Full) {
            core.known.is_full(&peer, now.instant);
        } else {
            core.known.failed(&peer, now.instant);
        }
        core.hang_up(peer, PartingReason::Moved);
        None
    }
}

/// How long a child waits for its turn among so many that have lost the same.
fn turn(core: &mut Core, each: Duration, children: u32) -> Duration {
    (each * children.min(MOST_CHILDREN)).mul_f64(core.rng.random())
}

#[cfg(test)]
mod tests;
