//! What a node and the login service say to each other: one request, one reply, on a stream of
//! its own inside a connection on which both sides have proven their keys.

use crate::bounded::{BoundedString, BoundedVec, TooLong};
use crate::credential::SignedCredential;
use crate::id::NodeId;
use crate::key::Signed;
use crate::name::Username;
use crate::supernode::{Load, SupernodeList};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use zeroize::Zeroize;

/// A password on its way through the pinned connection: at most 256 bytes, never printed, wiped
/// when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(BoundedString<256>);

impl Password {
    /// The fewest characters that a new password may have (NIST SP 800-63B, section 5.1.1.2).
    pub const MIN_CHARS: usize = 8;

    /// Takes what a person typed.
    ///
    /// # Errors
    /// [`TooLong`] over 256 bytes.
    pub fn new(text: impl Into<String>) -> Result<Self, TooLong> {
        BoundedString::new(text).map(Self)
    }

    /// The bytes to be hashed.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether it is long enough for a new account.
    pub fn is_long_enough(&self) -> bool {
        self.0.chars().count() >= Self::MIN_CHARS
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.0).into_string();
        text.zeroize();
    }
}

/// What a node asks of the login service. The node itself is known from the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoginRequest {
    /// A new name, owned with this password, with this node as its first.
    Register {
        /// The name to take.
        name: Username,
        /// Its password from now on.
        password: Password,
        /// An invite code, where the policy asks for one.
        invite: Option<BoundedString<64>>,
    },
    /// Another node of an existing name, or the same one again after its credential ran out.
    Login {
        /// The name.
        name: Username,
        /// Its password.
        password: Password,
    },
    /// A fresh credential for a node that has one on record. No password: the connection has
    /// proven the node's key.
    Renew,
    /// Whether a node of this name shall get no more credentials.
    Revoke {
        /// The name.
        name: Username,
        /// Its password.
        password: Password,
        /// The node to cast out.
        node: NodeId,
    },
    /// The supernodes to try first. Needs no account.
    Bootstrap {
        /// Whether this node would be a supernode if the network has none.
        willing: bool,
        /// Where it listens; an unspecified address means the one that the service sees.
        listen: BoundedVec<SocketAddr, 4>,
    },
    /// A supernode says that it is up. Needs a valid credential on record.
    Report {
        /// How full it is.
        load: Load,
        /// Where it listens; an unspecified address means the one that the service sees.
        listen: BoundedVec<SocketAddr, 4>,
    },
}

/// What the login service answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoginReply {
    /// To register, log in and renew: the credential.
    Credential(SignedCredential),
    /// To a bootstrap request.
    Bootstrap {
        /// The supernodes to try, signed.
        list: Signed<SupernodeList>,
        /// The network has no supernode: be the first one.
        invited: bool,
        /// The address that the service sees the node at.
        observed: SocketAddr,
    },
    /// To a report: whether the service could reach the supernode from outside.
    Reported {
        /// Whether the dial-back from a fresh socket worked; only then it is listed.
        reachable: bool,
    },
    /// To a revocation: it is done.
    Revoked,
    /// No, and why.
    Refused(LoginRefusal),
}

/// Why the login service refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum LoginRefusal {
    /// The name, or one that looks like it, belongs to somebody.
    #[error(
        "that name, or one that looks like it, is taken: choose another, or `skein login` if it is yours"
    )]
    NameTaken,
    /// The name does not exist or the password is wrong; which of the two is not said.
    #[error("wrong name or password")]
    WrongPassword,
    /// A new password is too short.
    #[error("a password has at least 8 characters")]
    WeakPassword,
    /// The service registers only with an invite code.
    #[error("this network needs an invite code: ask a member for one and give it with --invite")]
    InviteNeeded,
    /// The invite code is unknown or used up.
    #[error("that invite code is not valid or already used")]
    BadInvite,
    /// The service registers nobody.
    #[error("this network takes no new members")]
    Closed,
    /// Too many attempts from this address or for this name.
    #[error("too many attempts: try again in {retry_secs} s")]
    RateLimited {
        /// When to try again, in seconds.
        retry_secs: u32,
    },
    /// This node was revoked.
    #[error(
        "this node was revoked by its owner, for good: log in with another data folder (--data-dir), \
             where the node gets a new key"
    )]
    NodeRevoked,
    /// This node belongs to no account, or to another one.
    #[error("this node is not registered: run `skein register` or `skein login`")]
    NotRegistered,
    /// This node key belongs to another name already.
    #[error("this node already belongs to another name: use another --data-dir for a second name")]
    OtherName,
    /// The name owns as many nodes as it may.
    #[error("this name has as many nodes as it may: revoke one first")]
    TooManyNodes,
    /// The service's store is out of order.
    #[error("the login service cannot answer now: try again later")]
    Unavailable,
}
