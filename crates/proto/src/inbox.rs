//! Files that one person sends to another: offered, accepted or refused, then fetched as every
//! other file is. Each message begins a stream of its own on a connection over which both ends
//! have said who they are (see [`crate::session`]), and is answered with one [`OfferNews`].

use crate::bounded::BoundedString;
use crate::id::{ContentId, OfferId};
use serde::{Deserialize, Serialize};

/// The longest name of a file that is offered, in bytes: what file systems allow.
pub const MAX_OFFERED_NAME: usize = 255;

/// The longest line of text beside a file, in bytes.
pub const MAX_NOTE: usize = 500;

/// Offers a file to a person. Whoever accepts it may fetch this content from the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferFile {
    /// Which offer it is. The same again is the same offer.
    pub offer: OfferId,
    /// What the file is called.
    pub name: BoundedString<MAX_OFFERED_NAME>,
    /// Its bytes.
    pub size: u64,
    /// What it is.
    pub content: ContentId,
    /// What the sender says about it.
    pub note: BoundedString<MAX_NOTE>,
}

/// How an offer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OfferState {
    /// The receiver has it, and has not decided.
    Held,
    /// The receiver wants it, and so many bytes are there and verified.
    Accepted {
        /// Bytes.
        verified: u64,
    },
    /// The receiver has all of it.
    Done,
    /// The receiver does not want it.
    Refused,
    /// The receiver could not fetch it, or called it off.
    Failed,
    /// The receiver holds as many offers as it may, of this sender or in all.
    Full,
    /// The sender takes it back.
    Withdrawn,
    /// There is no such offer.
    Unknown,
}

/// How an offer stands: by the receiver, as it changes and in answer to [`OfferFile`]; by the
/// sender in answer to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferNews {
    /// Which offer.
    pub offer: OfferId,
    /// How it stands.
    pub state: OfferState,
}

/// Takes an offer back. Whoever fetches the file gets no more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawOffer {
    /// Which offer.
    pub offer: OfferId,
}
