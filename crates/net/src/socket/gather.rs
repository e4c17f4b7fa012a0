//! Sending datagrams with a header before each, without putting them together first.
//!
//! The system takes the pieces of a message from wherever they are (`iovec`), and cuts the whole
//! into datagrams by itself (UDP generic segmentation offload), so that a batch of a session's
//! packets is copied once, into the kernel, as any other is.

use super::Transmit;
use crate::relay::frame::HEADER;
use socket2::{MsgHdr, SockAddr, SockRef, Socket};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};

/// Datagrams of one batch at most, as many as Linux segments.
const SEGMENTS: usize = 64;

/// From Linux's `in.h`, `in6.h` and `udp.h`: levels and types of control messages.
const IPPROTO_IP: i32 = 0;
const IP_TOS: i32 = 1;
const IPPROTO_IPV6: i32 = 41;
const IPV6_TCLASS: i32 = 67;
const SOL_UDP: i32 = 17;
const UDP_SEGMENT: i32 = 103;

/// A `cmsghdr`: its length in a machine word, a level and a type.
const CMSG_HEADER: usize = size_of::<usize>() + 8;

/// Its data, filled up to whole words: at most a word, here.
const CMSG: usize = CMSG_HEADER + size_of::<usize>();

/// A second handle of a socket, to send in pieces with.
#[derive(Debug)]
pub(super) struct Gather(Socket);

impl Gather {
    /// `None` if the system gives no second handle: then batches are put together.
    pub(super) fn of(socket: &Socket) -> Option<Self> {
        socket.try_clone().ok().map(Self)
    }

    /// Sends a batch of datagrams with `header` before each.
    ///
    /// # Errors
    /// What the system says; the caller then sends the batch in one piece, which deals with all that
    /// may be wrong.
    pub(super) fn try_send(
        &self,
        header: &[u8; HEADER],
        transmit: &Transmit<'_>,
    ) -> io::Result<()> {
        let whole = transmit.contents.len();
        let segment = transmit.segment_size.unwrap_or(whole).clamp(1, whole.max(1));
        let count = whole.div_ceil(segment);
        if count > SEGMENTS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut pieces = [IoSlice::new(&[]); 2 * SEGMENTS];
        for (pair, datagram) in pieces.chunks_exact_mut(2).zip(transmit.contents.chunks(segment)) {
            pair[0] = IoSlice::new(header);
            pair[1] = IoSlice::new(datagram);
        }
        let ecn = transmit.ecn.map_or(0, |ecn| ecn as i32);
        let mut control = [0; 2 * CMSG];
        let (mark, cut) = control.split_at_mut(CMSG);
        match is_ipv4(&transmit.destination) {
            true => write(mark, IPPROTO_IP, IP_TOS, &ecn.to_ne_bytes()),
            false => write(mark, IPPROTO_IPV6, IPV6_TCLASS, &ecn.to_ne_bytes()),
        }
        let length = u16::try_from(segment + HEADER).map_err(|_| io::ErrorKind::InvalidInput)?;
        write(cut, SOL_UDP, UDP_SEGMENT, &length.to_ne_bytes());
        let used = if count > 1 { 2 * CMSG } else { CMSG };
        let to = SockAddr::from(transmit.destination);
        let message = MsgHdr::new()
            .with_addr(&to)
            .with_buffers(&pieces[..2 * count])
            .with_control(&control[..used]);
        SockRef::from(&self.0).sendmsg(&message, 0).map(drop)
    }
}

fn is_ipv4(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => ip.to_ipv4_mapped().is_some(),
    }
}

/// Writes a control message (`cmsg(3)`) into its room.
fn write(room: &mut [u8], level: i32, kind: i32, data: &[u8]) {
    let length = CMSG_HEADER + data.len();
    let fields = [&length.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), data];
    let mut rest = room;
    for field in fields {
        let (head, tail) = rest.split_at_mut(field.len());
        head.copy_from_slice(field);
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
    use std::time::Duration;

    /// Sends a batch from a socket of one family to one of another, and answers what came.
    fn came(from: SocketAddr, to: SocketAddr, contents: &[u8], segment: usize) -> Vec<Vec<u8>> {
        let receiver = UdpSocket::bind(to).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut destination = receiver.local_addr().unwrap();
        if from.is_ipv6() {
            destination = super::super::mapped(destination);
        }
        let sender = Socket::from(UdpSocket::bind(from).unwrap());
        let transmit = Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: Some(segment),
            src_ip: None,
        };
        Gather::of(&sender).unwrap().try_send(b"8 bytes:", &transmit).unwrap();
        let one = |_| {
            let mut buffer = vec![0; 2_000];
            let length = receiver.recv(&mut buffer).unwrap();
            buffer.truncate(length);
            buffer
        };
        (0..contents.len().div_ceil(segment)).map(one).collect()
    }

    #[test]
    fn each_datagram_has_the_header_before_it_and_the_last_may_be_shorter() {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let contents: Vec<u8> = (0..=255).cycle().take(3_500).collect();
        for (from, to) in [(v4, v4), (v6, v6), (both, v4)] {
            for (length, segment) in [(3_500, 1_000), (3_000, 1_000), (900, 900)] {
                let contents = &contents[..length];
                let expected: Vec<Vec<u8>> = contents
                    .chunks(segment)
                    .map(|datagram| [&b"8 bytes:"[..], datagram].concat())
                    .collect();
                assert_eq!(came(from, to, contents, segment), expected, "{from} to {to}");
            }
        }
    }
}
