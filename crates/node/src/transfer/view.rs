//! What the user sees of a download.

use super::journal::{Record, Stage};
use crate::api::types::Download;
use bytesize::ByteSize;
use skein_swarm::bytes_of;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// Over how long the rate is reckoned: long enough to be readable, short enough to be true.
const RATE_SPAN: Duration = Duration::from_secs(5);

/// How long one step of it is.
const RATE_STEP: Duration = Duration::from_millis(500);

/// How many lines of trouble are kept.
const MAX_TROUBLE: usize = 8;

/// Bytes a second over the last seconds.
#[derive(Debug, Default)]
pub(super) struct RecentRate {
    steps: VecDeque<(Instant, u64)>,
    first: Option<Instant>,
}

impl RecentRate {
    pub fn add(&mut self, bytes: u64, now: Instant) {
        self.first.get_or_insert(now);
        match self.steps.back_mut() {
            Some((at, sum)) if now.duration_since(*at) < RATE_STEP => *sum += bytes,
            _ => self.steps.push_back((now, bytes)),
        }
        self.forget(now);
    }

    pub fn get(&mut self, now: Instant) -> u64 {
        self.forget(now);
        let Some(first) = self.first else { return 0 };
        let sum: u64 = self.steps.iter().map(|(_, bytes)| bytes).sum();
        // A download that began a moment ago has no five seconds to be reckoned over.
        let span = now.duration_since(first).clamp(RATE_STEP, RATE_SPAN);
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        sum.saturating_mul(1_000) / millis
    }

    fn forget(&mut self, now: Instant) {
        while self.steps.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_SPAN) {
            self.steps.pop_front();
        }
    }
}

/// The last failures of sources, one line each.
#[derive(Debug, Default)]
pub(super) struct Trouble(VecDeque<String>);

impl Trouble {
    pub fn note(&mut self, line: String) {
        // The same again is no news.
        if self.0.back() == Some(&line) {
            return;
        }
        if self.0.len() == MAX_TROUBLE {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

/// A number of bytes for people, such as "1.5 GiB".
pub(super) fn human_bytes(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

impl Record {
    /// The file that it becomes, or became.
    pub(super) fn shown_path(&self) -> PathBuf {
        match (&self.stage, &self.target) {
            (Stage::Done | Stage::Naming, Some(target)) => target.clone(),
            _ => self.dir.join(&self.name),
        }
    }

    /// How it is shown while no task runs.
    pub(super) fn as_shown(&self) -> Download {
        let verified = self
            .size
            .map_or(0, |size| self.runs().iter().map(|run| bytes_of(run, size).len()).sum());
        Download {
            id: self.id,
            content: self.content,
            name: self.name.clone(),
            path: self.shown_path(),
            state: self.stage.state(),
            size: self.size,
            verified,
            resumed: 0,
            as_left: false,
            rate: 0,
            sources_active: 0,
            sources_known: 0,
            via: Vec::new(),
            trouble: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut rate = RecentRate::default();
        let start = Instant::now();
        for step in 0..200 {
            rate.add(1_000, start + Duration::from_millis(step * 100));
        }
        let now = start + Duration::from_secs(20);
        assert!((8_500..=11_500).contains(&rate.get(now)), "{}", rate.get(now));
        assert_eq!(rate.get(now + Duration::from_secs(60)), 0);
    }

    #[test]
    fn only_the_last_troubles_are_kept_and_none_twice_in_a_row() {
        let mut trouble = Trouble::default();
        for number in 0..20 {
            trouble.note(format!("line {}", number / 2));
        }
        assert_eq!(trouble.lines().len(), MAX_TROUBLE);
        assert_eq!(trouble.lines().last().map(String::as_str), Some("line 9"));
    }
}
