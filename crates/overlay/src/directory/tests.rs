//! The table of a holder, and what it believes.
#![allow(clippy::expect_used)]

use super::announce::Announcer;
use super::arc::Arc;
use super::check::{self, Fault};
use super::outbox::{Hurry, Outbox};
use super::queue::Parcel;
use super::table::{MAX_PER_CONTENT, Table, Taken, place_of};
use crate::config::Config;
use crate::core::Core;
use crate::io::Now;
use crate::membership::{Place, testing};
use rand::SeedableRng;
use rand::rngs::StdRng;
use skein_proto::directory::{
    Contact, DirectoryKey, Loss, NodeRecord, Presence, Shared, SourceClaim, SourceRecords,
    SourceState,
};
use skein_proto::{
    BoundedVec, ContentId, Credential, Instant, KeyPair, NodeId, Signed, UnixTime, Username,
};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) const NOW: UnixTime = UnixTime(1_000_000);

fn now() -> Now {
    Now { instant: Instant::START, unix: NOW }
}

pub(super) fn login() -> KeyPair {
    KeyPair::from_seed(&[200; 32])
}

pub(super) fn key(number: u8) -> KeyPair {
    KeyPair::from_seed(&[number; 32])
}

pub(super) fn credential(owner: &KeyPair) -> Shared<Credential> {
    let credential = Credential {
        name: Username::parse("alice").expect("a name"),
        node: owner.node_id(),
        registered: NOW,
        issued: NOW,
        expires: UnixTime(NOW.0 + 86_400),
    };
    Signed::new(credential, &login()).into()
}

/// A credential that nobody has signed: the table itself checks nothing, and signing is slow.
fn unsigned(number: u16) -> Shared<Credential> {
    let mut node = [9; 32];
    node[..2].copy_from_slice(&number.to_be_bytes());
    let credential = Credential {
        name: Username::parse("alice").expect("a name"),
        node: NodeId::from_bytes(node),
        registered: NOW,
        issued: NOW,
        expires: UnixTime(NOW.0 + 86_400),
    };
    Signed::new(credential, &login()).into()
}

pub(super) fn presence(owner: &KeyPair, issued: u64, online: bool) -> Shared<Presence> {
    let parent = Contact { node: key(99).node_id(), addresses: BoundedVec::default() };
    let presence = Presence {
        issued: UnixTime(issued),
        expires: UnixTime(issued + 3_600),
        online,
        addresses: BoundedVec::default(),
        parent: Some(parent),
    };
    Signed::new(presence, owner).into()
}

fn claim(owner: &KeyPair, state: SourceState, issued: u64) -> Shared<SourceClaim> {
    let claim = SourceClaim {
        content: ContentId::from_bytes([7; 32]),
        state,
        issued: UnixTime(issued),
        expires: UnixTime(issued + 3_600),
    };
    Signed::new(claim, owner).into()
}

/// A claim to have the content of this number.
pub(super) fn claim_of(owner: &KeyPair, number: u32) -> Shared<SourceClaim> {
    let mut content = [0; 32];
    content[..4].copy_from_slice(&number.to_be_bytes());
    let claim = SourceClaim {
        content: ContentId::from_bytes(content),
        state: SourceState::Complete,
        issued: NOW,
        expires: UnixTime(NOW.0 + 3_600),
    };
    Signed::new(claim, owner).into()
}

fn record(owner: &KeyPair, issued: u64, online: bool) -> NodeRecord {
    let (credential, presence) = (credential(owner), presence(owner, issued, online));
    NodeRecord { credential, presence, loss: None }
}

fn song() -> Place {
    place_of(&DirectoryKey::Content(ContentId::from_bytes([7; 32])))
}

fn alice() -> Place {
    place_of(&DirectoryKey::Name(Username::parse("alice").expect("a name")))
}

fn put(table: &mut Table, owner: &KeyPair, state: SourceState, issued: u64) -> Taken {
    table.put_source(song(), &credential(owner), None, claim(owner, state, issued), NOW)
}

fn sources(table: &Table) -> usize {
    table.sources(song(), 100, NOW, &mut StdRng::seed_from_u64(1)).len()
}

#[test]
fn of_two_claims_the_later_holds_whatever_comes_first() {
    use SourceState::{Complete, Partial, Withdrawn};
    let claims = [(Partial, 10), (Complete, 10), (Withdrawn, 11), (Complete, 12)];
    for backwards in [false, true] {
        let mut table = Table::new(1);
        let mut order = claims.to_vec();
        if backwards {
            order.reverse();
        }
        for (state, after) in order {
            put(&mut table, &key(1), state, NOW.0 + after);
        }
        assert_eq!(sources(&table), 1);
        assert_eq!(put(&mut table, &key(1), Withdrawn, NOW.0 + 11), Taken::Stale);
        assert_eq!(put(&mut table, &key(1), Withdrawn, NOW.0 + 12), Taken::Kept);
        assert_eq!(put(&mut table, &key(1), Complete, NOW.0 + 12), Taken::Stale);
        assert_eq!((sources(&table), table.len()), (0, (1, 0)), "it is kept, and not told");
    }
}

#[test]
fn of_two_presences_the_later_holds_and_one_that_is_there_again_wins_a_tie() {
    let mut table = Table::new(1);
    let online = |table: &Table| {
        let nodes = table.nodes(alice(), NOW);
        nodes.iter().map(|node| node.presence.unverified().online).collect::<Vec<_>>()
    };
    assert_eq!(table.put_node(alice(), record(&key(1), NOW.0, true)), Taken::Kept);
    assert_eq!(table.put_node(alice(), record(&key(1), NOW.0 - 1, false)), Taken::Stale);
    assert_eq!(online(&table), [true]);
    assert_eq!(table.put_node(alice(), record(&key(1), NOW.0, false)), Taken::Stale);
    assert_eq!(table.put_node(alice(), record(&key(1), NOW.0 + 1, false)), Taken::Kept);
    assert_eq!(online(&table), [false]);
    assert_eq!(table.put_node(alice(), record(&key(1), NOW.0 + 1, true)), Taken::Kept);
    assert_eq!(online(&table), [true]);
    assert_eq!(table.put_node(alice(), record(&key(2), NOW.0, true)), Taken::Kept);
    assert_eq!(table.nodes(alice(), NOW).len(), 2, "a user may have several nodes");
}

#[test]
fn a_loss_holds_until_the_node_speaks_again() {
    let mut table = Table::new(1);
    let mut lost = record(&key(1), NOW.0, true);
    table.put_node(alice(), lost.clone());
    let loss = Loss { node: key(1).node_id(), at: NOW };
    lost.loss = Some(Signed::new(loss, &key(99)).into());
    assert_eq!(table.put_node(alice(), lost), Taken::Kept);
    assert!(table.nodes(alice(), NOW)[0].loss.is_some());
    table.put_node(alice(), record(&key(1), NOW.0, true));
    assert!(table.nodes(alice(), NOW)[0].loss.is_some(), "the same word again is no news");
    table.put_node(alice(), record(&key(1), NOW.0 + 1, true));
    assert!(table.nodes(alice(), NOW)[0].loss.is_none());
}

#[test]
fn sources_of_one_content_are_bounded_and_the_lot_changes_with_the_hour() {
    let mut table = Table::new(1);
    let mut kept = Vec::new();
    for hour in 0..2 {
        let now = UnixTime(NOW.0 + hour * 3_600);
        for number in 0..200 {
            let claim = claim(&key(1), SourceState::Complete, now.0);
            table.put_source(song(), &unsigned(number), None, claim, now);
        }
        let mut rng = StdRng::seed_from_u64(1);
        let found = table.sources(song(), 200, now, &mut rng);
        assert_eq!(found.len(), MAX_PER_CONTENT);
        kept.push(found.iter().map(|s| s.credential.unverified().node).collect::<Vec<_>>());
    }
    assert!(kept[1].iter().any(|node| !kept[0].contains(node)), "others have their turn");
    let partial = claim(&key(1), SourceState::Partial, NOW.0);
    let taken = table.put_source(song(), &unsigned(999), None, partial, NOW);
    assert_eq!(taken, Taken::Crowded, "who has all of it comes first");
}

/// A node of this number and name.
fn named(number: u16, name: &str) -> Shared<Credential> {
    let mut credential = unsigned(number).unverified().clone();
    credential.name = Username::parse(name).expect("a name");
    Signed::new(credential, &login()).into()
}

#[test]
fn a_name_with_many_nodes_has_of_a_popular_content_what_the_others_leave() {
    let names = |found: &[SourceRecords]| {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for source in found {
            *names.entry(source.credential.unverified().name.to_string()).or_default() += 1;
        }
        names
    };
    let mut table = Table::new(1);
    let claimed = |state| claim(&key(1), state, NOW.0);
    let put = |table: &mut Table, owner: &Shared<Credential>, state| {
        table.put_source(song(), owner, None, claimed(state), NOW)
    };
    for number in 0..150 {
        put(&mut table, &named(number, "greedy"), SourceState::Complete);
    }
    for number in 0..20 {
        let owner = named(200 + number, &format!("modest{number}"));
        assert_eq!(put(&mut table, &owner, SourceState::Partial), Taken::Kept, "{number}");
    }
    for number in 300..400 {
        put(&mut table, &named(number, "greedy"), SourceState::Complete);
    }
    let mut rng = StdRng::seed_from_u64(1);
    let kept = names(&table.sources(song(), 100, NOW, &mut rng));
    assert_eq!((kept.len(), kept["greedy"]), (21, MAX_PER_CONTENT - 20), "{kept:?}");
    for _ in 0..20 {
        let told = names(&table.sources(song(), 32, NOW, &mut rng));
        assert_eq!((told.len(), told["greedy"]), (21, 12), "{told:?}");
    }
}

#[test]
fn of_the_many_nodes_of_a_name_those_are_told_first_that_are_there() {
    let mut table = Table::new(1);
    for number in 0..40_u8 {
        table.put_node(alice(), record(&key(number), NOW.0 + u64::from(number), number < 20));
    }
    let told = table.nodes(alice(), NOW);
    assert!(told.iter().take(20).all(|node| node.presence.unverified().online));
    assert_eq!(told[0].credential.unverified().node, key(19).node_id(), "the latest word");
}

#[test]
fn no_record_outlives_the_credential_beside_it() {
    let mut short = credential(&key(1)).unverified().clone();
    short.expires = UnixTime(NOW.0 + 3_599);
    let short: Shared<Credential> = Signed::new(short, &login()).into();
    let claimed = claim(&key(1), SourceState::Complete, NOW.0);
    assert_eq!(check::claim(&credential(&key(1)), &claimed, now()), Ok(()));
    assert_eq!(check::claim(&short, &claimed, now()), Err(Fault::Untimely));
    let there = presence(&key(1), NOW.0, true);
    assert_eq!(check::presence(&credential(&key(1)), &there, now()), Ok(()));
    assert_eq!(check::presence(&short, &there, now()), Err(Fault::Untimely));

    let mut core = Core::new(key(1), Config::new(login().node_id()), [0; 32]);
    core.credential = Some((*short).clone());
    let mut announcer = Announcer::default();
    announcer.start(&mut core, key(9).node_id(), now());
    let (_, said) = announcer.step(&mut core, now()).expect("it says where it is");
    let said = said.presence.expect("a presence");
    assert_eq!(said.unverified().expires, short.unverified().expires);
    assert_eq!(check::presence(&short, &said, now()), Ok(()));
}

#[test]
fn the_less_room_there_is_the_less_a_name_may_take() {
    let mut table = Table::with_room(1, (1_000, 10));
    let claim = claim(&key(1), SourceState::Complete, NOW.0);
    let put = |table: &mut Table, name: &str, content: u64| {
        // As many nodes as it likes.
        let mut owner = unsigned(u16::try_from(content % 16).expect("below 16"));
        let mut credential = owner.unverified().clone();
        credential.name = Username::parse(name).expect("a name");
        let (id, number) = (credential.node.as_bytes().to_owned(), name.as_bytes()[4]);
        credential.node = NodeId::from_bytes(std::array::from_fn(|at| id[at] ^ number));
        owner = Signed::new(credential, &login()).into();
        let place = Place::of(b"made up", &content.to_be_bytes());
        table.put_source(place, &owner, None, claim.clone(), NOW)
    };
    for (greedy, before) in ["evil1", "evil2", "evil3"].iter().zip([1_000, 889, 791]) {
        let taken = (0..200).filter(|n| put(&mut table, greedy, *n) == Taken::Kept).count();
        assert!(taken <= before / 8 && taken > before / 8 - 20, "{taken}");
    }
    let modest = (0..20).filter(|n| put(&mut table, "modest", *n) == Taken::Kept).count();
    assert_eq!(modest, 20);
    table.sweep(UnixTime(NOW.0 + 3_600), |_| true);
    let again = (0..200).filter(|n| put(&mut table, "evil1", *n) == Taken::Kept).count();
    assert!(again > 100, "what went counts no more: {again}");
}

#[test]
fn a_full_table_keeps_those_up_to_date_that_it_has() {
    let mut table = Table::with_room(1, (100, 1));
    assert_eq!(table.put_node(alice(), record(&key(1), NOW.0, true)), Taken::Kept);
    assert_eq!(table.put_node(alice(), record(&key(2), NOW.0, true)), Taken::Full);
    assert_eq!(table.put_node(alice(), record(&key(1), NOW.0 + 1, false)), Taken::Kept);
}

#[test]
fn what_has_expired_or_moved_away_is_dropped_with_its_owner() {
    let mut table = Table::new(1);
    put(&mut table, &key(1), SourceState::Complete, NOW.0);
    table.put_node(alice(), record(&key(1), NOW.0, true));
    let whole = Arc::whole(Place(0));
    assert_eq!((table.nodes_on(whole).count(), table.sources_on(whole).count()), (1, 1));
    assert_eq!(table.sweep(UnixTime(NOW.0 + 3_600), |_| true), (1, 0));
    assert_eq!(table.len(), (0, 1), "when it was last seen is kept");
    assert_eq!(table.sweep(NOW, |place| place != alice()), (0, 1));
    assert_eq!(table.len(), (0, 0));
    assert!(table.credential(&key(1).node_id()).is_none());
}

#[test]
fn only_what_the_owner_signed_in_time_is_believed() {
    let core = Core::new(key(50), Config::new(login().node_id()), [1; 32]);
    let owner = credential(&key(1));
    assert_eq!(check::credential(&core, &owner, now()), Ok(()));
    let made_up = Signed::new(owner.unverified().clone(), &key(2)).into();
    assert_eq!(check::credential(&core, &made_up, now()), Err(Fault::Forged));

    let good = presence(&key(1), NOW.0, true);
    assert_eq!(check::presence(&owner, &good, now()), Ok(()));
    assert_eq!(check::presence(&owner, &presence(&key(2), NOW.0, true), now()), Err(Fault::Forged));
    let future = presence(&key(1), NOW.0 + 301, true);
    assert_eq!(check::presence(&owner, &future, now()), Err(Fault::Untimely));

    let claimed = |key: &KeyPair, issued| claim(key, SourceState::Complete, issued);
    assert_eq!(check::claim(&owner, &claimed(&key(1), NOW.0), now()), Ok(()));
    assert_eq!(check::claim(&owner, &claimed(&key(2), NOW.0), now()), Err(Fault::Forged));
    let old = claimed(&key(1), NOW.0 - 3_600);
    assert_eq!(check::claim(&owner, &old, now()), Err(Fault::Untimely));

    let lost = |signer: &KeyPair, at: u64| {
        let loss = Loss { node: key(1).node_id(), at: UnixTime(at) };
        check::loss(&owner, &good, &Signed::new(loss, signer).into(), now())
    };
    assert_eq!(lost(&key(99), NOW.0), Ok(()), "the parent that the presence names");
    assert_eq!(lost(&key(98), NOW.0), Err(Fault::Forged));
    assert_eq!(lost(&key(99), NOW.0 - 1), Err(Fault::Untimely), "it was there after that");
}

#[test]
fn a_library_waits_for_company_until_something_urgent_or_a_link_comes() {
    let mut core = Core::new(key(5), Config::new(login().node_id()), [0; 32]);
    core.membership = testing::view(100, |n| ([10, 1, 1, n as u8], 1).into(), |_| 0);
    let mut outbox = Outbox::new(Instant::START);
    let holders = [7, 8].map(|number| key(number).node_id());
    let parcel = Parcel::Node(record(&key(1), NOW.0, true));
    let after = |secs| Instant::START + Duration::from_secs(secs);
    let mut put = |outbox: &mut Outbox, holder: NodeId, hurry| {
        outbox.put(&mut core, holder, (parcel.clone(), hurry), now());
        outbox.next_wakeup().expect("something waits")
    };
    for holder in holders {
        assert!(put(&mut outbox, holder, Hurry::InBulk) >= after(9), "18 s on average");
    }
    let first = put(&mut outbox, holders[0], Hurry::Soon);
    assert!((after(3)..=after(6)).contains(&first), "{first:?}");
    assert_eq!(put(&mut outbox, holders[0], Hurry::InBulk), first, "it goes along");
    outbox.on_linked(holders[1], now());
    assert_eq!(outbox.next_wakeup(), Some(after(3)), "as soon as anything leaves at all");
}
