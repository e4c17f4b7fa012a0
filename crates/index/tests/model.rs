//! The index against one that keeps a list and looks through all of it.
#![allow(clippy::expect_used)]

mod common;

use common::{content, file, name, node, words};
use proptest::prelude::*;
use proptest::sample::select;
use skein_index::text::{ParsedQuery, TermMatch, record_words};
use skein_index::{
    Found, Index, Limits, MAX_SOURCES_PER_CONTENT, PublishOutcome, Unneeded, Upkeep,
};
use skein_proto::{
    Ask, BoundedString, ContentId, FileMeta, FilePath, Filter, Kind, MediaTags, NodeId, Query,
    Username,
};
use std::collections::{BTreeMap, BTreeSet};

/// Owners with their names and records, in the plainest form.
struct Model {
    limits: Limits,
    owners: BTreeMap<NodeId, (Username, BTreeMap<ContentId, FileMeta>)>,
}

impl Model {
    fn records(&self) -> u64 {
        self.owners.values().map(|(_, records)| records.len() as u64).sum()
    }

    fn publish(&mut self, owner: &NodeId, add: &[FileMeta]) -> PublishOutcome {
        let mut outcome = PublishOutcome::default();
        for file in add {
            let total = self.records();
            let Some((_, records)) = self.owners.get_mut(owner) else {
                outcome.over_quota += 1;
                continue;
            };
            let mut then = records.clone();
            let is_new = then.insert(file.content, file.clone()).is_none();
            let charge = |file: &FileMeta| {
                let tags = file.tags.as_deref().cloned().unwrap_or_default();
                let tags = [tags.artist, tags.title, tags.album];
                let tags: usize = tags.iter().flatten().map(|tag| tag.len()).sum();
                (64 + file.path.as_str().len() + tags) as u64
            };
            let words: BTreeSet<_> =
                then.values().flat_map(record_words).map(|word| word.text).collect();
            let fits = then.len() as u64 <= self.limits.owner_records
                && then.values().map(charge).sum::<u64>() <= self.limits.owner_bytes
                && words.len() as u64 <= self.limits.owner_words
                && total + u64::from(is_new) <= self.limits.total_records;
            if records.get(&file.content) == Some(file) || (fits && !is_new) {
                outcome.replaced += 1;
            } else if fits {
                outcome.accepted += 1;
            } else {
                outcome.over_quota += 1;
                continue;
            }
            *records = then;
        }
        outcome
    }

    fn search(&self, query: &Query, skip: usize, limit: usize) -> Vec<Found> {
        let Ok(query) = ParsedQuery::parse(query) else { return Vec::new() };
        let all = || {
            self.owners.iter().flat_map(|(owner, (name, records))| {
                records.values().map(move |file| (*owner, name, file))
            })
        };
        let mut matches: Vec<_> = all()
            .filter(|(_, name, file)| query.matches(file, name))
            .map(|(owner, _, file)| {
                let sources = all().filter(|(_, _, other)| *other == file).count();
                ((fit(&query, file), class(file, sources), file.content), owner, file)
            })
            .collect();
        matches.sort_by_key(|(standing, owner, _)| (*standing, *owner));
        let mut contents = Vec::new();
        let mut last = None;
        for (standing, _, file) in &matches {
            if !contents.contains(&file.content) && contents.len() < skip + limit {
                contents.push(file.content);
                last = Some(*standing);
            }
        }
        let of = |content: ContentId| {
            let records = matches.iter().filter(move |(_, _, file)| file.content == content);
            let all = contents.len() < skip + limit;
            let within = move |standing| all || Some(standing) <= last;
            records.filter(move |(standing, _, _)| within(*standing)).take(MAX_SOURCES_PER_CONTENT)
        };
        contents
            .iter()
            .copied()
            .skip(skip)
            .flat_map(of)
            .map(|(_, owner, file)| Found { owner: *owner, file: (*file).clone() })
            .collect()
    }
}

impl Model {
    /// The same is found, but for which of the owners of a content come along that more have than may.
    fn assert_same(&self, found: &[Found], expected: &[Found], query: &Query) {
        let by_content = |found: &'_ [Found]| -> Vec<Vec<Found>> {
            found.chunk_by(|a, b| a.file.content == b.file.content).map(<[_]>::to_vec).collect()
        };
        let (found, expected) = (by_content(found), by_content(expected));
        assert_eq!(found.len(), expected.len(), "{query:?}");
        for (found, expected) in found.iter().zip(&expected) {
            if expected.len() < MAX_SOURCES_PER_CONTENT {
                assert_eq!(found, expected, "{query:?}");
                continue;
            }
            let content = expected[0].file.content;
            let has = |it: &Found| self.owners[&it.owner].1.get(&content) == Some(&it.file);
            assert!(found.iter().all(has), "{query:?}: {found:?}");
            let owners: BTreeSet<_> = found.iter().map(|it| it.owner).collect();
            assert_eq!((found.len(), owners.len()), (expected.len(), found.len()), "{query:?}");
        }
    }
}

/// How good a document is whatever is asked.
fn class(file: &FileMeta, sources: usize) -> usize {
    let chars = file.path.file_name().chars().count().clamp(1, 512);
    let mut octave = 0;
    while chars >> (octave + 1) > 0 {
        octave += 1;
    }
    let doublings = (0..10).filter(|power| sources >> (power + 1) > 0).count();
    let eighth = (chars * 8) / (1 << octave) - 8;
    8 * octave + eighth + 80 - 8 * doublings
}

/// All words whole and in the file name, all words whole, or some only begun.
fn fit(query: &ParsedQuery, file: &FileMeta) -> usize {
    let words = record_words(file);
    let of_term = |term: &skein_index::text::Term| {
        let is_whole = |word: &str| match term.by {
            TermMatch::Character => term.accepts(word),
            _ => word == term.text,
        };
        let whole: Vec<_> = words.iter().filter(|word| is_whole(&word.text)).collect();
        match whole.iter().any(|word| word.in_name) {
            true => 0,
            false if !whole.is_empty() => 1,
            false => 2,
        }
    };
    query.terms().iter().map(of_term).max().unwrap_or(0)
}

#[derive(Clone, Debug)]
enum Step {
    SetOwner(u8, &'static str),
    Publish(u8, Vec<FileMeta>),
    Withdraw(u8, Vec<u64>),
    Clear(u8),
    Remove(u8),
    Search(Query, usize, usize),
    Maintain(usize),
    Tend(Tending),
    /// More owners than come along with one content have this file, and leave again.
    Crowd(Box<FileMeta>),
    Disperse,
}

/// Owners of a crowd.
const CROWD: std::ops::Range<u8> = 100..140;

/// What happens to a merge that is done elsewhere.
#[derive(Clone, Debug)]
enum Tending {
    /// It is taken, if there is one, and gone on with.
    Work(usize),
    GiveBack,
    Lose,
    /// Memory is given back, as when it is calm or when it is not.
    Unneeded(bool),
}

const WORDS: [&str; 9] =
    ["song", "songs", "Sóng halo", "halo", "hal", "東京", "京都タワー", "mp3", "don't"];
/// A path without words, and what is written again and again for the longest ones.
const EXTREMES: [&str; 6] = ["-", "z", "song ", "東京", "halo/", "Sóng-"];
const KINDS: [Kind; 3] = [Kind::Audio, Kind::Document, Kind::Other];
const NAMES: [&str; 3] = ["alice", "bob", "carol"];

fn any_file() -> impl Strategy<Value = FileMeta> {
    let word = || select(&WORDS[..]);
    let tag = || proptest::option::of(word());
    let path = (word(), word(), select(&["mp3", "txt", "MP3"][..]), any::<bool>());
    let tags =
        (tag(), proptest::option::weighted(0.2, word()), proptest::option::weighted(0.2, word()))
            .prop_map(|texts| {
                let [title, artist, album] =
                    <[_; 3]>::from(texts).map(|text| text.map(BoundedString::truncated));
                MediaTags { title, artist, album, ..MediaTags::default() }
            });
    let numbers = (proptest::option::of(100_u32..103), proptest::option::of(200_u32..203));
    let usual = (0_u64..12, path, tags, numbers, select(&KINDS[..])).prop_map(
        |(number, (folder, stem, extension, flat), tags, (bitrate_kbps, duration_secs), kind)| {
            let stem = format!("{stem}.{extension}");
            let path = if flat { stem } else { format!("{folder}/{stem}") };
            let mut file = file(number, &path);
            file.kind = kind;
            let tags = MediaTags { bitrate_kbps, duration_secs, ..tags };
            if tags != MediaTags::default() {
                file.tags = Some(Box::new(tags));
            }
            file
        },
    );
    let extreme = (0_u64..12, select(&EXTREMES[..]), 500_usize..=FilePath::MAX_BYTES).prop_map(
        |(number, text, bytes)| {
            let path = if text == "-" { text.to_owned() } else { text.repeat(bytes) };
            let end = path.floor_char_boundary(bytes);
            file(number, path[..end].trim_end_matches('/'))
        },
    );
    prop_oneof![15 => usual, 1 => extreme]
}

fn any_query() -> impl Strategy<Value = Query> {
    let asked =
        select(&["song", "so", "hal", "halo", "京", "東京", "タワ", "dont", "mp3", "ha*"][..]);
    let more = select(&["\"song halo\"", "\"halo mp3\"", "-halo", "-so*", "-京", "\"東京\""][..]);
    let asked = prop_oneof![6 => asked, 1 => more];
    let text = (proptest::collection::vec(asked, 0..4), select(&["", " "][..]))
        .prop_map(|(asked, end)| words(&(asked.join(" ") + end)).ask);
    let ask =
        prop_oneof![8 => text, 1 => (0_u64..12).prop_map(|number| Ask::Content(content(number)))];
    let filter = (
        proptest::option::weighted(0.2, select(&["mp3", "TXT"][..])),
        proptest::option::weighted(0.1, 1000_u64..1012),
        proptest::option::weighted(0.1, 1000_u64..1012),
        proptest::option::weighted(0.1, 100_u32..103),
        proptest::option::weighted(0.1, 200_u32..203),
        proptest::option::weighted(0.1, 200_u32..203),
        proptest::option::weighted(0.1, select(&KINDS[..])),
        proptest::option::weighted(0.3, select(&NAMES[..])),
    );
    (ask, filter).prop_map(
        |(ask, (extension, min_size, max_size, bitrate, from, to, kind, owner))| {
            let filter = Filter {
                kind,
                extension: extension.map(BoundedString::truncated),
                min_size,
                max_size,
                min_bitrate_kbps: bitrate,
                min_duration_secs: from,
                max_duration_secs: to,
                owner: owner.map(name),
            };
            Query { ask, filter }
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let owner = || 0_u8..5;
    prop_oneof![
        3 => (owner(), select(&NAMES[..])).prop_map(|(owner, name)| Step::SetOwner(owner, name)),
        6 => (owner(), proptest::collection::vec(any_file(), 0..12))
            .prop_map(|(owner, files)| Step::Publish(owner, files)),
        3 => (owner(), proptest::collection::vec(0_u64..12, 0..6))
            .prop_map(|(owner, numbers)| Step::Withdraw(owner, numbers)),
        1 => owner().prop_map(Step::Clear),
        1 => owner().prop_map(Step::Remove),
        8 => (any_query(), 0_usize..3, 0_usize..15)
            .prop_map(|(query, skip, limit)| Step::Search(query, skip, limit)),
        2 => (0_usize..40).prop_map(Step::Maintain),
        4 => prop_oneof![
            4 => (0_usize..20).prop_map(Tending::Work),
            2 => Just(Tending::GiveBack),
            1 => Just(Tending::Lose),
            1 => any::<bool>().prop_map(Tending::Unneeded),
        ]
        .prop_map(Step::Tend),
        1 => any_file().prop_map(|file| Step::Crowd(Box::new(file))),
        1 => Just(Step::Disperse),
    ]
}

/// Merging elsewhere changes nothing that anybody sees.
fn tend(tending: &Tending, index: &mut Index, away: &mut Option<Upkeep>) {
    match tending {
        Tending::Work(documents) => {
            if away.is_none() {
                *away = index.take_upkeep();
            }
            if let Some(upkeep) = away {
                upkeep.run(*documents);
            }
        }
        Tending::GiveBack => {
            if let Some(upkeep) = away.take() {
                index.give_back(upkeep);
            }
        }
        Tending::Lose => {
            if away.take().is_some() {
                index.give_up_upkeep();
            }
        }
        Tending::Unneeded(is_calm) => {
            let before = index.memory_bytes();
            let mut left = index.take_unneeded(*is_calm);
            let taken = left.as_ref().map_or(0, Unneeded::bytes);
            assert_eq!(index.memory_bytes(), before - taken);
            assert!(index.take_unneeded(*is_calm).is_none(), "what is left is still looked at");
            while let Some(unneeded) = left {
                left = unneeded.give_back_some();
            }
        }
    }
}

fn apply(step: Step, index: &mut Index, model: &mut Model, away: &mut Option<Upkeep>) {
    match step {
        Step::Tend(tending) => tend(&tending, index, away),
        Step::Crowd(file) => {
            for owner in CROWD {
                apply(Step::SetOwner(owner, "alice"), index, model, away);
                apply(Step::Publish(owner, vec![(*file).clone()]), index, model, away);
            }
        }
        Step::Disperse => {
            CROWD.for_each(|owner| apply(Step::Remove(owner), index, model, away));
        }
        Step::SetOwner(owner, text) => {
            index.set_owner(node(owner), &name(text));
            let (known, _) =
                model.owners.entry(node(owner)).or_insert_with(|| (name(text), BTreeMap::new()));
            *known = name(text);
        }
        Step::Publish(owner, files) => {
            let expected = model.publish(&node(owner), &files);
            assert_eq!(index.publish(&node(owner), files), expected);
        }
        Step::Withdraw(owner, numbers) => {
            let mut expected = 0;
            if let Some((_, records)) = model.owners.get_mut(&node(owner)) {
                let gone = numbers.iter().filter_map(|number| records.remove(&content(*number)));
                expected = gone.count() as u64;
            }
            let numbers: Vec<_> = numbers.into_iter().map(content).collect();
            assert_eq!(index.withdraw(&node(owner), &numbers), expected);
        }
        Step::Clear(owner) => {
            index.clear_owner(&node(owner));
            if let Some((_, records)) = model.owners.get_mut(&node(owner)) {
                records.clear();
            }
        }
        Step::Remove(owner) => {
            let gone = model.owners.remove(&node(owner));
            let expected = gone.map_or(0, |(_, records)| records.len() as u64);
            assert_eq!(index.remove_owner(&node(owner)), expected);
        }
        Step::Search(query, skip, limit) if index.has_leaving() => {
            assert_found_in_any_order(index, model, &query, skip + limit);
        }
        Step::Search(query, skip, limit) => {
            let expected = model.search(&query, skip, limit);
            if skip == 0 {
                model.assert_same(&index.search(&query, limit), &expected, &query);
            }
            if let Ok(parsed) = ParsedQuery::parse(&query) {
                let found = index.reader().find_page(&parsed, skip, limit);
                model.assert_same(&found, &expected, &query);
            }
        }
        Step::Maintain(documents) => {
            index.maintain(documents);
        }
    }
}

/// While owners are leaving nothing of them is found, but they still have a say in the order.
fn assert_found_in_any_order(index: &Index, model: &Model, query: &Query, limit: usize) {
    let sorted = |mut found: Vec<Found>| {
        found.sort_by_key(|it| (it.file.content, it.owner));
        found
    };
    let all = sorted(model.search(query, 0, usize::MAX));
    model.assert_same(&sorted(index.search(query, usize::MAX)), &all, query);
    let contents =
        |found: &[Found]| found.iter().map(|it| it.file.content).collect::<BTreeSet<_>>().len();
    let some = index.search(query, limit);
    assert_eq!(contents(&some), contents(&all).min(limit), "{query:?}");
    let is_there = |it: &Found| {
        let records = all.iter().filter(|other| other.file.content == it.file.content).count();
        records == MAX_SOURCES_PER_CONTENT || all.contains(it)
    };
    assert!(some.iter().all(is_there), "{query:?}");
}

fn assert_same_size(index: &Index, model: &Model) {
    assert_eq!(index.records(), model.records());
    assert_eq!(index.owners(), model.owners.len());
    assert_eq!(index.has_leaving(), index.leaving_records() > 0);
    let mut entries: Vec<&FileMeta> = Vec::new();
    for (owner, (_, records)) in &model.owners {
        assert_eq!(index.owner_records(owner), records.len() as u64);
        for file in records.values() {
            if !entries.contains(&file) {
                entries.push(file);
            }
        }
    }
    let words: Vec<_> = entries.iter().flat_map(|file| record_words(file)).collect();
    let distinct: BTreeSet<_> = words.iter().map(|word| word.text.as_str()).collect();
    let mut seen = Vec::new();
    index.for_each_word(|word| seen.push(word.to_owned()));
    assert_eq!(index.words(), seen.len());
    assert!(seen.is_sorted_by(|a, b| a < b));
    assert!(seen.iter().all(|word| index.has_word(word)));
    if index.has_leaving() {
        assert!(index.entries() >= entries.len() && index.postings() >= words.len() as u64);
        assert!(distinct.iter().all(|word| index.has_word(word)));
    } else {
        assert_eq!((index.entries(), index.postings()), (entries.len(), words.len() as u64));
        assert!(seen.iter().eq(&distinct));
    }
}

/// How often each hash is there, kept in step with the changes that the index tells of.
fn follow(index: &mut Index, known: &mut BTreeMap<u64, u32>) {
    let changes = index.take_vocabulary_changes();
    assert!(changes.pairs && !changes.incomplete, "there are few pairs");
    for hash in changes.appeared.into_iter().chain(changes.pairs_appeared) {
        *known.entry(hash).or_default() += 1;
    }
    for hash in changes.vanished.into_iter().chain(changes.pairs_vanished) {
        *known.get_mut(&hash).expect("it was there") -= 1;
    }
    known.retain(|_, count| *count > 0);
    let mut hashes = BTreeMap::new();
    index.for_each_key(|hash| *hashes.entry(hash).or_default() += 1);
    assert_eq!(*known, hashes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_history_leaves_what_a_plain_list_would_and_then_nothing(
        steps in proptest::collection::vec(any_step(), 1..60),
        is_tight in any::<bool>(),
        // Records that are forgotten when their owner goes, and along with other changes.
        pieces in prop_oneof![Just((1, 0)), Just((2, 1)), Just((5, 2)), Just((1_000, 100))],
        // From how many documents on contents are counted.
        counted in prop_oneof![Just(1), Just(4), Just(1_000)],
    ) {
        let limits = if is_tight {
            Limits {
                owner_records: 6,
                owner_bytes: 480,
                owner_words: 9,
                total_records: 15,
                ..Limits::default()
            }
        } else {
            Limits::default()
        };
        let mut index = Index::new(limits.clone())
            .leaving_in_pieces_of(pieces.0, pieces.1)
            .counting_contents_from(counted);
        let mut model = Model { limits, owners: BTreeMap::new() };
        let mut vocabulary = BTreeMap::new();
        assert!(index.take_vocabulary_changes().incomplete, "it was never asked before");
        let mut away = None;
        for (number, step) in steps.into_iter().enumerate() {
            apply(step, &mut index, &mut model, &mut away);
            assert_same_size(&index, &model);
            if number % 3 == 2 {
                follow(&mut index, &mut vocabulary);
            }
        }
        for owner in (0..5).chain(CROWD) {
            apply(Step::Remove(owner), &mut index, &mut model, &mut away);
        }
        tend(&Tending::GiveBack, &mut index, &mut away);
        while !index.maintain(3) {
            assert_same_size(&index, &model);
        }
        assert_same_size(&index, &model);
        follow(&mut index, &mut vocabulary);
        prop_assert_eq!(index.memory_bytes(), 0);
    }
}
