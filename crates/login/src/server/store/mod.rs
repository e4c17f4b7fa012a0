//! What the service remembers: accounts, nodes, invite codes and supernodes, in SQLite or
//! PostgreSQL.
//!
//! Both are driven through `sqlx::Any`: the statements are the same but for the type of byte
//! strings, which only the migrations name, so that one code serves both. A layer generic over
//! the database would need a page of trait bounds on every function and gain checked queries
//! only for whichever database is there at build time.
//!
//! What a method has confirmed survives a crash: SQLite runs with a write-ahead log and
//! `synchronous = FULL`. A change of several steps is one transaction, and two instances that
//! race for the same name or invite code are told apart by unique constraints and row locks,
//! never by a look before a leap.

mod accounts;
mod invites;
mod supernodes;

pub use accounts::{NewAccount, NodeRecord};
pub use invites::InviteCode;

use skein_proto::login::LoginRefusal;
use skein_proto::{NodeId, UnixTime, Username};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Any, AnyPool, Executor, Row, Transaction};
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// How long a request waits for a connection to the store: less than a client waits for its
/// answer, so that it hears `Unavailable` rather than nothing.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// SQLite has one writer at a time; a few readers beside it are enough.
const SQLITE_CONNECTIONS: u32 = 4;

/// PostgreSQL allows 100 connections by default; ten instances of the service fit.
const POSTGRES_CONNECTIONS: u32 = 8;

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Why the store did not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The rules say no. It is the asker's fault, and the asker is told.
    #[error(transparent)]
    Refused(#[from] LoginRefusal),
    /// The database failed: the operator's to mend.
    #[error("the store failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The database is of a later version of this program, or was changed by hand.
    #[error("the store cannot be brought up to date: {0}")]
    Migration(#[from] MigrateError),
    /// The URL names neither SQLite nor PostgreSQL.
    #[error("a database URL begins with sqlite:// or postgres://")]
    UnknownDatabase,
    /// The file of the database could not be made.
    #[error("cannot create {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The store. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    begin: &'static str,
}

impl Store {
    /// Opens the SQLite database at `path`; a new one is readable by its owner only.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be opened or brought up to date.
    pub async fn open_file(path: &Path) -> Result<Self, StoreError> {
        let error = |source| StoreError::File { path: path.display().to_string(), source };
        create_private(path).map_err(error)?;
        let path = path.canonicalize().map_err(error)?;
        let url = format!("sqlite://{}", escape(path.as_os_str().as_encoded_bytes()));
        Self::open(&url).await
    }

    /// Opens the store at `sqlite://FILE` or `postgres://…` and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be opened or brought up to date.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let is_sqlite = url.starts_with("sqlite:");
        if !is_sqlite && !url.starts_with("postgres:") && !url.starts_with("postgresql:") {
            return Err(StoreError::UnknownDatabase);
        }
        let options: AnyConnectOptions = url.parse()?;
        let pool = AnyPoolOptions::new()
            .max_connections(if is_sqlite { SQLITE_CONNECTIONS } else { POSTGRES_CONNECTIONS })
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if is_sqlite {
                        connection
                            .execute(
                                "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; \
                                 PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
                            )
                            .await?;
                    }
                    Ok(())
                })
            })
            .connect_with(options)
            .await?;
        if is_sqlite {
            migrate_by_turns(pool.clone()).await?;
        } else {
            POSTGRES_MIGRATIONS.run(&pool).await?;
        }
        // A deferred transaction of SQLite that reads first and writes later can fail at the write
        // without waiting its turn; an immediate one waits at the beginning.
        let begin = if is_sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        Ok(Self { pool, begin })
    }

    /// Waits for what is under way and closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        Ok(self.pool.begin_with(self.begin).await?)
    }
}

/// sqlx takes a lock for migrations in PostgreSQL only. In SQLite two processes that start at once
/// take turns by a transaction around all of it.
async fn migrate_by_turns(pool: AnyPool) -> Result<(), StoreError> {
    // The compiler cannot show that the future of a migration inside a transaction is `Send`, and
    // a service is started from any task: so it runs on a thread of its own.
    let runtime = tokio::runtime::Handle::current();
    let migration = tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
            SQLITE_MIGRATIONS.run(&mut *tx).await?;
            Ok(tx.commit().await?)
        })
    });
    migration.await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
}

fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Percent-encodes a path, so that no character of it means something in a URL (RFC 3986,
/// section 2.1).
fn escape(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Times of the far future, which only a wrong clock can make, are cut to what fits.
fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn time(row: &AnyRow, column: &str) -> Result<UnixTime, StoreError> {
    let seconds: i64 = row.try_get(column)?;
    Ok(UnixTime(u64::try_from(seconds).unwrap_or(0)))
}

fn node_id(row: &AnyRow, column: &str) -> Result<NodeId, StoreError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| damaged("a node id has 32 bytes"))?;
    Ok(NodeId::from_bytes(bytes))
}

fn username(row: &AnyRow, column: &str) -> Result<Username, StoreError> {
    let name: String = row.try_get(column)?;
    Username::parse(&name).map_err(|error| damaged(&error.to_string()))
}

fn damaged(why: &str) -> StoreError {
    StoreError::Database(sqlx::Error::Decode(why.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sqlite_confirms_only_what_is_on_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open_file(&folder.path().join("login.db")).await.expect("opened");
        let mut answers = Vec::new();
        for pragma in ["PRAGMA synchronous", "PRAGMA foreign_keys", "PRAGMA busy_timeout"] {
            let row = sqlx::query(pragma).fetch_one(&store.pool).await.expect("answered");
            answers.push(row.get::<i64, _>(0));
        }
        // 2 is FULL.
        assert_eq!(answers, [2, 1, 5_000]);
        let row = sqlx::query("PRAGMA journal_mode").fetch_one(&store.pool).await;
        assert_eq!(row.expect("answered").get::<String, _>(0), "wal");
    }

    #[test]
    fn a_path_survives_being_a_part_of_a_url() {
        assert_eq!(escape(b"/a b/c?d#e%.db"), "/a%20b/c%3Fd%23e%25.db");
    }
}
