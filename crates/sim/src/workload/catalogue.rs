//! The contents that exist: their names, and who would match which words.

use super::sampling::Zipf;
use super::{SettingError, check};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use skein_proto::{ContentId, FileMeta, FilePath, Kind};

/// The number of a content. The lower it is the more copies there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content(pub u32);

/// How contents are called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many words there are.
    pub vocabulary: u32,
    /// Zipf's exponent of the words; 1 is that of natural language.
    pub alpha: f64,
    /// The fewest words of a name.
    pub fewest_words: u8,
    /// The most words of a name.
    pub most_words: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { vocabulary: 200_000, alpha: 1.0, fewest_words: 3, most_words: 8 }
    }
}

/// All contents with their names, and an index of the words.
#[derive(Clone, Debug)]
pub struct Catalogue {
    salt: u64,
    /// Where the words of each content start in `words`; one more than contents.
    starts: Vec<u32>,
    words: Vec<u32>,
    /// Where the contents of each word start in `postings`; one more than words.
    posting_starts: Vec<u32>,
    postings: Vec<Content>,
}

impl Catalogue {
    /// Draws a name for each content, all words of a name different.
    pub(super) fn new(
        settings: &Settings,
        contents: u32,
        rng: &mut impl Rng,
    ) -> Result<Self, SettingError> {
        let Settings { vocabulary, alpha, fewest_words, most_words } = *settings;
        check((1..=32).contains(&most_words), "names.most_words", "1 to 32")?;
        check(
            (1..=most_words).contains(&fewest_words),
            "names.fewest_words",
            "1 to names.most_words",
        )?;
        check((0.0..=3.0).contains(&alpha), "names.alpha", "0 to 3")?;
        // Words are drawn until they differ: a vocabulary that a name nearly uses up takes long.
        check(vocabulary >= 64, "names.vocabulary", "64 or more")?;
        let law = Zipf::new(vocabulary, alpha, 0.0);
        let mut starts = Vec::with_capacity(contents as usize + 1);
        let mut words: Vec<u32> = Vec::new();
        for _ in 0..contents {
            let start = words.len();
            starts.push(start as u32);
            let count = usize::from(rng.random_range(fewest_words..=most_words));
            while words.len() < start + count {
                let word = law.sample(rng);
                if !words[start..].contains(&word) {
                    words.push(word);
                }
            }
        }
        starts.push(words.len() as u32);
        words.shrink_to_fit();
        let (posting_starts, postings) = invert(&starts, &words, vocabulary);
        Ok(Self { salt: rng.random(), starts, words, posting_starts, postings })
    }

    /// How many contents there are.
    pub fn len(&self) -> u32 {
        // `starts` was filled from a u32.
        self.starts.len() as u32 - 1
    }

    /// Whether there is no content.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The words of a content's name, in their order.
    pub fn words_of(&self, content: Content) -> &[u32] {
        row(&self.starts, &self.words, content.0)
    }

    /// Contents that have all of these words in their names.
    pub fn matching(&self, words: &[u32]) -> impl Iterator<Item = Content> {
        let list = |word: &u32| row(&self.posting_starts, &self.postings, *word);
        let mut lists: Vec<&[Content]> = words.iter().map(list).collect();
        lists.sort_unstable_by_key(|list| list.len());
        let mut lists = lists.into_iter();
        let shortest = lists.next().unwrap_or_default();
        let mut others: Vec<&[Content]> = lists.collect();
        let all = move |content: &Content| {
            others.iter_mut().all(|list| {
                *list = from(list, *content);
                list.first() == Some(content)
            })
        };
        shortest.iter().copied().filter(all)
    }

    /// Whether a content has all of these words in its name.
    pub fn matches(&self, content: Content, words: &[u32]) -> bool {
        let name = self.words_of(content);
        words.iter().all(|word| name.contains(word))
    }

    /// Words as they are typed.
    pub fn text(&self, words: &[u32]) -> String {
        words.iter().map(|number| word(*number)).collect::<Vec<_>>().join(" ")
    }

    /// The name of a content's file.
    pub fn file_name(&self, content: Content) -> String {
        self.text(self.words_of(content)) + ".mp3"
    }

    /// The metadata of a content, made now.
    #[allow(clippy::expect_used)]
    pub fn file(&self, content: Content) -> FileMeta {
        let path = format!("share/{}", self.file_name(content));
        FileMeta {
            content: self.id(content),
            // Some megabytes, as music has, and always the same for a content.
            size: 2_000_000 + u64::from(content.0.wrapping_mul(2_654_435_761) >> 8) % 6_000_000,
            kind: Kind::Audio,
            // Up to 32 words of at most 10 letters.
            path: FilePath::new(path).expect("letters and blanks below one folder are a path"),
            tags: None,
        }
    }

    /// The id of a content. Its last four bytes are the number, so that the way back is short.
    pub fn id(&self, content: Content) -> ContentId {
        let mut seed = [0; 12];
        seed[..8].copy_from_slice(&self.salt.to_be_bytes());
        seed[8..].copy_from_slice(&content.0.to_be_bytes());
        let mut id = *blake3::hash(&seed).as_bytes();
        id[28..].copy_from_slice(&content.0.to_be_bytes());
        ContentId::from_bytes(id)
    }

    /// The content with an id; `None` if it is not from here.
    pub fn content(&self, id: &ContentId) -> Option<Content> {
        let number: [u8; 4] = id.as_bytes()[28..].try_into().ok()?;
        let content = Content(u32::from_be_bytes(number));
        (content.0 < self.len() && self.id(content) == *id).then_some(content)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let lists = [&self.starts, &self.words, &self.posting_starts];
        lists.iter().map(|list| list.capacity() * 4).sum::<usize>() + self.postings.capacity() * 4
    }
}

/// One row of a table that is kept as one list and the places where rows start in it.
pub(super) fn row<'a, T>(starts: &[u32], all: &'a [T], number: u32) -> &'a [T] {
    let number = number as usize;
    match (starts.get(number), starts.get(number + 1)) {
        (Some(start), Some(end)) => &all[*start as usize..*end as usize],
        _ => &[],
    }
}

/// What is not below a content in a list in ascending order, of which the beginning is looked at
/// first (galloping search: Bentley and Yao, 1976).
fn from(list: &[Content], least: Content) -> &[Content] {
    let mut end = 1;
    while list.get(end - 1).is_some_and(|content| *content < least) {
        end *= 2;
    }
    // All that lies before the last place but one that was looked at is below.
    let (start, end) = (end / 2, end.min(list.len()));
    &list[start + list[start..end].partition_point(|content| *content < least)..]
}

/// From rows of values below `values` to, for each value, the rows that have it, in their order.
fn invert(starts: &[u32], all: &[u32], values: u32) -> (Vec<u32>, Vec<Content>) {
    let mut ends = vec![0_u32; values as usize + 1];
    for value in all {
        ends[*value as usize + 1] += 1;
    }
    for value in 1..ends.len() {
        ends[value] += ends[value - 1];
    }
    let mut next = ends.clone();
    let mut rows = vec![Content(0); all.len()];
    for number in 0..starts.len() as u32 - 1 {
        for value in row(starts, all, number) {
            let place = &mut next[*value as usize];
            rows[*place as usize] = Content(number);
            *place += 1;
        }
    }
    (ends, rows)
}

/// A word that can be pronounced: syllables, at least two, for the digits of its number.
fn word(number: u32) -> String {
    const CONSONANTS: &[u8] = b"bdfghjklmnprstvz";
    const VOWELS: &[u8] = b"aeiou";
    let base = (CONSONANTS.len() * VOWELS.len()) as u32;
    let mut word = String::with_capacity(8);
    let mut rest = number;
    while rest > 0 || word.len() < 4 {
        let syllable = (rest % base) as usize;
        word.push(char::from(CONSONANTS[syllable / VOWELS.len()]));
        word.push(char::from(VOWELS[syllable % VOWELS.len()]));
        rest /= base;
    }
    word
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::collections::BTreeSet;

    fn catalogue(contents: u32) -> Catalogue {
        let mut rng = StdRng::seed_from_u64(1);
        Catalogue::new(&Settings::default(), contents, &mut rng).unwrap()
    }

    #[test]
    fn every_word_is_spelt_differently() {
        let words: BTreeSet<String> = (0..100_000).map(word).collect();
        assert_eq!(words.len(), 100_000);
        assert!(words.iter().all(|word| (4..=6).contains(&word.len())));
    }

    #[test]
    fn names_have_the_words_of_the_law() {
        let catalogue = catalogue(20_000);
        let mut commonest = 0_u32;
        for number in 0..20_000 {
            let words = catalogue.words_of(Content(number));
            assert!((3..=8).contains(&words.len()));
            assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
            commonest += u32::from(words.contains(&0));
        }
        // The commonest of 200,000 words is one in 12.8, and a name has 5.5 of them.
        assert!((7_000..8_600).contains(&commonest), "{commonest}");
    }

    #[test]
    fn matching_is_what_reading_all_names_finds() {
        let catalogue = catalogue(3_000);
        for number in (0..3_000).step_by(97) {
            let name = catalogue.words_of(Content(number));
            let asked = [name[0], name[2]];
            let read: Vec<Content> = (0..3_000)
                .map(Content)
                .filter(|content| catalogue.matches(*content, &asked))
                .collect();
            assert_eq!(catalogue.matching(&asked).collect::<Vec<_>>(), read);
        }
        assert_eq!(catalogue.matching(&[]).next(), None);
        assert_eq!(catalogue.matching(&[999_999_999]).next(), None);
    }

    #[test]
    fn a_content_is_found_again_by_its_id_and_a_strange_id_is_not() {
        let catalogue = catalogue(50);
        for number in 0..50 {
            let file = catalogue.file(Content(number));
            assert_eq!(catalogue.content(&file.content), Some(Content(number)));
            assert!(file.path.as_str().starts_with("share/"));
        }
        let mut strange = *catalogue.id(Content(7)).as_bytes();
        strange[0] ^= 1;
        assert_eq!(catalogue.content(&ContentId::from_bytes(strange)), None);
    }
}
