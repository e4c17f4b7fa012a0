//! What a download needs of a disk, so that tests can have one that is full.

use bao_tree::io::sync::WriteAt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Opens the files that a download writes.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file for writing, without emptying it; one that is missing is made. It has
    /// `bytes` bytes from then on; those that were not there are zero and may take no room yet.
    ///
    /// # Errors
    /// What the file system says.
    fn open(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn WritableFile>>;

    /// Opens a file of a download that has been begun, to see what is in it.
    ///
    /// # Errors
    /// What the file system says.
    fn open_to_read(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    /// How many bytes this user can still put into a folder.
    ///
    /// # Errors
    /// What the file system says.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
}

/// A file that is written in places.
pub trait WritableFile: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the file system says, such as that it is full.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Waits until everything that was written will survive a crash of the machine.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&self) -> io::Result<()>;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn open(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn WritableFile>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.set_len(bytes)?;
        Ok(Box::new(LocalFile(Mutex::new(file))))
    }

    #[cfg(unix)]
    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Where it cannot be asked, a full disk shows itself when it is written to.
    #[cfg(not(unix))]
    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

#[derive(Debug)]
struct LocalFile(Mutex<File>);

impl WritableFile for LocalFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // A file has no state that a panic elsewhere could have left half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sync_data()
    }
}

/// Whether an error means that there is no room, by the disk's size, a quota or a limit.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
