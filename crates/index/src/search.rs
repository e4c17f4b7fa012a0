//! The index as it is searched.

use crate::catalogue::{ContentNo, Entry};
use crate::dictionary::{Dictionary, EntryId, WordId};
use crate::index::Index;
use crate::rank::{Best, Fit, Rank};
use crate::register::OwnerNo;
use crate::text::{ParsedQuery, Term, TermMatch};
use skein_proto::{FileMeta, NodeId, Query};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::atomic::Ordering;

/// The most records that a search returns of one content: more than a download can use at a
/// time, few enough for popular contents not to crowd out the others.
pub const MAX_SOURCES_PER_CONTENT: usize = 32;

/// The most words that a beginning stands for where no whole word narrows the search: the first
/// ones in order, the beginning itself among them if it is a word. With a whole word beside it
/// there is no such bound, for then only the records with that word are looked at.
pub const MAX_PREFIX_WORDS: usize = 4096;

/// One matching record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who offers it.
    pub owner: NodeId,
    /// What its owner says of it.
    pub file: FileMeta,
}

/// A term with what the dictionary knows of it.
struct Sought<'a> {
    term: &'a Term,
    /// The number of exactly this word.
    exact: Option<WordId>,
}

/// A query as it is put to one index.
struct Plan<'a> {
    index: &'a Index,
    query: &'a ParsedQuery,
    sought: Vec<Sought<'a>>,
    /// Those whose records count, if not all do; in ascending order.
    owners: Option<Vec<OwnerNo>>,
}

impl Index {
    /// The best matches. `limit` bounds the different contents; of each the best
    /// [`MAX_SOURCES_PER_CONTENT`] records come along, one after the other.
    ///
    /// Contents are ordered by: fewer words of the query that are only the beginning of a word;
    /// more words in the file name; a shorter file name (each that of the best record); more
    /// matching records; the content id. The records of a content are ordered by the same fit, then
    /// by owner.
    ///
    /// A query that cannot be parsed has no matches: see [`ParsedQuery::parse`] for why.
    pub fn search(&self, query: &Query, limit: usize) -> Vec<Found> {
        ParsedQuery::parse(query).map_or_else(|_| Vec::new(), |query| self.find(&query, limit))
    }

    /// As [`Index::search`], for a query that is parsed already.
    pub fn find(&self, query: &ParsedQuery, limit: usize) -> Vec<Found> {
        let Some(plan) = Plan::new(self, query) else { return Vec::new() };
        let mut best = Best::new(limit);
        // Contents with several entries are ranked once, by all of them.
        let mut several = Vec::new();
        for id in plan.candidates().iter() {
            let Some(entry) = self.catalogue.entry(*id) else { continue };
            if self.catalogue.entries_of(entry.content).len() > 1 {
                several.push(entry.content);
            } else if let Some(rank) = plan.rank(entry.content) {
                best.push((rank, entry.content));
            }
        }
        several.sort_unstable();
        several.dedup();
        for content in several {
            if let Some(rank) = plan.rank(content) {
                best.push((rank, content));
            }
        }
        let mut found = Vec::new();
        for (_, content) in best.into_sorted() {
            plan.collect(content, &mut found);
        }
        found
    }
}

impl<'a> Plan<'a> {
    /// `None` if nothing can match.
    fn new(index: &'a Index, query: &'a ParsedQuery) -> Option<Self> {
        if query.is_empty() {
            return None;
        }
        let mut sought = Vec::with_capacity(query.terms().len());
        for term in query.terms() {
            let exact = index.dictionary.id(&term.text);
            if term.by == TermMatch::Exact && exact.is_none() {
                return None;
            }
            sought.push(Sought { term, exact });
        }
        let owners = query.filter().owner.as_ref().map(|name| index.register.named(name));
        if owners.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        Some(Self { index, query, sought, owners })
    }

    /// Entries among which all matches are, in ascending order.
    fn candidates(&self) -> Cow<'a, [EntryId]> {
        let index = self.index;
        if let Some(id) = self.query.content() {
            let content = index.catalogue.content_no(id);
            return Cow::Borrowed(content.map_or(&[], |no| index.catalogue.entries_of(no)));
        }
        let mut lists: Vec<&[EntryId]> = self
            .sought
            .iter()
            .filter(|sought| sought.term.by == TermMatch::Exact)
            .filter_map(|sought| sought.exact)
            .map(|word| index.dictionary.postings(word))
            .collect();
        lists.sort_by_key(|list| list.len());
        let owned = self.owned_records();
        let shortest = lists.first().map(|list| list.len() as u64);
        if owned.is_some_and(|owned| shortest.is_none_or(|shortest| owned <= shortest)) {
            return Cow::Owned(self.owned_entries());
        }
        match lists.as_slice() {
            [] => Cow::Owned(self.begun_entries()),
            [only] => Cow::Borrowed(only),
            [first, rest @ ..] => {
                let mut common = first.to_vec();
                for list in rest {
                    intersect(&mut common, list);
                }
                Cow::Owned(common)
            }
        }
    }

    fn owned_records(&self) -> Option<u64> {
        let owners = self.owners.as_ref()?.iter();
        Some(owners.filter_map(|owner| self.index.register.get(*owner)).map(|o| o.records()).sum())
    }

    fn owned_entries(&self) -> Vec<EntryId> {
        let owners = self.owners.iter().flatten();
        let owners = owners.filter_map(|owner| self.index.register.get(*owner));
        sorted(owners.flat_map(|owner| owner.entries()).collect())
    }

    /// The entries of the beginning that has the fewest.
    fn begun_entries(&self) -> Vec<EntryId> {
        let dictionary = &self.index.dictionary;
        let mut expansions = self.sought.iter().map(|sought| {
            let words = dictionary.starting_with(&sought.term.text);
            let mut words: Vec<WordId> = words.take(MAX_PREFIX_WORDS + 1).collect();
            let is_cut = words.len() > MAX_PREFIX_WORDS;
            words.truncate(MAX_PREFIX_WORDS);
            let size: usize = words.iter().map(|word| dictionary.postings(*word).len()).sum();
            (is_cut, size, words)
        });
        let Some(first) = expansions.next() else { return Vec::new() };
        let (is_cut, size, words) = expansions.fold(first, |a, b| if b < a { b } else { a });
        if is_cut {
            self.index.prefixes_cut.fetch_add(1, Ordering::Relaxed);
        }
        let mut entries = Vec::with_capacity(size);
        for word in words {
            entries.extend_from_slice(dictionary.postings(word));
        }
        sorted(entries)
    }

    /// The owners of an entry whose records count.
    fn sources<'b>(&'b self, entry: &'b Entry) -> impl Iterator<Item = OwnerNo> + 'b {
        let counts = |owner: &OwnerNo| {
            self.owners.as_ref().is_none_or(|owners| owners.binary_search(owner).is_ok())
        };
        entry.owners.iter().copied().filter(counts)
    }

    /// How an entry fits; `None` if it does not.
    fn fit(&self, entry: &Entry) -> Option<Fit> {
        if !self.query.passes_filter(&entry.file) {
            return None;
        }
        let mut fit = Fit { only_begun: 0, outside_name: 0, name_chars: entry.name_chars };
        for sought in &self.sought {
            let (is_whole, in_name) = sought.fit(entry, &self.index.dictionary)?;
            fit.only_begun += u16::from(!is_whole);
            fit.outside_name += u16::from(!in_name);
        }
        Some(fit)
    }

    /// The entries of a content that match, each with its fit.
    fn matches(&self, content: ContentNo) -> impl Iterator<Item = (Fit, &Entry)> {
        let catalogue = &self.index.catalogue;
        let entries = catalogue.entries_of(content).iter().filter_map(|id| catalogue.entry(*id));
        entries.filter_map(|entry| Some((self.fit(entry)?, entry)))
    }

    fn rank(&self, content: ContentNo) -> Option<Rank> {
        let mut rank: Option<Rank> = None;
        for (fit, entry) in self.matches(content) {
            let sources = self.sources(entry).count() as u64;
            if sources == 0 {
                continue;
            }
            let content = entry.file.content;
            let rank = rank.get_or_insert(Rank { fit, sources: Reverse(0), content });
            rank.fit = rank.fit.min(fit);
            rank.sources.0 += sources;
        }
        rank
    }

    /// Adds the best records of a content to what was found.
    fn collect(&self, content: ContentNo, found: &mut Vec<Found>) {
        let mut best = Best::new(MAX_SOURCES_PER_CONTENT);
        let matches: Vec<_> = self.matches(content).collect();
        for (i, (fit, entry)) in matches.iter().enumerate() {
            let owners = self.sources(entry).filter_map(|owner| self.index.register.get(owner));
            for owner in owners {
                best.push((*fit, owner.node, i));
            }
        }
        for (_, owner, i) in best.into_sorted() {
            if let Some((_, entry)) = matches.get(i) {
                found.push(Found { owner, file: entry.file.clone() });
            }
        }
    }
}

impl Sought<'_> {
    /// Whether the entry has the word whole, and in its file name; `None` if it has it not.
    fn fit(&self, entry: &Entry, dictionary: &Dictionary) -> Option<(bool, bool)> {
        let whole = self.exact.and_then(|word| entry.word(word)).map(|in_name| (true, in_name));
        match self.term.by {
            TermMatch::Exact => whole,
            TermMatch::Prefix => whole.or_else(|| Some((false, self.begun(entry, dictionary)?))),
            TermMatch::Character => Some((true, self.begun(entry, dictionary)?)),
        }
    }

    /// Whether any of the entry's words that begin with the term stands in the file name; `None`
    /// if there is no such word.
    fn begun(&self, entry: &Entry, dictionary: &Dictionary) -> Option<bool> {
        let begins = |word: WordId| {
            dictionary.text(word).is_some_and(|text| text.starts_with(&self.term.text))
        };
        let words = entry.words.iter().filter(|word| begins(word.word()));
        words.map(|word| word.in_name()).reduce(|a, b| a || b)
    }
}

fn sorted(mut entries: Vec<EntryId>) -> Vec<EntryId> {
    entries.sort_unstable();
    entries.dedup();
    entries
}

/// Keeps of an ascending list what another one has too. It gallops through the other one
/// (Bentley and Yao 1976): the time grows with the shorter list and the logarithm of the gaps.
fn intersect(common: &mut Vec<EntryId>, mut other: &[EntryId]) {
    common.retain(|entry| {
        let mut step = 1;
        while other.get(step).is_some_and(|next| next < entry) {
            step *= 2;
        }
        let reach = other.len().min(step);
        let skipped = other[..reach].partition_point(|next| next < entry);
        other = &other[skipped..];
        other.first() == Some(entry)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn galloping_finds_what_both_lists_have(
            few in btree_set(0_u32..1000, 0..20),
            many in btree_set(0_u32..1000, 0..500),
        ) {
            let list: Vec<u32> = many.iter().copied().collect();
            let mut common: Vec<u32> = few.iter().copied().collect();
            intersect(&mut common, &list);
            let expected: Vec<u32> = few.intersection(&many).copied().collect();
            prop_assert_eq!(common, expected);
        }
    }
}
