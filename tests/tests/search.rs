//! Publishing and searching, across supernodes.

#![allow(clippy::expect_used)]

use skein_proto::Kind;
use skein_proto::query::StopReason;
use skein_tests::{Network, files};

#[tokio::test]
async fn what_a_child_shares_is_found_from_a_child_of_another_supernode() {
    let network = Network::start().await;
    // Each takes one child, so the two children have different parents.
    let _supernodes = network.supernodes(["goose", "swan"], &["--max-children", "1"]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let folder = network.folder("music");
    let content = files::write_text(&folder.join("North Wind Waltz.txt"), "waltz");
    alice.share(&folder, 1).await;

    // The tables of what supernodes have travel on their own.
    let found = bob.search_until(&["waltz", "north"], |found| found.hits.len() == 1).await;
    let hit = found.only();
    assert_eq!((hit.content, hit.path.as_str()), (content, "music/North Wind Waltz.txt"));
    let [source] = hit.sources.as_slice() else { panic!("one source: {hit:?}") };
    assert_eq!((source.node, source.name.as_str()), (alice.id(), "alice"));

    let parents = [&alice, &bob].map(async |node| node.status().await.attachment.parent);
    let [of_alice, of_bob] = futures_util::future::join_all(parents).await.try_into().expect("two");
    assert_eq!(Some(source.parent), of_alice);
    assert_ne!(of_alice, of_bob);

    let coverage = found.report.coverage;
    assert_eq!((coverage.supernodes_asked, coverage.supernodes_known), (2, 2));
    assert_eq!(coverage.stopped, StopReason::Exhausted);
}

#[tokio::test]
async fn a_supernode_shares_and_searches_too() {
    let network = Network::start().await;
    let [goose, swan] = network.supernodes(["goose", "swan"], &[]).await;
    let folder = network.folder("books");
    let content = files::write_text(&folder.join("tide tables.txt"), "04:12");
    goose.share(&folder, 1).await;
    for searcher in [&goose, &swan] {
        let found = searcher.search_until(&["tide"], |found| found.hits.len() == 1).await;
        assert_eq!(found.only().content, content);
    }
}

#[tokio::test]
async fn all_words_and_all_filters_must_match() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let folder = network.folder("things");
    files::write_text(&folder.join("Déjà Vu/blue heron.txt"), "a");
    files::write_noise(&folder.join("Déjà Vu/blue boat.jpg"), "boat", 2_000);
    files::write_noise(&folder.join("red boat.jpg"), "red", 200);
    alice.share(&folder, 3).await;

    let names = async |words: &[&str]| {
        let found = bob.search(words).await;
        found.names().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&["BLUE"]).await, ["blue boat.jpg", "blue heron.txt"]);
    assert_eq!(names(&["deja", "boat"]).await, ["blue boat.jpg"]);
    assert_eq!(names(&["blue", "red"]).await, [""; 0]);
    assert_eq!(names(&["boa"]).await, ["blue boat.jpg", "red boat.jpg"]);
    assert_eq!(names(&["blue", "--kind", Kind::Document.as_str()]).await, ["blue heron.txt"]);
    assert_eq!(names(&["boat", "--min-size", "1kB"]).await, ["blue boat.jpg"]);
    assert_eq!(names(&["boat", "--max-size", "1kB"]).await, ["red boat.jpg"]);
    assert_eq!(names(&["blue", "--ext", "TXT"]).await, ["blue heron.txt"]);
    assert_eq!(names(&["blue", "--owner", "alice", "--limit", "1"]).await.len(), 1);
    assert_eq!(names(&["blue", "--owner", "bob"]).await, [""; 0]);
}

#[tokio::test]
async fn one_content_of_two_owners_is_one_hit() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice, bob, carol] = network.nodes(["alice", "bob", "carol"]).await;
    for (owner, name) in [(&alice, "heron.txt"), (&bob, "grey heron.txt")] {
        let folder = network.folder(&format!("of-{}", owner.name()));
        files::write_text(&folder.join(name), "the same bytes");
        owner.share(&folder, 1).await;
    }
    let found = carol.search(&["heron"]).await;
    let mut owners: Vec<&str> = found.only().sources.iter().map(|s| s.name.as_str()).collect();
    owners.sort_unstable();
    assert_eq!(owners, ["alice", "bob"]);
    assert_eq!((found.report.contents, found.report.sources), (1, 2));
}

#[tokio::test]
async fn what_is_removed_is_not_found_any_more() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let folder = network.folder("music");
    files::write_text(&folder.join("kept song.txt"), "kept");
    files::write_text(&folder.join("lost song.txt"), "lost");
    alice.share(&folder, 2).await;
    assert_eq!(bob.search(&["song"]).await.names(), ["kept song.txt", "lost song.txt"]);

    std::fs::remove_file(folder.join("lost song.txt")).expect("it is there");
    alice.published(1).await;
    bob.search_until(&["song"], |found| found.names() == ["kept song.txt"]).await;

    let _ = alice.run(&["share", "rm", folder.to_str().expect("plain")]).await.worked();
    alice.published(0).await;
    bob.search_until(&["song"], |found| found.hits.is_empty()).await;
}

#[tokio::test]
async fn a_node_without_a_parent_says_so() {
    let network = Network::start().await;
    let alone = network.registered("alone").await.up(&["--role", "ordinary"]).await;
    let found = alone.search(&["anything"]).await;
    assert!(found.hits.is_empty());
    assert_eq!(found.report.coverage.stopped, StopReason::NotAttached);
}
