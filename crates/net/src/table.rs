//! Which peers are connected.
//!
//! Two nodes that dial each other at the same time get two connections. Both live, so that no
//! stream on either is lost; new streams go to one of them, and both sides choose the same:
//!
//! * when the two were established within [`CROSSING`] of each other, the one that the node with
//!   the smaller id dialled;
//! * else the newer one: the peer would not have dialled again if the older one still worked for
//!   it.

use crate::connection::Connection;
use dashmap::DashMap;
use skein_proto::NodeId;
use std::net::SocketAddr;
use std::time::Duration;

/// Connections of one peer that are kept. Simultaneous dials make two, a peer that was restarted
/// without a farewell leaves one behind, and one is spare.
const MAX_PER_PEER: usize = 4;

/// Two connections established within this time may have been dialled at the same time. Dials
/// rarely take longer, and to choose the older one for so long does no harm.
const CROSSING: Duration = Duration::from_secs(2);

/// The live connections by peer.
#[derive(Debug)]
pub(crate) struct Table {
    own: NodeId,
    peers: DashMap<NodeId, Vec<Connection>>,
}

impl Table {
    pub(crate) fn new(own: NodeId) -> Self {
        Self { own, peers: DashMap::new() }
    }

    /// Adds a connection; gives back the one that has to go for it, if the peer has too many.
    pub(crate) fn insert(&self, connection: Connection) -> Option<Connection> {
        let mut of_peer = self.peers.entry(connection.peer()).or_default();
        of_peer.push(connection);
        (of_peer.len() > MAX_PER_PEER).then(|| of_peer.remove(0))
    }

    /// Takes a connection out; it may have been taken out already.
    pub(crate) fn remove(&self, connection: &Connection) {
        if let Some(mut of_peer) = self.peers.get_mut(&connection.peer()) {
            of_peer.retain(|other| other != connection);
        }
        self.peers.remove_if(&connection.peer(), |_, of_peer| of_peer.is_empty());
    }

    /// The connection to use for new streams to `node`.
    pub(crate) fn get(&self, node: &NodeId) -> Option<Connection> {
        let of_peer = self.peers.get(node)?;
        let live = of_peer.iter().filter(|connection| !connection.is_closed());
        live.reduce(|older, newer| self.better(older, newer)).cloned()
    }

    /// One connection for each peer.
    pub(crate) fn all(&self) -> Vec<Connection> {
        let nodes: Vec<NodeId> = self.peers.iter().map(|entry| *entry.key()).collect();
        nodes.iter().filter_map(|node| self.get(node)).collect()
    }

    /// Whether a live connection of `node` goes to this address of a tunnel.
    pub(crate) fn leads_to(&self, node: NodeId, address: SocketAddr) -> bool {
        let leads = |one: &Connection| !one.is_closed() && one.route_address() == address;
        self.peers.get(&node).is_some_and(|of_peer| of_peer.iter().any(leads))
    }

    /// Every connection.
    pub(crate) fn every(&self) -> Vec<Connection> {
        self.peers.iter().flat_map(|entry| entry.value().clone()).collect()
    }

    fn better<'a>(&self, older: &'a Connection, newer: &'a Connection) -> &'a Connection {
        let dialled_by_smaller =
            |connection: &Connection| connection.is_dialler() == (self.own < connection.peer());
        let apart = newer.established_at().saturating_duration_since(older.established_at());
        if apart <= CROSSING && dialled_by_smaller(older) && !dialled_by_smaller(newer) {
            older
        } else {
            newer
        }
    }
}
