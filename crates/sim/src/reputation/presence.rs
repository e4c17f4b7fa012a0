//! Who is there when, and who leads meanwhile.

use crate::workload::{Churn, Nat, Workload};
use rand::Rng;
use std::collections::BTreeSet;

/// Supernodes in a thousand nodes *present*: 150 children each, filled to 70 %.
const SUPERNODES_PER_THOUSAND: usize = 10;

/// The fewest supernodes of a network.
const FEWEST: usize = 8;

/// A stretch of time in seconds since the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// A supernode's term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) node: u32,
    pub(super) span: Span,
}

/// The sessions of all nodes, and the terms of those that lead.
pub(super) struct Presence {
    sessions: Vec<Vec<Span>>,
    /// The places of supernodes, each with the terms that follow upon each other there.
    places: Vec<Vec<Term>>,
    /// The terms of each node.
    terms: Vec<Vec<Span>>,
}

impl Presence {
    /// Draws the sessions of all nodes of a workload for so many seconds. A place that falls free
    /// goes to the node that has been up for longest and can be reached, as an election by uptime
    /// would have it; it keeps it until its session ends.
    pub(super) fn new(workload: &Workload, end: u64, rng: &mut impl Rng) -> Self {
        let sessions: Vec<Vec<Span>> = (0..workload.nodes()).map(|_| sessions(end, rng)).collect();
        let mut moments: Vec<(u64, bool, u32)> = Vec::new();
        for (node, spans) in (0_u32..).zip(&sessions) {
            if workload.population.host(node).nat == Nat::Open {
                moments
                    .extend(spans.iter().flat_map(|s| [(s.from, true, node), (s.to, false, node)]));
            }
        }
        moments.sort_unstable();
        let present = sessions.iter().filter(|s| s.first().is_some_and(|s| s.from == 0)).count();
        let wanted = (present * SUPERNODES_PER_THOUSAND / 1_000).max(FEWEST);
        let (places, terms) = elect(&moments, wanted, sessions.len());
        Self { sessions, places, terms }
    }

    pub(super) fn sessions(&self, node: u32) -> &[Span] {
        &self.sessions[node as usize]
    }

    /// The terms of a node; none if it is no node of the workload.
    pub(super) fn terms(&self, node: u32) -> &[Span] {
        self.terms.get(node as usize).map_or(&[], Vec::as_slice)
    }

    /// How many supernodes there are at a time.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// Who leads at a place at that time.
    pub(super) fn leader(&self, place: usize, at: u64) -> Option<Term> {
        let terms = &self.places[place];
        let next = terms.partition_point(|term| term.span.from <= at);
        let term = terms[..next].last()?;
        (at < term.span.to).then_some(*term)
    }

    /// Whether a node is there.
    pub(super) fn is_present(&self, node: u32, at: u64) -> bool {
        let spans = self.sessions(node);
        let next = spans.partition_point(|span| span.from <= at);
        spans[..next].last().is_some_and(|span| at < span.to)
    }
}

fn sessions(end: u64, rng: &mut impl Rng) -> Vec<Span> {
    let churn = Churn::MEASURED;
    let (mut present, rest) = churn.at_start(rng);
    let mut from = 0;
    let mut to = rest.map_or(end, |rest| rest.as_secs());
    let mut spans = Vec::new();
    while from < end {
        let until = to.min(end);
        if present && until > from {
            spans.push(Span { from, to: until });
        }
        present = !present;
        from = to.max(from + 1);
        let lasts = if present { churn.session(rng) } else { Some(churn.absence(rng)) };
        to = lasts.map_or(end, |lasts| from.saturating_add(lasts.as_secs()));
    }
    spans
}

/// Fills the places as nodes come and go; `moments` are in the order of time.
fn elect(
    moments: &[(u64, bool, u32)],
    wanted: usize,
    nodes: usize,
) -> (Vec<Vec<Term>>, Vec<Vec<Span>>) {
    let mut places: Vec<Vec<Term>> = vec![Vec::new(); wanted];
    let mut terms = vec![Vec::new(); nodes];
    let mut waiting: BTreeSet<(u64, u32)> = BTreeSet::new();
    let mut since = vec![0; nodes];
    let mut place_of: Vec<Option<usize>> = vec![None; nodes];
    let mut free: Vec<usize> = (0..wanted).rev().collect();
    for &(at, comes, node) in moments {
        if comes {
            waiting.insert((at, node));
            since[node as usize] = at;
        } else if let Some(place) = place_of[node as usize].take() {
            if let Some(term) = places[place].last_mut() {
                term.span.to = at;
                terms[node as usize].push(term.span);
            }
            free.push(place);
        } else {
            waiting.remove(&(since[node as usize], node));
        }
        while let Some(place) = free.pop() {
            let Some((_, node)) = waiting.pop_first() else {
                free.push(place);
                break;
            };
            place_of[node as usize] = Some(place);
            let span = Span { from: at, to: u64::MAX };
            places[place].push(Term { node, span });
        }
    }
    (places, terms)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::workload;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn whoever_leads_is_there_and_can_be_reached() {
        let workload = Workload::new(&workload::Settings::default(), 500, 3).unwrap();
        let end = 10 * 86_400;
        let presence = Presence::new(&workload, end, &mut StdRng::seed_from_u64(3));
        let mut led = 0;
        for at in (0..end).step_by(7_200) {
            for place in 0..presence.places() {
                let Some(term) = presence.leader(place, at) else { continue };
                led += 1;
                assert!(presence.is_present(term.node, at));
                assert_eq!(workload.population.host(term.node).nat, Nat::Open);
            }
        }
        let all = presence.places() * (end as usize / 7_200);
        assert!(led * 100 >= all * 95, "{led} of {all}");
    }

    #[test]
    fn somewhat_less_than_a_third_of_all_nodes_are_there_at_a_time() {
        let workload = Workload::new(&workload::Settings::default(), 2_000, 4).unwrap();
        let presence = Presence::new(&workload, 5 * 86_400, &mut StdRng::seed_from_u64(4));
        for day in 0..5 {
            let present =
                (0..2_000).filter(|node| presence.is_present(*node, day * 86_400)).count();
            assert!((500..720).contains(&present), "{present}");
        }
    }
}
