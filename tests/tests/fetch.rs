//! Downloads: verified, from the next source when one fails, and going on after a kill.

#![allow(clippy::expect_used)]

use skein_node::api::types::{Download, DownloadState};
use skein_proto::ContentId;
use skein_tests::node::follow;
use skein_tests::{Network, files};

/// A file that takes long enough on loopback to be interrupted: some 100 MB/s were measured with
/// an unoptimised build.
const LARGE_BYTES: usize = 384 * 1024 * 1024;

/// What may be fetched again after a kill: what came since the download last made sure of the disk.
const MAY_BE_LOST: u64 = 64 * 1024 * 1024;

#[tokio::test]
async fn a_file_is_fetched_whole_and_verified() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let folder = network.folder("music");
    // Not a whole number of chunk groups.
    let content = files::write_noise(&folder.join("wild geese.wav"), "geese", 3_000_001);
    alice.share(&folder, 1).await;

    let into = network.folder("fetched");
    let done = bob.get(content, &into).await;
    assert_eq!(done.state, DownloadState::Done);
    assert_eq!((done.verified, done.resumed), (3_000_001, 0));
    assert_eq!(done.path, into.join("wild geese.wav"));
    assert_eq!(files::content_of(&done.path), content);
}

#[tokio::test]
async fn a_hit_is_fetched_by_its_number_and_a_taken_name_is_left_alone() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let folder = network.folder("music");
    let content = files::write_text(&folder.join("geese.txt"), "honk");
    alice.share(&folder, 1).await;

    let into = network.folder("fetched");
    let mine = files::write_text(&into.join("geese.txt"), "mine");
    let number = bob.search(&["geese"]).await.only().number.to_string();
    let outcome = bob.run(&["get", &number, "-o", into.to_str().expect("plain")]).await.worked();
    let done: Download = outcome.json().pop().expect("it says how it ended");
    assert_eq!(files::content_of(&done.path), content);
    assert_eq!(files::content_of(&into.join("geese.txt")), mine);
}

#[tokio::test]
async fn a_content_that_nobody_has_is_waited_for_and_then_fetched() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let folder = network.folder("late");
    let content = files::write_noise(&folder.join("late.bin"), "late", 50_000);

    let mut get = bob.start_get(content, &network.folder("fetched"));
    follow(&mut get, |download| matches!(download.state, DownloadState::Waiting { .. })).await;
    alice.share(&folder, 1).await;
    let done = follow(&mut get, |download| download.state == DownloadState::Done).await;
    assert_eq!(files::content_of(&done.path), content);
}

#[tokio::test]
async fn a_download_goes_on_with_the_next_source_when_one_is_killed() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice, bob, carol] = network.nodes(["alice", "bob", "carol"]).await;
    let folder = network.folder("large");
    let content = files::write_noise(&folder.join("large.bin"), "two sources", LARGE_BYTES);
    alice.share(&folder, 1).await;
    bob.share(&folder, 1).await;

    let mut get = carol.start_get(content, &network.folder("fetched"));
    follow(&mut get, |download| download.verified > 0).await;
    let (used, _other) =
        if alice.status().await.uploads_active > 0 { (alice, bob) } else { (bob, alice) };
    used.kill();

    let done = follow(&mut get, |download| download.state == DownloadState::Done).await;
    assert_eq!(files::content_of(&done.path), content);
}

#[tokio::test]
async fn a_killed_downloader_goes_on_where_it_was() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let folder = network.folder("large");
    let content = files::write_noise(&folder.join("large.bin"), "resumed", LARGE_BYTES);
    alice.share(&folder, 1).await;

    let into = network.folder("fetched");
    let mut get = bob.start_get(content, &into);
    let quarter = LARGE_BYTES as u64 / 4;
    let seen = follow(&mut get, |download| download.verified >= quarter).await;
    let bob = bob.kill();
    assert!(!get.ended().await.success(), "the command should tell that the daemon is gone");
    assert!(!into.join("large.bin").exists(), "what is half-done does not look like the file");

    let bob = bob.up(&["--role", "ordinary"]).await;
    let done = bob.get(content, &into).await;
    assert!(done.resumed > 0, "{done:?}");
    assert!(done.resumed + MAY_BE_LOST >= seen.verified, "{done:?} after {seen:?}");
    assert_eq!(files::content_of(&done.path), content);
}

#[tokio::test]
async fn a_source_that_changed_its_file_sends_nothing_wrong() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice, bob, carol] = network.nodes(["alice", "bob", "carol"]).await;
    let folders = [network.folder("of-alice"), network.folder("of-bob")];
    let mut contents: Vec<ContentId> = Vec::new();
    for (owner, folder) in [&alice, &bob].into_iter().zip(&folders) {
        contents.push(files::write_noise(&folder.join("song.bin"), "the song", 4_000_000));
        owner.share(folder, 1).await;
    }
    let content = contents[0];
    // The bytes change under the same length and time, so that no scan notices it.
    let file = folders[0].join("song.bin");
    let modified = std::fs::metadata(&file).and_then(|meta| meta.modified()).expect("it is there");
    files::write_noise(&file, "another song", 4_000_000);
    std::fs::File::options()
        .write(true)
        .open(&file)
        .and_then(|file| file.set_modified(modified))
        .expect("the time can be set back");

    let done = carol.get(content, &network.folder("fetched")).await;
    assert_eq!(files::content_of(&done.path), content);
}

#[tokio::test]
async fn a_download_that_is_over_can_be_forgotten_and_one_that_is_not_stays() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let folder = network.folder("music");
    let content = files::write_noise(&folder.join("geese.bin"), "geese", 300_001);
    alice.share(&folder, 1).await;
    let done = bob.get(content, &network.folder("fetched")).await;
    // Nobody has this one.
    let nothing = ContentId::from_bytes([7; 32]);
    let mut waiting = bob.start_get(nothing, &network.folder("fetched"));
    let waits = |download: &Download| matches!(download.state, DownloadState::Waiting { .. });
    let waiting = follow(&mut waiting, waits).await;

    for (id, part) in [(waiting.id, "call it off"), (99, "no download number 99")] {
        let refused = bob.run(&["downloads", "forget", &id.to_string()]).await;
        assert_ne!(refused.code(), Some(0), "{refused:?}");
        assert!(refused.refusal().contains(part), "{}", refused.refusal());
    }
    for wrong in [&["downloads", "forget"][..], &["downloads", "forget", "3", "--over"]] {
        assert_eq!(bob.run(wrong).await.code(), Some(2), "{wrong:?}");
    }
    let told: Vec<serde_json::Value> =
        bob.run(&["downloads", "forget", &done.id.to_string()]).await.worked().json();
    assert_eq!(told[0]["ids"], serde_json::json!([done.id]));
    assert_eq!(files::content_of(&done.path), content, "the file stays");
    let left: Vec<Download> = bob.run(&["downloads"]).await.worked().json();
    assert_eq!(left.iter().map(|download| download.id).collect::<Vec<_>>(), [waiting.id]);

    let _ = bob.run(&["downloads", "cancel", &waiting.id.to_string()]).await.worked();
    let _ = bob.run(&["downloads", "forget", "--over"]).await.worked();
    assert_eq!(bob.run(&["downloads"]).await.worked().json::<Download>(), []);
}
