//! What peers may not do, told as stories: strangers, and members who take liberties.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::*;
use skein_overlay::Input;
use skein_proto::message::{
    Attach, AttachReply, Bond, Flood, Hello, Link, LinkReply, LoadUpdate, MAX_PUBLISHED,
    PartingReason, Refusal, RoleSetting, Search, Supernodes,
};
use skein_proto::{BoundedVec, Message, QueryId, Role};
use skein_sim::population::{file, settle};
use skein_sim::{Network, Settings};
use std::net::SocketAddr;
use std::time::Duration;

#[test]
fn supernodes_that_a_stranger_names_unasked_are_not_believed() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 2, 2);
    for victim in [supers[0], children[0]] {
        let before = network.snapshot(victim).unwrap().supernodes_known;
        let hello = Network::greeting(Role::Ordinary, None);
        let puppet = network.add_greeting_puppet(&key(1), victim, hello);
        let others = BoundedVec::truncated(made_up(0, 32));
        let outcome = Ok(Bond::Active);
        network.say(puppet, victim, AttachReply { outcome, others: others.clone() });
        network.say(puppet, victim, LinkReply { outcome: Ok(roomy()), others: others.clone() });
        network.say(puppet, victim, Supernodes { entries: BoundedVec::truncated(others) });
        assert_eq!(network.snapshot(victim).unwrap().supernodes_known, before);
        assert_ne!(network.snapshot(victim).unwrap().parent.parent, Some(puppet));
    }
}

#[test]
fn a_guest_cannot_prove_an_address_by_telling_its_load() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let puppet = known_puppet(&mut network, victim, 1);
    let elsewhere = SocketAddr::from(([203, 0, 113, 7], 53));
    let mut hello = Network::greeting(Role::Super, None);
    hello.listen = BoundedVec::truncated([elsewhere]);
    network.dial_as(puppet, victim);
    network.run_for(seconds(1));
    network.say(puppet, victim, hello);
    network.say(puppet, victim, LoadUpdate { load: roomy() });
    let known = network.overlay(victim).unwrap().known_supernodes(10);
    assert!(known.iter().all(|entry| !entry.addresses.contains(&elsewhere)), "{known:?}");
}

/// Nineteen greet a child and say that they see it somewhere else; it stays where its parent sees it.
fn nobody_believes(greeting: impl Fn(&Network, u8) -> Hello) {
    let mut network = network();
    let (_, children, _) = settle(&mut network, 1, 2);
    let victim = children[0];
    let real = network.snapshot(victim).unwrap().observed;
    assert!(real.is_some(), "its parent has told it");
    for number in 1..20 {
        let hello = greeting(&network, number);
        assert_ne!(Some(hello.observed), real);
        network.add_greeting_puppet(&key(number), victim, hello);
    }
    network.run_for(seconds(1));
    assert_eq!(network.snapshot(victim).unwrap().observed, real);
}

#[test]
fn guests_do_not_decide_where_a_node_says_that_it_is() {
    nobody_believes(|_, _| Network::greeting(Role::Ordinary, None));
}

#[test]
fn over_ipv4_nobody_says_where_a_node_is_with_ipv6() {
    nobody_believes(|network, number| {
        let credential = network.honest_credential(&key(number), 1_000 + u32::from(number));
        let hello = Network::greeting(Role::Ordinary, Some(credential));
        Hello { observed: "[2001:db8::666]:1".parse().unwrap(), ..hello }
    });
}

#[test]
fn a_guest_does_not_become_a_neighbour_by_saying_yes() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let puppet = known_puppet(&mut network, victim, 1);
    let asked = network.run_until(seconds(10), |network| network.linked(puppet, victim));
    assert!(asked, "the supernode dials whom it knows");
    network.say(puppet, victim, Network::greeting(Role::Super, None));
    network.say(puppet, victim, LinkReply { outcome: Ok(roomy()), others: BoundedVec::default() });
    assert_eq!(neighbours(&network, victim), 0);
}

#[test]
fn a_neighbour_that_answers_too_late_is_told_that_it_is_none() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let puppet = known_puppet(&mut network, victim, 1);
    network.run_until(seconds(10), |network| network.linked(puppet, victim));
    let credential = network.honest_credential(&key(1), 901);
    network.say(puppet, victim, Network::greeting(Role::Super, Some(credential)));
    network.run_for(seconds(8));
    network.heard(puppet);
    network.say(puppet, victim, LinkReply { outcome: Ok(roomy()), others: BoundedVec::default() });
    network.run_for(Duration::from_millis(200));
    let heard = network.heard(puppet);
    let is_one = neighbours(&network, victim) == 1;
    let told = heard.iter().any(|(_, message)| matches!(message, Message::Detach(_)));
    assert!(is_one || told || !network.linked(puppet, victim), "both sides must agree: {heard:?}");
}

#[test]
fn a_member_whose_credential_runs_out_is_neither_neighbour_nor_parent_any_more() {
    let lifetime = seconds(30);
    let settings = Settings {
        seed: SEED,
        credential_lifetime: lifetime,
        renewals: false,
        ..Settings::default()
    };
    let mut network = Network::new(settings);
    let victim = lone_super(&mut network);
    let puppet = neighbour(&mut network, victim, 1);
    let orphan = network.add_node(RoleSetting::Ordinary, Vec::new());
    assert!(network.run_until_all(&[orphan], seconds(20)));
    // The child renews its credential, the two supernodes do not.
    let login = network.login_key();
    let renewed = network.credential(&orphan, 2, &login);
    network.feed(orphan, Input::Credential(renewed));
    network.run_for(seconds(36));
    let heard = network.heard(puppet);
    let told = |reason| {
        heard.iter().any(|(_, m)| matches!(m, Message::Detach(detach) if detach.reason == reason))
    };
    assert!(told(PartingReason::CredentialExpired), "{heard:?}");
    assert_eq!(neighbours(&network, victim), 0);
    assert_eq!(network.snapshot(orphan).unwrap().parent.parent, None);
}

#[test]
fn attaching_again_does_not_refill_the_budget_for_searches() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let puppet = child(&mut network, victim, 1, Bond::Active);
    say_where(&mut network, puppet, victim);
    network.heard(puppet);
    for number in 0..80_u8 {
        if number % 40 == 0 {
            network.say_later(puppet, victim, Attach { bond: Bond::Active });
        }
        let id = QueryId::from_bytes([number; 16]);
        network.say_later(puppet, victim, Search { id, query: words("song"), wanted: 1 });
    }
    network.run_for(seconds(1));
    let refused = counters(&network, victim).searches_over_budget;
    assert!((35..=45).contains(&refused), "{refused} of 80 at once, of which 40 are granted");
}

#[test]
fn linking_again_does_not_refill_the_budget_for_floods() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let puppet = neighbour(&mut network, victim, 1);
    for number in 0..3_200_u16 {
        if number == 1_600 {
            let reason = PartingReason::Moved;
            network.say_later(puppet, victim, skein_proto::message::Detach { reason });
            network.say_later(puppet, victim, Link { load: roomy() });
        }
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let id = QueryId::from_bytes(id);
        let flood = Flood {
            id,
            search: id,
            query: words("song").into(),
            wanted: 1,
            hops_left: 0,
            index: true,
            besides: Default::default(),
        };
        network.say_later(puppet, victim, flood);
    }
    network.run_for(seconds(1));
    let refused = counters(&network, victim).floods_over_budget;
    assert!(refused >= 1_500, "{refused} of 3,200 at once were over the budget of 1,600");
}

#[test]
fn whoever_asks_for_a_bond_without_end_is_told_to_slow_down() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let puppet = child(&mut network, victim, 1, Bond::Standby);
    network.heard(puppet);
    for _ in 0..200 {
        network.say_later(puppet, victim, Attach { bond: Bond::Standby });
    }
    network.run_for(seconds(1));
    let heard = network.heard(puppet);
    let slow = heard.iter().filter(|(_, message)| {
        matches!(message, Message::AttachReply(AttachReply { outcome: Err(Refusal::TooFast), others }) if others.is_empty())
    });
    assert!(slow.count() >= 150, "{} answers", heard.len());
}

#[test]
fn standbys_are_limited_also_when_they_were_children_first() {
    let settings = Settings { seed: SEED, max_children: 2, ..Settings::default() };
    let mut network = Network::new(settings);
    let victim = lone_super(&mut network);
    for number in 1..10 {
        let puppet = child(&mut network, victim, number, Bond::Active);
        network.say(puppet, victim, Attach { bond: Bond::Standby });
    }
    let supernode = network.snapshot(victim).unwrap().supernode.unwrap();
    assert_eq!(supernode.standbys, 4, "two for each child");
}

#[test]
fn an_invitation_that_comes_too_late_is_not_followed() {
    let mut network = network();
    let _ = lone_super(&mut network);
    let node = network.add_node(RoleSetting::Auto, Vec::new());
    assert!(network.run_until_all(&[node], seconds(20)));
    network.feed(node, Input::Bootstrap { entries: Vec::new(), invited: true });
    assert_eq!(network.snapshot(node).unwrap().role, Role::Ordinary);
}

#[test]
fn whoever_leaves_takes_nobody_any_more() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let credential = network.honest_credential(&key(1), 901);
    let hello = Network::greeting(Role::Ordinary, Some(credential));
    let puppet = network.add_greeting_puppet(&key(1), victim, hello);
    network.leave(victim);
    network.say(puppet, victim, Attach { bond: Bond::Active });
    assert_eq!(network.snapshot(victim).unwrap().supernode.unwrap().children, 0);
}

#[test]
fn a_neighbours_floods_leave_room_for_the_searches_of_children() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let loud = neighbour(&mut network, victim, 1);
    let listener = neighbour(&mut network, victim, 2);
    for number in 0..1_600_u16 {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let id = QueryId::from_bytes(id);
        let flood = Flood {
            id,
            search: id,
            query: words("song").into(),
            wanted: 1,
            hops_left: 3,
            index: true,
            besides: Default::default(),
        };
        network.say_later(loud, victim, flood);
    }
    network.run_for(Duration::from_millis(300));
    let passed_on = network.heard(listener).len();
    assert!(passed_on < 1_400, "{passed_on} of the 1,600 that a neighbour takes at once");
    let asker = network.add_node(RoleSetting::Ordinary, vec![file("a/b")]);
    assert!(network.run_until_all(&[asker], seconds(20)));
    network.heard(listener);
    network.start_search(asker, "something", 5);
    network.run_for(seconds(1));
    let heard = network.heard(listener);
    assert!(heard.iter().any(|(_, message)| matches!(message, Message::Flood(_))));
}

#[test]
fn a_child_that_changes_what_it_shares_for_ever_is_not_listened_to_for_ever() {
    const MOST: u64 = 2_000;
    let mut network = network();
    let victim = lone_super(&mut network);
    let puppet = child(&mut network, victim, 1, Bond::Active);
    let gone = skein_proto::ContentId::from_bytes([7; 32]);
    let mut refused = 0;
    for sequence in 1..=MOST {
        let publish = skein_proto::message::Publish {
            sequence,
            reset: false,
            remove: BoundedVec::truncated(std::iter::repeat_n(gone, MAX_PUBLISHED)),
            add: BoundedVec::truncated([file("one/and the same.ogg")]),
        };
        network.say(puppet, victim, publish);
        refused = counters(&network, victim).records_over_budget;
        if refused > 0 {
            break;
        }
        assert!(sequence < MOST, "half a million changes");
    }
    assert_eq!(refused, 1);
    assert!(network.linked(puppet, victim), "it may have a large library");
}
