//! A file that is here already and is wanted in another folder too: it is copied, and what was
//! copied is checked against the hash tree.

use super::partial::Partial;
use super::ranges::{CHUNKS, chunks_of, tree};
use super::upload::OutboardFile;
use bao_tree::blake3;
use bao_tree::io::outboard::PostOrderOutboard;
use bao_tree::io::sync::valid_ranges;
use skein_proto::ContentId;
use skein_swarm::{Run, RunSet, bytes_of, groups_of};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many bytes are copied between two looks whether to stop. The system copies them by itself,
/// and where the file system can share them it takes no time.
const STEP_BYTES: u64 = 64 * 1024 * 1024;

/// How far a file is copied or looked through, and whether that shall stop.
#[derive(Debug, Default)]
pub(super) struct Progress {
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// Bytes that are done with; of a copy, those that are here and have turned out to be right.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Makes it end soon, with [`io::ErrorKind::Interrupted`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// So many more bytes are done with.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// # Errors
    /// [`io::ErrorKind::Interrupted`] if it shall stop.
    pub fn check(&self) -> io::Result<()> {
        let stop = self.stop.load(Ordering::Relaxed);
        if stop { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

/// Copies out of a file into the files of a download what that does not have yet, and tells which
/// chunk groups it has then. Its hash tree is the one that was written when it was first
/// downloaded. What it has already is not touched: the file may have changed since.
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
    let here = partial.written();
    let verified = here.iter().map(|run| bytes_of(run, partial.size).len()).sum();
    progress.bytes.store(verified, Ordering::Relaxed);
    let mut missing = RunSet::full(groups_of(partial.size));
    missing.remove_all(&here);
    let mut target = OpenOptions::new().read(true).write(true).open(&partial.path)?;
    for run in missing.iter() {
        if let Err(error) = copy_run(&mut source, &mut target, run, partial.size, progress) {
            // The room is given back, so that the next try finds as much as this one did. Should
            // that fail, the next try tells why.
            let kept = here.last().map_or(0, |run| bytes_of(run, partial.size).end);
            let _ = target.set_len(kept).and_then(|()| target.set_len(partial.size));
            return Err(error);
        }
    }
    let right = check(&target, &missing, partial, content, progress)?;
    partial.adopt(&right);
    Ok(partial.written())
}

fn copy_run(
    source: &mut File,
    target: &mut File,
    run: Run,
    size: u64,
    progress: &Progress,
) -> io::Result<()> {
    let bytes = bytes_of(run, size);
    source.seek(SeekFrom::Start(bytes.start))?;
    target.seek(SeekFrom::Start(bytes.start))?;
    let mut left = bytes.len();
    while left > 0 {
        progress.check()?;
        match io::copy(&mut source.take(left.min(STEP_BYTES)), target)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            copied => left -= copied,
        }
    }
    Ok(())
}

fn check(
    file: &File,
    missing: &RunSet,
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
    for chunks in valid_ranges(outboard, file, &chunks_of(missing.iter())) {
        progress.check()?;
        let chunks = chunks?;
        let run = Run { start: chunks.start.0 / CHUNKS, end: chunks.end.0.div_ceil(CHUNKS) };
        for run in missing.within(run) {
            right.insert(run);
            progress.add(bytes_of(run, partial.size).len());
        }
    }
    Ok(right)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::disk::LocalDisk;
    use super::*;
    use crate::library::outboard::BLOCK_SIZE;
    use bao_tree::io::outboard::PostOrderMemOutboard;
    use skein_proto::fetch::GROUP_BYTES;
    use std::path::PathBuf;

    const GROUPS: u64 = 8;
    const SIZE: u64 = GROUPS * GROUP_BYTES;
    const HERE: Run = Run { start: 0, end: 5 };

    /// A download that has the first five groups of eight, and a file of its length whose first
    /// three groups are others than they were.
    fn interrupted(dir: &Path) -> (Vec<u8>, ContentId, Partial, PathBuf) {
        let bytes: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
        let whole = PostOrderMemOutboard::create(&bytes, BLOCK_SIZE);
        let content = ContentId::from_bytes(*whole.root.as_bytes());
        let (part, outboard) = (dir.join("part"), dir.join("outboard"));
        let here = usize::try_from(bytes_of(HERE, SIZE).end).unwrap();
        std::fs::write(&part, &bytes[..here]).unwrap();
        std::fs::write(&outboard, &whole.data).unwrap();
        let mut changed = bytes.clone();
        changed[..3 * usize::try_from(GROUP_BYTES).unwrap()].fill(b'!');
        let source = dir.join("source");
        std::fs::write(&source, changed).unwrap();
        let written = std::iter::once(HERE).collect();
        let partial = Partial::open(&LocalDisk, &part, &outboard, SIZE, written).unwrap();
        (bytes, content, partial, source)
    }

    #[test]
    fn what_a_download_has_is_not_overwritten_by_a_file_that_has_changed() {
        let temp = tempfile::tempdir().unwrap();
        let (bytes, content, partial, source) = interrupted(temp.path());
        let progress = Progress::default();
        let right = copy(&source, &partial, &content, &progress).unwrap();
        assert_eq!(right, RunSet::full(GROUPS));
        assert_eq!(partial.written(), right);
        assert_eq!(progress.bytes(), SIZE);
        assert!(std::fs::read(&partial.path).unwrap() == bytes);
    }

    #[test]
    fn a_copy_that_is_called_off_leaves_what_a_download_had() {
        let temp = tempfile::tempdir().unwrap();
        let (bytes, content, partial, source) = interrupted(temp.path());
        let progress = Progress::default();
        progress.stop();
        let ended = copy(&source, &partial, &content, &progress).unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::Interrupted);
        assert_eq!(partial.written(), std::iter::once(HERE).collect());
        let here = usize::try_from(bytes_of(HERE, SIZE).end).unwrap();
        let part = std::fs::read(&partial.path).unwrap();
        assert!(part[..here] == bytes[..here] && part.len() == bytes.len());
    }
}
