//! Who a supernode is and where, kept once for all who know it.
//!
//! A node remembers hundreds of supernodes. In a process that plays thousands of nodes these are
//! the same ones again and again, so the nodes may have what does not differ in common.

use crate::packed::Packed;
use skein_proto::{NodeId, Place};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Parts of the pool that are locked apart, so that two threads seldom meet.
const SHARDS: usize = 64;

/// Contacts of one part. What is beyond is not shared.
const MAX_SHARD: usize = 65_536;

/// A supernode and its addresses.
#[derive(Debug)]
pub(crate) struct Contact {
    pub(crate) node: NodeId,
    pub(crate) addresses: Packed,
    /// Its [`Place::short`] on the ring of supernodes.
    pub(crate) place: u64,
}

type Shard = Mutex<HashMap<NodeId, Arc<Contact>, BuildHasherDefault<FirstBytes>>>;

/// Takes the first bytes of an id, which is a public key and so as random as a hash of it. Whoever
/// makes up ids that collide slows down a simulation of his own.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Contacts that several overlays have in common: it changes the memory that they take and nothing
/// else. Copies belong together. By default each overlay keeps its own.
#[derive(Clone, Debug, Default)]
pub struct Contacts(Option<Arc<[Shard; SHARDS]>>);

impl Contacts {
    /// Contacts for all overlays that are given a copy.
    pub fn in_common() -> Self {
        Self(Some(Arc::new(std::array::from_fn(|_| Shard::default()))))
    }

    /// A supernode that is at these addresses.
    pub(crate) fn get(&self, node: NodeId, addresses: &[SocketAddr]) -> Arc<Contact> {
        let new = || {
            let place = Place::of_node(&node).short();
            Arc::new(Contact { node, addresses: Packed::new(addresses), place })
        };
        let shard = usize::from(node.as_bytes()[0]) % SHARDS;
        let Some(shard) = self.0.as_ref().and_then(|shards| shards.get(shard)) else {
            return new();
        };
        // One that panics leaves whole contacts behind.
        let mut known = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(&node).filter(|known| known.addresses.are(addresses)) {
            return same.clone();
        }
        let contact = new();
        if known.len() < MAX_SHARD || known.contains_key(&node) {
            known.insert(node, contact.clone());
        }
        contact
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_the_same_contact_is_kept_once() {
        let [here, there] = ["203.0.113.9:4701", "203.0.113.9:4702"]
            .map(|address| [address.parse::<SocketAddr>().expect("an address")]);
        let node = NodeId::from_bytes([1; 32]);
        let contacts = Contacts::in_common();
        let first = contacts.get(node, &here);
        assert!(Arc::ptr_eq(&first, &contacts.clone().get(node, &here)));
        let moved = contacts.get(node, &there);
        assert_eq!(
            (moved.addresses.to_vec(), first.addresses.to_vec()),
            (there.into(), here.into())
        );
        assert!(Arc::ptr_eq(&moved, &contacts.get(node, &there)));
        let apart = Contacts::default();
        assert!(!Arc::ptr_eq(&apart.get(node, &here), &apart.get(node, &here)));
    }
}
