//! Supernodes that die, and what their loss costs.

#![allow(clippy::expect_used)]

use skein_node::api::types::SearchEvent;
use skein_proto::query::StopReason;
use skein_tests::node::SEARCH_AGAIN;
use skein_tests::{Found, Network, Node, files, within_patience};

/// Neighbours that a supernode has asked because their tables did not exclude them, and those of
/// them that had nothing.
const ASKS: &str = "skein_overlay_table_asks_total";
const MISSES: &str = "skein_overlay_table_misses_total";

#[tokio::test]
async fn a_child_of_a_killed_supernode_is_searchable_again_through_its_standby() {
    let network = Network::start().await;
    let supernodes = network.supernodes(["goose", "swan", "duck"], &[]).await;
    let [alice] = network.nodes(["alice"]).await;
    let folder = network.folder("music");
    let content = files::write_text(&folder.join("low tide.txt"), "tide");
    alice.share(&folder, 1).await;
    let named = "has a standby whose name is known";
    let tied = alice.until(named, |status| status.attachment.standby_name.is_some()).await;
    let standby = supernodes.iter().find(|node| Some(node.id()) == tied.attachment.standby);
    assert_eq!(
        tied.attachment.standby_name.as_ref().map(|name| name.as_str()),
        standby.map(|node| node.name())
    );

    let is_parent = |node: &_| Some(Node::id(node)) == tied.attachment.parent;
    let (parent, others): (Vec<_>, Vec<_>) = supernodes.into_iter().partition(is_parent);
    drop(parent);

    let searcher = others.first().expect("two are left");
    let found = searcher
        .search_until(&["tide"], |found| {
            let sources = found.hits.iter().flat_map(|hit| &hit.sources);
            sources
                .map(|source| source.parent)
                .any(|parent| Some(parent) == tied.attachment.standby)
        })
        .await;
    assert_eq!(found.only().content, content);

    let moved = alice.status().await.attachment;
    let lost = tied.attachment.parents_lost + 1;
    assert_eq!((moved.parent, moved.parents_lost), (tied.attachment.standby, lost));
    let recovery = moved.last_recovery_ms.expect("it was measured");
    eprintln!("searchable again {recovery} ms after the loss was noticed");
}

#[tokio::test]
async fn a_supernode_that_dies_in_mid_search_costs_only_its_own_hits() {
    let network = Network::start().await;
    let supernodes = network.supernodes(["goose", "swan", "duck"], &["--max-children", "1"]).await;
    let children = network.nodes(["alice", "bob", "carol"]).await;
    for child in &children {
        let folder = network.folder(&format!("of-{}", child.name()));
        files::write_text(&folder.join(format!("tide of {}.txt", child.name())), child.name());
        child.share(&folder, 1).await;
    }
    let [alice, bob, carol] = children;
    // Tables of what supernodes have travel on their own: one that is older than the file would
    // say that its supernode need not be asked.
    let [of_alice, of_bob] = [&alice, &bob].map(|child| parent_of(child, &supernodes));
    for (child, parent) in [(&alice, of_alice.await), (&bob, of_bob.await)] {
        for other in ["alice", "bob", "carol"].into_iter().filter(|name| *name != child.name()) {
            asked_by_table(child, parent, &["tide", other]).await;
        }
    }
    let parent_of_carol = carol.status().await.attachment.parent;
    let is_dying = |node: &Node| Some(node.id()) == parent_of_carol;
    let (mut dying, others): (Vec<_>, Vec<_>) = supernodes.into_iter().partition(is_dying);
    let dying = dying.first_mut().expect("the parent is one of them");

    // Frozen it is connected, but answers nothing: the search is in its middle for as long as
    // that.
    let of_bob = bob.id();
    let in_the_middle = within_patience("no search finds bob's file before it ends", async {
        loop {
            dying.process().freeze();
            let mut search = alice.start_search(&["tide"]);
            let mut events = Vec::new();
            while let Some(event) = search.next_json().await {
                let is_from_bob = is_from(&event, of_bob);
                events.push(event);
                if is_from_bob {
                    return (search, events);
                }
            }
            // The machine was busy for longer than a search waits. Links do not outlive many seconds
            // of frost, so that the tables may have to travel again.
            dying.process().thaw();
            for (child, other) in [(&alice, "bob"), (&alice, "carol")] {
                asked_by_table(child, parent_of(child, &others).await, &["tide", other]).await;
            }
        }
    });
    let (mut search, mut events) = in_the_middle.await;
    dying.process().kill();
    while let Some(event) = search.next_json().await {
        events.push(event);
    }

    let found = Found::gather(events);
    assert_eq!(found.names(), ["tide of alice.txt", "tide of bob.txt"]);
    let coverage = found.report.coverage;
    assert_eq!((coverage.supernodes_asked, coverage.supernodes_known), (2, 3));
    assert_eq!(coverage.stopped, StopReason::TimedOut);
    assert!(!found.report.is_complete());
}

async fn parent_of<'a>(child: &Node, supernodes: &'a [Node]) -> &'a Node {
    let parent = child.status().await.attachment.parent;
    supernodes.iter().find(|node| Some(node.id()) == parent).expect("the parent is one of them")
}

/// Searches until the table of a neighbour of the searcher's parent tells that it has this.
async fn asked_by_table(searcher: &Node, parent: &Node, words: &[&str]) {
    within_patience("no table tells of what was published", async {
        loop {
            let before = parent.counted(ASKS).await - parent.counted(MISSES).await;
            let found = searcher.search(words).await;
            let after = parent.counted(ASKS).await - parent.counted(MISSES).await;
            if found.hits.len() == 1 && after > before {
                return;
            }
            tokio::time::sleep(SEARCH_AGAIN).await;
        }
    })
    .await;
}

fn is_from(event: &SearchEvent, node: skein_proto::NodeId) -> bool {
    matches!(event, SearchEvent::Hit(hit) if hit.sources.iter().any(|source| source.node == node))
}

#[tokio::test]
async fn a_supernode_that_ends_in_order_hands_its_children_over() {
    let network = Network::start().await;
    let mut supernodes = network.supernodes(["goose", "swan"], &[]).await;
    let [alice] = network.nodes(["alice"]).await;
    let tied = alice.until("has a standby", |status| status.attachment.standby.is_some()).await;
    let parent = supernodes
        .iter_mut()
        .find(|node| Some(node.id()) == tied.attachment.parent)
        .expect("the parent is one of them");
    let _ = parent.run(&["down"]).await.worked();
    assert!(parent.process().ended().await.success());
    alice.until("moved", |status| status.attachment.parent == tied.attachment.standby).await;
}
