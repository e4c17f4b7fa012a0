//! Key pairs, and statements that somebody signed.

mod agree;
pub mod memo;

use crate::codec;
use crate::id::NodeId;
use crate::octets;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};
use thiserror::Error;
use zeroize::Zeroizing;

/// A node's secret: an Ed25519 key pair (RFC 8032).
///
/// It is made from 32 random bytes that the caller draws. All copies are one; the bytes are wiped when
/// the last of them is dropped.
#[derive(Clone)]
pub struct KeyPair(Arc<SigningKey>);

impl KeyPair {
    /// The key pair that belongs to a 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Arc::new(SigningKey::from_bytes(seed)))
    }

    /// The seed, to be kept where nobody else can read it.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs `bytes` under a context, so that a signature made for one purpose means nothing for
    /// another.
    pub fn sign_bytes(&self, context: &str, bytes: &[u8]) -> Signature {
        let message = in_context(context, bytes);
        let signature = self.sign(&message);
        memo::remember(&self.node_id(), &message, &signature, true);
        signature
    }

    fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.node_id().short())
    }
}

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// What a signature is called where values are written. Its length is known without a look at it.
pub(crate) const SIGNATURE: &str = "skein signature";

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(SIGNATURE, &Octets(self))
    }
}

/// What is in a signature.
struct Octets<'a>(&'a Signature);

impl Serialize for Octets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        octets::serialize(&self.0.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        octets::deserialize(deserializer).map(Self)
    }
}

/// The signature does not belong to this statement and this signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the signature is not {signer}'s for this statement")]
pub struct ForgedError {
    /// The key that was said to have signed.
    pub signer: NodeId,
}

/// Checks a signature that [`KeyPair::sign_bytes`] made.
///
/// The strict rules of verification apply (no small-order keys, canonical encodings), so that one
/// statement has one signature that all nodes agree on.
///
/// # Errors
/// [`ForgedError`] if it is anything but right.
pub fn verify_bytes(
    signer: &NodeId,
    context: &str,
    bytes: &[u8],
    signature: &Signature,
) -> Result<(), ForgedError> {
    let forged = ForgedError { signer: *signer };
    let message = in_context(context, bytes);
    let sound = memo::find(signer, &message, signature).unwrap_or_else(|| {
        let sound = is_sound(signer, &message, signature);
        memo::remember(signer, &message, signature, sound);
        sound
    });
    if sound { Ok(()) } else { Err(forged) }
}

fn is_sound(signer: &NodeId, message: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    VerifyingKey::from_bytes(signer.as_bytes())
        .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

fn in_context(context: &str, bytes: &[u8]) -> Vec<u8> {
    // The zero byte ends the context: no context is the beginning of another message.
    let mut message = Vec::with_capacity(context.len() + 1 + bytes.len());
    message.extend_from_slice(context.as_bytes());
    message.push(0);
    message.extend_from_slice(bytes);
    message
}

/// Something that can be signed: it says in which context.
pub trait Statement: Serialize + DeserializeOwned {
    /// Names what a signature is for, with its version: `"skein credential 1"`.
    const CONTEXT: &'static str;
}

/// A statement with the signature of whoever made it.
///
/// The statement comes out by [`Signed::verify`]; [`Signed::unverified`] says in its name what
/// it is. All copies have it in common, and with it who was found to have signed it: a node shows
/// one credential to thousands of others, and keeps those of thousands.
///
/// The signature is made when somebody reads it first, above all when it is sent: what nobody reads
/// costs nothing. Whoever made the statement is known to have signed it without that.
#[derive(Clone)]
pub struct Signed<T>(Arc<Inner<T>>);

struct Inner<T> {
    statement: T,
    seal: Seal<T>,
    /// Under whose key the signature was found to be right. It never travels.
    signer: OnceLock<NodeId>,
}

/// A signature that is there, or that is made when it is wanted: by whom, and how.
enum Seal<T> {
    Made(Signature),
    Due(KeyPair, fn(&KeyPair, &T) -> Signature, OnceLock<Signature>),
}

impl<T> Inner<T> {
    fn signature(&self) -> &Signature {
        match &self.seal {
            Seal::Made(signature) => signature,
            Seal::Due(key, sign, made) => made.get_or_init(|| sign(key, &self.statement)),
        }
    }
}

impl<T> Signed<T> {
    /// Whether both are copies of one: cheaper than to compare them.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: PartialEq> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        let both = (&*self.0, &*other.0);
        self.is_same(other)
            || (both.0.statement == both.1.statement && both.0.signature() == both.1.signature())
    }
}

impl<T: Eq> Eq for Signed<T> {}

impl<T: Hash> Hash for Signed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.statement.hash(state);
        self.0.signature().hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("statement", &self.0.statement)
            .field("signature", self.0.signature())
            .finish()
    }
}

/// The signature of a statement as it is written. What only counts bytes does not look into it.
struct Late<'a, T>(&'a Inner<T>);

/// What is in it: by now it is wanted.
struct Wanted<'a, T>(&'a Inner<T>);

impl<T> Serialize for Late<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(SIGNATURE, &Wanted(self.0))
    }
}

impl<T> Serialize for Wanted<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Octets(self.0.signature()).serialize(serializer)
    }
}

impl<T: Serialize> Serialize for Signed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut both = serializer.serialize_struct("Signed", 2)?;
        both.serialize_field("statement", &self.0.statement)?;
        both.serialize_field("signature", &Late(&self.0))?;
        both.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Signed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Signed")]
        struct Both<T> {
            statement: T,
            signature: Signature,
        }
        let Both { statement, signature } = Both::deserialize(deserializer)?;
        Ok(Self::of(statement, Seal::Made(signature), OnceLock::new()))
    }
}

impl<T> Signed<T> {
    fn of(statement: T, seal: Seal<T>, signer: OnceLock<NodeId>) -> Self {
        Self(Arc::new(Inner { statement, seal, signer }))
    }
}

impl<T: Statement> Signed<T> {
    /// Signs a statement.
    pub fn new(statement: T, key: &KeyPair) -> Self {
        let sign = |key: &KeyPair, statement: &T| {
            key.sign(&in_context(T::CONTEXT, &codec::encode_statement(statement)))
        };
        let signer = OnceLock::from(key.node_id());
        Self::of(statement, Seal::Due(key.clone(), sign, OnceLock::new()), signer)
    }

    /// The statement, if `signer` made it. It is computed once for all copies.
    ///
    /// # Errors
    /// [`ForgedError`] if not.
    pub fn verify(&self, signer: &NodeId) -> Result<&T, ForgedError> {
        let Inner { statement, signer: found, .. } = &*self.0;
        if found.get() != Some(signer) {
            let bytes = codec::encode_statement(statement);
            verify_bytes(signer, T::CONTEXT, &bytes, self.0.signature())?;
            found.get_or_init(|| *signer);
        }
        Ok(statement)
    }
}

impl<T> Signed<T> {
    /// The statement as somebody sent it: nobody may have signed this.
    pub fn unverified(&self) -> &T {
        &self.0.statement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Claim(u32);
    impl Statement for Claim {
        const CONTEXT: &'static str = "test claim 1";
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct OtherClaim(u32);
    impl Statement for OtherClaim {
        const CONTEXT: &'static str = "test claim 2";
    }

    #[test]
    fn a_signed_statement_verifies_only_for_its_signer() {
        let (alice, bob) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let signed = Signed::new(Claim(5), &alice);
        assert_eq!(signed.verify(&alice.node_id()), Ok(&Claim(5)));
        assert_eq!(signed.verify(&bob.node_id()), Err(ForgedError { signer: bob.node_id() }));
    }

    #[test]
    fn a_changed_statement_is_a_forgery() {
        let alice = KeyPair::from_seed(&[1; 32]);
        let signature = *Signed::new(Claim(5), &alice).0.signature();
        let changed = Signed::of(Claim(6), Seal::Made(signature), OnceLock::new());
        assert!(changed.verify(&alice.node_id()).is_err());
    }

    #[test]
    fn a_signature_for_one_purpose_is_none_for_another() {
        let alice = KeyPair::from_seed(&[1; 32]);
        let signed = Signed::new(Claim(5), &alice);
        let moved = Signed::of(OtherClaim(5), Seal::Made(*signed.0.signature()), OnceLock::new());
        assert!(moved.verify(&alice.node_id()).is_err());
    }

    #[test]
    fn a_signature_is_made_when_it_is_read_and_not_when_it_is_counted() {
        let alice = KeyPair::from_seed(&[1; 32]);
        let signed = Signed::new(Claim(5), &alice);
        let is_made = |signed: &Signed<Claim>| match &signed.0.seal {
            Seal::Made(_) => true,
            Seal::Due(_, _, made) => made.get().is_some(),
        };
        let length = codec::encoded_len(&signed);
        assert_eq!(signed.verify(&alice.node_id()), Ok(&Claim(5)));
        assert!(!is_made(&signed));
        let bytes = codec::encode_statement(&signed);
        assert!(is_made(&signed));
        assert_eq!(bytes.len(), length);
        let read: Signed<Claim> = codec::decode_statement(&bytes).expect("a signed claim");
        assert_eq!(read, signed);
        assert_eq!(read.verify(&alice.node_id()), Ok(&Claim(5)));
    }
}
