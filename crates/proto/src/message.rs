//! Every wire message: its number, its fields, its largest size, and who may send it when.
//!
//! `docs/protocol.md` tells the same for people. Rules of growth:
//!
//! * the fields of a message never change once released;
//! * a message grows by an *extension block* behind its body, which older nodes skip
//!   (see [`crate::codec`]);
//! * anything else is a new message, with a new number. Numbers below
//!   [`FIRST_CRITICAL_KIND`] may be skipped by whoever does not know them; from it on, not
//!   knowing the message means that the connection cannot go on.

use crate::bounded::{BoundedString, BoundedVec};
use crate::budget::{BudgetLeft, BudgetWanted, SpendReport};
use crate::chat::{ChatMessage, ChatReply};
use crate::codec::CodecError;
use crate::common::Common;
use crate::credential::SignedCredential;
use crate::directory::{Announce, ArcSent, ArcWanted, Find, Found, Put};
use crate::election::{
    Candidacy, DialBackReply, DialBackRequest, Invite, InviteReply, Redirect, Standing,
};
use crate::evidence::{GiveReceipt, ShowEvidence, Vouched};
use crate::fetch::{FetchReply, FetchRequest};
use crate::file::FileMeta;
use crate::id::{ContentId, NodeId, QueryId, Tag};
use crate::inbox::{OfferFile, OfferNews, WithdrawOffer};
use crate::login::{LoginReply, LoginRequest};
use crate::membership::{Gossip, GossipDigest, GossipInventory, GossipOffer, GossipWant};
use crate::misconduct::Accuse;
use crate::query::{Coverage, HitGroup, Query};
use crate::routing::{SharedBytes, TableUpdate};
use crate::service::{OpenService, ServiceReply};
use crate::session::{
    AskSlot, ReleaseSlot, SessionAnswer, SessionHello, SessionNews, SessionOffer, SessionPing,
    SessionPong, SessionRefused, SlotReply,
};
use crate::supernode::{Load, SupernodeEntry};
use crate::wish::{WishHit, WishUpdate};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The first number of the messages that may not be skipped.
pub const FIRST_CRITICAL_KIND: u16 = 0x8000;

const KIB: usize = 1024;

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident = $kind:literal, at most $limit:expr;)*) => {
        /// Any message.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Message {
            $($(#[$doc])* $name($name),)*
        }

        /// The number of a message on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum MessageKind {
            $($(#[$doc])* $name = $kind,)*
        }

        impl MessageKind {
            /// All kinds, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The kind with this number, if this version knows it.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($kind => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The largest body in bytes, extension blocks included.
            pub const fn limit(self) -> usize {
                match self { $(Self::$name => $limit,)* }
            }

            /// The name, for logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }

        impl Message {
            /// The number of this message.
            pub const fn kind(&self) -> MessageKind {
                match self { $(Self::$name(_) => MessageKind::$name,)* }
            }

            pub(crate) fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
                match self { $(Self::$name(body) => crate::codec::encode_into(body, out),)* }
            }

            pub(crate) fn body_len(&self) -> usize {
                match self { $(Self::$name(body) => crate::codec::encoded_len(body),)* }
            }

            pub(crate) fn decode_body(
                kind: MessageKind,
                bytes: &[u8],
            ) -> Result<(Self, usize), CodecError> {
                match kind {
                    $(MessageKind::$name => {
                        let (body, used) = crate::codec::decode_from::<$name>(bytes)?;
                        Ok((Self::$name(body), used))
                    })*
                }
            }
        }

        $(impl From<$name> for Message {
            fn from(body: $name) -> Self {
                Self::$name(body)
            }
        })*
    };
}

messages! {
    /// First on a control stream, by both sides.
    Hello = 1, at most 2 * KIB;
    /// How are you? By anyone, to a node that may be a supernode.
    Probe = 2, at most 64;
    /// The answer to `Probe`.
    ProbeReply = 3, at most 256;
    /// Take me as your child. By a credentialed node, to a supernode.
    Attach = 4, at most 256;
    /// The answer to `Attach`.
    AttachReply = 5, at most 8 * KIB;
    /// I am no longer your child, or you are no longer mine.
    Detach = 6, at most 256;
    /// Metadata that a child adds or takes back. To the active parent only.
    Publish = 7, at most 16 * KIB;
    /// How much of it the parent has taken in.
    PublishAck = 8, at most 256;
    /// A search. By a child, to its active parent.
    Search = 9, at most 2 * KIB;
    /// A search on its way from supernode to supernode. Between neighbours only.
    Flood = 10, at most 7 * KIB;
    /// Hits, on the reverse path of the query.
    Hits = 11, at most 64 * KIB;
    /// The end of a search, or of the part of it that was forwarded, with the last hits, on the
    /// reverse path.
    SearchDone = 12, at most 64 * KIB;
    /// The asker wants no more hits. On the path of the query.
    CancelSearch = 13, at most 256;
    /// Let us be neighbours. Between credentialed supernodes.
    Link = 14, at most KIB;
    /// The answer to `Link`.
    LinkReply = 15, at most 8 * KIB;
    /// Supernodes that the sender knows. By a supernode, to its children and neighbours.
    Supernodes = 16, at most 16 * KIB;
    /// A parent says how it is doing. By a supernode, to its children and neighbours.
    LoadUpdate = 17, at most 256;
    /// News of the epidemic, in full. Between neighbours only.
    Gossip = 18, at most 64 * KIB;
    /// Names news that the receiver may want. Between neighbours only.
    GossipOffer = 19, at most 16 * KIB;
    /// Asks for news that were offered. Between neighbours only.
    GossipWant = 20, at most 4 * KIB;
    /// What the sender holds, in short. Between neighbours only.
    GossipDigest = 21, at most 2 * KIB;
    /// What the sender holds in some parts of the ring. Between neighbours only.
    GossipInventory = 22, at most 32 * KIB;
    /// A query routing table, or its changes. Between neighbours only.
    TableUpdate = 24, at most 33 * KIB;
    /// A standing query. By a child, to its active parent.
    WishUpdate = 25, at most 2 * KIB;
    /// What was wished for. By a supernode, to the parent of whoever wished, and on to that one.
    WishHit = 26, at most 4 * KIB;
    /// A name has searched. By its parent, to those who keep the name's records.
    SpendReport = 28, at most 4 * KIB;
    /// Asks what is left of a name's budget. As `SpendReport`.
    BudgetWanted = 29, at most 256;
    /// The answer to `BudgetWanted`.
    BudgetLeft = 30, at most 256;
    /// What goes into the directory. By a child, to its active parent.
    Announce = 32, at most 16 * KIB;
    /// Records of the directory. By a supernode, to one that their keys belong to.
    Put = 33, at most 64 * KIB;
    /// Looks up a key of the directory. By a child, to its parent; by a supernode, to a holder.
    Find = 34, at most 256;
    /// The answer to `Find`.
    Found = 35, at most 48 * KIB;
    /// Asks for the records of an arc. By a supernode that it has come to belong to.
    ArcWanted = 36, at most 64;
    /// All records of the arc were sent.
    ArcSent = 37, at most 64;
    /// What a node says of itself as a supernode to be. By a child, to its active parent; by a
    /// supernode that wants to know whether it can be reached, to a neighbour.
    Candidacy = 40, at most 64;
    /// Become a supernode. By a supernode, to a child.
    Invite = 41, at most 64;
    /// The answer to `Invite`.
    InviteReply = 42, at most 64;
    /// Find out whether a node can be reached. Between supernodes.
    DialBackRequest = 43, at most 256;
    /// The answer to `DialBackRequest`.
    DialBackReply = 44, at most 64;
    /// How the receiver stands as a candidate. By whoever had its `Candidacy`.
    Standing = 45, at most 64;
    /// Move to another supernode. By a supernode, to a child.
    Redirect = 46, at most 256;
    /// The sender vouches for the receiver's time. By a supernode, to its children and neighbours.
    Vouched = 48, at most 512;
    /// Evidence about a name. By its owner, to its parent, or first on a stream of its own.
    ShowEvidence = 49, at most 24 * KIB;
    /// Misconduct that somebody's own signature proves. Between supernodes.
    Accuse = 50, at most KIB;
    /// Asks for a slot of a relay. By a credentialed node, to a supernode that it is linked with.
    AskSlot = 52, at most 64;
    /// The answer to `AskSlot`.
    SlotReply = 53, at most 512;
    /// Let us talk. By the caller, through its parent and the callee's, to the callee.
    SessionOffer = 54, at most 3 * KIB;
    /// The callee's answer, the same way back.
    SessionAnswer = 55, at most 2 * KIB;
    /// There will be no session. By anyone on that way, back to the caller.
    SessionRefused = 56, at most 64;
    /// First on a stream of its own of a connection between peers, by both sides: whose node it is.
    SessionHello = 57, at most 512;
    /// Behind `SessionHello`: news about the paths of the session.
    SessionNews = 58, at most 1_024;
    /// Are you there? First on a stream of its own, between peers, and again on the same.
    SessionPing = 59, at most 64;
    /// The answer to `SessionPing`.
    SessionPong = 60, at most 512;
    /// Gives a slot of a relay back. By whoever was granted it, to the relay.
    ReleaseSlot = 61, at most 64;
    /// A request to the login service, first on a stream of its own.
    LoginRequest = 64, at most 2 * KIB;
    /// The login service's answer.
    LoginReply = 65, at most 48 * KIB;
    /// Asks for a service of the peer's machine, first on a stream of its own.
    OpenService = 66, at most 64;
    /// The answer to `OpenService`; what the service says may follow it.
    ServiceReply = 67, at most 64;
    /// What a person says to another one, first on a stream of its own, and again on the same.
    ChatMessage = 68, at most 5 * KIB;
    /// The answer to `ChatMessage`.
    ChatReply = 69, at most 64;
    /// Offers a file to a person. By either end of a session, first on a stream.
    OfferFile = 71, at most KIB;
    /// How an offer stands, and the answer to the other two.
    OfferNews = 72, at most 64;
    /// Takes an offer back. By its sender, first on a stream.
    WithdrawOffer = 73, at most 64;
    /// Asks for a part of a file, first on a stream of its own.
    FetchRequest = 80, at most 4 * KIB;
    /// The answer; the bytes follow it.
    FetchReply = 81, at most 4 * KIB;
    /// Bytes that the sender has received and verified, first on a stream of its own.
    GiveReceipt = 82, at most KIB;
}

/// What a node does for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It is, or wants to be, somebody's child.
    #[default]
    Ordinary,
    /// It holds children and has neighbours.
    Super,
}

/// What its user wants a node to be. It is never sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleSetting {
    /// What the network needs.
    #[default]
    Auto,
    /// Never a supernode.
    Ordinary,
    /// Always a supernode.
    Super,
}

/// First on a control stream, by both sides, and again when something in it has changed. Whoever
/// sends anything else first is hung up on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Program and version, for people.
    pub agent: BoundedString<64>,
    /// What the sender is at present.
    pub role: Role,
    /// The sender's credential; without it it is a guest.
    pub credential: Option<SignedCredential>,
    /// Where the sender listens; an unspecified address means the one that the receiver sees.
    pub listen: BoundedVec<SocketAddr, 4>,
    /// The address that the sender sees the receiver at; unspecified, or with port 0, if it says
    /// nothing.
    pub observed: SocketAddr,
}

/// Asks how the receiver is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe;

/// How the sender is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReply {
    /// What it is at present.
    pub role: Role,
    /// How full it is.
    pub load: Load,
}

/// What a child wants of a supernode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Bond {
    /// Index my metadata and search for me.
    Active,
    /// Keep a place for me: no metadata yet.
    Standby,
}

/// Asks to be taken as a child, or changes the bond of one that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Which bond.
    pub bond: Bond,
}

/// Why a supernode takes no child or neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// It holds as many as it can.
    #[error("it is full")]
    Full,
    /// It is no supernode.
    #[error("it is no supernode")]
    NotSuper,
    /// The asker showed no valid credential.
    #[error("it wants a valid credential")]
    NoCredential,
    /// The asker does too much too fast.
    #[error("it asks to slow down")]
    TooFast,
}

/// The answer to `Attach`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachReply {
    /// The bond that was agreed on, or why not.
    pub outcome: Result<Bond, Refusal>,
    /// Other supernodes, for the child's cache.
    pub others: BoundedVec<SupernodeEntry, 32>,
}

/// Why a bond or a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartingReason {
    /// The sender is shutting down.
    Leaving,
    /// The sender has no use for the link.
    Moved,
    /// The sender is no supernode any more.
    Demoted,
    /// The receiver broke a rule of the protocol.
    Misbehaved,
    /// The receiver's credential ran out.
    CredentialExpired,
    /// The child is another supernode's from now on, whose id this is, or a supernode itself.
    MovedTo(NodeId),
}

/// Ends a bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detach {
    /// Why.
    pub reason: PartingReason,
}

/// Contents that a [`Publish`] may take away, and as many that it may bring. As its bytes, which
/// bound the words that it may bring, they are few, so that no message keeps a supernode from its
/// other work for long.
pub const MAX_PUBLISHED: usize = 256;

/// A change of what a child shares. Removals are applied before additions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Counts up from 1 on each bond, without gaps.
    pub sequence: u64,
    /// Forget all that this child has published before. Set on the first one of a bond.
    pub reset: bool,
    /// Contents that are no longer shared.
    pub remove: BoundedVec<ContentId, MAX_PUBLISHED>,
    /// Contents that are shared; one that was there already is replaced.
    pub add: BoundedVec<FileMeta, MAX_PUBLISHED>,
}

/// Up to where a parent has taken in what its child published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishAck {
    /// The highest sequence taken in.
    pub sequence: u64,
    /// Records of this child that the parent now holds.
    pub records: u64,
    /// Records that it did not take since the child's quota is full.
    pub over_quota: u64,
}

/// A search by a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// Which query this is; the child draws it at random.
    pub id: QueryId,
    /// What is looked for.
    pub query: Query,
    /// How many hits are enough, 1 to 1,000.
    pub wanted: u16,
}

/// A search on its way among supernodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flood {
    /// What its hits and its end are told by: drawn anew by each supernode that passes it on, so
    /// that what is asked for one cannot be taken for what is asked for another.
    pub id: QueryId,
    /// Which search this is, as whoever began it drew it.
    pub search: QueryId,
    /// What is looked for.
    pub query: Common<Query>,
    /// How many hits are enough, 1 to 1,000.
    pub wanted: u16,
    /// How far it goes on from the receiver: 0, not at all; 1, to those of its neighbours whose
    /// table does not exclude them; from 2 on, to all of its neighbours with one less.
    pub hops_left: u8,
    /// Whether the receiver's own index is asked for: not where it has answered before.
    pub index: bool,
    /// The tags ([`QueryId::tag`]) of supernodes that were asked before or need not be, three bytes
    /// each: who looks at its neighbours' tables leaves these alone.
    pub besides: SharedBytes<6144>,
}

/// Some hits of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hits {
    /// Which query.
    pub id: QueryId,
    /// The hits.
    pub groups: BoundedVec<HitGroup, 64>,
}

/// The end of a query, or of the branch of it that the sender was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchDone {
    /// Which query.
    pub id: QueryId,
    /// What was reached.
    pub coverage: Coverage,
    /// The [tags](QueryId::tag) of the supernodes besides the sender that were asked, or did not
    /// have to be since their tables exclude them. To supernodes only.
    pub covered: BoundedVec<Tag, 2048>,
    /// The hits that were not sent before. Most of those asked have few, and say all in one message.
    pub groups: BoundedVec<HitGroup, 64>,
}

/// The asker wants no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelSearch {
    /// Which query.
    pub id: QueryId,
}

/// Asks to be neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// How full the sender is.
    pub load: Load,
}

/// The answer to `Link`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReply {
    /// How full the sender is, or why it refuses.
    pub outcome: Result<Load, Refusal>,
    /// Other supernodes.
    pub others: BoundedVec<SupernodeEntry, 32>,
}

/// Supernodes that the sender knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supernodes {
    /// The freshest ones.
    pub entries: BoundedVec<SupernodeEntry, 64>,
}

/// How the sender is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadUpdate {
    /// How full it is.
    pub load: Load,
}
