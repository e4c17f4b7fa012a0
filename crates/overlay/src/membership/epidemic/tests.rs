//! What an epidemic does, on one side and between two.

use super::*;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use skein_proto::KeyPair;
use skein_proto::rumour::News;
use skein_proto::testing::announcement_of;

fn rumour(number: u8, issued: u64) -> Rumour {
    let key = KeyPair::from_seed(&[number; 32]);
    let login = KeyPair::from_seed(&[0; 32]);
    Rumour::new(News::Announcement(announcement_of(&key, "somebody", &login, |record| {
        record.issued = UnixTime(issued);
    })))
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// Carries letters to and fro between two until there are none; both believe everything.
fn talk(sides: &mut [Epidemic; 2], mut letters: Vec<(usize, Letter)>, now: Instant) -> usize {
    let mut rng = StdRng::seed_from_u64(5);
    let mut count = 0;
    while let Some((to, (_, message))) = letters.pop() {
        count += 1;
        let from = node(u8::try_from(1 - to).expect("0 or 1"));
        let side = &mut sides[to];
        let answers = match message {
            Message::GossipDigest(digest) => side.on_digest(from, &digest, &mut rng),
            Message::GossipInventory(inventory) => side.on_inventory(from, &inventory, now),
            Message::GossipWant(want) => side.on_want(from, &want),
            Message::GossipOffer(offer) => {
                side.on_offer(from, &offer, now);
                Vec::new()
            }
            Message::Gossip(gossip) => {
                for rumour in gossip.rumours {
                    if side.is_new(rumour.topic(), rumour.id()) {
                        side.insert(rumour, Some(from), Pace::Slow);
                    }
                }
                Vec::new()
            }
            other => panic!("no message of the epidemic: {other:?}"),
        };
        let mut wants = Vec::new();
        side.ask(now, &mut wants);
        letters.extend(answers.into_iter().chain(wants).map(|letter| (1 - to, letter)));
    }
    count
}

fn held(side: &Epidemic) -> Vec<RumourId> {
    side.store(Topic::Supernodes).iter().map(Rumour::id).collect()
}

#[test]
fn whoever_offers_what_it_does_not_have_keeps_nobody_else_from_giving_it() {
    let mut side = Epidemic::default();
    let id = rumour(1, 100).id();
    let (liar, honest) = (node(7), node(8));
    let offer = |version| GossipOffer {
        topic: Topic::Supernodes,
        ids: BoundedVec::truncated([RumourId { version, ..id }]),
    };
    let mut asked = Vec::new();
    for second in 0..20 {
        let now = Instant::START + Duration::from_secs(second);
        side.on_offer(liar, &offer(u64::MAX - 20 + second), now);
        side.on_offer(honest, &offer(id.version), now);
        let mut letters = Vec::new();
        if side.wanted_at.is_some_and(|at| now >= at) {
            side.ask(now, &mut letters);
        }
        asked.extend(letters.into_iter().map(|(peer, _)| peer));
    }
    assert_eq!(asked[..2], [liar, honest]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn two_that_compare_hold_the_newest_of_both(
        left in proptest::collection::btree_map(1..40_u8, 1..4_u64, 0..40),
        right in proptest::collection::btree_map(1..40_u8, 1..4_u64, 0..40),
    ) {
        let mut sides = [Epidemic::default(), Epidemic::default()];
        let mut newest = left.clone();
        for (side, held) in sides.iter_mut().zip([&left, &right]) {
            for (number, version) in held {
                side.insert(rumour(*number, *version), None, Pace::Slow);
                let best = newest.entry(*number).or_default();
                *best = (*best).max(*version);
            }
        }
        let topic = Topic::Supernodes;
        let buckets = BoundedVec::truncated(sides[0].store(topic).digest());
        let first = (1, (node(1), GossipDigest { topic, buckets }.into()));
        talk(&mut sides, vec![first], Instant::START);
        let mut expected: Vec<RumourId> =
            newest.into_iter().map(|(number, version)| rumour(number, version).id()).collect();
        expected.sort_unstable();
        prop_assert_eq!(held(&sides[0]), expected.clone());
        prop_assert_eq!(held(&sides[1]), expected);
    }
}

#[test]
fn what_is_buried_does_not_come_back_and_its_successor_does() {
    let mut epidemic = Epidemic::default();
    let old = rumour(1, 5);
    epidemic.insert(old.clone(), None, Pace::Fast);
    epidemic.bury(Topic::Supernodes, old.id().place);
    assert!(!epidemic.is_new(Topic::Supernodes, old.id()));
    assert!(epidemic.is_new(Topic::Supernodes, rumour(1, 6).id()));
    let buckets: Vec<usize> = (0..256).collect();
    epidemic.expire(&buckets, old.expires());
    assert!(epidemic.is_new(Topic::Supernodes, old.id()), "by then it has ended by itself");
}

#[test]
fn news_go_in_full_to_few_and_by_name_to_some_and_never_back() {
    let mut rng = StdRng::seed_from_u64(6);
    let mut epidemic = Epidemic::default();
    let neighbours: Vec<NodeId> = (0..40).map(node).collect();
    epidemic.step(&neighbours, &mut rng, Instant::START);
    for number in 1..10 {
        epidemic.insert(rumour(number, 5), Some(node(number)), Pace::Fast);
    }
    assert!(epidemic.is_due(Instant::START), "it begins to wait");
    epidemic.step(&neighbours, &mut rng, Instant::START);
    let letters = epidemic.step(&neighbours, &mut rng, Instant::START + FAST_PAUSE * 2);
    let full = letters.iter().filter(|(peer, message)| match message {
        Message::Gossip(gossip) => {
            let told =
                gossip.rumours.iter().all(|told| *told != rumour(peer.as_bytes()[0].max(1), 5));
            assert!(told || peer.as_bytes()[0] == 0, "to whom it came from");
            true
        }
        _ => false,
    });
    let offers = letters.iter().filter(|(_, message)| matches!(message, Message::GossipOffer(_)));
    assert_eq!((full.count(), offers.count()), (FAST_FULL, FAST_OFFERS));
}

#[test]
fn one_that_offers_what_it_does_not_have_takes_no_more_than_its_share() {
    let mut epidemic = Epidemic::default();
    for round in 0..100_u64 {
        let ids = (0..512).map(|n| RumourId { place: round << 32 | n, version: 1 });
        let offer = GossipOffer { topic: Topic::Supernodes, ids: BoundedVec::truncated(ids) };
        epidemic.on_offer(node(1), &offer, Instant::START);
    }
    assert_eq!(epidemic.wanted.len(), MAX_WANTED_FROM as usize);
    assert!(epidemic.over_limit > 0);
    let ids = BoundedVec::truncated([RumourId { place: u64::MAX, version: 1 }]);
    epidemic.on_offer(node(2), &GossipOffer { topic: Topic::Supernodes, ids }, Instant::START);
    assert_eq!(epidemic.wanted.len(), MAX_WANTED_FROM as usize + 1, "others have theirs");
}
