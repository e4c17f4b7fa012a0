//! What an endpoint does with TCP.

use std::time::Duration;

/// Where an endpoint takes tunnels.
///
/// Nothing is announced of it: whoever knows the UDP address of a node tries TCP at the same port,
/// and at 443, which passes where nothing else does. Who cannot bind 443 may still have it, by
/// redirecting it to the other port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TunnelPorts {
    /// Nowhere.
    Off,
    /// At the number of the UDP port.
    SamePort,
    /// There, and at 443 if the system permits it and nobody else has it. On a loopback address
    /// only there: who is on this machine has UDP.
    #[default]
    Auto,
}

/// When UDP is tried again. Tests shorten it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// When a tunnel first probes UDP.
    pub(crate) first_probe: Duration,
    /// The longest time between two probes: a network that blocks UDP will do so for long, and a
    /// laptop that is carried to another network breaks the tunnel anyway.
    pub(crate) last_probe: Duration,
    /// How long what goes over UDP again may bring nothing back before the tunnel is taken up
    /// again. Connections are proven alive every four seconds.
    pub(crate) trial: Duration,
    /// How long a tunnel that is not needed any more is read: what the other side sent before it
    /// saw the first datagram over UDP is still on its way.
    pub(crate) linger: Duration,
    /// How long a tunnel that others opened may carry neither a connection nor a slot: two
    /// handshakes that take as long as they may.
    pub(crate) unused: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_probe: Duration::from_secs(5),
            last_probe: Duration::from_secs(60),
            trial: Duration::from_secs(5),
            linger: Duration::from_secs(3),
            unused: Duration::from_secs(20),
        }
    }
}

/// The settings of tunnels, a part of those of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TunnelSettings {
    /// Whether there is a UDP socket.
    pub(crate) udp: bool,
    /// Where tunnels are taken.
    pub(crate) ports: TunnelPorts,
    /// Whether a dial tries TCP when UDP brings nothing.
    pub(crate) fall_back: bool,
    /// Tunnels of others at the same time.
    pub(crate) max: usize,
    /// When UDP is tried again.
    pub(crate) timing: Timing,
}

/// Tunnels of others that are open at the same time. One costs a socket of the system and some
/// 100 KiB, most of it what TLS and the system buffer.
const MAX_TUNNELS: usize = 1_024;

impl Default for TunnelSettings {
    fn default() -> Self {
        Self {
            udp: true,
            ports: TunnelPorts::Auto,
            fall_back: true,
            max: MAX_TUNNELS,
            timing: Timing::default(),
        }
    }
}
