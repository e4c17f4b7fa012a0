//! What a folder holds, of what may be shared.

use skein_proto::FilePath;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What tells whether a file is still the one that was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stat {
    /// Its length in bytes.
    pub(super) size: u64,
    /// When it was written last, in nanoseconds since 1970.
    pub(super) mtime_ns: i64,
    /// The file system that it is on.
    pub(super) device: u64,
    /// Its number there.
    pub(super) inode: u64,
}

impl Stat {
    /// `None` for what is no regular file.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000);
        metadata.file_type().is_file().then(|| Self {
            size: metadata.len(),
            mtime_ns: mtime_ns.saturating_add(metadata.mtime_nsec()),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// What the name itself stands for: a symbolic link is not followed.
    pub(super) fn of_path(path: &Path) -> io::Result<Option<Self>> {
        std::fs::symlink_metadata(path).map(|metadata| Self::of(&metadata))
    }

    /// Whether a file seen at the same path is unchanged. The device does not matter, since its
    /// number may be another one after each start of the machine.
    pub(super) fn same_file(&self, other: &Self) -> bool {
        (self.size, self.mtime_ns, self.inode) == (other.size, other.mtime_ns, other.inode)
    }
}

/// Tells whether files have been left alone for long enough to be hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    /// The latest time of writing that is long enough ago, in nanoseconds since 1970; `None` when
    /// files need not settle.
    before: Option<i64>,
    /// The present, likewise.
    now: i64,
}

impl Settled {
    /// At the time `now`, with so long a time of rest.
    pub(super) fn new(now: SystemTime, rest: Duration) -> Self {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let before = (!rest.is_zero()).then(|| nanos(now.saturating_sub(rest)));
        Self { before, now: nanos(now) }
    }

    /// Whether it has been left alone for long enough. Times in the future come from wrong clocks,
    /// and waiting for them could take forever.
    pub(super) fn contains(&self, stat: &Stat) -> bool {
        self.before.is_none_or(|before| stat.mtime_ns <= before || stat.mtime_ns > self.now)
    }
}

/// A file in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundFile {
    /// Its name.
    pub(super) name: String,
    /// What it is.
    pub(super) stat: Stat,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Files that may be shared.
    pub(super) files: Vec<FoundFile>,
    /// The names of folders that may be shared.
    pub(super) folders: Vec<String>,
    /// What should be shared but cannot be, one line each.
    pub(super) unreadable: Vec<String>,
    /// Names of files that are there but could not be looked at now.
    pub(super) uncertain: Vec<String>,
}

/// Endings of files that a program has not finished yet. `.skein-part` is this program's own.
const UNFINISHED: [&str; 7] =
    ["skein-part", "part", "partial", "crdownload", "aria2", "!qb", "!ut"];

/// Whether a name keeps a file or folder out of every share.
pub(super) fn is_excluded(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    name.starts_with('.')
        || name.contains(".skein-part")
        || ending.is_some_and(|it| UNFINISHED.iter().any(|not| it.eq_ignore_ascii_case(not)))
}

/// Lists one folder; it blocks.
///
/// `published` is what the paths of its files begin with: the name of the share and the folder in
/// it, ending with `/`. `keeps_out` says which folders are never shared.
///
/// # Errors
/// What the file system says of the folder itself.
pub(super) fn list(
    folder: &Path,
    published: &str,
    keeps_out: impl Fn(&Path) -> bool,
) -> io::Result<Listing> {
    // A link in place of this folder, or of one around it, would lead out of the share.
    if std::fs::canonicalize(folder)? != folder || !std::fs::symlink_metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if keeps_out(folder) {
        // A share from the time before it became such a folder.
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "it belongs to a folder that is private",
        ));
    }
    let mut listing = Listing::default();
    for entry in std::fs::read_dir(folder)? {
        // The rest of the folder may still be readable, but what is missing cannot be told from
        // what is gone: a half read folder counts as an unreadable one.
        let entry = entry?;
        let name = match entry.file_name().into_string() {
            Ok(name) => name,
            Err(name) => {
                if !name.to_string_lossy().starts_with('.') {
                    listing.unreadable.push(format!("{}: not UTF-8", entry.path().display()));
                }
                continue;
            }
        };
        if is_excluded(&name) {
            continue;
        }
        // On most file systems the kind comes with the entry and needs no further call.
        let metadata = match entry.file_type() {
            Ok(kind) if kind.is_symlink() => continue,
            Ok(_) => entry.metadata(),
            Err(error) => Err(error),
        };
        let metadata = match metadata {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                listing.unreadable.push(format!("{}: {error}", entry.path().display()));
                listing.uncertain.push(name);
                continue;
            }
        };
        let shareable = metadata.is_dir() || metadata.is_file();
        if shareable && FilePath::new(format!("{published}{name}")).is_err() {
            let path = entry.path();
            listing.unreadable.push(format!("{}: too long or odd a path", path.display()));
        } else if metadata.is_dir() {
            if !keeps_out(&entry.path()) {
                listing.folders.push(name);
            }
        } else if let Some(stat) = Stat::of(&metadata).filter(|stat| stat.size > 0) {
            listing.files.push(FoundFile { name, stat });
        }
    }
    // A fixed order makes scans repeatable, whatever the file system.
    listing.files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    listing.folders.sort_unstable();
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    fn names(listing: &Listing) -> Vec<&str> {
        listing.files.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn only_what_may_be_shared_is_listed() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["song.mp3", ".hidden", "film.mkv.skein-part", "iso.CRDOWNLOAD", "a.part"] {
            std::fs::write(at(name), b"bytes").expect("written");
        }
        std::fs::write(at("empty"), b"").expect("written");
        for name in ["album", ".git", "data"] {
            std::fs::create_dir(at(name)).expect("made");
        }
        symlink("/etc", at("etc")).expect("linked");
        symlink(at("song.mp3"), at("link.mp3")).expect("linked");
        symlink(at("nowhere"), at("dangling")).expect("linked");
        let socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("bound");

        let listing = list(folder.path(), "music/", |path| path == at("data")).expect("listed");

        assert_eq!(names(&listing), ["song.mp3"]);
        assert_eq!(listing.folders, ["album"]);
        assert!(listing.unreadable.is_empty());
        drop(socket);
    }

    #[test]
    fn what_cannot_be_published_is_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(OsStr::from_bytes(b"\xff.txt")), b"x").expect("written");
        std::fs::write(folder.path().join("back\\slash"), b"x").expect("written");
        std::fs::write(folder.path().join("good"), b"x").expect("written");

        let listing = list(folder.path(), "music/", |_| false).expect("listed");
        assert_eq!(names(&listing), ["good"]);
        assert_eq!(listing.unreadable.len(), 2, "{:?}", listing.unreadable);

        let deep = format!("music/{}/", "d".repeat(505));
        let listing = list(folder.path(), &deep, |_| false).expect("listed");
        assert_eq!(names(&listing), [""; 0]);
        assert_eq!(listing.unreadable.len(), 3, "{:?}", listing.unreadable);
    }

    #[test]
    fn a_folder_behind_a_link_is_not_listed() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("real/inner")).expect("made");
        symlink(folder.path().join("real"), folder.path().join("link")).expect("linked");
        for path in ["link", "link/inner"] {
            let error = list(&folder.path().join(path), "x/", |_| false);
            assert_eq!(error.expect_err("a link").kind(), io::ErrorKind::NotADirectory);
        }
    }
}
