//! Whether a complete file is still the one that was downloaded.

use super::copy::Progress;
use super::ranges::CHUNKS;
use crate::library::outboard;
use bao_tree::ChunkRanges;
use bao_tree::io::sync::valid_ranges;
use serde::{Deserialize, Serialize};
use skein_proto::ContentId;
use skein_proto::fetch::GROUP_BYTES;
use skein_swarm::{Run, RunSet, bytes_of, groups_of};
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// What a change of a file changes, also one that keeps its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// When it was written the last time, in nanoseconds since 1970.
    modified: u128,
    /// Its number in the file system; 0 where there is none.
    inode: u64,
}

impl Seen {
    /// How a file looks now; `None` if it cannot be looked at.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self { modified: modified.as_nanos(), inode: inode(&metadata) })
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

/// Reads a file and tells whether every byte is right by its hash tree. It blocks.
///
/// # Errors
/// What the file system says; [`io::ErrorKind::Interrupted`] if it was called off.
pub(super) fn is_whole(
    file: &Path,
    tree: &Path,
    content: &ContentId,
    size: u64,
    progress: &Progress,
) -> io::Result<bool> {
    let tree = outboard::open((size > GROUP_BYTES).then_some(tree), content, size)?;
    let file = File::open(file)?;
    if file.metadata()?.len() != size {
        return Ok(false);
    }
    let mut right = RunSet::new();
    for chunks in valid_ranges(tree, file, &ChunkRanges::all()) {
        progress.check()?;
        let chunks = chunks?;
        let end = chunks.end.0.div_ceil(CHUNKS).min(groups_of(size));
        let run = Run { start: chunks.start.0 / CHUNKS, end };
        right.insert(run);
        progress.add(bytes_of(run, size).len());
    }
    Ok(right == RunSet::full(groups_of(size)))
}
