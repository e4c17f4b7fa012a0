//! Merging the strings of segments, and their posting lists.

use super::super::postings::Numbers;
use super::super::renumber::{List, LongList};
use super::super::room::Room;
use super::super::source::insert;
use super::super::strings::{ListScan, StringNo, TextScan};
use super::{BITS, Merge, POSTINGS, STRING, Segment, WORD};
use crate::interner::head;
use std::sync::Arc;

/// Postings of a list from which on it is gathered in several steps: up to then a list takes less
/// than a tenth of a millisecond.
const LONG: usize = 8 * 1024;

/// Bytes of a string up to which its text is kept from one phase to the next: that of nearly every
/// word. Longer ones are unpacked again, so that all together take a few times what is merged at most.
const KEPT: usize = 16;

impl Merge {
    /// Finds equal strings.
    pub(super) fn step_strings(&mut self, budget: usize) -> (usize, bool) {
        let segments: Vec<Arc<Segment>> =
            self.sources.iter().map(|it| it.segment.clone()).collect();
        let mut scans: Vec<Option<TextScan<'_>>> = segments
            .iter()
            .zip(&self.sources)
            .map(|(segment, source)| {
                let mut scan = segment.strings.texts_from(source.at);
                scan.next().is_some().then_some(scan)
            })
            .collect();
        // The first bytes of each one's next string, which nearly always tell which comes first, above
        // its number. They are in descending order, so that the least is taken from the end.
        let mut heads: Vec<u128> = Vec::with_capacity(scans.len());
        let add = |heads: &mut Vec<u128>, i: usize, scan: &TextScan<'_>| {
            let new = u128::from(head(scan.bytes())) << 64 | i as u128;
            insert(heads, new);
        };
        for (i, scan) in scans.iter().enumerate() {
            scan.iter().for_each(|scan| add(&mut heads, i, scan));
        }
        let mut found: Vec<usize> = Vec::with_capacity(scans.len());
        let mut done = 0;
        while done < budget {
            let Some(least) = heads.last().map(|it| it >> 64) else { return (done, true) };
            found.clear();
            let alike = heads.iter().rev().take_while(|it| **it >> 64 == least);
            found.extend(alike.map(|it| *it as u64 as usize));
            let alike = found.len();
            if alike > 1 {
                let text = |i: usize| scans.get(i).and_then(Option::as_ref).map(TextScan::bytes);
                let len = |i: usize| text(i).map_or(0, <[u8]>::len);
                let first = len(found[0]);
                // Of short ones the first bytes are all there are.
                if first > size_of::<u64>() || found.iter().any(|i| len(*i) != first) {
                    let least = found.iter().map(|i| text(*i)).min().flatten();
                    found.retain(|i| text(*i) == least);
                }
            }
            if found.len() == alike {
                heads.truncate(heads.len() - alike);
            } else {
                heads.retain(|it| !found.contains(&(*it as u64 as usize)));
            }
            let number = self.texts.len() as u32;
            self.end_text();
            let text = found.first().and_then(|first| scans[*first].as_ref());
            if let Some(text) = text.map(TextScan::bytes).filter(|it| it.len() <= KEPT) {
                self.text.extend_from_slice(text);
            }
            for i in &found {
                let source = &mut self.sources[*i];
                source.strings.set(source.at, number);
                self.members.push([*i as u32, source.at]);
                source.at += 1;
                if let Some(scan) = &mut scans[*i]
                    && scan.next().is_some()
                {
                    add(&mut heads, *i, scan);
                }
            }
            done += STRING * found.len();
        }
        (done, false)
    }

    /// What is known of the provisional strings so far ends here.
    pub(super) fn end_text(&mut self) {
        self.texts.push([self.members.len() as u32, self.text.len() as u32]);
    }

    /// Writes the strings with their lists.
    pub(super) fn step_lists(&mut self, budget: usize) -> (usize, bool) {
        let universe = self.order.len();
        let mut scans: Vec<ListScan<'_>> =
            self.sources.iter().map(|it| it.segment.strings.lists_from(it.at)).collect();
        let mut ends: Vec<StringNo> = self.sources.iter().map(|it| it.at).collect();
        let mut room = Room::new();
        let (texts, all_members, bytes) = (&*self.texts, &*self.members, &*self.text);
        let (inside, outside, uses) = (&mut self.inside, &mut self.outside, self.coder.uses());
        let mut lists: Vec<[List<'_>; 2]> = Vec::with_capacity(scans.len());
        let mut done = 0;
        while self.numbers.len() < self.coder.strings() && done < budget {
            let text = self.numbers.len();
            let ([first, start], [last, end]) = (texts[text], texts[text + 1]);
            let members = &all_members[first as usize..last as usize];
            let kept = &bytes[start as usize..end as usize];
            lists.clear();
            room.clear();
            for [source, number] in members {
                let scan = &mut scans[*source as usize];
                let source = &self.sources[*source as usize];
                if kept.is_empty() && room.len() == 0 {
                    source.segment.strings.text(*number, &mut room);
                }
                let Some(found) = scan.next() else { continue };
                let written = source.segment.strings.written_lists(found);
                lists.push(written.map(|(form, bytes)| List { form, bytes, new: &source.ranks }));
            }
            let word = if kept.is_empty() { room.bytes() } else { kept };
            let postings = lists.iter().flatten().map(List::estimate).sum::<usize>();
            let is_used = if postings < LONG {
                for (at, gathered) in [&mut *inside, &mut *outside].into_iter().enumerate() {
                    gathered.clear();
                    lists.iter().for_each(|both| gathered.add(&both[at]));
                    if lists.len() > 1 {
                        gathered.sort(universe);
                    }
                }
                let (inside, outside) = (inside.numbers(), outside.numbers());
                done += WORD + (inside.len() + outside.len()) / POSTINGS;
                let is_used = uses[text] > 0 || !inside.is_empty() || !outside.is_empty();
                if is_used {
                    let lists = [Numbers::Listed(inside), Numbers::Listed(outside)];
                    self.writer.push(word, lists, universe);
                }
                is_used
            } else {
                let long = self.long.get_or_insert_with(|| LongList::new(universe));
                let (used, is_whole) = long.step(&lists, (budget - done).saturating_mul(POSTINGS));
                done += WORD + used / POSTINGS;
                if !is_whole {
                    break;
                }
                let lists = long.lists();
                done += WORD + universe / BITS;
                let is_used = uses[text] > 0 || lists.iter().any(|it| it.len() > 0);
                if is_used {
                    self.writer.push(word, lists, universe);
                }
                self.long = None;
                is_used
            };
            if is_used {
                self.numbers.push(self.writer.len() as StringNo - 1);
                if self.parts.wants_words() {
                    self.parts.add_word(self.hasher.hash(word));
                }
            } else {
                self.numbers.push(StringNo::MAX);
            }
            members.iter().for_each(|[source, number]| ends[*source as usize] = number + 1);
        }
        for (source, at) in self.sources.iter_mut().zip(ends) {
            source.at = at;
        }
        (done, self.numbers.len() == self.coder.strings())
    }
}
