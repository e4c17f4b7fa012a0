//! Query routing tables: what neighbours need not be asked.

mod counted;
mod filter;
mod flips;
mod own;
mod remake;
mod verdicts;

use crate::bucket::TokenBucket;
use crate::core::Core;
use crate::io::Now;
use filter::{Filter, Part, layout};
use own::OwnTable;
use skein_index::Index;
use skein_index::text::ParsedQuery;
use skein_proto::routing::{TABLE_HASHES, TABLE_LOG2_BITS, TableUpdate};
use skein_proto::{Instant, NodeId};
use std::time::Duration;
use verdicts::Verdicts;

/// Updates that go to all neighbours: one each 10 s in the long run, since each is a message for
/// every neighbour; some at once after a quiet time, since a file whose words are not in the tables
/// yet is not found.
const UPDATES_BURST: u64 = 20;
const UPDATE_PAUSE: Duration = Duration::from_secs(10);

/// The shortest pause between two updates with words. The first one after a pause goes out at once,
/// so that what is published then is found as soon as its owner hears that it is.
const GATHER: Duration = Duration::from_millis(500);

/// Between two pieces of a table that is made anew: 450,000 keys are in it after some seconds, in
/// which a twentieth of a core is busy with them.
const REMAKE_PAUSE: Duration = Duration::from_millis(20);

/// Messages about its table that a neighbour may send: the parts of the largest table some times
/// over, then ten times what an honest one sends.
const MESSAGES: (u64, u64) = (1, 160);

/// Bytes of all tables held: those of 50 neighbours as large as they may be.
const MAX_BYTES: usize = 64 << 20;

/// Nodes that one supernode can hold the metadata of, itself among them: as many children as it can
/// be told to take. What one says beyond that is not believed.
pub(crate) const MOST_NODES: u32 = 100_001;

/// A neighbour's table.
#[derive(Debug)]
struct Held {
    filter: Filter,
    /// Whether the table has pairs of words.
    pairs: bool,
}

/// What is known beside a neighbour's table.
#[derive(Debug)]
struct Account {
    /// The parts of a new table that have come so far.
    coming: Vec<Part>,
    coming_bits: u8,
    /// Whether a part was dropped for a reason of this side: those that follow are of no use, and no
    /// fault of the sender's, who does not know.
    skipping: bool,
    nodes: u32,
    messages: TokenBucket,
}

/// This supernode's own table and those of its neighbours.
#[derive(Debug)]
pub(crate) struct Tables {
    /// Made when it is wanted first: an ordinary node has none.
    own: Option<Box<OwnTable>>,
    /// The neighbours, by ascending id; in the same order what is held of the tables of each. Each
    /// query goes through these two lists, so they hold nothing else.
    neighbours: Vec<NodeId>,
    held: Vec<Option<Held>>,
    accounts: Vec<Account>,
    bytes: usize,
    told_nodes: u32,
    /// Before this no words are told.
    next_update: Instant,
    /// Before this nobody is told of nothing but another number of nodes.
    next_count: Instant,
    /// When there is something to look at, as far as is known.
    wake: Option<Instant>,
    /// Updates that may be sent at once.
    updates: u64,
    updates_filled: Instant,
}

/// What every match of a query has, as tables know it.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The hashes of words and beginnings.
    words: Vec<u64>,
    /// The hashes of pairs of them.
    pairs: Vec<u64>,
    /// What tables were found to say.
    verdicts: Verdicts,
}

impl Keys {
    pub(crate) fn of(query: &ParsedQuery) -> Self {
        let (words, pairs) = (query.required_keys().collect(), query.required_pairs());
        Self { words, pairs, verdicts: Verdicts::default() }
    }

    /// Others in this process look for the same: from now on it is kept what tables say.
    pub(crate) fn are_shared(&self) {
        self.verdicts.keep();
    }

    /// Whether no table excludes anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Those that are looked for in a table that has pairs or not. Pairs are rarer than words: one
    /// that is missing is found sooner, and each look at a table is one at memory that nobody has
    /// looked at lately.
    fn in_table(&self, pairs: bool) -> impl Iterator<Item = u64> {
        let some: &[u64] = if pairs { &self.pairs } else { &[] };
        some.iter().chain(&self.words).copied()
    }

    /// Whether a table, which has pairs or not, may have all of them.
    fn may_be_in(&self, table: &Filter, pairs: bool) -> bool {
        if let Some(may) = self.verdicts.get(table.number(), pairs) {
            return may;
        }
        let may = self.in_table(pairs).all(|key| table.may_have(key));
        self.verdicts.note(table.number(), pairs, may);
        may
    }

    /// The same of many tables, bit by bit in all of them that have had all bits so far: looks at
    /// memory that do not wait for each other are made side by side.
    fn may_be_in_each(&self, tables: &[Option<&Held>]) -> Vec<bool> {
        let mut may = vec![true; tables.len()];
        let mut unknown: Vec<(usize, &Held)> = Vec::new();
        for (at, (held, may)) in tables.iter().zip(&mut may).enumerate() {
            let Some(held) = held else { continue };
            match self.verdicts.get(held.filter.number(), held.pairs) {
                Some(known) => *may = known,
                None => unknown.push((at, held)),
            }
        }
        if !unknown.is_empty() {
            self.look_in(unknown.clone(), &mut may);
        }
        for (at, held) in unknown {
            let may = may.get(at).copied().unwrap_or(true);
            self.verdicts.note(held.filter.number(), held.pairs, may);
        }
        may
    }

    /// Says of tables, each with its number in the list, whether they may have all of the keys.
    fn look_in(&self, mut open: Vec<(usize, &Held)>, may: &mut [bool]) {
        let mut bits = Vec::with_capacity(open.len());
        for number in 0..self.pairs.len() + self.words.len() {
            for hash in 0..TABLE_HASHES {
                bits.clear();
                // A table without pairs has fewer keys to be looked for than one with them.
                bits.extend(open.iter().map(|(_, held)| {
                    let key = self.in_table(held.pairs).nth(number);
                    key.is_none_or(|key| held.filter.has_bit_of(key, hash))
                }));
                let mut bits = bits.iter();
                open.retain(|(at, _)| {
                    let has = bits.next().copied().unwrap_or(true);
                    if let Some(may) = may.get_mut(*at) {
                        *may = has;
                    }
                    has
                });
                if open.is_empty() {
                    return;
                }
            }
        }
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
            neighbours: Vec::new(),
            held: Vec::new(),
            accounts: Vec::new(),
            bytes: 0,
            told_nodes: 0,
            next_update: now,
            next_count: now,
            wake: None,
            updates: UPDATES_BURST,
            updates_filled: now,
        }
    }

    /// A neighbour is linked: it gets the table.
    pub(crate) fn on_linked(
        &mut self,
        core: &mut Core,
        index: &mut Index,
        peer: NodeId,
        now: Instant,
    ) {
        if let Err(at) = self.find(&peer) {
            self.neighbours.insert(at, peer);
            self.held.insert(at, None);
            self.accounts.insert(at, Account::new(now));
        }
        let own = own(&mut self.own);
        own.follow(index, now);
        for update in own.whole(self.told_nodes) {
            core.counters.tables_sent += 1;
            core.send(peer, update);
        }
    }

    /// A neighbour is lost.
    pub(crate) fn on_lost(&mut self, peer: &NodeId) {
        if let Ok(at) = self.find(peer) {
            self.bytes -= self.bytes_at(at);
            self.neighbours.remove(at);
            self.held.remove(at);
            self.accounts.remove(at);
        }
    }

    fn find(&self, peer: &NodeId) -> Result<usize, usize> {
        self.neighbours.binary_search(peer)
    }

    fn held(&self, peer: &NodeId) -> Option<&Held> {
        self.held.get(self.find(peer).ok()?)?.as_ref()
    }

    /// Bytes that are held of the neighbour at this place.
    fn bytes_at(&self, at: usize) -> usize {
        let held = self.held.get(at).and_then(Option::as_ref);
        let coming = self.accounts.get(at).map_or(&[][..], |account| &account.coming);
        held.map_or(0, |held| held.filter.bytes())
            + coming.iter().map(|part| part.len()).sum::<usize>()
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
        let Ok(at) = self.find(&peer) else { return true };
        let before = self.bytes_at(at);
        let (Some(held), Some(account)) = (self.held.get_mut(at), self.accounts.get_mut(at)) else {
            return true;
        };
        let in_time = account.messages.take(now);
        let verdict = if in_time { take_in(held, account, update) } else { Verdict::Useless };
        let full = self.bytes - before + self.bytes_at(at) > MAX_BYTES;
        if full || !matches!(verdict, Verdict::Sound) {
            core.counters.tables_refused += 1;
            if let (Some(held), Some(account)) = (self.held.get_mut(at), self.accounts.get_mut(at))
            {
                *held = None;
                account.coming = Vec::new();
                account.skipping = true;
            }
        } else {
            core.counters.tables_taken += 1;
        }
        self.bytes = self.bytes - before + self.bytes_at(at);
        !matches!(verdict, Verdict::Broken)
    }

    /// Brings this supernode's own table up to date, and tells the neighbours what has changed in it.
    pub(crate) fn step(
        &mut self,
        core: &mut Core,
        index: &mut Index,
        nodes: u32,
        neighbours: impl Iterator<Item = NodeId>,
        now: Now,
    ) {
        let now = now.instant;
        let table = own(&mut self.own);
        // At each occasion, so that there is never much of it.
        if now >= self.next_update || !index.is_vocabulary_told() || table.is_remaking() {
            table.follow(index, now);
        }
        let is_remaking = table.is_remaking();
        if now >= self.next_update {
            self.tell(core, nodes, neighbours, now);
        } else if self.wake.is_some_and(|wake| wake <= now) {
            self.wake = Some(self.next_update);
        }
        if is_remaking {
            let next = now + REMAKE_PAUSE;
            self.wake = Some(self.wake.map_or(next, |wake| wake.min(next)));
        }
    }

    fn tell(
        &mut self,
        core: &mut Core,
        nodes: u32,
        neighbours: impl Iterator<Item = NodeId>,
        now: Instant,
    ) {
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
        own.settle();
        if !own.has_news() {
            if nodes == self.told_nodes {
                return;
            }
            if now < self.next_count {
                self.wake = Some(self.next_count);
                return;
            }
        }
        // Neither a look in vain nor a mere count may hold up the next words.
        if own.has_news() {
            self.next_update = now + GATHER;
        }
        self.next_count = now + GATHER;
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
        self.held(peer).is_none_or(|held| keys.may_be_in(&held.filter, held.pairs))
    }

    /// Which of these neighbours, given by ascending id, may have what has all of these keys.
    pub(crate) fn may_answer_of(&self, peers: &[NodeId], keys: &Keys) -> Vec<bool> {
        let mut known = self.neighbours.iter().zip(&self.held).peekable();
        let tables: Vec<Option<&Held>> = peers
            .iter()
            .map(|peer| {
                while known.next_if(|(neighbour, _)| *neighbour < peer).is_some() {}
                known.next_if(|(neighbour, _)| *neighbour == peer)?.1.as_ref()
            })
            .collect();
        keys.may_be_in_each(&tables)
    }

    /// Whether nothing in this supernode's own index, which is given, has all of these keys. Most of
    /// those who are asked what their neighbours have do not have anything themselves, and see it
    /// here sooner than in the index.
    pub(crate) fn own_excludes(&self, index: &Index, keys: &Keys) -> bool {
        self.own.as_ref().is_some_and(|own| own.excludes(index, keys))
    }

    /// Whether a neighbour's table is known.
    pub(crate) fn is_known(&self, peer: &NodeId) -> bool {
        self.held(peer).is_some()
    }

    /// Nodes whose metadata the neighbours' indexes hold, as they last said.
    pub(crate) fn told_nodes(&self) -> impl Iterator<Item = (NodeId, u32)> + '_ {
        let all = self.neighbours.iter().zip(&self.held).zip(&self.accounts);
        all.filter(|((_, held), _)| held.is_some())
            .map(|((node, _), account)| (*node, account.nodes))
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

impl Account {
    fn new(now: Instant) -> Self {
        Self {
            coming: Vec::new(),
            coming_bits: 0,
            skipping: false,
            nodes: 0,
            messages: TokenBucket::new(MESSAGES.0, MESSAGES.1, now),
        }
    }
}

fn take_in(held: &mut Option<Held>, account: &mut Account, update: TableUpdate) -> Verdict {
    match update {
        TableUpdate::Whole { log2_bits, part, bits, nodes, pairs } => {
            account.nodes = nodes.min(MOST_NODES);
            if part == 0 {
                account.coming = Vec::new();
                account.coming_bits = log2_bits;
                account.skipping = false;
            }
            if account.skipping {
                return Verdict::Useless;
            }
            let (part_bytes, count) = layout(log2_bits);
            if !TABLE_LOG2_BITS.contains(&log2_bits)
                || log2_bits != account.coming_bits
                || usize::from(part) != account.coming.len()
                || bits.len() != part_bytes
            {
                return Verdict::Broken;
            }
            account.coming.push(bits);
            if account.coming.len() < count {
                return Verdict::Sound;
            }
            let filter = Filter::from_parts(log2_bits, std::mem::take(&mut account.coming));
            *held = filter.map(|filter| Held { filter, pairs });
            of_use(held.as_ref())
        }
        TableUpdate::Flips { flips, nodes } => {
            account.nodes = nodes.min(MOST_NODES);
            // It was dropped for a reason of this side: there is nothing to keep in step.
            let Some(held) = held else { return Verdict::Sound };
            if held.filter.take_flips(&flips) { of_use(Some(held)) } else { Verdict::Broken }
        }
    }
}

fn of_use(held: Option<&Held>) -> Verdict {
    let is_overfull = held.is_some_and(|held| held.filter.is_overfull());
    if is_overfull { Verdict::Useless } else { Verdict::Sound }
}

#[cfg(test)]
mod tests;
