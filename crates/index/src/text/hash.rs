//! The number by which nodes speak of a word without saying it: rule 18.

/// The hash of a word: the first eight bytes of the BLAKE3 hash of its folded text in UTF-8, read
/// as a little-endian number. Query routing tables are made of it, so that it is the same at
/// every node.
pub fn word_hash(word: &str) -> u64 {
    let hash = blake3::hash(word.as_bytes());
    hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_what_the_protocol_says() {
        // The well-known hashes of nothing and of "abc".
        let bytes = [0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6];
        assert_eq!(word_hash(""), u64::from_le_bytes(bytes));
        let bytes = [0x64, 0x37, 0xb3, 0xac, 0x38, 0x46, 0x51, 0x33];
        assert_eq!(word_hash("abc"), u64::from_le_bytes(bytes));
    }
}
