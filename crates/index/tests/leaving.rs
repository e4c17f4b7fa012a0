//! Owners who leave with more than is forgotten at once.

mod common;

use common::{file, name, node, words};
use skein_index::{Found, Index, Limits, PublishOutcome};
use skein_proto::FileMeta;

/// An index in which ten records of an owner are forgotten when it goes, and one with each change.
fn index(limits: Limits) -> Index {
    let mut index = Index::new(limits).leaving_in_pieces_of(10, 1);
    for (number, text) in (1..).zip(["alice", "bob", "carol"]) {
        index.set_owner(node(number), &name(text));
    }
    index
}

fn files(range: std::ops::Range<u64>) -> impl Iterator<Item = FileMeta> {
    range.map(|number| file(number, &format!("song word{number}.mp3")))
}

fn outcome(accepted: u64, over_quota: u64) -> PublishOutcome {
    PublishOutcome { accepted, replaced: 0, over_quota }
}

fn owners(found: &[Found]) -> Vec<u8> {
    found.iter().map(|found| found.owner.as_bytes()[0]).collect()
}

#[test]
fn nothing_of_one_who_is_leaving_is_found_and_nothing_hides_behind_it() {
    let mut index = index(Limits::default());
    index.publish(&node(1), files(0..100));
    index.publish(&node(2), files(90..110));
    assert_eq!(index.remove_owner(&node(1)), 100);
    assert!(index.has_leaving());
    assert_eq!((index.records(), index.leaving_records() > 80), (20, true));
    for limit in [1, 20, 1_000] {
        assert_eq!(owners(&index.search(&words("song "), limit)), vec![2; limit.min(20)]);
        assert_eq!(owners(&index.search(&words("so"), limit)), vec![2; limit.min(20)]);
    }
    assert_eq!(index.search(&words("word5 "), 10), []);
    while !index.maintain(7) {}
    assert_eq!((index.leaving_records(), index.entries()), (0, 20));
}

#[test]
fn one_who_has_just_gone_is_forgotten_before_the_rest_of_those_who_went_before() {
    let mut index = index(Limits::default());
    index.publish(&node(1), files(0..500));
    index.publish(&node(2), files(500..508));
    index.remove_owner(&node(1));
    let before = index.leaving_records();
    index.remove_owner(&node(2));
    assert!(!index.has_word("word500") && index.leaving_records() <= before);
}

#[test]
fn one_who_comes_back_is_one_source_of_what_it_publishes_again() {
    let mut index = index(Limits::default());
    // Two sources are worth as much as half the length: the second is the better one.
    let (long, short) = (file(1, "song of many words.mp3"), file(2, "song of some words.mp3"));
    index.publish(&node(1), files(100..200).chain([short.clone()]));
    index.publish(&node(2), [long.clone()]);
    let order = |index: &Index| {
        let found = index.search(&words("words "), 10);
        found.iter().map(|found| found.file.size - 1_000).collect::<Vec<_>>()
    };
    assert_eq!(order(&index), [1, 2], "by their contents");
    index.clear_owner(&node(1));
    assert!(index.has_leaving());
    index.publish(&node(1), [short]);
    assert_eq!(order(&index), [1, 2], "it has one source, and so has the other");
    assert_eq!(index.owner_records(&node(1)), 1);
    index.publish(&node(3), [long]);
    assert_eq!(order(&index), [1, 1, 2]);
}

#[test]
fn nobody_is_refused_for_records_that_are_leaving() {
    let mut index = index(Limits { total_records: 100, ..Limits::default() });
    assert_eq!(index.publish(&node(1), files(0..101)), outcome(100, 1));
    index.remove_owner(&node(1));
    assert_eq!(index.publish(&node(2), files(200..260)), outcome(60, 0));
    assert!(index.leaving_records() <= 30, "as many are forgotten as have come");
    assert_eq!(index.publish(&node(3), files(300..350)), outcome(40, 10));
    assert_eq!((index.records(), index.leaving_records()), (100, 0));
}

#[test]
fn words_of_those_who_are_leaving_make_way_for_others() {
    let limits = Limits { total_words: 60, ..Limits::default() };
    let mut index = index(limits.clone());
    assert_eq!(index.publish(&node(1), files(0..60)), outcome(58, 2), "with song and mp3");
    index.remove_owner(&node(1));
    let mut taken = 0;
    for number in 100..110 {
        let outcome = index.publish(&node(2), files(number..number + 1));
        taken += outcome.accepted;
    }
    assert_eq!(taken, 10, "ten make way in each call");
    let mut crowded = Index::new(limits).leaving_in_pieces_of(0, 0);
    crowded.set_owner(node(1), &name("alice"));
    crowded.set_owner(node(2), &name("bob"));
    crowded.publish(&node(1), files(0..60));
    crowded.remove_owner(&node(1));
    assert_eq!(crowded.publish(&node(2), files(100..101)), outcome(0, 1));
}
