//! Which way the packets of a session go.

use serde::{Deserialize, Serialize};
use skein_proto::NodeId;
use skein_proto::session::NatKind;
use std::net::SocketAddr;
use std::time::Duration;

/// Which way the packets of a session go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "path")]
pub enum PathKind {
    /// Through the slot of a relay.
    Relayed {
        /// The relay.
        relay: NodeId,
        /// Where it is.
        address: SocketAddr,
    },
    /// From node to node.
    Direct {
        /// Where the peer is.
        address: SocketAddr,
    },
}

impl PathKind {
    /// Where packets are sent: to the relay, or to the peer.
    pub const fn address(self) -> SocketAddr {
        match self {
            Self::Relayed { address, .. } | Self::Direct { address } => address,
        }
    }

    /// Whether packets go from node to node.
    pub const fn is_direct(self) -> bool {
        matches!(self, Self::Direct { .. })
    }
}

/// The path of a session, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathState {
    /// Which way.
    pub kind: PathKind,
    /// The round trip when it was last looked at.
    pub rtt: Duration,
    /// What stands between this node and others.
    pub nat_here: NatKind,
    /// What stands between the peer and others.
    pub nat_there: NatKind,
    /// A relay that is kept warm, should this path die.
    pub reserve: Option<NodeId>,
    /// When the packets began to go this way, in seconds since 1970.
    pub since: u64,
    /// How long after the session had begun its packets went directly for the first time. `None`
    /// before they have.
    pub direct_after: Option<Duration>,
}
