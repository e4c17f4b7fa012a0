//! What the local API says about other nodes: those of a user, and those that are connected.

use serde::{Deserialize, Serialize};
use skein_proto::{NodeId, Username};
use std::net::SocketAddr;

/// A node of a user, as the directory knows it. What it says was signed by that node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedNode {
    /// The node.
    pub node: NodeId,
    /// The user that it belongs to, from a credential that was checked.
    pub name: Username,
    /// Whether it is there, as far as the directory knows.
    pub online: bool,
    /// When it last said that it is there, or was lost, in seconds since 1970.
    pub seen: u64,
    /// Where it may be reached, the likeliest first.
    pub addresses: Vec<SocketAddr>,
    /// The supernode that it is attached to; a supernode has none.
    pub parent: Option<NodeId>,
    /// Its name, if this node knows it.
    #[serde(default)]
    pub parent_name: Option<Username>,
    /// Where that listens.
    pub parent_addresses: Vec<SocketAddr>,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Who it is.
    pub node: NodeId,
    /// Its name, from a credential that was checked.
    pub name: Option<Username>,
    /// Where it is.
    pub address: SocketAddr,
    /// What it is to this node.
    pub relation: Relation,
    /// Round trip in microseconds.
    pub rtt_us: u64,
    /// Seconds since it was connected.
    pub connected_secs: u64,
    /// Program and version, as it says.
    pub agent: String,
}

/// What a peer is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// The active parent.
    Parent,
    /// The warm standby.
    Standby,
    /// A child.
    Child,
    /// A child that keeps this node as its standby.
    StandbyChild,
    /// A fellow supernode.
    Neighbour,
    /// Connected for something else, such as a transfer.
    Other,
}
