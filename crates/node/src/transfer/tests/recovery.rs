//! What survives: crashes, cancelling, full disks.

use super::script::{Script, Scripted};
use super::*;

fn silent_after(seed: u8, bytes: &[u8], limit: u64) -> Scripted {
    let script = Script { bytes: bytes.to_vec(), stops_after: Some(limit), ..Script::default() };
    Scripted::new(seed, script)
}

/// Bytes that the record on disk confirms.
fn confirmed(node: &Node, content: &ContentId) -> u64 {
    let journal = Journal::open(node.dir.path().join("downloads")).unwrap();
    journal.get(content).map_or(0, |record| record.runs().len() * GROUP_BYTES)
}

async fn until_confirmed(node: &Node, content: &ContentId, bytes: u64) {
    let wait = async {
        while confirmed(node, content) < bytes {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it is never confirmed");
}

#[tokio::test]
async fn a_killed_download_goes_on_by_itself_without_fetching_again() {
    let bytes = content_bytes(8 * MIB);
    let content = id_of(&bytes);
    let (honest, mut client) = (Node::new(2), Node::new(3));
    honest.share(&bytes);
    let silent = silent_after(1, &bytes, 3 * MIB);
    let id = client.start(content, vec![silent.source()]).await;
    client.until(id, |download| download.verified > 2 * MIB).await;
    until_confirmed(&client, &content, 2 * MIB).await;
    client.kill();
    let kept = confirmed(&client, &content);

    let _serving = honest.serve();
    client.up();
    let resumed = client.until(id, |download| !download.state.is_checking()).await.resumed;
    assert!(resumed >= kept, "{resumed} of {kept}");
    client.transfers().add_sources(&content, vec![honest.source()]);
    let download = client.done(id).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
    assert_eq!(download.resumed, resumed);
    let sent = honest.transfers().upload_stats().bytes;
    let missing = 8 * MIB - resumed;
    assert!(sent >= missing && sent < missing + missing / 50, "{sent} for {missing}");
}

/// What a killed download has left that had every byte of a file, and none of them on record.
fn left_behind(node: &Node, id: u64, bytes: &[u8]) -> ContentId {
    let (content, dir) = (id_of(bytes), node.inbox());
    let journal = Journal::open(node.dir.path().join("downloads")).unwrap();
    std::fs::create_dir_all(&dir).unwrap();
    let part = dir.join(format!("{id}.skein-part"));
    std::fs::write(&part, bytes).unwrap();
    let tree = PostOrderMemOutboard::create(bytes, BLOCK_SIZE).data;
    std::fs::write(journal.outboard(&content), tree).unwrap();
    let record = Record {
        id,
        content,
        name: id.to_string(),
        dir,
        stage: Stage::Active,
        size: Some(bytes.len() as u64),
        part: Some(part),
        target: None,
        verified: Vec::new(),
        sources: Vec::new(),
        copy_of: None,
        copies: Vec::new(),
        private: false,
        seen: None,
        doubted: None,
    };
    journal.save(&record).unwrap();
    content
}

#[tokio::test]
async fn a_start_does_not_wait_until_what_is_there_was_looked_at() {
    let (gate, disk) = ShutDisk::new();
    let mut client = Node::with(3, Setup { disk, ..Setup::default() });
    client.kill();
    let files: Vec<Vec<u8>> = (1..=3).map(|number| content_bytes(number * MIB)).collect();
    for (id, bytes) in (1..).zip(&files) {
        left_behind(&client, id, bytes);
    }

    client.up();
    for download in client.transfers().list() {
        assert_eq!(download.state, DownloadState::Checking { read: 0, of: download.id * MIB });
    }
    assert_eq!((client.transfers().running(), client.transfers().checking()), (3, 3));
    // Two are looked at; the third one need not wait for its turn to be called off.
    tokio::time::timeout(PATIENCE / 2, client.transfers().cancel(3)).await.unwrap().unwrap();
    assert_eq!(client.until(3, |_| true).await.state, DownloadState::Cancelled);
    drop(gate);
    for (id, bytes) in (1..).zip(&files[..2]) {
        let done = client.done(id).await;
        assert_eq!(done.resumed, done.verified);
        assert!(std::fs::read(done.path).unwrap() == *bytes);
    }
    // What was not looked at the last time is looked at when it goes on.
    assert_eq!(client.start(id_of(&files[2]), Vec::new()).await, 3);
    assert!(std::fs::read(client.done(3).await.path).unwrap() == files[2]);
}

#[tokio::test]
async fn a_stopped_download_keeps_every_verified_byte() {
    let bytes = content_bytes(8 * MIB);
    let content = id_of(&bytes);
    let mut client = Node::new(3);
    let silent = silent_after(1, &bytes, 3 * MIB);
    let id = client.start(content, vec![silent.source()]).await;
    let verified = client.until(id, |download| download.verified > MIB).await.verified;
    client.transfers().stop().await;
    client.kill();
    client.up();
    let download = client.until(id, |download| !download.state.is_checking()).await;
    assert!(download.resumed >= verified, "{} of {verified}", download.resumed);
    assert!(!download.state.is_final());
}

#[tokio::test]
async fn a_cancelled_download_can_be_taken_up_again() {
    let bytes = content_bytes(8 * MIB);
    let content = id_of(&bytes);
    let (honest, mut client) = (Node::new(2), Node::new(3));
    honest.share(&bytes);
    let _serving = honest.serve();
    let silent = silent_after(1, &bytes, 3 * MIB);
    let id = client.start(content, vec![silent.source()]).await;
    client.until(id, |download| download.verified > MIB).await;
    client.transfers().cancel(id).await.unwrap();
    let cancelled = client.until(id, |_| true).await;
    assert_eq!(cancelled.state, DownloadState::Cancelled);
    client.kill();
    client.up();
    assert_eq!(client.until(id, |_| true).await.state, DownloadState::Cancelled);
    assert_eq!(client.start(content, vec![honest.source()]).await, id);
    let download = client.done(id).await;
    assert!(download.resumed >= cancelled.verified);
    assert!(std::fs::read(&download.path).unwrap() == bytes);
}

#[tokio::test]
async fn a_forgotten_download_leaves_nothing_but_a_complete_file() {
    let (whole, cut) = (content_bytes(MIB), content_bytes(8 * MIB));
    let (honest, mut client) = (Node::new(2), Node::new(3));
    let _serving = honest.serve();
    let done = client.start(honest.share(&whole), vec![honest.source()]).await;
    let path = client.done(done).await.path;
    let silent = silent_after(1, &cut, 3 * MIB);
    let id = client.start(id_of(&cut), vec![silent.source()]).await;
    client.until(id, |download| download.verified > MIB).await;

    let running = client.transfers().forget(id).await.unwrap_err();
    assert!(matches!(running, TransferError::StillRuns(_)), "{running}");
    client.transfers().cancel(id).await.unwrap();
    let freed = client.transfers().forget(id).await.unwrap();
    assert!((MIB..8 * MIB).contains(&freed), "{freed}");
    let complete = client.transfers().cancel(done).await.unwrap_err();
    assert!(matches!(complete, TransferError::Complete { .. }), "{complete}");
    client.transfers().forget(done).await.unwrap();

    assert!(client.transfers().list().is_empty());
    let gone = client.transfers().forget(done).await;
    assert!(matches!(gone, Err(TransferError::NotFound(_))));
    let left: Vec<_> =
        std::fs::read_dir(client.inbox()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [path]);
    let journal = client.dir.path().join("downloads");
    assert_eq!(std::fs::read_dir(journal).unwrap().count(), 0);
    client.kill();
    client.up();
    assert!(client.transfers().list().is_empty());
}

#[tokio::test]
async fn a_download_whose_file_was_deleted_begins_anew() {
    let bytes = content_bytes(4 * MIB);
    let content = id_of(&bytes);
    let (honest, mut client) = (Node::new(2), Node::new(3));
    honest.share(&bytes);
    let silent = silent_after(1, &bytes, 2 * MIB);
    let id = client.start(content, vec![silent.source()]).await;
    client.until(id, |download| download.verified > MIB).await;
    client.transfers().stop().await;
    client.kill();
    std::fs::remove_file(client.inbox().join("file.bin.skein-part")).unwrap();
    let _serving = honest.serve();
    client.up();
    client.transfers().add_sources(&content, vec![honest.source()]);
    let download = client.done(id).await;
    assert_eq!(download.resumed, 0);
    assert!(std::fs::read(&download.path).unwrap() == bytes);
}

#[tokio::test]
async fn a_crash_just_before_the_last_word_is_no_loss() {
    let (server, mut client) = (Node::new(1), Node::new(2));
    let _serving = server.serve();
    let bytes = content_bytes(MIB);
    let content = server.share(&bytes);
    let id = client.start(content, vec![server.source()]).await;
    let path = client.done(id).await.path;
    client.kill();
    // The file has its name, but the record was not told.
    let journal = Journal::open(client.dir.path().join("downloads")).unwrap();
    let mut record = journal.get(&content).unwrap();
    record.stage = Stage::Naming;
    record.part = Some(client.inbox().join("file.bin.skein-part"));
    journal.save(&record).unwrap();
    client.up();
    let download = client.done(id).await;
    assert_eq!(download.path, path);
    assert!(std::fs::read(path).unwrap() == bytes);
}

#[tokio::test]
async fn a_full_disk_makes_a_download_wait_and_loses_nothing() {
    let disk = SmallDisk::default();
    disk.room.store(3 * MIB, Ordering::SeqCst);
    let client = Node::with(3, Setup { disk: Arc::new(disk.clone()), ..Setup::default() });
    let bytes = content_bytes(8 * MIB);
    let server = Scripted::new(1, Script { bytes: bytes.clone(), ..Script::default() });
    let id = client.start(id_of(&bytes), vec![server.source()]).await;
    let full = |download: &Download| match &download.state {
        DownloadState::Waiting { reason } => reason.contains("disk is full"),
        _ => false,
    };
    let waiting = client.until(id, full).await;
    assert!(waiting.verified > MIB, "{}", waiting.verified);
    disk.room.store(u64::MAX, Ordering::SeqCst);
    let download = client.done(id).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
    // With the hashes, which are little, and the part of a batch that still had room.
    let written = disk.written.load(Ordering::SeqCst);
    assert!(written < 8 * MIB + 600 * KIB, "{written} bytes were written");
}

#[tokio::test]
async fn a_download_that_does_not_fit_does_not_begin() {
    let disk = SmallDisk::default();
    let client = Node::with(3, Setup { disk: Arc::new(disk.clone()), ..Setup::default() });
    let server = Node::new(1);
    let _serving = server.serve();
    let bytes = content_bytes(MIB);
    let id = client.start(server.share(&bytes), vec![server.source()]).await;
    let told = |download: &Download| match &download.state {
        DownloadState::Waiting { reason } => reason.contains("1.0 MiB are needed, 0 B are free"),
        _ => false,
    };
    client.until(id, told).await;
    assert_eq!(std::fs::read_dir(client.inbox()).unwrap().count(), 0);
    disk.room.store(u64::MAX, Ordering::SeqCst);
    let download = client.done(id).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_to_is_a_failure_that_can_be_mended() {
    let writable = Arc::new(AtomicUsize::new(0));
    let disk = Arc::new(ReadOnlyDisk { writable: Arc::clone(&writable) });
    let client = Node::with(3, Setup { disk, ..Setup::default() });
    let server = Node::new(1);
    let _serving = server.serve();
    let bytes = content_bytes(MIB);
    let content = server.share(&bytes);
    let id = client.start(content, vec![server.source()]).await;
    let failed = client.until(id, |download| download.state.is_final()).await;
    let DownloadState::Failed { reason } = failed.state else { panic!("{:?}", failed.state) };
    assert!(reason.contains("cannot write to"), "{reason}");
    writable.store(1, Ordering::SeqCst);
    assert_eq!(client.start(content, vec![server.source()]).await, id);
    let download = client.done(id).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
}
