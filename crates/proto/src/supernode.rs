//! What is known of a supernode, and the login service's list of them.

use crate::bounded::BoundedVec;
use crate::id::NodeId;
use crate::key::Statement;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// One supernode, as somebody last knew it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SupernodeEntry {
    /// Who it is.
    pub node: NodeId,
    /// Where it listens.
    pub addresses: BoundedVec<SocketAddr, 4>,
    /// How full it is, in percent.
    pub load_percent: u8,
    /// When it was last known to be up.
    pub seen: UnixTime,
}

/// The login service's list of supernodes to try first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SupernodeList {
    /// When it was made.
    pub issued: UnixTime,
    /// The supernodes, at most 200: as many as a FastTrack client cached.
    pub entries: BoundedVec<SupernodeEntry, 200>,
}

impl Statement for SupernodeList {
    const CONTEXT: &'static str = "skein supernode list 1";
}

/// How a node is doing, as it says itself. It decides who is asked first, never who is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Load {
    /// Children attached, standby ones not counted.
    pub children: u32,
    /// Children that it would hold at most, also by what its index has room for.
    pub capacity: u32,
    /// Supernodes linked to it.
    pub neighbours: u32,
    /// Records in its index.
    pub records: u64,
    /// Whether it takes new children at present.
    pub accepting: bool,
}

impl Load {
    /// How full it is, in percent, 100 at most; a node that takes nobody is full.
    pub fn percent(&self) -> u8 {
        if !self.accepting || self.capacity == 0 {
            return 100;
        }
        let percent = u64::from(self.children) * 100 / u64::from(self.capacity);
        u8::try_from(percent.min(100)).unwrap_or(100)
    }
}
