//! Whether a supernode that has just begun is needed: it finds out for itself, and goes again if
//! not, while it has few children.
//!
//! Without that the number of supernodes would only ever be put right by the slow way, over hours:
//! those that come back after they were away have been replaced meanwhile, and of those that are
//! invited at the same moment by several that do not know of each other one may be too many.

use super::RoleReason;
use super::office::{Office, percent};
use super::outlook::Outlook;
use crate::config::Config;
use crate::core::Core;
use crate::io::Now;
use crate::membership::load_pause;
use crate::overlay::Overlay;
use skein_proto::membership::SupernodeState;
use skein_proto::message::RoleSetting;
use skein_proto::{Instant, UnixTime};
use std::time::Duration;

/// How long one that was a supernode when it last ran looks around for those that have taken its
/// place. It is there meanwhile, since nobody else may be.
const RETURN: Duration = Duration::from_secs(60);

/// How long after it went the others have missed it and its children found other parents; then its
/// children count among those of others as soon as these say so ([`load_pause`]). Before that there
/// seems to be less to do than there is, and it does not judge; after it, it goes as soon as it sees
/// that it has been replaced, within seconds and before it has children.
const MISSED: Duration = Duration::from_secs(30);

/// How long one that looks from its beginning takes no children meanwhile: others have them, and what
/// it had taken in would keep it for half a minute until it is handed over. It may be the only one
/// that is there, so it does not wait for long.
pub(super) const LOOK: Duration = Duration::from_secs(10);

/// Neighbours that it takes to see who is there; fewer where there are not as many.
const WITNESSES: usize = 3;

/// How long after it has begun a supernode judges by its own count whether it was needed: by then
/// orphans that nobody counted have found a place.
const PROBATION: Duration = Duration::from_secs(5 * 60);

/// For how long another supernode must have been there to count as one that has taken the place of
/// this one. After an outage of all there is none, and everybody stays.
const ESTABLISHED: Duration = Duration::from_secs(10 * 60);

/// What is judged, and when; the clock starts at the first look at the others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trial {
    /// It was a supernode when it last ran, and is one again unasked.
    /// It looks from some time after it went on, or only at the end if it does not know when that was.
    Return { ends: Option<Instant>, begun: Instant, away: Option<Duration> },
    /// It has been added, or was needed when it came back.
    Probation { ends: Option<Instant> },
}

impl Trial {
    /// What one that becomes a supernode for this reason has yet to find out.
    pub(crate) fn of(reason: &RoleReason, config: &Config, now: Instant) -> Option<Self> {
        match reason {
            RoleReason::Invited { .. } => Some(Self::Probation { ends: None }),
            RoleReason::WasSuper => {
                Some(Self::Return { ends: None, begun: now, away: config.away })
            }
            _ => None,
        }
    }

    /// Whether it may be over at any moment, where so many others are known.
    pub(crate) fn is_brisk(&self, members: usize, now: Instant) -> bool {
        match self {
            Self::Return { begun, away: Some(away), .. } => {
                now.since(*begun) + *away >= MISSED + load_pause(members)
            }
            _ => false,
        }
    }

    /// Whether its time is over.
    fn is_over(&mut self, core: &mut Core, now: Instant) -> bool {
        let (ends, length) = match self {
            Self::Return { ends, away, .. } => {
                let counted = MISSED + load_pause(usize::MAX);
                (ends, RETURN + away.map_or(Duration::ZERO, |away| counted.saturating_sub(away)))
            }
            Self::Probation { ends } => (ends, PROBATION),
        };
        now >= *ends.get_or_insert_with(|| now + core.jitter(length))
    }
}

impl Overlay {
    /// Steps down if this supernode has not been one for long and is not needed.
    pub(super) fn judge_need(&mut self, office: &mut Office, outlook: &Outlook, now: Now) {
        let Some(trial) = &mut office.trial else { return };
        let is_over = trial.is_over(&mut self.core, now.instant);
        // Many have died: it takes some minutes until the count is worth anything again.
        let hurries = outlook.is_urgent || self.core.membership.is_emergency(now.instant);
        let fill_percent = percent(outlook.fill);
        let is_free = self.core.config.role == RoleSetting::Auto;
        let is_brisk = trial.is_brisk(self.core.membership.len(), now.instant);
        let since = office.since_unix;
        match trial {
            Trial::Return { .. }
                if (is_over || is_brisk)
                    && is_free
                    && !hurries
                    && self.is_replaced(since, outlook, now) =>
            {
                self.core.counters.returns_unneeded += 1;
                office.trial = None;
                office.resign(RoleReason::TooMany { fill_percent }, now.instant);
            }
            _ if !is_over => {}
            Trial::Return { .. } => office.trial = Some(Trial::Probation { ends: None }),
            Trial::Probation { ends } if hurries => *ends = None,
            Trial::Probation { .. } => {
                office.trial = None;
                if is_free {
                    self.judge_addition(office, outlook, now);
                }
            }
        }
    }

    /// Steps down if there are too many, and this supernode is one of the last that came.
    fn judge_addition(&mut self, office: &mut Office, outlook: &Outlook, now: Now) {
        let fill_percent = percent(outlook.fill);
        if let RoleReason::Invited { by, .. } = self.election.reason
            && outlook.supernodes > outlook.most
        {
            // Whoever asked had no reason to. A parent that made supernodes of all its children
            // would have them for this time, and once.
            self.election.misled = Some((by, now.instant));
            self.core.counters.invitations_unfounded += 1;
            let supernodes = outlook.supernodes;
            office.resign(RoleReason::NotNeeded { fill_percent, supernodes }, now.instant);
            return;
        }
        if self.later_ones(office.since_unix, now) < outlook.excess {
            office.resign(RoleReason::TooMany { fill_percent }, now.instant);
        }
    }

    /// Whether as many as are needed were there before this one came back, and as many are linked as
    /// it takes to know that. Of several that come back at the same time the first ones stay.
    fn is_replaced(&self, since: UnixTime, outlook: &Outlook, now: Now) -> bool {
        if self.neighbours.count() < self.core.membership.len().min(WITNESSES) {
            return false;
        }
        let own = (since, self.core.me);
        let (mut established, mut earlier) = (0_u32, 0_u32);
        for member in self.core.membership.iter() {
            let is_old = now.unix.since(member.since) >= ESTABLISHED;
            established += u32::from(is_old && member.state == SupernodeState::Serving);
            earlier += u32::from((member.since, member.node) < own);
        }
        // Where most are new, all were out, and nobody knows yet how many children there are.
        let is_settled = established.saturating_mul(2) >= outlook.wanted;
        established >= outlook.wanted || (is_settled && earlier >= outlook.wanted)
    }

    /// How many came after this one and are not established either: they go before it, so that of
    /// several that are too many as many go as that, and those that have the fewest children.
    fn later_ones(&self, since: UnixTime, now: Now) -> f64 {
        let own = (since, self.core.me);
        let later = self.core.membership.iter().filter(|member| {
            (member.since, member.node) > own && now.unix.since(member.since) < ESTABLISHED
        });
        later.count() as f64
    }
}
