//! How the supernode where a search begins widens it, wave by wave.
//!
//! The waves are Fisk's dynamic querying ("Gnutella Dynamic Query Protocol", 2003) over query
//! routing tables: each asks as many as it takes for the results that are still missing, at the
//! rate at which those before brought some. With degree d, whoever is asked to look at its
//! neighbours' tables looks at d of S: n of them leave exp(-d·n/S) of all tables unseen. What was
//! seen comes back as tags, so that a search for something rare ends when all of the tables were
//! seen, and not sooner or later.

use crate::covered::{Covered, population};
use skein_proto::routing::SharedBytes;
use skein_proto::{NodeId, QueryId, Tag};
use std::collections::{BTreeMap, BTreeSet};

/// What may be left unseen of all supernodes at the end: one in so many.
const REST: f64 = 1_000.0;

/// Neighbours asked at first where nothing is known of how many have results.
const FIRST_GROUP: usize = 8;

/// Tags that a wave must have brought for their novelty to say that there is nothing new.
const ENOUGH_TAGS: u32 = 500;

/// How much of a wave may be asked twice, as a part of all: those who look at their neighbours'
/// tables at the same time do not know of each other. A wave of looks at x times all tables asks
/// x²/2 of those that are left twice; later ones leave alone who was asked before.
const OVERLAP: f64 = 0.05;

/// Where the supernodes that are known are fewer than this part of those that a search has seen,
/// others were not heard of, and how many there are must be guessed.
const KNOWN_SHARE: f64 = 0.98;

/// Shows all supernodes that are known, one by one.
pub(crate) type Members<'a> = dyn Fn(&mut dyn FnMut(&NodeId)) + 'a;

/// What a plan is made from.
pub(crate) struct Outlook<'a> {
    /// Neighbours that may be asked now.
    pub(crate) free: &'a [NodeId],
    /// Whether a neighbour's table does not exclude it.
    pub(crate) may_answer: &'a dyn Fn(&NodeId) -> bool,
    /// All other supernodes that are known.
    pub(crate) members: &'a Members<'a>,
    /// Contents found.
    pub(crate) found: usize,
    /// Contents still wanted.
    pub(crate) wanted: usize,
    /// Whether somebody is still being waited for.
    pub(crate) is_waiting: bool,
}

/// Whom to ask next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// These, with so many hops left.
    Ask(Vec<NodeId>, u8),
    /// Nobody: all that could be covered is.
    Covered,
    /// Nobody, though there is more: too many hops away, or gone without being known to be.
    TooFar,
}

/// The state of one search where it begins.
#[derive(Debug)]
pub(crate) struct Waves {
    id: QueryId,
    hops: u8,
    max_hops: u8,
    /// Up to how many hops each neighbour was asked.
    asked: BTreeMap<NodeId, u8>,
    /// Supernodes whose own index was asked for, this one included.
    indexes: u32,
    covered: Covered,
    /// Those that were asked directly and have not answered: nobody else can speak for them, since a
    /// table that excludes them may be older than what this supernode has heard.
    owing: BTreeSet<Tag>,
    /// Tags that came before anyone passed the query on unfiltered, repeated ones included: how
    /// often they repeat tells how many supernodes there are.
    draws: u32,
    /// Of the present wave: tags, and new ones among them.
    wave: (u32, u32),
    /// How many supernodes there are, as far as is known.
    size: f64,
    /// How many there are by the tags drawn.
    estimate: f64,
    /// Supernodes known when this was first asked, this one included, and the tags of those that
    /// were not covered yet.
    known: Option<(u32, Vec<Tag>)>,
}

impl Waves {
    /// A search of the supernode `me`, with queries that are passed on so many times at most behind
    /// the first.
    pub(crate) fn new(id: QueryId, me: &NodeId, max_hops: u8) -> Self {
        let mut covered = Covered::default();
        covered.insert(id.tag(me));
        Self {
            id,
            hops: 0,
            max_hops,
            asked: BTreeMap::new(),
            indexes: 1,
            covered,
            owing: BTreeSet::new(),
            draws: 1,
            wave: (0, 0),
            size: 1.0,
            estimate: 1.0,
            known: None,
        }
    }

    /// Those that were asked, or need not be.
    pub(crate) fn on_covered(&mut self, tags: impl IntoIterator<Item = Tag>) {
        for tag in tags {
            let new = self.covered.insert(tag);
            self.wave.0 += 1;
            self.wave.1 += u32::from(new);
            if self.hops <= 1 {
                self.draws += 1;
            }
        }
    }

    /// One that was asked directly has answered.
    pub(crate) fn on_answered(&mut self, tag: Tag) {
        self.owing.remove(&tag);
        self.on_covered([tag]);
    }

    /// Those that were asked, or need not be, as another supernode says.
    pub(crate) fn on_told(&mut self, tags: impl IntoIterator<Item = Tag>) {
        for tag in tags {
            if !self.owing.contains(&tag) {
                self.on_covered([tag]);
            }
        }
    }

    /// Whether a supernode was asked, or its table excludes it.
    pub(crate) fn has_covered(&self, node: &NodeId) -> bool {
        self.covered.contains(self.id.tag(node))
    }

    /// The tags of those that nobody need ask any more, as many as fit into a message.
    pub(crate) fn settled(&self) -> SharedBytes<6144> {
        let owing = self.owing.iter().copied().filter(|tag| !self.covered.contains(*tag));
        let tags = owing.chain(self.covered.tags()).take(2_048);
        SharedBytes::new(tags.flatten().collect::<Vec<u8>>()).unwrap_or_default()
    }

    /// Supernodes that were asked or are excluded by their tables, this one included.
    pub(crate) fn supernodes(&self) -> u32 {
        round(self.covered.supernodes())
    }

    /// Supernodes that there seem to be.
    pub(crate) fn size(&self) -> u32 {
        round(self.size.max(self.covered.supernodes()))
    }

    /// Whom to ask next, now that the last ones have answered or taken too long.
    pub(crate) fn next(&mut self, outlook: &Outlook<'_>) -> Next {
        loop {
            let left = self.left(outlook);
            let is_covered = left * REST <= self.size;
            // One is asked what it sees in any case: there may be supernodes not heard of.
            let asked_around = self.asked.values().any(|hops| *hops > 0);
            if asked_around && (is_covered || self.brings_nothing_new()) {
                return Next::Covered;
            }
            let mut candidates: Vec<NodeId> = outlook
                .free
                .iter()
                .filter(|node| self.asked.get(node).is_none_or(|hops| *hops < self.hops))
                .copied()
                .collect();
            if self.hops == 0 {
                candidates.retain(|node| {
                    let may = (outlook.may_answer)(node);
                    if !may {
                        self.on_covered([self.id.tag(node)]);
                        self.asked.insert(*node, 0);
                    }
                    may
                });
            }
            let group = if self.hops == 1 && is_covered { 1 } else { self.group(outlook, left) };
            candidates.truncate(group);
            if !candidates.is_empty() {
                for node in &candidates {
                    if !self.has_covered(node) {
                        self.owing.insert(self.id.tag(node));
                    }
                    if self.asked.insert(*node, self.hops).is_none() {
                        self.indexes += 1;
                    }
                }
                self.wave = (0, 0);
                return Next::Ask(candidates, self.hops);
            }
            if outlook.is_waiting && self.hops > 0 {
                // Who is slow may still bring what is missing, for less than a wider wave costs.
                return Next::Ask(Vec::new(), self.hops);
            }
            if self.hops >= self.max_hops {
                return if is_covered { Next::Covered } else { Next::TooFar };
            }
            self.hops += 1;
        }
    }

    /// Whether the last wave saw next to nothing that was not seen before. Those that are still
    /// missing then are likelier gone than hidden.
    fn brings_nothing_new(&self) -> bool {
        let (tags, new) = self.wave;
        tags >= ENOUGH_TAGS && f64::from(new) * REST <= f64::from(tags)
    }

    /// How many neighbours to ask at once.
    fn group(&self, outlook: &Outlook<'_>, left: f64) -> usize {
        let degree = to_f64(outlook.free.len().saturating_sub(1).max(1));
        // How many supernodes one request reaches.
        let reach = degree.powi(i32::from(self.hops));
        let by_results = match (outlook.found, self.hops) {
            (0, 0) => to_f64(FIRST_GROUP).max(f64::from(self.indexes)),
            (0, _) => f64::INFINITY,
            (found, hops) => {
                let covered = self.covered.supernodes().max(1.0);
                let among = if hops == 0 { f64::from(self.indexes) } else { covered };
                // Half as many again, since results come unevenly and a wave takes time.
                1.5 * to_f64(outlook.wanted) * among / to_f64(found) / reach
            }
        };
        // More looks than it takes to see all tables bring nothing, and those at the same time ask
        // some twice.
        let by_tables = if self.hops == 0 {
            f64::INFINITY
        } else {
            let share = left / self.size;
            (REST * share).ln().min((2.0 * OVERLAP / share).sqrt()) * self.size / reach
        };
        // Between 1 and 4,096, so that nothing is lost.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let group = by_results.min(by_tables).ceil().clamp(1.0, 4_096.0) as usize;
        group
    }

    /// Supernodes that were not covered yet, as far as is known. Makes up its mind about how many
    /// there are in all: as many as are known, or, where more than those were seen, as many as the
    /// repeated tags speak for.
    fn left(&mut self, outlook: &Outlook<'_>) -> f64 {
        // All of them are looked at once: a search is over before there are many others.
        let id = self.id;
        let (known, missing) = self.known.get_or_insert_with(|| {
            let mut tags = Vec::new();
            (outlook.members)(&mut |node| tags.push(id.tag(node)));
            (u32::try_from(tags.len() + 1).unwrap_or(u32::MAX), tags)
        });
        missing.retain(|tag| !self.covered.contains(*tag));
        let (known, missing) = (f64::from(*known), to_f64(missing.len()));
        let covered = self.covered.supernodes();
        if self.hops <= 1 {
            self.estimate = population(covered, f64::from(self.draws));
        }
        let explains = known >= covered * KNOWN_SHARE;
        self.size = if explains { known } else { known.max(self.estimate) }.max(covered);
        if explains { missing } else { missing.max(self.size - covered) }
    }
}

fn to_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

// Numbers of supernodes are far below four billion and not negative.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn round(count: f64) -> u32 {
    count.round() as u32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng};

    const QUERY: QueryId = QueryId::from_bytes([7; 16]);

    /// Supernodes that link to each other at random, as they do.
    struct Graph {
        nodes: Vec<NodeId>,
        links: Vec<BTreeSet<usize>>,
        has: Vec<bool>,
    }

    impl Graph {
        fn new(count: usize, degree: usize, rng: &mut StdRng) -> Self {
            let nodes = (0..count).map(|_| NodeId::from_bytes(rng.random())).collect();
            let mut links = vec![BTreeSet::new(); count];
            let mut ends: Vec<usize> = (0..count * degree).map(|end| end % count).collect();
            ends.shuffle(rng);
            for pair in ends.chunks_exact(2) {
                if pair[0] != pair[1] {
                    links[pair[0]].insert(pair[1]);
                    links[pair[1]].insert(pair[0]);
                }
            }
            Self { nodes, links, has: vec![false; count] }
        }

        /// What `at` does with a query, as `flood` does it. Answers requests sent.
        fn ask(
            &self,
            at: usize,
            from: usize,
            hops: u8,
            done: &BTreeSet<Tag>,
            run: &mut Run,
        ) -> BTreeSet<usize> {
            run.messages += 1;
            if self.has[at] {
                run.found.insert(at);
            }
            let mut covered = BTreeSet::from([at]);
            let before = run.seen.insert(at, hops).filter(|before| *before >= hops);
            if before.is_some() || hops == 0 {
                return covered;
            }
            for next in self.links[at].iter().copied().filter(|next| *next != from) {
                covered.insert(next);
                if hops == 1 && done.contains(&QUERY.tag(&self.nodes[next])) {
                    continue;
                }
                if hops > 1 || self.has[next] {
                    covered.extend(self.ask(next, at, hops - 1, done, run));
                }
            }
            covered
        }

        /// A search of the first node; `known` others are known to it.
        fn search(&self, wanted: usize, known: usize) -> (Run, Waves) {
            let mut waves = Waves::new(QUERY, &self.nodes[0], 2);
            let mut run = Run::default();
            let free: Vec<NodeId> = self.links[0].iter().map(|link| self.nodes[*link]).collect();
            let index = |node: &NodeId| self.nodes.iter().position(|n| n == node).expect("known");
            loop {
                let next = waves.next(&Outlook {
                    free: &free,
                    may_answer: &|node| self.has[index(node)],
                    members: &|see| self.nodes[1..=known].iter().for_each(see),
                    found: run.found.len(),
                    wanted: wanted.saturating_sub(run.found.len()),
                    is_waiting: false,
                });
                let Next::Ask(group, hops) = next else {
                    run.end = Some(next);
                    return (run, waves);
                };
                let settled = waves.settled();
                let done = settled.as_chunks().0.iter().copied().collect();
                for node in group {
                    let covered = self.ask(index(&node), 0, hops, &done, &mut run);
                    waves.on_covered(covered.into_iter().map(|at| QUERY.tag(&self.nodes[at])));
                }
                if run.found.len() >= wanted {
                    return (run, waves);
                }
            }
        }
    }

    #[derive(Default)]
    struct Run {
        messages: usize,
        found: BTreeSet<usize>,
        seen: BTreeMap<usize, u8>,
        end: Option<Next>,
    }

    /// Searches for single copies: how many were found, and messages for each.
    fn rare(count: usize, known: usize) -> (usize, usize) {
        let mut rng = StdRng::seed_from_u64(42);
        let (mut found, mut messages) = (0, 0);
        for _ in 0..100 {
            let mut graph = Graph::new(count, 40, &mut rng);
            graph.has[rng.random_range(1..count)] = true;
            let (run, _) = graph.search(10, known);
            found += run.found.len();
            messages += run.messages;
        }
        (found, messages / 100)
    }

    #[test]
    fn a_single_copy_among_950_supernodes_costs_some_hundred_messages() {
        let (found, messages) = rare(950, 949);
        assert!(found >= 99, "{found} of 100");
        assert!(messages < 250, "{messages}, and flooding would take 38,000");
    }

    #[test]
    fn supernodes_that_are_not_known_are_found_all_the_same() {
        let (found, messages) = rare(950, 40);
        assert!(found >= 99, "{found} of 100");
        assert!(messages < 350, "{messages}");
    }

    #[test]
    fn a_single_copy_among_9500_supernodes_is_found_within_three_hops() {
        let mut rng = StdRng::seed_from_u64(43);
        let mut graph = Graph::new(9_500, 40, &mut rng);
        let mut found = 0;
        let mut messages = 0;
        for holder in 0..20 {
            let holder = 1 + holder * 470;
            graph.has[holder] = true;
            let (run, waves) = graph.search(10, 9_499);
            graph.has[holder] = false;
            found += run.found.len();
            messages += run.messages;
            assert!(waves.supernodes() > 9_400, "{}", waves.supernodes());
        }
        assert_eq!(found, 20);
        assert!(messages / 20 < 2_000, "{}", messages / 20);
    }

    #[test]
    fn what_everybody_has_takes_a_handful_of_messages() {
        let mut graph = Graph::new(950, 40, &mut StdRng::seed_from_u64(44));
        graph.has.fill(true);
        let (run, _) = graph.search(10, 949);
        assert!(run.found.len() >= 10 && run.messages <= 20, "{} messages", run.messages);
    }

    #[test]
    fn where_there_is_not_enough_no_more_tables_are_looked_at_than_it_takes_to_see_all() {
        let mut graph = Graph::new(100, 40, &mut StdRng::seed_from_u64(46));
        (1..100).step_by(3).for_each(|holder| graph.has[holder] = true);
        let (run, _) = graph.search(1_000, 99);
        assert_eq!((run.found.len(), run.end), (33, Some(Next::Covered)));
        // To ask all neighbours to look around would take 500.
        assert!(run.messages < 90, "{}", run.messages);
    }

    #[test]
    fn what_half_of_all_may_have_is_asked_little_more_than_once() {
        let mut graph = Graph::new(950, 40, &mut StdRng::seed_from_u64(47));
        (1..950).step_by(2).for_each(|holder| graph.has[holder] = true);
        let (run, _) = graph.search(1_000, 949);
        assert_eq!(run.end, Some(Next::Covered));
        assert!(run.found.len() >= 474, "{} of 475", run.found.len());
        assert!(run.messages < 1_000, "{}", run.messages);
    }

    #[test]
    fn a_few_that_see_each_other_ask_one_of_them_whether_there_are_more() {
        let graph = Graph {
            nodes: (1..=4).map(|n| NodeId::from_bytes([n; 32])).collect(),
            links: (0..4).map(|n| (0..4).filter(|m| *m != n).collect()).collect(),
            has: vec![false; 4],
        };
        let (run, waves) = graph.search(10, 3);
        assert_eq!((run.messages, run.end), (1, Some(Next::Covered)));
        assert_eq!((waves.supernodes(), waves.size()), (4, 4));
    }

    #[test]
    fn members_that_died_do_not_make_a_search_go_on_for_ever() {
        let mut rng = StdRng::seed_from_u64(45);
        let mut graph = Graph::new(950, 40, &mut rng);
        graph.nodes.extend((0..100).map(|_| NodeId::from_bytes(rng.random())));
        graph.links.extend((0..100).map(|_| BTreeSet::new()));
        graph.has.extend([false; 100]);
        let (run, _) = graph.search(10, 1_049);
        assert_eq!(run.end, Some(Next::Covered));
        assert!(run.messages < 500, "{}", run.messages);
    }

    #[test]
    fn nobody_speaks_for_one_who_was_asked_and_has_not_answered() {
        let [me, silent, other] = [1, 2, 3].map(|n| NodeId::from_bytes([n; 32]));
        let id = QueryId::from_bytes([7; 16]);
        let mut waves = Waves::new(id, &me, 2);
        let free = [silent];
        let next = waves.next(&Outlook {
            free: &free,
            may_answer: &|_| true,
            members: &|see| [silent, other].iter().for_each(&mut *see),
            found: 0,
            wanted: 10,
            is_waiting: false,
        });
        assert!(matches!(next, Next::Ask(asked, 0) if asked == [silent]));
        waves.on_told([id.tag(&silent), id.tag(&other)]);
        assert!(!waves.has_covered(&silent) && waves.has_covered(&other));
        waves.on_answered(id.tag(&silent));
        assert!(waves.has_covered(&silent));
    }
}
