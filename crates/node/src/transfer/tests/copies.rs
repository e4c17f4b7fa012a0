//! What becomes of a file that is wanted in another folder than the one where it is.

use super::*;

#[tokio::test]
async fn a_finished_file_is_put_into_another_folder_without_being_fetched_again() {
    let (server, client) = (Node::new(1), Node::new(2));
    let serving = server.serve();
    let other = client.dir.path().join("other");
    for size in [1, 16 * KIB, 3 * MIB + 7] {
        let bytes = content_bytes(size);
        let content = server.share(&bytes);
        let id = client.start(content, vec![server.source()]).await;
        let first = client.done(id).await.path;
        let sent = server.transfers().upload_stats().bytes;

        assert_eq!(client.start_in(&other, content).await.unwrap(), id);
        let copy = client.done(id).await;
        assert_eq!(copy.path.parent(), Some(&*other));
        assert!(std::fs::read(&copy.path).unwrap() == bytes, "{size} bytes differ");
        assert_eq!((copy.verified, copy.size), (size, Some(size)));
        assert!(std::fs::read(&first).unwrap() == bytes, "the first one stays");
        assert_eq!(server.transfers().upload_stats().bytes, sent);

        // It is in both folders now: neither gets another one.
        for path in [&first, &copy.path] {
            client.start_in(path.parent().unwrap(), content).await.unwrap();
            assert_eq!(client.done(id).await.path, *path);
        }
    }
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 3);
    serving.abort();
}

#[tokio::test]
async fn what_is_damaged_in_a_finished_file_is_fetched_again_for_its_copy() {
    let (server, client) = (Node::new(1), Node::new(2));
    let _serving = server.serve();
    let bytes = content_bytes(4 * MIB);
    let content = server.share(&bytes);
    let id = client.start(content, vec![server.source()]).await;
    let first = client.done(id).await.path;
    let mut damaged = bytes.clone();
    damaged[2_000_000] ^= 1;
    std::fs::write(&first, &damaged).unwrap();
    let sent = server.transfers().upload_stats().bytes;

    let other = client.dir.path().join("other");
    client.start_in(&other, content).await.unwrap();
    let copy = client.until(id, |download| download.resumed > 0).await;
    assert_eq!(copy.resumed, 4 * MIB - GROUP_BYTES);
    client.transfers().add_sources(&content, vec![server.source()]);
    let copy = client.done(id).await;
    assert!(std::fs::read(&copy.path).unwrap() == bytes);
    let sent = server.transfers().upload_stats().bytes - sent;
    assert!(sent < 300 * KIB, "{sent} bytes were fetched again");
}

/// What a crash leaves while a finished file is copied into another folder, but for what `change`
/// makes of the record: the number of the download, the finished file, and that folder.
async fn interrupted_copy(
    (server, client): (&Node, &mut Node),
    bytes: &[u8],
    change: impl FnOnce(&mut Record),
) -> (u64, PathBuf, PathBuf) {
    let content = server.share(bytes);
    let id = client.start(content, vec![server.source()]).await;
    let first = client.done(id).await.path;
    client.kill();
    let other = client.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let journal = Journal::open(client.dir.path().join("downloads")).unwrap();
    let mut record = journal.get(&content).unwrap();
    record.copy_from(first.clone());
    record.stage = Stage::Active;
    record.dir = other.clone();
    record.sources = Vec::new();
    change(&mut record);
    journal.save(&record).unwrap();
    (id, first, other)
}

#[tokio::test]
async fn a_copy_goes_on_after_a_crash() {
    let (server, mut client) = (Node::new(1), Node::new(2));
    let _serving = server.serve();
    let bytes = content_bytes(MIB);
    let (id, _, other) = interrupted_copy((&server, &mut client), &bytes, |_| {}).await;
    client.up();
    let copy = client.done(id).await;
    assert_eq!(copy.path, other.join("file.bin"));
    assert!(std::fs::read(&copy.path).unwrap() == bytes);
}

#[tokio::test]
async fn a_download_that_runs_says_where_it_goes_when_it_is_wanted_elsewhere() {
    let client = Node::new(2);
    let content = ContentId::from_bytes([1; 32]);
    let id = client.start(content, Vec::new()).await;
    let other = client.dir.path().join("other");
    let refused = client.start_in(&other, content).await.unwrap_err();
    assert!(matches!(refused, TransferError::Elsewhere { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains(&*client.inbox().to_string_lossy()), "{text}");
    assert_eq!(client.start_in(&client.inbox(), content).await.unwrap(), id);
    assert_eq!(client.start(content, Vec::new()).await, id);
}

/// A restart finds half of a file, and that the rest is to be copied from one that has the length
/// of the file and none of its bytes any more.
#[tokio::test]
async fn an_interrupted_copy_of_a_file_that_has_changed_ends_with_the_right_bytes() {
    let (server, mut client) = (Node::new(1), Node::new(2));
    let _serving = server.serve();
    let bytes = content_bytes(4 * MIB);
    let half = |record: &mut Record| {
        record.sources = vec![server.source()];
        let part = record.dir.join("file.bin.skein-part");
        let mut half = bytes.clone();
        half[2 * 1024 * 1024..].fill(0);
        std::fs::write(&part, half).unwrap();
        record.part = Some(part);
        record.verified = vec![(0, 2 * MIB / GROUP_BYTES)];
    };
    let (id, first, other) = interrupted_copy((&server, &mut client), &bytes, half).await;
    std::fs::write(&first, vec![b'!'; bytes.len()]).unwrap();

    client.up();
    let copy = client.done(id).await;
    assert_eq!(copy.path, other.join("file.bin"));
    assert!(std::fs::read(&copy.path).unwrap() == bytes);
}

#[tokio::test]
async fn a_file_that_was_changed_is_not_called_complete_when_it_is_wanted_again() {
    let (server, client) = (Node::new(1), Node::new(2));
    let _serving = server.serve();
    for size in [1_000, 4 * MIB] {
        let bytes = content_bytes(size);
        let content = server.share(&bytes);
        let id = client.start(content, vec![server.source()]).await;
        let first = client.done(id).await.path;
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(&first, &changed).unwrap();

        assert_eq!(client.start(content, vec![server.source()]).await, id);
        let again = client.done(id).await;
        assert_ne!(again.path, first, "what the user made of it is left alone");
        assert_eq!(again.path.parent(), first.parent());
        assert!(std::fs::read(&again.path).unwrap() == bytes);
        assert!(std::fs::read(&first).unwrap() == changed);
    }
}

#[tokio::test]
async fn a_file_that_was_only_touched_is_read_once_and_stays() {
    let (server, client) = (Node::new(1), Node::new(2));
    let _serving = server.serve();
    for size in [1_000, MIB] {
        let content = server.share(&content_bytes(size));
        let id = client.start(content, vec![server.source()]).await;
        let first = client.done(id).await.path;
        let sent = server.transfers().upload_stats().bytes;
        let before = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        std::fs::File::options().write(true).open(&first).unwrap().set_modified(before).unwrap();

        assert_eq!(client.start(content, vec![server.source()]).await, id);
        let again = client.done(id).await;
        assert_eq!((again.path, again.verified, again.resumed), (first.clone(), size, size));
        assert!(!again.as_left, "it was read");
        assert_eq!(server.transfers().upload_stats().bytes, sent);
        // It has been read: now it is what it is known to be.
        client.start(content, Vec::new()).await;
        let shown = client.transfers().watch(id).unwrap().borrow().clone();
        assert_eq!((shown.state, shown.path), (DownloadState::Done, first));
        assert!(shown.as_left, "it was not read again");
    }
}
