//! The epidemic by which values spread among all supernodes.
//!
//! Anti-entropy and rumour mongering after Demers et al., "Epidemic algorithms for replicated
//! database maintenance" (PODC 1987), with the offers of lazy links from Leitão, Pereira and
//! Rodrigues, "Epidemic broadcast trees" (SRDS 2007):
//!
//! * what is new goes in full to a few random neighbours, and by its id alone to some more, who ask
//!   for it if it has not come by itself a moment later;
//! * once a minute a supernode compares what it holds with one random neighbour, by one number for
//!   each 256th of the ring, and the two make up the difference.
//!
//! The values are keyed by their place, versioned, and expire. What they mean, and whether they are
//! to be believed, is for others to say before they are handed in.

use super::store::{Store, ids};
use crate::core::earlier;
use rand::Rng;
use rand::RngExt;
use rand::seq::IndexedRandom;
use skein_proto::membership::{Gossip, GossipDigest, GossipInventory, GossipOffer, GossipWant};
use skein_proto::rumour::{RumourId, Topic};
use skein_proto::{BoundedVec, Instant, Message, NodeId, Rumour, UnixTime};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How fast something spreads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Somebody came, went or died: others act on it.
    Fast,
    /// Something is as it was, for longer.
    Slow,
}

/// How long news wait for company. Fast ones reach 1,000 supernodes in six steps, so in two to
/// three seconds; slow ones in about half a minute, of the hours that they are good for.
const FAST_PAUSE: Duration = Duration::from_millis(300);
const SLOW_PAUSE: Duration = Duration::from_secs(5);

/// Neighbours that get news in full, and those that get their ids alone. Six in all: of those that
/// each tells six others 99.75 % hear of it (1 - e^-6); the rest is for anti-entropy. Slow news are
/// sent in full once, so that hardly anybody gets them twice.
const FAST_FULL: usize = 3;
const FAST_OFFERS: usize = 3;
const SLOW_FULL: usize = 1;
const SLOW_OFFERS: usize = 5;

/// How long what was offered may still come by itself before it is asked for.
const OFFER_PAUSE: Duration = Duration::from_millis(700);

/// How long what was asked for is not asked for again.
const WANT_PATIENCE: Duration = Duration::from_secs(10);

/// Pauses between two comparisons with a neighbour: the first few come soon, since a newcomer has
/// missed all there was.
const FIRST_EXCHANGE: Duration = Duration::from_secs(5);
const EXCHANGE: Duration = Duration::from_secs(60);
const EARLY_EXCHANGES: u32 = 3;

/// News that wait to be passed on. What is over it is left to anti-entropy.
const MAX_WAITING: usize = 16_384;

/// Values that were offered and are waited for: as many as a newcomer to a large network lacks.
const MAX_WANTED: usize = 131_072;

/// Values that are waited for from one neighbour: one that offers what it does not have must not
/// take the places of the others.
const MAX_WANTED_FROM: u32 = 16_384;

/// Values sent in answer to one inventory: what is lacking beyond that is found at the next one.
const MAX_MADE_UP: usize = 256;

/// Values that are never taken again up to some version. Those that would end first make room.
const MAX_BURIED: usize = 65_536;

#[derive(Clone, Copy, Debug)]
struct Waiting {
    topic: Topic,
    id: RumourId,
    /// Who need not be told.
    from: Option<NodeId>,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    version: u64,
    from: NodeId,
    /// When it is asked for; later, when it is given up.
    at: Instant,
    asked: bool,
    /// Who else has offered it: whoever offers what it does not have must not keep others from
    /// giving it.
    other: Option<(NodeId, u64)>,
}

/// A message and whom it is for.
pub(crate) type Letter = (NodeId, Message);

/// What spreads, and how far it has come.
#[derive(Debug, Default)]
pub(crate) struct Epidemic {
    stores: [Store; Topic::ALL.len()],
    fast: VecDeque<Waiting>,
    slow: VecDeque<Waiting>,
    fast_at: Option<Instant>,
    slow_at: Option<Instant>,
    wanted: BTreeMap<(Topic, u64), Wanted>,
    wanted_from: BTreeMap<NodeId, u32>,
    wanted_at: Option<Instant>,
    buried: BTreeMap<(Topic, u64), (u64, UnixTime)>,
    exchange_at: Option<Instant>,
    exchanges: u32,
    /// News that could not be passed on, or not be asked for, since too many waited.
    pub(crate) over_limit: u64,
}

impl Epidemic {
    pub(crate) fn store(&self, topic: Topic) -> &Store {
        &self.stores[topic as usize]
    }

    /// Whether this would be new here.
    pub(crate) fn is_new(&self, topic: Topic, id: RumourId) -> bool {
        let newer = self.store(topic).get(id.place).is_none_or(|had| had.id().version < id.version);
        newer && self.buried.get(&(topic, id.place)).is_none_or(|(dead, _)| *dead < id.version)
    }

    /// Takes in what was found to be true, and passes it on. `from` is whoever told it.
    pub(crate) fn insert(
        &mut self,
        rumour: Rumour,
        from: Option<NodeId>,
        pace: Pace,
    ) -> Option<Rumour> {
        let (topic, id) = (rumour.topic(), rumour.id());
        if let Some(wanted) = self.wanted.remove(&(topic, id.place)) {
            forget_want(&mut self.wanted_from, &wanted.from);
        }
        let queue = match pace {
            Pace::Fast => &mut self.fast,
            Pace::Slow => &mut self.slow,
        };
        if queue.len() < MAX_WAITING {
            queue.push_back(Waiting { topic, id, from });
        } else {
            self.over_limit += 1;
        }
        self.stores[topic as usize].insert(rumour)
    }

    /// Takes something out. Others may bring it back.
    pub(crate) fn remove(&mut self, topic: Topic, place: u64) -> Option<Rumour> {
        self.stores[topic as usize].remove(place)
    }

    /// Takes something out, and keeps it out: nobody brings this version back before it has ended
    /// anyway.
    pub(crate) fn bury(&mut self, topic: Topic, place: u64) -> Option<Rumour> {
        let removed = self.remove(topic, place)?;
        if self.buried.len() >= MAX_BURIED {
            let soonest = self.buried.iter().min_by_key(|(_, (_, until))| *until);
            let soonest = soonest.map(|(key, _)| *key);
            soonest.and_then(|key| self.buried.remove(&key));
        }
        self.buried.insert((topic, place), (removed.id().version, removed.expires()));
        Some(removed)
    }

    /// Forgets what is worth nothing any more in some parts of the ring. Answers what it was.
    pub(crate) fn expire(&mut self, buckets: &[usize], now: UnixTime) -> Vec<Rumour> {
        self.buried.retain(|_, (_, until)| *until > now);
        let mut gone = Vec::new();
        for topic in Topic::ALL {
            for bucket in buckets {
                let places = self.store(topic).expired(*bucket, now);
                gone.extend(places.into_iter().filter_map(|place| self.remove(topic, place)));
            }
        }
        gone
    }

    /// Does what is due: passes news on, asks for what was offered, compares with a neighbour.
    /// `neighbours` are in a fixed order.
    pub(crate) fn step(
        &mut self,
        neighbours: &[NodeId],
        rng: &mut impl Rng,
        now: Instant,
    ) -> Vec<Letter> {
        let mut letters = Vec::new();
        if neighbours.is_empty() {
            self.fast_at = None;
            self.slow_at = None;
            self.exchange_at = None;
            self.exchanges = 0;
            self.wanted.clear();
            self.wanted_from.clear();
            self.wanted_at = None;
            return letters;
        }
        if is_due(&mut self.fast_at, !self.fast.is_empty(), FAST_PAUSE, rng, now) {
            let news = std::mem::take(&mut self.fast);
            self.spread(news, neighbours, (FAST_FULL, FAST_OFFERS), rng, &mut letters);
        }
        if is_due(&mut self.slow_at, !self.slow.is_empty(), SLOW_PAUSE, rng, now) {
            let news = std::mem::take(&mut self.slow);
            self.spread(news, neighbours, (SLOW_FULL, SLOW_OFFERS), rng, &mut letters);
        }
        if self.wanted_at.is_some_and(|at| now >= at) {
            self.ask(now, &mut letters);
        }
        match self.exchange_at {
            Some(at) if now < at => {}
            _ => {
                let pause =
                    if self.exchanges < EARLY_EXCHANGES { FIRST_EXCHANGE } else { EXCHANGE };
                self.exchanges = self.exchanges.saturating_add(1);
                self.exchange_at = Some(now + pause.mul_f64(rng.random_range(0.75..1.25)));
                if let Some(peer) = neighbours.choose(rng) {
                    for topic in Topic::ALL {
                        let buckets = BoundedVec::truncated(self.store(topic).digest());
                        letters.push((*peer, GossipDigest { topic, buckets }.into()));
                    }
                }
            }
        }
        letters
    }

    /// Whether [`Epidemic::step`] has something to do now, or to begin to wait for.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let begins =
            |at: Option<Instant>, news: &VecDeque<Waiting>| at.is_none() && !news.is_empty();
        begins(self.fast_at, &self.fast)
            || begins(self.slow_at, &self.slow)
            || self.exchange_at.is_none()
            || self.next_wakeup().is_some_and(|at| now >= at)
    }

    /// When [`Epidemic::step`] has something to do next.
    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        let wake = earlier(self.fast_at, self.slow_at);
        earlier(earlier(wake, self.wanted_at), self.exchange_at)
    }

    fn spread(
        &self,
        news: VecDeque<Waiting>,
        neighbours: &[NodeId],
        (full, offers): (usize, usize),
        rng: &mut impl Rng,
        letters: &mut Vec<Letter>,
    ) {
        let chosen: Vec<NodeId> = neighbours.sample(rng, full + offers).copied().collect();
        for (number, peer) in chosen.iter().enumerate() {
            let worth = |waiting: &&Waiting| waiting.from != Some(*peer);
            if number < full {
                let rumours = news.iter().filter(worth).filter_map(|waiting| {
                    // It may have been replaced or removed since.
                    self.store(waiting.topic)
                        .get(waiting.id.place)
                        .filter(|rumour| rumour.id() == waiting.id)
                });
                send_full(*peer, rumours.cloned(), letters);
                continue;
            }
            for topic in Topic::ALL {
                let ids = news.iter().filter(worth).filter(|waiting| waiting.topic == topic);
                let mut ids = ids.map(|waiting| waiting.id).peekable();
                while ids.peek().is_some() {
                    let part = BoundedVec::truncated(ids.by_ref().take(OFFERS));
                    letters.push((*peer, GossipOffer { topic, ids: part }.into()));
                }
            }
        }
    }

    /// A neighbour names what it has.
    pub(crate) fn on_offer(&mut self, peer: NodeId, offer: &GossipOffer, now: Instant) {
        self.want(peer, offer.topic, &offer.ids, now + OFFER_PAUSE);
    }

    fn want(&mut self, peer: NodeId, topic: Topic, ids: &[RumourId], at: Instant) {
        for id in ids.iter().filter(|id| self.is_new(topic, **id)).copied().collect::<Vec<_>>() {
            let key = (topic, id.place);
            if let Some(wanted) = self.wanted.get_mut(&key) {
                if wanted.from == peer {
                    // Whatever it has when it is asked is what it sends.
                    wanted.version = wanted.version.max(id.version);
                    continue;
                }
                if wanted.version >= id.version {
                    wanted.other.get_or_insert((peer, id.version));
                    continue;
                }
            }
            let from = self.wanted_from.entry(peer).or_default();
            if self.wanted.len() >= MAX_WANTED || *from >= MAX_WANTED_FROM {
                self.over_limit += 1;
                continue;
            }
            *from += 1;
            // Whoever has an older one is asked if this one does not come.
            let other = self.wanted.get(&key).map(|before| (before.from, before.version));
            let wanted = Wanted { version: id.version, from: peer, at, asked: false, other };
            if let Some(before) = self.wanted.insert(key, wanted) {
                forget_want(&mut self.wanted_from, &before.from);
            }
            self.wanted_at = earlier(self.wanted_at, Some(at));
        }
    }

    fn ask(&mut self, now: Instant, letters: &mut Vec<Letter>) {
        let mut asks: BTreeMap<(NodeId, Topic), Vec<u64>> = BTreeMap::new();
        self.wanted_at = None;
        self.wanted.retain(|(topic, place), wanted| {
            if now >= wanted.at {
                if wanted.asked {
                    forget_want(&mut self.wanted_from, &wanted.from);
                    let Some((from, version)) = wanted.other.take() else { return false };
                    *self.wanted_from.entry(from).or_default() += 1;
                    (wanted.from, wanted.version) = (from, version);
                }
                wanted.asked = true;
                wanted.at = now + WANT_PATIENCE;
                asks.entry((wanted.from, *topic)).or_default().push(*place);
            }
            self.wanted_at = earlier(self.wanted_at, Some(wanted.at));
            true
        });
        for ((peer, topic), places) in asks {
            for part in places.chunks(WANTS) {
                let places = BoundedVec::truncated(part.iter().copied());
                letters.push((peer, GossipWant { topic, places }.into()));
            }
        }
    }

    /// A neighbour asks for what it was offered.
    pub(crate) fn on_want(&self, peer: NodeId, want: &GossipWant) -> Vec<Letter> {
        let mut letters = Vec::new();
        let store = self.store(want.topic);
        send_full(peer, want.places.iter().filter_map(|at| store.get(*at)).cloned(), &mut letters);
        letters
    }

    /// A neighbour compares what it holds with what is held here: it is told what is here where
    /// that is something else.
    pub(crate) fn on_digest(
        &self,
        peer: NodeId,
        digest: &GossipDigest,
        rng: &mut impl Rng,
    ) -> Vec<Letter> {
        let store = self.store(digest.topic);
        let mut differences = store.differences(&digest.buckets);
        // In another order each time: what does not fit into this answer fits into the next.
        let first = if differences.is_empty() { 0 } else { rng.random_range(0..differences.len()) };
        differences.rotate_left(first);
        let mut letters = Vec::new();
        let mut part = (Vec::new(), Vec::new());
        for bucket in differences {
            let held: Vec<RumourId> = ids(store.bucket(usize::from(bucket))).collect();
            if part.1.len() + held.len() > INVENTORY && !part.0.is_empty() {
                letters.push(inventory(peer, digest.topic, std::mem::take(&mut part)));
            }
            part.0.push(bucket);
            part.1.extend(held);
        }
        if !part.0.is_empty() {
            letters.push(inventory(peer, digest.topic, part));
        }
        letters
    }

    /// The answer: what is lacking here is asked for, what is lacking there is sent.
    pub(crate) fn on_inventory(
        &mut self,
        peer: NodeId,
        inventory: &GossipInventory,
        now: Instant,
    ) -> Vec<Letter> {
        let mut letters = Vec::new();
        let theirs: BTreeMap<u64, u64> =
            inventory.ids.iter().map(|id| (id.place, id.version)).collect();
        let mut buckets = inventory.buckets.to_vec();
        buckets.sort_unstable();
        buckets.dedup();
        let store = self.store(inventory.topic);
        let lacking =
            buckets.iter().flat_map(|bucket| store.bucket(usize::from(*bucket))).filter(|rumour| {
                let id = rumour.id();
                theirs.get(&id.place).is_none_or(|version| *version < id.version)
            });
        send_full(peer, lacking.take(MAX_MADE_UP).cloned(), &mut letters);
        self.want(peer, inventory.topic, &inventory.ids, now);
        letters
    }

    /// A neighbour is new: what it holds is worth a look.
    pub(crate) fn on_neighbour(&mut self, now: Instant) {
        if self.exchanges == 0 {
            self.exchange_at = Some(now);
        }
    }

    /// Forgets what waits, for one who is no supernode any more.
    pub(crate) fn clear(&mut self) {
        *self = Self { over_limit: self.over_limit, ..Self::default() };
    }
}

fn forget_want(from: &mut BTreeMap<NodeId, u32>, peer: &NodeId) {
    if let Some(count) = from.get_mut(peer) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            from.remove(peer);
        }
    }
}

/// The most of each in one message.
const FULL: usize = BoundedVec::<Rumour, 48>::LIMIT;
const OFFERS: usize = BoundedVec::<RumourId, 512>::LIMIT;
const WANTS: usize = BoundedVec::<u64, 256>::LIMIT;
const INVENTORY: usize = BoundedVec::<RumourId, 1024>::LIMIT;

fn send_full(peer: NodeId, rumours: impl Iterator<Item = Rumour>, letters: &mut Vec<Letter>) {
    let mut rumours = rumours.peekable();
    while rumours.peek().is_some() {
        let part = BoundedVec::truncated(rumours.by_ref().take(FULL));
        letters.push((peer, Gossip { rumours: part }.into()));
    }
}

fn inventory(peer: NodeId, topic: Topic, (buckets, ids): (Vec<u8>, Vec<RumourId>)) -> Letter {
    let (buckets, ids) = (BoundedVec::truncated(buckets), BoundedVec::truncated(ids));
    (peer, GossipInventory { topic, buckets, ids }.into())
}

/// Whether something that waits is due; it is, a jittered pause after it began to wait.
fn is_due(
    at: &mut Option<Instant>,
    waits: bool,
    pause: Duration,
    rng: &mut impl Rng,
    now: Instant,
) -> bool {
    if !waits {
        *at = None;
        return false;
    }
    let due = *at.get_or_insert_with(|| now + pause.mul_f64(rng.random_range(0.5..1.5)));
    if now < due {
        return false;
    }
    *at = None;
    true
}

#[cfg(test)]
mod tests;
