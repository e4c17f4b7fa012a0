//! What supernodes and their children say to each other about who should be a supernode.
//!
//! Nothing in here gives anybody a right: a node is a supernode when it says so in its greeting and
//! others find it useful. These messages spare the network from having too few or too many.

use crate::bounded::BoundedVec;
use crate::id::NodeId;
use crate::supernode::SupernodeEntry;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use thiserror::Error;

/// What a node says of itself, so that it can be weighed as a supernode. What can be seen from
/// outside (how long it is up, whether it can be reached, its reputation) is not said but seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidacy {
    /// Whether its user lets it be one, and nothing speaks against it at present, such as a
    /// battery.
    pub willing: bool,
    /// Children that it could hold by its own measurement.
    pub capacity: u32,
}

/// Asks a child to become a supernode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// How full the supernodes are, in percent of what they hold.
    pub fill_percent: u8,
    /// How the child was weighed, 0 to 1,000.
    pub fitness: u16,
}

/// Why an invitation is declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum Declined {
    /// It may not, or does not want to.
    #[error("it does not want to be one")]
    NotWilling,
    /// It was one until a short while ago.
    #[error("it has just stepped down")]
    TooSoon,
    /// It is one already, or the child of somebody else.
    #[error("it is not this supernode's child")]
    NotYours,
}

/// The answer to [`Invite`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteReply {
    /// Whether it becomes one.
    pub outcome: Result<(), Declined>,
}

/// Asks a supernode to find out, from a socket that the node has never sent to, whether a node can
/// be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialBackRequest {
    /// Comes back in the answer.
    pub number: u64,
    /// Who shall be found there.
    pub node: NodeId,
    /// Where: the IP address that the asker sees the node at, with the ports that it listens on.
    pub addresses: BoundedVec<SocketAddr, 2>,
}

/// What came of a dial-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DialBackOutcome {
    /// It answered with its own key.
    Reached,
    /// Nothing answered, or something else did.
    Unreached,
    /// The node is linked with the sender, so that the dial would prove nothing.
    Linked,
    /// The sender has dialled as often as it may, or does not dial such addresses.
    Refused,
}

/// The answer to [`DialBackRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialBackReply {
    /// The number of the request.
    pub number: u64,
    /// What came of it.
    pub outcome: DialBackOutcome,
}

/// How a candidate stands with the supernode that weighs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It is fit as far as it was looked at; the network needs no more supernodes.
    NotNeeded,
    /// It is not willing.
    Unwilling,
    /// It has not been seen for long enough.
    TooYoung {
        /// Seconds for which the weigher has seen it.
        up_secs: u32,
        /// Seconds that are asked.
        asked_secs: u32,
    },
    /// Its reputation is too low.
    LowReputation {
        /// What it has.
        has: u16,
        /// What is asked.
        asked: u16,
    },
    /// It could hold too few children.
    TooSmall {
        /// What it could hold.
        capacity: u32,
        /// What is asked.
        asked: u32,
    },
    /// Others could not reach it.
    Unreachable {
        /// Dial-backs that failed.
        failed: u8,
        /// Dial-backs made.
        tried: u8,
    },
    /// Whether it can be reached is being found out, or will be.
    Unproven,
    /// It is fit and can be reached; it will be asked when its turn comes.
    Ready {
        /// How it was weighed, 0 to 1,000.
        fitness: u16,
    },
}

/// Tells a candidate how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How full the supernodes are, in percent of what they hold.
    pub fill_percent: u8,
    /// How it stands.
    pub verdict: Verdict,
}

/// Asks a child to move to another supernode, which has more room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// Where to.
    pub to: SupernodeEntry,
}
