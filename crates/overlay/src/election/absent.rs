//! Who was invited, did not decline, and did not come.
//!
//! Such a one has kept its parent from inviting anybody else meanwhile, so it is not asked again for
//! a while, the longer the more often it has done so. It is kept in mind by its name: another key, or
//! another bond, costs nothing.

use skein_proto::{Instant, Username};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long it is not asked again after the first time; twice as long each time after that.
const FIRST: Duration = Duration::from_secs(30 * 60);

/// The longest that one is not asked again, and for how long after that the next time still counts
/// as one more: who stays away once a day takes a minute of a day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Names that are kept in mind, some 100 KiB. Each has taken a minute of this supernode's time for
/// inviting, so that it takes most of a day to fill.
const MAX_KEPT: usize = 1_024;

#[derive(Debug)]
struct Absence {
    pause: Duration,
    until: Instant,
}

/// The names that stayed away when they were invited.
#[derive(Debug, Default)]
pub(super) struct Absent {
    names: BTreeMap<Username, Absence>,
}

impl Absent {
    /// One of this name did not come. Answers whether another name was forgotten early for it.
    pub(super) fn note(&mut self, name: Username, now: Instant) -> bool {
        self.names.retain(|_, absence| now < absence.until + LONGEST);
        let pause = self.names.get(&name).map_or(FIRST, |last| (last.pause * 2).min(LONGEST));
        let is_full = !self.names.contains_key(&name) && self.names.len() >= MAX_KEPT;
        if is_full {
            let first = self.names.iter().min_by_key(|(_, absence)| absence.until);
            if let Some(first) = first.map(|(name, _)| name.clone()) {
                self.names.remove(&first);
            }
        }
        self.names.insert(name, Absence { pause, until: now + pause });
        is_full
    }

    /// One of this name has come after all.
    pub(super) fn forgive(&mut self, name: &Username) {
        self.names.remove(name);
    }

    /// Whether nodes of this name are not asked at present.
    pub(super) fn contains(&self, name: &Username, now: Instant) -> bool {
        self.names.get(name).is_some_and(|absence| now < absence.until)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    fn name(number: usize) -> Username {
        Username::parse(&format!("user{number}")).expect("a name")
    }

    #[test]
    fn who_stays_away_again_is_left_alone_for_twice_as_long_and_for_a_day_at_most() {
        let (mut absent, mut now) = (Absent::default(), Instant::START);
        let pauses: Vec<u64> = (0..8)
            .map(|_| {
                absent.note(name(1), now);
                let minutes = (0..=24 * 60)
                    .find(|minute| !absent.contains(&name(1), now + *minute * FIRST / 30))
                    .map_or(0, u64::from);
                now = now + Duration::from_secs(minutes * 60);
                minutes
            })
            .collect();
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1_440, 1_440]);
        assert!(!absent.contains(&name(2), now));
        absent.forgive(&name(1));
        absent.note(name(1), now);
        assert!(!absent.contains(&name(1), now + FIRST), "it begins anew for one that came");
    }

    #[test]
    fn so_many_are_kept_in_mind_and_the_one_forgotten_is_told_of() {
        let (mut absent, now) = (Absent::default(), Instant::START);
        let forgotten = (0..MAX_KEPT + 3).filter(|n| absent.note(name(*n), now)).count();
        assert_eq!((absent.names.len(), forgotten), (MAX_KEPT, 3));
        assert!(!absent.note(name(MAX_KEPT), now), "it is in mind already");
        absent.note(name(0), now + FIRST + LONGEST);
        assert_eq!(absent.names.len(), 2, "what is long over goes by itself");
    }
}
