//! A query routing table as somebody holds it.

use super::flips::read_flips;
use skein_proto::routing::{
    FLIPS_BYTES, SharedBytes, TABLE_LOG2_BITS, TABLE_PART_BYTES, table_bits,
};

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// A part of a table, as it travels.
pub(crate) type Part = SharedBytes<TABLE_PART_BYTES>;

/// A table of a supernode.
///
/// All who were told the same of it share one copy: in the simulator forty neighbours of each
/// supernode live in one process. What a change makes of a table is left with the message that
/// tells of it, for the next one who holds the same table and gets the same message.
///
/// The number of the copy stands beside it: who knows already what it says of a query need not look.
#[derive(Clone, Debug)]
pub(crate) struct Filter(Arc<Bits>, u32);

#[derive(Debug)]
struct Bits {
    /// Which of all copies in this process it is.
    number: u32,
    log2_bits: u8,
    parts: Vec<Part>,
    /// How many are set, once somebody has counted them.
    ones: OnceLock<u64>,
    /// What tells tables apart however their bits are noted, once somebody has asked.
    digest: OnceLock<u64>,
}

/// What a message made of a table.
enum Outcome {
    /// The last part of a whole one. The table has the part: it is not kept alive by it.
    Whole(Weak<Bits>),
    /// Both are kept as long as the message is on its way to somebody.
    Flips { before: Arc<Bits>, after: Arc<Bits> },
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
    fn new(log2_bits: u8, parts: Vec<Part>) -> Self {
        static COPIES: AtomicU32 = AtomicU32::new(1);
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let (ones, digest) = (OnceLock::new(), OnceLock::new());
        Self::of(Arc::new(Bits { number, log2_bits, parts, ones, digest }))
    }

    fn of(bits: Arc<Bits>) -> Self {
        let number = bits.number;
        Self(bits, number)
    }

    /// A table without a key.
    pub(crate) fn empty(log2_bits: u8) -> Self {
        let (part, count) = layout(log2_bits);
        let empty = Part::new(vec![0; part]).unwrap_or_default();
        Self::new(log2_bits, vec![empty; count])
    }

    /// A table of these bits, the lowest of each byte first; empty where there are too few.
    pub(crate) fn of_bytes(log2_bits: u8, bytes: &[u8]) -> Self {
        let (part, _) = layout(log2_bits);
        let parts = bytes.chunks(part).filter_map(|bytes| Part::new(bytes).ok()).collect();
        Self::from_parts(log2_bits, parts).unwrap_or_else(|| Self::empty(log2_bits))
    }

    /// A table of these parts; `None` if they are not what a table of this size has.
    pub(crate) fn from_parts(log2_bits: u8, parts: Vec<Part>) -> Option<Self> {
        let (part, count) = layout(log2_bits);
        let fits = TABLE_LOG2_BITS.contains(&log2_bits)
            && parts.len() == count
            && parts.iter().all(|bits| bits.len() == part);
        let last = parts.last().filter(|_| fits)?;
        let shared = match last.outcome() {
            Some(Outcome::Whole(whole)) => whole.upgrade(),
            _ => None,
        };
        let same = shared.filter(|bits| {
            bits.log2_bits == log2_bits && bits.parts.iter().zip(&parts).all(|(a, b)| a.is_same(b))
        });
        Some(same.map_or_else(|| Self::new(log2_bits, parts), Self::of))
    }

    /// Which copy it is, of all that there are in this process: two with the same number have the same
    /// bits.
    pub(crate) fn number(&self) -> u32 {
        self.1
    }

    pub(crate) fn log2_bits(&self) -> u8 {
        self.0.log2_bits
    }

    pub(crate) fn bits(&self) -> u64 {
        1 << self.0.log2_bits
    }

    /// Bytes of memory, as if nothing were shared.
    pub(crate) fn bytes(&self) -> usize {
        1 << (self.0.log2_bits - 3)
    }

    /// Whether a supernode with this table may have a key.
    pub(crate) fn may_have(&self, key: u64) -> bool {
        table_bits(key, self.0.log2_bits).all(|bit| self.0.bit(bit))
    }

    /// Whether one of the bits of a key is set: [`Filter::may_have`] asks for all of them.
    pub(crate) fn has_bit_of(&self, key: u64, hash: u32) -> bool {
        let bit = table_bits(key, self.0.log2_bits).nth(hash as usize);
        bit.is_some_and(|bit| self.0.bit(bit))
    }

    /// Turns bits over, which are given in ascending order and within the table. Only the parts that
    /// they are in are made anew, since others share them.
    pub(crate) fn flip(&mut self, flips: &[u32]) {
        let mut parts = self.0.parts.clone();
        let mut more = 0_i64;
        for same_part in flips.chunk_by(|a, b| locate(*a).0 == locate(*b).0) {
            let [first, ..] = same_part else { continue };
            let Some(part) = parts.get_mut(locate(*first).0) else { continue };
            let mut bytes: Box<[u8]> = part[..].into();
            for bit in same_part {
                let (_, byte, mask) = locate(*bit);
                if let Some(byte) = bytes.get_mut(byte) {
                    *byte ^= mask;
                    more += if *byte & mask == 0 { -1 } else { 1 };
                }
            }
            *part = Part::new(bytes).unwrap_or_default();
        }
        let turned = Self::new(self.0.log2_bits, parts);
        if let Some(digest) = self.0.digest.get() {
            turned.0.digest.get_or_init(|| digest ^ digest_of(flips));
        }
        if let Some(ones) = self.0.ones.get() {
            turned.0.ones.get_or_init(|| ones.saturating_add_signed(more));
        }
        *self = turned;
    }

    /// Turns over the bits that a message tells of. Answers false if it does not tell of bits of
    /// this table.
    #[must_use]
    pub(crate) fn take_flips(&mut self, message: &SharedBytes<FLIPS_BYTES>) -> bool {
        if let Some(Outcome::Flips { before, after }) = message.outcome()
            && self.0.is_same(before)
        {
            *self = Self::of(after.clone());
            return true;
        }
        let Some(flips) = read_flips(message, self.log2_bits()) else { return false };
        let before = self.0.clone();
        self.flip(&flips);
        message.leave(Outcome::Flips { before, after: self.0.clone() });
        true
    }

    /// The parts, to be sent.
    pub(crate) fn parts(&self) -> &[Part] {
        if let Some(last) = self.0.parts.last() {
            last.leave(Outcome::Whole(Arc::downgrade(&self.0)));
        }
        &self.0.parts
    }

    /// Whether it says yes so often that it says nothing: more than three quarters of its bits are set.
    pub(crate) fn is_overfull(&self) -> bool {
        self.ones() * 4 > self.bits() * 3
    }

    /// Bits that are set.
    pub(crate) fn ones(&self) -> u64 {
        *self.0.ones.get_or_init(|| self.0.count_ones())
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.0.log2_bits == other.0.log2_bits && self.0.parts == other.0.parts
    }
}

impl Bits {
    fn byte(&self, bit: u32) -> u8 {
        let (part, byte, _) = locate(bit);
        self.parts.get(part).and_then(|bits| bits.get(byte)).copied().unwrap_or(0)
    }

    fn bit(&self, bit: u32) -> bool {
        let (.., mask) = locate(bit);
        self.byte(bit) & mask != 0
    }

    /// Whether both are the same table, whoever made them.
    fn is_same(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let are_shared = || {
            self.parts.len() == other.parts.len()
                && self.parts.iter().zip(&other.parts).all(|(a, b)| a.is_same(b))
        };
        Arc::ptr_eq(self, other)
            || (self.log2_bits == other.log2_bits
                && (are_shared() || self.digest() == other.digest()))
    }

    fn digest(&self) -> u64 {
        *self.digest.get_or_init(|| {
            let (mut digest, mut at) = (0, 0);
            for byte in self.parts.iter().flat_map(|part| part.iter()) {
                let mut left = *byte;
                while left != 0 {
                    digest ^= mix(at + left.trailing_zeros());
                    left &= left - 1;
                }
                at += 8;
            }
            digest
        })
    }

    fn count_ones(&self) -> u64 {
        let bytes = self.parts.iter().flat_map(|part| part.iter());
        bytes.map(|byte| u64::from(byte.count_ones())).sum()
    }
}

/// The exclusive or over a number for each of these bits: turning one over changes a table's digest
/// by its number. Only tables of one process are told apart by it, so nobody gains by making up two
/// of the same.
fn digest_of(bits: &[u32]) -> u64 {
    bits.iter().fold(0, |digest, bit| digest ^ mix(*bit))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn mix(bit: u32) -> u64 {
    let mut mixed = (u64::from(bit) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
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
        assert!((0..5_000).all(|bit| filter.0.bit(bit) == set.contains(&bit)));
        assert_eq!(shared.ones(), 0, "whoever shares the parts sees nothing of it");
        let parts = filter.parts().to_vec();
        assert_eq!(Filter::from_parts(19, parts), Some(filter));
    }

    #[test]
    fn those_who_are_told_the_same_hold_the_same_copy() {
        let mut told = Filter::empty(12);
        told.flip(&[7, 90]);
        let parts = told.parts().to_vec();
        let receive = || Filter::from_parts(12, parts.clone()).expect("all parts");
        let (mut one, mut two) = (receive(), receive());
        let is_shared = |a: &Filter, b: &Filter| Arc::ptr_eq(&a.0, &b.0);
        assert!(is_shared(&one, &two) && is_shared(&one, &told));
        // Bit 3, and the one that is 4 behind it.
        let message = SharedBytes::new(vec![3, 4]).expect("two bytes");
        assert!(told.take_flips(&message) && one.take_flips(&message) && two.take_flips(&message));
        assert!(is_shared(&one, &two) && is_shared(&one, &told));
        assert_eq!((one.0.bit(3), one.0.bit(7), one.0.bit(90)), (true, false, true));
        // Somebody who holds another table makes something else of the same message.
        let mut other = Filter::empty(12);
        assert!(other.take_flips(&message));
        assert_eq!((other.ones(), one.ones()), (2, 2));
        assert_eq!((other.0.bit(7), other.0.bit(90)), (true, false));
    }

    #[test]
    fn one_who_is_late_or_was_told_in_another_way_comes_to_hold_the_same_copy_again() {
        let message = |bits: [u8; 2]| SharedBytes::new(bits.to_vec()).expect("two bytes");
        let mut told = Filter::empty(12);
        let first = Filter::from_parts(12, told.parts().to_vec()).expect("all parts");
        let (mut in_time, mut late) = (first.clone(), first);
        let (one, two, three) = (message([3, 4]), message([1, 9]), message([2, 2]));
        assert!(told.take_flips(&one) && in_time.take_flips(&one));
        assert!(told.take_flips(&two) && in_time.take_flips(&two));
        assert!(late.take_flips(&one) && late.take_flips(&two));
        assert!(Arc::ptr_eq(&late.0, &told.0) && Arc::ptr_eq(&in_time.0, &told.0));
        // A newcomer is told the whole of it, and another one by somebody who was told so.
        let mut newcomer = Filter::from_parts(12, told.parts().to_vec()).expect("all parts");
        assert!(Arc::ptr_eq(&newcomer.0, &told.0));
        let bytes = told.0.parts[0].to_vec();
        let mut stranger = Filter::of_bytes(12, &bytes);
        assert!(!Arc::ptr_eq(&stranger.0, &told.0));
        for filter in [&mut told, &mut newcomer, &mut stranger, &mut in_time, &mut late] {
            assert!(filter.take_flips(&three));
        }
        for filter in [&newcomer, &stranger, &in_time, &late] {
            assert!(Arc::ptr_eq(&filter.0, &told.0));
        }
        assert_eq!(told.ones(), 6);
    }

    #[test]
    fn parts_that_do_not_make_a_table_are_refused() {
        let part = Part::new(vec![0; 128]).expect("a small part");
        assert!(Filter::from_parts(10, vec![part.clone()]).is_some());
        assert!(Filter::from_parts(9, vec![part.clone()]).is_none());
        assert!(Filter::from_parts(200, vec![part.clone()]).is_none());
        assert!(Filter::from_parts(11, vec![part.clone(), part]).is_none());
    }
}
