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
                    self.answer(source, first);
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
        let run = batch.bytes;
        add(&self.used.bytes, run.len());
        if self.is_waiting() || !self.send(to, batch) {
            let Batch { stride: segment, ecn, .. } = batch;
            let parcel = Parcel { to, segment, ecn, bytes: run.to_vec() };
            add(&self.used.queue, self.outbox().push_data(parcel));
            self.waiting.store(true, Ordering::Relaxed);
        }
    }

    /// Sends a batch. Answers false if the system's socket is full.
    pub(super) fn send(&self, to: SocketAddr, batch: Batch<'_>) -> bool {
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
        while let Some(parcel) = outbox.front() {
            let Parcel { segment: stride, ecn, .. } = *parcel;
            if !self.send(parcel.to, Batch { bytes: &parcel.bytes, stride, ecn }) {
                return;
            }
            outbox.pop();
        }
        self.waiting.store(!outbox.is_empty(), Ordering::Relaxed);
    }
}
