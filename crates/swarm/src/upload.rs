//! Who is served: upload slots and the queue for them.
//!
//! Peers ask; nobody is called. A peer that has to wait learns its place and when to ask again,
//! and keeps the place only as long as it does so. The queue is ordered by rank, which is given
//! from outside, and within a rank by arrival. One slot is *optimistic*, after BitTorrent: it
//! goes to a peer drawn at random from the queue, so that those without rank get served as well.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein_proto::{Instant, NodeId};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// The shortest time after which a peer is told to come again.
const MIN_RETRY: Duration = Duration::from_secs(1);

/// The longest one. A place in the queue must not be lost to a clock that is a little slow, nor
/// a freed slot wait for minutes.
const MAX_RETRY: Duration = Duration::from_secs(30);

/// How much later than it was told a peer may come and still find its place.
const GRACE: Duration = Duration::from_secs(10);

/// Limits of the upload side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadConfig {
    /// Peers that are served at the same time. Each of them costs a reader of the disk.
    pub slots: usize,
    /// Requests of one peer that are served at the same time. A download keeps two in its
    /// pipeline; two downloads from one source are common, more are greed.
    pub per_peer: usize,
    /// Places in the queue.
    pub queue: usize,
    /// How long a peer is served before it has to queue again, if others wait.
    pub turn: Duration,
}

impl Default for UploadConfig {
    fn default() -> Self {
        Self { slots: 8, per_peer: 4, queue: 1000, turn: Duration::from_secs(60) }
    }
}

/// How a peer is ranked. A greater class is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It showed no credential: after everybody else.
    Guest,
    /// A member of the network; the higher rank first.
    Member {
        /// Any measure of merit.
        rank: u32,
    },
}

/// The right to be served once. It is given back by [`Uploads::finished`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a lease that is not given back keeps its slot for ever"]
pub struct Lease {
    peer: NodeId,
}

/// The answer to a peer that asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is served now.
    Granted(Lease),
    /// It has to wait.
    Busy {
        /// Its place in the queue, from 1.
        position: u32,
        /// When it should ask again.
        retry: Duration,
    },
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadCounters {
    /// Requests that were served.
    pub granted: u64,
    /// Requests that had to wait.
    pub queued: u64,
    /// Requests that had to wait since the peer has enough of them running.
    pub over_peer_limit: u64,
    /// Requests that did not even get a place, or lost it to somebody of a better class.
    pub queue_full: u64,
    /// Peers that lost their place since they did not come back.
    pub expired: u64,
}

#[derive(Debug)]
struct Serving {
    class: Class,
    leases: usize,
    since: Instant,
    optimistic: bool,
}

#[derive(Debug)]
struct Waiting {
    class: Class,
    arrival: u64,
    expires: Instant,
}

/// The upload slots of a node and the queue for them.
#[derive(Debug)]
pub struct Uploads {
    config: UploadConfig,
    rng: StdRng,
    serving: BTreeMap<NodeId, Serving>,
    waiting: BTreeMap<NodeId, Waiting>,
    arrivals: u64,
    /// Who was drawn for the optimistic slot, and has not come yet.
    drawn: Option<NodeId>,
    counters: UploadCounters,
}

impl Uploads {
    /// Free slots and an empty queue.
    pub fn new(config: UploadConfig, seed: u64) -> Self {
        Self {
            config,
            rng: StdRng::seed_from_u64(seed),
            serving: BTreeMap::new(),
            waiting: BTreeMap::new(),
            arrivals: 0,
            drawn: None,
            counters: UploadCounters::default(),
        }
    }

    /// A peer asks to be served.
    pub fn request(&mut self, peer: NodeId, class: Class, now: Instant) -> Admission {
        self.expire(now);
        if let Some(serving) = self.serving.get_mut(&peer) {
            if serving.leases >= self.config.per_peer {
                self.counters.over_peer_limit += 1;
                return Admission::Busy { position: 1, retry: MIN_RETRY };
            }
            let turn_is_over = now.since(serving.since) >= self.config.turn;
            // A guest makes room at once for a member, anybody after his turn for anybody.
            let somebody = self.waiting.values().any(|waiting| {
                turn_is_over || (serving.class == Class::Guest && waiting.class != Class::Guest)
            });
            if !somebody {
                serving.leases += 1;
                self.counters.granted += 1;
                return Admission::Granted(Lease { peer });
            }
            return self.enqueue(peer, class, now);
        }
        self.draw();
        let optimistic = self.drawn == Some(peer);
        let reserved = usize::from(self.drawn.is_some() && !optimistic);
        let free = self.config.slots.saturating_sub(self.serving.len() + reserved);
        let ahead = if optimistic { 0 } else { self.ahead_of(peer, class) };
        if free <= ahead {
            return self.enqueue(peer, class, now);
        }
        if optimistic {
            self.drawn = None;
        }
        self.waiting.remove(&peer);
        self.serving.insert(peer, Serving { class, leases: 1, since: now, optimistic });
        self.counters.granted += 1;
        Admission::Granted(Lease { peer })
    }

    /// A request that was granted is over, however it ended.
    pub fn finished(&mut self, lease: Lease) {
        let Lease { peer } = lease;
        if let Some(serving) = self.serving.get_mut(&peer) {
            serving.leases = serving.leases.saturating_sub(1);
            if serving.leases == 0 {
                self.serving.remove(&peer);
            }
        }
    }

    /// Whether a request that is being served should be broken off: its peer has been served for
    /// more than two turns, and others wait. A peer that asks for much at once and takes it slowly
    /// would hold its slot for ever otherwise.
    pub fn is_overdue(&self, lease: &Lease, now: Instant) -> bool {
        let since = self.serving.get(&lease.peer).map(|serving| serving.since);
        let overdue = since.is_some_and(|since| now.since(since) >= self.config.turn * 2);
        overdue && self.waiting.values().any(|waiting| waiting.expires > now)
    }

    /// Peers that are served at present.
    pub fn serving(&self) -> usize {
        self.serving.len()
    }

    /// Peers that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What was counted.
    pub const fn counters(&self) -> UploadCounters {
        self.counters
    }

    fn expire(&mut self, now: Instant) {
        let before = self.waiting.len();
        self.waiting.retain(|_, waiting| waiting.expires > now);
        self.counters.expired += (before - self.waiting.len()) as u64;
        if self.drawn.is_some_and(|drawn| !self.waiting.contains_key(&drawn)) {
            self.drawn = None;
        }
    }

    /// Draws for the optimistic slot, if it is free and somebody waits.
    fn draw(&mut self) {
        // With a single slot there is none to give away; and as long as all are taken, a draw
        // would only leave out those who join the queue later.
        let full = self.config.slots < 2 || self.serving.len() >= self.config.slots;
        let taken = self.serving.values().any(|serving| serving.optimistic);
        if full || taken || self.drawn.is_some() || self.waiting.is_empty() {
            return;
        }
        let is_member = |waiting: &Waiting| waiting.class != Class::Guest;
        let members = self.waiting.values().filter(|waiting| is_member(waiting)).count();
        let among = if members > 0 { members } else { self.waiting.len() };
        let number = self.rng.random_range(0..among);
        let mut eligible = self.waiting.iter().filter(|(_, w)| members == 0 || is_member(w));
        self.drawn = eligible.nth(number).map(|(&peer, _)| peer);
    }

    fn ahead_of(&self, peer: NodeId, class: Class) -> usize {
        let arrival = self.waiting.get(&peer).map_or(u64::MAX, |waiting| waiting.arrival);
        let mine = (Reverse(class), arrival);
        let others = self.waiting.iter().filter(|(other, _)| **other != peer);
        others.filter(|(_, other)| (Reverse(other.class), other.arrival) < mine).count()
    }

    fn enqueue(&mut self, peer: NodeId, class: Class, now: Instant) -> Admission {
        self.counters.queued += 1;
        let ahead = self.ahead_of(peer, class);
        let retry = self.retry(ahead);
        if !self.waiting.contains_key(&peer) && self.waiting.len() >= self.config.queue {
            self.counters.queue_full += 1;
            let last = self.waiting.iter().max_by_key(|(_, w)| (Reverse(w.class), w.arrival));
            match last.map(|(&last, waiting)| (last, waiting.class)) {
                Some((last, worse)) if worse < class => drop(self.waiting.remove(&last)),
                _ => return Admission::Busy { position: position(ahead), retry: MAX_RETRY },
            }
        }
        let expires = now + retry + GRACE;
        let arrivals = &mut self.arrivals;
        let waiting = self.waiting.entry(peer).or_insert_with(|| {
            *arrivals += 1;
            Waiting { class, arrival: *arrivals, expires }
        });
        waiting.class = class;
        waiting.expires = expires;
        Admission::Busy { position: position(ahead), retry }
    }

    /// Those at the head come often, since a slot may fall free at any time.
    fn retry(&self, ahead: usize) -> Duration {
        let rounds = u32::try_from(ahead / self.config.slots.max(1)).unwrap_or(u32::MAX);
        (MIN_RETRY + self.config.turn.saturating_mul(rounds) / 4).min(MAX_RETRY)
    }
}

fn position(ahead: usize) -> u32 {
    u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MEMBER: Class = Class::Member { rank: 10 };

    fn peer(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn uploads(slots: usize) -> Uploads {
        Uploads::new(UploadConfig { slots, ..UploadConfig::default() }, 1)
    }

    fn granted(admission: Admission) -> Lease {
        match admission {
            Admission::Granted(lease) => lease,
            Admission::Busy { position, .. } => panic!("it has to wait at place {position}"),
        }
    }

    fn place(admission: &Admission) -> Option<u32> {
        match admission {
            Admission::Granted(_) => None,
            Admission::Busy { position, .. } => Some(*position),
        }
    }

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    #[test]
    fn who_came_first_is_served_first() {
        let mut uploads = uploads(1);
        let lease = granted(uploads.request(peer(1), MEMBER, at(0)));
        assert_eq!(place(&uploads.request(peer(2), MEMBER, at(1))), Some(1));
        assert_eq!(place(&uploads.request(peer(3), MEMBER, at(2))), Some(2));
        uploads.finished(lease);
        assert_eq!(place(&uploads.request(peer(3), MEMBER, at(3))), Some(2));
        let _lease = granted(uploads.request(peer(2), MEMBER, at(3)));
    }

    #[test]
    fn guests_come_after_members_and_make_room_for_them() {
        let mut uploads = uploads(1);
        let lease = granted(uploads.request(peer(1), Class::Guest, at(0)));
        assert_eq!(place(&uploads.request(peer(2), Class::Guest, at(0))), Some(1));
        assert_eq!(place(&uploads.request(peer(3), MEMBER, at(1))), Some(1));
        assert!(place(&uploads.request(peer(1), Class::Guest, at(1))).is_some());
        uploads.finished(lease);
        assert_eq!(place(&uploads.request(peer(2), Class::Guest, at(2))), Some(2));
        let _lease = granted(uploads.request(peer(3), MEMBER, at(2)));
    }

    #[test]
    fn a_peer_that_does_not_come_back_loses_its_place() {
        let mut uploads = uploads(1);
        let lease = granted(uploads.request(peer(1), MEMBER, at(0)));
        let _ = uploads.request(peer(2), MEMBER, at(0));
        let _ = uploads.request(peer(3), MEMBER, at(30));
        uploads.finished(lease);
        let _lease = granted(uploads.request(peer(3), MEMBER, at(31)));
        assert_eq!(uploads.counters().expired, 1);
    }

    #[test]
    fn after_its_turn_a_peer_queues_again_if_others_wait() {
        let mut uploads = uploads(1);
        let first = granted(uploads.request(peer(1), MEMBER, at(0)));
        let second = granted(uploads.request(peer(1), MEMBER, at(50)));
        let _ = uploads.request(peer(2), MEMBER, at(61));
        assert_eq!(place(&uploads.request(peer(1), MEMBER, at(62))), Some(2));
        uploads.finished(first);
        uploads.finished(second);
        let _lease = granted(uploads.request(peer(2), MEMBER, at(63)));
    }

    #[test]
    fn who_takes_too_long_is_overdue_only_while_others_wait() {
        let mut uploads = uploads(1);
        let lease = granted(uploads.request(peer(1), MEMBER, at(0)));
        assert!(!uploads.is_overdue(&lease, at(500)));
        let _ = uploads.request(peer(2), MEMBER, at(100));
        assert!(!uploads.is_overdue(&lease, at(101)));
        let _ = uploads.request(peer(2), MEMBER, at(119));
        assert!(uploads.is_overdue(&lease, at(120)));
        assert!(!uploads.is_overdue(&lease, at(500)));
    }

    #[test]
    fn the_optimistic_slot_goes_to_somebody_without_rank_as_well() {
        let mut served_low = false;
        for seed in 0..20 {
            let config = UploadConfig { slots: 2, ..UploadConfig::default() };
            let mut uploads = Uploads::new(config, seed);
            let first = granted(uploads.request(peer(1), MEMBER, at(0)));
            let _second = granted(uploads.request(peer(2), MEMBER, at(0)));
            let _ = uploads.request(peer(3), Class::Member { rank: 900 }, at(1));
            let _ = uploads.request(peer(4), Class::Member { rank: 0 }, at(1));
            uploads.finished(first);
            served_low |=
                place(&uploads.request(peer(4), Class::Member { rank: 0 }, at(2))).is_none();
        }
        assert!(served_low);
    }

    #[test]
    fn a_full_queue_gives_a_guests_place_to_a_member() {
        let config = UploadConfig { slots: 1, queue: 1, ..UploadConfig::default() };
        let mut uploads = Uploads::new(config, 1);
        let _lease = granted(uploads.request(peer(1), MEMBER, at(0)));
        let _ = uploads.request(peer(2), Class::Guest, at(0));
        let _ = uploads.request(peer(3), MEMBER, at(0));
        let _ = uploads.request(peer(4), MEMBER, at(0));
        assert_eq!((uploads.waiting(), uploads.counters().queue_full), (1, 2));
        assert_eq!(place(&uploads.request(peer(3), MEMBER, at(1))), Some(1));
    }

    proptest! {
        #[test]
        fn no_limit_is_ever_exceeded_and_everybody_is_served_in_the_end(
            seed in any::<u64>(),
            slots in 1_usize..4,
            steps in prop::collection::vec((0_u8..8, any::<bool>(), 0_u64..5), 1..200),
        ) {
            let config = UploadConfig { slots, per_peer: 2, queue: 5, ..UploadConfig::default() };
            let mut uploads = Uploads::new(config, seed);
            let mut leases: Vec<Lease> = Vec::new();
            let mut now = 0;
            for (who, done, wait) in steps {
                now += wait;
                if done && !leases.is_empty() {
                    let lease = leases.remove(usize::from(who) % leases.len());
                    uploads.finished(lease);
                } else if let Admission::Granted(lease) = uploads.request(peer(who), MEMBER, at(now)) {
                    leases.push(lease);
                }
                prop_assert!(uploads.serving() <= slots && uploads.waiting() <= 5);
                for who in 0..8 {
                    prop_assert!(leases.iter().filter(|lease| lease.peer == peer(who)).count() <= 2);
                }
            }
            for lease in leases.drain(..) {
                uploads.finished(lease);
            }
            let mut unserved: Vec<u8> = (0..8).collect();
            for _ in 0..60 {
                now += 2;
                unserved.retain(|&who| match uploads.request(peer(who), MEMBER, at(now)) {
                    Admission::Granted(lease) => { uploads.finished(lease); false }
                    Admission::Busy { .. } => true,
                });
            }
            prop_assert_eq!(unserved, Vec::<u8>::new());
        }
    }
}
