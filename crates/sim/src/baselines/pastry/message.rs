//! What nodes of Pastry send each other, and how large it is.

use super::{Cargo, HEADER, KEY, NODE, Node};
use crate::baselines::world::{self, Address};

/// What nodes send each other.
#[derive(Clone, Debug)]
pub enum Message {
    /// Towards the key. 5 + 16 + 1 + 22 bytes.
    Route {
        /// Where to.
        key: u64,
        /// How many hops it has made.
        hops: u32,
        /// What is routed.
        cargo: Cargo,
    },
    /// A routed message has come this hop. 5 bytes.
    Ack {
        /// The user's look-up.
        operation: Option<u32>,
    },
    /// The answer of a key's owner (what it keeps is not counted). 5 bytes.
    Answer {
        /// The user's look-up.
        operation: u32,
        /// How many hops it took.
        hops: u32,
    },
    /// Nodes of a row of the routing table. 5 bytes and 22 for each.
    Row(Box<[Node]>),
    /// The leaf set, the sender included; whether it ends a join. 5 + 1 bytes and 22 for each.
    Leaves {
        /// The nodes.
        nodes: Box<[Node]>,
        /// Whether the receiver has joined with this.
        joined: bool,
    },
    /// I am here now. 5 + 22 bytes.
    Announce(Node),
    /// I am still here. 5 bytes.
    Heartbeat,
    /// Are you there? 5 bytes.
    Probe,
    /// Yes. 5 bytes.
    Alive,
    /// This leaf does not answer. 5 + 22 bytes.
    Gone(Address),
    /// What is your leaf set? 5 bytes.
    GetLeaves,
    /// What is in this row of yours? 5 + 1 bytes.
    GetRow(u8),
    /// Whom do you have in this place? 5 + 2 bytes.
    GetEntry(u8, u8),
}

impl world::Message for Message {
    fn bytes(&self) -> u64 {
        HEADER
            + match self {
                Self::Route { .. } => KEY + 1 + NODE,
                Self::Ack { .. }
                | Self::Answer { .. }
                | Self::Heartbeat
                | Self::Probe
                | Self::Alive
                | Self::GetLeaves => 0,
                Self::Row(nodes) => nodes.len() as u64 * NODE,
                Self::Leaves { nodes, .. } => 1 + nodes.len() as u64 * NODE,
                Self::Announce(_) | Self::Gone(_) => NODE,
                Self::GetRow(_) => 1,
                Self::GetEntry(..) => 2,
            }
    }

    fn operation(&self) -> Option<u32> {
        match self {
            Self::Route { cargo: Cargo::Ask { operation, .. }, .. }
            | Self::Answer { operation, .. } => Some(*operation),
            Self::Ack { operation } => *operation,
            _ => None,
        }
    }

    fn wants_answer(&self) -> bool {
        matches!(
            self,
            Self::Route { .. }
                | Self::Probe
                | Self::GetLeaves
                | Self::GetRow(_)
                | Self::GetEntry(..)
        )
    }
}
