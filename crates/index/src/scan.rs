//! Going through the posting lists of one segment for the documents that match.

use crate::class::Class;
use crate::lists::{Batch, Lists};
use crate::rank::{Fit, Standing};
use crate::register::OwnerNo;
use crate::search::Candidate;
use crate::segment::postings::{BATCH, Bitmap, Cursor};
use crate::segment::strings::ListsAt;
use crate::segment::{Place, Segment};
use crate::snapshot::Snapshot;
use crate::text::{ParsedQuery, RecordWords, Term, TermMatch};

/// The most words that a beginning stands for in one part of the index, where no whole word narrows
/// the search: the first ones in order.
pub const MAX_PREFIX_WORDS: usize = 4096;

/// Documents so few that looking at each one's words is quicker than at all words with a beginning.
const FEW_DOCUMENTS: usize = 256;

/// Of so few documents it is not worth to look for the words with a beginning.
const WORTH_UNITING: usize = 3;

/// Documents of a segment for which there is a bit in a union, and which take as long to clear as one
/// document takes to be looked at: that is half a microsecond.
const BITS_OF_DOCUMENT: usize = 16_384;

/// Numbers of lists that are united while one document is looked at.
const NUMBERS_OF_DOCUMENT: usize = 64;

/// What a segment knows of the words of a query.
pub(crate) struct Terms<'a> {
    segment: &'a Segment,
    /// Each term with where exactly this word is.
    terms: Vec<(&'a Term, Option<ListsAt>)>,
}

impl<'a> Terms<'a> {
    /// `None` if nothing in the segment can match.
    pub(crate) fn new(segment: &'a Segment, query: &'a ParsedQuery) -> Option<Self> {
        let mut terms = Vec::with_capacity(query.terms().len());
        for term in query.terms() {
            let found = match term.by {
                TermMatch::Character => None,
                _ => segment.strings.find(&term.text).map(|(_, at)| at).filter(|at| at.is_word()),
            };
            if term.by == TermMatch::Exact && found.is_none() {
                return None;
            }
            terms.push((term, found));
        }
        Some(Self { segment, terms })
    }

    pub(crate) const fn segment(&self) -> &'a Segment {
        self.segment
    }

    /// The documents with exactly this word.
    fn whole(&self, found: Option<ListsAt>) -> Lists<'a> {
        found.map(|at| Lists::new(self.segment, at)).unwrap_or_default()
    }

    /// The documents with any word that begins so; at most so many words are taken, and so many numbers
    /// of their lists. Also whether there were more.
    fn begun(&self, beginning: &str, (most, mut numbers): (usize, usize)) -> (Lists<'a>, bool) {
        let universe = self.segment.len() as usize;
        let (mut inside, mut outside) = (Bitmap::new(universe), Bitmap::new(universe));
        let mut scan = self.segment.strings.from(beginning);
        let mut words = 0;
        while let Some((_, at)) = scan.next() {
            if !scan.bytes().starts_with(beginning.as_bytes()) {
                break;
            }
            if !at.is_word() {
                continue;
            }
            if words == most {
                return (Self::unions(inside, outside), true);
            }
            words += 1;
            let (first, second) = self.segment.strings.lists(at);
            let listed = [&first, &second].into_iter().flatten().map(Cursor::estimate).sum();
            let Some(left) = numbers.checked_sub(listed) else {
                return (Self::unions(inside, outside), true);
            };
            numbers = left;
            first.into_iter().for_each(|list| inside.add(list));
            second.into_iter().for_each(|list| outside.add(list));
        }
        (Self::unions(inside, outside), false)
    }

    fn unions(inside: Bitmap, outside: Bitmap) -> Lists<'a> {
        Lists::of(Some(Cursor::Bitmap(inside)), Some(Cursor::Bitmap(outside)))
    }
}

/// One pass through a segment.
pub(crate) struct Scanner<'s, 'a> {
    pub(crate) query: &'a ParsedQuery,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) terms: &'s Terms<'a>,
    /// Only documents that fit just so are found.
    pub(crate) fit: Fit,
    pub(crate) prefix_was_cut: &'s mut bool,
}

impl<'a> Scanner<'_, 'a> {
    /// Adds the best matches up to a class, at least so many if there are. Answers whether those
    /// are all.
    pub(crate) fn run(
        &mut self,
        owners: Option<&[OwnerNo]>,
        last: Option<Class>,
        needed: usize,
        found: &mut Vec<Candidate<'a>>,
    ) -> bool {
        let segment = self.terms.segment;
        let Some((mut lists, mut wholes, checks)) = self.lists() else { return true };
        let mut excluded = self.excluded();
        lists.sort_by_key(Lists::estimate);
        let Some((first, others)) = lists.split_first_mut() else { return true };
        let end = last.map_or(segment.len(), |class| segment.end_of(class));
        let has_filter = self.query.has_filter();
        let has_leaving = owners.is_none() && self.snapshot.has_leaving;
        let start = found.len();
        let mut batch = Batch::new();
        let mut places = [0; BATCH];
        let mut least = 0;
        let mut is_over = false;
        while !is_over {
            first.fill(least, &mut batch);
            let Some(last) = batch.ranks().last().copied() else { return true };
            is_over = last.checked_add(1).is_none_or(|next| next >= end);
            least = last.saturating_add(1);
            batch.len = batch.ranks().partition_point(|rank| *rank < end);
            #[cfg(test)]
            looked_at::add(batch.len);
            for list in others.iter_mut() {
                let (inside, all) = list.mark(batch.ranks());
                batch.inside &= inside;
                batch.keep(all);
            }
            // What fits better was found by the pass before this one.
            let better = match self.fit {
                Fit::InName => 0,
                Fit::Whole => batch.inside,
                Fit::Begun => {
                    wholes.iter_mut().fold(u64::MAX, |all, it| all & it.mark(batch.ranks()).1)
                }
            };
            let gone = excluded.iter_mut().fold(better, |gone, it| gone | it.mark(batch.ranks()).1);
            batch.keep(!gone);
            for (place, rank) in places.iter_mut().zip(batch.ranks()) {
                *place = segment.place(*rank);
            }
            // All contents that there may be are fetched before the first one is looked at.
            let fetched = places.iter().take(batch.len).map(|place| segment.touch(*place));
            std::hint::black_box(fetched.fold(0, |sum, byte| sum ^ byte));
            let live = (0..).zip(&places).take(batch.len);
            let live = live.fold(0, |mask, (i, it)| mask | u64::from(segment.is_live(*it)) << i);
            for (i, (rank, place)) in (0..).zip(batch.ranks().iter().zip(places)) {
                if live >> i & 1 == 0
                    || owners.is_some_and(|owners| !segment.is_of(place, owners))
                    || (has_leaving && self.snapshot.is_left_over(segment, place))
                    || (has_filter && !self.passes(place))
                    || (!checks.is_empty() && !begins(segment, place, &checks))
                {
                    continue;
                }
                let Some(content) = segment.content(place) else { continue };
                let standing = Standing { fit: self.fit, class: segment.class(*rank), content };
                // What stands equal belongs to the same content.
                if found.len() - start >= needed
                    && found.last().is_none_or(|it| it.standing != standing)
                {
                    return false;
                }
                found.push(Candidate { standing, segment, place });
            }
        }
        true
    }

    /// The lists that a document must be in, those that would make it fit better, and the terms
    /// that are to be looked for in its own words; `None` if nothing can match.
    fn lists(&mut self) -> Option<(Vec<Lists<'a>>, Vec<Lists<'a>>, Vec<&'a Term>)> {
        let has_prefix = self.query.terms().iter().any(|it| it.by == TermMatch::Prefix);
        if self.fit == Fit::Begun && !has_prefix {
            return None;
        }
        let (mut lists, mut wholes, mut checks) = (Vec::new(), Vec::new(), Vec::new());
        let mut beginnings = Vec::new();
        for (term, at) in &self.terms.terms {
            let begins = term.by == TermMatch::Character
                || (term.by == TermMatch::Prefix && self.fit == Fit::Begun);
            if begins {
                beginnings.push((*term, *at));
            } else {
                at.as_ref()?;
                lists.push(self.terms.whole(*at));
            }
        }
        let narrowest = lists.iter().map(Lists::estimate).min();
        for (term, at) in beginnings {
            if term.by == TermMatch::Prefix {
                wholes.push(self.terms.whole(at));
                if let Some(estimate) = narrowest.filter(|it| *it <= FEW_DOCUMENTS) {
                    match self.few_begun(term, estimate) {
                        Some(union) => lists.push(union),
                        None => checks.push(term),
                    }
                    continue;
                }
            }
            let most = if narrowest.is_some() { usize::MAX } else { MAX_PREFIX_WORDS };
            let (union, is_cut) = self.terms.begun(&term.text, (most, usize::MAX));
            *self.prefix_was_cut |= is_cut;
            lists.push(union);
        }
        if self.fit == Fit::InName {
            lists.iter_mut().for_each(|it| it.outside = None);
        } else if self.fit == Fit::Whole && lists.iter().all(|it| it.outside.is_none()) {
            return None;
        }
        lists.iter().all(|it| it.inside.is_some() || it.outside.is_some()).then_some(())?;
        Some((lists, wholes, checks))
    }

    /// The documents with any word that begins so, if that is found sooner than by looking at so many
    /// documents: words are read out of one block or two, documents each from its own place.
    fn few_begun(&self, term: &Term, documents: usize) -> Option<Lists<'a>> {
        let is_worth_it = documents >= WORTH_UNITING
            && self.terms.segment.len() as usize <= documents * BITS_OF_DOCUMENT;
        let most = (documents, documents * NUMBERS_OF_DOCUMENT);
        let union = is_worth_it.then(|| self.terms.begun(&term.text, most));
        union.filter(|(_, is_cut)| !is_cut).map(|(union, _)| union)
    }

    fn excluded(&self) -> Vec<Lists<'a>> {
        let segment = self.terms.segment;
        let lists = |term: &Term| match term.by {
            TermMatch::Exact => {
                self.terms.whole(segment.strings.find(&term.text).map(|(_, at)| at))
            }
            _ => self.terms.begun(&term.text, (usize::MAX, usize::MAX)).0,
        };
        self.query.excluded().iter().map(lists).collect()
    }

    fn passes(&self, place: Place) -> bool {
        let segment = self.terms.segment;
        let (kind, size) = segment.documents.kind_and_size(place);
        self.query.passes_kind_and_size(kind, size)
            && (!self.query.needs_text() || {
                let file = segment.file(place);
                file.is_some_and(|it| self.query.passes_filter(&it) && self.query.has_phrases(&it))
            })
    }
}

/// Whether a document has words with all these beginnings.
fn begins(segment: &Segment, place: Place, terms: &[&Term]) -> bool {
    let Some(file) = segment.file(place) else { return false };
    let mut words = RecordWords::default();
    words.read(file.path.as_str(), file.tags.as_deref());
    terms.iter().all(|term| words.iter().any(|(word, _)| term.accepts(word)))
}

/// How many documents of the leading lists this thread has looked at: what tests measure work by.
#[cfg(test)]
pub(crate) mod looked_at {
    use std::cell::Cell;

    thread_local! {
        static COUNT: Cell<usize> = const { Cell::new(0) };
    }

    pub(crate) fn add(documents: usize) {
        COUNT.set(COUNT.get() + documents);
    }

    /// Those since it was last asked for.
    pub(crate) fn take() -> usize {
        COUNT.replace(0)
    }
}
