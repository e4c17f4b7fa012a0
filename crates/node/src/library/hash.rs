//! Reading a file once: its content id, its hash tree, its tags.

use super::outboard::{self, OutboardFolder, TempOutboard};
use super::stats::Counters;
use super::tags::{self, TagOutcome};
use super::walk::Stat;
use bao_tree::io::sync::outboard_post_order;
use skein_proto::fetch::GROUP_BYTES;
use skein_proto::{ContentId, Kind, MediaTags};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// How much of a large file is read at once: enough for a disk to stream.
const READ_BYTES: usize = 256 * 1024;

/// A file that was read wholly.
#[derive(Debug)]
pub(super) struct Hashed {
    /// The root hash of its bytes.
    pub(super) content: ContentId,
    /// What it was while it was read.
    pub(super) stat: Stat,
    /// Its tags.
    pub(super) tags: Option<Box<MediaTags>>,
    /// Its hash tree, when it needs one.
    pub(super) outboard: Option<TempOutboard>,
}

/// Why a file was not hashed.
#[derive(Debug)]
pub(super) enum HashError {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It was changed meanwhile, or is no regular file any more.
    Changed,
    /// The hash tree cannot be stored; the disk of the data folder is full, for instance.
    Store(io::Error),
    /// The library closes.
    Cancelled,
}

/// What hashing needs beside the file.
#[derive(Debug)]
pub(super) struct Hasher {
    folder: OutboardFolder,
    next_temp: AtomicU64,
}

impl Hasher {
    pub(super) fn new(folder: OutboardFolder) -> Self {
        Self { folder, next_temp: AtomicU64::new(0) }
    }

    /// Reads the file at `path`, which was seen to be `expected`. It blocks.
    pub(super) fn hash(
        &self,
        path: &Path,
        expected: &Stat,
        counters: &Counters,
        progress: &AtomicU64,
        cancel: &CancellationToken,
    ) -> Result<Hashed, HashError> {
        // The name may have become a symbolic link or a pipe since the folder was listed; opening
        // those could lead out of the share or never return.
        if Stat::of_path(path).ok().flatten().as_ref() != Some(expected) {
            return Err(HashError::Changed);
        }
        let file = File::open(path).map_err(HashError::Unreadable)?;
        let before = file.metadata().map_err(HashError::Unreadable)?;
        if Stat::of(&before).as_ref() != Some(expected) {
            return Err(HashError::Changed);
        }
        let mut reader = Metered { inner: &file, progress, cancel };
        let (content, outboard) = if expected.size <= GROUP_BYTES {
            (hash_small(&mut reader, expected.size)?, None)
        } else {
            let (content, outboard) = self.hash_large(&mut reader, expected.size)?;
            (content, Some(outboard))
        };
        let after = file.metadata().map_err(HashError::Unreadable)?;
        if Stat::of(&after).as_ref() != Some(expected) {
            return Err(HashError::Changed);
        }
        counters.files_hashed.fetch_add(1, Ordering::Relaxed);
        counters.bytes_hashed.fetch_add(expected.size, Ordering::Relaxed);
        let tags = read_tags(path, file, counters);
        Ok(Hashed { content, stat: *expected, tags, outboard })
    }

    fn hash_large(
        &self,
        reader: impl Read,
        size: u64,
    ) -> Result<(ContentId, TempOutboard), HashError> {
        let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
        let (outboard, file) =
            TempOutboard::create(&self.folder, number).map_err(HashError::Store)?;
        let mut sink = StoreWriter { inner: BufWriter::new(file), failed: false };
        let reader = BufReader::with_capacity(READ_BYTES, reader);
        let root = outboard_post_order(reader, outboard::tree(size), &mut sink);
        let root = root.and_then(|root| sink.flush().map(|()| root));
        match root {
            Ok(root) => Ok((ContentId::from_bytes(*root.as_bytes()), outboard)),
            Err(error) if sink.failed => Err(HashError::Store(error)),
            Err(error) => Err(read_error(error)),
        }
    }
}

fn hash_small(reader: &mut impl Read, size: u64) -> Result<ContentId, HashError> {
    let mut bytes = Vec::with_capacity(GROUP_BYTES as usize);
    reader.take(GROUP_BYTES + 1).read_to_end(&mut bytes).map_err(read_error)?;
    if bytes.len() as u64 != size {
        return Err(HashError::Changed);
    }
    Ok(ContentId::from_bytes(*blake3::hash(&bytes).as_bytes()))
}

fn read_error(error: io::Error) -> HashError {
    match error.kind() {
        // `Metered` says so when the library closes; reading a file never does.
        io::ErrorKind::ConnectionAborted => HashError::Cancelled,
        io::ErrorKind::UnexpectedEof => HashError::Changed,
        _ => HashError::Unreadable(error),
    }
}

fn read_tags(path: &Path, file: File, counters: &Counters) -> Option<Box<MediaTags>> {
    let extension = path.extension().and_then(|extension| extension.to_str())?;
    if !tags::may_have_tags(Kind::from_extension(extension)) {
        return None;
    }
    match tags::read(file) {
        TagOutcome::Tags(tags) => Some(tags),
        TagOutcome::None => None,
        TagOutcome::Failed => {
            counters.tag_failures.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

/// A reader that tells how far it is and stops when the library closes.
struct Metered<'a, R> {
    inner: R,
    progress: &'a AtomicU64,
    cancel: &'a CancellationToken,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let read = self.inner.read(buffer)?;
        self.progress.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// A writer that remembers that it failed, so that a full disk is not taken for a bad file.
struct StoreWriter<W> {
    inner: W,
    failed: bool,
}

impl<W: Write> Write for StoreWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer);
        self.failed |= written.is_err();
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.failed |= flushed.is_err();
        flushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bao_tree::ChunkRanges;
    use bao_tree::io::sync::encode_ranges_validated;

    fn hash(folder: &Path, path: &Path) -> Result<Hashed, HashError> {
        let hasher = Hasher::new(OutboardFolder::open(folder.join("outboards")).expect("a folder"));
        let stat = Stat::of_path(path).expect("readable").expect("a file");
        hasher.hash(
            path,
            &stat,
            &Counters::default(),
            &AtomicU64::new(0),
            &CancellationToken::new(),
        )
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    #[test]
    fn the_root_is_that_of_blake3_and_the_tree_serves_ranges() {
        let group = GROUP_BYTES as usize;
        for len in [1, group - 1, group, group + 1, 2 * group, 3 * group + 5, 40 * group + 777] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("file");
            let bytes = bytes(len);
            std::fs::write(&path, &bytes).expect("written");

            let hashed = hash(folder.path(), &path).expect("hashed");

            assert_eq!(hashed.content.as_bytes(), blake3::hash(&bytes).as_bytes());
            assert_eq!(hashed.outboard.is_some(), len > group, "{len}");
            let outboard = hashed.outboard.as_ref().map(TempOutboard::path);
            let outboard = outboard::open(outboard, &hashed.content, len as u64).expect("opened");
            let file = File::open(&path).expect("opened");
            let mut sent = Vec::new();
            encode_ranges_validated(&file, &outboard, &ChunkRanges::all(), &mut sent)
                .expect("all groups match the tree");
        }
    }

    #[test]
    fn a_link_in_place_of_the_file_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, b"mine").expect("written");
        let stat = Stat::of_path(&path).expect("readable").expect("a file");
        std::fs::rename(&path, folder.path().join("moved")).expect("moved");
        std::os::unix::fs::symlink(folder.path().join("moved"), &path).expect("linked");
        let hasher =
            Hasher::new(OutboardFolder::open(folder.path().join("outboards")).expect("a folder"));

        let result = hasher.hash(
            &path,
            &stat,
            &Counters::default(),
            &AtomicU64::new(0),
            &CancellationToken::new(),
        );

        assert!(matches!(result, Err(HashError::Changed)));
    }

    #[test]
    fn a_hash_tree_that_cannot_be_written_is_the_stores_fault() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, bytes(100_000)).expect("written");
        let stat = Stat::of_path(&path).expect("readable").expect("a file");
        let hasher =
            Hasher::new(OutboardFolder::open(folder.path().join("outboards")).expect("a folder"));
        std::fs::remove_dir_all(folder.path().join("outboards")).expect("removed");

        let result = hasher.hash(
            &path,
            &stat,
            &Counters::default(),
            &AtomicU64::new(0),
            &CancellationToken::new(),
        );

        assert!(matches!(result, Err(HashError::Store(_))));
    }
}
