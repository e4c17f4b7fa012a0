//! Numbers in as many bytes as they need, seven bits in each, the low ones first (LEB128).

/// The number of bits of a byte that say something of the number.
const SEVEN: u32 = 0x7f7f_7f7f;

/// The bits that say whether more follows.
const MORE: u32 = !SEVEN;

/// Appends a number. Up to 28 bits, which nearly all have, it is done without a question of how many
/// bytes there will be: that cannot be foreseen.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, number: u64) {
    if number >> 28 != 0 {
        put_large(out, number);
        return;
    }
    let number = number as u32;
    let spread = (number & 0x7f)
        | (number << 1 & 0x7f00)
        | (number << 2 & 0x7f_0000)
        | (number << 3 & 0x7f00_0000);
    let more =
        u32::from(number >> 7 != 0) + u32::from(number >> 14 != 0) + u32::from(number >> 21 != 0);
    let marks = MORE & ((1 << (8 * more)) - 1);
    out.extend_from_slice(&(spread | marks).to_le_bytes());
    out.truncate(out.len() - 3 + more as usize);
}

#[cold]
fn put_large(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front; zero from an empty slice. Where four bytes are left, and it has no more
/// of them, it is done without a question of how many it has.
#[inline]
pub(crate) fn take(bytes: &mut &[u8]) -> u64 {
    if let Some(four) = bytes.first_chunk() {
        let word = u32::from_le_bytes(*four);
        let ends = !word & MORE;
        if ends != 0 {
            let bits = ends.trailing_zeros() + 1;
            let word = word & SEVEN & (u32::MAX >> (32 - bits));
            *bytes = bytes.get(bits as usize / 8..).unwrap_or_default();
            let number = (word & 0x7f)
                | (word >> 1 & 0x3f80)
                | (word >> 2 & 0x1f_c000)
                | (word >> 3 & 0xfe0_0000);
            return u64::from(number);
        }
    }
    take_singly(bytes)
}

#[inline]
fn take_singly(bytes: &mut &[u8]) -> u64 {
    let Some((first, rest)) = bytes.split_first() else { return 0 };
    *bytes = rest;
    if *first < 0x80 {
        return u64::from(*first);
    }
    let mut number = u64::from(first & 0x7f);
    let mut shift = 7;
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if *byte < 0x80 {
            break;
        }
    }
    number
}

/// As [`take`], for numbers of 32 bits.
#[inline]
pub(crate) fn take32(bytes: &mut &[u8]) -> u32 {
    take(bytes) as u32
}

/// Takes so many bytes from the front, or as many as there are.
#[inline]
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(numbers in proptest::collection::vec(any::<u64>(), 0..20)) {
            let mut bytes = Vec::new();
            for number in &numbers {
                put(&mut bytes, *number >> (number % 64));
            }
            let mut rest = &bytes[..];
            for number in &numbers {
                prop_assert_eq!(take(&mut rest), *number >> (number % 64));
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(take(&mut rest), 0);
        }

        #[test]
        fn garbage_is_taken_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                take(&mut rest);
            }
        }
    }
}
