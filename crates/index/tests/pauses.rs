//! However large an index and its owners are, no call does much work.
#![allow(clippy::expect_used)]

mod common;

use common::{file, name, node, words};
use skein_index::{Index, Limits};
use skein_proto::FileMeta;
use skein_proto::message::MAX_PUBLISHED;

/// What comes in one message.
const MESSAGE: u64 = MAX_PUBLISHED as u64;

/// Records of each owner, a tenth of which the next one has too.
const RECORDS: u64 = 20_000;

/// Documents' worth of work that a call may do: what merges go on by besides what the call does itself,
/// and one document of each that is the last of its step. A list of all documents here would be 470 more,
/// the words of an owner 7,500.
const BOUND: u64 = 7 * 256 + 256;

/// Words of an owner: so few that they are counted when it has 7,500 records.
const WORDS: u64 = 100_000;

fn files(owner: u64) -> impl Iterator<Item = FileMeta> {
    let first = owner * RECORDS * 9 / 10;
    (first..first + RECORDS).map(|it| file(it, &format!("of {} word{} {it}.mp3", it % 7, it % 999)))
}

/// Calls, and checks how much work that was.
fn bounded<R>(index: &mut Index, call: impl FnOnce(&mut Index) -> R) -> R {
    bounded_by(BOUND, index, call)
}

fn bounded_by<R>(most: u64, index: &mut Index, call: impl FnOnce(&mut Index) -> R) -> R {
    let before = index.work();
    let answer = call(index);
    let done = index.work() - before;
    assert!(done <= most, "{done} documents' worth of work, of {most} at most");
    answer
}

#[test]
fn no_call_does_much_work_however_much_an_owner_has() {
    let mut index = Index::new(Limits { owner_words: WORDS, ..Limits::default() });
    for owner in 0..3_u8 {
        index.set_owner(node(owner), &name("alice"));
        let mut files = files(owner.into()).peekable();
        while files.peek().is_some() {
            let message: Vec<FileMeta> = files.by_ref().take(MESSAGE as usize).collect();
            bounded(&mut index, |index| index.publish(&node(owner), message));
        }
    }
    assert_eq!(index.records(), 3 * RECORDS);

    // What an owner had is forgotten by and by, and nothing of what it publishes afterwards.
    assert_eq!(bounded(&mut index, |index| index.remove_owner(&node(0))), RECORDS);
    assert!(index.has_leaving());
    assert_eq!((index.owners(), index.owner_records(&node(0))), (2, 0));
    bounded(&mut index, |index| index.clear_owner(&node(1)));
    bounded(&mut index, |index| index.publish(&node(1), files(1).take(MESSAGE as usize)));
    while index.has_leaving() {
        bounded(&mut index, |index| index.maintain(MESSAGE as usize));
    }
    assert_eq!(index.owner_records(&node(1)), MESSAGE);
    assert_eq!(index.records(), RECORDS + MESSAGE);
    let found = index.search(&words("word5 "), 1_000);
    let expected = files(1).take(MESSAGE as usize).chain(files(2));
    assert_eq!(found.len(), expected.filter(|it| it.path.as_str().contains(" word5 ")).count());

    // Without any call but those of others.
    assert_eq!(bounded(&mut index, |index| index.remove_owner(&node(2))), RECORDS);
    while index.has_leaving() {
        let more = file(1, "of another kind");
        bounded(&mut index, |index| index.publish(&node(1), [more]));
    }
    bounded(&mut index, |index| index.remove_owner(&node(1)));
    while !bounded(&mut index, |index| index.maintain(MESSAGE as usize)) {}
    assert_eq!((index.records(), index.entries(), index.memory_bytes()), (0, 0, 0));
}

#[test]
fn new_words_are_work_which_leaves_less_for_merging() {
    const NEW: u64 = 2;
    let mut index = Index::new(Limits::default());
    index.take_vocabulary_changes();
    index.set_owner(node(1), &name("alice"));
    let mut words = 0..;
    for message in 0..60 {
        let path = |_| {
            let new: Vec<String> = words.by_ref().take(NEW as usize).map(made_up).collect();
            new.join(" ")
        };
        let paths: Vec<String> = (0..MESSAGE).map(path).collect();
        let files = (message * MESSAGE..).zip(&paths).map(|(number, path)| file(number, path));
        let before = index.work();
        bounded(&mut index, |index| index.publish(&node(1), files));
        // Each has its hash and those of its six beginnings: 16 of them are worth a document.
        let least = MESSAGE + MESSAGE * NEW * 7 / 16;
        assert!(index.work() - before >= least, "{} of {least}", index.work() - before);
        index.take_vocabulary_changes();
    }
}

#[test]
fn records_without_words_are_not_counted_all_at_once_when_words_come() {
    /// Listing the contents of as many records as there are when words begin to be counted: 37,500.
    const LIST: u64 = WORDS * 3 / 8 / 32;
    // Nearly all that an owner may have, and just as many as are not counted yet.
    for wordless in [98_400, 37_400] {
        let mut index = Index::new(Limits { owner_words: WORDS, ..Limits::default() });
        index.set_owner(node(1), &name("alice"));
        let mut publish = |numbers: std::ops::Range<u64>, path: &str| {
            let mut refused = 0;
            for first in numbers.clone().step_by(MESSAGE as usize) {
                let message = first..(first + MESSAGE).min(numbers.end);
                let files = message.map(|number| file(number, path));
                let publish = |index: &mut Index| index.publish(&node(1), files).over_quota;
                refused += bounded_by(BOUND + LIST, &mut index, publish);
            }
            refused
        };
        assert_eq!(publish(0..wordless, "-"), 0);
        let words: Vec<String> = (0..64).map(|word| format!("w{word}")).collect();
        // Each has 64 words, the same as the others: more uses than different words are allowed.
        let (first, last) = (wordless, wordless + 1_600);
        publish(first..last, &words.join(" "));
        // What was refused before all was counted is taken in afterwards.
        let mut rounds = 0;
        while publish(first..last, &words.join(" ")) > 0 {
            rounds += 1;
            assert!(rounds < 20, "records are still refused");
        }
        assert_eq!((index.records(), index.words()), (last, 64));
    }
}

/// A word of six letters.
fn made_up(number: u64) -> String {
    let letter = |at: u32| char::from(b'a' + (number / 26_u64.pow(at) % 26) as u8);
    (0..6).map(letter).collect()
}
