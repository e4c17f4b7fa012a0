//! What supernodes that lie about others come to, told as stories in virtual time.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::*;
use skein_proto::membership::{Announcement, Gossip, Suspicion};
use skein_proto::message::RoleSetting;
use skein_proto::rumour::News;
use skein_proto::testing::announcement_of;
use skein_proto::{BoundedVec, KeyPair, Message, NodeId, Role, Rumour, Signed, UnixTime};
use skein_sim::Network;
use std::net::SocketAddr;

/// Four honest supernodes that know each other.
fn honest(network: &mut Network) -> Vec<NodeId> {
    let all: Vec<NodeId> =
        (0..4).map(|_| network.add_node(RoleSetting::Super, Vec::new())).collect();
    network.run_for(seconds(30));
    assert!(all.iter().all(|node| view(network, *node).len() == 3));
    all
}

fn view(network: &Network, node: NodeId) -> Vec<NodeId> {
    network.overlay(node).unwrap().supernodes().collect()
}

fn announcement(network: &Network, key: &KeyPair, name: &str) -> Announcement {
    let now = network.time().unix;
    announcement_of(key, name, &network.login_key(), |record| {
        let nowhere = SocketAddr::from(([192, 0, 2, 1], 4701));
        let address = network.address(key.node_id()).unwrap_or(nowhere);
        record.addresses = BoundedVec::truncated([address]);
        record.since = now;
        record.issued = now;
    })
}

fn gossip(news: impl IntoIterator<Item = News>) -> Gossip {
    Gossip { rumours: BoundedVec::truncated(news.into_iter().map(Rumour::new)) }
}

/// A puppet that is a neighbour of `victim` and has announced itself.
fn liar(network: &mut Network, victim: NodeId, number: u8) -> NodeId {
    let puppet = neighbour(network, victim, number);
    let announced = announcement(network, &key(number), &format!("liar{number}"));
    network.say(puppet, victim, gossip([News::Announcement(announced)]));
    network.run_for(seconds(3));
    puppet
}

fn suspicion(network: &Network, witness: u8, subject: NodeId, version: UnixTime) -> News {
    let witness = key(witness);
    let issued = network.time().unix;
    let suspicion = Suspicion { subject, version, witness: witness.node_id(), issued };
    News::Suspicion(Signed::new(suspicion, &witness))
}

/// The last announcement of a node that a puppet was told.
fn told(heard: &[(NodeId, Message)], node: NodeId) -> Option<Rumour> {
    let rumours = heard.iter().flat_map(|(_, message)| match message {
        Message::Gossip(gossip) => gossip.rumours.to_vec(),
        _ => Vec::new(),
    });
    rumours.filter(|rumour| rumour.record().is_some_and(|record| record.node == node)).last()
}

/// Makes the honest tell a puppet of somebody: it holds nothing, and compares.
fn learn(network: &mut Network, puppet: NodeId, from: NodeId, of: NodeId) -> Rumour {
    use skein_proto::membership::{GossipDigest, GossipWant};
    use skein_proto::rumour::Topic;
    network.heard(puppet);
    let topic = Topic::Supernodes;
    network.say(puppet, from, GossipDigest { topic, buckets: BoundedVec::default() });
    network.run_for(seconds(1));
    let place = skein_proto::Place::of_node(&of).short();
    let places = BoundedVec::truncated([place]);
    network.say(puppet, from, GossipWant { topic, places });
    network.run_for(seconds(1));
    told(&network.heard(puppet), of).expect("it was asked for")
}

#[test]
fn whoever_passes_on_a_forgery_is_no_neighbour_any_more() {
    let mut network = network();
    let all = honest(&mut network);
    let puppet = neighbour(&mut network, all[0], 1);
    let mut forged = announcement(&network, &key(1), "liar1");
    forged.record = announcement(&network, &key(2), "liar2").record;
    network.say(puppet, all[0], gossip([News::Announcement(forged)]));
    network.run_for(seconds(1));
    assert!(!network.linked(puppet, all[0]));
    assert_eq!(counters(&network, all[0]).rumours_forged, 1);
    assert_eq!(view(&network, all[0]).len(), 3);
}

#[test]
fn a_supernode_without_a_sound_credential_is_not_taken_in() {
    let mut network = network();
    let all = honest(&mut network);
    let puppet = neighbour(&mut network, all[0], 1);
    let now = network.time().unix;
    let forged = announcement_of(&key(1), "liar1", &key(77), |record| {
        record.issued = now;
    });
    network.say(puppet, all[0], gossip([News::Announcement(forged)]));
    assert_eq!(view(&network, all[0]).len(), 3);
}

#[test]
fn two_liars_do_not_even_worry_anybody_and_three_kill_nobody() {
    let mut network = network();
    let all = honest(&mut network);
    let (told_at, victim) = (all[0], all[1]);
    let liars: Vec<NodeId> = (1..4).map(|n| liar(&mut network, told_at, n)).collect();
    assert_eq!(view(&network, told_at).len(), 6, "liars are supernodes, too");
    for round in 0..4 {
        for number in 1..4_u8 {
            let puppet = liars[usize::from(number) - 1];
            let record = learn(&mut network, puppet, told_at, victim);
            let version = record.record().unwrap().issued;
            let lie = suspicion(&network, number, victim, version);
            network.say(puppet, told_at, gossip([lie]));
        }
        network.run_for(seconds(20));
        for node in [all[0], all[2], all[3]] {
            assert!(view(&network, node).contains(&victim), "round {round}");
        }
    }
    let dead: u64 = all.iter().map(|node| counters(&network, *node).members_dead).sum();
    assert_eq!(dead, 0);
}

#[test]
fn whoever_is_back_as_an_ordinary_node_and_does_not_say_so_counts_no_longer() {
    let mut network = network();
    let all = honest(&mut network);
    let back = liar(&mut network, all[0], 1);
    network.run_for(seconds(10));
    assert!(all.iter().all(|node| view(&network, *node).contains(&back)));
    network.hang_up_as(back, all[0]);
    for node in &all {
        network.dial_as(back, *node);
    }
    network.run_for(seconds(1));
    let credential = network.honest_credential(&key(1), 1);
    for node in &all {
        let hello = Network::greeting(Role::Ordinary, Some(credential.clone()));
        network.say(back, *node, hello);
    }
    network.run_for(seconds(60));
    for node in &all {
        assert!(!view(&network, *node).contains(&back));
    }
}

#[test]
fn a_liar_is_not_believed_for_ever() {
    let mut network = network();
    let all = honest(&mut network);
    let puppet = liar(&mut network, all[0], 1);
    for _ in 0..12 {
        let record = learn(&mut network, puppet, all[0], all[1]);
        let version = record.record().unwrap().issued;
        let lie = suspicion(&network, 1, all[1], version);
        network.say(puppet, all[0], gossip([lie]));
        network.run_for(seconds(12));
    }
    let heard = counters(&network, all[0]);
    assert_eq!(heard.suspicions_refuted, 1, "the first one is looked into");
    assert!(heard.suspicions_refused >= 10, "{heard:?}");
}

#[test]
fn a_suspicion_of_what_was_not_said_yet_does_not_silence_a_supernode() {
    let mut network = network();
    let all = honest(&mut network);
    let victim = all[0];
    let puppet = liar(&mut network, victim, 1);
    let before = learn(&mut network, puppet, all[0], victim).id().version;
    let lie = suspicion(&network, 1, victim, UnixTime(u64::MAX));
    network.say(puppet, victim, gossip([lie]));
    // Longer than a record is good for.
    network.run_for(seconds(40 * 60));
    assert!(view(&network, all[1]).contains(&victim));
    let puppet = liar(&mut network, all[1], 2);
    let after = learn(&mut network, puppet, all[1], victim).id().version;
    assert!(before < after && after <= network.time().unix.0, "{before} {after}");
}

#[test]
fn nobody_brings_back_the_dead() {
    let mut network = network();
    let all = honest(&mut network);
    let puppet = liar(&mut network, all[0], 1);
    let last_word = learn(&mut network, puppet, all[0], all[3]);
    network.kill(all[3]);
    network.run_for(seconds(60));
    assert!(!view(&network, all[0]).contains(&all[3]));
    network.say(puppet, all[0], gossip([last_word.news().clone()]));
    network.run_for(seconds(10));
    for node in &all[..3] {
        assert!(!view(&network, *node).contains(&all[3]));
    }
}

#[test]
fn one_name_owns_few_supernodes() {
    let mut network = network();
    let all = honest(&mut network);
    let puppet = liar(&mut network, all[0], 1);
    for number in 100..130 {
        let clone = announcement(&network, &key(number), "liar1");
        network.say(puppet, all[0], gossip([News::Announcement(clone)]));
    }
    network.run_for(seconds(10));
    for node in &all {
        assert!(view(&network, *node).len() <= 3 + 4);
    }
    assert!(counters(&network, all[0]).members_over_limit >= 26);
}

#[test]
fn whoever_is_no_neighbour_tells_nothing() {
    let mut network = network();
    let all = honest(&mut network);
    let puppet = child(&mut network, all[0], 1, skein_proto::message::Bond::Active);
    let announced = announcement(&network, &key(1), "liar1");
    network.say(puppet, all[0], gossip([News::Announcement(announced)]));
    assert_eq!(view(&network, all[0]).len(), 3);
    assert_eq!(counters(&network, all[0]).gossip_unasked, 1);
}

#[test]
fn what_comes_from_the_future_or_too_fast_is_not_passed_on() {
    let mut network = network();
    let all = honest(&mut network);
    let puppet = liar(&mut network, all[0], 1);
    let announce = |network: &mut Network, later: u64| {
        let now = UnixTime(network.time().unix.0 + later);
        let news = announcement_of(&key(1), "liar1", &network.login_key(), |record| {
            record.since = now;
            record.issued = now;
        });
        network.say(puppet, all[0], gossip([News::Announcement(news)]));
    };
    announce(&mut network, 1_000);
    let before = counters(&network, all[0]).rumours_taken;
    for second in 0..8 {
        announce(&mut network, second);
    }
    let taken = counters(&network, all[0]).rumours_taken - before;
    assert!(taken <= 1, "{taken} of 8 within a few seconds");
}
