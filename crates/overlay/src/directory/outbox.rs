//! Records on their way to the supernodes that they belong to.
//!
//! Records wait a little for others with the same holder, and holders are served one after the
//! other, so that a child with a thousand files does not open a thousand links in one moment.

use crate::bucket::TokenBucket;
use crate::core::{Core, earlier};
use crate::io::Now;
use rand::RngExt;
use skein_proto::directory::{ArcSent, NodeRecord, Presence, PutPacker, Shared, SourceClaim};
use skein_proto::{Credential, Instant, Message, NodeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How long a record waits for others: a page of a child's records is here by then, and nobody
/// misses a file that was shared some seconds ago.
const GATHER: Duration = Duration::from_secs(2);

/// The same, for each other supernode, for what is not in a hurry and needs a link of its own: the
/// more holders there are, the fewer records are for each, and a link that is made for one record
/// costs more than the record. Whoever shares a library does not miss it for these minutes.
const GATHER_EACH: Duration = Duration::from_millis(180);
const LONGEST_GATHER: Duration = Duration::from_secs(180);

/// How long a new supernode keeps everything back: it would send it to whom it knows first.
const OPENS: Duration = Duration::from_secs(3);

/// Holders served in a second, and at once: what 150 newcomers with 20 contents each have to tell
/// 950 holders is told within a minute, at some 8 KB/s.
const HOLDERS: (u64, u64) = (20, 60);

/// Records that wait, of all holders: 16 MB. 150 children with 20 contents each have 9,000. With a
/// quarter of it nothing more is kept waiting for company.
const MAX_PARCELS: usize = 200_000;
const MANY_PARCELS: usize = MAX_PARCELS / 4;

/// Pause between two large messages to a supernode that takes over an arc: at 64 KiB each,
/// 650 KB/s, beside which searches on the same link still get through.
const ARC_PAUSE: Duration = Duration::from_millis(100);

/// Large messages that wait: arcs of a few hundred megabytes.
const MAX_LARGE: usize = 4_096;

/// When to look again where all that may be sent at once has been sent.
const RETRY: Duration = Duration::from_millis(50);

/// A record on its way.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    Node(NodeRecord),
    Source(Shared<Credential>, Option<Shared<Presence>>, Shared<SourceClaim>),
}

/// How soon a record has to be where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hurry {
    /// Somebody may look for it now.
    Soon,
    /// It is one of many, and may wait for others for the same holder.
    InBulk,
}

#[derive(Debug)]
struct Queue {
    due: Instant,
    parcels: Vec<Parcel>,
}

/// Records on their way.
#[derive(Debug)]
pub(super) struct Outbox {
    queues: BTreeMap<NodeId, Queue>,
    /// When each of them is due.
    order: BTreeSet<(Instant, NodeId)>,
    parcels: usize,
    holders: TokenBucket,
    /// Nothing is sent before: a new supernode has to hear of the others first.
    opens: Instant,
    /// By turns, so that one that asks again and again does not keep the others waiting.
    large: VecDeque<(NodeId, VecDeque<Message>)>,
    large_count: usize,
    next_large: Instant,
    retry: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            queues: BTreeMap::new(),
            order: BTreeSet::new(),
            parcels: 0,
            holders: TokenBucket::new(HOLDERS.0, HOLDERS.1, now),
            opens: now + OPENS,
            large: VecDeque::new(),
            large_count: 0,
            next_large: now,
            retry: None,
        }
    }

    /// Sends a record to a holder, with others that come soon.
    pub(super) fn put(
        &mut self,
        core: &mut Core,
        holder: NodeId,
        (parcel, hurry): (Parcel, Hurry),
        now: Now,
    ) {
        if self.parcels >= MAX_PARCELS {
            core.counters.directory_puts_over_limit += 1;
            return;
        }
        let waits = hurry == Hurry::InBulk
            && self.parcels < MANY_PARCELS
            && !core.peers.contains_key(&holder);
        self.parcels += 1;
        let queue = self.queues.get(&holder);
        if queue.is_some_and(|queue| waits || queue.due <= self.latest(GATHER, now)) {
            if let Some(queue) = self.queues.get_mut(&holder) {
                queue.parcels.push(parcel);
            }
            return;
        }
        let pause = if waits { bulk_pause(core.membership.len()) } else { GATHER };
        let due = self.opens.max(now.instant) + pause.mul_f64(core.rng.random_range(0.5..1.5));
        let queue = self.queues.entry(holder).or_insert(Queue { due, parcels: Vec::new() });
        queue.parcels.push(parcel);
        self.order.remove(&(queue.due, holder));
        queue.due = due;
        self.order.insert((due, holder));
    }

    /// The latest that something is sent which has to wait for so long.
    fn latest(&self, pause: Duration, now: Now) -> Instant {
        self.opens.max(now.instant) + pause.mul_f64(1.5)
    }

    /// There is a link with a supernode: what waits for it need not wait any longer.
    pub(super) fn on_linked(&mut self, peer: NodeId, now: Now) {
        let Some(queue) = self.queues.get_mut(&peer) else { return };
        let due = self.opens.max(now.instant).min(queue.due);
        self.order.remove(&(queue.due, peer));
        queue.due = due;
        self.order.insert((due, peer));
    }

    /// Sends the records of an arc to the supernode that takes it over. Answers how many those are.
    pub(super) fn put_arc(
        &mut self,
        core: &mut Core,
        holder: NodeId,
        parcels: impl Iterator<Item = Parcel>,
    ) -> u32 {
        let mut packer = PutPacker::default();
        let mut count = 0;
        for parcel in parcels {
            count += 1;
            pack(&mut packer, parcel);
        }
        for put in packer.finish() {
            self.put_large(core, holder, put.into());
        }
        count
    }

    /// Says, behind the records of an arc, that this was all.
    pub(super) fn end_arc(&mut self, core: &mut Core, holder: NodeId, sent: ArcSent) {
        self.put_large(core, holder, sent.into());
    }

    fn put_large(&mut self, core: &mut Core, holder: NodeId, message: Message) {
        let known = self.large.iter().position(|(to, _)| *to == holder);
        let own = known.and_then(|at| self.large.get(at)).map_or(0, |(_, queue)| queue.len());
        // Nobody takes more than a quarter of the room that is left.
        if own >= (MAX_LARGE - self.large_count) / 4 {
            core.counters.directory_puts_over_limit += 1;
            return;
        }
        self.large_count += 1;
        match known.and_then(|at| self.large.get_mut(at)) {
            Some((_, queue)) => queue.push_back(message),
            None => self.large.push_back((holder, VecDeque::from([message]))),
        }
    }

    /// Sends what is due.
    pub(super) fn step(&mut self, core: &mut Core, now: Now) {
        self.retry = None;
        while let Some((due, holder)) = self.order.first().copied()
            && due <= now.instant
        {
            if !self.holders.take(now.instant) {
                self.retry = Some(now.instant + RETRY);
                break;
            }
            self.order.remove(&(due, holder));
            let Some(Queue { parcels, .. }) = self.queues.remove(&holder) else { continue };
            self.parcels -= parcels.len();
            let mut packer = PutPacker::default();
            for parcel in parcels {
                pack(&mut packer, parcel);
            }
            for put in packer.finish() {
                core.counters.directory_puts_sent += 1;
                core.deliver(holder, put, now);
            }
        }
        if now.instant >= self.next_large
            && let Some((holder, mut queue)) = self.large.pop_front()
            && let Some(message) = queue.pop_front()
        {
            self.large_count -= 1;
            if !queue.is_empty() {
                self.large.push_back((holder, queue));
            }
            self.next_large = now.instant + ARC_PAUSE;
            core.deliver(holder, message, now);
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        let due = self.retry.or_else(|| self.order.first().map(|(due, _)| *due));
        earlier(due, (!self.large.is_empty()).then_some(self.next_large))
    }

    /// All that waits, now: whoever leaves cannot wait.
    pub(super) fn flush(&mut self, core: &mut Core, now: Now) {
        let queues = std::mem::take(&mut self.queues);
        self.order.clear();
        self.parcels = 0;
        for (holder, Queue { parcels, .. }) in queues {
            let mut packer = PutPacker::default();
            for parcel in parcels {
                pack(&mut packer, parcel);
            }
            for put in packer.finish() {
                core.deliver(holder, put, now);
            }
        }
        self.large_count = 0;
        for (holder, queue) in std::mem::take(&mut self.large) {
            for message in queue {
                core.deliver(holder, message, now);
            }
        }
    }
}

/// How long what is not in a hurry waits for company where there are so many others.
fn bulk_pause(members: usize) -> Duration {
    let members = u32::try_from(members).unwrap_or(u32::MAX);
    GATHER_EACH.saturating_mul(members).clamp(GATHER, LONGEST_GATHER)
}

fn pack(packer: &mut PutPacker, parcel: Parcel) {
    match parcel {
        Parcel::Node(record) => packer.node(record),
        Parcel::Source(credential, presence, claim) => {
            packer.source(&credential, presence.as_ref(), claim);
        }
    }
}
