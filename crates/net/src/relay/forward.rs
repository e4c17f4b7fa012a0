//! The way of a packet through a relay.

use super::Relay;
use super::frame::{self, SlotNumber};
use super::limits::on_the_line;
use super::outbox::{Outbox, Parcel};
use super::table::Passage;
use super::usage::add;
use crate::socket::{EcnCodepoint, Transmit};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

/// Equally long datagrams one behind the other, the last of which may be shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) stride: usize,
    /// The mark that a router or the sender has put on them; it goes on with them.
    pub(crate) ecn: Option<EcnCodepoint>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    /// What the system's socket has no room for.
    pub(super) left: &'a [u8],
    /// Bytes that the system did not take at all.
    pub(super) refused: usize,
}

impl Relay {
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
                    let run = Batch { bytes: &rest[..length], stride, ecn };
                    if !self.forward(source, slot, run) {
                        add(&self.used.foreign, 1);
                        self.challenge(source, slot, first.len());
                    }
                    length
                }
                None => {
                    self.answer(source, first, ecn);
                    first.len()
                }
            };
            rest = &rest[length..];
        }
    }

    /// Moves data frames of one slot that came in one batch. Answers false if they do not come from
    /// an end of such a slot; then nothing is done.
    pub(crate) fn forward(&self, source: SocketAddr, slot: SlotNumber, batch: Batch<'_>) -> bool {
        if !self.has_slots.load(Ordering::Relaxed) {
            return false;
        }
        let run = batch.bytes;
        let cost = on_the_line(run.len(), batch.stride);
        let now = self.nanos();
        let passage = self.table().pass(slot, source, cost, now);
        match passage {
            Passage::NoSlot | Passage::Foreign => return false,
            Passage::OverRate => add(&self.used.over_rate, run.len()),
            Passage::To(to) => self.move_on(to, batch),
            Passage::Unbound => {
                let early = self.table().back_early(slot, source, &batch, now);
                match early {
                    Some(to) => {
                        add(&self.used.early, 1);
                        self.move_on(to, batch);
                    }
                    None => add(&self.used.unbound, run.len()),
                }
            }
        }
        true
    }

    /// Sends a batch, or keeps it until the socket has room.
    pub(super) fn move_on(&self, to: SocketAddr, batch: Batch<'_>) {
        let left = match self.is_waiting() {
            true => batch.bytes,
            false => self.send_data(to, batch),
        };
        if !left.is_empty() {
            let Batch { stride: segment, ecn, .. } = batch;
            let parcel = Parcel { to, segment, ecn, bytes: left.to_vec() };
            add(&self.used.queue, self.outbox().push_data(parcel));
            self.waiting.store(true, Ordering::Relaxed);
        }
    }

    /// Sends a batch of a session's packets. Answers what of it the system's socket has no room for.
    fn send_data<'a>(&self, to: SocketAddr, batch: Batch<'a>) -> &'a [u8] {
        let Sent { left, refused } = self.send(to, batch);
        add(&self.used.bytes, batch.bytes.len() - left.len() - refused);
        add(&self.used.unsendable, refused);
        left
    }

    /// Sends a batch, in as many calls as the system wants.
    pub(super) fn send<'a>(&self, to: SocketAddr, batch: Batch<'a>) -> Sent<'a> {
        let Batch { bytes, stride, ecn } = batch;
        let stride = stride.max(1);
        let at_once = stride * self.socket.max_transmit_segments().max(1);
        let mut sent = Sent { left: bytes, refused: 0 };
        for contents in bytes.chunks(at_once) {
            let segment_size = (contents.len() > stride).then_some(stride);
            let transmit = Transmit { destination: to, ecn, contents, segment_size, src_ip: None };
            match self.socket.try_send(&transmit) {
                Ok(()) => self.counters.datagrams_out.add(contents.len().div_ceil(stride) as u64),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // As in a network: a datagram that cannot be sent is lost.
                Err(_) => sent.refused += contents.len(),
            }
            sent.left = &sent.left[contents.len()..];
        }
        sent
    }

    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something waits for the system's socket to have room.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn flush(&self) {
        let mut outbox = self.outbox();
        while let Some((parcel, is_data)) = outbox.front() {
            let Parcel { segment: stride, ecn, .. } = *parcel;
            let batch = Batch { bytes: &parcel.bytes, stride, ecn };
            let left = match is_data {
                true => self.send_data(parcel.to, batch),
                false => self.send(parcel.to, batch).left,
            };
            let left = left.len();
            outbox.keep(left);
            if left > 0 {
                return;
            }
        }
        self.waiting.store(!outbox.is_empty(), Ordering::Relaxed);
    }
}
