//! What is on its way through the network, and where it gets to.

use super::line::{Lane, LinkProfile, Loss};
use super::nat::Nat;
use super::{MTU, NetworkStats, Realm};
use crate::socket::EcnCodepoint;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;
use std::time::Duration;
use tokio::time::Instant;

/// Datagrams that wait at a socket for being received; further ones are lost, as from a full
/// kernel buffer.
const INBOX: usize = 4_096;

/// All that a network is made of.
#[derive(Debug)]
pub(super) struct State {
    random: Xoshiro256PlusPlus,
    pub(super) ports: BTreeMap<SocketAddr, Port>,
    pub(super) nats: BTreeMap<Realm, Nat>,
    pub(super) cut: BTreeSet<SocketAddr>,
    pub(super) blocked: BTreeSet<(SocketAddr, SocketAddr)>,
    pub(super) narrow: BTreeMap<(SocketAddr, SocketAddr), usize>,
    /// By how much the way between two is longer than their lines.
    pub(super) longer: BTreeMap<(SocketAddr, SocketAddr), Duration>,
    /// What begins with this byte, from this socket, is lost.
    pub(super) muted: BTreeSet<(SocketAddr, u8)>,
    /// Where sockets are that were carried away from the address that they were opened at.
    pub(super) moved: BTreeMap<SocketAddr, SocketAddr>,
    sequence: u64,
    pub(super) stats: NetworkStats,
}

/// What the network knows of a socket.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) realm: Realm,
    pub(super) profile: LinkProfile,
    up: Lane,
    down: Lane,
    pub(super) inbox: BinaryHeap<Reverse<Datagram>>,
    pub(super) reader: Option<Waker>,
}

impl Port {
    pub(super) fn new(realm: Realm, profile: LinkProfile) -> Self {
        let (up, down) = (Lane::default(), Lane::default());
        Self { realm, profile, up, down, inbox: BinaryHeap::new(), reader: None }
    }
}

/// A datagram on its way; the earliest goes first, and of two the one that was sent first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Datagram {
    pub(super) due: Instant,
    sequence: u64,
    pub(super) source: SocketAddr,
    pub(super) ecn: Option<u8>,
    pub(super) bytes: Vec<u8>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            ports: BTreeMap::new(),
            nats: BTreeMap::new(),
            cut: BTreeSet::new(),
            blocked: BTreeSet::new(),
            narrow: BTreeMap::new(),
            longer: BTreeMap::new(),
            muted: BTreeSet::new(),
            moved: BTreeMap::new(),
            sequence: 0,
            stats: NetworkStats::default(),
        }
    }

    /// Puts one datagram on its way; gives back who is to be woken.
    pub(super) fn send(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        ecn: Option<EcnCodepoint>,
        bytes: &[u8],
    ) -> Option<Waker> {
        self.stats.sent += 1;
        if bytes.first().is_some_and(|first| self.muted.contains(&(source, *first))) {
            self.stats.unreachable += 1;
            return None;
        }
        self.pass(source, destination, ecn, bytes)
    }

    /// The same, whatever the socket is muted for.
    pub(super) fn pass(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        ecn: Option<EcnCodepoint>,
        bytes: &[u8],
    ) -> Option<Waker> {
        let source = *self.moved.get(&source).unwrap_or(&source);
        let sender = source;
        let Some((source, destination)) = self.route(source, unmapped(destination)) else {
            self.stats.unreachable += 1;
            return None;
        };
        let blocked = self.blocked.contains(&(sender, destination));
        if blocked || self.cut.contains(&sender) || self.cut.contains(&destination) {
            self.stats.unreachable += 1;
            return None;
        }
        let mtu = self.narrow.get(&(sender, destination)).copied().unwrap_or(MTU);
        if bytes.len() + headers(destination) > mtu {
            self.stats.too_large += 1;
            return None;
        }
        let due = match self.travel(sender, destination, bytes.len()) {
            Ok(due) => due?,
            Err(Loss::Chance) => {
                self.stats.lost += 1;
                return None;
            }
            Err(Loss::Overflow) => {
                self.stats.overflowed += 1;
                return None;
            }
        };
        let due = due + self.longer.get(&(sender, destination)).copied().unwrap_or_default();
        self.sequence += 1;
        let sequence = self.sequence;
        let port = self.ports.get_mut(&destination)?;
        if port.inbox.len() >= INBOX {
            self.stats.overflowed += 1;
            return None;
        }
        let source = as_seen_by(destination, source);
        let ecn = ecn.map(|ecn| ecn as u8);
        let bytes = bytes.to_vec();
        port.inbox.push(Reverse(Datagram { due, sequence, source, ecn, bytes }));
        port.reader.take()
    }

    /// Which socket a datagram gets to, and what its source is there.
    fn route(
        &mut self,
        mut source: SocketAddr,
        mut to: SocketAddr,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let mut realm = self.ports.get(&source)?.realm;
        loop {
            if self.ports.get(&to).is_some_and(|port| port.realm == realm) {
                return Some((source, to));
            }
            let inner = self
                .nats
                .iter()
                .find(|(_, nat)| nat.parent == realm && nat.outside == to.ip())
                .map(|(inner, nat)| (*inner, nat.inward(source, to)));
            if let Some((inner, inside)) = inner {
                to = inside?;
                realm = inner;
                continue;
            }
            let nat = self.nats.get_mut(&realm)?;
            if nat.outside == to.ip() {
                return None;
            }
            source = nat.outward(source, to);
            realm = nat.parent;
        }
    }

    fn travel(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: usize,
    ) -> Result<Option<Instant>, Loss> {
        let mut at = Instant::now();
        if let Some(port) = self.ports.get_mut(&source) {
            at = port.up.pass(&port.profile, &mut self.random, at, bytes)?;
        }
        let Some(port) = self.ports.get_mut(&destination) else {
            return Ok(None);
        };
        port.down.pass(&port.profile, &mut self.random, at, bytes).map(Some)
    }
}

/// Bytes of the headers of IP and UDP.
fn headers(to: SocketAddr) -> usize {
    if to.is_ipv4() { 20 + 8 } else { 40 + 8 }
}

/// A destination as sockets are entered: a socket for both families writes IPv4 as IPv6.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A source as a socket of the receiver's family sees it.
fn as_seen_by(receiver: SocketAddr, source: SocketAddr) -> SocketAddr {
    match (receiver.ip(), source.ip()) {
        (IpAddr::V6(_), IpAddr::V4(ip)) => {
            SocketAddr::new(ip.to_ipv6_mapped().into(), source.port())
        }
        _ => source,
    }
}
