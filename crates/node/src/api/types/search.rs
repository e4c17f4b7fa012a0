//! What the local API says about searches, and about wishes, which are searches that stay.

use serde::{Deserialize, Serialize};
use skein_proto::query::{Coverage, Filter, StopReason};
use skein_proto::{ContentId, Kind, MediaTags, NodeId, Username};
use std::net::SocketAddr;

/// Starts a search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartSearch {
    /// The words, as typed, or a content id.
    #[serde(default)]
    pub words: String,
    /// Conditions.
    #[serde(default)]
    pub filter: Filter,
    /// How many different contents are enough, 1 to 1,000; 100 if not given.
    pub limit: Option<u16>,
    /// Go on with the last search: with its words and conditions in place of these, and without what
    /// it has shown.
    #[serde(default)]
    pub more: bool,
}

/// What comes back of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SearchEvent {
    /// A new content, or a known one with more sources.
    Hit(Box<ContentHit>),
    /// The search is over.
    Done(SearchReport),
}

/// One content that was found, with all who offer it as known by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentHit {
    /// The number to give to `skein get`; it stays with this content throughout the search.
    pub number: u32,
    /// The content.
    pub content: ContentId,
    /// The file name that the first source gave it.
    pub name: String,
    /// The path that the first source gave it.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// Its sort.
    pub kind: Kind,
    /// Its tags.
    pub tags: Option<Box<MediaTags>>,
    /// Who offers it.
    pub sources: Vec<Source>,
}

/// Somebody who offers a content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The node.
    pub node: NodeId,
    /// Its name, from a credential that was checked.
    pub name: Username,
    /// Where it may be reached, the likeliest first.
    pub addresses: Vec<SocketAddr>,
    /// The supernode that it is attached to.
    pub parent: NodeId,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchReport {
    /// Different contents found.
    pub contents: u32,
    /// Different nodes that offer them.
    pub sources: u32,
    /// Milliseconds until the first hit.
    pub first_hit_ms: Option<u64>,
    /// Milliseconds until the end.
    pub took_ms: u64,
    /// How complete it is.
    pub coverage: Coverage,
    /// `coverage.stopped`, in words.
    pub stopped: String,
}

impl SearchReport {
    /// Whether everyone who could be asked has answered, or enough was found.
    pub fn is_complete(&self) -> bool {
        matches!(self.coverage.stopped, StopReason::Exhausted | StopReason::Enough)
    }
}

/// Wishes to be told of whatever is shared from now on and matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddWish {
    /// The words, as typed, or a content id.
    pub words: String,
    /// Conditions.
    #[serde(default)]
    pub filter: Filter,
}

/// A wish, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The number to give to `skein wish rm`.
    pub number: u64,
    /// The words, as typed, or a content id.
    pub words: String,
    /// Conditions.
    #[serde(default)]
    pub filter: Filter,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// What came of it, the newest last; at most 100.
    pub hits: Vec<ContentHit>,
}
