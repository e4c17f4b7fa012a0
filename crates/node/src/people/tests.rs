//! What is kept on disk: once, in order, within bounds, over a restart.

#![allow(clippy::unwrap_used)]

use super::admission::Standing;
use super::messages::{
    Came, Kept, MAX_OF_STRANGERS, MAX_QUEUED, MAX_UNREAD, MAX_UNREAD_OF_STRANGER,
};
use super::roster::{Person, Roster};
use crate::api::chat::{ChatLine, ChatState};
use crate::home::Home;
use crate::services::Store;
use skein_proto::chat::ChatMessage;
use skein_proto::{BoundedString, ChatId, NodeId, UnixTime, Username};
use tempfile::TempDir;

const NODE: NodeId = NodeId::from_bytes([7; 32]);
const NOW: UnixTime = UnixTime(1_000);

async fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Home::open(folder.path()).unwrap()).await.unwrap();
    (folder, store)
}

fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

fn message(number: u16) -> ChatMessage {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    let text = BoundedString::truncated(&format!("text {number}"));
    ChatMessage { id: ChatId::from_bytes(id), sent: UnixTime(u64::from(number)), text }
}

async fn keep(store: &Store, peer: &str, known: bool, number: u16) -> Kept {
    let (peer, message) = (name(peer), message(number));
    let came = Came { peer: &peer, node: NODE, known, new_key: false, message: &message, now: NOW };
    store.keep_message(came).await.unwrap()
}

fn texts(lines: &[ChatLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[tokio::test]
async fn a_message_that_comes_again_is_kept_once() {
    let (_folder, store) = store().await;
    assert!(matches!(keep(&store, "bob", true, 1).await, Kept::New(_)));
    assert_eq!(keep(&store, "bob", true, 1).await, Kept::Already);
    assert!(matches!(keep(&store, "carol", true, 1).await, Kept::New(_)), "another one's id");
    assert_eq!(texts(&store.history(&name("bob"), 10, 0).await.unwrap()), ["text 1"]);
}

#[tokio::test]
async fn what_is_queued_comes_out_in_order_until_it_is_settled_also_after_a_restart() {
    let (folder, store) = store().await;
    for number in 1..=3 {
        store.queue_message(&name("bob"), &message(number)).await.unwrap().unwrap();
    }
    store.close().await;
    let store = Store::open(&Home::open(folder.path()).unwrap()).await.unwrap();
    assert_eq!(store.awaited().await.unwrap(), [name("bob")]);
    let queued = store.queued_for(&name("bob")).await.unwrap();
    assert_eq!(texts(&queued), ["text 1", "text 2", "text 3"]);
    let settled = store.settle_message(queued[0].number, ChatState::Delivered, NODE, NOW).await;
    let settled = settled.unwrap().unwrap();
    assert_eq!(
        (settled.state, settled.node, settled.since),
        (ChatState::Delivered, Some(NODE), NOW.0)
    );
    let again =
        store.settle_message(queued[0].number, ChatState::Refused, NODE, NOW).await.unwrap();
    assert_eq!(again, None, "it is settled once");
    assert_eq!(texts(&store.queued_for(&name("bob")).await.unwrap()), ["text 2", "text 3"]);
    assert_eq!(store.open_messages().await.unwrap(), (2, 0));
    store.drop_queued(&name("bob")).await.unwrap();
    assert_eq!(store.awaited().await.unwrap(), []);
}

#[tokio::test]
async fn what_was_queued_for_somebody_who_is_blocked_does_not_outlive_a_restart() {
    let (folder, store) = store().await;
    let roster = Roster::open(store.clone()).await.unwrap();
    for peer in ["eve", "bob"] {
        store.queue_message(&name(peer), &message(1)).await.unwrap().unwrap();
    }
    let queued = store.queued_for(&name("eve")).await.unwrap();
    assert!(store.is_queued(queued[0].number).await.unwrap());
    let block = |person: &mut Person| {
        person.blocked_since = Some(NOW);
        Ok(())
    };
    roster.change(&name("eve"), block).await.unwrap();
    store.close().await;

    let store = Store::open(&Home::open(folder.path()).unwrap()).await.unwrap();
    Roster::open(store.clone()).await.unwrap().drop_for_blocked().await.unwrap();
    assert_eq!(store.awaited().await.unwrap(), [name("bob")]);
    assert!(!store.is_queued(queued[0].number).await.unwrap());
}

#[tokio::test]
async fn a_queue_has_an_end() {
    let (_folder, store) = store().await;
    for number in 0..u16::try_from(MAX_QUEUED).unwrap() {
        assert!(store.queue_message(&name("bob"), &message(number)).await.unwrap().is_some());
    }
    let over = message(u16::MAX);
    assert_eq!(store.queue_message(&name("bob"), &over).await.unwrap(), None);
    assert!(store.queue_message(&name("carol"), &over).await.unwrap().is_some());
}

#[tokio::test]
async fn unread_messages_have_an_end_until_they_are_read() {
    let (_folder, store) = store().await;
    let most = u16::try_from(MAX_UNREAD_OF_STRANGER).unwrap();
    for number in 0..most {
        assert!(matches!(keep(&store, "eve", false, number).await, Kept::New(_)));
    }
    assert_eq!(keep(&store, "eve", false, most).await, Kept::Full);
    let unread = store.unread(Some(&name("eve")), 100).await.unwrap();
    store.mark_read(&name("eve"), unread[0].number, NOW).await.unwrap();
    assert!(matches!(keep(&store, "eve", false, most).await, Kept::New(_)));

    for number in 0..u16::try_from(MAX_UNREAD).unwrap() {
        assert!(matches!(keep(&store, "bob", true, number).await, Kept::New(_)));
    }
    assert_eq!(keep(&store, "bob", true, u16::MAX).await, Kept::Full);
}

#[tokio::test]
async fn all_strangers_share_one_room_in_which_what_was_read_makes_place() {
    let (_folder, store) = store().await;
    let each = MAX_UNREAD_OF_STRANGER;
    for stranger in 0..MAX_OF_STRANGERS / each {
        for number in 0..u16::try_from(each).unwrap() {
            let kept = keep(&store, &format!("eve{stranger}"), false, number).await;
            assert!(matches!(kept, Kept::New(_)), "{stranger} {number}");
        }
    }
    assert_eq!(keep(&store, "mallory", false, 1).await, Kept::Full);
    assert!(matches!(keep(&store, "bob", true, 1).await, Kept::New(_)), "friends have their own");
    store.mark_read(&name("eve3"), u64::MAX, NOW).await.unwrap();
    assert!(matches!(keep(&store, "mallory", false, 1).await, Kept::New(_)));
    assert_eq!(store.history(&name("eve3"), 100, 0).await.unwrap().len(), 15);
}

#[tokio::test]
async fn conversations_tell_what_is_open_and_the_last_word() {
    let (_folder, store) = store().await;
    keep(&store, "bob", true, 1).await;
    store.queue_message(&name("bob"), &message(2)).await.unwrap();
    keep(&store, "carol", true, 3).await;
    let all = store.conversations().await.unwrap();
    let told: Vec<_> = all
        .iter()
        .map(|one| (one.peer.as_str(), one.unread, one.queued, one.last.text.as_str()))
        .collect();
    assert_eq!(told, [("carol", 1, 0, "text 3"), ("bob", 1, 1, "text 2")]);
    assert!(store.forget_conversation(&name("bob")).await.unwrap());
    assert!(!store.forget_conversation(&name("bob")).await.unwrap());
    assert_eq!(store.conversations().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_roster_is_the_same_after_a_restart() {
    let (folder, store) = store().await;
    let roster = Roster::open(store.clone()).await.unwrap();
    let buddy = Person { buddy_since: Some(NOW), keys: vec![NODE], ..Person::default() };
    let blocked = Person { blocked_since: Some(NOW), written_to: true, ..Person::default() };
    for (who, person) in [("bob", &buddy), ("mallory", &blocked)] {
        let change = |one: &mut Person| {
            *one = person.clone();
            Ok(())
        };
        roster.change(&name(who), change).await.unwrap();
    }
    store.close().await;
    let store = Store::open(&Home::open(folder.path()).unwrap()).await.unwrap();
    let roster = Roster::open(store).await.unwrap();
    assert_eq!(roster.get(&name("bob")), Some(buddy));
    assert_eq!(roster.get(&name("mallory")), Some(blocked));
    assert_eq!(roster.standing(&name("bob"), &NODE), Standing::Known);
    let other = NodeId::from_bytes([8; 32]);
    assert_eq!(roster.standing(&name("bob"), &other), Standing::Stranger, "another key");
    assert_eq!(roster.standing(&name("mallory"), &NODE), Standing::Blocked);
    assert_eq!(roster.standing(&name("carol"), &NODE), Standing::Stranger);
}

#[tokio::test]
async fn what_a_stranger_said_takes_no_room_of_strangers_once_they_are_known() {
    let (_folder, store) = store().await;
    let roster = Roster::open(store.clone()).await.unwrap();
    for stranger in 0..MAX_OF_STRANGERS / MAX_UNREAD_OF_STRANGER {
        for number in 0..u16::try_from(MAX_UNREAD_OF_STRANGER).unwrap() {
            keep(&store, &format!("eve{stranger}"), false, number).await;
        }
    }
    assert_eq!(keep(&store, "mallory", false, 1).await, Kept::Full);
    let change = |person: &mut Person| {
        person.written_to = true;
        Ok(())
    };
    roster.change(&name("eve1"), change).await.unwrap();
    assert!(matches!(keep(&store, "mallory", false, 1).await, Kept::New(_)));
}
