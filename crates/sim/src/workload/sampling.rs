//! Draws by Zipf's law, with or without a flat head.

use rand::{Rng, RngExt};

/// Ranks from 0, the first the most likely: the rank `r` has a weight of `1 / (r + 1 + flat)^alpha`
/// (Zipf-Mandelbrot). With `flat` above 0 the first ranks differ less, as they do where each person
/// fetches a file at most once (Gummadi et al., "Measurement, Modeling, and Analysis of a
/// Peer-to-Peer File-Sharing Workload", SOSP 2003).
#[derive(Clone, Debug)]
pub struct Zipf {
    /// The sum of all weights up to each rank.
    sums: Vec<f64>,
}

impl Zipf {
    /// A law over so many ranks, at least one. It takes 8 bytes a rank.
    pub fn new(ranks: u32, alpha: f64, flat: f64) -> Self {
        let mut sum = 0.0;
        let sums = (0..ranks.max(1))
            .map(|rank| {
                sum += weight(rank, alpha, flat);
                sum
            })
            .collect();
        Self { sums }
    }

    /// Draws a rank, in the time of a binary search.
    pub fn sample(&self, rng: &mut impl Rng) -> u32 {
        let all = self.sums.last().copied().unwrap_or_default();
        let drawn = rng.random::<f64>() * all;
        let rank = self.sums.partition_point(|sum| *sum <= drawn).min(self.sums.len() - 1);
        // There are at most u32::MAX ranks.
        rank as u32
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.sums.capacity() * size_of::<f64>()
    }
}

/// The weight of a rank, see [`Zipf`].
pub fn weight(rank: u32, alpha: f64, flat: f64) -> f64 {
    (f64::from(rank) + 1.0 + flat).powf(-alpha)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn counts(alpha: f64, flat: f64) -> Vec<u32> {
        let law = Zipf::new(1_000, alpha, flat);
        let mut rng = StdRng::seed_from_u64(1);
        let mut counts = vec![0; 1_000];
        for _ in 0..200_000 {
            counts[law.sample(&mut rng) as usize] += 1;
        }
        counts
    }

    #[test]
    fn the_first_rank_is_drawn_as_often_as_the_law_says() {
        let counts = counts(1.0, 0.0);
        // 1 / H(1000) of the draws, and half of that for the second.
        let expected = 200_000.0 / 7.485;
        assert!((f64::from(counts[0]) / expected - 1.0).abs() < 0.03, "{}", counts[0]);
        assert!((f64::from(counts[1]) / expected - 0.5).abs() < 0.03, "{}", counts[1]);
    }

    #[test]
    fn a_flat_head_makes_the_first_ranks_alike() {
        let counts = counts(1.0, 20.0);
        assert!(f64::from(counts[0]) < 1.2 * f64::from(counts[1]), "{} {}", counts[0], counts[1]);
        assert!(counts[0] > 5 * counts[500], "{} {}", counts[0], counts[500]);
    }
}
