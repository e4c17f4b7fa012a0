//! A table from which keys can be taken out again.

use super::filter::Filter;
use skein_proto::routing::table_bits;

/// A counter that has come so far stays there until the table is made anew: what it counted is
/// not known any more. Beginnings of so many words and more come there; their bits stay when the
/// words have all gone, which costs a question in vain, if ever one.
const STUCK: u8 = 15;

/// Bytes that are compared at once.
const LINE: usize = 64;

/// Hashes of a key.
const HASHES: f64 = 6.0;

/// Keys, each as often as it was added: how many keys set each bit (Fan, Cao, Almeida and Broder
/// 2000).
#[derive(Debug)]
pub(super) struct Counted {
    log2_bits: u8,
    /// Two counters in a byte.
    counters: Vec<u8>,
    /// The bits whose counters are not zero, the lowest of each byte first.
    bits: Vec<u8>,
    ones: u64,
}

impl Counted {
    /// A table without a key.
    pub(super) fn new(log2_bits: u8) -> Self {
        let (counters, bits) = (vec![0; 1 << (log2_bits - 1)], vec![0; 1 << (log2_bits - 3)]);
        Self { log2_bits, counters, bits, ones: 0 }
    }

    pub(super) const fn log2_bits(&self) -> u8 {
        self.log2_bits
    }

    /// Different keys, as the bits tell that are set (Swamidass and Baldi 2007).
    pub(super) fn keys(&self) -> u64 {
        #[allow(clippy::cast_precision_loss)]
        let (ones, bits) = (self.ones as f64, self.counters.len() as f64 * 2.0);
        let free = 1.0 - ones.min(bits - 1.0) / bits;
        // Neither less than none nor more than there are bits.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let keys = (-free.ln() * bits / HASHES).round() as u64;
        keys
    }

    /// Adds a key. Answers whether a bit is set that was not.
    pub(super) fn add(&mut self, key: u64) -> bool {
        let mut has_turned = false;
        for bit in table_bits(key, self.log2_bits) {
            let count = self.count(bit);
            if count == 0 {
                self.turn(bit);
                self.ones += 1;
                has_turned = true;
            }
            self.set_count(bit, (count + 1).min(STUCK));
        }
        has_turned
    }

    /// Takes a key out that was added. Answers whether a bit was set that is not any more.
    pub(super) fn remove(&mut self, key: u64) -> bool {
        let mut has_turned = false;
        for bit in table_bits(key, self.log2_bits) {
            let count = self.count(bit);
            if count == 0 || count == STUCK {
                continue;
            }
            self.set_count(bit, count - 1);
            if count == 1 {
                self.turn(bit);
                self.ones -= 1;
                has_turned = true;
            }
        }
        has_turned
    }

    /// The table as others hold it.
    pub(super) fn filter(&self) -> Filter {
        Filter::of_bytes(self.log2_bits, &self.bits)
    }

    /// The bits that are not as in another table of the same size, in ascending order.
    pub(super) fn differences(&self, other: &Filter) -> Vec<u32> {
        let mut differences = Vec::new();
        let mut from = 0;
        for part in other.parts() {
            let own = self.bits.get(from..from + part.len()).unwrap_or_default();
            // Most bytes are the same: many of them are compared at once.
            for (at, (ours, theirs)) in own.chunks(LINE).zip(part.chunks(LINE)).enumerate() {
                if ours == theirs {
                    continue;
                }
                for (byte, (ours, theirs)) in (LINE * at..).zip(ours.iter().zip(theirs)) {
                    let mut turned = ours ^ theirs;
                    while turned != 0 {
                        // A table has at most 2²³ bits.
                        #[allow(clippy::cast_possible_truncation)]
                        differences.push(((from + byte) * 8) as u32 + turned.trailing_zeros());
                        turned &= turned - 1;
                    }
                }
            }
            from += part.len();
        }
        differences
    }

    fn turn(&mut self, bit: u32) {
        if let Some(byte) = self.bits.get_mut(bit as usize / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }

    fn count(&self, bit: u32) -> u8 {
        let pair = self.counters.get(bit as usize / 2).copied().unwrap_or(0);
        if bit.is_multiple_of(2) { pair & 0x0f } else { pair >> 4 }
    }

    fn set_count(&mut self, bit: u32, count: u8) {
        if let Some(pair) = self.counters.get_mut(bit as usize / 2) {
            *pair = if bit.is_multiple_of(2) {
                (*pair & 0xf0) | count
            } else {
                (*pair & 0x0f) | (count << 4)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skein_index::text::word_hash;

    #[test]
    fn it_reckons_how_many_different_keys_it_has() {
        for (keys, log2_bits) in [(0, 10), (1, 10), (100, 10), (5_000, 16), (50_000, 19)] {
            let mut table = Counted::new(log2_bits);
            for key in 0..keys {
                (0..=key % 3).for_each(|_| {
                    table.add(word_hash(&format!("key{key}")));
                });
            }
            let reckoned = table.keys();
            assert!(reckoned.abs_diff(keys) <= keys / 20, "{reckoned} of {keys}");
        }
        let mut full = Counted::new(10);
        (0..10_000).for_each(|key| {
            full.add(word_hash(&format!("key{key}")));
        });
        assert!(full.keys() > 1_000 && full.keys() < 2_000, "{}", full.keys());
    }

    proptest! {
        #[test]
        fn it_has_what_was_added_and_not_taken_out(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..200), 0..600),
        ) {
            let hash = |key: u64| word_hash(&format!("key{key}"));
            let mut table = Counted::new(12);
            let told = table.filter();
            let mut model = vec![0_u32; 200];
            for (add, key) in steps {
                let count = &mut model[key as usize];
                if add {
                    *count += 1;
                    let before = table.ones;
                    let has_turned = table.add(hash(key));
                    prop_assert_eq!(has_turned, table.ones > before);
                    prop_assert!(*count == 1 || !has_turned, "its bits are set already");
                } else if *count > 0 {
                    *count -= 1;
                    table.remove(hash(key));
                }
            }
            let filter = table.filter();
            prop_assert_eq!(filter.ones(), table.ones);
            let there = (0..200).filter(|key| model[*key as usize] > 0);
            prop_assert!(there.clone().all(|key| filter.may_have(hash(key))));
            let mut differences = table.differences(&told);
            prop_assert_eq!(differences.len() as u64, table.ones);
            let mut turned = told.clone();
            turned.flip(&differences);
            prop_assert!(turned == filter);
            differences.clear();
            prop_assert_eq!(table.differences(&filter), differences);
        }
    }
}
