//! Addresses in little memory: a node keeps those of hundreds of supernodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most addresses of one supernode.
const MOST: usize = 4;

/// Up to four addresses in one allocation, 7 bytes for IPv4 and 19 for IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed(Box<[u8]>);

impl Packed {
    /// Packs the first few.
    pub(crate) fn new(addresses: &[SocketAddr]) -> Self {
        let mut bytes = Vec::new();
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
        let mut addresses = Vec::new();
        let mut rest = &self.0[..];
        loop {
            let (ip, after) = match rest {
                [4, a, b, c, d, after @ ..] => (IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)), after),
                [6, after @ ..] => {
                    let Some((octets, after)) = after.split_first_chunk::<16>() else { break };
                    (IpAddr::V6(Ipv6Addr::from(*octets)), after)
                }
                _ => break,
            };
            let Some((port, after)) = after.split_first_chunk::<2>() else { break };
            addresses.push(SocketAddr::new(ip, u16::from_be_bytes(*port)));
            rest = after;
        }
        addresses
    }
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
        assert_eq!(Packed::default().to_vec(), []);
        assert_eq!(Packed::new(&vec![addresses[0]; 9]).to_vec().len(), MOST);
    }
}
