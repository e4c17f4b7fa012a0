//! All supernodes of the network, as this supernode knows them, on a ring.
//!
//! A supernode's place on the ring is the hash of its id; a key belongs to the supernodes of distinct
//! names that follow it ([`holders`]; consistent hashing, Karger et al. 1997; one hop with full
//! membership, Gupta, Liskov and Rodrigues, NSDI 2004). Each supernode speaks for itself ([`announcer`]), an epidemic spreads
//! what it says ([`epidemic`]), and those who cannot reach it say so ([`doubts`]).

mod announcer;
mod dispatch;
mod doubts;
pub(crate) mod epidemic;
mod holders;
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
use skein_proto::rumour::{OwnerNumber, Topic};
use skein_proto::{Instant, NodeId, Rumour, Username};
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) use announcer::load_pause;
pub(crate) use epidemic::Pace;
#[cfg(test)]
pub(crate) use holders::OwnArc;
pub(crate) use names::MAX_PER_NAME;
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
    /// Who owns this node.
    owner: OwnerNumber,
    /// What spreads among supernodes. Other parts of the overlay may let theirs ride along.
    pub(crate) epidemic: Rare<Epidemic>,
    pub(crate) doubts: Doubts,
    pub(crate) announcer: Announcer,
    /// That this node is no supernode any more, in its own words, until a parent knows.
    pub(crate) farewell: Option<Rumour>,
    /// Standing queries, which all supernodes know.
    pub(crate) wishes: Rare<Wishes>,
    names: Names,
    /// Others that are there and not about to leave.
    present: usize,
    /// When the first of those died that are counted, and how many did.
    deaths: Option<(Instant, usize)>,
    /// When somebody died last.
    pub(crate) last_death: Option<Instant>,
    /// The part of the ring that is looked through next for what has expired.
    swept: usize,
    /// Supernodes kept at most.
    room: usize,
}

impl Membership {
    pub(crate) fn new(me: NodeId) -> Self {
        Self {
            me: (Place::of_node(&me), me),
            owner: OwnerNumber::default(),
            epidemic: Rare::default(),
            doubts: Doubts::default(),
            announcer: Announcer::default(),
            farewell: None,
            wishes: Rare::default(),
            names: Names::default(),
            present: 0,
            deaths: None,
            last_death: None,
            swept: 0,
            room: MAX_MEMBERS,
        }
    }

    /// This node is owned by that name.
    pub(crate) fn set_owner(&mut self, name: &Username) {
        self.owner = OwnerNumber::of(name);
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

    /// Whose supernode this is, as it was told.
    pub(crate) fn owner(&self, node: &NodeId) -> Option<OwnerNumber> {
        self.rumour(node).map(Rumour::owner)
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

    /// Whether a tenth of all supernodes has died within some minutes, so that the rest must take
    /// more children than they should.
    pub(crate) fn is_emergency(&self, now: Instant) -> bool {
        self.deaths.is_some_and(|(since, count)| {
            now.since(since) < EMERGENCY && count >= 2 && count * 10 >= self.present + count
        })
    }

    pub(crate) fn count_death(&mut self, now: Instant) {
        self.last_death = Some(now);
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
        view_of(NodeId::from_bytes([99; 32]), count, address, since)
    }

    /// The same as this node has it.
    pub(crate) fn view_of(
        me: NodeId,
        count: usize,
        address: impl Fn(usize) -> SocketAddr,
        since: impl Fn(usize) -> u64,
    ) -> Membership {
        let mut membership = Membership::new(me);
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
    use crate::counters::Counters;
    use crate::io::Now;
    use judge::Verdict;
    use skein_proto::KeyPair;
    use skein_proto::UnixTime;
    use skein_proto::rumour::News;
    use skein_proto::testing::{announcement, announcement_of, supernode_key};

    fn insert(membership: &mut Membership, number: u8) -> NodeId {
        let login = KeyPair::from_seed(&[0; 32]);
        let rumour = Rumour::new(News::Announcement(announcement(number, &login)));
        membership.admit(rumour, None, Pace::Slow);
        supernode_key(number).node_id()
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

    #[test]
    fn one_name_owns_four_supernodes_at_most_whoever_owned_them_before() {
        let login = KeyPair::from_seed(&[0; 32]);
        let mut membership = Membership::new(NodeId::from_bytes([99; 32]));
        let mut counters = Counters::default();
        let mut hear = |number: u8, name: &str, issued: u64| {
            let now = Now { instant: Instant::START, unix: UnixTime(1_500) };
            let told = announcement_of(&supernode_key(number), name, &login, |record| {
                record.issued = UnixTime(issued);
            });
            let rumour = Rumour::new(News::Announcement(told));
            let from = NodeId::from_bytes([98; 32]);
            membership.hear(rumour, from, &login.node_id(), &mut counters, now)
        };
        for number in 1..5 {
            assert_eq!(hear(number, "mallory", 1_000), Verdict::Taken);
        }
        assert_eq!(hear(5, "mallory", 1_000), Verdict::Useless);
        assert_eq!(hear(6, "alice", 1_000), Verdict::Taken);
        assert_eq!(hear(6, "mallory", 1_100), Verdict::Useless, "the fifth by another way");
        assert_eq!(hear(6, "bob", 1_100), Verdict::Taken);
        assert_eq!(hear(1, "mallory", 1_100), Verdict::Taken, "those that there are go on");
        assert_eq!((membership.len(), counters.members_over_limit), (5, 2));
    }

    #[test]
    fn a_view_that_is_full_takes_in_nobody_else_and_still_hears_of_those_in_it() {
        let login = KeyPair::from_seed(&[0; 32]);
        let mut membership = Membership::new(NodeId::from_bytes([99; 32]));
        assert_eq!(membership.room, 65_536);
        membership.room = 3;
        let mut counters = Counters::default();
        let mut hear = |number: u8, issued: u64| {
            let now = Now { instant: Instant::START, unix: UnixTime(1_500) };
            let name = format!("user{number}");
            let told = announcement_of(&supernode_key(number), &name, &login, |record| {
                record.issued = UnixTime(issued);
            });
            let rumour = Rumour::new(News::Announcement(told));
            let from = NodeId::from_bytes([98; 32]);
            membership.hear(rumour, from, &login.node_id(), &mut counters, now)
        };
        for number in 1..4 {
            assert_eq!(hear(number, 1_000), Verdict::Taken);
        }
        assert_eq!(hear(4, 1_000), Verdict::Useless);
        assert_eq!(hear(2, 1_100), Verdict::Taken, "those that are there go on");
        assert_eq!((membership.len(), counters.members_over_limit), (3, 1));
    }
}
