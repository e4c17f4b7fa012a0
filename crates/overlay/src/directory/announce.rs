//! What a node says of itself: where it is, and which contents it has.
//!
//! The files stay with the driver, which hands them in page by page; a page is signed when it is
//! sent. The first walk through all files is quick; later ones, which only keep the claims alive,
//! are spread over hours. What stays the same when the parent changes is not said again.

use crate::core::{Core, earlier};
use crate::io::{Now, Output};
use rand::RngExt;
use skein_proto::credential::CLOCK_SKEW;
use skein_proto::directory::{Announce, Contact, Presence, Shared, SourceClaim, SourceState};
use skein_proto::{BoundedVec, ContentId, FileMeta, Instant, NodeId, UnixTime};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::check::{CLAIM_LIFE, PRESENCE_LIFE};

/// Claims in one message.
const PAGE: usize = BoundedVec::<SourceClaim, 64>::LIMIT;

/// How long a node that has just come waits before it walks through its files: its parent takes in
/// the metadata first.
const FIRST_WALK: Duration = Duration::from_secs(3);

/// Pause between two messages, and between the pages of the first walk: 7 KB/s for as long as it
/// takes.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How long until the next walk begins: it must be over before the claims of this one expire.
const WALK_PERIOD: Duration = Duration::from_secs(4 * 60 * 60);

/// How long a later walk may take, and the pause between its pages where there are few: 170 B/s.
const WALK_TIME: Duration = Duration::from_secs(60 * 60);
const WALK_PAUSE: Duration = Duration::from_secs(40);

/// How long before its end a claim is said again at the latest: the parent may keep a library back for
/// three minutes, half as much either way.
const ARRIVES: Duration = Duration::from_secs(5 * 60);

/// Changes kept while they cannot be sent. Beyond it, additions are left to a walk that begins
/// anew.
const MAX_CHANGES: usize = 4_096;

/// Downloads that are announced as partial sources.
const MAX_PARTIAL: usize = 256;

/// How far ahead of the clock a claim is dated at most, so that it is later than the one before: the
/// other half of what others accept is for clocks that differ.
const MOST_AHEAD: Duration = Duration::from_secs(CLOCK_SKEW.as_secs() / 2);

/// Claims that are dated alike: 16 messages. More of them only begin the next second early.
const MAX_ALIKE: usize = 16 * PAGE;

/// How far ahead of the clock the first word of a run is dated. The run before may have said that it
/// is gone a moment ago, and a little ahead of the clock, too.
const AHEAD: Duration = Duration::from_secs(2);

/// A presence that says where this node is now may replace one that said it wrong, but not more
/// often than this: addresses may flap.
const RELOCATE_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Walk {
    after: Option<ContentId>,
    asked: Option<u64>,
    page: VecDeque<ContentId>,
    pages: u32,
    whole: bool,
    quick: bool,
    /// When the first of the claims ends that were made before it began and end with a credential.
    before: Option<UnixTime>,
}

/// What a node says of itself.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    /// To whom: the parent, or this node itself when it is a supernode.
    to: Option<NodeId>,
    presence: Option<Shared<Presence>>,
    presence_due: Option<Instant>,
    signed: UnixTime,
    said_at: Instant,
    changes: BTreeMap<ContentId, SourceState>,
    /// Downloads that are served, and whether the library is known to have all of it as well.
    partial: BTreeMap<ContentId, bool>,
    /// With what second the last claims are dated, and which contents they are about.
    dated: UnixTime,
    alike: BTreeSet<ContentId>,
    walk: Option<Box<Walk>>,
    /// Pages that the last walk came to.
    pages: u32,
    walked: bool,
    /// When the first of the claims ends that were made since the last walk began and end with the
    /// credential. The others are said again in time, since walks follow upon each other.
    ends: Option<UnixTime>,
    next_walk: Option<Instant>,
    /// When the walk goes on; what changes meanwhile does not wait for it.
    next_page: Instant,
    next_send: Instant,
}

impl Announcer {
    /// Somebody takes in what this node says.
    pub(super) fn start(&mut self, core: &mut Core, to: NodeId, now: Now) {
        self.to = Some(to);
        self.presence_due = Some(now.instant);
        if !self.walked && self.walk.is_none() && self.next_walk.is_none() {
            self.next_walk = Some(now.instant + core.jitter(FIRST_WALK));
        }
    }

    /// Nobody does at present. A page that is on its way is asked for again.
    pub(super) fn stop(&mut self) {
        self.to = None;
        if let Some(walk) = &mut self.walk {
            walk.asked = None;
        }
    }

    /// A fresh credential came: what was signed under the old one ends with it.
    pub(super) fn on_credential(&mut self, core: &mut Core, now: Now) {
        if self.to.is_some() {
            self.presence_due = Some(now.instant);
        }
        self.hasten(core, now);
    }

    /// Sees to it that what has been said is said again before it ends, if the credential lets it
    /// live on.
    fn hasten(&mut self, core: &mut Core, now: Now) {
        let takes = self.walk_takes();
        if let Some(walk) = &mut self.walk {
            if is_short(core, walk.before, takes, now) {
                walk.quick = true;
                self.next_page = now.instant;
            }
            return;
        }
        let Some(next) = self.next_walk else { return };
        if !is_short(core, self.ends, takes + next.since(now.instant), now) {
            return;
        }
        // After an outage of the login service everybody comes at once: whoever has time takes it.
        let left = self.ends.map_or(Duration::ZERO, |ends| ends.since(now.unix));
        let spare = left.saturating_sub(takes).mul_f64(core.rng.random_range(0.5..1.0));
        let soon = spare.max(core.jitter(FIRST_WALK));
        self.next_walk = Some(next.min(now.instant + soon));
    }

    /// How long a walk may take that is not quick, until what it says has arrived.
    fn walk_takes(&self) -> Duration {
        let pages = self.pages.max(1);
        WALK_PAUSE.min(WALK_TIME / pages) * pages * 5 / 4 + ARRIVES
    }

    /// What this node shares has changed.
    pub(super) fn on_change(
        &mut self,
        core: &mut Core,
        (added, removed): (&[FileMeta], &[ContentId]),
        now: Now,
    ) {
        if let Some(walk) = self.walk.as_mut().filter(|_| !removed.is_empty()) {
            // A page that is on its way may be older than this, and is asked for again.
            walk.asked = None;
            walk.page.retain(|content| !removed.contains(content));
        }
        for content in removed {
            let state = match self.partial.get_mut(content) {
                Some(is_shared) => {
                    *is_shared = false;
                    SourceState::Partial
                }
                None => SourceState::Withdrawn,
            };
            self.change(core, *content, state, now);
        }
        for file in added {
            if let Some(is_shared) = self.partial.get_mut(&file.content) {
                *is_shared = true;
            }
            self.change(core, file.content, SourceState::Complete, now);
        }
    }

    fn change(&mut self, core: &mut Core, content: ContentId, state: SourceState, now: Now) {
        if self.changes.len() < MAX_CHANGES || self.changes.contains_key(&content) {
            self.changes.insert(content, state);
            return;
        }
        core.counters.directory_changes_over_limit += 1;
        if state != SourceState::Withdrawn {
            self.on_reset(now);
        }
    }

    /// What this node shares has changed in a way that is not known.
    pub(super) fn on_reset(&mut self, now: Now) {
        self.walk = None;
        self.walked = false;
        self.partial.values_mut().for_each(|is_shared| *is_shared = false);
        self.next_walk = Some(now.instant + FIRST_WALK);
    }

    /// A download has begun to serve what it has, or does so no more.
    pub(super) fn on_partial(
        &mut self,
        core: &mut Core,
        (content, serving): (ContentId, bool),
        now: Now,
    ) {
        if !serving {
            // The library may have heard first of a download that is complete.
            if self.partial.remove(&content) == Some(false) {
                self.change(core, content, SourceState::Withdrawn, now);
            }
            return;
        }
        if self.partial.contains_key(&content) {
            return;
        }
        if self.partial.len() >= MAX_PARTIAL {
            core.counters.directory_partial_over_limit += 1;
            return;
        }
        let is_shared = self.walk.as_ref().is_some_and(|walk| walk.page.contains(&content));
        self.partial.insert(content, is_shared);
        if !is_shared {
            self.change(core, content, SourceState::Partial, now);
        }
    }

    /// A page came from the driver. Answers whether it was asked for here.
    pub(super) fn on_files(&mut self, page: u64, files: &[FileMeta], last: bool) -> bool {
        let Some(walk) = self.walk.as_mut().filter(|walk| walk.asked == Some(page)) else {
            return false;
        };
        walk.asked = None;
        walk.after = files.last().map(|file| file.content).or(walk.after);
        walk.whole = last || files.is_empty();
        walk.pages += 1;
        walk.page = files.iter().map(|file| file.content).collect();
        for file in files {
            if let Some(is_shared) = self.partial.get_mut(&file.content) {
                *is_shared = true;
            }
        }
        true
    }

    /// Looks whether this node is where it says it is.
    pub(super) fn relocate(&mut self, core: &Core, now: Now) {
        let Some(presence) = self.presence.as_ref().filter(|_| self.to.is_some()) else { return };
        let moved = core.own_addresses().iter().take(8).ne(&presence.unverified().addresses);
        if moved && self.presence_due.is_none_or(|due| due > self.said_at + RELOCATE_PAUSE) {
            self.presence_due = Some((self.said_at + RELOCATE_PAUSE).max(now.instant));
        }
    }

    /// What is to be said now, and to whom.
    pub(super) fn step(&mut self, core: &mut Core, now: Now) -> Option<(NodeId, Announce)> {
        let to = self.to?;
        let expires = core.credential.as_ref()?.unverified().expires;
        if now.unix >= expires {
            return None;
        }
        self.walk_on(core, now);
        let due = |at: Option<Instant>| at.is_some_and(|at| now.instant >= at);
        let presence = due(self.presence_due).then(|| self.sign_presence(core, to, true, now));
        let claims = if now.instant >= self.next_send {
            self.take_claims(core, expires, now)
        } else {
            Vec::new()
        };
        if presence.is_none() && claims.is_empty() {
            return None;
        }
        Some((to, Announce { presence, claims: BoundedVec::truncated(claims) }))
    }

    /// Says that this node is gone, if it has said that it is there.
    pub(super) fn farewell(&mut self, core: &mut Core, now: Now) -> Option<(NodeId, Announce)> {
        let to = self.to.take()?;
        self.presence.as_ref()?;
        let presence = Some(self.sign_presence(core, to, false, now));
        Some((to, Announce { presence, claims: BoundedVec::default() }))
    }

    fn sign_presence(
        &mut self,
        core: &mut Core,
        to: NodeId,
        online: bool,
        now: Now,
    ) -> Shared<Presence> {
        // A later word is always the later one, also when two fall into one second, or the first
        // one of this run and the last one of the run before.
        let earliest = if self.presence.is_none() { now.unix.plus(AHEAD) } else { now.unix };
        let issued = UnixTime(self.signed.0 + 1).max(earliest);
        self.signed = issued;
        let parent = core.peers.get(&to).map(|peer| Contact {
            node: to,
            addresses: BoundedVec::truncated(peer.listen_addresses()),
        });
        // Nobody believes one that outlives the credential. A fresh one brings a fresh presence.
        let credential = core.credential.as_ref().map(|credential| credential.unverified());
        let ends = credential.map_or(issued, |credential| credential.expires);
        let presence = Presence {
            issued,
            expires: issued.plus(PRESENCE_LIFE).min(ends),
            online,
            addresses: BoundedVec::truncated(core.own_addresses()),
            parent,
        };
        let signed = Shared::sign(presence, &core.key);
        self.presence = Some(signed.clone());
        self.said_at = now.instant;
        // At three quarters of its life, a quarter either way: always before it ends.
        self.presence_due = Some(now.instant + core.jitter(PRESENCE_LIFE * 3 / 4));
        signed
    }

    /// Goes on with the walk, or begins the next one.
    fn walk_on(&mut self, core: &mut Core, now: Now) {
        if self.walk.is_none() && self.next_walk.is_some_and(|at| now.instant >= at) {
            self.next_walk = None;
            let before = self.ends.take();
            let quick = !self.walked || is_short(core, before, self.walk_takes(), now);
            self.walk = Some(Box::new(Walk { quick, before, ..Walk::default() }));
            self.next_page = now.instant;
            for (content, _) in self.partial.iter().filter(|(_, is_shared)| !**is_shared) {
                self.changes.entry(*content).or_insert(SourceState::Partial);
            }
        }
        let Some(walk) = &mut self.walk else { return };
        if !walk.page.is_empty() || walk.asked.is_some() {
            return;
        }
        if walk.whole {
            self.walked = true;
            self.pages = walk.pages;
            self.walk = None;
            self.next_walk = Some(now.instant + core.jitter(WALK_PERIOD));
            self.hasten(core, now);
        } else if now.instant >= self.next_page.max(self.next_send) {
            let page = core.next_page();
            walk.asked = Some(page);
            core.outputs.push_back(Output::WantFiles { page, after: walk.after, limit: PAGE });
        }
    }

    /// The next claims, signed.
    fn take_claims(
        &mut self,
        core: &mut Core,
        expires: UnixTime,
        now: Now,
    ) -> Vec<Shared<SourceClaim>> {
        let mut said = BTreeMap::new();
        while said.len() < PAGE
            && let Some((content, state)) = self.changes.pop_first()
        {
            said.insert(content, state);
        }
        let pause = core.jitter(FIRST_PAUSE);
        if let Some(walk) = self.walk.as_mut().filter(|walk| !walk.page.is_empty()) {
            // Whatever became of a download of it, the library has it.
            while said.len() < PAGE
                && let Some(content) = walk.page.pop_front()
            {
                said.insert(content, SourceState::Complete);
            }
            // What has found no room goes with the next message.
            if walk.page.is_empty() {
                let leisure = WALK_PAUSE.min(WALK_TIME / self.pages.max(1));
                let pause = if walk.quick { pause } else { core.jitter(leisure) };
                self.next_page = now.instant + pause;
            }
        }
        if said.is_empty() {
            return Vec::new();
        }
        self.next_send = now.instant + pause;
        let issued = self.date(&said, now);
        let life = issued.plus(CLAIM_LIFE);
        if expires < life {
            self.ends = Some(self.ends.map_or(expires, |ends| ends.min(expires)));
        }
        let expires = life.min(expires);
        let sign = |(content, state)| {
            let claim = SourceClaim { content, state, issued, expires };
            Shared::sign(claim, &core.key)
        };
        said.into_iter().map(sign).collect()
    }

    /// The second with which the next claims are dated: of two about one content the later said is
    /// the later one, also when both fall into one second.
    fn date(&mut self, claims: &BTreeMap<ContentId, SourceState>, now: Now) -> UnixTime {
        let repeated = claims.keys().any(|content| self.alike.contains(content));
        let next = self.dated.0 + u64::from(repeated || self.alike.len() >= MAX_ALIKE);
        let issued = UnixTime(next).clamp(now.unix, now.unix.plus(MOST_AHEAD));
        if issued != self.dated {
            self.dated = issued;
            self.alike.clear();
        }
        self.alike.extend(claims.keys());
        issued
    }

    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        self.to?;
        let waiting = self.walk.as_ref().is_some_and(|walk| walk.asked.is_none());
        let send = (!self.changes.is_empty()).then_some(self.next_send);
        let page = waiting.then(|| self.next_page.max(self.next_send));
        let walk = self.next_walk.filter(|_| self.walk.is_none());
        earlier(earlier(self.presence_due, earlier(send, page)), walk)
    }
}

/// Whether there is less than so much time until claims end which the credential would let live on.
fn is_short(core: &Core, ends: Option<UnixTime>, time: Duration, now: Now) -> bool {
    let lives = core.credential.as_ref().map(|credential| credential.unverified().expires);
    ends.is_some_and(|ends| lives.is_some_and(|lives| ends < lives) && ends < now.unix.plus(time))
}
