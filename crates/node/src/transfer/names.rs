//! The names of downloaded files: strangers chose them.

use std::io;
use std::path::{Path, PathBuf};

/// What the name of a file that is not complete yet ends with.
pub(super) const PART_SUFFIX: &str = ".skein-part";

/// The longest name of a file, in bytes of UTF-8, on the usual file systems.
const NAME_MAX: usize = 255;

/// Room for " (9999)" and [`PART_SUFFIX`], so that those names are not too long either.
const RESERVED: usize = 7 + PART_SUFFIX.len();

/// How many names are tried before giving up.
const MAX_TRIES: u32 = 9_999;

/// A name that is safe in any folder: one path part, printable, no device of Windows, at most 255
/// bytes with all that is added to it. The name of a nameless file is `fallback`.
pub(crate) fn sanitise(hint: &str, fallback: &str) -> String {
    let last = hint.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_bad = |c: char| {
        let breaks = c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        breaks || matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*')
    };
    let clean: String = last
        .chars()
        .filter(|&c| !is_invisible(c))
        .map(|c| if is_bad(c) { '_' } else { c })
        .collect();
    // Windows drops dots and blanks at the end; a dot in front would hide the file.
    let clean = clean.trim().trim_end_matches(['.', ' ']).trim_start_matches('.');
    let (stem, extension) = split(clean);
    let extension = if extension.len() > 32 { "" } else { extension };
    let stem = if extension.is_empty() { clean } else { stem };
    let stem = truncated(stem, NAME_MAX - RESERVED - extension.len());
    if stem.is_empty() {
        return fallback.to_owned();
    }
    if is_device(stem) { format!("_{stem}{extension}") } else { format!("{stem}{extension}") }
}

/// Whether a character shows nothing, but changes what is shown beside it: joiners, marks and
/// overrides of the direction of writing, the byte order mark.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

/// The names that Windows keeps for devices, whatever extension follows.
fn is_device(stem: &str) -> bool {
    let stem = stem.split('.').next().unwrap_or(stem).trim_end().to_ascii_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|rest| matches!(rest.as_bytes(), [b'0'..=b'9']))
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT")
}

/// The name before its extension, and the extension with its dot.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    }
}

fn truncated(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// `name.ext`, `name (1).ext`, `name (2).ext` and so on.
fn alternatives(name: &str) -> impl Iterator<Item = String> {
    let (stem, extension) = split(name);
    let (stem, extension) = (stem.to_owned(), extension.to_owned());
    let first = std::iter::once(name.to_owned());
    first.chain((1..=MAX_TRIES).map(move |number| format!("{stem} ({number}){extension}")))
}

/// Makes the file that a download is written to, under a name that nobody else uses.
pub(super) fn create_part(dir: &Path, name: &str) -> io::Result<PathBuf> {
    for name in alternatives(name) {
        let path = dir.join(name + PART_SUFFIX);
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "there are too many files of that name"))
}

/// The first name in `dir` that is free at present.
pub(super) fn free_name(dir: &Path, name: &str) -> io::Result<PathBuf> {
    for name in alternatives(name) {
        let path = dir.join(name);
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "there are too many files of that name"))
}

/// Renames a file in one step, and never over another.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if the name was taken in the meantime.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some file systems know no such flag; a link cannot replace anything either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            done => return done.map_err(Into::into),
        }
    }
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from),
        // A file system without links says one of these.
        Err(error) if is_unable(&error) => rename_over_own(from, to),
        Err(error) => Err(error),
    }
}

/// Renames a file over one that has just been made for it: where there are neither links nor
/// renames that replace nothing, nobody else can have the name from that moment on.
fn rename_over_own(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).create_new(true).open(to)?;
    std::fs::rename(from, to).inspect_err(|_| {
        // The empty file is of no use; should it stay, it is only in the way.
        let _ = std::fs::remove_file(to);
    })
}

/// Whether a file system cannot do something at all, or not for this user.
fn is_unable(error: &io::Error) -> bool {
    let kind = matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::Unsupported
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::TooManyLinks
    );
    #[cfg(unix)]
    return kind || error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error());
    #[cfg(not(unix))]
    return kind;
}

/// Makes the names in a folder survive a crash. Where the file system has no such thing, or the
/// user may put files into the folder and not open it, that is not promised.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    match std::fs::File::open(dir).and_then(|dir| dir.sync_all()) {
        Err(error) if is_unable(&error) => {
            tracing::warn!(dir = %dir.display(), %error, "a folder cannot be flushed");
        }
        synced => return synced,
    }
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_cannot_leave_its_folder_nor_hide_nor_be_a_device() {
        for (hint, name) in [
            ("song.mp3", "song.mp3"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Windows\\evil.exe", "evil.exe"),
            ("..", "file"),
            ("", "file"),
            ("dir/", "file"),
            (".bashrc", "bashrc"),
            ("a\u{1b}[31m\nb", "a_[31m_b"),
            ("evil\u{202e}gpj.exe", "evilgpj.exe"),
            ("what?.txt", "what_.txt"),
            ("con.txt", "_con.txt"),
            ("LPT1", "_LPT1"),
            ("trailing. . ", "trailing"),
            ("音楽.flac", "音楽.flac"),
        ] {
            assert_eq!(sanitise(hint, "file"), name, "{hint:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        let name = sanitise(&format!("{}.flac", "ä".repeat(300)), "file");
        assert!(name.ends_with("ä.flac"), "{name}");
        assert!(name.len() + RESERVED <= NAME_MAX);
    }

    proptest! {
        #[test]
        fn no_hint_makes_a_dangerous_name(hint in "\\PC{0,400}|[./\\\\a-c\u{0}-\u{1f}]{0,40}") {
            let name = sanitise(&hint, "file");
            prop_assert!(!name.is_empty() && name.len() + RESERVED <= NAME_MAX);
            prop_assert!(!name.contains(['/', '\\', '\0']) && name != "." && name != "..");
            prop_assert!(!name.chars().any(char::is_control));
        }
    }

    #[test]
    fn without_links_a_taken_name_is_not_overwritten_either() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("old"), "old").unwrap();
        std::fs::write(path("new"), "new").unwrap();
        let taken = rename_over_own(&path("new"), &path("old")).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        rename_over_own(&path("gone"), &path("other")).unwrap_err();
        assert!(!path("other").exists());
        rename_over_own(&path("new"), &path("other")).unwrap();
        assert_eq!(std::fs::read(path("old")).unwrap(), b"old");
        assert_eq!(std::fs::read(path("other")).unwrap(), b"new");
        assert!(!path("new").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_system_that_does_not_flush_folders_is_told_from_one_that_fails() {
        use rustix::io::Errno;
        for errno in [Errno::INVAL, Errno::BADF, Errno::ACCESS, Errno::PERM, Errno::NOTSUP] {
            assert!(is_unable(&io::Error::from(errno)), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::NOENT] {
            assert!(!is_unable(&io::Error::from(errno)), "{errno}");
        }
        assert!(sync_dir(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn a_taken_name_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("a.txt"), "old").unwrap();
        std::fs::write(path("new"), "new").unwrap();
        let taken = rename_new(&path("new"), &path("a.txt")).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        let free = free_name(dir.path(), "a.txt").unwrap();
        assert_eq!(free, path("a (1).txt"));
        rename_new(&path("new"), &free).unwrap();
        assert_eq!(std::fs::read(path("a.txt")).unwrap(), b"old");
        assert_eq!(std::fs::read(free).unwrap(), b"new");
        assert!(!path("new").exists());
    }
}
