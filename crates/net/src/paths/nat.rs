//! What kind of router stands between a node and the others, known from where they see it.
//!
//! The terms are those of RFC 4787, section 4.1, and RFC 5780: a mapping that is the same for all
//! destinations lets anybody be met who sends there; one that depends on the destination can be met
//! only by who does not mind where packets come from, or by a guess of the next port.

use std::net::{IpAddr, SocketAddr};

/// Ports that are guessed: as many mappings as a node makes between being observed and probing.
const GUESSES: u16 = 8;

/// Ports of one node that are further apart were not taken in steps.
const REGULAR_SPAN: u16 = 64;

/// How a router maps the one port of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// Fewer than two others have said where they see the node.
    #[default]
    Unknown,
    /// Others see the node at an address of its own.
    None,
    /// The same address and port for all.
    EndpointIndependent,
    /// Another port for each destination.
    Dependent {
        /// By which each is higher than the one before, if they are regular.
        step: Option<u16>,
    },
}

impl Mapping {
    /// What follows from where others see the node over one address family.
    pub(crate) fn of(observed: &[SocketAddr], own: &[IpAddr], port: u16) -> Self {
        let own = |at: &SocketAddr| at.port() == port && own.contains(&at.ip());
        let Some(first) = observed.first() else { return Self::Unknown };
        if observed.iter().all(own) {
            return Self::None;
        }
        if observed.len() < 2 {
            return Self::Unknown;
        }
        if observed.iter().all(|at| at == first) {
            return Self::EndpointIndependent;
        }
        Self::Dependent { step: step(observed) }
    }

    /// The addresses that the node will probably be seen at by those it sends to next, by where it
    /// is seen over one address family.
    pub(crate) fn predict(self, observed: &[SocketAddr]) -> Vec<SocketAddr> {
        let Self::Dependent { step: Some(step) } = self else { return Vec::new() };
        let Some(highest) = observed.iter().max_by_key(|at| at.port()) else {
            return Vec::new();
        };
        (1..=GUESSES)
            .filter_map(|n| highest.port().checked_add(n.checked_mul(step)?))
            .map(|port| SocketAddr::new(highest.ip(), port))
            .collect()
    }
}

/// The smallest step between ports that lie close together, of one address.
fn step(observed: &[SocketAddr]) -> Option<u16> {
    let mut ports: Vec<u16> = observed.iter().map(|at| at.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    let one_address = observed.iter().all(|at| at.ip() == observed[0].ip());
    let span = ports.last()?.checked_sub(*ports.first()?)?;
    if !one_address || span > REGULAR_SPAN {
        return None;
    }
    ports.windows(2).map(|pair| pair[1] - pair[0]).min()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seen(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn judged(addresses: &[&str]) -> Mapping {
        Mapping::of(&seen(addresses), &["192.168.0.2".parse().unwrap()], 4_701)
    }

    #[test]
    fn kinds_of_mapping_are_told_apart() {
        assert_eq!(judged(&[]), Mapping::Unknown);
        assert_eq!(judged(&["203.0.113.1:9"]), Mapping::Unknown);
        assert_eq!(judged(&["192.168.0.2:4701"]), Mapping::None);
        assert_eq!(judged(&["203.0.113.1:9", "203.0.113.1:9"]), Mapping::EndpointIndependent);
        assert_eq!(
            judged(&["203.0.113.1:9", "203.0.113.1:11", "203.0.113.1:13"]),
            Mapping::Dependent { step: Some(2) }
        );
        assert_eq!(
            judged(&["203.0.113.1:9", "203.0.113.1:40000"]),
            Mapping::Dependent { step: None }
        );
    }

    #[test]
    fn the_next_ports_of_a_regular_router_are_guessed_and_no_others() {
        let observed = seen(&["203.0.113.1:20001", "203.0.113.1:20002"]);
        let guesses = Mapping::Dependent { step: Some(1) }.predict(&observed);
        assert_eq!(guesses.len(), usize::from(GUESSES));
        assert_eq!(guesses[0], "203.0.113.1:20003".parse().unwrap());
        assert!(Mapping::Dependent { step: None }.predict(&observed).is_empty());
        assert!(Mapping::EndpointIndependent.predict(&observed).is_empty());
        let last = seen(&["203.0.113.1:65535"]);
        assert!(Mapping::Dependent { step: Some(1) }.predict(&last).is_empty());
    }
}
