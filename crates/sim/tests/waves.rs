//! Searches that are steered by query routing tables: what is found, and what it costs.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::*;
use skein_overlay::Counters;
use skein_proto::message::{Flood, Hits, RoleSetting, SearchDone};
use skein_proto::query::{Coverage, HitGroup, Owner, StopReason};
use skein_proto::routing::{SharedBytes, TableUpdate};
use skein_proto::{BoundedVec, ContentId, Message, NodeId, QueryId};
use skein_sim::population::{file, settle};
use skein_sim::{Network, Settings};
use std::collections::BTreeSet;

/// A network that is too large for everyone to be everyone's neighbour.
fn wide(supernodes: usize, neighbours: usize, children: usize) -> (Network, Vec<NodeId>) {
    let settings = Settings { seed: SEED, max_neighbours: neighbours, ..Settings::default() };
    let mut network = Network::new(settings);
    let (_, children, settled) = settle(&mut network, supernodes, children);
    assert!(settled);
    network.run_for(seconds(12));
    (network, children)
}

fn floods(network: &Network) -> u64 {
    network.traffic().get("Flood").map_or(0, |(count, _)| *count)
}

#[test]
fn single_copies_are_found_at_a_fraction_of_what_flooding_costs() {
    let (mut network, children) = wide(120, 12, 240);
    let before = floods(&network);
    let searches = 40;
    let mut found = 0;
    for number in 0..searches {
        let asker = children[(number * 7 + 100) % children.len()];
        let outcome = network.search(asker, &format!("rare{number} "), 5);
        found += outcome.contents().len();
        let coverage = outcome.coverage.unwrap();
        assert!(coverage.supernodes_asked >= 114, "{coverage:?}");
    }
    assert!(found >= searches - 1, "{found} of {searches}");
    let each = (floods(&network) - before) as usize / searches;
    // Every supernode would send it to all of its neighbours but one.
    let flooding = 120 * 11;
    assert!(each * 6 < flooding, "{each} messages, flooding takes {flooding}");
    let parents: BTreeSet<NodeId> = children
        .iter()
        .filter_map(|child| network.snapshot(*child).unwrap().parent.parent)
        .collect();
    let spared: u64 = parents.iter().map(|node| counters(&network, *node).looks_spared).sum();
    assert!(spared > 2 * searches as u64, "{spared} need not look");
}

#[test]
fn words_that_nobody_has_cost_little_and_the_report_says_that_all_are_covered() {
    let (mut network, children) = wide(30, 40, 60);
    let before = floods(&network);
    for (number, asker) in children.iter().enumerate().take(20) {
        let outcome = network.search(*asker, &format!("absent{number} "), 5);
        let coverage = outcome.coverage.unwrap();
        assert_eq!(coverage.stopped, StopReason::Exhausted);
        assert_eq!((coverage.supernodes_asked, coverage.supernodes_known), (30, 30));
        assert_eq!(coverage.nodes_covered, 90);
    }
    let sent = floods(&network) - before;
    assert!(sent <= 25, "{sent} messages for 20 searches among 30 supernodes");
}

#[test]
fn supernodes_that_have_just_died_do_not_make_searches_ask_everybody() {
    let mut network = Network::new(Settings { seed: SEED, ..Settings::default() });
    let (supers, children, settled) = settle(&mut network, 120, 120);
    assert!(settled);
    network.run_for(seconds(12));
    let parent = |child: &NodeId| network.snapshot(*child).unwrap().parent.parent;
    let askers = || children.iter().filter(|child| parent(child) != Some(supers[0]));
    let askers: Vec<NodeId> =
        askers().filter(|it| parent(it) != Some(supers[1])).copied().collect();
    network.kill(supers[0]);
    network.kill(supers[1]);
    // Their neighbours have noticed, and the others still count them.
    network.run_for(seconds(8));
    let before = floods(&network);
    for (number, asker) in askers.iter().enumerate().take(5) {
        let outcome = network.search(*asker, &format!("absent{number} "), 5);
        assert!(outcome.coverage.unwrap().supernodes_asked >= 118, "all that live are covered");
    }
    let each = (floods(&network) - before) / 5;
    assert!(each <= 120, "{each} messages for a search among 120 supernodes");
}

#[test]
fn after_many_supernodes_died_a_search_costs_no_more_and_says_that_they_are_missing() {
    let mut network = Network::new(Settings { seed: SEED, ..Settings::default() });
    let (supers, children, settled) = settle(&mut network, 30, 60);
    assert!(settled);
    network.run_for(seconds(12));
    let (dead, _) = supers.split_at(9);
    dead.iter().for_each(|node| network.kill(*node));
    // Their links are known to be lost by then, and nobody takes them for dead yet.
    network.run_for(seconds(8));
    let has_parent = |network: &Network, child: &NodeId| {
        let parent = network.snapshot(*child).unwrap().parent.parent;
        parent.is_some_and(|parent| !dead.contains(&parent))
    };
    let askers: Vec<NodeId> =
        children.iter().filter(|child| has_parent(&network, child)).copied().take(5).collect();
    let before = floods(&network);
    for (number, asker) in askers.iter().enumerate() {
        let outcome = network.search(*asker, &format!("absent{number} "), 5);
        let coverage = outcome.coverage.unwrap();
        assert_eq!(coverage.stopped, StopReason::Unreached);
        assert_eq!((coverage.supernodes_asked, coverage.supernodes_known), (21, 30));
    }
    let sent = floods(&network) - before;
    assert!(sent <= 10, "{sent} messages for 5 searches among 21 supernodes");
    network.run_for(seconds(30));
    let coverage = network.search(askers[0], "absent ", 5).coverage.unwrap();
    assert_eq!(coverage.stopped, StopReason::Exhausted);
    assert_eq!((coverage.supernodes_asked, coverage.supernodes_known), (21, 21));
}

#[test]
fn what_many_have_is_found_without_asking_everybody() {
    let (mut network, children) = wide(60, 20, 240);
    let before = floods(&network);
    let outcome = network.search(children[0], "common", 20);
    assert_eq!(outcome.contents().len(), 20);
    assert_eq!(outcome.coverage.unwrap().stopped, StopReason::Enough);
    let sent = floods(&network) - before;
    assert!(sent < 30, "{sent} messages");
}

#[test]
fn a_search_that_is_called_off_is_called_off_everywhere() {
    let (mut network, children) = wide(40, 8, 40);
    let query = network.start_search(children[0], "common", 1_000);
    network.run_for(std::time::Duration::from_millis(250));
    network.feed(children[0], skein_overlay::Input::CancelSearch { id: query });
    network.run_for(std::time::Duration::from_millis(500));
    let before = floods(&network);
    network.run_for(seconds(10));
    assert_eq!(floods(&network), before, "nobody goes on with it");
    assert!(network.traffic().get("CancelSearch").is_some_and(|(count, _)| *count > 1));
}

#[test]
fn words_that_vanish_are_not_asked_for_any_more() {
    let (mut network, children) = wide(3, 10, 12);
    let contents = vec![file("common/rare3 song.mp3").content];
    network.change_files(children[3], Vec::new(), contents);
    network.run_for(seconds(12));
    let before = floods(&network);
    let outcome = network.search(elsewhere(&network, &children, children[3]), "rare3 ", 5);
    assert!(outcome.contents().is_empty());
    assert!(floods(&network) - before <= 1);
}

/// A supernode with a child that shares a song, and three puppets as its neighbours.
fn crossing() -> (Network, NodeId, [NodeId; 3]) {
    let mut network = network();
    let victim = lone_super(&mut network);
    let holder = network.add_node(RoleSetting::Ordinary, vec![file("a/rare song.ogg")]);
    assert!(network.run_until_all(&[holder], seconds(20)));
    let puppets = [1, 2, 3].map(|number| neighbour(&mut network, victim, number));
    network.run_for(seconds(12));
    puppets.iter().for_each(|puppet| drop(network.heard(*puppet)));
    (network, victim, puppets)
}

/// A query of the search that all of these puppets know of.
fn flood_of(number: u8, text: &str, hops_left: u8) -> Flood {
    Flood {
        id: QueryId::from_bytes([number; 16]),
        search: QueryId::from_bytes([9; 16]),
        query: words(text).into(),
        wanted: 5,
        hops_left,
        index: true,
        besides: Default::default(),
    }
}

/// What a puppet was told: files, and how many supernodes each end speaks of.
fn answers(network: &mut Network, puppet: NodeId) -> (usize, Vec<u32>) {
    network.run_for(std::time::Duration::from_millis(300));
    let (mut files, mut ends) = (0, Vec::new());
    for (_, message) in network.heard(puppet) {
        files += hits_in(&message).len();
        if let Message::SearchDone(done) = message {
            ends.push(done.coverage.supernodes_asked);
        }
    }
    (files, ends)
}

/// The floods that a puppet was asked with.
fn heard_floods(network: &mut Network, puppet: NodeId) -> Vec<Flood> {
    network.run_for(std::time::Duration::from_millis(300));
    let heard = network.heard(puppet).into_iter();
    let floods = heard.filter_map(|(_, message)| match message {
        Message::Flood(flood) => Some(flood),
        _ => None,
    });
    floods.collect()
}

fn done(id: QueryId, supernodes_asked: u32) -> SearchDone {
    let coverage = Coverage {
        supernodes_asked,
        supernodes_known: 9,
        nodes_covered: 9,
        stopped: StopReason::Exhausted,
    };
    SearchDone { id, coverage, covered: BoundedVec::default(), groups: BoundedVec::default() }
}

#[test]
fn whoever_races_ahead_with_a_query_takes_no_hits_away() {
    let (mut network, victim, [liar, asker, third]) = crossing();
    network.say(liar, victim, flood_of(1, "rare song ", 2));
    let [for_liar] = heard_floods(&mut network, third).try_into().expect("it is passed on");
    network.say(asker, victim, flood_of(2, "rare song ", 2));
    let [for_asker] = heard_floods(&mut network, third).try_into().expect("and once more");
    assert_eq!(for_liar.search, for_asker.search);
    network.say(third, victim, done(for_liar.id, 1));
    assert_eq!(answers(&mut network, asker), (1, vec![]), "the own hit, and the end is to come");
    network.say(third, victim, done(for_asker.id, 1));
    // The liar was asked, too, and says nothing.
    network.run_for(seconds(6));
    assert_eq!(answers(&mut network, asker), (0, vec![2]));
}

#[test]
fn hits_that_pass_through_go_together_and_with_the_end() {
    let (mut network, victim, [asker, third, fourth]) = crossing();
    let credential = network.honest_credential(&key(1), 900);
    let hits = |number: u8| {
        let owner = Owner {
            node: asker,
            credential: credential.clone(),
            addresses: BoundedVec::default(),
            parent: asker,
        };
        let mut offered = file(&format!("a/melody {number}.ogg"));
        offered.content = ContentId::from_bytes([number; 32]);
        BoundedVec::truncated([HitGroup { owner, files: BoundedVec::truncated([offered]) }])
    };
    network.say(asker, victim, flood_of(1, "melody ", 1));
    let [asked] = heard_floods(&mut network, third).try_into().expect("it is passed on");
    network.say_later(third, victim, Hits { id: asked.id, groups: hits(1) });
    network.say_later(third, victim, Hits { id: asked.id, groups: hits(2) });
    network.run_for(std::time::Duration::from_millis(150));
    assert_eq!(network.heard(asker).len(), 0, "there may be more");
    network.run_for(std::time::Duration::from_millis(350));
    let [(_, message)] = network.heard(asker).try_into().expect("one message");
    assert!(matches!(&message, Message::Hits(hits) if hits.groups.len() == 2), "{message:?}");
    network.say_later(third, victim, SearchDone { groups: hits(3), ..done(asked.id, 1) });
    let [asked] = heard_floods(&mut network, fourth).try_into().expect("so is this one");
    assert_eq!(answers(&mut network, asker), (1, vec![]));
    network.say_later(fourth, victim, SearchDone { groups: hits(4), ..done(asked.id, 1) });
    network.run_for(seconds(1));
    let [(_, message)] = network.heard(asker).try_into().expect("one message");
    assert!(matches!(&message, Message::SearchDone(done) if done.groups.len() == 1), "{message:?}");
}

#[test]
fn another_query_under_the_id_of_a_search_is_not_in_its_way() {
    let (mut network, victim, [liar, asker, third]) = crossing();
    network.say(liar, victim, flood_of(1, "something else ", 2));
    assert_eq!(heard_floods(&mut network, third).len(), 1, "it is under way");
    network.say(asker, victim, flood_of(2, "rare song ", 0));
    assert_eq!(answers(&mut network, asker), (1, vec![1]));
}

#[test]
fn what_is_asked_without_end_is_answered_no_more() {
    let (mut network, victim, [puppet, _, third]) = crossing();
    for number in 1..=20 {
        network.say(puppet, victim, flood_of(number, "rare song ", 1));
    }
    let (files, ends) = answers(&mut network, puppet);
    assert!(files <= 3 && ends.iter().filter(|asked| **asked == 0).count() == 17, "{ends:?}");
    assert!(heard_floods(&mut network, third).len() <= 3);
    assert_eq!(counters(&network, victim).floods_duplicate, 17);
}

#[test]
fn a_neighbour_that_has_not_looked_is_not_counted_as_covered() {
    for searched in [0, 1] {
        let mut network = network();
        let victim = lone_super(&mut network);
        let puppet = neighbour(&mut network, victim, 1);
        let asker = network.add_node(RoleSetting::Ordinary, Vec::new());
        assert!(network.run_until_all(&[asker], seconds(20)));
        network.heard(puppet);
        let search = network.start_search(asker, "rare song", 2);
        for hops in 0..=1 {
            network.run_for(seconds(1));
            for flood in heard_floods(&mut network, puppet) {
                assert_eq!((flood.hops_left, flood.index), (hops, hops == 0 || searched == 0));
                network.say(puppet, victim, done(flood.id, searched));
            }
        }
        let coverage = network.finish_search(asker, search).coverage.unwrap();
        assert_eq!(coverage.supernodes_asked, 1 + searched);
    }
}

fn part(log2_bits: u8, part: u8, fill: u8) -> TableUpdate {
    let bytes = (1_usize << (log2_bits.min(30) - 3)).min(32 * 1024);
    let bits = SharedBytes::new(vec![fill; bytes]).unwrap();
    TableUpdate::Whole { log2_bits, part, bits, nodes: 1, pairs: false }
}

/// Whether a puppet neighbour is asked for a word that its table does not have.
fn is_asked(network: &mut Network, victim: NodeId, puppet: NodeId, word: &str) -> bool {
    network.heard(puppet);
    let asker = network.add_node(RoleSetting::Ordinary, Vec::new());
    assert!(network.run_until_all(&[asker], seconds(20)));
    assert_eq!(network.snapshot(asker).unwrap().parent.parent, Some(victim));
    network.start_search(asker, word, 5);
    network.run_for(seconds(2));
    let heard = network.heard(puppet);
    heard
        .iter()
        .any(|(_, message)| matches!(message, Message::Flood(flood) if flood.hops_left == 0))
}

#[test]
fn a_neighbour_is_asked_until_its_table_excludes_it() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let puppet = neighbour(&mut network, victim, 1);
    assert!(is_asked(&mut network, victim, puppet, "melody "), "nothing is known of it");
    network.say(puppet, victim, part(10, 0, 0));
    assert!(!is_asked(&mut network, victim, puppet, "melody "));
    network.say(puppet, victim, part(10, 0, 0xff));
    assert_eq!(counters(&network, victim).tables_refused, 1, "it would say yes to everything");
    assert_eq!(neighbours(&network, victim), 1);
}

#[test]
fn tables_against_the_rules_cost_the_link() {
    let flips =
        |bytes: &[u8]| TableUpdate::Flips { flips: SharedBytes::new(bytes).unwrap(), nodes: 1 };
    let cases = [
        vec![part(18, 1, 0)],
        vec![part(19, 0, 0), part(19, 0, 0), part(19, 2, 0)],
        vec![part(19, 0, 0), part(20, 1, 0)],
        vec![part(9, 0, 0)],
        vec![part(10, 0, 0), flips(&[0xff, 0x7f])],
        vec![part(10, 0, 0), flips(&[5, 0])],
        vec![part(10, 0, 0), flips(&[0x80])],
    ];
    for case in cases {
        let mut network = network();
        let victim = lone_super(&mut network);
        let puppet = neighbour(&mut network, victim, 1);
        for update in case.clone() {
            network.say(puppet, victim, update);
        }
        assert_eq!(neighbours(&network, victim), 0, "{case:?}");
    }
}

#[test]
fn tables_sent_in_a_loop_are_not_taken_in_for_ever() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let puppet = neighbour(&mut network, victim, 1);
    for _ in 0..500 {
        network.say_later(puppet, victim, part(18, 0, 0x11));
    }
    network.run_for(seconds(1));
    let counters = counters(&network, victim);
    assert!(counters.tables_taken < 170, "{}", counters.tables_taken);
    assert!(counters.tables_refused > 330, "{}", counters.tables_refused);
}

#[test]
fn wrong_asks_are_as_rare_as_the_tables_promise() {
    let (mut network, children) = wide(20, 40, 200);
    for number in 0..200 {
        let asker = children[number % children.len()];
        network.search(asker, &format!("nothing{number} "), 5);
    }
    let parents: BTreeSet<NodeId> = children
        .iter()
        .filter_map(|child| network.snapshot(*child).unwrap().parent.parent)
        .collect();
    let sum = |of: fn(&Counters) -> u64| -> u64 {
        parents.iter().map(|node| of(&counters(&network, *node))).sum()
    };
    let (excluded, misses) = (sum(|c| c.table_excluded), sum(|c| c.table_misses));
    // 200 searches for what nobody has look at 19 tables each. Whoever is asked what it sees need not look
    // at any of them again. Of each look is known what came of it.
    assert_eq!(sum(|c| c.table_asks), misses);
    let looks = excluded + misses;
    assert_eq!(looks, 200 * 19);
    // At 10 bits a key or more less than 0.84 % are wrong.
    assert!(misses <= looks / 100, "{misses} of {looks}");
}

#[test]
fn popular_words_are_answered_from_the_cache_for_a_while() {
    let (mut network, children) = wide(30, 10, 120);
    let asker = children[0];
    let first = network.search(asker, "common ", 30).contents();
    let before = floods(&network);
    let outcome = network.search(asker, "COMMON ", 30);
    assert_eq!(outcome.contents(), first);
    assert_eq!(outcome.coverage.unwrap().stopped, StopReason::Enough);
    assert_eq!(floods(&network), before, "nobody else was asked");
    network.run_for(seconds(31));
    network.search(asker, "common ", 30);
    assert!(floods(&network) > before);
}

#[test]
fn decoys_do_not_drown_what_many_hold() {
    let settings = Settings { seed: SEED, max_neighbours: 10, ..Settings::default() };
    let mut network = Network::new(settings);
    for _ in 0..10 {
        network.add_node(RoleSetting::Super, Vec::new());
    }
    let name = |number: usize| format!("hits/popular tune {number}.mp3");
    let nodes: Vec<NodeId> = (0..200)
        .map(|number: usize| {
            // One in twenty makes up contents under the names of what is popular.
            let files = if number % 20 == 7 {
                let decoy = |tune| {
                    let mut decoy = file(&format!("fake{number}/popular tune {tune}.mp3"));
                    decoy.size = 666;
                    decoy
                };
                (0..10).map(decoy).collect()
            } else {
                vec![file(&name(number % 10)), file(&format!("own/rare{number}.mp3"))]
            };
            network.add_node(RoleSetting::Ordinary, files)
        })
        .collect();
    assert!(network.run_until_all(&nodes, seconds(60)));
    network.run_for(seconds(15));
    let (mut good, mut bad) = (0, 0);
    for (tune, asker) in nodes.iter().enumerate().take(10) {
        let outcome = network.search(*asker, &format!("popular tune {tune} "), 20);
        let files = outcome.groups.iter().flat_map(|group| group.files.iter());
        for hit in files {
            let counter = if hit.size == 666 { &mut bad } else { &mut good };
            *counter += 1;
        }
        assert!(outcome.contents().contains(&file(&name(tune)).content), "tune {tune}");
    }
    assert!(good >= 100 && bad * 20 <= good, "{good} good hits, {bad} decoys");
    let outcome = network.search(nodes[3], "rare11 ", 5);
    assert!(outcome.contents().contains(&file("own/rare11.mp3").content));
}
