//! Who is kept in mind, and who takes whose place.
#![allow(clippy::expect_used)]

use super::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn entry(number: u16, seen: u64) -> SupernodeEntry {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&number.to_be_bytes());
    SupernodeEntry {
        node: NodeId::from_bytes(id),
        addresses: BoundedVec::truncated([SocketAddr::from(([10, 0, 0, 1], 1 + number))]),
        load_percent: 10,
        seen: UnixTime(seen),
    }
}

fn owner(number: u16) -> OwnerNumber {
    OwnerNumber::of(&skein_proto::Username::parse(&format!("name{number}")).expect("a name"))
}

/// So many strangers introduce themselves, each of another name.
fn introduce(known: &mut KnownSupernodes, numbers: std::ops::Range<u16>, now: UnixTime) {
    for number in numbers {
        let stranger = entry(number, 0);
        known.introduced(stranger.node, &stranger.addresses, owner(number), now);
    }
}

fn knows(known: &KnownSupernodes, numbers: std::ops::Range<u16>) -> usize {
    numbers.filter(|number| known.contains(&entry(*number, 0).node)).count()
}

#[test]
fn whoever_introduces_itself_takes_nobodys_place_and_half_of_the_room_at_most() {
    let mut known = KnownSupernodes::default();
    for number in 0..20 {
        known.hear_of(&entry(number, 1), number < 10, UnixTime(1));
    }
    introduce(&mut known, 100..400, UnixTime(1_000));
    assert_eq!((knows(&known, 0..20), knows(&known, 100..400)), (20, 80));
    assert_eq!(known.to_remember().len(), 10, "no stranger is kept for the next start");
    for number in 400..590 {
        assert!(known.hear_of(&entry(number, 1), true, UnixTime(2_000)));
    }
    assert_eq!((knows(&known, 100..400), knows(&known, 400..590)), (0, 190), "they make room");
}

#[test]
fn half_of_the_room_is_for_those_that_the_login_service_names_whoever_was_met() {
    let mut known = KnownSupernodes::default();
    for number in 0..300 {
        let met = entry(number, 0);
        known.proved(met.node, &met.addresses, (owner(number), None), UnixTime(1_000));
    }
    assert_eq!(knows(&known, 0..300), MAX_KNOWN);
    for number in 400..500 {
        assert!(known.hear_of(&entry(number, 1), true, UnixTime(1_000)), "{number}");
    }
    for number in 500..700 {
        let met = entry(number, 0);
        known.proved(met.node, &met.addresses, (owner(number), None), UnixTime(2_000));
    }
    assert_eq!((known.len(), knows(&known, 400..500)), (MAX_KNOWN, 100));
}

#[test]
fn few_of_one_name_are_kept_in_mind_however_they_come() {
    let mut known = KnownSupernodes::default();
    for number in 0..50 {
        let one = entry(number, 0);
        if number % 2 == 0 {
            known.introduced(one.node, &one.addresses, owner(7), UnixTime(10));
        } else {
            known.proved(one.node, &one.addresses, (owner(7), None), UnixTime(10));
        }
    }
    assert_eq!(known.len(), MAX_PER_NAME);
    let named = entry(60, 0);
    known.hear_of(&named, true, UnixTime(10));
    assert!(known.proved(named.node, &named.addresses, (owner(7), None), UnixTime(10)));
}

#[test]
fn one_that_introduces_itself_says_where_it_is_now() {
    let mut known = KnownSupernodes::default();
    known.hear_of(&entry(1, 1), true, UnixTime(1));
    let moved: SocketAddr = "192.0.2.9:4701".parse().expect("an address");
    known.introduced(entry(1, 0).node, &[moved], owner(1), UnixTime(10));
    assert_eq!(known.addresses(&entry(1, 0).node), Some(vec![moved]));
    assert_eq!(known.to_remember().len(), 1, "it is named as before");
}

#[test]
fn hearsay_does_not_move_a_supernode_that_has_answered() {
    let mut known = KnownSupernodes::default();
    let real: SocketAddr = "192.0.2.1:4701".parse().expect("an address");
    known.proved(entry(1, 0).node, &[real], (owner(1), Some(5)), UnixTime(10));
    for vouched in [false, true] {
        known.hear_of(&entry(1, 50), vouched, UnixTime(60));
    }
    assert_eq!(known.addresses(&entry(1, 0).node), Some(vec![real]));
}

#[test]
fn a_flood_of_made_up_supernodes_pushes_out_no_fresher_one() {
    let mut known = KnownSupernodes::default();
    let now = UnixTime(1_000);
    for number in 0..200 {
        assert!(known.hear_of(&entry(number, 500), false, now));
    }
    assert!(!known.hear_of(&entry(2_000, 400), false, now));
    assert!(known.hear_of(&entry(2_001, u64::MAX), false, now), "the future counts as now");
    assert_eq!(known.len(), MAX_KNOWN);
}

#[test]
fn hearsay_never_takes_the_place_of_what_the_login_service_has_named() {
    let mut known = KnownSupernodes::default();
    let now = UnixTime(1_000);
    for number in 0..3 {
        known.hear_of(&entry(number, 1), true, now);
    }
    for number in 10..3_000 {
        known.hear_of(&entry(number, u64::MAX), false, now);
    }
    assert_eq!(known.len(), MAX_KNOWN);
    let mut rng = StdRng::seed_from_u64(1);
    let picked = known.pick(5, Instant::START, &mut rng, |_| false);
    let named = (0..3).filter(|n| picked.iter().any(|(node, _)| *node == entry(*n, 0).node));
    assert_eq!((picked.len(), named.count()), (5, 3), "they are tried first");
    assert!(known.hear_of(&entry(5, 1), true, now), "and there is room for more of them");
}

#[test]
fn the_last_ones_that_are_vouched_for_are_never_forgotten() {
    let mut known = KnownSupernodes::default();
    known.hear_of(&entry(1, 1), true, UnixTime(1));
    let mut now = Instant::START;
    for _ in 0..100 {
        known.failed(&entry(1, 1).node, now);
        now = now + MAX_RETRY;
    }
    assert_eq!(known.pick(5, now, &mut StdRng::seed_from_u64(1), |_| false).len(), 1);
    assert!(known.freshest(5).is_empty(), "nobody else is told of it");
    assert_eq!(known.to_remember().len(), 1);
}

#[test]
fn those_that_are_named_to_others_have_room_and_were_reached() {
    let mut known = KnownSupernodes::default();
    let real: SocketAddr = "192.0.2.1:4701".parse().expect("an address");
    for number in 0..40 {
        known.proved(entry(number, 0).node, &[real], (owner(number), Some(5)), UnixTime(10));
        known.hear_of(&entry(100 + number, 9), false, UnixTime(10));
    }
    let full = |at: &Contact| Some(if at.node.as_bytes()[1].is_multiple_of(2) { 100 } else { 30 });
    let named = known.to_name(16, &mut StdRng::seed_from_u64(3), full);
    assert_eq!(named.len(), 16);
    assert!(named.iter().all(|entry| entry.node.as_bytes()[1] < 40), "no hearsay");
    let roomy = named.iter().filter(|entry| entry.load_percent == 30).count();
    assert!(roomy >= 14, "{roomy} of 16");
}

#[test]
fn one_that_fails_is_left_alone_for_longer_each_time_and_then_forgotten() {
    let mut known = KnownSupernodes::default();
    let mut rng = StdRng::seed_from_u64(1);
    known.hear_of(&entry(1, 1), false, UnixTime(1));
    let node = entry(1, 1).node;
    let mut now = Instant::START;
    for failure in 0..MAX_FAILURES {
        assert_eq!(known.pick(5, now, &mut rng, |_| false).len(), 1, "failure {failure}");
        known.failed(&node, now);
        assert!(known.pick(5, now, &mut rng, |_| false).is_empty());
        now = now + MAX_RETRY;
    }
    assert!(known.is_empty());
}
