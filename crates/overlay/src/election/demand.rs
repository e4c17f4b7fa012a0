//! How many supernodes the network wants, and how fast it should get there.
//!
//! Every supernode reckons for itself, from the loads that the others announce. All reckon from
//! nearly the same numbers, so none of them acts on its own: they take turns in adding, and step
//! down with a probability such that all together do what is to be done, in about the stated time. That is a first-order control loop
//! whose delay is the time that news takes to get around (some seconds): it approaches its goal
//! without overshooting as long as the time constants are longer than that.

use super::census::Census;
use super::outlook::Outlook;
use skein_proto::Instant;
use std::time::Duration;

/// How full the supernodes may be together: when 30 % of them die at once, the rest must have room
/// for all (a headroom of 1 / (1 - 0.3)). Above it, supernodes are added.
pub const PROMOTE_ABOVE: f64 = 0.70;

/// Up to where supernodes are added: low enough that noise of some percent does not cross
/// [`PROMOTE_ABOVE`] again. Where a single supernode is more than that, only what [`PROMOTE_ABOVE`]
/// asks for is added: rounded up, each addition would be the first half of an oscillation.
const PROMOTE_TO: f64 = 0.67;

/// Below it, for [`PATIENCE`], supernodes step down. The optimum is a fill of 0.70; 0.60 is 17 %
/// more supernodes than that, so the share stays within 20 % of the optimum.
pub const DEMOTE_BELOW: f64 = 0.60;

/// Those that have just been added go again if the others are then full to this at most: near to
/// [`PROMOTE_ABOVE`], since within some minutes the number of children changes by little.
const RETRACT_TO: f64 = 0.69;

/// Up to where supernodes step down; as far from both limits as [`PROMOTE_TO`] is. Where a single
/// supernode is more than that, one steps down if the others are then full to [`PROMOTE_TO`] at
/// most, so that it need not be replaced.
const DEMOTE_TO: f64 = 0.63;

/// Above it there is no room left for the next failure: the answer may not wait. 30 % of all
/// supernodes gone makes 0.61 of the usual fill 0.87.
pub const URGENT_ABOVE: f64 = 0.85;

/// How much must be missing, in supernodes that are full to [`PROMOTE_ABOVE`], that it is because
/// somebody has died lately, and for how long that is lately: of what every one of them holds, half.
const LEAST_MISSING: f64 = 0.5;
const LATELY: Duration = Duration::from_secs(2 * 60);

/// For how long there must be too many supernodes before one steps down.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// Over which time the number of children is averaged, so that noise promotes nobody. When
/// supernodes die, the average keeps their children in mind until those have found others. One that
/// has looked for less time averages over that: what it saw first, when it knew nobody, must not
/// make it believe that there is little to do.
const SMOOTHING: Duration = Duration::from_secs(5 * 60);

/// Follows the demand over time.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    /// Smoothed [`Census::work`].
    work: Option<f64>,
    /// When there was the first census.
    since: Option<Instant>,
    updated: Instant,
    is_urgent: bool,
    /// When there were last as many as [`PROMOTE_ABOVE`] asks for.
    enough_at: Option<Instant>,
    is_promoting: bool,
    short_since: Option<Instant>,
    slack_since: Option<Instant>,
    is_demoting: bool,
    outlook: Outlook,
}

impl Demand {
    /// The outlook after the last census.
    pub fn outlook(&self) -> Outlook {
        self.outlook
    }

    /// Takes in a census.
    pub fn update(&mut self, census: &Census, now: Instant) -> Outlook {
        let count = f64::from(census.supernodes.max(1));
        let present = census.work();
        let passed = now.since(self.updated).as_secs_f64();
        self.updated = now;
        let age = now.since(*self.since.get_or_insert(now));
        let window = SMOOTHING.min(age).as_secs_f64();
        let keep = if window > 0.0 { (-passed / window).exp() } else { 1.0 };
        let smoothed = self.work.map_or(present, |work| present + (work - present) * keep);
        self.work = Some(smoothed);
        // Whoever waits counts, but cannot more than double the demand: nobody knows who they are.
        let waiting = (census.waiting / census.mean_capacity.max(1.0)).min(present.max(1.0));
        // The orphans of dead supernodes are in what is smoothed already: they count once.
        let pressing = smoothed.max(present + waiting);
        // Once there was no room, or many have died, the haste lasts until there is enough again.
        // After that it is the demand that has grown, or noise: of few supernodes one is so much that
        // a child more or less decides.
        let unmade_good = census.last_death.filter(|at| self.enough_at.is_none_or(|was| *at > was));
        let hurry = self.is_urgent || (census.many_died && unmade_good.is_some());
        let calm_at = if hurry { PROMOTE_ABOVE } else { URGENT_ABOVE };
        let is_urgent = pressing / count > calm_at;
        if pressing / count <= PROMOTE_ABOVE {
            self.enough_at = Some(now);
        }
        self.is_urgent = is_urgent;
        let work = if is_urgent { pressing } else { smoothed };
        let fill = work / count;
        let floor = census.floor();

        self.is_promoting =
            is_urgent || fill > PROMOTE_ABOVE || (self.is_promoting && fill > PROMOTE_TO);
        let mut shortfall = (floor - count).max(0.0);
        if self.is_promoting {
            shortfall = shortfall.max(target(work, PROMOTE_ABOVE, PROMOTE_TO) - count);
        }

        if shortfall <= 0.0 {
            self.short_since = None;
        } else {
            self.short_since.get_or_insert(now);
        }

        let spare = (count - target(work, PROMOTE_TO, DEMOTE_TO).max(floor)).max(0.0);
        if fill >= DEMOTE_BELOW || spare < 1.0 {
            self.slack_since = None;
        } else {
            self.slack_since.get_or_insert(now);
        }
        let patient = self.slack_since.is_some_and(|since| now.since(since) >= PATIENCE);
        self.is_demoting = patient || (self.is_demoting && spare >= 1.0);
        let surplus = if self.is_demoting && !self.is_promoting { spare } else { 0.0 };

        let wanted = work.max(present) / PROMOTE_ABOVE;
        // One that has just begun has an average of what it saw when it knew nobody.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Cut to the range.
        let wanted = wanted.ceil().max(floor).min(f64::from(u32::MAX)) as u32;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Cut to the range.
        let most = ((work / DEMOTE_BELOW).ceil().max(floor) + 1.0 + (count / 10.0).floor())
            .min(f64::from(u32::MAX)) as u32;
        self.outlook = Outlook {
            fill,
            supernodes: census.supernodes,
            wanted,
            most,
            shortfall,
            short_for: self.short_since.map_or(Duration::ZERO, |since| now.since(since)),
            surplus,
            excess: (count - target(work, RETRACT_TO, PROMOTE_TO).max(floor)).max(0.0),
            is_urgent,
            is_loss: unmade_good.is_some_and(|at| now.since(at) < LATELY)
                && work / PROMOTE_ABOVE - count >= LEAST_MISSING,
            is_below_floor: count < floor,
        };
        self.outlook
    }
}

/// How many supernodes are full to `goal`, or to a little less; where a single one is more than
/// that, how many are full to `limit` at most.
fn target(work: f64, limit: f64, goal: f64) -> f64 {
    (work / goal).floor().max((work / limit).ceil())
}

#[cfg(test)]
mod tests {
    use super::super::census::census as census_of;
    use super::*;
    use crate::children::room::capacity;
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use skein_proto::supernode::Load;

    const CAPACITY: f64 = 150.0;
    const ROUND: Duration = Duration::from_secs(10);

    fn census(supernodes: u32, children: f64) -> Census {
        Census {
            supernodes,
            fill: children / (f64::from(supernodes) * CAPACITY),
            mean_capacity: CAPACITY,
            waiting: 0.0,
            many_died: false,
            last_death: None,
        }
    }

    fn seconds(secs: u64) -> Instant {
        Instant::START + Duration::from_secs(secs)
    }

    #[test]
    fn a_network_within_the_band_is_left_alone() {
        for fill in [0.601, 0.65, 0.699] {
            let mut demand = Demand::default();
            for round in 0..5_000 {
                let outlook = demand.update(&census(100, fill * 15_000.0), seconds(round * 10));
                assert_eq!((outlook.shortfall, outlook.surplus), (0.0, 0.0), "{fill}");
            }
        }
    }

    #[test]
    fn what_was_seen_before_the_others_were_known_is_soon_forgotten() {
        let mut demand = Demand::default();
        for second in (0..10).step_by(2) {
            demand.update(&census(1, 0.0), seconds(second));
        }
        let outlook = (10..300)
            .step_by(2)
            .map(|second| demand.update(&census(9, 930.0), seconds(second)))
            .last()
            .unwrap_or_default();
        assert!((9..=10).contains(&outlook.wanted), "{outlook:?}");
        assert!(outlook.supernodes <= outlook.most, "it was needed: {outlook:?}");
    }

    #[test]
    fn what_is_missing_is_what_a_fill_of_two_thirds_takes() {
        let mut demand = Demand::default();
        let outlook = demand.update(&census(100, 100.0 * CAPACITY * 0.75), seconds(0));
        assert_eq!(outlook.shortfall, (75.0_f64 / 0.67).floor() - 100.0);
        assert_eq!(outlook.wanted, 108);
        assert!(!outlook.is_urgent);
    }

    #[test]
    fn a_mass_failure_is_urgent_before_the_orphans_have_found_others() {
        let mut demand = Demand::default();
        for round in 0..30 {
            demand.update(&census(100, 9_900.0), seconds(round * 10));
        }
        let outlook = demand.update(&census(70, 9_900.0 * 0.7), seconds(300));
        assert!(outlook.is_urgent && outlook.shortfall > 20.0, "{outlook:?}");
    }

    #[test]
    fn what_many_deaths_leave_short_is_urgent_even_where_there_was_room() {
        let mut demand = Demand::default();
        let before = demand.update(&census(100, 8_000.0), seconds(0));
        assert!(!before.is_urgent);
        let died = Some(seconds(10));
        let after = Census { many_died: true, last_death: died, ..census(70, 8_000.0) };
        let outlook = demand.update(&after, seconds(10));
        assert!(outlook.is_urgent && outlook.fill < URGENT_ABOVE, "{outlook:?}");
    }

    #[test]
    fn what_waits_counts_but_cannot_more_than_double_the_demand() {
        let mut demand = Demand::default();
        let full = Census { waiting: 1e9, ..census(10, 1_500.0) };
        let outlook = demand.update(&full, seconds(0));
        assert_eq!(outlook.shortfall, (20.0_f64 / 0.67).floor() - 10.0);
    }

    #[test]
    fn orphans_that_wait_are_not_counted_twice() {
        let mut demand = Demand::default();
        demand.update(&census(3, 3.0 * CAPACITY * 0.8), seconds(0));
        let orphans = CAPACITY * 0.8;
        let died = Some(seconds(10));
        let after = Census {
            waiting: orphans,
            many_died: true,
            last_death: died,
            ..census(2, 2.0 * orphans)
        };
        let outlook = demand.update(&after, seconds(10));
        assert_eq!(outlook.shortfall, (2.4_f64 / 0.70).ceil() - 2.0, "{outlook:?}");
    }

    #[test]
    fn too_many_supernodes_go_only_after_an_hour() {
        let mut demand = Demand::default();
        for round in 0..360 {
            assert_eq!(demand.update(&census(100, 6_000.0), seconds(round * 10)).surplus, 0.0);
        }
        let outlook = demand.update(&census(100, 6_000.0), seconds(3_600));
        assert_eq!(outlook.surplus, 100.0 - (40.0_f64 / 0.63).floor());
    }

    #[test]
    fn where_few_are_enough_no_more_are_added_than_are_needed() {
        // 8.77 supernodes would be full to 0.70.
        let children = 8.77 * 0.70 * CAPACITY;
        let mut demand = Demand::default();
        let eight = demand.update(&census(8, children), seconds(0));
        assert_eq!(eight.shortfall, 1.0, "{eight:?}");
        for round in 1..100 {
            let nine = demand.update(&census(9, children), seconds(round * 10));
            assert_eq!((nine.shortfall, nine.excess), (0.0, 0.0), "{nine:?}");
        }
        let ten = demand.update(&census(10, children), seconds(1_000));
        assert_eq!((ten.shortfall, ten.excess), (0.0, 1.0), "the last that came may go: {ten:?}");
        let more = children * 0.70 / 0.68;
        let full = demand.update(&census(9, more), seconds(5_000));
        assert_eq!(full.shortfall, 1.0, "{full:?}");
        let enough = demand.update(&census(10, more), seconds(5_010));
        assert_eq!((enough.shortfall, enough.excess), (0.0, 0.0), "{enough:?}");
    }

    #[test]
    fn the_more_is_missing_the_sooner_one_is_added() {
        let chance = |children: f64| {
            let mut demand = Demand::default();
            let census = census(100, children * 100.0 * CAPACITY);
            let at_first = demand.update(&census, seconds(0));
            assert_eq!(at_first.due(ROUND), 0.0, "it may be a restart");
            let outlook = demand.update(&census, seconds(75));
            outlook.due(ROUND) / outlook.shortfall
        };
        let calm = chance(0.701);
        assert!((calm - 1.0 / 360.0).abs() < 0.0002, "one in an hour: {calm}");
        let chances: Vec<f64> = [0.701, 0.73, 0.77, 0.81, 0.849].map(chance).to_vec();
        assert!(chances.is_sorted() && chances[4] > 25.0 * chances[0], "{chances:?}");
    }

    #[test]
    fn of_few_one_that_has_gone_is_replaced_within_a_minute_and_noise_is_no_loss() {
        let in_a_minute = |fill: f64| {
            let mut demand = Demand::default();
            demand.update(&census(8, fill * 8.0 * CAPACITY), seconds(0));
            let outlook = demand.update(&census(8, fill * 8.0 * CAPACITY), seconds(75));
            assert!(!outlook.is_urgent);
            outlook.due(Duration::from_secs(60)) / outlook.shortfall
        };
        assert!(in_a_minute(0.75) > 0.9, "{}", in_a_minute(0.75));
        assert!(in_a_minute(0.705) < 0.1, "{}", in_a_minute(0.705));
    }

    #[test]
    fn of_few_one_that_has_died_is_replaced_at_once_and_of_many_after_a_time_for_a_restart() {
        let after = |supernodes: u32, fill: f64, one_died: bool| {
            let children = f64::from(supernodes) * fill * CAPACITY;
            let mut demand = Demand::default();
            demand.update(&census(supernodes, children), seconds(0));
            let last_death = one_died.then(|| seconds(10));
            let after = Census { last_death, ..census(supernodes - 1, children) };
            let outlook = demand.update(&after, seconds(10));
            assert!(outlook.shortfall > 0.0 && !outlook.is_urgent, "{outlook:?}");
            outlook
        };
        let of_nine = after(9, 0.68, true);
        assert!(of_nine.is_brisk() && of_nine.due(ROUND) >= 1.0, "{of_nine:?}");
        assert_eq!(after(9, 0.68, false).due(ROUND), 0.0, "there may be more to do");
        let of_many = after(100, 0.695, true);
        assert!(!of_many.is_brisk() && of_many.due(ROUND) == 0.0, "{of_many:?}");
    }

    #[test]
    fn what_many_deaths_left_short_is_no_haste_any_more_once_it_was_made_good() {
        let mut demand = Demand::default();
        let mut look = |supernodes: u32, fill: f64, second: u64| {
            let children = f64::from(supernodes) * fill * CAPACITY;
            let last_death = (second >= 10).then(|| seconds(10));
            let after = Census { many_died: true, last_death, ..census(supernodes, children) };
            demand.update(&after, seconds(second))
        };
        look(9, 0.69, 0);
        assert!(look(7, 0.89, 10).is_urgent && look(8, 0.777, 20).is_urgent);
        assert!(!look(9, 0.69, 30).is_urgent);
        let noise = look(9, 0.73, 120);
        assert!(noise.shortfall > 0.0 && !noise.is_urgent && !noise.is_loss, "{noise:?}");
    }

    #[test]
    fn few_nodes_have_few_supernodes_but_more_than_one() {
        for (children, floor) in [(0.0, 1), (7.0, 1), (8.0, 2), (30.0, 3), (100.0, 3)] {
            let mut demand = Demand::default();
            assert_eq!(demand.update(&census(3, children), seconds(0)).wanted, floor);
        }
    }

    #[test]
    fn a_network_without_standbys_gets_them_within_a_minute() {
        let mut demand = Demand::default();
        let outlook = demand.update(&census(1, 12.0), seconds(0));
        assert!(outlook.is_below_floor && !outlook.is_urgent);
        assert!(outlook.due(ROUND) >= 0.5, "{outlook:?}");
        let enough = demand.update(&census(2, 12.0), seconds(10));
        assert_eq!(enough.due(ROUND), 0.0);
    }

    #[test]
    fn what_honest_ones_add_is_never_more_than_the_most() {
        for seed in 0..20 {
            let mut run = Run::new(seed);
            let children = 100.0 * CAPACITY * 0.8;
            run.go(100, 360, 1, |_| children);
            let count = *run.supernodes.last().unwrap();
            let mut demand = Demand::default();
            let outlook = demand.update(&census(count, children), seconds(0));
            assert!(count <= outlook.most, "{count} of {}", outlook.most);
        }
        let mut demand = Demand::default();
        let herd = demand.update(&census(200, 100.0 * CAPACITY * 0.8), seconds(0));
        assert!(herd.most < 200, "{herd:?}");
    }

    /// All supernodes decide for themselves, from what they saw `lag` rounds ago. Answers with the
    /// number of supernodes after each round, and how many invited and stepped down in all.
    struct Run {
        rng: StdRng,
        supernodes: Vec<u32>,
        promoted: u32,
        demoted: u32,
    }

    impl Run {
        fn new(seed: u64) -> Self {
            let rng = StdRng::seed_from_u64(seed);
            Self { rng, supernodes: Vec::new(), promoted: 0, demoted: 0 }
        }

        fn draw(&mut self, count: u32, chance: f64) -> u32 {
            if chance == 0.0 {
                return 0;
            }
            (0..count).filter(|_| self.rng.random_bool(chance)).count() as u32
        }

        /// As many as are due, and what is left over by lot.
        fn add(&mut self, outlook: &Outlook) -> u32 {
            (outlook.due(ROUND) + self.rng.random::<f64>()).floor() as u32
        }

        fn go(&mut self, mut count: u32, rounds: u64, lag: usize, children: impl Fn(u64) -> f64) {
            let mut demand = Demand::default();
            let mut seen: Vec<u32> = vec![count; lag + 1];
            for round in 0..rounds {
                let noise = self.rng.random_range(0.95..1.05);
                let known = seen[seen.len() - 1 - lag];
                let now = seconds(round * 10);
                let outlook = demand.update(&census(known, children(round) * noise), now);
                let joined = self.add(&outlook);
                let left = self.draw(count, outlook.resign_chance(ROUND, 1.0));
                self.promoted += joined;
                self.demoted += left;
                count = (count + joined - left).max(1);
                seen.push(count);
                self.supernodes.push(count);
            }
        }
    }

    /// Supernodes whose indexes have room for the records of only so many children, though each of them
    /// would take [`CAPACITY`]. Children come and go, and move from the fuller ones to the emptiest as they are asked to,
    /// two of each in half a minute. Answers with the numbers of supernodes after each round.
    fn indexes_decide(room: u32, mut held: Vec<u32>, rounds: u64, seed: u64) -> Vec<u32> {
        let mut run = Run::new(seed);
        let mut demand = Demand::default();
        let mut counts = Vec::new();
        for round in 0..rounds {
            let load = |children: u32| {
                let filled = f64::from(children) / f64::from(room);
                let capacity = capacity(CAPACITY as u32, children, filled, 0.0);
                Load { children, capacity, accepting: filled < 1.0, ..Load::default() }
            };
            let loads: Vec<Load> = held.iter().map(|children| load(*children)).collect();
            let outlook =
                demand.update(&census_of(loads.iter().copied(), 0.0), seconds(round * 10));
            if round % 3 == 0 {
                for (at, load) in loads.iter().enumerate() {
                    let fill = f64::from(load.children) / f64::from(load.capacity);
                    let emptiest = (0..held.len()).min_by_key(|at| held[*at]).unwrap_or(at);
                    if fill >= outlook.fill + 0.15 && emptiest != at {
                        held[at] -= 2;
                        held[emptiest] += 2;
                    }
                }
            }
            // One ends its session, and another one begins one at the emptiest of five.
            let left = run.rng.random_range(0..held.len());
            let asked = (0..5).map(|_| run.rng.random_range(0..held.len()));
            let joined = asked.min_by_key(|at| held[*at]).unwrap_or(left);
            if held[left] > 0 {
                held[left] -= 1;
                held[joined] += 1;
            }
            held.extend(vec![0; run.add(&outlook) as usize]);
            for _ in 0..run.draw(held.len() as u32, outlook.resign_chance(ROUND, 1.0)) {
                // The last that came; its children go to those that are left.
                for _ in 0..held.pop().unwrap_or_default() {
                    *held.iter_mut().min().unwrap() += 1;
                }
            }
            counts.push(held.len() as u32);
        }
        counts
    }

    #[test]
    fn where_indexes_are_full_before_there_are_many_children_supernodes_are_added_and_stay() {
        // Twenty times thirty children, for whose records twenty indexes just suffice.
        for seed in 0..5 {
            let counts = indexes_decide(30, vec![30; 20], 8_640, seed);
            let after_an_hour = &counts[360..];
            let (least, most) = (after_an_hour.iter().min(), after_an_hour.iter().max());
            assert!(least >= Some(&28) && most <= Some(&34), "{least:?} to {most:?}");
            let changes = after_an_hour.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(changes <= 3, "{changes} changes in a day");
        }
    }

    #[test]
    fn all_together_invite_what_is_missing_and_not_a_herd() {
        let (mut promoted, runs) = (0, 20);
        for seed in 0..runs {
            let mut run = Run::new(seed);
            run.go(100, 360, 1, |_| 100.0 * CAPACITY * 0.80);
            assert!((113..=125).contains(run.supernodes.last().unwrap()), "{}", run.promoted);
            assert_eq!(run.demoted, 0);
            promoted += run.promoted;
        }
        let mean = f64::from(promoted) / runs as f64;
        assert!((15.0..=21.0).contains(&mean), "15 to 20 are missing, {mean} were invited");
    }

    #[test]
    fn a_mass_failure_is_made_up_for_within_a_minute() {
        for seed in 0..20 {
            let mut run = Run::new(seed);
            let mut demand = Demand::default();
            demand.update(&census(100, 9_900.0), seconds(0));
            let mut count = 70;
            for round in 1..=6 {
                let outlook = demand.update(&census(count, 9_900.0), seconds(round * 10));
                count += run.add(&outlook);
            }
            assert!((88..=106).contains(&count), "70 have become {count}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn noise_of_five_percent_changes_no_role_for_a_day(
            seed in any::<u64>(),
            fill in 0.63_f64..0.665,
            supernodes in 20_u32..400,
        ) {
            let mut run = Run::new(seed);
            let children = f64::from(supernodes) * CAPACITY * fill;
            run.go(supernodes, 8_640, 2, |_| children);
            prop_assert_eq!((run.promoted, run.demoted), (0, 0));
        }
    }
}
