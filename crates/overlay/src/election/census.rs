//! What the announced loads of all supernodes come to.

use skein_proto::Instant;
use skein_proto::supernode::Load;

/// How much more than the median capacity a supernode may count for. What it announces is its own
/// word: without a bound, one that says it could hold a million children would make all others
/// believe that the network is empty.
const CAPACITY_WEIGHT: u32 = 4;

/// How much fuller than full a supernode may say that it is: that far it takes the standbys of
/// dead ones.
const FULLEST: f64 = 1.5;

/// What a supernode knows of all supernodes at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Census {
    /// Supernodes, this one and those that are warming up included.
    pub supernodes: u32,
    /// Children of all, divided by what all could hold.
    pub fill: f64,
    /// Children that a supernode holds on average.
    pub mean_capacity: f64,
    /// Nodes that want a parent and find none, as far as that is seen here.
    pub waiting: f64,
    /// Whether many supernodes have died in the last minutes.
    pub many_died: bool,
    /// When somebody died last.
    pub last_death: Option<Instant>,
}

impl Census {
    /// Children in units of one full supernode.
    pub(super) fn work(&self) -> f64 {
        self.fill * f64::from(self.supernodes)
    }

    /// How many supernodes there should be at least, however little they have to do: a standby
    /// for everybody as soon as there is more than a handful, and one more for when one is away.
    pub(super) fn floor(&self) -> f64 {
        let children = (self.work() * self.mean_capacity).round();
        if children >= 30.0 {
            3.0
        } else if children >= 8.0 {
            2.0
        } else {
            1.0
        }
    }
}

/// Counts all supernodes. A load without capacity is unknown: it counts as a supernode and tells
/// nothing else.
pub fn census(loads: impl Iterator<Item = Load>, waiting: f64) -> Census {
    let mut supernodes = 0_u32;
    let mut known: Vec<(u32, u32)> = Vec::new();
    for load in loads {
        supernodes = supernodes.saturating_add(1);
        if load.capacity > 0 {
            known.push((load.capacity, load.children));
        }
    }
    if known.is_empty() {
        return Census { supernodes, waiting, ..Census::default() };
    }
    let middle = known.len() / 2;
    let median = known.select_nth_unstable(middle).1.0;
    let most = median.saturating_mul(CAPACITY_WEIGHT);
    let (mut capacities, mut children) = (0.0, 0.0);
    for (capacity, held) in &known {
        let weight = f64::from((*capacity).min(most));
        capacities += weight;
        children += weight * (f64::from(*held) / f64::from(*capacity)).min(FULLEST);
    }
    #[allow(clippy::cast_precision_loss)] // There are not 2^52 supernodes.
    let mean_capacity = capacities / known.len() as f64;
    let fill = children / capacities;
    Census { supernodes, fill, mean_capacity, waiting, ..Census::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(children: u32, capacity: u32) -> Load {
        Load { children, capacity, ..Load::default() }
    }

    #[test]
    fn large_and_small_supernodes_count_by_what_they_hold() {
        let all = [load(75, 150), load(75, 150), load(300, 300), load(0, 0)];
        let census = census(all.into_iter(), 0.0);
        assert_eq!(census.supernodes, 4);
        assert!((census.fill - 450.0 / 600.0).abs() < 1e-9);
        assert!((census.mean_capacity - 200.0).abs() < 1e-9);
    }

    #[test]
    fn one_that_boasts_moves_the_demand_by_little() {
        let honest = vec![load(100, 150); 100];
        let before = census(honest.iter().copied(), 0.0);
        for lie in [load(0, u32::MAX), load(u32::MAX, 1), load(u32::MAX, u32::MAX)] {
            let after = census(honest.iter().copied().chain([lie]), 0.0);
            assert!((after.fill - before.fill).abs() < 0.03, "{lie:?}: {after:?}");
            assert!((after.mean_capacity / before.mean_capacity - 1.0).abs() < 0.04);
        }
    }
}
