//! The directory, told as stories in virtual time.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::{counters, key, lone_super, neighbour, network, seconds};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use skein_proto::directory::{
    Announce, Contact, DirectoryKey, Find, FindOutcome, Loss, NodeRecord, Presence, Put, Shared,
    SourceClaim, SourceRecords, SourceState,
};
use skein_proto::message::RoleSetting;
use skein_proto::{
    BoundedVec, Credential, KeyPair, Message, NodeId, QueryId, Signed, UnixTime, Username,
};
use skein_sim::exact::{self, Workload};
use skein_sim::population::{file, settle};
use skein_sim::{Network, Settings};
use std::collections::BTreeSet;

fn name(network: &Network, node: NodeId) -> DirectoryKey {
    DirectoryKey::Name(network.name(node).unwrap())
}

fn song(number: usize) -> DirectoryKey {
    DirectoryKey::Content(file(&format!("common/rare{number} song.mp3")).content)
}

#[test]
fn everyone_is_found_by_name_with_the_parent() {
    let mut network = network();
    let (_, children, settled) = settle(&mut network, 6, 30);
    assert!(settled);
    network.run_for(seconds(20));
    for child in &children {
        let key = name(&network, *child);
        let found = network.find(children[0], key);
        assert_eq!(found.outcome, Some(FindOutcome::Answered));
        assert_eq!(found.nodes.len(), 1, "{child:?}");
        let node = &found.nodes[0];
        assert_eq!((node.node, node.online), (*child, true));
        assert_eq!(node.addresses.first(), network.address(*child).as_ref());
        let parent = network.snapshot(*child).unwrap().parent.parent;
        assert_eq!(node.parent.as_ref().map(|parent| parent.node), parent);
    }
    let nobody = DirectoryKey::Name(Username::parse("nobody").unwrap());
    let found = network.find(children[0], nobody);
    assert_eq!((found.outcome, found.nodes.len()), (Some(FindOutcome::Answered), 0));
}

#[test]
fn the_only_supernode_is_sure_of_what_it_does_not_keep() {
    let mut network = network();
    let supernode = lone_super(&mut network);
    let nobody = DirectoryKey::Name(Username::parse("nobody").unwrap());
    let found = network.find(supernode, nobody);
    assert_eq!((found.outcome, found.nodes.len()), (Some(FindOutcome::Answered), 0));
}

#[test]
fn every_content_is_found_by_its_id() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 6, 30);
    network.run_for(seconds(30));
    for (number, child) in children.iter().enumerate() {
        let found = network.find(supers[number % 6], song(number));
        assert_eq!(found.sources.len(), 1, "{number}");
        assert_eq!((found.sources[0].node, found.sources[0].complete), (*child, true));
        assert_eq!(found.sources[0].addresses.first(), network.address(*child).as_ref());
    }
}

/// How many of these children are found by name and by content, asked for by anyone of `askers`.
fn found(network: &mut Network, children: &[(usize, NodeId)], askers: &[NodeId]) -> (usize, usize) {
    let (mut names, mut songs) = (0, 0);
    for (at, (number, child)) in children.iter().enumerate() {
        let asker = askers[at % askers.len()];
        let key = name(network, *child);
        let by_name = network.find(asker, key).nodes;
        names += usize::from(by_name.iter().any(|node| node.node == *child && node.online));
        let by_content = network.find(asker, song(*number)).sources;
        songs += usize::from(by_content.iter().any(|source| source.node == *child));
    }
    (names, songs)
}

fn kept(network: &Network, node: NodeId) -> skein_overlay::DirectorySnapshot {
    network.snapshot(node).unwrap().supernode.unwrap().directory
}

fn numbered(children: &[NodeId]) -> Vec<(usize, NodeId)> {
    children.iter().copied().enumerate().collect()
}

#[test]
fn what_30_percent_of_all_supernodes_kept_is_kept_three_times_again() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 20, 80);
    network.run_for(seconds(240));
    let children = numbered(&children);
    assert_eq!(found(&mut network, &children, &supers), (80, 80));
    // With three copies 3 % of all keys lose every one of them when 30 % die at once; with this
    // seed none does. The next two find all copies made up for.
    for (dead, alive) in [(0..6, 6..20), (6..8, 8..20)] {
        for victim in &supers[dead] {
            network.kill(*victim);
        }
        // The dead are missed, children move, and who keeps an arc now has asked for its records.
        network.run_for(seconds(120));
        let supers = &supers[alive];
        let copies = supers.iter().map(|node| kept(&network, *node).sources).sum::<u64>();
        assert_eq!(copies, 3 * 80);
        assert_eq!(found(&mut network, &children, supers), (80, 80));
    }
}

#[test]
fn a_newcomer_takes_its_arc_and_nothing_else_moves() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 12, 120);
    network.run_for(seconds(900));
    let moved = |network: &Network, supers: &[NodeId]| {
        supers.iter().map(|node| counters(network, *node).directory_records_moved).sum::<u64>()
    };
    let before = moved(&network, &supers);
    let newcomer = network.add_node(RoleSetting::Super, Vec::new());
    network.run_for(seconds(60));
    let arc = kept(&network, newcomer);
    // Its own presence came by itself.
    let taken = arc.nodes + arc.sources;
    assert!(taken > 20, "a thirteenth of three copies of 252 records: {taken}");
    assert!(moved(&network, &supers) - before <= taken, "only what it keeps now has moved");
    let all: Vec<NodeId> = supers.iter().copied().chain([newcomer]).collect();
    assert_eq!(found(&mut network, &numbered(&children), &all), (120, 120));
    network.run_for(seconds(900));
    let copies: u64 = all.iter().map(|node| kept(&network, *node).sources).sum();
    assert_eq!(copies, 3 * 120, "who keeps an arc no more has let it go");
}

#[test]
fn a_supernode_that_leaves_hands_over_what_it_keeps() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 6, 40);
    network.run_for(seconds(240));
    // Three in a row are all that an arc has; the others have it before the last one has gone.
    for leaver in &supers[..3] {
        network.leave(*leaver);
        network.run_for(seconds(1));
        network.kill(*leaver);
        network.run_for(seconds(30));
    }
    assert_eq!(found(&mut network, &numbered(&children), &supers[3..]), (40, 40));
}

#[test]
fn sources_of_a_popular_content_are_bounded_and_all_have_their_turn() {
    let mut network = network();
    let supers: Vec<NodeId> =
        (0..3).map(|_| network.add_node(RoleSetting::Super, Vec::new())).collect();
    let owners: Vec<NodeId> = (0..200)
        .map(|_| network.add_node(RoleSetting::Ordinary, vec![file("hit song.mp3")]))
        .collect();
    assert!(network.run_until_all(&owners, seconds(120)));
    network.run_for(seconds(30));
    for node in &supers {
        let kept = network.snapshot(*node).unwrap().supernode.unwrap().directory;
        assert_eq!(kept.sources, 64, "{kept:?}");
        assert!(counters(&network, *node).directory_refused_crowded > 0);
    }
    let key = DirectoryKey::Content(file("hit song.mp3").content);
    let mut seen = BTreeSet::new();
    for round in 0..60 {
        let sources = network.find(supers[round % 3], key.clone()).sources;
        assert_eq!(sources.len(), 32);
        seen.extend(sources.into_iter().map(|source| source.node));
    }
    // Three holders with lots of their own keep 200 (1 - (1 - 64 / 200)^3) = 137 of all.
    assert!((120..=155).contains(&seen.len()), "{}", seen.len());
}

fn signed_presence(
    key: &KeyPair,
    now: UnixTime,
    life: u64,
    parent: Option<NodeId>,
) -> Shared<Presence> {
    let contact = |node| Contact { node, addresses: BoundedVec::default() };
    let presence = Presence {
        issued: now,
        expires: UnixTime(now.0 + life),
        online: true,
        addresses: BoundedVec::truncated(["192.0.2.66:666".parse().unwrap()]),
        parent: parent.map(contact),
    };
    Signed::new(presence, key).into()
}

fn signed_claim(
    key: &KeyPair,
    number: usize,
    state: SourceState,
    now: UnixTime,
) -> Shared<SourceClaim> {
    let DirectoryKey::Content(content) = song(number) else { unreachable!() };
    let claim = SourceClaim { content, state, issued: now, expires: UnixTime(now.0 + 3_600) };
    Signed::new(claim, key).into()
}

#[test]
fn forged_stale_and_foreign_records_change_nothing_and_are_counted() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 3, 6);
    network.run_for(seconds(90));
    let victim = children[0];
    let thief = key(77);
    let liar = neighbour(&mut network, supers[0], 77);
    let owner = name(&network, victim);
    let before = network.find(supers[0], owner.clone()).nodes;
    let now = network.time().unix;
    let later = UnixTime(now.0 + 100);
    let record = |credential: &Shared<Credential>, presence, loss| NodeRecord {
        credential: credential.clone(),
        presence,
        loss,
    };
    network.heard(liar);
    network.say(liar, supers[0], Find { id: QueryId::from_bytes([1; 16]), key: owner.clone() });
    let kept = network.heard(liar).into_iter().find_map(|(_, message)| match message {
        Message::Found(found) => found.nodes.first().cloned(),
        _ => None,
    });
    let NodeRecord { credential: real, presence: genuine, .. } = kept.expect("it is kept there");
    let number = before[0].name.as_str().trim_start_matches("node").parse().unwrap();
    let made_up: Shared<Credential> = network.credential(&thief.node_id(), number, &thief).into();
    let loss =
        |signer: &KeyPair| Some(Signed::new(Loss { node: victim, at: later }, signer).into());
    let nodes = [
        // Signed by another, under a credential of one's own making, and with a loss that the
        // parent did not sign.
        record(&real, signed_presence(&thief, later, 3_600, None), None),
        record(&made_up, signed_presence(&thief, later, 3_600, None), None),
        record(&real, genuine.clone(), loss(&thief)),
    ];
    let source = |claim| SourceRecords {
        credential: real.clone(),
        presence: None,
        claims: BoundedVec::truncated([claim]),
    };
    let sources = [
        source(signed_claim(&thief, 0, SourceState::Withdrawn, later)),
        source(signed_claim(&thief, 5, SourceState::Complete, later)),
    ];
    let forged = counters(&network, supers[0]).directory_forged;
    let put = Put { nodes: BoundedVec::truncated(nodes), sources: BoundedVec::truncated(sources) };
    network.say(liar, supers[0], put);
    assert_eq!(counters(&network, supers[0]).directory_forged - forged, 5);
    // What is as old as what is there is not even looked at.
    let stale = counters(&network, supers[0]).directory_stale;
    let replayed =
        Put { nodes: BoundedVec::truncated([record(&real, genuine, None)]), ..Put::default() };
    network.say(liar, supers[0], replayed);
    assert_eq!(counters(&network, supers[0]).directory_stale - stale, 1);
    assert_eq!(network.find(supers[0], owner).nodes, before);
    let sources = network.find(supers[0], song(0)).sources;
    assert_eq!(sources.iter().map(|source| source.node).collect::<Vec<_>>(), [victim]);
}

#[test]
fn a_child_that_forges_is_sent_away() {
    let mut network = network();
    let node = lone_super(&mut network);
    let child = common::child(&mut network, node, 5, skein_proto::message::Bond::Active);
    let now = network.time().unix;
    let own = Announce {
        presence: Some(signed_presence(&key(5), now, 3_600, Some(node))),
        claims: BoundedVec::truncated([signed_claim(&key(5), 1, SourceState::Complete, now)]),
    };
    network.say(child, node, own);
    assert_eq!(network.find(node, song(1)).sources.len(), 1);
    let forged = Announce {
        presence: None,
        claims: BoundedVec::truncated([signed_claim(&key(6), 2, SourceState::Complete, now)]),
    };
    network.say(child, node, forged);
    assert_eq!(counters(&network, node).directory_forged, 1);
    assert!(!network.linked(node, child));
    assert!(network.find(node, song(2)).sources.is_empty());
}

#[test]
fn what_was_taken_back_cannot_be_brought_up_again() {
    let mut network = network();
    let node = lone_super(&mut network);
    let child = common::child(&mut network, node, 5, skein_proto::message::Bond::Active);
    let now = network.time().unix;
    let say = |network: &mut Network, claim| {
        let claims = BoundedVec::truncated([claim]);
        network.say(child, node, Announce { presence: None, claims });
    };
    let shared = signed_claim(&key(5), 1, SourceState::Complete, now);
    say(&mut network, shared.clone());
    assert_eq!(network.find(node, song(1)).sources.len(), 1);
    say(&mut network, signed_claim(&key(5), 1, SourceState::Withdrawn, now));
    assert!(network.find(node, song(1)).sources.is_empty());
    say(&mut network, shared);
    assert!(network.find(node, song(1)).sources.is_empty(), "the old claim is worth nothing");
}

#[test]
fn changes_of_a_library_are_known_within_seconds() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 4, 8);
    network.run_for(seconds(30));
    let DirectoryKey::Content(gone) = song(2) else { unreachable!() };
    network.change_files(children[2], vec![file("new song.mp3")], vec![gone]);
    network.run_for(seconds(10));
    let key = DirectoryKey::Content(file("new song.mp3").content);
    assert_eq!(network.find(supers[0], key).sources.len(), 1);
    assert!(network.find(supers[1], song(2)).sources.is_empty());
    let DirectoryKey::Content(half) = song(500) else { unreachable!() };
    let serving = |serving| skein_overlay::Input::Serving { content: half, serving };
    network.feed(children[3], serving(true));
    network.run_for(seconds(10));
    let sources = network.find(supers[2], song(500)).sources;
    assert_eq!((sources.len(), sources[0].complete), (1, false));
    network.feed(children[3], serving(false));
    network.run_for(seconds(10));
    assert!(network.find(supers[2], song(500)).sources.is_empty());
}

#[test]
fn a_node_that_goes_is_seen_to_be_gone() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 4, 8);
    network.run_for(seconds(30));
    network.leave(children[0]);
    network.kill(children[1]);
    network.run_for(seconds(40));
    for child in &children[..2] {
        let key = name(&network, *child);
        let nodes = network.find(supers[0], key).nodes;
        assert_eq!(nodes.len(), 1, "when it was last seen is still known");
        assert!(!nodes[0].online);
    }
    network.restart(children[1]);
    network.run_for(seconds(20));
    let key = name(&network, children[1]);
    assert!(network.find(supers[0], key).nodes[0].online);
}

#[test]
fn a_look_up_survives_the_death_of_the_parent_that_makes_it() {
    let mut network = network();
    let (_, children, _) = settle(&mut network, 4, 12);
    network.run_for(seconds(60));
    let parent = network.snapshot(children[5]).unwrap().parent.parent.unwrap();
    network.kill(parent);
    let found = network.find(children[5], song(7));
    assert_eq!(found.outcome, Some(FindOutcome::Answered));
    assert_eq!(found.sources.len(), 1);
}

#[test]
fn nearly_all_look_ups_are_right_at_the_first_try_while_everyone_comes_and_goes() {
    let pause = seconds(5);
    let workload =
        Workload { seed: common::SEED, supernodes: 30, ordinary: 200, lookups: 300, pause };
    let exact = exact::run(&workload, &mut |_| {});
    assert!(exact.flips >= 20, "{exact:?}");
    assert_eq!(exact.asked, 300);
    assert!(exact.right >= 297, "{} of 300 in the end", exact.right);
    assert!(exact.first_try >= 297, "{} of 300 at the first try", exact.first_try);
    // One on the ring, and before that an ordinary node's to its parent.
    let hops = (exact::median(&exact.ring_hops), exact::median(&exact.hops));
    assert_eq!(hops, (1, 2), "{exact:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    /// Supernodes join, leave and die, two at once at most: fewer than an arc has copies.
    #[test]
    fn every_record_stays_while_fewer_than_all_holders_of_an_arc_die_at_once(seed in 0_u64..1_000) {
        let mut network = Network::new(Settings { seed, ..Settings::default() });
        let (mut supers, children, _) = settle(&mut network, 8, 24);
        network.run_for(seconds(240));
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..6 {
            supers.shuffle(&mut rng);
            match rng.random_range(0..3) {
                0 => supers.push(network.add_node(RoleSetting::Super, Vec::new())),
                1 if supers.len() > 5 => network.leave(supers.pop().unwrap()),
                _ if supers.len() > 6 => {
                    for _ in 0..2 {
                        network.kill(supers.pop().unwrap());
                    }
                }
                _ => {}
            }
            network.run_for(seconds(120));
        }
        let children = numbered(&children);
        prop_assert_eq!(found(&mut network, &children, &supers), (24, 24));
    }
}
