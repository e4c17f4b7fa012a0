//! What searches brought, against what was really there.
//!
//! The oracle looks at the nodes that run at the moment of a question, and at what they share; what
//! a supernode has in its index by then is the network's business and not the oracle's.

use super::Sample;
use crate::network::Alive;
use crate::workload::Search;
use serde::Serialize;
use skein_proto::QueryId;

/// A question that was asked, and what could be answered.
pub(super) struct Asked {
    pub(super) id: QueryId,
    /// When, in seconds from the start.
    pub(super) at: f64,
    pub(super) asker: u32,
    /// Which life of the asker; one that is gone reads no answer.
    pub(super) life: u32,
    pub(super) search: Search,
    /// Which nodes ran at that moment.
    pub(super) there: Alive,
    /// How many matching contents somebody else shared at that moment, up to as many as were wanted.
    pub(super) possible: usize,
    /// On how many other nodes the content that was meant could be found at that moment.
    pub(super) copies: u32,
}

/// What came of a search.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Answered {
    /// When it was asked for, in seconds from the start.
    pub at: f64,
    /// On how many nodes the content that was meant could be found.
    pub copies: u32,
    /// Whether it was found.
    pub found: bool,
    /// What was found of as many as were wanted of those that were there, 0 to 1.
    pub recall: f64,
    /// Seconds to the first hit.
    pub first_hit: Option<f64>,
    /// Seconds to the end; `None` if there was none within a minute.
    pub took: Option<f64>,
    /// Different contents among the hits.
    pub contents: u32,
    /// Those of them that are what they are called.
    pub genuine: u32,
    /// Supernodes that were asked.
    pub supernodes: u32,
}

/// What came of all searches, or of those for something with so many copies.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recall {
    /// The fewest copies.
    pub from: u32,
    /// The most.
    pub to: u32,
    /// Searches.
    pub searches: u64,
    /// The share of them that found what was meant.
    pub found: f64,
    /// The mean share of what was wanted and there that was found.
    pub recall: f64,
    /// The median of the seconds to the first hit.
    pub first_hit_median: Option<f64>,
    /// The 99th percentile of it.
    pub first_hit_p99: Option<f64>,
    /// The median of the seconds to the end.
    pub took_median: Option<f64>,
    /// The 99th percentile of it.
    pub took_p99: Option<f64>,
    /// Supernodes asked, on average.
    pub supernodes: f64,
    /// The share of contents among the hits that are what they are called.
    pub genuine: f64,
}

/// Numbers of copies that are told apart.
const CLASSES: [(u32, u32); 5] = [(1, 1), (2, 3), (4, 9), (10, 99), (100, u32::MAX)];

/// Sums up all searches.
pub(super) fn sum_up(answered: &[Answered], (from, to): (u32, u32)) -> Recall {
    let of: Vec<&Answered> =
        answered.iter().filter(|search| (from..=to).contains(&search.copies)).collect();
    let count = of.len().max(1) as f64;
    let mean = |value: &dyn Fn(&Answered) -> f64| {
        of.iter().map(|search| value(search)).sum::<f64>() / count
    };
    let mut first: Vec<f64> = of.iter().filter_map(|search| search.first_hit).collect();
    let mut took: Vec<f64> = of.iter().filter_map(|search| search.took).collect();
    let contents: u64 = of.iter().map(|search| u64::from(search.contents)).sum();
    let genuine: u64 = of.iter().map(|search| u64::from(search.genuine)).sum();
    Recall {
        from,
        to,
        searches: of.len() as u64,
        found: mean(&|search| f64::from(u8::from(search.found))),
        recall: mean(&|search| search.recall),
        first_hit_median: quantile(&mut first, 0.5),
        first_hit_p99: quantile(&mut first, 0.99),
        took_median: quantile(&mut took, 0.5),
        took_p99: quantile(&mut took, 0.99),
        supernodes: mean(&|search| f64::from(search.supernodes)),
        genuine: if contents == 0 { 1.0 } else { genuine as f64 / contents as f64 },
    }
}

/// One sum for each number of copies that occurs.
pub(super) fn by_copies(answered: &[Answered]) -> Vec<Recall> {
    let sums = CLASSES.iter().map(|class| sum_up(answered, *class));
    sums.filter(|sum| sum.searches > 0).collect()
}

/// Writes into each sample what came of the searches that were begun since the one before.
pub(super) fn spread(answered: &[Answered], samples: &mut [Sample]) {
    for search in answered {
        let next = samples.partition_point(|sample| sample.at < search.at);
        if let Some(sample) = samples.get_mut(next) {
            let sum = sample.recall.unwrap_or_default() * f64::from(sample.searches);
            sample.searches += 1;
            sample.recall = Some((sum + search.recall) / f64::from(sample.searches));
        }
    }
}

/// The value that a share of the others are not above.
pub(super) fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = (last as f64 * share).round() as usize;
    let (_, value, _) = values.select_nth_unstable_by(place, f64::total_cmp);
    Some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(at: f64, recall: f64) -> Answered {
        Answered {
            at,
            copies: 1,
            found: recall > 0.0,
            recall,
            first_hit: None,
            took: None,
            contents: 0,
            genuine: 0,
            supernodes: 0,
        }
    }

    #[test]
    fn a_search_belongs_to_the_time_at_which_it_was_asked() {
        let mut samples = [10.0, 20.0, 30.0].map(|at| Sample { at, ..Sample::default() });
        spread(&[answered(12.0, 1.0), answered(20.0, 0.5), answered(21.0, 0.0)], &mut samples);
        assert_eq!(samples.each_ref().map(|sample| sample.searches), [0, 2, 1]);
        assert_eq!(samples.each_ref().map(|sample| sample.recall), [None, Some(0.75), Some(0.0)]);
    }
}
