//! The settings of an endpoint.

use crate::congestion::Windows;
use crate::relay::RelayLimits;
use crate::relay::frame::HEADER;
use crate::tunnel::{TunnelPorts, TunnelSettings};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Streams that a peer may have open at once. A child needs one for control and a few for
/// fetches; each that is allowed costs some 40 bytes even when it is not used (an idle quinn
/// connection takes 37 KiB with 100 streams of both kinds, 29 KiB with these).
const MAX_STREAMS: u32 = 8;

/// Bytes that a peer may have sent and this node not yet read, per connection. Two of the largest
/// messages fit, with room to keep the line busy while they are read; 10,000 peers that all fill
/// it would cost 2.5 GiB.
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// The same while a file is transferred: what is in flight on a line of 500 Mbit/s to a peer
/// 125 ms away.
const TRANSFER_WINDOW: u32 = 8 * 1024 * 1024;

/// A peer is gone after this. Three keep-alives may be lost in a row; a child whose parent loses
/// power moves to its standby this much later.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a silent connection is proven alive. It also keeps the mapping of a NAT: RFC 4787
/// wants two minutes, but 30 seconds and less are met. 10,000 children cost 2,000 small packets a
/// second each way.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// All that a dial may take: two retransmissions of the first packet (1 s and 2 s with the initial
/// estimate of the round trip, RFC 9002) and a staggered start on eight addresses fit in.
const DIAL_TIMEOUT: Duration = Duration::from_secs(8);

/// When a dial tries the next address while the last one is still silent: the recommended value
/// of Happy Eyeballs (RFC 8305, section 8).
const DIAL_STAGGER: Duration = Duration::from_millis(250);

/// Inbound connections that may be open: 10,000 children with a few neighbours and downloads.
const MAX_INCOMING: usize = 10_240;

/// Outbound connections that may be open: one to each neighbour, parent and source.
const MAX_OUTGOING: usize = 1_024;

/// Inbound handshakes under way. One costs about 0.7 ms of CPU, so a full house of them is
/// worked off in under a second.
const MAX_PENDING: usize = 1_024;

/// Inbound connections that wait to be accepted: a burst of as many handshakes as may be under
/// way fits in.
const ACCEPT_QUEUE: usize = 1_024;

/// Dials under way.
const MAX_DIALS: usize = 256;

/// Handshakes that one address (one /64 of IPv6) may begin in a burst. A household or a
/// carrier-grade NAT has many nodes behind one address, and all come at once after a power cut.
const HANDSHAKE_BURST: u32 = 256;

/// Handshakes a second that one address may go on with: 4 % of one CPU.
const HANDSHAKES_PER_SECOND: u32 = 64;

/// Bytes of the socket's buffers in the kernel: 1,400 full packets, 10 ms at 1.6 Gbit/s. The
/// system may grant less.
const SOCKET_BUFFER: usize = 2 * 1024 * 1024;

/// The longest packet that QUIC looks for: with a session's header before it, and those of UDP and
/// IPv6, it fits into Ethernet's 1,500 bytes. So one that passes a relay over IPv4 passes a direct
/// path over IPv6 as well, where no line is narrower.
const LONGEST_PACKET: u16 = 1_500 - 40 - 8 - HEADER as u16;

/// Bytes of unreliable datagrams that a connection queues in each direction; allocated only when
/// they come.
const DATAGRAM_BUFFER: usize = 64 * 1024;

/// A setting is out of its range. It is the user's to correct.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{setting} is {given}, but must be from {lowest} to {highest}")]
pub struct ConfigError {
    /// The name of the setting.
    pub setting: &'static str,
    /// What was given.
    pub given: u64,
    /// The lowest value that is allowed, in the unit of the setting (milliseconds for times).
    pub lowest: u64,
    /// The highest value that is allowed.
    pub highest: u64,
}

/// The settings of an endpoint; [`Default`] is a supernode's. What is out of range is an error of
/// binding, see [`EndpointConfig::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointConfig {
    accept: bool,
    announce_dialled: bool,
    max_streams: u32,
    connection_window: u32,
    transfer_window: u32,
    idle_timeout: Duration,
    keep_alive: Duration,
    dial_timeout: Duration,
    dial_stagger: Duration,
    max_incoming: usize,
    max_outgoing: usize,
    max_pending: usize,
    max_dials: usize,
    accept_queue: usize,
    handshake_burst: u32,
    handshakes_per_second: u32,
    socket_buffer: usize,
    relay: RelayLimits,
    tunnels: TunnelSettings,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            accept: true,
            announce_dialled: false,
            max_streams: MAX_STREAMS,
            connection_window: CONNECTION_WINDOW,
            transfer_window: TRANSFER_WINDOW,
            idle_timeout: IDLE_TIMEOUT,
            keep_alive: KEEP_ALIVE,
            dial_timeout: DIAL_TIMEOUT,
            dial_stagger: DIAL_STAGGER,
            max_incoming: MAX_INCOMING,
            max_outgoing: MAX_OUTGOING,
            max_pending: MAX_PENDING,
            max_dials: MAX_DIALS,
            accept_queue: ACCEPT_QUEUE,
            handshake_burst: HANDSHAKE_BURST,
            handshakes_per_second: HANDSHAKES_PER_SECOND,
            socket_buffer: SOCKET_BUFFER,
            relay: RelayLimits { slots: 0, ..RelayLimits::default() },
            tunnels: TunnelSettings::default(),
        }
    }
}

impl EndpointConfig {
    /// The settings of an endpoint that only dials: it answers no stranger.
    pub fn dial_only() -> Self {
        Self { accept: false, ..Self::default() }
    }

    /// Whether others may dial this endpoint (default: yes).
    #[must_use]
    pub fn accept(mut self, accept: bool) -> Self {
        self.accept = accept;
        self
    }

    /// Whether [`Endpoint::accept`](crate::Endpoint::accept) also gives out the connections that
    /// this side has dialled; false if not set. A node that takes streams from whoever it is
    /// connected to wants them all in one place.
    #[must_use]
    pub fn announce_dialled(mut self, announce: bool) -> Self {
        self.announce_dialled = announce;
        self
    }

    pub(crate) fn announces_dialled(&self) -> bool {
        self.announce_dialled
    }

    /// Streams that a peer may have open at once, 1 to 1,024 (default 8). Some 40 bytes each on
    /// every connection, and a task each for whoever serves them.
    #[must_use]
    pub fn max_streams(mut self, streams: u32) -> Self {
        self.max_streams = streams;
        self
    }

    /// Bytes that a peer may send ahead of their being read, and the other way round, per
    /// connection, 64 KiB to 64 MiB (default 256 KiB). This is the memory that each peer can make
    /// this node hold.
    #[must_use]
    pub fn connection_window(mut self, bytes: u32) -> Self {
        self.connection_window = bytes;
        self
    }

    /// The same on a connection after
    /// [`Connection::widen_for_transfer`](crate::Connection::widen_for_transfer), 64 KiB to 256 MiB
    /// (default 8 MiB).
    #[must_use]
    pub fn transfer_window(mut self, bytes: u32) -> Self {
        self.transfer_window = bytes;
        self
    }

    /// After how long a silence a connection is given up, 1 s to 10 min (default 15 s). The
    /// shorter one of both sides holds.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// After how long a silence a connection is proven alive, 100 ms to 5 min (default 4 s). It
    /// should be less than a third of the idle timeout.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = interval;
        self
    }

    /// All that a dial, or an inbound handshake, may take, 100 ms to 2 min (default 8 s).
    #[must_use]
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial_timeout = timeout;
        self
    }

    /// After how long a silence a dial tries the next address as well, 10 ms to 10 s (default
    /// 250 ms).
    #[must_use]
    pub fn dial_stagger(mut self, stagger: Duration) -> Self {
        self.dial_stagger = stagger;
        self
    }

    /// Inbound connections that may be open, 1 to 1,000,000 (default 10,240). About 29 KiB each.
    #[must_use]
    pub fn max_incoming(mut self, connections: usize) -> Self {
        self.max_incoming = connections;
        self
    }

    /// Outbound connections that may be open or under way, 1 to 1,000,000 (default 1,024). About
    /// 29 KiB each.
    #[must_use]
    pub fn max_outgoing(mut self, connections: usize) -> Self {
        self.max_outgoing = connections;
        self
    }

    /// Inbound handshakes that may be under way, 1 to 65,536 (default 1,024). From half of it on,
    /// newcomers have to prove their address first.
    #[must_use]
    pub fn max_pending_handshakes(mut self, handshakes: usize) -> Self {
        self.max_pending = handshakes;
        self
    }

    /// Dials that may be under way, 1 to 65,536 (default 256).
    #[must_use]
    pub fn max_dials(mut self, dials: usize) -> Self {
        self.max_dials = dials;
        self
    }

    /// Inbound connections that may wait for [`Endpoint::accept`](crate::Endpoint::accept), 1 to
    /// 65,536 (default 1,024). What comes when it is full is closed as
    /// [`CloseReason::Busy`](crate::CloseReason::Busy).
    #[must_use]
    pub fn accept_queue(mut self, connections: usize) -> Self {
        self.accept_queue = connections;
        self
    }

    /// Handshakes that one IPv4 address or one IPv6 /64 may begin: `burst` at once (1 to
    /// 1,000,000, default 256) and `per_second` from then on (1 to 1,000,000, default 64).
    #[must_use]
    pub fn handshake_rate(mut self, burst: u32, per_second: u32) -> Self {
        self.handshake_burst = burst;
        self.handshakes_per_second = per_second;
        self
    }

    /// Bytes of the kernel's send and receive buffers of the socket, 4 KiB to 1 GiB each (default
    /// 2 MiB).
    #[must_use]
    pub fn socket_buffer(mut self, bytes: usize) -> Self {
        self.socket_buffer = bytes;
        self
    }

    /// What this endpoint gives as a relay (default: nothing). It can be changed while it runs, see
    /// [`Relay::set_limits`](crate::relay::Relay::set_limits).
    #[must_use]
    pub fn relay(mut self, limits: RelayLimits) -> Self {
        self.relay = limits;
        self
    }

    /// Whether there is a UDP socket (default: yes). Without one, everything goes through tunnels
    /// over TCP; the address to bind is that of TCP then.
    #[must_use]
    pub fn udp(mut self, udp: bool) -> Self {
        self.tunnels.udp = udp;
        self
    }

    /// Where an endpoint that others may dial takes tunnels over TCP (default: at the number of the
    /// UDP port, and at 443 where that can be had).
    #[must_use]
    pub fn tunnel_ports(mut self, ports: TunnelPorts) -> Self {
        self.tunnels.ports = ports;
        self
    }

    /// Whether a dial tries a tunnel over TCP where UDP brings nothing (default: yes).
    #[must_use]
    pub fn fall_back_to_tcp(mut self, fall_back: bool) -> Self {
        self.tunnels.fall_back = fall_back;
        self
    }

    /// Tunnels of others that may be open, 1 to 100,000 (default 1,024). About 100 KiB each, and a
    /// socket of the system.
    #[must_use]
    pub fn max_tunnels(mut self, tunnels: usize) -> Self {
        self.tunnels.max = tunnels;
        self
    }

    #[cfg(test)]
    pub(crate) fn tunnel_timing(mut self, timing: crate::tunnel::Timing) -> Self {
        self.tunnels.timing = timing;
        self
    }

    pub(crate) const fn tunnels(&self) -> TunnelSettings {
        self.tunnels
    }

    pub(crate) const fn relay_limits(&self) -> RelayLimits {
        self.relay
    }

    /// Checks every setting against its range. Binding does it, too.
    ///
    /// # Errors
    /// [`ConfigError`] names the first one that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        fn within(
            setting: &'static str,
            given: u64,
            range: RangeInclusive<u64>,
        ) -> Result<(), ConfigError> {
            if range.contains(&given) {
                return Ok(());
            }
            Err(ConfigError { setting, given, lowest: *range.start(), highest: *range.end() })
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        const KIB: u64 = 1024;
        const MIB: u64 = 1024 * KIB;
        within("max_streams", self.max_streams.into(), 1..=1_024)?;
        within("connection_window", self.connection_window.into(), 64 * KIB..=64 * MIB)?;
        within("transfer_window", self.transfer_window.into(), 64 * KIB..=256 * MIB)?;
        within("idle_timeout", millis(self.idle_timeout), 1_000..=600_000)?;
        within("keep_alive", millis(self.keep_alive), 100..=300_000)?;
        within("dial_timeout", millis(self.dial_timeout), 100..=120_000)?;
        within("dial_stagger", millis(self.dial_stagger), 10..=10_000)?;
        within("max_incoming", self.max_incoming as u64, 1..=1_000_000)?;
        within("max_outgoing", self.max_outgoing as u64, 1..=1_000_000)?;
        within("max_pending_handshakes", self.max_pending as u64, 1..=65_536)?;
        within("max_dials", self.max_dials as u64, 1..=65_536)?;
        within("accept_queue", self.accept_queue as u64, 1..=65_536)?;
        within("handshake burst", self.handshake_burst.into(), 1..=1_000_000)?;
        within("handshakes per second", self.handshakes_per_second.into(), 1..=1_000_000)?;
        within("max_tunnels", self.tunnels.max as u64, 1..=100_000)?;
        within("socket_buffer", self.socket_buffer as u64, 4 * KIB..=1_024 * MIB)
    }

    pub(crate) const fn accepts(&self) -> bool {
        self.accept
    }

    pub(crate) const fn wide_window(&self) -> u32 {
        // A transfer never gets less than the connection had before.
        if self.transfer_window > self.connection_window {
            self.transfer_window
        } else {
            self.connection_window
        }
    }

    pub(crate) const fn limits(&self) -> Limits {
        Limits {
            incoming: self.max_incoming,
            outgoing: self.max_outgoing,
            pending: self.max_pending,
            dials: self.max_dials,
            accepted: self.accept_queue,
            burst: self.handshake_burst,
            per_second: self.handshakes_per_second,
        }
    }

    /// The limits of the handshakes of tunnels; their CPU time is that of QUIC's.
    pub(crate) const fn tunnel_limits(&self) -> Limits {
        Limits { incoming: self.tunnels.max, ..self.limits() }
    }

    pub(crate) const fn timing(&self) -> Timing {
        Timing { handshake: self.dial_timeout, stagger: self.dial_stagger }
    }

    pub(crate) const fn kernel_buffer(&self) -> usize {
        self.socket_buffer
    }

    /// What QUIC is told. Only the connection's window bounds memory: the window of a stream is
    /// as wide as a transfer's, since it cannot be changed later.
    pub(crate) fn transport(&self) -> Arc<quinn::TransportConfig> {
        let mut transport = quinn::TransportConfig::default();
        let mut longest = quinn::MtuDiscoveryConfig::default();
        longest.upper_bound(LONGEST_PACKET);
        let idle = u32::try_from(self.idle_timeout.as_millis()).unwrap_or(u32::MAX);
        transport
            .max_concurrent_bidi_streams(self.max_streams.into())
            .max_concurrent_uni_streams(0_u32.into())
            .stream_receive_window(self.wide_window().into())
            .receive_window(self.connection_window.into())
            .send_window(self.connection_window.into())
            .max_idle_timeout(Some(quinn::VarInt::from_u32(idle).into()))
            .keep_alive_interval(Some(self.keep_alive))
            .congestion_controller_factory(Arc::<Windows>::default())
            .mtu_discovery_config(Some(longest))
            .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
            .datagram_send_buffer_size(DATAGRAM_BUFFER);
        Arc::new(transport)
    }
}

/// How many of what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) incoming: usize,
    pub(crate) outgoing: usize,
    pub(crate) pending: usize,
    pub(crate) dials: usize,
    pub(crate) accepted: usize,
    pub(crate) burst: u32,
    pub(crate) per_second: u32,
}

/// How long what takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) handshake: Duration,
    pub(crate) stagger: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_ranges() {
        assert_eq!(EndpointConfig::default().check(), Ok(()));
        assert_eq!(EndpointConfig::dial_only().check(), Ok(()));
    }

    #[test]
    fn what_is_out_of_range_is_told_with_the_range() {
        let error = EndpointConfig::default().max_streams(0).check();
        let text = error.map_err(|error| error.to_string());
        assert_eq!(text, Err("max_streams is 0, but must be from 1 to 1024".to_owned()));
    }
}
