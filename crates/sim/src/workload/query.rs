//! What is asked for.

use super::sampling::Zipf;
use super::{Content, SettingError, check};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// The law by which people ask for contents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Zipf's exponent; measured were 0.6 to 1.2 (Sripanidkulchai, 2001; Klemm et al., IMC 2004).
    pub alpha: f64,
    /// How many first ranks are asked for nearly equally often, see [`Zipf`].
    pub flat_head: f64,
    /// The fewest words of a popular search; the most are all of the name.
    pub fewest_words: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { alpha: 0.8, flat_head: 10.0, fewest_words: 2 }
    }
}

impl Settings {
    pub(super) fn popularity(&self, contents: u32) -> Result<Popularity, SettingError> {
        check((0.0..=3.0).contains(&self.alpha), "queries.alpha", "0 to 3")?;
        check(self.flat_head >= 0.0, "queries.flat_head", "0 or more")?;
        check((1..=8).contains(&self.fewest_words), "queries.fewest_words", "1 to 8")?;
        Ok(Popularity { law: Zipf::new(contents, self.alpha, self.flat_head) })
    }
}

/// How often each content is asked for. The content with the most copies is asked for most.
#[derive(Clone, Debug)]
pub struct Popularity {
    law: Zipf,
}

impl Popularity {
    pub(super) fn sample(&self, rng: &mut impl Rng) -> u32 {
        self.law.sample(rng)
    }
}

/// A keyword search: all words must match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Search {
    /// The numbers of the words; their text is [`Catalogue::text`](super::Catalogue::text).
    pub words: Box<[u32]>,
    /// The content that the asker has in mind; others may match, too.
    pub target: Content,
}
