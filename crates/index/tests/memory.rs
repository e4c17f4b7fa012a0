//! What the index says of its memory, beside what the system says of the process. Alone in its
//! program, for nothing else may come and go meanwhile.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used)]

mod common;

use common::{file, name, node};
use skein_index::{Index, Limits};

const RECORDS: u64 = 200_000;
const OWNERS: u8 = 60;

/// What the allocator keeps of what was freed: drafts, small segments, what merges needed.
const HOLES: u64 = 4 * 1024 * 1024;

/// Bytes that this process has of its own, in memory or swapped out.
fn process() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let bytes = |what: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("it is said");
        let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        kib * 1024
    };
    bytes("RssAnon:") + bytes("VmSwap:")
}

#[test]
fn the_index_takes_the_memory_that_it_says_and_gives_it_back() {
    let mut index = Index::new(Limits::default());
    let before = process();
    // In the middle of it, too: merges are under way all the time.
    let is_true = |index: &Index| {
        let (grown, reckoned) = (process().saturating_sub(before), index.memory_bytes());
        assert!(grown <= reckoned * 115 / 100 + HOLES, "grown by {grown}, reckoned {reckoned}");
        assert!(reckoned <= grown * 115 / 100, "grown by {grown}, reckoned {reckoned}");
        grown
    };
    for owner in 0..OWNERS {
        index.set_owner(node(owner), &name(&format!("owner{owner}")));
        let numbers = (0..RECORDS).filter(|number| number % u64::from(OWNERS) == owner.into());
        // Words of which some are in many names, and one in each is nowhere else.
        let path = |n: u64| format!("{} {} {} w{n}.mp3", n % 7, n % 1_000, n * 7_919 % 30_011);
        index.publish(&node(owner), numbers.map(|number| file(number, &path(number))));
        if owner >= OWNERS / 2 {
            is_true(&index);
        }
    }
    while !index.maintain(8 * 1024) {}

    let grown = is_true(&index);
    // Else what is forgotten of it would be smaller than what the holes allow.
    assert!(2 * grown > 5 * HOLES, "grown by {grown}");

    for owner in 0..OWNERS {
        index.remove_owner(&node(owner));
    }
    while !index.maintain(8 * 1024) {}
    assert_eq!(index.memory_bytes(), 0);
    let left = process().saturating_sub(before);
    assert!(left <= HOLES, "{left} bytes are left of {grown}");
}
