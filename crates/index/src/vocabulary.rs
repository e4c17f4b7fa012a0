//! How the set of different words, and of words that stand together, changes: what a query routing
//! table is kept in step with.

use crate::array::Array;
use crate::interner::head;
use crate::memory;
use crate::spread::Sorter;
use crate::text::{RecordWords, beginning_hash, beginnings, for_each_pair, word_hash};

/// Pairs, counted once for each document, up to which an index tells of them: what fits into a
/// table of a quarter of a mebibyte, or 1,000 to 10,000 documents. With more documents most pairs of
/// frequent words do stand together somewhere, so that pairs tell less, and take more.
const MAX_PAIRS: u64 = 150_000;

/// Changes that are noted before those that undo each other are looked for: half a megabyte. Less
/// than that many come with a message, and are sorted once.
const FEW_CHANGES: usize = 32 * 1024;

/// Short beginnings of which changes are summed up at once, and their bytes: few words have a beginning of
/// one to three letters that no other one has.
const KEPT: usize = 4096;
const SHORT: usize = 3;

/// What has changed in the set of different words since the last time that it was asked for. What
/// came and went in between is in no list. Words, their beginnings and pairs are given by their
/// hashes ([`word_hash`](crate::text::word_hash), [`beginning_hash`](crate::text::beginning_hash),
/// [`pair_hash`](crate::text::pair_hash)), in ascending order.
///
/// A beginning is there once for each word that has it, a pair once for each document: whoever keeps
/// a table of them counts them, and the index need not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VocabularyChanges {
    /// Words that are new, with their beginnings.
    pub appeared: Vec<u64>,
    /// Words that no record has any more, with their beginnings.
    pub vanished: Vec<u64>,
    /// Pairs of documents that are new. There are none unless the index tells of them.
    pub pairs_appeared: Vec<u64>,
    /// Pairs of documents that have gone.
    pub pairs_vanished: Vec<u64>,
    /// Whether the index tells of pairs.
    pub pairs: bool,
    /// It has begun to tell of pairs, or ceased to, or was never asked before: the lists are not
    /// enough, and all keys are to be asked for ([`Index::scan_keys`](crate::Index::scan_keys)).
    pub incomplete: bool,
}

impl VocabularyChanges {
    /// How many changes these are.
    pub const fn len(&self) -> usize {
        self.appeared.len()
            + self.vanished.len()
            + self.pairs_appeared.len()
            + self.pairs_vanished.len()
    }

    /// Whether nothing has changed.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0 && !self.incomplete
    }
}

/// Changes by which there are more or less of something.
#[derive(Debug, Default)]
struct Log {
    /// Each a hash, and how much more there is of it, modulo 2⁶⁴.
    changes: Vec<[u64; 2]>,
    /// How many there were when those that undo each other were last taken out.
    least: usize,
    /// Changes that were noted so far.
    noted: u64,
}

impl Log {
    fn note(&mut self, hash: u64, by: i64) {
        self.noted += 1;
        self.add(hash, by);
    }

    /// As [`Log::note`], of several changes that were noted together.
    fn add(&mut self, hash: u64, by: i64) {
        if by == 0 {
            return;
        }
        self.changes.push([hash, by as u64]);
        // So there are at most twice as many as do not undo each other, whoever asks for them or not.
        if self.changes.len() >= (2 * self.least).max(FEW_CHANGES) {
            self.sum_up();
        }
    }

    /// Leaves one change of each hash, in ascending order, and none that comes to nothing.
    fn sum_up(&mut self) {
        Sorter::new(self.changes.len()).sort(&mut self.changes, |it| it[0], |it| it[0]);
        self.changes.dedup_by(|later, kept| {
            let same = later[0] == kept[0];
            kept[1] = kept[1].wrapping_add(if same { later[1] } else { 0 });
            same
        });
        self.changes.retain(|[_, by]| *by != 0);
        self.least = self.changes.len();
    }

    /// What there is more of and less of, each as often as that.
    fn take(&mut self) -> (Vec<u64>, Vec<u64>) {
        let emptied = self.emptied();
        let mut log = std::mem::replace(self, emptied);
        log.sum_up();
        let (mut more, mut less) = (Vec::new(), Vec::new());
        for [hash, by] in log.changes {
            let by = by as i64;
            let list = if by > 0 { &mut more } else { &mut less };
            list.extend(std::iter::repeat_n(hash, by.unsigned_abs() as usize));
        }
        (more, less)
    }

    /// One without changes that has noted as many.
    fn emptied(&self) -> Self {
        Self { noted: self.noted, ..Self::default() }
    }

    fn bytes(&self) -> u64 {
        memory::vector::<[u64; 2]>(self.changes.capacity())
    }
}

/// By how much there is more of each short beginning, by its bytes, each in the only slot where it may be:
/// whatever comes there takes the place of what was there before.
#[derive(Debug, Default)]
struct Beginnings {
    /// The bytes ([`head`]), and how much more there is, modulo 2⁶⁴; zeros where there is nothing.
    slots: Array<[u64; 2]>,
    /// The slots that are not zero.
    used: Vec<u32>,
}

impl Beginnings {
    /// Notes a change of a beginning of at most [`SHORT`] bytes.
    fn note(&mut self, beginning: &str, by: i64, log: &mut Log) {
        // An odd factor near the golden ratio, by which neighbours come far apart.
        const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
        if self.slots.is_empty() {
            self.slots = Array::zeroed(KEPT);
        }
        // No letter or digit is zero, so that no other beginning has the same.
        let head = head(beginning.as_bytes());
        let at = head.wrapping_mul(FACTOR) >> (u64::BITS - KEPT.ilog2());
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        if slot[0] == 0 {
            self.used.push(at as u32);
        } else if slot[0] != head {
            log.add(hash_of(slot[0]), std::mem::take(&mut slot[1]) as i64);
        }
        *slot = [head, slot[1].wrapping_add(by as u64)];
    }

    /// Moves all changes to where the others are.
    fn tell(&mut self, log: &mut Log) {
        for at in self.used.drain(..) {
            if let Some(slot) = self.slots.get_mut(at as usize) {
                let [head, by] = std::mem::take(slot);
                log.add(hash_of(head), by as i64);
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.slots.bytes() + memory::vector::<u32>(self.used.capacity())
    }
}

/// The hash of a beginning by its [`head`], of at most [`SHORT`] bytes.
fn hash_of(head: u64) -> u64 {
    let bytes = head.to_be_bytes();
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    beginning_hash(std::str::from_utf8(text).unwrap_or_default())
}

/// The changes that nobody has asked for yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Whether anybody asks for them: most indexes have no routing table to keep.
    is_wanted: bool,
    words: Log,
    pairs: Log,
    beginnings: Beginnings,
    /// Pairs in all documents.
    count: u64,
    /// There are too many to tell of them.
    crowded: bool,
    /// Whether that has changed since the changes were asked for, or they never were.
    turned: bool,
}

impl Pending {
    /// Notes changes from now on, unless it does already.
    pub(crate) fn want(&mut self) {
        if !self.is_wanted {
            (self.is_wanted, self.turned) = (true, true);
            self.crowded = self.count > MAX_PAIRS;
        }
    }

    /// Notes no changes any more.
    pub(crate) fn forget(&mut self) {
        let (words, pairs) = (self.words.emptied(), self.pairs.emptied());
        *self = Self { count: self.count, words, pairs, ..Self::default() };
    }

    /// Changes that were noted so far.
    pub(crate) const fn noted(&self) -> u64 {
        self.words.noted + self.pairs.noted
    }

    /// Notes a word that was not there.
    pub(crate) fn word_appeared(&mut self, word: &str) {
        self.change_word(word, 1);
    }

    /// Notes a word that is not there any more.
    pub(crate) fn word_vanished(&mut self, word: &str) {
        self.change_word(word, -1);
    }

    fn change_word(&mut self, word: &str, by: i64) {
        if self.is_wanted {
            self.words.note(word_hash(word), by);
            for beginning in beginnings(word) {
                if beginning.len() <= SHORT {
                    self.words.noted += 1;
                    self.beginnings.note(beginning, by, &mut self.words);
                } else {
                    self.words.note(beginning_hash(beginning), by);
                }
            }
        }
    }

    /// Notes a document with these words that was not there, or one that is there no more.
    pub(crate) fn document(&mut self, words: &RecordWords, came: bool) {
        let mut count = 0;
        if self.crowded || !self.is_wanted {
            // Nobody is told of them: to hash them would cost more than all else.
            count = words.pairs();
        } else {
            for_each_pair(words.iter().map(|(word, _)| word), |hash| {
                count += 1;
                self.pairs.note(hash, if came { 1 } else { -1 });
            });
        }
        self.count = if came { self.count + count } else { self.count.saturating_sub(count) };
        if !self.is_wanted {
            return;
        }
        let crowded = self.count > if self.crowded { MAX_PAIRS / 2 } else { MAX_PAIRS };
        if std::mem::replace(&mut self.crowded, crowded) != crowded {
            self.turned = true;
            self.pairs = self.pairs.emptied();
        }
    }

    /// Whether pairs are told of.
    pub(crate) const fn has_pairs(&self) -> bool {
        !self.crowded
    }

    /// The changes since the last time.
    pub(crate) fn take(&mut self) -> VocabularyChanges {
        self.beginnings.tell(&mut self.words);
        let (appeared, vanished) = self.words.take();
        let (pairs_appeared, pairs_vanished) = self.pairs.take();
        VocabularyChanges {
            appeared,
            vanished,
            pairs_appeared,
            pairs_vanished,
            pairs: !self.crowded,
            incomplete: std::mem::take(&mut self.turned),
        }
    }

    /// Whether all changes so far have been taken. With each change of a beginning a word is noted.
    pub(crate) const fn is_taken(&self) -> bool {
        self.is_wanted
            && !self.turned
            && self.words.changes.is_empty()
            && self.pairs.changes.is_empty()
    }

    /// Gives up what only makes it faster.
    pub(crate) fn give_up_room(&mut self) {
        self.beginnings.tell(&mut self.words);
        self.beginnings = Beginnings::default();
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.words.bytes() + self.pairs.bytes() + self.beginnings.bytes()
    }
}

/// Calls with the hash of a word and those of its beginnings.
pub(crate) fn keys_of(word: &str, mut see: impl FnMut(u64)) {
    see(word_hash(word));
    beginnings(word).map(beginning_hash).for_each(see);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Sixty words, and so 1,770 pairs.
    fn document(number: u32) -> RecordWords {
        let words = (0..60).map(|word| format!("{:04}of{number}", word * 100 + number % 100));
        let mut document = RecordWords::default();
        document.read(&words.collect::<Vec<_>>().join(" "), None);
        document
    }

    #[test]
    fn an_index_of_too_many_pairs_tells_of_none_until_half_of_them_are_gone() {
        let mut pending = Pending::default();
        pending.want();
        assert!(pending.take().incomplete, "it was never asked before");
        let note = |pending: &mut Pending, number: u32, came: bool| {
            pending.document(&document(number), came);
            pending.take()
        };
        for number in 0..84 {
            let changes = note(&mut pending, number, true);
            assert_eq!(
                (changes.pairs_appeared.len(), changes.pairs, changes.incomplete),
                (1_770, true, false)
            );
        }
        let changes = note(&mut pending, 84, true);
        assert_eq!((changes.pairs, changes.incomplete), (false, true));
        let changes = note(&mut pending, 85, true);
        assert_eq!((changes.len(), changes.pairs, changes.incomplete), (0, false, false));
        for number in 43..86 {
            assert!(!note(&mut pending, number, false).pairs);
        }
        let changes = note(&mut pending, 42, false);
        assert_eq!((changes.pairs, changes.incomplete), (true, true));
        assert_eq!(note(&mut pending, 41, false).pairs_vanished.len(), 1_770);
    }

    #[test]
    fn changes_of_short_beginnings_are_told_whatever_came_in_between() {
        let mut pending = Pending::default();
        pending.want();
        pending.take();
        // More different beginnings than there are slots, of letters of one to three bytes.
        let words = (0..20_000_u32).map(|number| {
            let first = ['a', 'é', '東', 'z'][number as usize % 4];
            let second = char::from_u32(0x4e00 + number % 5_003).unwrap_or('b');
            match number % 3 {
                0 => format!("{first}{number}"),
                1 => format!("{second}{number}"),
                _ => format!("{first}{second}"),
            }
        });
        let mut expected: BTreeMap<u64, i64> = BTreeMap::new();
        for (number, word) in words.enumerate() {
            let by = if number % 5 == 4 { -1 } else { 1 };
            pending.change_word(&word, by);
            keys_of(&word, |hash| *expected.entry(hash).or_default() += by);
        }
        let mut told: BTreeMap<u64, i64> = BTreeMap::new();
        let changes = pending.take();
        changes.appeared.iter().for_each(|hash| *told.entry(*hash).or_default() += 1);
        changes.vanished.iter().for_each(|hash| *told.entry(*hash).or_default() -= 1);
        expected.retain(|_, by| *by != 0);
        assert!(told == expected, "{} keys instead of {}", told.len(), expected.len());
        assert!(pending.is_taken() && pending.take().is_empty());
    }

    #[test]
    fn words_that_come_and_go_are_not_kept_for_who_never_asks() {
        let mut pending = Pending::default();
        pending.want();
        for round in 0..10_000 {
            pending.word_appeared(&format!("word{}", round % 10));
            pending.word_vanished(&format!("word{}", round % 10));
        }
        assert!(pending.words.changes.len() <= FEW_CHANGES);
        pending.word_appeared("melody");
        let changes = pending.take();
        let mut expected = Vec::new();
        keys_of("melody", |hash| expected.push(hash));
        expected.sort_unstable();
        assert_eq!((changes.appeared, changes.vanished), (expected, vec![]));
        assert!(pending.is_taken());
    }
}
