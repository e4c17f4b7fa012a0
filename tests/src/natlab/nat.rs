//! Kinds of routers, in the words of RFC 3489, section 5, and what makes the kernel one of them.

use std::fmt;

/// What stands between a host and the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing.
    Public,
    /// A mapping that whoever knows it may use.
    FullCone,
    /// A mapping for those addresses that the host has sent to.
    AddressRestricted,
    /// A mapping for those addresses and ports that the host has sent to.
    PortRestricted,
    /// Another mapping for each address and port that the host sends to.
    Symmetric,
    /// Two port-restricted ones, one behind the other.
    Double,
    /// One that lets nothing out but TCP to port 443, and says nothing.
    UdpBlocked,
    /// The host's own firewall refuses to send UDP.
    UdpRefused,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Public,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Symmetric,
        Self::Double,
        Self::UdpBlocked,
        Self::UdpRefused,
    ];

    /// A short name, for namespaces and users.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::FullCone => "fullcone",
            Self::AddressRestricted => "address",
            Self::PortRestricted => "port",
            Self::Symmetric => "symmetric",
            Self::Double => "double",
            Self::UdpBlocked => "blocked",
            Self::UdpRefused => "refused",
        }
    }

    /// Whether UDP gets out.
    pub const fn has_udp(self) -> bool {
        !matches!(self, Self::UdpBlocked | Self::UdpRefused)
    }

    /// Whether a plain punch over UDP can succeed between the two: each sends from one port to
    /// where the other was seen, and the filters let in what answers.
    pub const fn can_punch(self, other: Self) -> bool {
        use Kind::{AddressRestricted, FullCone, Public, Symmetric};
        if !self.has_udp() || !other.has_udp() {
            return false;
        }
        match (self, other) {
            // The symmetric side comes from a port that the other one has not sent to.
            (Symmetric, open) | (open, Symmetric) => {
                matches!(open, Public | FullCone | AddressRestricted)
            }
            _ => true,
        }
    }

    /// The rules of the router, whose sides are called `lan` and `wan`; `None` without a router.
    pub(super) fn router(self) -> Option<String> {
        // An unsolicited packet must not make an entry of its own: the host's later mapping would
        // have to take another port, which the routers that people have do not do.
        const QUIET: &str = "table ip flt { chain input { type filter hook input priority 0; \
                             iifname wan ct state new drop; }; }\n";
        let nat = match self {
            Self::Public => return None,
            Self::FullCone => cone(""),
            Self::AddressRestricted => cone("udp dport . ip saddr @seen"),
            Self::Symmetric => masquerade("masquerade fully-random"),
            Self::PortRestricted | Self::Double | Self::UdpRefused => masquerade("masquerade"),
            Self::UdpBlocked => format!(
                "{}table ip out {{ chain forward {{ type filter hook forward priority 0; \
                 iifname lan tcp dport 443 accept; iifname lan drop; }}; }}\n",
                masquerade("masquerade")
            ),
        };
        Some(format!("{QUIET}{nat}"))
    }

    /// The rules of the host itself.
    pub(super) const fn host(self) -> &'static str {
        match self {
            Self::UdpRefused => {
                "table ip own { chain output { type filter hook output priority 0; \
                 oifname eth0 meta l4proto udp drop; }; }\n"
            }
            _ => "",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn masquerade(how: &str) -> String {
    format!(
        "table ip nat {{ chain post {{ type nat hook postrouting priority srcnat; \
         oifname wan {how}; }}; }}\n"
    )
}

/// A NAT that keeps the port of the host and lets in by `filter`: what the kernel's own does not
/// do by itself, made of the ports that the host was seen to use.
fn cone(filter: &str) -> String {
    format!(
        "table ip nat {{
 map eim {{ type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 120s; size 65535; }}
 set seen {{ type inet_service . ipv4_addr; flags dynamic,timeout; timeout 120s; size 65535; }}
 chain pre {{ type nat hook prerouting priority dstnat; iifname wan {filter} dnat ip to udp dport map @eim; }}
 chain post {{ type nat hook postrouting priority srcnat; oifname wan masquerade; }}
 chain fw {{ type filter hook forward priority 0; iifname lan oifname wan meta l4proto udp update @eim {{ udp sport : ip saddr . udp sport }} update @seen {{ udp sport . ip daddr }}; }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pairs_of_symmetric_ones_and_those_without_udp_need_a_relay() {
        let needing: Vec<(Kind, Kind)> = Kind::ALL
            .into_iter()
            .flat_map(|one| Kind::ALL.map(|other| (one, other)))
            .filter(|(one, other)| one <= other && !one.can_punch(*other))
            .filter(|(one, other)| one.has_udp() && other.has_udp())
            .collect();
        assert_eq!(
            needing,
            [
                (Kind::PortRestricted, Kind::Symmetric),
                (Kind::Symmetric, Kind::Symmetric),
                (Kind::Symmetric, Kind::Double),
            ]
        );
    }
}
