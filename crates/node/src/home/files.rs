//! Files that are whole or not there: written beside, flushed, then renamed.

use super::HomeError;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What the name of a file begins with while it is being written.
const TEMP_PREFIX: &str = ".new-";

/// Damaged versions of one file that are kept.
const MAX_DAMAGED: u32 = 100;

/// No file of the data folder that [`read_small`] reads is larger: the largest, a cache of 200
/// supernodes with 4 addresses each, has less than 100 KB.
const MAX_SMALL_FILE_BYTES: u64 = 1024 * 1024;

/// How old a half-written file is before it counts as left over by a process that was killed.
/// Writing one takes milliseconds; an hour forgives a suspended process and a changed clock.
const LEFTOVER_AGE: Duration = Duration::from_secs(60 * 60);

/// Makes a folder and those above it; the new ones have mode 0700.
pub(super) fn create_private_dir(dir: &Path) -> Result<(), HomeError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| HomeError::io("create the folder", dir, error))
}

/// Whether this process may make files in a folder.
pub(crate) fn may_write(dir: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Reads a file of at most 1 MiB; `None` if it is not there.
pub(crate) fn read_small(path: &Path) -> Result<Option<Vec<u8>>, HomeError> {
    read_up_to(path, MAX_SMALL_FILE_BYTES)
}

/// Reads a file of at most `limit` bytes; `None` if it is not there.
pub(crate) fn read_up_to(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, HomeError> {
    let failed = |error| HomeError::io("read", path, error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        let why = format!("the file is over {} MiB", limit / (1024 * 1024));
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, why)));
    }
    Ok(Some(bytes))
}

/// Moves a file that cannot be used beside itself, where nothing overwrites it, and tells where.
pub(crate) fn move_aside(path: &Path) -> Result<PathBuf, HomeError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    let free = |number: u32| {
        let mut name = name.clone();
        if number > 1 {
            name.push(format!("-{number}"));
        }
        let free = PathBuf::from(name);
        matches!(free.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
            .then_some(free)
    };
    let beside = (1..=MAX_DAMAGED).find_map(free).ok_or_else(|| {
        let why = io::Error::new(io::ErrorKind::AlreadyExists, "too many damaged ones are there");
        HomeError::io("move aside", path, why)
    })?;
    fs::rename(path, &beside).map_err(|error| HomeError::io("move aside", path, error))?;
    sync_parent(path)?;
    Ok(beside)
}

/// Puts `bytes` in place of the file, with mode 0600. After a crash at any moment the file is
/// either the old one or the new one.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let temp = written_beside(path, bytes).map_err(|e| HomeError::io("write", path, e))?;
    temp.persist(path).map_err(|e| HomeError::io("write", path, e.error))?;
    sync_parent(path)
}

/// Like [`write_atomic`], but leaves a file alone that is there already.
///
/// Answers whether the file is the one written here.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<bool, HomeError> {
    let temp = written_beside(path, bytes).map_err(|e| HomeError::io("write", path, e))?;
    match temp.persist_noclobber(path) {
        Ok(_) => sync_parent(path).map(|()| true),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(HomeError::io("write", path, e.error)),
    }
}

/// Makes a file of mode 0600 for a database of SQLite, which gives the files that it puts beside it
/// the same mode; what is there already is closed to others.
pub(crate) fn make_private_database(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?;
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match close_to_others(Path::new(&file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(true) => tracing::warn!(
                file = %Path::new(&file).display(),
                "other users of this machine could read it; it is private now"
            ),
            _ => {}
        }
    }
    Ok(())
}

/// Makes a file private that others may use: a copied or unpacked folder has often lost its modes.
/// Answers whether that was so.
#[cfg(unix)]
pub(super) fn close_to_others(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let is_open = fs::metadata(path)?.permissions().mode() & 0o077 != 0;
    if is_open {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(is_open)
}

#[cfg(not(unix))]
pub(super) fn close_to_others(_: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Removes a file; one that is not there is as good as removed.
pub(crate) fn remove(path: &Path) -> Result<(), HomeError> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(HomeError::io("remove", path, error)),
    }
}

/// Removes what a killed process had begun to write. Whatever cannot be removed costs some bytes
/// and nothing else.
pub(super) fn remove_leftovers(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX);
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let is_old = modified.is_ok_and(|at| {
            SystemTime::now().duration_since(at).is_ok_and(|age| age > LEFTOVER_AGE)
        });
        if is_ours && is_old {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn written_beside(path: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    // `tempfile` makes files with mode 0600 from the first moment on.
    let mut temp = tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(parent(path))?;
    temp.write_all(bytes)?;
    temp.as_file().sync_all()?;
    Ok(temp)
}

/// A rename is safe only when the folder that names the file is on disk too.
pub(crate) fn sync_parent(path: &Path) -> Result<(), HomeError> {
    let parent = parent(path);
    #[cfg(unix)]
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| HomeError::io("flush the folder", parent, error))?;
    #[cfg(not(unix))]
    let _ = parent;
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reader_sees_the_old_file_or_the_new_one_and_never_a_part() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        let (old, new) = (vec![b'a'; 64 * 1024], vec![b'b'; 64 * 1024]);
        write_atomic(&path, &old).unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                loop {
                    let seen = read_small(&path).unwrap().unwrap();
                    assert!(seen == old || seen == new, "{} bytes", seen.len());
                    if seen == new {
                        break;
                    }
                }
            });
            write_atomic(&path, &new).unwrap();
            reader.join().unwrap();
        });
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "nothing is left beside");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_written_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_atomic(&path, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_first_of_two_new_files_stays() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        assert!(write_new(&path, b"first").unwrap());
        assert!(!write_new(&path, b"second").unwrap());
        assert_eq!(read_small(&path).unwrap().unwrap(), b"first");
    }

    #[test]
    fn a_file_that_is_far_too_large_is_not_read() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        File::create(&path).unwrap().set_len(MAX_SMALL_FILE_BYTES + 1).unwrap();
        assert!(read_small(&path).unwrap_err().to_string().contains("1 MiB"));
    }

    #[test]
    fn only_old_half_written_files_are_cleared_away() {
        let temp = tempfile::tempdir().unwrap();
        let (old, new) = (temp.path().join(".new-old"), temp.path().join(".new-new"));
        let other = temp.path().join("other");
        for path in [&old, &new, &other] {
            fs::write(path, "x").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * LEFTOVER_AGE;
        for path in [&old, &other] {
            File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        }
        remove_leftovers(temp.path());
        assert!(!old.exists() && new.exists() && other.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_database_is_for_its_owner_alone_also_one_that_was_not() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
        for name in ["old.db", "old.db-wal"] {
            fs::write(path(name), "x").unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        make_private_database(&path("old.db")).unwrap();
        make_private_database(&path("new.db")).unwrap();
        assert_eq!([mode("old.db"), mode("old.db-wal"), mode("new.db")], [0o600; 3]);
        assert_eq!(fs::read(path("old.db")).unwrap(), b"x");
        assert!(!path("new.db-wal").exists());
    }
}
