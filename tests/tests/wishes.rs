//! Standing queries: told when somebody shares what was wished for, once, also across restarts.

#![allow(clippy::expect_used)]

use skein_node::api::types::Wish;
use skein_proto::ContentId;
use skein_tests::{Network, Node, PATIENCE, files};
use std::time::Duration;

/// What came of the only wish.
async fn came(node: &Node) -> Vec<ContentId> {
    let wishes = node.api().wishes().await.expect("the daemon answers");
    wishes[0].hits.iter().map(|hit| hit.content).collect()
}

async fn until_came(node: &Node, count: usize) -> Vec<ContentId> {
    let mut events = node.api().events().await.expect("the daemon answers");
    tokio::time::timeout(PATIENCE, async {
        loop {
            let came = came(node).await;
            if came.len() >= count {
                return came;
            }
            // Any event may be the one that is waited for; a hit that came before the stream was
            // open is in the list by then.
            let _ = tokio::time::timeout(Duration::from_secs(1), async {
                futures_util::StreamExt::next(&mut events).await
            })
            .await;
        }
    })
    .await
    .expect("what was wished for is told")
}

#[tokio::test]
async fn a_wish_is_told_once_wherever_it_is_shared_and_across_a_restart() {
    let network = Network::start().await;
    let _supernodes = network.supernodes(["goose", "swan"], &["--max-children", "1"]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let added: Vec<Wish> = bob.run(&["wish", "add", "north", "waltz"]).await.worked().json();
    assert_eq!(added[0].number, 1);
    let again = bob.run(&["wish", "add", "north", "waltz"]).await;
    assert!(again.refusal().contains("wish 1 already"), "{again:?}");
    let unknown = bob.run(&["wish", "rm", "7"]).await;
    assert!(unknown.refusal().contains("no wish 7"), "{unknown:?}");

    let folder = network.folder("music");
    let first = files::write_text(&folder.join("North Wind Waltz.txt"), "waltz");
    alice.share(&folder, 1).await;
    assert_eq!(until_came(&bob, 1).await, [first]);

    let bob = bob.kill().up(&["--role", "ordinary"]).await;
    bob.until("attached again", |status| status.attachment.parent.is_some()).await;
    let second = files::write_text(&folder.join("Waltz of the North.txt"), "another");
    alice.published(2).await;
    assert_eq!(until_came(&bob, 2).await, [first, second], "each once");

    let _ = bob.run(&["wish", "rm", "1"]).await.worked();
    assert!(bob.api().wishes().await.expect("the daemon answers").is_empty());
}
