//! What nodes of Kelips send each other, and how large it is.

use super::{ENTRY, FileRumour, HEADER, Rumour};
use crate::baselines::world::{self, Address};

/// What nodes send each other.
#[derive(Clone, Debug)]
pub enum Message {
    /// Some of what the sender knows. 5 bytes and 60 for each entry.
    Gossip {
        /// Nodes, of any group.
        nodes: Box<[Rumour]>,
        /// Files of the receiver's group.
        files: Box<[FileRumour]>,
    },
    /// Tell me of all groups. 5 bytes.
    GetContacts,
    /// Tell me of your group and its files. 5 bytes.
    GetGroup,
    /// The sender's user shares this file now. 5 + 60 bytes.
    Insert {
        /// The file.
        file: u32,
        /// Where it is.
        home: Address,
    },
    /// Where is this file? 5 + 60 bytes.
    Ask {
        /// The user's look-up.
        operation: u32,
        /// The file.
        file: u32,
        /// Whom to answer.
        by: Address,
        /// How many hops the question has made.
        hops: u32,
    },
    /// Ask one of your contacts for me. 5 + 60 bytes.
    Help {
        /// The user's look-up.
        operation: u32,
        /// The file.
        file: u32,
        /// Whom to answer.
        by: Address,
    },
    /// There, or I do not know. 5 + 60 bytes.
    Answer {
        /// The user's look-up.
        operation: u32,
        /// Where it is.
        home: Option<Address>,
        /// How many hops the question has made.
        hops: u32,
    },
}

impl world::Message for Message {
    fn bytes(&self) -> u64 {
        let entries = match self {
            Self::Gossip { nodes, files } => nodes.len() + files.len(),
            Self::GetContacts | Self::GetGroup => 0,
            Self::Insert { .. } | Self::Ask { .. } | Self::Help { .. } | Self::Answer { .. } => 1,
        };
        HEADER + entries as u64 * ENTRY
    }

    fn operation(&self) -> Option<u32> {
        match self {
            Self::Ask { operation, .. }
            | Self::Help { operation, .. }
            | Self::Answer { operation, .. } => Some(*operation),
            _ => None,
        }
    }

    fn wants_answer(&self) -> bool {
        !matches!(self, Self::Gossip { .. } | Self::Answer { .. })
    }
}
