//! What can go wrong with the share library.

use std::io;
use std::path::{Path, PathBuf};
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
    /// The database is damaged, or is no database: the user has to move it away.
    #[error(
        "the share library {} is damaged: move it away, start again, and share your folders anew \
         with `skein share add`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The database cannot be opened or written: the machine's owner has to mend that.
    #[error(
        "cannot use the share library {}: {source}: see that it is yours, that you may write to it \
         and its folder, and that the disk has room",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// The database was written by a newer version of this program: the user has to get that one.
    #[error(
        "the share library {} is of another version of this program ({source}): use that version, \
         or move the file away and share your folders anew",
        path.display()
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: sqlx::migrate::MigrateError,
    },
    /// The library has been closed.
    #[error("the share library is closed")]
    Closed,
}

impl LibraryError {
    /// The database at `path` does not open.
    pub(super) fn opening(path: &Path, error: sqlx::Error) -> Self {
        // SQLITE_CORRUPT and SQLITE_NOTADB, see https://www.sqlite.org/rescode.html.
        let code = error.as_database_error().and_then(|error| error.code());
        let path = path.to_owned();
        match code.as_deref() {
            Some("11" | "26") => Self::Damaged { path },
            _ => Self::Unusable { path, source: error },
        }
    }

    /// The database at `path` cannot be brought to the layout of this version.
    pub(super) fn migrating(path: &Path, error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError;
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                Self::opening(path, error)
            }
            source => Self::OtherVersion { path: path.to_owned(), source },
        }
    }
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
    #[error("{} is the data folder of a node or a login service, with its keys, and cannot be shared", .0.display())]
    DataFolder(PathBuf),
    /// It is, or lies in, the folder of what people have sent to the user.
    #[error("{} is where files go that people send you, which are for you alone; move what you want to share", .0.display())]
    Private(PathBuf),
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
