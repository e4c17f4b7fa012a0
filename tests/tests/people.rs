//! What people say to each other: delivered once, in order, whoever is away or killed meanwhile.

#![allow(clippy::expect_used)]

use skein_node::api::chat::{ChatLine, ChatState};
use skein_tests::{Network, Node, within_patience};
use std::time::Duration;

/// How often a history is looked at that nobody follows.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What was said with somebody, as `skein chat --history` tells it.
async fn history(node: &Node, with: &str) -> Vec<ChatLine> {
    node.run(&["chat", with, "--history", "--last", "1000"]).await.worked().json()
}

/// Waits until what was said with somebody is as wanted.
async fn until_history(
    node: &Node,
    with: &str,
    wanted: impl Fn(&[ChatLine]) -> bool,
) -> Vec<ChatLine> {
    let name = with.parse().expect("a name");
    within_patience(&format!("the history of {} and {with} is another", node.name()), async {
        loop {
            let lines = node.api().chat_history(&name, 1_000, 0).await.expect("it answers");
            if wanted(&lines) {
                return lines;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    })
    .await
}

/// Says something, and answers with what became of it within the wait.
async fn say(node: &Node, to: &str, text: &str, wait: &str) -> ChatLine {
    let said = node.run(&["chat", to, "--send", text, "--wait", wait]).await.worked();
    said.json().pop().expect("the message")
}

fn texts(lines: &[ChatLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

async fn knows(node: &Node, name: &str) {
    node.find_until(name, |_, nodes| nodes.iter().any(|node| node.online)).await;
}

#[tokio::test]
async fn a_message_to_somebody_online_is_in_both_histories() {
    let network = Network::start().await;
    let [_goose] = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    knows(&alice, "bob").await;

    let sent = say(&alice, "@bob", "hello", "60s").await;
    assert_eq!((sent.state, sent.node), (ChatState::Delivered, Some(bob.id())));
    let came = history(&bob, "@alice").await;
    assert_eq!(texts(&came), ["hello"]);
    assert_eq!((came[0].id, came[0].node), (sent.id, Some(alice.id())));
    assert_eq!((came[0].outgoing, came[0].state), (false, ChatState::Unread));
    assert_eq!(history(&alice, "@bob").await, [sent]);

    let answered = say(&bob, "@alice", "hello\nhow are you?", "60s").await;
    assert_eq!((answered.text.as_str(), answered.state), ("how are you?", ChatState::Delivered));
    assert_eq!(texts(&history(&alice, "@bob").await), ["hello", "hello", "how are you?"]);
    let unread: Vec<ChatLine> = alice.run(&["chat", "--unread"]).await.worked().json();
    assert_eq!(texts(&unread), ["hello", "how are you?"]);
    assert_eq!(alice.run(&["chat", "--unread"]).await.worked().stdout(), "", "they count as read");
}

#[tokio::test]
async fn what_is_wrong_is_said_in_one_line() {
    let network = Network::start().await;
    let [goose] = network.supernodes(["goose"], &[]).await;
    let long = "x".repeat(4_097);
    for wrong in [
        &["chat", "@g oose"][..],
        &["chat", "@swan/xyz", "--history"],
        &["chat", "--send", "hello"],
        &["chat", "@swan", "--send", " "],
        &["chat", "@swan", "--send", &long],
        &["chat", "@goose", "--send", "my own name"],
        &["chat", "@swan", "--history", "--last", "0"],
        &["chat", "@swan", "--forget"],
    ] {
        let outcome = goose.run(wrong).await;
        assert_eq!(outcome.code(), Some(2), "{wrong:?}: {outcome:?}");
        let _ = outcome.refusal();
    }
    assert_eq!(history(&goose, "@swan").await, []);
}
