//! What the service answers, on either database.

use crate::fixture::{
    Database, Fixture, ManualClock, NOW, credential, key, log_in, login_key, name, node,
    on_both_stores, password, refusal, register,
};
use skein_login::server::{DialBack, LoginConfig, Policy, Rate, RateLimits, Service, Store};
use skein_login::{REPORT_EXPIRY, REPORT_INTERVAL};
use skein_proto::login::{LoginRefusal, LoginReply, LoginRequest};
use skein_proto::supernode::Load;
use skein_proto::{BoundedVec, CredentialError, KeyPair, NodeId, SupernodeList};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

on_both_stores! {
    a_name_is_registered_and_its_credential_holds_for_a_day,
    who_registers_again_with_the_same_node_gets_a_credential,
    one_node_has_one_name,
    a_short_password_is_refused,
    a_wrong_password_and_an_unknown_name_are_told_alike,
    a_second_node_logs_in_and_can_be_revoked,
    a_node_renews_without_a_password_even_after_its_credential_ran_out,
    a_closed_service_registers_nobody_but_lets_members_in,
    an_invite_lets_one_in_and_is_asked_for,
    wrong_passwords_lock_a_name_for_a_while_but_not_its_running_nodes,
    registrations_of_an_address_are_limited,
    too_many_requests_are_told_when_to_come_back,
    a_supernode_that_reports_is_listed_until_it_misses_two_reports,
    a_supernode_that_cannot_be_reached_is_not_listed,
    a_report_needs_a_valid_credential_on_record,
    a_node_that_is_revoked_while_it_is_dialled_back_is_not_listed,
    instances_that_share_a_store_list_the_same_supernodes,
    the_first_willing_and_reachable_node_of_an_empty_network_is_invited,
    an_invitation_that_nobody_follows_goes_to_the_next,
    a_guest_or_an_unwilling_node_is_not_invited,
}

fn revoke(text: &str, secret: &str, node: NodeId) -> LoginRequest {
    LoginRequest::Revoke { name: name(text), password: password(secret), node }
}

fn listen() -> BoundedVec<SocketAddr, 4> {
    BoundedVec::truncated(["0.0.0.0:4701".parse().expect("an address")])
}

fn report(children: u32) -> LoginRequest {
    let load = Load { children, capacity: 100, accepting: true, ..Load::default() };
    LoginRequest::Report { load, listen: listen() }
}

fn bootstrap(willing: bool) -> LoginRequest {
    LoginRequest::Bootstrap { willing, listen: listen() }
}

async fn list(fixture: &Fixture, asker: &KeyPair) -> SupernodeList {
    match fixture.ask(asker, bootstrap(false)).await {
        LoginReply::Bootstrap { list, .. } => {
            list.verify(&login_key().node_id()).expect("signed").clone()
        }
        other => panic!("a list was expected, not {other:?}"),
    }
}

async fn is_invited(fixture: &Fixture, asker: &KeyPair, willing: bool) -> bool {
    match fixture.ask(asker, bootstrap(willing)).await {
        LoginReply::Bootstrap { invited, .. } => invited,
        other => panic!("a list was expected, not {other:?}"),
    }
}

async fn a_name_is_registered_and_its_credential_holds_for_a_day(database: &Database) {
    let fixture = Fixture::new(database).await;
    let credential = fixture.register(&key(1), "alice").await;
    let check = |bearer, now| credential.check(&login_key().node_id(), &bearer, now).map(drop);
    let now = fixture.clock.now();
    assert_eq!(check(node(1), now), Ok(()));
    assert_eq!(check(node(2), now), Err(CredentialError::OtherNode));
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(check(node(1), now.plus(day - Duration::from_secs(1))), Ok(()));
    assert_eq!(check(node(1), now.plus(day)), Err(CredentialError::Expired));
    assert_eq!(
        refusal(fixture.ask(&key(2), register("alice", None)).await),
        LoginRefusal::NameTaken
    );
}

async fn who_registers_again_with_the_same_node_gets_a_credential(database: &Database) {
    let fixture = Fixture::new(database).await;
    fixture.register(&key(1), "alice").await;
    fixture.register(&key(1), "alice").await;
    let wrong = LoginRequest::Register {
        name: name("alice"),
        password: password("wrong horse"),
        invite: None,
    };
    assert_eq!(refusal(fixture.ask(&key(1), wrong).await), LoginRefusal::WrongPassword);
    let stats = fixture.service.stats();
    assert_eq!((stats.registered, stats.logged_in, stats.wrong_passwords), (1, 1, 1));
}

async fn one_node_has_one_name(database: &Database) {
    let fixture = Fixture::new(database).await;
    fixture.register(&key(1), "alice").await;
    fixture.register(&key(2), "bob").await;
    for request in [register("carol", None), log_in("bob", "correct horse")] {
        assert_eq!(refusal(fixture.ask(&key(1), request).await), LoginRefusal::OtherName);
    }
}

async fn a_short_password_is_refused(database: &Database) {
    let fixture = Fixture::new(database).await;
    let request =
        LoginRequest::Register { name: name("alice"), password: password("7 chars"), invite: None };
    assert_eq!(refusal(fixture.ask(&key(1), request).await), LoginRefusal::WeakPassword);
}

async fn a_wrong_password_and_an_unknown_name_are_told_alike(database: &Database) {
    let fixture = Fixture::new(database).await;
    fixture.register(&key(1), "alice").await;
    let hashes = fixture.service.stats().hashes;
    let wrong = fixture.ask(&key(2), log_in("alice", "wrong horse")).await;
    let unknown = fixture.ask(&key(2), log_in("nobody", "wrong horse")).await;
    assert_eq!(refusal(wrong.clone()), LoginRefusal::WrongPassword);
    assert_eq!(wrong, unknown);
    assert_eq!(fixture.service.stats().hashes, hashes + 2, "both cost one hash");
}

async fn a_second_node_logs_in_and_can_be_revoked(database: &Database) {
    let fixture = Fixture::new(database).await;
    fixture.register(&key(1), "alice").await;
    credential(fixture.ask(&key(2), log_in("alice", "correct horse")).await);
    let wrong = fixture.ask(&key(1), revoke("alice", "wrong horse", node(2))).await;
    assert_eq!(refusal(wrong), LoginRefusal::WrongPassword);
    let done = fixture.ask(&key(1), revoke("alice", "correct horse", node(2))).await;
    assert_eq!(done, LoginReply::Revoked);
    let requests =
        [LoginRequest::Renew, log_in("alice", "correct horse"), register("alice", None), report(0)];
    for request in requests {
        assert_eq!(refusal(fixture.ask(&key(2), request).await), LoginRefusal::NodeRevoked);
    }
    credential(fixture.ask(&key(1), LoginRequest::Renew).await);
    credential(fixture.ask(&key(3), log_in("alice", "correct horse")).await);
}

async fn a_node_renews_without_a_password_even_after_its_credential_ran_out(database: &Database) {
    let fixture = Fixture::new(database).await;
    fixture.register(&key(1), "alice").await;
    fixture.clock.advance(Duration::from_secs(7 * 24 * 60 * 60));
    let renewed = credential(fixture.ask(&key(1), LoginRequest::Renew).await);
    let now = fixture.clock.now();
    let checked = renewed.check(&login_key().node_id(), &node(1), now).expect("good");
    assert_eq!((checked.name.as_str(), checked.issued), ("alice", now));
    let stranger = fixture.ask(&key(2), LoginRequest::Renew).await;
    assert_eq!(refusal(stranger), LoginRefusal::NotRegistered);
}

async fn a_closed_service_registers_nobody_but_lets_members_in(database: &Database) {
    let clock = ManualClock::new();
    Fixture::new(database).await.register(&key(1), "alice").await;
    let fixture = Fixture::with(database, &clock, |config| config.policy(Policy::Closed)).await;
    let newcomer = fixture.ask(&key(2), register("bob", None)).await;
    assert_eq!(refusal(newcomer), LoginRefusal::Closed);
    credential(fixture.ask(&key(3), log_in("alice", "correct horse")).await);
    credential(fixture.ask(&key(1), register("alice", None)).await);
}

async fn an_invite_lets_one_in_and_is_asked_for(database: &Database) {
    let clock = ManualClock::new();
    let fixture = Fixture::with(database, &clock, |config| config.policy(Policy::Invite)).await;
    let without = fixture.ask(&key(1), register("alice", None)).await;
    assert_eq!(refusal(without), LoginRefusal::InviteNeeded);
    let made_up = fixture.ask(&key(1), register("alice", Some("made up"))).await;
    assert_eq!(refusal(made_up), LoginRefusal::BadInvite);
    let lifetime = Duration::from_secs(3_600);
    let code = fixture.service.create_invite(lifetime).await.expect("made");
    let typed = code.as_str().to_uppercase();
    credential(fixture.ask(&key(1), register("alice", Some(&typed))).await);
    let used_up = fixture.ask(&key(2), register("bob", Some(code.as_str()))).await;
    assert_eq!(refusal(used_up), LoginRefusal::BadInvite);
    let late = fixture.service.create_invite(lifetime).await.expect("made");
    clock.advance(lifetime);
    let expired = fixture.ask(&key(2), register("bob", Some(late.as_str()))).await;
    assert_eq!(refusal(expired), LoginRefusal::BadInvite);
}

async fn wrong_passwords_lock_a_name_for_a_while_but_not_its_running_nodes(database: &Database) {
    let fixture = Fixture::new(database).await;
    fixture.register(&key(1), "alice").await;
    // From a different address each time: the limit is the name's. A wrong one costs five of 20.
    for last in 1..=4 {
        let from = format!("198.51.100.{last}:9");
        let wrong = fixture.ask_from(&from, &key(2), log_in("alice", "wrong horse")).await;
        assert_eq!(refusal(wrong), LoginRefusal::WrongPassword);
    }
    let right = fixture.ask(&key(2), log_in("alice", "correct horse")).await;
    assert_eq!(refusal(right), LoginRefusal::RateLimited { retry_secs: 60 });
    assert_eq!(fixture.service.stats().limited_attempts_by_name, 1);
    credential(fixture.ask(&key(1), LoginRequest::Renew).await);
    fixture.clock.advance(Duration::from_secs(60));
    credential(fixture.ask(&key(2), log_in("alice", "correct horse")).await);
}

async fn registrations_of_an_address_are_limited(database: &Database) {
    let limits = RateLimits {
        registrations: Rate::new(2, Duration::from_secs(600)),
        ..RateLimits::default()
    };
    let clock = ManualClock::new();
    let fixture = Fixture::with(database, &clock, |config| config.rate_limits(limits)).await;
    fixture.register(&key(1), "alice").await;
    fixture.register(&key(2), "bob").await;
    let third = fixture.ask(&key(3), register("carol", None)).await;
    assert_eq!(refusal(third), LoginRefusal::RateLimited { retry_secs: 600 });
    assert_eq!(fixture.service.stats().limited_registrations, 1);
    let from_elsewhere = fixture.ask_from("198.51.100.1:9", &key(3), register("carol", None)).await;
    credential(from_elsewhere);
}

async fn too_many_requests_are_told_when_to_come_back(database: &Database) {
    let limits =
        RateLimits { requests: Rate::new(3, Duration::from_secs(2)), ..RateLimits::default() };
    let clock = ManualClock::new();
    let fixture = Fixture::with(database, &clock, |config| config.rate_limits(limits)).await;
    for _ in 0..3 {
        list(&fixture, &key(1)).await;
    }
    let refused = fixture.ask(&key(1), bootstrap(false)).await;
    assert_eq!(refusal(refused), LoginRefusal::RateLimited { retry_secs: 2 });
    clock.advance(Duration::from_secs(2));
    list(&fixture, &key(1)).await;
    let stats = fixture.service.stats();
    assert_eq!((stats.requests, stats.refused, stats.limited_requests), (5, 1, 1));
}

async fn a_supernode_that_reports_is_listed_until_it_misses_two_reports(database: &Database) {
    let fixture = Fixture::new(database).await;
    fixture.register(&key(1), "alice").await;
    let reply = fixture.ask(&key(1), report(30)).await;
    assert_eq!(reply, LoginReply::Reported { reachable: true });
    let listed = list(&fixture, &key(2)).await;
    let [entry] = &*listed.entries else { panic!("one entry was expected, not {listed:?}") };
    assert_eq!((entry.node, entry.load_percent), (node(1), 30));
    assert_eq!(&*entry.addresses, ["192.0.2.1:4701".parse().expect("an address")]);
    fixture.clock.advance(2 * REPORT_INTERVAL);
    assert_eq!(list(&fixture, &key(2)).await.entries.len(), 1);
    fixture.clock.advance(REPORT_EXPIRY - 2 * REPORT_INTERVAL + Duration::from_secs(1));
    assert_eq!(list(&fixture, &key(2)).await.entries.len(), 0);
    fixture.service.tidy().await.expect("tidied");
    fixture.ask(&key(1), report(30)).await;
    assert_eq!(list(&fixture, &key(2)).await.entries.len(), 1);
}

async fn a_supernode_that_cannot_be_reached_is_not_listed(database: &Database) {
    let fixture = Fixture::new(database).await;
    fixture.register(&key(1), "alice").await;
    fixture.reachable.store(false, Ordering::SeqCst);
    let reply = fixture.ask(&key(1), report(0)).await;
    assert_eq!(reply, LoginReply::Reported { reachable: false });
    assert_eq!(list(&fixture, &key(2)).await.entries.len(), 0);
    // The failure is not believed for ever.
    fixture.reachable.store(true, Ordering::SeqCst);
    fixture.clock.advance(REPORT_INTERVAL);
    let reply = fixture.ask(&key(1), report(0)).await;
    assert_eq!(reply, LoginReply::Reported { reachable: true });
    assert_eq!(list(&fixture, &key(2)).await.entries.len(), 1);
    assert_eq!(fixture.service.stats().dial_backs, 2);
}

async fn a_report_needs_a_valid_credential_on_record(database: &Database) {
    let fixture = Fixture::new(database).await;
    assert_eq!(refusal(fixture.ask(&key(1), report(0)).await), LoginRefusal::NotRegistered);
    fixture.register(&key(1), "alice").await;
    fixture.clock.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(refusal(fixture.ask(&key(1), report(0)).await), LoginRefusal::NotRegistered);
    assert_eq!(fixture.service.stats().dial_backs, 0, "nobody is dialled for a stranger");
}

async fn instances_that_share_a_store_list_the_same_supernodes(database: &Database) {
    let clock = ManualClock::new();
    let one = Fixture::with(database, &clock, |config| config).await;
    let other = Fixture::with(database, &clock, |config| config).await;
    one.register(&key(1), "alice").await;
    other.ask(&key(1), report(0)).await;
    assert_eq!(list(&one, &key(2)).await.entries, list(&other, &key(2)).await.entries);
    assert_eq!(list(&one, &key(2)).await.entries.len(), 1);
}

/// Reaches every node, but not before it is revoked.
struct RevokedMeanwhile(Store);

impl DialBack for RevokedMeanwhile {
    fn dial(
        &self,
        node: NodeId,
        addresses: Vec<SocketAddr>,
    ) -> Pin<Box<dyn Future<Output = Vec<SocketAddr>> + Send + '_>> {
        Box::pin(async move {
            self.0.revoke(&name("alice"), node, 16, NOW).await.expect("revoked");
            addresses
        })
    }
}

async fn a_node_that_is_revoked_while_it_is_dialled_back_is_not_listed(database: &Database) {
    let mut fixture = Fixture::new(database).await;
    fixture.register(&key(1), "alice").await;
    let config = LoginConfig::new("unused").clock(fixture.clock.clock());
    let dialer = Box::new(RevokedMeanwhile(database.open().await));
    let service = Service::new(&config, login_key(), database.open().await, dialer);
    fixture.service = Arc::new(service.expect("a service"));
    let reply = fixture.ask(&key(1), report(0)).await;
    assert_eq!(refusal(reply), LoginRefusal::NodeRevoked);
    assert!(list(&fixture, &key(2)).await.entries.is_empty());
}

async fn the_first_willing_and_reachable_node_of_an_empty_network_is_invited(database: &Database) {
    let fixture = Fixture::new(database).await;
    for (number, text) in [(1, "alice"), (2, "bob"), (3, "carol")] {
        fixture.register(&key(number), text).await;
    }
    fixture.reachable.store(false, Ordering::SeqCst);
    assert!(!is_invited(&fixture, &key(1), true).await);
    fixture.reachable.store(true, Ordering::SeqCst);
    assert!(is_invited(&fixture, &key(2), true).await);
    assert!(is_invited(&fixture, &key(2), true).await, "who asks again hears the same");
    assert!(!is_invited(&fixture, &key(3), true).await, "one is enough");
    fixture.ask(&key(2), report(0)).await;
    assert!(!is_invited(&fixture, &key(2), true).await);
    assert!(!is_invited(&fixture, &key(3), true).await);
    assert_eq!(fixture.service.stats().invited, 1);
}

async fn an_invitation_that_nobody_follows_goes_to_the_next(database: &Database) {
    let fixture = Fixture::new(database).await;
    fixture.register(&key(1), "alice").await;
    fixture.register(&key(2), "bob").await;
    assert!(is_invited(&fixture, &key(1), true).await);
    fixture.clock.advance(Duration::from_secs(59));
    assert!(!is_invited(&fixture, &key(2), true).await);
    fixture.clock.advance(Duration::from_secs(1));
    assert!(is_invited(&fixture, &key(2), true).await);
}

async fn a_guest_or_an_unwilling_node_is_not_invited(database: &Database) {
    let fixture = Fixture::new(database).await;
    fixture.register(&key(1), "alice").await;
    assert!(!is_invited(&fixture, &key(1), false).await);
    assert!(!is_invited(&fixture, &key(2), true).await);
    assert_eq!(fixture.service.stats().dial_backs, 0);
}
