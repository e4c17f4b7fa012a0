//! Asks the operating system to report changes in a share.

use super::share::ShareEntry;
use super::stats::Counters;
use super::walk::is_excluded;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::Path;
use std::sync::Arc;

/// Starts to watch a share; it blocks while all folders in it are registered. Dropping the
/// watcher ends it.
///
/// # Errors
/// What the operating system says, in words for the user.
pub(super) fn start(
    entry: Arc<ShareEntry>,
    counters: Arc<Counters>,
) -> Result<RecommendedWatcher, String> {
    let root = entry.path.clone();
    let handler = move |event: notify::Result<Event>| match event {
        Ok(event) => report(&entry, &event, &counters),
        Err(error) => entry.touched.watch_failed(describe(&error)),
    };
    let config = Config::default().with_follow_symlinks(false);
    let mut watcher = RecommendedWatcher::new(handler, config).map_err(|error| describe(&error))?;
    watcher.watch(&root, RecursiveMode::Recursive).map_err(|error| describe(&error))?;
    Ok(watcher)
}

fn describe(error: &notify::Error) -> String {
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => "the system's limit of watched folders is reached \
             (fs.inotify.max_user_watches)"
            .to_owned(),
        _ => error.to_string(),
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
