//! The numbers by which nodes speak of words without saying them: rules 20 and 21.

/// How many characters a beginning may have to have a hash of its own. Half of all searches end in
/// a word that need only begin one (rule 15), so tables must know beginnings too; to know all of
/// them would double the tables once more. Beyond six characters few words differ that are not
/// told apart by their first six.
const BEGINNINGS: [usize; 8] = [1, 2, 3, 4, 5, 6, 8, 12];

/// The hash of a word: the first eight bytes of the BLAKE3 hash of its folded text in UTF-8, read
/// as a little-endian number. Query routing tables are made of it, so that it is the same at
/// every node.
pub fn word_hash(word: &str) -> u64 {
    let hash = blake3::hash(word.as_bytes());
    hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The hash of a beginning: as [`word_hash`], of the beginning with an asterisk behind it, which no
/// word has.
pub fn beginning_hash(beginning: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(beginning.as_bytes()).update(b"*");
    hasher.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The beginnings of a word that have a hash of their own, the longest first. The word itself is
/// among them if it is as long as one of them.
pub fn beginnings(word: &str) -> impl Iterator<Item = &str> {
    BEGINNINGS.iter().rev().filter_map(move |length| {
        let end = word.char_indices().nth(length - 1).map(|(at, c)| at + c.len_utf8());
        end.map(|end| &word[..end])
    })
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
        assert_eq!(beginning_hash("abc"), word_hash("abc*"));
    }

    #[test]
    fn beginnings_end_between_characters() {
        let found = |word| beginnings(word).collect::<Vec<_>>();
        assert_eq!(found("東京"), ["東京", "東"]);
        assert_eq!(found("melodies"), ["melodies", "melodi", "melod", "melo", "mel", "me", "m"]);
        assert_eq!(found(""), [""; 0]);
    }
}
