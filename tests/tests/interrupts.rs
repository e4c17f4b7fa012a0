//! How commands end by Ctrl-C: with 0 where that is how they end, with 130 where it calls them off.

#![allow(clippy::expect_used)]

use serde_json::Value;
use skein_tests::{Network, Node, Process, files};

/// A command that has said something, so that it listens for Ctrl-C, and what it said.
async fn running(network: &Network, node: &Node, words: &[&str]) -> (Process, Value) {
    let log = network.folder("logs").join("interrupted");
    let mut process = Process::spawn(words[0], node.command(words), &log);
    let first = process.next_json().await;
    let first = first.unwrap_or_else(|| panic!("{words:?}: {}", process.log()));
    (process, first)
}

#[tokio::test]
async fn what_goes_on_until_ctrl_c_ends_well_by_it_and_what_is_called_off_does_not() {
    let network = Network::start().await;
    let [_goose] = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let _ = alice.find_until("bob", |_, nodes| nodes.iter().any(|node| node.online)).await;
    let _ = bob.run(&["service", "add", "any", "9", "--allow", "alice"]).await.worked();
    let _ = alice.run(&["buddies", "add", "@bob"]).await.worked();
    let _ = alice.run(&["chat", "@bob", "--send", "hello", "--wait", "60s"]).await.worked();
    let file = network.folder("of alice").join("song");
    let _ = files::write_noise(&file, "song", 1_000);
    let path = file.to_str().expect("a plain path");
    let _ = alice.run(&["send", "@bob", path, "--detach"]).await.worked();

    for (words, code) in [
        (&["ping", "@bob", "--interval", "50ms"][..], 0),
        (&["ping", "@bob", "--interval", "50ms", "--count", "1000000"], 130),
        (&["buddies", "--watch"], 0),
        (&["inbox", "--watch", "--sent"], 0),
        (&["chat", "@bob"], 0),
        (&["forward", "0", "@bob:any"], 0),
    ] {
        let (mut process, mut event) = running(&network, &alice, words).await;
        if words[0] == "ping" {
            // One that was answered: a change of the path may be told before it.
            while event["event"] != "pong" {
                event = process.next_json().await.expect("a further event");
            }
        }
        process.interrupt();
        let ended = process.ended().await;
        assert_eq!(ended.code(), Some(code), "{words:?}: {}", process.log());
    }
}

#[tokio::test]
async fn a_download_that_is_called_off_says_how_to_go_on() {
    let network = Network::start().await;
    let [_goose] = network.supernodes(["goose"], &[]).await;
    let [alice] = network.nodes(["alice"]).await;
    let content = "07".repeat(32);
    for code in [143, 130] {
        let (mut get, _) = running(&network, &alice, &["get", &content]).await;
        match code {
            143 => get.terminate(),
            _ => get.interrupt(),
        }
        let ended = get.ended().await;
        let log = get.log();
        assert_eq!(ended.code(), Some(code), "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(last.starts_with("skein: stopped"), "{log}");
        assert!(last.contains(" get ") && last.contains(&content), "{log}");
    }
}
