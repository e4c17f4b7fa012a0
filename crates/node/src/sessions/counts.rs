//! What the sessions count.

use super::path::PathKind;
use super::peer::PeerSession;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the sessions have counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Sessions at present.
    pub live: u64,
    /// Sessions that began over a relay.
    pub begun_relayed: u64,
    /// Sessions that began directly.
    pub begun_direct: u64,
    /// Sessions moved to another relay since theirs let nothing through.
    pub moved: u64,
    /// Sessions that were not entered since there were too many.
    pub over_limit: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    relayed: AtomicU64,
    direct: AtomicU64,
    moved: AtomicU64,
    over_limit: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    pub(super) fn opened(&self, session: &PeerSession) {
        add(match session.path_now().kind {
            PathKind::Relayed { .. } => &self.relayed,
            PathKind::Direct { .. } => &self.direct,
        });
    }

    pub(super) fn moved(&self) {
        add(&self.moved);
    }

    pub(super) fn refused(&self) {
        add(&self.over_limit);
    }

    pub(super) fn snapshot(&self, live: usize) -> SessionCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SessionCounts {
            live: live as u64,
            begun_relayed: read(&self.relayed),
            begun_direct: read(&self.direct),
            moved: read(&self.moved),
            over_limit: read(&self.over_limit),
        }
    }
}
