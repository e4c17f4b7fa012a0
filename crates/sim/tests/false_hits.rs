//! Hits that are not what they seem, and neighbours that do not answer.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::*;
use skein_proto::message::{Flood, Hits, RoleSetting, SearchDone};
use skein_proto::query::{Coverage, HitGroup, Owner, StopReason};
use skein_proto::{BoundedVec, KeyPair, Message, NodeId, QueryId, SignedCredential};
use skein_sim::Network;
use skein_sim::population::file;
use std::time::Duration;

fn group(node: NodeId, credential: SignedCredential, path: &str) -> HitGroup {
    let owner = Owner { node, credential, addresses: BoundedVec::default(), parent: node };
    HitGroup { owner, files: BoundedVec::truncated([file(path)]) }
}

fn hits(id: QueryId, groups: Vec<HitGroup>) -> Hits {
    Hits { id, groups: BoundedVec::truncated(groups) }
}

/// The floods that a puppet heard of.
fn floods(network: &mut Network, puppet: NodeId) -> Vec<Flood> {
    let heard = network.heard(puppet).into_iter();
    heard
        .filter_map(|(_, message)| match message {
            Message::Flood(flood) => Some(flood),
            _ => None,
        })
        .collect()
}

/// A supernode with a puppet as its neighbour, and a child that searches.
fn stage() -> (Network, NodeId, NodeId, NodeId) {
    let mut network = network();
    let victim = lone_super(&mut network);
    let asker = network.add_node(RoleSetting::Ordinary, vec![file("own/thing.txt")]);
    assert!(network.run_until_all(&[asker], seconds(20)));
    let puppet = neighbour(&mut network, victim, 1);
    (network, victim, puppet, asker)
}

fn end(id: QueryId, groups: Vec<HitGroup>) -> SearchDone {
    let coverage = Coverage {
        supernodes_asked: 7,
        supernodes_known: 7,
        nodes_covered: 7,
        stopped: StopReason::Exhausted,
    };
    let groups = BoundedVec::truncated(groups);
    SearchDone { id, coverage, covered: BoundedVec::default(), groups }
}

#[test]
fn hits_that_do_not_match_are_not_passed_on() {
    let (mut network, victim, puppet, asker) = stage();
    let search = network.start_search(asker, "rare melody", 2);
    network.run_for(seconds(1));
    let flood = floods(&mut network, puppet).remove(0);
    let credential = network.honest_credential(&key(1), 901);
    let spam = ["a/buy this.txt", "a/and this.txt", "a/rare but not it.txt"];
    for path in spam {
        let group = group(puppet, credential.clone(), path);
        network.say(puppet, victim, hits(flood.id, vec![group]));
    }
    network.say(puppet, victim, hits(flood.id, vec![group(puppet, credential, "a/rare melody")]));
    let outcome = network.finish_search(asker, search);
    let paths: Vec<_> = outcome.groups.iter().map(|group| group.files[0].path.as_str()).collect();
    assert_eq!(paths, ["a/rare melody"]);
    assert_eq!(counters(&network, victim).hits_unasked, 3);
}

#[test]
fn whoever_passes_on_forged_hits_is_cut_off_and_the_search_goes_on() {
    let (mut network, victim, puppet, asker) = stage();
    let search = network.start_search(asker, "thing", 2);
    network.run_for(seconds(1));
    let flood = floods(&mut network, puppet).remove(0);
    let forged = network.credential(&puppet, 1, &KeyPair::from_seed(&[66; 32]));
    let groups = (0..2).map(|n| group(puppet, forged.clone(), &format!("x/thing {n}"))).collect();
    network.say(puppet, victim, hits(flood.id, groups));
    let outcome = network.finish_search(asker, search);
    assert_eq!(outcome.contents().len(), 1, "the genuine one");
    assert_eq!(outcome.groups[0].owner.node, asker);
    assert_eq!(counters(&network, victim).hits_forged, 2);
    assert_eq!(neighbours(&network, victim), 0);
}

#[test]
fn the_hits_of_an_end_are_checked_and_counted_like_all_others() {
    let (mut network, victim, puppet, asker) = stage();
    let search = network.start_search(asker, "rare melody", 2);
    network.run_for(seconds(1));
    let flood = floods(&mut network, puppet).remove(0);
    let credential = network.honest_credential(&key(1), 901);
    let name = |n: usize| match n {
        0 => "a/buy this.txt".to_owned(),
        n => format!("a/rare melody {n}"),
    };
    let groups = (0..40).map(|n| group(puppet, credential.clone(), &name(n))).collect();
    let last = end(flood.id, groups);
    network.say(puppet, victim, last.clone());
    network.say(puppet, victim, last);
    let outcome = network.finish_search(asker, search);
    assert_eq!(outcome.contents().len(), 2, "as many as were wanted");
    let counters = counters(&network, victim);
    // Of the first end one does not match and 32 are sixteen for each wanted; the second is nobody's.
    assert_eq!(counters.hits_unasked, 1 + 40);
    assert!(counters.hits_over_wanted >= 39 - 32, "{}", counters.hits_over_wanted);
}

#[test]
fn whoever_ends_with_forged_hits_is_cut_off() {
    let (mut network, victim, puppet, asker) = stage();
    let search = network.start_search(asker, "thing", 2);
    network.run_for(seconds(1));
    let flood = floods(&mut network, puppet).remove(0);
    let forged = network.credential(&puppet, 1, &KeyPair::from_seed(&[66; 32]));
    let last = end(flood.id, vec![group(puppet, forged, "x/thing")]);
    network.say(puppet, victim, last);
    let outcome = network.finish_search(asker, search);
    assert_eq!(outcome.contents().len(), 1, "the genuine one");
    assert_eq!(counters(&network, victim).hits_forged, 1);
    assert_eq!(neighbours(&network, victim), 0);
}

#[test]
fn the_end_that_somebody_else_announces_ends_nothing() {
    let (mut network, victim, puppet, asker) = stage();
    let other = neighbour(&mut network, victim, 2);
    let search = network.start_search(asker, "rare melody", 2);
    network.run_for(seconds(1));
    let flood = floods(&mut network, puppet).remove(0);
    for _ in 0..3 {
        network.say(other, victim, end(flood.id, Vec::new()));
    }
    assert_eq!(network.outcome(asker, search).unwrap().coverage, None);
    network.say(puppet, victim, end(flood.id, Vec::new()));
    let coverage = network.finish_search(asker, search).coverage.unwrap();
    assert_eq!(coverage.supernodes_asked, 3, "each neighbour counts once, whatever it says");
}

#[test]
fn a_neighbour_that_never_answers_is_let_go() {
    let (mut network, victim, _, asker) = stage();
    for _ in 0..12 {
        network.search(asker, "rare melody", 2);
    }
    assert_eq!(neighbours(&network, victim), 0);
    let outcome = network.search(asker, "rare melody", 2);
    assert!(outcome.took.unwrap() < seconds(1), "nobody waits for it any more");
}

/// Searches by turns that the puppet answers, and so many between them that it does not.
fn searches_answered_now_and_then(unanswered: u32, rounds: u32) -> (u32, u64) {
    let (mut network, victim, puppet, asker) = stage();
    for number in 0..rounds {
        let search = network.start_search(asker, &format!("rare melody {number}"), 2);
        if number % (unanswered + 1) == 0 {
            while network.outcome(asker, search).unwrap().coverage.is_none() {
                network.run_for(Duration::from_millis(200));
                for flood in floods(&mut network, puppet) {
                    network.say_later(puppet, victim, end(flood.id, Vec::new()));
                }
            }
        }
        let _ = network.finish_search(asker, search);
        let _ = network.heard(puppet);
    }
    (neighbours(&network, victim), counters(&network, victim).branches_timed_out)
}

#[test]
fn a_neighbour_that_answers_every_other_search_is_let_go_as_well() {
    let (left, timed_out) = searches_answered_now_and_then(1, 30);
    assert_eq!(left, 0, "{timed_out}");
}

#[test]
fn contents_with_many_sources_do_not_crowd_out_others() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let children: Vec<_> = (0..100)
        .map(|n| {
            let files = vec![file(&format!("pop/common song {}.mp3", n % 5))];
            network.add_node(RoleSetting::Ordinary, files)
        })
        .collect();
    assert!(network.run_until_all(&children, seconds(60)));
    let outcome = network.search(children[0], "common", 5);
    assert_eq!(outcome.contents().len(), 5);
    let sources = outcome.groups.iter().map(|group| group.files.len()).sum::<usize>();
    assert_eq!(sources, 80, "16 for each");
    assert_eq!(neighbours(&network, victim), 0);
}
