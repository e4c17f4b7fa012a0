//! Places that strangers share, before anybody knows who they are.
//!
//! When all are taken, whoever has most makes room for whoever has clearly fewer: so many of them as
//! one machine, or one network, can get, they keep nobody else out. Fairness is between networks
//! first (an IPv4 /24 or an IPv6 /48, which is what one customer of an access provider can have),
//! and then between the addresses of one. The place that is taken back is the newest of its address:
//! who has been there for long stays.

use crate::gate::subscriber;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Why nobody can come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// This address has as many places as one may have.
    Source,
    /// All are taken, and nobody has clearly more of them than this address.
    All,
}

/// Places, and who has them.
#[derive(Debug)]
pub(crate) struct Crowd {
    places: usize,
    per_source: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    networks: HashMap<IpAddr, Network>,
    count: usize,
    /// Tells one place from another.
    next: u64,
}

#[derive(Debug, Default)]
struct Network {
    /// By address, the newest last.
    sources: HashMap<IpAddr, Vec<Holder>>,
    count: usize,
}

#[derive(Debug)]
struct Holder {
    id: u64,
    stop: CancellationToken,
}

/// A place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    network: IpAddr,
    source: IpAddr,
    id: u64,
    /// Whether another one had to go.
    pub(crate) made_room: bool,
}

/// The network that an address is in.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & !0xff).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> 48)).into(),
    }
}

impl Crowd {
    /// So many places in all, of which one address may have so many.
    pub(crate) fn new(places: usize, per_source: usize) -> Arc<Self> {
        Arc::new(Self { places, per_source, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this address would get a place.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn has_room(&self, ip: IpAddr) -> Result<(), Crowded> {
        self.taken().who_goes(self, network(ip), subscriber(ip)).map(|_| ())
    }

    /// Takes a place for this address; `stop` is cancelled when it is taken back.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn enter(
        self: &Arc<Self>,
        ip: IpAddr,
        stop: CancellationToken,
    ) -> Result<Place, Crowded> {
        let (network, source) = (network(ip), subscriber(ip));
        let mut taken = self.taken();
        let who = taken.who_goes(self, network, source)?;
        if let Some((network, source)) = who {
            taken.newest_goes(network, source);
        }
        let id = taken.next;
        taken.next += 1;
        taken.count += 1;
        let group = taken.networks.entry(network).or_default();
        group.count += 1;
        group.sources.entry(source).or_default().push(Holder { id, stop });
        drop(taken);
        Ok(Place { crowd: Arc::clone(self), network, source, id, made_room: who.is_some() })
    }
}

impl Taken {
    /// Whose newest place a newcomer gets, by network and address; `None` if there is a free one.
    fn who_goes(
        &self,
        crowd: &Crowd,
        network: IpAddr,
        source: IpAddr,
    ) -> Result<Option<(IpAddr, IpAddr)>, Crowded> {
        let own = self.networks.get(&network);
        let of_source = own.and_then(|own| own.sources.get(&source)).map_or(0, Vec::len);
        if of_source >= crowd.per_source {
            return Err(Crowded::Source);
        }
        if self.count < crowd.places {
            return Ok(None);
        }
        let heaviest = self.networks.iter().max_by_key(|(_, network)| network.count);
        let of_network = own.map_or(0, |own| own.count);
        let (from, group, at_most) = match heaviest {
            Some((from, group)) if group.count > of_network + 1 => (*from, group, 0),
            // Within its own network it is as between networks.
            _ => (network, own.ok_or(Crowded::All)?, of_source + 1),
        };
        let busiest = group.sources.iter().max_by_key(|(_, holders)| holders.len());
        busiest
            .filter(|(_, holders)| holders.len() > at_most)
            .map(|(source, _)| Some((from, *source)))
            .ok_or(Crowded::All)
    }

    fn newest_goes(&mut self, network: IpAddr, source: IpAddr) {
        let newest = self.networks.get(&network).and_then(|it| it.sources.get(&source)?.last());
        if let Some(id) = newest.map(|holder| holder.id)
            && let Some(holder) = self.remove(network, source, id)
        {
            holder.stop.cancel();
        }
    }

    fn remove(&mut self, network: IpAddr, source: IpAddr, id: u64) -> Option<Holder> {
        let group = self.networks.get_mut(&network)?;
        let holders = group.sources.get_mut(&source)?;
        let at = holders.iter().position(|holder| holder.id == id)?;
        let holder = holders.remove(at);
        if holders.is_empty() {
            group.sources.remove(&source);
        }
        group.count -= 1;
        if group.count == 0 {
            self.networks.remove(&network);
        }
        self.count -= 1;
        Some(holder)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.taken().remove(self.network, self.source, self.id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn v4(network: u8, host: u8) -> IpAddr {
        [198, 51, network, host].into()
    }

    fn enter(crowd: &Arc<Crowd>, ip: IpAddr) -> Result<(Place, CancellationToken), Crowded> {
        let stop = CancellationToken::new();
        Ok((crowd.enter(ip, stop.clone())?, stop))
    }

    #[test]
    fn a_few_addresses_that_take_all_places_keep_nobody_else_out() {
        let crowd = Crowd::new(64, 16);
        let many: Vec<_> = (0..64).map(|n| enter(&crowd, v4(n / 16, 1)).unwrap()).collect();
        assert_eq!(enter(&crowd, v4(0, 1)).err(), Some(Crowded::Source));
        let few: Vec<_> = (100..140).map(|n| enter(&crowd, v4(n, 1)).unwrap()).collect();
        assert!(few.iter().all(|(place, stop)| place.made_room && !stop.is_cancelled()));
        let gone: Vec<_> = many.iter().map(|(_, stop)| stop.is_cancelled()).collect();
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 40);
        for of_one in gone.chunks(16) {
            assert_eq!(of_one, [[false; 6].as_slice(), &[true; 10]].concat(), "the newest go");
        }
    }

    #[test]
    fn who_has_one_place_loses_it_to_nobody() {
        let crowd = Crowd::new(8, 8);
        let alone: Vec<_> = (0..8).map(|n| enter(&crowd, v4(n, 1)).unwrap()).collect();
        assert_eq!(enter(&crowd, v4(100, 1)).err(), Some(Crowded::All));
        assert_eq!(crowd.has_room(v4(100, 1)), Err(Crowded::All));
        assert!(alone.iter().all(|(_, stop)| !stop.is_cancelled()));
    }

    #[test]
    fn in_one_network_the_address_with_most_makes_room() {
        let crowd = Crowd::new(8, 8);
        let alone = enter(&crowd, v4(1, 1)).unwrap();
        let many: Vec<_> = (0..7).map(|_| enter(&crowd, v4(1, 2)).unwrap()).collect();
        let other = enter(&crowd, v4(1, 3)).unwrap();
        assert!(other.0.made_room && !alone.1.is_cancelled());
        assert_eq!(many.iter().filter(|(_, stop)| stop.is_cancelled()).count(), 1);
    }

    #[test]
    fn a_customer_of_ipv6_is_one_network_and_one_of_ipv4_in_ipv6_is_what_it_is() {
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(of("2001:db8:7:1::1")), network(of("2001:db8:7:ffff::2")));
        assert_ne!(network(of("2001:db8:7:1::1")), network(of("2001:db8:8:1::1")));
        assert_eq!(network(of("::ffff:198.51.100.7")), of("198.51.100.0"));
        assert_ne!(network(of("198.51.100.7")), network(of("198.51.101.7")));
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_places_and_whoever_comes_takes_none_of_who_has_fewer(
            steps in proptest::collection::vec((0_u8..6, 0_u8..3, any::<bool>()), 1..200),
        ) {
            let crowd = Crowd::new(10, 6);
            let mut held: Vec<(IpAddr, Place, CancellationToken)> = Vec::new();
            for (net, host, leaves) in steps {
                if leaves && !held.is_empty() {
                    held.swap_remove(usize::from(net) % held.len());
                }
                let ip = v4(net, host);
                let of = |held: &[(IpAddr, Place, CancellationToken)], ip| {
                    held.iter().filter(|(other, _, _)| network(*other) == network(ip)).count()
                };
                let own = of(&held, ip);
                if let Ok((place, stop)) = enter(&crowd, ip) {
                    let gone = held.iter().position(|(_, _, stop)| stop.is_cancelled());
                    prop_assert_eq!(gone.is_some(), place.made_room);
                    if let Some(gone) = gone {
                        let whose = held[gone].0;
                        let same = network(whose) == network(ip);
                        prop_assert!(same || of(&held, whose) > own + 1);
                        held.remove(gone);
                    }
                    held.push((ip, place, stop));
                }
                prop_assert_eq!(crowd.taken().count, held.len());
                prop_assert!(held.len() <= 10);
            }
            held.clear();
            prop_assert!(crowd.taken().networks.is_empty());
        }
    }
}
