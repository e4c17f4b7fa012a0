//! A file that is being downloaded: its bytes and its hash tree on disk.

use super::disk::{Disk, WritableFile};
use super::ranges::tree;
use bao_tree::{BaoTree, TreeNode, blake3};
use bytes::Bytes;
use skein_swarm::{Run, RunSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Verified parts of a file, with the hashes that prove them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Pairs of hashes, by their node of the tree.
    pub parents: Vec<(TreeNode, (blake3::Hash, blake3::Hash))>,
    /// Bytes, by their offset.
    pub leaves: Vec<(u64, Bytes)>,
    /// The chunk groups that the leaves make up.
    pub run: Option<Run>,
}

impl Batch {
    /// How many bytes of the file it holds.
    pub fn bytes(&self) -> u64 {
        self.leaves.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }
}

/// Both files of a download that is under way.
pub(super) struct Partial {
    /// Where the bytes are.
    pub path: PathBuf,
    /// Where the hash tree is.
    pub outboard: PathBuf,
    /// The length of the whole file.
    pub size: u64,
    tree: BaoTree,
    data: Box<dyn WritableFile>,
    hashes: Box<dyn WritableFile>,
    written: Mutex<RunSet>,
}

impl Partial {
    /// Opens, or makes, both files. `written` tells what is in them already.
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
        outboard: &Path,
        size: u64,
        written: RunSet,
    ) -> io::Result<Self> {
        let tree = tree(size);
        Ok(Self {
            path: path.to_owned(),
            outboard: outboard.to_owned(),
            size,
            data: disk.open(path, size)?,
            hashes: disk.open(outboard, tree.outboard_size())?,
            tree,
            written: Mutex::new(written),
        })
    }

    /// Writes verified parts. Their hashes go first: what is counted as written can be served.
    pub fn write(&self, batch: &Batch) -> io::Result<()> {
        for (node, (left, right)) in &batch.parents {
            let Some(offset) = self.tree.post_order_offset(*node) else { continue };
            let mut pair = [0; 64];
            pair[..32].copy_from_slice(left.as_bytes());
            pair[32..].copy_from_slice(right.as_bytes());
            self.hashes.write_at(offset.value() * 64, &pair)?;
        }
        for (offset, bytes) in &batch.leaves {
            self.data.write_at(*offset, bytes)?;
        }
        if let Some(run) = batch.run {
            self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(run);
        }
        Ok(())
    }

    /// Counts chunk groups that are in both files and have been checked.
    pub fn adopt(&self, runs: &RunSet) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for run in runs.iter() {
            written.insert(run);
        }
    }

    /// Waits until what has been written will survive a crash, and tells what that is.
    pub fn sync(&self) -> io::Result<RunSet> {
        let written = self.written();
        self.data.sync()?;
        self.hashes.sync()?;
        Ok(written)
    }

    /// The chunk groups that are in the file.
    pub fn written(&self) -> RunSet {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partial")
            .field("path", &self.path)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
