//! A supernode's index: what a record costs in memory, how fast it answers, grows and forgets, and
//! how it does all of it at once. The references are tantivy and SQLite's FTS5 with the same records.

mod fts5;
mod ours;
mod tantivy;

use crate::corpus::{Corpus, packages};
use crate::figure::{Figure, Outcome, Run};
use crate::statistics::{median, quantile};
use crate::usage;
use crate::worker::{Boss, Job, Worker};
use anyhow::Result;
use futures_util::FutureExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use skein_proto::FileMeta;
use std::collections::BTreeMap;

/// Bytes of memory.
pub const MEMORY: Figure = Figure {
    name: "index-memory",
    what: "bytes a record of the index with all that it keeps, beside tantivy and FTS5 in memory",
    bar: "<= 75 bytes a record; reckoned within 15 % of the process's growth",
    measure: |run| memory(run).boxed(),
};

/// Searches.
pub const SEARCH: Figure = Figure {
    name: "index-search",
    what: "the best 100 of two words, ranked and with all fields, against tantivy and FTS5",
    bar: ">= 8 x tantivy; 99 % of searches within 150 µs of CPU",
    measure: |run| search(run).boxed(),
};

/// Building.
pub const BUILD: Figure = Figure {
    name: "index-build",
    what: "records a CPU second, published by 100 owners at a time, against tantivy",
    bar: ">= 3 x tantivy",
    measure: |run| build(run).boxed(),
};

/// Coming and going.
pub const CHANGE: Figure = Figure {
    name: "index-change",
    what: "an owner of 1,000 records goes and comes again, in a full index",
    bar: "each <= 2 ms of CPU",
    measure: |run| change(run).boxed(),
};

/// Searching while owners come and go.
pub const CHURN: Figure = Figure {
    name: "index-churn",
    what: "searches on two threads, while 100 owners a second of 1,000 records go and come again",
    bar: ">= 0.7 x the quiet rate; 99 % within 1 ms",
    measure: |run| churn(run).boxed(),
};

/// The longest pause.
pub const PAUSES: Figure = Figure {
    name: "index-pauses",
    what: "the longest call, while owners of 100,000 records come by messages of 256, and go",
    bar: "<= 5 ms of CPU",
    measure: |run| pauses(run).boxed(),
};

/// Ten million records.
pub const LARGE: Figure = Figure {
    name: "index-large",
    what: "10,000,000 records in the index",
    bar: "<= 1 GB; 99 % of two-word searches within 1 ms of CPU",
    measure: |run| large(run).boxed(),
};

/// One file of very many.
pub const OWNERS: Figure = Figure {
    name: "index-owners",
    what: "one file that 100,000 owners offer, and no other, in the index",
    bar: "publishing and removing an owner <= 2 ms of CPU, a search <= 150 µs",
    measure: |run| many_owners(run).boxed(),
};

/// Words that somebody makes up.
pub const VOCABULARY: Figure = Figure {
    name: "index-vocabulary",
    what: "owners who make up words fill a supernode's index up to its limit of four million",
    bar: "<= 75 bytes a word; 99 % of two-word searches of the others within 1 ms of CPU",
    measure: |run| vocabulary(run).boxed(),
};

/// Real names.
pub const PACKAGES: Figure = Figure {
    name: "index-packages",
    what: "the file lists of the installed Debian packages, each a record of its package",
    bar: ">= 8 x tantivy's searches; less memory than tantivy",
    measure: |run| real_names(run).boxed(),
};

/// As [`CHANGE`], with real names.
pub const PACKAGES_CHANGE: Figure = Figure {
    name: "index-packages-change",
    what: "index-change with the file lists of the installed Debian packages",
    bar: "each <= 2 ms of CPU",
    measure: |_| change_of(Source::Packages, 0).boxed(),
};

/// As [`CHURN`], with real names.
pub const PACKAGES_CHURN: Figure = Figure {
    name: "index-packages-churn",
    what: "index-churn with the file lists of the installed Debian packages",
    bar: ">= 0.7 x the quiet rate; 99 % within 1 ms",
    measure: |_| churn_of(Source::Packages, 0).boxed(),
};

/// As [`PAUSES`], with real names.
pub const PACKAGES_PAUSES: Figure = Figure {
    name: "index-packages-pauses",
    what: "index-pauses with the file lists of the installed Debian packages, by four owners",
    bar: "<= 5 ms of CPU",
    measure: |_| pauses_of(Source::Packages, 0).boxed(),
};

/// Who publishes, each as many as the others.
const PUBLISHERS: u64 = 10_000;

/// Owners whose records come at a time.
const AT_A_TIME: usize = 100;

/// The words, records and searches.
const SEED: u64 = 1;

/// Searches of one measurement.
const SEARCHES: usize = 10_000;

/// Contents that a search wants: what a user's search asks for.
const WANTED: usize = 100;

/// Rounds of building, of which the one in the middle counts.
const BUILDS: usize = 5;

/// How far the index may be wrong about its memory: it refuses records when it believes itself
/// full, so that a machine is as safe as this is true.
const TRUTH: f64 = 0.15;

/// A measurement in a process of its own.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measure {
    engine: Engine,
    source: Source,
    records: u64,
    searches: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Engine {
    Ours,
    Tantivy,
    Fts5,
    /// Ours, with more asked of it.
    Change,
    Churn,
    Pauses,
    ManyOwners,
    Vocabulary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Source {
    Zipf,
    Packages,
}

/// Numbers by their names.
type Measured = BTreeMap<String, f64>;

/// What is put in and asked.
struct Workload {
    /// Batches of owners with their records.
    batches: Box<dyn Iterator<Item = Vec<(u64, Vec<FileMeta>)>>>,
    records: u64,
    searches: Vec<(String, String)>,
    /// Where the records come from that owners bring who come and go.
    source: Source,
}

impl Workload {
    fn new(measure: Measure) -> Result<Self> {
        let mut rng = StdRng::seed_from_u64(SEED + 1);
        Ok(match measure.source {
            Source::Zipf => {
                let corpus = Corpus::new(SEED);
                let searches = (0..measure.searches).map(|_| corpus.pair(&mut rng)).collect();
                let each = (measure.records / PUBLISHERS) as usize;
                // The same corpus: what another one left in the allocator would take in the index.
                let mut files = corpus.into_records();
                let mut owner = 0;
                let batches = std::iter::from_fn(move || {
                    let owners = owner..(owner + AT_A_TIME as u64).min(PUBLISHERS);
                    owner = owners.end;
                    let batch: Vec<_> =
                        owners.map(|owner| (owner, files.by_ref().take(each).collect())).collect();
                    (!batch.is_empty()).then_some(batch)
                });
                let records = each as u64 * PUBLISHERS;
                Self { batches: Box::new(batches), records, searches, source: measure.source }
            }
            Source::Packages => {
                let lists = packages(SEED)?;
                let searches = crate::corpus::pairs_of(&lists, measure.searches, &mut rng);
                let records = lists.iter().map(|(_, files)| files.len() as u64).sum();
                // The lists stay, for what is freed meanwhile would be missing in the growth.
                let batches = (0..lists.len().div_ceil(AT_A_TIME)).map(move |at| {
                    lists.chunks(AT_A_TIME).nth(at).map(<[_]>::to_vec).unwrap_or_default()
                });
                Self { batches: Box::new(batches), records, searches, source: measure.source }
            }
        })
    }

    /// Records of the same kind without an end; another seed gives them other contents.
    fn more(&self, seed: u64) -> Result<Box<dyn Iterator<Item = FileMeta>>> {
        Ok(match self.source {
            Source::Zipf => Box::new(Corpus::new(seed).into_records()),
            Source::Packages => {
                // Of each round the names are the same, and the contents others.
                let lists = (seed..).map_while(|seed| packages(seed).ok());
                Box::new(lists.flatten().flat_map(|(_, files)| files))
            }
        })
    }
}

/// The worker that measures.
///
/// # Errors
/// Those of the engines.
pub async fn work(measure: Measure, mut boss: Boss) -> Result<()> {
    let workload = Workload::new(measure)?;
    let measured = match measure.engine {
        Engine::Ours => ours::search(workload)?,
        Engine::Change => ours::change(workload)?,
        Engine::Churn => ours::churn(workload)?,
        Engine::Pauses => ours::pauses(workload)?,
        Engine::ManyOwners => ours::many_owners(workload)?,
        Engine::Vocabulary => ours::vocabulary(workload)?,
        Engine::Tantivy => tantivy::search(workload)?,
        Engine::Fts5 => fts5::search(workload).await?,
    };
    boss.say(&measured)?;
    while let Some(()) = boss.next().await? {}
    Ok(())
}

async fn measured(engine: Engine, source: Source, records: u64) -> Result<Measured> {
    // The ranked searches of FTS5 take milliseconds each.
    let searches = if engine == Engine::Fts5 { SEARCHES / 20 } else { SEARCHES };
    let measure = Measure { engine, source, records, searches };
    let (worker, measured) = Worker::start(&Job::Index(measure)).await?;
    worker.end().await?;
    Ok(measured)
}

/// Times searches one by one by the clock of the CPU: the rate and the 99th percentile.
fn time_searches(
    searches: &[(String, String)],
    mut search: impl FnMut(&(String, String)) -> Result<usize>,
) -> Result<Measured> {
    const ROUNDS: usize = 3;
    let mut best = Measured::new();
    for _ in 0..ROUNDS {
        let mut times = Vec::with_capacity(searches.len());
        let mut found = 0;
        for pair in searches {
            let before = usage::cpu();
            found += search(pair)?;
            times.push(usage::cpu().saturating_sub(before).as_secs_f64());
        }
        let rate = times.len() as f64 / times.iter().sum::<f64>();
        // Other work on the machine only ever makes a round slower.
        if best.get("rate").is_none_or(|it| *it < rate) {
            let p99 = quantile(times.iter().copied(), 0.99) * 1e6;
            best = Measured::from([
                ("rate".to_owned(), rate),
                ("p99_us".to_owned(), p99),
                ("found".to_owned(), found as f64),
            ]);
        }
    }
    Ok(best)
}

fn get(measured: &Measured, name: &str) -> f64 {
    measured.get(name).copied().unwrap_or(f64::NAN)
}

async fn memory(run: &Run) -> Result<Outcome> {
    let records = run.size(1_000_000, 100_000);
    let ours = measured(Engine::Ours, Source::Zipf, records).await?;
    let tantivy = measured(Engine::Tantivy, Source::Zipf, records).await?;
    let fts5 = measured(Engine::Fts5, Source::Zipf, records).await?;
    let each = |it: &Measured| get(it, "grown") / records as f64;
    let reckoned = get(&ours, "reckoned") / records as f64;
    let wrong = reckoned / each(&ours) - 1.0;
    let figure = format!(
        "{records} records: {:.1} bytes each, {reckoned:.1} reckoned ({:+.0} %); tantivy {:.1}, FTS5 {:.1}",
        each(&ours),
        wrong * 100.0,
        each(&tantivy),
        each(&fts5)
    );
    let values = vec![
        ("bytes_per_record", each(&ours)),
        ("reckoned_bytes_per_record", reckoned),
        ("tantivy_bytes_per_record", each(&tantivy)),
        ("fts5_bytes_per_record", each(&fts5)),
    ];
    Ok(Outcome { figure, holds: each(&ours) <= 75.0 && wrong.abs() <= TRUTH, values })
}

async fn search(run: &Run) -> Result<Outcome> {
    let records = run.size(1_000_000, 100_000);
    let ours = measured(Engine::Ours, Source::Zipf, records).await?;
    let tantivy = measured(Engine::Tantivy, Source::Zipf, records).await?;
    let fts5 = measured(Engine::Fts5, Source::Zipf, records).await?;
    anyhow::ensure!(get(&ours, "found") == get(&tantivy, "found"), "they do not answer the same");
    let speed = get(&ours, "rate") / get(&tantivy, "rate");
    let figure = format!(
        "{records} records: {:.0} searches a CPU second = {speed:.1} x tantivy ({:.0}), FTS5 {:.0}; \
         99 % within {:.0} µs (tantivy {:.0})",
        get(&ours, "rate"),
        get(&tantivy, "rate"),
        get(&fts5, "rate"),
        get(&ours, "p99_us"),
        get(&tantivy, "p99_us")
    );
    let values = vec![
        ("searches_per_cpu_second", get(&ours, "rate")),
        ("tantivy_searches_per_cpu_second", get(&tantivy, "rate")),
        ("fts5_searches_per_cpu_second", get(&fts5, "rate")),
        ("p99_us", get(&ours, "p99_us")),
        ("tantivy_p99_us", get(&tantivy, "p99_us")),
    ];
    Ok(Outcome { figure, holds: speed >= 8.0 && get(&ours, "p99_us") <= 150.0, values })
}

async fn build(run: &Run) -> Result<Outcome> {
    // By turns, since the speed of a machine changes from one minute to the next: what both have in a
    // round is compared, and of each figure the one in the middle counts.
    let records = run.size(1_000_000, 100_000);
    let mut rounds = Vec::new();
    for _ in 0..run.size(BUILDS, 1) {
        let ours = measured(Engine::Ours, Source::Zipf, records).await?;
        let tantivy = measured(Engine::Tantivy, Source::Zipf, records).await?;
        rounds.push((ours, tantivy));
    }
    let each = |seconds: f64| seconds * 1e6 / records as f64;
    let ours = |name| each(median(rounds.iter().map(|(ours, _)| get(ours, name))));
    let (building, settling) = (ours("building"), ours("settling"));
    let tantivy = each(median(rounds.iter().map(|(_, it)| get(it, "building"))));
    let ratios = rounds.iter().map(|(ours, it)| get(it, "building") / get(ours, "building"));
    let ratio = median(ratios.clone());
    let least = ratios.clone().fold(f64::INFINITY, f64::min);
    let most = ratios.fold(0.0, f64::max);
    let figure = format!(
        "{records} records: {building:.2} µs of CPU each, and {settling:.2} µs to merge all into one; \
         tantivy {tantivy:.2} µs with its merging: {ratio:.1} x ({least:.1} to {most:.1})"
    );
    let values = vec![
        ("build_us_per_record", building),
        ("merge_us_per_record", settling),
        ("tantivy_us_per_record", tantivy),
        ("ratio", ratio),
    ];
    Ok(Outcome { figure, holds: ratio >= 3.0, values })
}

async fn change(run: &Run) -> Result<Outcome> {
    change_of(Source::Zipf, run.size(1_000_000, 100_000)).await
}

async fn change_of(source: Source, records: u64) -> Result<Outcome> {
    let it = measured(Engine::Change, source, records).await?;
    let records = get(&it, "records");
    let (gone, back) = (get(&it, "remove_ms"), get(&it, "publish_ms"));
    let figure = format!(
        "among {records} records: removed in {gone:.2} ms, published again in {back:.2} ms (medians)"
    );
    let values = vec![("remove_ms", gone), ("publish_ms", back)];
    Ok(Outcome { figure, holds: gone <= 2.0 && back <= 2.0, values })
}

async fn churn(run: &Run) -> Result<Outcome> {
    churn_of(Source::Zipf, run.size(1_000_000, 100_000)).await
}

async fn churn_of(source: Source, records: u64) -> Result<Outcome> {
    let it = measured(Engine::Churn, source, records).await?;
    let records = get(&it, "records");
    let ratio = get(&it, "busy_rate") / get(&it, "quiet_rate");
    let figure = format!(
        "among {records} records: {:.0} searches a second = {ratio:.2} x the quiet rate; 99 % within \
         {:.0} µs; {:.0} of 100 owners a second",
        get(&it, "busy_rate"),
        get(&it, "p99_us"),
        get(&it, "owners_a_second")
    );
    let holds =
        ratio >= 0.7 && get(&it, "p99_us") <= 1_000.0 && get(&it, "owners_a_second") >= 99.0;
    let values = vec![("ratio", ratio), ("p99_us", get(&it, "p99_us"))];
    Ok(Outcome { figure, holds, values })
}

async fn large(run: &Run) -> Result<Outcome> {
    let records = run.size(10_000_000, 1_000_000);
    let it = measured(Engine::Ours, Source::Zipf, records).await?;
    let bound = 1e9 * records as f64 / 10_000_000.0;
    let figure = format!(
        "{records} records: {:.0} MB ({:.1} bytes each), {:.0} searches a CPU second, 99 % within {:.0} µs",
        get(&it, "grown") / 1e6,
        get(&it, "grown") / records as f64,
        get(&it, "rate"),
        get(&it, "p99_us")
    );
    let holds = get(&it, "grown") <= bound && get(&it, "p99_us") <= 1_000.0;
    let values = vec![("bytes", get(&it, "grown")), ("p99_us", get(&it, "p99_us"))];
    Ok(Outcome { figure, holds, values })
}

async fn pauses(run: &Run) -> Result<Outcome> {
    pauses_of(Source::Zipf, run.size(1_000_000, 200_000)).await
}

async fn pauses_of(source: Source, records: u64) -> Result<Outcome> {
    let it = measured(Engine::Pauses, source, records).await?;
    let records = get(&it, "records");
    let [publish, remove, forget, share] =
        ["publish_ms", "remove_ms", "forget_ms", "share_ms"].map(|name| get(&it, name));
    let figure = format!(
        "{records} records: the longest call took {publish:.2} ms to publish, {share:.2} ms where \
         others have the same, {remove:.2} ms to remove an owner, {forget:.2} ms to forget a piece of \
         what it had (99.9 % within {:.2})",
        get(&it, "usual_ms")
    );
    let longest = publish.max(remove).max(forget).max(share);
    let values = vec![("longest_ms", longest), ("usual_ms", get(&it, "usual_ms"))];
    Ok(Outcome { figure, holds: longest <= 5.0, values })
}

async fn many_owners(run: &Run) -> Result<Outcome> {
    let owners = run.size(100_000, 10_000);
    let it = measured(Engine::ManyOwners, Source::Zipf, owners).await?;
    let (publish, search) = (get(&it, "publish_ms"), get(&it, "search_us"));
    let remove = get(&it, "remove_ms");
    let figure = format!(
        "{owners} owners of one file: published in {publish:.3} ms, found in {search:.0} µs, removed in \
         {remove:.3} ms (99 % of all)"
    );
    let values = vec![("publish_ms", publish), ("search_us", search), ("remove_ms", remove)];
    Ok(Outcome { figure, holds: publish <= 2.0 && search <= 150.0 && remove <= 2.0, values })
}

async fn vocabulary(run: &Run) -> Result<Outcome> {
    let records = run.size(1_000_000, 100_000);
    let it = measured(Engine::Vocabulary, Source::Zipf, records).await?;
    let each = get(&it, "attack_bytes") / get(&it, "made_up");
    let figure = format!(
        "beside {records} records: {:.0} made-up words in {:.0} records, {each:.0} bytes each; {:.2} µs of \
         CPU each, the longest call {:.1} ms; 99 % of searches within {:.0} µs (before {:.0}); {:.0} \
         records were refused",
        get(&it, "made_up"),
        get(&it, "taken"),
        get(&it, "attack_cpu") * 1e6 / get(&it, "made_up"),
        get(&it, "longest_ms"),
        get(&it, "p99_us"),
        get(&it, "p99_before_us"),
        get(&it, "refused")
    );
    let holds = each <= 75.0 && get(&it, "p99_us") <= 1_000.0;
    let values = vec![("bytes_per_word", each), ("longest_ms", get(&it, "longest_ms"))];
    Ok(Outcome { figure, holds, values })
}

async fn real_names(_: &Run) -> Result<Outcome> {
    let ours = measured(Engine::Ours, Source::Packages, 0).await?;
    let tantivy = measured(Engine::Tantivy, Source::Packages, 0).await?;
    let fts5 = measured(Engine::Fts5, Source::Packages, 0).await?;
    let records = get(&ours, "records");
    let each = |it: &Measured| get(it, "grown") / records;
    let speed = get(&ours, "rate") / get(&tantivy, "rate");
    let figure = format!(
        "{records:.0} records: {:.1} bytes each (tantivy {:.1}, FTS5 {:.1}); {:.0} searches a CPU second = \
         {speed:.1} x tantivy, 99 % within {:.0} µs; built in {:.2} µs a record (tantivy {:.2})",
        each(&ours),
        each(&tantivy),
        each(&fts5),
        get(&ours, "rate"),
        get(&ours, "p99_us"),
        get(&ours, "building") * 1e6 / records,
        get(&tantivy, "building") * 1e6 / records
    );
    let values = vec![
        ("records", records),
        ("bytes_per_record", each(&ours)),
        ("searches_per_cpu_second", get(&ours, "rate")),
    ];
    Ok(Outcome { figure, holds: speed >= 8.0 && each(&ours) < each(&tantivy), values })
}
