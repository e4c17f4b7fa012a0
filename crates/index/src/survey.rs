//! Going through all that is indexed: all words, and all documents.

use crate::code::LiveBits;
use crate::segment::postings::BATCH;
use crate::segment::room::Room;
use crate::segment::strings::{ListsAt, Scan};
use crate::segment::{Rank, Segment};
use crate::store::Store;
use crate::text::{RecordWords, for_each_pair};
use crate::vocabulary::{VocabularyChanges, keys_of};
use std::sync::Arc;

/// A document takes as long to read as so many keys take to hash.
const DOCUMENT: usize = 8;

/// Postings that take as long to be looked at as a key takes to hash.
const POSTINGS: usize = 16;

/// Postings of documents that have gone, of one word in one segment, after which it is no longer asked.
const MOST_DEAD: usize = 16 * 1024;

/// The strings of several segments in their order, each once.
struct Merged<'a> {
    scans: Vec<Scan<'a>>,
    /// The lists of the string at which a scan is.
    lists: Vec<ListsAt>,
    /// The scans that are not at their ends, in descending order of the strings at which they are.
    order: Vec<usize>,
    text: Vec<u8>,
    /// Which of the segments have it as a word, and its lists there.
    found: Vec<(usize, ListsAt)>,
}

impl<'a> Merged<'a> {
    /// Those behind a string, or all of them.
    fn new(segments: impl Iterator<Item = &'a Arc<Segment>>, behind: Option<&str>) -> Self {
        let scan = |segment: &'a Arc<Segment>| segment.strings.from(behind.unwrap_or_default());
        let scans: Vec<Scan<'a>> = segments.map(scan).collect();
        let mut it = Self {
            lists: vec![ListsAt::default(); scans.len()],
            scans,
            order: Vec::new(),
            text: Vec::new(),
            found: Vec::new(),
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
        self.lists[at] = lists;
        let (scans, text) = (&self.scans, self.scans[at].bytes());
        let is_behind = |it: &usize| scans.get(*it).is_some_and(|it| it.bytes() > text);
        self.order.insert(self.order.partition_point(is_behind), at);
    }

    /// The next string, and where it was a word of some document when the segment was made.
    fn next(&mut self) -> Option<(&str, &[(usize, ListsAt)])> {
        let first = self.order.last()?;
        self.text.clear();
        self.text.extend_from_slice(self.scans.get(*first)?.bytes());
        self.found.clear();
        while let Some(at) = self.order.last().copied()
            && self.scans.get(at).is_some_and(|it| it.bytes() == self.text)
        {
            let lists = self.lists.get(at).copied().filter(ListsAt::is_word);
            self.found.extend(lists.map(|lists| (at, lists)));
            self.order.pop();
            self.go_on(at, None);
        }
        Some((std::str::from_utf8(&self.text).unwrap_or_default(), &self.found))
    }
}

/// All keys of an index as it was at one moment, gone through in pieces while it changes: see
/// [`Index::scan_keys`].
///
/// It keeps what the index consisted of at that moment, so that memory of segments that are merged
/// meanwhile is not given back before it is gone.
#[derive(Debug)]
pub struct KeyScan {
    /// What there was, and which documents of it, at that moment.
    segments: Vec<(Arc<Segment>, LiveBits)>,
    /// The last string that was looked at.
    last: Option<String>,
    has_all_words: bool,
    /// Whether their pairs are wanted too.
    has_pairs: bool,
    /// The next document of the last segment.
    next: u32,
}

impl KeyScan {
    /// Goes on for about so many keys, and calls with each. Answers whether that was all.
    pub fn run(&mut self, keys: usize, mut see: impl FnMut(u64)) -> bool {
        let mut left = keys;
        if !self.has_all_words {
            self.has_all_words = self.words(&mut left, &mut see);
        }
        self.has_all_words && self.pairs(&mut left, &mut see)
    }

    fn words(&mut self, left: &mut usize, see: &mut impl FnMut(u64)) -> bool {
        let segments = self.segments.iter().map(|(segment, _)| segment);
        let mut strings = Merged::new(segments, self.last.as_deref());
        while *left > 0 {
            let Some((word, lists)) = strings.next() else {
                return true;
            };
            *left -= 1;
            // What the index has by now, and by how much a hash is there more often, would not tell:
            // others may choose a word that has the hash of this one.
            let was_there = lists.iter().any(|(at, lists)| {
                self.segments.get(*at).is_some_and(|it| has_live(&it.0, &it.1, *lists, left))
            });
            if was_there {
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
        if !self.has_pairs {
            self.segments = Vec::new();
        }
        while let Some((segment, live)) = self.segments.last() {
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
            self.segments.pop();
            self.next = 0;
        }
        true
    }
}

/// Whether any document of these lists of a segment is among those that are live, or so many have gone that
/// it is not worth more time: to take a word for there that is not costs a question in vain now and then.
/// What is looked at is taken from `left`.
fn has_live(segment: &Segment, live: &LiveBits, lists: ListsAt, left: &mut usize) -> bool {
    let (inside, outside) = segment.strings.lists(lists);
    let mut numbers = [0; BATCH];
    let mut looked_at = 0;
    for mut cursor in [inside, outside].into_iter().flatten() {
        let mut least = Some(0);
        while let Some(from) = least {
            let count = cursor.fill(from, &mut numbers);
            let ranks = numbers.get(..count).unwrap_or_default();
            looked_at += count;
            let is_live = |rank: &Rank| live.get(segment.place(*rank));
            if looked_at > MOST_DEAD || ranks.iter().any(is_live) {
                return true;
            }
            *left = left.saturating_sub(count / POSTINGS);
            least = ranks.last().and_then(|last| last.checked_add(1));
        }
    }
    false
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
        KeyScan {
            segments: self.segments.iter().map(with_bits).collect(),
            last: None,
            has_all_words: false,
            has_pairs: self.pending.has_pairs(),
            next: 0,
        }
    }

    /// Goes through all different words in their order.
    pub(crate) fn for_each_word(&self, mut see: impl FnMut(&str)) {
        let mut strings = Merged::new(self.segments.iter(), None);
        while let Some((word, lists)) = strings.next() {
            if !lists.is_empty() && self.has_word(word) {
                see(word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::keys_of;
    use crate::testing::file_at;
    use crate::{Index, Limits};
    use skein_proto::{NodeId, Username};
    use std::collections::BTreeMap;

    #[test]
    fn a_scan_sees_what_there_was_when_it_began_whatever_comes_and_goes_meanwhile() {
        // More than are looked at together have each word of an owner; and so many stay that the segment
        // is not written anew when those of two owners go.
        const EACH: u32 = 90;
        const STAYING: u32 = 500;
        let mut index = Index::new(Limits::default());
        let owner = |number: u8| NodeId::from_bytes([number; 32]);
        let count = |number: u8| if number == 3 { STAYING } else { EACH };
        // The last one has the longest name, and so stands at the end of each list.
        let rare = |number: u8, it: u32| match it + 1 == count(number) {
            true => format!("rare{number}x{it:020}"),
            false => format!("rare{number}x{it}"),
        };
        let shelf = |number: u8| {
            let path = move |it| format!("shelf{number}/own{number} {}", rare(number, it));
            let file = move |it| file_at(u32::from(number) * 1_000 + it, &path(it));
            (owner(number), (0..count(number)).map(file).collect::<Vec<_>>())
        };
        let name = Username::parse("alice").expect("a name");
        (0..4).for_each(|number| index.set_owner(owner(number), &name));
        index.publish_all((0..4).map(shelf));
        // Of one nothing is left, of another one the last document only.
        index.remove_owner(&owner(0));
        let contents: Vec<_> = shelf(1).1.iter().map(|it| it.content).collect();
        index.withdraw(&owner(1), &contents[..EACH as usize - 1]);
        let mut expected = BTreeMap::new();
        let words = (1..4).flat_map(|number| {
            let first = if number == 1 { EACH - 1 } else { 0 };
            let rare = (first..count(number)).map(move |it| rare(number, it));
            rare.chain([format!("own{number}"), format!("shelf{number}")])
        });
        for word in words {
            keys_of(&word, |hash| *expected.entry(hash).or_insert(0) += 1);
        }

        let mut scan = index.scan_keys();
        // Pairs are those of documents, which is another matter.
        scan.has_pairs = false;
        let mut seen = BTreeMap::new();
        let mut turn = 0;
        while !scan.run(25, |hash| *seen.entry(hash).or_insert(0) += 1) {
            turn += 1;
            match turn {
                2 => drop(index.remove_owner(&owner(2))),
                3 => drop(index.publish(&owner(1), [file_at(9_000, "later rare2x7")])),
                4 => while !index.maintain(1_000) {},
                5 => drop(index.remove_owner(&owner(1))),
                _ => {}
            }
        }
        assert!(turn > 20, "{turn} pieces");
        assert!(seen == expected, "{} keys instead of {}", seen.len(), expected.len());
    }
}
