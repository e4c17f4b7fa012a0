//! How supernodes know of each other, told as stories in virtual time.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::{counters, network, seconds};
use skein_overlay::Relation;
use skein_proto::NodeId;
use skein_proto::message::RoleSetting;
use skein_sim::{Network, Settings};
use std::collections::BTreeSet;

/// So many supernodes, which know each other after at most `within` seconds.
fn supernodes(network: &mut Network, count: usize, within: u64) -> Vec<NodeId> {
    let all: Vec<NodeId> =
        (0..count).map(|_| network.add_node(RoleSetting::Super, Vec::new())).collect();
    assert!(know_each_other(network, &all, within), "all know all after {within} s");
    all
}

fn know_each_other(network: &mut Network, all: &[NodeId], within: u64) -> bool {
    let deadline = network.now() + seconds(within);
    while network.now() < deadline {
        network.run_for(seconds(1));
        if all.iter().all(|node| view(network, *node).len() + 1 == all.len()) {
            return true;
        }
    }
    false
}

fn view(network: &Network, node: NodeId) -> BTreeSet<NodeId> {
    network.overlay(node).unwrap().supernodes().collect()
}

#[test]
fn all_supernodes_know_all_within_half_a_minute() {
    let settings = Settings { seed: 3, max_neighbours: 8, ..Settings::default() };
    let mut network = Network::new(settings);
    let all = supernodes(&mut network, 60, 30);
    let newcomer = network.add_node(RoleSetting::Super, Vec::new());
    network.run_for(seconds(15));
    assert_eq!(view(&network, newcomer).len(), all.len());
    let told = all.iter().filter(|node| view(&network, **node).contains(&newcomer)).count();
    assert_eq!(told, all.len(), "a newcomer is known to all");
}

#[test]
fn whoever_says_goodbye_is_forgotten_within_seconds() {
    let settings = Settings { seed: 4, max_neighbours: 8, ..Settings::default() };
    let mut network = Network::new(settings);
    let all = supernodes(&mut network, 40, 30);
    network.leave(all[7]);
    network.run_for(seconds(8));
    let rest = all.iter().filter(|node| **node != all[7]);
    let known = rest.filter(|node| view(&network, **node).contains(&all[7])).count();
    assert_eq!(known, 0);
}

#[test]
fn the_dead_are_forgotten_within_half_a_minute() {
    let settings = Settings { seed: 5, max_neighbours: 8, ..Settings::default() };
    let mut network = Network::new(settings);
    let all = supernodes(&mut network, 40, 30);
    let (dead, alive) = all.split_at(12);
    for node in dead {
        network.kill(*node);
    }
    network.run_for(seconds(40));
    for node in alive {
        let view = view(&network, *node);
        assert_eq!(dead.iter().filter(|node| view.contains(node)).count(), 0);
        assert_eq!(view.len() + 1, alive.len(), "nobody else is");
    }
    let told: u64 = alive.iter().map(|node| counters(&network, *node).suspicions_told).sum();
    assert!(told <= 8 * dead.len() as u64, "{told} suspicions for {} dead", dead.len());
}

#[test]
fn the_last_two_notice_that_the_third_is_gone() {
    let mut network = network();
    let all = supernodes(&mut network, 3, 30);
    network.kill(all[2]);
    network.run_for(seconds(60));
    assert_eq!(view(&network, all[0]), BTreeSet::from([all[1]]));
    network.kill(all[1]);
    network.run_for(seconds(60));
    assert!(view(&network, all[0]).is_empty());
}

#[test]
fn one_that_comes_back_is_known_again() {
    let mut network = network();
    let all = supernodes(&mut network, 5, 30);
    network.kill(all[2]);
    network.run_for(seconds(40));
    assert!(!view(&network, all[0]).contains(&all[2]));
    network.restart(all[2]);
    assert!(know_each_other(&mut network, &all, 20));
}

fn neighbours_of(network: &Network, node: NodeId) -> BTreeSet<NodeId> {
    let peers = network.snapshot(node).unwrap().peers;
    let linked = peers.iter().filter(|peer| peer.relation == Relation::Neighbour);
    linked.map(|peer| peer.node).collect()
}

/// How many of these are in one piece with the first of them, over links that both ends count.
fn piece(network: &Network, all: &[NodeId]) -> usize {
    let mut reached = BTreeSet::from([all[0]]);
    let mut edge = vec![all[0]];
    while let Some(node) = edge.pop() {
        for next in neighbours_of(network, node) {
            let alive = all.contains(&next);
            if alive && neighbours_of(network, next).contains(&node) && reached.insert(next) {
                edge.push(next);
            }
        }
    }
    reached.len()
}

#[test]
fn the_supernodes_stay_in_one_piece_while_they_come_and_go() {
    let settings = Settings { seed: 6, max_neighbours: 8, ..Settings::default() };
    let mut network = Network::new(settings);
    let all = supernodes(&mut network, 60, 30);
    let mut alive = vec![true; all.len()];
    for round in 0..20 {
        // Three go without a word, one says goodbye, and those of some rounds ago come back.
        for step in 0..4 {
            let at = (round * 7 + step * 13) % all.len();
            match (alive[at], step) {
                (true, 3) => network.leave(all[at]),
                (true, _) => network.kill(all[at]),
                (false, _) => network.restart(all[at]),
            }
            if step == 3 && alive[at] {
                network.run_for(seconds(1));
                network.kill(all[at]);
            }
            alive[at] = !alive[at];
        }
        network.run_for(seconds(15));
        let up: Vec<NodeId> = (0..all.len()).filter(|at| alive[*at]).map(|at| all[at]).collect();
        let settled: Vec<NodeId> =
            up.into_iter().filter(|node| !neighbours_of(&network, *node).is_empty()).collect();
        assert_eq!(piece(&network, &settled), settled.len(), "round {round}");
    }
}

#[test]
fn a_neighbour_is_given_up_for_another_one_now_and_then() {
    let settings = Settings { seed: 7, max_neighbours: 8, ..Settings::default() };
    let mut network = Network::new(settings);
    let all = supernodes(&mut network, 60, 60);
    network.run_for(seconds(120));
    let before: Vec<_> = all.iter().map(|node| neighbours_of(&network, *node)).collect();
    network.run_for(seconds(600));
    let mut kept = 0;
    let mut total = 0;
    for (node, before) in all.iter().zip(&before) {
        let now = neighbours_of(&network, *node);
        assert!((8..=18).contains(&now.len()), "{} neighbours", now.len());
        kept += now.intersection(before).count();
        total += before.len();
    }
    assert!(kept * 10 < total * 9, "{kept} of {total} links are the same after 10 minutes");
    assert!(kept * 2 > total, "{kept} of {total}: a new link is not for nothing");
    assert_eq!(piece(&network, &all), all.len());
}

#[test]
fn renewals_keep_the_view_whole_and_cost_little() {
    let settings = Settings { seed: 8, max_neighbours: 8, ..Settings::default() };
    let mut network = Network::new(settings);
    let all = supernodes(&mut network, 60, 30);
    network.run_for(seconds(600));
    let before = gossip_bytes(&network);
    network.run_for(seconds(3_600));
    let each = (gossip_bytes(&network) - before) / 3_600 / all.len() as u64;
    for node in &all {
        assert_eq!(view(&network, *node).len() + 1, all.len());
    }
    assert!(each <= 150, "{each} bytes a second from each of 60");
}

fn gossip_bytes(network: &Network) -> u64 {
    let gossip = network.traffic().into_iter().filter(|(name, _)| name.starts_with("Gossip"));
    gossip.map(|(_, (_, bytes))| bytes).sum()
}
