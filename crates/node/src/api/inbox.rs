//! What the local API says of files that people send each other.
//!
//! | call | answers with |
//! |---|---|
//! | `GET /v1/offers` | a list of [`FileOffer`], the user's own and those of others |
//! | `GET /v1/offers/events` | server-sent events: a [`FileOffer`] for each there is, then for each that is new or changes |
//! | `POST /v1/offers` with [`SendFile`] | [`FileOffer`]: the daemon reads the file and offers it |
//! | `POST /v1/offers/{id}/accept` with [`AcceptOffer`] | [`FileOffer`] |
//! | `POST /v1/offers/{id}/refuse` | [`FileOffer`] |
//! | `DELETE /v1/offers/{id}` | [`FileOffer`]: one's own is taken back |
//! | `GET /v1/offers/always` | a list of names whose files are accepted without a question |
//! | `PUT`, `DELETE /v1/offers/always/{name}` | 204 |

use serde::{Deserialize, Serialize};
use skein_proto::{ContentId, Username};
use std::path::PathBuf;

/// Offers a file to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendFile {
    /// `@name` or `@name/NODE`.
    pub peer: String,
    /// The file; an absolute path.
    pub path: PathBuf,
    /// A line of text.
    #[serde(default)]
    pub note: String,
}

/// Accepts a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptOffer {
    /// The folder to put it in, absolute; if not given, `inbox` in the configured one.
    #[serde(default)]
    pub dir: Option<PathBuf>,
}

/// A file that somebody offers to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOffer {
    /// Its number on this node.
    pub id: u64,
    /// Who offers it, or who is to have it.
    pub peer: Username,
    /// Whether this node's user offers it.
    pub outgoing: bool,
    /// What it is called.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// What it is, once it was read.
    pub content: Option<ContentId>,
    /// What the sender says about it.
    pub note: String,
    /// How it stands.
    pub state: OfferStage,
    /// Bytes read, while the sender reads it; then bytes that the receiver has, verified.
    pub bytes: u64,
    /// The sender's file; of the receiver, the folder that it is to go to, or the file once it is
    /// there.
    pub path: Option<PathBuf>,
    /// What it waits for at present, in words.
    #[serde(default)]
    pub waits: Option<String>,
    /// When it was offered, in seconds since 1970.
    pub since: u64,
    /// Until when it stands, in seconds since 1970.
    pub expires: u64,
}

/// How an offer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum OfferStage {
    /// The sender's node reads the file.
    Hashing,
    /// The receiver has not heard of it: it is told as soon as it is online.
    Queued,
    /// The receiver has not decided.
    Offered,
    /// The receiver wants it: bytes come, or will.
    Accepted,
    /// The receiver has all of it.
    Done,
    /// The receiver does not want it.
    Refused,
    /// The sender has taken it back.
    Withdrawn,
    /// Nobody has decided in time, or fetched it.
    Expired,
    /// It did not work.
    Failed {
        /// Why.
        reason: String,
    },
}

impl OfferStage {
    /// Whether nothing more will happen by itself.
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Hashing | Self::Queued | Self::Offered | Self::Accepted)
    }
}
