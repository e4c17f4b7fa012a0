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
//! one within a round trip. What the key of an end alone can do before that is in [`early`].

mod accounts;
mod early;
mod forward;
pub mod frame;
mod limits;
mod outbox;
mod place;
mod table;
mod usage;

use crate::socket::{DatagramSocket, EcnCodepoint};
use crate::stats::Counters;
use frame::{Cookie, Frame, Proof, SlotNumber};
use outbox::{Outbox, Parcel};
use rand::RngExt;
use skein_proto::Username;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::Table;
use thiserror::Error;
use tokio::time::Instant;
use usage::{Used, add};

pub(crate) use forward::Batch;
pub use limits::RelayLimits;
pub use usage::RelayUse;

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

    /// What an end shows with a packet that it sends before its address is bound.
    pub fn early_proof(&self, slot: SlotNumber, packet: &[u8]) -> Proof {
        self.proof(b"early", slot, packet)
    }

    fn proof(&self, what: &[u8], slot: SlotNumber, about: &[u8]) -> Proof {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(what).update(&slot.get().to_be_bytes()).update(about);
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

/// A relay: the slots that it has granted, and what it moves through them.
pub struct Relay {
    socket: Arc<dyn DatagramSocket>,
    counters: Arc<Counters>,
    secret: [u8; 32],
    started: Instant,
    /// One task receives for an endpoint, so that it finds the lock free but while somebody grants
    /// or takes back, and nothing is sent under it.
    table: Mutex<Table>,
    /// Whoever relays nothing does not ask the table.
    has_slots: AtomicBool,
    outbox: Mutex<Outbox>,
    waiting: AtomicBool,
    used: Used,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("slots", &self.table().len()).finish_non_exhaustive()
    }
}

impl Relay {
    /// A relay over this socket. `secret` is 32 random bytes.
    pub(crate) fn new(
        socket: Arc<dyn DatagramSocket>,
        counters: Arc<Counters>,
        secret: [u8; 32],
        limits: RelayLimits,
    ) -> Self {
        Self {
            socket,
            counters,
            secret,
            started: Instant::now(),
            table: Mutex::new(Table::new(limits)),
            has_slots: AtomicBool::new(false),
            outbox: Mutex::default(),
            waiting: AtomicBool::new(false),
            used: Used::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table.
    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table();
        let changed = change(&mut table);
        self.has_slots.store(table.len() > 0, Ordering::Relaxed);
        changed
    }

    /// What the donor gives at present.
    pub fn limits(&self) -> RelayLimits {
        self.table().limits()
    }

    /// Changes what the donor gives, at once for all slots. Slots over a lower number stay until
    /// they are not used any more, except that none at all ends all.
    pub fn set_limits(&self, limits: RelayLimits) {
        self.change(|table| table.set_limits(limits));
    }

    /// Grants a slot to a name that has shown its credential.
    ///
    /// # Errors
    /// [`GrantRefused`]; it is the donor's word, and nobody's fault.
    pub fn grant(&self, name: &Username) -> Result<Grant, GrantRefused> {
        let mut rng = rand::rng();
        let (random, salt) = (rng.random(), rng.random());
        let granted = self.change(|table| table.grant(name, random, salt, self.nanos()));
        let counter = if granted.is_ok() { &self.used.granted } else { &self.used.refused };
        add(counter, 1);
        let slot = granted?;
        Ok(Grant { slot, keys: [0, 1].map(|end| self.end_key(slot, salt, end)) })
    }

    /// Takes a slot back.
    pub fn release(&self, slot: SlotNumber) {
        self.change(|table| table.release(slot));
    }

    /// Takes a slot back that this name was granted, as it wishes. Answers false if it was granted to
    /// another, is not there, or was used so much just now that it is not forgotten yet: then it stays
    /// until it expires.
    pub fn release_of(&self, name: &Username, slot: SlotNumber) -> bool {
        let now = self.nanos();
        let released = self.change(|table| table.release_of(name, slot, now));
        let counter = if released { &self.used.released } else { &self.used.unreleased };
        add(counter, 1);
        released
    }

    /// Takes back what was not used for too long. Answers how many slots that were.
    pub fn expire(&self) -> usize {
        let now = self.nanos();
        let (mut expired, mut from) = (0, Some(0));
        // Packets pass between one part of the table and the next.
        while let Some(at) = from {
            let (some, next) = self.change(|table| table.expire(at, now));
            (expired, from) = (expired + some, next);
        }
        expired
    }

    /// What has been moved so far.
    pub fn usage(&self) -> RelayUse {
        self.used.with_slots(self.table().len())
    }

    fn answer(&self, source: SocketAddr, datagram: &[u8], ecn: Option<EcnCodepoint>) {
        let (slot, proof) = match Frame::decode(datagram) {
            Some(Frame::Bind { slot, proof }) => (slot, proof),
            Some(Frame::Early { slot, proof, packet }) => {
                return self.take_early(source, slot, &proof, (packet, ecn));
            }
            _ => return self.counters.datagrams_unknown.increment(),
        };
        let Some(salt) = self.table().salt(slot) else {
            add(&self.used.foreign, 1);
            return;
        };
        if proof == [0; 16] {
            self.challenge(source, slot, datagram.len());
            return;
        }
        let keys = [0, 1].map(|end| self.end_key(slot, salt, end));
        // The cookie of this time, and the one before, which may have been on its way.
        let epoch = self.epoch();
        let shown = [epoch, epoch.saturating_sub(1)].into_iter().find_map(|epoch| {
            let cookie = self.cookie(source, epoch);
            let is_of = |key: &EndKey| constant_time_eq(&key.bind_proof(slot, &cookie), &proof);
            let (end, key) = (0_u8..).zip(&keys).find(|(_, key)| is_of(key))?;
            Some((end, key.bound_proof(slot, &cookie)))
        });
        let Some((end, proof)) = shown else {
            add(&self.used.forged, 1);
            return;
        };
        self.table().bind(slot, end, source, self.nanos());
        self.reply(source, &Frame::Bound { slot, proof });
    }

    /// Asks who sends from there for a slot, if what came is no shorter than the question.
    fn challenge(&self, source: SocketAddr, slot: SlotNumber, length: usize) {
        if self.table().salt(slot).is_none() {
            return;
        }
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
        if self.is_waiting() || !self.send(to, batch).left.is_empty() {
            let parcel = Parcel { to, segment: length, ecn: None, bytes };
            let kept = self.outbox().push_control(parcel);
            add(&self.used.queue, if kept { 0 } else { length });
            self.waiting.store(true, Ordering::Relaxed);
        }
    }

    /// The salt is random and of this slot alone, so that whoever had the number before, should it
    /// ever be drawn again, has other keys.
    fn end_key(&self, slot: SlotNumber, salt: u64, end: u8) -> EndKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(b"end").update(&slot.get().to_be_bytes());
        hasher.update(&salt.to_be_bytes()).update(&[end]);
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

    /// Counts from 1: the first one has no other before it.
    fn epoch(&self) -> u64 {
        1 + self.started.elapsed().as_secs() / COOKIE_LIFE.as_secs()
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Compares without telling by its time where the first difference is.
fn constant_time_eq(a: &[u8; 16], b: &[u8; 16]) -> bool {
    a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
