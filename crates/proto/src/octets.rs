//! Bytes of a fixed number, written and read eight at a time.
//!
//! serde knows an array of bytes as so many single values, and bincode holds each one that it reads
//! against the limit on what a message may take, which for an id of 32 bytes took longer than all
//! else that is done with it. Of the values that serde knows only a float of 64 bits is written by
//! bincode as its own eight bytes whatever they are; integers are shortened. So eight bytes travel as the
//! float that has those bits. They are the same bytes on the wire as the array's, and nobody
//! reckons with that float: `from_le_bytes` and `to_le_bytes` leave the bits alone, those of numbers
//! that are none included.
//!
//! Text has no such floats, so there the bytes are hexadecimal digits.

use data_encoding::HEXLOWER;
use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserializer, Serializer};
use std::fmt;

/// Bytes of a word.
const WORD: usize = 8;

/// Writes an array as its bytes. `N` is a multiple of eight.
pub(crate) fn serialize<const N: usize, S: Serializer>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    const { assert!(N.is_multiple_of(WORD), "only whole words are written") };
    if serializer.is_human_readable() {
        return serializer.serialize_str(&HEXLOWER.encode(bytes));
    }
    let mut tuple = serializer.serialize_tuple(N / WORD)?;
    for word in bytes.as_chunks::<WORD>().0 {
        tuple.serialize_element(&f64::from_le_bytes(*word))?;
    }
    tuple.end()
}

/// Reads an array that [`serialize`] wrote.
pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    const { assert!(N.is_multiple_of(WORD), "only whole words are read") };
    if deserializer.is_human_readable() {
        return deserializer.deserialize_str(Words::<N>);
    }
    deserializer.deserialize_tuple(N / WORD, Words::<N>)
}

/// Puts an array together again.
struct Words<const N: usize>;

impl<'de, const N: usize> Visitor<'de> for Words<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} bytes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<[u8; N], E> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(E::custom)?;
        bytes.try_into().map_err(|bytes: Vec<u8>| E::invalid_length(bytes.len(), &self))
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<[u8; N], A::Error> {
        let mut bytes = [0; N];
        for (at, place) in bytes.as_chunks_mut::<WORD>().0.iter_mut().enumerate() {
            let word: f64 =
                words.next_element()?.ok_or_else(|| A::Error::invalid_length(at * WORD, &self))?;
            *place = word.to_le_bytes();
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use crate::codec::{decode_statement, encode_statement, encoded_len};
    use crate::key::Signature;
    use crate::{ContentId, NodeId, QueryId};
    use proptest::prelude::*;

    /// Eight bytes as a float: infinite, not a number (quiet, and signalling, with a payload), the
    /// smallest there is, and minus zero.
    const ODD: [u64; 8] = [
        0x7ff0_0000_0000_0000,
        0xfff0_0000_0000_0000,
        0x7ff8_0000_0000_0000,
        0xfff8_1234_5678_9abc,
        0x7ff0_0000_0000_0001,
        0xfff4_dead_beef_0001,
        0x0000_0000_0000_0001,
        0x8000_0000_0000_0000,
    ];

    fn is_written_as_it_is(bytes: [u8; 32]) {
        let written = encode_statement(&ContentId::from_bytes(bytes));
        assert_eq!(written, bytes);
        // What an array of bytes is written as, by bincode itself.
        assert_eq!(written, encode_statement(&bytes));
        assert_eq!(encoded_len(&ContentId::from_bytes(bytes)), 32);
        assert_eq!(decode_statement(&written), Ok(ContentId::from_bytes(bytes)));
    }

    #[test]
    fn no_bit_is_lost_whatever_number_it_would_be() {
        for first in ODD {
            for second in ODD {
                let mut bytes = [0; 32];
                for (place, word) in bytes.chunks_exact_mut(8).zip([first, second, first, second]) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
                is_written_as_it_is(bytes);
            }
        }
    }

    proptest! {
        #[test]
        fn an_id_is_its_bytes(bytes: [u8; 32]) {
            is_written_as_it_is(bytes);
        }
    }

    #[test]
    fn what_is_cut_off_is_no_id() {
        let query = encode_statement(&QueryId::from_bytes([7; 16]));
        for cut in 0..16 {
            assert!(decode_statement::<QueryId>(&query[..cut]).is_err(), "{cut} bytes");
            assert!(decode_statement::<NodeId>(&query[..cut]).is_err(), "{cut} bytes");
        }
        assert!(decode_statement::<NodeId>(&query).is_err());
    }

    #[test]
    fn as_text_no_bit_is_lost_either() {
        let bytes: Vec<u8> = ODD.iter().flat_map(|word| word.to_le_bytes()).collect();
        let signature: Signature = decode_statement(&bytes).expect("64 bytes");
        let text = serde_json::to_string(&signature).expect("it is text");
        assert_eq!(text.len(), 2 + 2 * 64, "{text}");
        assert_eq!(serde_json::from_str(&text).ok(), Some(signature));
        assert!(serde_json::from_str::<Signature>(&text.replacen("00", "", 1)).is_err());
    }
}
