//! What the local API says about shared folders.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A shared folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Where it is.
    pub path: PathBuf,
    /// The name that its files' paths begin with.
    pub name: String,
    /// Files known.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The scan that runs, if one does.
    pub scan: Option<ScanProgress>,
    /// Files and folders that could not be read at the last scan.
    pub unreadable: u64,
    /// The first of them, one line each with the reason.
    #[serde(default)]
    pub unreadable_examples: Vec<String>,
    /// Files that are not offered yet since they were being written a moment ago: they are looked
    /// at again when they have been left alone.
    #[serde(default)]
    pub waiting_files: u64,
    /// Why the last scan failed as a whole, if it did.
    pub problem: Option<String>,
}

/// How far a scan is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanProgress {
    /// Files seen in the folder so far.
    pub files_seen: u64,
    /// Whether all files have been seen, so that the totals are final.
    pub walked: bool,
    /// Files that had to be hashed, so far and in total as known now.
    pub files_hashed: u64,
    /// Files that have to be hashed, as known now.
    pub files_to_hash: u64,
    /// Bytes hashed so far.
    pub bytes_hashed: u64,
    /// Bytes to hash, as known now.
    pub bytes_to_hash: u64,
}

/// Shares a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddShare {
    /// An absolute path.
    pub path: PathBuf,
}

/// Shares a folder no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveShare {
    /// The path that was added.
    pub path: PathBuf,
}

/// Scans a shared folder now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RescanShare {
    /// The path that was added.
    pub path: PathBuf,
}
