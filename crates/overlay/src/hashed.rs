//! Maps by hash, for what each message looks up.
//!
//! Their keys are ids that strangers choose. Where they stand in a map goes by a seed of that map, which
//! is no cryptographic secret; but no hash and no order is told to anybody, and the maps are bounded.
//! Fingerprints, by which texts count as the same, are made with SipHash.

use foldhash::quality::RandomState;

/// A map in no order.
pub(crate) type HashMap<Key, Value> = std::collections::HashMap<Key, Value, RandomState>;

/// A set in no order.
pub(crate) type HashSet<Key> = std::collections::HashSet<Key, RandomState>;
