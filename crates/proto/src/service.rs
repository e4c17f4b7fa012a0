//! What people do on a session with a peer: use a service of its machine, write to it, offer it a
//! file. Each begins a stream of its own on a connection over which both ends have said who they
//! are (see [`crate::session`]).

use crate::bounded::BoundedString;
use crate::id::ContentId;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// The longest chat message in bytes: a page of text.
pub const MAX_CHAT_BYTES: usize = 4_096;

/// What a service carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Carry {
    /// Bytes in order, on the stream itself.
    Stream {
        /// So many bytes may be sent to the sender of this before it has asked for more.
        window: u32,
    },
    /// Packets that may get lost, as datagrams of the connection.
    Datagrams {
        /// The number in front of each packet that is meant for the sender of this.
        flow: u32,
    },
}

/// Asks for a service of the peer's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenService {
    /// Its name.
    pub service: BoundedString<32>,
    /// What it is to carry.
    pub carry: Carry,
}

/// Why a service is not had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceRefusal {
    /// There is no such service, or not for the asker: which of the two is nobody's business.
    #[error("it offers you no such service")]
    NotAllowed,
    /// The program behind it does not answer.
    #[error("the program behind the service does not answer")]
    NoAnswer,
    /// As many are in use as may be.
    #[error("too many of its services are in use")]
    Busy,
}

/// The answer to [`OpenService`]; for a stream of bytes they follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReply {
    /// What the answering side takes, or why nothing.
    pub outcome: Result<Carry, ServiceRefusal>,
}

/// Names a chat message, among all of its sender's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChatId(pub [u8; 16]);

impl fmt::Display for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChatId({self})")
    }
}

/// A line to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Drawn at random by the sender; the same whenever it sends this again.
    pub id: ChatId,
    /// When it was written, by the sender's clock.
    pub sent: UnixTime,
    /// What was written.
    pub text: BoundedString<MAX_CHAT_BYTES>,
}

/// Why a line was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum ChatRefusal {
    /// The receiver cannot keep it now; it may be sent again later.
    #[error("it cannot keep more at present")]
    Full,
}

/// The answer to [`ChatMessage`]: it is on the receiver's disk, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatReply {
    /// Which message.
    pub id: ChatId,
    /// Whether it was taken.
    pub outcome: Result<(), ChatRefusal>,
}

/// Offers a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOffer {
    /// What it is.
    pub content: ContentId,
    /// What its owner calls it: a name without a folder.
    pub name: BoundedString<255>,
    /// Its length in bytes.
    pub size: u64,
}

/// How an offer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OfferState {
    /// The receiver's user has not decided yet.
    Asked,
    /// It is wanted, and is being fetched.
    Accepted,
    /// All of it is there and verified.
    Got,
    /// It is not wanted.
    Rejected,
    /// The receiver has too many offers to decide on.
    Full,
    /// It is wanted, but cannot be kept there.
    Failed,
}

impl OfferState {
    /// Whether nothing more will happen.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Asked | Self::Accepted)
    }
}

/// How an offer stands, whenever that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOfferReply {
    /// The state from now on.
    pub state: OfferState,
    /// Bytes that are there and verified.
    pub verified: u64,
}

/// The sender has come online, and has something to do with the receiver's user: they are a buddy,
/// or wait for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Here;
