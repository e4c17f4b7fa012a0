//! Reading a file that is to be sent: its content id and its hash tree.

use super::grants::stamp;
use crate::home::sync_parent;
use crate::library::outboard::{outboard_bytes, tree};
use bao_tree::io::sync::outboard_post_order;
use skein_proto::ContentId;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// How much is read at once: enough for a disk to stream.
const READ_BYTES: usize = 256 * 1024;

/// A file that was read wholly.
#[derive(Debug)]
pub(super) struct Hashed {
    pub content: ContentId,
    pub size: u64,
    pub modified: Option<i64>,
}

/// Reads a file and puts its hash tree into `outbox`, if it needs one. It blocks.
///
/// # Errors
/// What the file system says; [`io::ErrorKind::InvalidData`] if the file is changed meanwhile,
/// [`io::ErrorKind::ConnectionAborted`] if it is called off.
pub(super) fn hash(
    path: &Path,
    outbox: &Path,
    progress: &AtomicU64,
    cancel: &CancellationToken,
) -> io::Result<Hashed> {
    let before = stamp(path)?;
    let (size, modified) = before;
    let file = File::open(path)?;
    let reader = Metered { inner: file, progress, cancel };
    let reader = BufReader::with_capacity(READ_BYTES, reader);
    let mut sink = BufWriter::new(tempfile::NamedTempFile::new_in(outbox)?);
    let root = outboard_post_order(reader, tree(size), &mut sink)?;
    let content = ContentId::from_bytes(*root.as_bytes());
    if stamp(path)? != before {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is being changed"));
    }
    let written = sink.into_inner().map_err(io::IntoInnerError::into_error)?;
    if outboard_bytes(size) > 0 {
        written.as_file().sync_all()?;
        let target = outbox.join(format!("{content}.obao4"));
        written.persist(&target).map_err(|error| error.error)?;
        sync_parent(&target).map_err(io::Error::other)?;
    }
    Ok(Hashed { content, size, modified })
}

/// Counts what is read, and ends when it is told to.
struct Metered<'a> {
    inner: File,
    progress: &'a AtomicU64,
    cancel: &'a CancellationToken,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let count = self.inner.read(buffer)?;
        self.progress.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_of_every_odd_length_have_their_content_id_and_a_tree_if_they_need_one() {
        let temp = tempfile::tempdir().unwrap();
        for size in [1_usize, 16 * 1024, 16 * 1024 + 1, 100_000] {
            let bytes = vec![7; size];
            let path = temp.path().join("file");
            std::fs::write(&path, &bytes).unwrap();
            let progress = AtomicU64::new(0);
            let hashed = hash(&path, temp.path(), &progress, &CancellationToken::new()).unwrap();
            assert_eq!(hashed.content.as_bytes(), blake3::hash(&bytes).as_bytes());
            assert_eq!(progress.load(Ordering::Relaxed), size as u64);
            let tree = temp.path().join(format!("{}.obao4", hashed.content));
            let length = tree.metadata().map_or(0, |meta| meta.len());
            assert_eq!(length, outboard_bytes(size as u64));
        }
    }

    #[test]
    fn reading_ends_when_it_is_called_off() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        std::fs::write(&path, [0; 20_000]).unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        let failed = hash(&path, temp.path(), &AtomicU64::new(0), &cancel).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::ConnectionAborted);
    }
}
