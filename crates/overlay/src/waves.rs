//! How the supernode where a search begins widens it, wave by wave.
//!
//! The waves are Fisk's dynamic querying ("Gnutella Dynamic Query Protocol", 2003) over query
//! routing tables: each asks as many as it takes for the results that are still missing, at the
//! rate at which those before brought some. With degree d, whoever is asked to look at its
//! neighbours' tables looks at d of S: n of them leave exp(-d·n/S) of all tables unseen. What was
//! seen comes back as tags, so that a search for something rare ends when all of the tables were
//! seen, and not sooner or later.
//!
//! When many supernodes die at once, nobody can cover them, and all know of them for some time yet.
//! A search is not widened for those that are missed already, nor for those that it has waited for
//! in vain; that they were left out is said at its end.

use crate::covered::{Covered, Word, number, population, tag};
use skein_proto::routing::SharedBytes;
use skein_proto::{NodeId, QueryId, Tag};
use std::collections::{BTreeMap, BTreeSet};

/// What may be left unseen of all supernodes at the end: one in so many.
const REST: f64 = 1_000.0;

/// Neighbours asked at first where nothing is known of how many have results.
const FIRST_GROUP: usize = 8;

/// Tags that must have come for their novelty to say that there is nothing new.
const ENOUGH_TAGS: u32 = 500;

/// How much of a wave may be asked twice, as a part of all: those who look at their neighbours'
/// tables at the same time do not know of each other. A wave of looks at x times all tables asks
/// x²/2 of those that are left twice; later ones leave alone who was asked before.
const OVERLAP: f64 = 0.05;

/// The same of those that are asked for results, where few tables speak of any: to look at a table twice
/// costs next to nothing, and fewer waves take less time.
const ASKED_TWICE: f64 = 0.003;

/// Where the supernodes that are known are fewer than this part of those that a search has seen,
/// others were not heard of, and how many there are must be guessed.
const KNOWN_SHARE: f64 = 0.98;

/// How much more a search may ask since the word of one neighbour is not enough, as a part of all
/// supernodes: as long as fewer may have an answer, nobody is told to leave one alone of which only
/// one neighbour has told, and so each of them is asked twice. Where more may have one this holds for
/// so many of them, drawn by their tags.
const AUDITED: f64 = 0.02;

/// What only one neighbour has told is not waited for to be confirmed any more where it is no more than
/// this part of those that are to be confirmed, less [`FEW`], or the others have seen each so often on
/// average that no more than this part is still unseen.
const HEARSAY: (f64, f64) = (0.05, 3.0);

/// Of a few supernodes one in twenty is one, which a liar may have chosen; and of a few tables that
/// speak of an answer all may be those of liars.
const FEW: f64 = 2.0;

/// How much one answer may add to the tags that are repeated since the last new one, as a part of all
/// supernodes: there is nothing new once several have said so, and one alone could name those that it
/// was told of.
const SAID_BY_ONE: f64 = 1.0 / 3.0;

/// Tags that fit beside a query.
const MAX_SETTLED: usize = 2_048;

/// Shows all supernodes that are known, one by one, with the nodes of whom each says that it holds
/// the metadata.
pub(crate) type Members<'a> = dyn Fn(&mut dyn FnMut(&NodeId, u32)) + 'a;

/// What a plan is made from.
pub(crate) struct Outlook<'a> {
    /// Neighbours that may be asked now.
    pub(crate) free: &'a [NodeId],
    /// Whether a neighbour's table does not exclude it, or is not known.
    pub(crate) may_answer: &'a dyn Fn(&NodeId) -> bool,
    /// Whether a neighbour's table is known.
    pub(crate) has_table: &'a dyn Fn(&NodeId) -> bool,
    /// All other supernodes that are known.
    pub(crate) members: &'a Members<'a>,
    /// Those of them that are likely to be dead.
    pub(crate) missed: &'a dyn Fn() -> Vec<NodeId>,
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
    /// Those that do not answer, and members that are likely to be dead. Others may have covered them
    /// all the same.
    silent: BTreeSet<Tag>,
    /// Whether more were left out than may be, those that do not answer included.
    is_short: bool,
    /// Tags that came before anyone passed the query on unfiltered, repeated ones included: how
    /// often they repeat tells how many supernodes there are.
    draws: u32,
    /// Of the present wave: tags, and new ones among them.
    wave: (u32, u32),
    /// Answers in it.
    answers: u32,
    /// The neighbours that have told of others.
    tellers: Vec<Tag>,
    /// The part of the neighbours whose tables do not exclude an answer.
    may_share: f64,
    /// The same, if so many say so that one or two cannot have made it up.
    sure_share: f64,
    /// Neighbours that their tables exclude, since that was last asked for.
    excluded: u64,
    /// Whether nearly all were seen, and little of it hangs on the word of one neighbour, as of the last
    /// look.
    is_confirmed: bool,
    /// Tags since the last new one.
    repeated: u32,
    /// How many supernodes there are, as far as is known.
    size: f64,
    /// How many there are by the tags drawn.
    estimate: f64,
    /// Supernodes known when this was first asked, this one included.
    known: Option<u32>,
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
            silent: BTreeSet::new(),
            is_short: false,
            draws: 1,
            wave: (0, 0),
            answers: 0,
            tellers: Vec::new(),
            may_share: 1.0,
            sure_share: 0.0,
            excluded: 0,
            is_confirmed: false,
            repeated: 0,
            size: 1.0,
            estimate: 1.0,
            known: None,
        }
    }

    /// One that was asked, or need not be.
    fn on_covered(&mut self, tag: Tag) {
        let is_new = self.covered.insert(tag);
        self.count(is_new);
    }

    fn count(&mut self, is_new: bool) {
        self.wave.0 += 1;
        self.wave.1 += u32::from(is_new);
        self.repeated = if is_new { 0 } else { self.repeated.saturating_add(1) };
        if self.hops <= 1 {
            self.draws += 1;
        }
    }

    /// One that was asked directly has answered.
    pub(crate) fn on_answered(&mut self, tag: Tag) {
        self.owing.remove(&tag);
        self.on_covered(tag);
    }

    /// One that was asked directly has not answered in time, or its link is gone.
    pub(crate) fn on_unanswered(&mut self, node: &NodeId) {
        self.silent.insert(self.id.tag(node));
    }

    /// One that was asked directly has not looked in its index: what others say of it counts again.
    pub(crate) fn on_refused(&mut self, node: &NodeId) {
        self.owing.remove(&self.id.tag(node));
    }

    /// Whether more of all supernodes were left out than may be, as of the last look.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Those that were asked, or need not be, as a neighbour says; each counts once.
    pub(crate) fn on_told(&mut self, teller: &NodeId, tags: &[Tag]) {
        let mut tags: Vec<u32> = tags.iter().copied().map(number).collect();
        sort_turned(&mut tags);
        tags.dedup();
        if tags.is_empty() {
            return;
        }
        self.answers += 1;
        let teller = self.id.tag(teller);
        let at = self.tellers.iter().position(|known| *known == teller).unwrap_or_else(|| {
            self.tellers.push(teller);
            self.tellers.len() - 1
        });
        // There are never so many neighbours that the last ones would share a number.
        let by = Word::try_from(at + 1).unwrap_or(Word::MAX / 2);
        let (mut before, news) = (self.repeated, self.wave.1);
        for told in tags {
            if !self.owing.contains(&tag(told)) {
                let is_new = self.covered.tell(tag(told), by);
                self.count(is_new);
            }
        }
        if self.wave.1 > news {
            before = 0;
        }
        let most = SAID_BY_ONE * self.size.max(f64::from(ENOUGH_TAGS));
        self.repeated = self.repeated.min(before.saturating_add(round(most.ceil())));
    }

    /// How many neighbours were not asked since their tables exclude them, each told of once.
    pub(crate) fn take_excluded(&mut self) -> u64 {
        std::mem::take(&mut self.excluded)
    }

    /// Tags that one neighbour has made up, as it seems.
    pub(crate) fn made_up(&self) -> u32 {
        self.covered.made_up()
    }

    /// Whether a supernode was asked, or its table excludes it.
    pub(crate) fn has_covered(&self, node: &NodeId) -> bool {
        self.covered.contains(self.id.tag(node))
    }

    /// The nodes of whom the supernodes covered hold the metadata, as those who are known have said.
    pub(crate) fn nodes(&self) -> u64 {
        self.covered.nodes()
    }

    /// The same of one supernode, if it is covered.
    pub(crate) fn nodes_of(&self, node: &NodeId) -> Option<u32> {
        self.covered.nodes_of(self.id.tag(node))
    }

    /// What each of these is to be told: the tags of those that nobody need ask any more. Where they
    /// do not fit into a message, each is told others: those whose tags follow its own.
    pub(crate) fn settled(&mut self, group: &[NodeId]) -> Vec<(NodeId, SharedBytes<6144>)> {
        // Where nearly all is confirmed, nobody need look for the rest of it.
        let audited = if self.is_confirmed { 0.0 } else { self.audited() };
        self.covered.lend(|number| f64::from(number) >= audited * f64::from(1 << 24));
        let owing: Vec<Tag> =
            self.owing.iter().copied().filter(|tag| !self.covered.contains(*tag)).collect();
        let room = MAX_SETTLED.saturating_sub(owing.len());
        let told = |from: usize| {
            let turned = self.covered.tags().skip(from).chain(self.covered.tags().take(from));
            let mut bytes = Vec::with_capacity(3 * (owing.len() + self.covered.len().min(room)));
            let tags = owing.iter().copied().take(MAX_SETTLED).chain(turned.take(room));
            tags.for_each(|tag| bytes.extend_from_slice(&tag));
            SharedBytes::new(bytes).unwrap_or_default()
        };
        if self.covered.tags().count() <= room {
            let all = told(0);
            return group.iter().map(|node| (*node, all.clone())).collect();
        }
        let after = |node: &NodeId| {
            let own = number(self.id.tag(node));
            self.covered.tags().position(|tag| number(tag) >= own).unwrap_or(0)
        };
        group.iter().map(|node| (*node, told(after(node)))).collect()
    }

    /// The part of those of whom one neighbour has told that others look at all the same.
    fn audited(&self) -> f64 {
        (AUDITED / self.sure_share).min(1.0)
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
            let seems_covered = left * REST <= self.size;
            // Of those that are lent it knows no more that one alone has told of them.
            let (part, often) = HEARSAY;
            let hearsay = (part * self.audited() * self.size - FEW).max(0.0);
            let is_doubtful = self.covered.is_doubtful(hearsay, often * self.size);
            self.is_confirmed = !is_doubtful && left <= part * self.size;
            let is_covered = seems_covered && !is_doubtful;
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
                if self.asked.is_empty() {
                    (self.may_share, self.sure_share) = shares_that_may_answer(outlook);
                }
                candidates.retain(|node| {
                    let may = (outlook.may_answer)(node);
                    if !may {
                        self.excluded += 1;
                        self.on_covered(self.id.tag(node));
                        self.asked.insert(*node, 0);
                    }
                    may
                });
            }
            let group = if self.hops == 1 && seems_covered {
                1 + usize::from(is_doubtful)
            } else {
                self.group(outlook, left)
            };
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
                self.answers = 0;
                return Next::Ask(candidates, self.hops);
            }
            if outlook.is_waiting && self.hops > 0 {
                // Who is slow may still bring what is missing, for less than a wider wave costs.
                return Next::Ask(Vec::new(), self.hops);
            }
            if self.hops >= self.max_hops || self.hops > 0 && seems_covered {
                // Nobody is left who could confirm it.
                return if seems_covered { Next::Covered } else { Next::TooFar };
            }
            self.hops += 1;
        }
    }

    /// Whether the last wave saw next to nothing that was not seen before, or several small ones
    /// nothing at all, though they saw as many as there are. Those that are still missing then are
    /// likelier gone than hidden: where supernodes come and go, one that is known has mostly just
    /// died, and the search for it would otherwise ask everybody.
    fn brings_nothing_new(&self) -> bool {
        let (tags, new) = self.wave;
        // One or two answers alone say little: they may be those of liars.
        let in_wave =
            tags >= ENOUGH_TAGS && self.answers > 2 && f64::from(new) * REST <= f64::from(tags);
        in_wave || self.repeated >= ENOUGH_TAGS && f64::from(self.repeated) >= self.size
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
            // Behind the neighbours those who look are most of what is asked.
            let overlap = match self.hops {
                1 => OVERLAP.max(ASKED_TWICE / self.may_share),
                _ => OVERLAP,
            };
            (REST * share).ln().min((2.0 * overlap / share).sqrt()) * self.size / reach
        };
        let group = by_results.min(by_tables);
        // Each of those that have their neighbours look asks many, most of them for the same.
        let group = if self.hops > 1 { group.round() } else { group.ceil() };
        // Between 1 and 4,096, so that nothing is lost.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let group = group.clamp(1.0, 4_096.0) as usize;
        group
    }

    /// Supernodes that may still be covered, as far as is known. Makes up its mind about how many
    /// there are in all: as many as are known, or, where more than those were seen, as many as the
    /// repeated tags speak for.
    fn left(&mut self, outlook: &Outlook<'_>) -> f64 {
        // All of them are looked at once: a search is over before there are many others.
        let id = self.id;
        if self.known.is_none() {
            self.silent.extend((outlook.missed)().iter().map(|node| id.tag(node)));
        }
        let covered = &mut self.covered;
        let known = *self.known.get_or_insert_with(|| {
            let mut members = Vec::new();
            (outlook.members)(&mut |node, nodes| members.push((id.tag(node), nodes)));
            let known = u32::try_from(members.len() + 1).unwrap_or(u32::MAX);
            covered.expect(members);
            known
        });
        let (known, missing) = (f64::from(known), to_f64(self.covered.missing()));
        let covered = self.covered.supernodes();
        if self.hops <= 1 {
            self.estimate = population(covered, f64::from(self.draws));
        }
        let explains = known >= covered * KNOWN_SHARE;
        self.size = if explains { known } else { known.max(self.estimate) }.max(covered);
        let unknown = if explains { 0.0 } else { (self.size - covered - missing).max(0.0) };
        self.is_short = (missing + unknown) * REST > self.size;
        let silent = || self.silent.iter().filter(|tag| !self.covered.contains(**tag));
        let members = to_f64(silent().filter(|tag| self.covered.misses(**tag)).count());
        let strangers = to_f64(silent().count()) - members;
        (missing - members).max(0.0) + (unknown - strangers).max(0.0)
    }
}

/// Sorts what mostly is in order but for where it begins.
fn sort_turned(tags: &mut [u32]) {
    if let Some(turn) = tags.iter().zip(tags.iter().skip(1)).position(|(tag, next)| tag > next) {
        tags.rotate_left(turn + 1);
        if !tags.is_sorted() {
            tags.sort_unstable();
        }
    }
}

/// The part of the neighbours whose tables do not exclude an answer, and the same of those whose tables
/// are known, if they are more than [`FEW`]: one that has sent none, or one that says yes to everything,
/// says nothing of the others by that.
fn shares_that_may_answer(outlook: &Outlook<'_>) -> (f64, f64) {
    let (mut may, mut known, mut known_may) = (0, 0, 0);
    for node in outlook.free {
        let (may_answer, has_table) = ((outlook.may_answer)(node), (outlook.has_table)(node));
        may += usize::from(may_answer);
        known += usize::from(has_table);
        known_may += usize::from(may_answer && has_table);
    }
    let share = |part: usize, all: usize| to_f64(part) / to_f64(all.max(1));
    let is_few = to_f64(known_may) <= FEW;
    (share(may, outlook.free.len()), if is_few { 0.0 } else { share(known_may, known) })
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
mod tests;
