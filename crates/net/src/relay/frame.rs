//! The frames between a relay and the two ends of a slot.
//!
//! All numbers are big-endian. A frame's first byte is its kind, with the top bits `00`; the
//! seven bytes behind it are the number of the slot, so that what follows the header of a data
//! frame is aligned to eight bytes.
//!
//! ```text
//!   Data       01 | slot 7 |  QUIC packet, untouched
//!   Bind       02 | slot 7 |  proof 16                        24 bytes
//!   Challenge  03 | slot 7 |  cookie 16                       24 bytes
//!   Bound      04 | slot 7 |  proof 16                        24 bytes
//!   Early      07 | slot 7 |  proof 16  |  QUIC packet        25 to 1,232 bytes
//! ```
//!
//! An end that sends from an address which the relay does not know is challenged: the cookie is a
//! keyed hash of that address, so that only who receives there can answer. The answer proves with
//! the key of the slot that it comes from an end of it; the cookie need not be in it, since the relay
//! makes it anew from the address. No answer of a relay, nor of an end, is longer than what it
//! answers, and either answers a frame with one frame at most, so nothing is amplified.
//!
//! An end that has packets to send before that is done sends the first few as Early frames, each
//! with a proof of its own: see [`MAX_EARLY`].

use std::fmt;

/// Bytes before the QUIC packet of a data frame.
pub const HEADER: usize = 8;

/// The longest packet of an Early frame: with the frame's header it fits into an IPv6 packet of
/// 1,280 bytes, which passes everywhere. QUIC's first packets have 1,200 bytes (RFC 9000, section
/// 14.1).
pub const MAX_EARLY: usize = 1_280 - 40 - 8 - HEADER - PROOF;

const COOKIE: usize = 16;
const PROOF: usize = 16;

const DATA: u8 = 0x01;
const BIND: u8 = 0x02;
const CHALLENGE: u8 = 0x03;
const BOUND: u8 = 0x04;
const EARLY: u8 = 0x07;

/// The number of a slot, 56 bits. In the numbers that a relay gives, 36 of them are random, so that
/// they cannot be guessed. To know one gains nothing either: the relay moves only what comes from
/// the proven addresses of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotNumber(u64);

impl SlotNumber {
    /// The number in the lower 56 bits.
    pub const fn new(bits: u64) -> Self {
        Self(bits & 0x00ff_ffff_ffff_ffff)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for SlotNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotNumber({:014x})", self.0)
    }
}

/// What a relay draws for an address, see the [module](self).
pub type Cookie = [u8; COOKIE];

/// What shows that its maker has the key of a slot's end.
pub type Proof = [u8; PROOF];

/// A frame between a relay and an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A packet of the session.
    Data {
        /// The slot that it goes through.
        slot: SlotNumber,
        /// The QUIC packet.
        packet: &'a [u8],
    },
    /// "This address is that of an end." With an empty proof it asks for a cookie.
    Bind {
        /// The slot.
        slot: SlotNumber,
        /// Made with the key of the end of the cookie that the relay gave for this address; zeros
        /// at first.
        proof: Proof,
    },
    /// "Prove that you are an end, and that you receive at that address."
    Challenge {
        /// The slot.
        slot: SlotNumber,
        /// What the proof is made of.
        cookie: Cookie,
    },
    /// "The address is bound."
    Bound {
        /// The slot.
        slot: SlotNumber,
        /// Shows that it comes from the relay that granted the slot.
        proof: Proof,
    },
    /// A packet of the session from an end whose address is not bound yet.
    Early {
        /// The slot that it goes through.
        slot: SlotNumber,
        /// Made of the packet with the key of the end.
        proof: Proof,
        /// The QUIC packet.
        packet: &'a [u8],
    },
}

impl<'a> Frame<'a> {
    /// Reads one datagram; `None` if it is no frame of a relay.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let slot = SlotNumber::new(u64::from_be_bytes(*header));
        match header[0] {
            DATA if !rest.is_empty() => Some(Self::Data { slot, packet: rest }),
            BIND => Some(Self::Bind { slot, proof: rest.try_into().ok()? }),
            CHALLENGE => Some(Self::Challenge { slot, cookie: rest.try_into().ok()? }),
            BOUND => Some(Self::Bound { slot, proof: rest.try_into().ok()? }),
            EARLY => {
                let (proof, packet) = rest.split_first_chunk()?;
                let fits = (1..=MAX_EARLY).contains(&packet.len());
                fits.then_some(Self::Early { slot, proof: *proof, packet })
            }
            _ => None,
        }
    }

    /// The bytes of the frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Data { slot, packet } => [&data_header(*slot)[..], packet].concat(),
            Self::Bind { slot, proof } => [&header(BIND, *slot)[..], proof].concat(),
            Self::Challenge { slot, cookie } => [&header(CHALLENGE, *slot)[..], cookie].concat(),
            Self::Bound { slot, proof } => [&header(BOUND, *slot)[..], proof].concat(),
            Self::Early { slot, proof, packet } => {
                [&header(EARLY, *slot)[..], proof, packet].concat()
            }
        }
    }
}

/// What stands before each packet of a slot.
pub const fn data_header(slot: SlotNumber) -> [u8; HEADER] {
    header(DATA, slot)
}

const fn header(kind: u8, slot: SlotNumber) -> [u8; HEADER] {
    (slot.0 | (kind as u64) << 56).to_be_bytes()
}

/// The slot of a data frame; `None` if it is anything else.
pub fn data_slot(datagram: &[u8]) -> Option<SlotNumber> {
    let header = datagram.first_chunk::<HEADER>()?;
    (header[0] == DATA && datagram.len() > HEADER)
        .then(|| SlotNumber::new(u64::from_be_bytes(*header)))
}

/// Whether a relay sends what begins with this to those only who have bound an end of a slot.
pub(crate) fn shows_bound(batch: &[u8]) -> bool {
    matches!(batch.first(), Some(&(DATA | BOUND)))
}

/// How many bytes at the beginning of a batch of datagrams, `stride` bytes each and the last one
/// perhaps shorter, are data frames of `slot`.
pub fn run_length(batch: &[u8], stride: usize, slot: SlotNumber) -> usize {
    let header = data_header(slot);
    batch
        .chunks(stride.max(1))
        .take_while(|datagram| datagram.len() > HEADER && datagram.starts_with(&header))
        .map(<[u8]>::len)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic_and_written_as_it_was(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            kind in 0_u8..8,
        ) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Some(frame) = Frame::decode(&bytes) {
                prop_assert_eq!(frame.encode(), bytes);
            }
        }

        #[test]
        fn a_run_is_what_has_the_same_header(
            lengths in proptest::collection::vec(any::<bool>(), 0..20),
            stride in 9_usize..40,
        ) {
            let (mine, other) = (SlotNumber::new(7), SlotNumber::new(8));
            let mut batch = Vec::new();
            for same in &lengths {
                let slot = if *same { mine } else { other };
                batch.extend_from_slice(&data_header(slot));
                batch.resize(batch.len() + stride - HEADER, 0xc0);
            }
            let expected = lengths.iter().take_while(|same| **same).count() * stride;
            prop_assert_eq!(run_length(&batch, stride, mine), expected);
        }
    }

    #[test]
    fn every_frame_has_the_top_bits_that_tell_it_from_quic() {
        let slot = SlotNumber::new(u64::MAX);
        for frame in [
            Frame::Data { slot, packet: &[0xff] },
            Frame::Bind { slot, proof: [0xff; 16] },
            Frame::Challenge { slot, cookie: [0xff; 16] },
            Frame::Bound { slot, proof: [0xff; 16] },
            Frame::Early { slot, proof: [0xff; 16], packet: &[0xff] },
        ] {
            let bytes = frame.encode();
            assert_eq!(bytes[0] & 0b1100_0000, 0);
            assert_eq!(Frame::decode(&bytes), Some(frame));
        }
    }

    #[test]
    fn a_first_packet_of_quic_fits_into_an_early_frame_and_nothing_much_longer() {
        let (slot, proof) = (SlotNumber::new(1), [7; 16]);
        for (length, fits) in [(0, false), (1_200, true), (MAX_EARLY, true), (MAX_EARLY + 1, false)]
        {
            let bytes = Frame::Early { slot, proof, packet: &vec![0xc0; length] }.encode();
            assert_eq!(Frame::decode(&bytes).is_some(), fits, "{length}");
        }
    }

    #[test]
    fn no_answer_of_a_relay_or_an_end_is_longer_than_what_it_answers() {
        let slot = SlotNumber::new(1);
        let bind = Frame::Bind { slot, proof: [0; 16] }.encode();
        let challenge = Frame::Challenge { slot, cookie: [0; 16] }.encode();
        let bound = Frame::Bound { slot, proof: [0; 16] }.encode();
        assert!(challenge.len() <= bind.len() && bound.len() <= bind.len());
        assert!(bind.len() <= challenge.len(), "an end's answer to a challenge");
    }
}
