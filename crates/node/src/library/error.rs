//! What can go wrong with the share library.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why the library could not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// The user named a folder that cannot be shared; nothing was changed.
    #[error(transparent)]
    Unshareable(#[from] ShareError),
    /// The user named a folder that is not shared.
    #[error("{} is not shared; see `skein share ls`", .0.display())]
    NotShared(PathBuf),
    /// A setting is out of its range.
    #[error("the {name} must be {range}")]
    Setting {
        /// Which setting.
        name: &'static str,
        /// What is allowed.
        range: &'static str,
    },
    /// The data folder cannot be read or written; the machine's owner has to mend that.
    #[error("cannot use {}: {source}", path.display())]
    DataFolder {
        /// What could not be used.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The database failed: the disk is full, or the file is damaged.
    #[error("the library's database failed: {0}")]
    Store(#[from] sqlx::Error),
    /// The database was written by a newer version, or is damaged.
    #[error("the library's database cannot be opened: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The library has been closed.
    #[error("the share library is closed")]
    Closed,
}

/// Why a folder cannot be shared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShareError {
    /// It does not exist, or the node may not read it.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is a file.
    #[error("{} is not a folder; share the folder that it is in", .0.display())]
    NotAFolder(PathBuf),
    /// It is the root of the file system.
    #[error("{} is the whole file system; share a folder in it", .0.display())]
    Root(PathBuf),
    /// It is, or lies in, the node's own data folder.
    #[error("{} belongs to the node itself and cannot be shared", .0.display())]
    DataFolder(PathBuf),
    /// It is shared already.
    #[error("{} is shared already", .0.display())]
    Already(PathBuf),
    /// It lies in a folder that is shared.
    #[error("{} is shared already as a part of {}", path.display(), other.display())]
    Inside {
        /// The folder.
        path: PathBuf,
        /// The share around it.
        other: PathBuf,
    },
    /// A folder in it is shared.
    #[error("{} holds {}, which is shared already; remove that share first", path.display(), other.display())]
    Over {
        /// The folder.
        path: PathBuf,
        /// The share in it.
        other: PathBuf,
    },
    /// Its path cannot be published.
    #[error("{} has a name that is not UTF-8 or too long to be published", .0.display())]
    Name(PathBuf),
    /// There are too many shares.
    #[error("a node can share {limit} folders; share one that holds several of them")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
}
