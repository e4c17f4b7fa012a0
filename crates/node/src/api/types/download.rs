//! What the local API says about downloads.

use serde::{Deserialize, Serialize};
use skein_proto::{ContentId, NodeId, Username};
use std::path::PathBuf;

/// Starts a download, or goes on with one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartDownload {
    /// What to fetch.
    pub target: DownloadTarget,
    /// The folder to put it in, absolute. A file that is complete already is copied there; while
    /// it comes into another folder, the answer is a conflict. If not given, the configured one,
    /// or where it is or goes already.
    pub dir: Option<PathBuf>,
}

/// What to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DownloadTarget {
    /// A number of the last search.
    Number(u32),
    /// A content, wherever it is.
    Content(ContentId),
}

/// A download.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Download {
    /// Its number.
    pub id: u64,
    /// What is fetched.
    pub content: ContentId,
    /// The name of the file that it becomes.
    pub name: String,
    /// The file that it becomes, or became: a free name is chosen at the end.
    pub path: PathBuf,
    /// How it stands.
    pub state: DownloadState,
    /// Its bytes, once known.
    pub size: Option<u64>,
    /// Bytes that are here and verified.
    pub verified: u64,
    /// Of these, bytes that were here before this run began.
    pub resumed: u64,
    /// Whether a complete file was found as it was left, by its length and the time of its last
    /// change, when it was asked for again: it was not read for that.
    #[serde(default)]
    pub as_left: bool,
    /// Bytes a second over the last seconds.
    pub rate: u64,
    /// Sources in use.
    pub sources_active: u32,
    /// Sources known.
    pub sources_known: u32,
    /// Which way bytes came from which source in this run of the daemon, and come at present: the
    /// 16 ways that brought most.
    #[serde(default)]
    pub via: Vec<SourceUsed>,
    /// Sources that failed, one line each, the last ones.
    pub trouble: Vec<String>,
}

/// What a source has brought one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceUsed {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: Username,
    /// Which way the bytes come.
    pub path: SourcePath,
    /// Verified bytes that came this way.
    pub bytes: u64,
    /// Whether more is asked of it this way at present.
    pub active: bool,
}

/// Which way the bytes of a source come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourcePath {
    /// From its address, which answered.
    Direct,
    /// Over a session that has found a direct path.
    SessionDirect,
    /// Over a session through the relay of a supernode.
    SessionRelayed,
}

/// How a download stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum DownloadState {
    /// No source is known or none answers; it goes on by itself when one does.
    Waiting {
        /// What it waits for, in words.
        reason: String,
    },
    /// Files that are there are read and compared with their hash tree: what a killed process has
    /// left, or a file that has changed since it was complete. It goes on by itself then.
    Checking {
        /// Bytes that were looked at.
        read: u64,
        /// Of how many.
        of: u64,
    },
    /// Bytes come.
    Running,
    /// All bytes are here and verified.
    Done,
    /// It cannot go on.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
    /// The user called it off.
    Cancelled,
}

impl DownloadState {
    /// Whether nothing more will happen.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Failed { .. } | Self::Cancelled)
    }

    /// Whether it is [`Self::Checking`].
    pub const fn is_checking(&self) -> bool {
        matches!(self, Self::Checking { .. })
    }
}

/// A download that is no longer listed. A complete file stays where it is; what had come of an
/// incomplete one is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenDownload {
    /// Bytes of the disk that became free.
    pub freed_bytes: u64,
}
