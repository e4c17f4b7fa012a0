//! The service's key on disk: 32 random bytes, for its owner's eyes only.

use skein_proto::KeyPair;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why there is no key. Each is the operator's to mend, and says how.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Others on this machine could have read it.
    #[error(
        "others can read the key file {0}: if nobody has, run `chmod 600 {0}`; \
         if in doubt, make a new key and give out a new ticket"
    )]
    Exposed(PathBuf),
    /// It is no key.
    #[error("{0} is not a key file: it must hold 32 bytes; restore it from a backup")]
    NotAKey(PathBuf),
    /// The file could not be read or made.
    #[error("the key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads the key; the first time, makes one from `seed`.
pub(super) fn load_or_create(
    path: &Path,
    seed: impl FnOnce() -> Zeroizing<[u8; 32]>,
) -> Result<KeyPair, KeyFileError> {
    match load(path) {
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        loaded => return loaded,
    }
    create(path, &seed())?;
    // What counts is what is on disk: another instance may have been faster.
    load(path)
}

fn load(path: &Path) -> Result<KeyPair, KeyFileError> {
    let error = |source| KeyFileError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(error)?;
    if is_exposed(&file).map_err(error)? {
        return Err(KeyFileError::Exposed(path.to_owned()));
    }
    // One byte more than a key has, so that a longer file is noticed.
    let mut bytes = Zeroizing::new([0_u8; 33]);
    let mut length = 0;
    while let Some(space) = bytes.get_mut(length..).filter(|space| !space.is_empty()) {
        match file.read(space) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(interrupted) if interrupted.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(error(source)),
        }
    }
    let (seed, _) = bytes
        .split_first_chunk::<32>()
        .filter(|_| length == 32)
        .ok_or_else(|| KeyFileError::NotAKey(path.to_owned()))?;
    Ok(KeyPair::from_seed(seed))
}

/// Writes the key beside its place and links it there: a crash leaves all of it or none, and a
/// key that is there already is never overwritten.
fn create(path: &Path, seed: &[u8; 32]) -> Result<(), KeyFileError> {
    let error = |source| KeyFileError::Io { path: path.to_owned(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = write_private(&beside, seed).and_then(|()| fs::hard_link(&beside, path));
    let removed = fs::remove_file(&beside);
    match written {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => return Err(error(source)),
        _ => removed.map_err(error)?,
    }
    sync_folder(path).map_err(error)
}

fn write_private(path: &Path, seed: &[u8; 32]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(seed)?;
    file.sync_all()
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn is_exposed(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_exposed(_: &File) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(byte: u8) -> impl FnOnce() -> Zeroizing<[u8; 32]> {
        move || Zeroizing::new([byte; 32])
    }

    #[test]
    fn the_key_of_the_first_start_is_the_key_of_the_second() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("login.key");
        let first = load_or_create(&path, seed(1)).expect("made");
        let second = load_or_create(&path, seed(2)).expect("read");
        assert_eq!(first.node_id(), second.node_id());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused_with_what_to_do() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("login.key");
        load_or_create(&path, seed(1)).expect("made");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        let error = load_or_create(&path, seed(2)).expect_err("exposed");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_file_of_another_length_is_no_key_and_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        for length in [0, 31, 33] {
            let path = folder.path().join(format!("{length}.key"));
            write_private(&path, &[1; 32]).expect("written");
            fs::write(&path, vec![1; length]).expect("written");
            let error = load_or_create(&path, seed(2)).expect_err("no key");
            assert!(matches!(error, KeyFileError::NotAKey(_)), "{error}");
            assert_eq!(fs::read(&path).expect("there").len(), length);
        }
    }
}
