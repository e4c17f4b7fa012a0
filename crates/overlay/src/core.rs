//! What all parts of the overlay share.

use crate::budget::Budgets;
use crate::config::Config;
use crate::contacts::Contact;
use crate::counters::Counters;
use crate::courier::{Courier, Waiting};
use crate::hashed::HashMap;
use crate::io::{Event, Now, Output};
use crate::known::KnownSupernodes;
use crate::membership::Membership;
use crate::peers::{CredentialCache, Observed, Peer};
use crate::reputation::Reputations;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein_proto::message::{Detach, Hello, PartingReason};
use skein_proto::rumour::OwnerNumber;
use skein_proto::{
    BoundedVec, Instant, KeyPair, Message, NodeId, Role, SignedCredential, SupernodeEntry, UnixTime,
};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// What all parts of the overlay share.
pub(crate) struct Core {
    pub(crate) me: NodeId,
    /// Signs what this node states.
    pub(crate) key: KeyPair,
    pub(crate) config: Config,
    pub(crate) rng: StdRng,
    pub(crate) role: Role,
    pub(crate) credential: Option<SignedCredential>,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) observed: Observed,
    pub(crate) peers: HashMap<NodeId, Box<Peer>>,
    pub(crate) known: KnownSupernodes,
    /// All supernodes, while this node is one itself.
    pub(crate) membership: Membership,
    pub(crate) courier: Courier,
    pub(crate) credentials: CredentialCache,
    pub(crate) budgets: Budgets,
    /// What is known of the conduct of others.
    pub(crate) reputations: Reputations,
    pub(crate) counters: Counters,
    pub(crate) outputs: VecDeque<Output>,
    pages: u64,
}

impl Core {
    pub(crate) fn new(key: KeyPair, config: Config, seed: [u8; 32]) -> Self {
        let me = key.node_id();
        Self {
            me,
            key,
            credentials: CredentialCache::new(config.login_key),
            known: KnownSupernodes::new(config.max_known, config.contacts.clone()),
            config,
            rng: StdRng::from_seed(seed),
            role: Role::Ordinary,
            credential: None,
            listen: Vec::new(),
            observed: Observed::default(),
            peers: HashMap::default(),
            membership: Membership::new(me),
            courier: Courier::default(),
            budgets: Budgets::default(),
            reputations: Reputations::default(),
            counters: Counters::default(),
            outputs: VecDeque::new(),
            pages: 0,
        }
    }

    /// A number for a page of files that was not used before.
    pub(crate) fn next_page(&mut self) -> u64 {
        self.pages += 1;
        self.pages
    }

    pub(crate) fn send(&mut self, peer: NodeId, message: impl Into<Message>) {
        self.outputs.push_back(Output::Send { peer, message: Box::new(message.into()) });
    }

    /// Sends a message to a supernode that may not be linked: it waits until the link is there, and
    /// comes back by [`Courier::take_failed`] when there will be none.
    pub(crate) fn deliver(&mut self, peer: NodeId, message: impl Into<Message>, now: Now) {
        let message = message.into();
        let greeted = self.peers.get(&peer).is_some_and(|peer| peer.hello.is_some());
        if greeted {
            self.courier.on_use(peer, now.instant);
            self.send(peer, message);
            return;
        }
        let linked = self.peers.contains_key(&peer);
        match self.courier.wait(peer, message, now.instant) {
            Waiting::Refused => self.counters.courier_over_limit += 1,
            Waiting::First if !linked => {
                let addresses = self
                    .membership
                    .addresses(&peer)
                    .or_else(|| self.known.addresses(&peer))
                    .unwrap_or_default();
                if addresses.is_empty() {
                    self.courier.on_lost(&peer);
                } else {
                    self.dial(peer, addresses);
                }
            }
            Waiting::First | Waiting::Behind => {}
        }
    }

    /// A supernode has greeted: it gets what waited for it.
    pub(crate) fn hand_over_waiting(&mut self, peer: NodeId) {
        for message in self.courier.take_waiting(&peer) {
            self.outputs.push_back(Output::Send { peer, message: Box::new(message) });
        }
    }

    pub(crate) fn dial(&mut self, peer: NodeId, addresses: Vec<SocketAddr>) {
        self.outputs.push_back(Output::Dial { peer, addresses });
    }

    pub(crate) fn hang_up(&mut self, peer: NodeId, reason: PartingReason) {
        self.outputs.push_back(Output::HangUp { peer, reason });
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Whether this node's own credential holds.
    pub(crate) fn has_credential(&self, now: UnixTime) -> bool {
        self.credential.as_ref().is_some_and(|credential| now < credential.unverified().expires)
    }

    /// Says, or says again, who this node is.
    pub(crate) fn greet(&mut self, peer: NodeId) {
        let Some(address) = self.peers.get(&peer).map(|known| known.address) else { return };
        let hello = Hello {
            agent: self.config.agent.clone(),
            role: self.role,
            credential: self.credential.clone(),
            listen: match self.is_hidden() {
                true => BoundedVec::default(),
                false => BoundedVec::truncated(self.named()),
            },
            observed: address,
        };
        self.send(peer, hello);
    }

    /// What it says that it listens at: what it was told, and where that is as far as others see it,
    /// since whoever is greeted may see it over the other version of IP.
    fn named(&self) -> Vec<SocketAddr> {
        let mut named = self.listen.clone();
        named.extend(self.listening_at().iter().filter(|at| !self.listen.contains(at)));
        named
    }

    /// Whether this node tells nobody where it is.
    pub(crate) fn is_hidden(&self) -> bool {
        self.config.hidden && self.role == Role::Ordinary
    }

    /// Where others can reach this node, IPv4 first; nowhere if it does not want to be reached.
    pub(crate) fn own_addresses(&self) -> Vec<SocketAddr> {
        if self.is_hidden() {
            return Vec::new();
        }
        let mut addresses = self.listening_at();
        // Behind a router, it is seen at another port than its own.
        addresses.extend(self.seen_at().filter(|seen| !addresses.contains(seen)));
        addresses
    }

    /// Where this node listens, with what it is seen at in the place of all of its addresses.
    fn listening_at(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = Vec::with_capacity(self.listen.len() + 1);
        for listen in &self.listen {
            let address = match self.seen_at() {
                Some(seen) if listen.ip().is_unspecified() => {
                    SocketAddr::new(seen.ip(), listen.port())
                }
                _ => *listen,
            };
            if !address.ip().is_unspecified() && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.sort_by_key(SocketAddr::is_ipv6);
        addresses
    }

    /// Where others see it: over IPv4, if any do. Which IPv6 address it has, it knows by itself.
    fn seen_at(&self) -> Option<SocketAddr> {
        self.observed.best_v4().or_else(|| self.observed.best())
    }

    /// Takes in supernodes that a peer named, or, with `vouched`, the login service.
    pub(crate) fn hear_of(&mut self, entries: &[SupernodeEntry], vouched: bool, now: Now) {
        if !vouched && self.membership.len() >= INFORMED {
            // It has the signed word of all of them.
            return;
        }
        for entry in entries.iter().filter(|entry| entry.node != self.me) {
            if !self.known.hear_of(entry, vouched, now.unix) {
                self.counters.known_over_limit += 1;
            }
        }
    }

    /// A linked supernode that this node has chosen has shown that it is there.
    pub(crate) fn proved(&mut self, peer: &NodeId, load_percent: Option<u8>, now: UnixTime) {
        let Some((addresses, owner)) = self.whereabouts(peer) else { return };
        if !self.known.proved(*peer, &addresses, (owner, load_percent), now) {
            self.counters.known_over_limit += 1;
        }
    }

    /// A supernode has greeted that this node had not asked for.
    pub(crate) fn introduced(&mut self, peer: &NodeId, now: UnixTime) {
        let Some((addresses, owner)) = self.whereabouts(peer) else { return };
        if !self.known.introduced(*peer, &addresses, owner, now) {
            self.counters.known_over_limit += 1;
        }
    }

    /// Where a linked supernode listens, and whose it is. What was known of the version of IP that it
    /// is not seen over holds still.
    fn whereabouts(&self, peer: &NodeId) -> Option<(Vec<SocketAddr>, OwnerNumber)> {
        let linked = self.peers.get(peer)?;
        let mut addresses = linked.listen_addresses();
        if let [first, rest @ ..] = &addresses[..]
            && rest.iter().all(|address| address.is_ipv4() == first.is_ipv4())
        {
            let is_v4 = first.is_ipv4();
            let known = self.known.addresses(peer).unwrap_or_default();
            addresses.extend(known.into_iter().filter(|address| address.is_ipv4() != is_v4));
        }
        addresses.sort_by_key(SocketAddr::is_ipv6);
        Some((addresses, linked.owner()?))
    }

    /// Whether this peer may be a parent or a neighbour: it says that it is a supernode, and its
    /// credential holds.
    pub(crate) fn is_member_super(&self, peer: &NodeId, now: UnixTime) -> bool {
        self.peers.get(peer).is_some_and(|peer| {
            peer.valid_credential(now).is_some()
                && peer.hello.as_ref().is_some_and(|hello| hello.role == Role::Super)
        })
    }

    /// Ends whatever ties there are with a peer, and the link.
    pub(crate) fn part(&mut self, peer: NodeId, reason: PartingReason) {
        self.send(peer, Detach { reason });
        self.hang_up(peer, reason);
    }

    /// Gives back the room of links that are gone: a node makes several on its way to a parent, and a
    /// supernode hundreds for a moment to put records where they belong.
    pub(crate) fn release_room(&mut self) {
        if self.peers.len() * 3 < self.peers.capacity() {
            self.peers.shrink_to_fit();
        }
        self.credentials.release_room();
    }

    /// Some supernodes to name to others, those with room first.
    pub(crate) fn others(&mut self, count: usize, besides: &NodeId) -> Vec<SupernodeEntry> {
        let membership = &self.membership;
        // In a network of a few, somebody may not have been heard of yet.
        let unheard = (membership.len() < count).then_some(0);
        let load = |contact: &Contact| {
            let member = membership.get_at(contact.place, &contact.node);
            member.map(|member| member.load.percent()).or(unheard)
        };
        let mut others = self.known.to_name(count + 1, &mut self.rng, load);
        others.retain(|entry| entry.node != *besides);
        others.truncate(count);
        others
    }

    /// `duration`, moved by up to a quarter either way, so that what starts together drifts apart.
    pub(crate) fn jitter(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(self.rng.random_range(0.75..1.25))
    }

    /// How long to wait after so many failures: `first`, doubled each time up to `longest`,
    /// jittered over its whole second half.
    pub(crate) fn back_off(
        &mut self,
        failures: u32,
        first: Duration,
        longest: Duration,
    ) -> Duration {
        let full = first.saturating_mul(1 << failures.min(16)).min(longest);
        full.mul_f64(self.rng.random_range(0.5..1.0))
    }
}

/// A supernode that knows so many others needs no hearsay, and asks the login service for one reason
/// only: to find those that it has lost sight of, if the network has come apart.
pub(crate) const INFORMED: usize = 8;

/// The earlier of two times that may not be set.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn texts(addresses: &[SocketAddr]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_node_names_where_it_is_seen_over_ipv4_and_what_it_knows_of_ipv6() {
        let key = KeyPair::from_seed(&[1; 32]);
        let mut core = Core::new(key.clone(), Config::new(key.node_id()), [0; 32]);
        core.listen = ["[::]:4701", "[2001:db8::7]:4701"].map(address).to_vec();
        assert_eq!(texts(&core.own_addresses()), ["[2001:db8::7]:4701"]);
        let mut seen = |peer: u8, at: &str| {
            core.observed.add(NodeId::from_bytes([peer; 32]), address(at));
            (texts(&core.own_addresses()), texts(&core.named()))
        };
        let both = ["203.0.113.9:4701", "[2001:db8::7]:4701", "203.0.113.9:50000"];
        let named = ["[::]:4701", "[2001:db8::7]:4701", "203.0.113.9:4701"];
        let expected = (both.map(str::to_owned).to_vec(), named.map(str::to_owned).to_vec());
        assert_eq!(seen(1, "203.0.113.9:50000"), expected);
        // Nobody else says what its IPv6 address is.
        assert_eq!(seen(2, "[2001:db8::666]:1"), expected);
        assert_eq!(seen(3, "[2001:db8::666]:1"), expected);
    }

    #[test]
    fn a_node_that_others_see_over_ipv6_alone_is_there() {
        let key = KeyPair::from_seed(&[1; 32]);
        let mut core = Core::new(key.clone(), Config::new(key.node_id()), [0; 32]);
        core.listen = vec![address("[::]:4701")];
        core.observed.add(NodeId::from_bytes([1; 32]), address("[2001:db8::7]:4701"));
        assert_eq!(texts(&core.own_addresses()), ["[2001:db8::7]:4701"]);
    }
}
