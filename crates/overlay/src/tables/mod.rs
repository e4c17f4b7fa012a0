//! Query routing tables: what neighbours need not be asked.

mod filter;
mod own;

use crate::bucket::TokenBucket;
use crate::core::Core;
use crate::io::Now;
use filter::{Filter, Part, layout};
use own::OwnTable;
use skein_index::Index;
use skein_index::text::ParsedQuery;
use skein_proto::routing::{TABLE_LOG2_BITS, TableUpdate};
use skein_proto::{Instant, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// Updates that go to all neighbours: one each 10 s in the long run, since each is a message for
/// every neighbour; some at once after a quiet time, since a file whose words are not in the tables
/// yet is not found.
const UPDATES_BURST: u64 = 20;
const UPDATE_PAUSE: Duration = Duration::from_secs(10);

/// The shortest pause between two updates. The first one after a pause goes out at once, so that
/// what is published is found as soon as its owner hears that it is.
const GATHER: Duration = Duration::from_millis(500);

/// Messages about its table that a neighbour may send: the parts of the largest table some times
/// over, then ten times what an honest one sends.
const MESSAGES: (u64, u64) = (1, 160);

/// Bytes of all tables held: those of 50 neighbours as large as they may be.
const MAX_BYTES: usize = 64 << 20;

/// A table with more than this part of its bits set excludes next to nothing.
const OVERFULL: (u64, u64) = (3, 4);

/// What is held of a neighbour's table.
#[derive(Debug)]
struct Held {
    filter: Option<Filter>,
    /// The parts of a new table that have come so far.
    coming: Vec<Part>,
    coming_bits: u8,
    /// Whether the table has pairs of words.
    pairs: bool,
    nodes: u32,
    messages: TokenBucket,
}

/// This supernode's own table and those of its neighbours.
#[derive(Debug)]
pub(crate) struct Tables {
    /// Made when it is wanted first: an ordinary node has none.
    own: Option<Box<OwnTable>>,
    of: BTreeMap<NodeId, Held>,
    bytes: usize,
    told_nodes: u32,
    next_update: Instant,
    /// When there is something to look at, as far as is known.
    wake: Option<Instant>,
    /// Updates that may be sent at once.
    updates: u64,
    updates_filled: Instant,
}

/// What every match of a query has, as tables know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The hashes of words and beginnings.
    words: Vec<u64>,
    /// The hashes of pairs of them.
    pairs: Vec<u64>,
}

impl Keys {
    pub(crate) fn of(query: &ParsedQuery) -> Self {
        Self { words: query.required_keys().collect(), pairs: query.required_pairs() }
    }

    /// Whether no table excludes anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

/// What a neighbour's table makes of it.
enum Verdict {
    Sound,
    /// It is of no use, but nobody's fault.
    Useless,
    Broken,
}

impl Tables {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            own: None,
            of: BTreeMap::new(),
            bytes: 0,
            told_nodes: 0,
            next_update: now,
            wake: None,
            updates: UPDATES_BURST,
            updates_filled: now,
        }
    }

    /// A neighbour is linked: it gets the table.
    pub(crate) fn on_linked(&mut self, core: &mut Core, peer: NodeId, now: Instant) {
        self.of.entry(peer).or_insert_with(|| Held {
            filter: None,
            coming: Vec::new(),
            coming_bits: 0,
            pairs: false,
            nodes: 0,
            messages: TokenBucket::new(MESSAGES.0, MESSAGES.1, now),
        });
        for update in own(&mut self.own).whole(self.told_nodes) {
            core.counters.tables_sent += 1;
            core.send(peer, update);
        }
    }

    /// A neighbour is lost.
    pub(crate) fn on_lost(&mut self, peer: &NodeId) {
        if let Some(held) = self.of.remove(peer) {
            self.bytes -= held.bytes();
        }
    }

    /// A neighbour tells of its table. Answers whether that was by the rules.
    #[must_use]
    pub(crate) fn on_update(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        update: TableUpdate,
        now: Instant,
    ) -> bool {
        let Some(held) = self.of.get_mut(&peer) else { return true };
        let before = held.bytes();
        let in_time = held.messages.take(now);
        let verdict = if in_time { held.take_in(update) } else { Verdict::Useless };
        let full = self.bytes - before + held.bytes() > MAX_BYTES;
        if full || !matches!(verdict, Verdict::Sound) {
            core.counters.tables_refused += 1;
            held.filter = None;
            held.coming = Vec::new();
        } else {
            core.counters.tables_taken += 1;
        }
        self.bytes = self.bytes - before + held.bytes();
        !matches!(verdict, Verdict::Broken)
    }

    /// Tells the neighbours what has changed in this supernode's own table.
    pub(crate) fn step(
        &mut self,
        core: &mut Core,
        index: &mut Index,
        nodes: u32,
        neighbours: impl Iterator<Item = NodeId>,
        now: Now,
    ) {
        let now = now.instant;
        if now < self.next_update {
            return;
        }
        self.next_update = now + GATHER;
        self.wake = None;
        while self.updates < UPDATES_BURST && now.since(self.updates_filled) >= UPDATE_PAUSE {
            self.updates += 1;
            self.updates_filled = self.updates_filled + UPDATE_PAUSE;
        }
        if self.updates == UPDATES_BURST {
            self.updates_filled = now;
        }
        if self.updates == 0 {
            self.next_update = self.updates_filled + UPDATE_PAUSE;
            self.wake = Some(self.next_update);
            return;
        }
        let own = own(&mut self.own);
        own.follow(index);
        if !own.has_news() && nodes == self.told_nodes {
            return;
        }
        self.updates -= 1;
        self.told_nodes = nodes;
        let news = own.take_news(nodes);
        for peer in neighbours {
            for update in &news {
                core.counters.tables_sent += 1;
                core.send(peer, update.clone());
            }
        }
    }

    /// The index has changed.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.wake.get_or_insert(self.next_update.max(now));
    }

    /// When [`Tables::step`] has something to look at.
    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.wake
    }

    /// Whether a neighbour may have what has all of these keys: its table does not exclude it, or
    /// is not known.
    pub(crate) fn may_answer(&self, peer: &NodeId, keys: &Keys) -> bool {
        let Some(held) = self.of.get(peer) else { return true };
        let Some(filter) = &held.filter else { return true };
        let has = |key: &u64| filter.may_have(*key);
        // Pairs are rarer than words: one that is missing is found sooner, and each look at a table is
        // one at memory that nobody has looked at lately.
        (!held.pairs || keys.pairs.iter().all(has)) && keys.words.iter().all(has)
    }

    /// Whether a neighbour's table is known.
    pub(crate) fn is_known(&self, peer: &NodeId) -> bool {
        self.of.get(peer).is_some_and(|held| held.filter.is_some())
    }

    /// Nodes whose metadata the neighbours' indexes hold, as they last said.
    pub(crate) fn told_nodes(&self) -> impl Iterator<Item = (NodeId, u32)> + '_ {
        let known = self.of.iter().filter(|(_, held)| held.filter.is_some());
        known.map(|(node, held)| (*node, held.nodes))
    }

    /// Bytes that the neighbours' tables take, as if nothing were shared.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// The own table's bits that are set, and all of them.
    pub(crate) fn own_fill(&self) -> (u64, u64) {
        self.own.as_ref().map_or((0, 0), |own| own.fill())
    }
}

fn own(own: &mut Option<Box<OwnTable>>) -> &mut OwnTable {
    own.get_or_insert_with(|| Box::new(OwnTable::new()))
}

impl Held {
    fn bytes(&self) -> usize {
        let coming: usize = self.coming.iter().map(|part| part.len()).sum();
        self.filter.as_ref().map_or(0, Filter::bytes) + coming
    }

    fn take_in(&mut self, update: TableUpdate) -> Verdict {
        match update {
            TableUpdate::Whole { log2_bits, part, bits, nodes, pairs } => {
                self.nodes = nodes;
                if part == 0 {
                    self.coming = Vec::new();
                    self.coming_bits = log2_bits;
                }
                let (part_bytes, count) = layout(log2_bits);
                if !TABLE_LOG2_BITS.contains(&log2_bits)
                    || log2_bits != self.coming_bits
                    || usize::from(part) != self.coming.len()
                    || bits.len() != part_bytes
                {
                    return Verdict::Broken;
                }
                self.coming.push(bits);
                if self.coming.len() < count {
                    return Verdict::Sound;
                }
                self.filter = Filter::from_parts(log2_bits, std::mem::take(&mut self.coming));
                self.pairs = pairs;
                let overfull = self
                    .filter
                    .as_ref()
                    .is_some_and(|filter| filter.ones() * OVERFULL.1 > filter.bits() * OVERFULL.0);
                if overfull { Verdict::Useless } else { Verdict::Sound }
            }
            TableUpdate::Flips { flips, nodes } => {
                self.nodes = nodes;
                // It was dropped for a reason of this side: there is nothing to keep in step.
                let Some(filter) = &mut self.filter else { return Verdict::Sound };
                if filter.take_flips(&flips) { Verdict::Sound } else { Verdict::Broken }
            }
        }
    }
}
