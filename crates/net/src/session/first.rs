//! The first packet of a dial, which goes to the peer by another way than the session's own.
//!
//! A handshake takes one round trip from when its first packet has been sent. With the offer of a
//! session this packet is at the peer before there is a path for it, and what the peer answers
//! comes along the path: so the handshake is done when the first answer of any kind could be.

use super::{Inner, Session, Sessions};
use crate::socket::{RecvMeta, Transmit};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use thiserror::Error;
use tokio::sync::oneshot;

/// The shortest datagram with a first packet (RFC 9000, section 14.1).
pub const MIN_FIRST: usize = 1_200;

/// The longest: what passes every path of IPv6. Ours have no more than [`MIN_FIRST`].
pub const MAX_FIRST: usize = 1_280 - 40 - 8;

/// The first byte of an Initial packet, but for the four bits that are encrypted: the long header,
/// the fixed bit, type 0 (RFC 9000, section 17.2.2).
const INITIAL: u8 = 0b1100;

/// The only version of QUIC that is spoken here.
const VERSION: [u8; 4] = 1_u32.to_be_bytes();

/// Lengths of connection ids (RFC 9000, sections 7.2 and 17.2).
const MIN_DESTINATION_ID: u8 = 8;
const MAX_ID: u8 = 20;

/// What was given is no first packet of a dial (its sender's fault).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no first packet of a QUIC connection")]
pub struct NotFirst;

/// A datagram with the first packet of a dial and nothing else: one Initial packet of QUIC version
/// 1, without a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstPacket(Vec<u8>);

impl FirstPacket {
    /// Takes what may be anything.
    ///
    /// # Errors
    /// [`NotFirst`].
    pub fn new(datagram: Vec<u8>) -> Result<Self, NotFirst> {
        let fits = (MIN_FIRST..=MAX_FIRST).contains(&datagram.len());
        let sound = fits && is_one_initial(&datagram).unwrap_or(false);
        if sound { Ok(Self(datagram)) } else { Err(NotFirst) }
    }

    /// The datagram.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The datagram.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Whether a datagram is an Initial packet from its first byte to its last. `None` if it ends
/// too early.
fn is_one_initial(mut rest: &[u8]) -> Option<bool> {
    let first = take(&mut rest, 1)?[0];
    let version = take(&mut rest, 4)?;
    if first >> 4 != INITIAL || version != VERSION {
        return Some(false);
    }
    let destination = take(&mut rest, 1)?[0];
    take(&mut rest, destination.into())?;
    let source = take(&mut rest, 1)?[0];
    take(&mut rest, source.into())?;
    let ids = (MIN_DESTINATION_ID..=MAX_ID).contains(&destination) && source <= MAX_ID;
    let token = take_number(&mut rest)?;
    let length = take_number(&mut rest)?;
    Some(ids && token == 0 && length == rest.len() as u64)
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(bytes)?;
    *rest = left;
    Some(taken)
}

/// An integer of variable length (RFC 9000, section 16).
fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let first = *rest.first()?;
    let bytes = take(rest, 1 << (first >> 6))?;
    let number = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Some(number & (u64::MAX >> (66 - 8 * bytes.len().min(8))))
}

impl Session {
    /// From now on, the first packet that QUIC sends to the peer is handed out instead: for whoever
    /// carries it there. What QUIC sends later goes along the route.
    pub fn hold_first(&self) -> oneshot::Receiver<FirstPacket> {
        let (sender, receiver) = oneshot::channel();
        *self.inner.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        self.inner.holds.store(true, Ordering::Relaxed);
        receiver
    }

    /// Takes a first packet that was carried here, as if it had come from the peer along a route.
    pub fn take_first(&self, first: &FirstPacket) {
        self.table.inject(&self.inner, first.as_bytes());
    }

    /// Sends a first packet along the route after all: whoever carried it may have lost it. The peer
    /// takes no notice of one that it has.
    pub fn send_first(&self, first: &FirstPacket) {
        let transmit = Transmit {
            destination: self.inner.address,
            ecn: None,
            contents: first.as_bytes(),
            segment_size: None,
            src_ip: None,
        };
        // One that the system has no room for is lost, as in a network; QUIC repeats it.
        let _ = self.table.try_send(&transmit);
    }
}

impl Inner {
    /// Hands out what was waited for, if this is it.
    pub(super) fn hold(&self, transmit: &Transmit<'_>) -> bool {
        self.holds.store(false, Ordering::Relaxed);
        let waiting = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(waiting) = waiting else { return false };
        // Whoever waits learns by the sender's end that there is none.
        let Ok(first) = FirstPacket::new(transmit.contents.to_vec()) else { return false };
        waiting.send(first).is_ok()
    }
}

impl Sessions {
    /// Gives QUIC a datagram as if it had come from the peer of a session.
    fn inject(&self, session: &Arc<Inner>, datagram: &[u8]) {
        let (addr, len) = (session.address, datagram.len());
        self.keep(RecvMeta { addr, len, stride: len, ..RecvMeta::default() }, datagram);
        self.reader.wake();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// An Initial packet whose length is as said, and what stands behind it.
    fn datagram(length: usize, behind: usize) -> Vec<u8> {
        let mut bytes = vec![0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0];
        bytes.extend_from_slice(&(0x4000 | u16::try_from(length).unwrap()).to_be_bytes());
        bytes.resize(bytes.len() + length + behind, 7);
        bytes
    }

    #[test]
    fn an_initial_packet_alone_is_taken() {
        for length in [1_182, 1_214] {
            let first = FirstPacket::new(datagram(length, 0)).unwrap();
            assert_eq!(first.as_bytes(), datagram(length, 0));
        }
    }

    #[test]
    fn what_is_anything_else_is_not() {
        let sound = datagram(1_182, 0);
        let with = |at: usize, byte: u8| {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            bytes
        };
        let wrong = [
            datagram(1_181, 0),  // too short
            datagram(1_215, 0),  // too long
            datagram(1_100, 82), // with another packet behind it
            with(0, 0x43),       // a short header, as packets of connections have
            with(0, 0xe3),       // a Handshake packet
            with(0, 0x83),       // without the fixed bit
            with(4, 0),          // a Version Negotiation packet
            with(4, 2),          // another version
            with(5, 7),          // a short id
            with(5, 200),        // an id that takes up too much
            with(15, 1),         // with a token
        ];
        for (number, bytes) in wrong.into_iter().enumerate() {
            assert_eq!(FirstPacket::new(bytes), Err(NotFirst), "{number}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..64),
            length in 0_usize..1_300,
        ) {
            bytes.resize(length, 0xff);
            let _ = FirstPacket::new(bytes);
        }
    }
}
