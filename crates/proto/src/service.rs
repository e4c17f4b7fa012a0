//! What people do on a session with a peer: use a service of its machine. Each use begins a stream of
//! its own on a connection over which both ends have said who they are (see [`crate::session`]).

use crate::bounded::BoundedString;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a service carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Carry {
    /// Bytes in order, on the stream itself.
    Stream {
        /// So many bytes may be sent to the sender of this before it has asked for more.
        window: u32,
    },
    /// Packets that may get lost, as datagrams of the connection.
    Datagrams {
        /// The number in front of each packet that is meant for the sender of this.
        flow: u32,
    },
    /// Nothing: it is only asked whether the service could be had. The program behind it is left
    /// alone.
    Nothing {
        /// Whether it is asked for packets; else for bytes in order.
        packets: bool,
    },
}

/// Asks for a service of the peer's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenService {
    /// Its name.
    pub service: BoundedString<32>,
    /// What it is to carry.
    pub carry: Carry,
}

/// Why a service is not had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceRefusal {
    /// There is no such service, or not for the asker: which of the two is nobody's business.
    #[error("no such service is offered to you")]
    NotAllowed,
    /// The program behind it does not answer.
    #[error("the program behind the service does not answer")]
    NoAnswer,
    /// As many are in use as may be.
    #[error("too many of the services there are in use")]
    Busy,
}

/// The answer to [`OpenService`]; for a stream of bytes they follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReply {
    /// What the answering side takes, or why nothing.
    pub outcome: Result<Carry, ServiceRefusal>,
}
