//! Who keeps a key.
//!
//! A key belongs to the first supernodes at or behind its place on the ring that are of distinct
//! names: a place can be drawn (a key costs nothing, and its place is its hash), a name has to be
//! registered. So whoever wants to be all the holders of somebody's key needs as many names as
//! there are holders. Where a network has fewer names than that, those that were passed over keep
//! it as well, in the order of the ring.
//!
//! What a supernode keeps is one arc that ends with its own place, as it would be without names:
//! going back from it, one name more only ever comes before it.

use super::{Member, Membership};
use skein_proto::rumour::{OwnerNumber, Topic};
use skein_proto::{NodeId, Place, Rumour};

/// The most holders that can be asked for. Twice the copies of a record are.
const MAX_HOLDERS: usize = 8;

/// Distinct names, as many as can be asked for. It is at hand without memory of its own, since
/// holders are looked up for each record.
#[derive(Clone, Copy, Debug, Default)]
struct Names {
    seen: [OwnerNumber; MAX_HOLDERS],
    len: usize,
}

impl Names {
    /// Whether this name was not seen yet. It is from then on.
    fn is_new(&mut self, owner: OwnerNumber) -> bool {
        if self.seen[..self.len].contains(&owner) {
            return false;
        }
        if let Some(free) = self.seen.get_mut(self.len) {
            *free = owner;
            self.len += 1;
        }
        true
    }
}

/// A supernode on the ring.
#[derive(Clone, Copy, Debug)]
struct Stop {
    place: Place,
    node: NodeId,
    owner: OwnerNumber,
}

/// The stretch of the ring of which this node is a holder: it ends with its own place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnArc {
    /// The place that it begins behind; `None` if it is the whole ring.
    pub(crate) after: Option<Place>,
    /// The places of others on it, the nearest to its end first: from each on there are other
    /// holders.
    pub(crate) others: Vec<Place>,
}

impl Membership {
    /// The supernodes that a place belongs to, this node among them if it is one: the first `count`
    /// of distinct names, at most [`MAX_HOLDERS`].
    pub(crate) fn successors(&self, place: Place, count: usize) -> Vec<NodeId> {
        holders(self.ring(place, true), count)
    }

    /// Who comes to keep a key when this node, which keeps it now, is gone.
    pub(crate) fn heir(&self, place: Place, count: usize) -> Option<NodeId> {
        let now = self.successors(place, count);
        if !now.contains(&self.me.1) {
            return None;
        }
        let then = holders(self.ring(place, false), count);
        then.into_iter().find(|node| !now.contains(node))
    }

    /// Whether one comes to a supernode before one has passed `count` names from a place on: as
    /// many may be gone of whom this node has not heard yet.
    pub(crate) fn is_near(&self, place: Place, node: &NodeId, count: usize) -> bool {
        let mut names = Names::default();
        for stop in self.ring(place, true) {
            if names.is_new(stop.owner) && names.len > count.min(MAX_HOLDERS - 1) {
                return false;
            }
            if stop.node == *node {
                return true;
            }
        }
        false
    }

    /// Whether this node is one of the `count` supernodes that a place belongs to.
    pub(crate) fn is_mine(&self, place: Place, count: usize) -> bool {
        let count = count.min(MAX_HOLDERS);
        let own = self.me.0.0.wrapping_sub(place.0);
        let (mut names, mut passed_over, mut is_second) = (Names::default(), 0, false);
        for stop in self.others(place) {
            if stop.place.0.wrapping_sub(place.0) >= own {
                break;
            }
            is_second |= stop.owner == self.owner;
            passed_over += usize::from(!names.is_new(stop.owner));
            if names.len >= count {
                return false;
            }
        }
        count > 0 && (!is_second || passed_over < count.saturating_sub(self.names(count)))
    }

    /// The stretch of the ring of which this node is one of `count` holders.
    pub(crate) fn own_arc(&self, count: usize) -> OwnArc {
        let count = count.min(MAX_HOLDERS);
        let mut arc = OwnArc::default();
        let (mut names, mut passed_over, mut spare) = (Names::default(), 0, None);
        for stop in self.others(self.me.0).rev() {
            passed_over += usize::from(!names.is_new(stop.owner));
            if stop.owner == self.owner {
                // This node is of a name that comes before it, so it keeps what is behind this
                // place only if there are too few names.
                spare.get_or_insert_with(|| count.saturating_sub(self.names(count)));
            }
            if names.len >= count || spare.is_some_and(|spare| passed_over >= spare) {
                arc.after = Some(stop.place);
                break;
            }
            arc.others.push(stop.place);
        }
        arc
    }

    /// How many names there are, this node's included: as many as are asked for, if more.
    fn names(&self, most: usize) -> usize {
        let mut names = Names::default();
        names.is_new(self.owner);
        for stop in self.others(self.me.0) {
            if names.len >= most {
                break;
            }
            names.is_new(stop.owner);
        }
        names.len
    }

    /// The others, once around the ring from a place on.
    fn others(&self, place: Place) -> impl DoubleEndedIterator<Item = Stop> {
        let stop = |rumour: &Rumour, member: &Member| Stop {
            place: rumour.place(),
            node: member.node,
            owner: rumour.owner(),
        };
        self.epidemic.store(Topic::Supernodes).around(place).filter_map(move |rumour| {
            let member = rumour.record().filter(|member| self.counts(member))?;
            Some(stop(rumour, member))
        })
    }

    /// The same with this node in its place, if it is to be there.
    fn ring(&self, place: Place, with_me: bool) -> impl Iterator<Item = Stop> {
        let own = Stop { place: self.me.0, node: self.me.1, owner: self.owner };
        let distance = move |at: &Stop| (at.place.0.wrapping_sub(place.0), at.node);
        let mut own = with_me.then_some(own);
        let mut others = self.others(place).peekable();
        std::iter::from_fn(move || {
            let own_is_next = own.as_ref().is_some_and(|own| {
                others.peek().is_none_or(|other| distance(own) < distance(other))
            });
            if own_is_next { own.take() } else { others.next() }
        })
    }
}

/// The first ones of distinct names; where there are too few names, the first of the others too.
fn holders(ring: impl Iterator<Item = Stop>, count: usize) -> Vec<NodeId> {
    let count = count.min(MAX_HOLDERS);
    let mut found = Vec::with_capacity(count);
    let (mut names, mut passed_over) = (Names::default(), Vec::new());
    for stop in ring {
        if found.len() >= count {
            break;
        }
        if names.is_new(stop.owner) {
            found.push(stop.node);
        } else if passed_over.len() < count {
            passed_over.push(stop.node);
        }
    }
    let missing = count - found.len();
    found.extend(passed_over.into_iter().take(missing));
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::membership::epidemic::Pace;
    use proptest::prelude::*;
    use skein_proto::rumour::News;
    use skein_proto::testing::{announcement_of, supernode_key};
    use skein_proto::{KeyPair, Username};

    const ME: NodeId = NodeId::from_bytes([99; 32]);

    /// A view of supernodes of these names, in which this node is of the first name.
    fn view(names: &[u8]) -> Membership {
        let login = KeyPair::from_seed(&[0; 32]);
        let mut membership = Membership::new(ME);
        membership.set_owner(&Username::parse("name0").expect("a name"));
        for (number, name) in (1..).zip(names) {
            let key = supernode_key(number);
            let announcement = announcement_of(&key, &format!("name{name}"), &login, |_| {});
            membership.admit(Rumour::new(News::Announcement(announcement)), None, Pace::Slow);
        }
        membership
    }

    /// What [`Membership::successors`] is to answer, from the definition.
    fn expected(names: &[u8], place: Place, count: usize) -> Vec<NodeId> {
        let numbered = (1..).zip(names).map(|(number, name)| {
            let node = supernode_key(number).node_id();
            (Place::of_node(&node).0.wrapping_sub(place.0), node, *name)
        });
        let mut ring: Vec<_> = numbered.collect();
        ring.push((Place::of_node(&ME).0.wrapping_sub(place.0), ME, 0));
        ring.sort_unstable();
        let (mut first, mut rest, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for (_, node, name) in ring {
            if seen.contains(&name) {
                rest.push(node);
            } else {
                seen.push(name);
                first.push(node);
            }
        }
        first.into_iter().chain(rest).take(count).collect()
    }

    #[test]
    fn a_place_belongs_to_those_that_follow_it_around_the_ring() {
        let names: Vec<u8> = (1..20).collect();
        let membership = view(&names);
        let nodes = (1..20).map(|number| supernode_key(number).node_id()).chain([ME]);
        let mut all: Vec<(Place, NodeId)> =
            nodes.map(|node| (Place::of_node(&node), node)).collect();
        all.sort_unstable();
        for key in 0..50_u8 {
            let place = Place::of(b"test", &[key]);
            let first = all.iter().position(|(at, _)| *at >= place).unwrap_or(0);
            let expected: Vec<NodeId> = (0..3).map(|n| all[(first + n) % all.len()].1).collect();
            assert_eq!(membership.successors(place, 3), expected);
            assert_eq!(membership.is_mine(place, 3), expected.contains(&ME));
        }
    }

    #[test]
    fn whoever_draws_three_keys_behind_a_place_is_one_of_its_holders_and_not_all() {
        let victim = Place::of(b"skein ring name", b"victim");
        let distance = |key: &KeyPair| Place::of_node(&key.node_id()).0.wrapping_sub(victim.0);
        let login = KeyPair::from_seed(&[0; 32]);
        let mut membership = Membership::new(ME);
        let mut insert = |key: &KeyPair, name: &str| {
            let announcement = announcement_of(key, name, &login, |_| {});
            membership.admit(Rumour::new(News::Announcement(announcement)), None, Pace::Slow);
        };
        for number in 1..40 {
            insert(&supernode_key(number), &format!("honest{number}"));
        }
        let mut drawn: Vec<KeyPair> = (0..2_000_u16)
            .map(|number| {
                let mut seed = [77; 32];
                seed[..2].copy_from_slice(&number.to_be_bytes());
                KeyPair::from_seed(&seed)
            })
            .collect();
        drawn.sort_unstable_by_key(distance);
        let hostile: Vec<NodeId> = drawn.iter().take(4).map(KeyPair::node_id).collect();
        drawn.iter().take(4).for_each(|key| insert(key, "mallory"));
        let holders = membership.successors(victim, 3);
        let captured = holders.iter().filter(|node| hostile.contains(node)).count();
        assert_eq!((holders.len(), captured), (3, 1), "the first is {:?}", hostile[0]);
    }

    #[test]
    fn where_one_name_owns_all_there_are_three_copies_all_the_same() {
        let membership = view(&[0, 0, 0, 0]);
        for key in 0..20_u8 {
            let place = Place::of(b"test", &[key]);
            assert_eq!(membership.successors(place, 3).len(), 3);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn all_that_is_asked_about_holders_is_answered_alike(
            names in proptest::collection::vec(0..6_u8, 0..14),
            keys in proptest::collection::vec(any::<u128>(), 24),
            count in 1..5_usize,
        ) {
            let membership = view(&names);
            let arc = membership.own_arc(count);
            let distance = |place: Place| membership.me.0.0.wrapping_sub(place.0);
            for place in keys.into_iter().map(Place) {
                let holders = membership.successors(place, count);
                prop_assert_eq!(&holders, &expected(&names, place, count));
                let mine = holders.contains(&ME);
                prop_assert_eq!(membership.is_mine(place, count), mine);
                let on_arc = arc.after.is_none_or(|after| distance(place) < distance(after));
                prop_assert_eq!(on_arc, mine, "{:?}", arc);
                prop_assert!(!mine || membership.is_near(place, &ME, names.len() + 1));
                let rest: Vec<NodeId> = holders.into_iter().filter(|node| *node != ME).collect();
                if let Some(heir) = membership.heir(place, count) {
                    prop_assert!(mine && !rest.contains(&heir) && heir != ME);
                }
            }
        }
    }
}
