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
    NodeOf(Username, NodeMark),
    /// A node by its id alone.
    Node(NodeId),
}

/// One of a user's nodes: its id, or what begins its id, as people are shown it everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeMark(String);

impl NodeMark {
    /// The shortest beginning that counts, in characters.
    pub const SHORTEST: usize = 10;

    fn parse(text: &str) -> Option<Self> {
        let is_beginning = || {
            (Self::SHORTEST..NODE_CHARS).contains(&text.len())
                && text.chars().all(|c| matches!(c.to_ascii_lowercase(), 'a'..='z' | '2'..='7'))
        };
        let whole = || text.parse::<NodeId>().is_ok();
        (is_beginning() || whole()).then(|| Self(text.to_ascii_lowercase()))
    }

    /// Whether this node is meant.
    pub fn is_of(&self, node: &NodeId) -> bool {
        node.to_string().starts_with(&self.0)
    }

    /// The node, if its whole id was given.
    pub fn whole(&self) -> Option<NodeId> {
        self.0.parse().ok()
    }
}

impl From<NodeId> for NodeMark {
    fn from(node: NodeId) -> Self {
        Self(node.to_string())
    }
}

impl fmt::Display for NodeMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Characters of a node id as text.
const NODE_CHARS: usize = 52;

/// A text that names no peer. It is the user's mistake.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no peer: give @NAME, @NAME/NODE (a node's id, or its beginning as `skein find @NAME` \
     shows it) or a whole node id"
)]
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
            Some((user, node)) => {
                Ok(Self::NodeOf(name(user)?, NodeMark::parse(node).ok_or_else(wrong)?))
            }
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
        let short = format!("@alice/{}", node.short());
        for text in ["@alice".to_owned(), format!("@alice/{node}"), short, node.to_string()] {
            assert_eq!(text.parse::<PeerName>().unwrap().to_string(), text);
        }
        assert_eq!("alice".parse::<PeerName>().unwrap().to_string(), "@alice");
        let long = format!("@alice/{node}a");
        for bad in ["", "@", "@alice/", "@a lice", "@alice/bob", "@alice/abcdefgh01", &long] {
            assert!(bad.parse::<PeerName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_node_is_meant_by_the_beginning_of_its_id() {
        let [node, other] = [7, 8].map(|byte| NodeId::from_bytes([byte; 32]));
        let mark = NodeMark::parse(&node.short().to_uppercase()).unwrap();
        assert!(mark.is_of(&node) && !mark.is_of(&other));
        assert_eq!((mark.whole(), NodeMark::from(node).whole()), (None, Some(node)));
    }
}
