//! Who becomes a supernode among real processes, and what that survives.

#![allow(clippy::expect_used)]

use skein_node::api::types::Status;
use skein_proto::Role;
use skein_tests::Network;
use skein_tests::drill::{self, Plan};
use std::time::Duration;

#[tokio::test]
async fn a_network_without_supernodes_elects_them_and_outlives_the_death_of_a_third() {
    let plan = Plan {
        nodes: 13,
        max_children: 4,
        searchers: 3,
        calm: Duration::from_secs(3),
        patience: Duration::from_secs(240),
    };
    let report = drill::run(plan, |news| eprintln!("{news}")).await;
    eprintln!("{report}");
    let (before, killed, after) = report.supernodes;
    // Four children each: ten nodes need three supernodes at least.
    assert!(before >= 3 && after >= 3 && killed >= 1, "{report}");
    assert!(report.orphans > 0, "the fullest had children: {report}");
    assert!(report.is_whole(), "{report}");
    let [calm, hurt, afterwards] = &report.searches;
    assert!([calm, hurt, afterwards].iter().all(|searches| searches.all > 0), "{report}");
}

#[tokio::test]
async fn the_willing_one_is_promoted_and_everybody_is_told_why_they_are_what_they_are() {
    let network = Network::start().await;
    let words = ["--max-children", "3", "--promotion-uptime", "1s"];
    let [goose] = network.supernodes(["goose"], &words).await;
    let unwilling = network.nodes(["alice", "bob"]).await;
    let carol = network.registered("carol").await.up(&words).await;
    // She may be promoted before it is seen that she has one.
    let is_tied =
        |status: &Status| status.attachment.parent.is_some() || status.role == Role::Super;
    carol.until("has a parent", is_tied).await;
    // There is no place left, and no standby for anyone.
    let dave = network.registered("dave").await.up(&["--role", "ordinary"]).await;

    let carol_now = carol.until("is promoted", |status| status.role == Role::Super).await;
    assert_eq!(carol_now.role_code, "invited");
    assert!(carol_now.role_reason.starts_with("invited by @goose when the others were"));
    dave.until("has a parent", |status| status.attachment.parent.is_some()).await;

    for node in unwilling.iter().chain([&dave]) {
        let status = node.status().await;
        assert_eq!((status.role, status.role_code.as_str()), (Role::Ordinary, "user-wish"));
        assert!(status.role_reason.contains("its user wants it so"), "{}", status.role_reason);
        assert!(status.supernode.is_none());
    }

    let shown: Vec<Status> = goose.run(&["status"]).await.worked().json();
    let seen = shown[0].supernode.as_ref().expect("it is one");
    assert_eq!(seen.capacity, 3);
    let words = &seen.outlook.words;
    assert!(words.contains("full"), "the demand in plain words: {words}");
    let capacity = shown[0].capacity.as_ref().expect("the machine was measured");
    assert_eq!((capacity.children, capacity.limited_by.as_str()), (3, "the setting max_children"));
}
