//! The vocabulary of Skein: ids, keys, credentials, evidence, wire messages and the codec.
//!
//! Everything here is a value. Nothing here opens a socket, reads a file, asks for the time or
//! draws a random number: whoever needs one of those passes it in.
//!
//! Everything that a peer can send has a bound that is enforced while it is decoded, see
//! [`bounded`] and [`codec`].

pub mod bounded;
pub mod budget;
pub mod chat;
pub mod codec;
mod common;
pub mod credential;
pub mod directory;
pub mod election;
pub mod evidence;
pub mod fetch;
pub mod file;
pub mod id;
pub mod inbox;
pub mod key;
pub mod login;
pub mod membership;
pub mod message;
pub mod misconduct;
pub mod name;
mod octets;
pub mod pack;
pub mod query;
pub mod routing;
pub mod rumour;
pub mod service;
pub mod session;
pub mod supernode;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod ticket;
pub mod time;
pub mod wish;

pub use bounded::{BoundedString, BoundedVec};
pub use codec::{CodecError, Decoded};
pub use common::Common;
pub use credential::{Credential, CredentialError, SignedCredential};
pub use file::{FileMeta, FilePath, Kind, MediaTags};
pub use id::{ChatId, ContentId, NodeId, OfferId, QueryId, SessionId, Tag};
pub use key::{KeyPair, Signature, Signed};
pub use message::{Message, Role};
pub use name::{NameError, Username};
pub use query::{Ask, Filter, HitGroup, Owner, Query};
pub use rumour::{Place, Rumour};
pub use supernode::{SupernodeEntry, SupernodeList};
pub use ticket::{Ticket, TicketError};
pub use time::{Instant, UnixTime};
