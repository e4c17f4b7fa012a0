//! Who has which contents.

use super::catalogue::row;
use super::sampling::weight;
use super::{Content, SettingError, check};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Who shares how much, and how often a content is copied.
///
/// Saroiu et al. ("A Measurement Study of Peer-to-Peer File Sharing Systems", MMCN 2002) and Adar
/// and Huberman ("Free Riding on Gnutella", First Monday 2000) found that 26 to 70 % share nothing,
/// that 1 % offer about half of all files, and a median of about 100 files a sharer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The share of nodes that share anything, 0 to 1.
    pub sharers: f64,
    /// The median of the files of those who share.
    pub median_files: f64,
    /// The most files that anybody has; without it the largest of 100,000 nodes would have a
    /// twentieth of everything.
    pub most_files: f64,
    /// What all numbers of files are multiplied by, so that large networks fit into memory.
    pub scale: f64,
    /// The share of all files that the top 1 % of all nodes offer.
    pub top_share: f64,
    /// Copies of a content on average.
    pub mean_copies: f64,
    /// Zipf's exponent of the number of copies.
    pub alpha: f64,
    /// How many first ranks have nearly equally many copies, see
    /// [`Zipf`](super::sampling::Zipf).
    pub flat_head: f64,
}

impl Default for Settings {
    /// 60 % share nothing. A tenth of the measured files: a median of 10 a sharer, and some 17
    /// files a node on average.
    fn default() -> Self {
        Self {
            sharers: 0.4,
            median_files: 100.0,
            most_files: 50_000.0,
            scale: 0.1,
            top_share: 0.5,
            mean_copies: 4.0,
            alpha: 0.8,
            flat_head: 10.0,
        }
    }
}

/// The most holders of a content, in relation to all who share: nothing is on every machine.
const MOST_HOLDERS: f64 = 0.3;

/// Which node has which contents, in both directions.
#[derive(Clone, Debug)]
pub struct Holdings {
    /// Where the contents of each node start in `shared`; one more than nodes.
    starts: Vec<u32>,
    shared: Vec<Content>,
    /// Where the holders of each content start in `holders`; one more than contents.
    holder_starts: Vec<u32>,
    holders: Vec<u32>,
    /// The first of the contents that just one node has; the others lie behind it.
    first_single: u32,
}

impl Holdings {
    pub(super) fn new(
        settings: &Settings,
        nodes: u32,
        rng: &mut impl Rng,
    ) -> Result<Self, SettingError> {
        settings.check()?;
        let files = settings.files(nodes, rng);
        let copies = settings.copies(&files);
        let (holder_starts, holders) = distribute(&files, &copies, rng);
        let (starts, shared) = invert(&holder_starts, &holders, nodes);
        let mut counts = holder_starts.windows(2).rev();
        let single = counts.position(|ends| ends[1] - ends[0] != 1);
        let contents = holder_starts.len() - 1;
        // Contents were counted by a u32.
        let first_single = single.map_or(0, |behind| contents - behind) as u32;
        Ok(Self { starts, shared, holder_starts, holders, first_single })
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> u32 {
        // Nodes were counted by a u32.
        self.starts.len() as u32 - 1
    }

    /// How many contents there are.
    pub fn contents(&self) -> u32 {
        // Contents were counted by a u32.
        self.holder_starts.len() as u32 - 1
    }

    /// How many copies of contents there are.
    pub fn copies(&self) -> usize {
        self.shared.len()
    }

    /// What a node has, the most copied first.
    pub fn shared_by(&self, node: u32) -> &[Content] {
        row(&self.starts, &self.shared, node)
    }

    /// Who has a content.
    pub fn holders(&self, content: Content) -> &[u32] {
        row(&self.holder_starts, &self.holders, content.0)
    }

    /// The numbers of contents that just one node has: the last ones.
    pub fn single_copies(&self) -> Range<u32> {
        self.first_single..self.contents()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let lists = [&self.starts, &self.holder_starts, &self.holders];
        lists.iter().map(|list| list.capacity() * 4).sum::<usize>() + self.shared.capacity() * 4
    }
}

impl Settings {
    fn check(&self) -> Result<(), SettingError> {
        let above = |value: f64| value.is_finite() && value > 0.0;
        check((0.0..=1.0).contains(&self.sharers), "sharing.sharers", "0 to 1")?;
        check(above(self.median_files), "sharing.median_files", "above 0")?;
        let most = (1.0..=1e6).contains(&self.most_files);
        check(most, "sharing.most_files", "1 to 1,000,000")?;
        check(above(self.scale) && self.scale <= 1.0, "sharing.scale", "above 0, at most 1")?;
        check((0.0..=0.95).contains(&self.top_share), "sharing.top_share", "0 to 0.95")?;
        let copies = self.mean_copies.is_finite() && self.mean_copies >= 1.0;
        check(copies, "sharing.mean_copies", "1 or more")?;
        check((0.0..=3.0).contains(&self.alpha), "sharing.alpha", "0 to 3")?;
        check(self.flat_head >= 0.0, "sharing.flat_head", "0 or more")
    }

    /// How many files each node has: quantiles of a log-logistic distribution, whose tail is
    /// Pareto's, dealt out at random. Its shape is the one that gives the top 1 % of the nodes
    /// their share, so that small networks have it, too.
    fn files(&self, nodes: u32, rng: &mut impl Rng) -> Vec<u32> {
        let sharers = ((f64::from(nodes) * self.sharers).round() as u32).clamp(1, nodes);
        let median = self.median_files * self.scale;
        let most = self.most_files * self.scale;
        let of = |number: u32, shape: f64| {
            let quantile = (f64::from(number) + 0.5) / f64::from(sharers);
            let files = median * (quantile / (1.0 - quantile)).powf(1.0 / shape);
            files.min(most).round().max(1.0)
        };
        let top = nodes.div_ceil(100);
        let top_share = |shape: f64| {
            let all: f64 = (0..sharers).map(|number| of(number, shape)).sum();
            let best: f64 =
                (sharers.saturating_sub(top)..sharers).map(|number| of(number, shape)).sum();
            best / all
        };
        // The smaller the shape, the heavier the tail.
        let (mut heavy, mut light) = (0.3, 20.0);
        for _ in 0..30 {
            let middle = (heavy + light) / 2.0;
            if top_share(middle) > self.top_share { heavy = middle } else { light = middle }
        }
        let mut files = vec![0; nodes as usize];
        for number in 0..sharers {
            files[number as usize] = of(number, light) as u32;
        }
        files.shuffle(rng);
        files
    }

    /// How many copies of each content there are, so that all files are copies of something.
    /// Rounding down to no copy leaves one: those are the single copies.
    fn copies(&self, files: &[u32]) -> Vec<u32> {
        let all: f64 = files.iter().map(|count| f64::from(*count)).sum();
        // A node has a content once: the largest share must find enough different ones.
        let largest = files.iter().copied().max().unwrap_or_default();
        let contents = ((all / self.mean_copies) as u32).max(largest).max(1);
        let sharers = files.iter().filter(|count| **count > 0).count() as f64;
        let most = (sharers * MOST_HOLDERS).max(1.0);
        let of = |rank: u32, factor: f64| {
            (factor * weight(rank, self.alpha, self.flat_head)).round().clamp(1.0, most)
        };
        let (mut low, mut high) = (0.0, all * 1_000.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            let sum: f64 = (0..contents).map(|rank| of(rank, middle)).sum();
            if sum > all { high = middle } else { low = middle }
        }
        (0..contents).map(|rank| of(rank, low) as u32).collect()
    }
}

/// Deals copies out to the places that the nodes have for them, never two of one content to one
/// node. A copy for which no place is found in some tries does not exist.
fn distribute(files: &[u32], copies: &[u32], rng: &mut impl Rng) -> (Vec<u32>, Vec<u32>) {
    const TRIES: u32 = 16;
    let mut places: Vec<u32> = Vec::new();
    for (node, count) in files.iter().enumerate() {
        places.extend(std::iter::repeat_n(node as u32, *count as usize));
    }
    places.shuffle(rng);
    // The content that each node was given last, by its number plus one.
    let mut last = vec![0_u32; files.len()];
    let mut starts = Vec::with_capacity(copies.len() + 1);
    let mut next = 0;
    let mut holders = Vec::with_capacity(places.len());
    for (content, count) in copies.iter().enumerate() {
        starts.push(holders.len() as u32);
        for _ in 0..*count {
            for _ in 0..TRIES {
                let Some(node) = places.get(next).copied() else { break };
                if last[node as usize] != content as u32 + 1 {
                    last[node as usize] = content as u32 + 1;
                    holders.push(node);
                    next += 1;
                    break;
                }
                let other = rng.random_range(next..places.len());
                places.swap(next, other);
            }
        }
    }
    starts.push(holders.len() as u32);
    holders.shrink_to_fit();
    (starts, holders)
}

/// From holders of contents to contents of nodes, in the order of their numbers.
fn invert(starts: &[u32], holders: &[u32], nodes: u32) -> (Vec<u32>, Vec<Content>) {
    let mut ends = vec![0_u32; nodes as usize + 1];
    for node in holders {
        ends[*node as usize + 1] += 1;
    }
    for node in 1..ends.len() {
        ends[node] += ends[node - 1];
    }
    let mut next = ends.clone();
    let mut shared = vec![Content(0); holders.len()];
    for content in 0..starts.len() as u32 - 1 {
        for node in row(starts, holders, content) {
            let place = &mut next[*node as usize];
            shared[*place as usize] = Content(content);
            *place += 1;
        }
    }
    (ends, shared)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::collections::BTreeSet;

    fn holdings(settings: &Settings, nodes: u32) -> Holdings {
        Holdings::new(settings, nodes, &mut StdRng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn most_share_nothing_and_one_percent_offers_half() {
        for nodes in [1_000, 30_000] {
            let settings = Settings { scale: 1.0, ..Settings::default() };
            let settings = if nodes > 1_000 { Settings::default() } else { settings };
            let holdings = holdings(&settings, nodes);
            let mut files: Vec<usize> =
                (0..nodes).map(|node| holdings.shared_by(node).len()).collect();
            files.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
            let nothing = files.iter().filter(|count| **count == 0).count() as f64;
            assert!((nothing / f64::from(nodes) - 0.6).abs() < 0.01, "{nothing} of {nodes}");
            let top: usize = files.iter().take(nodes as usize / 100).sum();
            let share = top as f64 / files.iter().sum::<usize>() as f64;
            assert!((0.45..0.53).contains(&share), "{share} of {nodes}");
            let median = files[nodes as usize / 5] as f64;
            let wanted = settings.median_files * settings.scale;
            assert!((median / wanted - 1.0).abs() < 0.1, "{median} of {wanted}");
        }
    }

    #[test]
    fn the_number_of_copies_falls_with_the_rank_down_to_one() {
        let holdings = holdings(&Settings::default(), 20_000);
        let copies = |content| holdings.holders(Content(content)).len();
        assert!(copies(0) > 300, "{}", copies(0));
        assert!(copies(0) > 3 * copies(100));
        assert!(copies(0) < 2 * copies(3));
        let single = holdings.single_copies();
        assert_eq!(single.end, holdings.contents());
        assert!(single.len() > holdings.contents() as usize / 5, "{single:?}");
        assert!(single.clone().all(|content| copies(content) == 1));
        let mean = holdings.copies() as f64 / f64::from(holdings.contents());
        assert!((3.5..4.5).contains(&mean), "{mean}");
    }

    #[test]
    fn nobody_has_a_content_twice_and_both_directions_agree() {
        let holdings = holdings(&Settings::default(), 2_000);
        let mut copies = 0;
        for node in 0..2_000 {
            let shared = holdings.shared_by(node);
            assert_eq!(shared.iter().collect::<BTreeSet<_>>().len(), shared.len());
            assert!(shared.iter().all(|content| holdings.holders(*content).contains(&node)));
            copies += shared.len();
        }
        assert_eq!(copies, holdings.copies());
    }

    #[test]
    fn a_network_of_one_has_something_too() {
        let holdings = holdings(&Settings::default(), 1);
        assert!(holdings.contents() > 0);
        assert!((0..holdings.contents()).all(|content| holdings.holders(Content(content)) == [0]));
    }
}
