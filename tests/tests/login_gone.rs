//! The login service is off the path of everything but registering.

#![allow(clippy::expect_used)]

use skein_tests::{Found, Network, files};

#[tokio::test]
async fn the_network_goes_on_without_its_login_service() {
    let mut network = Network::start().await;
    let _supernodes = network.supernodes(["goose", "swan"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let folder = network.folder("music");
    let content = files::write_text(&folder.join("tide.txt"), "tide");
    alice.share(&folder, 1).await;
    // What a restart begins with: the parent has told of the others by then.
    bob.until("has a standby", |status| status.attachment.standby.is_some()).await;

    network.login().kill();
    let is_there = |found: &Found| found.hits.len() == 1;
    assert_eq!(bob.search_until(&["tide"], is_there).await.only().content, content);
    let done = bob.get(content, &network.folder("fetched")).await;
    assert_eq!(files::content_of(&done.path), content);

    let _ = bob.run(&["down"]).await.worked();
    let bob = bob.kill().up(&["--role", "ordinary"]).await;
    bob.until("has a parent again", |status| status.attachment.parent.is_some()).await;
    assert_eq!(bob.search_until(&["tide"], is_there).await.only().content, content);
}

#[tokio::test]
async fn a_killed_node_comes_back_from_its_cache() {
    let mut network = Network::start().await;
    let _supernodes = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let folder = network.folder("music");
    files::write_text(&folder.join("tide.txt"), "tide");
    alice.share(&folder, 1).await;
    alice
        .until("has stored its supernodes", |_| {
            alice.home().supernodes().is_ok_and(|known| !known.is_empty())
        })
        .await;

    network.login().kill();
    let alice = alice.kill().up(&["--role", "ordinary"]).await;
    // What it shares is published again without being added again.
    alice.published(1).await;
    bob.search_until(&["tide"], |found| found.hits.len() == 1).await;
}

#[tokio::test]
async fn a_login_service_that_returns_is_used_again() {
    let mut network = Network::start().await;
    let [goose] = network.supernodes(["goose"], &[]).await;
    network.login().kill();
    let early = network.user("alice").register().await;
    assert!(early.refusal().contains("cannot be reached"), "{early:?}");

    network.restart_login().await;
    let [alice] = network.nodes(["alice"]).await;
    assert_eq!(alice.status().await.attachment.parent, Some(goose.id()));
}
