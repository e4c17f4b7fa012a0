//! Which arc of the ring a supernode keeps records for, and how it comes by those of an arc that
//! is new to it.
//!
//! Whoever has come to keep an arc asks for its records; so they move once, whoever left or joined
//! and however many saw it. Who keeps them is asked in turn until one answers, page by page
//! ([`super::pages`]): so the one that asks says how fast they come, and grants them the work that
//! it would grant nobody who was not asked.

use crate::core::{Core, earlier};
use crate::io::Now;
use crate::membership::Place;
use skein_proto::directory::{ArcSent, ArcWanted};
use skein_proto::{Instant, NodeId};
use std::time::Duration;

use super::COPIES;
use super::arc::Arc;
use super::pages::PAGE_WORK;

/// How long to wait before asking: several may come or go within some seconds, and a newcomer
/// hears of the others one by one.
const SETTLE: Duration = Duration::from_secs(4);

/// How long a page may take: the other one may have as many askers as there are parts of an arc, and
/// sends ten messages in a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one and the same supernode is asked for page after page: a table that is full takes half
/// of it. Whoever sends little at a time keeps nobody from asking the next one.
const SOURCE_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Pause between two pages: to check one takes 0.15 s of a core.
const PAGE_PAUSE: Duration = Duration::from_millis(500);

/// How long to wait where nobody who was asked has answered.
const PAUSE: Duration = Duration::from_secs(20);

/// Rounds over all who may have an arc; then what is there has to be put anew by its owners.
const ROUNDS: u8 = 3;

/// How long this supernode says of an arc that it is still fetching it: three that do not answer
/// take as long. Nobody can keep it from saying what it has for longer, whatever they send.
const DOUBT: Duration = Duration::from_secs(3 * 60);

/// Arcs asked for at the same time. Beyond it the whole of what is kept is asked for.
const MAX_PULLS: usize = 24;

#[derive(Debug)]
struct Pull {
    arc: Arc,
    /// What has not come yet from the one that is being asked.
    rest: Arc,
    /// How many records that came from it are here now, and whether it had all of what it has sent
    /// and all of that has come.
    records: u32,
    whole: bool,
    /// How many records of the page that it was asked for have come, sound ones or not.
    came: u32,
    due: Instant,
    tried: Vec<NodeId>,
    /// Who is asked for the next page.
    source: Option<NodeId>,
    /// Until when it is asked.
    source_ends: Instant,
    /// Whether that one was asked and has not answered.
    is_asked: bool,
    /// Work that the page which was asked for may cause.
    grant: usize,
    rounds: u8,
    /// Whether somebody did not answer in this round.
    is_silent: bool,
    /// Whether all who may have the arc have said what they have.
    all_heard: bool,
    /// When it is no excuse any more that it is being fetched.
    doubt_ends: Instant,
}

/// Which arc is kept, and which ones are being asked for.
#[derive(Debug, Default)]
pub(super) struct Reach {
    arc: Option<Arc>,
    /// What was kept at the last sweep: what has just moved away stays for as long as it takes to
    /// be fetched.
    before: Option<Arc>,
    pulls: Vec<Pull>,
}

impl Reach {
    /// Whether a record is kept at a sweep.
    pub(super) fn keeps(&self, place: Place) -> bool {
        let holds = |arc: &Option<Arc>| arc.is_none_or(|arc| arc.contains(place));
        holds(&self.arc) || self.before.is_some_and(|arc| arc.contains(place))
    }

    /// A sweep is over.
    pub(super) fn swept(&mut self) {
        self.before = self.arc;
    }

    /// Whether records of this place, which belongs to this supernode, are still to come. It may
    /// have come to keep them since it last looked.
    pub(super) fn is_pending(&self, place: Place, now: Now) -> bool {
        let doubtful =
            |pull: &Pull| pull.missing().contains(place) && pull.is_doubtful(now.instant);
        self.arc.is_none_or(|arc| !arc.contains(place)) || self.pulls.iter().any(doubtful)
    }

    /// Whether some of an arc is still being asked for, of those who may have more of it.
    pub(super) fn is_fetching(&self, arc: Arc, now: Now) -> bool {
        let doubtful = |pull: &Pull| pull.missing().meets(&arc) && pull.is_doubtful(now.instant);
        self.arc.is_none() || self.pulls.iter().any(doubtful)
    }

    /// Whether a peer may cause so much work with records, since it was asked for them; if so, it
    /// is accounted for.
    pub(super) fn may_bring(&mut self, peer: NodeId, work: usize) -> bool {
        let asked =
            |pull: &&mut Pull| pull.source == Some(peer) && pull.is_asked && pull.grant >= work;
        let pull = self.pulls.iter_mut().find(asked);
        if let Some(pull) = pull {
            pull.grant -= work;
            return true;
        }
        false
    }

    /// Looks whether the arc is another one by now.
    pub(super) fn refresh(&mut self, core: &mut Core, now: Now) {
        let place = Place::of_node(&core.me);
        let own = core.membership.own_arc(COPIES);
        let arc = Arc { after: own.after.unwrap_or(place), to: place };
        if core.membership.len() == 0 || self.arc == Some(arc) {
            return;
        }
        let news = match self.arc.replace(arc) {
            None => Some(arc),
            Some(old) => arc.beyond(&old),
        };
        let Some(mut news) = news else { return };
        if self.pulls.len() >= MAX_PULLS {
            core.counters.directory_pulls_over_limit += 1;
            self.pulls.clear();
            news = arc;
        }
        let due = now.instant + core.jitter(SETTLE);
        self.pulls.extend(
            news.cut(own.others.into_iter().rev()).into_iter().map(|part| Pull::new(part, due)),
        );
    }

    /// Asks for what is missing.
    pub(super) fn step(&mut self, core: &mut Core, now: Now) {
        let mut ended = Vec::new();
        for (number, pull) in self.pulls.iter_mut().enumerate() {
            if now.instant < pull.due {
                continue;
            }
            if pull.is_asked {
                core.counters.directory_arcs_unanswered += 1;
                pull.give_up();
            }
            if !pull.go_on(core, now) {
                ended.push(number);
            }
        }
        for number in ended.into_iter().rev() {
            self.pulls.swap_remove(number);
        }
    }

    /// A record of this place has come from a peer, and is here now or not.
    pub(super) fn on_record(&mut self, peer: NodeId, place: Place, is_here: bool) {
        let asked = |pull: &&mut Pull| {
            pull.source == Some(peer) && pull.is_asked && pull.rest.contains(place)
        };
        if let Some(pull) = self.pulls.iter_mut().find(asked) {
            pull.came = pull.came.saturating_add(1);
            pull.records = pull.records.saturating_add(u32::from(is_here));
        }
    }

    /// A peer says that it has sent all records up to a place.
    pub(super) fn on_sent(&mut self, core: &mut Core, peer: NodeId, sent: ArcSent, now: Now) {
        let (after, to) = (Place(sent.after), Place(sent.to));
        let asked = |pull: &Pull| {
            pull.source == Some(peer)
                && pull.is_asked
                && pull.rest.after == after
                && pull.rest.contains(to)
        };
        let Some(number) = self.pulls.iter().position(asked) else { return };
        let pull = &mut self.pulls[number];
        pull.is_asked = false;
        // Its number is a word, and what has come is what there is.
        pull.whole &= sent.whole && pull.came >= sent.records;
        if to != pull.rest.to {
            pull.rest.after = to;
            pull.due = now.instant + PAGE_PAUSE;
            return;
        }
        core.counters.directory_arcs_taken += 1;
        // One that has nothing may be as new as this one, or lie: the next one is asked as well.
        let enough = pull.records > 0 || pull.tried.len() > 1;
        if pull.whole && enough {
            self.pulls.swap_remove(number);
        } else {
            pull.begin_anew();
        }
    }

    /// A question could not be delivered.
    pub(super) fn on_failed(&mut self, peer: NodeId) {
        let asked = |pull: &&mut Pull| pull.source == Some(peer) && pull.is_asked;
        for pull in self.pulls.iter_mut().filter(asked) {
            pull.give_up();
            pull.due = Instant::START;
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        self.pulls.iter().map(|pull| pull.due).fold(None, |a, b| earlier(a, Some(b)))
    }
}

impl Pull {
    fn new(arc: Arc, due: Instant) -> Self {
        Self {
            arc,
            rest: arc,
            records: 0,
            whole: true,
            came: 0,
            due,
            tried: Vec::new(),
            source: None,
            source_ends: due,
            is_asked: false,
            grant: 0,
            rounds: 0,
            is_silent: false,
            all_heard: false,
            doubt_ends: due + DOUBT,
        }
    }

    /// What may be missing: not what one has sent that had all of it, as far as it knew, and had
    /// something.
    fn missing(&self) -> Arc {
        if self.whole && self.records > 0 { self.rest } else { self.arc }
    }

    /// Whether there may be somebody who has what is missing.
    fn is_doubtful(&self, now: Instant) -> bool {
        !self.all_heard && now < self.doubt_ends
    }

    /// The one that is being asked does not answer. The next one goes on where it left off.
    fn give_up(&mut self) {
        self.is_silent = true;
        if self.missing() == self.rest {
            (self.source, self.is_asked) = (None, false);
        } else {
            self.begin_anew();
        }
    }

    /// The next one is asked for all of it.
    fn begin_anew(&mut self) {
        (self.source, self.is_asked) = (None, false);
        (self.rest, self.records, self.whole) = (self.arc, 0, true);
        self.due = Instant::START;
    }

    /// Asks for the next page, or the next one who may have the arc. Answers whether there is
    /// anything left to do.
    fn go_on(&mut self, core: &mut Core, now: Now) -> bool {
        if self.source.is_some() && now.instant >= self.source_ends {
            self.give_up();
        }
        let next = || self.candidates(core).into_iter().find(|node| !self.tried.contains(node));
        let Some(node) = self.source.or_else(next) else {
            self.rounds += 1;
            self.tried.clear();
            self.all_heard |= !self.is_silent;
            self.is_silent = false;
            self.due = now.instant + core.jitter(PAUSE);
            return self.rounds < ROUNDS;
        };
        if self.source.is_none() {
            self.tried.push(node);
            self.source_ends = now.instant + SOURCE_PATIENCE;
        }
        self.source = Some(node);
        self.is_asked = true;
        self.came = 0;
        self.grant = PAGE_WORK;
        self.due = now.instant + PATIENCE;
        core.deliver(node, ArcWanted { after: self.rest.after.0, to: self.rest.to.0 }, now);
        true
    }

    /// Who may have the arc, the likeliest first. All its places have the same holders; of those
    /// who kept them before, the first one alive is the first of all now.
    fn candidates(&self, core: &Core) -> Vec<NodeId> {
        let holders = core.membership.successors(self.arc.to, COPIES + 1);
        holders.into_iter().filter(|node| *node != core.me).collect()
    }
}

#[cfg(test)]
impl Reach {
    /// Everything that was asked for has come.
    pub(super) fn forget_pulls(&mut self) {
        self.pulls.clear();
    }
}
