//! What is published, and where it is.

use super::super::walk::Stat;
use super::{Store, StoreError, content_of};
use skein_proto::file::PathError;
use skein_proto::{BoundedString, ContentId, FileMeta, FilePath, Kind, MediaTags};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use std::collections::HashMap;
use std::path::PathBuf;

/// One copy of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Place {
    /// The share that it is in.
    pub(in super::super) share: i64,
    /// Its folder, relative to the share.
    pub(in super::super) folder: String,
    /// Where it is.
    pub(in super::super) path: PathBuf,
    /// What it was when it was hashed.
    pub(in super::super) stat: Stat,
}

/// How many copies of a content are looked at before it counts as not found.
const MAX_PLACES: i64 = 16;

impl Store {
    /// The published contents that follow `after`, in their order, each once: of several copies
    /// the one with the first path.
    pub(in super::super) async fn files_after(
        &self,
        after: Option<&ContentId>,
        limit: usize,
    ) -> Result<Vec<FileMeta>, StoreError> {
        // With exactly one min() the other columns come from the row that has the minimum
        // (SQLite, "bare columns in an aggregate query"); CROSS JOIN keeps the order of the
        // tables, so that a page costs what is on it.
        let rows = sqlx::query(
            "SELECT f.content, min(s.name || '/' || d.path || f.name), f.size,
                    f.artist, f.title, f.album, f.bitrate, f.duration
             FROM files f INDEXED BY files_by_content
             CROSS JOIN folders d ON d.id = f.folder
             CROSS JOIN shares s ON s.id = d.share
             WHERE f.content > ?1 AND s.online
             GROUP BY f.content ORDER BY f.content LIMIT ?2",
        )
        .bind(after.map_or(&[][..], |content| content.as_bytes()))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.reader)
        .await?;
        Ok(rows.iter().map(meta).collect::<Result<_, _>>()?)
    }

    /// The published copies of a content, the first path first.
    pub(in super::super) async fn places(
        &self,
        content: &ContentId,
    ) -> Result<Vec<Place>, StoreError> {
        let rows = sqlx::query(
            "SELECT d.share, d.path, s.path || '/' || d.path || f.name,
                    f.size, f.mtime_ns, f.device, f.inode
             FROM files f CROSS JOIN folders d ON d.id = f.folder
             CROSS JOIN shares s ON s.id = d.share
             WHERE f.content = ?1 AND s.online
             ORDER BY s.name || '/' || d.path || f.name LIMIT ?2",
        )
        .bind(&content.as_bytes()[..])
        .bind(MAX_PLACES)
        .fetch_all(&self.reader)
        .await?;
        let place = |row: &SqliteRow| {
            Ok(Place {
                share: row.try_get(0)?,
                folder: row.try_get(1)?,
                path: PathBuf::from(row.try_get::<String, _>(2)?),
                stat: stat(row, 3)?,
            })
        };
        Ok(rows.iter().map(place).collect::<Result<_, sqlx::Error>>()?)
    }
}

/// How these contents (a JSON list of hexadecimal digits) are published now; what is not
/// published is left out.
pub(super) async fn published(
    connection: &mut SqliteConnection,
    contents: &str,
) -> Result<HashMap<ContentId, FileMeta>, StoreError> {
    let rows = sqlx::query(
        "SELECT f.content, min(s.name || '/' || d.path || f.name), f.size,
                f.artist, f.title, f.album, f.bitrate, f.duration
         FROM json_each(?1) j CROSS JOIN files f ON f.content = unhex(j.value)
         CROSS JOIN folders d ON d.id = f.folder
         CROSS JOIN shares s ON s.id = d.share
         WHERE s.online GROUP BY f.content",
    )
    .bind(contents)
    .fetch_all(connection)
    .await?;
    let metas = rows.iter().map(|row| meta(row).map(|meta| (meta.content, meta)));
    Ok(metas.collect::<Result<_, _>>()?)
}

/// The four columns of a [`Stat`], from column `at`.
pub(super) fn stat(row: &SqliteRow, at: usize) -> Result<Stat, sqlx::Error> {
    Ok(Stat {
        size: row.try_get::<i64, _>(at)?.cast_unsigned(),
        mtime_ns: row.try_get(at + 1)?,
        device: row.try_get::<i64, _>(at + 2)?.cast_unsigned(),
        inode: row.try_get::<i64, _>(at + 3)?.cast_unsigned(),
    })
}

/// The five columns of [`MediaTags`], from column `at`.
pub(super) fn tags(row: &SqliteRow, at: usize) -> Result<Option<Box<MediaTags>>, sqlx::Error> {
    let text = |at: usize| {
        let text: Option<String> = row.try_get(at)?;
        Ok::<_, sqlx::Error>(text.as_deref().map(BoundedString::truncated))
    };
    let tags = MediaTags {
        artist: text(at)?,
        title: text(at + 1)?,
        album: text(at + 2)?,
        bitrate_kbps: row.try_get(at + 3)?,
        duration_secs: row.try_get(at + 4)?,
    };
    Ok(if tags == MediaTags::default() { None } else { Some(Box::new(tags)) })
}

fn meta(row: &SqliteRow) -> Result<FileMeta, sqlx::Error> {
    let path = FilePath::new(row.try_get::<String, _>(1)?)
        .map_err(|error: PathError| sqlx::Error::Decode(error.into()))?;
    Ok(FileMeta {
        content: content_of(row.try_get(0)?)?,
        size: row.try_get::<i64, _>(2)?.cast_unsigned(),
        kind: path.extension().map_or(Kind::Other, Kind::from_extension),
        path,
        tags: tags(row, 3)?,
    })
}
