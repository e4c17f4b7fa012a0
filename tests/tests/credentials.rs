//! Nothing is believed unsigned: peers that show a credential that is not theirs, not sound or not
//! valid any more.

#![allow(clippy::expect_used)]

use skein_node::api::types::RoleSetting;
use skein_proto::message::{Bond, Refusal};
use skein_proto::{
    BoundedVec, ContentId, FileMeta, FilePath, KeyPair, Kind, SignedCredential, SupernodeEntry,
};
use skein_tests::intruder::Intruder;
use skein_tests::{Network, Node, files, network};

const MINUTE: i64 = 60;

/// How long a credential lasts that is to run out in the course of a test, in seconds: as long as it
/// takes to be found by then, the first on a machine with little else to do.
const BRIEF: [i64; 3] = [10, 30, 80];

fn bait() -> FileMeta {
    FileMeta {
        content: ContentId::from_bytes([66; 32]),
        size: 66,
        kind: Kind::Document,
        path: FilePath::new("bait/poisoned tide.txt").expect("a path"),
        tags: None,
    }
}

/// Tries to attach and publish with a credential, and shows that neither has an effect.
async fn assert_refused(goose: &Node, intruder: &Intruder, credential: Option<SignedCredential>) {
    let mut control = intruder.dial(goose.id(), goose.address()).await;
    control.send(intruder.hello(credential)).await;
    if let Some(reply) = control.attach(Bond::Active).await {
        assert_eq!(reply.outcome, Err(Refusal::NoCredential));
    }
    control.publish(vec![bait()]).await;
    // The answer to a later question shows that what was sent before has been dealt with.
    let _ = control.attach(Bond::Standby).await;
    assert!(goose.search(&["poisoned"]).await.hits.is_empty());
    let own = goose.status().await.supernode.expect("it is a supernode");
    assert_eq!((own.children, own.records), (0, 0));
}

#[tokio::test]
async fn a_sound_credential_is_taken() {
    let network = Network::start().await;
    let [goose] = network.supernodes(["goose"], &[]).await;
    let intruder = Intruder::new(1);
    let credential =
        Network::credential(&network.login_key(), "mallory", intruder.id(), -MINUTE, MINUTE);
    let mut control = intruder.dial(goose.id(), goose.address()).await;
    control.send(intruder.hello(Some(credential))).await;
    let reply = control.attach(Bond::Active).await.expect("an answer");
    assert_eq!(reply.outcome, Ok(Bond::Active));
    control.publish(vec![bait()]).await;
    goose.search_until(&["poisoned"], |found| found.hits.len() == 1).await;
}

#[tokio::test]
async fn a_node_without_a_credential_is_nobodys_child() {
    let network = Network::start().await;
    let [goose] = network.supernodes(["goose"], &[]).await;
    assert_refused(&goose, &Intruder::new(1), None).await;
}

#[tokio::test]
async fn a_forged_credential_is_refused() {
    let network = Network::start().await;
    let [goose] = network.supernodes(["goose"], &[]).await;
    let intruder = Intruder::new(1);
    let forger = KeyPair::from_seed(&[2; 32]);
    let forged = Network::credential(&forger, "alice", intruder.id(), -MINUTE, MINUTE);
    assert_refused(&goose, &intruder, Some(forged)).await;
}

#[tokio::test]
async fn a_stolen_credential_is_refused() {
    let network = Network::start().await;
    let [goose] = network.supernodes(["goose"], &[]).await;
    let victim = KeyPair::from_seed(&[3; 32]).node_id();
    let stolen = Network::credential(&network.login_key(), "alice", victim, -MINUTE, MINUTE);
    assert_refused(&goose, &Intruder::new(1), Some(stolen)).await;
}

#[tokio::test]
async fn an_expired_credential_is_refused() {
    let network = Network::start().await;
    let [goose] = network.supernodes(["goose"], &[]).await;
    let intruder = Intruder::new(1);
    let expired =
        Network::credential(&network.login_key(), "mallory", intruder.id(), -2 * MINUTE, -MINUTE);
    assert_refused(&goose, &intruder, Some(expired)).await;
}

#[tokio::test]
async fn a_credential_from_the_future_is_refused() {
    let network = Network::start().await;
    let [goose] = network.supernodes(["goose"], &[]).await;
    let intruder = Intruder::new(1);
    // Beyond what two honest clocks may differ by.
    let early = Network::credential(
        &network.login_key(),
        "mallory",
        intruder.id(),
        10 * MINUTE,
        20 * MINUTE,
    );
    assert_refused(&goose, &intruder, Some(early)).await;
}

#[tokio::test]
async fn a_child_whose_credential_runs_out_is_not_found_any_more() {
    let mut network = Network::start().await;
    let [goose] = network.supernodes(["goose"], &[]).await;
    let user = network.registered("alice").await;
    // Nobody is there to renew it.
    network.login().kill();
    let key = user.home().node_key().expect("she has a key");
    let folder = network.folder("music");
    files::write_text(&folder.join("tide.txt"), "tide");
    let mut found_in_time = None;
    for lasts in BRIEF {
        let short =
            Network::credential(&network.login_key(), "alice", key.node_id(), -MINUTE, lasts);
        user.home().set_credential(&short).expect("it can be stored");
        let known = SupernodeEntry {
            node: goose.id(),
            addresses: BoundedVec::truncated([goose.address()]),
            load_percent: 0,
            seen: short.unverified().issued,
        };
        user.home().set_supernodes(&[known]).expect("it can be stored");
        let alice = user.clone().up(&["--role", "ordinary"]).await;
        assert_eq!(alice.status().await.role_setting, RoleSetting::Ordinary);
        let found = async {
            // The second time it is shared already.
            let _ = alice.run(&["share", "add", folder.to_str().expect("plain")]).await;
            alice.published(1).await;
            goose.search(&["tide"]).await.hits.len()
        };
        let expires = short.unverified().expires.0;
        tokio::select! {
            biased;
            // The machine is busy: then again, with one that lasts longer.
            () = network::until_time(expires) => {}
            found = found => {
                assert_eq!(found, 1);
                found_in_time = Some((alice, expires));
                break;
            }
        }
    }
    let (alice, expires) = found_in_time.expect("she is found while her credential lasts");

    network::until_time(expires).await;
    goose.search_until(&["tide"], |found| found.hits.is_empty()).await;
    alice
        .until("is sent away and knows why", |status| {
            status.attachment.parent.is_none()
                && status.problems.iter().any(|problem| problem.contains("expired"))
        })
        .await;
}
