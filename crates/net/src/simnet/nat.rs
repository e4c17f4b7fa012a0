//! Network address translation, in the terms of RFC 4787: how mappings are made, and who may use
//! them from outside.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// What a router does with the addresses behind it. The names are those of RFC 3489, as people
/// use them; RFC 4787 says the same by mapping and filtering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NatKind {
    /// One mapping for each socket; whoever knows it may use it.
    FullCone,
    /// One mapping for each socket; hosts that it has sent to may use it.
    AddressRestricted,
    /// One mapping for each socket; addresses that it has sent to may use it.
    PortRestricted,
    /// A mapping for each address that a socket sends to; only that one may use it.
    Symmetric,
    /// The same with ports drawn at random, so that none can be guessed.
    SymmetricRandom,
}

impl NatKind {
    fn is_symmetric(self) -> bool {
        matches!(self, Self::Symmetric | Self::SymmetricRandom)
    }
}

/// Where a socket is: on the internet, or behind a router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Realm(pub(super) u32);

impl Realm {
    /// The internet.
    pub const INTERNET: Self = Self(0);
}

#[derive(Debug)]
struct Mapping {
    inside: SocketAddr,
    /// The only address that it is for, if the router is symmetric.
    towards: Option<SocketAddr>,
    last_sent: Instant,
    /// Whom the socket has sent to through it, and when last.
    partners: BTreeMap<SocketAddr, Instant>,
}

/// A router with address translation.
#[derive(Debug)]
pub(super) struct Nat {
    kind: NatKind,
    pub(super) outside: IpAddr,
    pub(super) parent: Realm,
    timeout: Duration,
    next_port: u16,
    random: Xoshiro256PlusPlus,
    mappings: BTreeMap<u16, Mapping>,
}

impl Nat {
    pub(super) fn new(kind: NatKind, outside: IpAddr, parent: Realm, timeout: Duration) -> Self {
        let random = Xoshiro256PlusPlus::seed_from_u64(7);
        let (next_port, mappings) = (20_000, BTreeMap::new());
        Self { kind, outside, parent, timeout, next_port, random, mappings }
    }

    /// The source that a datagram from inside has outside.
    pub(super) fn outward(&mut self, source: SocketAddr, to: SocketAddr) -> SocketAddr {
        let now = Instant::now();
        let timeout = self.timeout;
        self.mappings.retain(|_, mapping| now.duration_since(mapping.last_sent) < timeout);
        let towards = self.kind.is_symmetric().then_some(to);
        let known = self
            .mappings
            .iter()
            .find(|(_, mapping)| mapping.inside == source && mapping.towards == towards)
            .map(|(port, _)| *port);
        let port = known.unwrap_or_else(|| self.free_port());
        let mapping = self.mappings.entry(port).or_insert_with(|| Mapping {
            inside: source,
            towards,
            last_sent: now,
            partners: BTreeMap::new(),
        });
        mapping.last_sent = now;
        mapping.partners.insert(to, now);
        SocketAddr::new(self.outside, port)
    }

    /// Where a datagram from outside goes to inside, if it may.
    pub(super) fn inward(&self, source: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        let now = Instant::now();
        let mapping = self.mappings.get(&to.port())?;
        let fresh = |at: &Instant| now.duration_since(*at) < self.timeout;
        let allowed = fresh(&mapping.last_sent)
            && match self.kind {
                NatKind::FullCone => true,
                NatKind::AddressRestricted => mapping
                    .partners
                    .iter()
                    .any(|(partner, at)| partner.ip() == source.ip() && fresh(at)),
                NatKind::PortRestricted | NatKind::Symmetric | NatKind::SymmetricRandom => {
                    mapping.partners.get(&source).is_some_and(fresh)
                }
            };
        allowed.then_some(mapping.inside)
    }

    pub(super) fn forget(&mut self) {
        self.mappings.clear();
    }

    fn free_port(&mut self) -> u16 {
        loop {
            self.next_port = match self.kind {
                NatKind::SymmetricRandom => self.random.random_range(1_024..=u16::MAX),
                _ => self.next_port.checked_add(1).unwrap_or(20_000),
            };
            if !self.mappings.contains_key(&self.next_port) {
                return self.next_port;
            }
        }
    }
}
