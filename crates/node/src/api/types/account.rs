//! What the local API is told about names: taking a new one, adding this node to one, and casting a
//! node out.

use serde::{Deserialize, Serialize};
use skein_proto::NodeId;
use skein_proto::login::Password;

/// Takes a new name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterAccount {
    /// The name, as typed.
    pub name: String,
    /// Its password.
    pub password: Password,
    /// An invite code.
    pub invite: Option<String>,
    /// The network, where none is set yet or another is wanted.
    pub ticket: Option<String>,
    /// Whether the node shall leave the network in which it has a name, for that of the ticket.
    /// Without it, the ticket of another network is refused.
    #[serde(default)]
    pub replace_network: bool,
}

/// Adds this node to a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginAccount {
    /// The name, as typed.
    pub name: String,
    /// Its password.
    pub password: Password,
    /// The network, where none is set yet or another is wanted.
    pub ticket: Option<String>,
    /// Whether the node shall leave the network in which it has a name, for that of the ticket.
    /// Without it, the ticket of another network is refused.
    #[serde(default)]
    pub replace_network: bool,
}

/// Casts another node of this node's name out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeNode {
    /// The node.
    pub node: NodeId,
    /// The password of the name.
    pub password: Password,
}
