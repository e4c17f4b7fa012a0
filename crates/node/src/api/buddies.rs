//! What the local API says of buddies and of those who are blocked.
//!
//! | call | answers with |
//! |---|---|
//! | `GET /v1/buddies` | a list of [`Buddy`], by name |
//! | `POST /v1/buddies` with [`AddBuddy`] | [`Buddy`] |
//! | `DELETE /v1/buddies/{name}` | 204 |
//! | `POST /v1/buddies/{name}/trust` with [`TrustBuddy`] | [`Buddy`] |
//! | `GET /v1/blocked` | a list of [`Blocked`], by name |
//! | `PUT /v1/blocked/{name}` | 204; what is queued for them is not sent any more |
//! | `DELETE /v1/blocked/{name}` | 204 |
//!
//! Changes come as [`super::chat::PeopleEvent::Buddy`].

use super::types::SessionPath;
use serde::{Deserialize, Serialize};
use skein_proto::{NodeId, Username};

/// Makes somebody a buddy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddBuddy {
    /// Whom.
    pub name: Username,
}

/// Says that nodes belong to a buddy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustBuddy {
    /// Which one; all that bear the name now, if not set.
    #[serde(default)]
    pub node: Option<NodeId>,
}

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresenceState {
    /// A node of theirs is there.
    Online,
    /// None is.
    Offline,
    /// It has not been found out yet.
    #[default]
    Unknown,
}

/// A buddy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buddy {
    /// The name.
    pub name: Username,
    /// Since when it is a buddy, in seconds since 1970.
    pub added: u64,
    /// Whether they are there, as the directory or an open session says.
    pub presence: PresenceState,
    /// Since when they are away, or when they last said that they are there, in seconds since 1970;
    /// 0 if they were never seen.
    pub seen: u64,
    /// The node that is there.
    pub node: Option<NodeId>,
    /// The path of the session with them, if one is open.
    pub path: Option<SessionPath>,
    /// The nodes that they are known by; none until the first was seen.
    pub keys: Vec<NodeId>,
    /// Nodes that bear their name and that they are not known by: another machine, or somebody
    /// else.
    pub new_keys: Vec<NodeId>,
    /// Messages of theirs that were not read yet.
    pub unread: u64,
    /// Messages for them that they have not got yet.
    pub queued: u64,
}

/// Somebody of whom nothing is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// The name.
    pub name: Username,
    /// Since when, in seconds since 1970.
    pub since: u64,
}
