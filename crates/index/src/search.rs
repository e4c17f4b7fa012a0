//! Searches.

use crate::budget::{Budget, MAX_SEARCH_WORK};
use crate::class::Class;
use crate::interner::WordHasher;
use crate::rank::{Fit, Standing};
use crate::register::OwnerNo;
use crate::scan::{Scanner, Terms};
use crate::segment::room::Room;
use crate::segment::{Place, Probe, Segment, prefix};
use crate::snapshot::{Shared, Snapshot};
use crate::text::{ParsedQuery, RecordWords, TermMatch};
use skein_proto::{ContentId, FileMeta, NodeId, Query};
use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The most records that a search returns of one content: more than a download can use at a
/// time, few enough for popular contents not to crowd out the others.
pub const MAX_SOURCES_PER_CONTENT: usize = 32;

/// Owners with so few records together are looked through instead of the lists of the words.
const FEW_RECORDS: usize = 4096;

/// Candidates for which there is room at first.
const USUAL: usize = 128;

/// One matching record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who offers it.
    pub owner: NodeId,
    /// What its owner says of it.
    pub file: FileMeta,
}

/// A view of an index for any number of threads, which search while its one writer works. A
/// search never waits for the writer, and a copy costs next to nothing.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    /// As [`Index::search`](crate::Index::search).
    pub fn search(&self, query: &Query, limit: usize) -> Vec<Found> {
        ParsedQuery::parse(query).map_or_else(|_| Vec::new(), |query| self.find(&query, limit))
    }

    /// As [`Index::find`](crate::Index::find).
    pub fn find(&self, query: &ParsedQuery, limit: usize) -> Vec<Found> {
        self.find_page(query, 0, limit)
    }

    /// As [`Reader::find`], without the best `skip` contents: the next page.
    pub fn find_page(&self, query: &ParsedQuery, skip: usize, limit: usize) -> Vec<Found> {
        let snapshot = self.shared.snapshot.load();
        let mut search = Search::new(&snapshot, query, &self.shared.hasher);
        let found = search.run(skip, limit);
        if search.prefix_was_cut {
            self.shared.prefixes_cut.fetch_add(1, Ordering::Relaxed);
        }
        if search.budget.is_spent() {
            self.shared.searches_cut.fetch_add(1, Ordering::Relaxed);
        }
        found
    }
}

/// A document that matches.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) standing: Standing,
    pub(crate) segment: &'a Segment,
    pub(crate) place: Place,
}

/// A query on its way through one snapshot.
struct Search<'a> {
    snapshot: &'a Snapshot,
    query: &'a ParsedQuery,
    /// Those whose records count, if not all do; in ascending order.
    owners: Option<Vec<OwnerNo>>,
    prefix_was_cut: bool,
    budget: Budget,
    hasher: &'a WordHasher,
}

impl<'a> Search<'a> {
    fn new(snapshot: &'a Snapshot, query: &'a ParsedQuery, hasher: &'a WordHasher) -> Self {
        let owners = query.filter().owner.as_ref().map(|name| snapshot.directory.named(name));
        let budget = Budget::of(MAX_SEARCH_WORK);
        Self { snapshot, query, owners, prefix_was_cut: false, budget, hasher }
    }

    fn run(&mut self, skip: usize, limit: usize) -> Vec<Found> {
        let wanted = skip.saturating_add(limit);
        if self.query.is_empty() || limit == 0 || self.owners.as_ref().is_some_and(Vec::is_empty) {
            return Vec::new();
        }
        let (mut candidates, is_sorted) = if let Some(content) = self.query.content() {
            (self.of_content(content), false)
        } else if let Some(owners) = self.few_owners() {
            (self.of_owners(&owners), false)
        } else {
            self.by_words(wanted)
        };
        if !is_sorted {
            candidates.sort_unstable_by_key(|it| it.standing);
        }
        self.collect(&candidates, skip, limit)
    }

    fn of_content(&self, content: &ContentId) -> Vec<Candidate<'a>> {
        let mut candidates = Vec::new();
        for segment in self.snapshot.segments.iter().filter(|it| it.may_have(content)) {
            for class in segment.classes() {
                for rank in segment.find_ranks(class, content) {
                    let (content, place) = (*content, segment.place(rank));
                    let standing = Standing { fit: Fit::InName, class, content };
                    candidates.push(Candidate { standing, segment, place });
                }
            }
        }
        candidates.retain(|it| self.counts(it.segment, it.place));
        candidates.retain(|it| {
            it.segment.file(it.place).is_some_and(|file| self.query.passes_filter(&file))
        });
        candidates
    }

    /// The owners that are asked for, if it is best to look through all that they have.
    fn few_owners(&self) -> Option<Vec<OwnerNo>> {
        let owners = self.owners.as_ref()?;
        let mut records = 0;
        for segment in &self.snapshot.segments {
            records += owners.iter().map(|it| segment.places_of(*it).len()).sum::<usize>();
            records += segment.shared_places().len();
        }
        (self.query.terms().is_empty() || records <= FEW_RECORDS).then(|| owners.clone())
    }

    fn of_owners(&self, owners: &[OwnerNo]) -> Vec<Candidate<'a>> {
        let mut candidates = Vec::new();
        let mut words = RecordWords::default();
        for segment in &self.snapshot.segments {
            let own = owners.iter().flat_map(|owner| segment.places_of(*owner));
            for place in own.chain(segment.shared_places()) {
                if !segment.is_live(place) || !self.counts(segment, place) {
                    continue;
                }
                let Some(file) = segment.file(place) else { continue };
                words.read(file.path.as_str(), file.tags.as_deref());
                let Some(fit) = Fit::of(self.query, &words) else { continue };
                let excluded = |(word, _): (&str, bool)| {
                    self.query.excluded().iter().any(|term| term.accepts(word))
                };
                if self.query.passes_filter(&file)
                    && self.query.has_phrases(&file)
                    && !words.iter().any(excluded)
                {
                    let class = segment.class_of(place, &file);
                    let standing = Standing { fit, class, content: file.content };
                    candidates.push(Candidate { standing, segment, place });
                }
            }
        }
        candidates
    }

    /// What has the words, and whether it is in its order already.
    fn by_words(&mut self, wanted: usize) -> (Vec<Candidate<'a>>, bool) {
        let whole = self.query.terms().iter().filter(|term| term.by == TermMatch::Exact);
        let probes: Vec<Probe> =
            whole.map(|term| Probe::word(self.hasher.hash(term.text.as_bytes()))).collect();
        let segments = self.snapshot.segments.iter();
        let admitted: Vec<&Segment> = segments
            .filter(|it| probes.iter().all(|probe| it.may_have_word(*probe)))
            .map(|it| &**it)
            .collect();
        let mut blocks = Vec::with_capacity(admitted.len() * self.query.terms().len());
        admitted.iter().for_each(|segment| Terms::touch(segment, self.query, &mut blocks));
        let blocks = blocks.chunks_exact(self.query.terms().len().max(1));
        let mut terms: Vec<Terms<'a>> = admitted
            .iter()
            .zip(blocks)
            .filter_map(|(segment, blocks)| Terms::new(segment, self.query, blocks))
            .collect();
        std::hint::black_box(terms.iter().fold(0, |sum, it| sum ^ it.touch_lists()));
        // What is found in large segments spares work in the small ones.
        terms.sort_by_key(|terms| Reverse(terms.segment().len()));
        // Of one segment each pass comes in the order of the ranks, and behind the one before.
        let is_sorted = terms.len() <= 1;
        let mut needed = wanted;
        // What was found when fewer were looked for.
        let mut kept = None;
        loop {
            let mut found: Vec<Candidate<'a>> = Vec::with_capacity(needed.min(USUAL));
            let mut is_all = true;
            for fit in Fit::ALL {
                let before = found.len();
                for terms in &mut terms {
                    let still_needed = needed.saturating_sub(before);
                    // Beyond this class nothing can be among the best.
                    let last = nth_class(&mut found[before..], still_needed);
                    let mut scanner = Scanner {
                        query: self.query,
                        snapshot: self.snapshot,
                        terms,
                        fit,
                        prefix_was_cut: &mut self.prefix_was_cut,
                        budget: &mut self.budget,
                    };
                    let owners = self.owners.as_deref();
                    is_all &= scanner.run(owners, last, still_needed, &mut found);
                    if self.budget.is_spent() {
                        // Of one segment what has come is the best of it, in order.
                        let is_more = |kept: &Vec<_>| is_sorted && found.len() > kept.len();
                        return match kept.filter(|kept| !is_more(kept)) {
                            Some(kept) => (kept, true),
                            None => (found, is_sorted),
                        };
                    }
                    is_all &= last.is_none();
                }
                if found.len() >= needed {
                    is_all &= fit == Fit::Begun;
                    break;
                }
            }
            if is_all {
                return (found, is_sorted);
            }
            // Behind so many, others may be missing.
            if !is_sorted {
                found.sort_unstable_by_key(|it| it.standing);
            }
            let worst = needed.checked_sub(1).and_then(|at| found.get(at)).map(|it| it.standing);
            let end = found.partition_point(|it| worst.is_none_or(|worst| it.standing <= worst));
            found.truncate(end);
            if distinct(&found) >= wanted {
                return (found, true);
            }
            needed = needed.saturating_mul(4);
            kept = Some(found);
        }
    }

    /// Whether a document is of an owner whose records count.
    fn counts(&self, segment: &Segment, place: Place) -> bool {
        match self.owners.as_deref() {
            None => !self.snapshot.is_left_over(segment, place),
            Some(owners) => segment.is_of(place, owners),
        }
    }

    /// The records of the best contents, each with its sources.
    fn collect(&self, candidates: &[Candidate<'a>], skip: usize, limit: usize) -> Vec<Found> {
        if has_twins(candidates) {
            return self.collect_grouped(candidates, skip, limit);
        }
        let shown = candidates.get(skip..).unwrap_or_default();
        let shown = shown.get(..limit).unwrap_or(shown);
        let owners = self.touch(shown.iter());
        let mut found = Vec::with_capacity(shown.len());
        let mut room = Room::new();
        let mut nodes = Vec::new();
        for (it, owner) in shown.iter().zip(owners) {
            if let Some(owner) = owner {
                let file = it.segment.file_in(it.place, &mut room);
                let owner = self.snapshot.directory.get(owner);
                if let (Some((owner, _)), Some(file)) = (owner, file) {
                    found.push(Found { owner: *owner, file });
                }
                continue;
            }
            nodes.clear();
            self.sources(it, |node| nodes.push(node));
            nodes.sort_unstable();
            let (Some((last, others)), Some(file)) =
                (nodes.split_last(), it.segment.file_in(it.place, &mut room))
            else {
                continue;
            };
            let copies = others.iter().map(|owner| Found { owner: *owner, file: file.clone() });
            found.extend(copies);
            found.push(Found { owner: *last, file });
        }
        found
    }

    /// As [`Search::collect`], where some content has several candidates: they are brought
    /// together.
    fn collect_grouped(
        &self,
        candidates: &[Candidate<'a>],
        skip: usize,
        limit: usize,
    ) -> Vec<Found> {
        let wanted = skip.saturating_add(limit);
        let order = by_content(candidates);
        let mut first = vec![true; candidates.len()];
        let mut next = vec![usize::MAX; candidates.len()];
        for pair in order.windows(2) {
            if let [i, k] = pair
                && candidates[*i].standing.content == candidates[*k].standing.content
            {
                first[*k] = false;
                next[*i] = *k;
            }
        }
        // What is behind the last content that was wanted was perhaps not looked at, so a content
        // brings along only what is not. Where there are fewer contents, all was looked at.
        let firsts = || (0..candidates.len()).filter(|i| first[*i]);
        let last = wanted.checked_sub(1).and_then(|nth| firsts().nth(nth));
        let last = last.and_then(|i| candidates.get(i)).map(|it| it.standing);
        let mut found = Vec::with_capacity(limit.min(candidates.len()));
        let mut sources: Vec<(Standing, NodeId, usize)> = Vec::new();
        let mut room = Room::new();
        self.touch(firsts().skip(skip).take(limit).filter_map(|i| candidates.get(i)));
        for i in firsts().skip(skip).take(limit) {
            sources.clear();
            let mut at = i;
            while let Some(it) =
                candidates.get(at).filter(|it| last.is_none_or(|last| it.standing <= last))
            {
                self.sources(it, |node| sources.push((it.standing, node, at)));
                at = next[at];
            }
            if next[i] != usize::MAX {
                self.leave_out_moved(&mut sources, candidates);
            }
            sources.sort_unstable();
            sources.truncate(MAX_SOURCES_PER_CONTENT);
            // Records of one document stand together unless their owners are mixed with others'.
            for group in sources.chunk_by(|a, b| a.2 == b.2) {
                let [others @ .., (_, owner, at)] = group else { continue };
                let it = candidates.get(*at);
                let file = it.and_then(|it| it.segment.file_in(it.place, &mut room));
                let Some(file) = file else { continue };
                let copies = others.iter().map(|(_, owner, _)| (*owner, file.clone()));
                found.extend(copies.map(|(owner, file)| Found { owner, file }));
                found.push(Found { owner: *owner, file });
            }
        }
        found
    }

    /// Leaves each owner one record of a content. A document that moves is seen where it was and where
    /// it is for a moment; what an owner says now is in the segment that was made last, but for one who
    /// has just joined others in a document that was there already.
    fn leave_out_moved(
        &self,
        sources: &mut Vec<(Standing, NodeId, usize)>,
        candidates: &[Candidate<'a>],
    ) {
        let segment = |at: usize| candidates.get(at).map(|it| it.segment.id);
        sources.sort_unstable_by_key(|(_, node, at)| (*node, Reverse(segment(*at))));
        sources.dedup_by_key(|(_, node, _)| *node);
    }

    /// Answers the owner of each candidate that has one only, and reads something of what will be read
    /// of it: what is read side by side waits for memory once. Little is done for one after the other, so
    /// that the processor sees many of them ahead.
    fn touch<'c>(
        &self,
        candidates: impl Iterator<Item = &'c Candidate<'a>> + Clone,
    ) -> Vec<Option<OwnerNo>>
    where
        'a: 'c,
    {
        let documents = candidates.clone();
        let touched = documents.fold(0, |sum, it| sum ^ it.segment.documents.touch(it.place));
        std::hint::black_box(touched);
        let owner = |it: &Candidate<'_>| {
            let is_one = it.segment.share(it.place).is_none();
            is_one.then(|| it.segment.owner(it.place))
        };
        let owners: Vec<Option<OwnerNo>> = candidates.map(owner).collect();
        let known = owners.iter().flatten().filter_map(|it| self.snapshot.directory.get(*it));
        std::hint::black_box(known.fold(0, |sum, (node, _)| sum ^ node.as_bytes()[0]));
        owners
    }

    /// Sees the first owners of a candidate whose records count: nobody who has gone.
    fn sources(&self, it: &Candidate<'a>, see: impl FnMut(NodeId)) {
        let known = |owner| self.snapshot.directory.get(owner).map(|(node, _)| *node);
        let counts = |owner: &OwnerNo| {
            self.owners.as_ref().is_none_or(|owners| owners.binary_search(owner).is_ok())
        };
        match it.segment.share(it.place) {
            None => known(it.segment.owner(it.place)).into_iter().for_each(see),
            Some(share) => {
                let owners = share.owners();
                let known = owners.iter().filter(counts).filter_map(known);
                known.take(MAX_SOURCES_PER_CONTENT).for_each(see);
            }
        }
    }
}

/// The class of the nth best of candidates of one fit, if there are so many.
fn nth_class(candidates: &mut [Candidate<'_>], n: usize) -> Option<Class> {
    if n == 0 || candidates.len() < n {
        return None;
    }
    let (_, nth, _) = candidates.select_nth_unstable_by_key(n - 1, |it| it.standing.class);
    Some(nth.standing.class)
}

/// The numbers of candidates in the order of their contents, equal ones in their own.
fn by_content(candidates: &[Candidate<'_>]) -> Vec<usize> {
    let content = |i: usize| candidates.get(i).map(|it| &it.standing.content);
    let mut order: Vec<(u64, usize)> =
        candidates.iter().enumerate().map(|(i, it)| (prefix(&it.standing.content), i)).collect();
    // Contents are hashes: their first bytes nearly always decide.
    order.sort_unstable_by(|a, b| {
        a.0.cmp(&b.0).then_with(|| (content(a.1), a.1).cmp(&(content(b.1), b.1)))
    });
    order.into_iter().map(|(_, i)| i).collect()
}

/// Whether some content may have several candidates. A wrong yes only costs time.
fn has_twins(candidates: &[Candidate<'_>]) -> bool {
    /// Places of the table for each candidate.
    const PLACES: usize = 2;
    /// Contents that somebody has made up to fall on one place are not gone through forever.
    const MAX_STEPS: usize = 8;
    let mut table = vec![0_u32; (candidates.len() * PLACES).next_power_of_two()];
    let mask = table.len() - 1;
    candidates.iter().any(|it| {
        // A zero is a free place. Contents that begin alike are taken for one.
        let key = prefix(&it.standing.content) as u32 | 1;
        let mut places = (0..MAX_STEPS).map(|step| ((key >> 1) as usize + step) & mask);
        let place = places.find(|at| table[*at] == 0 || table[*at] == key);
        place.is_none_or(|at| std::mem::replace(&mut table[at], key) == key)
    })
}

fn distinct(candidates: &[Candidate<'_>]) -> usize {
    if !has_twins(candidates) {
        return candidates.len();
    }
    let order = by_content(candidates);
    let content = |i: &usize| candidates.get(*i).map(|it| &it.standing.content);
    order.chunk_by(|a, b| content(a) == content(b)).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::Search;
    use crate::budget::{Budget, MAX_SEARCH_WORK, NUMBERS_OF_DOCUMENT};
    use crate::class::class;
    use crate::scan::looked_at;
    use crate::testing::file_at;
    use crate::text::ParsedQuery;
    use crate::{Index, Limits, PublishOutcome};
    use skein_proto::{Ask, BoundedString, FileMeta, Filter, NodeId, Query, Username};

    /// Files of two words that all of them have, in names of different lengths.
    fn file(number: u32) -> FileMeta {
        let path = format!("common word {}{number}", "x".repeat(number as usize % 40));
        file_at(number, &path)
    }

    #[test]
    fn the_best_of_many_are_found_without_a_look_at_all_of_them() {
        const RECORDS: u32 = 20_000;
        let owner = NodeId::from_bytes([1; 32]);
        let mut index = Index::new(Limits::default());
        index.set_owner(owner, &Username::parse("alice").expect("a name"));
        index.publish(&owner, (0..RECORDS).map(file));
        let ask = Ask::Words(BoundedString::truncated("common word "));
        let query = Query { ask, filter: Filter::default() };
        let search = |index: &Index, limit| {
            looked_at::take();
            (index.search(&query, limit).len(), looked_at::take())
        };
        while !index.maintain(4_096) {}
        assert_eq!(index.segments(), 1);
        let (found, looked) = search(&index, 100);
        assert_eq!(found, 100);
        assert!(looked <= 2 * 64, "{looked} looked at for the best hundred, in batches of 64");
        assert!(search(&index, usize::MAX).1 >= RECORDS as usize, "all that is asked for");

        // What is found in the large segment bounds what is read of the small ones.
        for part in 0..10 {
            let first = RECORDS + part * 100;
            index.publish(&owner, (first..first + 100).map(file));
        }
        assert_eq!(index.segments(), 11);
        let (found, looked) = search(&index, 100);
        assert_eq!(found, 100);
        assert!(looked <= (2 + 10) * 64, "{looked} looked at in eleven segments");
    }

    #[test]
    fn a_search_ends_when_it_has_done_so_much_whatever_is_asked() {
        const RECORDS: u32 = 60_000;
        const FEW: usize = 2_000;
        let owner = NodeId::from_bytes([1; 32]);
        let mut index = Index::new(Limits { owner_words: 1_000_000, ..Limits::default() });
        index.set_owner(owner, &Username::parse("alice").expect("a name"));
        let file = |number: u32| {
            let rare = if number.is_multiple_of(150) { " rare" } else { "" };
            file_at(number, &format!("common a{number} b{number} c{number}{rare}.mp3"))
        };
        index.publish(&owner, (0..RECORDS).map(file));
        while !index.maintain(4_096) {}
        let query = |text: &str, extension: Option<&str>| {
            let ask = Ask::Words(BoundedString::truncated(text));
            let extension = extension.map(BoundedString::truncated);
            let query = Query { ask, filter: Filter { extension, ..Filter::default() } };
            ParsedQuery::parse(&query).expect("a query")
        };
        let snapshot = index.shared.snapshot.load();
        // How many are found, and whether the search was cut.
        let search = |text: &str, extension, documents, limit| {
            let query = query(text, extension);
            let mut search = Search::new(&snapshot, &query, &index.shared.hasher);
            search.budget = Budget::of(documents);
            looked_at::take_work();
            let found = search.run(0, limit).len();
            let (read, united) = looked_at::take_work();
            let work = read + united / NUMBERS_OF_DOCUMENT;
            assert!(work <= documents, "{text}: {read} were read and {united} united");
            (found, search.budget.is_spent())
        };
        // Beginnings that many words have, wanted or not, and a filter that nothing passes.
        assert_eq!(search("common -a* -b* -c*", None, FEW, 100), (0, true));
        assert!(search("common a* b* c*", None, FEW, 100).1);
        assert_eq!(search("common mp3 ", Some("zzz"), FEW, 100), (0, true));
        // What is found before the end is shown.
        let (found, is_cut) = search("common ", Some("mp3"), FEW, 10_000);
        assert!(found > FEW * 3 / 4 && is_cut, "{found} were found");
        assert_eq!(search("common a77", None, FEW, 100), (100, false));

        // What is not united is looked for in the words of what matches.
        let begin_so = |beginning: &str| {
            (0..RECORDS).filter(|it| it.to_string().starts_with(beginning)).count()
        };
        let rest = RECORDS as usize - begin_so("1");
        assert_eq!(search("common -a1*", None, MAX_SEARCH_WORK, usize::MAX), (rest, false));
        assert_eq!(search("rare a*", None, MAX_SEARCH_WORK, usize::MAX), (400, false));

        assert_eq!(index.searches_cut(), 0);
        index.find(&query("common ", Some("zzz")), 100);
        assert_eq!((index.searches_cut(), index.prefixes_cut()), (1, 0));
    }

    #[test]
    fn what_few_of_many_have_is_found_in_order_and_none_twice_up_to_where_the_search_ends() {
        const RECORDS: u32 = 30_000;
        let owner = NodeId::from_bytes([1; 32]);
        let mut index = Index::new(Limits::default());
        index.set_owner(owner, &Username::parse("alice").expect("a name"));
        let has = |number: u32, one_in: u32, word| {
            if number.is_multiple_of(one_in) { word } else { "" }
        };
        // Of a batch of those with either word six have the other one too.
        let file = |number: u32| {
            let more = "x".repeat(number as usize / 7 % 30);
            file_at(
                number,
                &format!("{} {} n{more}", has(number, 10, "some"), has(number, 11, "few")),
            )
        };
        index.publish(&owner, (0..RECORDS).map(file));
        while !index.maintain(4_096) {}
        let mut expected: Vec<FileMeta> = (0..RECORDS).step_by(110).map(file).collect();
        expected.sort_by_key(|it| (class(it.path.file_name().chars().count(), 1), it.content));
        let ask = Ask::Words(BoundedString::truncated("some few "));
        let query = ParsedQuery::parse(&Query { ask, filter: Filter::default() }).expect("a query");
        let snapshot = index.shared.snapshot.load();
        let search = |documents, limit| {
            let mut search = Search::new(&snapshot, &query, &index.shared.hasher);
            search.budget = Budget::of(documents);
            let found = search.run(0, limit);
            (found.into_iter().map(|it| it.file).collect::<Vec<_>>(), search.budget.is_spent())
        };
        for limit in [1, 2, 63, 64, 65, 127, 128, 129, 272, 273, usize::MAX] {
            let (found, is_cut) = search(MAX_SEARCH_WORK, limit);
            assert!(found == expected[..limit.min(expected.len())], "the best {limit}");
            assert!(!is_cut);
        }
        let mut most = 0;
        for documents in 0..100 {
            let (found, is_cut) = search(documents, usize::MAX);
            assert!(found == expected[..found.len()], "with a budget for {documents}");
            assert!(found.len() >= most && (is_cut || found.len() == expected.len()));
            // A batch takes what two documents do, and has six of them.
            let least = (2 * documents).min(expected.len());
            assert!(found.len() + 16 >= least, "{} with a budget for {documents}", found.len());
            most = found.len();
        }
        assert_eq!(most, expected.len());
    }

    #[test]
    fn an_owner_has_one_record_of_a_content_while_a_document_moves() {
        let [alice, bob, carol] = [1, 2, 3].map(|number| NodeId::from_bytes([number; 32]));
        let mut index = Index::new(Limits::default());
        for owner in [alice, bob, carol] {
            index.set_owner(owner, &Username::parse("alice").expect("a name"));
        }
        let short = file_at(1, "some song");
        let long = file_at(1, "some song of a longer name");
        index.publish(&alice, [short.clone()]);
        let asked = Ask::Words(BoundedString::truncated("some song "));
        // Where the new place of a document is shown and the old one still is there too.
        let mut found_meanwhile = |owner: NodeId, file: &FileMeta| {
            let number = index.register.number(&owner).expect("it is known");
            let admitted = index.store.admitting(std::slice::from_ref(file));
            let mut outcome = PublishOutcome::default();
            index.take_in(number, &mut file.clone(), (&admitted, 0), &mut outcome);
            index.store.show_drafted(&index.register, &index.shared);
            let mut records = [asked.clone(), Ask::Content(file.content)].map(|ask| {
                let found = index.search(&Query { ask, filter: Filter::default() }, 10);
                found.into_iter().map(|it| (it.owner, it.file)).collect::<Vec<_>>()
            });
            index.flush();
            assert_eq!(records[0], records[1]);
            std::mem::take(&mut records[0])
        };
        let of = |owner: NodeId, file: &FileMeta| (owner, file.clone());
        assert_eq!(found_meanwhile(bob, &short), [of(alice, &short), of(bob, &short)]);
        // One more passes no power of two.
        let all = [alice, bob, carol].map(|owner| of(owner, &short));
        assert_eq!(found_meanwhile(carol, &short), all);
        let renamed = [of(alice, &short), of(carol, &short), of(bob, &long)];
        assert_eq!(found_meanwhile(bob, &long), renamed);
        assert_eq!(
            found_meanwhile(alice, &long),
            [of(carol, &short), of(alice, &long), of(bob, &long)],
        );
    }

    #[test]
    fn what_begins_like_the_last_word_is_found_however_many_other_words_and_documents_do() {
        let owner = NodeId::from_bytes([1; 32]);
        let ask = Ask::Words(BoundedString::truncated("rare song"));
        let query = Query { ask, filter: Filter::default() };
        // Few words that begin so; more of them than documents; one that more documents have than are
        // united for five.
        for (count, is_one_word) in [(3, false), (40, false), (1_000, true)] {
            let name = |number: u32| match is_one_word {
                true => format!("songa {number}"),
                false => format!("songa{}", "b".repeat(number as usize)),
            };
            let mut index = Index::new(Limits::default());
            index.set_owner(owner, &Username::parse("alice").expect("a name"));
            let rare = (0..5).map(|number| file_at(number, &format!("rare songz {number}")));
            let rest = (0..count).map(|number| file_at(10 + number, &name(number)));
            index.publish(&owner, rare.chain(rest));
            assert_eq!(index.search(&query, 100).len(), 5, "beside {count} others");
        }
    }
}
