//! Searches on other threads, while owners come and go; and files that very many offer.
#![allow(clippy::expect_used)]

mod common;

use common::{content, contents, file, name, words};
use skein_index::{Index, Limits, MAX_SOURCES_PER_CONTENT, Unneeded};
use skein_proto::{Filter, NodeId};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

fn node(number: u32) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(bytes)
}

#[test]
fn what_stays_is_found_by_all_readers_while_others_come_and_go() {
    let mut index = Index::new(Limits::default());
    index.set_owner(node(0), &name("alice"));
    index.publish(&node(0), (0..50).map(|i| file(i, &format!("stays {i}.mp3"))));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let reader = index.reader();
            let is_over = &is_over;
            scope.spawn(move || {
                let (stays, goes) = (words("stays "), words("goes "));
                let mut rounds = 0;
                while rounds < 20 || !is_over.load(Ordering::Relaxed) {
                    assert_eq!(contents(&reader.search(&stays, 100)).len(), 50);
                    let found = reader.search(&goes, 1_000);
                    assert!(found.iter().all(|it| it.file.path.as_str().starts_with("goes")));
                    rounds += 1;
                }
            });
        }
        for round in 0..60 {
            for owner in 1..5 {
                let first = u64::from(owner) * 1_000;
                index.set_owner(node(owner), &name("bob"));
                let files = (first..first + 100).map(|i| file(i, &format!("goes {i} {round}.mp3")));
                index.publish(&node(owner), files);
            }
            for owner in 1..5 {
                assert_eq!(index.remove_owner(&node(owner)), 100);
            }
            index.maintain(50);
            let unneeded = index.take_unneeded(true);
            scope.spawn(move || {
                let left = unneeded.and_then(Unneeded::give_back_some);
                assert!(left.is_none(), "it is little");
            });
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!((index.records(), index.owners()), (50, 1));
}

#[test]
fn no_owner_is_found_twice_while_others_join_and_leave_it() {
    let mut index = Index::new(Limits::default());
    for owner in 0..8 {
        index.set_owner(node(owner), &name("alice"));
    }
    index.publish(&node(0), [file(1, "shared song.mp3")]);
    let reader = index.reader();
    let (rounds, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let searcher = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let found = reader.search(&words("shared "), 10);
                let mut owners: Vec<NodeId> = found.iter().map(|it| it.owner).collect();
                owners.sort_unstable();
                assert!(owners.is_sorted_by(|a, b| a < b), "{found:?}");
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut changes = 0;
        let is_enough = || rounds.load(Ordering::Relaxed) >= 300 || searcher.is_finished();
        while changes < 300 || !is_enough() {
            for owner in 1..8 {
                index.publish(&node(owner), [file(1, "shared song.mp3")]);
            }
            for owner in 1..8 {
                index.withdraw(&node(owner), &[content(1)]);
            }
            changes += 1;
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(index.records(), 1);
}

#[test]
fn a_search_does_not_wait_for_who_publishes() {
    let mut index = Index::new(Limits::default());
    index.set_owner(node(0), &name("alice"));
    index.publish(&node(0), (0..50).map(|i| file(i, &format!("stays {i}.mp3"))));
    index.set_owner(node(1), &name("bob"));
    let reader = index.reader();
    // While the index takes in files, one at a time, somebody else searches between two of them: with
    // a lock held meanwhile that would be for ever.
    let (asks, asked) = std::sync::mpsc::channel();
    let (tells, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while asked.recv().is_ok() {
                let found = contents(&reader.search(&words("stays "), 100)).len();
                tells.send(found).expect("somebody waits");
            }
        });
        let files = (100..700).map(|i| {
            asks.send(()).expect("somebody searches");
            let found = told.recv_timeout(Duration::from_secs(60)).expect("it does not wait");
            assert_eq!(found, 50);
            file(i, &format!("goes {i}.mp3"))
        });
        index.publish(&node(1), files);
        drop(asks);
    });
    assert_eq!(index.records(), 650);
}

#[test]
fn one_file_of_very_many_owners_is_one_document() {
    const OWNERS: u32 = 5_000;
    let mut index = Index::new(Limits::default());
    for owner in 0..OWNERS {
        index.set_owner(node(owner), &name(if owner % 2 == 0 { "alice" } else { "bob" }));
        index.publish(&node(owner), [file(1, "popular.mp3")]);
    }
    index.publish(&node(7), [file(2, "pop.mp3"), file(3, "popular2.mp3")]);
    assert_eq!((index.records(), index.entries()), (u64::from(OWNERS) + 2, 3));

    let found = index.search(&words("popular"), 10);
    assert_eq!(contents(&found), [content(1), content(3)]);
    assert_eq!(found.len(), MAX_SOURCES_PER_CONTENT + 1);
    let mut of_bob = words("popular ");
    of_bob.filter = Filter { owner: Some(name("bob")), ..Filter::default() };
    let found = index.search(&of_bob, 10);
    assert!(found.iter().all(|it| it.owner.as_bytes()[3] % 2 == 1));
    assert_eq!(found.len(), MAX_SOURCES_PER_CONTENT);

    for owner in 0..OWNERS - 1 {
        assert!(index.remove_owner(&node(owner)) > 0);
    }
    let found = index.search(&words("popular "), 10);
    assert_eq!(found.iter().map(|it| it.owner).collect::<Vec<_>>(), [node(OWNERS - 1)]);
    assert_eq!(index.remove_owner(&node(OWNERS - 1)), 1);
    assert_eq!(index.memory_bytes(), 0);
}
