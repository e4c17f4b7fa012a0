//! Hash trees on disk, as verified streaming needs them ("outboards").
//!
//! An outboard holds the BLAKE3 chaining values above the chunk groups of 16 KiB of one content:
//! 64 bytes for each group but one, 0.4 % of the content. A content of one group has none, since
//! its root says all.
//!
//! The layout is that of [`PostOrderOutboard`]: pairs of hashes in post-order, without a length in
//! front or behind. Of the two layouts that `bao-tree` reads it is the one that is written from
//! front to back in a single pass over the content with constant memory; reading either costs the
//! same.

use bao_tree::io::outboard::PostOrderOutboard;
use bao_tree::io::sync::ReadAt;
use bao_tree::{BaoTree, BlockSize, blake3};
use skein_proto::ContentId;
use skein_proto::fetch::GROUP_BYTES;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The unit of verification: 2^4 chunks of 1 KiB, the same as [`GROUP_BYTES`].
pub const BLOCK_SIZE: BlockSize = BlockSize::from_chunk_log(4);

/// An outboard that is read from its file while ranges are sent.
pub type FileOutboard = PostOrderOutboard<OutboardData>;

/// The bytes of an outboard.
#[derive(Debug)]
pub struct OutboardData(Option<File>);

impl ReadAt for OutboardData {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Some(file) => file.read_at(offset, buffer),
            None => Ok(0),
        }
    }
}

/// The tree over a content of `size` bytes.
pub fn tree(size: u64) -> BaoTree {
    BaoTree::new(size, BLOCK_SIZE)
}

/// How many bytes the outboard of a content of `size` bytes has; zero when it needs none.
pub fn outboard_bytes(size: u64) -> u64 {
    if size <= GROUP_BYTES { 0 } else { tree(size).outboard_size() }
}

/// Opens the outboard of a content; `path` is `None` for a content that needs none.
///
/// It gives a value for `bao_tree::io::sync::encode_ranges_validated` beside the content's file.
///
/// # Errors
/// What the file system says, or [`io::ErrorKind::InvalidData`] when the file has not the length
/// that belongs to a content of that size.
pub fn open(path: Option<&Path>, content: &ContentId, size: u64) -> io::Result<FileOutboard> {
    let file = path.map(File::open).transpose()?;
    let found = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|data| data.len()))?;
    if found != outboard_bytes(size) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the hash tree has {found} bytes instead of {}", outboard_bytes(size)),
        ));
    }
    let root = blake3::Hash::from_bytes(*content.as_bytes());
    Ok(PostOrderOutboard { root, tree: tree(size), data: OutboardData(file) })
}

/// Where the outboards are: `ab/cdef….obao4` under one folder, and unfinished ones in `tmp/`.
#[derive(Clone, Debug)]
pub(super) struct OutboardFolder {
    root: PathBuf,
}

impl OutboardFolder {
    /// Makes the folders that are missing and empties `tmp/`.
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        let folder = Self { root };
        let tmp = folder.tmp();
        match std::fs::remove_dir_all(&tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(tmp)?;
        Ok(folder)
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Where unfinished outboards are written.
    pub(super) fn tmp_file(&self, number: u64) -> PathBuf {
        self.tmp().join(format!("{number}.obao4"))
    }

    /// Where the outboard of a content is, if it needs one.
    pub(super) fn path(&self, content: &ContentId) -> PathBuf {
        let name = content.to_string();
        let (shelf, rest) = name.split_at(2);
        self.root.join(shelf).join(format!("{rest}.obao4"))
    }

    /// Moves a finished outboard to its place.
    pub(super) fn adopt(&self, finished: &Path, content: &ContentId) -> io::Result<()> {
        let path = self.path(content);
        match std::fs::rename(finished, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(shelf) = path.parent() {
                    std::fs::create_dir_all(shelf)?;
                }
                std::fs::rename(finished, &path)
            }
            done => done,
        }
    }

    /// Removes the outboard of a content that is gone.
    pub(super) fn remove(&self, content: &ContentId) {
        let path = self.path(content);
        match std::fs::remove_file(&path) {
            // Small contents have none. Any other failure only wastes room.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(path = %path.display(), %error, "cannot remove a hash tree");
            }
            _ => {}
        }
    }

    /// The contents whose outboards are on one of the 256 shelves.
    pub(super) fn on_shelf(&self, shelf: u8) -> Vec<ContentId> {
        let shelf = format!("{shelf:02x}");
        let Ok(entries) = std::fs::read_dir(self.root.join(&shelf)) else { return Vec::new() };
        let content = |entry: io::Result<std::fs::DirEntry>| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            format!("{shelf}{}", name.strip_suffix(".obao4")?).parse().ok()
        };
        entries.filter_map(content).collect()
    }

    /// The mark that stands while a library is open.
    pub(super) fn mark(&self) -> PathBuf {
        self.root.join("open")
    }
}

/// An outboard that is written but not yet in its place. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct TempOutboard {
    path: PathBuf,
}

impl TempOutboard {
    /// Makes the file.
    pub(super) fn create(folder: &OutboardFolder, number: u64) -> io::Result<(Self, File)> {
        let path = folder.tmp_file(number);
        let file = File::create(&path)?;
        Ok((Self { path }, file))
    }

    /// Where it is until it is put into its place.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempOutboard {
    fn drop(&mut self) {
        // It is not there any more when it has been adopted.
        let _ = std::fs::remove_file(&self.path);
    }
}
