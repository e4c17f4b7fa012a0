//! SQLite's FTS5 in memory, set up for just this: words are not kept with their places, and its
//! tables are merged before it is searched. It is asked for the first rows unranked; ranked, it is
//! twenty times as slow.

use super::{Measured, WANTED, Workload, time_searches};
use crate::usage::{self, Stopwatch};
use anyhow::Result;
use skein_proto::FileMeta;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions as _, QueryBuilder, Row as _};
use std::collections::BTreeMap;

/// Rows of one insertion: four values each are far within SQLite's limit of 32,766.
const ROWS: usize = 1_000;

/// Builds and searches.
pub async fn search(workload: Workload) -> Result<Measured> {
    let options = SqliteConnectOptions::new().in_memory(true).journal_mode(SqliteJournalMode::Off);
    let mut database = options.connect().await?;
    let before = usage::memory()?;
    let watch = Stopwatch::start();
    sqlx::query(
        "CREATE VIRTUAL TABLE files USING fts5(path, content UNINDEXED, size UNINDEXED, owner \
         UNINDEXED, detail = none, columnsize = 0)",
    )
    .execute(&mut database)
    .await?;
    let mut batches = workload.batches;
    for batch in &mut batches {
        let rows: Vec<(u64, FileMeta)> = batch
            .into_iter()
            .flat_map(|(owner, files)| files.into_iter().map(move |file| (owner, file)))
            .collect();
        for rows in rows.chunks(ROWS) {
            insert(&mut database, rows).await?;
        }
    }
    sqlx::query("INSERT INTO files(files) VALUES ('optimize')").execute(&mut database).await?;
    let building = watch.spent().cpu;
    let grown = usage::memory()?.saturating_sub(before);
    drop(batches);
    let mut measured: Measured =
        BTreeMap::from([("grown".to_owned(), grown as f64), ("building".to_owned(), building)]);
    sqlx::query("CREATE TEMP TABLE searches(words TEXT)").execute(&mut database).await?;
    for (one, other) in &workload.searches {
        let words = format!("\"{one}\" \"{other}\"");
        let insert = sqlx::query("INSERT INTO searches VALUES (?)").bind(words);
        insert.execute(&mut database).await?;
    }
    // All searches are one statement, so that no thread waits for another in between.
    let all = format!(
        "SELECT sum((SELECT count(path || content || size || owner) FROM (SELECT * FROM files WHERE \
         files MATCH searches.words LIMIT {WANTED}))) FROM searches"
    );
    let watch = Stopwatch::start();
    let row = sqlx::query(sqlx::AssertSqlSafe(all)).fetch_one(&mut database).await?;
    let spent = watch.spent().cpu;
    let found: i64 = row.try_get(0)?;
    measured.extend(time_searches(&[], |_| Ok(0))?);
    measured.insert("rate".to_owned(), workload.searches.len() as f64 / spent);
    measured.insert("found".to_owned(), found as f64);
    Ok(measured)
}

async fn insert(database: &mut SqliteConnection, rows: &[(u64, FileMeta)]) -> Result<()> {
    let mut statement = QueryBuilder::new("INSERT INTO files(path, content, size, owner) ");
    statement.push_values(rows, |mut row, (owner, file)| {
        row.push_bind(file.path.as_str().to_owned())
            .push_bind(file.content.as_bytes().to_vec())
            .push_bind(i64::try_from(file.size).unwrap_or(i64::MAX))
            .push_bind(i64::try_from(*owner).unwrap_or(i64::MAX));
    });
    statement.build().execute(database).await?;
    Ok(())
}
