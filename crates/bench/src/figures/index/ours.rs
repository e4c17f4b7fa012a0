//! Our own index.

use super::{Measured, Source, WANTED, Workload, time_searches};
use crate::statistics::{median, quantile};
use crate::usage::{self, Stopwatch};
use anyhow::Result;
use skein_index::{Index, Limits, Reader};
use skein_proto::message::MAX_PUBLISHED;
use skein_proto::{
    Ask, BoundedString, ContentId, FileMeta, FilePath, Filter, Kind, NodeId, Query, Username, pack,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Records of an owner who comes and goes.
const SHELF: usize = 1_000;

/// Owners that come and go in a second of churn, and how long there is churn.
const COMING: u32 = 100;
const CHURN: Duration = Duration::from_secs(10);

fn node(number: u64) -> NodeId {
    NodeId::from_bytes(*blake3::hash(&number.to_be_bytes()).as_bytes())
}

fn query((one, other): &Words) -> Result<Query> {
    // A space behind the last word says that it is whole.
    let words = BoundedString::new(format!("{one} {other} "))?;
    Ok(Query { ask: Ask::Words(words), filter: Filter::default() })
}

fn unlimited() -> Limits {
    Limits {
        total_records: u64::MAX,
        total_words: u64::MAX,
        total_bytes: u64::MAX,
        ..Limits::default()
    }
}

/// Two words of a search.
type Words = (String, String);

/// Builds an index; what is left over of the records is given back.
fn fill(workload: Workload, limits: Limits) -> Result<(Index, Vec<Words>, Measured)> {
    let mut batches = workload.batches;
    let mut next = batches.next();
    let first = next.clone();
    let before = usage::memory()?;
    let mut index = Index::new(limits);
    // As a supernode does, whose table of words follows the index.
    index.take_vocabulary_changes();
    let mut building = 0.0;
    while let Some(batch) = next.take() {
        let watch = Stopwatch::start();
        let mut named = Vec::with_capacity(batch.len());
        for (owner, files) in batch {
            index.set_owner(node(owner), &Username::parse(&format!("owner{owner}"))?);
            named.push((node(owner), files));
        }
        let outcome = index.publish_all(named);
        drop(index.take_vocabulary_changes());
        building += watch.spent().cpu;
        anyhow::ensure!(outcome.over_quota == 0, "the index took {outcome:?}");
        next = batches.next();
    }
    let watch = Stopwatch::start();
    while !index.maintain(4096) {}
    let settling = watch.spent().cpu;
    // The records that are given to an index are not the index: at both readings of the memory
    // there are as many of them, two batches.
    let records = (first.clone(), first);
    let grown = usage::memory()?.saturating_sub(before);
    drop(records);
    let measured = BTreeMap::from([
        ("records".to_owned(), workload.records as f64),
        ("grown".to_owned(), grown as f64),
        ("reckoned".to_owned(), index.memory_bytes() as f64),
        ("building".to_owned(), building),
        ("settling".to_owned(), settling),
    ]);
    Ok((index, workload.searches, measured))
}

/// Fills and searches.
pub fn search(workload: Workload) -> Result<Measured> {
    let (index, searches, mut measured) = fill(workload, unlimited())?;
    let reader = index.reader();
    measured
        .extend(time_searches(&searches, |pair| Ok(reader.search(&query(pair)?, WANTED).len()))?);
    Ok(measured)
}

/// Owners who come and go, with as many records as each has.
fn shelves(mut files: impl Iterator<Item = FileMeta>, count: u64) -> Vec<(NodeId, Vec<FileMeta>)> {
    let shelf = |number| (node(1_000_000 + number), files.by_ref().take(SHELF).collect());
    (0..count).map(shelf).collect()
}

/// An owner goes, and comes again, many times. After each call what has changed of the vocabulary is
/// taken out, as a supernode does, whose table of words follows the index: that is paid for as well.
pub fn change(workload: Workload) -> Result<Measured> {
    let more = workload.more(super::SEED + 2)?;
    let (mut index, _, mut measured) = fill(workload, unlimited())?;
    let (mut gone, mut back) = (Vec::new(), Vec::new());
    let name = Username::parse("shelf")?;
    let shelves = shelves(more, 30);
    for round in 0..2 {
        for (owner, files) in &shelves {
            let files = files.clone();
            if round > 0 {
                let watch = Stopwatch::start();
                index.remove_owner(owner);
                drop(index.take_vocabulary_changes());
                gone.push(watch.spent().cpu * 1e3);
            }
            let watch = Stopwatch::start();
            index.set_owner(*owner, &name);
            index.publish(owner, files);
            drop(index.take_vocabulary_changes());
            back.push(watch.spent().cpu * 1e3);
        }
    }
    measured.insert("remove_ms".to_owned(), median(gone));
    measured.insert("publish_ms".to_owned(), median(back));
    Ok(measured)
}

/// Searches on two threads: how many a second, and how long each took.
fn search_on_two(reader: &Reader, queries: &[Query], work: impl FnOnce()) -> (f64, Vec<f64>) {
    let is_over = AtomicBool::new(false);
    let started = Instant::now();
    let times: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|half| {
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut times = Vec::new();
                    for query in queries.iter().cycle().skip(half * queries.len() / 2) {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        let before = Instant::now();
                        reader.search(query, WANTED);
                        times.push(before.elapsed().as_secs_f64());
                    }
                    times
                })
            })
            .collect();
        work();
        is_over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|it| it.join().unwrap_or_default()).collect()
    });
    let times = times.concat();
    (times.len() as f64 / started.elapsed().as_secs_f64(), times)
}

/// Searches while owners come and go, and the table of words follows them.
pub fn churn(workload: Workload) -> Result<Measured> {
    let more = workload.more(super::SEED + 2)?;
    let (mut index, searches, mut measured) = fill(workload, unlimited())?;
    let queries = searches.iter().map(query).collect::<Result<Vec<_>>>()?;
    let reader = index.reader();
    let name = Username::parse("shelf")?;
    let shelves = shelves(more, u64::from(COMING));
    for (owner, files) in shelves.clone() {
        index.set_owner(owner, &name);
        index.publish(&owner, files);
        drop(index.take_vocabulary_changes());
    }
    let (quiet, _) = search_on_two(&reader, &queries, || std::thread::sleep(CHURN / 2));
    let mut changes = 0_u32;
    let (busy, times) = search_on_two(&reader, &queries, || {
        let started = Instant::now();
        for (owner, files) in shelves.iter().cycle() {
            let due = Duration::from_secs(1) * changes / COMING;
            if due >= CHURN || started.elapsed() >= CHURN * 2 {
                break;
            }
            std::thread::sleep(due.saturating_sub(started.elapsed()));
            index.remove_owner(owner);
            drop(index.take_vocabulary_changes());
            index.set_owner(*owner, &name);
            index.publish(owner, files.iter().cloned());
            drop(index.take_vocabulary_changes());
            changes += 1;
        }
        let rate = f64::from(changes) / started.elapsed().as_secs_f64();
        measured.insert("owners_a_second".to_owned(), rate);
    });
    measured.insert("quiet_rate".to_owned(), quiet);
    measured.insert("busy_rate".to_owned(), busy);
    measured.insert("p99_us".to_owned(), quantile(times, 0.99) * 1e6);
    Ok(measured)
}

/// The longest of some times.
fn longest(times: &[f64]) -> f64 {
    times.iter().copied().fold(0.0, f64::max)
}

/// How long single calls take: those with which owners of very many records come and go, each of
/// whom has a tenth in common with the one before. All of it is done three times, and of each call the
/// fastest counts: what the machine does meanwhile is counted to whoever runs.
pub fn pauses(workload: Workload) -> Result<Measured> {
    const ROUNDS: usize = 3;
    let (mut times, records) = calls(&workload)?;
    for _ in 1..ROUNDS {
        for (fastest, others) in times.iter_mut().zip(calls(&workload)?.0) {
            anyhow::ensure!(fastest.len() == others.len(), "other calls in another round");
            fastest.iter_mut().zip(others).for_each(|(one, other)| *one = one.min(other));
        }
    }
    let usual = quantile(times.concat(), 0.999);
    let [publish, share, remove, forget] = times.map(|times| longest(&times));
    Ok(BTreeMap::from([
        ("publish_ms".to_owned(), publish),
        ("share_ms".to_owned(), share),
        ("remove_ms".to_owned(), remove),
        ("forget_ms".to_owned(), forget),
        ("usual_ms".to_owned(), usual),
        ("records".to_owned(), records as f64),
    ]))
}

/// The milliseconds of each call: to publish, to publish what another one has, to remove an owner, to
/// forget a piece of what it had; and how many records there were.
fn calls(workload: &Workload) -> Result<([Vec<f64>; 4], u64)> {
    /// Records that a supernode forgets at a time when it has nothing else to do.
    const PIECE: usize = 512;
    // Of the packages there are no more than a hundred thousand or so.
    let each = match workload.source {
        Source::Zipf => 100_000,
        Source::Packages => 25_000,
    };
    let mut files = workload.more(super::SEED)?;
    let mut index = Index::new(unlimited());
    index.take_vocabulary_changes();
    let name = Username::parse("owner")?;
    let owners = workload.records / each as u64;
    let mut times: [Vec<f64>; 4] = Default::default();
    let [publish, share, remove, forget] = &mut times;
    let timed = |times: &mut Vec<f64>, index: &mut Index, call: &mut dyn FnMut(&mut Index)| {
        let watch = Stopwatch::start();
        call(index);
        // As a supernode does with each message, whose table of words follows the index.
        drop(index.take_vocabulary_changes());
        times.push(watch.spent().cpu * 1e3);
    };
    let mut common: Vec<FileMeta> = Vec::new();
    for owner in 0..owners {
        index.set_owner(node(owner), &name);
        for message in common.chunks(MAX_PUBLISHED) {
            let mut message = Some(message.to_vec());
            timed(share, &mut index, &mut |index| {
                index.publish(&node(owner), message.take().unwrap_or_default());
            });
        }
        let mut left = each - common.len();
        common.clear();
        while left > 0 {
            let message: Vec<FileMeta> = files.by_ref().take(MAX_PUBLISHED.min(left)).collect();
            left -= message.len();
            if common.len() < each / 10 {
                common.extend_from_slice(&message);
            }
            let mut message = Some(message);
            timed(publish, &mut index, &mut |index| {
                index.publish(&node(owner), message.take().unwrap_or_default());
            });
        }
    }
    for owner in 0..owners {
        timed(remove, &mut index, &mut |index| {
            index.remove_owner(&node(owner));
        });
        while index.has_leaving() {
            timed(forget, &mut index, &mut |index| {
                index.maintain(PIECE);
            });
        }
    }
    anyhow::ensure!(index.records() == 0, "{} records are left", index.records());
    Ok((times, owners * each as u64))
}

/// Words that nobody has used yet, each of five characters, with beginnings of all kinds.
fn made_up() -> impl Iterator<Item = String> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    const ALL: u32 = 1 << 25;
    (0..ALL).map(|number| {
        // An odd factor leaves no two alike.
        let mixed = number.wrapping_mul(0x9E37_79B1) % ALL;
        let letter = |at: u32| char::from(LETTERS[(mixed >> (5 * at)) as usize % LETTERS.len()]);
        (0..5).map(letter).collect()
    })
}

/// Owners who do nothing but make up words fill an index with the limits of a supernode, in which others
/// are searched.
pub fn vocabulary(workload: Workload) -> Result<Measured> {
    /// Words of a name of 255 bytes.
    const WORDS: usize = 40;
    /// Some more than are needed.
    const OWNERS: u64 = 45;
    let (mut index, searches, mut measured) = fill(workload, Limits::default())?;
    let reader = index.reader();
    let ask = |pair: &Words| Ok(reader.search(&query(pair)?, WANTED).len());
    let before = time_searches(&searches, ask)?;
    let (memory, words) = (usage::memory()?, index.words());
    let name = Username::parse("attacker")?;
    let limits = Limits::default();
    let each = limits.owner_words as usize / WORDS;
    let mut made_up = made_up();
    let mut numbers = 0_u64..;
    let (mut taken, mut refused, mut cpu) = (0, 0, Vec::new());
    for owner in 0..OWNERS {
        let owner = node(2_000_000 + owner);
        index.set_owner(owner, &name);
        let file = |number: u64| {
            let words: Vec<String> = made_up.by_ref().take(WORDS).collect();
            Ok(FileMeta {
                content: ContentId::from_bytes(*node(3_000_000 + number).as_bytes()),
                size: number,
                kind: Kind::Other,
                path: FilePath::new(words.join(" "))?,
                tags: None,
            })
        };
        let mut files = numbers.by_ref().take(each).map(file).collect::<Result<VecDeque<_>>>()?;
        while !files.is_empty() {
            // As much as fits into a message.
            let message = pack::take_publish(&mut VecDeque::new(), &mut files, 0, false);
            let watch = Stopwatch::start();
            let outcome = index.publish(&owner, message.add);
            drop(index.take_vocabulary_changes());
            cpu.push(watch.spent().cpu);
            taken += outcome.accepted;
            refused += outcome.over_quota;
        }
    }
    while !index.maintain(4096) {}
    let grown = usage::memory()?.saturating_sub(memory);
    let after = time_searches(&searches, ask)?;
    measured.extend([
        ("made_up".to_owned(), (index.words() - words) as f64),
        ("taken".to_owned(), taken as f64),
        ("refused".to_owned(), refused as f64),
        ("attack_bytes".to_owned(), grown as f64),
        ("attack_cpu".to_owned(), cpu.iter().sum()),
        ("longest_ms".to_owned(), longest(&cpu) * 1e3),
        ("p99_us".to_owned(), after.get("p99_us").copied().unwrap_or(f64::NAN)),
        ("p99_before_us".to_owned(), before.get("p99_us").copied().unwrap_or(f64::NAN)),
    ]);
    Ok(measured)
}

/// One file of as many owners as the workload has records, and nothing else in the index; the table of
/// words follows it.
pub fn many_owners(workload: Workload) -> Result<Measured> {
    let mut files = crate::corpus::Corpus::new(super::SEED).into_records();
    let Some(popular) = files.next() else { anyhow::bail!("there are no files") };
    let name = popular.path.as_str().split(' ').next().unwrap_or_default().to_owned();
    let query = query(&(name.clone(), name))?;
    let mut index = Index::new(unlimited());
    index.take_vocabulary_changes();
    let (mut publish, mut search, mut remove) = (Vec::new(), Vec::new(), Vec::new());
    let owner_name = Username::parse("owner")?;
    for owner in 0..workload.records {
        let watch = Stopwatch::start();
        index.set_owner(node(owner), &owner_name);
        index.publish(&node(owner), [popular.clone()]);
        drop(index.take_vocabulary_changes());
        publish.push(watch.spent().cpu * 1e3);
    }
    for _ in 0..super::SEARCHES {
        let watch = Stopwatch::start();
        anyhow::ensure!(!index.search(&query, WANTED).is_empty(), "the file is not found");
        search.push(watch.spent().cpu * 1e6);
    }
    for owner in 0..workload.records {
        let watch = Stopwatch::start();
        index.remove_owner(&node(owner));
        drop(index.take_vocabulary_changes());
        remove.push(watch.spent().cpu * 1e3);
    }
    Ok(BTreeMap::from([
        ("publish_ms".to_owned(), quantile(publish, 0.99)),
        ("search_us".to_owned(), quantile(search, 0.99)),
        ("remove_ms".to_owned(), quantile(remove, 0.99)),
    ]))
}
