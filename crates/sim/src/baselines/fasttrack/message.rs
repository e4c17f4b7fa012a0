//! What nodes of FastTrack send each other, and how large it is.

use super::HEADER;
use crate::baselines::world::{self, Address};
use crate::workload::Content;

/// What nodes send each other.
#[derive(Clone, Debug)]
pub enum Message {
    /// How full are you? 5 bytes.
    Ping,
    /// So full. 5 + 1 bytes.
    Pong {
        /// Children.
        children: u8,
        /// Whether there is room.
        room: bool,
    },
    /// Be my parent. 5 + 6 bytes.
    Attach,
    /// I am, and here are supernodes. 5 bytes and 8 for each.
    Attached(Box<[Address]>),
    /// I am full, but here are supernodes. 5 bytes and 8 for each.
    Full(Box<[Address]>),
    /// What I share: for each file its name, hash, size and a zero byte. 5 bytes and these.
    Share {
        /// The user.
        user: u32,
        /// Bytes of all files.
        bytes: u64,
    },
    /// Be my neighbour. 5 + 6 bytes.
    Link,
    /// I am. 5 bytes.
    Linked,
    /// A query. 5 bytes, number 2, hops 1, asker's supernode 6, and the words.
    Query {
        /// The user's search.
        operation: u32,
        /// Its words.
        search: u32,
        /// How many hops it may still make; none yet when it comes from a child.
        ttl: u8,
        /// How many hops it has made.
        hops: u8,
        /// Bytes of the words.
        text_bytes: u16,
    },
    /// Its hits. 5 bytes, number 2, and for each file the holder's address 6, its speed 1, hash 20,
    /// size 4, name and a zero byte.
    Hits {
        /// The user's search.
        operation: u32,
        /// How many hops the query had made.
        hops: u8,
        /// What was found.
        files: Box<[Content]>,
        /// Bytes of the files' entries.
        files_bytes: u32,
    },
}

impl world::Message for Message {
    fn bytes(&self) -> u64 {
        HEADER
            + match self {
                Self::Ping | Self::Linked => 0,
                Self::Pong { .. } => 1,
                Self::Attach | Self::Link => 6,
                Self::Attached(supers) | Self::Full(supers) => supers.len() as u64 * 8,
                Self::Share { bytes, .. } => *bytes,
                Self::Query { text_bytes, .. } => 2 + 1 + 6 + u64::from(*text_bytes),
                Self::Hits { files_bytes, .. } => 2 + u64::from(*files_bytes),
            }
    }

    fn operation(&self) -> Option<u32> {
        match self {
            Self::Query { operation, .. } | Self::Hits { operation, .. } => Some(*operation),
            _ => None,
        }
    }

    fn wants_answer(&self) -> bool {
        matches!(self, Self::Ping | Self::Attach | Self::Link)
    }
}
