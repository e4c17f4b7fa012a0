//! When it is looked where this node may be reached, after something has changed.

use std::time::Duration;
use tokio::time::Instant;

/// Pauses between the looks, the first of which comes at once. A network changes in steps (the old
/// address goes, the new one comes, the way to the supernodes opens), and none of them says that it
/// was the last. Whatever changes meanwhile begins them anew: a second change in the middle of them
/// would otherwise wait for up to eight seconds.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(8)];

/// The least time between two looks: what a peer can cause by letting paths die again and again is
/// four probes in so long, to this node's own supernodes.
const LEAST: Duration = Duration::from_secs(1);

/// The looks that are to come.
#[derive(Debug, Default)]
pub(super) struct Looks {
    due: Option<Instant>,
    looked: Option<Instant>,
    /// Pauses after the look that is due.
    pauses: &'static [Duration],
}

impl Looks {
    /// Something has changed: all looks are to come, the first as soon as may be.
    pub(super) fn begin(&mut self, now: Instant) {
        self.pauses = &PAUSES;
        self.due = Some(self.looked.map_or(now, |looked| now.max(looked + LEAST)));
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The one that was due has been taken.
    pub(super) fn looked(&mut self, now: Instant) {
        self.looked = Some(now);
        self.due = None;
        if let Some((pause, rest)) = self.pauses.split_first() {
            self.due = Some(now + *pause);
            self.pauses = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the looks that are due in the next `span`, and answers when they were.
    fn take(looks: &mut Looks, from: Instant, span: Duration) -> Vec<u64> {
        let mut taken = Vec::new();
        while let Some(due) = looks.due().filter(|due| *due < from + span) {
            let at = due.max(from);
            taken.push(at.duration_since(from).as_secs());
            looks.looked(at);
        }
        taken
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_change_is_followed_by_looks_at_growing_intervals_and_then_by_none() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        assert_eq!(take(&mut looks, start, MINUTE), [0; 0]);
        looks.begin(start);
        assert_eq!(take(&mut looks, start, MINUTE), [0, 1, 4, 12]);
        assert_eq!(looks.due(), None);
    }

    #[test]
    fn a_change_in_the_middle_of_the_looks_begins_them_anew() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        looks.begin(start);
        assert_eq!(take(&mut looks, start, Duration::from_secs(5)), [0, 1, 4]);
        let again = start + Duration::from_secs(6);
        looks.begin(again);
        assert_eq!(take(&mut looks, again, MINUTE), [0, 1, 4, 12]);
    }

    #[test]
    fn changes_without_end_neither_put_off_the_look_nor_cause_more_than_one_a_second() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        let mut taken = 0;
        for tenth in 0..100 {
            let now = start + Duration::from_millis(100) * tenth;
            looks.begin(now);
            taken += take(&mut looks, now, Duration::from_millis(100)).len();
        }
        assert_eq!(taken, 10);
    }
}
