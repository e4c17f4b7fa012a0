//! Datagrams of a session that go out in one call to the system.
//!
//! A call costs as much as copying a few dozen KiB: the way through the network stack, and waking
//! whoever receives. QUIC hands over ten datagrams at a time, and often twice in a row. The system
//! would take 64 of them (generic segmentation offload), so what follows at once goes with them.

use super::{EcnCodepoint, Transmit};
use crate::relay::frame::HEADER;
use std::net::SocketAddr;

/// As many bytes wait at most before they are sent: what QUIC hands over in one turn (20 datagrams)
/// is less, and twice as many still fit in one call.
const FULL: usize = 32 * 1024;

/// What one call takes at most, with room for the headers of IP and UDP.
const MAX_BYTES: usize = 65_000;

/// Equally long datagrams with their headers, for one address. Only the last may be shorter; then no
/// other can follow.
#[derive(Debug)]
pub(super) struct Burst {
    to: SocketAddr,
    header: [u8; HEADER],
    ecn: Option<EcnCodepoint>,
    /// Length of each datagram with its header.
    stride: usize,
    bytes: Vec<u8>,
}

impl Default for Burst {
    fn default() -> Self {
        let to = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { to, header: [0; HEADER], ecn: None, stride: 1, bytes: Vec::new() }
    }
}

impl Burst {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether datagrams with this header may go with those that wait, in a call of so many
    /// datagrams at most.
    pub(super) fn takes(
        &self,
        header: &[u8; HEADER],
        transmit: &Transmit<'_>,
        most: usize,
    ) -> bool {
        if self.is_empty() {
            return true;
        }
        let (segment, count) = segments(transmit);
        let stride = segment + HEADER;
        let bytes = self.bytes.len() + transmit.contents.len() + count * HEADER;
        (self.to, self.ecn) == (transmit.destination, transmit.ecn)
            && self.header == *header
            && self.bytes.len().is_multiple_of(self.stride)
            && (stride == self.stride || (stride < self.stride && count == 1))
            && bytes <= MAX_BYTES
            && bytes.div_ceil(self.stride) <= most
    }

    /// Adds datagrams that it [takes](Self::takes).
    pub(super) fn add(&mut self, header: &[u8; HEADER], transmit: &Transmit<'_>) {
        let (segment, count) = segments(transmit);
        if self.is_empty() {
            self.to = transmit.destination;
            self.header = *header;
            self.ecn = transmit.ecn;
            self.stride = segment + HEADER;
        }
        self.bytes.reserve(transmit.contents.len() + count * HEADER);
        for datagram in transmit.contents.chunks(segment) {
            self.bytes.extend_from_slice(header);
            self.bytes.extend_from_slice(datagram);
        }
    }

    /// Whether there is no use in waiting for more.
    pub(super) fn is_complete(&self) -> bool {
        self.bytes.len() == self.stride
            || self.bytes.len() >= FULL
            || !self.bytes.len().is_multiple_of(self.stride)
    }

    /// All that waits, for one call.
    pub(super) fn transmit(&self) -> Transmit<'_> {
        Transmit {
            destination: self.to,
            ecn: self.ecn,
            contents: &self.bytes,
            segment_size: (self.bytes.len() > self.stride).then_some(self.stride),
            src_ip: None,
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }
}

/// The length of a batch's datagrams, and how many they are.
fn segments(transmit: &Transmit<'_>) -> (usize, usize) {
    let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
    (segment, transmit.contents.len().div_ceil(segment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    struct Batch {
        to: u16,
        header: u8,
        segment: usize,
        length: usize,
    }

    impl Batch {
        fn header(&self) -> [u8; HEADER] {
            [self.header; HEADER]
        }

        fn transmit<'a>(&self, contents: &'a [u8]) -> Transmit<'a> {
            Transmit {
                destination: SocketAddr::from(([192, 0, 2, 1], self.to)),
                ecn: None,
                contents,
                segment_size: (self.length > self.segment).then_some(self.segment),
                src_ip: None,
            }
        }
    }

    fn batch() -> impl Strategy<Value = Batch> {
        (0_u16..2, 0_u8..2, prop_oneof![Just(1_000_usize), Just(1_200)], 1_usize..12_000)
            .prop_map(|(to, header, segment, length)| Batch { to, header, segment, length })
    }

    type Seen = (SocketAddr, Vec<u8>);

    fn datagrams(transmit: &Transmit<'_>) -> Vec<Seen> {
        let (segment, _) = segments(transmit);
        let one = |datagram: &[u8]| (transmit.destination, datagram.to_vec());
        transmit.contents.chunks(segment).map(one).collect()
    }

    proptest! {
        #[test]
        fn what_goes_out_is_what_came_in_and_in_its_order(
            batches in proptest::collection::vec(batch(), 1..30),
        ) {
            let (mut burst, mut sent, mut expected) = (Burst::default(), Vec::new(), Vec::new());
            let flush = |burst: &mut Burst, sent: &mut Vec<Seen>| {
                if !burst.is_empty() {
                    let transmit = burst.transmit();
                    assert!(transmit.contents.len() <= MAX_BYTES);
                    assert!(segments(&transmit).1 <= 40);
                    sent.extend(datagrams(&transmit));
                    burst.clear();
                }
            };
            for (number, batch) in (0_u8..).zip(&batches) {
                let contents = vec![number; batch.length];
                let (header, transmit) = (batch.header(), batch.transmit(&contents));
                for (to, datagram) in datagrams(&transmit) {
                    expected.push((to, [&header[..], &datagram].concat()));
                }
                if !burst.takes(&header, &transmit, 40) {
                    flush(&mut burst, &mut sent);
                }
                burst.add(&header, &transmit);
                if burst.is_complete() {
                    flush(&mut burst, &mut sent);
                }
            }
            flush(&mut burst, &mut sent);
            prop_assert_eq!(sent, expected);
        }
    }

    #[test]
    fn two_turns_of_quic_go_together_and_a_single_datagram_does_not_wait() {
        let contents = vec![7; 12_000];
        let batch = Batch { to: 1, header: 1, segment: 1_200, length: 12_000 };
        let mut burst = Burst::default();
        burst.add(&batch.header(), &batch.transmit(&contents));
        assert!(!burst.is_complete());
        assert!(burst.takes(&batch.header(), &batch.transmit(&contents), 64));
        assert!(
            !burst.takes(&batch.header(), &batch.transmit(&contents), 19),
            "the system's limit"
        );
        let mut single = Burst::default();
        single.add(&[1; HEADER], &Batch { length: 1_200, ..batch }.transmit(&contents[..1_200]));
        assert!(single.is_complete());
    }
}
