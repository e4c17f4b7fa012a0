//! Searches in graphs of supernodes.
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
    /// Members that are believed to be dead.
    missed: Vec<NodeId>,
    /// What some say that they have covered, whenever they look around.
    lies: BTreeMap<usize, Vec<Tag>>,
    /// Those of whom the searcher has no table.
    tableless: BTreeSet<usize>,
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
        let has = vec![false; count];
        let (missed, lies, tableless) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        Self { nodes, links, has, missed, lies, tableless }
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
        let passed_on_for = run.passed_on.entry(at).or_default();
        let has_room = passed_on_for.len() < 3 || passed_on_for.contains(&from);
        if hops == 0 || !has_room {
            return covered;
        }
        passed_on_for.insert(from);
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
                may_answer: &|node| self.has[index(node)] || self.tableless.contains(&index(node)),
                has_table: &|node| !self.tableless.contains(&index(node)),
                members: &|see| self.nodes[1..=known].iter().for_each(|node| see(node, 1)),
                missed: &|| self.missed.clone(),
                found: run.found.len(),
                wanted: wanted.saturating_sub(run.found.len()),
                is_waiting: false,
            });
            let Next::Ask(group, hops) = next else {
                run.end = Some(next);
                return (run, waves);
            };
            for (node, settled) in waves.settled(&group) {
                let done = settled.as_chunks().0.iter().copied().collect();
                let at = index(&node);
                let mut covered = self.ask(at, 0, hops, &done, &mut run);
                covered.remove(&at);
                waves.on_answered(QUERY.tag(&node));
                let mut tags: Vec<Tag> =
                    covered.into_iter().map(|at| QUERY.tag(&self.nodes[at])).collect();
                if let Some(lie) = self.lies.get(&at).filter(|_| hops > 0) {
                    tags.clone_from(lie);
                }
                tags.truncate([0, 64, 2_048][usize::from(hops)]);
                waves.on_told(&node, &tags);
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
    /// Those for whom each has passed it on.
    passed_on: BTreeMap<usize, BTreeSet<usize>>,
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
        missed: Vec::new(),
        lies: BTreeMap::new(),
        tableless: BTreeSet::new(),
    };
    let (run, waves) = graph.search(10, 3);
    assert_eq!((run.messages, run.end), (1, Some(Next::Covered)));
    assert_eq!((waves.supernodes(), waves.size()), (4, 4));
}

/// 950 supernodes, and 100 more that have died.
fn bereft() -> Graph {
    let mut rng = StdRng::seed_from_u64(45);
    let mut graph = Graph::new(950, 40, &mut rng);
    graph.nodes.extend((0..100).map(|_| NodeId::from_bytes(rng.random())));
    graph.links.extend((0..100).map(|_| BTreeSet::new()));
    graph.has.extend([false; 100]);
    graph
}

#[test]
fn members_that_died_do_not_make_a_search_go_on_for_ever() {
    let (run, waves) = bereft().search(10, 1_049);
    assert_eq!(run.end, Some(Next::Covered));
    assert!(run.messages < 500, "{}", run.messages);
    assert!(waves.is_short(), "not all of those known were covered");
}

#[test]
fn a_search_is_not_widened_for_members_that_are_missed_and_says_that_it_left_them_out() {
    let mut graph = bereft();
    let (unaware, _) = graph.search(10, 1_049);
    let (alone, waves) = graph.search(10, 949);
    assert!(!waves.is_short(), "nobody is missing");
    graph.missed = graph.nodes[950..].to_vec();
    let (aware, waves) = graph.search(10, 1_049);
    assert_eq!(aware.end, Some(Next::Covered));
    assert!(aware.messages <= alone.messages + 10, "{} {}", aware.messages, alone.messages);
    assert!(aware.messages < unaware.messages, "{} {}", aware.messages, unaware.messages);
    assert!(waves.is_short() && waves.size() == 1_050, "{}", waves.size());
}

#[test]
fn a_member_that_is_missed_and_answers_all_the_same_is_covered() {
    let mut graph = Graph::new(100, 40, &mut StdRng::seed_from_u64(48));
    graph.missed = graph.nodes[1..30].to_vec();
    let (run, waves) = graph.search(10, 99);
    assert_eq!((run.end, waves.is_short()), (Some(Next::Covered), false));
    assert_eq!(waves.supernodes(), 100);
}

#[test]
fn two_members_that_died_do_not_make_a_search_ask_everybody() {
    let mut rng = StdRng::seed_from_u64(48);
    let mut graph = Graph::new(200, 40, &mut rng);
    graph.nodes.extend((0..2).map(|_| NodeId::from_bytes(rng.random())));
    graph.links.extend((0..2).map(|_| BTreeSet::new()));
    graph.has.extend([false; 2]);
    let (run, waves) = graph.search(10, 201);
    assert_eq!(run.end, Some(Next::Covered));
    assert_eq!(waves.supernodes(), 200, "all that live were seen");
    assert!(run.messages < 100, "{}", run.messages);
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
        has_table: &|_| true,
        members: &|see| [silent, other].iter().for_each(|node| see(node, 1)),
        missed: &Vec::new,
        found: 0,
        wanted: 10,
        is_waiting: false,
    });
    assert!(matches!(next, Next::Ask(asked, 0) if asked == [silent]));
    waves.on_told(&other, &[id.tag(&silent), id.tag(&other)]);
    assert!(!waves.has_covered(&silent) && waves.has_covered(&other));
    waves.on_answered(id.tag(&silent));
    assert!(waves.has_covered(&silent));
}

/// What a search does next that has found nothing, waits for nobody and knows these members.
fn step(waves: &mut Waves, free: &[NodeId], members: &[NodeId]) -> Next {
    waves.next(&Outlook {
        free,
        may_answer: &|_| true,
        has_table: &|_| true,
        members: &|see| members.iter().for_each(|node| see(node, 1)),
        missed: &Vec::new,
        found: 0,
        wanted: 10,
        is_waiting: false,
    })
}

#[test]
fn a_search_is_not_widened_for_a_neighbour_that_it_has_waited_for_in_vain() {
    let [me, silent, other] = [1, 2, 3].map(|n| NodeId::from_bytes([n; 32]));
    let id = QueryId::from_bytes([7; 16]);
    let mut waves = Waves::new(id, &me, 2);
    let next = |waves: &mut Waves, free: &[NodeId]| step(waves, free, &[silent, other]);
    assert_eq!(next(&mut waves, &[silent, other]), Next::Ask(vec![silent, other], 0));
    waves.on_answered(id.tag(&other));
    waves.on_unanswered(&silent);
    assert_eq!(next(&mut waves, &[other]), Next::Ask(vec![other], 1), "what it sees");
    assert_eq!(next(&mut waves, &[other]), Next::Covered);
    assert!(waves.is_short(), "the report says so");
}

#[test]
fn a_neighbour_that_no_member_is_and_that_says_nothing_hides_no_member() {
    let [me, stranger, near, far] = [1, 2, 3, 4].map(|n| NodeId::from_bytes([n; 32]));
    let id = QueryId::from_bytes([7; 16]);
    let mut waves = Waves::new(id, &me, 2);
    let next = |waves: &mut Waves, free: &[NodeId]| step(waves, free, &[near, far]);
    assert_eq!(next(&mut waves, &[stranger, near]), Next::Ask(vec![stranger, near], 0));
    waves.on_answered(id.tag(&near));
    waves.on_unanswered(&stranger);
    assert_eq!(next(&mut waves, &[near]), Next::Ask(vec![near], 1), "what it sees");
    assert_eq!(next(&mut waves, &[near]), Next::Ask(vec![near], 2), "nobody has seen the last one");
}

fn found_in_spite_of_lies(
    numbers: (usize, usize, usize),
    lie: impl Fn(&Graph, usize) -> Vec<usize>,
) -> usize {
    found_in_spite_of_lies_and_silence(numbers, (0, 0), lie)
}

/// Of 100 searches for a single copy, those that find it though so many neighbours of the searcher say
/// of the holder, and of as many others as they like, that they are covered. Others have what else is
/// looked for: so many of all, evenly spread. So many neighbours, the liars first, have sent no table,
/// and the tables of so many after those say yes.
fn found_in_spite_of_lies_and_silence(
    (count, liars, others): (usize, usize, usize),
    (tableless, yes): (usize, usize),
    lie: impl Fn(&Graph, usize) -> Vec<usize>,
) -> usize {
    let mut rng = StdRng::seed_from_u64(49);
    let mut found = 0;
    for _ in 0..100 {
        let mut graph = Graph::new(count, 40, &mut rng);
        let near = graph.links[0].clone();
        let lying: Vec<usize> = near.iter().copied().take(liars).collect();
        // Nobody hides from those who ask it themselves.
        let hidden = |at: &usize| {
            !near.contains(at) && lying.iter().all(|liar| !graph.links[*liar].contains(at))
        };
        let holder = (1..count).rev().find(hidden).expect("a stranger");
        (1..count).filter(|at| at % (count / others.max(1)).max(2) == 1).take(others).for_each(
            |at| {
                graph.has[at] = true;
            },
        );
        graph.has[holder] = true;
        graph.tableless = near.iter().copied().take(tableless).collect();
        near.iter().skip(tableless).take(yes).for_each(|at| graph.has[*at] = true);
        let tag = |at: usize| QUERY.tag(&graph.nodes[at]);
        for liar in lying {
            let tags = [holder].into_iter().chain(lie(&graph, liar)).map(tag).collect();
            graph.lies.insert(liar, tags);
        }
        let (run, _) = graph.search(count, count - 1);
        found += usize::from(run.found.contains(&holder));
    }
    found
}

#[test]
fn a_neighbour_that_says_that_a_supernode_is_covered_does_not_hide_it() {
    let sees = |graph: &Graph, liar: usize| graph.links[liar].iter().copied().collect();
    let found = found_in_spite_of_lies((950, 1, 0), sees);
    assert!(found >= 97, "{found} of 100 beside one liar that tells what it sees");
    let found = found_in_spite_of_lies((950, 1, 0), |_, _| Vec::new());
    assert!(found >= 97, "{found} of 100 beside one liar that says no more than that");
    // One in fifty may have it: so most of what one alone has told is looked for by others.
    let found = found_in_spite_of_lies((950, 1, 15), sees);
    assert!(found >= 80, "{found} of 100 where 15 others have what is looked for");
    let found = found_in_spite_of_lies((60, 1, 0), |_, _| (1..60).collect());
    assert!(found >= 97, "{found} of 100 beside one liar that speaks for everybody");
    let found = found_in_spite_of_lies((950, 2, 0), |_, _| (1..950).collect());
    assert!(found >= 60, "{found} of 100 beside two liars that speak for everybody");
}

#[test]
fn neighbours_of_whom_no_table_is_known_do_not_help_a_liar() {
    let sees = |graph: &Graph, liar: usize| graph.links[liar].iter().copied().collect();
    for tableless in [4, 64] {
        let found = found_in_spite_of_lies_and_silence((950, 1, 0), (tableless, 0), sees);
        assert!(found >= 97, "{found} of 100 where {tableless} have sent none");
    }
    let found = found_in_spite_of_lies_and_silence((950, 1, 0), (0, 2), sees);
    assert!(found >= 97, "{found} of 100 where two tables say yes to everything");
}

#[test]
fn that_there_is_nothing_new_takes_the_word_of_three() {
    let mut rng = StdRng::seed_from_u64(52);
    let nodes: Vec<NodeId> = (0..600).map(|_| NodeId::from_bytes(rng.random())).collect();
    let mut waves = Waves::new(QUERY, &nodes[0], 2);
    let _ = step(&mut waves, &nodes[1..9], &nodes[1..]);
    let seen: Vec<Tag> = nodes[9..560].iter().map(|node| QUERY.tag(node)).collect();
    waves.on_told(&nodes[1], &seen);
    for teller in [2, 3] {
        if teller == 2 {
            let Next::Ask(..) = step(&mut waves, &nodes[1..9], &nodes[1..]) else {
                panic!("there are more")
            };
        }
        waves.on_told(&nodes[teller], &seen);
        assert!(!waves.brings_nothing_new(), "they may name what they were told of");
    }
    waves.on_told(&nodes[4], &seen);
    assert!(waves.brings_nothing_new());
}

#[test]
fn what_one_neighbour_has_told_is_left_to_its_word_only_once_nearly_all_were_seen() {
    let nodes: Vec<NodeId> = (0..100).map(|n| NodeId::from_bytes([n; 32])).collect();
    let (free, holder) = (&nodes[1..=3], QUERY.tag(&nodes[99]));
    let mut waves = Waves::new(QUERY, &nodes[0], 2);
    let next = |waves: &mut Waves| {
        waves.next(&Outlook {
            free,
            may_answer: &|_| false,
            has_table: &|_| true,
            members: &|see| nodes[1..].iter().for_each(|node| see(node, 1)),
            missed: &Vec::new,
            found: 0,
            wanted: 10,
            is_waiting: false,
        })
    };
    let Next::Ask(group, 1) = next(&mut waves) else { panic!("what they see") };
    let _ = waves.settled(&group);
    waves.on_told(&nodes[1], &[holder]);
    let Next::Ask(group, _) = next(&mut waves) else { panic!("there are more to be asked") };
    for (_, settled) in waves.settled(&group) {
        assert!(!settled.as_chunks().0.contains(&holder), "one of a hundred that one has told of");
    }
    // When the others have told of nearly all, nobody is told to look for that one.
    for teller in [2, 3] {
        let seen: Vec<Tag> = nodes[4..98].iter().map(|node| QUERY.tag(node)).collect();
        waves.on_told(&nodes[teller], &seen);
    }
    let _ = next(&mut waves);
    let settled = waves.settled(&nodes[3..=3]);
    assert!(settled[0].1.as_chunks().0.contains(&holder));
}

#[test]
fn one_answer_neither_ends_a_search_nor_makes_it_ask_everybody() {
    let mut graph = Graph::new(950, 40, &mut StdRng::seed_from_u64(50));
    let (honest, _) = graph.search(10, 949);
    let liar = *graph.links[0].first().expect("a neighbour");
    let mut rng = StdRng::seed_from_u64(51);
    graph.lies.insert(liar, (0..64).map(|_| rng.random()).collect());
    let (run, waves) = graph.search(10, 949);
    assert_eq!(run.end, Some(Next::Covered));
    assert!(run.messages < 2 * honest.messages, "{} {}", run.messages, honest.messages);
    assert!(waves.size() <= 951 && waves.supernodes() >= 949, "{}", waves.size());
    assert!(waves.made_up() >= 60);
    // The same known tag, again and again.
    let known = QUERY.tag(&graph.nodes[1]);
    graph.lies.insert(liar, vec![known; 2_048]);
    let (run, waves) = graph.search(10, 949);
    assert_eq!((run.end, waves.supernodes()), (Some(Next::Covered), 950));
}
