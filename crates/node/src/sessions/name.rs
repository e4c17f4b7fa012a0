//! How a user names a peer.

use skein_proto::{NodeId, Username};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// How a user names a peer: `@name` is the name's node that is online, `@name/NODE` one of
/// several, and a node id alone one that this node is connected with, or a supernode.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerName {
    /// Any node of a user.
    User(Username),
    /// A certain node of a user.
    NodeOf(Username, NodeId),
    /// A node by its id alone.
    Node(NodeId),
}

/// A text that names no peer. It is the user's mistake.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no peer: give @NAME, @NAME/NODE or a node id")]
pub struct PeerNameError(String);

impl FromStr for PeerName {
    type Err = PeerNameError;

    fn from_str(text: &str) -> Result<Self, PeerNameError> {
        let wrong = || PeerNameError(text.to_owned());
        if let Ok(node) = text.parse() {
            return Ok(Self::Node(node));
        }
        let name = |text: &str| {
            Username::parse(text.strip_prefix('@').unwrap_or(text)).map_err(|_| wrong())
        };
        match text.split_once('/') {
            Some((user, node)) => Ok(Self::NodeOf(name(user)?, node.parse().map_err(|_| wrong())?)),
            None => Ok(Self::User(name(text)?)),
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "@{name}"),
            Self::NodeOf(name, node) => write!(f, "@{name}/{node}"),
            Self::Node(node) => write!(f, "{node}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_way_to_name_a_peer_is_read_and_written() {
        let node = NodeId::from_bytes([7; 32]);
        for text in ["@alice".to_owned(), format!("@alice/{node}"), node.to_string()] {
            assert_eq!(text.parse::<PeerName>().unwrap().to_string(), text);
        }
        assert_eq!("alice".parse::<PeerName>().unwrap().to_string(), "@alice");
        for bad in ["", "@", "@alice/", "@a lice", "@alice/bob"] {
            assert!(bad.parse::<PeerName>().is_err(), "{bad:?}");
        }
    }
}
