//! What a download does with its sources.

use super::script::{Script, Scripted};
use super::*;
use skein_net::CloseReason;
use tokio::sync::Barrier;

#[tokio::test]
async fn files_of_every_odd_length_arrive_whole() {
    let (server, client) = (Node::new(1), Node::new(2));
    let _serving = server.serve();
    for size in [1, 1023, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 7]
    {
        let bytes = content_bytes(size);
        let content = server.share(&bytes);
        let id = client.start(content, vec![server.source()]).await;
        let download = client.done(id).await;
        assert_eq!((download.size, download.verified), (Some(size), size));
        assert!(std::fs::read(&download.path).unwrap() == bytes, "{size} bytes differ");
    }
    let left: Vec<_> = std::fs::read_dir(client.inbox())
        .unwrap()
        .filter(|entry| {
            entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "skein-part")
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_file_comes_from_all_sources_at_the_same_time() {
    let bytes = content_bytes(24 * MIB);
    let gate = Arc::new(Barrier::new(3));
    let sources: Vec<Scripted> = (1..=3)
        .map(|seed| {
            let gate = Some(Arc::clone(&gate));
            Scripted::new(seed, Script { bytes: bytes.clone(), gate, ..Script::default() })
        })
        .collect();
    let client = Node::new(9);
    let id = client.start(id_of(&bytes), sources.iter().map(Scripted::source).collect()).await;
    // Each source waits until all three have been asked for bytes: one after the other would
    // never get there.
    let download = client.done(id).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
    assert!(sources.iter().all(|source| source.sent() > 0));
    assert!(download.trouble.is_empty(), "{:?}", download.trouble);
}

#[tokio::test]
async fn a_source_that_dies_is_replaced_and_nothing_is_lost() {
    let bytes = content_bytes(6 * MIB);
    let script = Script { bytes: bytes.clone(), stops_after: Some(3 * MIB), ..Script::default() };
    let dying = Scripted::new(1, script);
    let (honest, client) = (Node::new(2), Node::new(3));
    let content = honest.share(&bytes);
    let id = client.start(content, vec![dying.source()]).await;
    client.until(id, |download| download.verified > 2 * MIB).await;
    dying.endpoint.close(CloseReason::Leaving).await;
    client.until(id, |download| !download.trouble.is_empty()).await;
    let _serving = honest.serve();
    client.transfers().add_sources(&content, vec![honest.source()]);
    let download = client.done(id).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
    // Hashes and cut-off groups are little; what the dying source brought was not fetched again.
    let sent = honest.transfers().upload_stats().bytes;
    assert!(sent < 4 * MIB + 100 * KIB, "{sent} bytes were fetched from the second source");
}

#[tokio::test]
async fn a_source_that_sends_wrong_bytes_is_banned_and_the_rest_kept() {
    let bytes = content_bytes(4 * MIB);
    let liar = Scripted::new(1, Script { bytes: bytes.clone(), flips: true, ..Script::default() });
    let (honest, client) = (Node::new(2), Node::new(3));
    let content = honest.share(&bytes);
    let id = client.start(content, vec![liar.source()]).await;
    let download = client.until(id, |download| !download.trouble.is_empty()).await;
    assert!(download.trouble[0].contains("wrong bytes"), "{:?}", download.trouble);
    let asked = liar.ranges().len();
    let _serving = honest.serve();
    client.transfers().add_sources(&content, vec![liar.source(), honest.source()]);
    let download = client.done(id).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
    assert_eq!(liar.ranges().len(), asked, "a banned source is not asked again");
}

#[tokio::test]
async fn a_source_that_claims_a_wrong_length_is_banned() {
    let bytes = content_bytes(MIB);
    for claim in [0, 1, MIB - 1, MIB + 1, 2 * MIB, 1 << 40, u64::MAX] {
        let script = Script { bytes: bytes.clone(), claim: Some(claim), ..Script::default() };
        let liar = Scripted::new(1, script);
        let (honest, client) = (Node::new(2), Node::new(3));
        let content = honest.share(&bytes);
        let _serving = honest.serve();
        let id = client.start(content, vec![liar.source()]).await;
        client.until(id, |download| !download.trouble.is_empty()).await;
        client.transfers().add_sources(&content, vec![honest.source()]);
        let download = client.done(id).await;
        assert_eq!(download.size, Some(MIB), "claimed {claim}");
        assert!(std::fs::read(&download.path).unwrap() == bytes);
    }
}

#[tokio::test]
async fn a_download_without_sources_finds_some_by_itself() {
    let (server, client) = (Node::new(1), Node::new(2));
    let bytes = content_bytes(100 * KIB);
    let content = server.share(&bytes);
    let _serving = server.serve();
    *client.finder.sources.lock().unwrap() = vec![server.source(), client.source()];
    let id = client.start(content, Vec::new()).await;
    let download = client.done(id).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
    assert_eq!(client.finder.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_file_of_the_same_name_is_not_overwritten() {
    let (server, client) = (Node::new(1), Node::new(2));
    let _serving = server.serve();
    let (first, second) = (content_bytes(1000), content_bytes(2000));
    std::fs::create_dir_all(client.inbox()).unwrap();
    std::fs::write(client.inbox().join("file.bin"), "mine").unwrap();
    let mut paths = Vec::new();
    for bytes in [&first, &second] {
        let id = client.start(server.share(bytes), vec![server.source()]).await;
        let path = client.done(id).await.path;
        assert!(std::fs::read(&path).unwrap() == *bytes);
        paths.push(path.file_name().unwrap().to_owned());
    }
    assert_eq!(paths, ["file (1).bin", "file (2).bin"]);
    assert_eq!(std::fs::read(client.inbox().join("file.bin")).unwrap(), b"mine");
}

#[tokio::test]
async fn to_start_twice_is_one_download() {
    let (server, client) = (Node::new(1), Node::new(2));
    let _serving = server.serve();
    let content = server.share(&content_bytes(50 * KIB));
    let first = client.start(content, Vec::new()).await;
    let second = client.start(content, vec![server.source()]).await;
    assert_eq!(first, second);
    let path = client.done(first).await.path;
    assert_eq!(client.start(content, Vec::new()).await, first, "it is here already");
    std::fs::remove_file(path).unwrap();
    let again = client.start(content, vec![server.source()]).await;
    assert_ne!(again, first, "it is gone, so it is fetched anew");
    client.done(again).await;
    assert_eq!(client.transfers().list().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_started_is_refused_with_the_reason() {
    let client = Node::new(2);
    let content = ContentId::from_bytes([1; 32]);
    let file = tempfile::NamedTempFile::new().unwrap();
    for (dir, why) in [
        (PathBuf::from("inbox"), "inbox is not an absolute path"),
        (file.path().join("dir"), "cannot download to"),
    ] {
        let refused = client.start_in(&dir, content).await.unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
    let empty = client.start_in(&client.inbox(), id_of(b"")).await;
    assert!(matches!(empty, Err(TransferError::Empty)));
    assert!(matches!(client.transfers().cancel(7).await, Err(TransferError::NotFound(7))));
}

#[tokio::test]
async fn what_was_to_come_in_private_is_looked_for_everywhere_once_the_user_wants_it() {
    let (server, client) = (Node::new(1), Node::new(2));
    let bytes = content_bytes(100 * KIB);
    let content = server.share(&bytes);
    let _serving = server.serve();
    let inbox = client.inbox();
    let folder = || Folder::Usual(&inbox);
    let transfers = client.transfers();
    let claim = transfers.start_private(content, "song", Vec::new(), folder()).await.unwrap();
    let id = claim.id();
    transfers.give_up(claim).await;
    client.until(id, |download| download.state == DownloadState::Cancelled).await;
    assert_eq!(client.finder.asked.load(Ordering::SeqCst), 0, "it is nobody's business");
    client.finder.sources.lock().unwrap().push(server.source());
    assert_eq!(client.start(content, Vec::new()).await, id);
    client.done(id).await;
}

#[tokio::test]
async fn what_comes_in_private_is_looked_for_everywhere_as_soon_as_the_user_wants_it_too() {
    let (server, client) = (Node::new(1), Node::new(2));
    let bytes = content_bytes(100 * KIB);
    let content = server.share(&bytes);
    let _serving = server.serve();
    let inbox = client.inbox();
    let folder = Folder::Usual(&inbox);
    let transfers = client.transfers();
    let claim = transfers.start_private(content, "song", Vec::new(), folder).await.unwrap();
    let id = claim.id();
    client.finder.sources.lock().unwrap().push(server.source());
    assert_eq!(client.start(content, Vec::new()).await, id);
    client.done(id).await;
}

#[tokio::test]
async fn what_several_want_ends_when_the_last_one_gives_it_up() {
    let client = Node::new(2);
    let (content, inbox) = (ContentId::from_bytes([7; 32]), client.inbox());
    let folder = || Folder::Usual(&inbox);
    let transfers = client.transfers();
    let one = transfers.start_private(content, "song", Vec::new(), folder()).await.unwrap();
    let other = transfers.start_private(content, "song", Vec::new(), folder()).await.unwrap();
    let (id, is_over) = (one.id(), |download: &Download| download.state.is_final());
    transfers.give_up(one).await;
    assert!(!client.until(id, |_| true).await.state.is_final());
    transfers.give_up(other).await;
    client.until(id, is_over).await;

    // What the user wants as well goes on.
    let claim = transfers.start_private(content, "song", Vec::new(), folder()).await.unwrap();
    assert_eq!(client.start(content, Vec::new()).await, id);
    transfers.give_up(claim).await;
    assert!(!client.until(id, |_| true).await.state.is_final());
}
