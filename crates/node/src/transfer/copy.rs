//! A file that is here already and is wanted in another folder too: it is copied, and what was
//! copied is checked against the hash tree.

use super::partial::Partial;
use super::ranges::tree;
use super::upload::OutboardFile;
use bao_tree::io::outboard::PostOrderOutboard;
use bao_tree::io::sync::valid_ranges;
use bao_tree::{ChunkRanges, blake3};
use skein_proto::ContentId;
use skein_proto::fetch::GROUP_BYTES;
use skein_swarm::{Run, RunSet, bytes_of};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many bytes are copied between two looks whether to stop. The system copies them by itself,
/// and where the file system can share them it takes no time.
const STEP_BYTES: u64 = 64 * 1024 * 1024;

/// Chunks of 1 KiB in a chunk group.
const CHUNKS: u64 = GROUP_BYTES / 1024;

/// How far a copy is, and whether it shall stop.
#[derive(Debug, Default)]
pub(super) struct Progress {
    verified: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// Bytes that are copied and have turned out to be right.
    pub fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    /// Makes the copy end soon, with [`io::ErrorKind::Interrupted`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> io::Result<()> {
        let stop = self.stop.load(Ordering::Relaxed);
        if stop { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

/// Copies a file into the files of a download, and tells which chunk groups of it are right. Its
/// hash tree is the one that was written when it was first downloaded.
pub(super) fn copy(
    from: &Path,
    partial: &Partial,
    content: &ContentId,
    progress: &Progress,
) -> io::Result<RunSet> {
    let mut source = File::open(from)?;
    if source.metadata()?.len() != partial.size {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its length has changed"));
    }
    let mut target = OpenOptions::new().read(true).write(true).open(&partial.path)?;
    if let Err(error) = copy_bytes(&mut source, &mut target, progress) {
        // The room is given back, so that the next try finds as much as this one did. Should
        // that fail, the next try tells why.
        let _ = target.set_len(0).and_then(|()| target.set_len(partial.size));
        return Err(error);
    }
    let right = check(&target, partial, content, progress)?;
    partial.adopt(&right);
    Ok(right)
}

fn copy_bytes(source: &mut File, target: &mut File, progress: &Progress) -> io::Result<()> {
    target.rewind()?;
    loop {
        progress.check()?;
        if io::copy(&mut source.take(STEP_BYTES), target)? == 0 {
            return Ok(());
        }
    }
}

fn check(
    file: &File,
    partial: &Partial,
    content: &ContentId,
    progress: &Progress,
) -> io::Result<RunSet> {
    let outboard = PostOrderOutboard {
        root: blake3::Hash::from_bytes(*content.as_bytes()),
        tree: tree(partial.size),
        data: OutboardFile::open(&partial.outboard)?,
    };
    let mut right = RunSet::new();
    for chunks in valid_ranges(outboard, file, &ChunkRanges::all()) {
        progress.check()?;
        let chunks = chunks?;
        let run = Run { start: chunks.start.0 / CHUNKS, end: chunks.end.0.div_ceil(CHUNKS) };
        right.insert(run);
        progress.verified.fetch_add(bytes_of(run, partial.size).len(), Ordering::Relaxed);
    }
    Ok(right)
}
