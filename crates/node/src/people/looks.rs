//! Which buddy to look up next.

use skein_proto::Username;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often a buddy is looked up while nobody watches: a message for one who has come back waits
/// for so long at the most. A hundred buddies cost the parent 1.7 look-ups a second.
const SELDOM: Duration = Duration::from_secs(60);

/// The same while somebody watches.
const OFTEN: Duration = Duration::from_secs(10);

/// The least time between two look-ups: all buddies of a user who has as many as may be take less
/// than half of what a peer may ask of a directory.
const PACE: Duration = Duration::from_millis(100);

/// How long to wait after a look-up that could not be answered, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When each buddy was looked up.
#[derive(Debug, Default)]
pub(super) struct Looks {
    last: HashMap<Username, Instant>,
    not_before: Option<Instant>,
    failures: u32,
}

impl Looks {
    /// Who is to be looked up next, and when; the one whose turn is longest over comes first.
    pub(super) fn next(
        &mut self,
        buddies: &[Username],
        watched: bool,
        now: Instant,
    ) -> Option<(Username, Instant)> {
        self.last.retain(|name, _| buddies.binary_search(name).is_ok());
        let every = if watched { OFTEN } else { SELDOM };
        // Those who were never looked up come before all others.
        let name = buddies.iter().min_by_key(|name| self.last.get(*name))?;
        let due = self.last.get(name).map_or(now, |last| *last + every);
        Some((name.clone(), due.max(self.not_before.unwrap_or(now))))
    }

    /// Somebody was looked up: `answered` unless nobody could be asked.
    pub(super) fn done(&mut self, name: &Username, answered: bool, now: Instant) {
        let pause = match answered {
            true => {
                self.failures = 0;
                self.last.insert(name.clone(), now);
                PACE
            }
            false => {
                self.failures += 1;
                let pause = FIRST_PAUSE.saturating_mul(1 << (self.failures - 1).min(16));
                pause.min(LONGEST_PAUSE)
            }
        };
        self.not_before = Some(now + pause);
    }

    /// Something has happened that makes a look worth while.
    pub(super) fn look_again(&mut self, name: &Username) {
        self.last.remove(name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(count: usize) -> Vec<Username> {
        let mut names: Vec<Username> =
            (0..count).map(|number| Username::parse(&format!("user{number}")).unwrap()).collect();
        names.sort();
        names
    }

    /// How many look-ups there are within a time.
    fn count(buddies: &[Username], watched: bool, within: Duration) -> usize {
        let (mut looks, start) = (Looks::default(), Instant::now());
        let (mut now, mut count) = (start, 0);
        while let Some((name, at)) = looks.next(buddies, watched, now) {
            now = at.max(now);
            if now - start >= within {
                break;
            }
            looks.done(&name, true, now);
            count += 1;
        }
        count
    }

    #[test]
    fn a_buddy_is_looked_up_each_minute_and_more_often_for_who_watches() {
        let minutes = Duration::from_secs(600);
        assert_eq!(count(&names(1), false, minutes), 10);
        assert_eq!(count(&names(3), true, minutes), 180);
        assert_eq!(count(&[], true, minutes), 0);
    }

    #[test]
    fn many_buddies_share_a_bounded_rate_and_none_is_left_out() {
        let buddies = names(256);
        let minute = Duration::from_secs(60);
        assert_eq!(count(&buddies, true, minute), 600);
        let (mut looks, mut now) = (Looks::default(), Instant::now());
        for _ in 0..256 {
            let (name, at) = looks.next(&buddies, true, now).unwrap();
            now = at.max(now);
            looks.done(&name, true, now);
        }
        assert_eq!(looks.last.len(), 256);
    }

    #[test]
    fn while_nobody_can_be_asked_the_same_one_is_tried_ever_more_seldom() {
        let (buddies, mut looks, mut now) = (names(2), Looks::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let (name, _) = looks.next(&buddies, false, now).unwrap();
            looks.done(&name, false, now);
            let (_, at) = looks.next(&buddies, false, now).unwrap();
            pauses.push((at - now).as_secs());
            now = at;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    }
}
