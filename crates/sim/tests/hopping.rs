//! Budgets that follow a name from supernode to supernode.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::*;
use skein_proto::budget::{BudgetWanted, SpendReport};
use skein_proto::message::{Bond, Search};
use skein_proto::query::StopReason;
use skein_proto::{Message, NodeId, QueryId, Username};
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
    network.run_for(seconds(2));
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
    let granted = rush(&mut network, puppet, supers[0], 0, 40);
    assert!(granted >= 38, "{granted} of 40");
    let reports = network.traffic().get("SpendReport").map_or(0, |(count, _)| *count);
    assert!(reports > 0, "the keepers are told");
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

#[test]
fn a_supernode_that_is_not_the_parent_cannot_use_up_a_budget() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 3, 6);
    network.run_for(seconds(30));
    let name: Username = network
        .snapshot(supers[0])
        .unwrap()
        .peers
        .iter()
        .find(|peer| peer.node == children[0])
        .and_then(|peer| peer.name.clone())
        .or_else(|| {
            supers.iter().find_map(|node| {
                let peers = network.snapshot(*node).unwrap().peers;
                peers.into_iter().find(|peer| peer.node == children[0]).and_then(|p| p.name)
            })
        })
        .unwrap();
    let liar = neighbour(&mut network, supers[0], 9);
    for _ in 0..50 {
        network.say_later(liar, supers[0], SpendReport { name: name.clone(), spent: 40 });
    }
    network.run_for(seconds(1));
    network.heard(liar);
    network.say(liar, supers[0], BudgetWanted { name });
    let left = network.heard(liar).into_iter().find_map(|(_, message)| match message {
        Message::BudgetLeft(answer) => Some(answer.left),
        _ => None,
    });
    assert!(left.is_none_or(|left| left == 40), "{left:?}");
    assert!(counters(&network, supers[0]).spend_reports_refused >= 50);
}
