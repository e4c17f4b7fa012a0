//! Which supernodes make a good set of neighbours: of many networks, and of all ages.
//!
//! Whoever owns a network of addresses must not be able to stand around a supernode (an eclipse,
//! Heilman et al., USENIX Security 2015), so few neighbours share a prefix. Half of them are old,
//! since those stay; half are young, since newcomers have to be linked too.

use crate::membership::{Member, Membership};
use rand::{Rng, RngExt};
use skein_proto::membership::SupernodeState;
use skein_proto::{NodeId, UnixTime};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Supernodes looked at for one choice. Of so many, drawn at random, the mix of prefixes and ages
/// is that of the whole network, near enough.
const SAMPLE: usize = 64;

/// Neighbours of one prefix that are always allowed.
const ALWAYS: usize = 4;

/// The network that an address belongs to: a /16 of IPv4, a /32 of IPv6, which is what a provider
/// is given at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Prefix(u8, [u8; 4]);

impl Prefix {
    pub(crate) fn of(address: &SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                Self(4, [a, b, 0, 0])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.octets();
                Self(6, [a, b, c, d])
            }
        }
    }
}

/// How many neighbours of one prefix are fine, where a supernode wants so many in all and sees so
/// many prefixes: half as many again as each would have by rights. In a network of one prefix (a
/// company, a test) that is no limit at all.
pub(crate) fn cap(neighbours: usize, prefixes: usize) -> usize {
    (neighbours * 3).div_ceil(2 * prefixes.max(1)).max(ALWAYS)
}

/// What the neighbours of a supernode are like at present.
#[derive(Debug, Default)]
pub(crate) struct Mix {
    prefixes: BTreeMap<Prefix, usize>,
    /// When each became a supernode.
    since: Vec<UnixTime>,
}

impl Mix {
    /// Counts a neighbour.
    pub(crate) fn add(&mut self, address: &SocketAddr, since: Option<UnixTime>) {
        *self.prefixes.entry(Prefix::of(address)).or_default() += 1;
        self.since.extend(since);
    }

    /// Neighbours with the prefix of this address.
    pub(crate) fn like(&self, address: &SocketAddr) -> usize {
        self.prefixes.get(&Prefix::of(address)).copied().unwrap_or_default()
    }
}

/// Some supernodes, drawn at random, each at most once.
fn sample<'a>(
    membership: &'a Membership,
    rng: &mut impl Rng,
    fits: impl Fn(&Member) -> bool,
) -> Vec<&'a Member> {
    let stored = membership.stored();
    if stored <= SAMPLE {
        return membership.iter().filter(|member| fits(member)).collect();
    }
    let mut numbers = BTreeSet::new();
    while numbers.len() < SAMPLE {
        numbers.insert(rng.random_range(0..stored));
    }
    let drawn = numbers.into_iter().filter_map(|number| membership.nth(number));
    drawn.filter(|member| fits(member)).collect()
}

/// What a choice came to.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// Whom to ask, with their addresses.
    pub(crate) picked: Vec<(NodeId, Vec<SocketAddr>)>,
    /// Neighbours of one prefix that are fine, see [`cap`].
    pub(crate) cap: usize,
}

/// Picks up to `room` supernodes that make the neighbours as different as they can be. `wanted` is
/// how many there are to be in all; `fits` says who comes into question.
pub(crate) fn choose(
    membership: &Membership,
    mut mix: Mix,
    (room, wanted): (usize, usize),
    rng: &mut impl Rng,
    fits: impl Fn(&NodeId) -> bool,
) -> Choice {
    let serving =
        |member: &Member| member.state == SupernodeState::Serving && !member.addresses.is_empty();
    let mut drawn = sample(membership, rng, serving);
    let seen: BTreeSet<Prefix> =
        drawn.iter().filter_map(|member| member.addresses.first()).map(Prefix::of).collect();
    let cap = cap(wanted, seen.len());
    let mut ages: Vec<UnixTime> = drawn.iter().map(|member| member.since).collect();
    ages.sort_unstable();
    let median = ages.get(ages.len() / 2).copied().unwrap_or_default();
    drawn.retain(|member| fits(&member.node));
    let mut picked = Vec::new();
    while picked.len() < room {
        let old = mix.since.iter().filter(|since| **since < median).count();
        let wants_old = 2 * old < mix.since.len();
        let mut free: Vec<usize> = (0..drawn.len())
            .filter(|at| {
                let address = drawn.get(*at).and_then(|member| member.addresses.first());
                address.is_some_and(|address| mix.like(address) < cap)
            })
            .collect();
        let right_age: Vec<usize> = free
            .iter()
            .copied()
            .filter(|at| drawn.get(*at).is_some_and(|m| (m.since < median) == wants_old))
            .collect();
        if !right_age.is_empty() {
            free = right_age;
        }
        if free.is_empty() {
            break;
        }
        let Some(at) = free.get(rng.random_range(0..free.len())) else { break };
        let member = drawn.swap_remove(*at);
        if let Some(address) = member.addresses.first() {
            mix.add(address, Some(member.since));
        }
        picked.push((member.node, member.addresses.to_vec()));
    }
    Choice { picked, cap }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_prefix_is_what_a_provider_owns() {
        let of = |text: &str| Prefix::of(&text.parse().expect("an address"));
        assert_eq!(of("203.0.113.9:1"), of("203.0.7.7:2"));
        assert_ne!(of("203.0.113.9:1"), of("203.1.113.9:1"));
        assert_eq!(of("[2001:db8:1::1]:1"), of("[2001:db8:2::1]:1"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db9::1]:1"));
        assert_eq!(of("[::ffff:203.0.113.9]:1"), of("203.0.1.1:1"));
    }

    #[test]
    fn a_network_of_one_prefix_is_not_limited_and_one_of_many_is() {
        assert!(cap(40, 1) >= 40);
        assert_eq!(cap(40, 2), 30);
        assert_eq!(cap(40, 50), ALWAYS);
    }

    #[test]
    fn one_owner_of_half_of_all_supernodes_gets_few_places() {
        let owned = |number: usize| number.is_multiple_of(2);
        let address = |number: usize| -> SocketAddr {
            let last = u8::try_from(number / 2).expect("few");
            let ip = if owned(number) { [198, 51, 100, last] } else { [10 + last, 1, 1, 1] };
            SocketAddr::from((ip, 4701))
        };
        let since = |number: usize| 1_000 + number as u64;
        let membership = crate::membership::testing::view(400, address, since);
        let mut rng = StdRng::seed_from_u64(7);
        let choice = choose(&membership, Mix::default(), (40, 40), &mut rng, |_| true);
        let own = choice.picked.iter().filter(|(_, at)| at[0].ip().to_string().starts_with("198"));
        let own = own.count();
        assert!(own <= ALWAYS, "{own} of {}", choice.picked.len());
        assert!(choice.picked.len() >= 25, "{}", choice.picked.len());
    }

    #[test]
    fn half_of_the_chosen_are_old() {
        let address = |number: usize| -> SocketAddr {
            SocketAddr::from(([u8::try_from(number).expect("few"), 1, 1, 1], 4701))
        };
        let membership = crate::membership::testing::view(200, address, |n| 1_000 + n as u64);
        let mut rng = StdRng::seed_from_u64(8);
        let choice = choose(&membership, Mix::default(), (30, 40), &mut rng, |_| true);
        let old = choice
            .picked
            .iter()
            .filter(|(node, _)| membership.get(node).is_some_and(|member| member.since.0 < 1_100));
        let old = old.count();
        assert!((12..=18).contains(&old), "{old} of {}", choice.picked.len());
    }
}
