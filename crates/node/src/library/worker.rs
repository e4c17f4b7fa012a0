//! The task that looks after one share: watches it, and scans it when there is a reason.

use super::core::Core;
use super::scan::{Report, Scan, ScanError, Scope};
use super::share::{EXAMPLES, ShareEntry};
use super::stats::Counters;
use super::store::StoreError;
use super::touched::Work;
use super::watch;
use crate::api::types::DaemonEvent;
use notify::RecommendedWatcher;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How many requests for a scan wait. All of them are answered by the same scan, so the queue is
/// only ever full for a moment.
pub(super) const REQUESTS: usize = 16;

/// The shortest time after which a file that was being written is looked at again.
const DEFER_AT_LEAST: Duration = Duration::from_millis(100);

/// Looks after one share.
pub(super) struct Worker {
    core: Arc<Core>,
    share: Arc<ShareEntry>,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    cancel: CancellationToken,
    watcher: Option<RecommendedWatcher>,
    /// Whether the watcher has to be started anew.
    watch_wanted: bool,
    /// When the whole share is to be scanned.
    next_whole: Instant,
    /// Who waits for the end of the next scan of the whole share.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Worker {
    pub(super) fn new(
        core: Arc<Core>,
        share: Arc<ShareEntry>,
        requests: mpsc::Receiver<oneshot::Sender<()>>,
        cancel: CancellationToken,
    ) -> Self {
        let watch_wanted = core.config.watch();
        Self {
            core,
            share,
            requests,
            cancel,
            watcher: None,
            watch_wanted,
            next_whole: Instant::now(),
            waiting: Vec::new(),
        }
    }

    /// Works until it is cancelled.
    pub(super) async fn run(mut self) {
        let cancel = self.cancel.clone();
        loop {
            let due =
                self.share.touched.due().map_or(self.next_whole, |it| it.min(self.next_whole));
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                Some(request) = self.requests.recv() => {
                    self.waiting.push(request);
                    self.next_whole = Instant::now();
                }
                () = tokio::time::sleep_until(due.into()) => {}
                () = self.share.touched.changed() => continue,
            }
            while let Ok(request) = self.requests.try_recv() {
                self.waiting.push(request);
            }
            let work = self.share.touched.take(Instant::now()).unwrap_or_default();
            if work.root_lost {
                self.watch_wanted = self.core.config.watch();
            }
            if let Some(why) = &work.watch_failed {
                self.watch_failed(why);
            }
            if self.watcher.is_none() && self.next_whole <= Instant::now() {
                // What kept the watcher from starting may be over.
                self.watch_wanted = self.core.config.watch();
            }
            self.watch().await;
            let Some(scope) = self.scope(work, Instant::now()) else { continue };
            let whole = matches!(scope, Scope::Whole);
            let scan = Scan::new(self.core.clone(), self.share.clone(), &self.cancel);
            match scan.run(scope).await {
                Err(ScanError::Cancelled) if cancel.is_cancelled() => return,
                result => self.conclude(result, whole).await,
            }
        }
    }

    fn scope(&self, work: Work, now: Instant) -> Option<Scope> {
        let all_deep = work.folders.get("").is_some_and(|deep| *deep);
        if work.all || all_deep || self.next_whole <= now {
            Some(Scope::Whole)
        } else if work.folders.is_empty() {
            None
        } else {
            Some(Scope::Folders(work.folders))
        }
    }

    /// Starts the watcher if it has to be. Whatever happened before is seen by the scan that
    /// follows.
    async fn watch(&mut self) {
        if !self.watch_wanted {
            return;
        }
        self.watch_wanted = false;
        self.watcher = None;
        let (share, counters) = (self.share.clone(), self.core.counters.clone());
        let started = self.core.tracker.spawn_blocking(move || watch::start(share, counters)).await;
        match started.unwrap_or_else(|_| Err("the watcher does not start".to_owned())) {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.share.state().watch_problem = None;
            }
            Err(why) => self.watch_failed(&why),
        }
        self.next_whole = Instant::now();
    }

    fn watch_failed(&mut self, why: &str) {
        self.watcher = None;
        let every = self.core.config.unwatched_rescan();
        let minutes = every.as_secs().div_ceil(60);
        let problem = format!("changes are noticed only every {minutes} minutes: {why}");
        let before = self.share.state().watch_problem.replace(problem.clone());
        // It is tried again and again, and said once.
        if before.as_ref() != Some(&problem) {
            tracing::warn!(share = %self.share.path.display(), problem, "a watcher failed");
        }
        self.next_whole = self.next_whole.min(Instant::now() + every);
    }

    async fn conclude(&mut self, result: Result<Report, ScanError>, whole: bool) {
        let result = match result {
            Ok(report) => self.succeeded(report, whole).await.map_err(ScanError::Store),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.failed(error).await;
        }
        self.share.state().scan = None;
        let _ = self.core.events.send(DaemonEvent::ScanDone { share: self.share.describe() });
        if whole {
            for waiting in self.waiting.drain(..) {
                let _ = waiting.send(());
            }
        }
    }

    async fn succeeded(&mut self, report: Report, whole: bool) -> Result<(), StoreError> {
        let config = &self.core.config;
        let (online, device) = {
            let state = self.share.state();
            (state.online, state.device)
        };
        if device != report.device {
            self.core.store.set_device(self.share.id, report.device).await?;
        }
        if !online {
            self.core.store.set_online(self.share.id, true).await?;
        }
        let again = Instant::now() + config.settle().max(DEFER_AT_LEAST);
        for folder in report.deferred.keys() {
            self.share.touched.defer(folder.clone(), again);
        }
        let counters = &self.core.counters;
        Counters::count(if whole { &counters.scans } else { &counters.folder_scans });
        let mut state = self.share.state();
        state.online = true;
        state.device = report.device;
        state.scan_problem = None;
        if whole {
            state.deferred.clear();
        } else {
            state.deferred.retain(|folder, _| !report.visited.contains(folder));
        }
        state.deferred.extend(report.deferred);
        if whole {
            state.unreadable = report.unreadable;
            state.examples = report.examples;
            let period = match self.watcher {
                Some(_) => config.rescan(),
                None => config.unwatched_rescan().min(config.rescan()),
            };
            self.next_whole = Instant::now() + period;
        } else {
            // A folder was looked at again: what could not be read in it counts once. What can be
            // read by now is found out by the next scan of the whole share.
            for line in report.examples {
                if !state.examples.contains(&line) {
                    state.unreadable += 1;
                    if state.examples.len() < EXAMPLES {
                        state.examples.push(line);
                    }
                }
            }
        }
        Ok(())
    }

    async fn failed(&mut self, error: ScanError) {
        let problem = match error {
            ScanError::Root(error) => {
                self.withdraw().await;
                format!(
                    "the folder cannot be read, its files are withdrawn until it is back: {error}"
                )
            }
            ScanError::Unmounted => {
                self.withdraw().await;
                "the folder is empty and on another disk than before, its files are withdrawn until \
                 they are back: is a disk not mounted?"
                    .to_owned()
            }
            ScanError::Store(error) => {
                Counters::count(&self.core.counters.store_failures);
                format!("the scan stopped and will be tried again: {error}")
            }
            ScanError::Cancelled => "the scan was interrupted and will be tried again".to_owned(),
        };
        let before = self.share.state().scan_problem.replace(problem.clone());
        if before.as_ref() != Some(&problem) {
            tracing::warn!(share = %self.share.path.display(), problem, "a scan failed");
        }
        self.next_whole = Instant::now() + self.core.config.retry();
    }

    /// Withdraws all files while their folder is away, and keeps what is known of them.
    async fn withdraw(&mut self) {
        self.watcher = None;
        self.watch_wanted = self.core.config.watch();
        match self.core.store.set_online(self.share.id, false).await {
            Ok(()) => self.share.state().online = false,
            Err(error) => tracing::warn!(%error, "cannot withdraw a share"),
        }
    }
}
