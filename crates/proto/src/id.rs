//! Names that are numbers: who a node is, what a file is, which query this is.

use crate::octets;
use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The text is not an id of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{found:?} is not {expected}")]
pub struct ParseIdError {
    found: String,
    expected: &'static str,
}

fn parse_error(text: &str, expected: &'static str) -> ParseIdError {
    // The text is a stranger's: quote only as much as a right id would have.
    ParseIdError { found: text.chars().take(64).collect(), expected }
}

/// Who a node is: its Ed25519 public key (RFC 8032), 32 bytes.
///
/// In text it is 52 characters of lower-case base 32 (RFC 4648 without padding), so that it
/// cannot be taken for a [`ContentId`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId([u8; 32]);

/// What a file is: the BLAKE3 root hash of its bytes, 32 bytes; in text 64 hexadecimal digits,
/// as `b3sum` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentId([u8; 32]);

/// Which query this is: 16 random bytes, drawn by the node that asks.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueryId([u8; 16]);

/// Names a session between two peers: 16 random bytes, drawn by the caller.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 16]);

/// Names a message from person to person: 16 random bytes, drawn by the sender.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChatId([u8; 16]);

/// Names the offer of a file from one person to another: 16 random bytes, drawn by the sender.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OfferId([u8; 16]);

macro_rules! bytes_newtype {
    ($name:ident, $len:literal) => {
        impl $name {
            /// Wraps the raw bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first ten characters of the text form: enough for people to tell two apart.
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(10);
                text
            }
        }

        impl Ord for $name {
            /// The order of the bytes. The first eight nearly always decide, in one step.
            #[inline]
            fn cmp(&self, other: &Self) -> Ordering {
                let first = |id: &Self| id.0.first_chunk().map_or(0, |it| u64::from_be_bytes(*it));
                first(self).cmp(&first(other)).then_with(|| self.0.cmp(&other.0))
            }
        }

        impl PartialOrd for $name {
            #[inline]
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    octets::serialize(&self.0, serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                    text.parse().map_err(D::Error::custom)
                } else {
                    octets::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

bytes_newtype!(NodeId, 32);
bytes_newtype!(ContentId, 32);
bytes_newtype!(QueryId, 16);
bytes_newtype!(SessionId, 16);
bytes_newtype!(ChatId, 16);
bytes_newtype!(OfferId, 16);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl FromStr for NodeId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        BASE32_NOPAD
            .decode(text.trim().to_ascii_uppercase().as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| parse_error(text, "a node id (52 letters and digits)"))
    }
}

/// The text form of an id: hexadecimal digits.
macro_rules! written_in_hex {
    ($name:ident, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                HEXLOWER_PERMISSIVE
                    .decode(text.trim().as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| parse_error(text, $what))
            }
        }
    };
}

written_in_hex!(ContentId, "a content id (64 hexadecimal digits)");
written_in_hex!(SessionId, "a session id (32 hexadecimal digits)");
written_in_hex!(ChatId, "the id of a message (32 hexadecimal digits)");
written_in_hex!(OfferId, "the id of an offer (32 hexadecimal digits)");
written_in_hex!(QueryId, "a query id (32 hexadecimal digits)");

/// What stands for a node in a query: see [`QueryId::tag`].
pub type Tag = [u8; 3];

impl QueryId {
    /// The tag of a node in this query: 24 bits by which the supernodes that a search has covered
    /// are told apart. They are different for each query, so that nobody can choose an id that
    /// stands for another's. Of 10,000 supernodes six share theirs with another one.
    ///
    /// It is the upper 24 bits of what the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA
    /// 2014) makes of the first eight bytes of both ids, as little-endian numbers, exclusive-ored.
    #[inline]
    pub fn tag(&self, node: &NodeId) -> Tag {
        let first = |bytes: &[u8]| bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let mut mixed = first(&self.0) ^ first(&node.0);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let [.., a, b, c] = mixed.to_le_bytes();
        [a, b, c]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_id_survives_its_text_form(node in any::<[u8; 32]>(), query in any::<[u8; 16]>()) {
            let content = ContentId::from_bytes(node);
            let node = NodeId::from_bytes(node);
            let query = QueryId::from_bytes(query);
            prop_assert_eq!(node.to_string().parse::<NodeId>(), Ok(node));
            prop_assert_eq!(content.to_string().parse::<ContentId>(), Ok(content));
            prop_assert_eq!(query.to_string().parse::<QueryId>(), Ok(query));
        }

        #[test]
        fn ids_are_in_the_order_of_their_bytes(
            mut some in proptest::collection::vec(proptest::array::uniform16(0_u8..3), 2..40),
        ) {
            let mut ids: Vec<QueryId> = some.iter().copied().map(QueryId::from_bytes).collect();
            ids.sort_unstable();
            some.sort_unstable();
            prop_assert_eq!(ids.iter().map(|id| *id.as_bytes()).collect::<Vec<_>>(), some);
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,80}") {
            let _ = text.parse::<NodeId>();
            let _ = text.parse::<ContentId>();
            let _ = text.parse::<QueryId>();
        }
    }

    #[test]
    fn the_tag_of_a_node_is_what_the_protocol_says() {
        let (query, node) = (QueryId::from_bytes([0; 16]), NodeId::from_bytes([0; 32]));
        assert_eq!(query.tag(&node), [0; 3]);
        let query = QueryId::from_bytes([1; 16]);
        let tags: std::collections::BTreeSet<_> =
            (0..100).map(|n| query.tag(&NodeId::from_bytes([n; 32]))).collect();
        assert!(tags.contains(&[5, 198, 38]) && tags.len() == 100, "{} tags", tags.len());
    }

    #[test]
    fn a_node_id_is_not_a_content_id() {
        let node = NodeId::from_bytes([7; 32]).to_string();
        assert!(node.parse::<ContentId>().is_err());
    }
}
