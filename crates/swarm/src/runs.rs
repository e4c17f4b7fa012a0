//! Sets of chunk groups, kept as the runs of neighbours that they consist of.

use std::collections::BTreeMap;

/// Chunk groups from `start` up to, but not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// The first group.
    pub start: u64,
    /// The group behind the last one.
    pub end: u64,
}

impl Run {
    /// How many groups it holds.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds none.
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// What both hold.
    pub fn intersect(&self, other: &Self) -> Self {
        let start = self.start.max(other.start);
        Self { start, end: self.end.min(other.end).max(start) }
    }
}

/// A set of chunk groups.
///
/// A download is fetched in long runs, so the set is small however large the file is; every
/// operation costs in proportion to the runs that it touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSet {
    /// From the start of each run to its end. Runs neither overlap nor touch.
    runs: BTreeMap<u64, u64>,
    len: u64,
}

impl RunSet {
    /// The set of no groups.
    pub const fn new() -> Self {
        Self { runs: BTreeMap::new(), len: 0 }
    }

    /// The groups 0 to `count`.
    pub fn full(count: u64) -> Self {
        Self::from_iter([Run { start: 0, end: count }])
    }

    /// How many groups it holds.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many runs it consists of.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// The runs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Run> {
        self.runs.iter().map(|(&start, &end)| Run { start, end })
    }

    /// The first run.
    pub fn first(&self) -> Option<Run> {
        self.iter().next()
    }

    /// The last run.
    pub fn last(&self) -> Option<Run> {
        self.runs.last_key_value().map(|(&start, &end)| Run { start, end })
    }

    /// Whether it holds this group.
    pub fn contains(&self, group: u64) -> bool {
        self.run_around(group).is_some()
    }

    /// Whether it holds all groups of a run.
    pub fn contains_run(&self, run: Run) -> bool {
        run.is_empty() || self.run_around(run.start).is_some_and(|around| around.end >= run.end)
    }

    fn run_around(&self, group: u64) -> Option<Run> {
        let (&start, &end) = self.runs.range(..=group).next_back()?;
        (end > group).then_some(Run { start, end })
    }

    /// Adds the groups of a run.
    pub fn insert(&mut self, run: Run) {
        if run.is_empty() {
            return;
        }
        let Run { mut start, mut end } = run;
        // Runs that overlap or touch the new one are merged into it.
        while let Some((&s, &e)) = self.runs.range(..=end).next_back() {
            if e < start {
                break;
            }
            self.runs.remove(&s);
            self.len -= e - s;
            start = start.min(s);
            end = end.max(e);
        }
        self.runs.insert(start, end);
        self.len += end - start;
    }

    /// Takes the groups of a run out.
    pub fn remove(&mut self, run: Run) {
        if run.is_empty() {
            return;
        }
        while let Some((&s, &e)) = self.runs.range(..run.end).next_back() {
            if e <= run.start {
                break;
            }
            self.runs.remove(&s);
            self.len -= e - s;
            for rest in [Run { start: s, end: run.start }, Run { start: run.end, end: e }] {
                if !rest.is_empty() {
                    self.runs.insert(rest.start, rest.end);
                    self.len += rest.len();
                }
            }
        }
    }

    /// Adds all groups of another set.
    pub fn insert_all(&mut self, other: &Self) {
        for run in other.iter() {
            self.insert(run);
        }
    }

    /// Takes all groups of another set out.
    pub fn remove_all(&mut self, other: &Self) {
        for run in other.iter() {
            self.remove(run);
        }
    }

    /// The runs of this set within `window`, ascending, cut to it.
    pub fn within(&self, window: Run) -> impl Iterator<Item = Run> {
        let first = self.run_around(window.start).map_or(window.start, |run| run.start);
        self.runs
            .range(first..window.end.max(first))
            .map(move |(&start, &end)| Run { start, end }.intersect(&window))
            .filter(|run| !run.is_empty())
    }

    /// The runs that both sets hold, ascending.
    pub fn intersect<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Run> + 'a {
        self.iter().flat_map(|run| other.within(run))
    }
}

impl FromIterator<Run> for RunSet {
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Self {
        let mut set = Self::new();
        for run in runs {
            set.insert(run);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn members(set: &RunSet) -> BTreeSet<u64> {
        set.iter().flat_map(|run| run.start..run.end).collect()
    }

    fn any_run() -> impl Strategy<Value = Run> {
        (0_u64..64, 0_u64..12).prop_map(|(start, len)| Run { start, end: start + len })
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_set_of_numbers(steps in prop::collection::vec((any::<bool>(), any_run()), 0..40)) {
            let mut set = RunSet::new();
            let mut model = BTreeSet::new();
            for (add, run) in steps {
                if add {
                    set.insert(run);
                    model.extend(run.start..run.end);
                } else {
                    set.remove(run);
                    model.retain(|group| !(run.start..run.end).contains(group));
                }
                prop_assert_eq!(&members(&set), &model);
                prop_assert_eq!(set.len(), model.len() as u64);
            }
            for pair in set.iter().collect::<Vec<_>>().windows(2) {
                prop_assert!(pair[0].end < pair[1].start, "runs that touch are one run");
            }
        }

        #[test]
        fn what_two_sets_share_is_their_intersection(
            a in prop::collection::vec(any_run(), 0..10),
            b in prop::collection::vec(any_run(), 0..10),
            window in any_run(),
        ) {
            let (a, b) = (RunSet::from_iter(a), RunSet::from_iter(b));
            let shared: BTreeSet<u64> = a.intersect(&b).flat_map(|r| r.start..r.end).collect();
            let expected: BTreeSet<u64> = members(&a).intersection(&members(&b)).copied().collect();
            prop_assert_eq!(shared, expected);
            let within: BTreeSet<u64> = a.within(window).flat_map(|r| r.start..r.end).collect();
            let expected: BTreeSet<u64> =
                members(&a).into_iter().filter(|g| (window.start..window.end).contains(g)).collect();
            prop_assert_eq!(within, expected);
            prop_assert_eq!(
                a.contains_run(window),
                (window.start..window.end).all(|group| a.contains(group))
            );
        }
    }
}
