//! What nodes of Chord send each other, and how large it is.

use super::{HEADER, KEY, NODE, Node};
use crate::baselines::world::{self, Address};

/// What nodes send each other.
#[derive(Clone, Debug)]
pub enum Message {
    /// Who comes next on the way to this key? `failed` is one whom the receiver named before and
    /// who did not answer. 5 + 20 bytes, and 26 with a failed one.
    FindNext {
        /// The user's look-up, or none when it is maintenance.
        operation: Option<u32>,
        /// The asker's number of it.
        walk: u32,
        /// The key.
        key: u64,
        /// Who did not answer.
        failed: Option<Address>,
    },
    /// The next one, and whether it owns the key. 5 + 1 + 26 bytes.
    Next {
        /// The user's look-up.
        operation: Option<u32>,
        /// The asker's number of it.
        walk: u32,
        /// The next one.
        node: Node,
        /// Whether it owns the key.
        owner: bool,
    },
    /// What do you keep under this key? 5 + 20 bytes.
    Get {
        /// The user's look-up.
        operation: u32,
        /// The asker's number of it.
        walk: u32,
    },
    /// This (what it keeps is not counted). 5 bytes.
    Got {
        /// The user's look-up.
        operation: u32,
        /// The asker's number of it.
        walk: u32,
    },
    /// Who is your predecessor, who are your successors? 5 bytes.
    Stabilise,
    /// These. 5 + 26 bytes each.
    Neighbours {
        /// The predecessor.
        predecessor: Option<Node>,
        /// The successors.
        successors: Box<[Node]>,
    },
    /// I may be your predecessor. 5 + 26 bytes.
    Notify(Node),
    /// Are you there? 5 bytes.
    Ping,
    /// Yes. 5 bytes.
    Pong,
    /// What are your fingers? Asked by who joins. 5 bytes.
    GetFingers,
    /// These. 5 + 26 bytes each.
    Fingers(Box<[Node]>),
}

impl world::Message for Message {
    fn bytes(&self) -> u64 {
        let nodes = |count: usize| count as u64 * NODE;
        HEADER
            + match self {
                Self::FindNext { failed, .. } => KEY + nodes(usize::from(failed.is_some())),
                Self::Next { .. } => 1 + NODE,
                Self::Get { .. } => KEY,
                Self::Got { .. } | Self::Stabilise | Self::Ping | Self::Pong | Self::GetFingers => {
                    0
                }
                Self::Neighbours { predecessor, successors } => {
                    nodes(usize::from(predecessor.is_some()) + successors.len())
                }
                Self::Notify(_) => NODE,
                Self::Fingers(fingers) => nodes(fingers.len()),
            }
    }

    fn operation(&self) -> Option<u32> {
        match self {
            Self::FindNext { operation, .. } | Self::Next { operation, .. } => *operation,
            Self::Get { operation, .. } | Self::Got { operation, .. } => Some(*operation),
            _ => None,
        }
    }

    fn wants_answer(&self) -> bool {
        matches!(
            self,
            Self::FindNext { .. }
                | Self::Get { .. }
                | Self::Stabilise
                | Self::Ping
                | Self::GetFingers
        )
    }
}
