//! The library as a whole, on real folders.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod changes;
mod publishing;
mod scanning;
mod trouble;

use super::{Library, LibraryChange, LibraryConfig};
use skein_proto::{ContentId, FileMeta};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::broadcast;

/// A node's data folder beside a folder to be shared.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.data()).unwrap();
        std::fs::create_dir(place.share()).unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        // The folder for temporary files may be a link; shares are known by their real path.
        self.dir.path().canonicalize().unwrap()
    }

    fn data(&self) -> PathBuf {
        self.root().join("data")
    }

    fn share(&self) -> PathBuf {
        self.root().join("music")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.share().join(path)
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.at(from), self.at(to)).unwrap();
    }

    async fn open(&self) -> Library {
        self.open_with(quick()).await
    }

    async fn open_with(&self, config: LibraryConfig) -> Library {
        Library::open(&self.data(), config).await.unwrap()
    }

    /// A library with the folder shared and scanned.
    async fn shared(&self) -> Library {
        let library = self.open().await;
        library.add_share(&self.share()).await.unwrap();
        self.scan(&library).await;
        library
    }

    async fn scan(&self, library: &Library) {
        library.rescan(&self.share()).await.unwrap();
    }
}

/// Fails a test that would otherwise wait forever.
async fn in_time<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), event).await.expect("it happens in time")
}

/// Waits for what nothing announces.
async fn eventually(mut done: impl FnMut() -> bool) {
    in_time(async {
        while !done() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Ends a library as a killed process does: nothing that waits is stored or tidied up.
async fn kill(library: Library) {
    let tracker = library.inner.core.tracker.clone();
    drop(library);
    tracker.close();
    tracker.wait().await;
}

/// Settings under which nothing happens by itself.
fn quick() -> LibraryConfig {
    LibraryConfig::default().with_settle(Duration::ZERO).with_watch(false)
}

/// The same, but changes are noticed.
fn watching() -> LibraryConfig {
    quick().with_watch(true).with_quiet(Duration::from_millis(5))
}

async fn files(library: &Library) -> Vec<FileMeta> {
    let mut files: Vec<FileMeta> = Vec::new();
    loop {
        let page = library.files_after(files.last().map(|file| file.content), 3).await.unwrap();
        if page.is_empty() {
            return files;
        }
        files.extend(page);
    }
}

async fn paths(library: &Library) -> Vec<String> {
    let mut paths: Vec<_> = files(library).await.iter().map(|it| it.path.to_string()).collect();
    paths.sort();
    paths
}

fn content(bytes: impl AsRef<[u8]>) -> ContentId {
    ContentId::from_bytes(*blake3::hash(bytes.as_ref()).as_bytes())
}

/// Everything that was announced so far, as one change.
fn announced(changes: &mut broadcast::Receiver<Arc<LibraryChange>>) -> LibraryChange {
    let mut all = LibraryChange::default();
    while let Ok(change) = changes.try_recv() {
        all.added.extend(change.added.iter().cloned());
        all.removed.extend(change.removed.iter().copied());
    }
    all
}

fn problem(library: &Library, path: &Path) -> Option<String> {
    library.shares().into_iter().find(|share| share.path == path).and_then(|share| share.problem)
}
