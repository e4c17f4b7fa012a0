//! What the store promises, on either database.

use crate::fixture::{Database, NOW, account, name, node, on_both_stores};
use skein_login::server::store::NewAccount;
use skein_login::server::{InviteCode, Store, StoreError};
use skein_proto::login::LoginRefusal;
use skein_proto::{BoundedVec, SupernodeEntry, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const DAY: UnixTime = UnixTime(NOW.0 + UnixTime::DAY);

on_both_stores! {
    what_was_confirmed_is_there_after_a_crash,
    of_many_who_register_a_name_at_once_one_gets_it,
    a_name_that_looks_like_another_one_is_taken,
    a_node_belongs_to_one_name,
    an_invite_code_lets_in_one_of_many,
    a_registration_that_fails_leaves_nothing_behind,
    an_expired_invite_code_lets_nobody_in,
    logins_at_once_do_not_exceed_the_limit_of_nodes,
    a_node_that_was_abandoned_makes_room,
    a_revoked_node_gets_nothing_any_more,
    of_many_revoked_nodes_only_some_are_remembered,
    a_supernode_is_listed_by_its_newest_report,
    a_report_needs_a_valid_node,
    of_many_who_ask_one_is_invited,
    an_invitation_ends_with_the_first_report_or_in_time,
    two_instances_see_the_same,
    instances_that_start_at_once_do_not_stumble_over_each_other,
}

fn refused<T>(outcome: Result<T, StoreError>) -> Option<LoginRefusal> {
    match outcome {
        Ok(_) => None,
        Err(StoreError::Refused(refusal)) => Some(refusal),
        Err(other) => panic!("the store failed: {other}"),
    }
}

fn entry(number: u8, seen: u64) -> SupernodeEntry {
    SupernodeEntry {
        node: node(number),
        addresses: BoundedVec::truncated(["192.0.2.1:4701".parse().expect("an address")]),
        load_percent: 40,
        seen: UnixTime(NOW.0 + seen),
    }
}

/// Does `work` for each of `count` numbers at the same moment, over four instances whose
/// connections are open already: what one pool does in turn would be no race.
async fn race<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    database: &Database,
    count: u8,
    work: impl Fn(Store, u8) -> F,
) -> Vec<T> {
    let mut instances = Vec::new();
    for _ in 0..4 {
        instances.push(database.open().await);
    }
    let start = Arc::new(Barrier::new(usize::from(count)));
    let mut tasks = JoinSet::new();
    for (number, store) in (0..count).zip(instances.iter().cycle()) {
        let (start, work) = (Arc::clone(&start), work(store.clone(), number));
        tasks.spawn(async move {
            start.wait().await;
            work.await
        });
    }
    tasks.join_all().await
}

/// Does it again while the database is locked, or no connection to it is free: on a busy machine those
/// who race may keep one of them waiting for longer than the store does. Nothing was done then.
async fn in_turn<T, F>(work: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let done = async {
        loop {
            match work().await {
                Err(StoreError::Database(error)) if is_busy(&error.to_string()) => {}
                done => return done,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("everybody has a turn")
}

fn is_busy(error: &str) -> bool {
    error.contains("database is locked") || error.contains("pool timed out")
}

async fn register(store: &Store, text: &str, number: u8) {
    store.register(account(&name(text), number)).await.expect("registered");
}

async fn what_was_confirmed_is_there_after_a_crash(database: &Database) {
    let store = database.open().await;
    register(&store, "alice", 1).await;
    store.put_supernode(&entry(1, 0)).await.expect("stored");
    // Neither closed nor flushed: a killed process does no more than this.
    std::mem::forget(store);
    let store = database.open().await;
    let hash = store.password_hash(&name("alice")).await.expect("read");
    assert_eq!(hash.as_deref(), Some("a hash"));
    assert_eq!(store.supernodes_since(NOW, 10).await.expect("read"), [entry(1, 0)]);
}

async fn of_many_who_register_a_name_at_once_one_gets_it(database: &Database) {
    let store = database.open().await;
    let outcomes = race(database, 20, |store, number| async move {
        let name = name("alice");
        let new = account(&name, number);
        refused(in_turn(|| store.register(new)).await)
    })
    .await;
    let taken = outcomes.iter().filter(|o| **o == Some(LoginRefusal::NameTaken)).count();
    assert_eq!((taken, outcomes.iter().filter(|o| o.is_none()).count()), (19, 1));
    assert_eq!(store.nodes_of(&name("alice")).await.expect("read").len(), 1);
}

async fn a_name_that_looks_like_another_one_is_taken(database: &Database) {
    let store = database.open().await;
    register(&store, "micro", 1).await;
    assert!(store.is_taken(&name("rnicro")).await.expect("read"));
    let outcome = store.register(account(&name("rnicro"), 2)).await;
    assert_eq!(refused(outcome), Some(LoginRefusal::NameTaken));
    assert!(!store.is_taken(&name("macro")).await.expect("read"));
}

async fn a_node_belongs_to_one_name(database: &Database) {
    let store = database.open().await;
    register(&store, "alice", 1).await;
    register(&store, "bob", 2).await;
    let outcome = store.register(account(&name("carol"), 1)).await;
    assert_eq!(refused(outcome), Some(LoginRefusal::OtherName));
    let outcome = store.log_in(&name("bob"), node(1), 16, NOW, DAY).await;
    assert_eq!(refused(outcome), Some(LoginRefusal::OtherName));
    assert!(!store.is_taken(&name("carol")).await.expect("read"));
}

async fn an_invite_code_lets_in_one_of_many(database: &Database) {
    let store = database.open().await;
    let code = InviteCode::from_random(&[5; 16]);
    store.add_invite(&code, NOW, DAY).await.expect("stored");
    let outcomes = race(database, 10, |store, number| {
        let code = code.clone();
        async move {
            let name = name(&format!("user{number}"));
            let new = NewAccount { invite: Some(&code), ..account(&name, number) };
            refused(in_turn(|| store.register(new)).await)
        }
    })
    .await;
    let bad = outcomes.iter().filter(|o| **o == Some(LoginRefusal::BadInvite)).count();
    assert_eq!((bad, outcomes.iter().filter(|o| o.is_none()).count()), (9, 1));
    assert!(!store.is_invited(&code, NOW).await.expect("read"));
}

async fn a_registration_that_fails_leaves_nothing_behind(database: &Database) {
    let store = database.open().await;
    register(&store, "alice", 1).await;
    let code = InviteCode::from_random(&[5; 16]);
    store.add_invite(&code, NOW, DAY).await.expect("stored");
    let bob = name("bob");
    let new = NewAccount { invite: Some(&code), ..account(&bob, 1) };
    assert_eq!(refused(store.register(new).await), Some(LoginRefusal::OtherName));
    assert!(store.is_invited(&code, NOW).await.expect("read"), "the code is still good");
    assert!(!store.is_taken(&bob).await.expect("read"), "the name is still free");
}

async fn an_expired_invite_code_lets_nobody_in(database: &Database) {
    let store = database.open().await;
    let code = InviteCode::from_random(&[5; 16]);
    store.add_invite(&code, NOW, DAY).await.expect("stored");
    assert!(!store.is_invited(&code, DAY).await.expect("read"));
    let alice = name("alice");
    let new = NewAccount { invite: Some(&code), now: DAY, ..account(&alice, 1) };
    assert_eq!(refused(store.register(new).await), Some(LoginRefusal::BadInvite));
}

async fn logins_at_once_do_not_exceed_the_limit_of_nodes(database: &Database) {
    let store = database.open().await;
    register(&store, "alice", 0).await;
    let outcomes = race(database, 19, |store, number| async move {
        let name = name("alice");
        refused(in_turn(|| store.log_in(&name, node(1 + number), 4, NOW, DAY)).await)
    })
    .await;
    let refusals = outcomes.iter().filter(|o| **o == Some(LoginRefusal::TooManyNodes)).count();
    assert_eq!(refusals, 16);
    assert_eq!(store.nodes_of(&name("alice")).await.expect("read").len(), 4);
    store.log_in(&name("alice"), node(0), 4, NOW, DAY).await.expect("a known node may always");
}

async fn a_node_that_was_abandoned_makes_room(database: &Database) {
    let store = database.open().await;
    register(&store, "alice", 1).await;
    store.put_supernode(&entry(1, 0)).await.expect("stored");
    let later = |days| UnixTime(NOW.0 + days * UnixTime::DAY);
    let outcome = store.log_in(&name("alice"), node(2), 1, later(91), later(92)).await;
    assert_eq!(refused(outcome), Some(LoginRefusal::TooManyNodes), "90 days are not over yet");
    let just_over = UnixTime(later(91).0 + 1);
    let outcome = store.log_in(&name("alice"), node(2), 1, just_over, later(93)).await;
    assert_eq!(refused(outcome), None);
    assert_eq!(store.nodes_of(&name("alice")).await.expect("read"), [node(2)]);
}

async fn a_revoked_node_gets_nothing_any_more(database: &Database) {
    let store = database.open().await;
    register(&store, "alice", 1).await;
    store.log_in(&name("alice"), node(2), 16, NOW, DAY).await.expect("logged in");
    store.put_supernode(&entry(2, 0)).await.expect("stored");
    store.revoke(&name("alice"), node(2), 16, NOW).await.expect("revoked");
    store.revoke(&name("alice"), node(2), 16, NOW).await.expect("twice is no error");
    assert_eq!(refused(store.renew(node(2), DAY).await), Some(LoginRefusal::NodeRevoked));
    let outcome = store.log_in(&name("alice"), node(2), 16, NOW, DAY).await;
    assert_eq!(refused(outcome), Some(LoginRefusal::NodeRevoked));
    assert!(store.supernodes_since(NOW, 10).await.expect("read").is_empty());
    assert_eq!(store.renew(node(1), DAY).await.expect("renewed"), name("alice"));
    assert_eq!(refused(store.renew(node(3), DAY).await), Some(LoginRefusal::NotRegistered));
    let outcome = store.revoke(&name("alice"), node(3), 16, NOW).await;
    assert_eq!(refused(outcome), Some(LoginRefusal::NotRegistered));
}

async fn of_many_revoked_nodes_only_some_are_remembered(database: &Database) {
    let store = database.open().await;
    register(&store, "alice", 0).await;
    for number in 1..=6 {
        let now = UnixTime(NOW.0 + u64::from(number));
        store.log_in(&name("alice"), node(number), 2, now, DAY).await.expect("logged in");
        store.revoke(&name("alice"), node(number), 1, now).await.expect("revoked");
    }
    for number in 1..=2 {
        assert_eq!(store.node(node(number)).await.expect("read"), None);
    }
    for number in 3..=6 {
        assert!(store.node(node(number)).await.expect("read").expect("known").revoked);
    }
}

async fn a_supernode_is_listed_by_its_newest_report(database: &Database) {
    let store = database.open().await;
    register(&store, "alice", 1).await;
    register(&store, "bob", 2).await;
    store.put_supernode(&entry(1, 0)).await.expect("stored");
    store.put_supernode(&entry(2, 10)).await.expect("stored");
    store.put_supernode(&entry(1, 20)).await.expect("stored");
    let since = |after: u64| UnixTime(NOW.0 + after);
    let list = store.supernodes_since(NOW, 10).await.expect("read");
    assert_eq!(list, [entry(1, 20), entry(2, 10)]);
    assert_eq!(store.supernodes_since(NOW, 1).await.expect("read"), [entry(1, 20)]);
    assert_eq!(store.supernodes_since(since(11), 10).await.expect("read"), [entry(1, 20)]);
    assert_eq!(store.forget_supernodes(since(11)).await.expect("deleted"), 1);
    store.remove_supernode(node(1)).await.expect("deleted");
    assert!(store.supernodes_since(NOW, 10).await.expect("read").is_empty());
}

async fn a_report_needs_a_valid_node(database: &Database) {
    let store = database.open().await;
    let unknown = store.put_supernode(&entry(1, 0)).await;
    assert_eq!(refused(unknown), Some(LoginRefusal::NotRegistered));
    register(&store, "alice", 1).await;
    let expired = store.put_supernode(&entry(1, UnixTime::DAY)).await;
    assert_eq!(refused(expired), Some(LoginRefusal::NotRegistered));
    assert!(store.supernodes_since(NOW, 10).await.expect("read").is_empty());
}

async fn of_many_who_ask_one_is_invited(database: &Database) {
    let store = database.open().await;
    let outcomes = race(database, 20, |store, number| async move {
        in_turn(|| store.claim_invitation(node(number), NOW, DAY)).await.expect("decided")
    })
    .await;
    assert_eq!(outcomes.into_iter().filter(|invited| *invited).count(), 1);
    assert!(store.pending_invitation(NOW).await.expect("read").is_some());
}

async fn an_invitation_ends_with_the_first_report_or_in_time(database: &Database) {
    let store = database.open().await;
    register(&store, "alice", 1).await;
    let minute = UnixTime(NOW.0 + 60);
    assert!(store.claim_invitation(node(1), NOW, minute).await.expect("decided"));
    assert!(!store.claim_invitation(node(2), NOW, minute).await.expect("decided"));
    store.put_supernode(&entry(1, 0)).await.expect("stored");
    assert_eq!(store.pending_invitation(NOW).await.expect("read"), None);
    assert!(store.claim_invitation(node(2), NOW, minute).await.expect("decided"));
    assert_eq!(store.pending_invitation(minute).await.expect("read"), None);
    assert!(store.claim_invitation(node(3), minute, DAY).await.expect("decided"));
}

async fn two_instances_see_the_same(database: &Database) {
    let (one, other) = (database.open().await, database.open().await);
    register(&one, "alice", 1).await;
    one.put_supernode(&entry(1, 0)).await.expect("stored");
    assert_eq!(other.supernodes_since(NOW, 10).await.expect("read"), [entry(1, 0)]);
    let outcome = other.register(account(&name("alice"), 2)).await;
    assert_eq!(refused(outcome), Some(LoginRefusal::NameTaken));
    assert_eq!(other.renew(node(1), DAY).await.expect("renewed"), name("alice"));
}

async fn instances_that_start_at_once_do_not_stumble_over_each_other(database: &Database) {
    // Each finds an empty database and wants to make the tables.
    let mut tasks = JoinSet::new();
    for _ in 0..6 {
        let url = database.url().to_owned();
        tasks.spawn(async move { Store::open(&url).await });
    }
    for outcome in tasks.join_all().await {
        outcome.expect("opened").close().await;
    }
}

#[tokio::test]
async fn a_file_of_its_own_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("with space #1%.db");
    let store = Store::open_file(&path).await.expect("opened");
    register(&store, "alice", 1).await;
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    tokio::time::timeout(Duration::from_secs(60), store.close()).await.expect("closed");
    let store = Store::open_file(&path).await.expect("opened again");
    assert!(store.is_taken(&name("alice")).await.expect("read"));
}

#[tokio::test]
async fn another_kind_of_database_is_refused_with_what_there_is() {
    let error = Store::open("mysql://localhost/skein").await.expect_err("unknown");
    assert_eq!(error.to_string(), "a database URL begins with sqlite:// or postgres://");
}
