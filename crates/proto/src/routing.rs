//! How a search finds its way: the query routing tables that neighbours give each other.
//!
//! A table is a Bloom filter (Bloom 1970) of the words in a supernode's index, as in Gnutella's
//! query routing protocol (Rohrs 2002): whoever holds it need not ask its owner in vain. While the
//! index is small it has the pairs of words that stand together in one record, too: two frequent
//! words are in nearly every index, but seldom in one name.

use crate::bounded::TooLong;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Bytes of at most `N`, shared by those who hold a copy: the same table goes to forty neighbours.
///
/// Whoever works something out of them may leave it with them ([`SharedBytes::leave`]), for others
/// in the same process who hold the same bytes: a simulator plays all forty neighbours, and the
/// table that they make of the same changes is one and the same. It never travels, and does not
/// count in a comparison.
#[derive(Clone, Default)]
pub struct SharedBytes<const N: usize>(Arc<Shared>);

#[derive(Default)]
struct Shared {
    bytes: Box<[u8]>,
    outcome: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl<const N: usize> SharedBytes<N> {
    /// Takes bytes as they are.
    ///
    /// # Errors
    /// [`TooLong`] if there are more than `N`.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, TooLong> {
        let bytes = bytes.into();
        if bytes.len() > N {
            return Err(TooLong { actual: bytes.len(), limit: N });
        }
        Ok(Self(Arc::new(Shared { bytes, outcome: OnceLock::new() })))
    }

    /// Whether two are one and the same allocation.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What somebody has worked out of these bytes, if it is of this type.
    pub fn outcome<T: Any>(&self) -> Option<&T> {
        self.0.outcome.get()?.downcast_ref()
    }

    /// Leaves what was worked out of these bytes with them; the first one counts.
    pub fn leave<T: Any + Send + Sync>(&self, outcome: T) {
        self.0.outcome.get_or_init(|| Box::new(outcome));
    }
}

impl<const N: usize> fmt::Debug for SharedBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedBytes").field(&self.0.bytes).finish()
    }
}

impl<const N: usize> PartialEq for SharedBytes<N> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.0.bytes == other.0.bytes
    }
}

impl<const N: usize> Eq for SharedBytes<N> {}

impl<const N: usize> Deref for SharedBytes<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl<const N: usize> Serialize for SharedBytes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.bytes)
    }
}

impl<'de, const N: usize> Deserialize<'de> for SharedBytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor<const N: usize>;

        impl<const N: usize> Visitor<'_> for BytesVisitor<N> {
            type Value = SharedBytes<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {N} bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                SharedBytes::new(bytes).map_err(E::custom)
            }
        }

        // Borrowed from the frame, so that a claimed length that is not there costs nothing.
        deserializer.deserialize_bytes(BytesVisitor::<N>).map_err(D::Error::custom)
    }
}

/// The bytes of one part of a table: a quarter of a million bits, so that a part does not hold up
/// what comes behind it for long.
pub const TABLE_PART_BYTES: usize = 32 * 1024;

/// The sizes that a table may have, as powers of two of bits: the smallest one holds a hundred
/// keys, the largest 800,000 in a mebibyte.
pub const TABLE_LOG2_BITS: std::ops::RangeInclusive<u8> = 10..=23;

/// Bits of a table that are set for each key.
pub const TABLE_HASHES: u32 = 6;

/// The most bytes of one list of changed bits.
pub const FLIPS_BYTES: usize = 16 * 1024;

/// A query routing table, or how it has changed. By a supernode, to each neighbour: the whole table
/// once they are linked, its changes from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableUpdate {
    /// A part of a new table, which replaces the old one as soon as all parts are there.
    Whole {
        /// The table has two to the power of so many bits, within [`TABLE_LOG2_BITS`].
        log2_bits: u8,
        /// Which part; they come in order from 0.
        part: u8,
        /// Its bits, the lowest of each byte first: [`TABLE_PART_BYTES`], or the whole table if
        /// that is less.
        bits: SharedBytes<TABLE_PART_BYTES>,
        /// Nodes whose metadata the sender's index holds.
        nodes: u32,
        /// Whether it has the pairs of words that stand together, too.
        pairs: bool,
    },
    /// Bits that are not what they were.
    Flips {
        /// Where they are, ascending: the first one, and then the distance from each to the next,
        /// every number as a LEB128 integer.
        flips: SharedBytes<FLIPS_BYTES>,
        /// Nodes whose metadata the sender's index holds.
        nodes: u32,
    },
}

/// The bits that stand for a key in a table of two to the power of `log2_bits` bits: by double
/// hashing (Kirsch and Mitzenmacher 2006), with the upper half of the key as the distance, made
/// odd so that the places differ.
pub fn table_bits(key: u64, log2_bits: u8) -> impl Iterator<Item = u32> {
    let mask = (1_u64 << log2_bits.min(32)) - 1;
    let step = (key >> 32) | 1;
    // Masked to 32 bits at most, so that nothing is lost.
    #[allow(clippy::cast_possible_truncation)]
    (0..u64::from(TABLE_HASHES))
        .map(move |i| (key.wrapping_add(i.wrapping_mul(step)) & mask) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn bytes_are_encoded_as_a_list_of_bytes_is() {
        let shared = SharedBytes::<8>::new(vec![1, 200, 255]).expect("three bytes");
        let list = crate::BoundedVec::<u8, 8>::truncated([1, 200, 255]);
        assert_eq!(codec::encode_statement(&shared), codec::encode_statement(&list));
        assert!(SharedBytes::<2>::new(vec![1, 2, 3]).is_err());
    }

    #[test]
    fn what_was_worked_out_of_bytes_is_there_for_those_who_share_them() {
        let bytes = SharedBytes::<8>::new(vec![1, 2]).expect("two bytes");
        let (copy, other) = (bytes.clone(), SharedBytes::new(vec![1, 2]).expect("two bytes"));
        bytes.leave(3_u32);
        copy.leave(4_u32);
        assert_eq!((copy.outcome(), other.outcome::<u32>()), (Some(&3_u32), None));
        assert_eq!((bytes.is_same(&copy), bytes.is_same(&other)), (true, false));
        assert_eq!(bytes, other, "it makes no other bytes of them");
    }

    #[test]
    fn the_bits_of_a_key_differ_and_lie_within_the_table() {
        let key = 0x1234_5678_9abc_def0;
        for log2_bits in TABLE_LOG2_BITS {
            let bits: std::collections::BTreeSet<u32> = table_bits(key, log2_bits).collect();
            assert_eq!(bits.len(), 6);
            assert!(bits.iter().all(|bit| *bit < 1 << log2_bits));
        }
        let bits: Vec<u32> = table_bits(key, 10).collect();
        assert_eq!(bits, [0x2f0, 0x169, 0x3e2, 0x25b, 0x0d4, 0x34d]);
    }
}
