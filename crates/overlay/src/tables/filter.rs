//! A query routing table as somebody holds it.

use skein_proto::routing::{TABLE_LOG2_BITS, TABLE_PART_BYTES, table_bits};
use std::sync::Arc;

/// When the bits noted as changed take more than this part of the table's own bytes, they are
/// written into it.
const FLIPS_SHARE: usize = 4;

/// A table of a supernode.
///
/// Its parts are shared with all who hold the same one: in the simulator forty neighbours of each
/// supernode live in one process. So changes are noted beside the parts, and written into a copy of
/// them when there are many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    log2_bits: u8,
    parts: Vec<Arc<[u8]>>,
    /// Bits that are not what the parts say, ascending.
    flips: Vec<u32>,
}

/// How many bytes each part of a table of this size has, and how many parts there are.
pub(crate) fn layout(log2_bits: u8) -> (usize, usize) {
    let bytes = 1_usize << (log2_bits.clamp(*TABLE_LOG2_BITS.start(), *TABLE_LOG2_BITS.end()) - 3);
    let part = bytes.min(TABLE_PART_BYTES);
    (part, bytes / part)
}

fn locate(bit: u32) -> (usize, usize, u8) {
    let byte = bit as usize / 8;
    (byte / TABLE_PART_BYTES, byte % TABLE_PART_BYTES, 1 << (bit % 8))
}

impl Filter {
    /// A table without a key.
    pub(crate) fn empty(log2_bits: u8) -> Self {
        let (part, count) = layout(log2_bits);
        let empty: Arc<[u8]> = vec![0; part].into();
        Self { log2_bits, parts: vec![empty; count], flips: Vec::new() }
    }

    /// A table of these parts; `None` if they are not what a table of this size has.
    pub(crate) fn from_parts(log2_bits: u8, parts: Vec<Arc<[u8]>>) -> Option<Self> {
        let (part, count) = layout(log2_bits);
        let fits = TABLE_LOG2_BITS.contains(&log2_bits)
            && parts.len() == count
            && parts.iter().all(|bits| bits.len() == part);
        fits.then_some(Self { log2_bits, parts, flips: Vec::new() })
    }

    pub(crate) fn log2_bits(&self) -> u8 {
        self.log2_bits
    }

    pub(crate) fn bits(&self) -> u64 {
        1 << self.log2_bits
    }

    /// Bytes of memory, as if nothing were shared.
    pub(crate) fn bytes(&self) -> usize {
        (1 << (self.log2_bits - 3)) + self.flips.capacity() * size_of::<u32>()
    }

    fn bit(&self, bit: u32) -> bool {
        let (part, byte, mask) = locate(bit);
        let set =
            self.parts.get(part).and_then(|bits| bits.get(byte)).is_some_and(|b| b & mask != 0);
        set != self.flips.binary_search(&bit).is_ok()
    }

    /// Whether a supernode with this table may have a key.
    pub(crate) fn may_have(&self, key: u64) -> bool {
        table_bits(key, self.log2_bits).all(|bit| self.bit(bit))
    }

    /// Turns bits over, which are given in ascending order and within the table.
    pub(crate) fn flip(&mut self, flips: &[u32]) {
        let mut noted = Vec::with_capacity(self.flips.len() + flips.len());
        let (mut old, mut new) = (self.flips.as_slice(), flips);
        loop {
            match (old, new) {
                // Turned over twice is as it was.
                ([a, rest @ ..], [b, others @ ..]) if a == b => (old, new) = (rest, others),
                ([a, rest @ ..], [b, ..]) if a < b => {
                    noted.push(*a);
                    old = rest;
                }
                (_, [b, others @ ..]) => {
                    noted.push(*b);
                    new = others;
                }
                (rest, []) => {
                    noted.extend_from_slice(rest);
                    break;
                }
            }
        }
        self.flips = noted;
        if self.flips.len() * size_of::<u32>() > (1 << (self.log2_bits - 3)) / FLIPS_SHARE {
            self.settle();
        }
    }

    /// Writes what is noted into the parts.
    fn settle(&mut self) {
        let flips = std::mem::take(&mut self.flips);
        for same_part in flips.chunk_by(|a, b| locate(*a).0 == locate(*b).0) {
            let [first, ..] = same_part else { continue };
            let Some(part) = self.parts.get_mut(locate(*first).0) else { continue };
            let part = Arc::make_mut(part);
            for bit in same_part {
                let (_, byte, mask) = locate(*bit);
                if let Some(byte) = part.get_mut(byte) {
                    *byte ^= mask;
                }
            }
        }
    }

    /// The parts, with everything written into them.
    pub(crate) fn parts(&mut self) -> &[Arc<[u8]>] {
        self.settle();
        &self.parts
    }

    /// Bits that are set.
    pub(crate) fn ones(&self) -> u64 {
        let in_parts: u64 = self
            .parts
            .iter()
            .flat_map(|part| part.iter())
            .map(|byte| u64::from(byte.count_ones()))
            .sum();
        let (on, off): (Vec<u32>, Vec<u32>) = self.flips.iter().partition(|bit| self.bit(**bit));
        in_parts + on.len() as u64 - off.len() as u64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::collections::BTreeSet;

    #[test]
    fn bits_turned_over_in_any_order_are_what_a_set_says() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut filter = Filter::empty(19);
        let shared = filter.clone();
        let mut set = BTreeSet::new();
        for _ in 0..200 {
            let flips: BTreeSet<u32> = (0..200).map(|_| rng.random_range(0..4_000_u32)).collect();
            for bit in &flips {
                if !set.remove(bit) {
                    set.insert(*bit);
                }
            }
            filter.flip(&flips.iter().copied().collect::<Vec<_>>());
            assert_eq!(filter.ones(), set.len() as u64);
        }
        assert!((0..5_000).all(|bit| filter.bit(bit) == set.contains(&bit)));
        assert_eq!(shared.ones(), 0, "whoever shares the parts sees nothing of it");
        let parts = filter.parts().to_vec();
        assert_eq!(Filter::from_parts(19, parts), Some(filter));
    }

    #[test]
    fn parts_that_do_not_make_a_table_are_refused() {
        let part: Arc<[u8]> = vec![0; 128].into();
        assert!(Filter::from_parts(10, vec![part.clone()]).is_some());
        assert!(Filter::from_parts(9, vec![part.clone()]).is_none());
        assert!(Filter::from_parts(200, vec![part.clone()]).is_none());
        assert!(Filter::from_parts(11, vec![part.clone(), part]).is_none());
    }
}
