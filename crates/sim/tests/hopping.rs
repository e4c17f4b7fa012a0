//! Budgets that follow a name from supernode to supernode.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::*;
use skein_proto::budget::{BudgetWanted, SpendReport};
use skein_proto::directory::NodeRecord;
use skein_proto::message::{Attach, Bond, Role, Search};
use skein_proto::query::StopReason;
use skein_proto::{Message, NodeId, QueryId};
use skein_sim::Network;
use skein_sim::population::settle;

/// Searches of a puppet child, as fast as they go, until one is refused or it has had `most`.
fn rush(network: &mut Network, puppet: NodeId, parent: NodeId, first: u16, most: u16) -> u16 {
    network.heard(puppet);
    for number in first..first + most {
        let mut id = [0x55; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let search =
            Search { id: QueryId::from_bytes(id), query: words("nothing here "), wanted: 1 };
        network.say_later(puppet, parent, search);
        network.run_for(std::time::Duration::from_millis(20));
    }
    network.run_for(std::time::Duration::from_millis(500));
    let heard = network.heard(puppet).into_iter();
    let granted = heard.filter(|(_, message)| {
        matches!(message, Message::SearchDone(done)
            if done.coverage.stopped != StopReason::OverBudget)
    });
    u16::try_from(granted.count()).unwrap()
}

#[test]
fn a_burst_at_one_supernode_is_granted_as_before() {
    let mut network = network();
    let (supers, ..) = settle(&mut network, 5, 5);
    let puppet = child(&mut network, supers[0], 1, Bond::Active);
    say_where(&mut network, puppet, supers[0]);
    let granted = rush(&mut network, puppet, supers[0], 0, 40);
    assert!(granted >= 38, "{granted} of 40");
    let reports = network.traffic().get("SpendReport").map_or(0, |(count, _)| *count);
    assert!(reports > 0, "the keepers are told");
}

/// What a user gets who moves on to the next of ten supernodes as soon as one grants no more.
fn hop(says_where: bool) -> u16 {
    let mut network = network();
    let (supers, ..) = settle(&mut network, 10, 5);
    let mut granted = 0;
    for (number, parent) in (1..).zip(supers) {
        let puppet = child_of_user(&mut network, parent, (number, 900), Bond::Active);
        if says_where {
            say_where(&mut network, puppet, parent);
        }
        granted += rush(&mut network, puppet, parent, u16::from(number) * 100, 40);
    }
    granted
}

#[test]
fn whoever_moves_on_takes_what_is_left_of_the_budget_along() {
    let granted = hop(true);
    // Forty, five a second for the thirteen seconds that this takes, and the six or so that each
    // supernode grants before it knows better.
    assert!((40..=180).contains(&granted), "{granted}, where ten budgets are 400");
}

#[test]
fn whoever_hides_where_it_is_gains_nothing_by_moving() {
    let granted = hop(false);
    assert!(granted <= 10 * 3, "{granted}, where ten budgets are 400");
}

/// What a single node gets that is the child of ten supernodes at the same time, in half a minute.
fn everywhere_at_once(says_where: bool) -> u16 {
    let mut network = network();
    let (supers, ..) = settle(&mut network, 10, 5);
    let puppet = network.add_puppet(&key(1));
    for parent in &supers {
        let credential = network.honest_credential(&key(1), 900);
        network.dial_as(puppet, *parent);
        network.run_for(seconds(1));
        network.say(puppet, *parent, Network::greeting(Role::Ordinary, Some(credential)));
        network.say(puppet, *parent, Attach { bond: Bond::Active });
        if says_where {
            // The later word is about the next parent.
            network.run_for(seconds(1));
            say_where(&mut network, puppet, *parent);
        }
    }
    network.run_for(seconds(3));
    let mut granted = 0;
    for round in 0..3 {
        for (number, parent) in (0..).zip(&supers) {
            let first = 1_000 * round + 100 * number;
            granted += rush(&mut network, puppet, *parent, first, 15);
        }
        network.run_for(seconds(2));
    }
    granted
}

#[test]
fn whoever_is_with_all_supernodes_at_once_gets_little_more_than_with_one() {
    let granted = everywhere_at_once(true);
    assert!(granted <= 10 * 10 + 40, "{granted} of 450");
    let granted = everywhere_at_once(false);
    assert!(granted <= 10 * 3, "{granted} of 450");
}

#[test]
fn whoever_searches_like_a_person_costs_no_message_between_supernodes() {
    let mut network = network();
    let (_, children, _) = settle(&mut network, 5, 10);
    for number in 0..20 {
        network.search(children[number % 10], "common", 3);
        network.run_for(seconds(2));
    }
    assert!(network.traffic().get("BudgetWanted").is_none_or(|(count, _)| *count == 0));
}

/// Users who search so often each for so long, a step of 50 ms after the other. Answers how many of
/// their searches were begun, and how many were refused as too many.
fn search_on(
    network: &mut Network,
    users: &[NodeId],
    (steps, every): (usize, usize),
) -> (u32, u32) {
    let mut running = Vec::new();
    for step in 0..steps {
        for (number, user) in users.iter().enumerate() {
            if (step + number) % every == 0 {
                running.push((*user, network.start_search(*user, "nothing here", 5)));
            }
        }
        network.run_for(std::time::Duration::from_millis(50));
    }
    network.run_for(seconds(60));
    let refused = running.iter().filter(|(user, search)| {
        let coverage = network.outcome(*user, *search).and_then(|outcome| outcome.coverage);
        coverage.unwrap().stopped == StopReason::OverBudget
    });
    (running.len().try_into().unwrap(), refused.count().try_into().unwrap())
}

#[test]
fn nobody_within_its_budget_is_refused_while_a_third_of_the_supernodes_dies() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 12, 48);
    let users = &children[..16];
    // So fast that the keepers are asked.
    assert_eq!(search_on(&mut network, users, (400, 5)), (1_280, 0));
    assert!(network.traffic().get("BudgetWanted").is_some_and(|(count, _)| *count > 0));
    // Who dies keeps names, and is the parent of some of them.
    for node in supers.iter().step_by(3) {
        network.kill(*node);
    }
    let orphans = users.iter().filter(|user| !network.snapshot(**user).unwrap().parent.complete);
    assert_eq!(orphans.count(), 0, "nobody has noticed it yet");
    assert_eq!(search_on(&mut network, users, (800, 20)), (640, 0));
    let late: u64 = supers
        .iter()
        .filter_map(|node| network.overlay(*node))
        .map(|overlay| overlay.counters().keepers_late)
        .sum();
    assert!(late > 0, "there were names of which two keepers were dead");
}

#[test]
fn a_supernode_that_is_not_the_parent_cannot_use_up_a_budget() {
    let mut network = network();
    let (supers, ..) = settle(&mut network, 3, 6);
    let puppet = child(&mut network, supers[1], 1, Bond::Active);
    let record = NodeRecord {
        credential: network.honest_credential(&key(1), 901).into(),
        presence: presence(&network, puppet, supers[1]),
        loss: None,
    };
    let name = record.credential.unverified().name.clone();
    let liar = neighbour(&mut network, supers[0], 9);
    for _ in 0..50 {
        network.say_later(liar, supers[0], SpendReport { record: record.clone(), spent: 40 });
    }
    network.run_for(seconds(1));
    network.heard(liar);
    network.say(liar, supers[0], BudgetWanted { name });
    let left = network.heard(liar).into_iter().find_map(|(_, message)| match message {
        Message::BudgetLeft(answer) => Some(answer.left),
        _ => None,
    });
    assert_eq!(left, Some(40), "all three supernodes keep the name");
    assert!(counters(&network, supers[0]).spend_reports_refused >= 50);
}
