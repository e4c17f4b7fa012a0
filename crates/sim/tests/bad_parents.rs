//! Parents that lie, that do nothing, and that are gone for long.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::*;
use skein_overlay::Input;
use skein_proto::message::{RoleSetting, Supernodes};
use skein_proto::query::StopReason;
use skein_proto::{BoundedVec, KeyPair, Message, NodeId, Role};
use skein_sim::Network;
use skein_sim::population::{file, settle};

/// A node whose only parent is a puppet, found without the login service.
fn captured(network: &mut Network) -> (NodeId, NodeId) {
    network.set_login_up(false);
    let victim = network.add_node(RoleSetting::Ordinary, vec![file("a/treasure.pdf")]);
    let puppet = known_puppet(network, victim, 1);
    play_parent(network, puppet, seconds(5));
    assert_eq!(network.snapshot(victim).unwrap().parent.parent, Some(puppet));
    (victim, puppet)
}

#[test]
fn a_node_that_was_told_lies_finds_back() {
    let mut network = network();
    settle(&mut network, 3, 3);
    let (victim, puppet) = captured(&mut network);
    for round in 0..16 {
        let entries = BoundedVec::truncated(made_up(round * 64, 64));
        network.say(puppet, victim, Supernodes { entries });
        play_parent(&mut network, puppet, seconds(2));
    }
    assert!(network.snapshot(victim).unwrap().supernodes_known > 100);
    network.set_login_up(true);
    network.hang_up_as(puppet, victim);
    let free = network.run_until(seconds(60), |network| {
        let ties = network.snapshot(victim).unwrap().parent;
        ties.parent.is_some() && ties.complete
    });
    assert!(free, "an honest supernode is found although most that it knows are made up");
}

/// Supernodes of thirteen names, sixteen of each, dial a node, greet it and hang up.
fn call_on(network: &mut Network, victim: NodeId, round: u8) -> Vec<NodeId> {
    let keys: Vec<KeyPair> = (0..208_u8)
        .map(|number| {
            let mut seed = [0x66; 32];
            seed[..2].copy_from_slice(&[number, round]);
            KeyPair::from_seed(&seed)
        })
        .collect();
    for (number, batch) in (0..).zip(keys.chunks(16)) {
        let batch: Vec<_> = batch
            .iter()
            .map(|key| {
                let puppet = network.add_puppet(key);
                network.dial_as(puppet, victim);
                (puppet, network.honest_credential(key, 900 + number))
            })
            .collect();
        network.run_for(seconds(1));
        for (puppet, credential) in &batch {
            let hello = Network::greeting(Role::Super, Some(credential.clone()));
            network.say_later(*puppet, victim, hello);
        }
        network.run_for(seconds(1));
        batch.iter().for_each(|(puppet, _)| network.hang_up_as(*puppet, victim));
    }
    network.run_for(seconds(1));
    keys.iter().map(KeyPair::node_id).collect()
}

#[test]
fn whoever_calls_two_hundred_times_is_not_all_that_a_node_knows() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 3, 3);
    for (round, victim) in (0..).zip([supers[0], children[0]]) {
        let callers = call_on(&mut network, victim, round);
        let hostile = |network: &Network| {
            let known = network.overlay(victim).unwrap().known_supernodes(1_000);
            known.iter().filter(|entry| callers.contains(&entry.node)).count()
        };
        assert!((1..=52).contains(&hostile(&network)), "{} of 208 callers", hostile(&network));
        // The login service names as many as there is room for.
        let entries = made_up(1_000 * u16::from(round), 200);
        let named: Vec<NodeId> = entries.iter().map(|entry| entry.node).collect();
        network.feed(victim, Input::Bootstrap { entries, invited: false });
        let known = network.overlay(victim).unwrap().known_supernodes(1_000);
        let room = known.iter().filter(|entry| named.contains(&entry.node)).count();
        assert!(room >= 190, "{room} of 200 that the login service names");
        assert_eq!(hostile(&network), 0);
    }
}

#[test]
fn a_parent_that_takes_in_nothing_is_left() {
    let mut network = network();
    settle(&mut network, 2, 2);
    let (_, puppet) = captured(&mut network);
    let heard = play_parent(&mut network, puppet, seconds(1));
    network.set_login_up(true);
    let rest = play_parent(&mut network, puppet, seconds(120));
    let left = heard.iter().chain(&rest).any(|message| matches!(message, Message::Detach(_)));
    assert!(left, "it acknowledges nothing");
}

#[test]
fn a_node_whose_line_was_dead_for_an_hour_joins_again_from_its_own_cache() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 3, 3);
    network.run_for(seconds(60));
    network.set_login_up(false);
    for node in &supers {
        network.kill(*node);
    }
    network.run_for(seconds(60 * 60));
    for node in supers {
        network.restart(node);
    }
    assert!(network.run_until_all(&children, seconds(10 * 60)));
    // What it keeps on disk has not withered either.
    network.kill(children[0]);
    network.run_for(seconds(20));
    network.restart(children[0]);
    assert!(network.run_until_all(&children[..1], seconds(60)));
}

#[test]
fn a_node_that_becomes_a_supernode_in_mid_search_goes_on_with_it() {
    let mut network = network();
    let (_, children, _) = settle(&mut network, 2, 4);
    let search = network.start_search(children[0], "common", 100);
    network.feed(children[0], Input::SetRole(RoleSetting::Super));
    let coverage = network.finish_search(children[0], search).coverage.expect("an end");
    assert_ne!(coverage.stopped, StopReason::NotAttached);
    assert!(coverage.supernodes_asked > 1, "{coverage:?}");
}

#[test]
fn a_supernode_that_becomes_a_child_in_mid_search_ends_its_searches() {
    let mut network = network();
    let (supers, _, _) = settle(&mut network, 3, 4);
    let search = network.start_search(supers[0], "common", 100);
    network.feed(supers[0], Input::SetRole(RoleSetting::Ordinary));
    assert!(network.finish_search(supers[0], search).coverage.is_some());
}
