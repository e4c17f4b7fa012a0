//! Indexes that take their time: what is asked of them meanwhile, and what becomes of it.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::*;
use skein_proto::message::{Bond, CancelSearch, Flood, Search};
use skein_proto::query::StopReason;
use skein_proto::{Ask, ContentId, Filter, Message, NodeId, Query, QueryId};
use skein_sim::population::settle;
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
        // No table says which contents there are, so the index has to be asked for each.
        let mut content = [0; 32];
        content[..2].copy_from_slice(&number.to_be_bytes());
        let ask = Ask::Content(ContentId::from_bytes(content));
        let flood = Flood {
            id: id(number),
            query: Query { ask, filter: Filter::default() }.into(),
            wanted: 5,
            hops_left: 0,
            besides: Default::default(),
        };
        network.say_later(puppet, victim, flood);
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
            query: words(&format!("song{number} ")).into(),
            wanted: 5,
            hops_left: 0,
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

#[test]
fn an_index_that_takes_too_long_is_not_waited_for() {
    let mut network = slow(seconds(3));
    let victim = lone_super(&mut network);
    let child = child(&mut network, victim, 1, Bond::Active);
    network.say_later(child, victim, search(1));
    network.run_for(Duration::from_millis(1_500));
    assert_eq!(ends(&mut network, child), [StopReason::TimedOut]);
    network.run_for(seconds(3));
    let counters = counters(&network, victim);
    assert_eq!((counters.look_ups_timed_out, counters.look_ups_unasked), (1, 1));
    assert_eq!(ends(&mut network, child), []);
}
