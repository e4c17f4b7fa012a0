//! Who meets whom, and what is signed about it.

use super::names::Names;
use super::presence::{Presence, Span};
use crate::workload::Workload;
use rand::{Rng, RngExt};
use skein_overlay::reputation::formula::{Claim, Deed};
use std::collections::BTreeMap;

/// A day in seconds.
pub(super) const DAY: u64 = 86_400;

/// Supernodes that are asked by a node that looks for a parent.
const PROBES: usize = 5;

/// A parent and a standby.
const TIES: usize = 2;

/// A parent signs about so often; what it has seen since then is lost when the two part without a
/// word.
const VOUCHER_PERIOD: u64 = 20 * 60;

/// Other supernodes that a supernode stays linked with for a day. There are more, but a day counts
/// for three partners at most.
const NEIGHBOURS: usize = 6;

/// Downloads in an hour that somebody is there: some two a day.
const DOWNLOADS_PER_HOUR: f64 = 0.25;

/// So many holders of a content are tried.
const TRIES: usize = 5;

/// What others sign about one node: totals for each witness and day.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    seconds: BTreeMap<(u32, u32), u64>,
    bytes: BTreeMap<(u32, u32), u64>,
}

impl Totals {
    /// The claims that a witness has signed; the days are counted from `first`.
    pub(super) fn claims(&self, names: &Names, first: u32) -> Vec<Claim<u32>> {
        let claim = |node, day, deed| {
            let (witness, seniority) = names.at(node, day);
            Claim { witness, seniority, day: first + day, deed }
        };
        let time = self.seconds.iter().map(|(&(node, day), &seconds)| {
            let secs = u32::try_from(seconds.min(DAY)).unwrap_or(u32::MAX);
            claim(node, day, Deed::Connected { secs })
        });
        let bytes = self.bytes.iter();
        let bytes = bytes.map(|(&(node, day), &bytes)| claim(node, day, Deed::Sent { bytes }));
        time.chain(bytes).collect()
    }

    /// A tie with a supernode, from its first to its last signature.
    fn tied(&mut self, witness: u32, span: Span) {
        let signed = (span.to - span.from) / VOUCHER_PERIOD * VOUCHER_PERIOD;
        let (mut from, end) = (span.from, span.from + signed);
        while from < end {
            let midnight = (from / DAY + 1) * DAY;
            let to = end.min(midnight);
            *self.seconds.entry((witness, day_of(from))).or_default() += to - from;
            from = to;
        }
    }

    fn sent(&mut self, witness: u32, day: u32, bytes: u64) {
        *self.bytes.entry((witness, day)).or_default() += bytes;
    }
}

fn day_of(at: u64) -> u32 {
    u32::try_from(at / DAY).unwrap_or(u32::MAX)
}

/// The ties of a node in all its sessions: a parent and a standby while it is an ordinary one,
/// neighbours while it leads.
pub(super) fn ties(
    presence: &Presence,
    node: u32,
    sessions: &[Span],
    rng: &mut impl Rng,
) -> Totals {
    let mut totals = Totals::default();
    for session in sessions {
        let led =
            presence.terms(node).iter().find(|t| session.from <= t.from && t.to <= session.to);
        let ordinary = Span { from: session.from, to: led.map_or(session.to, |term| term.from) };
        attached(presence, node, ordinary, rng, &mut totals);
        if let Some(term) = led {
            linked(presence, node, *term, rng, &mut totals);
        }
    }
    totals
}

/// Keeps a parent and a standby: one that ends its term is replaced at once.
fn attached(presence: &Presence, node: u32, span: Span, rng: &mut impl Rng, totals: &mut Totals) {
    let mut ties: Vec<(u32, Span)> = Vec::new();
    let mut at = span.from;
    while at < span.to {
        while ties.len() < TIES
            && let Some(tie) = choose(presence, node, &ties, at, rng)
        {
            ties.push(tie);
        }
        let ends = ties.iter().map(|(_, tie)| tie.to).min();
        at = ends.unwrap_or(at + 60).min(span.to);
        ties.retain(|(witness, tie)| {
            let over = tie.to <= at || at == span.to;
            if over {
                totals.tied(*witness, Span { from: tie.from, to: at });
            }
            !over
        });
    }
}

/// The best of a few supernodes by a round trip that belongs to the pair, with the time from now
/// until its term ends.
fn choose(
    presence: &Presence,
    node: u32,
    ties: &[(u32, Span)],
    at: u64,
    rng: &mut impl Rng,
) -> Option<(u32, Span)> {
    (0..PROBES)
        .filter_map(|_| presence.leader(rng.random_range(0..presence.places()), at))
        .filter(|term| term.node != node && ties.iter().all(|(tied, _)| *tied != term.node))
        .min_by_key(|term| round_trip(node, term.node))
        .map(|term| (term.node, Span { from: at, to: term.span.to }))
}

/// A number that stays the same for a pair, as its distance does (the finaliser of splitmix64).
fn round_trip(a: u32, b: u32) -> u64 {
    let mut mixed = u64::from(a) << 32 | u64::from(b);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn linked(presence: &Presence, node: u32, term: Span, rng: &mut impl Rng, totals: &mut Totals) {
    let mut from = term.from;
    while from < term.to {
        let to = term.to.min((from / DAY + 1) * DAY);
        for _ in 0..NEIGHBOURS {
            let place = rng.random_range(0..presence.places());
            if let Some(other) = presence.leader(place, from)
                && other.node != node
            {
                totals.tied(other.node, Span { from, to: to.min(other.span.to) });
            }
        }
        from = to;
    }
}

/// Lets all nodes download what people ask for, and puts down what those sent that are watched:
/// the nodes below `watched.len()`.
pub(super) fn downloads(
    workload: &Workload,
    presence: &Presence,
    from: u64,
    watched: &mut [Totals],
    rng: &mut impl Rng,
) {
    for node in 0..workload.nodes() {
        for session in presence.sessions(node).iter().filter(|session| session.to > from) {
            let hours = (session.to - session.from) as f64 / 3_600.0;
            let expected = hours * DOWNLOADS_PER_HOUR;
            let mut count = expected as u64;
            count += u64::from(rng.random::<f64>() < expected.fract());
            for _ in 0..count {
                let at = rng.random_range(session.from..session.to);
                let content = workload.popular_search(rng).target;
                let holders = workload.holdings.holders(content);
                let source = (0..TRIES)
                    .map(|_| holders[rng.random_range(0..holders.len())])
                    .find(|source| *source != node && presence.is_present(*source, at));
                if let Some(source) = source
                    && let Some(totals) = watched.get_mut(source as usize)
                {
                    totals.sent(node, day_of(at), workload.catalogue.file(content).size);
                }
            }
        }
    }
}
