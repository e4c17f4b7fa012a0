//! What supernodes tell each other about all supernodes, and the messages of the epidemic that
//! spreads it.

use crate::bounded::BoundedVec;
use crate::credential::SignedCredential;
use crate::id::NodeId;
use crate::key::{ForgedError, Signed, Statement};
use crate::rumour::{Rumour, RumourId, Topic};
use crate::supernode::Load;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// The longest that an announcement may say it is good for: whoever is gone without a word is
/// forgotten after that time at the latest, even if nobody noticed.
pub const MAX_LIFETIME: Duration = Duration::from_secs(3 * 60 * 60 + 30 * 60);

/// How long a suspicion is passed on: as long as one that hears of it late can do something about
/// it.
pub const SUSPICION_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// What a supernode takes on at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SupernodeState {
    /// It is about to become one: it takes over records, but no children yet.
    Warming,
    /// It does all that a supernode does.
    Serving,
    /// It hands over what it has, and goes.
    Leaving,
}

/// A supernode's word about itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SupernodeRecord {
    /// Who it is.
    pub node: NodeId,
    /// Where it listens. A claim: nobody is sent there by one who has not been there.
    pub addresses: BoundedVec<SocketAddr, 4>,
    /// How full it is.
    pub load: Load,
    /// When it became a supernode, this time.
    pub since: UnixTime,
    /// When it said this. A later record replaces an earlier one.
    pub issued: UnixTime,
    /// For how many seconds it is good, at most [`MAX_LIFETIME`].
    pub lifetime_secs: u32,
    /// What it takes on.
    pub state: SupernodeState,
}

impl Statement for SupernodeRecord {
    const CONTEXT: &'static str = "skein supernode 1";
}

impl SupernodeRecord {
    /// From when on it is worth nothing.
    pub fn expires(&self) -> UnixTime {
        let lifetime = Duration::from_secs(self.lifetime_secs.into()).min(MAX_LIFETIME);
        self.issued.plus(lifetime)
    }
}

/// A supernode's word about itself, with the credential that allows it to be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// What it says, signed by itself.
    pub record: Signed<SupernodeRecord>,
    /// Its credential.
    pub credential: SignedCredential,
}

impl Announcement {
    /// Checks both signatures, and that they belong together.
    ///
    /// # Errors
    /// [`ForgedError`]: whoever passed it on cannot have checked it.
    pub fn check_signatures(&self, login_key: &NodeId) -> Result<(), ForgedError> {
        let node = self.record.unverified().node;
        if self.credential.unverified().node != node {
            return Err(ForgedError { signer: node });
        }
        self.record.verify(&node)?;
        self.credential.verify(login_key).map(|_| ())
    }
}

/// A supernode's word that it could not reach another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Suspicion {
    /// Who could not be reached.
    pub subject: NodeId,
    /// The time of issue of the subject's record that the witness had: a later record refutes the
    /// suspicion.
    pub version: UnixTime,
    /// Who says so.
    pub witness: NodeId,
    /// When.
    pub issued: UnixTime,
}

impl Statement for Suspicion {
    const CONTEXT: &'static str = "skein suspicion 1";
}

/// News, in full. Between neighbours only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gossip {
    /// The news.
    pub rumours: BoundedVec<Rumour, 48>,
}

/// Names news that the receiver may want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GossipOffer {
    /// What the news are about.
    pub topic: Topic,
    /// Which.
    pub ids: BoundedVec<RumourId, 512>,
}

/// Asks for news that were offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GossipWant {
    /// What the news are about.
    pub topic: Topic,
    /// The places of those that are wanted.
    pub places: BoundedVec<u64, 256>,
}

/// What the sender holds of a topic, in one number for each part of the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GossipDigest {
    /// Which topic.
    pub topic: Topic,
    /// For each 256th of the ring, the exclusive or over the fingerprints of what lies there; an
    /// empty list says that the sender holds nothing.
    pub buckets: BoundedVec<u32, 256>,
}

/// All that the sender holds in some parts of the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GossipInventory {
    /// Which topic.
    pub topic: Topic,
    /// Which 256ths of the ring.
    pub buckets: BoundedVec<u8, 256>,
    /// All that it holds there.
    pub ids: BoundedVec<RumourId, 1024>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyPair;
    use crate::testing::{announcement, supernode_key};

    #[test]
    fn an_announcement_holds_only_with_its_own_credential() {
        let login = KeyPair::from_seed(&[0; 32]);
        let right = announcement(1, &login);
        assert_eq!(right.check_signatures(&login.node_id()), Ok(()));
        let other = announcement(2, &login);
        let mixed = Announcement { credential: other.credential, ..right.clone() };
        assert!(mixed.check_signatures(&login.node_id()).is_err());
        assert!(right.check_signatures(&supernode_key(3).node_id()).is_err());
    }

    #[test]
    fn nobody_announces_himself_for_ever() {
        let login = KeyPair::from_seed(&[0; 32]);
        let mut record = announcement(1, &login).record.unverified().clone();
        record.lifetime_secs = u32::MAX;
        assert_eq!(record.expires(), record.issued.plus(MAX_LIFETIME));
    }
}
