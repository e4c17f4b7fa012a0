//! What the local API says of services, chat, buddies and files for people.
//!
//! | call | answers with |
//! |---|---|
//! | `POST /v1/pipes` with [`OpenPipe`] and `Upgrade: skein-pipe` | 101; then both directions are pieces, see [`crate::services::PieceReader`] |
//! | `POST /v1/pipes/look` with [`OpenPipe`] | 204 if the peer would open it; nothing is connected to |
//! | `GET /v1/services` | a list of [`OfferedService`] |
//! | `POST /v1/services` with [`AddService`] | [`OfferedService`] |
//! | `DELETE /v1/services/{name}` | 204 |

use serde::{Deserialize, Serialize};
use skein_proto::Username;
use std::net::SocketAddr;

/// What an upgraded connection of the local API speaks.
pub const PIPE_PROTOCOL: &str = "skein-pipe";

/// Opens a service of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPipe {
    /// `@name`, `@name/NODE` or a node id.
    pub peer: String,
    /// The name of the service.
    pub service: String,
    /// Whether packets are wanted, one in each piece, instead of a stream of bytes.
    #[serde(default)]
    pub datagrams: bool,
}

/// Offers a service, in place of one that has this name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddService {
    /// Its name, such as `ssh`.
    pub name: String,
    /// The program behind it.
    pub target: SocketAddr,
    /// Whether it is a UDP port.
    #[serde(default)]
    pub udp: bool,
    /// Who may use it.
    pub allow: Vec<Username>,
}

/// A service that this node offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedService {
    /// Its name.
    pub name: String,
    /// The program behind it.
    pub target: SocketAddr,
    /// Whether it is a UDP port.
    #[serde(default)]
    pub udp: bool,
    /// Who may use it.
    pub allow: Vec<Username>,
}
