//! How often a peer may ask for something.
//!
//! A budget belongs to the peer and not to its bond or link, so that neither attaching anew nor
//! dialling anew refills it. It is forgotten as soon as it is full again: a fresh one is the same.

use crate::bucket::TokenBucket;
use crate::hashed::HashMap;
use skein_proto::{Instant, NodeId};
use std::time::Duration;

/// Searches that a child may start: a person types a few a minute, a wish list runs some dozens
/// at once.
const SEARCHES: (u64, u64) = (5, 40);

/// Wishes that a child may make known, say again and withdraw: all of them with each new parent, which
/// comes at the same time as its searches.
const WISHES: (u64, u64) = (1, 128);

/// Queries that a neighbour may pass on: what 150 children of its own and of the supernodes
/// behind it ask in a busy minute.
const FLOODS: (u64, u64) = (400, 1_600);

/// Queries of a neighbour that this node passes on, each to one other: its share. A search that
/// widens the furthest has forty of them passed on by each of a handful of its neighbours, and one
/// or two by each of the others; of 100,000 nodes that search every five minutes a neighbour
/// brings three a second.
const RELAYS: (u64, u64) = (100, 1_200);

/// Those of them that are passed on whatever the others ask for: 50 neighbours have half of what all
/// of them together have.
const SURE_RELAYS: (u64, u64) = (20, 240);

/// Queries of all neighbours together that this node passes on beyond those: some 20 neighbours at
/// their share.
const ALL_RELAYS: (u64, u64) = (2_000, 8_000);

/// Probes, wishes for a bond or a slot, and lists of supernodes. Each costs a signature check or a
/// look through all known supernodes; an honest peer sends a handful when it comes and then some
/// a minute.
const REQUESTS: (u64, u64) = (1, 40);

/// Greetings, each of which costs a signature check. They have a budget of their own: what others
/// make a peer ask for, such as slots for their calls, must not keep it from showing its credential.
const GREETINGS: (u64, u64) = (1, 40);

/// Questions of the epidemic that a neighbour may ask: a newcomer to a network of 10,000
/// supernodes asks some 40 at once, and then about one a second. Each makes this node send up to
/// 256 records.
const GOSSIP: (u64, u64) = (2, 200);

/// Rumours that a neighbour may tell in vain: new ones that are of no use here, of which a lie
/// costs nothing and may cost a look through all supernodes. Two views of the network that differ
/// in what there was no room for bring some hundreds a minute.
const USELESS: (u64, u64) = (20, 2_000);

/// Records that a child may publish or withdraw: twice what an owner's quota holds at once. Each
/// is work for the index, whether it was there before or not.
const RECORDS: (u64, u64) = (500, 200_000);

/// Budgets kept: three times the links that a node has, since those that are gone are remembered
/// until all of theirs are full again: 100 s, but for one that has published a large library, up to
/// 400 s. An entry takes about 300 bytes.
const MAX_BUDGETS: usize = 65_536;

/// How often those are looked through for what is full again: each is elsewhere in memory, and a
/// supernode has some hundred.
const LOOK: Duration = Duration::from_secs(10);

/// What a peer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Search,
    Wish,
    Flood,
    Request,
    Greeting,
    Gossip,
    Useless,
}

#[derive(Debug)]
struct Budget {
    searches: TokenBucket,
    wishes: TokenBucket,
    floods: TokenBucket,
    requests: TokenBucket,
    greetings: TokenBucket,
    /// Slots that were granted to the peer, and not given back yet.
    granted: u32,
    relays: TokenBucket,
    sure_relays: TokenBucket,
    gossip: TokenBucket,
    useless: TokenBucket,
    records: TokenBucket,
}

/// The budgets of all who have asked lately.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    /// In boxes: most are forgotten a moment later, and the room in the table stays.
    peers: HashMap<NodeId, Box<Budget>>,
    all_relays: Option<TokenBucket>,
    next_look: Instant,
}

impl Budgets {
    /// Whether the peer may have this now; if so, it is accounted for.
    pub(crate) fn take(&mut self, peer: &NodeId, ask: Ask, now: Instant) -> bool {
        let Some(budget) = self.of(peer, now) else { return false };
        match ask {
            Ask::Search => budget.searches.take(now),
            Ask::Wish => budget.wishes.take(now),
            Ask::Flood => budget.floods.take(now),
            Ask::Request => budget.requests.take(now),
            Ask::Greeting => budget.greetings.take(now),
            Ask::Gossip => budget.gossip.take(now),
            Ask::Useless => budget.useless.take(now),
        }
    }

    /// A slot was granted to the peer.
    pub(crate) fn slot_granted(&mut self, peer: &NodeId, now: Instant) {
        if let Some(budget) = self.of(peer, now) {
            budget.granted = budget.granted.saturating_add(1);
        }
    }

    /// Whether the peer may give a slot back. Each that was granted it may give back for nothing: to
    /// ask for it was accounted for. Any other counts as a request.
    pub(crate) fn take_release(&mut self, peer: &NodeId, now: Instant) -> bool {
        let Some(budget) = self.of(peer, now) else { return false };
        match budget.granted.checked_sub(1) {
            Some(left) => {
                budget.granted = left;
                true
            }
            None => budget.requests.take(now),
        }
    }

    /// Whether so many messages may be sent on for this neighbour; if so, they are accounted for.
    pub(crate) fn take_relays(&mut self, peer: &NodeId, count: usize, now: Instant) -> bool {
        let count = count as u64;
        let Some(budget) = self.of(peer, now) else { return false };
        if budget.relays.level(now) < count {
            return false;
        }
        let is_sure = budget.sure_relays.take_many(count, now);
        let (per_second, burst) = ALL_RELAYS;
        let all = self.all_relays.get_or_insert_with(|| TokenBucket::new(per_second, burst, now));
        let granted = is_sure || all.take_many(count, now);
        // What others have used up is not taken off as well.
        if let Some(budget) = self.of(peer, now).filter(|_| granted) {
            budget.relays.take_many(count, now);
        }
        granted
    }

    /// Whether this child may change so many records now; if so, they are accounted for.
    pub(crate) fn take_records(&mut self, peer: &NodeId, count: usize, now: Instant) -> bool {
        self.of(peer, now).is_some_and(|budget| budget.records.take_many(count as u64, now))
    }

    fn of(&mut self, peer: &NodeId, now: Instant) -> Option<&mut Budget> {
        if self.peers.len() >= MAX_BUDGETS && !self.peers.contains_key(peer) {
            return None;
        }
        let full = |(per_second, burst)| TokenBucket::new(per_second, burst, now);
        let fresh = || Budget {
            searches: full(SEARCHES),
            wishes: full(WISHES),
            floods: full(FLOODS),
            requests: full(REQUESTS),
            greetings: full(GREETINGS),
            granted: 0,
            gossip: full(GOSSIP),
            useless: full(USELESS),
            records: full(RECORDS),
            relays: full(RELAYS),
            sure_relays: full(SURE_RELAYS),
        };
        Some(self.peers.entry(*peer).or_insert_with(|| Box::new(fresh())))
    }

    /// Forgets those that have asked for nothing for so long that a fresh budget is the same, if it has
    /// not just looked for them.
    pub(crate) fn tidy(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK;
        self.peers.retain(|_, budget| {
            let Budget {
                searches,
                wishes,
                floods,
                requests,
                greetings,
                relays,
                sure_relays,
                gossip,
                useless,
                records,
                granted: _,
            } = budget.as_mut();
            let asked = [searches, wishes, floods, requests, greetings];
            let buckets = asked.into_iter().chain([relays, sure_relays, gossip, useless, records]);
            !buckets.into_iter().all(|bucket| bucket.is_full(now))
        });
        if self.peers.is_empty() {
            self.peers = HashMap::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_forgotten_only_when_it_is_full_again() {
        let left = |tidied: &[u64]| {
            let mut budgets = Budgets::default();
            let (peer, start) = (NodeId::from_bytes([1; 32]), Instant::START);
            for _ in 0..SEARCHES.1 {
                assert!(budgets.take(&peer, Ask::Search, start));
            }
            tidied.iter().for_each(|secs| budgets.tidy(start + Duration::from_secs(*secs)));
            budgets.peers.len()
        };
        assert_eq!([left(&[7]), left(&[8])], [1, 0]);
        assert_eq!([left(&[7, 16]), left(&[7, 17])], [1, 0], "it is not looked for all the time");
    }

    #[test]
    fn a_peer_whose_slots_others_ask_for_gives_them_back_and_greets_all_the_same() {
        let mut budgets = Budgets::default();
        let (peer, now) = (NodeId::from_bytes([1; 32]), Instant::START);
        let granted = (0..1_000).filter(|_| budgets.take(&peer, Ask::Request, now)).count();
        (0..granted).for_each(|_| budgets.slot_granted(&peer, now));
        let given_back = (0..1_000).filter(|_| budgets.take_release(&peer, now)).count();
        assert_eq!(given_back, granted, "each once, and none beyond them");
        assert!(budgets.take(&peer, Ask::Greeting, now));
    }

    #[test]
    fn neighbours_that_take_all_that_is_passed_on_leave_the_others_their_sure_share() {
        let mut budgets = Budgets::default();
        let now = Instant::START;
        let peer = |number: u8| NodeId::from_bytes([number; 32]);
        for liar in 1..=20 {
            while budgets.take_relays(&peer(liar), 40, now) {}
        }
        let granted = (0..100).filter(|_| budgets.take_relays(&peer(100), 40, now)).count();
        assert_eq!(granted as u64, SURE_RELAYS.1 / 40);
        // What was refused for the others' sake was not taken off.
        let left = budgets.peers.get_mut(&peer(100)).map(|budget| budget.relays.level(now));
        assert_eq!(left, Some(RELAYS.1 - SURE_RELAYS.1));
    }

    #[test]
    fn a_child_publishes_its_library_twice_but_not_for_ever() {
        let mut budgets = Budgets::default();
        let peer = NodeId::from_bytes([1; 32]);
        let taken = (0..1_000).filter(|_| budgets.take_records(&peer, 512, Instant::START));
        assert_eq!(taken.count() as u64, RECORDS.1 / 512);
        let later = Instant::START + Duration::from_secs(2);
        assert!(budgets.take_records(&peer, 512, later));
    }

    #[test]
    fn made_up_peers_take_no_more_than_their_room() {
        let mut budgets = Budgets::default();
        for number in 0..MAX_BUDGETS + 10 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let granted = budgets.take(&NodeId::from_bytes(id), Ask::Request, Instant::START);
            assert_eq!(granted, number < MAX_BUDGETS);
        }
        assert_eq!(budgets.peers.len(), MAX_BUDGETS);
    }
}
