//! Starting and ending a node.

#![allow(clippy::expect_used)]

use skein_tests::{Network, within_patience};
use std::fs::File;

#[tokio::test]
async fn a_node_ends_in_order_when_it_is_asked_to() {
    let network = Network::start().await;
    let mut by_command = network.registered("alice").await.up(&[]).await;
    let _ = by_command.run(&["down"]).await.worked();
    assert!(by_command.process().ended().await.success());
    let gone = by_command.run(&["status"]).await;
    assert!(gone.refusal().contains(" up`"), "{gone:?}");

    let mut by_signal = network.registered("bob").await.up(&[]).await;
    by_signal.process().terminate();
    assert!(by_signal.process().ended().await.success());
}

#[tokio::test]
async fn a_node_does_not_outlive_who_started_it() {
    let network = Network::start().await;
    let mut alice = network.registered("alice").await.up(&[]).await;
    alice.process().close_stdin();
    assert!(alice.process().ended().await.success());
}

#[tokio::test]
async fn two_daemons_do_not_share_a_data_folder() {
    let network = Network::start().await;
    let alice = network.registered("alice").await.up(&[]).await;
    let second = alice.run(&["up", "--listen", "127.0.0.1:0"]).await;
    assert!(second.refusal().contains(" down`"), "{second:?}");
    assert_eq!(alice.status().await.identity.node, alice.id(), "the first one goes on");
}

#[tokio::test]
async fn a_killed_node_starts_again_as_who_it_was() {
    let network = Network::start().await;
    let alice = network.registered("alice").await.up(&[]).await;
    let id = alice.id();
    let user = alice.kill();
    let died = user.run(&["status"]).await;
    assert!(died.refusal().contains(" up`"), "{died:?}");
    let alice = within_patience("it does not start", user.up(&[])).await;
    assert_eq!(alice.id(), id);
    assert_eq!(
        alice.status().await.identity.name.as_ref().map(|name| name.as_str()),
        Some("alice")
    );
}

#[tokio::test]
async fn the_log_of_a_node_in_the_background_is_put_aside_when_it_is_full() {
    const FULL: u64 = 10 * 1024 * 1024;
    let network = Network::start().await;
    let user = network.registered("alice").await;
    let log = user.data_dir().join("skein.log");
    File::create(&log).and_then(|log| log.set_len(FULL)).expect("it is ours");
    let alice = user.up(&["--background", "--log-level", "debug"]).await;
    let aside = alice.data_dir().join("skein.log.1");
    assert_eq!(aside.metadata().expect("it was put aside").len(), FULL);
    let text = std::fs::read_to_string(&log).expect("a new one was begun");
    assert!(text.contains("DEBUG"), "{text}");
}
