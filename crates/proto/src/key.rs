//! Key pairs, and statements that somebody signed.

mod agree;
pub mod memo;

use crate::codec;
use crate::id::NodeId;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;
use zeroize::Zeroizing;

/// A node's secret: an Ed25519 key pair (RFC 8032).
///
/// It is made from 32 random bytes that the caller draws; the bytes are wiped when it is dropped.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// The key pair that belongs to a 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
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

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // serde has no arrays of 64: two halves cost no byte more on the wire.
        let mut halves = [[0_u8; 32]; 2];
        halves[0].copy_from_slice(&self.0[..32]);
        halves[1].copy_from_slice(&self.0[32..]);
        halves.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let halves = <[[u8; 32]; 2]>::deserialize(deserializer)?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&halves[0]);
        bytes[32..].copy_from_slice(&halves[1]);
        Ok(Self(bytes))
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
/// it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signed<T> {
    statement: T,
    signature: Signature,
}

impl<T: Statement> Signed<T> {
    /// Signs a statement.
    pub fn new(statement: T, key: &KeyPair) -> Self {
        let signature = key.sign_bytes(T::CONTEXT, &codec::encode_statement(&statement));
        Self { statement, signature }
    }

    /// The statement, if `signer` made it.
    ///
    /// # Errors
    /// [`ForgedError`] if not.
    pub fn verify(&self, signer: &NodeId) -> Result<&T, ForgedError> {
        let bytes = codec::encode_statement(&self.statement);
        verify_bytes(signer, T::CONTEXT, &bytes, &self.signature)?;
        Ok(&self.statement)
    }

    /// Signs a statement whose copies carry the verdict with them, so that it need not be
    /// remembered elsewhere.
    pub(crate) fn new_apart(statement: T, key: &KeyPair) -> Self {
        let signature = key.sign(&in_context(T::CONTEXT, &codec::encode_statement(&statement)));
        Self { statement, signature }
    }

    /// The statement as somebody sent it: nobody may have signed this.
    pub const fn unverified(&self) -> &T {
        &self.statement
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
        let mut signed = Signed::new(Claim(5), &alice);
        signed.statement.0 = 6;
        assert!(signed.verify(&alice.node_id()).is_err());
    }

    #[test]
    fn a_signature_for_one_purpose_is_none_for_another() {
        let alice = KeyPair::from_seed(&[1; 32]);
        let signed = Signed::new(Claim(5), &alice);
        let moved = Signed { statement: OtherClaim(5), signature: signed.signature };
        assert!(moved.verify(&alice.node_id()).is_err());
    }
}
