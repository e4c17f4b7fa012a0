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

/// Hashes of short beginnings that are kept: few words have a beginning of one to three letters that
/// no other one has.
const KEPT: usize = 4096;

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

/// Hashes of short beginnings by their bytes, each in the only slot where it may be: whatever comes
/// there takes the place of what was there before.
#[derive(Debug, Default)]
struct Beginnings {
    /// The bytes ([`head`]) and the hash; zeros where there is nothing.
    slots: Array<[u64; 2]>,
}

impl Beginnings {
    /// As [`beginning_hash`].
    fn hash(&mut self, beginning: &str) -> u64 {
        // An odd factor near the golden ratio, by which neighbours come far apart.
        const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
        if beginning.len() > size_of::<u64>() {
            return beginning_hash(beginning);
        }
        if self.slots.is_empty() {
            self.slots = Array::zeroed(KEPT);
        }
        // No letter or digit is zero, so that no other beginning has the same.
        let head = head(beginning.as_bytes());
        let at = head.wrapping_mul(FACTOR) >> (u64::BITS - KEPT.ilog2());
        let Some([known, hash]) = self.slots.get_mut(at as usize) else {
            return beginning_hash(beginning);
        };
        if *known != head || head == 0 {
            (*known, *hash) = (head, beginning_hash(beginning));
        }
        *hash
    }
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
                self.words.note(self.beginnings.hash(beginning), by);
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

    /// Whether all changes so far have been taken.
    pub(crate) const fn is_taken(&self) -> bool {
        self.is_wanted
            && !self.turned
            && self.words.changes.is_empty()
            && self.pairs.changes.is_empty()
    }

    /// Gives up what only makes it faster.
    pub(crate) fn give_up_room(&mut self) {
        self.beginnings = Beginnings::default();
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.words.bytes() + self.pairs.bytes() + self.beginnings.slots.bytes()
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
    fn a_beginning_has_its_hash_whatever_came_before_it() {
        let mut known = Beginnings::default();
        for number in 0..20_000 {
            // More than are kept, some of which come again, some of them longer than eight bytes.
            let text = format!("{}東{}", number % 5_000, "a".repeat(number % 7));
            assert_eq!(known.hash(&text), beginning_hash(&text), "{text}");
            let short = &text[..1];
            assert_eq!(known.hash(short), beginning_hash(short), "{short}");
        }
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
