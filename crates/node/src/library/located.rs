//! Finding the file of a content, for sending it.

use super::outboard::{self, FileOutboard, outboard_bytes};
use super::stats::Counters;
use super::store::Place;
use super::walk::Stat;
use super::{Library, LibraryError};
use skein_proto::ContentId;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A file that has a content, as far as can be told without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedFile {
    /// The content.
    pub content: ContentId,
    /// Where the file is: absolute, without symbolic links.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written last, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Where its hash tree is; `None` for a content of one chunk group, which needs none.
    pub outboard: Option<PathBuf>,
    stat: Stat,
}

impl LocatedFile {
    /// Opens the file and its hash tree, for `bao_tree::io::sync::encode_ranges_validated`. It
    /// blocks.
    ///
    /// # Errors
    /// What the file system says, or [`io::ErrorKind::NotFound`] when the file was changed or
    /// replaced since it was located.
    pub fn open(&self) -> io::Result<(File, FileOutboard)> {
        if !self.is_at_its_place()? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file has changed"));
        }
        let file = File::open(&self.path)?;
        if !self.is_unchanged(&file) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file has changed"));
        }
        let outboard = outboard::open(self.outboard.as_deref(), &self.content, self.size)?;
        Ok((file, outboard))
    }

    /// Whether an open file is still what was hashed.
    pub fn is_unchanged(&self, file: &File) -> bool {
        let stat = file.metadata().ok().and_then(|metadata| Stat::of(&metadata));
        stat.is_some_and(|stat| stat.same_file(&self.stat))
    }

    /// Whether the path leads to the file that was hashed, by no symbolic link.
    fn is_at_its_place(&self) -> io::Result<bool> {
        // Comparing the whole path also notices a link in place of a folder around the file.
        let found = Stat::of_path(&self.path)?;
        let same = found.is_some_and(|found| found.same_file(&self.stat));
        Ok(same && std::fs::canonicalize(&self.path)? == self.path)
    }
}

/// What became of looking for a copy.
enum Look {
    Found(LocatedFile),
    /// The file is not there any more, or changed.
    Stale,
    /// The file is there but its hash tree is not.
    NoTree,
}

impl Library {
    /// Finds a file with this content. A file that is no longer what was hashed is not given away:
    /// its folder is scanned again, and the next copy is tried.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn locate(&self, content: &ContentId) -> Result<Option<LocatedFile>, LibraryError> {
        let core = &self.inner.core;
        for place in core.store.places(content).await? {
            let (share, folder) = (place.share, place.folder.clone());
            let tree = core.store.outboards().path(content);
            let content = *content;
            let looked = tokio::task::spawn_blocking(move || look(content, place, &tree)).await;
            match looked.unwrap_or(Look::Stale) {
                Look::Found(located) => return Ok(Some(located)),
                Look::Stale => {
                    Counters::count(&core.counters.stale_files);
                    if let Some(entry) = self.entry(share) {
                        entry.touched.touch(&folder, false, &core.counters);
                    }
                }
                Look::NoTree => {
                    self.recheck(&content).await?;
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Withdraws a content and has its files read again. For whoever finds that a file does not
    /// match its hash tree although its length and time are the same: the disk or the tree is
    /// damaged.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn recheck(&self, content: &ContentId) -> Result<(), LibraryError> {
        let core = &self.inner.core;
        Counters::count(&core.counters.stale_files);
        for (share, folder, grown) in core.store.forget(content).await? {
            if let Some(entry) = self.entry(share) {
                entry.state().totals += grown;
                entry.touched.touch(&folder, false, &core.counters);
            }
        }
        Ok(())
    }
}

fn look(content: ContentId, place: Place, tree: &Path) -> Look {
    let needed = outboard_bytes(place.stat.size);
    let located = LocatedFile {
        content,
        path: place.path,
        size: place.stat.size,
        mtime_ns: place.stat.mtime_ns,
        outboard: (needed > 0).then(|| tree.to_owned()),
        stat: place.stat,
    };
    if !located.is_at_its_place().unwrap_or(false) {
        return Look::Stale;
    }
    let there = std::fs::metadata(tree).map_or(0, |metadata| metadata.len());
    if needed > 0 && there != needed { Look::NoTree } else { Look::Found(located) }
}
