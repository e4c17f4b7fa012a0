//! Which supernodes a search has covered, told apart by their tags.

use skein_proto::Tag;
use std::collections::BTreeSet;

/// A set of tags, in their order. So few supernodes share a tag that a tag counts for one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Covered(BTreeSet<u32>);

/// A tag as a number, in the same order: numbers are compared in one step.
fn number([a, b, c]: Tag) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}

impl Covered {
    /// Takes in a tag, and says whether it was new.
    pub(crate) fn insert(&mut self, tag: Tag) -> bool {
        self.0.insert(number(tag))
    }

    pub(crate) fn contains(&self, tag: Tag) -> bool {
        self.0.contains(&number(tag))
    }

    /// All tags.
    pub(crate) fn tags(&self) -> impl Iterator<Item = Tag> {
        self.0.iter().map(|number| {
            let [_, a, b, c] = number.to_be_bytes();
            [a, b, c]
        })
    }

    /// How many there are.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn supernodes(&self) -> f64 {
        // Far fewer than 2^52.
        self.0.len() as f64
    }
}

/// How many there are of which so many different ones were seen in so many draws: the solution of
/// `different = all × (1 - exp(-draws / all))`. Where next to none was drawn twice it is some large
/// number.
pub(crate) fn population(different: f64, draws: f64) -> f64 {
    if different < 1.0 {
        return different;
    }
    let seen = |all: f64| all * (1.0 - (-draws / all).exp());
    let (mut low, mut high) = (different, different * 1_000.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if seen(middle) < different { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_population_is_found_from_what_was_drawn_twice() {
        let different = 950.0 * (1.0 - (-1_600.0_f64 / 950.0).exp());
        assert!((population(different, 1_600.0) - 950.0).abs() < 0.01);
        assert!(population(80.0, 80.0) > 10_000.0, "nobody was drawn twice");
        assert!(population(3.0, 300.0) < 3.01);
    }
}
