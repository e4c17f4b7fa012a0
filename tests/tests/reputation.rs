//! Reputation: what others sign about a node, how its user sees it, and that a kill does not take it.

#![allow(clippy::expect_used)]

use serde::Deserialize;
use skein_node::api::types::{DownloadState, ReputationStatus, Status};
use skein_tests::{Network, files};

/// Enough to count: a receipt for very few bytes is worth nothing.
const BYTES: usize = 3_000_000;

#[derive(Debug, Deserialize)]
struct Whoami {
    name: String,
    reputation: ReputationStatus,
}

#[tokio::test]
async fn what_an_uploader_was_given_survives_a_kill() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let new = alice.status().await.reputation;
    assert_eq!((new.reputation, new.byte_partners), (10, 0));

    let folder = network.folder("music");
    let content = files::write_noise(&folder.join("wild geese.wav"), "geese", BYTES);
    alice.share(&folder, 1).await;
    let done = bob.get(content, &network.folder("fetched")).await;
    assert_eq!(done.state, DownloadState::Done);

    alice.until("has a receipt", |status| status.reputation.byte_partners == 1).await;
    let shown: Vec<Status> = alice.run(&["status"]).await.worked().json();
    assert_eq!(shown[0].reputation.byte_partners, 1);
    let explained: Vec<ReputationStatus> = alice.run(&["reputation"]).await.worked().json();
    assert_eq!(explained[0].byte_partners, 1);
    let whoami: Vec<Whoami> = alice.run(&["whoami"]).await.worked().json();
    assert_eq!((whoami[0].name.as_str(), whoami[0].reputation.byte_partners), ("alice", 1));

    // What is held is written some seconds later, and what is written stays.
    let home = alice.home();
    alice
        .until("has written the receipt", |_| {
            !home.evidence().expect("it can be read").own.is_empty()
        })
        .await;
    let alice = alice.kill();
    let stored: Vec<ReputationStatus> = alice.run(&["reputation"]).await.worked().json();
    assert_eq!(stored[0].byte_partners, 1, "the data folder tells without a daemon");

    let alice = alice.up(&["--role", "ordinary"]).await;
    let again = alice.until("still has it", |status| status.reputation.byte_partners == 1).await;
    assert_eq!(again.reputation.reputation, 10, "the name of who has signed is of today");
}
