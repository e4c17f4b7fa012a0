//! Ranges of bytes, runs of chunk groups and ranges of BLAKE3 chunks: the same thing in three
//! units.

use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges};
use skein_proto::BoundedVec;
use skein_proto::fetch::{ByteRange, GROUP_BYTES};
use skein_swarm::{Have, Run, RunSet, bytes_of, groups_of, groups_within};

/// The unit of verification: 2^4 chunks of 1 KiB are one chunk group.
const BLOCK_SIZE: BlockSize = BlockSize::from_chunk_log(4);

/// Chunks in a chunk group.
pub(super) const CHUNKS: u64 = GROUP_BYTES / 1024;

/// The hash tree over a file of `size` bytes.
pub(super) fn tree(size: u64) -> BaoTree {
    BaoTree::new(size, BLOCK_SIZE)
}

/// The chunks of whole chunk groups; both sides of a transfer must name them in the same way.
pub(super) fn chunks_of(groups: impl IntoIterator<Item = Run>) -> ChunkRanges {
    groups.into_iter().fold(ChunkRanges::empty(), |chunks, run| {
        chunks | ChunkRanges::from(ChunkNum(run.start * CHUNKS)..ChunkNum(run.end * CHUNKS))
    })
}

/// A request breaks the rules of [`skein_proto::fetch`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadRanges;

/// The chunk groups that a request asks for.
pub(super) fn requested(ranges: &[ByteRange], size: u64) -> Result<RunSet, BadRanges> {
    let mut groups = RunSet::new();
    let mut behind = None;
    for range in ranges {
        let in_order = behind.is_none_or(|behind| range.start > behind);
        let aligned = range.start.is_multiple_of(GROUP_BYTES)
            && (range.end.is_multiple_of(GROUP_BYTES) || range.end >= size);
        if !in_order || !aligned || range.is_empty() || range.start >= size {
            return Err(BadRanges);
        }
        behind = Some(range.end);
        groups.insert(groups_within(*range, size));
    }
    Ok(groups)
}

/// What a partial source has, as it says it: the longest runs, if there are more than fit.
pub(super) fn announced<const N: usize>(have: &RunSet, size: u64) -> BoundedVec<ByteRange, N> {
    let mut runs: Vec<Run> = have.iter().collect();
    if runs.len() > N {
        runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.len()));
        runs.truncate(N);
        runs.sort_unstable();
    }
    BoundedVec::truncated(runs.into_iter().map(|run| bytes_of(run, size)))
}

/// What a source says that it has; nothing means all of it.
pub(super) fn announced_by_peer(have: &[ByteRange], size: u64) -> Have {
    if have.is_empty() {
        return Have::All;
    }
    let groups: RunSet = have.iter().map(|range| groups_within(*range, size)).collect();
    if groups.len() == groups_of(size) { Have::All } else { Have::Some(groups) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: u64 = GROUP_BYTES;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange { start, end }
    }

    #[test]
    fn whole_groups_in_order_are_a_good_request() {
        let groups = requested(&[range(0, G), range(2 * G, 5 * G)], 4 * G + 1).expect("good");
        assert_eq!(
            groups.iter().collect::<Vec<_>>(),
            [Run { start: 0, end: 1 }, Run { start: 2, end: 5 }]
        );
        assert_eq!(requested(&[range(0, 1)], 1).map(|groups| groups.len()), Ok(1));
        assert_eq!(requested(&[range(0, u64::MAX)], 5 * G).map(|groups| groups.len()), Ok(5));
    }

    #[test]
    fn a_request_that_breaks_a_rule_is_refused() {
        for ranges in [
            vec![range(1, G)],
            vec![range(0, G - 1)],
            vec![range(G, G)],
            vec![range(G, 0)],
            vec![range(0, G), range(G, 2 * G)],
            vec![range(2 * G, 3 * G), range(0, G)],
            vec![range(9 * G, 10 * G)],
            vec![range(0, u64::MAX), range(G, 2 * G)],
        ] {
            assert_eq!(requested(&ranges, 8 * G), Err(BadRanges), "{ranges:?}");
        }
    }

    #[test]
    fn of_too_many_runs_the_longest_are_announced() {
        let have = RunSet::from_iter([
            Run { start: 0, end: 1 },
            Run { start: 2, end: 5 },
            Run { start: 7, end: 9 },
        ]);
        let announced = announced::<2>(&have, 100 * G);
        assert_eq!(&announced[..], [range(2 * G, 5 * G), range(7 * G, 9 * G)]);
        assert_eq!(announced_by_peer(&[], 10), Have::All);
        assert_eq!(announced_by_peer(&[range(0, 8 * G)], 8 * G), Have::All);
    }
}
