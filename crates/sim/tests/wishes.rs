//! Standing queries: pushed when what was wished for is published, once, wherever it is.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::*;
use skein_overlay::Input;
use skein_proto::message::{Attach, Bond, Publish, Role, RoleSetting};
use skein_proto::wish::{StandingQuery, Wish, WishHit, WishUpdate};
use skein_proto::{BoundedVec, ContentId, KeyPair, NodeId, QueryId, Signed, UnixTime};
use skein_sim::population::{file, settle};
use skein_sim::{Network, Settings};

const WISH: QueryId = QueryId::from_bytes([77; 16]);

fn wide() -> (Network, Vec<NodeId>, Vec<NodeId>) {
    let settings = Settings { seed: SEED, max_neighbours: 6, ..Settings::default() };
    let mut network = Network::new(settings);
    let (supers, children, settled) = settle(&mut network, 20, 60);
    assert!(settled);
    (network, supers, children)
}

fn wish(network: &mut Network, node: NodeId, text: &str) {
    network.feed(node, Input::Wish { id: WISH, query: words(text), seen: Vec::new() });
}

fn share(network: &mut Network, node: NodeId, path: &str) -> ContentId {
    let new = file(path);
    let content = new.content;
    network.change_files(node, vec![new], Vec::new());
    content
}

/// The contents that a node was told of, as often as it was.
fn told(network: &Network, node: NodeId) -> Vec<ContentId> {
    let hits = network.wish_hits.iter().filter(|(wisher, ..)| *wisher == node);
    hits.flat_map(|(.., groups)| groups.iter().flat_map(|g| g.files.iter().map(|f| f.content)))
        .collect()
}

#[test]
fn whoever_is_no_child_pushes_nothing_to_those_who_wish() {
    let (mut network, supers, children) = wide();
    wish(&mut network, children[0], "unheard melody ");
    network.run_for(seconds(20));
    let credential = network.honest_credential(&key(1), 901);
    let hello = Network::greeting(Role::Ordinary, Some(credential));
    let puppet = network.add_greeting_puppet(&key(1), supers[0], hello);
    let publish = |sequence| Publish {
        sequence,
        reset: false,
        add: BoundedVec::truncated([file("made up/unheard melody.ogg")]),
        remove: BoundedVec::default(),
    };
    network.say(puppet, supers[0], publish(1));
    network.run_for(seconds(5));
    assert_eq!(told(&network, children[0]), []);
    network.say(puppet, supers[0], Attach { bond: Bond::Active });
    network.say(puppet, supers[0], publish(1));
    network.run_for(seconds(5));
    assert_eq!(told(&network, children[0]).len(), 1, "a child's is pushed");
}

#[test]
fn a_wish_is_pushed_exactly_once_from_wherever_it_is_published() {
    let (mut network, supers, children) = wide();
    wish(&mut network, children[0], "unheard melody ");
    // Nearly all hear of it within half a minute, the last one when it is compared with a neighbour.
    let is_known = |network: &Network| {
        let of = |node: &NodeId| network.snapshot(*node).unwrap().supernode.unwrap().wishes;
        supers.iter().all(|node| of(node) == 1)
    };
    assert!(network.run_until(seconds(120), is_known));
    assert!(told(&network, children[0]).is_empty(), "nobody has it yet");
    let far = elsewhere(&network, &children, children[0]);
    let first = share(&mut network, far, "fresh/Unheard Melody.ogg");
    network.run_for(seconds(3));
    assert_eq!(told(&network, children[0]), [first], "within seconds");
    share(&mut network, children[5], "copy/Unheard Melody.ogg");
    let copy = file("copy/Unheard Melody.ogg").content;
    let at_super = share(&mut network, supers[3], "own/another unheard melody.ogg");
    share(&mut network, far, "fresh/melody that is something else.ogg");
    network.run_for(seconds(120));
    let mut all = told(&network, children[0]);
    let mut expected = [first, copy, at_super];
    all.sort_unstable();
    expected.sort_unstable();
    assert_eq!(all, expected);
}

#[test]
fn whoever_shares_the_same_again_after_moving_tells_nobody_twice() {
    let (mut network, _, children) = wide();
    let far = elsewhere(&network, &children, children[0]);
    wish(&mut network, children[0], "unheard ");
    network.run_for(seconds(20));
    let content = share(&mut network, far, "fresh/unheard.ogg");
    network.run_for(seconds(5));
    let parent = network.snapshot(far).unwrap().parent.parent.unwrap();
    network.kill(parent);
    network.run_for(seconds(60));
    assert_eq!(told(&network, children[0]), [content]);
}

#[test]
fn a_wisher_that_has_moved_is_told_all_the_same() {
    let (mut network, _, children) = wide();
    let wisher = children[0];
    wish(&mut network, wisher, "unheard ");
    network.run_for(seconds(20));
    let parent = network.snapshot(wisher).unwrap().parent.parent.unwrap();
    let far = elsewhere(&network, &children, wisher);
    network.kill(parent);
    network.run_for(seconds(1));
    // Nobody has noticed yet that the parent is gone.
    let content = share(&mut network, far, "fresh/unheard.ogg");
    network.run_for(seconds(90));
    assert_eq!(told(&network, wisher), [content]);
}

#[test]
fn a_withdrawn_wish_is_withdrawn_everywhere() {
    let (mut network, _, children) = wide();
    wish(&mut network, children[0], "unheard ");
    network.run_for(seconds(20));
    network.feed(children[0], Input::EndWish { id: WISH });
    network.run_for(seconds(60));
    let far = elsewhere(&network, &children, children[0]);
    share(&mut network, far, "fresh/unheard.ogg");
    network.run_for(seconds(10));
    assert!(network.wish_hits.is_empty());
    let hits = network.traffic().get("WishHit").map_or(0, |(count, _)| *count);
    assert_eq!(hits, 0, "nobody sends it either");
}

#[test]
fn wishes_of_others_forged_wishes_and_hits_that_are_none_lead_nowhere() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let puppet = child(&mut network, victim, 1, Bond::Active);
    let standing = |key: &KeyPair, signer: &KeyPair, network: &Network| {
        let wish = Wish {
            id: WISH,
            owner: key.node_id(),
            query: words("song "),
            parent: victim,
            issued: UnixTime(1_800_000_002),
            withdrawn: false,
        };
        let credential = network.honest_credential(key, 901);
        StandingQuery { wish: Signed::new(wish, signer), credential }
    };
    let of_another = standing(&key(2), &key(2), &network);
    network.say(puppet, victim, WishUpdate { standing: of_another });
    assert_eq!(counters(&network, victim).wishes_refused, 1);
    let own = standing(&key(1), &key(1), &network);
    network.say(puppet, victim, WishUpdate { standing: own });
    assert_eq!(counters(&network, victim).wishes_taken, 1);
    let neighbour = neighbour(&mut network, victim, 3);
    let credential = network.honest_credential(&key(3), 903);
    let owner = skein_proto::Owner {
        node: neighbour,
        credential,
        addresses: BoundedVec::default(),
        parent: neighbour,
    };
    network.heard(puppet);
    for path in ["spam/buy this.ogg", "a/song.ogg"] {
        let file = file(path);
        let hit = WishHit { id: WISH, wisher: puppet, hops_left: 2, owner: owner.clone(), file };
        network.say(neighbour, victim, hit);
    }
    let heard = network.heard(puppet).into_iter();
    let hits = heard.filter(|(_, message)| matches!(message, skein_proto::Message::WishHit(_)));
    assert_eq!(hits.count(), 1, "the one that matches");
    let forged = standing(&key(1), &key(2), &network);
    network.say(puppet, victim, WishUpdate { standing: forged });
    assert!(!network.linked(victim, puppet), "a forged signature costs the link");
}

#[test]
fn a_newcomer_among_the_supernodes_learns_of_the_wishes() {
    let (mut network, _, children) = wide();
    wish(&mut network, children[0], "unheard ");
    network.run_for(seconds(20));
    let late = network.add_node(RoleSetting::Super, Vec::new());
    network.run_for(seconds(150));
    let content = share(&mut network, late, "late/unheard.ogg");
    network.run_for(seconds(10));
    assert_eq!(told(&network, children[0]), [content]);
}

#[test]
fn what_was_shared_before_anybody_heard_of_the_wish_is_pushed_once_unless_it_was_seen() {
    let (mut network, supers, children) = wide();
    let far = elsewhere(&network, &children, children[0]);
    let first = share(&mut network, far, "fresh/Unheard Melody.ogg");
    let seen = share(&mut network, supers[3], "own/another unheard melody.ogg");
    share(&mut network, children[5], "other/melody that is something else.ogg");
    network.run_for(seconds(20));
    let query = words("unheard melody ");
    network.feed(children[0], Input::Wish { id: WISH, query, seen: vec![seen] });
    network.run_for(seconds(120));
    assert_eq!(told(&network, children[0]), [first]);
    let parent = network.snapshot(children[0]).unwrap().parent.parent.unwrap();
    network.kill(parent);
    network.run_for(seconds(120));
    assert_eq!(told(&network, children[0]), [first], "nor again when the wish is renewed");
}

#[test]
fn a_word_that_everybodys_files_have_brings_some_of_what_is_there_and_not_all() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let publisher = child(&mut network, victim, 1, Bond::Active);
    let wisher = child(&mut network, victim, 2, Bond::Active);
    let files = (0..40).map(|number| file(&format!("many/song {number}.ogg")));
    let add = BoundedVec::truncated(files);
    let publish = Publish { sequence: 1, reset: false, add, remove: BoundedVec::default() };
    network.say(publisher, victim, publish);
    let wish = Wish {
        id: WISH,
        owner: wisher,
        query: words("song "),
        parent: victim,
        issued: UnixTime(1_800_000_002),
        withdrawn: false,
    };
    let credential = network.honest_credential(&key(2), 902);
    let standing = StandingQuery { wish: Signed::new(wish, &key(2)), credential };
    network.heard(wisher);
    network.say(wisher, victim, WishUpdate { standing });
    network.run_for(seconds(5));
    let heard = network.heard(wisher).into_iter();
    let hits = heard.filter(|(_, message)| matches!(message, skein_proto::Message::WishHit(_)));
    assert_eq!(hits.count(), 8);
}

/// A child that wishes for songs, and what it is told when another supernode, which is linked or
/// not, pushes it so many.
fn pushed(is_neighbour: bool, count: u32) -> (usize, skein_overlay::Counters) {
    let mut network = network();
    let victim = lone_super(&mut network);
    let puppet = child(&mut network, victim, 1, Bond::Active);
    let wish = Wish {
        id: WISH,
        owner: puppet,
        query: words("song "),
        parent: victim,
        issued: UnixTime(1_800_000_002),
        withdrawn: false,
    };
    let credential = network.honest_credential(&key(1), 901);
    let standing = StandingQuery { wish: Signed::new(wish, &key(1)), credential };
    network.say(puppet, victim, WishUpdate { standing });
    let credential = network.honest_credential(&key(3), 903);
    let pusher = if is_neighbour {
        neighbour(&mut network, victim, 3)
    } else {
        let hello = Network::greeting(Role::Super, Some(credential.clone()));
        network.add_greeting_puppet(&key(3), victim, hello)
    };
    let addresses = BoundedVec::default();
    let owner = skein_proto::Owner { node: pusher, credential, addresses, parent: pusher };
    network.heard(puppet);
    for number in 0..count {
        let file = file(&format!("spam/song {number}.ogg"));
        let hit = WishHit { id: WISH, wisher: puppet, hops_left: 2, owner: owner.clone(), file };
        network.say_later(pusher, victim, hit);
    }
    network.run_for(seconds(1));
    let heard = network.heard(puppet).into_iter();
    let hits = heard.filter(|(_, message)| matches!(message, skein_proto::Message::WishHit(_)));
    (hits.count(), counters(&network, victim))
}

#[test]
fn one_that_pushes_a_lot_uses_up_a_fourth_of_the_budget_of_the_wish() {
    let (told, counters) = pushed(true, 200);
    assert!((16..=18).contains(&told), "{told}");
    assert!(counters.wish_hits_over_budget >= 180, "{}", counters.wish_hits_over_budget);
}

#[test]
fn whoever_only_says_that_it_is_a_supernode_pushes_nothing() {
    let (told, counters) = pushed(false, 5);
    assert_eq!((told, counters.wish_hits_unasked), (0, 5));
}

#[test]
fn a_wish_that_stays_the_same_is_not_spread_again_at_once() {
    let mut network = network();
    let victim = lone_super(&mut network);
    let puppet = child(&mut network, victim, 1, Bond::Active);
    let mut say = |after: u64, withdrawn: bool| {
        let wish = Wish {
            id: WISH,
            owner: puppet,
            query: words("song "),
            parent: victim,
            issued: UnixTime(1_800_000_002 + after),
            withdrawn,
        };
        let credential = network.honest_credential(&key(1), 901);
        let standing = StandingQuery { wish: Signed::new(wish, &key(1)), credential };
        network.say(puppet, victim, WishUpdate { standing });
        let counters = counters(&network, victim);
        (counters.wishes_taken, counters.wishes_repeated)
    };
    assert_eq!(say(0, false), (1, 0));
    assert_eq!(say(20, false), (1, 1), "it is what it was");
    assert_eq!(say(40, true), (2, 1), "it is withdrawn");
}
