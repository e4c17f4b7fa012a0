//! A share at work: what is known of it at the moment.

use super::store::{ShareRow, Totals};
use super::touched::Touched;
use crate::api::types::{ScanProgress, Share};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many of the files and folders that could not be read are named.
pub(super) const EXAMPLES: usize = 20;

/// What changes while a share is at work.
#[derive(Debug, Default)]
pub(super) struct ShareState {
    /// Its files.
    pub(super) totals: Totals,
    /// Whether they are published.
    pub(super) online: bool,
    /// The device that the folder was on when it was scanned last; 0 for never.
    pub(super) device: u64,
    /// How many files and folders could not be read at the last scan of the whole share.
    pub(super) unreadable: u64,
    /// The first of them.
    pub(super) examples: Vec<String>,
    /// Files that were being written when they were looked at, by their folder.
    pub(super) deferred: BTreeMap<String, u64>,
    /// Why the last scan failed.
    pub(super) scan_problem: Option<String>,
    /// Why changes are noticed late.
    pub(super) watch_problem: Option<String>,
    /// The scan that runs.
    pub(super) scan: Option<ScanProgress>,
}

/// A share at work.
#[derive(Debug)]
pub(super) struct ShareEntry {
    /// Its number in the database.
    pub(super) id: i64,
    /// The folder.
    pub(super) path: PathBuf,
    /// What the paths of its files begin with.
    pub(super) name: String,
    /// What has to be looked at.
    pub(super) touched: Touched,
    /// Bytes hashed by the scan that runs.
    pub(super) bytes_hashed: Arc<AtomicU64>,
    state: Mutex<ShareState>,
}

impl ShareEntry {
    pub(super) fn new(row: ShareRow, totals: Totals, quiet: Duration) -> Self {
        let state =
            ShareState { totals, online: row.online, device: row.device, ..ShareState::default() };
        Self {
            id: row.id,
            path: row.path,
            name: row.name,
            touched: Touched::new(quiet),
            bytes_hashed: Arc::default(),
            state: Mutex::new(state),
        }
    }

    /// What is known at the moment. Never hold it across an `await`.
    pub(super) fn state(&self) -> MutexGuard<'_, ShareState> {
        // Each change of the state is complete in itself, also when a thread panicked after it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the local API says of it.
    pub(super) fn describe(&self) -> Share {
        let state = self.state();
        let bytes_hashed = self.bytes_hashed.load(Ordering::Relaxed);
        Share {
            path: self.path.clone(),
            name: self.name.clone(),
            files: state.totals.files.try_into().unwrap_or(0),
            bytes: state.totals.bytes.try_into().unwrap_or(0),
            scan: state.scan.clone().map(|scan| ScanProgress { bytes_hashed, ..scan }),
            unreadable: state.unreadable,
            unreadable_examples: state.examples.clone(),
            waiting_files: state.deferred.values().sum(),
            problem: state.scan_problem.clone().or_else(|| state.watch_problem.clone()),
        }
    }
}
