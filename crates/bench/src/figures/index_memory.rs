//! A supernode's index: what a record costs in memory, whether the index reckons its own memory
//! truthfully, and how fast it answers. The reference is SQLite's FTS5 with the same records.

use crate::corpus::{self, Corpus};
use crate::figure::{Figure, Outcome, Run};
use crate::statistics::median;
use crate::usage::{self, Stopwatch};
use crate::worker::{Boss, Job, Worker};
use anyhow::{Context as _, Result};
use futures_util::FutureExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use skein_index::{Index, Limits};
use skein_proto::{Ask, BoundedString, FileMeta, Filter, NodeId, Query, Username};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions as _, QueryBuilder, Row as _};
use std::fmt::Write as _;

/// How far the index may be wrong about its memory: it refuses records when it believes itself
/// full, so that a machine is as safe as this is true.
const TRUTH: f64 = 0.15;

/// The memory of the index.
pub const MEMORY: Figure = Figure {
    name: "index-memory",
    what: "bytes a record of the index, and how true its own reckoning is, beside SQLite FTS5 in \
           memory",
    bar: "reckoned within 15 % of the process's growth",
    measure: |run| measure(run, |wrong, _| wrong.abs() <= TRUTH).boxed(),
};

/// The speed of the index.
pub const SEARCH: Figure = Figure {
    name: "index-search",
    what: "two-word searches a second of the index, against SQLite FTS5 in memory",
    bar: "searches a second >= FTS5's unranked",
    measure: |run| measure(run, |_, speed| speed >= 1.0).boxed(),
};

/// Who publishes, each as many as the others.
const OWNERS: u64 = 10_000;

/// The words, records and searches.
const SEED: u64 = 1;

/// Searches of one measurement.
const SEARCHES: u64 = 300;

/// Rounds in which all of them are made.
const SEARCH_ROUNDS: usize = 5;

/// Contents that a search wants: what a user's search asks for.
const WANTED: usize = 100;

/// Rows of one insertion: four values each are far within SQLite's limit of 32,766.
const ROWS: usize = 1_000;

/// What an index is built with.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Build {
    engine: Engine,
    records: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Engine {
    Skein,
    Fts5,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Built {
    /// How much the process has grown, in bytes.
    grown: u64,
    /// What the index itself says, if it does.
    reckoned: u64,
    /// Seconds of CPU to build it.
    building: f64,
    /// Seconds of CPU for all searches.
    searching: f64,
    /// The same searches without an end: all matches are counted, and none is fetched.
    counting: Option<f64>,
    /// Results of all searches, to see that both engines answer the same.
    found: u64,
}

impl Built {
    fn searches_a_second(&self) -> f64 {
        SEARCHES as f64 / self.searching
    }
}

/// Builds and searches both; `good` judges how wrong the reckoning is, as a share of the truth, and
/// the searches a second, as a multiple of FTS5's.
async fn measure(run: &Run, good: fn(f64, f64) -> bool) -> Result<Outcome> {
    let sizes: &[u64] = run.size(&[100_000, 1_000_000], &[100_000]);
    let mut values = Vec::new();
    let mut figure = String::new();
    let mut holds = true;
    for records in sizes.iter().copied() {
        run.say(format_args!("{records} records of {OWNERS} owners; {SEARCHES} searches"));
        let ours = build_in_process(Build { engine: Engine::Skein, records }).await?;
        let theirs = build_in_process(Build { engine: Engine::Fts5, records }).await?;
        anyhow::ensure!(
            ours.found == theirs.found,
            "the index found {}, FTS5 {}: they do not answer the same",
            ours.found,
            theirs.found
        );
        let each = |bytes: u64| bytes as f64 / records as f64;
        let wrong = ours.reckoned as f64 / ours.grown as f64 - 1.0;
        let speed = ours.searches_a_second() / theirs.searches_a_second();
        let counted = theirs.counting.map_or(0.0, |it| SEARCHES as f64 / it);
        run.say(format_args!(
            "ours: {:.0} bytes a record, {:.0} reckoned ({:+.0} %); {:.1} µs of CPU to publish one; \
             {:.0} searches a second",
            each(ours.grown),
            each(ours.reckoned),
            wrong * 100.0,
            ours.building * 1e6 / records as f64,
            ours.searches_a_second()
        ));
        run.say(format_args!(
            "FTS5: {:.0} bytes a record; {:.1} µs of CPU to insert one; {:.0} searches a second; {:.0} \
             when it counts all matches",
            each(theirs.grown),
            theirs.building * 1e6 / records as f64,
            theirs.searches_a_second(),
            counted
        ));
        holds &= good(wrong, speed);
        let lead = if figure.is_empty() { "" } else { "; " };
        write!(
            figure,
            "{lead}{records} records: {:.0} bytes each (FTS5 {:.0}), reckoned {:+.0} %, {:.0} \
             searches a second = {speed:.2} x FTS5",
            each(ours.grown),
            each(theirs.grown),
            wrong * 100.0,
            ours.searches_a_second()
        )?;
        values = vec![
            ("records", records as f64),
            ("bytes_per_record", each(ours.grown)),
            ("reckoned_bytes_per_record", each(ours.reckoned)),
            ("fts5_bytes_per_record", each(theirs.grown)),
            ("searches_per_cpu_second", ours.searches_a_second()),
            ("fts5_searches_per_cpu_second", theirs.searches_a_second()),
            ("fts5_counts_per_cpu_second", counted),
            ("publish_cpu_us", ours.building * 1e6 / records as f64),
        ];
    }
    Ok(Outcome { figure, holds, values })
}

async fn build_in_process(build: Build) -> Result<Built> {
    let (worker, built) = Worker::start(&Job::Index(build)).await?;
    worker.end().await?;
    Ok(built)
}

/// The worker that builds an index and searches it.
///
/// # Errors
/// SQLite's.
pub async fn build(build: Build, mut boss: Boss) -> Result<()> {
    let corpus = Corpus::new(SEED);
    let searches = searches(&corpus, build.records);
    let built = match build.engine {
        Engine::Skein => skein(&corpus, build.records, &searches)?,
        Engine::Fts5 => fts5(&corpus, build.records, &searches).await?,
    };
    boss.say(&built)?;
    while let Some(()) = boss.next().await? {}
    Ok(())
}

/// Two words of every so many-th record.
fn searches(corpus: &Corpus, records: u64) -> Vec<(String, String)> {
    let mut rng = StdRng::seed_from_u64(SEED + 1);
    let step = usize::try_from(records / SEARCHES).unwrap_or(1).max(1);
    corpus
        .records(records)
        .step_by(step)
        .take(SEARCHES as usize)
        .map(|file| corpus::two_words(&file, &mut rng))
        .collect()
}

fn skein(corpus: &Corpus, records: u64, searches: &[(String, String)]) -> Result<Built> {
    let before = usage::memory()?;
    let building = Stopwatch::start();
    let mut index = Index::new(Limits::default());
    let mut files = corpus.records(records);
    for number in 0..OWNERS {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let owner = NodeId::from_bytes(*blake3::hash(&id).as_bytes());
        index.set_owner(owner, &Username::parse(&format!("owner{number}"))?);
        let share = usize::try_from(records / OWNERS)?;
        let outcome = index.publish(&owner, files.by_ref().take(share));
        anyhow::ensure!(outcome.accepted == share as u64, "the index took {outcome:?}");
    }
    let building = building.spent().cpu;
    let grown = usage::memory()?.saturating_sub(before);
    let queries = searches
        .iter()
        .map(|(one, other)| {
            // A space behind the last word says that it is whole.
            let words = BoundedString::new(format!("{one} {other} "))?;
            Ok(Query { ask: Ask::Words(words), filter: Filter::default() })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut found = 0;
    let mut rounds = Vec::new();
    for _ in 0..SEARCH_ROUNDS {
        let watch = Stopwatch::start();
        found = queries.iter().map(|query| index.search(query, WANTED).len() as u64).sum();
        rounds.push(watch.spent().cpu);
    }
    Ok(Built {
        grown,
        reckoned: index.memory_bytes(),
        building,
        searching: median(rounds),
        counting: None,
        found,
    })
}

/// The reference keeps the same: the path by its words, and beside it what else is known of a file.
/// It is set up for exactly this use: words are not kept with their places (`detail`) or counts
/// (`columnsize`), and its tables are merged before it is searched.
async fn fts5(corpus: &Corpus, records: u64, searches: &[(String, String)]) -> Result<Built> {
    let options = SqliteConnectOptions::new().in_memory(true).journal_mode(SqliteJournalMode::Off);
    let mut database = options.connect().await?;
    let before = usage::memory()?;
    let building = Stopwatch::start();
    sqlx::query(
        "CREATE VIRTUAL TABLE files USING fts5(path, content UNINDEXED, size UNINDEXED, owner \
         UNINDEXED, detail = none, columnsize = 0)",
    )
    .execute(&mut database)
    .await?;
    let mut files = corpus.records(records).enumerate().peekable();
    while files.peek().is_some() {
        insert(&mut database, files.by_ref().take(ROWS), records).await?;
    }
    sqlx::query("INSERT INTO files(files) VALUES ('optimize')").execute(&mut database).await?;
    let building = building.spent().cpu;
    let grown = usage::memory()?.saturating_sub(before);
    sqlx::query("CREATE TEMP TABLE searches(words TEXT)").execute(&mut database).await?;
    for (one, other) in searches {
        let words = format!("{one} {other}");
        let insert = sqlx::query("INSERT INTO searches VALUES (?)").bind(words);
        insert.execute(&mut database).await?;
    }
    // All searches are one statement, so that no thread waits for another in between.
    let rows = format!(
        "SELECT count(path || content || size || owner) FROM (SELECT * FROM files WHERE files MATCH \
         searches.words LIMIT {WANTED})"
    );
    let (searching, found) = sum_over_searches(&mut database, &rows).await?;
    let all = "SELECT count(*) FROM files WHERE files MATCH searches.words";
    let (counting, _) = sum_over_searches(&mut database, all).await?;
    Ok(Built { grown, reckoned: 0, building, searching, counting: Some(counting), found })
}

/// Runs a query that gives one number for each search, and adds them up: the CPU seconds and the
/// sum.
async fn sum_over_searches(database: &mut SqliteConnection, each: &str) -> Result<(f64, u64)> {
    let all = format!("SELECT sum(({each})) FROM searches");
    let (mut rounds, mut sum) = (Vec::new(), 0_i64);
    for _ in 0..SEARCH_ROUNDS {
        let watch = Stopwatch::start();
        let row = sqlx::query(sqlx::AssertSqlSafe(all.clone())).fetch_one(&mut *database).await?;
        rounds.push(watch.spent().cpu);
        sum = row.try_get(0)?;
    }
    Ok((median(rounds), u64::try_from(sum).context("a negative count")?))
}

async fn insert(
    database: &mut SqliteConnection,
    rows: impl Iterator<Item = (usize, FileMeta)>,
    records: u64,
) -> Result<()> {
    let mut statement = QueryBuilder::new("INSERT INTO files(path, content, size, owner) ");
    statement.push_values(rows, |mut row, (number, file)| {
        let owner = number as u64 * OWNERS / records;
        row.push_bind(file.path.as_str().to_owned())
            .push_bind(file.content.as_bytes().to_vec())
            .push_bind(i64::try_from(file.size).unwrap_or(i64::MAX))
            .push_bind(i64::try_from(owner).unwrap_or(i64::MAX));
    });
    statement.build().execute(database).await?;
    Ok(())
}
