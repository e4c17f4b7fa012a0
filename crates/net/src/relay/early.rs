//! What a slot moves for an end that has its key, but has not proven its address yet.
//!
//! To prove an address takes two round trips, and whoever is called has something to send at once:
//! the answer to the first packet of a handshake, which it got with the offer. So it may send the
//! first few packets with a proof each, made with the key of its end. They go on to the other end,
//! which is proven; who sends them from where makes no difference to that one. What comes back goes
//! where the last of them came from, which may be anybody's address: no more than a QUIC server
//! sends to an address that it does not know (RFC 9000, section 8.1). All of that was sent by the
//! other end, byte for byte, so nothing is amplified, and to have it sent to a stranger takes both
//! ends of a slot. How much that can be in a minute is counted by the name that asked for the slot,
//! so that new slots gain nothing.

use super::forward::Batch;
use super::frame::{HEADER, Proof, SlotNumber, data_header};
use super::limits::on_the_line;
use super::table::Table;
use super::usage::add;
use super::{Relay, constant_time_eq};
use crate::connection::Connection;
use crate::socket::{EcnCodepoint, mapped};
use skein_proto::Username;
use std::collections::HashMap;
use std::net::SocketAddr;

/// Bytes of an end that are moved before its address is proven. The first flight of a QUIC server
/// has 3,600 at most, and a part of it may have to be sent again.
const MAX_TAKEN: usize = 8 * 1_024;

/// For each byte that came from an address that is not proven, so many may go there.
const BACK: usize = 3;

/// Bytes that go to addresses that are not proven, for each name in each [`SPAN`]: a session needs
/// 4 KiB or so, and a dozen of them may begin.
const BACK_TO_NAME: usize = 48 * 1_024;

/// A minute, in nanoseconds.
const SPAN: u64 = 60_000_000_000;

/// Names that are counted at a time, about 80 bytes each. More than this many at once within a
/// minute are too many to be real, and what comes for others waits until an address is proven.
const MAX_NAMES: usize = 4_096;

/// What has been moved for one end.
#[derive(Debug)]
struct Ahead {
    end: u8,
    from: SocketAddr,
    /// Bytes that came from it.
    taken: usize,
    /// Bytes that may go to where the last of it came from.
    back: usize,
}

/// Ends that have sent something and are not bound: one for each slot at most, about 100 bytes.
#[derive(Debug, Default)]
pub(super) struct Early {
    ends: HashMap<SlotNumber, Ahead>,
    /// Since when how many bytes went to addresses that were not proven, by name.
    names: HashMap<Username, (u64, usize)>,
}

impl Early {
    /// Whether so many bytes of an end may be moved; if so, they are accounted for.
    fn take(&mut self, slot: SlotNumber, end: u8, from: SocketAddr, bytes: usize) -> bool {
        let new = || Ahead { end, from, taken: 0, back: 0 };
        let ahead = self.ends.entry(slot).or_insert_with(new);
        if ahead.end != end || ahead.taken + bytes > MAX_TAKEN {
            return false;
        }
        if ahead.from != from {
            // What came from one address allows nothing to be sent to another.
            (ahead.from, ahead.back) = (from, 0);
        }
        ahead.taken += bytes;
        ahead.back += BACK * bytes;
        true
    }

    /// Where so many bytes for an end may go; if they may, they are accounted for.
    fn give(
        &mut self,
        slot: SlotNumber,
        end: u8,
        name: &Username,
        (bytes, now): (usize, u64),
    ) -> Option<SocketAddr> {
        let ahead = self.ends.get_mut(&slot).filter(|ahead| ahead.end == end)?;
        let back = ahead.back.checked_sub(bytes)?;
        let is_over = |since: u64| now.saturating_sub(since) >= SPAN;
        if !self.names.contains_key(name) && self.names.len() >= MAX_NAMES {
            self.names.retain(|_, (since, _)| !is_over(*since));
            if self.names.len() >= MAX_NAMES {
                return None;
            }
        }
        let (since, spent) = self.names.entry(name.clone()).or_insert((now, 0));
        if is_over(*since) {
            (*since, *spent) = (now, 0);
        }
        if *spent + bytes > BACK_TO_NAME {
            return None;
        }
        *spent += bytes;
        ahead.back = back;
        Some(ahead.from)
    }

    /// What was to be given has not been sent.
    fn take_back(&mut self, slot: SlotNumber, name: &Username, bytes: usize) {
        if let Some(ahead) = self.ends.get_mut(&slot) {
            ahead.back += bytes;
        }
        if let Some((_, spent)) = self.names.get_mut(name) {
            *spent = spent.saturating_sub(bytes);
        }
    }

    /// An end is bound: from now on it sends as others do.
    pub(super) fn is_bound(&mut self, slot: SlotNumber, end: u8) {
        if self.ends.get(&slot).is_some_and(|ahead| ahead.end == end) {
            self.ends.remove(&slot);
        }
    }

    /// The slot is gone.
    pub(super) fn forget(&mut self, slot: SlotNumber) {
        self.ends.remove(&slot);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// What becomes of an early packet.
enum Taken {
    /// It goes there.
    To(SocketAddr),
    /// The other end is not there, or this one has sent as much as it may.
    Not,
    /// It is more than a limit allows.
    OverRate,
}

impl Table {
    fn take_early(
        &mut self,
        number: SlotNumber,
        end: u8,
        source: SocketAddr,
        (length, now): (usize, u64),
    ) -> Taken {
        let [own, other] = match self.ends(number) {
            Some([first, second]) if end == 0 => [first, second],
            Some([first, second]) => [second, first],
            None => return Taken::Not,
        };
        let may_pass = match own {
            Some(bound) => bound == source,
            None => self.early.take(number, end, source, length),
        };
        match other.filter(|_| may_pass) {
            Some(to) if self.charge(number, on_the_line(length, length), now) => Taken::To(to),
            Some(_) => Taken::OverRate,
            None => Taken::Not,
        }
    }

    /// Where a batch for the other end goes, which is not bound: none if nothing may go there, or
    /// it is more than a limit allows.
    pub(super) fn back_early(
        &mut self,
        number: SlotNumber,
        source: SocketAddr,
        batch: &Batch<'_>,
        now: u64,
    ) -> Option<SocketAddr> {
        let ends = self.ends(number)?;
        let end = if ends[0] == Some(source) { 1 } else { 0 };
        let (bytes, name) = (batch.bytes.len(), self.name_of(number)?);
        let to = self.early.give(number, end, &name, (bytes, now))?;
        if !self.charge(number, on_the_line(bytes, batch.stride), now) {
            self.early.take_back(number, &name, bytes);
            return None;
        }
        Some(to)
    }
}

impl Relay {
    /// Binds the asker's end of a slot to where its connection comes from, which the connection has
    /// proven. Answers false where it has not, since the peer has moved since: then that end proves
    /// its address as the other one does.
    pub fn bind_asker(&self, slot: SlotNumber, asker: &Connection) -> bool {
        let Some(address) = asker.proven_address() else { return false };
        let is_v6 = self.socket.local_addr().is_ok_and(|address| address.is_ipv6());
        // As the socket will show it.
        let address = if is_v6 { mapped(address) } else { address };
        let mut table = self.table();
        table.bind(slot, 0, address, self.nanos());
        table.ends(slot).is_some()
    }

    /// A packet of an end whose address may not be bound.
    pub(super) fn take_early(
        &self,
        source: SocketAddr,
        slot: SlotNumber,
        proof: &Proof,
        (packet, ecn): (&[u8], Option<EcnCodepoint>),
    ) {
        let Some(salt) = self.table().salt(slot) else {
            return add(&self.used.foreign, 1);
        };
        let is_of = |end: &u8| {
            let expected = self.end_key(slot, salt, *end).early_proof(slot, packet);
            constant_time_eq(&expected, proof)
        };
        let Some(end) = (0..2).find(is_of) else {
            return add(&self.used.forged, 1);
        };
        let (length, now) = (HEADER + packet.len(), self.nanos());
        let taken = self.table().take_early(slot, end, source, (length, now));
        match taken {
            Taken::To(to) => {
                add(&self.used.early, 1);
                let bytes = [&data_header(slot)[..], packet].concat();
                self.move_on(to, Batch { bytes: &bytes, stride: length, ecn });
            }
            Taken::Not => add(&self.used.unbound, length),
            Taken::OverRate => add(&self.used.over_rate, length),
        }
        let is_bound = |ends: [Option<SocketAddr>; 2]| ends[usize::from(end)] == Some(source);
        if !self.table().ends(slot).is_some_and(is_bound) {
            self.challenge(source, slot, length);
        }
    }
}
