//! Nodes without an overlay, for tests: they say what a test wants them to say, honest or not.

use crate::network::{Mind, Network, address_of, name_of};
use crate::physics::Line;
use skein_overlay::Output;
use skein_proto::Role;
use skein_proto::message::{Hello, PartingReason, RoleSetting};
use skein_proto::{
    BoundedString, BoundedVec, KeyPair, Message, NodeId, SignedCredential, SupernodeEntry,
};
use std::net::SocketAddr;
use std::time::Duration;

/// Longer than any handshake takes.
const SOON: Duration = Duration::from_secs(1);

impl Network {
    /// Adds a node without an overlay, which sends only what a test tells it to.
    pub fn add_puppet(&mut self, key: &KeyPair) -> NodeId {
        let id = key.node_id();
        let mind = Mind::Puppet(Vec::new());
        self.insert(id, mind, RoleSetting::Ordinary, name_of(0), Line::default());
        id
    }

    /// A puppet opens a link.
    pub fn dial_as(&mut self, puppet: NodeId, to: NodeId) {
        self.act_as(puppet, Output::Dial { peer: to, addresses: Vec::new() });
    }

    /// A puppet closes a link.
    pub fn hang_up_as(&mut self, puppet: NodeId, peer: NodeId) {
        self.act_as(puppet, Output::HangUp { peer, reason: PartingReason::Moved });
    }

    /// A puppet sends a message, if it has a link.
    pub fn say_later(&mut self, puppet: NodeId, to: NodeId, message: impl Into<Message>) {
        self.act_as(puppet, Output::Send { peer: to, message: Box::new(message.into()) });
    }

    fn act_as(&mut self, puppet: NodeId, output: Output) {
        if let Some(node) = self.number(&puppet) {
            self.act(node, output);
        }
    }

    /// What a puppet was sent since this was last asked, with the senders.
    pub fn heard(&mut self, puppet: NodeId) -> Vec<(NodeId, Message)> {
        let Some(node) = self.number(&puppet) else { return Vec::new() };
        match self.nodes.get_mut(node as usize).map(|node| &mut node.mind) {
            Some(Mind::Puppet(heard)) => std::mem::take(heard),
            _ => Vec::new(),
        }
    }

    /// Whether two nodes are linked, as the first one sees it.
    pub fn linked(&self, node: NodeId, peer: NodeId) -> bool {
        self.number(&node).is_some_and(|node| self.nodes[node as usize].links.get(&peer).is_some())
    }

    /// Where a node is.
    pub fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.number(&node).map(address_of)
    }

    /// The credential of a node, which the login service has signed.
    pub fn honest_credential(&self, key: &KeyPair, number: u32) -> SignedCredential {
        self.credential(&key.node_id(), number, &self.login_key())
    }

    /// A greeting of a supernode, or of an ordinary node.
    pub fn greeting(role: Role, credential: Option<SignedCredential>) -> Hello {
        Hello {
            agent: BoundedString::truncated("puppet"),
            role,
            credential,
            listen: BoundedVec::default(),
            observed: SocketAddr::from(([127, 0, 0, 1], 1)),
        }
    }

    /// A puppet that dials a node and greets it, as whatever it claims to be.
    pub fn add_greeting_puppet(&mut self, key: &KeyPair, victim: NodeId, hello: Hello) -> NodeId {
        let puppet = self.add_puppet(key);
        self.dial_as(puppet, victim);
        self.run_for(SOON);
        self.say(puppet, victim, hello);
        puppet
    }

    /// A puppet sends a message, which arrives before this returns.
    pub fn say(&mut self, puppet: NodeId, to: NodeId, message: impl Into<Message>) {
        self.say_later(puppet, to, message);
        self.run_for(Duration::from_millis(150));
    }

    /// What is known of a node as a supernode, as an honest node would tell it.
    pub fn entry(&self, node: NodeId) -> Option<SupernodeEntry> {
        Some(SupernodeEntry {
            node,
            addresses: BoundedVec::truncated([self.address(node)?]),
            load_percent: 0,
            seen: self.time().unix,
        })
    }
}
