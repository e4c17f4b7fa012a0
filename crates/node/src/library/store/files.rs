//! Folders and files in the database.

use super::super::outboard::{OutboardFolder, TempOutboard};
use super::super::walk::{FoundFile, Stat};
use super::pages::{published, stat, tags};
use super::{BATCH, LibraryChange, Store, StoreError, behind, content_of, json_contents, json_ids};
use skein_proto::{ContentId, FileMeta, MediaTags};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};
use std::collections::{BTreeSet, HashMap};
use std::io;

/// A file to be stored.
#[derive(Debug)]
pub(in super::super) struct NewFile {
    /// Its folder.
    pub(in super::super) folder: i64,
    /// Its name.
    pub(in super::super) name: String,
    /// What it was when it was hashed.
    pub(in super::super) stat: Stat,
    /// Its content.
    pub(in super::super) content: ContentId,
    /// Its tags.
    pub(in super::super) tags: Option<Box<MediaTags>>,
    /// Its hash tree, if one was made just now.
    pub(in super::super) outboard: Option<TempOutboard>,
}

/// What is stored in one transaction.
#[derive(Debug, Default)]
pub(in super::super) struct Batch {
    /// Files that are new or replace those of the same folder and name.
    pub(in super::super) add: Vec<NewFile>,
    /// Files that are gone.
    pub(in super::super) remove: Vec<i64>,
}

/// How many files there are, and their bytes; or by how much these figures changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Totals {
    /// Files.
    pub(in super::super) files: i64,
    /// Bytes.
    pub(in super::super) bytes: i64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// A file as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct KnownFile {
    /// Its number.
    pub(in super::super) id: i64,
    /// Its name.
    pub(in super::super) name: String,
    /// What it was when it was hashed.
    pub(in super::super) stat: Stat,
}

/// What is stored of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct KnownFolder {
    /// Its number.
    pub(in super::super) id: i64,
    /// Its files.
    pub(in super::super) files: Vec<KnownFile>,
    /// The paths of the folders in it.
    pub(in super::super) folders: Vec<String>,
}

impl Store {
    /// The number of a folder, if it is known.
    pub(in super::super) async fn folder_id(
        &self,
        share: i64,
        path: &str,
    ) -> Result<Option<i64>, StoreError> {
        Ok(sqlx::query_scalar("SELECT id FROM folders WHERE share = ?1 AND path = ?2")
            .bind(share)
            .bind(path)
            .fetch_optional(&self.reader)
            .await?)
    }

    /// What is known of a folder, which is made when it is not known yet.
    pub(in super::super) async fn folder(
        &self,
        share: i64,
        path: &str,
        parent: Option<i64>,
    ) -> Result<KnownFolder, StoreError> {
        let Some(id) = self.folder_id(share, path).await? else {
            let mut connection = self.lock().await?;
            let id = sqlx::query_scalar(
                "INSERT INTO folders (share, path, parent) VALUES (?1, ?2, ?3) RETURNING id",
            )
            .bind(share)
            .bind(path)
            .bind(parent)
            .fetch_one(&mut *connection)
            .await?;
            return Ok(KnownFolder { id, ..KnownFolder::default() });
        };
        let rows = sqlx::query(
            "SELECT id, name, size, mtime_ns, device, inode FROM files WHERE folder = ?1",
        )
        .bind(id)
        .fetch_all(&self.reader)
        .await?;
        let file = |row: &SqliteRow| {
            Ok(KnownFile { id: row.try_get(0)?, name: row.try_get(1)?, stat: stat(row, 2)? })
        };
        let files = rows.iter().map(file).collect::<Result<_, sqlx::Error>>()?;
        let folders = sqlx::query_scalar("SELECT path FROM folders WHERE parent = ?1")
            .bind(id)
            .fetch_all(&self.reader)
            .await?;
        Ok(KnownFolder { id, files, folders })
    }

    /// For each of these new files, by its place in the list: what is known of the same file
    /// under another name of the same share. A file that was only moved or linked keeps its
    /// number, length and time.
    pub(in super::super) async fn same_files(
        &self,
        share: i64,
        files: &[FoundFile],
    ) -> Result<HashMap<usize, (ContentId, Option<Box<MediaTags>>)>, StoreError> {
        let keys: Vec<[i64; 4]> = files
            .iter()
            .map(|FoundFile { stat, .. }| {
                let [inode, size, device] =
                    [stat.inode, stat.size, stat.device].map(u64::cast_signed);
                [inode, size, stat.mtime_ns, device]
            })
            .collect();
        let keys = serde_json::json!(keys).to_string();
        let rows = sqlx::query(
            "SELECT j.key, f.content, f.artist, f.title, f.album, f.bitrate, f.duration
             FROM json_each(?1) j
             CROSS JOIN files f ON f.inode = j.value ->> 0 AND f.size = j.value ->> 1
             CROSS JOIN folders d ON d.id = f.folder
             WHERE f.mtime_ns = j.value ->> 2 AND f.device = j.value ->> 3 AND d.share = ?2",
        )
        .bind(keys)
        .bind(share)
        .fetch_all(&self.reader)
        .await?;
        let known = |row: &SqliteRow| {
            let at = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
            Ok((at, (content_of(row.try_get(1)?)?, tags(row, 2)?)))
        };
        Ok(rows.iter().map(known).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Stores a batch, moves its hash trees to their places, and tells the subscribers what has
    /// become of the contents concerned. Says by how much the files grew in number and length.
    pub(in super::super) async fn apply(&self, batch: Batch) -> Result<Totals, StoreError> {
        let Batch { mut add, remove } = batch;
        let mut connection = self.lock().await?;
        let outboards: Vec<_> =
            add.iter_mut().filter_map(|file| Some((file.outboard.take()?, file.content))).collect();
        adopt(self.outboards.clone(), outboards).await?;

        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut remove = remove;
        remove.extend(replaced(&mut transaction, &add).await?);
        let remove = json_ids(&remove);
        let old: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT DISTINCT content FROM files WHERE id IN (SELECT value FROM json_each(?1))",
        )
        .bind(&remove)
        .fetch_all(&mut *transaction)
        .await?;
        let mut touched = BTreeSet::new();
        for content in &old {
            touched.insert(content_of(content)?);
        }
        touched.extend(add.iter().map(|file| file.content));
        let touched_json = json_contents(&touched);
        let before = published(&mut transaction, &touched_json).await?;

        let mut grown = Totals::default();
        let sizes: Vec<i64> = sqlx::query_scalar(
            "DELETE FROM files WHERE id IN (SELECT value FROM json_each(?1)) RETURNING size",
        )
        .bind(&remove)
        .fetch_all(&mut *transaction)
        .await?;
        grown += Totals { files: -(sizes.len() as i64), bytes: -sizes.iter().sum::<i64>() };
        for file in &add {
            insert(&mut transaction, file).await?;
            grown += Totals { files: 1, bytes: file.stat.size.cast_signed() };
        }

        let after = published(&mut transaction, &touched_json).await?;
        let orphans: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT unhex(j.value) FROM json_each(?1) j
             WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.content = unhex(j.value))",
        )
        .bind(&touched_json)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;

        self.announce(difference(&touched, &before, after));
        let orphans =
            orphans.iter().map(|bytes| content_of(bytes)).collect::<Result<Vec<_>, _>>()?;
        self.remove_outboards(orphans).await;
        Ok(grown)
    }

    /// Removes a folder that is gone, with all that is in it, in small transactions.
    pub(in super::super) async fn remove_folder(
        &self,
        share: i64,
        path: &str,
    ) -> Result<Totals, StoreError> {
        let mut grown = Totals::default();
        loop {
            let ids: Vec<i64> = sqlx::query_scalar(
                "SELECT f.id FROM folders d CROSS JOIN files f ON f.folder = d.id
                 WHERE d.share = ?1 AND d.path >= ?2 AND d.path < ?3 LIMIT ?4",
            )
            .bind(share)
            .bind(path)
            .bind(behind(path))
            .bind(BATCH as i64)
            .fetch_all(&self.reader)
            .await?;
            if ids.is_empty() {
                break;
            }
            grown += self.apply(Batch { add: Vec::new(), remove: ids }).await?;
        }
        let mut connection = self.lock().await?;
        sqlx::query("DELETE FROM folders WHERE share = ?1 AND path >= ?2 AND path < ?3")
            .bind(share)
            .bind(path)
            .bind(behind(path))
            .execute(&mut *connection)
            .await?;
        Ok(grown)
    }

    /// Forgets all copies of a content, so that they are hashed again. Says by share by how much
    /// the files shrank, and which folders have to be scanned.
    pub(in super::super) async fn forget(
        &self,
        content: &ContentId,
    ) -> Result<Vec<(i64, String, Totals)>, StoreError> {
        let rows = sqlx::query(
            "SELECT f.id, d.share, d.path FROM files f JOIN folders d ON d.id = f.folder
             WHERE f.content = ?1",
        )
        .bind(&content.as_bytes()[..])
        .fetch_all(&self.reader)
        .await?;
        let mut forgotten = Vec::with_capacity(rows.len());
        for row in &rows {
            let batch = Batch { add: Vec::new(), remove: vec![row.try_get(0)?] };
            forgotten.push((row.try_get(1)?, row.try_get(2)?, self.apply(batch).await?));
        }
        Ok(forgotten)
    }

    /// How many files each share has.
    pub(in super::super) async fn totals(&self) -> Result<HashMap<i64, Totals>, StoreError> {
        let rows = sqlx::query(
            "SELECT d.share, count(*), sum(f.size)
             FROM files f JOIN folders d ON d.id = f.folder GROUP BY d.share",
        )
        .fetch_all(&self.reader)
        .await?;
        let totals = |row: &SqliteRow| {
            Ok((row.try_get(0)?, Totals { files: row.try_get(1)?, bytes: row.try_get(2)? }))
        };
        Ok(rows.iter().map(totals).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Removes hash trees that belong to no file, as a killed process may leave them.
    pub(in super::super) async fn sweep_outboards(&self) -> Result<(), StoreError> {
        for shelf in 0..=u8::MAX {
            let mut connection = self.lock().await?;
            let outboards = self.outboards.clone();
            let there = blocking(move || Ok(outboards.on_shelf(shelf))).await?;
            let orphans: Vec<Vec<u8>> = sqlx::query_scalar(
                "SELECT unhex(j.value) FROM json_each(?1) j
                 WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.content = unhex(j.value))",
            )
            .bind(json_contents(&there))
            .fetch_all(&mut *connection)
            .await?;
            let orphans = orphans.iter().map(|it| content_of(it)).collect::<Result<Vec<_>, _>>()?;
            self.remove_outboards(orphans).await;
        }
        Ok(())
    }

    /// To be called while the writing connection is held: otherwise a scan could be adopting a
    /// tree of the same content.
    async fn remove_outboards(&self, orphans: Vec<ContentId>) {
        if orphans.is_empty() {
            return;
        }
        let outboards = self.outboards.clone();
        let removed = blocking(move || {
            orphans.iter().for_each(|content| outboards.remove(content));
            Ok(())
        });
        if let Err(error) = removed.await {
            tracing::warn!(%error, "cannot remove hash trees");
        }
    }
}

/// Rows that stand where these files go.
async fn replaced(
    connection: &mut SqliteConnection,
    files: &[NewFile],
) -> Result<Vec<i64>, StoreError> {
    let keys: Vec<_> =
        files.iter().map(|file| serde_json::json!([file.folder, file.name])).collect();
    Ok(sqlx::query_scalar(
        "SELECT f.id FROM json_each(?1) j
         CROSS JOIN files f ON f.folder = j.value ->> 0 AND f.name = j.value ->> 1",
    )
    .bind(serde_json::Value::from(keys).to_string())
    .fetch_all(connection)
    .await?)
}

async fn insert(connection: &mut SqliteConnection, file: &NewFile) -> Result<(), StoreError> {
    let tags = file.tags.as_deref();
    sqlx::query(
        "INSERT INTO files (folder, name, size, mtime_ns, device, inode, content,
                            artist, title, album, bitrate, duration)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )
    .bind(file.folder)
    .bind(&file.name)
    .bind(file.stat.size.cast_signed())
    .bind(file.stat.mtime_ns)
    .bind(file.stat.device.cast_signed())
    .bind(file.stat.inode.cast_signed())
    .bind(&file.content.as_bytes()[..])
    .bind(tags.and_then(|tags| tags.artist.as_deref()))
    .bind(tags.and_then(|tags| tags.title.as_deref()))
    .bind(tags.and_then(|tags| tags.album.as_deref()))
    .bind(tags.and_then(|tags| tags.bitrate_kbps))
    .bind(tags.and_then(|tags| tags.duration_secs))
    .execute(connection)
    .await?;
    Ok(())
}

fn difference(
    touched: &BTreeSet<ContentId>,
    before: &HashMap<ContentId, FileMeta>,
    mut after: HashMap<ContentId, FileMeta>,
) -> LibraryChange {
    let mut change = LibraryChange::default();
    for content in touched {
        match (before.get(content), after.remove(content)) {
            (Some(_), None) => change.removed.push(*content),
            (old, Some(new)) if old != Some(&new) => change.added.push(new),
            _ => {}
        }
    }
    change
}

async fn adopt(
    folder: OutboardFolder,
    outboards: Vec<(TempOutboard, ContentId)>,
) -> io::Result<()> {
    if outboards.is_empty() {
        return Ok(());
    }
    let adopt = move || {
        let mut outboards = outboards.iter();
        outboards.try_for_each(|(outboard, content)| folder.adopt(outboard.path(), content))
    };
    blocking(adopt).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
