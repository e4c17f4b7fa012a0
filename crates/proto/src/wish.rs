//! Standing queries: what somebody wants to be told of as soon as anyone shares it.

use crate::credential::SignedCredential;
use crate::file::FileMeta;
use crate::id::{NodeId, QueryId};
use crate::key::{ForgedError, Signed, Statement};
use crate::query::{Owner, Query};
use crate::rumour::Place;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest that a wish is good for without being renewed: as long as a credential.
pub const MAX_WISH_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the word is passed on that a wish is withdrawn: long enough for everyone to hear it.
pub const WITHDRAWN_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Seconds that lie between two versions of a wish at least.
pub const WISH_SPACING_SECS: u64 = 10;

/// What somebody wishes to be told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Which wish of its owner this is.
    pub id: QueryId,
    /// Whose wish it is.
    pub owner: NodeId,
    /// What is looked for.
    pub query: Query,
    /// The supernode that the owner is attached to: it gets the hits.
    pub parent: NodeId,
    /// When this was said. A later version replaces an earlier one.
    pub issued: UnixTime,
    /// Whether it is a wish no longer.
    pub withdrawn: bool,
}

impl Statement for Wish {
    const CONTEXT: &'static str = "skein wish 1";
}

impl Wish {
    /// The place of a wish on the ring.
    pub fn place_of(owner: &NodeId, id: &QueryId) -> Place {
        let mut key = owner.as_bytes().to_vec();
        key.extend_from_slice(id.as_bytes());
        Place::of(b"skein wish", &key)
    }
}

/// A wish with the credential of its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingQuery {
    /// The wish, signed by its owner.
    pub wish: Signed<Wish>,
    /// The owner's credential.
    pub credential: SignedCredential,
}

impl StandingQuery {
    /// From when on it is worth nothing.
    pub fn expires(&self) -> UnixTime {
        let wish = self.wish.unverified();
        let lifetime = if wish.withdrawn { WITHDRAWN_LIFETIME } else { MAX_WISH_LIFETIME };
        wish.issued.plus(lifetime).min(self.credential.unverified().expires)
    }

    /// Checks both signatures, and that they belong together.
    ///
    /// # Errors
    /// [`ForgedError`]: whoever passed it on cannot have checked it.
    pub fn check_signatures(&self, login_key: &NodeId) -> Result<(), ForgedError> {
        let owner = self.wish.unverified().owner;
        if self.credential.unverified().node != owner {
            return Err(ForgedError { signer: owner });
        }
        self.wish.verify(&owner)?;
        self.credential.verify(login_key).map(|_| ())
    }
}

/// A child makes a wish known, renews it, or withdraws it. To its active parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WishUpdate {
    /// The wish.
    pub standing: StandingQuery,
}

/// Somebody has published what was wished for. By the supernode that it was published at, to the
/// parent of the one who wished for it, and on to that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WishHit {
    /// Which wish.
    pub id: QueryId,
    /// Whose wish.
    pub wisher: NodeId,
    /// How many more times it may be sent on to another supernode: the wisher may have moved.
    pub hops_left: u8,
    /// Who offers.
    pub owner: Owner,
    /// What is offered.
    pub file: FileMeta,
}
