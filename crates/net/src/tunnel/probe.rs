//! Asking whether UDP works again.
//!
//! The side that dialled a tunnel sends a probe over UDP, now and then; the other one answers it
//! where it came from, with as many bytes, if it bears the token of a tunnel that is open. The
//! token is not sent to anybody: both ends of a TLS connection can derive it (RFC 8446,
//! section 7.5). So strangers get no answer, and who overheard a token gets one no longer than
//! what he sent, a few times a minute.
//!
//! ```text
//!   Probe    30 | 00 7 | token 16 | 00 ...        1,200 bytes
//!   Answer   31 | 00 7 | token 16 | 00 ...        1,200 bytes
//! ```
//!
//! They are as long as QUIC's first packets, so that a path that loses those loses these.

/// Derived by both ends of a tunnel.
pub type Token = [u8; 16];

/// What the token is for, as the exporter wants it.
pub(super) const LABEL: &[u8] = b"EXPORTER-skein-udp-probe";

const PROBE: u8 = 0x30;
const ANSWER: u8 = 0x31;
const HEADER: usize = 8;
/// Bytes of a probe and of its answer.
pub const LENGTH: usize = 1_200;

/// A probe or the answer to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpProbe {
    /// "Does this reach you?"
    Probe(Token),
    /// "It does."
    Answer(Token),
}

impl UdpProbe {
    /// Reads one datagram; `None` if it is anything else.
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        if datagram.len() != LENGTH || datagram[1..HEADER] != [0; HEADER - 1] {
            return None;
        }
        let token = *datagram[HEADER..].first_chunk()?;
        match datagram[0] {
            PROBE => Some(Self::Probe(token)),
            ANSWER => Some(Self::Answer(token)),
            _ => None,
        }
    }

    /// The bytes of the datagram.
    pub fn encode(self) -> [u8; LENGTH] {
        let (kind, token) = match self {
            Self::Probe(token) => (PROBE, token),
            Self::Answer(token) => (ANSWER, token),
        };
        let mut datagram = [0; LENGTH];
        datagram[0] = kind;
        datagram[HEADER..HEADER + token.len()].copy_from_slice(&token);
        datagram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(
            start in proptest::collection::vec(any::<u8>(), 0..40), length in 0_usize..1_300,
        ) {
            let mut bytes = start;
            bytes.resize(length, 0);
            if let Some(probe) = UdpProbe::decode(&bytes) {
                prop_assert_eq!(probe.encode()[..HEADER + 16].to_vec(), bytes[..HEADER + 16].to_vec());
            }
        }
    }

    #[test]
    fn a_probe_is_a_frame_of_ours_and_its_answer_is_no_longer() {
        for probe in [UdpProbe::Probe([7; 16]), UdpProbe::Answer([7; 16])] {
            let bytes = probe.encode();
            assert_eq!(bytes[0] & 0b1100_0000, 0);
            assert_eq!((UdpProbe::decode(&bytes), bytes.len()), (Some(probe), LENGTH));
        }
    }
}
