//! The frames with which two ends look for a direct path between them.
//!
//! All numbers are big-endian; the header is that of a [relay's frames](crate::relay::frame).
//!
//! ```text
//!   Probe       05 | number 7 | transaction 8 | flags 1 | zeros 17     | proof 16 | padding
//!   ProbeReply  06 | number 7 | transaction 8 | address 16, port 2     | proof 16 | padding
//! ```
//!
//! Without padding either has 50 bytes. A probe is padded, with anything, to see whether a path takes
//! datagrams of that length.
//!
//! The proof is the first half of BLAKE3, keyed with what only the two ends know, over all bytes
//! before it and the side that made it. So a probe that is sent back to its maker proves nothing. A
//! reply is exactly as long as the probe, and a probe is answered once, and by one frame: whoever
//! copies one under a false source, before the original comes, makes one frame of one, and none that
//! is longer.
//!
//! The reply says which address the probe came from. It is written inverted, since there are
//! routers that translate whatever looks like an address behind them (RFC 8489, section 14.2, masks
//! it for the same reason).

use crate::connection::canonical;
use crate::relay::frame::{Proof, SlotNumber};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Bytes of either frame, without padding.
pub const LENGTH: usize = 50;

/// Bytes of either frame at most: more than any packet of a session has.
pub const LONGEST: usize = 1_500;

const PROVEN: usize = LENGTH - 16;
const PROBE: u8 = 0x05;
const REPLY: u8 = 0x06;
const IN_USE: u8 = 0x01;

/// What both ends of a session, and nobody else, know: it makes and checks the proofs of probes.
#[derive(Clone, PartialEq, Eq)]
pub struct ProbeKey([u8; 32]);

impl ProbeKey {
    /// The key of these bytes, which no other session may have.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What stands at the end of a frame, and shows that a side of the two has made what is before
    /// it.
    pub fn proof(&self, by: Side, proven: &[u8]) -> Proof {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(by.label()).update(proven);
        let mut proof = Proof::default();
        proof.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        proof
    }
}

impl fmt::Debug for ProbeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProbeKey(..)")
    }
}

/// Which of the two ends one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who asked for the session, or dialled the connection.
    Caller,
    /// Who was asked.
    Callee,
}

impl Side {
    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }

    const fn label(self) -> &'static [u8] {
        match self {
            Self::Caller => b"skein probe of the caller",
            Self::Callee => b"skein probe of the callee",
        }
    }
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// "Do you hear me here?"
    Probe {
        /// The sender's packets go along this path.
        in_use: bool,
    },
    /// "Yes, and you are there."
    Reply {
        /// Where the probe came from.
        observed: SocketAddr,
    },
}

/// A probe or the reply to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeFrame {
    /// The number that both ends have agreed on.
    pub number: SlotNumber,
    /// Counts the probes of one end; the reply has that of its probe.
    pub transaction: u64,
    /// What it says.
    pub body: Body,
}

impl ProbeFrame {
    /// The frame with its proof.
    pub fn seal(&self, key: &ProbeKey, by: Side) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let kind = match self.body {
            Body::Probe { .. } => PROBE,
            Body::Reply { .. } => REPLY,
        };
        bytes[..8].copy_from_slice(&(self.number.get() | u64::from(kind) << 56).to_be_bytes());
        bytes[8..16].copy_from_slice(&self.transaction.to_be_bytes());
        match self.body {
            Body::Probe { in_use } => bytes[16] = if in_use { IN_USE } else { 0 },
            Body::Reply { observed } => {
                let ip = match observed.ip() {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                bytes[16..32].copy_from_slice(&(!ip.to_bits()).to_be_bytes());
                bytes[32..34].copy_from_slice(&(!observed.port()).to_be_bytes());
            }
        }
        let proof = key.proof(by, &bytes[..PROVEN]);
        bytes[PROVEN..].copy_from_slice(&proof);
        bytes
    }

    /// The number of a probe or a reply; `None` if it is anything else.
    pub fn number(datagram: &[u8]) -> Option<SlotNumber> {
        let header = datagram.first_chunk::<8>()?;
        ((LENGTH..=LONGEST).contains(&datagram.len()) && matches!(header[0], PROBE | REPLY))
            .then(|| SlotNumber::new(u64::from_be_bytes(*header)))
    }

    /// Reads a frame that `by` has made; `None` if it has not, or it is no such frame.
    pub fn open(datagram: &[u8], key: &ProbeKey, by: Side) -> Option<Self> {
        let number = Self::number(datagram)?;
        let (proven, proof) = datagram.get(..LENGTH)?.split_at(PROVEN);
        let differences = key
            .proof(by, proven)
            .iter()
            .zip(proof)
            .fold(0, |differences, (ours, theirs)| differences | (ours ^ theirs));
        if differences != 0 {
            return None;
        }
        let transaction = u64::from_be_bytes(*datagram[8..].first_chunk()?);
        let body = match datagram[0] {
            PROBE => Body::Probe { in_use: datagram[16] & IN_USE != 0 },
            _ => {
                let ip = Ipv6Addr::from_bits(!u128::from_be_bytes(*datagram[16..].first_chunk()?));
                let port = !u16::from_be_bytes(*datagram[32..].first_chunk()?);
                Body::Reply { observed: canonical(SocketAddr::new(ip.into(), port)) }
            }
        };
        Some(Self { number, transaction, body })
    }
}

/// Lets each transaction pass once (the sliding window of RFC 4303, section 3.4.3): the highest so
/// far and the 63 before it are told apart, and what is older counts as seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    highest: u64,
    seen: u64,
}

impl Window {
    /// Whether this transaction was not seen before.
    pub fn admit(&mut self, transaction: u64) -> bool {
        if transaction > self.highest {
            let ahead = transaction - self.highest;
            self.seen = if ahead < 64 { self.seen << ahead } else { 0 };
            self.seen |= 1;
            self.highest = transaction;
            return true;
        }
        let behind = self.highest - transaction;
        if behind >= 64 || self.seen & (1 << behind) != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const KEY: ProbeKey = ProbeKey::from_bytes([7; 32]);

    fn frames() -> [ProbeFrame; 3] {
        let bodies = [
            Body::Probe { in_use: true },
            Body::Reply { observed: "203.0.113.9:4701".parse().unwrap() },
            Body::Reply { observed: "[2001:db8::1]:1".parse().unwrap() },
        ];
        bodies.map(|body| ProbeFrame { number: SlotNumber::new(5), transaction: 9, body })
    }

    #[test]
    fn what_one_side_seals_the_other_opens_and_nobody_else() {
        for frame in frames() {
            let bytes = frame.seal(&KEY, Side::Caller);
            assert_eq!(bytes[0] & 0b1100_0000, 0, "told from QUIC");
            assert_eq!(ProbeFrame::open(&bytes, &KEY, Side::Caller), Some(frame));
            assert_eq!(ProbeFrame::open(&bytes, &KEY, Side::Callee), None, "reflected");
            let other = ProbeKey::from_bytes([8; 32]);
            assert_eq!(ProbeFrame::open(&bytes, &other, Side::Caller), None, "forged");
        }
    }

    #[test]
    fn an_address_does_not_stand_in_the_open() {
        let bytes = frames()[1].seal(&KEY, Side::Caller);
        assert!(!bytes.windows(4).any(|window| window == [203, 0, 113, 9]));
    }

    proptest! {
        #[test]
        fn no_changed_byte_and_no_other_length_but_a_padded_one_passes(at in 0_usize..LENGTH, flip in 1_u8..) {
            for frame in frames() {
                let mut bytes = frame.seal(&KEY, Side::Callee).to_vec();
                bytes[at] ^= flip;
                prop_assert_eq!(ProbeFrame::open(&bytes, &KEY, Side::Callee), None);
                bytes[at] ^= flip;
                prop_assert_eq!(ProbeFrame::open(&bytes[..at], &KEY, Side::Callee), None);
                bytes.resize(LONGEST, flip);
                prop_assert_eq!(ProbeFrame::open(&bytes, &KEY, Side::Callee), Some(frame));
                bytes.push(0);
                prop_assert_eq!(ProbeFrame::open(&bytes, &KEY, Side::Callee), None);
            }
        }

        #[test]
        fn a_transaction_passes_once(transactions in proptest::collection::vec(0_u64..200, 0..300)) {
            let (mut window, mut seen) = (Window::default(), BTreeSet::new());
            for transaction in transactions {
                let highest = seen.last().copied().unwrap_or(0);
                let admitted = window.admit(transaction);
                if seen.contains(&transaction) || transaction + 64 <= highest {
                    prop_assert!(!admitted);
                } else if transaction > 0 {
                    prop_assert!(admitted);
                }
                seen.insert(transaction);
            }
        }
    }
}
