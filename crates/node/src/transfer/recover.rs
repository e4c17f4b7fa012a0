//! What a killed download had fetched beyond its record.
//!
//! The record follows the bytes at some distance, since what it says must survive a power cut.
//! After a mere kill most of the rest is there as well: it is checked against the hash tree, and
//! only what does not hold is fetched again.

use super::journal::{Journal, Record};
use super::ranges::{CHUNKS, chunks_of};
use crate::library::outboard;
use bao_tree::io::sync::valid_ranges;
use skein_proto::fetch::GROUP_BYTES;
use skein_swarm::{Run, RunSet, bytes_of, groups_of};
use std::fs::File;
use std::io;

/// Adds to the record what is in the files beside it, and tells how many bytes that is. It blocks
/// as long as it takes to hash these bytes; where the tree has no hashes yet, nothing is read.
///
/// # Errors
/// What the file system says. The record is as good as before.
pub(super) fn recover(record: &mut Record, journal: &Journal) -> io::Result<u64> {
    let (Some(size), Some(part)) = (record.size, &record.part) else { return Ok(0) };
    let mut here = record.runs();
    let mut missing = RunSet::full(groups_of(size));
    missing.remove_all(&here);
    let path = journal.outboard(&record.content);
    let hashes =
        outboard::open((size > GROUP_BYTES).then_some(path.as_path()), &record.content, size)?;
    let data = File::open(part)?;
    let mut gained = 0;
    for chunks in valid_ranges(hashes, data, &chunks_of(missing.iter())) {
        let chunks = chunks?;
        let end = match chunks.end.0 * 1024 >= size {
            true => groups_of(size),
            false => chunks.end.0 / CHUNKS,
        };
        let run = Run { start: chunks.start.0.div_ceil(CHUNKS), end };
        for run in missing.within(run) {
            gained += bytes_of(run, size).len();
            here.insert(run);
        }
    }
    record.set_runs(&here);
    Ok(gained)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::journal::Stage;
    use super::*;
    use bao_tree::io::outboard::PostOrderMemOutboard;
    use skein_proto::ContentId;
    use std::os::unix::fs::FileExt as _;
    use std::path::PathBuf;

    const GROUPS: u64 = 40;
    const SIZE: u64 = (GROUPS - 1) * GROUP_BYTES + 1_000;

    /// A download whose record says that group 0 is there, while groups 0 to 9 and the last are.
    fn killed(dir: &std::path::Path) -> (Record, Journal, PathBuf) {
        let bytes: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
        let whole = PostOrderMemOutboard::create(&bytes, outboard::BLOCK_SIZE);
        let content = ContentId::from_bytes(*whole.root.as_bytes());
        let journal = Journal::open(dir.join("journal")).unwrap();
        std::fs::write(journal.outboard(&content), &whole.data).unwrap();
        let part = dir.join("file.skein-part");
        let file = File::create(&part).unwrap();
        file.set_len(SIZE).unwrap();
        for group in (0..10).chain([GROUPS - 1]) {
            let range = bytes_of(Run { start: group, end: group + 1 }, SIZE);
            let slice = &bytes[range.start as usize..range.end as usize];
            file.write_all_at(slice, range.start).unwrap();
        }
        let record = Record {
            id: 1,
            content,
            name: "file".to_owned(),
            dir: dir.to_owned(),
            stage: Stage::Active,
            size: Some(SIZE),
            part: Some(part.clone()),
            target: None,
            verified: vec![(0, 1)],
            sources: Vec::new(),
            copy_of: None,
            copies: Vec::new(),
            private: false,
            seen: None,
            doubted: None,
        };
        (record, journal, part)
    }

    #[test]
    fn what_came_after_the_last_record_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        let (mut record, journal, _) = killed(temp.path());
        let gained = recover(&mut record, &journal).unwrap();
        assert_eq!(record.verified, [(0, 10), (GROUPS - 1, GROUPS)]);
        assert_eq!(gained, 9 * GROUP_BYTES + 1_000);
    }

    #[test]
    fn what_does_not_hold_is_not_kept() {
        let temp = tempfile::tempdir().unwrap();
        let (mut record, journal, part) = killed(temp.path());
        File::options()
            .write(true)
            .open(part)
            .unwrap()
            .write_all_at(b"!", 5 * GROUP_BYTES)
            .unwrap();
        recover(&mut record, &journal).unwrap();
        assert_eq!(record.verified, [(0, 5), (6, 10), (GROUPS - 1, GROUPS)]);
    }
}
