//! One daemon for one data folder.

use super::{Home, HomeError};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// How often a daemon tries for the lock: somebody who only looks (see [`occupant`]) holds it for
/// some microseconds, so a second and a third try tell a look from a daemon.
const TRIES: u32 = 5;

/// How long it waits between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// The data folder belongs to this process while this lives. The operating system lets go of the
/// lock when the process ends, however it ends: there is no stale lock.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

/// Who has a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// The daemon's process, if it could be read.
    pub pid: Option<u32>,
}

impl InstanceLock {
    pub(super) fn acquire(home: &Home) -> Result<Self, HomeError> {
        Self::acquire_pausing(home, || thread::sleep(BETWEEN_TRIES))
    }

    fn acquire_pausing(home: &Home, mut pause: impl FnMut()) -> Result<Self, HomeError> {
        let path = home.lock_file();
        let failed = |error| HomeError::io("lock", &path, error);
        let mut file = open(&path).map_err(failed)?;
        let mut tries = 1;
        while let Err(error) = file.try_lock() {
            match error {
                TryLockError::Error(error) => return Err(failed(error)),
                TryLockError::WouldBlock if tries < TRIES => pause(),
                TryLockError::WouldBlock => {
                    let pid = read_pid(&mut file);
                    return Err(HomeError::Locked { dir: home.dir().to_owned(), pid });
                }
            }
            tries += 1;
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Whether a daemon has the folder, without taking it away from one that starts.
pub(super) fn occupant(home: &Home) -> Result<Option<Occupant>, HomeError> {
    let path = home.lock_file();
    let failed = |error| HomeError::io("look at", &path, error);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(Occupant { pid: read_pid(&mut file) })),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Not truncated: until the lock is ours, the process id in it is somebody else's.
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_has_the_folder() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        let _lock = home.lock().unwrap();
        let error = home.lock().unwrap_err();
        let HomeError::Locked { pid, .. } = &error else { panic!("{error}") };
        assert_eq!(*pid, Some(std::process::id()));
        let text = error.to_string();
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        assert!(text.contains("skein down") && text.contains("--data-dir"), "{text}");
    }

    #[test]
    fn the_folder_is_free_when_its_daemon_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        assert_eq!(home.occupant().unwrap(), None);
        let lock = home.lock().unwrap();
        let pid = Some(std::process::id());
        assert_eq!(home.occupant().unwrap(), Some(Occupant { pid }));
        drop(lock);
        assert_eq!(home.occupant().unwrap(), None);
        home.lock().unwrap();
    }

    #[test]
    fn a_look_does_not_keep_a_daemon_from_starting() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        drop(home.lock().unwrap());
        let look = File::open(home.lock_file()).unwrap();
        look.try_lock_shared().unwrap();
        let mut look = Some(look);
        InstanceLock::acquire_pausing(&home, || drop(look.take())).unwrap();
        assert!(look.is_none(), "it had to wait for the look to end");
    }
}
