//! Sessions between peers: what the two ends and their parents say to each other before there is
//! a path, and what the two ends say over it.
//!
//! An offer is signed by the caller and an answer by the callee, over the session's random id, both
//! ends and an expiry: whoever carries them can withhold them, and neither change one nor use it for
//! another session.
//!
//! The keys of relays' slots travel inside them, sealed for the other end ([`KeySeal`]).

mod seal;

pub use seal::{KeySeal, SealedKey};

use crate::bounded::BoundedVec;
use crate::credential::SignedCredential;
use crate::id::{NodeId, SessionId};
use crate::key::{Signed, Statement};
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;

/// How long an offer is good for: the longest way through two parents, twice, and clocks that
/// differ a little more than most do.
pub const OFFER_LIFE: Duration = Duration::from_secs(60);

/// The longest datagram that an offer carries: what passes every path of IPv6. QUIC's first packets
/// have 1,200 bytes (RFC 9000, section 14.1).
pub const MAX_FIRST: usize = 1_232;

/// The key of a slot's end; it is a secret of the relay and that end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SlotKey(pub [u8; 32]);

impl fmt::Debug for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlotKey(..)")
    }
}

/// Asks a supernode for a slot of its relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskSlot {
    /// Comes back in the answer.
    pub number: u64,
}

/// Gives a slot back that the sender's name was granted, and needs no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseSlot {
    /// Its number.
    pub slot: u64,
}

/// A slot of a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotGrant {
    /// Its number, 56 random bits.
    pub slot: u64,
    /// A key for each end; the asker's comes first.
    pub keys: [SlotKey; 2],
    /// Where the relay is.
    pub addresses: BoundedVec<SocketAddr, 4>,
    /// Bytes a second that it moves at most, both directions together.
    pub rate: u32,
    /// After how many seconds without a packet it is taken back.
    pub idle_secs: u32,
    /// How much of what the donor gives is in use.
    pub load_percent: u8,
    /// The asker's end is bound already, to where the connection comes from that it asked over.
    pub bound: bool,
}

/// Why no slot is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum SlotRefusal {
    /// The donor does not relay, or is no supernode.
    #[error("it does not relay")]
    OptedOut,
    /// All slots are taken.
    #[error("all slots of the relay are taken")]
    Full,
    /// The name has as many slots as one may have.
    #[error("your name has as many slots of this relay as one may have")]
    TooMany,
    /// The asker showed no valid credential.
    #[error("it wants a valid credential")]
    NoCredential,
    /// The asker does too much too fast.
    #[error("it asks to slow down")]
    TooFast,
}

/// The answer to [`AskSlot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotReply {
    /// That of the question.
    pub number: u64,
    /// The slot, or why there is none.
    pub outcome: Result<SlotGrant, SlotRefusal>,
}

/// What kind of router stands between a node and the others (RFC 4787).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatKind {
    /// It has not been found out.
    #[default]
    Unknown,
    /// None: others see the address that the node has.
    Public,
    /// One mapping for all that are sent to.
    Cone,
    /// Another mapping for each that is sent to.
    Symmetric,
    /// No UDP gets out at all.
    UdpBlocked,
}

/// How a node knows an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CandidateKind {
    /// An interface of the machine has it.
    Local,
    /// Others see the node there.
    Observed,
    /// A router has promised it.
    Mapped,
    /// Guessed: the router's next mapping, where it takes regular steps.
    Predicted,
}

/// An address at which a node may be reached directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// The address.
    pub address: SocketAddr,
    /// How the node knows it.
    pub kind: CandidateKind,
}

/// An end of a relay's slot, for whoever is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayEnd {
    /// The relay.
    pub relay: NodeId,
    /// Where it is.
    pub addresses: BoundedVec<SocketAddr, 4>,
    /// The slot.
    pub slot: u64,
    /// The receiver's key to it, sealed by the sender.
    pub key: SealedKey,
    /// The sender's round trip to the relay in microseconds.
    pub rtt_us: u32,
    /// How much of what the donor gives is in use.
    pub load_percent: u8,
}

/// What a caller signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Names the session; drawn at random by the caller.
    pub session: SessionId,
    /// The caller.
    pub from: NodeId,
    /// The callee.
    pub to: NodeId,
    /// From when on it is worthless.
    pub expires: UnixTime,
    /// What stands between the caller and others.
    pub nat: NatKind,
    /// Where the caller may be reached directly; none if it does not want to be.
    pub candidates: BoundedVec<Candidate, 24>,
    /// Relays with slots for this session, the best first.
    pub relays: BoundedVec<RelayEnd, 3>,
    /// The datagram with which the caller's dial begins: the callee answers it over the first of
    /// the relays. Nothing, or what the callee cannot read, and the dial begins when the offer has
    /// been answered.
    pub first: BoundedVec<u8, MAX_FIRST>,
}

impl Statement for Offer {
    const CONTEXT: &'static str = "skein session offer 1";
}

/// What a callee signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The offer's session.
    pub session: SessionId,
    /// The caller.
    pub from: NodeId,
    /// The callee, who signs this.
    pub to: NodeId,
    /// From when on it is worthless.
    pub expires: UnixTime,
    /// What stands between the callee and others.
    pub nat: NatKind,
    /// Where the callee may be reached directly; none if it does not want to be.
    pub candidates: BoundedVec<Candidate, 24>,
    /// The callee's round trip in microseconds to each relay of the offer, where it could bind its
    /// end.
    pub bound: BoundedVec<Option<u32>, 3>,
    /// Relays with slots that the callee adds.
    pub relays: BoundedVec<RelayEnd, 3>,
}

impl Statement for Answer {
    const CONTEXT: &'static str = "skein session answer 1";
}

/// Asks for a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOffer {
    /// Signed by the caller.
    pub offer: Signed<Offer>,
    /// The caller's.
    pub credential: SignedCredential,
    /// The supernode that the callee is attached to, or the callee itself where that is one.
    pub at: NodeId,
}

/// Takes a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionAnswer {
    /// Signed by the callee.
    pub answer: Signed<Answer>,
    /// The callee's.
    pub credential: SignedCredential,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum OfferRefusal {
    /// The callee is not attached where it was looked for.
    #[error("it is not attached where the directory says that it is")]
    NotHere,
    /// The supernode that the callee is attached to cannot be reached.
    #[error("its parent cannot be reached")]
    ParentUnreachable,
    /// The caller has asked for too much lately.
    #[error("too many sessions were asked for in a short time")]
    TooFast,
    /// The offer breaks a rule: forged, expired, or without a valid credential.
    #[error("the offer was not accepted as genuine; is the clock of this machine right?")]
    Unsound,
    /// The callee takes no sessions, or not this caller's.
    #[error("it does not want to")]
    NotWilling,
    /// The callee, or a supernode on the way, has as many as it can hold.
    #[error("it is busy")]
    Busy,
    /// The callee could bind no relay that was offered and has none to add.
    #[error("no relay works for both ends")]
    NoPath,
}

/// There will be no session. It is not signed: whoever could forge it could drop the offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRefused {
    /// The offer's session.
    pub session: SessionId,
    /// Why.
    pub reason: OfferRefusal,
}

/// Says over a connection between peers whose node the sender is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionHello {
    /// The session that the connection belongs to; nothing if it was dialled without one.
    pub session: Option<SessionId>,
    /// The sender's.
    pub credential: SignedCredential,
    /// What stands between the sender and others.
    pub nat: NatKind,
}

/// News about the paths of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionNews {
    /// The sender has bound its end of a slot: bind yours, for the time when it is needed.
    Reserve(RelayEnd),
    /// The receiver's end of that slot is bound, too.
    Bound {
        /// The relay.
        relay: NodeId,
        /// The slot.
        slot: u64,
        /// The sender's round trip to it in microseconds.
        rtt_us: u32,
    },
    /// The sender could not bind its end of that slot.
    Unbound {
        /// The relay.
        relay: NodeId,
        /// The slot.
        slot: u64,
    },
    /// The sender sends over that slot from now on.
    Moved {
        /// The slot.
        slot: u64,
    },
    /// The sender has moved, or its router has: from now on it may be reached there, and no more
    /// where it said before.
    Whereabouts {
        /// What stands between the sender and others.
        nat: NatKind,
        /// Its addresses; none if it wants no direct path.
        candidates: BoundedVec<Candidate, 24>,
    },
    /// Whose node a relay is that the sender has named: the relay has shown this credential. It is
    /// for people, who know names and no ids.
    Relay(Box<SignedCredential>),
}

/// Asks for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPing {
    /// Comes back in the answer.
    pub number: u64,
}

/// The answer to [`SessionPing`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPong {
    /// That of the question.
    pub number: u64,
    /// What stands between the sender and others.
    pub nat: NatKind,
    /// The relay that the sender sends over; none if it sends directly.
    pub relay: Option<NodeId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyPair;

    fn offer(from: &KeyPair, to: &KeyPair) -> Offer {
        Offer {
            session: SessionId::from_bytes([1; 16]),
            from: from.node_id(),
            to: to.node_id(),
            expires: UnixTime(60),
            nat: NatKind::Unknown,
            candidates: BoundedVec::default(),
            relays: BoundedVec::default(),
            first: BoundedVec::default(),
        }
    }

    #[test]
    fn an_offer_for_one_callee_is_none_for_another() {
        let (caller, callee) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let signed = Signed::new(offer(&caller, &callee), &caller);
        assert!(signed.verify(&caller.node_id()).is_ok());
        assert!(signed.verify(&callee.node_id()).is_err(), "nobody else has signed it");
    }

    #[test]
    fn the_key_of_a_slot_is_not_printed() {
        assert_eq!(format!("{:?}", SlotKey([7; 32])), "SlotKey(..)");
    }
}
