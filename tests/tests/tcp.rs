//! Nodes that have nothing but TCP.
#![allow(clippy::expect_used)]

use skein_node::api::types::{DownloadState, Udp};
use skein_tests::{Network, files};

#[tokio::test]
async fn a_node_without_udp_attaches_searches_and_downloads() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice] = network.nodes(["alice"]).await;
    let folder = network.folder("music");
    let content = files::write_noise(&folder.join("wild geese.wav"), "geese", 3_000_001);
    alice.share(&folder, 1).await;

    let bob = network.registered("bob").await.up(&["--no-udp", "--role", "ordinary"]).await;
    let status = bob.until("has a parent", |status| status.attachment.parent.is_some()).await;
    assert_eq!(status.udp, Udp::Off);
    let hit = bob.search_until(&["geese"], |found| !found.hits.is_empty()).await;
    assert_eq!(hit.only().content, content);
    let done = bob.get(content, &network.folder("fetched")).await;
    assert_eq!((done.state, done.verified), (DownloadState::Done, 3_000_001));
    assert_eq!(files::content_of(&done.path), content);
}

#[tokio::test]
async fn what_a_node_without_udp_shares_is_found_and_fetched() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let bob = network.registered("bob").await.up(&["--no-udp", "--role", "ordinary"]).await;
    let folder = network.folder("music");
    let content = files::write_noise(&folder.join("wild geese.wav"), "geese", 300_001);
    bob.share(&folder, 1).await;

    let [alice] = network.nodes(["alice"]).await;
    let hit = alice.search_until(&["geese"], |found| !found.hits.is_empty()).await;
    assert_eq!(hit.only().content, content);
    let done = alice.get(content, &network.folder("fetched")).await;
    assert_eq!(files::content_of(&done.path), content);
}
