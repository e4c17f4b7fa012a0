//! What the library knows, in SQLite.
//!
//! One connection writes and some read, so that nothing ever waits for a lock of the database.
//! Whoever holds the writing connection may also move hash trees and announce changes: these
//! three always happen in the same order.

mod files;
mod pages;
mod shares;

pub(super) use files::{Batch, NewFile, Totals};
pub(super) use pages::Place;
pub(super) use shares::ShareRow;

use super::error::LibraryError;
use super::outboard::OutboardFolder;
use crate::home::files::make_private_database;
use skein_proto::{ContentId, FileMeta};
use sqlx::SqlitePool;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::broadcast;

/// How many files are committed, announced or deleted at once: enough that the cost of a
/// transaction vanishes, few enough that a killed scan loses less than a second of work.
pub(super) const BATCH: usize = 1000;

/// How many batches of changes wait for a slow subscriber before it is told that it has lagged:
/// at about 300 bytes a file, 10 MB.
const CHANGES_KEPT: usize = 32;

/// How many queries may read at the same time.
const READERS: u32 = 4;

/// A difference in what is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibraryChange {
    /// Contents that are new, or published under another path or with other tags than before.
    pub added: Vec<FileMeta>,
    /// Contents of which no copy is left.
    pub removed: Vec<ContentId>,
}

impl LibraryChange {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// Something could not be stored.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    /// The database did not take it.
    #[error("the library's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A hash tree could not be moved to its place.
    #[error("cannot store a hash tree: {0}")]
    Outboard(#[from] io::Error),
}

impl From<StoreError> for LibraryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(error) => Self::Store(error),
            StoreError::Outboard(error) => Self::Store(sqlx::Error::Io(error)),
        }
    }
}

/// The database with the hash trees.
#[derive(Debug)]
pub(super) struct Store {
    writer: SqlitePool,
    reader: SqlitePool,
    outboards: OutboardFolder,
    changes: broadcast::Sender<Arc<LibraryChange>>,
}

impl Store {
    /// Opens the database, or makes it.
    pub(super) async fn open(path: &Path, outboards: OutboardFolder) -> Result<Self, LibraryError> {
        make_private_database(path)
            .map_err(|error| LibraryError::opening(path, sqlx::Error::Io(error)))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A power cut may undo the last commits but cannot damage the database, and whatever
            // is undone is found again by the next scan.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10));
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone());
        let writer = writer.await.map_err(|error| LibraryError::opening(path, error))?;
        let migrated = sqlx::migrate!("./migrations/library").run(&writer).await;
        migrated.map_err(|error| LibraryError::migrating(path, error))?;
        let reader = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(|error| LibraryError::opening(path, error))?;
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        Ok(Self { writer, reader, outboards, changes })
    }

    /// Waits for the last commit and closes the files.
    pub(super) async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// Tells of everything that is published or withdrawn from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Arc<LibraryChange>> {
        self.changes.subscribe()
    }

    /// Where the hash trees are.
    pub(super) fn outboards(&self) -> &OutboardFolder {
        &self.outboards
    }

    pub(super) async fn lock(&self) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
        self.writer.acquire().await
    }

    /// To be called while the writing connection is held, so that changes go out in the order in
    /// which they were committed.
    fn announce(&self, change: LibraryChange) {
        if !change.is_empty() {
            // It fails when nobody listens, and then nobody needs it.
            let _ = self.changes.send(Arc::new(change));
        }
    }
}

/// A list of row ids as a JSON text: one bound parameter for as many as there are.
fn json_ids(ids: &[i64]) -> String {
    serde_json::Value::from(ids).to_string()
}

/// A list of content ids as a JSON text of hexadecimal digits.
fn json_contents<'a>(contents: impl IntoIterator<Item = &'a ContentId>) -> String {
    let contents: Vec<_> = contents.into_iter().map(ContentId::to_string).collect();
    serde_json::Value::from(contents).to_string()
}

fn content_of(bytes: &[u8]) -> Result<ContentId, sqlx::Error> {
    let bytes =
        bytes.try_into().map_err(|_| sqlx::Error::Decode("a content id has 32 bytes".into()));
    bytes.map(ContentId::from_bytes)
}

/// The smallest text that is behind all paths that begin with `folder`, which ends with `/` or is
/// empty.
fn behind(folder: &str) -> String {
    match folder.strip_suffix('/') {
        // '0' follows '/'.
        Some(stem) => format!("{stem}0"),
        None => char::MAX.to_string(),
    }
}
