//! When people come and go.
//!
//! Times are drawn by inverting the distribution from one uniform number each, so that a run that
//! draws for each node in turn is the same whatever else has drawn.

use super::{SettingError, check};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Gamma};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A Weibull distribution of times. A shape below 1 has many short times and a few very long ones;
/// 1 is the exponential distribution, without memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weibull {
    /// The shape, 0.1 to 10.
    pub shape: f64,
    /// The scale in minutes: the time within which 63 % are over.
    pub scale_minutes: f64,
}

impl Weibull {
    fn check(&self) -> Result<(), SettingError> {
        check((0.1..=10.0).contains(&self.shape), "churn: shape", "0.1 to 10")?;
        let minutes = self.scale_minutes.is_finite() && self.scale_minutes > 0.0;
        check(minutes, "churn: scale_minutes", "above 0")
    }

    /// A time: `scale * (-ln u)^(1 / shape)`.
    pub fn sample(&self, rng: &mut impl Rng) -> Duration {
        // 1 - u lies in (0, 1], whose logarithm is finite.
        let exponential = -(1.0 - rng.random::<f64>()).ln();
        self.time(exponential)
    }

    /// What is left of a time at a moment that does not depend on it. Longer times are met more
    /// often: if `X` follows the distribution weighted by length, then `(X / scale)^shape` follows
    /// a Gamma distribution with shape `1 + 1 / self.shape`, and the moment lies anywhere in `X`.
    pub fn sample_rest(&self, rng: &mut impl Rng) -> Duration {
        let whole = match Gamma::new(1.0 + 1.0 / self.shape, 1.0) {
            Ok(gamma) => self.time(gamma.sample(rng)),
            Err(_) => self.sample(rng),
        };
        whole.mul_f64(rng.random())
    }

    /// The mean: `scale * Gamma(1 + 1 / shape)`.
    pub fn mean(&self) -> Duration {
        seconds(self.scale_minutes * 60.0 * libm::tgamma(1.0 + 1.0 / self.shape))
    }

    fn time(&self, exponential: f64) -> Duration {
        seconds(self.scale_minutes * 60.0 * exponential.powf(1.0 / self.shape))
    }
}

/// A time in seconds; what no clock of a run would reach is cut to ten years.
fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 10.0 * 365.0 * 86_400.0))
}

/// How nodes come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Churn {
    /// Nobody does.
    #[default]
    None,
    /// A share of all nodes goes within each hour, anyone at any time, and comes again.
    Turnover {
        /// How many nodes go in an hour, in relation to all: 0.5 is half of them. A node may go
        /// more than once.
        per_hour: f64,
        /// How long each of them is away.
        away_seconds: f64,
    },
    /// Measured sessions: a stable core beside fast turnover.
    Sessions {
        /// How long a node stays.
        session: Weibull,
        /// How long it is away.
        absence: Weibull,
    },
}

impl Churn {
    /// So many nodes of all within an hour, each away for half a minute.
    pub const fn turnover(per_hour: f64) -> Self {
        Self::Turnover { per_hour, away_seconds: 30.0 }
    }

    /// What was measured of file-sharing nodes, whose sessions a Weibull distribution fits (Stutzbach
    /// and Rejaie, "Understanding Churn in Peer-to-Peer Networks", IMC 2006): sessions with shape 0.58 and scale 260 min (the
    /// middle of 0.55 to 0.61 and 170 to 360 min), absences with shape 0.48 and scale 410 min.
    /// Somewhat less than a third of all nodes are there at a time.
    pub const MEASURED: Self = Self::Sessions {
        session: Weibull { shape: 0.58, scale_minutes: 260.0 },
        absence: Weibull { shape: 0.48, scale_minutes: 410.0 },
    };

    /// Memoryless sessions with such a mean, and absences of half a minute.
    pub fn mean_session(session: Duration) -> Self {
        Self::turnover(3_600.0 / session.as_secs_f64().max(1.0))
    }

    /// Looks whether all values are in their ranges.
    ///
    /// # Errors
    /// [`SettingError`]: one is not.
    pub fn check(&self) -> Result<(), SettingError> {
        match self {
            Self::None => Ok(()),
            Self::Turnover { per_hour, away_seconds } => {
                let rate = (0.0..=100.0).contains(per_hour);
                check(rate, "churn: per_hour", "0 to 100")?;
                let away = (0.0..=86_400.0).contains(away_seconds);
                check(away, "churn: away_seconds", "0 to 86,400")
            }
            Self::Sessions { session, absence } => session.check().and(absence.check()),
        }
    }

    /// Which share of all nodes is there on average.
    pub fn availability(&self) -> f64 {
        let share = |session: f64, absence: f64| session / (session + absence);
        match self {
            Self::Turnover { per_hour, away_seconds } if *per_hour > 0.0 => {
                share(3_600.0 / per_hour, *away_seconds)
            }
            Self::None | Self::Turnover { .. } => 1.0,
            Self::Sessions { session, absence } => {
                share(session.mean().as_secs_f64(), absence.mean().as_secs_f64())
            }
        }
    }

    /// How a node is found at the start of a run, in a network that has been running for long:
    /// whether it is there, and after which time that changes (`None`: never).
    pub fn at_start(&self, rng: &mut impl Rng) -> (bool, Option<Duration>) {
        let present = rng.random::<f64>() < self.availability();
        let change = match (self, present) {
            (Self::None, _) => None,
            (Self::Turnover { .. }, true) => self.session(rng),
            (Self::Turnover { away_seconds, .. }, false) => {
                Some(seconds(away_seconds * rng.random::<f64>()))
            }
            (Self::Sessions { session, .. }, true) => Some(session.sample_rest(rng)),
            (Self::Sessions { absence, .. }, false) => Some(absence.sample_rest(rng)),
        };
        (present, change)
    }

    /// How long a node stays that comes now; `None`: for ever.
    pub fn session(&self, rng: &mut impl Rng) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Turnover { per_hour, .. } if *per_hour > 0.0 => {
                Some(Weibull { shape: 1.0, scale_minutes: 60.0 / per_hour }.sample(rng))
            }
            Self::Turnover { .. } => None,
            Self::Sessions { session, .. } => Some(session.sample(rng)),
        }
    }

    /// How long nodes stay on average; `None`: for ever.
    pub fn session_mean(&self) -> Option<Duration> {
        match self {
            Self::Turnover { per_hour, .. } if *per_hour > 0.0 => Some(seconds(3_600.0 / per_hour)),
            Self::None | Self::Turnover { .. } => None,
            Self::Sessions { session, .. } => Some(session.mean()),
        }
    }

    /// How long a node is away that goes now.
    pub fn absence(&self, rng: &mut impl Rng) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Turnover { away_seconds, .. } => seconds(*away_seconds),
            Self::Sessions { absence, .. } => absence.sample(rng),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const DRAWS: u32 = 200_000;

    fn mean_minutes(mut draw: impl FnMut(&mut StdRng) -> Duration) -> f64 {
        let mut rng = StdRng::seed_from_u64(1);
        let sum: f64 = (0..DRAWS).map(|_| draw(&mut rng).as_secs_f64()).sum();
        sum / f64::from(DRAWS) / 60.0
    }

    #[test]
    fn sessions_have_the_mean_and_the_median_of_their_distribution() {
        let weibull = Weibull { shape: 0.58, scale_minutes: 260.0 };
        let mean = weibull.mean().as_secs_f64() / 60.0;
        assert!((mean - 409.4).abs() < 1.0, "{mean}");
        let drawn = mean_minutes(|rng| weibull.sample(rng));
        assert!((drawn / mean - 1.0).abs() < 0.03, "{drawn}");
        let mut rng = StdRng::seed_from_u64(2);
        // The median is scale * (ln 2)^(1 / shape), 138 min: a third of the mean.
        let median = 260.0 * std::f64::consts::LN_2.powf(1.0 / 0.58);
        let below =
            (0..DRAWS).filter(|_| weibull.sample(&mut rng).as_secs_f64() < median * 60.0).count();
        assert!((below as f64 / f64::from(DRAWS) - 0.5).abs() < 0.01, "{below}");
    }

    #[test]
    fn what_is_left_of_a_memoryless_time_is_as_long_as_a_whole_one_and_of_a_wild_one_longer() {
        let exponential = Weibull { shape: 1.0, scale_minutes: 60.0 };
        let rest = mean_minutes(|rng| exponential.sample_rest(rng));
        assert!((rest / 60.0 - 1.0).abs() < 0.02, "{rest}");
        let wild = Weibull { shape: 0.58, scale_minutes: 260.0 };
        let rest = mean_minutes(|rng| wild.sample_rest(rng));
        // The mean of the rest is E[X^2] / 2 E[X].
        let second = libm::tgamma(1.0 + 2.0 / 0.58) * 260.0 * 260.0;
        let expected = second / 2.0 / (wild.mean().as_secs_f64() / 60.0);
        assert!((rest / expected - 1.0).abs() < 0.05, "{rest} {expected}");
    }

    #[test]
    fn half_of_the_nodes_turned_over_in_an_hour_are_half_as_many_goings_as_nodes() {
        let churn = Churn::turnover(0.5);
        let mut rng = StdRng::seed_from_u64(3);
        let hour = Duration::from_secs(3_600);
        let mut goings = 0;
        for _ in 0..20_000 {
            let (mut present, mut change) = churn.at_start(&mut rng);
            let mut at = Duration::ZERO;
            while let Some(after) = change {
                at += after;
                if at > hour {
                    break;
                }
                goings += u32::from(present);
                present = !present;
                change =
                    if present { churn.session(&mut rng) } else { Some(churn.absence(&mut rng)) };
            }
        }
        assert!((9_600..10_400).contains(&goings), "{goings}");
    }

    #[test]
    fn a_third_of_the_measured_nodes_is_there() {
        let share = Churn::MEASURED.availability();
        assert!((0.30..0.34).contains(&share), "{share}");
        let mut rng = StdRng::seed_from_u64(4);
        let there = (0..20_000).filter(|_| Churn::MEASURED.at_start(&mut rng).0).count();
        assert!((there as f64 / 20_000.0 - share).abs() < 0.01, "{there}");
        assert_eq!(Churn::None.at_start(&mut rng), (true, None));
    }
}
