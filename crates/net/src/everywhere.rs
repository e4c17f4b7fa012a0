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
        Err(error @ (BindError::AddressNotAvailable(_) | BindError::Io { .. })) => {
            tracing::info!(%error, "IPv6 is not to be had; only IPv4 is served");
            bind((Ipv4Addr::UNSPECIFIED, port).into())
        }
        other => other,
    }
}

/// What a node whose socket is bound to `bound` may say that it listens at: that, and, where it
/// listens on all addresses, those public ones that the machine goes out from. Behind a router, only
/// others can tell what it is seen at.
pub fn listening(bound: SocketAddr) -> Vec<SocketAddr> {
    let mut addresses = vec![bound];
    if bound.ip().is_unspecified() {
        let own =
            sources().into_iter().filter(|ip| is_public(*ip) && (ip.is_ipv4() || bound.is_ipv6()));
        addresses.extend(own.map(|ip| SocketAddr::new(ip, bound.port())));
    }
    addresses
}

/// Somewhere in the internet: of the ranges for documentation (RFC 5737, RFC 3849).
const PROBED: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// The addresses that this machine sends from into the internet, of IPv4 and of IPv6.
pub(crate) fn sources() -> Vec<IpAddr> {
    PROBED.into_iter().filter_map(source).collect()
}

/// The address that this machine would send from to another one; `None` if it has no way there. To
/// connect a UDP socket sends nothing, it only asks the routing table.
pub(crate) fn source(to: IpAddr) -> Option<IpAddr> {
    let unspecified: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((unspecified, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

/// Whether it is an address of the internet, not of a site or a machine. Of IPv6 that is 2000::/3,
/// all that is given to anybody (RFC 4291, section 2.4, and the registry of IANA), without those that
/// are made of IPv4 ones (6to4, RFC 3056, and Teredo, RFC 4380).
pub const fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            // 100.64.0.0/10 is shared by the customers of one provider (RFC 6598).
            let is_shared = first == 100 && second & 0xc0 == 64;
            let is_inner = v4.is_private() || v4.is_loopback() || v4.is_link_local();
            !(is_inner || is_shared || first == 0 || first >= 224)
        }
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            first & 0xe000 == 0x2000 && first != 0x2002 && (first != 0x2001 || second != 0)
        }
    }
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
    fn who_listens_on_one_address_says_just_that() {
        for bound in ["192.0.2.7:1", "[2001:db8::7]:1", "127.0.0.1:1"] {
            let bound: SocketAddr = bound.parse().expect("an address");
            assert_eq!(listening(bound), [bound]);
        }
    }

    #[test]
    fn who_listens_on_all_addresses_names_public_ones_of_what_it_listens_on() {
        for bound in ["0.0.0.0:1", "[::]:1"] {
            let bound: SocketAddr = bound.parse().expect("an address");
            let named = listening(bound);
            assert_eq!((named[0], named.len() <= 3), (bound, true));
            for address in &named[1..] {
                assert!(is_public(address.ip()) && address.port() == 1, "{named:?}");
                assert!(address.is_ipv4() || bound.is_ipv6(), "{named:?}");
            }
        }
    }

    #[test]
    fn what_only_a_site_or_a_machine_knows_is_not_public() {
        let is_public = |text: &str| is_public(text.parse().expect("an address"));
        assert!(is_public("2001:db8::1") && is_public("2a00::1") && is_public("192.0.2.7"));
        let inner = ["10.0.0.1", "127.0.0.1", "100.64.0.1", "169.254.0.1", "0.0.0.0", "224.0.0.1"];
        let inner_v6 = ["::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:192.0.2.7"];
        for text in inner.iter().chain(&inner_v6).chain(&["2002:a00:1::1", "2001::1"]) {
            assert!(!is_public(text), "{text}");
        }
    }

    #[test]
    fn a_machine_has_a_way_to_itself() {
        assert_eq!(source(Ipv4Addr::LOCALHOST.into()), Some(Ipv4Addr::LOCALHOST.into()));
    }
}
