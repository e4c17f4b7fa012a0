//! Children that move to another supernode, or become one, and are found meanwhile.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::*;
use skein_overlay::Input;
use skein_proto::election::Redirect;
use skein_proto::message::{Bond, Detach, PartingReason, Publish, RoleSetting};
use skein_proto::{BoundedVec, NodeId, Role};
use skein_sim::population::{file, settle};
use skein_sim::{Network, Settings};
use std::time::Duration;

/// Where a search finds the file of this word, as the parents of its owners.
fn found_at(network: &mut Network, asker: NodeId, word: &str) -> Vec<NodeId> {
    let outcome = network.search(asker, word, 10);
    outcome.groups.iter().map(|group| group.owner.parent).collect()
}

/// A puppet child of a supernode with one file, which the neighbours have heard of.
fn publisher(network: &mut Network, parent: NodeId) -> NodeId {
    let puppet = child(network, parent, 1, Bond::Active);
    let publish = Publish {
        sequence: 1,
        reset: true,
        remove: BoundedVec::default(),
        add: BoundedVec::truncated([file("nest/cuckoo song.ogg")]),
    };
    network.say(puppet, parent, publish);
    network.run_for(seconds(12));
    puppet
}

fn part(network: &mut Network, puppet: NodeId, parent: NodeId, reason: PartingReason) {
    network.say(puppet, parent, Detach { reason });
    network.hang_up_as(puppet, parent);
    network.run_for(seconds(1));
}

#[test]
fn a_child_that_has_moved_is_found_at_its_old_parent_until_the_new_one_is_asked() {
    let mut network = network();
    let (supers, ..) = settle(&mut network, 3, 3);
    let puppet = publisher(&mut network, supers[0]);
    let before = network.snapshot(supers[0]).unwrap().supernode.unwrap().children;
    part(&mut network, puppet, supers[0], PartingReason::MovedTo(supers[1]));
    let after = network.snapshot(supers[0]).unwrap().supernode.unwrap().children;
    assert_eq!(after + 1, before, "it takes no place any more");
    assert_eq!(found_at(&mut network, supers[2], "cuckoo"), [supers[1]]);
    network.run_for(seconds(25));
    assert_eq!(found_at(&mut network, supers[2], "cuckoo"), [supers[1]]);
    network.run_for(seconds(5));
    assert_eq!(found_at(&mut network, supers[2], "cuckoo"), []);
}

#[test]
fn a_child_that_leaves_or_names_nobody_known_is_forgotten_at_once() {
    let nobody = NodeId::from_bytes([0x33; 32]);
    for reason in [PartingReason::Leaving, PartingReason::Moved, PartingReason::MovedTo(nobody)] {
        let mut network = network();
        let (supers, ..) = settle(&mut network, 3, 3);
        let puppet = publisher(&mut network, supers[0]);
        assert_eq!(found_at(&mut network, supers[2], "cuckoo"), [supers[0]]);
        part(&mut network, puppet, supers[0], reason);
        assert_eq!(found_at(&mut network, supers[2], "cuckoo"), [], "{reason:?}");
    }
}

#[test]
fn a_child_that_comes_back_brings_all_of_it_anew() {
    let mut network = network();
    let (supers, ..) = settle(&mut network, 3, 3);
    let puppet = publisher(&mut network, supers[0]);
    part(&mut network, puppet, supers[0], PartingReason::MovedTo(supers[1]));
    child(&mut network, supers[0], 1, Bond::Active);
    assert_eq!(found_at(&mut network, supers[2], "cuckoo"), []);
    network.run_for(seconds(40));
    let own = network.snapshot(supers[0]).unwrap().supernode.unwrap();
    assert!(own.children > 0, "what was forgotten is not the child");
}

/// Searches for the files of all children again and again, and answers which were missed.
fn missed(network: &mut Network, asker: NodeId, count: usize, time: Duration) -> Vec<String> {
    let end = network.now() + time;
    let mut missed = Vec::new();
    while network.now() < end {
        for number in 0..count {
            if found_at(network, asker, &format!("rare{number}")).is_empty() {
                missed.push(format!("rare{number} at {:?}", network.now()));
            }
        }
        network.run_for(Duration::from_millis(100));
    }
    missed
}

#[test]
fn children_are_found_all_the_time_while_a_full_supernode_hands_them_over() {
    let mut network =
        Network::new(Settings { seed: SEED, max_children: 10, ..Settings::default() });
    let (supers, children, settled) = settle(&mut network, 1, 9);
    assert!(settled);
    // Two, since nobody is sent to their own standby, whose room is for when the parent is dead.
    for _ in 0..2 {
        network.add_node(RoleSetting::Super, Vec::new());
    }
    network.run_for(seconds(5));
    let missed = missed(&mut network, supers[0], children.len(), seconds(120));
    assert_eq!(missed, Vec::<String>::new());
    let moved =
        |child: &&NodeId| network.snapshot(**child).unwrap().parent.parent != Some(supers[0]);
    assert!(children.iter().filter(moved).count() >= 2, "some were handed over");
}

/// Whether a child moves to the supernode that its parent names, when that one is by so many hundredths
/// fuller than the parent thinks; and how often it has stayed for that.
fn follows(points: u8) -> (bool, u64) {
    let mut network =
        Network::new(Settings { seed: SEED, max_children: 10, ..Settings::default() });
    let (supers, ..) = settle(&mut network, 1, 5);
    network.set_login_up(false);
    let wanderer = network.add_node(RoleSetting::Ordinary, Vec::new());
    let puppet = known_puppet(&mut network, wanderer, 1);
    play_parent(&mut network, puppet, seconds(5));
    assert_eq!(network.snapshot(wanderer).unwrap().parent.parent, Some(puppet));
    let mut to = network.entry(supers[0]).unwrap();
    to.load_percent = 50 - points;
    network.say(puppet, wanderer, Redirect { to });
    play_parent(&mut network, puppet, seconds(5));
    let moved = network.snapshot(wanderer).unwrap().parent.parent == Some(supers[0]);
    (moved, counters(&network, wanderer).moves_spared)
}

#[test]
fn a_child_follows_its_parent_s_word_unless_the_other_is_much_fuller_than_that() {
    assert_eq!(follows(10), (true, 0));
    assert_eq!(follows(11), (false, 1));
}

#[test]
fn a_child_that_becomes_a_supernode_is_found_all_the_time() {
    let mut network = network();
    let (supers, children, settled) = settle(&mut network, 3, 9);
    assert!(settled);
    network.run_for(seconds(12));
    let parent = network.snapshot(children[4]).unwrap().parent.parent.unwrap();
    let asker = *supers.iter().find(|node| **node != parent).unwrap();
    network.feed(children[4], Input::SetRole(RoleSetting::Super));
    assert_eq!(missed(&mut network, asker, children.len(), seconds(45)), Vec::<String>::new());
    assert_eq!(network.snapshot(children[4]).unwrap().role, Role::Super);
    assert_eq!(found_at(&mut network, asker, "rare4"), [children[4]]);
}

#[test]
fn what_a_supernode_shares_is_found_after_it_was_an_ordinary_node_for_a_moment() {
    let mut network = network();
    // More than leave the index in one piece, of so few words that no table is made anew for them.
    let path = |number: usize| {
        let folders = (0..6).map(|digit| ["aa", "bb", "cc", "dd"][number >> (2 * digit) & 3]);
        folders.collect::<Vec<_>>().join("/") + "/ee.ogg"
    };
    let files = (0..3_000).map(|number| file(&path(number))).collect();
    let sharer = network.add_node(RoleSetting::Super, files);
    let (supers, _, settled) = settle(&mut network, 2, 4);
    assert!(settled);
    network.run_for(seconds(30));
    network.feed(sharer, Input::SetRole(RoleSetting::Ordinary));
    network.run_for(Duration::from_millis(500));
    network.feed(sharer, Input::SetRole(RoleSetting::Super));
    network.run_for(seconds(60));
    for word in ["aa", "bb", "cc", "dd", "ee"] {
        let found = found_at(&mut network, supers[0], word);
        assert!(found.contains(&sharer), "{word}: {found:?}");
    }
}
