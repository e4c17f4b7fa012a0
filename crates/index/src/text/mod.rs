//! How text becomes words, in records and in queries alike.
//!
//! # Folding ([`fold()`])
//!
//! 1. U+00B4 (acute accent) becomes an apostrophe, since it is often typed for one.
//! 2. Compatibility decomposition (NFKD, UAX 15).
//! 3. Removed are
//!    - the combining marks 0300–036F, 1AB0–1AFF, 1DC0–1DFF, 20D0–20FF, FE20–FE2F;
//!    - the Hebrew points 0591–05BD, 05BF, 05C1–05C2, 05C4–05C5, 05C7;
//!    - the Arabic harakat 064B–065F, 0670, and the tatweel 0640;
//!    - what is invisible inside a word: 00AD, 061C, 180B–180F, 200C–200F, 202A–202E,
//!      2060–206F, FE00–FE0F, FEFF, E0100–E01EF.
//!
//!    The vowel signs of Indic scripts and the voicing marks of kana stay.
//! 4. Full case folding (Unicode, section 3.13), which also makes ß into ss.
//! 5. ł becomes l, ø o, đ d, æ ae, œ oe.
//! 6. Steps 2 and 3 once more, since folding can bring out new marks (İ), then composition (NFC).
//!    Folding what is folded changes nothing.
//!
//! # Splitting ([`words`])
//!
//! 7. A word is a run, as long as it goes, of letters and digits (Unicode `Alphabetic` or
//!    `Numeric`) and of the combining marks (general category M) behind them. Everything else
//!    separates: white space, dots, underscores, hyphens, slashes, U+200B. There is no break between
//!    letters and digits, nor inside camelCase.
//! 8. An apostrophe (one of ' ` ‘ ’ ‛ ʻ ʼ) with a word character on both sides, the one behind it
//!    no combining mark, is dropped (don't is the word dont); any other one separates.
//! 9. Where a run passes from one class of script to another, it breaks. The classes are: Han with
//!    Hiragana and Katakana; Thai, Lao, Khmer and Myanmar; all others, Hangul among them. The
//!    ranges are in `Script::of`.
//! 10. A run of the first two classes, which write no spaces, becomes the overlapping pairs of its
//!     characters (a character is a base with the marks behind it): 東京都 is 東京, 京都. A run
//!     of one character is that character. In a record the last character of a run is a word
//!     of its own too (都), so that each character of a run begins some word.
//! 11. A word is cut after [`MAX_WORD_CHARS`] code points.
//!
//! # Records ([`record_words`])
//!
//! 12. The words of a record come from its file name with the extension, its title, artist and
//!     album, and then the folders of its path, the nearest first. The first
//!     [`MAX_RECORD_WORDS`] different ones count.
//!
//! # Queries ([`ParsedQuery::parse`])
//!
//! 13. All words must match, in any order. A run of rule 10 asks for all its pairs, but not for its
//!     last character. (So a run of more pairs than [`MAX_RECORD_WORDS`] matches nothing.)
//! 14. A word followed at once by `*` (after folding) matches every word that begins with it.
//! 15. The last word does so too when the text does not end in white space and the word has at
//!     least [`MIN_OPEN_CHARS`] code points: its typist may not have finished it.
//! 16. A run of one character of rule 10 matches every word that begins with it, always.
//! 17. More than [`MAX_QUERY_WORDS`] words are refused; a run of rule 10 counts as one.
//! 18. What stands in quotes (" “ ”) is a phrase: its words must follow each other in the file name,
//!     in one tag or in one folder, where a run of rule 10 counts as its pairs.
//! 19. What follows a minus sign that stands at the front or behind white space, up to the next
//!     white space or in quotes, is excluded: a record with any of these words does not match.
//!
//! # Hashes ([`word_hash`], [`beginning_hash`], [`pair_hash`])
//!
//! 20. The hash of a word is XXH3 with 64 bits and without a seed (`XXH3_64bits` of the xxHash
//!     specification), of its folded text in UTF-8.
//! 21. The hash of a beginning ([`beginning_hash`]) is that of the beginning with `*` behind it.
//!     Beginnings of 1 to 6, 8 and 12 code points have one ([`beginnings`]); a query for a
//!     beginning of another length goes by the longest one within it.
//! 22. The hash of a pair ([`pair_hash`]) stands for two words of one record that have at least four
//!     code points and do not begin with the same four: XXH3, as in rule 20, of the 16 bytes of the
//!     hashes (rule 21) of the first four code points of both, the lesser one first, each as eight
//!     little-endian bytes. So a query for words or beginnings of four code points and more asks
//!     for their pairs.

mod fold;
mod hash;
mod query;
mod record;
mod split;

pub use fold::fold;
pub use hash::{beginning_hash, beginnings, for_each_pair, pair_half, pair_hash, word_hash};
pub use query::{ParsedQuery, QueryError, Term, TermMatch};
pub use record::{RecordWord, record_words};
pub(crate) use record::{RecordWords, Run, is_word_byte};
pub use split::words;

/// The longest word in code points; what follows is not kept. Longer words are hashes and
/// garbage, which nobody types to the end, and 32 keeps a made-up vocabulary cheap.
pub const MAX_WORD_CHARS: usize = 32;

/// The most different words of one record. A name of 255 bytes with all tags has about 60.
pub const MAX_RECORD_WORDS: usize = 64;

/// The most words of one query.
pub const MAX_QUERY_WORDS: usize = 16;

/// From this many code points on, the last word of a query may be unfinished. With one only, half
/// of the dictionary would match.
pub const MIN_OPEN_CHARS: usize = 2;
