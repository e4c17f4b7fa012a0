//! What is kept of services and people over restarts, in SQLite.

use crate::home::Home;
use crate::home::files::make_private_database;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::time::Duration;
use thiserror::Error;

/// The name of the database in the data folder.
const FILE: &str = "people.db";

/// Why something was not kept, or cannot be read. It is the machine's or the user's fault.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be opened or used.
    #[error("cannot use people.db in the data folder: {0}")]
    Database(#[from] sqlx::Error),
    /// It was made by another version of the program.
    #[error("cannot bring people.db in the data folder up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// The database. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the database, or makes it.
    pub(crate) async fn open(home: &Home) -> Result<Self, StoreError> {
        let file = home.dir().join(FILE);
        make_private_database(&file).map_err(sqlx::Error::Io)?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A message that was acknowledged must be there after a power cut, too.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        // With one connection, nothing waits for a lock of the database; all queries are short.
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        sqlx::migrate!("./migrations/people").run(&pool).await?;
        Ok(Self { pool })
    }

    /// Where to send queries.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Waits for the last commit and closes the file.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[cfg(unix)]
    #[tokio::test]
    async fn nobody_else_on_the_machine_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let store = Store::open(&Home::at(temp.path())).await.unwrap();
        for entry in std::fs::read_dir(temp.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", entry.path().display());
        }
        store.close().await;
    }
}
