//! How fit a child is to be a supernode.

use skein_proto::election::{Candidacy, Verdict};
use std::time::Duration;

/// The reputation of a new name. Whoever has less has lost it by proven misbehaviour.
pub const NEW_NAME: u16 = 10;

/// The time after which a candidate's age is worth half of what it can be: half of the sessions of
/// measured networks are shorter than that, and those that are longer go on for long.
const HALF_AGE: f64 = 2.0 * 3_600.0;

/// The least that is asked of a candidate. It is relative to what there is, so that a young
/// network finds somebody and an old one can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// For how long this supernode must have seen it, as parent or standby.
    pub uptime: Duration,
    /// Half of the median of the candidates here, and never less than a new name has.
    pub reputation: u16,
    /// A quarter of what supernodes hold on average.
    pub capacity: u32,
}

/// What is known of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What it says.
    pub claims: Candidacy,
    /// For how long it has been seen here.
    pub seen: Duration,
    /// The reputation of its name.
    pub reputation: u16,
}

/// Weighs a candidate: its fitness from 0 to 1,000, or what it lacks.
///
/// Reputation gives up to 400, age 300, capacity 300. Reputation and age are weighed against what
/// is usual; capacity, which is the candidate's own word, is worth no more than the average, so
/// that a boast gains nothing.
///
/// # Errors
/// The first thing that it lacks.
pub fn weigh(
    known: &Known,
    asked: &Asked,
    median: u16,
    mean_capacity: f64,
) -> Result<u16, Verdict> {
    if !known.claims.willing {
        return Err(Verdict::Unwilling);
    }
    if known.reputation < asked.reputation {
        return Err(Verdict::LowReputation { has: known.reputation, asked: asked.reputation });
    }
    if known.claims.capacity < asked.capacity {
        return Err(Verdict::TooSmall { capacity: known.claims.capacity, asked: asked.capacity });
    }
    if known.seen < asked.uptime {
        let secs = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let verdict =
            Verdict::TooYoung { up_secs: secs(known.seen), asked_secs: secs(asked.uptime) };
        return Err(verdict);
    }
    let reputation = f64::from(known.reputation);
    let reputation = reputation / (reputation + f64::from(median.max(1)));
    let age = known.seen.as_secs_f64();
    let age = age / (age + HALF_AGE);
    let capacity = (f64::from(known.claims.capacity) / mean_capacity.max(1.0)).min(1.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // From 0 to 1,000.
    let fitness = (400.0 * reputation + 300.0 * age + 300.0 * capacity) as u16;
    Ok(fitness)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const ASKED: Asked = Asked { uptime: Duration::from_secs(1_800), reputation: 40, capacity: 37 };

    fn known(capacity: u32, seen: Duration, reputation: u16) -> Known {
        Known { claims: Candidacy { willing: true, capacity }, seen, reputation }
    }

    fn fitness(known: &Known) -> Result<u16, Verdict> {
        weigh(known, &ASKED, 80, 150.0)
    }

    fn value(known: &Known) -> u16 {
        fitness(known).expect("fit")
    }

    #[test]
    fn a_boast_about_capacity_gains_nothing() {
        let honest = fitness(&known(150, HOUR, 80));
        assert_eq!(fitness(&known(u32::MAX, HOUR, 80)), honest);
        assert!(value(&known(75, HOUR, 80)) < value(&known(150, HOUR, 80)));
    }

    #[test]
    fn longer_and_better_known_is_fitter() {
        assert!(value(&known(150, 4 * HOUR, 80)) > value(&known(150, HOUR, 80)));
        assert!(value(&known(150, HOUR, 400)) > value(&known(150, HOUR, 80)));
        assert!(fitness(&known(150, 100_000 * HOUR, 1_000)).is_ok_and(|fitness| fitness <= 1_000));
    }

    #[test]
    fn what_is_lacking_is_named() {
        assert_eq!(
            fitness(&known(150, HOUR, 39)),
            Err(Verdict::LowReputation { has: 39, asked: 40 })
        );
        assert_eq!(
            fitness(&known(36, HOUR, 80)),
            Err(Verdict::TooSmall { capacity: 36, asked: 37 })
        );
        let young = Verdict::TooYoung { up_secs: 60, asked_secs: 1_800 };
        assert_eq!(fitness(&known(150, HOUR / 60, 80)), Err(young));
        let mut unwilling = known(150, HOUR, 80);
        unwilling.claims.willing = false;
        assert_eq!(fitness(&unwilling), Err(Verdict::Unwilling));
    }
}
