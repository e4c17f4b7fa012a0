//! Maps by hash, for what each message looks up.
//!
//! Their keys are ids that strangers choose, so each map has a secret of its own that says where they
//! stand, and no hash is ever told to anybody. Fingerprints, by which things count as the same, are
//! made with SipHash all the same: nobody shall find two texts that share one.

use foldhash::quality::RandomState;

/// A map in no order.
pub(crate) type HashMap<Key, Value> = std::collections::HashMap<Key, Value, RandomState>;

/// A set in no order.
pub(crate) type HashSet<Key> = std::collections::HashSet<Key, RandomState>;
