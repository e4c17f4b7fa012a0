//! Telling peers of a restart: stateless resets that survive it (RFC 9000, section 10.3).
//!
//! A node that was killed and started again knows nothing of its old connections. Their peers
//! would send to it until the idle timeout; instead the first packet, at the latest the next
//! keep-alive, is answered with a reset that only this node can make, since it is computed from
//! the node's key. The key is bound to the port as well: two endpoints of one node with the same
//! reset key could each be tricked into ending the other's connections (section 21.11).

use quinn::crypto::{CryptoError, HmacKey};
use quinn_proto::HashedConnectionIdGenerator;
use skein_proto::KeyPair;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Says what the derived key is for (BLAKE3's key derivation).
const CONTEXT: &str = "skein 2026 stateless reset and connection ids";

/// The bytes of a signature, of which quinn uses the first 16.
const SIGNATURE_BYTES: usize = 32;

/// Makes reset tokens and connection ids, the same ones after a restart.
#[derive(Clone)]
pub(crate) struct ResetKey(Arc<Zeroizing<[u8; 32]>>);

impl ResetKey {
    pub(crate) fn new(key: &KeyPair, port: u16) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&*key.seed()).update(&port.to_be_bytes());
        Self(Arc::new(Zeroizing::new(*hasher.finalize().as_bytes())))
    }

    /// QUIC's settings for all connections of an endpoint, with this key.
    pub(crate) fn endpoint_config(self) -> quinn::EndpointConfig {
        let mut config = quinn::EndpointConfig::new(Arc::new(self.clone()));
        // The first byte tells our frames from QUIC's: see `socket`.
        config.grease_quic_bit(false);
        // Connection ids are told from noise by a short hash, which must be the same after a
        // restart, or else the packets that should be answered would count as noise.
        let key = self.mac(FOR_IDS, &[]);
        let [k0, k1, k2, k3, k4, k5, k6, k7, ..] = *key.as_bytes();
        let key = u64::from_be_bytes([k0, k1, k2, k3, k4, k5, k6, k7]);
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
        config
    }

    fn mac(&self, purpose: u8, bytes: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[purpose]).update(bytes);
        hasher.finalize()
    }
}

const FOR_RESET: u8 = 0;
const FOR_IDS: u8 = 1;

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let mac = self.mac(FOR_RESET, data);
        for (out, byte) in signature_out.iter_mut().zip(mac.as_bytes()) {
            *out = *byte;
        }
    }

    fn signature_len(&self) -> usize {
        SIGNATURE_BYTES
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // `Hash` compares in constant time.
        let given = <[u8; SIGNATURE_BYTES]>::try_from(signature).map_err(|_| CryptoError)?;
        if self.mac(FOR_RESET, data) == given { Ok(()) } else { Err(CryptoError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(seed: u8, port: u16) -> [u8; SIGNATURE_BYTES] {
        let mut out = [0; SIGNATURE_BYTES];
        ResetKey::new(&KeyPair::from_seed(&[seed; 32]), port).sign(b"id", &mut out);
        out
    }

    #[test]
    fn a_restarted_node_makes_the_same_tokens_on_the_same_port_only() {
        assert_eq!(signature(1, 4000), signature(1, 4000));
        assert_ne!(signature(1, 4000), signature(1, 4001));
        assert_ne!(signature(1, 4000), signature(2, 4000));
    }

    #[test]
    fn a_wrong_signature_is_refused() {
        let key = ResetKey::new(&KeyPair::from_seed(&[1; 32]), 4000);
        let mut right = signature(1, 4000);
        assert!(key.verify(b"id", &right).is_ok());
        right[0] ^= 1;
        assert!(key.verify(b"id", &right).is_err());
        assert!(key.verify(b"id", &right[1..]).is_err());
    }
}
