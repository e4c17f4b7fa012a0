//! Keys of slots on their way to the other end of a session.
//!
//! They pass the supernodes that carry an offer. Whoever has the key of an end can take its place at
//! the relay: it would see when and how much the two talk, and could stop them. So a key is sealed
//! for the one that it is for: both ends have a secret from their node keys alone
//! ([`KeyPair::agree`]), of which the pad for each slot is made. The number of a slot is drawn anew
//! for each grant, so no pad is used for two keys. What was changed on the way is noticed by the
//! signature around it.

use super::SlotKey;
use crate::id::NodeId;
use crate::key::KeyPair;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// What is said for the key derivation; see the protocol, section 15.
const CONTEXT: &str = "skein session slot 1";

/// The key of a slot's end as others see it on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SealedKey(pub [u8; 32]);

/// Seals keys of slots for one peer, and opens what that peer has sealed.
#[derive(Clone)]
pub struct KeySeal(Zeroizing<[u8; 32]>);

impl KeySeal {
    /// Between this node and a peer. `None` if the peer's id is no key, which cannot be of a peer
    /// that has signed something.
    pub fn new(own: &KeyPair, peer: &NodeId) -> Option<Self> {
        let secret = own.agree(peer, CONTEXT, b"")?;
        let mut seal = Zeroizing::new([0; 32]);
        seal.copy_from_slice(&secret[..32]);
        Some(Self(seal))
    }

    /// Seals the key to a slot of a relay.
    pub fn seal(&self, relay: &NodeId, slot: u64, key: &SlotKey) -> SealedKey {
        SealedKey(self.mask(relay, slot, &key.0))
    }

    /// Opens the key to a slot of a relay. What the peer has not sealed becomes a key to nothing.
    pub fn open(&self, relay: &NodeId, slot: u64, sealed: &SealedKey) -> SlotKey {
        SlotKey(self.mask(relay, slot, &sealed.0))
    }

    fn mask(&self, relay: &NodeId, slot: u64, bytes: &[u8; 32]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(relay.as_bytes()).update(&slot.to_be_bytes());
        let pad = hasher.finalize();
        let mut masked = *bytes;
        masked.iter_mut().zip(pad.as_bytes()).for_each(|(byte, pad)| *byte ^= pad);
        masked
    }
}

impl fmt::Debug for KeySeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySeal(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SlotKey = SlotKey([7; 32]);

    fn seal(own: u8, peer: u8) -> KeySeal {
        let [own, peer] = [own, peer].map(|seed| KeyPair::from_seed(&[seed; 32]));
        KeySeal::new(&own, &peer.node_id()).expect("a key")
    }

    #[test]
    fn only_the_one_that_it_is_for_can_read_a_key() {
        let relay = NodeId::from_bytes([9; 32]);
        let sealed = seal(1, 2).seal(&relay, 5, &KEY);
        assert_eq!(seal(2, 1).open(&relay, 5, &sealed), KEY);
        assert_ne!(sealed.0, KEY.0);
        assert_ne!(seal(3, 1).open(&relay, 5, &sealed), KEY, "a supernode on the way");
    }

    #[test]
    fn a_key_is_sealed_for_one_slot_of_one_relay() {
        let (one, other) = (NodeId::from_bytes([8; 32]), NodeId::from_bytes([9; 32]));
        let seal = seal(1, 2);
        let sealed = seal.seal(&one, 5, &KEY);
        assert_ne!(seal.open(&one, 6, &sealed), KEY);
        assert_ne!(seal.open(&other, 5, &sealed), KEY);
        assert_ne!(seal.seal(&one, 6, &KEY), sealed);
    }
}
