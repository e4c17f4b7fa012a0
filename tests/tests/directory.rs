//! The directory: users found by their names, files fetched by their ids alone.

#![allow(clippy::expect_used)]

use skein_node::api::types::{DownloadState, NamedNode};
use skein_tests::command::Outcome;
use skein_tests::node::{Node, follow};
use skein_tests::{Network, files};

#[tokio::test]
async fn a_user_is_found_by_name_and_seen_to_go() {
    let network = Network::start().await;
    let _supernodes = network.supernodes(["goose", "gander", "gosling", "drake"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let (node, address) = (alice.id(), alice.address());
    let parent = alice.status().await.attachment.parent;

    let found = bob.find_until("@alice", |outcome, _| outcome.code() == Some(0)).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].node, found[0].online), (node, true));
    assert_eq!(found[0].parent, parent);
    assert_eq!(found[0].addresses.first().map(|a| a.port()), Some(address.port()));
    let own = bob.find_until("goose", |outcome, _| outcome.code() == Some(0)).await;
    assert_eq!(own[0].parent, None, "a supernode has no parent");

    // Without a word: the parent notices, and says so.
    let alice = alice.kill();
    let is_gone = |outcome: &Outcome, nodes: &[NamedNode]| {
        outcome.code() == Some(1) && !nodes.is_empty() && outcome.refusal().contains("last seen")
    };
    let found = bob.find_until("@alice", is_gone).await;
    assert_eq!((found[0].node, found[0].online), (node, false));

    let alice = alice.up(&[]).await;
    bob.find_until("@alice", |outcome, _| outcome.code() == Some(0)).await;
    let _ = alice.run(&["down"]).await.worked();
    bob.find_until("@alice", |outcome, nodes| outcome.code() == Some(1) && !nodes.is_empty()).await;

    // Before all of them have fetched their arcs, nobody is sure of it.
    let is_told = |outcome: &Outcome, _: &[NamedNode]| {
        outcome.code() == Some(1) && outcome.refusal().contains("knows no node of @nobody-at-all")
    };
    bob.find_until("@nobody-at-all", is_told).await;
    assert_eq!(bob.run(&["find", "!"]).await.code(), Some(2));
}

/// Waits until these supernodes keep so many sources together, for the directory.
async fn known_sources(supernodes: &[Node], count: u64) {
    skein_tests::within_patience("the sources were not put", async {
        loop {
            let mut sum = 0;
            for supernode in supernodes {
                sum += supernode.counted("skein_overlay_directory_sources").await;
            }
            if sum >= count {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_is_fetched_by_its_id_from_whom_the_directory_names() {
    let network = Network::start().await;
    let supernodes = network.supernodes(["goose", "gander", "gosling", "drake"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let folder = network.folder("music");
    let content = files::write_noise(&folder.join("wild geese.wav"), "geese", 3_000_001);
    alice.share(&folder, 1).await;
    known_sources(&supernodes, 3).await;

    let into = network.folder("fetched");
    let done = bob.get(content, &into).await;
    assert_eq!(done.state, DownloadState::Done);
    assert_eq!(files::content_of(&done.path), content);
    // Whom it is asked of first, and whether that one has all of its arc already, differs.
    let mut asked = 0;
    for supernode in &supernodes {
        asked += supernode.counted("skein_overlay_directory_lookups_total").await;
    }
    assert!(asked > 0, "nobody else knew where it is");
}

#[tokio::test]
async fn a_copy_that_is_not_complete_is_a_source_as_well() {
    let network = Network::start().await;
    let supernodes = network.supernodes(["goose", "gander"], &[]).await;
    let [alice, bob, carol] = network.nodes(["alice", "bob", "carol"]).await;
    let folder = network.folder("large");
    let content = files::write_noise(&folder.join("large.bin"), "partial", 384 * 1024 * 1024);
    alice.share(&folder, 1).await;
    let mut first = bob.start_get(content, &network.folder("bobs"));
    follow(&mut first, |download| download.verified > 0).await;
    let _alice = alice.kill();
    // Both supernodes keep both sources.
    known_sources(&supernodes, 4).await;
    let mut second = carol.start_get(content, &network.folder("carols"));
    follow(&mut second, |download| download.verified > 0).await;
}
