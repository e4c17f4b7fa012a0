//! What the local API says of chat.
//!
//! | call | answers with |
//! |---|---|
//! | `GET /v1/chats` | a list of [`Conversation`], the latest first |
//! | `POST /v1/chats` with [`SendChat`] | [`ChatLine`], once it is on disk; how it goes on is a [`PeopleEvent::Message`] |
//! | `GET /v1/chats/{name}?last=N&after=NUMBER` | a list of [`ChatLine`], the oldest first |
//! | `POST /v1/chats/{name}/read` with [`ReadChat`] | 204 |
//! | `DELETE /v1/chats/{name}` | 204; what is queued will not be sent either |
//! | `GET /v1/unread?from=NAME` | a list of [`ChatLine`], the oldest first |
//! | `GET /v1/people/events` | a stream of [`PeopleEvent`] |

use super::buddies::Buddy;
use serde::{Deserialize, Serialize};
use skein_proto::{ChatId, NodeId, Username};

/// The most lines that one call answers with.
pub const MAX_LINES: u32 = 1_000;

/// Says something to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendChat {
    /// To whom.
    pub to: Username,
    /// One line of at most 4,096 bytes.
    pub text: String,
}

/// What has become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChatState {
    /// It is on this node's disk and will be sent when the peer is there.
    Queued,
    /// It is on the peer's disk.
    Delivered,
    /// The peer takes no messages of this user.
    Refused,
    /// It has come, and was not read yet.
    Unread,
    /// It has come, and was read.
    Read,
}

/// A message in the history of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatLine {
    /// Its place in the history of this node; the later ones are higher.
    pub number: u64,
    /// The other one.
    pub peer: Username,
    /// Whether the user of this node has written it.
    pub outgoing: bool,
    /// Which message; the same on both sides.
    pub id: ChatId,
    /// The text, without control characters.
    pub text: String,
    /// When it was written, by the writer's clock, in seconds since 1970.
    pub sent: u64,
    /// What has become of it.
    pub state: ChatState,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// The node that it came from, or that has it.
    pub node: Option<NodeId>,
    /// Whether it came from a node that the buddy of that name was not known by.
    #[serde(default)]
    pub new_key: bool,
}

/// A conversation with somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The other one.
    pub peer: Username,
    /// Messages that were not read yet.
    pub unread: u64,
    /// Messages that the other one has not got yet.
    pub queued: u64,
    /// Why they were not delivered, if that was tried.
    pub waiting: Option<String>,
    /// The last thing said.
    pub last: ChatLine,
}

/// The user has seen the messages of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadChat {
    /// The number of the last one seen.
    pub up_to: u64,
}

/// What happens with people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum PeopleEvent {
    /// A message was written or has come, or something has become of it.
    Message(ChatLine),
    /// Messages to somebody could not be delivered; they will be tried again.
    Waiting {
        /// To whom.
        peer: Username,
        /// Why, in words.
        reason: String,
        /// Whether the directory was asked, and knows nobody of that name.
        #[serde(default)]
        unknown: bool,
    },
    /// A buddy has come or gone, a session with it begins or ends, or it shows a new key.
    Buddy(Box<Buddy>),
    /// Events were missed since they were not taken fast enough: ask for what must be known.
    Missed,
}
