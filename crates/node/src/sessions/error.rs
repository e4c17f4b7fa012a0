//! Why there is no session.

use super::NodeMark;
use skein_net::{ConnectionError, DialError};
use skein_proto::session::{OfferRefusal, SlotRefusal};
use skein_proto::{NodeId, Username};
use thiserror::Error;

/// Why there is no session. Each message says what the user can do, where something can be done.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer is this node itself (the user's mistake).
    #[error("that is this node itself")]
    Own,
    /// This node has no valid credential (local).
    #[error("sessions need a name: run `skein register NAME`, or `skein login NAME`")]
    NotMember,
    /// This node is attached to nobody at present (network).
    #[error("not attached to a supernode: `skein status` says why, and when it tries again")]
    NotAttached,
    /// The user looks up too much (local).
    #[error("too many look-ups in a short time: try again in a moment")]
    OverBudget,
    /// The directory does not answer (network).
    #[error("none of the supernodes that keep that name answers: try again in a minute")]
    DirectoryUnreachable,
    /// The supernodes that keep the name are new to it and do not know yet (network).
    #[error(
        "the supernodes that keep that name have just come to keep it and are still fetching what \
         there is: try again in a minute"
    )]
    DirectoryFetching,
    /// The directory knows no node of that name.
    #[error(
        "the directory knows no node of @{0}: it was not online lately, or nobody has that name"
    )]
    Unknown(Username),
    /// The directory knows no such node of that name.
    #[error("@{name} has no node {node}: `skein find @{name}` shows those that it has")]
    NoSuchNode {
        /// The name.
        name: Username,
        /// The node.
        node: NodeMark,
    },
    /// None of the name's nodes is there.
    #[error("@{0} is not online")]
    Offline(Username),
    /// Nobody knows where a node without a name is.
    #[error("nothing is known of node {}: name its user as well, as @NAME/NODE", .0.short())]
    Nameless(NodeId),
    /// A supernode on the way, or the peer, refused the offer.
    #[error("no session: {0}")]
    Refused(OfferRefusal),
    /// No supernode relays for this node, and the peer cannot be reached directly.
    #[error("no relay for a session: {0}")]
    NoRelay(NoSlot),
    /// Nothing came back in time (network).
    #[error(
        "the peer did not answer in time: it may be about to go, or to come; try again in a minute"
    )]
    Silent,
    /// The connection over the path that was agreed on did not come up (network, or the peer).
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection has ended.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The peer has not taken up the session that this node began over a connection (peer).
    #[error("the peer takes no more sessions now: try again in a minute")]
    NotTaken,
    /// The peer did not show whose node it is (peer).
    #[error("the peer did not show a valid credential")]
    Unproven,
    /// As many sessions are open as may be (local).
    #[error(
        "{0} sessions are open, as many as may be: end some, or wait a minute until unused ones end"
    )]
    TooMany(usize),
    /// The daemon ends.
    #[error("the daemon is ending")]
    Ending,
}

/// Why there is no slot at a relay for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoSlot {
    /// A supernode that was asked has refused (peer); of several the last.
    #[error("{0}")]
    Refused(SlotRefusal),
    /// None of the supernodes that were asked has answered in time (network).
    #[error("the supernodes that were asked do not answer: try again in a minute")]
    Silent,
    /// No supernode is left that could be asked (network).
    #[error("this node is linked with no other supernode that could relay for it")]
    NobodyToAsk,
}

impl NoSlot {
    /// Of two reasons the one that says more: the later one, but for a refusal, which is somebody's word.
    pub(super) fn or(self, later: Self) -> Self {
        match (self, later) {
            (Self::Refused(_), Self::Silent | Self::NobodyToAsk)
            | (Self::Silent, Self::NobodyToAsk) => self,
            _ => later,
        }
    }
}

impl SessionError {
    /// Whether a path without a relay may work all the same.
    pub(super) fn may_be_the_relays(&self) -> bool {
        matches!(
            self,
            Self::NoRelay(_)
                | Self::Silent
                | Self::Dial(_)
                | Self::Refused(
                    OfferRefusal::NoPath | OfferRefusal::NotHere | OfferRefusal::ParentUnreachable
                )
        )
    }

    /// Whether this node could have opened a session with nobody.
    pub(crate) fn is_local(&self) -> bool {
        matches!(
            self,
            Self::NotMember
                | Self::NotAttached
                | Self::OverBudget
                | Self::TooMany(_)
                | Self::Ending
                | Self::Refused(OfferRefusal::TooFast)
        )
    }

    /// Whether it may work in some seconds, without anything having been wrong with the peer.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::OverBudget
                | Self::TooMany(_)
                | Self::NotTaken
                | Self::Refused(OfferRefusal::TooFast | OfferRefusal::Busy)
        )
    }
}
