//! Which chunk groups a source is asked for next.

use crate::runs::{Run, RunSet};
use crate::source::Have;
use rand::{Rng, RngExt};

/// The largest piece in chunk groups: 1 MiB. The hash pairs that accompany a request cost about
/// 1.5 KiB, so 0.15 %, and one source of 10 Mbit/s needs about a second for it.
const MAX_PIECE_GROUPS: u64 = 64;

/// The smallest piece in chunk groups: 64 KiB. Below it, the round trip of a request outweighs
/// its bytes on any line over 5 Mbit/s.
const MIN_PIECE_GROUPS: u64 = 4;

/// Into how many pieces a file is cut at least, if they do not get too small by it: enough for
/// eight sources to take two each.
const PIECES_WANTED: u64 = 16;

/// How many places are compared for the rarest one. Of 64 draws, at least one is among the
/// rarest 5 % with a probability of 96 %.
const SAMPLES: usize = 64;

/// How many free runs are looked at for one decision. A download that is more fragmented than
/// that still finds work in the ones that are looked at.
const MAX_RUNS: usize = 256;

/// In which order the parts of a file are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// What the fewest sources have comes first; where all are equal, from a random place on.
    /// It keeps rare parts alive, and lets those who fetch the same file have something for each
    /// other (Cohen 2003, "Incentives build robustness in BitTorrent", section 2.4).
    #[default]
    RarestFirst,
    /// From the beginning to the end, for whoever plays the file while it comes.
    InOrder,
}

/// How many chunk groups a piece of a file has, a power of two. Requests end at borders of pieces.
pub(crate) fn piece_groups(file_groups: u64) -> u64 {
    let wanted = (file_groups / PIECES_WANTED).max(1);
    // The largest power of two that is not above what is wanted.
    let floor = 1 << wanted.ilog2();
    u64::clamp(floor, MIN_PIECE_GROUPS, MAX_PIECE_GROUPS)
}

/// The choice for one source.
pub(crate) struct Choice<'a> {
    /// Groups that are neither here nor asked for.
    pub free: &'a RunSet,
    /// What the source has.
    pub have: &'a Have,
    /// What all sources in use have.
    pub others: &'a [&'a Have],
    /// Where the source's last request ended.
    pub next_group: u64,
    /// How many groups are wanted at most.
    pub want: u64,
    /// Groups of a piece.
    pub piece: u64,
    /// Groups of the file.
    pub groups: u64,
}

impl Choice<'_> {
    /// The run to ask for, if the source has anything that is wanted.
    pub fn pick(&self, order: Order, rng: &mut impl Rng) -> Option<Run> {
        let runs = self.candidates(order, rng);
        let first = *runs.first()?;
        if order == Order::InOrder {
            return Some(self.cut(first, first.start));
        }
        if self.others.iter().any(|have| matches!(have, Have::Some(_))) {
            return self.rarest(&runs, rng);
        }
        if let Some(run) =
            runs.iter().find(|r| r.start <= self.next_group && self.next_group < r.end)
        {
            return Some(self.cut(*run, self.next_group));
        }
        let longest = runs.into_iter().max_by_key(Run::len)?;
        let start = if longest.len() == self.groups {
            // Whoever begins, begins somewhere else: so they soon have parts for each other.
            self.random_start(longest, rng)
        } else if longest.start > 0 && longest.len() > 2 * self.piece {
            // Somebody works his way towards the start of this run: leave him room.
            self.align_down(longest.start + longest.len() / 2).max(longest.start)
        } else {
            longest.start
        };
        Some(self.cut(longest, start))
    }

    fn candidates(&self, order: Order, rng: &mut impl Rng) -> Vec<Run> {
        let pivot = match order {
            Order::InOrder => 0,
            // A look-up that begins at a random place sees all runs, if not all at once.
            Order::RarestFirst if self.free.run_count() > MAX_RUNS => {
                rng.random_range(0..self.groups)
            }
            Order::RarestFirst => 0,
        };
        let windows = [Run { start: pivot, end: self.groups }, Run { start: 0, end: pivot }];
        let free = windows.into_iter().flat_map(|window| self.free.within(window));
        match self.have {
            Have::All => free.take(MAX_RUNS).collect(),
            Have::Some(have) => free.flat_map(|run| have.within(run)).take(MAX_RUNS).collect(),
        }
    }

    fn rarest(&self, runs: &[Run], rng: &mut impl Rng) -> Option<Run> {
        let copies = |group| {
            let at = Run { start: group, end: group + 1 };
            self.others.iter().filter(|have| have.contains_run(at)).count()
        };
        let (mut best, mut fewest): (Option<(Run, u64)>, usize) = (None, usize::MAX);
        let mut consider = |run: Run, start: u64| {
            let count = copies(start);
            if count < fewest {
                fewest = count;
                best = Some((run, start));
            }
        };
        // Going on where the last request ended comes first, so that it wins among equals.
        if let Some(run) =
            runs.iter().find(|r| r.start <= self.next_group && self.next_group < r.end)
        {
            consider(*run, self.next_group);
        }
        for _ in 0..SAMPLES {
            let run = *runs.get(rng.random_range(0..runs.len()))?;
            consider(run, self.random_start(run, rng));
        }
        let (run, start) = best?;
        let mut chosen = self.cut(run, start);
        // What follows belongs to the same request only as long as it is as rare.
        let mut border = self.align_down(start) + self.piece;
        while border < chosen.end {
            if copies(border) > fewest {
                chosen.end = border;
            }
            border += self.piece;
        }
        Some(chosen)
    }

    /// A random start within a run: its own, or the border of a piece.
    fn random_start(&self, run: Run, rng: &mut impl Rng) -> u64 {
        self.align_down(rng.random_range(run.start..run.end)).max(run.start)
    }

    const fn align_down(&self, group: u64) -> u64 {
        group - group % self.piece
    }

    /// From `start` as far as wanted, up to a border of pieces or the end of the run.
    fn cut(&self, run: Run, start: u64) -> Run {
        let end = self.align_down(start + self.want.max(self.piece));
        Run { start, end: end.max(start + 1).min(run.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn choice<'a>(free: &'a RunSet, have: &'a Have, others: &'a [&'a Have]) -> Choice<'a> {
        Choice { free, have, others, next_group: u64::MAX, want: 64, piece: 64, groups: 1024 }
    }

    #[test]
    fn pieces_are_neither_too_small_nor_too_large() {
        assert_eq!(piece_groups(1), 4);
        assert_eq!(piece_groups(100), 4);
        assert_eq!(piece_groups(300), 16);
        assert_eq!(piece_groups(1 << 30), 64);
    }

    #[test]
    fn the_part_that_one_source_alone_has_comes_first() {
        let mut rng = StdRng::seed_from_u64(1);
        let free = RunSet::full(1024);
        let rich = Have::All;
        let poor = Have::Some(RunSet::from_iter([
            Run { start: 0, end: 512 },
            Run { start: 576, end: 1024 },
        ]));
        let others = [&rich, &poor, &poor];
        let picked = choice(&free, &rich, &others).pick(Order::RarestFirst, &mut rng);
        assert_eq!(picked, Some(Run { start: 512, end: 576 }));
    }

    #[test]
    fn a_source_is_never_asked_for_what_it_has_not() {
        let mut rng = StdRng::seed_from_u64(1);
        let free = RunSet::from_iter([Run { start: 100, end: 200 }]);
        let have = Have::Some(RunSet::from_iter([Run { start: 150, end: 160 }]));
        let others = [&have];
        for order in [Order::RarestFirst, Order::InOrder] {
            let picked =
                choice(&free, &have, &others).pick(order, &mut rng).expect("there is some");
            assert!(picked.start >= 150 && picked.end <= 160, "{picked:?}");
        }
        let none = Have::Some(RunSet::new());
        assert_eq!(choice(&free, &none, &[&none]).pick(Order::InOrder, &mut rng), None);
    }

    #[test]
    fn a_player_gets_the_beginning_first() {
        let mut rng = StdRng::seed_from_u64(1);
        let free = RunSet::from_iter([Run { start: 70, end: 1024 }]);
        let picked = choice(&free, &Have::All, &[&Have::All]).pick(Order::InOrder, &mut rng);
        assert_eq!(picked, Some(Run { start: 70, end: 128 }));
    }
}
