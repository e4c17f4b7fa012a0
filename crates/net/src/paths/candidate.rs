//! Candidates: the addresses at which a node may be reached directly, and in which order to try.

use crate::tunnel::Tunnels;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Candidates of one node that are taken: as many as a machine with several interfaces has, with
/// what routers and supernodes say of it, and a few guesses.
pub const MAX_CANDIDATES: usize = 24;

/// How a node came by an address. The order is that of trust that packets arrive there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CandidateKind {
    /// Guessed from the regular steps of a router that takes another port for each destination.
    Predicted,
    /// Others see the node there.
    Observed,
    /// A probe came from there (peer-reflexive, in the words of RFC 8445).
    Seen,
    /// A router has promised it (UPnP, NAT-PMP, PCP).
    Mapped,
    /// An interface of the machine has it.
    Local,
}

/// An address at which a node may be reached directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Where.
    pub address: SocketAddr,
    /// How the node came by it.
    pub kind: CandidateKind,
}

impl Candidate {
    /// Whether a peer could be there at all. What it says is hostile: probes go to unicast
    /// addresses only, and to this machine itself only where that is wanted.
    pub(crate) fn is_plausible(&self, loopback: bool) -> bool {
        let ip = self.address.ip().to_canonical();
        let unicast = match ip {
            IpAddr::V4(ip) => !ip.is_broadcast() && !ip.is_multicast() && !ip.is_unspecified(),
            // A link-local address means nothing without an interface, which only its owner knows.
            IpAddr::V6(ip) => {
                !ip.is_multicast() && !ip.is_unspecified() && !ip.is_unicast_link_local()
            }
        };
        unicast
            && self.address.port() != 0
            && (loopback || !ip.is_loopback())
            && !crate::session::is_virtual(&self.address)
            && !Tunnels::is_virtual(self.address)
    }

    /// The order in which addresses are probed, the greatest first: the type preference before the
    /// local one, as in RFC 8445, section 5.1.2. A private address is tried first where one of ours
    /// has the same prefix, and last where none has: it is a stranger's network, or one that a
    /// virtual private network leads to.
    pub(crate) fn priority(&self, ours: &[IpAddr]) -> u32 {
        let ip = self.address.ip().to_canonical();
        let near = ours.iter().any(|our| is_near(our.to_canonical(), ip));
        let kind = match self.kind {
            CandidateKind::Local if is_private(ip) && !near => 10,
            CandidateKind::Local => 126,
            CandidateKind::Mapped => 115,
            CandidateKind::Seen => 110,
            CandidateKind::Observed => 100,
            CandidateKind::Predicted => 50,
        };
        kind << 24 | u32::from(near) << 9 | u32::from(ip.is_ipv6()) << 8
    }
}

/// What kind of way leads to an address. The greater is preferred where none is clearly faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathClass {
    /// IPv4, through the internet.
    Ipv4,
    /// IPv6, through the internet: no translation, so no mapping that could expire.
    Ipv6,
    /// A private address: the same network, or one behind the same router.
    Local,
}

impl PathClass {
    pub(crate) fn of(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            ip if is_private(ip) => Self::Local,
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

/// Whether two addresses are likely to be in one network: by the prefixes that most have.
pub(crate) fn is_near(one: IpAddr, other: IpAddr) -> bool {
    let prefix = |ip: Ipv6Addr| ip.to_bits() >> 64;
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(one), IpAddr::V6(other)) => prefix(one) == prefix(other),
        _ => false,
    }
}

/// Leaves at most [`MAX_CANDIDATES`], each address once, those first that are likeliest to work.
pub(crate) fn tidy(candidates: &mut Vec<Candidate>) {
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.kind));
    let mut kept: Vec<SocketAddr> = Vec::new();
    candidates.retain(|candidate| {
        let wanted = kept.len() < MAX_CANDIDATES && !kept.contains(&candidate.address);
        if wanted {
            kept.push(candidate.address);
        }
        wanted
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn candidate(address: &str, kind: CandidateKind) -> Candidate {
        Candidate { address: address.parse().unwrap(), kind }
    }

    #[test]
    fn nothing_is_sent_where_no_peer_can_be() {
        for address in [
            "0.0.0.0:1",
            "255.255.255.255:1",
            "224.0.0.1:1",
            "192.0.2.1:0",
            "127.0.0.1:1",
            "[::1]:1",
            "[::]:1",
            "[ff02::1]:1",
            "[fe80::1]:1",
            "[::ffff:127.0.0.1]:1",
            "[fd5e:1a00::1]:1",
        ] {
            assert!(!candidate(address, CandidateKind::Local).is_plausible(false), "{address}");
        }
        assert!(candidate("127.0.0.1:1", CandidateKind::Local).is_plausible(true));
        assert!(candidate("192.0.2.1:1", CandidateKind::Local).is_plausible(false));
    }

    #[test]
    fn the_same_network_comes_first_and_a_strangers_last() {
        let ours = ["192.168.1.7".parse().unwrap()];
        let mut order = [
            candidate("10.1.1.1:1", CandidateKind::Local),
            candidate("203.0.113.1:1", CandidateKind::Predicted),
            candidate("203.0.113.1:2", CandidateKind::Observed),
            candidate("[2001:db8::1]:1", CandidateKind::Local),
            candidate("192.168.1.9:1", CandidateKind::Local),
        ];
        let expected: Vec<_> = order.iter().rev().copied().collect();
        order.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority(&ours)));
        assert_eq!(order[..2], expected[..2]);
        assert_eq!(order[4].address.to_string(), "10.1.1.1:1");
    }

    #[test]
    fn a_list_is_bounded_and_names_an_address_once() {
        let mut list: Vec<Candidate> = (1..100)
            .map(|port| candidate(&format!("192.0.2.1:{}", port / 2), CandidateKind::Predicted))
            .collect();
        list.push(candidate("192.0.2.1:7", CandidateKind::Local));
        tidy(&mut list);
        assert_eq!(list.len(), MAX_CANDIDATES);
        assert_eq!(list[0].kind, CandidateKind::Local);
        assert_eq!(list.iter().filter(|c| c.address.port() == 7).count(), 1);
    }
}
