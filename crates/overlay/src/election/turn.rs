//! Whose turn it is to invite.
//!
//! All supernodes reckon from nearly the same numbers. If each drew for itself whether it acts, they
//! would add what is missing on average only: where nine are enough and one has gone, every other
//! time none would act or two at once, and the number would swing by more than it may. So time is
//! cut into turns. In each of them all supernodes stand in a row that is new each time, and as many
//! of them act as are due, from its head. Nobody has to say so: the place in the row follows from
//! the turn and the id, and everybody knows everybody. Who stands at the head and does nothing, since
//! it has just died or is hostile, costs one turn.

use super::outlook::Outlook;
use skein_proto::{NodeId, UnixTime};
use std::time::Duration;

/// How long a turn takes: a supernode acts at its first look in it, which is after 12 seconds of it
/// at the latest, and the others hear of it before the next turn begins.
const CALM: Duration = Duration::from_secs(20);

/// The same when there is haste, or one of few has died; and where they are so few as well that all
/// look every two seconds, and hear of each other at once.
const URGENT: Duration = Duration::from_secs(10);
const BRISK: Duration = Duration::from_secs(5);

/// A part of time, the same for everybody whose clock is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    number: u64,
    length: Duration,
}

impl Turn {
    /// The turn that it is now, given what there is to be done.
    pub(super) fn at(now: UnixTime, outlook: &Outlook) -> Self {
        let length = if outlook.is_brisk() && !outlook.is_loss {
            BRISK
        } else if outlook.is_urgent || outlook.is_brisk() {
            URGENT
        } else {
            CALM
        };
        Self { number: now.0 / length.as_secs(), length }
    }

    /// Whether there is time enough until the next turn for all to hear of what is done now. Where all
    /// look every two seconds nobody misses the beginning of a turn; but a turn becomes a short one in
    /// its midst, when somebody has died.
    pub(super) fn has_time(&self, now: UnixTime, outlook: &Outlook) -> bool {
        let length = self.length.as_secs();
        !outlook.is_brisk() || now.0 % length * 2 < length
    }

    /// Whether it is for this supernode to act; `others` are those that may act as well.
    pub(super) fn is_of<'a>(
        &self,
        me: &NodeId,
        others: impl Iterator<Item = &'a NodeId>,
        outlook: &Outlook,
    ) -> bool {
        let due = outlook.due(self.length);
        if due <= 0.0 {
            return false;
        }
        // What is due beyond a whole number is drawn, and by all alike.
        #[allow(clippy::cast_precision_loss)] // Of the 53 bits that are left none is lost.
        let lot = (mix(self.number) >> 11) as f64 / (1_u64 << 53) as f64;
        let own = (self.draw(me), me);
        let before = others.filter(|other| (self.draw(other), *other) < own).count();
        before as f64 + lot < due
    }

    /// Where a supernode stands in the row of this turn.
    fn draw(&self, node: &NodeId) -> u64 {
        let id = node.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        mix(id ^ mix(self.number.wrapping_add(1)))
    }
}

/// Spreads a number over all numbers: the finalizer of `splitmix64` (Steele, Lea and Flood, "Fast
/// Splittable Pseudorandom Number Generators", 2014). Nobody gains by standing at the head of a row,
/// since it could invite at any time, so this need not withstand anyone.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::census::Census;
    use super::super::demand::Demand;
    use super::*;
    use skein_proto::Instant;

    fn outlook(supernodes: u32, fill: f64) -> Outlook {
        let census = Census { supernodes, fill, mean_capacity: 150.0, ..Census::default() };
        let mut demand = Demand::default();
        demand.update(&census, Instant::START);
        demand.update(&census, Instant::START + Duration::from_secs(75))
    }

    /// How many of these act in each of so many turns.
    fn acting(supernodes: u8, turns: u64, outlook: &Outlook) -> Vec<usize> {
        let all: Vec<NodeId> =
            (1..=supernodes).map(|n| NodeId::from_bytes([n.wrapping_mul(37); 32])).collect();
        let length = Turn::at(UnixTime(0), outlook).length.as_secs();
        (0..turns)
            .map(|number| {
                let turn = Turn::at(UnixTime(1_800_000_000 + number * length), outlook);
                let others = |me| all.iter().filter(move |other| **other != me);
                all.iter().filter(|me| turn.is_of(me, others(**me), outlook)).count()
            })
            .collect()
    }

    #[test]
    fn no_two_replace_the_same_one() {
        // One is missing, and there is no haste.
        let outlook = outlook(8, 0.75);
        assert_eq!((outlook.shortfall, outlook.is_urgent), (1.0, false));
        let acted = acting(8, 2_000, &outlook);
        assert!(acted.iter().all(|count| *count <= 1));
        let mean = acted.iter().sum::<usize>() as f64 / 2_000.0;
        assert!((mean / outlook.due(CALM) - 1.0).abs() < 0.1, "{mean} in a turn");
    }

    #[test]
    fn as_many_act_as_are_due_and_not_always_the_same() {
        let outlook = outlook(100, 0.95);
        let due = outlook.due(URGENT);
        assert!(outlook.is_urgent && due > 10.0, "{due}");
        let acted = acting(100, 100, &outlook);
        let few = due.floor() as usize;
        assert!(acted.iter().all(|count| (few..=few + 1).contains(count)), "{acted:?} of {due}");
        let me = NodeId::from_bytes([37; 32]);
        let others: Vec<NodeId> = (2..=100).map(|n| NodeId::from_bytes([n; 32])).collect();
        let mine = (0..1_000)
            .filter(|n| Turn::at(UnixTime(n * 10), &outlook).is_of(&me, others.iter(), &outlook))
            .count() as f64;
        assert!((mine / 1_000.0 - due / 100.0).abs() < 0.05, "{mine} turns of 1000");
    }

    #[test]
    fn who_acts_for_one_of_few_that_has_died_leaves_the_others_time_to_hear_of_it() {
        let census = Census {
            supernodes: 8,
            fill: 0.77,
            mean_capacity: 150.0,
            last_death: Some(Instant::START),
            ..Census::default()
        };
        let loss = Demand::default().update(&census, Instant::START);
        assert!(loss.is_loss && loss.is_brisk());
        let time = |second: u64| {
            let now = UnixTime(1_800_000_000 + second);
            Turn::at(now, &loss).has_time(now, &loss)
        };
        let seconds: Vec<u64> = (0..20).filter(|second| time(*second)).collect();
        assert_eq!(seconds, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]);
        let acted = acting(8, 100, &loss);
        assert!(acted.iter().all(|count| *count == 1), "one in each turn: {acted:?}");
        let calm = outlook(100, 0.75);
        assert!(
            (0..20)
                .all(|second| Turn::at(UnixTime(second), &calm).has_time(UnixTime(second), &calm))
        );
    }

    #[test]
    fn nobody_acts_where_nothing_is_missing() {
        assert_eq!(acting(9, 1_000, &outlook(9, 0.69)).iter().sum::<usize>(), 0);
    }
}
