//! What a source does with requests.

use super::script::{Script, Scripted};
use super::*;
use skein_proto::BoundedVec;
use skein_proto::fetch::{ByteRange, FetchReply};

/// Asks by hand, and leaves the stream open.
pub(super) async fn ask(client: &Node, server: &Node, request: FetchRequest) -> (Message, Stream) {
    let source = server.source();
    let connection = client.endpoint.connect(source.node, &source.addresses).await.unwrap();
    let mut stream = connection.open_stream().await.unwrap();
    let answer = stream.request(&request.into(), PATIENCE).await.unwrap();
    (answer.expect("an answer"), stream)
}

pub(super) fn request(node: &Node, content: ContentId, ranges: &[(u64, u64)]) -> FetchRequest {
    let ranges = ranges.iter().map(|&(start, end)| ByteRange { start, end });
    let credential = FakeMembership::member(&node.key, 10_000).credential;
    FetchRequest { content, ranges: BoundedVec::truncated(ranges), credential }
}

#[tokio::test]
async fn a_stranger_is_refused_unless_guests_are_welcome() {
    let bytes = content_bytes(100 * KIB);
    for welcome in [false, true] {
        let config = TransferConfig { serve_guests: welcome, ..TransferConfig::default() };
        let server = Node::with(1, Setup { config, ..Setup::default() });
        let content = server.share(&bytes);
        let _serving = server.serve();
        let guest = Node::with(2, Setup { member: false, ..Setup::default() });
        let id = guest.start(content, vec![server.source()]).await;
        if welcome {
            guest.done(id).await;
        } else {
            let download = guest.until(id, |download| !download.trouble.is_empty()).await;
            assert!(download.trouble[0].contains("members"), "{:?}", download.trouble);
            assert_eq!(server.transfers().upload_stats().not_allowed, 1);
            assert_eq!(server.transfers().upload_stats().bytes, 0);
        }
    }
}

#[tokio::test]
async fn a_credential_that_is_not_good_is_worse_than_none() {
    let config = TransferConfig { serve_guests: true, ..TransferConfig::default() };
    let server = Node::with(1, Setup { config, ..Setup::default() });
    let content = server.share(&content_bytes(100));
    let _serving = server.serve();
    let client = Node::new(2);
    let mut expired = request(&client, content, &[]);
    expired.credential = FakeMembership::member(&client.key, 1_500).credential;
    let mut of_another = request(&client, content, &[]);
    of_another.credential = FakeMembership::member(&server.key, 10_000).credential;
    for bad in [expired, of_another] {
        let (answer, _stream) = ask(&client, &server, bad).await;
        assert_eq!(answer, FetchReply::NotAllowed.into());
    }
}

#[tokio::test]
async fn a_request_that_breaks_a_rule_is_answered_as_such() {
    let (server, client) = (Node::new(1), Node::new(2));
    let content = server.share(&content_bytes(40 * KIB));
    let _serving = server.serve();
    for ranges in [&[(1, 16 * KIB)][..], &[(0, 100)], &[(48 * KIB, 64 * KIB)], &[(16 * KIB, 0)]] {
        let (answer, _stream) = ask(&client, &server, request(&client, content, ranges)).await;
        assert_eq!(answer, FetchReply::BadRequest.into(), "{ranges:?}");
    }
    let unknown = request(&client, ContentId::from_bytes([1; 32]), &[]);
    assert_eq!(ask(&client, &server, unknown).await.0, FetchReply::NotFound.into());
    let probe = request(&client, content, &[]);
    let whole = FetchReply::Sending { size: 40 * KIB, have: BoundedVec::default() };
    assert_eq!(ask(&client, &server, probe).await.0, whole.into());
    let stats = server.transfers().upload_stats();
    assert_eq!((stats.bad_requests, stats.not_found, stats.requests), (4, 1, 6));
}

#[tokio::test]
async fn a_busy_source_names_a_place_and_serves_when_it_is_free() {
    let mut config = TransferConfig::default();
    config.upload.slots = 1;
    let server = Node::with(1, Setup { config, ..Setup::default() });
    // More than what may be on its way unread, so that whoever does not read holds the slot.
    let bytes = content_bytes(24 * MIB);
    let content = server.share(&bytes);
    let _serving = server.serve();
    let (greedy, patient) = (Node::new(2), Node::new(3));
    let everything = request(&greedy, content, &[(0, u64::MAX)]);
    let (answer, held) = ask(&greedy, &server, everything).await;
    assert!(matches!(answer, Message::FetchReply(FetchReply::Sending { .. })), "{answer:?}");

    let id = patient.start(content, vec![server.source()]).await;
    let busy = |download: &Download| match &download.state {
        DownloadState::Waiting { reason } => reason.contains("busy"),
        _ => false,
    };
    let waiting = patient.until(id, busy).await;
    assert!(waiting.trouble.is_empty(), "a queue is no trouble: {:?}", waiting.trouble);
    drop(held);
    let download = patient.done(id).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
    assert!(server.transfers().upload_stats().slots.queued > 0);
}

#[tokio::test]
async fn a_file_that_changed_is_never_sent_and_the_library_is_told() {
    let bytes = content_bytes(4 * MIB);
    let (server, client) = (Node::new(1), Node::new(2));
    let content = server.share(&bytes);
    let _serving = server.serve();
    let path = server.store.files.lock().unwrap()[&content].path.clone();
    // The same length, another byte in the middle.
    let mut changed = bytes.clone();
    changed[2_000_000] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    let id = client.start(content, vec![server.source()]).await;
    let stuck = client.until(id, |download| !download.trouble.is_empty()).await;
    assert!(!stuck.trouble[0].contains("wrong"), "{:?}", stuck.trouble);
    assert!(server.store.changed.load(Ordering::SeqCst) > 0);
    assert!(server.transfers().upload_stats().unreadable > 0);
    // Another source completes it.
    let honest = Scripted::new(3, Script { bytes: bytes.clone(), ..Script::default() });
    client.transfers().add_sources(&content, vec![honest.source()]);
    let download = client.done(id).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
}

#[tokio::test]
async fn a_file_that_vanished_is_not_found() {
    let (server, client) = (Node::new(1), Node::new(2));
    let content = server.share(&content_bytes(100 * KIB));
    let _serving = server.serve();
    let path = server.store.files.lock().unwrap()[&content].path.clone();
    std::fs::remove_file(path).unwrap();
    let (answer, _stream) =
        ask(&client, &server, request(&client, content, &[(0, 16 * KIB)])).await;
    assert_eq!(answer, FetchReply::NotFound.into());
    assert_eq!(server.store.changed.load(Ordering::SeqCst), 1);
    assert_eq!(server.transfers().upload_stats().active, 0, "the slot is free again");
}

#[tokio::test]
async fn a_download_under_way_serves_what_it_has() {
    let bytes = content_bytes(6 * MIB);
    let content = id_of(&bytes);
    let script = Script { bytes: bytes.clone(), stops_after: Some(3 * MIB), ..Script::default() };
    let silent = Scripted::new(1, script);
    let (half, client) = (Node::new(2), Node::new(3));
    let _serving = half.serve();
    let id = half.start(content, vec![silent.source()]).await;
    half.until(id, |download| download.verified > 2 * MIB).await;

    let second = client.start(content, vec![half.source()]).await;
    client.until(second, |download| download.verified > 2 * MIB).await;
    let honest = Scripted::new(4, Script { bytes: bytes.clone(), ..Script::default() });
    client.transfers().add_sources(&content, vec![honest.source()]);
    let download = client.done(second).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
    assert!(download.trouble.is_empty(), "{:?}", download.trouble);
}

#[tokio::test]
async fn a_finished_download_is_a_source_even_after_a_restart() {
    let (server, mut first, second) = (Node::new(1), Node::new(2), Node::new(3));
    let bytes = content_bytes(MIB + 5);
    let content = server.share(&bytes);
    let serving = server.serve();
    let id = first.start(content, vec![server.source()]).await;
    first.done(id).await;
    serving.abort();
    first.kill();
    first.up();
    let _serving = first.serve();
    let id = second.start(content, vec![first.source()]).await;
    let download = second.done(id).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
}

#[tokio::test]
async fn a_downloaded_file_that_was_moved_is_offered_to_nobody_until_it_is_wanted_again() {
    let (server, middle, client) = (Node::new(1), Node::new(2), Node::new(3));
    let (_serving, _passing_on) = (server.serve(), middle.serve());
    let content = server.share(&content_bytes(100 * KIB));
    let id = middle.start(content, vec![server.source()]).await;
    let path = middle.done(id).await.path;
    let answer = async |ranges: &[(u64, u64)]| {
        ask(&client, &middle, request(&client, content, ranges)).await.0
    };
    let not_found = Message::from(FetchReply::NotFound);
    assert_ne!(answer(&[]).await, not_found);

    let away = middle.dir.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    for ranges in [&[][..], &[(0, 16 * KIB)]] {
        assert_eq!(answer(ranges).await, not_found);
    }
    std::fs::rename(&away, &path).unwrap();
    assert_eq!(answer(&[]).await, not_found, "it is not looked at again for every request");
    assert_eq!(middle.store.changed.load(Ordering::SeqCst), 0);
    middle.start(content, Vec::new()).await;
    middle.done(id).await;
    assert_ne!(answer(&[]).await, not_found);

    // One that is damaged under its old length is given up by the first one who asks for bytes.
    std::fs::write(&path, vec![0; 100 * 1024]).unwrap();
    let source = middle.source();
    let connection = client.endpoint.connect(source.node, &source.addresses).await.unwrap();
    let mut stream = connection.open_stream().await.unwrap();
    // The stream may be reset before its answer was read.
    let asked = request(&client, content, &[(0, 16 * KIB)]);
    let _ = stream.request(&asked.into(), PATIENCE).await;
    while stream.receiver.recv_raw(1024).await.is_ok_and(|bytes| bytes.is_some()) {}
    assert_eq!(answer(&[]).await, not_found);
}
