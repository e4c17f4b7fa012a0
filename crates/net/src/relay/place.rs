//! Where an end of a slot is, in three words.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// An address, or none, in 24 bytes: two of them and what else the way of a packet needs first fit
/// in one cache line, where two `Option<SocketAddr>` would fill it. The flow label of an IPv6
/// address is not kept: it is the sender's matter, not the place's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// An IPv4 address in the first four bytes, or an IPv6 one.
    ip: [u8; 16],
    scope: u32,
    port: u16,
    family: Family,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Family {
    #[default]
    None,
    V4,
    V6,
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        let port = address.port();
        match address {
            SocketAddr::V4(v4) => {
                let mut ip = [0; 16];
                ip[..4].copy_from_slice(&v4.ip().octets());
                Self { ip, scope: 0, port, family: Family::V4 }
            }
            SocketAddr::V6(v6) => {
                let (ip, scope) = (v6.ip().octets(), v6.scope_id());
                Self { ip, scope, port, family: Family::V6 }
            }
        }
    }
}

impl Place {
    /// The address, in the form in which it was given.
    pub(super) fn address(self) -> Option<SocketAddr> {
        match self.family {
            Family::None => None,
            Family::V4 => {
                let [a, b, c, d, ..] = self.ip;
                Some(SocketAddr::new(IpAddr::from([a, b, c, d]), self.port))
            }
            Family::V6 => {
                let ip = Ipv6Addr::from(self.ip);
                Some(SocketAddrV6::new(ip, self.port, 0, self.scope).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_comes_back_as_it_was(ip: IpAddr, port: u16, scope: u32) {
            let address = match ip {
                IpAddr::V4(_) => SocketAddr::new(ip, port),
                IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
            };
            prop_assert_eq!(Place::from(address).address(), Some(address));
        }
    }

    #[test]
    fn no_address_is_nobody() {
        assert_eq!(Place::default().address(), None);
        let zero = SocketAddr::from(([0, 0, 0, 0], 0));
        assert_ne!(Place::from(zero), Place::default());
    }

    #[test]
    fn two_places_a_number_and_a_bucket_fill_a_cache_line() {
        assert_eq!(2 * size_of::<Place>() + 2 * size_of::<u64>(), 64);
    }
}
