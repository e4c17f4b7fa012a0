//! Listening on all addresses of a machine, of IPv4 and IPv6.

use crate::error::BindError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Calls `bind` with all addresses of this machine at `port`: those of both versions of IP, or, if
/// it has no IPv6, those of IPv4 alone.
///
/// # Errors
/// What `bind` says: for IPv4, if it was tried.
pub fn bind_everywhere<T>(
    port: u16,
    bind: impl Fn(SocketAddr) -> Result<T, BindError>,
) -> Result<T, BindError> {
    match bind((Ipv6Addr::UNSPECIFIED, port).into()) {
        // What a system says when it has no IPv6, or none of its interfaces has.
        Err(BindError::AddressNotAvailable(_) | BindError::Io { .. }) => {
            tracing::info!(port, "this machine has no IPv6; only IPv4 is served");
            bind((Ipv4Addr::UNSPECIFIED, port).into())
        }
        other => other,
    }
}

/// What a node whose socket is bound to `bound` may say that it listens at: that, and, where it
/// listens on all addresses, its IPv6 address, which no router translates. Where it is seen over
/// IPv4, only others can tell.
pub fn listening(bound: SocketAddr) -> Vec<SocketAddr> {
    let mut addresses = vec![bound];
    if bound.is_ipv6() && bound.ip().is_unspecified() {
        addresses.extend(public_ipv6().map(|ip| SocketAddr::new(ip.into(), bound.port())));
    }
    addresses
}

/// The address that this machine comes from when it goes out over IPv6, if it can.
fn public_ipv6() -> Option<Ipv6Addr> {
    // To connect a UDP socket sends nothing, it only asks the routing table which address would be
    // used; this one is of the range for documentation (RFC 3849).
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect("[2001:db8::1]:9").ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V6(ip) if is_global_unicast(ip) => Some(ip),
        _ => None,
    }
}

/// 2000::/3, which is all that is given to anybody for the internet (RFC 4291, section 2.4, and the
/// registry of IANA).
pub const fn is_global_unicast(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xe000 == 0x2000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_ipv6_a_machine_listens_on_ipv4() {
        let bound = bind_everywhere(9, |address| match address {
            SocketAddr::V4(_) => Ok(address),
            SocketAddr::V6(_) => Err(BindError::AddressNotAvailable(address)),
        });
        assert_eq!(bound.expect("an address"), SocketAddr::from(([0, 0, 0, 0], 9)));
    }

    #[test]
    fn a_port_that_is_taken_is_told() {
        let taken = |address| Err::<(), _>(BindError::AddressInUse(address));
        assert!(matches!(bind_everywhere(9, taken), Err(BindError::AddressInUse(_))));
    }

    #[test]
    fn who_listens_on_one_address_or_on_ipv4_says_just_that() {
        for bound in ["192.0.2.7:1", "[2001:db8::7]:1", "0.0.0.0:1"] {
            let bound: SocketAddr = bound.parse().expect("an address");
            assert_eq!(listening(bound), [bound]);
        }
    }

    #[test]
    fn what_only_a_site_or_a_machine_knows_is_not_global() {
        let is_global = |text: &str| is_global_unicast(text.parse().expect("an address"));
        assert!(is_global("2001:db8::1") && is_global("2a00::1"));
        for text in ["::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:192.0.2.7"] {
            assert!(!is_global(text), "{text}");
        }
    }
}
