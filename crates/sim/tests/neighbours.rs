//! Which links supernodes have with each other, told as stories in virtual time.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::cast_precision_loss)]

mod common;

use common::{SEED, seconds};
use skein_overlay::Relation;
use skein_proto::NodeId;
use skein_proto::message::RoleSetting;
use skein_sim::population::settle;
use skein_sim::{Network, Settings};
use std::collections::{BTreeMap, BTreeSet};

const WANTED: usize = 8;

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
    let links = links(&network, &supers);
    let degrees: Vec<usize> = links.values().map(BTreeSet::len).collect();
    let crowded = degrees.iter().filter(|degree| **degree > WANTED + 4).count();
    assert_eq!(crowded, 0, "{degrees:?}");
    let random = degrees.iter().sum::<usize>() as f64 / (COUNT * COUNT) as f64;
    let found = clustering(&links);
    assert!(found < 1.1 * random, "{found:.3}, of a random graph {random:.3}; {degrees:?}");
}
