//! Which folders of a share have to be looked at, and when.

use super::stats::Counters;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The most folders that are kept. Where more are touched at once, somebody moves or unpacks a
/// great deal, and one scan of the whole share is cheaper.
const MAX_FOLDERS: usize = 1024;

/// How often the quiet time may be prolonged by further changes, as a multiple of itself.
const MAX_QUIETS: u32 = 10;

/// What has to be scanned now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// The whole share.
    pub(super) all: bool,
    /// The folder of the share may be another one than the one that is watched.
    pub(super) root_lost: bool,
    /// Why the watcher does not see everything any more.
    pub(super) watch_failed: Option<String>,
    /// These folders; with all folders in them when the value is true.
    pub(super) folders: BTreeMap<String, bool>,
}

impl Work {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Default)]
struct Inner {
    work: Work,
    /// When the oldest and the newest change of `work` were reported.
    reported: Option<(Instant, Instant)>,
    /// Folders with files that had to be left for later.
    later: BTreeMap<String, Instant>,
    /// When the whole share is due instead, since there were too many such folders.
    later_all: Option<Instant>,
}

/// Collects what the watcher and others report about one share.
#[derive(Debug)]
pub(super) struct Touched {
    quiet: Duration,
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Touched {
    pub(super) fn new(quiet: Duration) -> Self {
        Self { quiet, inner: Mutex::default(), changed: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each change of `Inner` is complete in itself, also when a thread panicked after it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, change: impl FnOnce(&mut Work)) {
        let now = Instant::now();
        let mut inner = self.inner();
        change(&mut inner.work);
        inner.reported = Some((inner.reported.map_or(now, |(first, _)| first), now));
        drop(inner);
        self.changed.notify_one();
    }

    /// A folder has changed, and, when `deep`, perhaps also the folders in it.
    pub(super) fn touch(&self, folder: &str, deep: bool, counters: &Counters) {
        self.report(|work| {
            if let Some(known) = work.folders.get_mut(folder) {
                *known |= deep;
            } else if work.folders.len() < MAX_FOLDERS {
                work.folders.insert(folder.to_owned(), deep);
            } else {
                work.all = true;
                work.folders.clear();
                Counters::count(&counters.change_overflows);
            }
        });
    }

    /// Changes were missed.
    pub(super) fn touch_all(&self) {
        self.report(|work| work.all = true);
    }

    /// The folder of the share was moved, removed or replaced.
    pub(super) fn root_lost(&self) {
        self.report(|work| {
            work.root_lost = true;
            work.all = true;
        });
    }

    /// The watcher has failed.
    pub(super) fn watch_failed(&self, why: String) {
        self.report(|work| work.watch_failed = Some(why));
    }

    /// A folder has a file that is to be looked at again.
    pub(super) fn defer(&self, folder: String, when: Instant) {
        let mut inner = self.inner();
        if inner.later.len() < MAX_FOLDERS || inner.later.contains_key(&folder) {
            inner.later.entry(folder).or_insert(when);
        } else {
            inner.later.clear();
            inner.later_all = Some(when);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// When there is something to do; `None` when there is nothing to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let inner = self.inner();
        let reported = inner
            .reported
            .map(|(first, last)| (last + self.quiet).min(first + self.quiet * MAX_QUIETS));
        let later = inner.later.values().min().copied();
        [reported, later, inner.later_all].into_iter().flatten().min()
    }

    /// Takes what is due.
    pub(super) fn take(&self, now: Instant) -> Option<Work> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let mut inner = self.inner();
        let mut work = std::mem::take(&mut inner.work);
        inner.reported = None;
        let due: Vec<_> = inner
            .later
            .iter()
            .filter(|(_, when)| **when <= now)
            .map(|(it, _)| it.clone())
            .collect();
        for folder in due {
            inner.later.remove(&folder);
            work.folders.entry(folder).or_insert(false);
        }
        work.all |= inner.later_all.take_if(|when| *when <= now).is_some();
        (!work.is_empty()).then_some(work)
    }

    /// Waits until [`Self::due`] may be another moment.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_wait_for_a_quiet_moment_and_are_taken_together() {
        let touched = Touched::new(Duration::from_secs(60));
        let counters = Counters::default();
        assert_eq!(touched.due(), None);
        touched.touch("a/", false, &counters);
        touched.touch("a/", true, &counters);
        touched.touch("b/", false, &counters);
        let now = Instant::now();
        assert_eq!(touched.take(now), None);

        let work = touched.take(now + Duration::from_secs(61)).expect("due");

        let folders = BTreeMap::from([("a/".to_owned(), true), ("b/".to_owned(), false)]);
        assert_eq!(work, Work { folders, ..Work::default() });
        assert_eq!(touched.due(), None);
    }

    #[test]
    fn too_many_changes_become_one_scan_of_everything() {
        let touched = Touched::new(Duration::ZERO);
        let counters = Counters::default();
        for number in 0..=MAX_FOLDERS {
            touched.touch(&format!("{number}/"), false, &counters);
        }
        let work = touched.take(Instant::now()).expect("due");
        assert!(work.all);
        assert!(work.folders.is_empty());
        assert_eq!(counters.read().change_overflows, 1);
    }

    #[test]
    fn what_was_left_for_later_is_due_then_and_its_folder_alone() {
        let touched = Touched::new(Duration::ZERO);
        let now = Instant::now();
        let when = now + Duration::from_secs(60);
        touched.defer("a/".to_owned(), when);
        touched.defer("b/".to_owned(), when + Duration::from_secs(1));
        assert_eq!(touched.due(), Some(when));
        assert_eq!(touched.take(now), None);

        let work = touched.take(when).expect("due");

        let folders = BTreeMap::from([("a/".to_owned(), false)]);
        assert_eq!(work, Work { folders, ..Work::default() });

        for number in 0..=MAX_FOLDERS {
            touched.defer(format!("{number}/"), when);
        }
        assert!(touched.take(when).expect("due").all);
    }
}
