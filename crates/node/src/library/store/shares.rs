//! The shares in the database.

use super::pages::published;
use super::{BATCH, LibraryChange, Store, StoreError, json_contents};
use skein_proto::ContentId;
use sqlx::Row;
use std::path::{Path, PathBuf};

/// A share as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct ShareRow {
    /// Its number.
    pub(in super::super) id: i64,
    /// The folder.
    pub(in super::super) path: PathBuf,
    /// What the paths of its files begin with.
    pub(in super::super) name: String,
    /// Whether its files are published.
    pub(in super::super) online: bool,
    /// Whether the user took it back.
    pub(in super::super) removed: bool,
    /// The device that the folder was on when it was scanned last; 0 for never.
    pub(in super::super) device: u64,
}

impl Store {
    /// All shares, also those that are being removed.
    pub(in super::super) async fn shares(&self) -> Result<Vec<ShareRow>, StoreError> {
        let rows =
            sqlx::query("SELECT id, path, name, online, removed, device FROM shares ORDER BY name")
                .fetch_all(&self.reader)
                .await?;
        let share = |row: &sqlx::sqlite::SqliteRow| {
            Ok(ShareRow {
                id: row.try_get(0)?,
                path: PathBuf::from(row.try_get::<String, _>(1)?),
                name: row.try_get(2)?,
                online: row.try_get(3)?,
                removed: row.try_get(4)?,
                device: row.try_get::<i64, _>(5)?.cast_unsigned(),
            })
        };
        Ok(rows.iter().map(share).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Adds a share.
    pub(in super::super) async fn add_share(
        &self,
        path: &Path,
        name: &str,
    ) -> Result<ShareRow, StoreError> {
        let mut connection = self.lock().await?;
        let id = sqlx::query_scalar("INSERT INTO shares (path, name) VALUES (?1, ?2) RETURNING id")
            .bind(path.to_string_lossy())
            .bind(name)
            .fetch_one(&mut *connection)
            .await?;
        Ok(ShareRow {
            id,
            path: path.to_owned(),
            name: name.to_owned(),
            online: true,
            removed: false,
            device: 0,
        })
    }

    /// Keeps in mind which device a share was found on.
    pub(in super::super) async fn set_device(
        &self,
        share: i64,
        device: u64,
    ) -> Result<(), StoreError> {
        let mut connection = self.lock().await?;
        sqlx::query("UPDATE shares SET device = ?2 WHERE id = ?1")
            .bind(share)
            .bind(device.cast_signed())
            .execute(&mut *connection)
            .await?;
        Ok(())
    }

    /// Publishes or withdraws all files of a share, and says so to the subscribers. One that the
    /// user took back stays withdrawn.
    pub(in super::super) async fn set_online(
        &self,
        share: i64,
        online: bool,
    ) -> Result<(), StoreError> {
        let mut connection = self.lock().await?;
        let changed = sqlx::query(
            "UPDATE shares SET online = ?2 WHERE id = ?1 AND online != ?2 AND NOT removed",
        )
        .bind(share)
        .bind(online)
        .execute(&mut *connection)
        .await?;
        drop(connection);
        if changed.rows_affected() > 0 { self.announce_share(share).await } else { Ok(()) }
    }

    /// Marks a share as taken back by the user and withdraws its files. [`Self::purge_share`]
    /// does the rest.
    pub(in super::super) async fn mark_removed(&self, share: i64) -> Result<(), StoreError> {
        let mut connection = self.lock().await?;
        // The path and the name become free at once: the same folder may be shared again while
        // the old rows are still being deleted. No real path or name begins with two slashes.
        sqlx::query(
            "UPDATE shares SET online = 0, removed = 1, path = '//' || id, name = '//' || id
             WHERE id = ?1",
        )
        .bind(share)
        .execute(&mut *connection)
        .await?;
        drop(connection);
        self.announce_share(share).await
    }

    /// Deletes everything that is known of a share, in small transactions.
    pub(in super::super) async fn purge_share(&self, share: i64) -> Result<(), StoreError> {
        self.remove_folder(share, "").await?;
        let mut connection = self.lock().await?;
        sqlx::query("DELETE FROM shares WHERE id = ?1")
            .bind(share)
            .execute(&mut *connection)
            .await?;
        Ok(())
    }

    /// Tells the subscribers how each content of a share stands now.
    async fn announce_share(&self, share: i64) -> Result<(), StoreError> {
        let mut after: Vec<u8> = Vec::new();
        loop {
            let mut connection = self.lock().await?;
            let contents: Vec<Vec<u8>> = sqlx::query_scalar(
                "SELECT DISTINCT f.content FROM files f INDEXED BY files_by_content
                 CROSS JOIN folders d ON d.id = f.folder
                 WHERE d.share = ?1 AND f.content > ?2 ORDER BY f.content LIMIT ?3",
            )
            .bind(share)
            .bind(&after)
            .bind(BATCH as i64)
            .fetch_all(&mut *connection)
            .await?;
            let Some(last) = contents.last() else { return Ok(()) };
            after.clone_from(last);
            let contents = contents
                .iter()
                .map(|content| super::content_of(content))
                .collect::<Result<Vec<ContentId>, _>>()?;
            let mut now = published(&mut connection, &json_contents(&contents)).await?;
            let mut change = LibraryChange::default();
            for content in contents {
                match now.remove(&content) {
                    Some(meta) => change.added.push(meta),
                    None => change.removed.push(content),
                }
            }
            self.announce(change);
        }
    }
}
