//! Going through the posting lists of one segment for the documents that match.

use crate::budget::{Budget, NUMBERS_OF_DOCUMENT};
use crate::class::Class;
use crate::lists::{Batch, Lists};
use crate::rank::{Fit, Standing};
use crate::register::OwnerNo;
use crate::search::Candidate;
use crate::segment::postings::{BATCH, Bitmap, Cursor};
use crate::segment::strings::ListsAt;
use crate::segment::{Place, Rank, Segment};
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

/// The most numbers of lists that are united for all beginnings that are not wanted: only documents
/// that match otherwise have to be looked at instead, which are mostly few.
const MOST_EXCLUDED: usize = 4096 * NUMBERS_OF_DOCUMENT;

/// Numbers that are united while a word is read.
const NUMBERS_OF_WORD: usize = 8;

/// Numbers that are united while a document is found in all lists and judged by what is at hand.
const NUMBERS_OF_MATCH: usize = 8;

/// What a segment knows of the words of a query.
pub(crate) struct Terms<'a> {
    segment: &'a Segment,
    /// Each term with where exactly this word is.
    terms: Vec<(&'a Term, Option<ListsAt>)>,
    /// Known from the first pass on, if there are words that are not wanted.
    excluded: Option<Box<Excluded<'a>>>,
}

/// What a segment knows of the words that are not wanted.
#[derive(Default)]
struct Excluded<'a> {
    words: Vec<ListsAt>,
    /// The documents with any word that begins in a way that is not wanted.
    begun: Lists<'a>,
    /// Those of these beginnings that are to be looked for in the documents' own words.
    checks: Vec<&'a Term>,
}

impl<'a> Terms<'a> {
    /// Where a segment would have the words of a query: a block of strings for each.
    pub(crate) fn touch(segment: &Segment, query: &ParsedQuery, blocks: &mut Vec<usize>) {
        blocks.extend(query.terms().iter().map(|term| match term.by {
            TermMatch::Character => 0,
            _ => segment.strings.touch(&term.text),
        }));
    }

    /// `None` if nothing in the segment can match. [`Terms::touch`] has told the blocks.
    pub(crate) fn new(
        segment: &'a Segment,
        query: &'a ParsedQuery,
        blocks: &[usize],
    ) -> Option<Self> {
        let mut terms = Vec::with_capacity(query.terms().len());
        for (term, block) in query.terms().iter().zip(blocks) {
            let found = match term.by {
                TermMatch::Character => None,
                _ => segment.strings.find_in(*block, &term.text),
            };
            let found = found.map(|(_, at)| at).filter(|at| at.is_word());
            if term.by == TermMatch::Exact && found.is_none() {
                return None;
            }
            terms.push((term, found));
        }
        Some(Self { segment, terms, excluded: None })
    }

    pub(crate) const fn segment(&self) -> &'a Segment {
        self.segment
    }

    /// Reads something of the lists of its words, and answers nothing of use.
    pub(crate) fn touch_lists(&self) -> u8 {
        let found = self.terms.iter().filter_map(|(_, at)| *at);
        found.fold(0, |sum, at| sum ^ self.segment.strings.touch_lists(at))
    }

    /// The documents with exactly this word.
    fn whole(&self, found: Option<ListsAt>) -> Lists<'a> {
        found.map(|at| Lists::new(self.segment, at)).unwrap_or_default()
    }

    /// The documents with any word that begins so; at most so many words are taken, and so much is done.
    /// Also whether there were more.
    fn begun(
        &self,
        beginning: &str,
        most: (usize, usize),
        budget: &mut Budget,
    ) -> (Lists<'a>, bool) {
        let universe = self.segment.len() as usize;
        let (mut inside, mut outside) = (Bitmap::new(universe), Bitmap::new(universe));
        let is_cut = self.unite(beginning, most, budget, |[first, second]| {
            first.into_iter().for_each(|list| inside.add(list));
            second.into_iter().for_each(|list| outside.add(list));
        });
        (Lists::of(Some(Cursor::Bitmap(inside)), Some(Cursor::Bitmap(outside))), is_cut)
    }

    /// Sees the lists of the words that begin so; at most so many words are taken, and so much is done,
    /// in numbers of lists. Answers whether there were more.
    fn unite(
        &self,
        beginning: &str,
        (most, mut numbers): (usize, usize),
        budget: &mut Budget,
        mut see: impl FnMut([Option<Cursor<'a>>; 2]),
    ) -> bool {
        let segment = self.segment;
        budget.spend(segment.len() as usize * NUMBERS_OF_DOCUMENT / BITS_OF_DOCUMENT);
        let mut scan = segment.strings.from(beginning);
        let mut words = 0;
        while let Some((_, at)) = scan.next() {
            if !scan.bytes().starts_with(beginning.as_bytes()) {
                break;
            }
            if !at.is_word() {
                continue;
            }
            let (first, second) = segment.strings.lists(at);
            let listed: usize = [&first, &second].into_iter().flatten().map(Cursor::effort).sum();
            let Some(left) = numbers.checked_sub(listed).filter(|_| words < most) else {
                return true;
            };
            if !budget.spend(listed + NUMBERS_OF_WORD) {
                return true;
            }
            (words, numbers) = (words + 1, left);
            #[cfg(test)]
            looked_at::unite(listed);
            see([first, second]);
        }
        false
    }

    /// What there is of the words that are not wanted.
    fn excluding(&self, query: &'a ParsedQuery, budget: &mut Budget) -> Excluded<'a> {
        let mut excluded = Excluded::default();
        let mut left = MOST_EXCLUDED;
        let mut begun: Option<Bitmap> = None;
        for term in query.excluded() {
            if term.by == TermMatch::Exact {
                let found = self.segment.strings.find(&term.text).map(|(_, at)| at);
                excluded.words.extend(found);
                continue;
            }
            // Nobody asks which of them, so that all come into one.
            let begun = begun.get_or_insert_with(|| Bitmap::new(self.segment.len() as usize));
            let most = (MAX_PREFIX_WORDS, left);
            let is_cut = self.unite(&term.text, most, budget, |lists| {
                for list in lists.into_iter().flatten() {
                    left = left.saturating_sub(list.estimate());
                    begun.add(list);
                }
            });
            if is_cut {
                excluded.checks.push(term);
            }
        }
        excluded.begun = Lists::of(begun.map(Cursor::Bitmap), None);
        excluded
    }
}

/// One pass through a segment.
pub(crate) struct Scanner<'s, 'a> {
    pub(crate) query: &'a ParsedQuery,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) terms: &'s mut Terms<'a>,
    /// Only documents that fit just so are found.
    pub(crate) fit: Fit,
    pub(crate) prefix_was_cut: &'s mut bool,
    pub(crate) budget: &'s mut Budget,
}

/// What tells the documents that a pass is for.
struct Wanted<'a> {
    /// The lists that a document must be in.
    lists: Vec<Lists<'a>>,
    /// Those that would make it fit better.
    wholes: Vec<Lists<'a>>,
    /// Terms that are to be looked for in its own words.
    checks: Vec<&'a Term>,
}

/// What decides of a document that is in all lists.
struct Judging<'w> {
    owners: Option<&'w [OwnerNo]>,
    /// Terms that are to be looked for in its own words, and those that must not be among them.
    checks: &'w [&'w Term],
    unwanted: &'w [&'w Term],
    /// Whether it has to be read for that.
    is_judged: bool,
    /// Whether there are documents of owners who have gone.
    has_leaving: bool,
    /// How many candidates there were before, and how many more are needed.
    start: usize,
    needed: usize,
}

/// Ranks of documents that are in all lists and have not been judged.
struct Matched {
    /// Fewer than a batch, and a batch.
    ranks: [Rank; 2 * BATCH],
    len: usize,
}

impl Matched {
    const fn new() -> Self {
        Self { ranks: [0; 2 * BATCH], len: 0 }
    }

    fn extend(&mut self, more: &[Rank]) {
        let end = self.len + more.len();
        debug_assert!(end <= self.ranks.len(), "a full batch is judged before the next one comes");
        if let Some(free) = self.ranks.get_mut(self.len..end) {
            free.copy_from_slice(more);
            self.len = end;
        }
    }

    fn take(&mut self) -> &[Rank] {
        self.ranks.get(..std::mem::take(&mut self.len)).unwrap_or_default()
    }
}

impl<'a> Scanner<'_, 'a> {
    /// Adds the best matches up to a class, at least so many if there are. Answers whether those
    /// are all, or all for which the budget suffices.
    pub(crate) fn run(
        &mut self,
        owners: Option<&[OwnerNo]>,
        last: Option<Class>,
        needed: usize,
        found: &mut Vec<Candidate<'a>>,
    ) -> bool {
        let Some(wanted) = self.lists() else { return true };
        let limits = (owners, last, needed);
        if self.query.excluded().is_empty() {
            return self.scan(wanted, None, limits, found);
        }
        let excluded = self.terms.excluded.take();
        let mut excluded =
            excluded.unwrap_or_else(|| Box::new(self.terms.excluding(self.query, self.budget)));
        let is_all = self.scan(wanted, Some(&mut excluded), limits, found);
        self.terms.excluded = Some(excluded);
        is_all
    }

    fn scan(
        &mut self,
        Wanted { mut lists, mut wholes, checks }: Wanted<'a>,
        excluded: Option<&mut Excluded<'a>>,
        (owners, last, needed): (Option<&[OwnerNo]>, Option<Class>, usize),
        found: &mut Vec<Candidate<'a>>,
    ) -> bool {
        let segment = self.terms.segment;
        let (mut unwanted, mut begun, mut unwanted_checks) = (Vec::new(), None, &[][..]);
        if let Some(Excluded { words, begun: lists, checks }) = excluded {
            unwanted.extend(words.iter().map(|at| Lists::new(segment, *at)));
            (begun, unwanted_checks) = (Some(lists), checks);
        }
        lists.sort_by_key(Lists::estimate);
        let Some((first, others)) = lists.split_first_mut() else { return true };
        let end = last.map_or(segment.len(), |class| segment.end_of(class));
        let is_judged =
            self.query.has_filter() || !checks.is_empty() || !unwanted_checks.is_empty();
        let judging = Judging {
            owners,
            checks: &checks,
            unwanted: unwanted_checks,
            is_judged,
            has_leaving: owners.is_none() && self.snapshot.has_leaving,
            start: found.len(),
            needed,
        };
        let mut batch = Batch::new();
        let mut matched = Matched::new();
        let mut least = 0;
        let mut is_over = false;
        while !is_over {
            first.fill(least, &mut batch);
            let Some(last) = batch.ranks().last().copied() else { break };
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
            let begun = begun.as_mut().map_or(0, |it| it.mark(batch.ranks()).1);
            let better = better | begun;
            let gone = unwanted.iter_mut().fold(better, |gone, it| gone | it.mark(batch.ranks()).1);
            batch.keep(!gone);
            if !self.budget.spend(NUMBERS_OF_DOCUMENT + batch.len * NUMBERS_OF_MATCH) {
                break;
            }
            matched.extend(batch.ranks());
            // Most batches have one match or two: what they need of memory is fetched for many together. To
            // judge a document costs far more than to find one, and is not done for one that is not needed.
            let enough = (needed - (found.len() - judging.start).min(needed)).clamp(1, BATCH);
            if (is_judged || matched.len >= enough) && !self.judge(&judging, &mut matched, found) {
                return false;
            }
        }
        self.judge(&judging, &mut matched, found)
    }

    /// Adds those of the documents that have been found in all lists which are there and wanted. Answers
    /// whether more are needed.
    fn judge(
        &mut self,
        judging: &Judging<'_>,
        matched: &mut Matched,
        found: &mut Vec<Candidate<'a>>,
    ) -> bool {
        let segment = self.terms.segment;
        let mut class = (0, 0);
        for ranks in matched.take().chunks(BATCH) {
            let mut places = [0; BATCH];
            segment.places(ranks, &mut places);
            let places = places.get(..ranks.len()).unwrap_or_default();
            // All contents that there may be are fetched before the first one is looked at.
            segment.touch(places);
            let live = (0..).zip(places);
            let live = live.fold(0, |mask, (i, it)| mask | u64::from(segment.is_live(*it)) << i);
            for (i, (rank, place)) in (0..).zip(ranks.iter().zip(places.iter().copied())) {
                if live >> i & 1 == 0
                    || judging.owners.is_some_and(|owners| !segment.is_of(place, owners))
                    || (judging.has_leaving && self.snapshot.is_left_over(segment, place))
                    || (judging.is_judged && !self.is_wanted(place, judging))
                {
                    continue;
                }
                if *rank >= class.1 {
                    class = segment.class_run(*rank);
                }
                let Some(content) = segment.content(place) else { continue };
                let standing = Standing { fit: self.fit, class: class.0, content };
                // What stands equal belongs to the same content.
                if found.len() - judging.start >= judging.needed
                    && found.last().is_none_or(|it| it.standing != standing)
                {
                    return false;
                }
                found.push(Candidate { standing, segment, place });
            }
        }
        true
    }

    /// What a document must be in and have; `None` if nothing can match.
    fn lists(&mut self) -> Option<Wanted<'a>> {
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
                if let Some(estimate) = narrowest {
                    match self.begun_beside(term, estimate) {
                        Some(union) => lists.push(union),
                        None => checks.push(term),
                    }
                    continue;
                }
            }
            let most = if narrowest.is_some() { usize::MAX } else { MAX_PREFIX_WORDS };
            let (union, is_cut) = self.terms.begun(&term.text, (most, usize::MAX), self.budget);
            *self.prefix_was_cut |= is_cut && !self.budget.is_spent();
            lists.push(union);
        }
        if self.fit == Fit::InName {
            lists.iter_mut().for_each(|it| it.outside = None);
        } else if self.fit == Fit::Whole && lists.iter().all(|it| it.outside.is_none()) {
            return None;
        }
        lists.iter().all(|it| it.inside.is_some() || it.outside.is_some()).then_some(())?;
        Some(Wanted { lists, wholes, checks })
    }

    /// The documents with any word that begins so, if that is found sooner than by looking at so many
    /// documents: words are read out of one block or two, documents each from its own place.
    fn begun_beside(&mut self, term: &Term, documents: usize) -> Option<Lists<'a>> {
        let numbers = documents.saturating_mul(NUMBERS_OF_DOCUMENT);
        let most = if documents <= FEW_DOCUMENTS {
            let is_worth_it = documents >= WORTH_UNITING
                && self.terms.segment.len() as usize <= documents * BITS_OF_DOCUMENT;
            is_worth_it.then_some((documents, numbers))?
        } else {
            // What is left is for those that match.
            (usize::MAX, numbers.min(self.budget.left() / 2))
        };
        let (union, is_cut) = self.terms.begun(&term.text, most, self.budget);
        (!is_cut).then_some(union)
    }

    /// Whether a document meets the filter, and has words with all these beginnings and none with those.
    fn is_wanted(&mut self, place: Place, judging: &Judging<'_>) -> bool {
        let (checks, excluded) = (judging.checks, judging.unwanted);
        (!self.query.has_filter() || self.passes(place))
            && ((checks.is_empty() && excluded.is_empty())
                || (self.budget.spend_document()
                    && begins(self.terms.segment, place, checks, excluded)))
    }

    fn passes(&mut self, place: Place) -> bool {
        let segment = self.terms.segment;
        let (kind, size) = segment.documents.kind_and_size(place);
        self.query.passes_kind_and_size(kind, size)
            && (!self.query.needs_text()
                || (self.budget.spend_document() && {
                    #[cfg(test)]
                    looked_at::read();
                    let file = segment.file(place);
                    file.is_some_and(|it| {
                        self.query.passes_filter(&it) && self.query.has_phrases(&it)
                    })
                }))
    }
}

/// Whether a document has words with all these beginnings, and none with one of those.
fn begins(segment: &Segment, place: Place, all: &[&Term], none: &[&Term]) -> bool {
    #[cfg(test)]
    looked_at::read();
    let Some(file) = segment.file(place) else { return false };
    let mut words = RecordWords::default();
    words.read(file.path.as_str(), file.tags.as_deref());
    let has = |term: &&Term| words.iter().any(|(word, _)| term.accepts(word));
    all.iter().all(has) && !none.iter().any(has)
}

/// What this thread has done for searches: what tests measure work by.
#[cfg(test)]
pub(crate) mod looked_at {
    use std::cell::Cell;

    thread_local! {
        static COUNT: Cell<usize> = const { Cell::new(0) };
        static READ: Cell<usize> = const { Cell::new(0) };
        static UNITED: Cell<usize> = const { Cell::new(0) };
    }

    pub(crate) fn add(documents: usize) {
        COUNT.set(COUNT.get() + documents);
    }

    pub(crate) fn read() {
        READ.set(READ.get() + 1);
    }

    pub(crate) fn unite(numbers: usize) {
        UNITED.set(UNITED.get() + numbers);
    }

    /// Documents of the leading lists since it was last asked for.
    pub(crate) fn take() -> usize {
        COUNT.replace(0)
    }

    /// Documents that were read and numbers of lists that were united since it was last asked for.
    pub(crate) fn take_work() -> (usize, usize) {
        (READ.replace(0), UNITED.replace(0))
    }
}
