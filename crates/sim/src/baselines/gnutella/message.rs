//! What nodes of Gnutella send each other, and how large it is.

use super::HEADER;
use crate::baselines::world::{self, Address};
use crate::workload::Content;

/// What nodes send each other.
#[derive(Clone, Debug)]
pub enum Message {
    /// `GNUTELLA CONNECT/0.4` and two line ends. 22 bytes.
    Connect,
    /// `GNUTELLA OK` and two line ends. 13 bytes.
    Ok,
    /// The connection is closed at once. No bytes.
    Refused,
    /// Who is there? 23 bytes.
    Ping {
        /// The descriptor's id.
        id: u32,
        /// How many hops it may still make.
        ttl: u8,
        /// How many pings it stands for.
        weight: u32,
    },
    /// I am: port 2, address 4, files 4, kilobytes 4. 23 + 14 bytes.
    Pong {
        /// The id of the ping.
        id: u32,
        /// Who is there.
        at: Address,
        /// How many pings it stands for.
        weight: u32,
    },
    /// Who has something with these words? 23 + 2 bytes, the words and a zero byte.
    Query {
        /// The user's search.
        operation: u32,
        /// Its words.
        search: u32,
        /// How many hops it may still make.
        ttl: u8,
        /// How many hops it has made.
        hops: u8,
        /// Bytes of the words.
        text_bytes: u16,
    },
    /// I have: 23 + 11 bytes, 16 for the node's id, and for each file 8, its name and two zero
    /// bytes.
    QueryHit {
        /// The user's search.
        operation: u32,
        /// How many hops the query had made.
        hops: u8,
        /// The files.
        files: Box<[Content]>,
        /// Bytes of the files' entries.
        files_bytes: u32,
    },
}

impl world::Message for Message {
    fn bytes(&self) -> u64 {
        match self {
            Self::Connect => 22,
            Self::Ok => 13,
            Self::Refused => 0,
            Self::Ping { .. } => HEADER,
            Self::Pong { .. } => HEADER + 14,
            Self::Query { text_bytes, .. } => HEADER + 2 + u64::from(*text_bytes) + 1,
            Self::QueryHit { files_bytes, .. } => HEADER + 11 + u64::from(*files_bytes) + 16,
        }
    }

    fn operation(&self) -> Option<u32> {
        match self {
            Self::Query { operation, .. } | Self::QueryHit { operation, .. } => Some(*operation),
            _ => None,
        }
    }

    fn weight(&self) -> u64 {
        match self {
            Self::Ping { weight, .. } | Self::Pong { weight, .. } => u64::from(*weight),
            _ => 1,
        }
    }

    fn wants_answer(&self) -> bool {
        matches!(self, Self::Connect)
    }
}
