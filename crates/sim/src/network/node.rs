//! One node of the network, as the network sees it.

use crate::catalogue::Shelf;
use skein_overlay::{Event, Overlay};
use skein_proto::evidence::EvidenceRecord;
use skein_proto::message::RoleSetting;
use skein_proto::{Instant, Message, NodeId, SupernodeEntry, UnixTime, Username};
use std::net::SocketAddr;

/// What decides for a node.
pub(crate) enum Mind {
    /// Nothing: it does not run. Whether it was a supernode when it did.
    Off {
        was_super: bool,
    },
    Overlay(Box<Overlay>),
    /// Nothing: a test says what it sends. What it is sent is kept.
    Puppet(Vec<(NodeId, Message)>),
}

/// One node.
pub(crate) struct SimNode {
    pub(crate) mind: Mind,
    /// What its key pair is made from.
    pub(crate) seed: [u8; 32],
    pub(crate) name: Username,
    pub(crate) address: SocketAddr,
    pub(crate) shelf: Shelf,
    pub(crate) links: Links,
    /// The supernodes that it has kept for its next start.
    pub(crate) known: Vec<Remembered>,
    /// The evidence that it has kept for its next start.
    pub(crate) evidence: Option<Box<EvidenceRecord>>,
    pub(crate) role: RoleSetting,
    pub(crate) alive: bool,
    /// Counts the lives of this node, so that what was meant for an earlier one is dropped.
    pub(crate) life: u32,
    /// When it is woken next.
    pub(crate) wake: Option<Instant>,
    pub(crate) events: Vec<(Instant, Event)>,
}

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) id: NodeId,
    pub(crate) peer: u32,
    /// Which of the links that the two have had: what was sent over an earlier one is lost.
    pub(crate) number: u32,
}

/// A node's links by the ids of the peers. Few nodes have more than some hundred, and a sorted list
/// of those is faster than any map and takes no room to spare.
#[derive(Debug, Default)]
pub(crate) struct Links(Vec<Link>);

impl Links {
    pub(crate) fn get(&self, peer: &NodeId) -> Option<Link> {
        self.find(peer).ok().map(|at| self.0[at])
    }

    /// Answers whether there was none with this peer.
    pub(crate) fn insert(&mut self, link: Link) -> bool {
        match self.find(&link.id) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, link);
                true
            }
        }
    }

    /// Ends the link with this peer, if it is this one.
    pub(crate) fn remove(&mut self, peer: &NodeId, number: u32) -> bool {
        match self.find(peer) {
            Ok(at) if self.0[at].number == number => {
                self.0.remove(at);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn take(&mut self) -> Vec<Link> {
        std::mem::take(&mut self.0)
    }

    fn find(&self, peer: &NodeId) -> Result<usize, usize> {
        self.0.binary_search_by(|link| link.id.cmp(peer))
    }
}

/// A supernode that a node remembers. A million nodes remember 200 each, so one that is where it
/// says is but a number.
#[derive(Clone, Debug)]
pub(crate) enum Remembered {
    Real { node: u32, load_percent: u8, seen: UnixTime },
    Other(Box<SupernodeEntry>),
}
