//! Going through all that is indexed: all words, and all documents.

use crate::code::LiveBits;
use crate::index::Index;
use crate::segment::Segment;
use crate::segment::room::Room;
use crate::segment::strings::Scan;
use crate::store::Store;
use crate::text::{RecordWords, for_each_pair, word_hash};
use crate::vocabulary::{VocabularyChanges, keys_of};
use std::sync::Arc;

/// A document takes as long to read as so many keys take to hash.
const DOCUMENT: usize = 8;

/// The strings of several segments in their order, each once.
struct Merged<'a> {
    scans: Vec<Scan<'a>>,
    /// Whether the string at which a scan is was a word of some document when its segment was made.
    are_words: Vec<bool>,
    /// The scans that are not at their ends, in descending order of the strings at which they are.
    order: Vec<usize>,
    text: Vec<u8>,
}

impl<'a> Merged<'a> {
    /// Those behind a string, or all of them.
    fn new(segments: &'a [Arc<Segment>], behind: Option<&str>) -> Self {
        let scan = |segment: &'a Arc<Segment>| segment.strings.from(behind.unwrap_or_default());
        let mut it = Self {
            scans: segments.iter().map(scan).collect(),
            are_words: vec![false; segments.len()],
            order: Vec::new(),
            text: Vec::new(),
        };
        for at in 0..it.scans.len() {
            it.go_on(at, behind);
        }
        it
    }

    /// Goes on with one of the scans, and over a string that was seen already.
    fn go_on(&mut self, at: usize, seen: Option<&str>) {
        let Some(scan) = self.scans.get_mut(at) else { return };
        let Some((_, mut lists)) = scan.next() else { return };
        if seen.is_some_and(|seen| scan.bytes() == seen.as_bytes()) {
            let Some((_, next)) = scan.next() else { return };
            lists = next;
        }
        self.are_words[at] = lists.is_word();
        let (scans, text) = (&self.scans, self.scans[at].bytes());
        let is_behind = |it: &usize| scans.get(*it).is_some_and(|it| it.bytes() > text);
        self.order.insert(self.order.partition_point(is_behind), at);
    }

    /// The next string, and whether it may be a word.
    fn next(&mut self) -> Option<(&str, bool)> {
        let first = self.order.last()?;
        self.text.clear();
        self.text.extend_from_slice(self.scans.get(*first)?.bytes());
        let mut may_be_word = false;
        while let Some(at) = self.order.last().copied()
            && self.scans.get(at).is_some_and(|it| it.bytes() == self.text)
        {
            may_be_word |= self.are_words[at];
            self.order.pop();
            self.go_on(at, None);
        }
        Some((std::str::from_utf8(&self.text).unwrap_or_default(), may_be_word))
    }
}

/// All keys of an index as it was at one moment, gone through in pieces while it changes: see
/// [`Index::scan_keys`].
///
/// It keeps what the index consisted of at that moment, so that memory of segments that are merged
/// meanwhile is not given back before it is gone.
#[derive(Debug)]
pub struct KeyScan {
    segments: Vec<Arc<Segment>>,
    /// The last string that was looked at.
    last: Option<String>,
    has_all_words: bool,
    /// The documents of each segment at that moment, where their pairs are wanted too.
    documents: Vec<(Arc<Segment>, LiveBits)>,
    /// The next document of the last of these.
    next: u32,
}

impl KeyScan {
    /// Goes on for about so many keys, and calls with each. All changes of the vocabulary are to have
    /// been taken just before the scan began and just before this; `changed` says by how much
    /// there is more of a hash since then. Answers whether that was all.
    pub fn run(
        &mut self,
        index: &Index,
        keys: usize,
        changed: impl Fn(u64) -> i64,
        mut see: impl FnMut(u64),
    ) -> bool {
        let mut left = keys;
        if !self.has_all_words {
            self.has_all_words = self.words(&index.store, &mut left, changed, &mut see);
        }
        self.has_all_words && self.pairs(&mut left, &mut see)
    }

    fn words(
        &mut self,
        store: &Store,
        left: &mut usize,
        changed: impl Fn(u64) -> i64,
        see: &mut impl FnMut(u64),
    ) -> bool {
        let mut strings = Merged::new(&self.segments, self.last.as_deref());
        while *left > 0 {
            let Some((word, may_be_word)) = strings.next() else {
                self.segments = Vec::new();
                return true;
            };
            *left -= 1;
            if !may_be_word {
                continue;
            }
            // As it was at that moment: what has appeared since then was not there, and what has
            // vanished was.
            if i64::from(store.has_word(word)) - changed(word_hash(word)) > 0 {
                keys_of(word, |hash| {
                    *left = left.saturating_sub(1);
                    see(hash);
                });
            }
        }
        self.last = std::str::from_utf8(&strings.text).ok().map(str::to_owned);
        false
    }

    fn pairs(&mut self, left: &mut usize, see: &mut impl FnMut(u64)) -> bool {
        let mut words = RecordWords::default();
        let mut room = Box::new(Room::new());
        while let Some((segment, live)) = self.documents.last() {
            while let Some(place) = live.next(self.next) {
                if *left == 0 {
                    return false;
                }
                self.next = place + 1;
                *left = left.saturating_sub(DOCUMENT);
                if let Some(file) = segment.file_in(place, &mut room) {
                    words.read(file.path.as_str(), file.tags.as_deref());
                    for_each_pair(words.iter().map(|(word, _)| word), |hash| {
                        *left = left.saturating_sub(1);
                        see(hash);
                    });
                }
            }
            self.documents.pop();
            self.next = 0;
        }
        true
    }
}

impl Store {
    /// As [`Index::take_vocabulary_changes`].
    pub(crate) fn take_vocabulary_changes(&mut self) -> VocabularyChanges {
        self.pending.want();
        self.pending.take()
    }

    /// As [`Index::forget_vocabulary`].
    pub(crate) fn forget_vocabulary(&mut self) {
        self.pending.forget();
    }

    /// As [`Index::is_vocabulary_told`].
    pub(crate) const fn is_vocabulary_told(&self) -> bool {
        self.pending.is_taken()
    }

    /// As [`Index::scan_keys`].
    pub(crate) fn scan_keys(&self) -> KeyScan {
        let with_bits = |it: &Arc<Segment>| (it.clone(), it.live_bits().copy());
        let documents = self.segments.iter().filter(|_| self.pending.has_pairs());
        KeyScan {
            segments: self.segments.clone(),
            last: None,
            has_all_words: false,
            documents: documents.map(with_bits).collect(),
            next: 0,
        }
    }

    /// Goes through all different words in their order.
    pub(crate) fn for_each_word(&self, mut see: impl FnMut(&str)) {
        let mut strings = Merged::new(&self.segments, None);
        while let Some((word, may_be_word)) = strings.next() {
            if may_be_word && self.has_word(word) {
                see(word);
            }
        }
    }
}
