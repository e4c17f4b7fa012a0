//! How a file is asked for: one request and one reply on a stream of its own; after
//! [`FetchReply::Sending`] follow the verified-streaming bytes of the ranges, unframed, until the
//! stream ends.

use crate::bounded::BoundedVec;
use crate::credential::SignedCredential;
use crate::id::ContentId;
use serde::{Deserialize, Serialize};

/// The size of a chunk group in bytes: what is verified as one (BLAKE3's 1 KiB chunks, 16 at a
/// time, so that the hash tree is 0.4 % of the file).
pub const GROUP_BYTES: u64 = 16 * 1024;

/// Bytes from `start` up to, but not including, `end`. Both are multiples of [`GROUP_BYTES`],
/// except that the last range may end at the end of the file or anywhere behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// The byte behind the last one.
    pub end: u64,
}

impl ByteRange {
    /// Its length in bytes.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Asks for parts of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// Which file.
    pub content: ContentId,
    /// Which parts, ascending and apart from each other; none asks only whether and what the
    /// other side has.
    pub ranges: BoundedVec<ByteRange, 64>,
    /// Who asks. A source may refuse a stranger.
    pub credential: Option<SignedCredential>,
}

/// The answer to a [`FetchRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchReply {
    /// The bytes follow, or, when no range was asked for, nothing.
    Sending {
        /// The length of the whole file in bytes; proven by the bytes that follow.
        size: u64,
        /// The parts that this source has; empty means all of it.
        have: BoundedVec<ByteRange, 64>,
    },
    /// This node does not have it, or does not have those parts.
    NotFound,
    /// All upload slots are taken.
    Busy {
        /// The place in the queue, from 1.
        position: u32,
        /// After how many seconds to ask again.
        retry_secs: u32,
    },
    /// The request breaks a rule of this module.
    BadRequest,
    /// The requester may not fetch: it showed no valid credential.
    NotAllowed,
}
