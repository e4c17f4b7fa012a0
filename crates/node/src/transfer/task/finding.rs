//! The sources of a download: those that are found, and those that fail.

use super::{Event, Task};
use crate::api::types::Source;
use crate::transfer::fetch::FetchError;
use crate::transfer::reach::ReachError;
use skein_net::StreamError;
use skein_proto::NodeId;
use skein_swarm::Input;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant as Clock;

/// How long a search for more sources may take.
const FIND_TIME: Duration = Duration::from_secs(60);

/// How long a download runs before it looks for sources beside those that it began with, and how
/// often it does so: sources that appear later join in.
pub(super) const FIRST_LOOK: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_secs(60);

impl Task {
    pub(super) fn add_sources(&mut self, sources: Vec<Source>) {
        let own = self.shared.reach.own_id();
        for source in sources {
            if source.node == own {
                continue;
            }
            let node = source.node;
            let refused = self.swarm.totals().sources_refused;
            self.tell(Input::SourceFound { source: node });
            let refused = self.swarm.totals().sources_refused - refused;
            self.shared.counts.sources_refused.fetch_add(refused, Ordering::Relaxed);
            // The swarm says how many there may be.
            if self.swarm.knows(&node) {
                // A later finding knows the later addresses.
                self.sources.insert(node, source);
            }
        }
    }

    /// The sources to begin with next time: those first that have brought something.
    pub(super) fn note_sources(&mut self) {
        let mut sources: Vec<&Source> = self.sources.values().collect();
        sources.sort_by_key(|source| (!self.swarm.is_proven(&source.node), source.node));
        self.record.set_sources(sources);
    }

    pub(super) fn look_when_due(&mut self) {
        let now = Clock::now();
        if now >= self.find_at {
            self.find_at = now + LOOK_AGAIN;
            if !self.complete {
                self.find_more();
            }
        }
    }

    /// Looks for sources everywhere from now on, and is one.
    pub(super) async fn publish(&mut self) {
        self.record.private = false;
        if self.partial.is_some() {
            // It goes on record with the next bytes that are confirmed.
            self.unconfirmed = self.unconfirmed.max(1);
        } else {
            let (journal, record) = (self.shared.journal.clone(), self.record.clone());
            let saved = tokio::task::spawn_blocking(move || journal.save(&record)).await;
            if let Err(error) = saved.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                tracing::warn!(%error, "cannot put a download on record");
            }
        }
        self.find_more();
    }

    pub(super) fn find_more(&mut self) {
        if self.record.private {
            // Nobody else has it: those who have are tried again.
            return self.add_sources(self.sources.values().cloned().collect());
        }
        if std::mem::replace(&mut self.finding, true) {
            return;
        }
        let (finder, content) = (Arc::clone(&self.shared.finder), self.record.content);
        let events = self.events.0.clone();
        self.helpers.spawn(async move {
            let found = tokio::time::timeout(FIND_TIME, finder.find(&content)).await;
            let _ = events.send(Event::Found(found.unwrap_or_default())).await;
        });
    }

    pub(super) fn name_of(&self, node: &NodeId) -> String {
        match self.sources.get(node) {
            Some(source) => format!("{} ({})", source.name, node.short()),
            None => node.short(),
        }
    }

    pub(super) fn note(&mut self, source: &NodeId, error: &FetchError) {
        let is_its_fault = match error {
            FetchError::Reach(ReachError::Dial(_)) | FetchError::NotFound => true,
            FetchError::Reach(ReachError::Session(error)) => !error.is_local(),
            _ => false,
        };
        if is_its_fault {
            self.shared.membership.failed(source);
        }
        match error {
            // A queue is no trouble; that all are busy shows in the state.
            FetchError::Busy { .. } => self.shared.membership.waits_for(source),
            // It is told when the swarm bans the source, with the reason here in the log.
            FetchError::WrongBytes(why) => tracing::info!(source = %source, why, "wrong bytes"),
            FetchError::Stream(StreamError::Connection(_)) | FetchError::CutShort => {
                let name = self.name_of(source);
                self.trouble.note(format!("{name}: the connection was lost"));
            }
            error => {
                let name = self.name_of(source);
                self.trouble.note(format!("{name} {error}"));
            }
        }
    }
}
