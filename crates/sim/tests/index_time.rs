//! Indexes that take their time: what is asked of them meanwhile, and what becomes of it.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::*;
use skein_overlay::Input;
use skein_proto::message::{Bond, CancelSearch, Flood, Hits, RoleSetting, Search, SearchDone};
use skein_proto::query::{Coverage, HitGroup, Owner, StopReason};
use skein_proto::{Ask, BoundedVec, ContentId, Filter, Message, NodeId, Query, QueryId};
use skein_sim::population::{file, settle};
use skein_sim::{Network, Settings};
use std::time::Duration;

fn slow(index_time: Duration) -> Network {
    Network::new(Settings { seed: SEED, index_time, ..Settings::default() })
}

fn id(number: u16) -> QueryId {
    let mut id = [7; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    QueryId::from_bytes(id)
}

fn search(number: u16) -> Search {
    Search { id: id(number), query: words("song "), wanted: 5 }
}

/// Why the searches of a puppet ended, as it was told since it was last asked.
fn ends(network: &mut Network, puppet: NodeId) -> Vec<StopReason> {
    network.heard(puppet).into_iter().filter_map(|(_, message)| end(&message)).collect()
}

fn end(message: &Message) -> Option<StopReason> {
    match message {
        Message::SearchDone(done) => Some(done.coverage.stopped),
        _ => None,
    }
}

/// A query for a content of its own. No table says which contents there are, so the index has to be
/// asked for each.
fn of_content(number: u16, branch: u16) -> Flood {
    let mut content = [0; 32];
    content[..2].copy_from_slice(&number.to_be_bytes());
    let ask = Ask::Content(ContentId::from_bytes(content));
    Flood {
        id: id(branch),
        search: id(number),
        query: Query { ask, filter: Filter::default() }.into(),
        wanted: 5,
        hops_left: 0,
        index: true,
        besides: Default::default(),
    }
}

#[test]
fn a_slow_index_finds_what_a_quick_one_does() {
    let found = |index_time| {
        let mut network = slow(index_time);
        let (_, children, settled) = settle(&mut network, 4, 24);
        assert!(settled);
        // Until all tables have spread.
        network.run_for(seconds(12));
        let outcome = network.search(children[0], "common", 100);
        (outcome.contents(), outcome.coverage.unwrap().supernodes_asked)
    };
    let quick = found(Duration::ZERO);
    assert_eq!((quick.0.len(), quick.1), (24, 4));
    assert_eq!(found(Duration::from_millis(300)), quick);
}

#[test]
fn more_queries_than_an_index_can_take_are_refused_and_those_of_children_are_not() {
    let mut network = slow(Duration::from_millis(600));
    let victim = lone_super(&mut network);
    let puppet = neighbour(&mut network, victim, 1);
    let child = child(&mut network, victim, 2, Bond::Active);
    network.heard(puppet);
    for number in 0..300_u16 {
        network.say_later(puppet, victim, of_content(number, number));
    }
    network.run_for(Duration::from_millis(300));
    assert_eq!(ends(&mut network, puppet), [StopReason::OverBudget; 300 - 192]);
    network.say_later(child, victim, search(1_000));
    network.run_for(seconds(1));
    let heard = network.heard(puppet);
    let ends: Vec<StopReason> = heard.iter().filter_map(|(_, message)| end(message)).collect();
    assert_eq!(ends, [StopReason::Exhausted; 192]);
    // What the child looks for is not in the index, so the neighbour is asked next.
    let is_asked = |message: &Message| matches!(message, Message::Flood(it) if it.id == id(1_000));
    assert!(heard.iter().any(|(_, message)| is_asked(message)));
    assert_eq!(counters(&network, victim).look_ups_over_limit, 300 - 192);
}

#[test]
fn queries_that_the_own_table_excludes_do_not_trouble_the_index() {
    let mut network = slow(Duration::from_millis(600));
    let victim = lone_super(&mut network);
    let puppet = neighbour(&mut network, victim, 1);
    // Until the own table is in step with the index.
    network.run_for(seconds(12));
    network.heard(puppet);
    for number in 0..300 {
        let flood = Flood {
            id: id(number),
            search: id(number),
            query: words(&format!("song{number} ")).into(),
            wanted: 5,
            hops_left: 0,
            index: true,
            besides: Default::default(),
        };
        network.say_later(puppet, victim, flood);
    }
    network.run_for(Duration::from_millis(300));
    assert_eq!(ends(&mut network, puppet), [StopReason::Exhausted; 300]);
    let counters = counters(&network, victim);
    assert_eq!((counters.floods_answered, counters.floods_excluded), (300, 300));
}

#[test]
fn what_an_index_finds_for_nobody_is_dropped() {
    let mut network = slow(Duration::from_millis(600));
    let victim = lone_super(&mut network);
    let [one, other] = [1, 2].map(|number| child(&mut network, victim, number, Bond::Active));
    network.say_later(one, victim, search(1));
    network.say_later(other, victim, search(2));
    network.run_for(Duration::from_millis(150));
    network.say_later(one, victim, CancelSearch { id: id(1) });
    network.hang_up_as(other, victim);
    network.run_for(Duration::from_millis(150));
    assert_eq!(ends(&mut network, one), [StopReason::Cancelled]);
    network.run_for(seconds(1));
    assert_eq!(ends(&mut network, one), []);
    assert_eq!(counters(&network, victim).look_ups_unasked, 2);
}

/// What a puppet offers under a name.
fn offered(network: &Network, puppet: u8, path: &str, content: u8) -> HitGroup {
    let node = key(puppet).node_id();
    let credential = network.honest_credential(&key(puppet), 900 + u32::from(puppet));
    let owner = Owner { node, credential, addresses: BoundedVec::default(), parent: node };
    let mut offered = file(path);
    offered.content = ContentId::from_bytes([content; 32]);
    HitGroup { owner, files: BoundedVec::truncated([offered]) }
}

/// The paths that a puppet was told of, and why its search ended.
fn told(network: &mut Network, puppet: NodeId) -> (Vec<String>, Vec<StopReason>) {
    let heard = network.heard(puppet);
    let ends = heard.iter().filter_map(|(_, message)| end(message)).collect();
    let hits = heard.iter().flat_map(|(_, message)| hits_in(message));
    let files = hits.flat_map(|group| &group.files[..]);
    (files.map(|file| file.path.as_str().to_owned()).collect(), ends)
}

/// The flood that a puppet was asked with.
fn asked(network: &mut Network, puppet: NodeId) -> Flood {
    let mut heard = network.heard(puppet).into_iter().rev();
    let flood = heard.find_map(|(_, message)| match message {
        Message::Flood(flood) => Some(flood),
        _ => None,
    });
    flood.expect("a flood")
}

#[test]
fn while_the_own_index_takes_long_the_others_are_asked_and_what_it_finds_late_counts() {
    let mut network = slow(seconds(3));
    let victim = lone_super(&mut network);
    let holder = network.add_node(RoleSetting::Ordinary, vec![file("late/song one.ogg")]);
    assert!(network.run_until_all(&[holder], seconds(20)));
    let neighbour = neighbour(&mut network, victim, 1);
    let child = child(&mut network, victim, 2, Bond::Active);
    network.run_for(seconds(12));
    network.heard(child);
    network.say_later(child, victim, search(1));
    network.run_for(Duration::from_millis(1_500));
    let flood = asked(&mut network, neighbour);
    let groups = BoundedVec::truncated([offered(&network, 1, "other/song two.ogg", 9)]);
    network.say(neighbour, victim, Hits { id: flood.id, groups });
    let coverage = Coverage {
        supernodes_asked: 1,
        supernodes_known: 1,
        nodes_covered: 1,
        stopped: StopReason::Exhausted,
    };
    let done = |id| SearchDone {
        id,
        coverage,
        covered: BoundedVec::default(),
        groups: BoundedVec::default(),
    };
    network.say(neighbour, victim, done(flood.id));
    network.run_for(Duration::from_millis(300));
    assert_eq!(told(&mut network, child).0, ["other/song two.ogg"]);
    for hops in 1..=2 {
        let flood = asked(&mut network, neighbour);
        assert_eq!((flood.hops_left, flood.index), (hops, false), "it has looked there before");
        network.say(neighbour, victim, done(flood.id));
        network.run_for(Duration::from_millis(200));
    }
    network.run_for(seconds(3));
    let (paths, ends) = told(&mut network, child);
    assert_eq!(paths, ["late/song one.ogg"]);
    // The neighbour is not among those that are known, so there may be more; the index was searched.
    assert_eq!(ends, [StopReason::Unreached]);
    assert_eq!(counters(&network, victim).look_ups_timed_out, 1);
}

#[test]
fn a_search_is_over_before_the_child_gives_up_and_brings_what_was_held_back() {
    let mut network = slow(seconds(30));
    let victim = lone_super(&mut network);
    let neighbour = neighbour(&mut network, victim, 1);
    let child = child(&mut network, victim, 2, Bond::Active);
    network.heard(child);
    network.say_later(child, victim, search(1));
    network.run_for(Duration::from_millis(1_500));
    let id = asked(&mut network, neighbour).id;
    // Two contents bear one name, so that both wait for the end.
    let groups = BoundedVec::truncated([1, 2].map(|n| offered(&network, n, "x/song.ogg", n)));
    network.say(neighbour, victim, Hits { id, groups });
    network.run_for(seconds(9));
    assert_eq!(told(&mut network, child), (Vec::new(), Vec::new()));
    network.run_for(seconds(2));
    let (paths, ends) = told(&mut network, child);
    assert_eq!((paths.len(), ends), (2, vec![StopReason::TimedOut]));
    network.run_for(seconds(20));
    let counters = counters(&network, victim);
    assert_eq!((counters.look_ups_timed_out, counters.look_ups_unasked), (1, 1));
}

#[test]
fn whoever_was_refused_or_waited_in_vain_is_answered_when_it_asks_again() {
    let mut network = slow(Duration::from_millis(1_500));
    let victim = lone_super(&mut network);
    let [puppet, other] = [1, 2].map(|number| neighbour(&mut network, victim, number));
    let flood = |number: u16, again: u16| of_content(number, number + 1_000 * again);
    network.heard(other);
    (0..192).for_each(|number| network.say_later(puppet, victim, flood(number, 0)));
    network.run_for(Duration::from_millis(300));
    let covered = |network: &mut Network| -> Vec<(StopReason, u32)> {
        let heard = network.heard(other).into_iter();
        let done = heard.filter_map(|(_, message)| match message {
            Message::SearchDone(done) => Some(done.coverage),
            _ => None,
        });
        done.map(|coverage| (coverage.stopped, coverage.supernodes_asked)).collect()
    };
    network.say(other, victim, flood(500, 0));
    assert_eq!(covered(&mut network), [(StopReason::OverBudget, 0)]);
    network.run_for(seconds(3));
    // As often as it likes, as long as nothing came of it.
    for again in 1..=4 {
        network.say(other, victim, flood(500, again));
        network.run_for(seconds(2));
        assert_eq!(covered(&mut network), [(StopReason::TimedOut, 0)], "nobody has looked there");
    }
    assert_eq!(counters(&network, victim).floods_duplicate, 0);
}

/// Supernodes with indexes that take half a second, a child of each that shares a song, and one more
/// node that plays that role.
fn searcher(role: RoleSetting) -> (Network, NodeId, Vec<ContentId>) {
    let mut network = slow(Duration::from_millis(500));
    for _ in 0..4 {
        network.add_node(RoleSetting::Super, Vec::new());
    }
    network.run_for(seconds(5));
    let songs: Vec<_> = (0..12).map(|number| file(&format!("a/song {number}.ogg"))).collect();
    let holders: Vec<NodeId> = songs
        .iter()
        .map(|song| network.add_node(RoleSetting::Ordinary, vec![song.clone()]))
        .collect();
    let searcher = network.add_node(role, Vec::new());
    assert!(network.run_until_all(&holders, seconds(30)));
    network.run_for(seconds(20));
    (network, searcher, songs.iter().map(|song| song.content).collect())
}

#[test]
fn a_search_of_the_user_goes_on_when_the_node_becomes_a_supernode_or_is_none_any_more() {
    for (before, after) in
        [(RoleSetting::Ordinary, RoleSetting::Super), (RoleSetting::Super, RoleSetting::Ordinary)]
    {
        let (mut network, searcher, songs) = searcher(before);
        let search = network.start_search(searcher, "song", 100);
        network.run_for(Duration::from_millis(300));
        network.feed(searcher, Input::SetRole(after));
        let outcome = network.finish_search(searcher, search);
        assert_eq!(outcome.contents().len(), songs.len(), "{before:?} {:?}", outcome.coverage);
        let coverage = outcome.coverage.unwrap();
        assert!(coverage.supernodes_asked >= 4, "{before:?} {coverage:?}");
    }
}
