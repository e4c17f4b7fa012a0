//! Numbers in as many bytes as they need, seven bits in each, the low ones first (LEB128).

/// Appends a number.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front; zero from an empty slice.
#[inline]
pub(crate) fn take(bytes: &mut &[u8]) -> u64 {
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
