//! Whether a rumour about supernodes is believed, and what follows from it.

use super::announcer::MIN_SPACING_SECS;
use super::epidemic::Pace;
use super::names::MAX_PER_NAME;
use super::{Member, Membership};
use crate::counters::Counters;
use crate::io::Now;
use skein_proto::credential::CLOCK_SKEW;
use skein_proto::membership::{Announcement, SupernodeState, Suspicion};
use skein_proto::rumour::{News, OwnerNumber, Topic};
use skein_proto::{Instant, KeyPair, NodeId, Rumour, Signed, Username};

/// What became of a rumour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was new, and is passed on.
    Taken,
    /// It was not new.
    Ignored,
    /// It was new, but is of no use here.
    Useless,
    /// A signature is wrong: whoever passed it on has broken a rule.
    Forged,
}

impl Membership {
    /// Judges a rumour that a neighbour told.
    pub(crate) fn hear(
        &mut self,
        rumour: Rumour,
        from: NodeId,
        login_key: &NodeId,
        counters: &mut Counters,
        now: Now,
    ) -> Verdict {
        if rumour.expires() <= now.unix || !self.epidemic.is_new(rumour.topic(), rumour.id()) {
            counters.rumours_old += 1;
            return Verdict::Ignored;
        }
        let verdict = match rumour.news() {
            News::Announcement(announcement) => {
                match self.weigh_announcement((&rumour, announcement), counters, now) {
                    Some(pace) => self.take_if_sound(&rumour, login_key, |this, rumour| {
                        this.on_announcement(rumour, from, pace, counters, now);
                    }),
                    None => Verdict::Useless,
                }
            }
            News::Suspicion(signed) => {
                let suspicion = *signed.unverified();
                match self.weigh_suspicion(&suspicion, counters, now) {
                    Some(name) => self.take_if_sound(&rumour, login_key, |this, rumour| {
                        this.on_suspicion(rumour, &suspicion, name, Some(from), now);
                    }),
                    None => Verdict::Useless,
                }
            }
            News::Wish(standing) => {
                if self.wishes.would_take(standing, now) {
                    self.take_if_sound(&rumour, login_key, |this, rumour| {
                        this.admit_wish(rumour, (Some(from), Pace::Slow), counters, now);
                    })
                } else {
                    Verdict::Useless
                }
            }
        };
        match verdict {
            Verdict::Taken => counters.rumours_taken += 1,
            Verdict::Useless => counters.rumours_refused += 1,
            Verdict::Ignored => {}
            Verdict::Forged => counters.rumours_forged += 1,
        }
        verdict
    }

    /// The signatures come last: they cost more than all the rest.
    fn take_if_sound(
        &mut self,
        rumour: &Rumour,
        login_key: &NodeId,
        take: impl FnOnce(&mut Self, Rumour),
    ) -> Verdict {
        if rumour.check_signatures(login_key).is_err() {
            return Verdict::Forged;
        }
        take(self, rumour.clone());
        Verdict::Taken
    }

    /// Whether an announcement would be believed if its signatures hold, and how fast it spreads.
    fn weigh_announcement(
        &mut self,
        (rumour, announcement): (&Rumour, &Announcement),
        counters: &mut Counters,
        now: Now,
    ) -> Option<Pace> {
        let record = announcement.record.unverified();
        let dated = [record.issued, announcement.credential.unverified().issued];
        let in_future = dated.iter().any(|time| *time > now.unix.plus(CLOCK_SKEW));
        if in_future || record.addresses.is_empty() {
            return None;
        }
        if record.node == self.me.1 {
            return Some(Pace::Slow);
        }
        let owner = rumour.owner();
        let before = self.rumour(&record.node).map(Rumour::owner);
        if before.is_none() && record.state == SupernodeState::Leaving {
            return None;
        }
        // Neither those that come nor those that change hands may fill the view in one name.
        let name = &announcement.credential.unverified().name;
        let is_full = before.is_none() && self.stored() >= self.room;
        if is_full || (before != Some(owner) && self.owns_enough(name, owner)) {
            counters.members_over_limit += 1;
            return None;
        }
        let Some(before) = self.rumour(&record.node).and_then(Rumour::record) else {
            return Some(Pace::Fast);
        };
        if before.state != record.state {
            // Forward only: else two states could take turns without a pause.
            let forward = record.state > before.state || spaced(before, record);
            return forward.then_some(Pace::Fast);
        }
        if self.doubts.is_accused(&record.node) {
            return Some(Pace::Fast);
        }
        spaced(before, record).then_some(Pace::Slow)
    }

    /// Whether this name owns as many supernodes as one may.
    fn owns_enough(&mut self, name: &Username, owner: OwnerNumber) -> bool {
        if self.names.is_full() {
            let store = self.epidemic.store(Topic::Supernodes);
            let names = store.iter().filter_map(Rumour::announcement);
            let names = names.map(|known| &known.credential.unverified().name);
            self.names.rebuild(names, store.len());
        }
        if !self.names.may_contain(name) {
            return false;
        }
        let all = self.epidemic.store(Topic::Supernodes).iter();
        all.filter(|known| known.owner() == owner).count() >= MAX_PER_NAME
    }

    fn on_announcement(
        &mut self,
        rumour: Rumour,
        from: NodeId,
        pace: Pace,
        counters: &mut Counters,
        now: Now,
    ) {
        let Some(record) = rumour.record() else { return };
        if record.node == self.me.1 {
            // An earlier life of this node, or somebody who has its key: the last word is its own.
            self.announcer.outdo(rumour.id().version, now.instant);
            return;
        }
        let restarted = self
            .rumour(&record.node)
            .and_then(Rumour::record)
            .is_some_and(|before| before.since != record.since);
        if self.doubts.on_refuted(&record.node, restarted) {
            counters.suspicions_refuted += u64::from(!restarted);
        }
        self.admit(rumour, Some(from), pace);
    }

    /// Takes in a wish that was found to be sound.
    pub(crate) fn admit_wish(
        &mut self,
        rumour: Rumour,
        (from, pace): (Option<NodeId>, Pace),
        counters: &mut Counters,
        now: Now,
    ) {
        counters.wish_looks_over_limit += u64::from(!self.wishes.insert(rumour.clone(), now));
        self.epidemic.insert(rumour, from, pace);
    }

    /// Takes in an announcement that was found to be true.
    pub(crate) fn admit(&mut self, rumour: Rumour, from: Option<NodeId>, pace: Pace) {
        let before = self.epidemic.insert(rumour.clone(), from, pace);
        if before.as_ref().map(Rumour::owner) != Some(rumour.owner())
            && let Some(announcement) = rumour.announcement()
        {
            self.names.insert(&announcement.credential.unverified().name);
        }
        self.note(before.as_ref().and_then(Rumour::record), rumour.record());
    }

    /// Whether a suspicion would be believed if its signature holds; if so, its witness's name.
    fn weigh_suspicion(
        &self,
        suspicion: &Suspicion,
        counters: &mut Counters,
        now: Now,
    ) -> Option<Username> {
        let own = suspicion.subject == self.me.1;
        if suspicion.issued > now.unix.plus(CLOCK_SKEW)
            || suspicion.witness == self.me.1
            || suspicion.witness == suspicion.subject
        {
            return None;
        }
        let version = suspicion.version.0;
        let present = if own {
            self.announcer.is_present(version, now.unix)
        } else {
            self.get(&suspicion.subject).is_some_and(|member| member.issued.0 == version)
        };
        let witness = self.rumour(&suspicion.witness)?.announcement()?;
        let name = &witness.credential.unverified().name;
        let believed =
            self.doubts.may_testify(&suspicion.subject, version, &suspicion.witness, name);
        counters.suspicions_refused += u64::from(present && !believed);
        (present && believed).then(|| name.clone())
    }

    fn on_suspicion(
        &mut self,
        rumour: Rumour,
        suspicion: &Suspicion,
        name: Username,
        from: Option<NodeId>,
        now: Now,
    ) {
        let version = suspicion.version.0;
        if suspicion.subject == self.me.1 {
            self.announcer.outdo(version, now.instant);
            return;
        }
        let others = self.present;
        let witness = (suspicion.witness, name);
        self.doubts.testify(suspicion.subject, version, witness, others, now.instant);
        self.epidemic.insert(rumour, from, Pace::Fast);
    }

    /// This node could not reach a supernode: it says so.
    pub(crate) fn testify(
        &mut self,
        subject: NodeId,
        version: u64,
        (key, name): (&KeyPair, Username),
        now: Now,
    ) {
        if self.get(&subject).is_none_or(|member| member.issued.0 != version) {
            return;
        }
        let suspicion = Suspicion {
            subject,
            version: skein_proto::UnixTime(version),
            witness: self.me.1,
            issued: now.unix,
        };
        let rumour = Rumour::new(News::Suspicion(Signed::new(suspicion, key)));
        self.on_suspicion(rumour, &suspicion, name, None, now);
    }

    /// A supernode is dead: it is forgotten, and what it said before is not believed again.
    pub(crate) fn lay_to_rest(&mut self, node: &NodeId, now: Instant) {
        let place = skein_proto::Place::of_node(node).short();
        self.doubts.on_gone(node);
        if let Some(rumour) = self.epidemic.bury(Topic::Supernodes, place) {
            self.count_death(now);
            self.note(rumour.record(), None);
        }
    }

    /// Forgets what has expired in a part of the ring, the next one each time.
    pub(crate) fn sweep(&mut self, now: Now) {
        let buckets: Vec<usize> =
            (self.swept..self.swept + SWEEP).map(|at| at % super::store::BUCKETS).collect();
        self.swept = (self.swept + SWEEP) % super::store::BUCKETS;
        for rumour in self.epidemic.expire(&buckets, now.unix) {
            match rumour.news() {
                News::Announcement(_) => {
                    if let Some(record) = rumour.record() {
                        self.doubts.on_gone(&record.node);
                    }
                    self.note(rumour.record(), None);
                }
                News::Suspicion(signed) => self.doubts.on_expired(&signed.unverified().subject),
                News::Wish(_) => self.wishes.remove(rumour.id().place),
            }
        }
    }
}

/// Parts of the ring looked through at each tidying: all of them within a minute.
const SWEEP: usize = 22;

/// Whether there is a pause between two records of a supernode.
fn spaced(before: &Member, after: &Member) -> bool {
    after.issued.0 >= before.issued.0.saturating_add(MIN_SPACING_SECS)
}
