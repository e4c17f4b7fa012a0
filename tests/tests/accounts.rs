//! Names, passwords and tickets: what a newcomer gets, and what is refused in one line.

#![allow(clippy::expect_used)]

use skein_node::api::types::Identity;
use skein_proto::{NodeId, Ticket};
use skein_tests::{Network, command};

#[tokio::test]
async fn a_newcomer_gets_a_name_and_a_credential() {
    let network = Network::start().await;
    let alice = network.user("alice");
    let registered: Vec<Identity> = alice.register().await.worked().json();
    let identity = registered.first().expect("an identity");
    assert_eq!(identity.name.as_ref().map(|name| name.as_str()), Some("alice"));
    assert!(identity.credential_expires.is_some());

    let whoami: Vec<Identity> = alice.run(&["whoami"]).await.worked().json();
    assert_eq!(whoami.first().map(|own| own.node), Some(identity.node));
}

#[tokio::test]
async fn a_name_is_given_once() {
    let network = Network::start().await;
    let _ = network.registered("alice").await;
    let again =
        network.user("second").run(&["register", "alice", "--ticket", network.ticket()]).await;
    assert!(again.refusal().contains("taken"), "{again:?}");
    let look_alike =
        network.user("third").run(&["register", "a1ice", "--ticket", network.ticket()]).await;
    assert!(look_alike.refusal().contains("taken"), "{look_alike:?}");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_are_refused_alike() {
    let network = Network::start().await;
    let _ = network.registered("alice").await;
    let intruder = network.user("intruder");
    let login = async |name: &str, password: &str| {
        let mut command = intruder.command(&["login", name, "--ticket", network.ticket()]);
        command.env("SKEIN_PASSWORD", password);
        command::run(command).await
    };
    let wrong = login("alice", "not the password").await;
    let unknown = login("nobody", command::PASSWORD).await;
    assert!(wrong.refusal().contains("wrong name or password"), "{wrong:?}");
    assert_eq!(wrong.refusal(), unknown.refusal());
    let _ = login("alice", command::PASSWORD).await.worked();
}

#[tokio::test]
async fn one_name_can_own_several_nodes() {
    let network = Network::start().await;
    let first: Vec<Identity> = network.registered("alice").await.run(&["whoami"]).await.json();
    let laptop = network.user("laptop");
    let second: Vec<Identity> =
        laptop.run(&["login", "alice", "--ticket", network.ticket()]).await.worked().json();
    assert_eq!(first[0].name, second[0].name);
    assert_ne!(first[0].node, second[0].node);
}

#[tokio::test]
async fn a_short_password_is_refused_before_anything_is_sent() {
    let network = Network::start().await;
    let mut command =
        network.user("alice").command(&["register", "alice", "--ticket", network.ticket()]);
    command.env("SKEIN_PASSWORD", "short");
    let refused = command::run(command).await;
    assert!(refused.refusal().contains("8 characters"), "{refused:?}");
    assert_eq!(refused.code(), Some(2));
}

#[tokio::test]
async fn a_damaged_ticket_is_noticed() {
    let network = Network::start().await;
    let cut = &network.ticket()[..network.ticket().len() - 3];
    let refused = network.user("alice").run(&["register", "alice", "--ticket", cut]).await;
    assert!(refused.refusal().contains("damaged"), "{refused:?}");
    assert_eq!(refused.code(), Some(2));
}

#[tokio::test]
async fn a_ticket_with_another_key_gets_no_password() {
    let network = Network::start().await;
    let right: Ticket = network.ticket().parse().expect("a ticket");
    let addresses = right.addresses.iter().map(ToString::to_string);
    let wrong = Ticket::new(NodeId::from_bytes([7; 32]), addresses).expect("a ticket");
    let refused =
        network.user("alice").run(&["register", "alice", "--ticket", &wrong.to_string()]).await;
    assert!(refused.refusal().contains("another key"), "{refused:?}");
    // The name is still free: the password never reached the service.
    let _ = network.user("alice").register().await.worked();
}

#[tokio::test]
async fn names_outlive_a_kill_of_the_login_service() {
    let mut network = Network::start().await;
    let alice = network.registered("alice").await;
    network.login().kill();
    let refused = network.user("bob").register().await;
    assert!(refused.refusal().contains("cannot be reached"), "{refused:?}");

    network.restart_login().await;
    let taken =
        network.user("second").run(&["register", "alice", "--ticket", network.ticket()]).await;
    assert!(taken.refusal().contains("taken"), "{taken:?}");
    let _ = alice.run(&["login", "alice"]).await.worked();
}

#[tokio::test]
async fn a_stolen_node_is_cast_out_by_its_owner_and_cannot_come_back() {
    let network = Network::start().await;
    let [_goose] = network.supernodes(["goose"], &[]).await;
    let laptop = network.registered("alice").await;
    let login = ["login", "alice", "--ticket", network.ticket()];
    let mut stolen = Vec::new();
    for name in ["phone", "tablet"] {
        let other = network.user(name);
        let known: Vec<Identity> = other.run(&login).await.worked().json();
        stolen.push((other, known[0].node));
    }
    let [(phone, by_id), (tablet, by_short)] = &stolen[..] else { panic!("there are two") };

    let own: Vec<Identity> = laptop.run(&["whoami"]).await.worked().json();
    let nobody = NodeId::from_bytes([7; 32]).to_string();
    for (wrong, why) in [
        (own[0].node.to_string(), "this node itself"),
        (nobody, "@alice has no node"),
        (by_short.short(), "give the whole id"),
    ] {
        let refused = laptop.run(&["revoke", &wrong]).await;
        assert!(refused.refusal().contains(why), "{refused:?}");
    }
    let mut guess = laptop.command(&["revoke", &by_id.to_string()]);
    guess.env("SKEIN_PASSWORD", "not the password");
    let guess = command::run(guess).await;
    assert!(guess.refusal().contains("wrong name or password"), "{guess:?}");
    let _ = phone.run(&login).await.worked();

    let _ = laptop.run(&["revoke", &by_id.to_string()]).await.worked();
    let back = phone.run(&login).await;
    assert!(back.refusal().contains("revoked by its owner"), "{back:?}");

    // A node that runs asks the directory what a short id means.
    let laptop = laptop.up(&["--role", "ordinary"]).await;
    let on = tablet.clone().up(&["--role", "ordinary"]).await;
    laptop.find_until("alice", |_, nodes| nodes.iter().any(|node| node.node == on.id())).await;
    let _ = laptop.run(&["revoke", &by_short.short()]).await.worked();
    let back = on.run(&login).await;
    assert!(back.refusal().contains("revoked by its owner"), "{back:?}");
}
