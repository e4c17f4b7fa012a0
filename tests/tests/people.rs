//! What people say to each other: delivered once, in order, whoever is away or killed meanwhile.

#![allow(clippy::expect_used)]

use skein_node::api::buddies::{Buddy, PresenceState};
use skein_node::api::chat::{ChatLine, ChatState, PeopleEvent};
use skein_tests::{Network, Node, Process, command, within_patience};
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
async fn what_is_said_to_somebody_away_comes_once_and_in_order_though_the_sender_is_killed() {
    let network = Network::start().await;
    let [_goose] = network.supernodes(["goose"], &[]).await;
    let [alice] = network.nodes(["alice"]).await;
    let bob = network.registered("bob").await;
    let first = say(&alice, "@bob", "one", "0s").await;
    assert_eq!((first.state, first.node), (ChatState::Queued, None));
    let alice = alice.kill().up(&["--role", "ordinary"]).await;
    let second = say(&alice, "@bob", "two", "0s").await;
    assert_eq!(second.state, ChatState::Queued);
    let _ = alice.run(&["chat"]).await.worked();
    let alice = alice.kill().up(&["--role", "ordinary"]).await;

    let bob = bob.up(&["--role", "ordinary"]).await;
    let came = until_history(&bob, "@alice", |lines| lines.len() >= 2).await;
    assert_eq!(texts(&came), ["one", "two"]);
    let sent = until_history(&alice, "@bob", |lines| {
        lines.iter().all(|line| line.state == ChatState::Delivered)
    })
    .await;
    let ids = |lines: &[ChatLine]| lines.iter().map(|line| line.id).collect::<Vec<_>>();
    assert_eq!(ids(&sent), [first.id, second.id]);
    assert_eq!(ids(&came), ids(&sent));
    assert_eq!(bob.counted("skein_people_messages_kept_total").await, 2);
}

#[tokio::test]
async fn a_receiver_that_is_killed_again_and_again_has_everything_once() {
    let network = Network::start().await;
    let [_goose] = network.supernodes(["goose"], &[]).await;
    let [alice, mut bob] = network.nodes(["alice", "bob"]).await;
    knows(&alice, "bob").await;
    assert_eq!(say(&alice, "@bob", "0", "60s").await.state, ChatState::Delivered);
    let _ = say(&bob, "@alice", "alice is known, so she may say a lot", "60s").await;
    let mut said = vec!["0".to_owned()];
    for round in 1..=3 {
        let texts: Vec<String> = (0..15).map(|number| format!("{round} {number}")).collect();
        let outcome =
            alice.run(&["chat", "@bob", "--send", &texts.join("\n"), "--wait", "0s"]).await;
        let _ = outcome.worked();
        said.extend(texts);
        // Some of it is there, some on its way.
        let user = bob.kill();
        bob = user.up(&["--role", "ordinary"]).await;
    }
    let sent = |lines: &[ChatLine]| {
        let mine = lines.iter().filter(|line| line.outgoing);
        mine.map(|line| (line.id, line.text.clone(), line.state)).collect::<Vec<_>>()
    };
    let ours = until_history(&alice, "@bob", |lines| {
        sent(lines).iter().all(|(_, _, state)| *state == ChatState::Delivered)
    })
    .await;
    let came = history(&bob, "@alice").await;
    let came: Vec<&ChatLine> = came.iter().filter(|line| !line.outgoing).collect();
    assert_eq!(came.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), said);
    let ids: Vec<_> = sent(&ours).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(came.iter().map(|line| line.id).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn nothing_is_kept_of_who_is_blocked() {
    let network = Network::start().await;
    let [_goose] = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    knows(&alice, "bob").await;
    let _ = bob.run(&["buddies", "block", "@alice"]).await.worked();
    let refused = alice.run(&["chat", "@bob", "--send", "hello", "--wait", "60s"]).await;
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    assert!(refused.refusal().contains("takes no messages of yours"), "{refused:?}");
    assert_eq!(refused.json::<ChatLine>()[0].state, ChatState::Refused);
    assert_eq!(history(&bob, "@alice").await, []);
    let answer = bob.run(&["chat", "@alice", "hello", "again"]).await;
    assert!(answer.refusal().contains("unblock"), "{answer:?}");

    let _ = bob.run(&["buddies", "unblock", "@alice"]).await.worked();
    assert_eq!(say(&alice, "@bob", "again", "60s").await.state, ChatState::Delivered);
    let words = alice.run(&["chat", "@bob", "good", "morning", "--wait", "60s"]).await.worked();
    assert_eq!(words.json::<ChatLine>()[0].text.as_str(), "good morning");
    assert_eq!(texts(&history(&bob, "@alice").await), ["again", "good morning"]);
    assert_eq!(bob.run(&["buddies", "unblock", "@alice"]).await.code(), Some(2));
}

#[tokio::test]
async fn a_conversation_shows_what_comes_and_says_what_is_typed() {
    let network = Network::start().await;
    let [_goose] = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    knows(&alice, "bob").await;
    assert_eq!(say(&alice, "@bob", "before", "60s").await.state, ChatState::Delivered);

    let log = bob.data_dir().join("chat.log");
    let mut chat = Process::spawn("chat", bob.command(&["chat", "@alice"]), &log);
    assert_eq!(next_text(&mut chat).await, (false, "before".to_owned()));
    let _ = say(&alice, "@bob", "a bell \u{7} and an escape \u{1b}[2J", "0s").await;
    assert_eq!(next_text(&mut chat).await, (false, "a bell  and an escape [2J".to_owned()));
    chat.say("typed");
    assert_eq!(next_text(&mut chat).await, (true, "typed".to_owned()));
    until_history(&alice, "@bob", |lines| texts(lines).contains(&"typed")).await;
    until_history(&bob, "@alice", |lines| {
        lines.iter().all(|line| matches!(line.state, ChatState::Read | ChatState::Delivered))
    })
    .await;
    chat.close_stdin();
    assert!(chat.ended().await.success());
}

/// The next message that a conversation shows: whether it is the user's own, and its text.
async fn next_text(chat: &mut Process) -> (bool, String) {
    loop {
        if let PeopleEvent::Message(line) = chat.next_json().await.expect("it goes on") {
            return (line.outgoing, line.text);
        }
    }
}

/// The next change of a buddy that is as wanted.
async fn next_buddy(watch: &mut Process, wanted: impl Fn(&Buddy) -> bool) -> Buddy {
    within_patience("the buddy does not change as it should", async {
        loop {
            // The first is of the list, the others are events: both have the fields of a buddy.
            let buddy: Buddy = watch.next_json().await.expect("it goes on");
            if wanted(&buddy) {
                return buddy;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_buddy_comes_and_goes_and_is_held_to_its_key() {
    let network = Network::start().await;
    let [_goose] = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    knows(&alice, "bob").await;
    let key = bob.id();
    let added: Vec<Buddy> = alice.run(&["buddies", "add", "@bob"]).await.worked().json();
    assert_eq!(added[0].keys, [key]);
    let command = alice.command(&["buddies", "--watch"]);
    let mut watch = Process::spawn("watch", command, &alice.data_dir().join("watch.log"));
    let there = next_buddy(&mut watch, |buddy| buddy.presence == PresenceState::Online).await;
    assert_eq!(there.node, Some(key));
    let _ = bob.run(&["down"]).await.worked();
    drop(bob);
    let gone = next_buddy(&mut watch, |buddy| buddy.presence == PresenceState::Offline).await;
    assert!(gone.seen > 0 && gone.path.is_none(), "{gone:?}");

    // Somebody who knows the password makes another key for the name.
    let other = network.user("bob").with_data_dir(&network.folder("another"));
    let login = other.run(&["login", "bob", "--ticket", network.ticket()]).await;
    let _ = login.worked();
    let other = other.up(&["--role", "ordinary"]).await;
    let warned = next_buddy(&mut watch, |buddy| !buddy.new_keys.is_empty()).await;
    assert_eq!((warned.new_keys, warned.keys), (vec![other.id()], vec![key]));
    let held = say(&alice, "@bob", "for bob only", "0s").await;
    assert_eq!(held.state, ChatState::Queued);
    within_patience("nobody says why", async {
        let chats = || async { alice.api().chats().await.expect("it answers") };
        while !chats().await[0].waiting.as_ref().is_some_and(|why| why.contains("trust")) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    })
    .await;
    assert_eq!(history(&other, "@alice").await, []);

    let trusted: Vec<Buddy> = alice.run(&["buddies", "trust", "@bob"]).await.worked().json();
    assert_eq!((&trusted[0].keys[..], &trusted[0].new_keys[..]), (&[key, other.id()][..], &[][..]));
    let came = until_history(&other, "@alice", |lines| !lines.is_empty()).await;
    assert_eq!(texts(&came), ["for bob only"]);
    let _ = alice.run(&["buddies", "rm", "@bob"]).await.worked();
    assert_eq!(alice.run(&["buddies"]).await.worked().stdout(), "");
    assert_eq!(alice.run(&["buddies", "trust", "@bob"]).await.code(), Some(2));
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
        &["buddies", "add", "@g oose"],
        &["buddies", "add", "@goose"],
        &["buddies", "rm", "@swan"],
        &["buddies", "trust", "@swan", "no-node"],
        &["buddies", "unblock", "@swan"],
    ] {
        let outcome = goose.run(wrong).await;
        assert_eq!(outcome.code(), Some(2), "{wrong:?}: {outcome:?}");
        let _ = outcome.refusal();
    }
    assert_eq!(history(&goose, "@swan").await, []);
}

#[tokio::test]
async fn who_writes_to_a_name_that_nobody_has_is_told_so_at_once() {
    let network = Network::start().await;
    let [_goose] = network.supernodes(["goose"], &[]).await;
    let [alice, _bob] = network.nodes(["alice", "bob"]).await;
    knows(&alice, "bob").await;
    let command =
        command::for_people(alice.data_dir(), &["chat", "@swan", "hello", "--wait", "1h"]);
    let mut said = Process::spawn("chat", command, &alice.data_dir().join("log"));
    let line = said.next_line().await.expect("it ends before the hour is over");
    assert!(line.contains("1 message is queued") && line.contains("no node of @swan"), "{line}");
    assert!(said.ended().await.success());

    // What is written to it line by line is told of at the end.
    for (peer, ends) in [
        ("@swan", ["2 messages are queued", "no node of @swan"]),
        ("@bob", ["delivered to", "@bob"]),
    ] {
        let log = alice.data_dir().join(peer);
        let command = command::for_people(alice.data_dir(), &["chat", peer, "--wait", "60s"]);
        let mut talk = Process::spawn("chat", command, &log);
        talk.say("hello");
        talk.say("are you there?");
        talk.close_stdin();
        let mut lines = Vec::new();
        while let Some(line) = talk.next_line().await {
            lines.push(line);
        }
        assert!(talk.ended().await.success());
        let last = lines.last().expect("the end");
        assert!(ends.iter().all(|end| last.contains(end)), "{lines:?}");
    }
}
