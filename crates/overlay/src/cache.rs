//! What the other supernodes answered to popular searches a moment ago.
//!
//! Only searches that found enough are kept, or asked everybody and have come to as many copies as
//! are wanted, of however few things: one that found little may find more the next time. The own
//! index is not in it, since asking that costs nothing, so that what changes there shows at once.

use crate::hashed::HashMap;
use skein_index::text::ParsedQuery;
use skein_proto::query::{Coverage, StopReason};
use skein_proto::{HitGroup, Instant};
use std::collections::VecDeque;
use std::time::Duration;

/// How long an answer is good: shorter than it takes a person to wonder why a file that went away
/// is still there, long enough for the same words of others.
const FRESH: Duration = Duration::from_secs(30);

/// Answers kept, and hits in all of them: some megabytes.
const MAX_ANSWERS: usize = 512;
const MAX_FILES: usize = 16_384;

/// An answer with more hits is not kept.
const MAX_FILES_OF_ONE: usize = 1_024;

#[derive(Debug)]
struct Answer {
    wanted: usize,
    files: usize,
    groups: Vec<HitGroup>,
    coverage: Coverage,
}

/// What the other supernodes answered to popular searches a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    answers: HashMap<ParsedQuery, Answer>,
    order: VecDeque<(Instant, ParsedQuery)>,
    files: usize,
}

impl Cache {
    /// Keeps what others answered to a query, and what that covered.
    pub(crate) fn put(
        &mut self,
        query: &ParsedQuery,
        wanted: usize,
        groups: Vec<HitGroup>,
        coverage: Coverage,
        now: Instant,
    ) {
        let files: usize = groups.iter().map(|group| group.files.len()).sum();
        self.expire(now);
        let is_all = match coverage.stopped {
            StopReason::Enough => true,
            StopReason::Exhausted => files >= wanted,
            _ => false,
        };
        if !is_all || files == 0 || files > MAX_FILES_OF_ONE || self.answers.contains_key(query) {
            return;
        }
        while self.answers.len() >= MAX_ANSWERS || self.files + files > MAX_FILES {
            self.drop_oldest();
        }
        self.files += files;
        self.order.push_back((now, query.clone()));
        self.answers.insert(query.clone(), Answer { wanted, files, groups, coverage });
    }

    /// What others answered to a query of which so many contents were wanted.
    pub(crate) fn get(
        &mut self,
        query: &ParsedQuery,
        wanted: usize,
        now: Instant,
    ) -> Option<(Vec<HitGroup>, Coverage)> {
        self.expire(now);
        let answer = self.answers.get(query).filter(|answer| answer.wanted >= wanted)?;
        Some((answer.groups.clone(), answer.coverage))
    }

    fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) >= FRESH) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.order.pop_front();
        if let Some(answer) = oldest.and_then(|(_, query)| self.answers.remove(&query)) {
            self.files -= answer.files;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use skein_proto::query::Filter;
    use skein_proto::testing::{largest_file, largest_owner};
    use skein_proto::{Ask, BoundedString, BoundedVec, Query};

    fn parsed(words: &str) -> ParsedQuery {
        let ask = Ask::Words(BoundedString::truncated(words));
        ParsedQuery::parse(&Query { ask, filter: Filter::default() }).expect("few words")
    }

    fn groups(files: u32) -> Vec<HitGroup> {
        let files: Vec<_> = (0..files).map(largest_file).collect();
        files
            .chunks(64)
            .map(|part| HitGroup {
                owner: largest_owner(),
                files: BoundedVec::truncated(part.to_vec()),
            })
            .collect()
    }

    const COVERAGE: Coverage = Coverage {
        supernodes_asked: 9,
        supernodes_known: 9,
        nodes_covered: 9,
        stopped: StopReason::Enough,
    };

    #[test]
    fn the_same_words_in_any_order_are_answered_for_half_a_minute() {
        let (mut cache, now) = (Cache::default(), Instant::START);
        cache.put(&parsed("some song "), 5, groups(5), COVERAGE, now);
        let later = now + FRESH / 2;
        assert!(cache.get(&parsed("song SOME "), 5, later).is_some());
        assert!(cache.get(&parsed("song some "), 6, later).is_none(), "more are wanted");
        assert!(cache.get(&parsed("some song"), 5, later).is_none(), "an open word is another");
        assert!(cache.get(&parsed("some song "), 5, now + FRESH).is_none());
        assert_eq!(cache.files, 0);
    }

    #[test]
    fn what_many_hold_is_kept_also_if_it_is_a_single_thing() {
        let (mut cache, now) = (Cache::default(), Instant::START);
        let ended = |stopped| Coverage { stopped, ..COVERAGE };
        cache.put(&parsed("few "), 5, groups(4), ended(StopReason::Exhausted), now);
        cache.put(&parsed("cut "), 5, groups(5), ended(StopReason::Unreached), now);
        cache.put(&parsed("many "), 5, groups(5), ended(StopReason::Exhausted), now);
        let kept = ["few ", "cut ", "many "].map(|words| cache.get(&parsed(words), 5, now));
        assert_eq!(kept.map(|kept| kept.is_some()), [false, false, true]);
    }

    #[test]
    fn the_room_is_bounded_in_answers_and_in_hits() {
        let (mut cache, now) = (Cache::default(), Instant::START);
        cache.put(&parsed("large "), 5, groups(2_000), COVERAGE, now);
        assert!(cache.answers.is_empty());
        for number in 0..MAX_ANSWERS + 50 {
            cache.put(&parsed(&format!("w{number} ")), 5, groups(60), COVERAGE, now);
            assert!(cache.files <= MAX_FILES && cache.answers.len() <= MAX_ANSWERS);
            assert_eq!(cache.order.len(), cache.answers.len());
        }
        assert!(cache.get(&parsed("w561 "), 5, now).is_some(), "the newest stay");
    }
}
