//! The log of a node in the background: a file that is put aside when it is full.
//!
//! Libraries that do this write to a file of their own; this one takes standard error with it, so
//! that the last words of a process, such as a panic, stand behind what it has logged.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Its name in the data folder.
pub const NAME: &str = "skein.log";

/// How many bytes it holds before it is put aside: a hundred thousand lines of a hundred bytes, and
/// still a file that every editor opens.
const FULL: u64 = 10 * 1024 * 1024;

/// How many of those that were put aside are kept, as `skein.log.1`, the latest, and so on.
const KEPT: u32 = 4;

/// The log, opened to be written at its end.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    full: u64,
    /// Whether standard error goes where the log goes.
    takes_stderr: bool,
}

/// Opens a log for its end; nobody else may read it, since it says who was connected and what was
/// fetched.
///
/// # Errors
/// What the file system says.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl LogFile {
    /// The log of this process, whose standard error is that file already.
    ///
    /// # Errors
    /// What the file system says.
    pub fn of_process(path: PathBuf) -> io::Result<Self> {
        let file = open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes, full: FULL, takes_stderr: true })
    }

    fn aside(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }

    /// Puts the file aside, and begins a new one.
    fn turn(&mut self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            rename(&self.aside(number), &self.aside(number + 1))?;
        }
        rename(&self.path, &self.aside(1))?;
        let file = open(&self.path)?;
        #[cfg(unix)]
        if self.takes_stderr {
            rustix::stdio::dup2_stderr(&file)?;
        }
        self.file = file;
        Ok(())
    }
}

/// Renames a file over another one; if it is not there, nothing happens.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let more = bytes.len() as u64;
        if self.bytes > 0 && self.bytes.saturating_add(more) > self.full {
            // If it fails it is tried again when as much has been written once more: a log that is
            // too long is better than none.
            self.bytes = 0;
            if let Err(error) = self.turn() {
                let _ = writeln!(self.file, "the log cannot be put aside: {error}");
            }
        }
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn log(path: PathBuf) -> LogFile {
        let file = open(&path).unwrap();
        let bytes = file.metadata().unwrap().len();
        LogFile { path, file, bytes, full: 100, takes_stderr: false }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_latest() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(NAME);
        let mut log = log(path.clone());
        // Two of them fit into a file.
        let line = |number: u32| format!("{number:049}\n");
        for number in 0..100 {
            log.write_all(line(number).as_bytes()).unwrap();
        }
        let mut kept = String::new();
        for number in (1..=KEPT).rev() {
            let path = log.aside(number);
            assert!(path.metadata().unwrap().len() <= 100, "{}", path.display());
            kept.push_str(&std::fs::read_to_string(path).unwrap());
        }
        kept.push_str(&std::fs::read_to_string(&path).unwrap());
        let latest: String = (90..100).map(line).collect();
        assert_eq!(kept, latest);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 5);
        #[cfg(unix)]
        for entry in std::fs::read_dir(temp.path()).unwrap() {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_was_logged_before_counts_and_a_line_that_is_too_long_is_written_all_the_same() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(NAME);
        std::fs::write(&path, "x".repeat(99)).unwrap();
        let mut log = log(path.clone());
        log.write_all("y".repeat(300).as_bytes()).unwrap();
        assert_eq!(std::fs::read(log.aside(1)).unwrap().len(), 99);
        assert_eq!(std::fs::read(&path).unwrap().len(), 300);
    }

    #[test]
    fn a_log_that_cannot_be_put_aside_goes_on() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(NAME);
        let mut log = log(path.clone());
        // A file does not take the place of a folder.
        std::fs::write(log.aside(KEPT - 1), "").unwrap();
        std::fs::create_dir(log.aside(KEPT)).unwrap();
        for _ in 0..3 {
            log.write_all("x".repeat(60).as_bytes()).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches('x').count(), 180);
        assert!(text.contains("cannot be put aside"), "{text}");
    }
}
