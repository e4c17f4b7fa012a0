//! A holder as those meet it who ask, and those whom it asks.
#![allow(clippy::expect_used)]

use super::Holder;
use super::arc::Arc;
use super::lookup::Asker;
use super::outbox::{Hurry, Outbox};
use super::queue::Parcel;
use super::table::place_of;
use super::tests::{NOW, claim_of, credential, key, login, presence};
use super::{COPIES, WORK};
use crate::bucket::TokenBucket;
use crate::config::Config;
use crate::core::Core;
use crate::io::{Now, Output};
use crate::membership::{OwnArc, Place, testing};
use crate::peers::{Greeting, Peer};
use skein_proto::directory::{
    ArcSent, ArcWanted, DirectoryKey, Find, FindOutcome, Found, NodeRecord, Put, SourceRecords,
};
use skein_proto::rumour::OwnerNumber;
use skein_proto::{
    BoundedVec, Instant, KeyPair, Message, NodeId, QueryId, Role, SupernodeEntry, UnixTime,
    Username,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn at(secs: u64) -> Now {
    Now { instant: Instant::START + Duration::from_secs(secs), unix: UnixTime(NOW.0 + secs) }
}

/// A supernode that knows so many others.
fn holder(others: usize) -> (Core, Holder) {
    let mut core = Core::new(key(5), Config::new(login().node_id()), [0; 32]);
    let address = |n: usize| ([10, 1, (n / 250) as u8, (n % 250) as u8], 1).into();
    core.membership = testing::view_of(core.me, others, address, |_| 0);
    let holder = Holder::new(&mut core, at(0));
    (core, holder)
}

fn name(number: usize) -> DirectoryKey {
    DirectoryKey::Name(Username::parse(&format!("user{number}")).expect("a name"))
}

/// A name that belongs to this supernode, or to others only.
fn name_of(core: &Core, mine: bool) -> DirectoryKey {
    let is_mine =
        |key: &DirectoryKey| core.membership.successors(place_of(key), COPIES).contains(&core.me);
    (0..10_000).map(name).find(|key| is_mine(key) == mine).expect("a name")
}

/// What became of the user's look-up.
fn outcome(core: &mut Core) -> Option<FindOutcome> {
    core.outputs.drain(..).find_map(|output| match output {
        Output::Found { outcome, .. } => Some(outcome),
        _ => None,
    })
}

fn begin(core: &mut Core, holder: &mut Holder, key: DirectoryKey) -> QueryId {
    holder.look_up(core, key, Asker::User(QueryId::from_bytes([1; 16])), at(1));
    holder.running_lookup().expect("it runs").0
}

#[test]
fn a_holder_that_answers_twice_is_heard_once() {
    let (mut core, mut holder) = holder(50);
    let key = name_of(&core, false);
    let id = begin(&mut core, &mut holder, key);
    let (_, first) = holder.running_lookup().expect("it runs");
    let nothing = || Found::nothing(id, FindOutcome::Answered);
    for _ in 0..3 {
        holder.on_found(&mut core, first, nothing(), at(1));
    }
    assert_eq!(core.counters.directory_answers_unasked, 2);
    let mut asked = BTreeSet::from([first]);
    for _ in 1..COPIES {
        assert_eq!(outcome(&mut core), None, "not all holders say that there is nothing");
        let (_, next) = holder.running_lookup().expect("it runs");
        assert!(asked.insert(next));
        holder.on_found(&mut core, next, nothing(), at(1));
    }
    assert_eq!(outcome(&mut core), Some(FindOutcome::Answered));
}

/// A look-up of a name whose first two holders pretend that nobody has it, or only that this node
/// was there long ago. Answers what the user is told of its nodes: whether they are there.
fn hidden_by_two(pretence: &[NodeRecord]) -> Vec<bool> {
    let (mut core, mut holder) = holder(50);
    let (name, owner) = ("alice", key(1));
    let key = DirectoryKey::Name(Username::parse(name).expect("a name"));
    let id = begin(&mut core, &mut holder, key);
    let honest = NodeRecord {
        credential: credential(&owner),
        presence: presence(&owner, NOW.0, true),
        loss: None,
    };
    for nodes in [pretence, pretence, &[honest]] {
        let (_, asked) = holder.running_lookup().expect("it runs");
        let nodes = BoundedVec::truncated(nodes.iter().cloned());
        let found = Found { nodes, ..Found::nothing(id, FindOutcome::Answered) };
        holder.on_found(&mut core, asked, found, at(1));
    }
    let told = core.outputs.drain(..).find_map(|output| match output {
        Output::Found { nodes, .. } => Some(nodes),
        _ => None,
    });
    told.expect("it is over").iter().map(|node| node.online).collect()
}

#[test]
fn two_holders_hide_nothing_that_the_third_one_has() {
    assert_eq!(hidden_by_two(&[]), [true]);
    let owner = key(1);
    let old = NodeRecord {
        credential: credential(&owner),
        presence: presence(&owner, NOW.0 - 10, false),
        loss: None,
    };
    assert_eq!(hidden_by_two(&[old]), [true]);
}

#[test]
fn a_holder_that_does_not_answer_does_not_keep_the_others_from_ending_a_look_up() {
    let (mut core, mut holder) = holder(50);
    let key = name_of(&core, false);
    let id = begin(&mut core, &mut holder, key);
    let (_, dead) = holder.running_lookup().expect("it runs");
    holder.on_find_failed(&mut core, dead, id, at(1));
    for _ in 1..COPIES {
        let (_, next) = holder.running_lookup().expect("it runs");
        holder.on_found(&mut core, next, Found::nothing(id, FindOutcome::Answered), at(1));
    }
    assert_eq!(outcome(&mut core), Some(FindOutcome::Answered));
}

#[test]
fn whom_a_holder_points_to_speaks_with_its_voice() {
    let (mut core, mut holder) = holder(50);
    let key = name_of(&core, false);
    let place = place_of(&key);
    let id = begin(&mut core, &mut holder, key);
    let (_, liar) = holder.running_lookup().expect("it runs");
    let distance = |node: &NodeId| Place::of_node(node).0.wrapping_sub(place.0);
    let accomplices: Vec<NodeId> = (0_u16..)
        .map(|number| {
            let mut seed = [66; 32];
            seed[..2].copy_from_slice(&number.to_be_bytes());
            KeyPair::from_seed(&seed).node_id()
        })
        .filter(|node| distance(node) < distance(&liar))
        .take(6)
        .collect();
    let holders = accomplices.iter().map(|node| SupernodeEntry {
        node: *node,
        addresses: BoundedVec::truncated([([192, 0, 2, 1], 1).into()]),
        load_percent: 0,
        seen: at(1).unix,
    });
    let holders = BoundedVec::truncated(holders);
    let elsewhere = Found { holders, ..Found::nothing(id, FindOutcome::Elsewhere) };
    holder.on_found(&mut core, liar, elsewhere, at(1));
    for _ in 0..2 {
        let (_, asked) = holder.running_lookup().expect("it runs");
        assert!(accomplices.contains(&asked));
        holder.on_found(&mut core, asked, Found::nothing(id, FindOutcome::Answered), at(1));
    }
    for _ in 1..COPIES {
        assert_eq!(outcome(&mut core), None, "all three are one voice");
        let (_, next) = holder.running_lookup().expect("it runs");
        let of_own_view = core.membership.successors(place, COPIES);
        assert!(of_own_view.contains(&next), "a holder of its own view");
        holder.on_found(&mut core, next, Found::nothing(id, FindOutcome::Answered), at(1));
    }
    assert_eq!(outcome(&mut core), Some(FindOutcome::Answered), "and then all have been asked");
}

#[test]
fn that_holders_are_still_fetching_is_no_answer() {
    for last in [FindOutcome::Fetching, FindOutcome::Answered] {
        let (mut core, mut holder) = holder(50);
        let key = name_of(&core, false);
        let id = begin(&mut core, &mut holder, key);
        for outcome in [FindOutcome::Fetching, FindOutcome::Fetching, last] {
            let (_, asked) = holder.running_lookup().expect("it runs");
            holder.on_found(&mut core, asked, Found::nothing(id, outcome), at(1));
        }
        assert_eq!(outcome(&mut core), Some(last));
    }
}

/// A linked node of a name.
fn child(core: &mut Core, number: u16, name: &str) -> NodeId {
    let mut id = [0x33; 32];
    id[..2].copy_from_slice(&number.to_be_bytes());
    let node = NodeId::from_bytes(id);
    let name = Username::parse(name).expect("a name");
    let hello = Greeting {
        agent: String::new(),
        role: Role::Ordinary,
        credential: None,
        owner: Some(OwnerNumber::of(&name)),
        listen: Vec::new(),
    };
    let (address, rtt) = (([192, 0, 2, 1], 1).into(), Duration::ZERO);
    let peer = Peer { address, rtt, since: Instant::START, hello: Some(hello) };
    core.peers.insert(node, Box::new(peer));
    node
}

#[test]
fn the_many_nodes_of_a_name_leave_room_for_the_look_ups_of_others() {
    let (mut core, mut holder) = holder(50);
    let key = name_of(&core, false);
    let mut number = 0;
    let mut ask = |core: &mut Core, holder: &mut Holder, child: NodeId| {
        let before = holder.running_lookups();
        number += 1;
        let id = QueryId::from_bytes(u128::to_be_bytes(number));
        holder.look_up(core, key.clone(), Asker::Child(child, id), at(1));
        holder.running_lookups() - before
    };
    let greedy: Vec<NodeId> = (0..64).map(|number| child(&mut core, number, "greedy")).collect();
    let all = greedy.iter().cycle().take(64 * 64);
    let begun: usize = all.map(|child| ask(&mut core, &mut holder, *child)).sum();
    assert_eq!(begun, 4_096 / 9);
    assert_eq!(core.counters.directory_finds_over_share, 4_096 - begun as u64);
    let modest = child(&mut core, 1_000, "modest");
    let begun: usize = (0..64).map(|_| ask(&mut core, &mut holder, modest)).sum();
    assert_eq!((begun, core.counters.directory_finds_over_limit), (64, 0));
    assert_eq!(ask(&mut core, &mut holder, modest), 0, "a child has its own limit as well");
    assert_eq!(core.counters.directory_finds_over_limit, 1);
    // Nobody answers any of them.
    for secs in 2..60 {
        holder.step_lookups(&mut core, at(secs));
    }
    assert_eq!(holder.running_lookups(), 0);
    assert_eq!(ask(&mut core, &mut holder, greedy[0]), 1, "what is over counts no more");
}

/// What a holder tells another supernode of a key.
fn told(core: &mut Core, holder: &mut Holder, key: &DirectoryKey, now: Now) -> FindOutcome {
    core.outputs.clear();
    let find = Find { id: QueryId::from_bytes([2; 16]), key: key.clone() };
    holder.on_find(core, NodeId::from_bytes([3; 32]), find, now);
    let told = core.outputs.drain(..).find_map(|output| match output {
        Output::Send { message, .. } => match *message {
            Message::Found(found) => Some(found.outcome),
            _ => None,
        },
        _ => None,
    });
    told.expect("an answer")
}

/// The questions for arcs that wait for links, by whom they are for.
fn wanted(core: &mut Core) -> Vec<(NodeId, ArcWanted)> {
    let nodes: Vec<NodeId> = core.membership.iter().map(|member| member.node).collect();
    let waiting =
        |node: NodeId| core.courier.take_waiting(&node).into_iter().map(move |m| (node, m));
    nodes
        .into_iter()
        .flat_map(waiting)
        .filter_map(|(node, message)| match message {
            Message::ArcWanted(wanted) => Some((node, wanted)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_newcomer_says_that_it_is_fetching_until_all_have_been_heard() {
    let (mut core, mut holder) = holder(50);
    let key = name_of(&core, true);
    assert_eq!(told(&mut core, &mut holder, &key, at(0)), FindOutcome::Fetching);
    holder.reach.refresh(&mut core, at(0));
    assert_eq!(told(&mut core, &mut holder, &key, at(0)), FindOutcome::Fetching);
    // All that it asks are as new as it is itself.
    for _ in 0..2 * COPIES {
        assert_eq!(told(&mut core, &mut holder, &key, at(6)), FindOutcome::Fetching);
        holder.reach.step(&mut core, at(6));
        for (node, ArcWanted { after, to }) in wanted(&mut core) {
            let sent = ArcSent { after, to, records: 0, whole: false };
            holder.reach.on_sent(&mut core, node, sent, at(6));
        }
        if holder.is_whole(&core, place_of(&key), at(6)) {
            break;
        }
    }
    assert_eq!(told(&mut core, &mut holder, &key, at(6)), FindOutcome::Answered);
}

/// What the first one that a newcomer asked for this arc has sent it: a page that ends the arc, and
/// so many records before.
fn brings(
    (core, holder): (&mut Core, &mut Holder),
    (node, wanted): (NodeId, &ArcWanted),
    said: u32,
    put: Put,
) {
    holder.on_put(core, node, put, at(6));
    let sent = ArcSent { after: wanted.after, to: wanted.to, records: said, whole: true };
    holder.reach.on_sent(core, node, sent, at(6));
}

#[test]
fn a_newcomer_believes_nobody_who_only_says_that_it_has_sent_something() {
    let owner = key(1);
    let content = |number| {
        let claim = claim_of(&owner, number);
        place_of(&DirectoryKey::Content(claim.unverified().content))
    };
    // How many are said to have been sent, how many have, and whether that was all.
    for (said, came, enough) in [(5, 0, false), (5, 4, false), (5, 5, true), (0, 5, true)] {
        let (mut core, mut holder) = holder(50);
        holder.reach.refresh(&mut core, at(0));
        holder.reach.step(&mut core, at(6));
        let (node, wanted) = wanted(&mut core).pop().expect("somebody is asked");
        let arc = Arc { after: Place(wanted.after), to: Place(wanted.to) };
        let claims = (0..).filter(|number| arc.contains(content(*number))).take(came);
        let claims = claims.map(|number| claim_of(&owner, number));
        let claims = BoundedVec::truncated(claims);
        let source = SourceRecords { credential: credential(&owner), presence: None, claims };
        let sources = BoundedVec::truncated([source]);
        let put = Put { sources, nodes: BoundedVec::default() };
        brings((&mut core, &mut holder), (node, &wanted), said, put);
        assert_eq!(core.counters.directory_taken, came as u64);
        assert_eq!(holder.is_whole(&core, arc.to, at(6)), enough, "{came} of {said}");
    }
}

#[test]
fn what_came_for_another_arc_or_did_not_hold_is_no_part_of_an_answer() {
    let owner = key(1);
    let (mut core, mut holder) = holder(50);
    holder.reach.refresh(&mut core, at(0));
    holder.reach.step(&mut core, at(6));
    let (node, wanted) = wanted(&mut core).pop().expect("somebody is asked");
    let arc = Arc { after: Place(wanted.after), to: Place(wanted.to) };
    let place = |number| {
        let claim = claim_of(&owner, number);
        place_of(&DirectoryKey::Content(claim.unverified().content))
    };
    let off = (0..).find(|number| !arc.contains(place(*number))).expect("a place elsewhere");
    let on = (0..).find(|number| arc.contains(place(*number))).expect("a place on it");
    // One is of another arc, the other is signed by somebody else.
    let claims = BoundedVec::truncated([claim_of(&owner, off), claim_of(&key(2), on)]);
    let source = SourceRecords { credential: credential(&owner), presence: None, claims };
    let sources = BoundedVec::truncated([source]);
    let put = Put { sources, nodes: BoundedVec::default() };
    brings((&mut core, &mut holder), (node, &wanted), 1, put);
    assert!(!holder.is_whole(&core, arc.to, at(6)));
}

#[test]
fn nobody_keeps_a_newcomer_from_answering_for_more_than_some_minutes() {
    let (mut core, mut holder) = holder(50);
    let key = name_of(&core, true);
    holder.reach.refresh(&mut core, at(0));
    let mut asked = BTreeSet::new();
    // Whoever is asked sends next to nothing, again and again.
    for secs in 0..1_000 {
        holder.reach.step(&mut core, at(secs));
        for (node, ArcWanted { after, to }) in wanted(&mut core) {
            assert_ne!(after, to);
            let sent = ArcSent { after, to: after.wrapping_add(1), records: 1, whole: false };
            holder.reach.on_sent(&mut core, node, sent, at(secs));
            asked.insert(node);
        }
        let told = told(&mut core, &mut holder, &key, at(secs));
        match secs {
            0..180 => assert_eq!(told, FindOutcome::Fetching, "{secs}"),
            // It waited a little before it asked.
            180..190 => {}
            _ => assert_eq!(told, FindOutcome::Answered, "{secs}"),
        }
    }
    assert!(asked.len() > COPIES, "the next ones were asked all the same: {asked:?}");
}

#[test]
fn a_place_that_has_just_come_to_belong_here_is_not_answered_for() {
    let (mut core, mut holder) = holder(50);
    // It has fetched what belonged to it, and then somebody before it dies.
    holder.reach.refresh(&mut core, at(0));
    holder.reach.forget_pulls();
    let before = core.membership.own_arc(COPIES);
    let last = before.others.first().expect("there is one before it");
    let dead = core.membership.iter().map(|member| member.node);
    let dead = dead.into_iter().find(|node| Place::of_node(node) == *last);
    core.membership.lay_to_rest(&dead.expect("it is known"), at(10).instant);
    let begin = |arc: &OwnArc| arc.after.expect("a part of the ring");
    let news = Arc { after: begin(&core.membership.own_arc(COPIES)), to: begin(&before) };
    let key = (0..10_000).map(name).find(|key| news.contains(place_of(key))).expect("a name");
    assert_eq!(told(&mut core, &mut holder, &key, at(10)), FindOutcome::Fetching);
}

#[test]
fn when_too_many_parts_of_an_arc_are_asked_for_the_whole_is_and_that_is_counted() {
    let (mut core, mut holder) = holder(50);
    holder.reach.refresh(&mut core, at(0));
    let mut deaths = 0;
    while core.counters.directory_pulls_over_limit == 0 {
        // Nobody answers while one after the other dies before it.
        let last = *core.membership.own_arc(COPIES).others.first().expect("there is one before it");
        let dead = core.membership.iter().map(|member| member.node);
        let dead = dead.into_iter().find(|node| Place::of_node(node) == last);
        core.membership.lay_to_rest(&dead.expect("it is known"), at(0).instant);
        holder.reach.refresh(&mut core, at(0));
        deaths += 1;
        assert!(deaths < 40, "it asks for more and more parts");
    }
    holder.reach.step(&mut core, at(60));
    assert!(wanted(&mut core).len() <= COPIES + 1, "the parts of one arc");
}

/// The work that a message causes, as its receiver counts it.
fn work(put: &Put) -> u64 {
    let claims: usize = put.sources.iter().map(|source| 2 + source.claims.len()).sum();
    (2 * put.nodes.len() + claims) as u64
}

#[test]
fn the_owner_of_a_large_library_keeps_nobody_elses_records_waiting() {
    let mut core = Core::new(key(5), Config::new(login().node_id()), [0; 32]);
    let address = |n: usize| ([10, 1, 1, n as u8], 1).into();
    core.membership = testing::view_of(core.me, 3, address, |_| 0);
    let to = core.membership.iter().next().expect("another one").node;
    let mut outbox = Outbox::new(Instant::START);
    let source = |number: u8, content: u32| {
        Parcel::Source(credential(&key(number)), None, claim_of(&key(number), content))
    };
    let greedy = source(1, 0);
    for _ in 0..30_000 {
        outbox.put(&mut core, to, (greedy.clone(), Hurry::InBulk), at(0));
    }
    for content in 0..5 {
        outbox.put(&mut core, to, (source(2, content), Hurry::InBulk), at(0));
    }
    let record = NodeRecord {
        credential: credential(&key(1)),
        presence: presence(&key(1), at(0).unix.0, true),
        loss: None,
    };
    outbox.put(&mut core, to, (Parcel::Node(record), Hurry::Soon), at(0));

    let mut budget = TokenBucket::new(WORK.0, WORK.1, Instant::START);
    let mut arrived: BTreeMap<NodeId, usize> = BTreeMap::new();
    let (mut nodes, mut modest_at) = (0, None);
    for secs in 0..200 {
        outbox.step(&mut core, at(secs));
        for message in core.courier.take_waiting(&to) {
            let Message::Put(put) = message else { continue };
            assert!(budget.take_many(work(&put), at(secs).instant), "more than is taken");
            nodes += put.nodes.len();
            for source in &put.sources {
                *arrived.entry(source.credential.unverified().node).or_default() +=
                    source.claims.len();
            }
        }
        if arrived.get(&key(2).node_id()) == Some(&5) && nodes == 1 {
            modest_at.get_or_insert(secs);
        }
    }
    assert!(modest_at.is_some_and(|secs| secs < 10), "{modest_at:?}");
    assert_eq!(arrived.get(&key(1).node_id()), Some(&30_000), "and nothing is lost");
    assert_eq!(core.counters.directory_puts_over_limit, 0);
}

#[test]
fn however_much_one_has_there_is_room_for_the_next_one() {
    let (mut core, _) = holder(50);
    let to = core.membership.iter().next().expect("another one").node;
    let mut outbox = Outbox::new(Instant::START);
    for number in 1..20 {
        let credential = credential(&key(number));
        let parcel = Parcel::Source(credential, None, claim_of(&key(number), 1));
        for _ in 0..60_000 {
            outbox.put(&mut core, to, (parcel.clone(), Hurry::InBulk), at(0));
        }
    }
    let before = core.counters.directory_puts_over_limit;
    assert!(before > 0);
    let parcel = Parcel::Source(credential(&key(30)), None, claim_of(&key(30), 1));
    for _ in 0..100 {
        outbox.put(&mut core, to, (parcel.clone(), Hurry::InBulk), at(0));
    }
    assert_eq!(core.counters.directory_puts_over_limit, before);
}
