//! Bits that are turned over, as neighbours are told of them.

use skein_proto::routing::FLIPS_BYTES;

/// Ascending bits as distances, in lists of [`FLIPS_BYTES`] at most; an empty one if there are
/// none.
pub(super) fn write_flips(flips: &[u32]) -> Vec<Vec<u8>> {
    let mut lists = vec![Vec::new()];
    let mut before = 0;
    for bit in flips {
        let mut number = bit - before;
        if let Some(list) = lists.last()
            && list.len() + 5 > FLIPS_BYTES
        {
            lists.push(Vec::new());
            number = *bit;
        }
        before = *bit;
        let Some(list) = lists.last_mut() else { continue };
        while number >= 0x80 {
            // The seven lowest bits.
            #[allow(clippy::cast_possible_truncation)]
            list.push(number as u8 | 0x80);
            number >>= 7;
        }
        #[allow(clippy::cast_possible_truncation)]
        list.push(number as u8);
    }
    lists
}

/// Reads what [`write_flips`] wrote; `None` if the bits do not ascend or are not within a
/// table of this size.
pub(super) fn read_flips(bytes: &[u8], log2_bits: u8) -> Option<Vec<u32>> {
    let mut flips: Vec<u32> = Vec::new();
    let (mut number, mut shift) = (0_u64, 0);
    for byte in bytes {
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 != 0 {
            shift += 7;
            if shift > 28 {
                return None;
            }
            continue;
        }
        let before = flips.last().copied();
        if before.is_some() && number == 0 {
            return None;
        }
        let bit = u64::from(before.unwrap_or(0)) + number;
        if bit >= 1 << log2_bits {
            return None;
        }
        flips.push(u32::try_from(bit).ok()?);
        (number, shift) = (0, 0);
    }
    (shift == 0).then_some(flips)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn flips_are_read_as_they_were_written(
            bits in proptest::collection::btree_set(0_u32..1 << 20, 0..30_000),
        ) {
            let bits: Vec<u32> = bits.into_iter().collect();
            let lists = write_flips(&bits);
            prop_assert!(lists.iter().all(|list| list.len() <= FLIPS_BYTES));
            let read: Option<Vec<_>> = lists.iter().map(|list| read_flips(list, 20)).collect();
            prop_assert_eq!(read.map(|lists| lists.concat()), Some(bits));
        }

        #[test]
        fn flips_of_a_stranger_ascend_or_are_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            if let Some(flips) = read_flips(&bytes, 12) {
                prop_assert!(flips.is_sorted_by(|a, b| a < b));
                prop_assert!(flips.iter().all(|bit| *bit < 4_096));
            }
        }
    }
}
