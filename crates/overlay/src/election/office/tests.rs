//! What a supernode does about the demand, one piece at a time.

#![allow(clippy::expect_used)]

use super::super::dialback::Finding;
use super::own_reach::{CHECK, OwnReach};
use super::*;
use crate::config::Config;
use crate::core::Core;
use crate::peers::{Greeting, Peer};
use skein_proto::{Credential, KeyPair, Role, Signed};
use std::net::SocketAddr;

fn office(warm: bool) -> (Office, Instant) {
    let now = Now { instant: Instant::START, unix: UnixTime(1_000) };
    (Office::new(now, warm, None), now.instant)
}

#[test]
fn eight_neighbours_are_enough_to_be_warm_or_all_that_there_are() {
    for (known, linked, warm) in
        [(100, 7, false), (100, 8, true), (3, 2, false), (3, 3, true), (0, 0, false)]
    {
        assert_eq!(has_warmed_up(known, linked), warm, "{linked} of {known}");
    }
}

#[test]
fn who_finds_no_neighbours_takes_children_after_half_a_minute() {
    let (begun, now) = office(false);
    assert!(
        matches!(begun.stage, Stage::Warming { until } if until == now + Duration::from_secs(30))
    );
    let (back, now) = office(true);
    assert!(matches!(back.stage, Stage::Warming { until } if until == now));
}

#[test]
fn who_comes_back_after_it_was_missed_looks_before_it_takes_children() {
    let begins = |away: u64| {
        let away = Some(Duration::from_secs(away));
        let trial = Trial::Return { ends: None, begun: NOW.instant, away };
        let back = Office::new(NOW, !trial.is_brisk(0, NOW.instant), Some(trial));
        match back.stage {
            Stage::Warming { until } => until.since(NOW.instant),
            _ => Duration::MAX,
        }
    };
    assert_eq!(begins(41), Duration::ZERO, "nobody may have missed it yet");
    assert_eq!(begins(42), Duration::from_secs(10));
}

#[test]
fn so_many_that_wait_for_a_parent_are_counted_and_the_rest_is_told() {
    let (mut office, now) = office(true);
    office.stage = Stage::Serving;
    let mut counters = Counters::default();
    let node = |number: usize| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(id)
    };
    for number in 0..MAX_WAITING + 5 {
        office.on_refused(&mut counters, node(number), now);
    }
    office.on_refused(&mut counters, node(0), now + CHECK);
    assert_eq!(office.waiting.len(), MAX_WAITING);
    assert_eq!(office.waiting.get(&node(0)), Some(&(now + CHECK)), "it is still waiting");
    assert_eq!(counters.children_waiting_over_limit, 5);
}

const NOW: Now = Now { instant: Instant::START, unix: UnixTime(1_000) };

/// What a supernode makes of verdicts of these names, one after the other, out of so many.
fn verdicts(names: &[&str], of: usize) -> OwnReach {
    let mut office = Office::new(NOW, true, None);
    let verdict = Verdict::Unreachable { failed: 2, tried: 2 };
    let mut reach = OwnReach::Unknown;
    for name in names {
        let peer = NodeId::from_bytes([1; 32]);
        let name = Username::parse(name).expect("a name");
        office.check_asked = Some(peer);
        let standing = Standing { fill_percent: 50, verdict };
        reach = office.on_own_standing((peer, &name), &standing, of, NOW.instant);
    }
    reach
}

#[test]
fn neither_two_neighbours_nor_one_name_take_a_supernode_for_unreachable() {
    let lost = OwnReach::Lost { failed: 2, tried: 2 };
    assert_eq!(verdicts(&["one", "two"], 40), OwnReach::Unknown);
    assert_eq!(verdicts(&["one", "one", "two", "two"], 40), OwnReach::Unknown);
    assert_eq!(verdicts(&["one", "two", "three"], 40), lost);
    assert_eq!(verdicts(&["one", "one", "one"], 1), lost, "there is no other");
}

/// Children that could all become supernodes, the first of them the fittest.
fn children(core: &mut Core, candidates: &mut Candidates, numbers: &[u8]) -> Vec<NodeId> {
    let capacities = (1..=100).rev();
    let nodes = numbers.iter().zip(capacities).map(|(number, capacity)| {
        let node = NodeId::from_bytes([*number; 32]);
        let name = Username::parse(&format!("user{number}")).expect("a name");
        let (issued, expires) = (UnixTime(0), UnixTime(1 << 40));
        let credential = Credential { name, node, issued, expires, registered: issued };
        let address = SocketAddr::from(([198, 18, 0, *number], 4_701));
        let hello = Greeting {
            agent: String::new(),
            role: Role::Ordinary,
            credential: Some(Signed::new(credential, &KeyPair::from_seed(&[1; 32]))),
            owner: None,
            listen: vec![address],
        };
        let (rtt, since) = (Duration::ZERO, NOW.instant);
        core.peers.insert(node, Box::new(Peer { address, rtt, since, hello: Some(hello) }));
        candidates.on_candidacy(node, Candidacy { willing: true, capacity });
        candidates.on_finding(&Finding { node, reached: 2, tried: 2 }, NOW.instant);
        node
    });
    nodes.collect()
}

const STANDARD: Standard =
    Standard { uptime: Duration::ZERO, mean_capacity: 100.0, fill_percent: 80, is_urgent: false };

fn core() -> Core {
    let key = KeyPair::from_seed(&[2; 32]);
    Core::new(key.clone(), Config::new(key.node_id()), [0; 32])
}

#[test]
fn one_that_accepts_and_stays_away_is_not_invited_in_place_of_all_others() {
    let (mut core, mut office) = (core(), Office::new(NOW, true, None));
    let nodes = children(&mut core, &mut office.candidates, &[5, 4, 3]);
    let mut invited = Vec::new();
    for round in 0..35 {
        let instant = NOW.instant + round * APPEARS;
        let (node, _) = office
            .candidates
            .best(&core, &STANDARD, Now { instant, ..NOW })
            .expect("some have not been asked for long");
        invited.push(node);
        let name = core.peers[&node].name().cloned();
        office.invited = Some(Invitation { node, name, at: instant, accepted: true });
        let comes = |node: &NodeId| *node == nodes[2];
        office.look_for_invited(&mut core.counters, comes, instant + APPEARS / 2);
        assert_eq!(office.invited.is_none(), node == nodes[2], "it has a minute");
        office.look_for_invited(&mut core.counters, comes, instant + APPEARS);
        assert!(office.invited.is_none());
    }
    let times = nodes.iter().map(|node| invited.iter().filter(|it| *it == node).count());
    assert_eq!(times.collect::<Vec<_>>(), [2, 2, 31], "the fittest first, but once in a while");
    assert_eq!(core.counters.invitations_not_followed, 4);
}

#[test]
fn whoever_stays_away_keeps_no_place_among_those_that_are_looked_into() {
    let (mut core, mut office) = (core(), Office::new(NOW, true, None));
    let nodes = children(&mut core, &mut office.candidates, &[6, 5, 4, 3]);
    let later = Now { instant: NOW.instant + APPEARS * 3, ..NOW };
    for node in &nodes[2..] {
        let finding = Finding { node: *node, reached: 0, tried: 0 };
        office.candidates.on_finding(&finding, NOW.instant);
    }
    let looked_for = |core: &mut Core, office: &mut Office| {
        let Office { candidates, dial_backs, .. } = office;
        candidates.review(core, dial_backs, &STANDARD, later);
        let looked = nodes.iter().filter(|node| office.dial_backs.is_checking(node));
        looked.copied().collect::<Vec<_>>()
    };
    assert_eq!(looked_for(&mut core, &mut office), [], "two are ready");
    for node in &nodes[..2] {
        let name = core.peers[node].name().cloned().expect("it has one");
        office.candidates.on_absent(&mut core.counters, name, NOW.instant);
    }
    assert_eq!(looked_for(&mut core, &mut office), nodes[2..]);
}

#[test]
fn that_a_child_can_be_reached_is_believed_for_four_hours_and_looked_into_before() {
    let (mut core, mut office) = (core(), Office::new(NOW, true, None));
    let nodes = children(&mut core, &mut office.candidates, &[5]);
    let at = |minutes: u32| Now { instant: NOW.instant + minutes * APPEARS, ..NOW };
    let best = |office: &mut Office, now: Now| {
        assert_eq!(office.ready(now.instant), usize::from(now.instant < at(240).instant));
        office.candidates.best(&core, &STANDARD, now).map(|(node, _)| node)
    };
    assert_eq!(best(&mut office, at(239)), Some(nodes[0]));
    assert_eq!(best(&mut office, at(240)), None);

    let mut office = Office::new(NOW, true, None);
    children(&mut core, &mut office.candidates, &[5]);
    for (minutes, looks) in [(237, false), (238, true)] {
        let Office { candidates, dial_backs, .. } = &mut office;
        candidates.review(&mut core, dial_backs, &STANDARD, at(minutes));
        assert_eq!(dial_backs.is_checking(&nodes[0]), looks, "after {minutes} minutes");
    }
}

#[test]
fn a_verdict_that_was_not_asked_for_counts_for_nothing() {
    let mut office = Office::new(NOW, true, None);
    let name = Username::parse("liar").expect("a name");
    let verdict = Verdict::Unreachable { failed: 2, tried: 2 };
    for _ in 0..10 {
        let peer = NodeId::from_bytes([1; 32]);
        let standing = Standing { fill_percent: 50, verdict };
        office.on_own_standing((peer, &name), &standing, 1, NOW.instant);
    }
    assert!(office.unreached_by.is_empty());
}
