//! Values that spread by an epidemic: each has a place on the ring, a version, and an end.

use crate::id::NodeId;
use crate::key::{ForgedError, Signed};
use crate::membership::{Announcement, SUSPICION_LIFETIME, SupernodeRecord, Suspicion};
use crate::name::Username;
use crate::time::UnixTime;
use crate::wish::{StandingQuery, Wish};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A place on the ring: the first 16 bytes of a BLAKE3 hash, as a big-endian number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u128);

impl Place {
    /// The place of a supernode.
    pub fn of_node(node: &NodeId) -> Self {
        Self::of(b"skein ring node", node.as_bytes())
    }

    /// The place of a key of this sort.
    pub fn of(sort: &[u8], key: &[u8]) -> Self {
        Self::of_parts(sort, &[key])
    }

    fn of_parts(sort: &[u8], parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(sort).update(&[0]);
        for part in parts {
            hasher.update(part);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(u128::from_be_bytes(bytes))
    }

    /// The first half, which is what travels: to find a second key with the same one takes 2^64
    /// attempts.
    pub const fn short(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

/// A number that stands for the name that owns a node, where names are compared often: the first
/// half of a [`Place`], so that to find a name with the number of another takes 2^64 attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerNumber(u64);

impl OwnerNumber {
    /// The number of a name.
    pub fn of(name: &Username) -> Self {
        Self(Place::of(b"skein ring owner", name.as_str().as_bytes()).short())
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What a rumour is about. Each topic has a ring of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Topic {
    /// Supernodes, by themselves.
    Supernodes,
    /// Supernodes that could not be reached.
    Suspicions,
    /// Standing queries.
    Wishes,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Supernodes, Self::Suspicions, Self::Wishes];
}

/// What a rumour says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// A supernode is there, or about to leave.
    Announcement(Announcement),
    /// A supernode could not be reached.
    Suspicion(Signed<Suspicion>),
    /// Somebody wishes to be told of something.
    Wish(StandingQuery),
}

/// Which rumour, and which version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RumourId {
    /// The first half of its place.
    pub place: u64,
    /// The higher one is the newer one.
    pub version: u64,
}

impl RumourId {
    /// A number that two different ids hardly share (the finalizer of MurmurHash3 over both
    /// halves). It is no protection against one who looks for such a pair; all that he would gain
    /// is that his own rumour is not mended where it was missed.
    pub const fn fingerprint(self) -> u32 {
        let mut mixed = self.place ^ self.version.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        (mixed >> 32) as u32
    }
}

struct Inner {
    news: News,
    place: Place,
    /// Whose supernode it is about; of nobody if it is about something else.
    owner: OwnerNumber,
    version: u64,
    expires: UnixTime,
    /// The login key under which all signatures were found to be right.
    checked: OnceLock<NodeId>,
}

/// A value that spreads. To clone it costs nothing: the value is shared, and so is the knowledge
/// that its signatures are right.
#[derive(Clone)]
pub struct Rumour(Arc<Inner>);

impl Rumour {
    /// Makes a rumour of some news.
    pub fn new(news: News) -> Self {
        let (place, version, expires) = match &news {
            News::Announcement(announcement) => {
                let record = announcement.record.unverified();
                let credential_ends = announcement.credential.unverified().expires;
                let expires = record.expires().min(credential_ends);
                (Place::of_node(&record.node), record.issued.0, expires)
            }
            News::Suspicion(signed) => {
                let suspicion = signed.unverified();
                let parts: [&[u8]; 2] =
                    [suspicion.subject.as_bytes(), suspicion.witness.as_bytes()];
                let place = Place::of_parts(b"skein suspicion", &parts);
                (place, suspicion.version.0, suspicion.issued.plus(SUSPICION_LIFETIME))
            }
            News::Wish(standing) => {
                let wish = standing.wish.unverified();
                (Wish::place_of(&wish.owner, &wish.id), wish.issued.0, standing.expires())
            }
        };
        let owner = match &news {
            News::Announcement(announcement) => {
                OwnerNumber::of(&announcement.credential.unverified().name)
            }
            News::Suspicion(_) | News::Wish(_) => OwnerNumber::default(),
        };
        Self(Arc::new(Inner { news, place, owner, version, expires, checked: OnceLock::new() }))
    }

    /// What it says. Nobody may have signed it: see [`Rumour::check_signatures`].
    pub fn news(&self) -> &News {
        &self.0.news
    }

    /// The announcement, if it is one.
    #[inline]
    pub fn announcement(&self) -> Option<&Announcement> {
        match &self.0.news {
            News::Announcement(announcement) => Some(announcement),
            News::Suspicion(_) | News::Wish(_) => None,
        }
    }

    /// What a supernode says of itself, if that is what it is.
    #[inline]
    pub fn record(&self) -> Option<&SupernodeRecord> {
        self.announcement().map(|announcement| announcement.record.unverified())
    }

    /// What it is about.
    pub fn topic(&self) -> Topic {
        match self.0.news {
            News::Announcement(_) => Topic::Supernodes,
            News::Suspicion(_) => Topic::Suspicions,
            News::Wish(_) => Topic::Wishes,
        }
    }

    /// Its place on the ring of its topic.
    pub fn place(&self) -> Place {
        self.0.place
    }

    /// Whose supernode it is about, if it is an announcement.
    pub fn owner(&self) -> OwnerNumber {
        self.0.owner
    }

    /// Which one it is.
    pub fn id(&self) -> RumourId {
        RumourId { place: self.0.place.short(), version: self.0.version }
    }

    /// From when on it is worth nothing.
    pub fn expires(&self) -> UnixTime {
        self.0.expires
    }

    /// Checks all signatures on it, once for all copies.
    ///
    /// # Errors
    /// [`ForgedError`] if one is wrong: whoever passed it on cannot have checked it.
    pub fn check_signatures(&self, login_key: &NodeId) -> Result<(), ForgedError> {
        if self.0.checked.get() == Some(login_key) {
            return Ok(());
        }
        match &self.0.news {
            News::Announcement(announcement) => announcement.check_signatures(login_key)?,
            News::Suspicion(signed) => {
                signed.verify(&signed.unverified().witness)?;
            }
            News::Wish(standing) => standing.check_signatures(login_key)?,
        }
        self.0.checked.get_or_init(|| *login_key);
        Ok(())
    }
}

impl PartialEq for Rumour {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.news == other.0.news
    }
}

impl Eq for Rumour {}

impl fmt::Debug for Rumour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.news.fmt(f)
    }
}

impl Serialize for Rumour {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.news.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Rumour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        News::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::key::KeyPair;
    use crate::testing::announcement;

    #[test]
    fn a_rumour_lies_where_its_supernode_does_and_ends_with_its_credential() {
        let login = KeyPair::from_seed(&[0; 32]);
        let announcement = announcement(1, &login);
        let record = announcement.record.unverified().clone();
        let rumour = Rumour::new(News::Announcement(announcement.clone()));
        assert_eq!(rumour.place(), Place::of_node(&record.node));
        assert_eq!(rumour.id().version, record.issued.0);
        assert!(rumour.expires() <= announcement.credential.unverified().expires);
    }

    #[test]
    fn a_copy_that_travelled_is_checked_anew() {
        let login = KeyPair::from_seed(&[0; 32]);
        let rumour = Rumour::new(News::Announcement(announcement(1, &login)));
        assert!(rumour.check_signatures(&login.node_id()).is_ok());
        let bytes = codec::encode_statement(&rumour);
        let copy: Rumour = codec::decode_statement(&bytes).expect("it was encoded here");
        assert_eq!(copy, rumour);
        assert_eq!(copy.0.checked.get(), None);
        assert!(copy.check_signatures(&KeyPair::from_seed(&[5; 32]).node_id()).is_err());
    }
}
