//! Which links supernodes have with each other, told as stories in virtual time.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::cast_precision_loss)]

mod common;

use common::{SEED, neighbours, roomy, seconds};
use skein_overlay::Relation;
use skein_proto::message::{Link, LinkReply, RoleSetting};
use skein_proto::{KeyPair, Message, NodeId, Role};
use skein_sim::population::settle;
use skein_sim::{Network, Settings};
use std::collections::{BTreeMap, BTreeSet};

const WANTED: usize = 8;

/// Neighbours beyond those wanted that are kept, and that are taken when they ask: one that has
/// more than the first gives them up one by one, one that has as many as the second takes nobody.
const SPARE: usize = 4;
const COURTESY_PLACES: usize = 10;

/// The neighbours of each.
fn links(network: &Network, supers: &[NodeId]) -> BTreeMap<NodeId, BTreeSet<NodeId>> {
    let of = |node: &NodeId| {
        let peers = network.snapshot(*node).unwrap().peers.into_iter();
        let linked = peers.filter(|peer| peer.relation == Relation::Neighbour);
        (*node, linked.map(|peer| peer.node).collect())
    };
    supers.iter().map(of).collect()
}

/// Of all pairs of neighbours that a supernode has, how many are neighbours of each other.
fn clustering(links: &BTreeMap<NodeId, BTreeSet<NodeId>>) -> f64 {
    let (mut pairs, mut closed) = (0_u32, 0_u32);
    for linked in links.values() {
        for (one, other) in linked.iter().flat_map(|one| linked.iter().map(move |o| (one, o))) {
            pairs += u32::from(one != other);
            closed += u32::from(links[one].contains(other));
        }
    }
    f64::from(closed) / f64::from(pairs.max(1))
}

#[test]
fn a_network_that_grows_becomes_a_random_graph_with_room_for_others() {
    const FIRST: usize = 18;
    const COUNT: usize = 108;
    let settings = Settings { seed: SEED, max_neighbours: WANTED, ..Settings::default() };
    let mut network = Network::new(settings);
    let (mut supers, ..) = settle(&mut network, FIRST, 0);
    while supers.len() < COUNT {
        supers.push(network.add_node(RoleSetting::Super, Vec::new()));
        network.run_for(seconds(1));
    }
    network.run_for(seconds(300));
    // Links come and go all the time, and one that has just been taken may be one too many: but
    // nobody has too many for longer than it takes to look.
    let mut fewest = vec![usize::MAX; COUNT];
    for _ in 0..30 {
        network.run_for(seconds(1));
        for (fewest, linked) in fewest.iter_mut().zip(links(&network, &supers).values()) {
            assert!(linked.len() <= WANTED + COURTESY_PLACES, "{}", linked.len());
            *fewest = linked.len().min(*fewest);
        }
    }
    assert!(fewest.iter().all(|fewest| *fewest <= WANTED + SPARE), "{fewest:?}");
    let links = links(&network, &supers);
    let degrees: Vec<usize> = links.values().map(BTreeSet::len).collect();
    let random = degrees.iter().sum::<usize>() as f64 / (COUNT * COUNT) as f64;
    let found = clustering(&links);
    assert!(found < 1.1 * random, "{found:.3}, of a random graph {random:.3}; {degrees:?}");
}

/// A puppet supernode of this name asks a supernode for a link. Answers who it is, and whether it
/// was taken.
fn ask_for_link(network: &mut Network, of: NodeId, number: u8, name: u32) -> (NodeId, bool) {
    let key = KeyPair::from_seed(&[number; 32]);
    let credential = network.honest_credential(&key, name);
    let hello = Network::greeting(Role::Super, Some(credential));
    let puppet = network.add_greeting_puppet(&key, of, hello);
    network.say(puppet, of, Link { load: roomy() });
    let heard = network.heard(puppet);
    let taken = heard.iter().any(|(_, message)| {
        matches!(message, Message::LinkReply(LinkReply { outcome: Ok(_), .. }))
    });
    (puppet, taken)
}

#[test]
fn nobody_has_more_than_two_of_the_places_for_neighbours() {
    let mut network = Network::new(Settings { seed: SEED, ..Settings::default() });
    let (supers, ..) = settle(&mut network, 10, 0);
    let taken = (1..20).filter(|number| ask_for_link(&mut network, supers[0], *number, 900).1);
    assert_eq!(taken.count(), 2);
    assert!(ask_for_link(&mut network, supers[0], 30, 901).1, "others are welcome");
}

#[test]
fn those_that_are_in_nobodys_view_have_few_places_and_make_room_for_the_next_ones() {
    let mut network = Network::new(Settings { seed: SEED, ..Settings::default() });
    let (supers, ..) = settle(&mut network, 10, 0);
    let victim = supers[0];
    let before = neighbours(&network, victim);
    let key = |number: u8| (number, 900 + u32::from(number));
    let ask = |network: &mut Network, number: u8| {
        let (number, name) = key(number);
        ask_for_link(network, victim, number, name)
    };
    let first: Vec<_> = (1..9).map(|number| ask(&mut network, number)).collect();
    assert_eq!(first.iter().filter(|(_, taken)| *taken).count(), 4);
    assert_eq!(neighbours(&network, victim), before + 4);
    network.run_for(seconds(15));
    assert!(ask(&mut network, 20).1, "they had time to be heard of");
    network.run_for(seconds(1));
    assert_eq!(neighbours(&network, victim), before + 4);
    assert!(!network.linked(first[0].0, victim), "the first of them has gone");
}

#[test]
fn whoever_announces_itself_keeps_its_place_and_comes_into_every_view() {
    let mut network = Network::new(Settings { seed: SEED, ..Settings::default() });
    let (mut supers, ..) = settle(&mut network, 10, 0);
    for number in 1..5 {
        assert!(ask_for_link(&mut network, supers[0], number, 900 + u32::from(number)).1);
    }
    supers.extend((0..12).map(|_| network.add_node(RoleSetting::Super, Vec::new())));
    network.run_for(seconds(60));
    for links in links(&network, &supers).into_values() {
        assert!(links.len() >= 20, "{} of 21", links.len());
    }
}
