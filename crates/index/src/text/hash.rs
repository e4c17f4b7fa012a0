//! The numbers by which nodes speak of words without saying them: rules 20 to 22.
//!
//! All are made by XXH3 with 64 bits and without a seed (`XXH3_64bits` of the xxHash specification,
//! which a seed of zero gives too). They are no secrets, and a table uses some twenty bits of
//! either half of one: no hash keeps anybody from finding words that have those in common. What
//! matters is that a new word is hashed six or seven times, with its beginnings, and for so few
//! bytes XXH3 takes a fraction of the time of BLAKE3.
//!
//! So whoever wants to can find a word that has the hash of another one, in all bits. Nothing may be
//! hidden by that: tables count how often a hash is there, and what has to tell words apart goes by
//! their texts or by a hash with a secret.

use twox_hash::XxHash3_64;

/// How many characters a beginning may have to have a hash of its own. Half of all searches end in
/// a word that need only begin one (rule 15), so tables must know beginnings too; to know all of
/// them would double the tables once more. Beyond six characters few words differ that are not
/// told apart by their first six.
const BEGINNINGS: [usize; 8] = [1, 2, 3, 4, 5, 6, 8, 12];

/// How many characters of each word a pair is made of. So a word that is typed as far as that has
/// its pairs, the short words and extensions that stand in every second name have none, and
/// there are no more pairs than there are with whole words. Few pairs of words have the
/// first four characters of both in common with another one.
const PAIR_CHARS: usize = 4;

/// The hash of a word: XXH3 with 64 bits and without a seed, of its folded text in UTF-8. Query
/// routing tables are made of it, so that it is the same at every node.
pub fn word_hash(word: &str) -> u64 {
    XxHash3_64::oneshot(word.as_bytes())
}

/// The hash of a beginning: as [`word_hash`], of the beginning with an asterisk behind it, which no
/// word has.
pub fn beginning_hash(beginning: &str) -> u64 {
    // The text must be in one piece. To allocate it would take several times as long as to hash it,
    // and beginnings are hashed with every new word.
    let mut bytes = [0; 4 * BEGINNINGS[BEGINNINGS.len() - 1] + 1];
    let text = match bytes.get_mut(..=beginning.len()) {
        Some(text) => text,
        None => return word_hash(&format!("{beginning}*")),
    };
    let (head, last) = text.split_at_mut(beginning.len());
    head.copy_from_slice(beginning.as_bytes());
    last.fill(b'*');
    XxHash3_64::oneshot(text)
}

/// The beginnings of a word that have a hash of their own, the longest first. The word itself is
/// among them if it is as long as one of them.
pub fn beginnings(word: &str) -> impl Iterator<Item = &str> {
    let is_ascii = word.is_ascii();
    BEGINNINGS.iter().rev().filter_map(move |length| {
        if is_ascii {
            return word.get(..*length);
        }
        let end = word.char_indices().nth(length - 1).map(|(at, c)| at + c.len_utf8());
        end.map(|end| &word[..end])
    })
}

/// What stands for a word in pairs: the hash of its first four characters; `None` if it is shorter.
pub fn pair_half(word: &str) -> Option<u64> {
    pair_head(word).map(beginning_hash)
}

fn pair_head(word: &str) -> Option<&str> {
    let (last, character) = word.char_indices().nth(PAIR_CHARS - 1)?;
    Some(&word[..last + character.len_utf8()])
}

/// How many pairs these words have, of which nothing is hashed.
pub fn count_pairs<'a>(words: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut heads: Vec<&str> = words.into_iter().filter_map(pair_head).collect();
    heads.sort_unstable();
    heads.dedup();
    let count = heads.len() as u64;
    count * count.saturating_sub(1) / 2
}

/// The hash of two words that stand in one record, whatever their order, by their halves
/// ([`pair_half`]): as [`word_hash`], of the 16 bytes of both, the lesser one first, each as eight
/// bytes with the least first. `None` if both are the same.
pub fn pair_hash(one: u64, other: u64) -> Option<u64> {
    if one == other {
        return None;
    }
    let mut both = [0; 16];
    both[..8].copy_from_slice(&one.min(other).to_le_bytes());
    both[8..].copy_from_slice(&one.max(other).to_le_bytes());
    Some(XxHash3_64::oneshot(&both))
}

/// Calls with the hash of each pair of these words, each once.
pub fn for_each_pair<'a>(words: impl IntoIterator<Item = &'a str>, mut see: impl FnMut(u64)) {
    let mut halves: Vec<u64> = words.into_iter().filter_map(pair_half).collect();
    halves.sort_unstable();
    halves.dedup();
    for (at, one) in halves.iter().enumerate() {
        halves[at + 1..].iter().filter_map(|other| pair_hash(*one, *other)).for_each(&mut see);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    #[test]
    fn the_hash_is_what_the_protocol_says() {
        // What xxHash's own implementation gives (`xxhsum -H3`), for texts of each of the lengths
        // that XXH3 treats alike: none, up to 3, 8, 16 and 128 bytes.
        assert_eq!(word_hash(""), 0x2d06_8005_38d3_94c2);
        assert_eq!(word_hash("a"), 0xe6c6_32b6_1e96_4e1f);
        assert_eq!(word_hash("abc"), 0x78af_5f94_892f_3950);
        assert_eq!(word_hash("東京"), 0x469b_7ab5_870c_f9b6);
        assert_eq!(word_hash("melodies"), 0xaedd_3997_ca9d_72d5);
        assert_eq!(word_hash("moonlight"), 0x73a7_fac3_8388_bd75);
        assert_eq!(word_hash("abcdefghijklmnop"), 0x3d3c_cac9_af14_d8a8);
        assert_eq!(word_hash("abcdefghijklmnopqrstuvwxyz"), 0x810f_9ca0_67fb_b90c);
        assert_eq!(beginning_hash("moon"), 0xcbf4_bbef_76df_daef, "of \"moon*\"");
        assert_eq!(beginning_hash("philharmonic"), 0x186e_7e3e_bd78_a309, "of \"philharmonic*\"");
        let pair = pair_half("moonlight").zip(pair_half("sonata"));
        let hash = pair.and_then(|(one, other)| pair_hash(one, other));
        assert_eq!(hash, Some(0x58d8_bf48_f580_2b6e), "of those of \"moon*\" and \"sona*\"");
        assert_eq!(beginning_hash("abc"), word_hash("abc*"));
    }

    #[test]
    fn a_pair_is_of_the_first_four_characters_of_both_in_any_order() {
        let pair = |one, other| pair_hash(pair_half(one)?, pair_half(other)?);
        assert_eq!(pair("moonlight", "sonata"), pair("sonatas", "moon"));
        assert_ne!(pair("moonlight", "sonata"), pair("moonlight", "serenade"));
        assert_eq!(pair("moonlight", "moonshine"), None, "one word may begin with both");
        assert_eq!(pair("moonlight", "mp3"), None);
        assert!(pair("東京都庁", "moonlight").is_some());
        let mut seen = Vec::new();
        let words = ["the", "moonlight", "sonata", "moonshine", "2024"];
        for_each_pair(words, |hash| seen.push(hash));
        assert_eq!(count_pairs(words), 3);
        assert_eq!(count_pairs(["moon", "and", "moonlight"]) + count_pairs([]), 0);
        seen.sort_unstable();
        let mut expected = [("moonlight", "sonata"), ("moon", "2024"), ("sonata", "2024")]
            .map(|(one, other)| pair(one, other).expect("two long words"));
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }

    #[test]
    fn beginnings_end_between_characters() {
        let found = |word| beginnings(word).collect::<Vec<_>>();
        assert_eq!(found("東京"), ["東京", "東"]);
        assert_eq!(found("melodies"), ["melodies", "melodi", "melod", "melo", "mel", "me", "m"]);
        assert_eq!(found(""), [""; 0]);
    }
}
