//! What is known of a peer at the other end of a link.

use crate::hashed::HashMap;
use skein_proto::message::Hello;
use skein_proto::rumour::OwnerNumber;
use skein_proto::{CredentialError, Instant, NodeId, Role, SignedCredential, UnixTime, Username};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A peer at the other end of a link.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) rtt: Duration,
    pub(crate) since: Instant,
    pub(crate) hello: Option<Greeting>,
}

/// What a peer said of itself, checked as far as it can be.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) agent: String,
    pub(crate) role: Role,
    /// A credential that held when it was shown.
    pub(crate) credential: Option<SignedCredential>,
    /// Who owns it, if there is a credential.
    pub(crate) owner: Option<OwnerNumber>,
    /// Where it listens, with every unspecified address replaced by the one it is seen at.
    pub(crate) listen: Vec<SocketAddr>,
}

impl Greeting {
    pub(crate) fn new(
        hello: Hello,
        seen_at: SocketAddr,
        credential: Option<SignedCredential>,
    ) -> Self {
        let listen = resolve_listen(&hello.listen, seen_at);
        let name = credential.as_ref().map(|credential| &credential.unverified().name);
        let owner = name.map(OwnerNumber::of);
        Self { agent: hello.agent.into_string(), role: hello.role, credential, owner, listen }
    }
}

impl Peer {
    /// Its credential, if it has shown one that still holds.
    pub(crate) fn valid_credential(&self, now: UnixTime) -> Option<&SignedCredential> {
        let credential = self.hello.as_ref()?.credential.as_ref()?;
        (now < credential.unverified().expires).then_some(credential)
    }

    /// Its name; its credential held when it was shown.
    pub(crate) fn name(&self) -> Option<&Username> {
        let credential = self.hello.as_ref()?.credential.as_ref()?;
        Some(&credential.unverified().name)
    }

    /// The number of its name.
    pub(crate) fn owner(&self) -> Option<OwnerNumber> {
        self.hello.as_ref()?.owner
    }

    /// Where others may reach it: the address that it is seen at comes first, since that one is
    /// known to work from outside. None if it says that it listens nowhere: it does not want to be
    /// reached.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = Vec::from_iter(self.dialable());
        if let Some(hello) = &self.hello {
            if hello.listen.is_empty() {
                return Vec::new();
            }
            addresses.extend(hello.listen.iter().copied().filter(|a| *a != self.address));
        }
        addresses
    }

    fn dialable(&self) -> Option<SocketAddr> {
        (self.address.port() != 0 && !self.address.ip().is_unspecified()).then_some(self.address)
    }

    /// Where it listens, for supernodes, which are dialled by strangers.
    pub(crate) fn listen_addresses(&self) -> Vec<SocketAddr> {
        match &self.hello {
            Some(hello) if !hello.listen.is_empty() => hello.listen.clone(),
            _ => Vec::from_iter(self.dialable()),
        }
    }
}

/// Fills in the address that a peer is seen at where it named none.
fn resolve_listen(listen: &[SocketAddr], seen_at: SocketAddr) -> Vec<SocketAddr> {
    let mut resolved: Vec<SocketAddr> = Vec::with_capacity(listen.len());
    for address in listen {
        let ip = if address.ip().is_unspecified() { seen_at.ip() } else { address.ip() };
        let address = SocketAddr::new(canonical(ip), address.port());
        if address.port() != 0 && !ip.is_unspecified() && !resolved.contains(&address) {
            resolved.push(address);
        }
    }
    resolved
}

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Credentials that were found good, so that the same one is not checked again with each hit.
#[derive(Debug)]
pub(crate) struct CredentialCache {
    login_key: NodeId,
    good: HashMap<NodeId, SignedCredential>,
}

/// The owners of what some searches find. A credential takes some 200 bytes; so many of them are a
/// quarter of a mebibyte.
const MAX_CACHED: usize = 1_024;

impl CredentialCache {
    pub(crate) fn new(login_key: NodeId) -> Self {
        Self { login_key, good: HashMap::default() }
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.good = HashMap::default();
    }

    /// Gives back the room of those that were forgotten.
    pub(crate) fn release_room(&mut self) {
        if self.good.len() * 3 < self.good.capacity() {
            self.good.shrink_to_fit();
        }
    }

    /// Checks a credential that `bearer` shows.
    pub(crate) fn check(
        &mut self,
        credential: &SignedCredential,
        bearer: &NodeId,
        now: UnixTime,
    ) -> Result<(), CredentialError> {
        if self.good.get(bearer) == Some(credential) {
            let expired = now >= credential.unverified().expires;
            return if expired { Err(CredentialError::Expired) } else { Ok(()) };
        }
        credential.check(&self.login_key, bearer, now)?;
        if self.good.len() >= MAX_CACHED {
            self.good.clear();
        }
        self.good.insert(*bearer, credential.clone());
        Ok(())
    }
}

/// What others say this node's address is. One liar must not decide it, so the address that most
/// of the last few peers saw is taken.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    sightings: Vec<(NodeId, SocketAddr)>,
}

/// An odd number, so that two different addresses do not tie.
const MAX_SIGHTINGS: usize = 15;

impl Observed {
    pub(crate) fn add(&mut self, by: NodeId, address: SocketAddr) {
        if address.ip().is_unspecified() || address.port() == 0 {
            return;
        }
        self.sightings.retain(|(peer, _)| *peer != by);
        if self.sightings.len() == MAX_SIGHTINGS {
            self.sightings.remove(0);
        }
        if self.sightings.len() == self.sightings.capacity() {
            // One at a time: most nodes hear of two or three, and keep them for as long as they run.
            self.sightings.reserve_exact(1);
        }
        self.sightings.push((by, SocketAddr::new(canonical(address.ip()), address.port())));
    }

    pub(crate) fn best(&self) -> Option<SocketAddr> {
        self.best_of(|_| true)
    }

    /// What most have seen of its IPv4 addresses.
    pub(crate) fn best_v4(&self) -> Option<SocketAddr> {
        self.best_of(SocketAddr::is_ipv4)
    }

    fn best_of(&self, counts: impl Fn(&SocketAddr) -> bool) -> Option<SocketAddr> {
        let all = || self.sightings.iter().map(|(_, address)| *address);
        // The latest wins among equals: addresses change.
        all().filter(counts).max_by_key(|best| all().filter(|seen| seen == best).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_unspecified_address_means_the_one_that_is_seen() {
        let listen = [address("0.0.0.0:4701"), address("10.0.0.5:4701"), address("0.0.0.0:0")];
        assert_eq!(
            resolve_listen(&listen, address("203.0.113.9:50000")),
            [address("203.0.113.9:4701"), address("10.0.0.5:4701")]
        );
    }

    #[test]
    fn one_liar_does_not_decide_where_this_node_is() {
        let mut observed = Observed::default();
        for peer in 1..4 {
            observed.add(NodeId::from_bytes([peer; 32]), address("203.0.113.9:4701"));
        }
        for _ in 0..20 {
            observed.add(NodeId::from_bytes([9; 32]), address("198.51.100.1:1"));
        }
        assert_eq!(observed.best(), Some(address("203.0.113.9:4701")));
    }
}
