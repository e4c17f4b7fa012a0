//! What is asked for, and what comes back.

use crate::bounded::{BoundedString, BoundedVec};
use crate::credential::SignedCredential;
use crate::file::{FileMeta, Kind};
use crate::id::{ContentId, NodeId};
use crate::name::Username;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ask {
    /// Words as a person typed them; all must match. How text becomes words is defined in
    /// `docs/protocol.md`.
    Words(BoundedString<256>),
    /// One content, exactly.
    Content(ContentId),
}

/// Conditions that every hit meets, beside the words. What is `None` is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Filter {
    /// This kind of file.
    pub kind: Option<Kind>,
    /// This extension, without the dot; case does not matter.
    pub extension: Option<BoundedString<16>>,
    /// At least so many bytes.
    pub min_size: Option<u64>,
    /// At most so many bytes.
    pub max_size: Option<u64>,
    /// At least so many kbit/s; what has no bitrate does not match.
    pub min_bitrate_kbps: Option<u32>,
    /// At least so many seconds; what has no duration does not match.
    pub min_duration_secs: Option<u32>,
    /// At most so many seconds; what has no duration does not match.
    pub max_duration_secs: Option<u32>,
    /// Offered by this user.
    pub owner: Option<Username>,
}

/// A keyword search.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Query {
    /// What is looked for.
    pub ask: Ask,
    /// What else must hold.
    pub filter: Filter,
}

/// Who offers a file, and where it can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The node to dial.
    pub node: NodeId,
    /// Shows the owner's name. Whoever displays the name checks it first.
    pub credential: SignedCredential,
    /// Where to try, the likeliest first.
    pub addresses: BoundedVec<SocketAddr, 8>,
    /// The supernode that it is attached to.
    pub parent: NodeId,
}

/// Hits that one owner offers: the owner is said once for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HitGroup {
    /// Who offers.
    pub owner: Owner,
    /// What is offered.
    pub files: BoundedVec<FileMeta, 64>,
}

/// Why a search stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// Everyone who could be asked has answered.
    Exhausted,
    /// As many hits as were wanted have come.
    Enough,
    /// Supernodes that are known were not reached by anyone: too many hops away, or gone without
    /// everyone's knowing yet.
    Unreached,
    /// Some did not answer in time.
    TimedOut,
    /// The user called it off.
    Cancelled,
    /// The budget of the one who asks is used up, until it fills again.
    OverBudget,
    /// There is no supernode to ask.
    NotAttached,
}

impl StopReason {
    /// The reason in words, to follow "stopped: ".
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Exhausted => "everyone within reach was asked",
            Self::Enough => "enough results",
            Self::Unreached => "some supernodes could not be reached",
            Self::TimedOut => "some supernodes did not answer in time",
            Self::Cancelled => "cancelled",
            Self::OverBudget => "too many searches in a short time",
            Self::NotAttached => "not attached to a supernode",
        }
    }

    /// Of two parts of one search, the reason that says more about what is missing.
    pub fn worse(self, other: Self) -> Self {
        let rank = |reason| match reason {
            Self::Exhausted => 0,
            Self::Enough => 1,
            Self::Unreached => 2,
            Self::TimedOut => 3,
            Self::OverBudget => 4,
            Self::Cancelled => 5,
            Self::NotAttached => 6,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

/// How complete an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Coverage {
    /// Supernodes whose index was searched.
    pub supernodes_asked: u32,
    /// Supernodes known to the one that ran the search.
    pub supernodes_known: u32,
    /// Nodes whose metadata those indexes hold.
    pub nodes_covered: u32,
    /// Why it stopped.
    pub stopped: StopReason,
}
