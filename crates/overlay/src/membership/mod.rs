//! All supernodes of the network, as this supernode knows them, on a ring.
//!
//! A supernode's place on the ring is the hash of its id; a key belongs to the supernodes that
//! follow it (consistent hashing, Karger et al. 1997; one hop with full membership, Gupta, Liskov
//! and Rodrigues, NSDI 2004). Each supernode speaks for itself ([`announcer`]), an epidemic spreads
//! what it says ([`epidemic`]), and those who cannot reach it say so ([`doubts`]).

mod announcer;
mod dispatch;
mod doubts;
pub(crate) mod epidemic;
mod judge;
mod names;
mod store;

use crate::rare::Rare;
use crate::wishes::Wishes;
use announcer::Announcer;
use doubts::Doubts;
use epidemic::Epidemic;
use names::Names;
use skein_proto::membership::SupernodeState;
use skein_proto::rumour::Topic;
use skein_proto::{Instant, NodeId, Rumour};
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) use epidemic::Pace;
pub(crate) use skein_proto::Place;
pub(crate) use skein_proto::membership::SupernodeRecord as Member;

/// Supernodes kept in mind, of which each takes about 600 bytes: a network of ten million nodes
/// has as many.
pub(crate) const MAX_MEMBERS: usize = 65_536;

/// How long after the first of many deaths the rest may take more children than they should: until
/// others have been made supernodes.
const EMERGENCY: Duration = Duration::from_secs(600);

/// All supernodes, this node excluded, on a ring that this node is on as well.
#[derive(Debug)]
pub(crate) struct Membership {
    me: (Place, NodeId),
    /// What spreads among supernodes. Other parts of the overlay may let theirs ride along.
    pub(crate) epidemic: Rare<Epidemic>,
    pub(crate) doubts: Doubts,
    pub(crate) announcer: Announcer,
    /// Standing queries, which all supernodes know.
    pub(crate) wishes: Rare<Wishes>,
    names: Names,
    /// Others that are there and not about to leave.
    present: usize,
    /// When the first of those died that are counted, and how many did.
    deaths: Option<(Instant, usize)>,
    /// The part of the ring that is looked through next for what has expired.
    swept: usize,
}

impl Membership {
    pub(crate) fn new(me: NodeId) -> Self {
        Self {
            me: (Place::of_node(&me), me),
            epidemic: Rare::default(),
            doubts: Doubts::default(),
            announcer: Announcer::default(),
            wishes: Rare::default(),
            names: Names::default(),
            present: 0,
            deaths: None,
            swept: 0,
        }
    }

    /// Others known.
    pub(crate) fn len(&self) -> usize {
        self.present
    }

    /// What another supernode says of itself.
    pub(crate) fn get(&self, node: &NodeId) -> Option<&Member> {
        self.rumour(node)?.record().filter(|member| self.counts(member))
    }

    /// The same, for one whose [`Place::short`] is known: to compute it costs more than the rest.
    pub(crate) fn get_at(&self, place: u64, node: &NodeId) -> Option<&Member> {
        let rumour = self.epidemic.store(Topic::Supernodes).get(place)?;
        rumour.record().filter(|member| member.node == *node && self.counts(member))
    }

    fn rumour(&self, node: &NodeId) -> Option<&Rumour> {
        self.epidemic.store(Topic::Supernodes).get(Place::of_node(node).short())
    }

    fn counts(&self, member: &Member) -> bool {
        member.node != self.me.1 && member.state != SupernodeState::Leaving
    }

    /// Others that are likely to be dead.
    pub(crate) fn missed(&self) -> Vec<NodeId> {
        self.doubts.missed().filter(|node| self.get(node).is_some()).copied().collect()
    }

    pub(crate) fn addresses(&self, node: &NodeId) -> Option<Vec<SocketAddr>> {
        self.get(node).map(|member| member.addresses.to_vec()).filter(|found| !found.is_empty())
    }

    /// All others, in the order of the ring.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        let all = self.epidemic.store(Topic::Supernodes).iter();
        all.filter_map(Rumour::record).filter(|member| self.counts(member))
    }

    /// One of the others by its number, which is below the number of all that are stored; `None`
    /// if it does not count.
    pub(crate) fn nth(&self, number: usize) -> Option<&Member> {
        let rumour = self.epidemic.store(Topic::Supernodes).nth(number)?;
        rumour.record().filter(|member| self.counts(member))
    }

    /// Numbers that [`Membership::nth`] knows.
    pub(crate) fn stored(&self) -> usize {
        self.epidemic.store(Topic::Supernodes).len()
    }

    /// The first `count` supernodes at or behind a place, this node among them if it is one.
    pub(crate) fn successors(&self, place: Place, count: usize) -> Vec<NodeId> {
        let around = self.epidemic.store(Topic::Supernodes).around(place);
        let mut found: Vec<(u128, NodeId)> = around
            .filter_map(|rumour| Some((rumour.place(), rumour.record()?)))
            .filter(|(_, member)| self.counts(member))
            .take(count)
            .map(|(at, member)| (at.0.wrapping_sub(place.0), member.node))
            .collect();
        found.push((self.me.0.0.wrapping_sub(place.0), self.me.1));
        found.sort_unstable();
        found.truncate(count);
        found.into_iter().map(|(_, node)| node).collect()
    }

    /// The first `count` others before this node, the nearest first.
    pub(crate) fn before_me(&self, count: usize) -> Vec<(Place, NodeId)> {
        let before = self.epidemic.store(Topic::Supernodes).around(self.me.0).rev();
        before
            .filter_map(|rumour| Some((rumour.place(), rumour.record()?)))
            .filter(|(_, member)| self.counts(member))
            .take(count)
            .map(|(place, member)| (place, member.node))
            .collect()
    }

    /// Whether this node is one of the `count` supernodes that a place belongs to.
    pub(crate) fn is_mine(&self, place: Place, count: usize) -> bool {
        // It is, unless so many others come before it.
        let others = self.epidemic.store(Topic::Supernodes).around(place);
        let mut others = others
            .filter_map(|rumour| Some((rumour.place(), rumour.record()?)))
            .filter(|(_, member)| self.counts(member));
        let distance = |at: Place| at.0.wrapping_sub(place.0);
        let own = (distance(self.me.0), self.me.1);
        count > 0
            && others.nth(count - 1).is_none_or(|(at, member)| own < (distance(at), member.node))
    }

    /// Whether a tenth of all supernodes has died within some minutes, so that the rest must take
    /// more children than they should.
    pub(crate) fn is_emergency(&self, now: Instant) -> bool {
        self.deaths.is_some_and(|(since, count)| {
            now.since(since) < EMERGENCY && count >= 2 && count * 10 >= self.present + count
        })
    }

    fn count_death(&mut self, now: Instant) {
        match &mut self.deaths {
            Some((since, count)) if now.since(*since) < EMERGENCY => *count += 1,
            _ => self.deaths = Some((now, 1)),
        }
    }

    /// Forgets everybody, for one who is no supernode any more.
    pub(crate) fn clear(&mut self) {
        self.epidemic.clear();
        self.doubts = Doubts::default();
        self.names = Names::default();
        self.wishes = Rare::default();
        self.present = 0;
    }

    /// One record took the place of another, or of none.
    fn note(&mut self, before: Option<&Member>, after: Option<&Member>) {
        let was = before.is_some_and(|member| self.counts(member));
        let is = after.is_some_and(|member| self.counts(member));
        self.present += usize::from(is && !was);
        self.present -= usize::from(was && !is);
    }
}

/// Views to test with.
#[cfg(test)]
pub(crate) mod testing {
    use super::epidemic::Pace;
    use super::*;
    use skein_proto::rumour::News;
    use skein_proto::testing::announcement_of;
    use skein_proto::{KeyPair, UnixTime};

    /// A view of so many supernodes with these addresses, which are supernodes since then.
    pub(crate) fn view(
        count: usize,
        address: impl Fn(usize) -> SocketAddr,
        since: impl Fn(usize) -> u64,
    ) -> Membership {
        let mut membership = Membership::new(NodeId::from_bytes([99; 32]));
        let login = KeyPair::from_seed(&[0; 32]);
        for number in 0..count {
            let mut seed = [7; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            let name = format!("super{number}");
            let announcement =
                announcement_of(&KeyPair::from_seed(&seed), &name, &login, |record| {
                    record.addresses = skein_proto::BoundedVec::truncated([address(number)]);
                    record.since = UnixTime(since(number));
                });
            let rumour = Rumour::new(News::Announcement(announcement));
            membership.admit(rumour, None, Pace::Slow);
        }
        membership
    }
}

#[cfg(test)]
mod tests {
    use super::epidemic::Pace;
    use super::*;
    use skein_proto::KeyPair;
    use skein_proto::rumour::News;
    use skein_proto::testing::{announcement, supernode_key};

    fn insert(membership: &mut Membership, number: u8) -> NodeId {
        let login = KeyPair::from_seed(&[0; 32]);
        let rumour = Rumour::new(News::Announcement(announcement(number, &login)));
        membership.admit(rumour, None, Pace::Slow);
        supernode_key(number).node_id()
    }

    #[test]
    fn a_place_belongs_to_those_that_follow_it_around_the_ring() {
        let me = NodeId::from_bytes([99; 32]);
        let mut membership = Membership::new(me);
        let others: Vec<NodeId> = (1..20).map(|n| insert(&mut membership, n)).collect();
        let mut all: Vec<(Place, NodeId)> =
            others.into_iter().chain([me]).map(|node| (Place::of_node(&node), node)).collect();
        all.sort_unstable();
        for key in 0..50_u8 {
            let place = Place::of(b"test", &[key]);
            let first = all.iter().position(|(at, _)| *at >= place).unwrap_or(0);
            let expected: Vec<NodeId> = (0..3).map(|n| all[(first + n) % all.len()].1).collect();
            assert_eq!(membership.successors(place, 3), expected);
            assert_eq!(membership.is_mine(place, 3), expected.contains(&me));
        }
    }

    #[test]
    fn whoever_is_there_is_counted_once() {
        let mut membership = Membership::new(NodeId::from_bytes([99; 32]));
        let node = insert(&mut membership, 1);
        insert(&mut membership, 1);
        assert_eq!(membership.len(), 1);
        membership.lay_to_rest(&node, Instant::START);
        membership.lay_to_rest(&node, Instant::START);
        assert_eq!(membership.len(), 0);
    }
}
