//! Records on their way to the supernodes that they belong to.
//!
//! Records wait a little for others with the same holder, and holders are served one after the
//! other, so that a child with a thousand files does not open a thousand links in one moment. A
//! holder gets no more in a second than it takes, and its owners take turns ([`super::queue`]).

use crate::bucket::TokenBucket;
use crate::core::{Core, earlier};
use crate::hashed::HashMap;
use crate::io::Now;
use rand::RngExt;
use skein_proto::directory::{ArcSent, PutPacker};
use skein_proto::{Instant, Message, NodeId};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::WORK;
use super::queue::{Parcel, Queue, work_of};

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

/// The owner of what waits has at most this part of the room that is left, so that one with a large
/// library leaves room for the others: 150 of them leave 5,000 places.
const SHARE: usize = 4;

/// What one holder is sent: nine tenths of what it takes, since the two clocks are not one.
const PACE: (u64, u64) = (WORK.0 * 9 / 10, WORK.1 * 9 / 10);

/// Holders whose pace is kept in mind without a look whether that is still of use.
const FEW_PACES: usize = 32;

/// How long that look is not repeated: meanwhile as many holders are served as are served in a second.
const PACES_KEPT: Duration = Duration::from_secs(1);

/// How long a holder waits for the rest where there is more than it takes: that is 180 records.
const REST: Duration = Duration::from_secs(1);

/// Pause between two large messages to a supernode that takes over an arc: at 64 KiB each,
/// 650 KB/s, beside which searches on the same link still get through.
const ARC_PAUSE: Duration = Duration::from_millis(100);

/// Large messages that wait: some 400 pages of arcs.
const MAX_LARGE: usize = 4_096;

/// When to look again where all that may be sent at once has been sent.
const RETRY: Duration = Duration::from_millis(50);

/// How soon a record has to be where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hurry {
    /// Somebody may look for it now.
    Soon,
    /// It is one of many, and may wait for others for the same holder.
    InBulk,
}

/// Records on their way.
#[derive(Debug)]
pub(super) struct Outbox {
    queues: HashMap<NodeId, Queue>,
    /// When each of them is due.
    order: BTreeSet<(Instant, NodeId)>,
    parcels: usize,
    /// How many of them are of each owner.
    of_owner: HashMap<NodeId, usize>,
    holders: TokenBucket,
    /// What each holder still takes, of those that were sent something lately.
    paces: HashMap<NodeId, TokenBucket>,
    next_look: Instant,
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
            queues: HashMap::default(),
            order: BTreeSet::new(),
            parcels: 0,
            of_owner: HashMap::default(),
            holders: TokenBucket::new(HOLDERS.0, HOLDERS.1, now),
            paces: HashMap::default(),
            next_look: now,
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
        let owner = parcel.owner();
        let own = self.of_owner.get(&owner).copied().unwrap_or_default();
        if own >= MAX_PARCELS.saturating_sub(self.parcels) / SHARE {
            core.counters.directory_puts_over_limit += 1;
            return;
        }
        let waits = hurry == Hurry::InBulk
            && self.parcels < MANY_PARCELS
            && !core.peers.contains_key(&holder);
        self.parcels += 1;
        *self.of_owner.entry(owner).or_default() += 1;
        let queue = self.queues.get(&holder);
        if queue.is_some_and(|queue| waits || queue.due <= self.latest(GATHER, now)) {
            if let Some(queue) = self.queues.get_mut(&holder) {
                queue.push(parcel);
            }
            return;
        }
        let pause = if waits { bulk_pause(core.membership.len()) } else { GATHER };
        let due = self.opens.max(now.instant) + pause.mul_f64(core.rng.random_range(0.5..1.5));
        let queue = self.queues.entry(holder).or_insert_with(|| Queue::new(due));
        queue.push(parcel);
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

    /// Sends a page of the records of an arc to the supernode that takes it over, and then that
    /// this was the page. Answers whether there was room for all of it.
    pub(super) fn put_page(
        &mut self,
        core: &mut Core,
        holder: NodeId,
        parcels: Vec<Parcel>,
        sent: ArcSent,
    ) -> bool {
        let mut packer = PutPacker::default();
        parcels.into_iter().for_each(|parcel| pack(&mut packer, parcel));
        let puts = packer.finish();
        let known = self.large.iter().position(|(to, _)| *to == holder);
        let own = known.and_then(|at| self.large.get(at)).map_or(0, |(_, queue)| queue.len());
        // Nobody takes more than a quarter of the room that is left. A part of a page would pass
        // for all of it.
        if own + puts.len() >= (MAX_LARGE - self.large_count) / 4 {
            core.counters.directory_puts_over_limit += 1;
            return false;
        }
        let page = puts.into_iter().map(Message::from).chain([sent.into()]);
        let page: VecDeque<Message> = page.collect();
        self.large_count += page.len();
        match known.and_then(|at| self.large.get_mut(at)) {
            Some((_, queue)) => queue.extend(page),
            None => self.large.push_back((holder, page)),
        }
        true
    }

    /// Hands records to a supernode that does not expect them, as many as it takes at once. Answers
    /// how many those are. The others it will ask for where they are kept as well.
    pub(super) fn hand_over(
        &mut self,
        core: &mut Core,
        holder: NodeId,
        parcels: Vec<Parcel>,
        now: Now,
    ) -> u32 {
        let mut pace = self.pace(holder, now);
        let mut packer = PutPacker::default();
        let mut count = 0;
        for parcel in parcels {
            if !pace.take_many(work_of(std::iter::once(&parcel)), now.instant) {
                break;
            }
            count += 1;
            pack(&mut packer, parcel);
        }
        self.paces.insert(holder, pace);
        for put in packer.finish() {
            core.deliver(holder, put, now);
        }
        count
    }

    /// What a holder still takes, to be put back.
    fn pace(&mut self, holder: NodeId, now: Now) -> TokenBucket {
        let full = || TokenBucket::new(PACE.0, PACE.1, now.instant);
        self.paces.remove(&holder).unwrap_or_else(full)
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
            let Some(mut queue) = self.queues.remove(&holder) else { continue };
            let mut pace = self.pace(holder, now);
            self.send(core, holder, &mut queue, |work| pace.take_many(work, now.instant), now);
            self.paces.insert(holder, pace);
            if !queue.is_empty() {
                queue.due = now.instant + REST;
                self.order.insert((queue.due, holder));
                self.queues.insert(holder, queue);
            }
        }
        if self.paces.len() > FEW_PACES && now.instant >= self.next_look {
            self.next_look = now.instant + PACES_KEPT;
            // Most were sent little, and take all again within a moment.
            self.paces.retain(|_, pace| !pace.is_full(now.instant));
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

    /// Sends as much of what waits for a holder as this allows.
    fn send(
        &mut self,
        core: &mut Core,
        holder: NodeId,
        queue: &mut Queue,
        allows: impl FnMut(u64) -> bool,
        now: Now,
    ) {
        let mut packer = PutPacker::default();
        for parcel in queue.take(allows) {
            self.parcels -= 1;
            let owner = parcel.owner();
            if let Some(count) = self.of_owner.get_mut(&owner) {
                *count -= 1;
                if *count == 0 {
                    self.of_owner.remove(&owner);
                }
            }
            pack(&mut packer, parcel);
        }
        for put in packer.finish() {
            core.counters.directory_puts_sent += 1;
            core.deliver(holder, put, now);
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        let due = self.retry.or_else(|| self.order.first().map(|(due, _)| *due));
        earlier(due, (!self.large.is_empty()).then_some(self.next_large))
    }

    /// All that waits, now: whoever leaves cannot wait.
    pub(super) fn flush(&mut self, core: &mut Core, now: Now) {
        let mut queues: Vec<(NodeId, Queue)> = self.queues.drain().collect();
        queues.sort_unstable_by_key(|(holder, _)| *holder);
        self.order.clear();
        for (holder, mut queue) in queues {
            let mut pace = self.pace(holder, now);
            let allows = |work| {
                // What the holder does not take is lost, but it is known to be used up.
                pace.take_many(work, now.instant);
                true
            };
            self.send(core, holder, &mut queue, allows, now);
            self.paces.insert(holder, pace);
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
