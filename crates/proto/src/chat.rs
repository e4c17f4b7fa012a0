//! Short texts from person to person, on a session (see [`crate::session`]). A sender that has
//! something to say opens a stream, sends one message after the other, each once the one before was
//! answered, and ends the stream.

use crate::bounded::BoundedString;
use crate::id::ChatId;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest text in bytes: a page. What is longer is a file.
pub const MAX_TEXT: usize = 4 * 1024;

/// What a person says: one line. Who that is follows from the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Which message this is; the sender draws it at random. Sent again it stays the same, so that
    /// the receiver keeps it once.
    pub id: ChatId,
    /// When it was written, by the sender's clock.
    pub sent: UnixTime,
    /// The text.
    pub text: BoundedString<MAX_TEXT>,
}

/// Why a message is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum ChatRefusal {
    /// The receiver takes none of the sender. It is of no use to send it again.
    #[error("they take no messages of yours")]
    NotWanted,
    /// The sender sends too many too fast.
    #[error("too many messages in a short time")]
    TooFast,
    /// As many messages of the sender are unread as may be.
    #[error("too many messages are waiting to be read there")]
    Full,
    /// The receiver cannot keep it at present.
    #[error("it cannot be kept there at present")]
    Unavailable,
}

/// The answer to [`ChatMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatReply {
    /// Which message.
    pub id: ChatId,
    /// That it is on the receiver's disk, now or since earlier; or why not.
    pub outcome: Result<(), ChatRefusal>,
}
