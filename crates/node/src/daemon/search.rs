//! Searches as users see them: hits of all owners grouped by content, numbered as they come.

use super::conduct::Conduct;
use super::driver::{SearchUpdate, SearchUpdates};
use super::ranking::Ranking;
use crate::api::types::{ContentHit, SearchEvent, SearchReport, Source, StartSearch};
use skein_proto::query::Coverage;
use skein_proto::{Ask, BoundedString, ContentId, Filter, HitGroup, Query};
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Contents that are enough, unless the user says otherwise.
const DEFAULT_WANTED: u16 = 100;

/// The most contents that a user may ask for at once.
const MAX_WANTED: u16 = 1_000;

/// Why a search cannot be started; the user's mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SearchError {
    #[error("give some words to search for, or a content id, or --owner to see what a user shares")]
    Nothing,
    #[error("a search has at most 256 bytes of words, this one has {0}")]
    TooLong(usize),
    #[error("a search has 1 to {MAX_WANTED} results, not {0}")]
    Limit(u16),
    #[error("there is no search to go on with: give some words to search for")]
    NoneBefore,
    #[error(
        "a search has at most {MAX_WANTED} results, and all were shown: add words or conditions"
    )]
    AllShown,
    #[error(transparent)]
    Query(#[from] skein_index::text::QueryError),
}

/// Turns what a user typed into a query and the number of results that are wanted.
pub(crate) fn query_of(search: StartSearch) -> Result<(Query, u16), SearchError> {
    let words = search.words.trim();
    let wanted = search.limit.unwrap_or(DEFAULT_WANTED);
    if !(1..=MAX_WANTED).contains(&wanted) {
        return Err(SearchError::Limit(wanted));
    }
    let ask = match words.parse::<ContentId>() {
        Ok(content) => Ask::Content(content),
        Err(_) => {
            let bounded = BoundedString::new(search.words.trim_start());
            Ask::Words(bounded.map_err(|_| SearchError::TooLong(words.len()))?)
        }
    };
    let query = Query { ask, filter: search.filter };
    if matches!(query.ask, Ask::Words(_)) {
        let parsed = skein_index::text::ParsedQuery::parse(&query)?;
        if parsed.is_empty() && query.filter.owner.is_none() {
            return Err(SearchError::Nothing);
        }
    }
    Ok((query, wanted))
}

/// The last search with its hits, so that a user can name them by their numbers, and go on with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastSearch(Arc<Mutex<Numbered>>);

#[derive(Debug, Default)]
struct Numbered {
    /// Which search they are of, and what was asked.
    search: u64,
    asked: Option<(String, Filter)>,
    /// By their numbers, which begin with 1.
    hits: Vec<ContentHit>,
}

impl LastSearch {
    fn hits(&self) -> MutexGuard<'_, Numbered> {
        // Each change is complete in itself, also when a thread panicked after it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A search begins, and takes the place of the one before, which may go on elsewhere.
    fn begin(&self, asked: (String, Filter)) -> Begun {
        let mut last = self.hits();
        last.hits.clear();
        last.search += 1;
        last.asked = Some(asked);
        Begun { search: last.search, shown: HashSet::new() }
    }

    /// The last search goes on.
    fn go_on(&self) -> Result<(Begun, (String, Filter)), SearchError> {
        let mut last = self.hits();
        let asked = last.asked.clone().ok_or(SearchError::NoneBefore)?;
        // What still comes of its beginning is not mixed into what is shown from now on.
        last.search += 1;
        let shown = last.hits.iter().map(|hit| hit.content).collect();
        Ok((Begun { search: last.search, shown }, asked))
    }

    /// A search begins, or goes on: which one it is, its query, and how many results are wanted, those
    /// included that were shown.
    pub(crate) fn start(&self, search: StartSearch) -> Result<(Begun, Query, u16), SearchError> {
        if !search.more {
            let asked = (search.words.clone(), search.filter.clone());
            let (query, wanted) = query_of(search)?;
            return Ok((self.begin(asked), query, wanted));
        }
        let more = search.limit.unwrap_or(DEFAULT_WANTED);
        if !(1..=MAX_WANTED).contains(&more) {
            return Err(SearchError::Limit(more));
        }
        let (begun, (words, filter)) = self.go_on()?;
        let shown = u16::try_from(begun.shown.len()).unwrap_or(MAX_WANTED);
        if shown >= MAX_WANTED {
            return Err(SearchError::AllShown);
        }
        let limit = Some(shown.saturating_add(more).min(MAX_WANTED));
        let (query, wanted) = query_of(StartSearch { words, filter, limit, more: false })?;
        Ok((begun, query, wanted))
    }

    /// Keeps a hit, if it is one of the last search.
    fn put(&self, search: u64, hit: &ContentHit) {
        let mut last = self.hits();
        if last.search != search {
            return;
        }
        match last.hits.iter_mut().find(|known| known.number == hit.number) {
            Some(known) => known.clone_from(hit),
            None => last.hits.push(hit.clone()),
        }
    }

    /// The hit with this number.
    pub(crate) fn by_number(&self, number: u32) -> Option<ContentHit> {
        self.hits().hits.iter().find(|hit| hit.number == number).cloned()
    }

    /// The hit with this content.
    pub(crate) fn by_content(&self, content: &ContentId) -> Option<ContentHit> {
        self.hits().hits.iter().find(|hit| hit.content == *content).cloned()
    }
}

/// A search that has begun.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    /// Which one it is of those that took the place of the last one.
    search: u64,
    /// What was shown before, if it goes on.
    shown: HashSet<ContentId>,
}

/// A running search.
pub(crate) struct Tally {
    updates: SearchUpdates,
    last: LastSearch,
    begun: Begun,
    started: Instant,
    first_hit_ms: Option<u64>,
    ranking: Ranking,
    conduct: Conduct,
    ready: VecDeque<SearchEvent>,
    over: bool,
}

impl Tally {
    /// Counts what comes of a search that [`LastSearch::start`] has begun. `conduct` knows whom this
    /// node had trouble with.
    pub(super) fn new(
        updates: SearchUpdates,
        last: LastSearch,
        begun: Begun,
        conduct: Conduct,
    ) -> Self {
        Self {
            updates,
            last,
            started: Instant::now(),
            first_hit_ms: None,
            ranking: Ranking::behind(begun.shown.len()),
            begun,
            conduct,
            ready: VecDeque::new(),
            over: false,
        }
    }

    /// The next event; `None` behind the end.
    pub(crate) async fn next(&mut self) -> Option<SearchEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            match self.updates.next().await {
                Some(SearchUpdate::Hits(groups)) => self.take_in(groups),
                Some(SearchUpdate::Done(coverage)) => {
                    self.over = true;
                    for hit in self.ranking.take_held() {
                        self.show(hit);
                    }
                    let report = self.report(coverage);
                    self.ready.push_back(SearchEvent::Done(report));
                }
                None => self.over = true,
            }
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn take_in(&mut self, groups: Vec<HitGroup>) {
        let now = self.elapsed_ms();
        self.first_hit_ms.get_or_insert(now);
        for offer in groups.into_iter().flat_map(sources_of) {
            if self.begun.shown.contains(&offer.0) {
                continue;
            }
            let is_doubtful = self.conduct.is_doubtful(&offer.2.node);
            if let Some(hit) = self.ranking.add(offer, is_doubtful) {
                self.show(hit);
            }
        }
    }

    fn show(&mut self, hit: ContentHit) {
        self.last.put(self.begun.search, &hit);
        self.ready.push_back(SearchEvent::Hit(Box::new(hit)));
    }

    fn report(&self, coverage: Coverage) -> SearchReport {
        SearchReport {
            contents: u32::try_from(self.ranking.contents()).unwrap_or(u32::MAX),
            sources: u32::try_from(self.ranking.sources()).unwrap_or(u32::MAX),
            first_hit_ms: self.first_hit_ms,
            took_ms: self.elapsed_ms(),
            coverage,
            stopped: coverage.stopped.in_words().to_owned(),
        }
    }
}

type Offer = (ContentId, skein_proto::FileMeta, Source);

/// The files of a group, each with its owner as a source. The overlay has checked the owner's
/// credential.
pub(crate) fn sources_of(group: HitGroup) -> impl Iterator<Item = Offer> {
    let owner = group.owner;
    let source = Source {
        node: owner.node,
        name: owner.credential.unverified().name.clone(),
        addresses: owner.addresses.into_vec(),
        parent: owner.parent,
    };
    group.files.into_iter().map(move |file| (file.content, file, source.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(words: &str, limit: Option<u16>) -> Result<(Query, u16), SearchError> {
        query_of(StartSearch { words: words.to_owned(), limit, ..StartSearch::default() })
    }

    fn hit(content: u8) -> ContentHit {
        ContentHit {
            number: 1,
            content: ContentId::from_bytes([content; 32]),
            name: "a".to_owned(),
            path: "a/a".to_owned(),
            size: 1,
            kind: skein_proto::file::Kind::Other,
            tags: Default::default(),
            sources: Vec::new(),
        }
    }

    #[test]
    fn a_content_id_is_looked_for_exactly() {
        let id = "ab".repeat(32);
        let (query, wanted) = search(&format!(" {id}\n"), None).expect("a query");
        assert_eq!(query.ask, Ask::Content(id.parse().expect("an id")));
        assert_eq!(wanted, DEFAULT_WANTED);
    }

    #[test]
    fn a_search_that_can_find_nothing_is_refused_with_the_reason() {
        assert_eq!(search("  ", None), Err(SearchError::Nothing));
        assert_eq!(search("!?", None), Err(SearchError::Nothing));
        assert_eq!(search("a", Some(0)), Err(SearchError::Limit(0)));
        assert_eq!(search("a", Some(1_001)), Err(SearchError::Limit(1_001)));
        assert_eq!(search(&"ab ".repeat(100), None), Err(SearchError::TooLong(299)));
    }

    #[test]
    fn a_search_that_goes_on_elsewhere_does_not_mix_into_the_last_one() {
        let last = LastSearch::default();
        let begin = || last.begin(("a".to_owned(), Filter::default())).search;
        let before = begin();
        last.put(before, &hit(1));
        let now = begin();
        last.put(before, &hit(1));
        assert_eq!(last.by_number(1), None);
        last.put(now, &hit(2));
        last.put(before, &hit(1));
        assert_eq!(last.by_number(1), Some(hit(2)));
    }

    #[test]
    fn a_search_goes_on_behind_what_it_has_shown() {
        let last = LastSearch::default();
        let more = |limit| last.start(StartSearch { limit, more: true, ..StartSearch::default() });
        assert_eq!(more(None).err(), Some(SearchError::NoneBefore));
        let first = StartSearch { words: "song".to_owned(), limit: Some(2), ..Default::default() };
        let (begun, query, _) = last.start(first).expect("a search");
        for number in 1..=2 {
            last.put(begun.search, &ContentHit { number: number.into(), ..hit(number) });
        }
        let (begun, again, wanted) = more(Some(5)).expect("the same search");
        assert_eq!((again, wanted), (query, 7));
        assert_eq!(begun.shown, [hit(1), hit(2)].map(|hit| hit.content).into());
        last.put(begun.search, &ContentHit { number: 3, ..hit(3) });
        let numbers = [1, 3].map(|number| last.by_number(number).map(|hit| hit.content));
        assert_eq!(numbers, [1, 3].map(|number| Some(hit(number).content)));
        assert_eq!(more(Some(0)).err(), Some(SearchError::Limit(0)));
        assert_eq!(more(Some(1_000)).map(|(.., wanted)| wanted).ok(), Some(1_000));
    }

    #[test]
    fn the_files_of_a_user_can_be_listed_without_words() {
        let owner = skein_proto::Username::parse("alice").ok();
        let filter = Filter { owner, ..Filter::default() };
        assert!(query_of(StartSearch { filter, ..StartSearch::default() }).is_ok());
    }
}
