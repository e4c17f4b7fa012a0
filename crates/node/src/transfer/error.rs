//! What can go wrong with downloads.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a download does not start, or is not found.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The folder cannot be written to: the caller should choose another one.
    #[error("cannot download to {dir}: {source}")]
    Destination {
        /// The folder.
        dir: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The folder is not an absolute path, so it is not clear where it is: the caller's fault.
    #[error("{0} is not an absolute path")]
    NotAbsolute(PathBuf),
    /// The content is that of an empty file.
    #[error("an empty file needs no download")]
    Empty,
    /// The content is being downloaded to another folder: the caller should wait for that, or
    /// call it off.
    #[error(
        "download {id} brings this file to {} already: wait for it, or call it off with `skein \
         downloads cancel {id}`",
        dir.display()
    )]
    Elsewhere {
        /// The download.
        id: u64,
        /// Where it goes.
        dir: PathBuf,
    },
    /// Too many downloads run: the caller should wait for one to end, or cancel one.
    #[error("{0} downloads are running already")]
    TooMany(usize),
    /// The download is complete: there is nothing that could be called off.
    #[error("download {id} is complete already: {}", path.display())]
    Complete {
        /// The download.
        id: u64,
        /// The file.
        path: PathBuf,
    },
    /// The download is not over: the caller should cancel it first.
    #[error("download {0} is not over: call it off first with `skein downloads cancel {0}`")]
    StillRuns(u64),
    /// What came of a download cannot be removed: the machine's fault.
    #[error("cannot remove {}: {source}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// There is no such download.
    #[error("there is no download number {0}")]
    NotFound(u64),
    /// The data folder cannot be read or written: the machine's fault.
    #[error("cannot keep a record of downloads: {0}")]
    Journal(#[source] io::Error),
}
