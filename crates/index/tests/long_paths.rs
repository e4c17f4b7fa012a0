//! Paths as long as paths may be.
#![allow(clippy::expect_used)]

mod common;

use common::{file, name, node, words};
use proptest::prelude::*;
use proptest::sample::select;
use skein_index::text::record_words;
use skein_index::{Found, Index, Limits};
use skein_proto::{Ask, FileMeta, FilePath, Filter, Query};
use std::collections::BTreeSet;

/// What paths are made of here: words, what stands between them, and characters of several bytes.
const PARTS: [&str; 12] =
    ["song", "Halo ", " ", "-", " - ", ".", "..mp3", "é", "Sóng", "東京", "x1", "/a"];

/// A path of exactly so many bytes, of parts in turn and what fits at the end.
fn path_of(bytes: usize, parts: &[&str], end: &str) -> Option<String> {
    let mut path = String::from("a");
    for part in parts.iter().cycle().take(bytes) {
        if path.len() + part.len() + end.len() > bytes {
            break;
        }
        path.push_str(part);
    }
    let rest = bytes.checked_sub(path.len() + end.len())?;
    path.push_str(&"z".repeat(rest));
    path.push_str(end);
    FilePath::new(path.as_str()).ok().map(|_| path)
}

fn any_path() -> impl Strategy<Value = String> {
    let parts = proptest::collection::vec(select(&PARTS[..]), 1..12);
    let bytes = prop_oneof![505..=FilePath::MAX_BYTES, Just(FilePath::MAX_BYTES)];
    (bytes, parts, select(&PARTS[..]))
        .prop_filter_map("no path", |(bytes, parts, end)| path_of(bytes, &parts, end))
}

fn of_content(file: &FileMeta) -> Query {
    Query { ask: Ask::Content(file.content), filter: Filter::default() }
}

/// Each file of an index is read back as it was published, and there are just the words of all.
fn assert_holds(index: &Index, records: &[(u8, &FileMeta)]) {
    for (owner, file) in records {
        let found = index.search(&of_content(file), 1);
        let expected = Found { owner: node(*owner), file: (*file).clone() };
        assert!(found.contains(&expected), "{expected:?} among {found:?}");
        if let Some(word) = record_words(file).first() {
            let found = index.search(&words(&format!("{} ", word.text)), 1_000);
            assert!(found.contains(&expected), "{expected:?} among {found:?}");
        }
    }
    let all = records.iter().flat_map(|(_, file)| record_words(file)).map(|word| word.text);
    let all: BTreeSet<String> = all.collect();
    assert!(all.iter().all(|word| index.has_word(word)), "some word of {all:?} is gone");
    assert_eq!(index.words(), all.len());
}

proptest! {
    #[test]
    fn the_longest_paths_are_read_back_whole_and_leave_nothing_behind(
        paths in proptest::collection::vec(any_path(), 1..6),
    ) {
        let files: Vec<FileMeta> = (0..).zip(&paths).map(|(i, path)| file(i, path)).collect();
        // Words as others would be that lack their last character, which somebody else has.
        let cut = |(i, path): (u64, &String)| {
            let word = record_words(&file(i, path)).into_iter().next_back()?.text;
            let mut shorter = word.chars();
            shorter.next_back();
            (!shorter.as_str().is_empty()).then(|| file(100 + i, shorter.as_str()))
        };
        let others: Vec<FileMeta> = (0..).zip(&paths).filter_map(cut).collect();
        let mut index = Index::new(Limits::default());
        (1..=3).for_each(|number| index.set_owner(node(number), &name("alice")));
        index.publish(&node(2), others.iter().cloned());
        for file in &files {
            index.publish(&node(1), [file.clone()]);
        }
        // The first one is of two owners, and moves.
        index.publish(&node(3), files.first().cloned());
        let kept = || others.iter().map(|file| (2, file));
        let all: Vec<_> = files.iter().map(|file| (1, file)).chain(kept()).collect();
        assert_holds(&index, &all);
        while !index.maintain(100) {}
        assert_eq!(index.segments(), 1);
        assert_holds(&index, &all);

        prop_assert_eq!(index.withdraw(&node(1), &[files[0].content]), 1);
        prop_assert_eq!(index.remove_owner(&node(1)), files.len() as u64 - 1);
        prop_assert_eq!(index.remove_owner(&node(3)), 1);
        assert_holds(&index, &kept().collect::<Vec<_>>());
        prop_assert_eq!(index.entries(), others.len());
        prop_assert_eq!(index.remove_owner(&node(2)), others.len() as u64);
        while !index.maintain(100) {}
        prop_assert_eq!((index.words(), index.memory_bytes()), (0, 0));
    }
}
