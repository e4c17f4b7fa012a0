//! A secret that two nodes share without a word: both keys are known to both.

use super::KeyPair;
use crate::id::NodeId;
use ed25519_dalek::VerifyingKey;
use zeroize::Zeroizing;

impl KeyPair {
    /// 64 bytes that only this node and `peer` can know, for one purpose and one occasion.
    ///
    /// It is X25519 (RFC 7748) over both Ed25519 keys, taken to their Montgomery form (section
    /// 4.1), run through BLAKE3's key derivation. To use one key for both is sound: the hashes of
    /// the two schemes have nothing in common (Thormarker, "On using the same key pair for Ed25519
    /// and an X25519 based KEM", 2021). `None` if the peer's id is no key, or one of the few whose
    /// secret everybody knows.
    pub fn agree(
        &self,
        peer: &NodeId,
        context: &str,
        occasion: &[u8],
    ) -> Option<Zeroizing<[u8; 64]>> {
        let theirs = VerifyingKey::from_bytes(peer.as_bytes()).ok()?;
        if theirs.is_weak() {
            return None;
        }
        let mine = Zeroizing::new(self.0.to_scalar_bytes());
        let shared = Zeroizing::new(theirs.to_montgomery().mul_clamped(*mine).to_bytes());
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(shared.as_slice()).update(occasion);
        let mut out = Zeroizing::new([0; 64]);
        hasher.finalize_xof().fill(out.as_mut_slice());
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_agree_and_a_third_does_not() {
        let [a, b, c] = [1, 2, 3].map(|seed| KeyPair::from_seed(&[seed; 32]));
        let context = "skein test agreement 1";
        let ours = a.agree(&b.node_id(), context, b"x");
        assert!(ours.is_some());
        assert_eq!(ours, b.agree(&a.node_id(), context, b"x"));
        assert_ne!(ours, c.agree(&a.node_id(), context, b"x"));
        assert_ne!(ours, a.agree(&b.node_id(), context, b"y"));
        assert_ne!(ours, a.agree(&b.node_id(), "skein test agreement 2", b"x"));
    }

    #[test]
    fn nothing_is_agreed_with_a_key_that_is_none() {
        let a = KeyPair::from_seed(&[1; 32]);
        let mut small_order = [0; 32];
        small_order[0] = 1;
        assert!(a.agree(&NodeId::from_bytes(small_order), "skein test 1", b"").is_none());
    }
}
