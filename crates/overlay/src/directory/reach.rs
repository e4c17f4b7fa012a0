//! Which arc of the ring a supernode keeps records for, and how it comes by those of an arc that
//! is new to it.
//!
//! Whoever has come to keep an arc asks for its records; so they move once, whoever left or joined
//! and however many saw it. Who keeps them is asked in turn until one answers.

use crate::core::{Core, earlier};
use crate::io::Now;
use crate::membership::Place;
use skein_proto::directory::{ArcSent, ArcWanted};
use skein_proto::{Instant, NodeId};
use std::time::Duration;

use super::arc::Arc;
use super::{COPIES, Holder};

/// How long to wait before asking: several may come or go within some seconds, and a newcomer
/// hears of the others one by one.
const SETTLE: Duration = Duration::from_secs(4);

/// How long the records of an arc may take; with ten messages a second this is enough for 20 MB.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait where nobody who was asked has answered.
const PAUSE: Duration = Duration::from_secs(20);

/// Rounds over all who may have an arc; then what is there has to be put anew by its owners.
const ROUNDS: u8 = 3;

/// Arcs asked for at the same time. Beyond it the whole of what is kept is asked for.
const MAX_PULLS: usize = 24;

#[derive(Debug)]
struct Pull {
    arc: Arc,
    due: Instant,
    tried: Vec<NodeId>,
    asked: Option<NodeId>,
    rounds: u8,
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

    /// Whether records of this place are still being asked for.
    pub(super) fn is_pending(&self, place: Place) -> bool {
        self.arc.is_none() || self.pulls.iter().any(|pull| pull.arc.contains(place))
    }

    /// Whether some of an arc is still being asked for.
    fn is_fetching(&self, arc: Arc) -> bool {
        self.arc.is_none() || self.pulls.iter().any(|pull| pull.arc.meets(&arc))
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
            if pull.asked.take().is_some() {
                core.counters.directory_arcs_unanswered += 1;
            }
            if !pull.ask_next(core, now) {
                ended.push(number);
            }
        }
        for number in ended.into_iter().rev() {
            self.pulls.swap_remove(number);
        }
    }

    /// All records of an arc have come.
    pub(super) fn on_sent(&mut self, core: &mut Core, peer: NodeId, sent: ArcSent) {
        let arc = Arc { after: Place(sent.after), to: Place(sent.to) };
        let asked = |pull: &Pull| pull.arc == arc && pull.asked == Some(peer);
        let Some(number) = self.pulls.iter().position(asked) else { return };
        core.counters.directory_arcs_taken += 1;
        // One that has nothing may be as new as this one, or lie: the next one is asked as well.
        let enough = sent.records > 0 || self.pulls[number].tried.len() > 1;
        if sent.whole && enough {
            self.pulls.swap_remove(number);
        } else {
            self.pulls[number].asked = None;
            self.pulls[number].due = Instant::START;
        }
    }

    /// A question could not be delivered.
    pub(super) fn on_failed(&mut self, peer: NodeId) {
        for pull in self.pulls.iter_mut().filter(|pull| pull.asked == Some(peer)) {
            pull.asked = None;
            pull.due = Instant::START;
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        self.pulls.iter().map(|pull| pull.due).fold(None, |a, b| earlier(a, Some(b)))
    }
}

impl Pull {
    fn new(arc: Arc, due: Instant) -> Self {
        Self { arc, due, tried: Vec::new(), asked: None, rounds: 0 }
    }

    /// Asks the next one who may have the arc. Answers whether there is anything left to do.
    fn ask_next(&mut self, core: &mut Core, now: Now) -> bool {
        let next = self.candidates(core).into_iter().find(|node| !self.tried.contains(node));
        let Some(node) = next else {
            self.rounds += 1;
            self.tried.clear();
            self.asked = None;
            self.due = now.instant + core.jitter(PAUSE);
            return self.rounds < ROUNDS;
        };
        self.tried.push(node);
        self.asked = Some(node);
        self.due = now.instant + PATIENCE;
        core.deliver(node, ArcWanted { after: self.arc.after.0, to: self.arc.to.0 }, now);
        true
    }

    /// Who may have the arc, the likeliest first. All its places have the same holders; of those
    /// who kept them before, the first one alive is the first of all now.
    fn candidates(&self, core: &Core) -> Vec<NodeId> {
        let holders = core.membership.successors(self.arc.to, COPIES + 1);
        holders.into_iter().filter(|node| *node != core.me).collect()
    }
}

impl Holder {
    /// A supernode asks for an arc that has come to belong to it.
    pub(super) fn on_arc_wanted(&mut self, core: &mut Core, peer: NodeId, wanted: ArcWanted) {
        let arc = Arc { after: Place(wanted.after), to: Place(wanted.to) };
        let membership = &core.membership;
        // Whoever asks may have heard of deaths that this supernode has not heard of.
        let theirs = |place: Place| membership.is_near(place, &peer, 2 * COPIES);
        let nodes = self.table.nodes_on(arc).filter(|(place, _)| theirs(*place));
        let sources = self.table.sources_on(arc).filter(|(place, _)| theirs(*place));
        let parcels: Vec<_> = nodes
            .map(|(_, record)| super::outbox::Parcel::Node(record))
            .chain(sources.flat_map(|(_, source)| super::parcels(source)))
            .collect();
        let records = self.outbox.put_arc(core, peer, parcels.into_iter());
        core.counters.directory_records_moved += u64::from(records);
        let whole = !self.reach.is_fetching(arc);
        let sent = ArcSent { after: wanted.after, to: wanted.to, records, whole };
        self.outbox.end_arc(core, peer, sent);
    }
}
