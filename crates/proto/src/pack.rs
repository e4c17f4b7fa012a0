//! Lists of any length as messages within their limits.
//!
//! A list's bound counts elements, a message's limit counts bytes, and elements differ in size: a
//! record with long names is ten times as large as one with short ones. So the senders of
//! [`Hits`], [`SearchDone`] and [`Publish`] do not count elements themselves but let this module cut.

use crate::bounded::BoundedVec;
use crate::codec::encoded_len;
use crate::file::FileMeta;
use crate::id::{ContentId, QueryId, Tag};
use crate::message::{Hits, MAX_PUBLISHED, MessageKind, Publish, SearchDone};
use crate::query::{Coverage, HitGroup, Owner};
use std::collections::VecDeque;

/// The largest encoded length of a list's element count: bincode takes one byte up to 250 and
/// three up to 65,535, which is more than any list of a message may hold.
const COUNT_BYTES: usize = 3;

/// The most bytes of [`Hits`] that groups may take: what the query id and the count leave.
const HITS_ROOM: usize = MessageKind::Hits.limit() - 16 - COUNT_BYTES;

/// The most bytes of [`SearchDone`] that groups may take: what the query id, the coverage (three
/// 32-bit integers of five bytes at most, and a choice), the tags and both counts leave.
const END_ROOM: usize = MessageKind::SearchDone.limit()
    - 16
    - (3 * 5 + 1)
    - size_of::<Tag>() * BoundedVec::<Tag, 2048>::LIMIT
    - 2 * COUNT_BYTES;

/// The most bytes of [`Publish`] that records may take: what the sequence (a 64-bit integer takes
/// nine bytes at most), the reset flag and both counts leave.
const PUBLISH_ROOM: usize = MessageKind::Publish.limit() - 9 - 1 - 2 * COUNT_BYTES;

/// Hits of one query as messages that each fit, in the same order.
///
/// A group that is too large for one message goes on in the next, its owner said again. Groups
/// without files say nothing and are left out.
pub fn hits(id: QueryId, groups: Vec<HitGroup>) -> Vec<Hits> {
    HitsPacker::pack(id, groups, HITS_ROOM)
}

/// The end of a query, with as many of its last hits as fit, and the messages that are to be sent
/// before it since they hold the others.
pub fn end(
    id: QueryId,
    groups: Vec<HitGroup>,
    coverage: Coverage,
    covered: BoundedVec<Tag, 2048>,
) -> (Vec<Hits>, SearchDone) {
    let mut before = HitsPacker::pack(id, groups, END_ROOM);
    let groups = before.pop().map(|last| last.groups).unwrap_or_default();
    (before, SearchDone { id, coverage, covered, groups })
}

struct HitsPacker {
    id: QueryId,
    /// What the groups of one message may take.
    room: usize,
    done: Vec<Hits>,
    groups: Vec<HitGroup>,
    /// What `groups` take when encoded.
    bytes: usize,
}

impl HitsPacker {
    fn pack(id: QueryId, groups: Vec<HitGroup>, room: usize) -> Vec<Hits> {
        let mut packer = Self { id, room, done: Vec::new(), groups: Vec::new(), bytes: 0 };
        for group in groups {
            packer.add(&group.owner, group.files.into_vec());
        }
        packer.flush();
        packer.done
    }

    fn add(&mut self, owner: &Owner, files: Vec<FileMeta>) {
        let head = encoded_len(owner) + COUNT_BYTES;
        let mut begun: Vec<FileMeta> = Vec::new();
        for file in files {
            let length = encoded_len(&file);
            let opening = if begun.is_empty() { head } else { 0 };
            if self.bytes + opening + length > self.room {
                self.close(owner, &mut begun);
                self.flush();
            }
            if begun.is_empty() {
                self.bytes += head;
            }
            self.bytes += length;
            begun.push(file);
        }
        self.close(owner, &mut begun);
        if self.groups.len() == BoundedVec::<HitGroup, 64>::LIMIT {
            self.flush();
        }
    }

    fn close(&mut self, owner: &Owner, files: &mut Vec<FileMeta>) {
        if !files.is_empty() {
            let files = BoundedVec::truncated(std::mem::take(files));
            self.groups.push(HitGroup { owner: owner.clone(), files });
        }
    }

    fn flush(&mut self) {
        if !self.groups.is_empty() {
            let groups = BoundedVec::truncated(std::mem::take(&mut self.groups));
            self.done.push(Hits { id: self.id, groups });
        }
        self.bytes = 0;
    }
}

/// Takes as much off the front of both queues as fits into one message: at least one element, if
/// there is one.
///
/// Additions wait until all removals are taken, since the receiver applies removals first: a
/// content that was taken back and then shared again must not be removed by a later message.
pub fn take_publish(
    remove: &mut VecDeque<ContentId>,
    add: &mut VecDeque<FileMeta>,
    sequence: u64,
    reset: bool,
) -> Publish {
    // All removals that one message may hold take half of it.
    let removed: Vec<ContentId> = remove.drain(..remove.len().min(MAX_PUBLISHED)).collect();
    let mut added = Vec::new();
    if remove.is_empty() {
        let mut bytes: usize = removed.iter().map(encoded_len).sum();
        while let Some(next) = add.front().filter(|_| added.len() < MAX_PUBLISHED) {
            bytes = bytes.saturating_add(encoded_len(next));
            if bytes > PUBLISH_ROOM {
                break;
            }
            added.extend(add.pop_front());
        }
    }
    let (remove, add) = (BoundedVec::truncated(removed), BoundedVec::truncated(added));
    Publish { sequence, reset, remove, add }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::file::FilePath;
    use crate::message::Message;
    use crate::query::StopReason;
    use crate::testing::{any_hit_group, largest_file, largest_owner};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn assert_fits(message: impl Into<Message>) {
        codec::encode(&message.into()).expect("within the limit");
    }

    #[test]
    fn the_largest_groups_are_cut_so_that_each_message_fits() {
        let files: Vec<FileMeta> = (0..64).map(largest_file).collect();
        let group = HitGroup { owner: largest_owner(), files: BoundedVec::truncated(files) };
        let messages = hits(QueryId::from_bytes([1; 16]), vec![group.clone(); 64]);
        for message in &messages {
            assert_fits(message.clone());
        }
        let sent: Vec<FileMeta> =
            messages.into_iter().flat_map(|m| m.groups).flat_map(|g| g.files).collect();
        let meant: Vec<FileMeta> = vec![group.files.into_vec(); 64].concat();
        assert_eq!(sent, meant);
    }

    #[test]
    fn many_small_groups_go_in_messages_of_64() {
        let files = BoundedVec::truncated([FileMeta {
            path: FilePath::new("a").expect("a path"),
            tags: None,
            ..largest_file(0)
        }]);
        let group = HitGroup { owner: largest_owner(), files };
        let empty = HitGroup { owner: largest_owner(), files: BoundedVec::default() };
        let groups = [vec![group; 65], vec![empty]].concat();
        let messages = hits(QueryId::from_bytes([1; 16]), groups);
        let counts: Vec<usize> = messages.iter().map(|m| m.groups.len()).collect();
        assert_eq!(counts, [64, 1]);
    }

    proptest! {
        #[test]
        fn messages_are_filled_to_the_last_byte_and_not_over(
            lengths in vec(vec(1..=FilePath::MAX_BYTES, 1..8), 30..90),
        ) {
            let owner = largest_owner();
            let file = |length: &usize| FileMeta {
                path: FilePath::new("p".repeat(*length)).expect("a path"),
                ..largest_file(0)
            };
            let group = |lengths: &Vec<usize>| HitGroup {
                owner: owner.clone(),
                files: BoundedVec::truncated(lengths.iter().map(file)),
            };
            let messages = hits(QueryId::from_bytes([1; 16]), lengths.iter().map(group).collect());
            let sizes: Vec<usize> =
                messages.into_iter().map(|m| encoded_len(&m)).collect();
            let (_, full) = sizes.split_last().expect("there are hits");
            let largest_addition = encoded_len(&owner) + COUNT_BYTES + encoded_len(&largest_file(0));
            for size in &sizes {
                prop_assert!(*size <= MessageKind::Hits.limit(), "{size}");
            }
            for size in full {
                prop_assert!(size + 64 * COUNT_BYTES + largest_addition > MessageKind::Hits.limit(), "{size}");
            }
        }
    }

    proptest! {
        // Every case signs hundreds of credentials.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_found_is_sent_once_and_in_order(groups in vec(any_hit_group(), 0..200)) {
            let flat = |groups: Vec<HitGroup>| -> Vec<(Owner, FileMeta)> {
                let pairs = |g: HitGroup| g.files.into_iter().map(move |f| (g.owner.clone(), f));
                groups.into_iter().flat_map(pairs).collect()
            };
            let messages = hits(QueryId::from_bytes([1; 16]), groups.clone());
            for message in &messages {
                assert_fits(message.clone());
            }
            let sent = messages.into_iter().flat_map(|m| m.groups).collect();
            prop_assert_eq!(flat(sent), flat(groups));
        }
    }

    #[test]
    fn nothing_found_is_no_message() {
        assert_eq!(hits(QueryId::from_bytes([1; 16]), Vec::new()), []);
    }

    #[test]
    fn an_end_holds_the_last_hits_and_fits_whatever_else_it_says() {
        let coverage = Coverage {
            supernodes_asked: u32::MAX,
            supernodes_known: u32::MAX,
            nodes_covered: u32::MAX,
            stopped: StopReason::NotAttached,
        };
        let covered = BoundedVec::truncated([[0xff; 3]; 2048]);
        let files: Vec<FileMeta> = (0..64).map(largest_file).collect();
        let group = HitGroup { owner: largest_owner(), files: BoundedVec::truncated(files) };
        for count in [0, 1, 7] {
            let groups = vec![group.clone(); count];
            let id = QueryId::from_bytes([1; 16]);
            let (before, done) = end(id, groups.clone(), coverage, covered.clone());
            before.iter().for_each(|hits| assert_fits(hits.clone()));
            assert_fits(done.clone());
            assert_eq!((done.covered.len(), done.groups.is_empty()), (2048, count == 0));
            let sent = before.into_iter().flat_map(|hits| hits.groups).chain(done.groups);
            let sent: Vec<FileMeta> = sent.flat_map(|group| group.files).collect();
            let meant: Vec<FileMeta> = groups.into_iter().flat_map(|group| group.files).collect();
            assert_eq!(sent, meant);
        }
    }

    #[test]
    fn a_long_publication_is_sent_whole_and_removals_come_first() {
        let removed: Vec<ContentId> = (0..1_100).map(|n| largest_file(n).content).collect();
        let added: Vec<FileMeta> = (0..700).map(largest_file).collect();
        let mut remove: VecDeque<_> = removed.iter().copied().collect();
        let mut add: VecDeque<_> = added.iter().cloned().collect();

        let (mut sent_removed, mut sent_added) = (Vec::new(), Vec::new());
        while !(remove.is_empty() && add.is_empty()) {
            let message = take_publish(&mut remove, &mut add, u64::MAX, true);
            assert_fits(message.clone());
            assert!(!message.remove.is_empty() || !message.add.is_empty(), "it goes on");
            assert!(remove.is_empty() || message.add.is_empty(), "removals come first");
            sent_removed.extend(message.remove);
            sent_added.extend(message.add);
        }
        assert_eq!((sent_removed, sent_added), (removed, added));
    }

    #[test]
    fn an_empty_publication_still_resets() {
        let message = take_publish(&mut VecDeque::new(), &mut VecDeque::new(), 1, true);
        assert!(message.reset && message.remove.is_empty() && message.add.is_empty());
    }
}
