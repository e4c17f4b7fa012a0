//! Addresses in little memory: a node keeps those of hundreds of supernodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most addresses of one supernode.
const MOST: usize = 4;

/// Bytes of one address: the version, the address, the port.
const V4_LEN: usize = 1 + 4 + 2;
const V6_LEN: usize = 1 + 16 + 2;

/// Up to four addresses in one allocation, 7 bytes for IPv4 and 19 for IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed(Box<[u8]>);

impl Packed {
    /// Packs the first few.
    pub(crate) fn new(addresses: &[SocketAddr]) -> Self {
        let mut bytes = Vec::with_capacity(len(addresses));
        for address in addresses.iter().take(MOST) {
            match address.ip() {
                IpAddr::V4(v4) => {
                    bytes.push(4);
                    bytes.extend_from_slice(&v4.octets());
                }
                IpAddr::V6(v6) => {
                    bytes.push(6);
                    bytes.extend_from_slice(&v6.octets());
                }
            }
            bytes.extend_from_slice(&address.port().to_be_bytes());
        }
        Self(bytes.into_boxed_slice())
    }

    /// All of them.
    pub(crate) fn to_vec(&self) -> Vec<SocketAddr> {
        let mut addresses = Vec::with_capacity(self.0.len() / V4_LEN);
        addresses.extend(self.iter());
        addresses
    }

    /// Whether these are the same as those that [`Packed::new`] would pack.
    pub(crate) fn are(&self, addresses: &[SocketAddr]) -> bool {
        // What else belongs to an address, as the scope of one of IPv6, is not packed.
        let bare = |address: &SocketAddr| SocketAddr::new(address.ip(), address.port());
        self.iter().eq(addresses.iter().take(MOST).map(bare))
    }

    fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (ip, after) = match rest {
                [4, a, b, c, d, after @ ..] => (IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)), after),
                [6, after @ ..] => {
                    let (octets, after) = after.split_first_chunk::<16>()?;
                    (IpAddr::V6(Ipv6Addr::from(*octets)), after)
                }
                _ => return None,
            };
            let (port, after) = after.split_first_chunk::<2>()?;
            rest = after;
            Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
        })
    }
}

/// How many bytes the first few take.
fn len(addresses: &[SocketAddr]) -> usize {
    let first = addresses.iter().take(MOST);
    first.map(|address| if address.is_ipv4() { V4_LEN } else { V6_LEN }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        let addresses: Vec<SocketAddr> = ["203.0.113.9:4701", "[2001:db8::7]:80", "0.0.0.0:1"]
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect();
        assert_eq!(Packed::new(&addresses).to_vec(), addresses);
        assert!(Packed::new(&addresses).are(&addresses));
        assert!(
            !Packed::new(&addresses).are(&addresses[..2]) && !Packed::default().are(&addresses)
        );
        let other = [addresses[0], addresses[2], addresses[1]];
        assert!(!Packed::new(&addresses).are(&other));
        assert!(
            Packed::new(&[addresses[0]; 9]).are(&[addresses[0]; 5]),
            "the first few are packed"
        );
        let scoped = "[fe80::1%3]:80".parse().expect("an address");
        assert!(Packed::new(&[scoped]).are(&[scoped]));
        assert_eq!(Packed::default().to_vec(), []);
        assert_eq!(Packed::new(&vec![addresses[0]; 9]).to_vec().len(), MOST);
    }
}
