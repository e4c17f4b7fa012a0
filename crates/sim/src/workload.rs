//! What people do: who takes part, what they share, what they ask for, when they come and go.
//!
//! The models are those of the measurements of file-sharing networks; each module names its own.
//! Everything follows from a seed, and Skein's runs and the [baselines](crate::baselines) are
//! given the same workload.
//!
//! Contents are numbers. Their names and metadata are made on demand, so that 100,000 nodes with
//! tens of contents each take some tens of megabytes.

pub mod catalogue;
pub mod churn;
pub mod holdings;
pub mod population;
pub mod query;
pub mod sampling;

pub use catalogue::{Catalogue, Content};
pub use churn::{Churn, Weibull};
pub use holdings::Holdings;
pub use population::{Host, Nat, Population, Way};
pub use query::{Popularity, Search};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use skein_proto::{ContentId, FileMeta};
use thiserror::Error;

/// A workload without its seed and size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Lines and NATs.
    pub population: population::Settings,
    /// Who shares how much, and how often a content is copied.
    pub sharing: holdings::Settings,
    /// Names of contents.
    pub names: catalogue::Settings,
    /// What is asked for.
    pub queries: query::Settings,
}

/// Why there is no such workload: the setting that is out of range, and its range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{setting} is out of range: {range}")]
pub struct SettingError {
    /// The name of the setting.
    pub setting: &'static str,
    /// What it may be.
    pub range: &'static str,
}

/// Answers an error unless a setting is in its range.
pub(crate) fn check(
    holds: bool,
    setting: &'static str,
    range: &'static str,
) -> Result<(), SettingError> {
    if holds { Ok(()) } else { Err(SettingError { setting, range }) }
}

/// People, what they share, and what is asked for.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Lines and NATs of the nodes.
    pub population: Population,
    /// The contents that exist.
    pub catalogue: Catalogue,
    /// Who has what.
    pub holdings: Holdings,
    popularity: Popularity,
    queries: query::Settings,
}

impl Workload {
    /// A workload for so many nodes. The same seed gives the same one.
    ///
    /// # Errors
    /// [`SettingError`]: a setting is out of its range.
    pub fn new(settings: &Settings, nodes: u32, seed: u64) -> Result<Self, SettingError> {
        check(nodes > 0, "nodes", "at least 1")?;
        // One stream of random numbers for each part: changing one leaves the others as they are.
        let mut root = StdRng::seed_from_u64(seed);
        let mut part = || StdRng::from_rng(&mut root);
        let population = Population::new(&settings.population, nodes, &mut part())?;
        let holdings = Holdings::new(&settings.sharing, nodes, &mut part())?;
        let catalogue = Catalogue::new(&settings.names, holdings.contents(), &mut part())?;
        let popularity = settings.queries.popularity(holdings.contents())?;
        Ok(Self { population, catalogue, holdings, popularity, queries: settings.queries.clone() })
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> u32 {
        self.holdings.nodes()
    }

    /// What a node shares.
    pub fn shared_by(&self, node: u32) -> &[Content] {
        self.holdings.shared_by(node)
    }

    /// The metadata of what a node shares, made now.
    pub fn files_of(&self, node: u32) -> Vec<FileMeta> {
        self.shared_by(node).iter().map(|content| self.catalogue.file(*content)).collect()
    }

    /// The number of a content that this workload made.
    pub fn content(&self, id: &ContentId) -> Option<Content> {
        self.catalogue.content(id)
    }

    /// A search for something popular: the content by the law of popularity, and as many words of
    /// its name as the settings say.
    pub fn popular_search(&self, rng: &mut impl Rng) -> Search {
        let target = Content(self.popularity.sample(rng));
        let most = self.catalogue.words_of(target).len();
        let words = rng.random_range(usize::from(self.queries.fewest_words).min(most)..=most);
        self.search_for(target, words, rng)
    }

    /// A search with two words from the name of something popular.
    pub fn two_word_search(&self, rng: &mut impl Rng) -> Search {
        let target = Content(self.popularity.sample(rng));
        self.search_for(target, 2, rng)
    }

    /// A search with all words of a content's name.
    pub fn exact_search(&self, target: Content) -> Search {
        Search { words: self.catalogue.words_of(target).into(), target }
    }

    /// A search, with all words of its name, for a content that just one node has; `None` when
    /// there is no such content.
    pub fn rare_search(&self, rng: &mut impl Rng) -> Option<Search> {
        let rare = self.holdings.single_copies();
        if rare.is_empty() {
            return None;
        }
        Some(self.exact_search(Content(rng.random_range(rare))))
    }

    fn search_for(&self, target: Content, words: usize, rng: &mut impl Rng) -> Search {
        let mut chosen: Vec<u32> = self.catalogue.words_of(target).to_vec();
        let words = words.clamp(1, chosen.len().max(1));
        for place in 0..words.min(chosen.len()) {
            let other = rng.random_range(place..chosen.len());
            chosen.swap(place, other);
        }
        chosen.truncate(words);
        Search { words: chosen.into(), target }
    }

    /// The oracle: all contents that match and that some node has for which `present` holds.
    pub fn available(&self, search: &Search, present: impl Fn(u32) -> bool) -> Vec<Content> {
        self.each_available(search, present).collect()
    }

    /// The same one after the other: whoever needs some of them only need not wait for all.
    pub fn each_available(
        &self,
        search: &Search,
        present: impl Fn(u32) -> bool,
    ) -> impl Iterator<Item = Content> {
        let matching = self.catalogue.matching(&search.words);
        matching.filter(move |content| self.is_held(*content, &present))
    }

    /// Whether a content is among them.
    pub fn is_available(
        &self,
        content: Content,
        search: &Search,
        present: impl Fn(u32) -> bool,
    ) -> bool {
        self.catalogue.matches(content, &search.words) && self.is_held(content, present)
    }

    fn is_held(&self, content: Content, present: impl Fn(u32) -> bool) -> bool {
        self.holdings.holders(content).iter().any(|node| present(*node))
    }

    /// Bytes that the workload takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.population.memory_bytes()
            + self.catalogue.memory_bytes()
            + self.holdings.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn workload(nodes: u32, seed: u64) -> Workload {
        Workload::new(&Settings::default(), nodes, seed).unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_workload_and_another_seed_another_one() {
        let describe = |seed| {
            let workload = workload(500, seed);
            let mut rng = StdRng::seed_from_u64(seed);
            let searches: Vec<String> = (0..20)
                .map(|_| workload.catalogue.text(&workload.popular_search(&mut rng).words))
                .collect();
            let files: Vec<FileMeta> = (0..500).flat_map(|node| workload.files_of(node)).collect();
            (searches, files)
        };
        assert_eq!(describe(1), describe(1));
        assert_ne!(describe(1), describe(2));
    }

    #[test]
    fn the_oracle_finds_what_is_asked_for_while_somebody_has_it() {
        let workload = workload(300, 3);
        let mut rng = StdRng::seed_from_u64(4);
        for _ in 0..100 {
            let search = workload.two_word_search(&mut rng);
            assert_eq!(search.words.len(), 2);
            let available = workload.available(&search, |node| node % 3 == 0);
            let is_one = |content| workload.is_available(content, &search, |node| node % 3 == 0);
            let found: Vec<Content> =
                (0..workload.catalogue.len()).map(Content).filter(|it| is_one(*it)).collect();
            assert_eq!(available, found);
            assert!(workload.available(&search, |_| true).contains(&search.target));
            assert_eq!(workload.available(&search, |_| false), []);
        }
        let rare = workload.rare_search(&mut rng).expect("single copies");
        let holder = workload.holdings.holders(rare.target)[0];
        assert_eq!(workload.holdings.holders(rare.target), [holder]);
        assert!(!workload.available(&rare, |node| node != holder).contains(&rare.target));
    }

    #[test]
    fn contents_of_a_hundred_thousand_nodes_take_some_tens_of_megabytes() {
        let workload = workload(100_000, 1);
        let copies: usize = (0..100_000).map(|node| workload.shared_by(node).len()).sum();
        assert!(copies > 1_000_000, "{copies} copies");
        assert!(workload.memory_bytes() < 64 << 20, "{}", workload.memory_bytes());
    }

    #[test]
    fn a_setting_out_of_range_is_named() {
        let mut settings = Settings::default();
        settings.sharing.sharers = 1.5;
        let error = Workload::new(&settings, 10, 1).unwrap_err();
        assert_eq!(error.setting, "sharing.sharers");
    }
}
