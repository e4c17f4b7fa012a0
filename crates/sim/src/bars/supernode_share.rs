//! Whether the network finds the number of supernodes that it needs, and stays there.

use super::{Order, Outcome};
use crate::report::Report;
use crate::report::plots::Plot;

/// 24 hours of measured sessions, nobody is told what to be.
pub const SCENARIO: &str = include_str!("../../scenarios/supernode-share.toml");

/// Measures it.
pub fn measure(order: &Order) -> Outcome {
    match order.run(SCENARIO, &[Plot::Supernodes, Plot::Nodes]) {
        Ok(report) => judge(&report),
        Err(outcome) => outcome,
    }
}

/// The optimum is the fewest supernodes of which any 70 % can still hold all children. The number
/// oscillates if it turns back by more than the tolerance more than once in four hours.
pub fn judge(report: &Report) -> Outcome {
    let mut off = Vec::new();
    let mut ratios = Vec::new();
    for sample in report.measured() {
        let ratio = f64::from(sample.supernodes) / report.optimum(sample);
        ratios.push(ratio);
        off.push((ratio - 1.0).abs());
    }
    let within = off.iter().filter(|off| **off <= 0.2).count() as f64 / off.len().max(1) as f64;
    let turns = turning_points(&ratios, 0.2);
    let mean = ratios.iter().sum::<f64>() / ratios.len().max(1) as f64;
    Outcome {
        figure: format!(
            "{mean:.2} x the optimum on average, within 20 % of it {:.1} % of the time, \
             {turns} turns by more than 20 %",
            within * 100.0
        ),
        holds: within >= 0.95 && turns <= 6,
    }
}

/// How often a series turns back by more than `tolerance`.
fn turning_points(values: &[f64], tolerance: f64) -> usize {
    let Some(first) = values.first() else { return 0 };
    let (mut low, mut high, mut rising, mut turns) = (*first, *first, None, 0);
    for value in values {
        low = low.min(*value);
        high = high.max(*value);
        if *value > low + tolerance && rising != Some(true) {
            turns += usize::from(rising.is_some());
            (rising, high) = (Some(true), *value);
        } else if *value < high - tolerance && rising != Some(false) {
            turns += usize::from(rising.is_some());
            (rising, low) = (Some(false), *value);
        }
        match rising {
            Some(true) => low = low.max(high - tolerance),
            Some(false) => high = high.min(low + tolerance),
            None => {}
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_no_oscillation_and_a_wave_is() {
        let noise: Vec<f64> = (0..100).map(|n| 1.0 + f64::from(n % 3) * 0.05).collect();
        assert_eq!(turning_points(&noise, 0.2), 0);
        let wave: Vec<f64> = (0..100).map(|n| 1.0 + (f64::from(n) / 5.0).sin() * 0.5).collect();
        assert!((5..=7).contains(&turning_points(&wave, 0.2)), "{}", turning_points(&wave, 0.2));
    }
}
