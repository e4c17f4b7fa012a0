//! The table of this supernode's own index, and what its neighbours were told of it.

use super::Keys;
use super::counted::Counted;
use super::filter::Filter;
use super::flips::write_flips;
use super::remake::Remake;
use skein_index::{Index, VocabularyChanges};
use skein_proto::Instant;
use skein_proto::routing::{SharedBytes, TABLE_LOG2_BITS, TableUpdate};
use std::time::Duration;

/// Bits for each key below which the table is doubled: with six hashes 0.84 % of the words that are
/// not there seem to be there at 10 bits a key, and 0.03 % right after doubling.
const MIN_BITS_PER_KEY: u64 = 10;

/// Bits for each key above which it is halved: far from the other bound, so that a vocabulary that
/// goes up and down does not send the whole table each time.
const MAX_BITS_PER_KEY: u64 = 40;

/// How long it must have been too large before it is halved: all words are gone through then, and all
/// neighbours are sent the whole of it, so that nobody who brings words and takes them back again may
/// cause that often.
const SHRINK_AFTER: Duration = Duration::from_secs(10 * 60);

/// Keys for each word, at most and as reckoned where nothing else is known yet: the word and its
/// beginnings, of which it has the shorter ones in common with others.
const MOST: u64 = 9;
const USUAL: u64 = 5;

/// The table of this supernode's own index.
#[derive(Debug)]
pub(crate) struct OwnTable {
    table: Counted,
    /// What the neighbours have.
    told: Filter,
    /// Whether the table may differ from that.
    has_changed: bool,
    /// Whether they need the whole of it.
    whole: bool,
    /// Whether pairs of words are in it.
    pairs: bool,
    /// Since when it is larger than it need be.
    large_since: Option<Instant>,
    /// The one that is to take its place. Until then this one goes on being kept in step.
    remake: Option<Box<Remake>>,
    /// Whether all is in it that is in the index: nothing is told before.
    is_ready: bool,
}

impl OwnTable {
    pub(crate) fn new() -> Self {
        let told = Filter::empty(*TABLE_LOG2_BITS.start());
        Self {
            table: Counted::new(told.log2_bits()),
            told,
            has_changed: false,
            whole: false,
            pairs: true,
            large_since: None,
            remake: None,
            is_ready: false,
        }
    }

    /// Takes in what has changed in the index, and goes on by a piece with what is to be made anew.
    pub(crate) fn follow(&mut self, index: &mut Index, now: Instant) {
        let changes = index.take_vocabulary_changes();
        if !changes.is_empty() {
            self.take_in(index, &changes);
        }
        if self.remake.is_none()
            && let Some(log2_bits) = self.next_size(index, now)
        {
            self.begin(index, log2_bits, self.pairs);
        }
        if let Some(remake) = &mut self.remake
            && remake.go_on()
            && let Some(remake) = self.remake.take()
        {
            self.pairs = remake.has_pairs();
            self.table = remake.into_table();
            self.told = self.table.filter();
            (self.has_changed, self.whole, self.is_ready) = (false, true, true);
            if let Some(log2_bits) = self.next_size(index, now) {
                self.begin(index, log2_bits, self.pairs);
            }
        }
    }

    fn take_in(&mut self, index: &Index, changes: &VocabularyChanges) {
        if changes.incomplete {
            let is_empty = index.words() == 0;
            if is_empty && !self.is_ready {
                (self.pairs, self.is_ready) = (changes.pairs, true);
                return;
            }
            // Pairs that are not counted any more, or not from their first document on, tell nothing.
            self.whole |= self.pairs && self.is_ready;
            self.pairs = false;
            let keys = if self.is_ready { self.keys(index) } else { index.words() as u64 * USUAL };
            self.begin(index, fitting(keys, self.table.log2_bits()), changes.pairs);
        } else if let Some(remake) = &mut self.remake {
            remake.note(changes);
        } else {
            let new = changes.appeared.chunk_by(|a, b| a == b).count()
                + changes.pairs_appeared.chunk_by(|a, b| a == b).count();
            // What would not fit by far need not come in at all.
            let log2_bits = fitting(self.table.keys() + new as u64, self.table.log2_bits());
            if log2_bits > self.table.log2_bits() + 1 {
                self.begin(index, log2_bits, self.pairs);
            }
        }
        let pairs = |list| if self.pairs { list } else { &[][..] };
        let gone = [&changes.vanished, pairs(&changes.pairs_vanished)];
        let new = [&changes.appeared, pairs(&changes.pairs_appeared)];
        for key in gone.into_iter().flatten() {
            self.has_changed |= self.table.remove(*key);
        }
        for key in new.into_iter().flatten() {
            self.has_changed |= self.table.add(*key);
        }
    }

    /// Begins to make it anew.
    fn begin(&mut self, index: &Index, log2_bits: u8, pairs: bool) {
        self.remake = Some(Box::new(Remake::new(index, log2_bits, pairs)));
        self.large_since = None;
    }

    /// Whether it is being made anew, so that [`OwnTable::follow`] has something to do.
    pub(crate) const fn is_remaking(&self) -> bool {
        self.remake.is_some()
    }

    /// About how many different keys it has: bits that stay when their words have gone do not count,
    /// where there are so few words left.
    fn keys(&self, index: &Index) -> u64 {
        let words = index.words() as u64;
        let pairs = if self.pairs { words.saturating_mul(words) / 2 } else { 0 };
        self.table.keys().min((words * MOST).saturating_add(pairs))
    }

    /// The size that it is to have, if that is another one.
    fn next_size(&mut self, index: &Index, now: Instant) -> Option<u8> {
        let current = self.table.log2_bits();
        let fitting = fitting(self.keys(index), current);
        if fitting >= current {
            self.large_since = None;
            return Some(fitting).filter(|fitting| *fitting > current);
        }
        let since = *self.large_since.get_or_insert(now);
        (now.since(since) >= SHRINK_AFTER).then_some(fitting)
    }

    /// Whether nothing in the index has all of these keys, as far as this table tells. It tells nothing
    /// while it is behind the index.
    pub(crate) fn excludes(&self, index: &Index, keys: &Keys) -> bool {
        let is_in_step = self.is_ready && !self.has_news() && index.is_vocabulary_told();
        is_in_step && !keys.may_be_in(&self.told, self.pairs)
    }

    /// Bits that are set, of how many; for people.
    pub(crate) fn fill(&self) -> (u64, u64) {
        (self.told.ones(), self.told.bits())
    }

    /// Looks whether what has changed is as it was told, by now.
    pub(crate) fn settle(&mut self) {
        self.has_changed = self.has_changed && !self.table.differences(&self.told).is_empty();
    }

    /// Whether there may be something to tell.
    pub(crate) const fn has_news(&self) -> bool {
        self.is_ready && (self.whole || self.has_changed)
    }

    /// What brings those up to date who have what was told before.
    pub(crate) fn take_news(&mut self, nodes: u32) -> Vec<TableUpdate> {
        if !self.is_ready {
            return Vec::new();
        }
        let flips = match std::mem::take(&mut self.has_changed) {
            true => self.table.differences(&self.told),
            false => Vec::new(),
        };
        // A flip takes one to three bytes.
        let many = flips.len() as u64 * 2 > self.told.bits() / 8;
        if std::mem::take(&mut self.whole) || many {
            self.told.flip(&flips);
            return self.whole(nodes);
        }
        write_flips(&flips)
            .into_iter()
            .filter_map(|bytes| SharedBytes::new(bytes).ok())
            // What was just written tells of bits of this table.
            .filter(|flips| self.told.take_flips(flips))
            .map(|flips| TableUpdate::Flips { flips, nodes })
            .collect()
    }

    /// All that the neighbours were told so far; nothing, so that they exclude nothing, until all is
    /// in it.
    pub(crate) fn whole(&mut self, nodes: u32) -> Vec<TableUpdate> {
        if !self.is_ready {
            // Whoever asks is to have it then.
            self.whole = true;
            return Vec::new();
        }
        let (log2_bits, pairs) = (self.told.log2_bits(), self.pairs);
        let parts = self.told.parts().iter().zip(0_u8..);
        parts
            .map(|(bits, part)| (bits.clone(), part))
            .map(|(bits, part)| TableUpdate::Whole { log2_bits, part, bits, nodes, pairs })
            .collect()
    }
}

/// The size for so many keys, where the table has this size now.
fn fitting(keys: u64, now: u8) -> u8 {
    let mut log2_bits = now;
    while log2_bits < *TABLE_LOG2_BITS.end() && (1 << log2_bits) < keys * MIN_BITS_PER_KEY {
        log2_bits += 1;
    }
    while log2_bits > *TABLE_LOG2_BITS.start() && (1 << log2_bits) > keys * MAX_BITS_PER_KEY {
        log2_bits -= 1;
    }
    log2_bits
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;
    use skein_index::Limits;
    use skein_index::text::{ParsedQuery, word_hash};
    use skein_proto::{
        Ask, BoundedString, ContentId, FileMeta, FilePath, Kind, NodeId, Query, Username,
    };

    const OWNER: NodeId = NodeId::from_bytes([1; 32]);

    fn file(number: u32) -> FileMeta {
        let mut content = [0; 32];
        content[..4].copy_from_slice(&number.to_le_bytes());
        FileMeta {
            content: ContentId::from_bytes(content),
            size: 1,
            kind: Kind::Audio,
            path: FilePath::new(format!("w{}", word_hash(&number.to_string()))).expect("a path"),
            tags: None,
        }
    }

    fn index() -> Index {
        let mut index = Index::new(Limits::default());
        index.set_owner(OWNER, &Username::parse("owner").expect("a name"));
        index
    }

    /// Follows until there is nothing left to do, and answers how many calls that took.
    fn settle(own: &mut OwnTable, index: &mut Index, now: Instant) -> u32 {
        let mut calls = 1;
        own.follow(index, now);
        while own.is_remaking() {
            own.follow(index, now);
            calls += 1;
        }
        calls
    }

    /// Keeps a copy in step, as a neighbour does.
    fn copy(held: &mut Filter, news: Vec<TableUpdate>) {
        let mut parts = Vec::new();
        for update in news {
            match update {
                TableUpdate::Whole { log2_bits, bits, .. } => {
                    parts.push(bits);
                    if let Some(filter) = Filter::from_parts(log2_bits, parts.clone()) {
                        *held = filter;
                    }
                }
                TableUpdate::Flips { flips, .. } => {
                    assert!(held.take_flips(&flips));
                }
            }
        }
    }

    #[test]
    fn a_copy_that_is_kept_in_step_knows_every_word_and_forgets_those_that_vanish() {
        let (mut index, mut own) = (index(), OwnTable::new());
        let mut held = Filter::empty(10);
        for round in 0..40_u32 {
            index.publish(&OWNER, (round * 250..(round + 1) * 250).map(file));
            own.follow(&mut index, Instant::START);
            copy(&mut held, own.take_news(1));
            index.for_each_key(|key| assert!(held.may_have(key)));
        }
        settle(&mut own, &mut index, Instant::START);
        copy(&mut held, own.take_news(1));
        assert_eq!(held.log2_bits(), 19, "10,000 words and their beginnings");
        let all: Vec<ContentId> = (0..10_000).map(|number| file(number).content).collect();
        index.withdraw(&OWNER, &all[1..]);
        let mut keys = 0;
        index.for_each_key(|_| keys += 1);
        let at = |passed: Duration| Instant::START + passed;
        for (passed, log2_bits) in
            [(Duration::ZERO, 19), (SHRINK_AFTER - Duration::from_secs(1), 19), (SHRINK_AFTER, 10)]
        {
            settle(&mut own, &mut index, at(passed));
            copy(&mut held, own.take_news(1));
            assert_eq!(held.log2_bits(), log2_bits, "{passed:?} after the words have gone");
            // Bits of beginnings that very many words had stay until it is made anew.
            assert!(held.ones() <= keys * 6 || (log2_bits == 19 && held.ones() < 12_000));
        }
        index.withdraw(&OWNER, &all);
        own.follow(&mut index, at(SHRINK_AFTER));
        copy(&mut held, own.take_news(1));
        assert_eq!(held.ones(), 0, "removal is exact");
    }

    #[test]
    fn the_rate_of_false_positives_is_what_theory_says() {
        let (mut index, mut own) = (index(), OwnTable::new());
        index.publish(&OWNER, (0..8_000).map(file));
        settle(&mut own, &mut index, Instant::START);
        let mut held = Filter::empty(10);
        copy(&mut held, own.take_news(1));
        #[allow(clippy::cast_precision_loss)]
        let theory = (held.ones() as f64 / held.bits() as f64).powi(6);
        let tries = 400_000_u32;
        let wrong = (0..tries)
            .filter(|number| held.may_have(word_hash(&format!("absent{number}"))))
            .count();
        #[allow(clippy::cast_precision_loss)]
        let measured = wrong as f64 / f64::from(tries);
        assert!(theory < 0.0085, "at 10 bits a key or more: {theory}");
        assert!((measured / theory - 1.0).abs() < 0.25, "measured {measured}, theory {theory}");
    }

    #[test]
    fn the_own_table_excludes_what_is_not_there_and_nothing_while_it_is_behind_the_index() {
        let (mut index, mut own) = (index(), OwnTable::new());
        let keys = |text: &str| {
            let ask = Ask::Words(BoundedString::truncated(text));
            let query = Query { ask, filter: skein_proto::Filter::default() };
            Keys::of(&ParsedQuery::parse(&query).expect("one word"))
        };
        let (absent, present) = (keys("absent "), keys(&format!("w{} ", word_hash("1"))));
        index.publish(&OWNER, [file(1)]);
        assert!(!own.excludes(&index, &absent), "nothing was taken in");
        own.follow(&mut index, Instant::START);
        assert!(!own.excludes(&index, &absent), "nobody was told");
        own.take_news(1);
        assert!(own.excludes(&index, &absent) && !own.excludes(&index, &present));
        index.publish(&OWNER, [file(2)]);
        assert!(!own.excludes(&index, &absent), "something has changed");
    }

    #[test]
    fn a_table_is_made_anew_piece_by_piece_while_the_index_changes() {
        let (mut index, mut own) = (index(), OwnTable::new());
        index.publish(&OWNER, (0..6_000).map(file));
        own.follow(&mut index, Instant::START);
        assert!(own.take_news(1).is_empty() && own.whole(1).is_empty(), "not all is in it yet");
        let keys = Keys { words: vec![word_hash("absent")], ..Keys::default() };
        assert!(!own.excludes(&index, &keys));
        let mut held = None;
        let mut remade = 0;
        for round in 0..60 {
            index.publish(&OWNER, (6_000 + round * 200..6_200 + round * 200).map(file));
            let gone: Vec<_> = (round * 90..round * 90 + 90).map(|it| file(it).content).collect();
            index.withdraw(&OWNER, &gone);
            own.follow(&mut index, Instant::START);
            remade += u32::from(own.is_remaking());
            let news = own.take_news(1);
            if !news.is_empty() {
                let held = held.get_or_insert_with(|| Filter::empty(10));
                copy(held, news);
                index.for_each_key(|key| assert!(held.may_have(key), "round {round}"));
            }
        }
        assert!(held.is_some() && remade > 10, "{remade} of 60 calls were pieces");
        settle(&mut own, &mut index, Instant::START);
        own.take_news(1);
        // One that is made of what is left has the same bits, but for those that stay.
        index.forget_vocabulary();
        let mut fresh = OwnTable::new();
        assert!(settle(&mut fresh, &mut index, Instant::START) > 5);
        let (ones, fresh) = (own.told.ones(), fresh.told.ones());
        assert!(ones >= fresh && ones < fresh + fresh / 50, "{ones} instead of {fresh}");
    }

    #[test]
    fn the_size_does_not_go_up_and_down_with_one_word() {
        let full = fitting(10_000, 10);
        assert_eq!(fitting(10_001, full), full);
        assert_eq!(fitting(5_000, full), full);
        assert_eq!(fitting(3_000, full), full - 1);
        assert_eq!(fitting(u64::from(u32::MAX), 10), 23);
        assert_eq!(fitting(0, 23), 10);
    }

    /// What is done to an index: an owner publishes files again or withdraws them, or leaves.
    #[derive(Clone, Debug)]
    enum Change {
        Publish(u8, Vec<u8>),
        Withdraw(u8, Vec<u8>),
        Leave(u8),
        Follow,
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let files = || proptest::collection::vec(0_u8..40, 1..12);
        proptest::collection::vec(
            prop_oneof![
                4 => (0_u8..4, files()).prop_map(|(owner, files)| Change::Publish(owner, files)),
                2 => (0_u8..4, files()).prop_map(|(owner, files)| Change::Withdraw(owner, files)),
                1 => (0_u8..4).prop_map(Change::Leave),
                4 => Just(Change::Follow),
            ],
            1..60,
        )
    }

    proptest! {
        #[test]
        fn a_copy_never_excludes_what_is_there(changes in changes()) {
            let owner = |number: u8| NodeId::from_bytes([number + 1; 32]);
            let named = |number: u8| FileMeta {
                path: FilePath::new(format!(
                    "{}/some north{} wind{} number{number}.wav",
                    number % 3, number % 5, number % 7
                )).expect("a path"),
                ..file(number.into())
            };
            let (mut index, mut own) = (Index::new(Limits::default()), OwnTable::new());
            let mut held = Filter::empty(10);
            for change in changes {
                match change {
                    Change::Publish(number, files) => {
                        index.set_owner(owner(number), &Username::parse("owner").expect("a name"));
                        index.publish(&owner(number), files.into_iter().map(named));
                    }
                    Change::Withdraw(number, files) => {
                        let contents: Vec<_> =
                            files.into_iter().map(|it| named(it).content).collect();
                        index.withdraw(&owner(number), &contents);
                    }
                    Change::Leave(number) => { index.remove_owner(&owner(number)); }
                    Change::Follow => {
                        own.follow(&mut index, Instant::START);
                        copy(&mut held, own.take_news(1));
                        let mut missing = 0;
                        index.for_each_key(|key| missing += u32::from(!held.may_have(key)));
                        prop_assert_eq!(missing, 0);
                    }
                }
            }
        }
    }
}
