//! Which supernodes a search has covered, told apart by their tags.

/// Tags are 16 bits.
const TAGS: usize = 1 << 16;

/// A set of tags. Tags of different supernodes can be the same: among 950 about one in 140 shares
/// its tag, among 9,500 one in 15, so that numbers are corrected for it.
#[derive(Clone, Debug)]
pub(crate) struct Covered {
    bits: Box<[u64]>,
    count: usize,
}

impl Covered {
    pub(crate) fn new() -> Self {
        Self { bits: vec![0; TAGS / 64].into_boxed_slice(), count: 0 }
    }

    /// Takes in a tag, and says whether it was new.
    pub(crate) fn insert(&mut self, tag: [u8; 2]) -> bool {
        let (word, mask) = place(tag);
        let Some(word) = self.bits.get_mut(word) else { return false };
        let new = *word & mask == 0;
        *word |= mask;
        self.count += usize::from(new);
        new
    }

    pub(crate) fn contains(&self, tag: [u8; 2]) -> bool {
        let (word, mask) = place(tag);
        self.bits.get(word).is_some_and(|word| word & mask != 0)
    }

    /// How many supernodes these tags stand for: the likeliest number, by linear counting (Whang,
    /// Vander-Zanden and Taylor 1990), which is exact for some hundreds.
    pub(crate) fn supernodes(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let (tags, set) = (TAGS as f64, self.count as f64);
        if self.count < 100 { set } else { -tags * (1.0 - set / (tags + 1.0)).ln() }
    }
}

fn place(tag: [u8; 2]) -> (usize, u64) {
    let tag = u16::from_le_bytes(tag);
    (usize::from(tag / 64), 1 << (tag % 64))
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
    use skein_proto::{NodeId, QueryId};

    #[test]
    fn thousands_of_supernodes_are_counted_to_within_one_percent() {
        let query = QueryId::from_bytes([5; 16]);
        let mut covered = Covered::new();
        for number in 0..9_500_u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_le_bytes());
            let tag = query.tag(&NodeId::from_bytes(id));
            covered.insert(tag);
            assert!(covered.contains(tag));
        }
        assert!((covered.supernodes() / 9_500.0 - 1.0).abs() < 0.01, "{}", covered.supernodes());
    }

    #[test]
    fn a_population_is_found_from_what_was_drawn_twice() {
        let different = 950.0 * (1.0 - (-1_600.0_f64 / 950.0).exp());
        assert!((population(different, 1_600.0) - 950.0).abs() < 0.01);
        assert!(population(80.0, 80.0) > 10_000.0, "nobody was drawn twice");
        assert!(population(3.0, 300.0) < 3.01);
    }
}
