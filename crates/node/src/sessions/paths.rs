//! The relays of a session, and which of them its packets go through while there is no direct
//! path.

use super::relayed::{NearEnd, cost};
use super::whereabouts::Own;
use skein_net::Endpoint;
use skein_net::paths::{Candidate, PathSettings, PathState, Paths as Direct};
use skein_net::session::Session;
use skein_proto::NodeId;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Slots that a session has at most: the one in use, the reserve, and two that are coming or going.
pub(super) const MAX_SLOTS: usize = 4;

/// What a relay may cost at most, in percent of the one in use, for a session to move to it without
/// need: a move costs QUIC its estimate of the path.
pub(super) const WORTH_MOVING: u32 = 70;

/// The same when the offer has just been answered. The handshake went over whichever relay was there
/// first, and there is no estimate yet; two that are about as good do not take turns.
pub(super) const WORTH_BEGINNING: u32 = 95;

#[derive(Clone, Debug)]
struct Slot {
    near: Arc<NearEnd>,
    /// The peer's round trip to the relay, once its end is bound.
    far: Option<Duration>,
    /// Whether it let nothing through when it should have.
    failed: bool,
}

impl Slot {
    fn cost(&self) -> Option<Duration> {
        Some(cost(self.near.rtt(), self.far?, self.near.load_percent))
    }
}

#[derive(Debug, Default)]
struct Slots {
    all: Vec<Slot>,
    used: Option<u64>,
    /// Those that were dropped, until the peer is told.
    dropped: Vec<(NodeId, u64)>,
}

/// How the two ends may find a direct path.
#[derive(Debug, Default)]
struct Meeting {
    /// What it takes, until it is begun; nothing where this end wants no direct path.
    how: Option<(Endpoint, PathSettings)>,
    /// Where the peer may be, as it said last.
    theirs: Vec<Candidate>,
    /// It has said so over the session itself, which is newer than what led to it.
    has_news: bool,
}

impl Meeting {
    /// What led to the session says where the peer may be. Answers whether that is the last word:
    /// what was said over the session may have overtaken it, and is newer.
    fn expect(&mut self, theirs: &[Candidate]) -> bool {
        if !self.has_news {
            self.theirs = theirs.to_vec();
        }
        !self.has_news
    }

    /// The peer says over the session where it may be; earlier places do not count any more.
    fn meet(&mut self, theirs: &[Candidate]) {
        self.has_news = true;
        self.theirs = theirs.to_vec();
    }
}

/// The relays of a session.
#[derive(Debug)]
pub(super) struct Paths {
    session: Arc<Session>,
    slots: Mutex<Slots>,
    /// What looks for a direct path, where both ends want one.
    direct: OnceLock<Direct>,
    meeting: Mutex<Meeting>,
    /// Where this end is; what it was when the session began counts as seen.
    moves: Mutex<watch::Receiver<Own>>,
}

impl Paths {
    /// Takes over a session that has no route yet. Of `moves`, the peer knows what has been seen.
    pub(super) fn new(session: Session, moves: watch::Receiver<Own>) -> Self {
        let session = Arc::new(session);
        let (slots, meeting, moves) = (Mutex::default(), Mutex::default(), Mutex::new(moves));
        Self { session, slots, direct: OnceLock::new(), meeting, moves }
    }

    /// Where this end is, from when the session began.
    pub(super) fn moves(&self) -> watch::Receiver<Own> {
        self.known_moves().clone()
    }

    /// Where this end is, as it is known at present and the peer is being told.
    pub(super) fn tells(&self) -> Own {
        self.known_moves().borrow_and_update().clone()
    }

    fn known_moves(&self) -> std::sync::MutexGuard<'_, watch::Receiver<Own>> {
        self.moves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a direct path be looked for, as soon as both ends have said where they are.
    pub(super) fn may_be_direct(&self, endpoint: &Endpoint, settings: PathSettings) {
        self.meeting().how = Some((endpoint.clone(), settings));
    }

    /// The offer or the answer says where the peer may be.
    pub(super) fn expect(&self, theirs: Vec<Candidate>) {
        if self.meeting().expect(&theirs) {
            self.take_up(theirs);
        }
    }

    /// The peer says over the session where it may be.
    pub(super) fn meet(&self, theirs: Vec<Candidate>) {
        self.meeting().meet(&theirs);
        self.take_up(theirs);
    }

    fn take_up(&self, theirs: Vec<Candidate>) {
        match self.direct.get() {
            Some(direct) => direct.meet(theirs),
            None => self.look_for_direct(),
        }
    }

    /// Begins to look for a direct path if both ends have said where they are, the session has a
    /// relay, and that has not been done yet.
    pub(super) fn look_for_direct(&self) {
        let slots = self.slots();
        let mut meeting = self.meeting();
        let relay = slots.used().map(|slot| slot.near.route());
        let ours_known = !self.known_moves().borrow().candidates.is_empty();
        if relay.is_none() || meeting.theirs.is_empty() || !ours_known {
            return;
        }
        let Some((endpoint, settings)) = meeting.how.take() else { return };
        let direct = Direct::start(&endpoint, Arc::clone(&self.session), settings);
        direct.relay_over(relay);
        direct.meet(meeting.theirs.clone());
        // Nobody else begins it.
        let _ = self.direct.set(direct);
    }

    fn meeting(&self) -> std::sync::MutexGuard<'_, Meeting> {
        self.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The direct path that packets take, if there is one.
    pub(super) fn direct(&self) -> Option<SocketAddr> {
        self.direct.get()?.state().direct
    }

    /// Tells of each change of the direct path, if one is looked for.
    pub(super) fn watch_direct(&self) -> Option<watch::Receiver<PathState>> {
        self.direct.get().map(Direct::watch)
    }

    /// The session under it.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a slot whose near end is bound, or is about to be. Answers false if there are too many.
    pub(super) fn add(&self, near: Arc<NearEnd>, far: Option<Duration>) -> bool {
        let mut slots = self.slots();
        if slots.all.iter().any(|slot| Arc::ptr_eq(&slot.near, &near)) {
            return true;
        }
        if slots.all.len() >= MAX_SLOTS || !self.session.listen(near.route()) {
            return false;
        }
        slots.all.push(Slot { near, far, failed: false });
        true
    }

    /// The peer has bound its end of a slot, too. Answers whether that is news.
    pub(super) fn far_bound(&self, slot: u64, rtt: Duration) -> bool {
        let mut slots = self.slots();
        let found = slots.all.iter_mut().find(|found| found.near.slot() == slot);
        found.is_some_and(|found| found.far.replace(rtt).is_none())
    }

    /// The near ends of all slots.
    pub(super) fn all(&self) -> Vec<Arc<NearEnd>> {
        self.slots().all.iter().map(|slot| Arc::clone(&slot.near)).collect()
    }

    /// One that was added before its near end was bound could not be.
    pub(super) fn could_not_bind(&self, slot: u64) {
        let mut slots = self.slots();
        if slots.used == Some(slot) {
            slots.used = None;
        }
        self.drop_from(&mut slots, slot);
    }

    /// Whether both ends of any slot are bound.
    pub(super) fn has_any(&self) -> bool {
        self.slots().best(|_, _| true).is_some()
    }

    /// The relays that it has slots of.
    pub(super) fn relays(&self) -> Vec<NodeId> {
        self.slots().all.iter().map(|slot| slot.near.relay).collect()
    }

    /// The near end that packets go through while there is no direct path.
    pub(super) fn used(&self) -> Option<Arc<NearEnd>> {
        self.slots().used().map(|slot| Arc::clone(&slot.near))
    }

    /// The best of those that are not in use, if both ends of it are bound.
    pub(super) fn reserve(&self) -> Option<Arc<NearEnd>> {
        self.slots().best(|slots, slot| slots.used != Some(slot.near.slot()) && !slot.failed)
    }

    /// The near ends of those that are not in use, and are bound at both ends.
    pub(super) fn spares(&self) -> Vec<Arc<NearEnd>> {
        let slots = self.slots();
        let spare = |slot: &&Slot| slots.used != Some(slot.near.slot()) && slot.far.is_some();
        slots.all.iter().filter(spare).map(|slot| Arc::clone(&slot.near)).collect()
    }

    /// What has come along what is in use: along everything but the spare slots.
    pub(super) fn heard(&self) -> u64 {
        let spares: Vec<_> = self.spares().iter().map(|near| near.route()).collect();
        self.session.received_besides(&spares)
    }

    /// A round trip through the slot in use, as both ends have measured it when they bound theirs,
    /// this one the last time.
    pub(super) fn used_rtt(&self) -> Option<Duration> {
        let slots = self.slots();
        let used = slots.used()?;
        Some(used.near.lately() + used.far?)
    }

    /// Sends through the best of all from now on; through the first one, where the peer has bound
    /// none yet.
    pub(super) fn use_best(&self) -> Option<Arc<NearEnd>> {
        let mut slots = self.slots();
        let first = slots.all.first().map(|slot| Arc::clone(&slot.near));
        let best = slots.best(|_, slot| !slot.failed).or(first)?;
        self.turn(&mut slots, &best);
        Some(best)
    }

    /// The best one, if it costs less than so much, in percent of the one in use.
    pub(super) fn better(&self, worth: u32) -> Option<u64> {
        let slots = self.slots();
        let used = slots.used()?.cost()?;
        let best = slots.best(|_, slot| !slot.failed)?;
        let found = slots.all.iter().find(|slot| slot.near.slot() == best.slot())?.cost()?;
        (found * 100 < used * worth).then_some(best.slot())
    }

    /// Sends through the best of these from now on. Answers false if none of them is there.
    pub(super) fn follow(&self, these: &[u64]) -> bool {
        let mut slots = self.slots();
        let Some(best) = slots.best(|_, slot| these.contains(&slot.near.slot())) else {
            return false;
        };
        self.turn(&mut slots, &best);
        true
    }

    /// Sends through this one from now on. Answers false if it is not there, or is in use.
    pub(super) fn move_to(&self, slot: u64) -> bool {
        let mut slots = self.slots();
        if slots.used == Some(slot) {
            return false;
        }
        let found = slots.all.iter().find(|found| found.near.slot() == slot);
        let Some(near) = found.map(|found| Arc::clone(&found.near)) else { return false };
        self.turn(&mut slots, &near);
        true
    }

    /// The one in use lets nothing through: goes on with the next best, of those that are known to
    /// `work` if there are any. One that answers nothing is forgotten; one that only seems to work is
    /// still listened to, since the peer may think it good.
    pub(super) fn abandon(&self, slot: u64, dead: bool, work: &[u64]) -> Option<Arc<NearEnd>> {
        let mut slots = self.slots();
        let next = slots.best(|_, other| {
            let number = other.near.slot();
            number != slot && (work.contains(&number) || work.is_empty() && !other.failed)
        })?;
        for found in &mut slots.all {
            let number = found.near.slot();
            found.failed = number == slot || found.failed && number != next.slot();
        }
        self.turn(&mut slots, &next);
        if dead {
            self.drop_from(&mut slots, slot);
        }
        Some(next)
    }

    /// Forgets a slot, unless it is in use.
    pub(super) fn drop_slot(&self, slot: u64) {
        let mut slots = self.slots();
        if slots.used != Some(slot) {
            self.drop_from(&mut slots, slot);
        }
    }

    /// Makes room where a slot has failed and nothing else is to be done with it.
    pub(super) fn drop_failed(&self) {
        let mut slots = self.slots();
        let used = slots.used;
        let failed = |slot: &&Slot| slot.failed && used != Some(slot.near.slot());
        let failed: Vec<u64> = slots.all.iter().filter(failed).map(|s| s.near.slot()).collect();
        failed.into_iter().for_each(|slot| self.drop_from(&mut slots, slot));
    }

    /// The relays and slots of which this end takes nothing any more, since this was asked last.
    pub(super) fn take_dropped(&self) -> Vec<(NodeId, u64)> {
        std::mem::take(&mut self.slots().dropped)
    }

    fn drop_from(&self, slots: &mut Slots, slot: u64) {
        if let Some(at) = slots.all.iter().position(|found| found.near.slot() == slot) {
            let gone = slots.all.swap_remove(at);
            slots.dropped.push((gone.near.relay, slot));
            self.session.forget(gone.near.route());
        }
    }

    fn turn(&self, slots: &mut Slots, near: &NearEnd) {
        slots.used = Some(near.slot());
        match self.direct.get() {
            Some(direct) => direct.relay_over(Some(near.route())),
            None => self.session.send_along(near.route()),
        }
    }
}

impl Slots {
    fn used(&self) -> Option<&Slot> {
        self.all.iter().find(|slot| self.used == Some(slot.near.slot()))
    }

    fn best(&self, fits: impl Fn(&Self, &Slot) -> bool) -> Option<Arc<NearEnd>> {
        let fit = self.all.iter().filter(|slot| fits(self, slot));
        let costs = fit.filter_map(|slot| Some((slot.cost()?, slot.near.slot(), slot)));
        let best = costs.min_by_key(|(cost, number, _)| (*cost, *number))?;
        Some(Arc::clone(&best.2.near))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_net::paths::CandidateKind;

    #[test]
    fn an_offer_that_was_overtaken_by_the_session_takes_back_nothing() {
        let at = |port| {
            vec![Candidate {
                address: ([192, 0, 2, 1], port).into(),
                kind: CandidateKind::Observed,
            }]
        };
        let mut meeting = Meeting::default();
        assert!(meeting.expect(&at(1)));
        assert_eq!(meeting.theirs, at(1));
        meeting.meet(&at(2));
        assert!(!meeting.expect(&[]), "a caller that did not know yet where it is");
        assert_eq!(meeting.theirs, at(2));
    }
}
