//! What the daemon tells of its own accord.

use super::{ContentHit, Share};
use serde::{Deserialize, Serialize};
use skein_proto::{NodeId, Role};

/// Something happened in the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DaemonEvent {
    /// A scan went on.
    Scan {
        /// The folder with its progress.
        share: Share,
    },
    /// A scan is over.
    ScanDone {
        /// The folder as it is now.
        share: Share,
    },
    /// The node has a parent, and the parent has all its metadata.
    Attached {
        /// The parent.
        parent: NodeId,
    },
    /// The node has no parent any more.
    Detached {
        /// Why, in words.
        reason: String,
    },
    /// The node is a supernode from now on, or no longer.
    RoleChanged {
        /// What it is now.
        role: Role,
        /// Why.
        reason: String,
    },
    /// Something that was wished for is shared now. Each content is told once.
    WishHit {
        /// The number of the wish.
        wish: u64,
        /// Its words.
        words: String,
        /// What is shared.
        hit: Box<ContentHit>,
    },
}
