//! Asks the operating system to report changes in a share.

use super::share::ShareEntry;
use super::stats::Counters;
use super::walk::is_excluded;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Starts to watch a share; it blocks while all folders in it are registered. Dropping the
/// watcher ends it. Folders that may not be read are left out: nothing in them is shared.
///
/// # Errors
/// What the operating system says, in words for the user.
pub(super) fn start(
    entry: Arc<ShareEntry>,
    counters: Arc<Counters>,
) -> Result<RecommendedWatcher, String> {
    let root = entry.path.clone();
    let gaps = Arc::new(Mutex::new(Gaps::default()));
    let known = Arc::clone(&gaps);
    let handler = move |event: notify::Result<Event>| match event {
        Ok(event) => {
            if known.lock().unwrap_or_else(PoisonError::into_inner).concern(&event) {
                entry.touched.root_lost();
            }
            report(&entry, &event, &counters);
        }
        Err(error) if is_denied(&error) => {
            // A new folder that may not be read: the next start of the watcher leaves it out.
            entry.touched.root_lost();
        }
        Err(error) => entry.touched.watch_failed(describe(&error)),
    };
    let config = Config::default().with_follow_symlinks(false);
    let mut watcher = RecommendedWatcher::new(handler, config).map_err(|error| describe(&error))?;
    let found = watch_readable(&root, &mut |path, mode| watcher.watch(path, mode));
    let found = found.map_err(|error| describe(&error))?;
    *gaps.lock().unwrap_or_else(PoisonError::into_inner) = found;
    Ok(watcher)
}

/// What a watcher does not see by itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Gaps {
    /// Folders that are watched without the folders in them.
    alone: HashSet<PathBuf>,
    /// Folders that may not be read.
    denied: HashSet<PathBuf>,
}

impl Gaps {
    /// Whether the watcher has to be started anew, to see a folder that is new or may be read now.
    fn concern(&self, event: &Event) -> bool {
        let may_be_new = matches!(
            event.kind,
            EventKind::Create(CreateKind::Folder | CreateKind::Any)
                | EventKind::Modify(ModifyKind::Name(_))
        );
        let changed = !matches!(event.kind, EventKind::Access(_));
        event.paths.iter().any(|path| {
            (changed && self.denied.contains(path))
                || (may_be_new
                    && path.parent().is_some_and(|parent| self.alone.contains(parent))
                    && path.is_dir())
        })
    }
}

/// Watches a folder with all in it that may be read. Around a folder that may not, each folder is
/// watched by itself.
fn watch_readable(
    root: &Path,
    watch: &mut impl FnMut(&Path, RecursiveMode) -> notify::Result<()>,
) -> notify::Result<Gaps> {
    let mut gaps = Gaps::default();
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        match watch(&folder, RecursiveMode::Recursive) {
            Err(error) if is_denied(&error) => {}
            other => {
                other?;
                continue;
            }
        }
        match watch(&folder, RecursiveMode::NonRecursive) {
            Err(error) if is_denied(&error) && folder != root => {
                gaps.denied.insert(folder);
                continue;
            }
            other => other?,
        }
        // What cannot be listed cannot be scanned either, and the scan says so.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let excluded = entry.file_name().to_str().is_none_or(is_excluded);
            if !excluded && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
        }
        gaps.alone.insert(folder);
    }
    Ok(gaps)
}

fn is_denied(error: &notify::Error) -> bool {
    matches!(&error.kind, notify::ErrorKind::Io(io) if io.kind() == io::ErrorKind::PermissionDenied)
}

fn describe(error: &notify::Error) -> String {
    let what = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            return "the system's limit of watched folders is reached \
                    (fs.inotify.max_user_watches)"
                .to_owned();
        }
        notify::ErrorKind::Generic(text) => text.clone(),
        notify::ErrorKind::Io(io) => io.to_string(),
        notify::ErrorKind::PathNotFound => "it is not there".to_owned(),
        _ => "the system does not report changes".to_owned(),
    };
    match error.paths.first() {
        Some(path) => format!("{}: {what}", path.display()),
        None => what,
    }
}

fn report(entry: &ShareEntry, event: &Event, counters: &Counters) {
    if event.need_rescan() {
        entry.touched.touch_all();
    }
    // Whether the name may now stand for another folder than before.
    let renamed = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => return,
        EventKind::Create(CreateKind::File) | EventKind::Remove(RemoveKind::File) => false,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
            true
        }
        _ => false,
    };
    for path in &event.paths {
        let Ok(inside) = path.strip_prefix(&entry.path) else { continue };
        if inside.as_os_str().is_empty() {
            if renamed {
                entry.touched.root_lost();
            } else {
                entry.touched.touch("", false, counters);
            }
            continue;
        }
        // Names that are not UTF-8 are not shared; they change nothing but a count.
        let Some(inside) = inside.to_str() else { continue };
        if inside.split('/').any(is_excluded) {
            continue;
        }
        let parent = Path::new(inside).parent().and_then(Path::to_str).unwrap_or_default();
        entry.touched.touch(&as_folder(parent), false, counters);
        if renamed {
            entry.touched.touch(&as_folder(inside), true, counters);
        }
    }
}

fn as_folder(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}/") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use notify::event::MetadataKind;

    fn denied(path: &Path) -> notify::Error {
        notify::Error::io(io::ErrorKind::PermissionDenied.into()).add_path(path.to_owned())
    }

    #[test]
    fn a_folder_that_may_not_be_read_does_not_end_the_watch_of_the_others() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        for folder in ["a/deep", "b/secret/in", "b/open", ".hidden"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let secret = root.join("b/secret");
        let mut watched = Vec::new();
        // As the system does: to watch a folder with all in it fails when one may not be read.
        let gaps = watch_readable(root, &mut |path, mode| {
            let recursive = mode == RecursiveMode::Recursive;
            if path.starts_with(&secret) || (recursive && secret.starts_with(path)) {
                return Err(denied(&secret));
            }
            watched.push((path.to_owned(), recursive));
            Ok(())
        });
        watched.sort();
        let expected = [("", false), ("a", true), ("b", false), ("b/open", true)];
        let expected = expected.map(|(path, recursive)| (root.join(path), recursive));
        assert_eq!(watched, expected.map(|(path, r)| (path.components().collect(), r)));
        let gaps = gaps.unwrap();
        assert!(gaps.denied.contains(&secret) && gaps.denied.len() == 1, "{gaps:?}");

        let event = |kind, path: &Path| Event::new(kind).add_path(path.to_owned());
        let created = EventKind::Create(CreateKind::Folder);
        assert!(gaps.concern(&event(created, &root.join("b/open"))), "it is not watched yet");
        assert!(!gaps.concern(&event(created, &root.join("a/deep"))), "it is watched by itself");
        let allowed = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        assert!(gaps.concern(&event(allowed, &secret)), "it may be readable now");
    }

    #[test]
    fn a_share_that_may_not_be_read_at_all_is_a_failure_in_plain_words() {
        let root = Path::new("/music");
        let failed = watch_readable(root, &mut |path, _| Err(denied(path))).unwrap_err();
        assert_eq!(describe(&failed), "/music: permission denied");
    }
}
