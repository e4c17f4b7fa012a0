//! What a network of overlays does, told as stories in virtual time.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::{SEED, counters, elsewhere, network, seconds};
use skein_overlay::Event;
use skein_proto::message::RoleSetting;
use skein_proto::query::StopReason;
use skein_proto::{Ask, KeyPair, NodeId, Role};
use skein_sim::population::{file, settle};
use skein_sim::{Network, Settings};

#[test]
fn a_file_is_found_from_a_child_of_another_supernode() {
    let mut network = network();
    let (supers, children, settled) = settle(&mut network, 4, 20);
    assert!(settled);
    // Supernodes that have much to tell tell it every ten seconds.
    network.run_for(seconds(12));
    let asker = elsewhere(&network, &children, children[7]);
    let outcome = network.search(asker, "rare7", 100);
    assert_eq!(outcome.groups.len(), 1);
    assert_eq!(outcome.groups[0].owner.node, children[7]);
    assert_eq!(outcome.groups[0].files[0].path.as_str(), "common/rare7 song.mp3");
    let coverage = outcome.coverage.unwrap();
    assert_eq!(coverage.stopped, StopReason::Exhausted);
    assert_eq!(coverage.supernodes_asked, 4);
    assert_eq!(coverage.supernodes_known, 4);
    assert_eq!(coverage.nodes_covered as usize, supers.len() + children.len());
}

#[test]
fn a_content_is_found_by_its_id() {
    let mut network = network();
    let (_, children, _) = settle(&mut network, 3, 9);
    let asker = elsewhere(&network, &children, children[2]);
    let content = file("common/rare2 song.mp3").content;
    let query = network.start_query(asker, Ask::Content(content), 5);
    let outcome = network.finish_search(asker, query);
    assert_eq!(outcome.contents().into_iter().collect::<Vec<_>>(), [content]);
}

#[test]
fn a_search_stops_when_enough_has_come() {
    let mut network = network();
    let (_, children, _) = settle(&mut network, 4, 40);
    let outcome = network.search(children[0], "common song", 5);
    assert_eq!(outcome.contents().len(), 5);
    assert_eq!(outcome.coverage.unwrap().stopped, StopReason::Enough);
}

#[test]
fn a_child_of_a_dead_supernode_is_searchable_again_within_seconds() {
    let mut network = network();
    let (_, children, _) = settle(&mut network, 4, 20);
    network.run_for(seconds(60));
    let orphan = children[3];
    let parent = network.snapshot(orphan).unwrap().parent.parent.unwrap();
    let standby = network.snapshot(orphan).unwrap().parent.standby.expect("a standby");
    network.kill(parent);
    let moved = network.run_until(seconds(8), |network| {
        let ties = network.snapshot(orphan).unwrap().parent;
        ties.parent == Some(standby) && ties.complete
    });
    assert!(moved, "the standby takes over");
    // It may have taken over others a moment before: its neighbours hear of this one half a second
    // after those.
    network.run_for(seconds(1));
    let outcome = network.search(elsewhere(&network, &children, orphan), "rare3", 10);
    assert_eq!(outcome.contents().len(), 1);
    let recovered = network.events(orphan).iter().any(|(_, event)| {
        matches!(event, Event::Published { recovery: Some(time), .. } if *time < seconds(8))
    });
    assert!(recovered, "the recovery is reported with its time");
}

#[test]
fn a_parent_that_says_goodbye_is_replaced_at_once() {
    let mut network = network();
    let (_, children, _) = settle(&mut network, 3, 12);
    network.run_for(seconds(60));
    let child = children[0];
    let parent = network.snapshot(child).unwrap().parent.parent.unwrap();
    network.leave(parent);
    let moved = network.run_until(seconds(2), |network| {
        let ties = network.snapshot(child).unwrap().parent;
        ties.parent.is_some_and(|node| node != parent) && ties.complete
    });
    assert!(moved);
}

#[test]
fn a_search_survives_the_death_of_the_parent_that_runs_it() {
    let mut network = network();
    let (_, children, _) = settle(&mut network, 4, 20);
    network.run_for(seconds(60));
    let asker = children[5];
    let parent = network.snapshot(asker).unwrap().parent.parent.unwrap();
    let target = elsewhere(&network, &children, asker);
    let number = children.iter().position(|child| *child == target).unwrap();
    network.kill(parent);
    let query = network.start_search(asker, &format!("rare{number}"), 10);
    let outcome = network.finish_search(asker, query);
    assert_eq!(outcome.contents().len(), 1, "{:?}", outcome.coverage);
}

#[test]
fn a_supernode_that_dies_in_mid_search_costs_its_own_hits_only() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 4, 40);
    network.run_for(seconds(60));
    let asker = children[0];
    let parent = network.snapshot(asker).unwrap().parent.parent.unwrap();
    let victim = *supers.iter().find(|node| **node != parent).unwrap();
    let lost = children
        .iter()
        .filter(|child| network.snapshot(**child).unwrap().parent.parent == Some(victim))
        .count();
    let query = network.start_search(asker, "common", 1_000);
    network.kill(victim);
    let outcome = network.finish_search(asker, query);
    assert_eq!(outcome.contents().len(), children.len() - lost);
    let coverage = outcome.coverage.unwrap();
    assert_eq!(coverage.stopped, StopReason::TimedOut, "the report says that someone is missing");
    assert_eq!(coverage.supernodes_asked, 3);
}

#[test]
fn changes_are_published_as_they_happen() {
    let mut network = network();
    let (_, children, _) = settle(&mut network, 2, 4);
    let new = file("fresh/unheard melody.ogg");
    let old = file("common/rare1 song.mp3").content;
    network.change_files(children[1], vec![new.clone()], vec![old]);
    network.run_for(seconds(2));
    assert_eq!(network.search(children[0], "unheard", 10).contents().len(), 1);
    assert_eq!(network.search(children[0], "rare1", 10).contents().len(), 0);
}

#[test]
fn thousands_of_files_are_published_in_pages_and_all_are_found() {
    let mut network = network();
    network.add_node(RoleSetting::Super, Vec::new());
    let files = (0..5_000).map(|n| file(&format!("big/item{n:05}.txt"))).collect();
    let owner = network.add_node(RoleSetting::Ordinary, files);
    assert!(network.run_until_all(&[owner], seconds(60)));
    assert_eq!(network.snapshot(owner).unwrap().parent.published, 5_000);
    for number in [0, 1_023, 1_024, 2_500, 4_999] {
        let outcome = network.search(owner, &format!("item{number:05}"), 5);
        assert_eq!(outcome.contents().len(), 1, "item {number}");
    }
}

#[test]
fn a_supernode_shares_its_own_files() {
    let mut network = network();
    let sharer = network.add_node(RoleSetting::Super, vec![file("own/treasure.pdf")]);
    let (_, children, _) = settle(&mut network, 2, 4);
    let outcome = network.search(children[0], "treasure", 10);
    assert_eq!(outcome.groups[0].owner.node, sharer);
    assert!(!outcome.groups[0].owner.addresses.is_empty());
}

#[test]
fn an_empty_network_starts_itself_with_one_supernode() {
    let mut network = network();
    let nodes: Vec<NodeId> = (0..6)
        .map(|n| network.add_node(RoleSetting::Auto, vec![file(&format!("a/b{n}"))]))
        .collect();
    assert!(network.run_until_all(&nodes, seconds(60)));
    let supers =
        nodes.iter().filter(|node| network.snapshot(**node).unwrap().role == Role::Super).count();
    assert_eq!(supers, 1);
}

#[test]
fn a_forged_credential_is_neither_taken_nor_indexed() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 2, 4);
    let impostor = KeyPair::from_seed(&[66; 32]);
    let forged = network.credential(&impostor.node_id(), 0, &KeyPair::from_seed(&[67; 32]));
    let files = vec![file("fake/poison.mp3")];
    let bad = network.add_node_with(RoleSetting::Ordinary, files, &impostor, forged);
    network.run_for(seconds(60));
    assert_eq!(network.snapshot(bad).unwrap().parent.parent, None);
    assert_eq!(network.search(children[0], "poison", 10).contents().len(), 0);
    let refused: u64 = supers
        .iter()
        .map(|node| network.overlay(*node).unwrap().counters().children_refused_credential)
        .sum();
    assert!(refused > 0, "the refusals are counted");
}

#[test]
fn a_child_whose_credential_ran_out_is_sent_away() {
    let lifetime = seconds(30);
    let settings = Settings {
        seed: SEED,
        credential_lifetime: lifetime,
        renewals: false,
        ..Settings::default()
    };
    let mut network = Network::new(settings);
    let keeper = KeyPair::from_seed(&[1; 32]);
    let credential = network.credential(&keeper.node_id(), 900, &network.login_key());
    network.add_node_with(RoleSetting::Super, Vec::new(), &keeper, credential);
    let child = network.add_node(RoleSetting::Ordinary, vec![file("a/late.txt")]);
    assert!(network.run_until_all(&[child], seconds(20)));
    network.run_for(seconds(10));
    let renewed = network.credential(&keeper.node_id(), 900, &network.login_key());
    network.feed(keeper.node_id(), skein_overlay::Input::Credential(renewed));
    network
        .run_until(seconds(40), |network| network.snapshot(child).unwrap().parent.parent.is_none());
    assert_eq!(network.snapshot(child).unwrap().parent.parent, None);
    let supernode = network.snapshot(keeper.node_id()).unwrap().supernode.unwrap();
    assert_eq!(supernode.children, 0);
    assert_eq!(supernode.records, 0);
}

#[test]
fn credentials_are_renewed_before_they_run_out() {
    let settings = Settings { seed: SEED, credential_lifetime: seconds(60), ..Settings::default() };
    let mut network = Network::new(settings);
    let (supers, children, _) = settle(&mut network, 3, 9);
    network.run_for(seconds(300));
    assert!(children.iter().all(|child| network.snapshot(*child).unwrap().parent.complete));
    let refused = supers.iter().map(|node| counters(&network, *node).children_refused_credential);
    assert_eq!(refused.sum::<u64>(), 0);
}

#[test]
fn the_network_goes_on_without_its_login_service() {
    let mut network = network();
    let (_, children, _) = settle(&mut network, 3, 12);
    network.run_for(seconds(10));
    network.set_login_up(false);
    let node = children[4];
    network.kill(node);
    network.run_for(seconds(30));
    network.restart(node);
    assert!(network.run_until_all(&[node], seconds(30)), "the cache of supernodes is enough");
    network.run_for(seconds(1)); // until the neighbours of its parent have heard of its words
    let asker = elsewhere(&network, &children, node);
    assert_eq!(network.search(asker, "rare4", 10).contents().len(), 1);
}

#[test]
fn the_only_supernode_is_one_again_after_a_crash_without_the_login_service() {
    let mut network = network();
    let nodes: Vec<NodeId> = (0..3)
        .map(|n| network.add_node(RoleSetting::Auto, vec![file(&format!("a/b{n}"))]))
        .collect();
    assert!(network.run_until_all(&nodes, seconds(60)));
    let is_super = |network: &Network, node| network.snapshot(node).unwrap().role == Role::Super;
    let only = *nodes.iter().find(|node| is_super(&network, **node)).unwrap();
    network.set_login_up(false);
    network.kill(only);
    network.run_for(seconds(60));
    network.restart(only);
    assert!(is_super(&network, only));
    assert!(network.run_until_all(&nodes, seconds(330)), "those who knew it find it again");
}

#[test]
fn a_silent_parent_is_replaced_even_when_no_standby_was_ready() {
    let mut network = network();
    let first = network.add_node(RoleSetting::Super, Vec::new());
    let child = network.add_node(RoleSetting::Ordinary, vec![file("a/b")]);
    assert!(network.run_until_all(&[child], seconds(20)));
    let second = network.add_node(RoleSetting::Super, Vec::new());
    network.run_for(seconds(3));
    assert_eq!(network.snapshot(child).unwrap().parent.standby, None, "not found yet");
    network.kill(first);
    let moved = network.run_until(seconds(8), |network| {
        let ties = network.snapshot(child).unwrap().parent;
        ties.parent == Some(second) && ties.complete
    });
    assert!(moved, "sooner than the transport gives the connection up (10 s)");
}

#[test]
fn a_publication_that_ends_with_a_full_page_is_known_to_be_whole() {
    let mut network = network();
    network.add_node(RoleSetting::Super, Vec::new());
    let files = (0..1_024).map(|n| file(&format!("big/item{n:05}.txt"))).collect();
    let owner = network.add_node(RoleSetting::Ordinary, files);
    assert!(network.run_until_all(&[owner], seconds(60)));
    let told = network
        .events(owner)
        .iter()
        .any(|(_, event)| matches!(event, Event::Published { records: 1_024, .. }));
    assert!(told);
}

#[test]
fn a_full_supernode_sends_children_to_others() {
    let settings = Settings { seed: SEED, max_children: 5, ..Settings::default() };
    let mut network = Network::new(settings);
    let (supers, _, settled) = settle(&mut network, 4, 16);
    assert!(settled);
    for node in supers {
        assert!(network.snapshot(node).unwrap().supernode.unwrap().children <= 5);
    }
}

#[test]
fn whoever_searches_without_end_is_slowed_down() {
    let mut network = network();
    let (_, children, _) = settle(&mut network, 2, 4);
    let mut queries: Vec<_> =
        (0..8).map(|_| network.start_search(children[0], "common", 1)).collect();
    network.run_for(seconds(1)); // until the keepers of its name have said what is left
    queries.extend((0..52).map(|_| network.start_search(children[0], "common", 1)));
    network.run_for(seconds(10));
    let over = queries
        .iter()
        .filter_map(|query| network.outcome(children[0], *query)?.coverage)
        .filter(|coverage| coverage.stopped == StopReason::OverBudget)
        .count();
    assert!((10..=25).contains(&over), "{over} of 60 were over the budget of 40 at once");
}

#[test]
fn a_demoted_supernode_hands_its_children_over() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 3, 12);
    network.run_for(seconds(60));
    network.feed(supers[0], skein_overlay::Input::SetRole(RoleSetting::Ordinary));
    // Those it asks first are the neighbours that it has just left; then it pauses once.
    network.run_for(seconds(15));
    assert_eq!(network.attached(&children), children.len());
    let demoted = network.snapshot(supers[0]).unwrap();
    assert_eq!(demoted.role, Role::Ordinary);
    assert!(demoted.parent.parent.is_some(), "it is a child itself now");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut network = network();
        settle(&mut network, 3, 15);
        network.run_for(seconds(30));
        network.traffic()
    };
    assert_eq!(run(), run());
}
