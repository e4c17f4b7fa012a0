//! How a download stands, for those who look on.

use super::Download;
use crate::bytes_of;
use crate::source::{Phase, Source};
use skein_proto::Instant;

/// Why bytes come, or do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Situation {
    /// Bytes are on their way.
    Fetching,
    /// Sources are being asked what they have.
    Asking,
    /// Sources are known, and all of them are busy.
    AllBusy {
        /// When the next one is asked again.
        until: Instant,
    },
    /// Sources are known, but none answers or has what is missing.
    NoneAnswers,
    /// No source is known.
    NoSource,
    /// It is paused.
    Paused,
    /// It is complete.
    Complete,
}

/// Counts of a download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests made.
    pub requests: u64,
    /// Requests for what had been asked of another source already.
    pub end_game_requests: u64,
    /// Requests that failed.
    pub failed_requests: u64,
    /// Sources that were not taken in since too many were known.
    pub sources_refused: u64,
    /// Sources that were banned.
    pub banned: u64,
}

impl Download {
    /// Bytes that are here.
    pub fn verified_bytes(&self) -> u64 {
        let size = self.size.unwrap_or(u64::MAX);
        self.verified.iter().map(|run| bytes_of(run, size).len()).sum()
    }

    /// Sources that are asked for bytes at present.
    pub fn active_sources(&self) -> usize {
        self.sources.values().filter(|source| source.outstanding > 0).count()
    }

    /// Sources that are known and have not been banned or given up.
    pub fn known_sources(&self) -> usize {
        let gone = |phase| matches!(phase, Phase::Banned | Phase::GivenUp { .. });
        self.sources.values().filter(|source| !gone(source.phase)).count()
    }

    /// Whether everything that is missing has been asked for, so that the slow end is asked twice.
    pub fn in_end_game(&self) -> bool {
        self.size.is_some() && self.free.is_empty() && !self.completed
    }

    /// Why bytes come, or do not.
    pub fn situation(&self) -> Situation {
        let busy = self.sources.values().filter_map(|source| match source.phase {
            Phase::Waiting { until, busy: true, .. } => Some(until),
            _ => None,
        });
        let probing = |source: &Source| matches!(source.phase, Phase::Probing | Phase::New);
        if self.completed {
            Situation::Complete
        } else if self.paused {
            Situation::Paused
        } else if !self.requests.is_empty() {
            Situation::Fetching
        } else if self.sources.values().any(probing) {
            Situation::Asking
        } else if let Some(until) = busy.min() {
            Situation::AllBusy { until }
        } else if self.sources.is_empty() {
            Situation::NoSource
        } else {
            Situation::NoneAnswers
        }
    }
}
