//! Whom the neighbours see: the supernodes that are their neighbours.
//!
//! Whoever has looked at its neighbours' tables for a query names all of them, by their tags. Those
//! who are known are known by their tags, too; so each such answer says who the neighbours of a
//! neighbour are. One that sees nobody but those who are done with, or whom others are asked about
//! already, need not look for the same search: at the end of one that covers everybody that holds for
//! most of them.
//!
//! It says whom to ask, and not what is covered. Where it is wrong, somebody is asked in vain, or a
//! supernode is left to the next one who looks.

use crate::covered::number;
use crate::hashed::HashMap;
use skein_proto::{Instant, NodeId, QueryId, Tag};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::Duration;

/// How long what a neighbour sees is believed: links last for hours, and new ones are made one by
/// one.
const VIEW_FOR: Duration = Duration::from_secs(300);

/// How old it may be before it is worked out anew. That takes a look at the tags of all supernodes that
/// are known, for each neighbour, so it is done no more often than it takes for it to be believed all
/// the time.
const RENEWED_AFTER: Duration = Duration::from_secs(240);

/// How long those who are known are not looked through again: for those who came since it is not known
/// who sees them.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// Sooner than that if there are more or fewer by one of so many: a new supernode hears of most others
/// within seconds.
const KNOWN_SHARE: usize = 16;

/// How much one must add to be asked, as a part of what the first one did: somebody else's neighbours
/// see about as many of those that are left as these did at first. So the fewer are left the less it is.
/// In a model of 1,000 supernodes with 42 neighbours each, 44 instead of 50 are asked to look beyond the
/// own neighbours, in 3.8 rounds instead of 3.2.
const WORTH_ASKING: f64 = 0.6;

/// Neighbours of whom it is known: more than a supernode has. One takes half a kilobyte.
const MAX_VIEWS: usize = 64;

#[derive(Debug)]
struct View {
    at: Instant,
    /// The supernodes.
    nodes: Box<[Short]>,
}

/// The beginning of a node's id, which is what its tags are made from.
type Short = [u8; 8];

fn short(node: &NodeId) -> Short {
    let [a, b, c, d, e, f, g, h, ..] = *node.as_bytes();
    [a, b, c, d, e, f, g, h]
}

fn tag_of(search: QueryId, short: Short) -> Tag {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&short);
    search.tag(&NodeId::from_bytes(id))
}

/// What is known of the neighbours' neighbours.
#[derive(Debug, Default)]
pub(crate) struct Views {
    views: HashMap<NodeId, View>,
    /// The supernodes that are known, side by side: each of their records is elsewhere in memory.
    known: Vec<Short>,
    /// When it was that they were looked through.
    known_at: Option<Instant>,
}

impl Views {
    /// A neighbour has named its neighbours for a search. The supernodes that are known, and how many
    /// they are: they are looked through now and then.
    pub(crate) fn learn<'a>(
        &mut self,
        by: NodeId,
        (search, tags): (QueryId, &[Tag]),
        (count, known): (usize, impl Iterator<Item = &'a NodeId>),
        now: Instant,
    ) {
        let is_fresh = |view: &View| now.since(view.at) < RENEWED_AFTER;
        if tags.is_empty() || self.views.get(&by).is_some_and(is_fresh) {
            return;
        }
        if self.views.len() >= MAX_VIEWS && !self.views.contains_key(&by) {
            let oldest = self.views.iter().min_by_key(|(node, view)| (view.at, **node));
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.views.remove(&oldest);
            }
        }
        let is_other = count.abs_diff(self.known.len()) * KNOWN_SHARE > count;
        if is_other || self.known_at.is_none_or(|at| now.since(at) >= KNOWN_FOR) {
            self.known.clear();
            self.known.extend(known.map(short));
            self.known_at = Some(now);
        }
        let mut named: Vec<u32> = tags.iter().map(|tag| number(*tag)).collect();
        named.sort_unstable();
        let is_named = |node: &&Short| named.binary_search(&number(tag_of(search, **node))).is_ok();
        let nodes = self.known.iter().filter(is_named).copied().collect();
        self.views.insert(by, View { at: now, nodes });
    }

    /// The link with a neighbour is gone.
    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.views.remove(node);
    }

    /// Leaves few that see all those who are not done with, as far as that is known: those that must be
    /// asked anyway, then again and again the one that sees the most whom none of them sees
    /// (Chvatal, "A Greedy Heuristic for the Set-Covering Problem", 1979), as long as that is worth it
    /// where so many are `known` in all: those who are left others may see. Answers the tags of whom
    /// those see who are not asked, and of themselves: all who are done with among them.
    pub(crate) fn choose(
        &self,
        search: QueryId,
        me: &NodeId,
        (among, known): (&mut Vec<NodeId>, usize),
        is_done: impl Fn(Tag) -> bool,
        now: Instant,
    ) -> Vec<Tag> {
        let mut lookers = Vec::with_capacity(among.len());
        // Whom they see, one after the other: those who are done with by their tags, and the others
        // as numbers, which are compared in one step.
        let (mut done, mut open) = (Vec::new(), Vec::new());
        for node in among.iter() {
            let own = search.tag(node);
            let view = self.views.get(node).filter(|view| now.since(view.at) < VIEW_FOR);
            let begun = (done.len(), open.len());
            for node in view.map_or(&[][..], |view| &view.nodes) {
                let tag = tag_of(search, *node);
                if is_done(tag) { done.push(tag) } else { open.push(u64::from_le_bytes(*node)) }
            }
            let (done, open) = (begun.0..done.len(), begun.1..open.len());
            lookers.push(Looker { own, asked: view.is_none() || !is_done(own), done, open });
        }
        let mut seen = Seen::of(&open);
        seen.note(u64::from_le_bytes(short(me)));
        let sees = |looker: &Looker| open.get(looker.open.clone()).unwrap_or_default();
        for (looker, node) in lookers.iter().zip(among.iter()).filter(|(it, _)| it.asked) {
            seen.note(u64::from_le_bytes(short(node)));
            sees(looker).iter().for_each(|node| seen.note(*node));
        }
        // All who are not done with, by the share of those who are seen.
        let (sight, few) = (to_f64(open.len() + done.len()), to_f64(seen.count()));
        let all = (to_f64(known) * to_f64(open.len()) / sight.max(1.0)).max(few);
        let mut first = None;
        // How many each would add at most: that only falls.
        let mut best: BinaryHeap<(usize, Reverse<usize>)> = (0..)
            .zip(&lookers)
            .filter(|(_, looker)| !looker.asked)
            .map(|(at, looker)| (looker.open.len(), Reverse(at)))
            .collect();
        while let Some((_, Reverse(at))) = best.pop() {
            let Some(looker) = lookers.get_mut(at) else { continue };
            let adds = sees(looker).iter().filter(|node| !seen.has(**node)).count();
            if best.peek().is_some_and(|next| *next > (adds, Reverse(at))) {
                best.push((adds, Reverse(at)));
            } else {
                let left = 1.0 - to_f64(seen.count()) / all.max(1.0);
                let first = *first.get_or_insert(to_f64(adds));
                if adds == 0 || to_f64(adds) < first * left * WORTH_ASKING {
                    break;
                }
                looker.asked = true;
                sees(looker).iter().for_each(|node| seen.note(*node));
            }
        }
        let mut is_asked = lookers.iter().map(|looker| looker.asked);
        among.retain(|_| is_asked.next().unwrap_or(true));
        let spared = lookers.iter().filter(|looker| !looker.asked);
        let told = spared.flat_map(|looker| {
            let sees = done.get(looker.done.clone()).unwrap_or_default();
            sees.iter().copied().chain([looker.own])
        });
        told.collect()
    }
}

fn to_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// A neighbour that may be asked to look.
struct Looker {
    own: Tag,
    asked: bool,
    /// Where those whom it sees are listed.
    done: Range<usize>,
    open: Range<usize>,
}

/// Which of those who are not done with anybody sees who is asked.
struct Seen {
    /// In ascending order.
    nodes: Vec<u64>,
    seen: Vec<bool>,
    count: usize,
}

impl Seen {
    fn of(nodes: &[u64]) -> Self {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        nodes.dedup();
        Self { seen: vec![false; nodes.len()], nodes, count: 0 }
    }

    fn note(&mut self, node: u64) {
        let at = self.nodes.binary_search(&node).ok();
        if let Some(seen) = at.and_then(|at| self.seen.get_mut(at)) {
            self.count += usize::from(!*seen);
            *seen = true;
        }
    }

    /// How many are seen.
    fn count(&self) -> usize {
        self.count
    }

    fn has(&self, node: u64) -> bool {
        let at = self.nodes.binary_search(&node).ok();
        at.and_then(|at| self.seen.get(at)).copied().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const START: Instant = Instant::START;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn search(number: u8) -> QueryId {
        QueryId::from_bytes([number; 16])
    }

    fn tags(of: QueryId, nodes: &[u8]) -> Vec<Tag> {
        nodes.iter().map(|number| of.tag(&node(*number))).collect()
    }

    /// Neighbours 1 to 3, and whom each of them sees.
    fn views() -> Views {
        let (mut views, known) = (Views::default(), (1..40).map(node).collect::<Vec<_>>());
        for (by, sees) in [(1, vec![11, 12, 13]), (2, vec![12, 13]), (3, vec![13, 14])] {
            let told = tags(search(1), &sees);
            views.learn(node(by), (search(1), &told), (known.len(), known.iter()), START);
        }
        views
    }

    /// Who is asked to look, for another search that is done with these, and whom the others see.
    fn chosen(views: &Views, done: &[u8], now: Instant) -> (Vec<NodeId>, Vec<Tag>) {
        let done = tags(search(2), done);
        let mut among: Vec<NodeId> = (1..=4).map(node).collect();
        let told =
            views.choose(search(2), &node(9), (&mut among, 39), |tag| done.contains(&tag), now);
        (among, told)
    }

    #[test]
    fn those_that_see_nobody_new_need_not_look() {
        let (asked, told) = chosen(&views(), &[1, 2, 3, 11, 13], START);
        // Of 2 all were done with, or are seen by 1; of 4 nothing is known.
        assert_eq!(asked, [1, 3, 4].map(node));
        assert_eq!(told, tags(search(2), &[13, 2]));
    }

    #[test]
    fn those_that_see_the_most_are_asked_first() {
        let (mut views, known) = (Views::default(), (1..40).map(node).collect::<Vec<_>>());
        // Whoever took them as they come would ask all of the first three.
        let sees = [vec![11, 12], vec![13, 14], vec![15, 16], vec![11, 13, 15], vec![12, 14, 16]];
        for (by, sees) in (1..).zip(sees) {
            let told = tags(search(1), &sees);
            views.learn(node(by), (search(1), &told), (known.len(), known.iter()), START);
        }
        let done = tags(search(2), &[1, 2, 3, 4, 5]);
        let mut among: Vec<NodeId> = (1..=5).map(node).collect();
        let is_done = |tag| done.contains(&tag);
        let told = views.choose(search(2), &node(9), (&mut among, 39), is_done, START);
        assert_eq!(among, [4, 5].map(node));
        assert_eq!(told, tags(search(2), &[1, 2, 3]));
    }

    proptest! {
        #[test]
        fn whoever_is_chosen_sees_the_most(
            sees in proptest::collection::vec(proptest::collection::btree_set(11_u8..39, 0..12), 8),
            done in proptest::collection::btree_set(1_u8..39, 0..30),
        ) {
            let (mut views, known) = (Views::default(), (1..40).map(node).collect::<Vec<_>>());
            for (by, sees) in (1..).zip(&sees) {
                let told = tags(search(1), &Vec::from_iter(sees.iter().copied()));
                views.learn(node(by), (search(1), &told), (known.len(), known.iter()), START);
            }
            let done_tags = tags(search(2), &Vec::from_iter(done.iter().copied()));
            let mut among: Vec<NodeId> = (1..=8).map(node).collect();
            let is_done = |tag| done_tags.contains(&tag);
            let told = views.choose(search(2), &node(9), (&mut among, 39), is_done, START);

            // The same one after the other, each time from the beginning, as long as it is worth it.
            let open = |by: u8| sees[usize::from(by) - 1].difference(&done).copied();
            let must = |by: &u8| !done.contains(by) || sees[usize::from(*by) - 1].is_empty();
            let mut asked: BTreeSet<u8> = (1..=8).filter(must).collect();
            let mut seen: BTreeSet<u8> = asked.iter().flat_map(|by| open(*by)).collect();
            let is_open = |it: &u8| (1..=8).any(|by| open(by).any(|open| open == *it));
            seen.extend(asked.iter().filter(|by| is_open(by)).copied().collect::<Vec<_>>());
            let sight: usize = sees.iter().map(BTreeSet::len).sum();
            let open_sight: usize = (1..=8).map(|by| open(by).count()).sum();
            let all = (39.0 * to_f64(open_sight) / to_f64(sight.max(1))).max(to_f64(seen.len()));
            let mut first = None;
            loop {
                let adds = |by: u8| open(by).filter(|it| !seen.contains(it)).count();
                let best = (1..=8).max_by_key(|by| (adds(*by), Reverse(*by))).unwrap_or(1);
                let (adds, left) = (to_f64(adds(best)), 1.0 - to_f64(seen.len()) / all.max(1.0));
                if adds < 1.0 || adds < *first.get_or_insert(adds) * left * WORTH_ASKING {
                    break;
                }
                asked.insert(best);
                seen.extend(open(best));
            }
            prop_assert_eq!(&among, &asked.iter().map(|by| node(*by)).collect::<Vec<_>>());
            let spared = (1..=8).filter(|by| !asked.contains(by));
            let all = spared.flat_map(|by| {
                let sees = sees[usize::from(by) - 1].intersection(&done).copied();
                sees.chain([by])
            });
            let all: BTreeSet<Tag> = tags(search(2), &all.collect::<Vec<u8>>()).into_iter().collect();
            prop_assert_eq!(told.into_iter().collect::<BTreeSet<Tag>>(), all);
        }
    }

    #[test]
    fn who_sees_few_beside_one_that_sees_many_is_asked_only_where_few_are_left() {
        let (mut views, known) = (Views::default(), (1..40).map(node).collect::<Vec<_>>());
        for (by, sees) in [(1, Vec::from_iter(11..21)), (2, vec![30])] {
            let told = tags(search(1), &sees);
            views.learn(node(by), (search(1), &told), (known.len(), known.iter()), START);
        }
        let done = tags(search(2), &[1, 2]);
        let asked = |known| {
            let mut among: Vec<NodeId> = (1..=2).map(node).collect();
            let is_done = |tag| done.contains(&tag);
            views.choose(search(2), &node(9), (&mut among, known), is_done, START);
            among
        };
        // Another one is likely to see ten again of those that are left.
        assert_eq!(asked(39), [node(1)]);
        assert_eq!(asked(11), [1, 2].map(node));
    }

    #[test]
    fn one_that_was_not_asked_itself_is_asked_whatever_it_sees() {
        let (asked, _) = chosen(&views(), &[1, 2, 11, 12, 13, 14], START);
        assert_eq!(asked, [3, 4].map(node));
    }

    #[test]
    fn those_who_came_since_are_looked_through_after_a_while() {
        let (mut views, told) = (Views::default(), tags(search(1), &[11, 12]));
        let mut learn = |by, known: &[u8], now| {
            let known: Vec<NodeId> = known.iter().map(|number| node(*number)).collect();
            views.learn(node(by), (search(1), &told), (known.len(), known.iter()), now);
            views.views[&node(by)].nodes.len()
        };
        let many: Vec<u8> = (20..60).collect();
        let (before, after) = ([&many[..], &[11]].concat(), [&many[..], &[11, 12]].concat());
        let sees = [
            learn(1, &[11], START),
            learn(2, &before, START),
            learn(3, &after, START + KNOWN_FOR / 2),
            learn(4, &after, START + KNOWN_FOR),
        ];
        assert_eq!(sees, [1, 1, 1, 2], "one more of many is not looked for at once");
        assert_eq!(learn(5, &[12], START + KNOWN_FOR), 1, "but that there are far fewer is seen");
    }

    #[test]
    fn what_was_seen_long_ago_is_not_believed() {
        let all = [1, 2, 3, 11, 12, 13, 14];
        assert_eq!(chosen(&views(), &all, START).0, [node(4)]);
        assert_eq!(chosen(&views(), &all, START + VIEW_FOR).0, [1, 2, 3, 4].map(node));
    }

    #[test]
    fn what_is_known_is_bounded_and_the_oldest_is_forgotten() {
        let mut views = Views::default();
        let known = [node(200)];
        let told = tags(search(1), &[200]);
        for number in 0..=64 {
            let now = START + Duration::from_secs(number.into());
            views.learn(node(number), (search(1), &told), (known.len(), known.iter()), now);
        }
        assert_eq!(views.views.len(), MAX_VIEWS);
        assert!(!views.views.contains_key(&node(0)) && views.views.contains_key(&node(64)));
    }
}
