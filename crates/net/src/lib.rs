//! One UDP port: QUIC connections between peers known by their keys.
//!
//! An [`Endpoint`] holds all connections of one node. A [`Connection`] leads to exactly one
//! [`NodeId`](skein_proto::NodeId), proven by TLS, and carries [`Stream`]s of
//! [`Message`](skein_proto::Message)s, with raw bytes behind a message where it announces them.
//!
//! ```text
//!   Stream        messages, raw bytes                     stream
//!   Connection    one proven peer                         connection, table
//!   Endpoint      dialling, accepting, limits             endpoint, dial, incoming, gate
//!   quinn         QUIC, TLS 1.3                           tls, reset
//!   Paths         direct paths of a session: probing, choosing  paths, session
//!   Demultiplexer first byte: QUIC or a frame of ours     socket
//!   Tunnels       the same datagrams over TCP             tunnel
//!   DatagramSocket  the system's UDP socket, or `simnet`  socket, simnet
//! ```
//!
//! * **Identity**: each side presents a self-signed certificate of its Ed25519 key. The dialler
//!   accepts exactly the node that it dialled; the dialled one accepts any node, and leaves what
//!   it may do to its credential. Sessions are not resumed, and no 0-RTT data is sent or taken:
//!   early data can be replayed, and resumption skips the certificate.
//! * **One connection a peer** is the rule: [`Endpoint::connect`] uses a live one again. Two that
//!   cross both live, and both sides choose the same for new streams.
//! * **Everything is bounded**: connections each way, handshakes and dials under way, handshakes of
//!   one address, streams and unread bytes of one connection, the queue of accepted connections.
//!   Each limit is a setting of [`EndpointConfig`] or a named constant, and has a counter in
//!   [`EndpointStats`].
//! * **Errors say whose fault it is**: see [`Fault`].
//! * **Time** is tokio's: under a paused clock whole nodes run in virtual time over the
//!   network in memory that the feature `simnet` adds.

mod clock;
mod config;
mod congestion;
mod connection;
mod crowd;
mod dial;
mod endpoint;
mod error;
mod everywhere;
mod gate;
mod incoming;
pub mod paths;
mod reach;
pub mod relay;
mod reset;
pub mod session;
#[cfg(feature = "simnet")]
pub mod simnet;
mod socket;
mod stats;
mod stream;
mod table;
mod tls;
pub mod tunnel;

pub use config::{ConfigError, EndpointConfig};
pub use connection::{Connection, ConnectionStats};
pub use endpoint::Endpoint;
pub use error::{BindError, CloseReason, ConnectionError, DialError, Fault, StreamError};
pub use everywhere::{bind_everywhere, is_public, listening};
pub use reach::reaches;
pub use socket::{
    AlwaysWritable, DatagramSocket, EcnCodepoint, RecvMeta, Transmit, UdpSocket, WritePoller,
};
pub use stats::EndpointStats;
pub use stream::{FrameReceiver, FrameSender, Stream};
pub use tls::CertificateFailure;
pub use tunnel::{TunnelPorts, UdpState, Way};
