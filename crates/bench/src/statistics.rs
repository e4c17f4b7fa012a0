//! Few numbers out of many.

/// The middle of some numbers; of an even number of them, the lower one of the two. Medians of
/// interleaved rounds are what a noisy machine disturbs least.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    quantile(numbers, 0.5)
}

/// The number that a share of all others is below; zero if there is none.
pub fn quantile(numbers: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_unstable_by(f64::total_cmp);
    let last = numbers.len().saturating_sub(1);
    numbers.get((last as f64 * share) as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_round_does_not_move_the_median() {
        assert_eq!(median([2.0, 1.0, 900.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn a_quantile_is_one_of_the_numbers() {
        let numbers = (0..=100).map(f64::from);
        assert_eq!(quantile(numbers, 0.95), 95.0);
    }
}
