//! What a supernode does about the demand: it invites, hands over, steps down.

mod own_reach;

use super::candidates::{Candidates, Standard, look_for};
use super::census::census;
use super::demand::Demand;
use super::dialback::DialBacks;
use super::outlook::Outlook;
use super::pace::Pace;
use super::trial::{LOOK, Trial};
use super::turn::Turn;
use super::{REVIEW, RoleReason, handover};
use crate::core::earlier;
use crate::counters::Counters;
use crate::io::Now;
use crate::overlay::Overlay;
use rand::RngExt;
use skein_proto::election::{Candidacy, Invite, InviteReply, Standing, Verdict};
use skein_proto::membership::SupernodeState;
use skein_proto::message::RoleSetting;
use skein_proto::supernode::Load;
use skein_proto::{Instant, NodeId, UnixTime, Username};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often candidates are weighed while there is no hurry.
const ROUND: Duration = Duration::from_secs(60);

/// What is asked of a candidate's age in a hurry: an old network loses a few young ones, a full one
/// leaves everybody out.
const URGENT_UPTIME: Duration = Duration::from_secs(60);

/// How long one that was invited may take to appear among the supernodes.
const APPEARS: Duration = Duration::from_secs(60);

/// How long a new supernode at most warms up, and how many neighbours are enough before.
const WARM_UP: Duration = Duration::from_secs(30);
const WARM_NEIGHBOURS: usize = 8;

/// How often a new supernode looks whether it is warm, and one that steps down is looked after.
const STEP: Duration = Duration::from_secs(2);

/// How soon after a look there is another one when somebody has died.
const AFTER_DEATH: Duration = Duration::from_secs(1);

/// The same for one that may have to go and has nothing to hand over, so that nobody comes to count
/// on it.
const SHORT_STEP: Duration = Duration::from_millis(500);

/// The least time as a supernode before one steps down since there are too many.
const TENURE: Duration = Duration::from_secs(60 * 60);

/// How long stepping down may take; then the children that are left go to their standbys.
const RESIGNING: Duration = Duration::from_secs(5 * 60);

/// For how long a refused node counts as one that has no parent.
const WAITING_KEPT: Duration = Duration::from_secs(60);
const MAX_WAITING: usize = 1_024;

/// Supernodes that a node asks at once when it looks for a parent: each of those that wait has been
/// refused by so many.
const ASKED_AT_ONCE: f64 = 5.0;

/// Checks made for one neighbour, and for all of them: as many as honest ones ask for, of which each
/// has itself checked once in hours, and one that failed after five minutes. Who makes dial-backs for
/// this node makes only so many, and those for its candidates come first.
const CURIOUS: (u32, Duration) = (1, Duration::from_secs(4 * 60));
const ALL_CURIOUS: (u32, Duration) = (4, Duration::from_secs(60));
const MAX_CURIOUS: usize = 256;

/// For how long the machine must have too little left before a supernode steps down.
const STARVED: Duration = Duration::from_secs(10 * 60);

#[derive(Debug)]
enum Stage {
    Warming { until: Instant },
    Serving,
    Resigning { until: Instant, why: RoleReason },
}

#[derive(Clone, Debug)]
struct Invitation {
    node: NodeId,
    name: Option<Username>,
    at: Instant,
    accepted: bool,
}

/// What a node does for the election while it is a supernode.
#[derive(Debug)]
pub(crate) struct Office {
    since: Instant,
    /// When it judges whether it is needed, if it has yet to find out.
    pub(super) trial: Option<Trial>,
    pub(super) since_unix: UnixTime,
    stage: Stage,
    demand: Demand,
    pub(super) candidates: Candidates,
    pub(super) dial_backs: DialBacks,
    /// Nodes that were refused for want of room.
    waiting: BTreeMap<NodeId, Instant>,
    invited: Option<Invitation>,
    /// The turn in which it has looked whether it should invite.
    turn: Option<Turn>,
    /// The last one that was invited and came: children are handed to it first.
    protege: Option<NodeId>,
    /// Neighbours that want to know whether they can be reached.
    curious: BTreeSet<NodeId>,
    curious_pace: Pace<NodeId>,
    all_curious_pace: Pace<()>,
    next_review: Instant,
    last_review: Instant,
    next_round: Instant,
    next_handover: Instant,
    next_check: Instant,
    check_asked: Option<NodeId>,
    /// The names of those who found that it cannot be reached, one after the other.
    unreached_by: Vec<Username>,
    starved_since: Option<Instant>,
}

impl Office {
    pub(crate) fn new(now: Now, warm: bool, trial: Option<Trial>) -> Self {
        let looks = trial.is_some_and(|trial| trial.is_brisk(0, now.instant));
        let until = match warm {
            true => now.instant,
            false => now.instant + if looks { LOOK } else { WARM_UP },
        };
        Self {
            since: now.instant,
            trial,
            since_unix: now.unix,
            stage: Stage::Warming { until },
            demand: Demand::default(),
            candidates: Candidates::default(),
            dial_backs: DialBacks::default(),
            waiting: BTreeMap::new(),
            invited: None,
            turn: None,
            protege: None,
            curious: BTreeSet::new(),
            curious_pace: Pace::new(CURIOUS.0, CURIOUS.1, MAX_CURIOUS),
            all_curious_pace: Pace::new(ALL_CURIOUS.0, ALL_CURIOUS.1, 1),
            next_review: now.instant,
            last_review: now.instant,
            next_round: now.instant,
            next_handover: now.instant,
            next_check: now.instant + own_reach::FIRST_CHECK,
            check_asked: None,
            unreached_by: Vec::new(),
            starved_since: None,
        }
    }

    /// How the network does, as this supernode sees it.
    pub(crate) fn outlook(&self) -> Outlook {
        self.demand.outlook()
    }

    /// Candidates whose reachability is proven.
    pub(crate) fn ready(&self, now: Instant) -> usize {
        self.candidates.ready(now)
    }

    pub(crate) fn next_wakeup(&self, me: &NodeId) -> Option<Instant> {
        earlier(Some(self.next_review), self.dial_backs.next_deadline(me))
    }

    /// A node was refused for want of room.
    pub(crate) fn on_refused(&mut self, counters: &mut Counters, node: NodeId, now: Instant) {
        if !matches!(self.stage, Stage::Serving) {
            return;
        }
        if self.waiting.len() < MAX_WAITING || self.waiting.contains_key(&node) {
            self.waiting.insert(node, now);
        } else {
            counters.children_waiting_over_limit += 1;
        }
    }

    /// Looks whether the one that was invited has come. Whoever stays away, whatever it has answered,
    /// is not asked again soon: else one such child, if it is the fittest, would be asked for ever
    /// in place of all others.
    fn look_for_invited(
        &mut self,
        counters: &mut Counters,
        has_come: impl Fn(&NodeId) -> bool,
        now: Instant,
    ) {
        let Some(Invitation { node, name, at, .. }) = &self.invited else { return };
        let (node, came) = (*node, has_come(node));
        if !came && now.since(*at) < APPEARS {
            return;
        }
        let name = name.clone();
        match name {
            Some(name) if came => self.candidates.on_came(&name),
            Some(name) => self.candidates.on_absent(counters, name, now),
            None => {}
        }
        self.protege = came.then_some(node);
        self.invited = None;
    }

    pub(super) fn resign(&mut self, why: RoleReason, now: Instant) {
        if !matches!(self.stage, Stage::Resigning { .. }) {
            self.stage = Stage::Resigning { until: now + RESIGNING, why };
            self.next_review = now;
        }
    }
}

impl Overlay {
    /// A node says what it could do: a child wants to be weighed, a neighbour to know whether it
    /// can be reached.
    pub(crate) fn on_candidacy(&mut self, peer: NodeId, candidacy: Candidacy, now: Now) {
        let is_child = self.children.bond(&peer) == Some(skein_proto::message::Bond::Active);
        let is_neighbour = self.neighbours.is_linked(&peer);
        let Some(office) = &mut self.election.office else { return };
        if is_child {
            if !office.candidates.contains(&peer) {
                office.next_round = now.instant;
            }
            office.candidates.on_candidacy(peer, candidacy);
        } else if is_neighbour {
            let may = office.curious_pace.take(peer, now.instant)
                && office.all_curious_pace.take((), now.instant);
            self.core.counters.own_checks_over_limit += u64::from(!may);
            if may && look_for(&mut self.core, &mut office.dial_backs, peer, now) {
                office.curious.insert(peer);
            }
        }
    }

    /// A child answers an invitation.
    pub(crate) fn on_invite_reply(&mut self, peer: NodeId, reply: InviteReply, now: Now) {
        let Some(office) = &mut self.election.office else { return };
        let Some(invited) = office.invited.as_mut().filter(|invited| invited.node == peer) else {
            return;
        };
        if reply.outcome.is_ok() {
            invited.accepted = true;
        } else {
            office.invited = None;
            office.candidates.on_declined(&peer, now.instant);
            self.core.counters.invitations_declined += 1;
        }
    }

    /// Does what is due at a supernode.
    pub(crate) fn step_office(&mut self, now: Now) {
        let Some(mut office) = self.election.office.take() else { return };
        for finding in office.dial_backs.take_findings(&mut self.core, now.instant) {
            office.candidates.on_finding(&finding, now.instant);
            if office.curious.remove(&finding.node) {
                let failed = finding.tried - finding.reached;
                let verdict = if failed > finding.reached {
                    Verdict::Unreachable { failed, tried: finding.tried }
                } else {
                    Verdict::NotNeeded
                };
                let fill_percent = percent(office.outlook().fill);
                self.core.send(finding.node, Standing { fill_percent, verdict });
            }
            // Whoever has been found fit may be wanted at once.
            if office.outlook().is_urgent {
                office.next_review = office.next_review.min(now.instant + STEP / 2);
            }
        }
        let mut over = None;
        if self.core.membership.last_death.is_some_and(|at| at > office.last_review) {
            // Of many that die together each is buried by itself, and a look goes through all members.
            office.next_review = office.next_review.min(office.last_review + AFTER_DEATH);
        }
        if now.instant >= office.next_review {
            over = self.review(&mut office, now);
            let members = self.core.membership.len();
            let is_returning =
                office.trial.is_some_and(|trial| trial.is_brisk(members, now.instant));
            let is_empty = self.children.actives() == 0;
            let pause = match office.stage {
                Stage::Warming { .. } | Stage::Serving if is_returning => SHORT_STEP,
                Stage::Resigning { .. } if is_empty => SHORT_STEP,
                Stage::Serving if !office.outlook().is_brisk() => REVIEW,
                _ => STEP,
            };
            office.next_review = now.instant + self.core.jitter(pause);
        }
        self.election.office = Some(office);
        if let Some(why) = over {
            self.on_resigned(now);
            self.become_ordinary(why, now);
        }
    }

    /// Looks at everything anew. Answers why this node is no supernode any more, if so.
    fn review(&mut self, office: &mut Office, now: Now) -> Option<RoleReason> {
        let children = &self.children;
        office.candidates.retain(|node| children.bond(node).is_some());
        office.waiting.retain(|node, at| {
            now.instant.since(*at) < WAITING_KEPT && children.bond(node).is_none()
        });
        let has_come = |node: &NodeId| self.core.membership.get(node).is_some();
        office.look_for_invited(&mut self.core.counters, has_come, now.instant);
        let outlook = self.take_census(office, now);
        let passed = now.instant.since(office.last_review);
        office.last_review = now.instant;
        match &office.stage {
            Stage::Warming { until } => {
                let until = *until;
                let members = self.core.membership.len();
                let looks = office.trial.is_some_and(|trial| trial.is_brisk(members, now.instant));
                if looks {
                    self.judge_need(office, &outlook, now);
                    if matches!(office.stage, Stage::Resigning { .. }) {
                        return None;
                    }
                }
                // One that does not answer is waited for in vain: after a failure it may be a third.
                let missed: BTreeSet<NodeId> = self.core.membership.missed().into_iter().collect();
                let known = self.core.membership.len().saturating_sub(missed.len());
                let linked = self.neighbours.count();
                if now.instant >= until || (!looks && has_warmed_up(known, linked)) {
                    office.stage = Stage::Serving;
                    self.children.set_open(true);
                    self.announce_state(SupernodeState::Serving, now);
                }
                None
            }
            Stage::Serving => {
                self.serve(office, &outlook, passed, now);
                None
            }
            Stage::Resigning { until, why } => {
                let (until, why) = (*until, why.clone());
                let is_needed = outlook.shortfall > 0.0;
                if is_needed
                    && matches!(why, RoleReason::TooMany { .. } | RoleReason::NotNeeded { .. })
                {
                    office.stage = Stage::Serving;
                    self.children.set_open(true);
                    self.announce_state(SupernodeState::Serving, now);
                    return None;
                }
                self.children.set_open(false);
                if now.instant >= until || self.children.is_void() {
                    return Some(why);
                }
                if now.instant >= office.next_handover {
                    office.next_handover = now.instant + handover::RESIGN_EVERY;
                    handover::dismiss_some(&mut self.core, &self.children, now.unix);
                }
                None
            }
        }
    }

    fn announce_state(&mut self, state: SupernodeState, now: Now) {
        self.core.membership.announcer.set_state(state, now.instant);
        self.next_beat = now.instant;
    }

    fn take_census(&self, office: &mut Office, now: Now) -> Outlook {
        let own = self.load();
        // One that has accepted counts at once, empty as it is.
        let coming = office.invited.as_ref().filter(|invited| invited.accepted);
        let coming = coming.map(|_| Load { capacity: own.capacity, ..Load::default() });
        let others = self.core.membership.iter().map(|member| member.load);
        let supernodes = self.core.membership.len() as f64 + 1.0;
        let waiting = office.waiting.len() as f64 * (supernodes / ASKED_AT_ONCE).max(1.0);
        let mut census = census(others.chain([own]).chain(coming), waiting);
        census.many_died = self.core.membership.is_emergency(now.instant);
        census.last_death = self.core.membership.last_death;
        office.demand.update(&census, now.instant)
    }

    fn standard(&self, office: &Office, outlook: &Outlook, now: Now) -> Standard {
        let ages = self.core.membership.iter().map(|member| now.unix.since(member.since));
        let oldest = ages.max().unwrap_or_default().max(now.instant.since(office.since));
        let asked = self.core.config.promotion_uptime;
        let asked = if outlook.is_urgent { asked.min(URGENT_UPTIME) } else { asked };
        let own = self.load();
        let others = self.core.membership.iter().map(|member| member.load);
        Standard {
            // Nobody is older than the network, and whoever has moved to a new parent is younger here.
            uptime: asked.min(oldest / if outlook.is_urgent { 4 } else { 2 }),
            mean_capacity: census(others.chain([own]), 0.0).mean_capacity,
            fill_percent: percent(outlook.fill),
            is_urgent: outlook.is_urgent,
        }
    }

    fn serve(&mut self, office: &mut Office, outlook: &Outlook, passed: Duration, now: Now) {
        let turn = Turn::at(now.unix, outlook);
        let is_new_turn = office.turn.replace(turn) != Some(turn);
        let is_round = now.instant >= office.next_round || outlook.is_urgent;
        let may_invite = outlook.shortfall > 0.0 && office.invited.is_none();
        if is_round || may_invite {
            let standard = self.standard(office, outlook, now);
            if is_round {
                office.next_round = now.instant + ROUND;
                let Office { candidates, dial_backs, .. } = office;
                candidates.review(&mut self.core, dial_backs, &standard, now);
            }
            let has_time = turn.has_time(now.unix, outlook);
            if may_invite && is_new_turn && has_time && self.may_act(turn, outlook) {
                self.invite(office, &standard, now);
            }
        }
        if now.instant >= office.next_handover {
            office.next_handover = now.instant + handover::EVERY;
            let first = office.protege;
            handover::relieve(&mut self.core, &self.children, outlook.fill, first, now.unix);
        }
        self.check_own_reach(office, now);
        self.judge_need(office, outlook, now);
        let is_free = self.core.config.role == RoleSetting::Auto;
        if is_free && outlook.surplus > 0.0 && now.instant.since(office.since) >= TENURE {
            let chance = outlook.resign_chance(passed, self.dispensability(office));
            if self.core.rng.random_bool(chance) {
                let fill_percent = percent(outlook.fill);
                office.resign(RoleReason::TooMany { fill_percent }, now.instant);
            }
        }
        let capacity = self.core.config.max_children;
        let starved = capacity < self.core.config.children_setting / 8;
        if !starved {
            office.starved_since = None;
        } else if is_free
            && now.instant.since(*office.starved_since.get_or_insert(now.instant)) >= STARVED
        {
            office.resign(RoleReason::Starved { capacity }, now.instant);
        }
    }

    /// Whether it is for this supernode to add one. Those without children have nobody to invite.
    fn may_act(&self, turn: Turn, outlook: &Outlook) -> bool {
        let able =
            self.core.membership.iter().filter(|member| {
                member.state == SupernodeState::Serving && member.load.children > 0
            });
        turn.is_of(&self.core.me, able.map(|member| &member.node), outlook)
    }

    fn invite(&mut self, office: &mut Office, standard: &Standard, now: Now) {
        let Some((node, fitness)) = office.candidates.best(&self.core, standard, now) else {
            self.core.counters.invitations_without_candidate += 1;
            return;
        };
        let name = self.core.peers.get(&node).and_then(|peer| peer.name()).cloned();
        office.invited = Some(Invitation { node, name, at: now.instant, accepted: false });
        self.core.counters.invitations_sent += 1;
        self.core.send(node, Invite { fill_percent: standard.fill_percent, fitness });
    }

    /// How dispensable this supernode is, from 0 to 2 and 1 on average: the share of the others
    /// that are older, and of those that are fuller.
    fn dispensability(&self, office: &Office) -> f64 {
        let own = self.load();
        let fill = |load: &Load| f64::from(load.children) / f64::from(load.capacity.max(1));
        let (mut others, mut better) = (0.0, 0.0);
        for member in self.core.membership.iter() {
            others += 1.0;
            better += f64::from(u8::from(member.since < office.since_unix));
            better += f64::from(u8::from(fill(&member.load) > fill(&own)));
        }
        if others == 0.0 { 0.0 } else { better / others }
    }
}

/// A share in whole percent, 255 at most.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Cut to the range.
pub(crate) fn percent(share: f64) -> u8 {
    (share * 100.0).round().clamp(0.0, 255.0) as u8
}

/// Whether a new supernode has as many neighbours as are enough, of so many that it knows and does
/// not miss.
fn has_warmed_up(known: usize, linked: usize) -> bool {
    known > 0 && linked >= known.min(WARM_NEIGHBOURS)
}

#[cfg(test)]
mod tests;
