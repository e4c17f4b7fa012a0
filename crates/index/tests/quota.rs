//! What one owner can fill, and what all of them can.

mod common;

use common::{content, file, name, node, words};
use skein_index::{Index, Limits, PublishOutcome};

fn index_with(limits: Limits) -> Index {
    let mut index = Index::new(limits);
    index.set_owner(node(1), &name("alice"));
    index.set_owner(node(2), &name("bob"));
    index
}

fn outcome(accepted: u64, replaced: u64, over_quota: u64) -> PublishOutcome {
    PublishOutcome { accepted, replaced, over_quota }
}

#[test]
fn an_unknown_owner_publishes_nothing() {
    let mut index = Index::new(Limits::default());
    assert_eq!(index.publish(&node(1), [file(1, "a.mp3")]), outcome(0, 0, 1));
    assert_eq!(index.withdraw(&node(1), &[content(1)]), 0);
    assert_eq!(index.remove_owner(&node(1)), 0);
    assert_eq!(index.memory_bytes(), 0);
}

#[test]
fn records_over_the_quota_are_counted_and_one_withdrawn_makes_room() {
    let mut index = index_with(Limits { owner_records: 3, ..Limits::default() });
    let files = |range: std::ops::Range<u64>| range.map(|i| file(i, "a.mp3"));
    assert_eq!(index.publish(&node(1), files(0..5)), outcome(3, 0, 2));
    assert_eq!(index.publish(&node(1), [file(0, "b.mp3")]), outcome(0, 1, 0));
    assert_eq!(index.withdraw(&node(1), &[content(0), content(4)]), 1);
    assert_eq!(index.publish(&node(1), [file(4, "a.mp3")]), outcome(1, 0, 0));
    assert_eq!(index.publish(&node(2), files(0..3)), outcome(3, 0, 0));
    assert_eq!((index.records(), index.owner_records(&node(1))), (6, 3));
}

#[test]
fn bytes_over_the_quota_are_refused_and_the_earlier_record_stays() {
    let mut index = index_with(Limits { owner_bytes: 200, ..Limits::default() });
    assert_eq!(index.publish(&node(1), [file(1, "short.mp3")]), outcome(1, 0, 0));
    let long = file(1, &"long ".repeat(50));
    assert_eq!(index.publish(&node(1), [long]), outcome(0, 0, 1));
    assert_eq!(index.search(&words("short"), 10).len(), 1);
    assert_eq!(index.search(&words("long"), 10).len(), 0);
}

#[test]
fn a_made_up_vocabulary_ends_at_the_quota_of_words() {
    let mut index = index_with(Limits { owner_words: 1_000, ..Limits::default() });
    let noise = (0..10_000).map(|i| file(i, &format!("w{i}.mp3")));
    assert_eq!(index.publish(&node(1), noise), outcome(999, 0, 9_001));
    assert_eq!(index.words(), 1_000);
    let known = (20_000..20_100).map(|i| file(i, "w1.mp3"));
    assert_eq!(index.publish(&node(1), known), outcome(100, 0, 0));
}

#[test]
fn nobody_with_few_words_is_refused_for_making_records_longer_while_they_are_counted() {
    let mut index = index_with(Limits { owner_words: 10_000, ..Limits::default() });
    // From three eighths of the quota on words are counted, those of the last contents first.
    let first = 3_760;
    assert_eq!(index.publish(&node(1), (0..first).map(|i| file(i, "w"))), outcome(first, 0, 0));
    let mut numbers: Vec<u64> = (0..first).collect();
    numbers.sort_by_key(|number| content(*number));
    let words: Vec<String> = (0..64).map(|word| format!("w{word}")).collect();
    let longer = numbers.iter().take(60).map(|number| file(*number, &words.join(" ")));
    assert_eq!(index.publish(&node(1), longer), outcome(0, 60, 0));
    let more = (first..first + 6_000).map(|i| file(i, "w"));
    assert_eq!(index.publish(&node(1), more), outcome(6_000, 0, 0));
    assert_eq!(index.words(), 65);
}

#[test]
fn the_totals_hold_for_all_owners_together() {
    let mut index = index_with(Limits { total_records: 3, ..Limits::default() });
    index.publish(&node(1), [file(1, "a.mp3"), file(2, "b.mp3")]);
    assert_eq!(index.publish(&node(2), (1..5).map(|i| file(i, "c.mp3"))), outcome(1, 0, 3));

    let mut index = index_with(Limits { total_words: 3, ..Limits::default() });
    index.publish(&node(1), [file(1, "a.mp3")]);
    let files = [file(1, "b.mp3"), file(2, "c.mp3"), file(3, "a.mp3")];
    assert_eq!(index.publish(&node(2), files), outcome(2, 0, 1));

    let mut index = index_with(Limits { total_bytes: 100_000, ..Limits::default() });
    let taken = index.publish(&node(1), (0..10_000).map(|i| file(i, &format!("w{i}.mp3"))));
    assert!(taken.accepted > 50 && taken.over_quota > 1_000, "{taken:?}");
    assert!(index.memory_bytes() < 250_000, "{}", index.memory_bytes());
}

#[test]
fn whatever_total_is_reached_first_makes_an_index_full() {
    let limits = [
        Limits { total_records: 500, ..Limits::default() },
        Limits { total_words: 500, ..Limits::default() },
        Limits { total_bytes: 100_000, ..Limits::default() },
    ];
    for limits in limits {
        let mut index = index_with(limits.clone());
        assert!(!index.is_full() && index.filled() < 0.1, "{limits:?}");
        let mut number = 0;
        let refused = loop {
            number += 1;
            let before = index.filled();
            if index.publish(&node(1), [file(number, &format!("w{number}.mp3"))]).over_quota > 0 {
                break before;
            }
        };
        assert!(refused >= 1.0, "{limits:?}: {refused}");
        // Merges go on with a call that refuses, too, and may free some memory.
        assert!(index.is_full() || limits.total_bytes == 100_000, "{limits:?}");
        index.remove_owner(&node(1));
        index.maintain(100_000);
        assert!(!index.is_full(), "{limits:?}");
    }
}

#[test]
fn what_one_call_brings_stays_within_the_limit_of_memory_while_it_is_gathered() {
    const BYTES: u64 = 12 * 1024 * 1024;
    const WORDS: u64 = 40;
    let limits = Limits { owner_words: u64::MAX, total_bytes: BYTES, ..Limits::default() };
    let mut index = index_with(limits);
    let path = |number: u64| {
        let words = number * WORDS..(number + 1) * WORDS;
        words.map(|word| format!("{word:x}")).collect::<Vec<_>>().join(" ")
    };
    let taken = index.publish(&node(1), (0..16_000).map(|number| file(number, &path(number))));
    // Each word that is gathered has 24 bytes beside its text, and two places in a table of four each.
    let least = taken.accepted * WORDS * 32;
    assert!(taken.accepted > 1_000 && least <= BYTES, "{taken:?} took {least} bytes at least");
}

#[test]
fn one_content_twice_in_a_batch_leaves_the_later_record() {
    let mut index = index_with(Limits::default());
    let files = [file(1, "first.mp3"), file(1, "second.mp3"), file(1, "second.mp3")];
    assert_eq!(index.publish(&node(1), files), outcome(1, 2, 0));
    assert!(!index.has_word("first") && index.has_word("second"));
    assert_eq!((index.records(), index.entries()), (1, 1));
}

#[test]
fn what_several_owners_publish_alike_is_stored_once() {
    let mut index = index_with(Limits::default());
    index.publish(&node(1), [file(1, "same.mp3")]);
    index.publish(&node(2), [file(1, "same.mp3")]);
    assert_eq!((index.records(), index.entries()), (2, 1));
    index.publish(&node(2), [file(1, "other.mp3")]);
    assert_eq!((index.records(), index.entries()), (2, 2));
    assert_eq!(index.remove_owner(&node(1)), 1);
    assert_eq!((index.records(), index.entries()), (1, 1));
}
