//! What a killed download had fetched beyond its record.
//!
//! The record follows the bytes at some distance, since what it says must survive a power cut.
//! After a mere kill most of the rest is there as well: it is checked against the hash tree, and
//! only what does not hold is fetched again.

use super::copy::Progress;
use super::disk::Disk;
use super::finish::missing_bytes;
use super::journal::{Journal, Record};
use super::ranges::{CHUNKS, chunks_of};
use crate::library::outboard;
use bao_tree::io::sync::valid_ranges;
use skein_proto::fetch::GROUP_BYTES;
use skein_swarm::{Run, RunSet, bytes_of, groups_of};
use std::io;

/// How many chunk groups are looked at between two words on how far it is: 16 MiB, which takes
/// some hundredths of a second.
const STEP_GROUPS: u64 = 1024;

impl Record {
    /// How many bytes there are beside those on record that a file may hold: what [`recover`] looks
    /// at. None if nothing has come yet.
    pub(super) fn unconfirmed_bytes(&self) -> u64 {
        match (self.size, &self.part) {
            (Some(size), Some(_)) => missing_bytes(size, &self.runs()),
            _ => 0,
        }
    }
}

/// What is in the files beside the record, with what the record says. It blocks as long as it takes
/// to hash these bytes; where the tree has no hashes yet, nothing is read. Of all that the record
/// does not have, `progress` counts what was looked at.
///
/// # Errors
/// What the file system says; [`io::ErrorKind::Interrupted`] if it was called off.
pub(super) fn recover(
    record: &Record,
    journal: &Journal,
    disk: &dyn Disk,
    progress: &Progress,
) -> io::Result<RunSet> {
    let mut here = record.runs();
    let (Some(size), Some(part)) = (record.size, &record.part) else { return Ok(here) };
    let mut missing = RunSet::full(groups_of(size));
    missing.remove_all(&here);
    let path = journal.outboard(&record.content);
    let hashes =
        outboard::open((size > GROUP_BYTES).then_some(path.as_path()), &record.content, size)?;
    let data = disk.open_to_read(part)?;
    for run in missing.iter() {
        let mut start = run.start;
        while start < run.end {
            progress.check()?;
            let step = Run { start, end: run.end.min(start + STEP_GROUPS) };
            for chunks in valid_ranges(&hashes, &data, &chunks_of([step])) {
                let chunks = chunks?;
                let end = match chunks.end.0 * 1024 >= size {
                    true => groups_of(size),
                    false => chunks.end.0 / CHUNKS,
                };
                let right = Run { start: chunks.start.0.div_ceil(CHUNKS), end };
                for run in missing.within(right) {
                    here.insert(run);
                }
            }
            progress.add(bytes_of(step, size).len());
            start = step.end;
        }
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::disk::LocalDisk;
    use super::super::journal::Stage;
    use super::*;
    use bao_tree::io::outboard::PostOrderMemOutboard;
    use skein_proto::ContentId;
    use std::fs::File;
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

    fn found(record: &Record, journal: &Journal, progress: &Progress) -> Vec<(u64, u64)> {
        let here = recover(record, journal, &LocalDisk, progress).unwrap();
        here.iter().map(|run| (run.start, run.end)).collect()
    }

    #[test]
    fn what_came_after_the_last_record_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        let (record, journal, _) = killed(temp.path());
        let progress = Progress::default();
        assert_eq!(found(&record, &journal, &progress), [(0, 10), (GROUPS - 1, GROUPS)]);
        assert_eq!(progress.bytes(), record.unconfirmed_bytes());
        assert_eq!(record.unconfirmed_bytes(), SIZE - GROUP_BYTES);
    }

    #[test]
    fn what_does_not_hold_is_not_kept() {
        let temp = tempfile::tempdir().unwrap();
        let (record, journal, part) = killed(temp.path());
        File::options()
            .write(true)
            .open(part)
            .unwrap()
            .write_all_at(b"!", 5 * GROUP_BYTES)
            .unwrap();
        let here = found(&record, &journal, &Progress::default());
        assert_eq!(here, [(0, 5), (6, 10), (GROUPS - 1, GROUPS)]);
    }

    #[test]
    fn it_can_be_called_off() {
        let temp = tempfile::tempdir().unwrap();
        let (record, journal, _) = killed(temp.path());
        let progress = Progress::default();
        progress.stop();
        let ended = recover(&record, &journal, &LocalDisk, &progress).unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::Interrupted);
    }
}
