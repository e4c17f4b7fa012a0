//! Metadata of a network that nobody has: names whose words are as frequent as words are, owners
//! who have several files each. The same seed gives the same records.

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use skein_proto::{ContentId, FileMeta, FilePath, Kind};

/// Different words.
pub const WORDS: usize = 200_000;

/// Words of one name.
const NAME_WORDS: std::ops::RangeInclusive<usize> = 3..=8;

/// Extensions, all as frequent.
const EXTENSIONS: [&str; 8] = ["mp3", "flac", "mkv", "mp4", "pdf", "epub", "jpg", "zip"];

/// What words are made of: 21 consonants and 5 vowels give 105 syllables, 11,025 words of two of
/// them and a million of three.
const CONSONANTS: &[u8; 21] = b"bcdfghjklmnpqrstvwxyz";
const VOWELS: &[u8; 5] = b"aeiou";

/// A vocabulary, and how often each of its words is used: the nth 1/n times as often as the first
/// (Zipf's law with s = 1).
pub struct Corpus {
    words: Vec<String>,
    /// The share of this word and all before it, not divided by the total.
    cumulative: Vec<f64>,
    seed: u64,
}

impl Corpus {
    /// The corpus of a seed.
    pub fn new(seed: u64) -> Self {
        let mut words: Vec<String> = (0..WORDS).map(word).collect();
        // Else frequent words would stand side by side in every sorted dictionary.
        words.shuffle(&mut StdRng::seed_from_u64(seed));
        let mut sum = 0.0;
        let cumulative = (1..=WORDS)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        Self { words, cumulative, seed }
    }

    /// So many records, each of a content of its own.
    pub fn records(&self, count: u64) -> impl Iterator<Item = FileMeta> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        (0..count).map(move |_| self.record(&mut rng))
    }

    /// Records without an end, each of a content of its own.
    pub fn into_records(self) -> impl Iterator<Item = FileMeta> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        std::iter::repeat_with(move || self.record(&mut rng))
    }

    /// Two different words, each as frequent as in the records.
    pub fn pair(&self, rng: &mut StdRng) -> (String, String) {
        let one = self.word(rng);
        let mut other = self.word(rng);
        while other == one {
            other = self.word(rng);
        }
        (one.to_owned(), other.to_owned())
    }

    fn record(&self, rng: &mut StdRng) -> FileMeta {
        let extension = EXTENSIONS[rng.random_range(0..EXTENSIONS.len())];
        let wanted = rng.random_range(NAME_WORDS);
        let mut words: Vec<&str> = Vec::with_capacity(wanted);
        while words.len() < wanted {
            let word = self.word(rng);
            if !words.contains(&word) {
                words.push(word);
            }
        }
        let path = format!("{}.{extension}", words.join(" "));
        FileMeta {
            content: ContentId::from_bytes(rng.random()),
            size: rng.random_range(1..=1_000_000_000),
            kind: Kind::from_extension(extension),
            // Eight words of at most six letters are never too long for a path.
            path: FilePath::new(path).unwrap_or_else(|_| unreachable!("a name is a path")),
            tags: None,
        }
    }

    fn word(&self, rng: &mut StdRng) -> &str {
        let total = self.cumulative.last().copied().unwrap_or_default();
        let at = rng.random_range(0.0..total);
        let rank = self.cumulative.partition_point(|sum| *sum <= at);
        &self.words[rank.min(WORDS - 1)]
    }
}

/// The files of each installed Debian package, as its list names them, each with a content of its
/// own.
///
/// # Errors
/// This is no Debian.
pub fn packages(seed: u64) -> anyhow::Result<Vec<(u64, Vec<FileMeta>)>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut lists: Vec<_> = std::fs::read_dir("/var/lib/dpkg/info")
        .context("there are no lists of packages")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "list"))
        .collect();
    lists.sort();
    let mut packages = Vec::new();
    for (owner, list) in (0..).zip(lists) {
        let text = std::fs::read_to_string(list)?;
        let paths: Vec<&str> = text.lines().map(|line| line.trim_start_matches('/')).collect();
        let mut files = Vec::new();
        for path in paths {
            // Folders are listed too: they have a last part without a dot, as some files have.
            let Ok(path) = FilePath::new(path) else { continue };
            let kind = path.extension().map(Kind::from_extension).unwrap_or_default();
            let content = ContentId::from_bytes(rng.random());
            files.push(FileMeta {
                content,
                size: rng.random_range(1..=1_000_000),
                kind,
                path,
                tags: None,
            });
        }
        packages.push((owner, files));
    }
    Ok(packages)
}

/// Two different words of each of some of the files.
pub fn pairs_of(
    lists: &[(u64, Vec<FileMeta>)],
    count: usize,
    rng: &mut StdRng,
) -> Vec<(String, String)> {
    let files: Vec<&FileMeta> = lists.iter().flat_map(|(_, files)| files).collect();
    let mut pairs = Vec::with_capacity(count);
    while pairs.len() < count && !files.is_empty() {
        let mut words = skein_index::text::record_words(files[rng.random_range(0..files.len())]);
        words.shuffle(rng);
        if let [one, other, ..] = words.as_slice() {
            pairs.push((one.text.clone(), other.text.clone()));
        }
    }
    pairs
}

fn word(number: usize) -> String {
    const SYLLABLES: usize = CONSONANTS.len() * VOWELS.len();
    const SHORT: usize = SYLLABLES * SYLLABLES;
    let (mut rest, syllables) = if number < SHORT { (number, 2) } else { (number - SHORT, 3) };
    let mut word = String::with_capacity(2 * syllables);
    for _ in 0..syllables {
        let syllable = rest % SYLLABLES;
        rest /= SYLLABLES;
        word.push(char::from(CONSONANTS[syllable / VOWELS.len()]));
        word.push(char::from(VOWELS[syllable % VOWELS.len()]));
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn all_words_are_different() {
        let words: HashSet<String> = (0..WORDS).map(word).collect();
        assert_eq!(words.len(), WORDS);
    }

    #[test]
    fn words_are_as_frequent_as_zipf_says() {
        let corpus = Corpus::new(1);
        let mut rng = StdRng::seed_from_u64(2);
        let mut counts: HashMap<&str, u32> = HashMap::new();
        for _ in 0..100_000 {
            *counts.entry(corpus.word(&mut rng)).or_default() += 1;
        }
        let count = |rank: usize| f64::from(counts[corpus.words[rank - 1].as_str()]);
        let ratio = count(1) / count(10);
        assert!((9.0..11.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn the_same_seed_gives_the_same_records() {
        let records = |seed| Corpus::new(seed).records(50).collect::<Vec<_>>();
        assert_eq!(records(1), records(1));
        assert_ne!(records(1), records(2));
    }
}
