//! What a node does as a relay: it moves packets between the two ends of a slot.
//!
//! A slot is granted over an authenticated connection ([`Relay::grant`]) to a name; each end gets
//! a key of its own, with which it binds the address that it is at ([`frame`]). From then on the
//! relay moves every batch of packets that comes from one end to the other, as it came: it holds
//! no keys of the session, changes no byte, and copies nothing unless the system's socket is full.
//!
//! Nobody is sent anything who has not proven that he receives there and has the key of an end.
//! What comes for a slot from elsewhere is dropped and counted; if it is long enough, it is
//! answered by a shorter challenge, so that an end whose router has given it a new port binds that
//! one within a round trip.

pub mod frame;
mod limits;
mod outbox;

use crate::clock::TokioClock;
use crate::socket::{DatagramSocket, EcnCodepoint, Transmit};
use crate::stats::Counters;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use frame::{Cookie, Frame, Proof, SlotNumber};
use limits::{Bucket, bucket, on_the_line, take};
use outbox::{Outbox, Parcel};
use skein_proto::Username;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

pub use limits::RelayLimits;

/// How long a cookie is good for: a round trip over the longest paths, many times.
const COOKIE_LIFE: Duration = Duration::from_secs(10);

/// The key of a slot's end: whoever has it may say where that end is.
#[derive(Clone, PartialEq, Eq)]
pub struct EndKey([u8; 32]);

impl EndKey {
    /// The key as it travels over an encrypted connection.
    pub const fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The key that somebody was given.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What an end shows to bind its address.
    pub fn bind_proof(&self, slot: SlotNumber, cookie: &Cookie) -> Proof {
        self.proof(b"bind", slot, cookie)
    }

    /// What the relay shows when it has bound it.
    pub fn bound_proof(&self, slot: SlotNumber, cookie: &Cookie) -> Proof {
        self.proof(b"bound", slot, cookie)
    }

    fn proof(&self, what: &[u8], slot: SlotNumber, cookie: &Cookie) -> Proof {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(what).update(&slot.get().to_be_bytes()).update(cookie);
        first_half(&hasher.finalize())
    }
}

impl fmt::Debug for EndKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndKey(..)")
    }
}

fn first_half(hash: &blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

/// A slot as it is given to those who will use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its number.
    pub slot: SlotNumber,
    /// A key for each end.
    pub keys: [EndKey; 2],
}

/// Why no slot is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GrantRefused {
    /// The donor does not relay.
    #[error("this node does not relay")]
    OptedOut,
    /// All slots are taken.
    #[error("all slots of this relay are taken")]
    Full,
    /// The name has as many slots as one may have.
    #[error("this name has as many slots as one may have")]
    TooMany,
}

/// What a relay has moved, and what not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayUse {
    /// Slots at present.
    pub slots: u32,
    /// Slots granted since the start.
    pub granted: u64,
    /// Slots refused since the start.
    pub refused: u64,
    /// Bytes moved since the start, headers of slots included.
    pub bytes: u64,
    /// Bytes dropped since a rate was used up.
    pub dropped_over_rate: u64,
    /// Bytes dropped since the system's socket did not keep up.
    pub dropped_queue: u64,
    /// Bytes dropped since the other end has not bound its address.
    pub dropped_unbound: u64,
    /// Frames dropped since they came from an address that is not bound to the slot, or the slot
    /// is not there.
    pub foreign: u64,
    /// Binds refused since cookie or proof did not hold.
    pub forged: u64,
}

#[derive(Debug)]
struct Account {
    slots: AtomicU32,
    bucket: RwLock<Bucket>,
}

#[derive(Debug)]
struct Slot {
    ends: [Option<SocketAddr>; 2],
    bucket: Bucket,
    name: Username,
    account: Arc<Account>,
    /// Milliseconds since the relay's start.
    last_used: AtomicU64,
}

/// Equally long datagrams one behind the other, the last of which may be shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) stride: usize,
    /// The mark that a router or the sender has put on them; it goes on with them.
    pub(crate) ecn: Option<EcnCodepoint>,
}

/// A relay: the slots that it has granted, and what it moves through them.
pub struct Relay {
    socket: Arc<dyn DatagramSocket>,
    counters: Arc<Counters>,
    secret: [u8; 32],
    started: Instant,
    clock: TokioClock,
    limits: RwLock<RelayLimits>,
    total: RwLock<Bucket>,
    slots: DashMap<SlotNumber, Slot>,
    slot_count: AtomicU32,
    accounts: DashMap<Username, Arc<Account>>,
    outbox: Mutex<Outbox>,
    waiting: AtomicBool,
    used: Used,
}

#[derive(Debug, Default)]
struct Used {
    granted: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
    over_rate: AtomicU64,
    queue: AtomicU64,
    unbound: AtomicU64,
    foreign: AtomicU64,
    forged: AtomicU64,
}

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("slots", &self.slot_count).finish_non_exhaustive()
    }
}

impl Relay {
    /// A relay over this socket. `secret` is 32 random bytes; a relay with the same secret would
    /// know its slots' keys again.
    pub(crate) fn new(
        socket: Arc<dyn DatagramSocket>,
        counters: Arc<Counters>,
        secret: [u8; 32],
        limits: RelayLimits,
    ) -> Self {
        let clock = TokioClock::start();
        Self {
            socket,
            counters,
            secret,
            started: Instant::now(),
            clock,
            limits: RwLock::new(limits),
            total: RwLock::new(bucket(limits.total_rate, clock)),
            slots: DashMap::new(),
            slot_count: AtomicU32::new(0),
            accounts: DashMap::new(),
            outbox: Mutex::default(),
            waiting: AtomicBool::new(false),
            used: Used::default(),
        }
    }

    /// What the donor gives at present.
    pub fn limits(&self) -> RelayLimits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what the donor gives, at once for all slots. Slots over a lower number stay until
    /// they are not used any more, except that none at all ends all.
    pub fn set_limits(&self, limits: RelayLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        *self.total.write().unwrap_or_else(PoisonError::into_inner) =
            bucket(limits.total_rate, self.clock);
        if limits.slots == 0 {
            let all: Vec<SlotNumber> = self.slots.iter().map(|slot| *slot.key()).collect();
            all.into_iter().for_each(|slot| self.release(slot));
            return;
        }
        for account in &self.accounts {
            *account.bucket.write().unwrap_or_else(PoisonError::into_inner) =
                bucket(limits.name_rate, self.clock);
        }
        for mut slot in self.slots.iter_mut() {
            slot.bucket = bucket(limits.slot_rate, self.clock);
        }
    }

    /// Grants a slot to a name that has shown its credential. `number` is 56 random bits.
    ///
    /// # Errors
    /// [`GrantRefused`]; it is the donor's word, and nobody's fault.
    pub fn grant(&self, name: &Username, number: SlotNumber) -> Result<Grant, GrantRefused> {
        let granted = self.try_grant(name, number);
        let counter = if granted.is_ok() { &self.used.granted } else { &self.used.refused };
        add(counter, 1);
        granted
    }

    fn try_grant(&self, name: &Username, number: SlotNumber) -> Result<Grant, GrantRefused> {
        let limits = self.limits();
        if limits.slots == 0 {
            return Err(GrantRefused::OptedOut);
        }
        let account = self.account(name, &limits);
        if account.slots.load(Ordering::Relaxed) >= limits.slots_per_name {
            return Err(GrantRefused::TooMany);
        }
        if self.slot_count.load(Ordering::Relaxed) >= limits.slots {
            self.forget_account(name);
            return Err(GrantRefused::Full);
        }
        match self.slots.entry(number) {
            // Of 2^56 numbers one was drawn twice: whoever asks again gets another.
            Entry::Occupied(_) => return Err(GrantRefused::Full),
            Entry::Vacant(vacant) => {
                account.slots.fetch_add(1, Ordering::Relaxed);
                self.slot_count.fetch_add(1, Ordering::Relaxed);
                vacant.insert(Slot {
                    ends: [None, None],
                    bucket: bucket(limits.slot_rate, self.clock),
                    name: name.clone(),
                    account,
                    last_used: AtomicU64::new(self.millis()),
                });
            }
        }
        Ok(Grant { slot: number, keys: [self.end_key(number, 0), self.end_key(number, 1)] })
    }

    fn account(&self, name: &Username, limits: &RelayLimits) -> Arc<Account> {
        let account = self.accounts.entry(name.clone()).or_insert_with(|| {
            let bucket = RwLock::new(bucket(limits.name_rate, self.clock));
            Arc::new(Account { slots: AtomicU32::new(0), bucket })
        });
        Arc::clone(&account)
    }

    /// Takes a slot back.
    pub fn release(&self, slot: SlotNumber) {
        let Some((_, slot)) = self.slots.remove(&slot) else { return };
        self.slot_count.fetch_sub(1, Ordering::Relaxed);
        slot.account.slots.fetch_sub(1, Ordering::Relaxed);
        self.forget_account(&slot.name);
    }

    fn forget_account(&self, name: &Username) {
        // Under the lock of its shard, so that nobody takes it up meanwhile.
        self.accounts.remove_if(name, |_, account| {
            account.slots.load(Ordering::Relaxed) == 0 && Arc::strong_count(account) <= 2
        });
    }

    /// Takes back what was not used for too long. Answers how many slots that were.
    pub fn expire(&self) -> usize {
        let idle = u64::try_from(self.limits().idle.as_millis()).unwrap_or(u64::MAX);
        let now = self.millis();
        let old: Vec<SlotNumber> = self
            .slots
            .iter()
            .filter(|slot| now.saturating_sub(slot.last_used.load(Ordering::Relaxed)) >= idle)
            .map(|slot| *slot.key())
            .collect();
        old.iter().for_each(|slot| self.release(*slot));
        old.len()
    }

    /// What has been moved so far.
    pub fn usage(&self) -> RelayUse {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RelayUse {
            slots: self.slot_count.load(Ordering::Relaxed),
            granted: read(&self.used.granted),
            refused: read(&self.used.refused),
            bytes: read(&self.used.bytes),
            dropped_over_rate: read(&self.used.over_rate),
            dropped_queue: read(&self.used.queue),
            dropped_unbound: read(&self.used.unbound),
            foreign: read(&self.used.foreign),
            forged: read(&self.used.forged),
        }
    }

    /// Takes up a batch from one address. All of it are frames of ours, and none is for this node itself.
    pub(crate) fn receive(&self, source: SocketAddr, batch: Batch<'_>) {
        let Batch { bytes, stride, ecn } = batch;
        let stride = stride.max(1);
        let mut rest = bytes;
        while !rest.is_empty() {
            let first = &rest[..stride.min(rest.len())];
            let length = match frame::data_slot(first) {
                Some(slot) => {
                    let length = frame::run_length(rest, stride, slot);
                    self.forward(source, slot, Batch { bytes: &rest[..length], stride, ecn });
                    length
                }
                None => {
                    self.answer(source, first);
                    first.len()
                }
            };
            rest = &rest[length..];
        }
    }

    fn forward(&self, source: SocketAddr, number: SlotNumber, batch: Batch<'_>) {
        let run = batch.bytes;
        let Some(slot) = self.slots.get(&number) else {
            add(&self.used.foreign, 1);
            return;
        };
        let Some(end) = slot.ends.iter().position(|end| *end == Some(source)) else {
            drop(slot);
            add(&self.used.foreign, 1);
            self.challenge(source, number, run.len().min(batch.stride));
            return;
        };
        let Some(to) = slot.ends[1 - end] else {
            add(&self.used.unbound, run.len());
            return;
        };
        slot.last_used.store(self.millis(), Ordering::Relaxed);
        let cost = on_the_line(run.len(), batch.stride);
        let within = take(&slot.bucket, cost)
            && take(&slot.account.bucket.read().unwrap_or_else(PoisonError::into_inner), cost)
            && take(&self.total.read().unwrap_or_else(PoisonError::into_inner), cost);
        drop(slot);
        if !within {
            add(&self.used.over_rate, run.len());
            return;
        }
        add(&self.used.bytes, run.len());
        if self.waiting.load(Ordering::Relaxed) || !self.send(to, batch) {
            let Batch { stride: segment, ecn, .. } = batch;
            let parcel = Parcel { to, segment, ecn, bytes: run.to_vec() };
            add(&self.used.queue, self.outbox().push_data(parcel));
            self.waiting.store(true, Ordering::Relaxed);
        }
    }

    /// Sends a batch. Answers false if the system's socket is full.
    fn send(&self, to: SocketAddr, batch: Batch<'_>) -> bool {
        let Batch { bytes, stride, ecn } = batch;
        let segment_size = (bytes.len() > stride).then_some(stride);
        let transmit =
            Transmit { destination: to, ecn, contents: bytes, segment_size, src_ip: None };
        match self.socket.try_send(&transmit) {
            Ok(()) => {
                self.counters.datagrams_out.add(bytes.len().div_ceil(stride.max(1)) as u64);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            // As in a network: a datagram that cannot be sent is lost.
            Err(_) => true,
        }
    }

    fn outbox(&self) -> std::sync::MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something waits for the system's socket to have room.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn flush(&self) {
        let mut outbox = self.outbox();
        while let Some(parcel) = outbox.front() {
            let Parcel { segment: stride, ecn, .. } = *parcel;
            if !self.send(parcel.to, Batch { bytes: &parcel.bytes, stride, ecn }) {
                return;
            }
            outbox.pop();
        }
        self.waiting.store(!outbox.is_empty(), Ordering::Relaxed);
    }

    fn answer(&self, source: SocketAddr, datagram: &[u8]) {
        let Some(Frame::Bind { slot, cookie, proof }) = Frame::decode(datagram) else {
            self.counters.datagrams_unknown.increment();
            return;
        };
        if !self.slots.contains_key(&slot) {
            add(&self.used.foreign, 1);
            return;
        }
        if cookie == [0; 16] {
            self.challenge(source, slot, datagram.len());
            return;
        }
        let end = (0..2).find(|end| {
            let expected = self.end_key(slot, *end).bind_proof(slot, &cookie);
            constant_time_eq(&expected, &proof)
        });
        let Some(end) = end.filter(|_| self.is_fresh(source, &cookie)) else {
            add(&self.used.forged, 1);
            return;
        };
        if let Some(mut bound) = self.slots.get_mut(&slot) {
            bound.ends[usize::from(end)] = Some(source);
            bound.last_used.store(self.millis(), Ordering::Relaxed);
        }
        let proof = self.end_key(slot, end).bound_proof(slot, &cookie);
        self.reply(source, &Frame::Bound { slot, proof });
    }

    /// Asks who sends from there, if what came is no shorter than the question.
    fn challenge(&self, source: SocketAddr, slot: SlotNumber, length: usize) {
        let cookie = self.cookie(source, self.epoch());
        let frame = Frame::Challenge { slot, cookie };
        if length >= frame.encode().len() {
            self.reply(source, &frame);
        }
    }

    fn reply(&self, to: SocketAddr, frame: &Frame<'_>) {
        let bytes = frame.encode();
        let length = bytes.len();
        let batch = Batch { bytes: &bytes, stride: length, ecn: None };
        if self.is_waiting() || !self.send(to, batch) {
            let parcel = Parcel { to, segment: length, ecn: None, bytes };
            let kept = self.outbox().push_control(parcel);
            add(&self.used.queue, if kept { 0 } else { length });
            self.waiting.store(true, Ordering::Relaxed);
        }
    }

    fn end_key(&self, slot: SlotNumber, end: u8) -> EndKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(b"end").update(&slot.get().to_be_bytes()).update(&[end]);
        EndKey(*hasher.finalize().as_bytes())
    }

    fn cookie(&self, address: SocketAddr, epoch: u64) -> Cookie {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(b"cookie").update(&epoch.to_be_bytes());
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => hasher.update(&ip.octets()),
            IpAddr::V6(ip) => hasher.update(&ip.octets()),
        };
        hasher.update(&address.port().to_be_bytes());
        first_half(&hasher.finalize())
    }

    fn is_fresh(&self, source: SocketAddr, cookie: &Cookie) -> bool {
        let epoch = self.epoch();
        [epoch, epoch.saturating_sub(1)]
            .iter()
            .any(|epoch| constant_time_eq(&self.cookie(source, *epoch), cookie))
    }

    /// Counts from 1, so that no cookie is empty and the first one has no other before it.
    fn epoch(&self) -> u64 {
        1 + self.started.elapsed().as_secs() / COOKIE_LIFE.as_secs()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Compares without telling by its time where the first difference is.
fn constant_time_eq(a: &[u8; 16], b: &[u8; 16]) -> bool {
    a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
