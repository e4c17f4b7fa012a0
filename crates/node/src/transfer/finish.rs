//! The beginning and the end of a file on disk.

use super::disk::Disk;
use super::journal::{Journal, Record, Stage};
use super::names::{create_part, free_name, rename_new, sync_dir};
use super::partial::Partial;
use super::seen::Seen;
use super::view::human_bytes;
use skein_swarm::{RunSet, bytes_of};
use std::io;
use std::path::{Path, PathBuf};

/// How often the name may be snatched away before the end is put off.
const NAME_TRIES: u32 = 16;

/// Bytes that a file of this size still needs.
pub(super) fn missing_bytes(size: u64, here: &RunSet) -> u64 {
    size - here.iter().map(|run| bytes_of(run, size).len()).sum::<u64>().min(size)
}

/// Says that a folder has no room, if so.
pub(super) fn check_room(disk: &dyn Disk, dir: &Path, needed: u64) -> io::Result<()> {
    let free = disk.free_space(dir)?;
    if free >= needed {
        return Ok(());
    }
    let (needed, free) = (human_bytes(needed), human_bytes(free));
    let why = format!("the disk is full: {needed} are needed, {free} are free");
    Err(io::Error::new(io::ErrorKind::StorageFull, why))
}

/// Makes the files of a download whose length has just been proven, or opens them again. The
/// record knows the length from then on, even if there is no room.
pub(super) fn allocate(
    disk: &dyn Disk,
    journal: &Journal,
    record: &mut Record,
    size: u64,
) -> io::Result<Partial> {
    record.size = Some(size);
    std::fs::create_dir_all(&record.dir)?;
    let here = record.runs();
    check_room(disk, &record.dir, missing_bytes(size, &here))?;
    let path = match &record.part {
        Some(path) => path.clone(),
        None => {
            let path = create_part(&record.dir, &record.name)?;
            record.part = Some(path.clone());
            path
        }
    };
    journal.save(record)?;
    Partial::open(disk, &path, &journal.outboard(&record.content), size, here)
}

/// What became of a download between two runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It goes on with what the record says.
    AsRecorded,
    /// Its bytes are gone.
    Gone,
    /// It had been completed; only the record does not say so yet.
    Complete,
}

/// Looks whether the files of a record are what it says.
pub(super) fn inspect(record: &Record, journal: &Journal) -> Found {
    let has_length = |path: &Option<PathBuf>| {
        let length = path.as_ref().and_then(|path| path.metadata().ok()).map(|meta| meta.len());
        length.is_some() && length == record.size
    };
    if has_length(&record.part) && journal.outboard(&record.content).exists() {
        Found::AsRecorded
    } else if record.stage == Stage::Naming && has_length(&record.target) {
        Found::Complete
    } else {
        Found::Gone
    }
}

/// Gives a complete file its name: one that is free, in one step, after every byte is on disk.
/// When it fails it can be called again: a file that has its name keeps it.
pub(super) fn finish(partial: &Partial, journal: &Journal, record: &mut Record) -> io::Result<()> {
    finish_with(partial, journal, record, sync_dir)
}

/// As [`finish`]; `sync` makes the names in a folder survive a crash.
fn finish_with(
    partial: &Partial,
    journal: &Journal,
    record: &mut Record,
    sync: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let runs = partial.sync()?;
    record.set_runs(&runs);
    if !record.is_named() {
        give_name(partial, journal, record)?;
    }
    sync(&record.dir)?;
    // Only what is on record is over: until then it is tried again.
    let seen = record.target.as_deref().and_then(Seen::of);
    let done = Record { stage: Stage::Done, seen, ..record.clone() };
    journal.save(&done)?;
    *record = done;
    Ok(())
}

fn give_name(partial: &Partial, journal: &Journal, record: &mut Record) -> io::Result<()> {
    // An earlier try may have moved it already.
    let mut part = record.part.clone().unwrap_or_else(|| partial.path.clone());
    for _ in 0..NAME_TRIES {
        let target = free_name(&record.dir, &record.name)?;
        // The name is on record before it is used: after a crash in between, the file is known.
        record.stage = Stage::Naming;
        record.target = Some(target.clone());
        journal.save(record)?;
        match rename_new(&part, &target) {
            Ok(()) => {
                record.part = None;
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                part = move_beside(&part, record)?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "somebody takes every free name"))
}

impl Record {
    /// Whether its complete file has its name already, and only the record does not say so on disk.
    pub fn is_named(&self) -> bool {
        self.stage == Stage::Naming && self.part.is_none()
    }
}

/// Copies a partial file to the folder that it goes to, on another disk.
fn move_beside(part: &Path, record: &mut Record) -> io::Result<PathBuf> {
    let copy = create_part(&record.dir, &record.name)?;
    let copied = std::fs::copy(part, &copy).and_then(|_| std::fs::File::open(&copy)?.sync_all());
    if let Err(error) = copied {
        // It is tried again with a file of its own; without this, each try on a full disk would
        // leave one behind. Should it fail, there is nothing more to be done about it.
        let _ = std::fs::remove_file(&copy);
        return Err(error);
    }
    std::fs::remove_file(part)?;
    record.part = Some(copy.clone());
    Ok(copy)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::disk::LocalDisk;
    use super::*;
    use skein_proto::ContentId;

    fn record(dir: &Path) -> Record {
        Record {
            id: 1,
            content: ContentId::from_bytes([1; 32]),
            name: "a".to_owned(),
            dir: dir.to_owned(),
            stage: Stage::Active,
            size: Some(5),
            part: None,
            target: None,
            verified: Vec::new(),
            sources: Vec::new(),
            copy_of: None,
            copies: Vec::new(),
            private: false,
            seen: None,
            doubted: None,
        }
    }

    #[test]
    fn a_copy_that_fails_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = record(dir.path());
        assert!(move_beside(&dir.path().join("gone"), &mut record).is_err());
        assert_eq!(record.part, None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_has_its_name_keeps_it_when_the_folder_cannot_be_flushed_at_once() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("files");
        let journal = Journal::open(temp.path().join("journal")).unwrap();
        let mut record = record(&dir);
        let partial = allocate(&LocalDisk, &journal, &mut record, 5).unwrap();
        let broken = |_: &Path| Err(io::ErrorKind::Other.into());
        finish_with(&partial, &journal, &mut record, broken).unwrap_err();
        finish_with(&partial, &journal, &mut record, broken).unwrap_err();
        assert_eq!(inspect(&journal.get(&record.content).unwrap(), &journal), Found::Complete);
        finish(&partial, &journal, &mut record).unwrap();
        assert_eq!((&record.stage, &record.target), (&Stage::Done, &Some(dir.join("a"))));
        assert_eq!(journal.get(&record.content).unwrap(), record);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    }
}
