//! How old the names are. People come and go for good: whoever leaves is followed by somebody with
//! a new name.

use rand::{Rng, RngExt};

/// How long a name is used on average, in days. No measurement is known to us; half a year makes
/// four names in ten younger than a quarter, which is on the side of caution.
const MEAN_DAYS: f64 = 180.0;

/// A witness's number holds the node's in its lower bits and which of its names this is above.
const NODE_BITS: u32 = 24;

/// The names of all nodes.
pub(super) struct Names {
    /// For each node the days on which its names were registered, counted from the start of the run
    /// and before it.
    registered: Vec<Vec<i64>>,
}

impl Names {
    /// Draws the names of so many nodes for so many days.
    pub(super) fn new(nodes: u32, days: u32, rng: &mut impl Rng) -> Self {
        let mut lasts = || (-(1.0 - rng.random::<f64>()).ln() * MEAN_DAYS) as i64 + 1;
        let registered = (0..nodes)
            .map(|_| {
                // Memoryless: the age at the start is distributed as what is left.
                let mut days_of = vec![-lasts()];
                let mut next = lasts();
                while next < i64::from(days) {
                    days_of.push(next);
                    next += lasts();
                }
                days_of
            })
            .collect();
        Self { registered }
    }

    /// The number of the name that a node has on that day, and for how many days it has had it.
    pub(super) fn at(&self, node: u32, day: u32) -> (u32, u32) {
        let day = i64::from(day);
        let names = &self.registered[node as usize];
        let name = names.partition_point(|registered| *registered <= day).max(1) - 1;
        let age = u32::try_from(day - names[name]).unwrap_or(0);
        // A node has few names, and there are fewer nodes than these bits can tell apart.
        (node | (name as u32) << NODE_BITS, age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn four_names_in_ten_are_younger_than_a_quarter() {
        let names = Names::new(5_000, 100, &mut StdRng::seed_from_u64(1));
        for day in [0, 50, 99] {
            let young = (0..5_000).filter(|node| names.at(*node, day).1 < 90).count();
            assert!((1_850..2_150).contains(&young), "{young} on day {day}");
        }
    }

    #[test]
    fn a_node_that_changes_hands_has_another_name_from_then_on() {
        let names = Names::new(1_000, 100, &mut StdRng::seed_from_u64(2));
        let changed = (0..1_000).filter(|n| names.at(*n, 0).0 != names.at(*n, 99).0).count();
        assert!((350..500).contains(&changed), "{changed}");
        assert!((0..1_000).all(|node| names.at(node, 99).0 & 0x00ff_ffff == node));
    }
}
