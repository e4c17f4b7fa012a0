//! What can go wrong, and whose fault it is.

use crate::config::ConfigError;
use crate::tls::CertificateFailure;
use skein_proto::message::PartingReason;
use skein_proto::{CodecError, NodeId};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;

/// Characters of a peer's text that are kept.
const MAX_TEXT: usize = 200;

/// Who caused an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// This node or its user: trying again with the same arguments fails again, or it was wanted.
    Local,
    /// The other node broke a rule or refused.
    Peer,
    /// Something between the two, or a node that is gone: trying again later may help.
    Network,
}

/// An endpoint cannot be bound. All of these are local.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another program uses the port.
    #[error("the port of {0} is in use by another program")]
    AddressInUse(SocketAddr),
    /// This machine has no such address.
    #[error("{0} is not an address of this machine")]
    AddressNotAvailable(SocketAddr),
    /// The system does not let this user bind it.
    #[error("this user may not bind {0}; ports below 1024 need a privilege")]
    NotPermitted(SocketAddr),
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key is unusable.
    #[error(transparent)]
    Certificate(#[from] CertificateFailure),
    /// The system refused for another reason.
    #[error("cannot open a socket at {address}: {source}")]
    Io {
        /// What was to be bound.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    pub(crate) fn from_io(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse(address),
            io::ErrorKind::AddrNotAvailable => Self::AddressNotAvailable(address),
            io::ErrorKind::PermissionDenied => Self::NotPermitted(address),
            _ => Self::Io { address, source },
        }
    }
}

/// A dial got no connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DialError {
    /// The caller gave no address to try (local).
    #[error("no address is known of node {}", .0.short())]
    NoAddresses(NodeId),
    /// The caller dialled this very node (local).
    #[error("a node does not dial itself")]
    Own,
    /// This node dials or holds as many as it may (local): try again when some have ended.
    #[error("over this node's limit of {limit} {what}")]
    OverLimit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The endpoint was closed (local).
    #[error("this endpoint is closed")]
    Closed,
    /// No address answered in time (network).
    #[error("node {} did not answer at any of {tried} addresses", .node.short())]
    Unreachable {
        /// Who was dialled.
        node: NodeId,
        /// How many addresses were tried.
        tried: usize,
    },
    /// Somebody else answered (peer): the address is out of date, or somebody is lying.
    #[error("{address} is not node {}, but {}", .expected.short(), .found.short())]
    WrongIdentity {
        /// Where it answered.
        address: SocketAddr,
        /// Who was dialled.
        expected: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// The node is there but takes no connection from us at present (peer).
    #[error("{address} refused the connection; it may be full")]
    Refused {
        /// Where it answered.
        address: SocketAddr,
    },
    /// What answers there is no node that this version can talk to (peer).
    #[error("{address} does not speak this protocol: {why}")]
    Incompatible {
        /// Where it answered.
        address: SocketAddr,
        /// What did not fit.
        why: String,
    },
}

impl DialError {
    /// Who caused it.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NoAddresses(_) | Self::Own | Self::OverLimit { .. } | Self::Closed => {
                Fault::Local
            }
            Self::Unreachable { .. } => Fault::Network,
            Self::WrongIdentity { .. } | Self::Refused { .. } | Self::Incompatible { .. } => {
                Fault::Peer
            }
        }
    }

    /// The weight of a failure that no answer of anybody stands behind.
    pub(crate) const SILENCE: u8 = 1;

    /// How much it tells, when several addresses failed in different ways.
    pub(crate) const fn weight(&self) -> u8 {
        match self {
            Self::Refused { .. } => 4,
            Self::WrongIdentity { .. } => 3,
            Self::Incompatible { .. } => 2,
            _ => Self::SILENCE,
        }
    }
}

/// What one side says when it closes a connection: a number on the wire (a QUIC application error
/// code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// 0: it was let go without a word, for example since another path won the race.
    Dropped,
    /// 1: what it was opened for is done.
    Done,
    /// 2: the sender is shutting down.
    Leaving,
    /// 3: the sender has too much to do.
    Busy,
    /// 4: the receiver broke a rule of the protocol.
    Misbehaved,
    /// 5: the receiver's credential is missing, expired or forged.
    NotAllowed,
    /// 6: the receiver has opened too many other connections since.
    Superseded,
    /// 7: the sender found a better parent.
    Moved,
    /// 8: the sender is no supernode any more.
    Demoted,
    /// Something that a later version says.
    Other(u32),
}

impl CloseReason {
    /// The number on the wire.
    pub const fn code(self) -> u32 {
        match self {
            Self::Dropped => 0,
            Self::Done => 1,
            Self::Leaving => 2,
            Self::Busy => 3,
            Self::Misbehaved => 4,
            Self::NotAllowed => 5,
            Self::Superseded => 6,
            Self::Moved => 7,
            Self::Demoted => 8,
            Self::Other(code) => code,
        }
    }

    /// The reason with this number.
    pub const fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Dropped,
            1 => Self::Done,
            2 => Self::Leaving,
            3 => Self::Busy,
            4 => Self::Misbehaved,
            5 => Self::NotAllowed,
            6 => Self::Superseded,
            7 => Self::Moved,
            8 => Self::Demoted,
            other => Self::Other(other),
        }
    }
}

impl From<PartingReason> for CloseReason {
    fn from(reason: PartingReason) -> Self {
        match reason {
            PartingReason::Leaving => Self::Leaving,
            PartingReason::Moved | PartingReason::MovedTo(_) => Self::Moved,
            PartingReason::Demoted => Self::Demoted,
            PartingReason::Misbehaved => Self::Misbehaved,
            PartingReason::CredentialExpired => Self::NotAllowed,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped => f.write_str("no reason given"),
            Self::Done => f.write_str("done"),
            Self::Leaving => f.write_str("shutting down"),
            Self::Busy => f.write_str("too busy"),
            Self::Misbehaved => f.write_str("a rule of the protocol was broken"),
            Self::NotAllowed => f.write_str("no valid credential"),
            Self::Superseded => f.write_str("replaced by a newer connection"),
            Self::Moved => f.write_str("moved to another parent"),
            Self::Demoted => f.write_str("no supernode any more"),
            Self::Other(code) => write!(f, "reason {code}"),
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// This side closed it (local).
    #[error("closed here: {0}")]
    ClosedHere(CloseReason),
    /// The peer closed it (peer).
    #[error("closed by the peer: {0}")]
    ClosedByPeer(CloseReason),
    /// Nothing was heard for longer than the idle timeout (network): the peer or the path is gone.
    #[error("the peer has not been heard of for too long")]
    TimedOut,
    /// The peer has forgotten the connection (network): it was restarted.
    #[error("the peer was restarted")]
    PeerRestarted,
    /// The peer broke the rules of QUIC or TLS, or says that this side did (peer).
    #[error("broken off: {0}")]
    Protocol(String),
}

impl ConnectionError {
    /// Who caused it.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::ClosedHere(_) => Fault::Local,
            Self::ClosedByPeer(_) | Self::Protocol(_) => Fault::Peer,
            Self::TimedOut | Self::PeerRestarted => Fault::Network,
        }
    }

    /// `said_here` is what this side gave as its reason, which QUIC does not keep.
    pub(crate) fn from_quinn(
        error: quinn::ConnectionError,
        said_here: Option<CloseReason>,
    ) -> Self {
        use quinn::ConnectionError as Quic;
        match error {
            Quic::ApplicationClosed(close) => {
                Self::ClosedByPeer(CloseReason::from_code(small(close.error_code)))
            }
            Quic::LocallyClosed => Self::ClosedHere(said_here.unwrap_or(CloseReason::Dropped)),
            Quic::TimedOut => Self::TimedOut,
            Quic::Reset => Self::PeerRestarted,
            other => Self::Protocol(printable(&other.to_string())),
        }
    }
}

/// A peer's text as it may be shown: without what a terminal takes for a command.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(MAX_TEXT).collect()
}

/// A code of our own range; a larger one that a stranger chose becomes the largest.
pub(crate) fn small(code: quinn::VarInt) -> u32 {
    u32::try_from(code.into_inner()).unwrap_or(u32::MAX)
}

/// A stream cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The connection below it ended; see there for whose fault it is.
    #[error("the connection ended: {0}")]
    Connection(#[from] ConnectionError),
    /// The peer gave up sending before the end (peer).
    #[error("the peer broke off sending (code {0})")]
    Reset(u32),
    /// The peer does not want the rest of what this side sends (peer).
    #[error("the peer wants no more (code {0})")]
    Stopped(u32),
    /// What came is no message (peer). The stream cannot be followed any further.
    #[error("the peer sent something that is no message: {0}")]
    Malformed(CodecError),
    /// The stream ended in the middle of a message (peer).
    #[error("the stream ended in the middle of a message")]
    Truncated,
    /// Nothing came for as long as the caller was willing to wait (network).
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    /// The caller put too much into a message (local).
    #[error("the message cannot be sent: {0}")]
    Unsendable(CodecError),
    /// The caller has finished or reset this stream already (local).
    #[error("the stream is finished")]
    Finished,
}

impl StreamError {
    /// Who caused it.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Connection(error) => error.fault(),
            Self::Reset(_) | Self::Stopped(_) | Self::Malformed(_) | Self::Truncated => Fault::Peer,
            Self::Silent(_) => Fault::Network,
            Self::Unsendable(_) | Self::Finished => Fault::Local,
        }
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match &error {
            StreamError::Connection(_) => io::ErrorKind::NotConnected,
            StreamError::Reset(_) => io::ErrorKind::ConnectionReset,
            StreamError::Stopped(_) | StreamError::Finished => io::ErrorKind::BrokenPipe,
            StreamError::Malformed(_) => io::ErrorKind::InvalidData,
            StreamError::Truncated => io::ErrorKind::UnexpectedEof,
            StreamError::Silent(_) => io::ErrorKind::TimedOut,
            StreamError::Unsendable(_) => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_cannot_command_a_terminal() {
        assert_eq!(printable("\x1b[2Jgone\u{9b}31m\n"), "[2Jgone31m");
        assert_eq!(printable(&"long".repeat(100)).len(), MAX_TEXT);
        let close = quinn::TransportErrorCode::PROTOCOL_VIOLATION;
        let close = quinn::ConnectionClose {
            error_code: close,
            frame_type: None,
            reason: b"\x1b]52;c;aGk=\x07".as_slice().into(),
        };
        let said =
            ConnectionError::from_quinn(quinn::ConnectionError::ConnectionClosed(close), None);
        assert!(!said.to_string().contains(|it: char| it.is_control()), "{said:?}");
    }

    #[test]
    fn every_close_reason_survives_its_number() {
        for code in 0..20 {
            assert_eq!(CloseReason::from_code(code).code(), code);
        }
    }
}
