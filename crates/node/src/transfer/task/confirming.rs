//! What a download puts on record: now and then while it runs, and at its end.

use super::{CONFIRM_BYTES, CONFIRM_TIME, Event, Task};
use crate::transfer::finish::finish;
use crate::transfer::journal::Stage;
use skein_swarm::RunSet;
use std::io;
use std::sync::PoisonError;
use tokio::time::Instant as Clock;

impl Task {
    /// Flushes what was written and puts it on record, beside the running download.
    pub(super) fn confirm_when_due(&mut self) {
        let due = self.unconfirmed >= CONFIRM_BYTES
            || (self.unconfirmed > 0 && self.confirmed_at.elapsed() >= CONFIRM_TIME);
        let Some(partial) = self.partial.clone() else { return };
        if !due || self.confirming || self.complete {
            return;
        }
        self.confirming = true;
        self.unconfirmed = 0;
        self.note_sources();
        let (journal, mut record) = (self.shared.journal.clone(), self.record.clone());
        let events = self.events.0.clone();
        self.helpers.spawn(async move {
            let confirm = move || {
                record.set_runs(&partial.sync()?);
                journal.save(&record)
            };
            let result = tokio::task::spawn_blocking(confirm).await;
            let result = result.unwrap_or_else(|panic| Err(io::Error::other(panic)));
            let _ = events.send(Event::Confirmed(result)).await;
        });
    }

    pub(super) fn on_confirmed(&mut self, result: io::Result<()>) {
        self.confirming = false;
        self.confirmed_at = Clock::now();
        if result.is_ok() && !self.complete {
            self.announce(true);
        }
        if let Err(error) = result {
            // It is tried again with the next confirmation; until then a crash costs more.
            tracing::warn!(content = %self.record.content.short(), %error, "cannot put a download on record");
            self.unconfirmed = self.unconfirmed.max(1);
        }
    }

    /// Lets no helper touch the record from now on.
    async fn settle(&mut self) {
        for (_, worker) in self.workers.drain() {
            worker.abort.abort();
        }
        while self.confirming {
            match self.events.1.recv().await {
                Some(Event::Confirmed(result)) => self.on_confirmed(result),
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Gives the complete file its name. Answers whether that is done.
    pub(super) async fn try_finish(&mut self) -> bool {
        self.settle().await;
        let Some(partial) = self.partial.clone() else { return false };
        self.note_sources();
        let (journal, mut record) = (self.shared.journal.clone(), self.record.clone());
        let finished = tokio::task::spawn_blocking(move || {
            let result = finish(&partial, &journal, &mut record);
            (result, record)
        });
        let (result, record) = match finished.await {
            Ok(finished) => finished,
            Err(panic) => (Err(io::Error::other(panic)), self.record.clone()),
        };
        self.record = record;
        match result {
            Ok(()) => {
                *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.announce(false);
                self.show(true);
                true
            }
            Err(error) => {
                self.pause(&error);
                false
            }
        }
    }

    /// Tells others that there is something to be had here, or no more.
    pub(super) fn announce(&mut self, serving: bool) {
        let serving = serving && !self.record.private;
        if std::mem::replace(&mut self.announced, serving) != serving {
            self.shared.finder.serving(self.record.content, serving);
        }
    }

    /// Puts everything on record and ends.
    pub(super) async fn end(mut self, stage: Stage) {
        self.settle().await;
        self.announce(false);
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.note_sources();
        if self.record.is_named() {
            // The complete file lies under its name: there is nothing left to call off.
            self.record.stage = Stage::Done;
        } else if self.record.stage != Stage::Naming || stage != Stage::Active {
            self.record.stage = stage;
        }
        let (journal, mut record) = (self.shared.journal.clone(), self.record.clone());
        let partial = self.partial.clone();
        let saved = tokio::task::spawn_blocking(move || {
            let synced = partial.as_ref().map(|partial| partial.sync()).transpose();
            if let Ok(Some(runs)) = &synced {
                record.set_runs(runs);
            }
            // A record without the last bytes is better than none.
            journal.save(&record)?;
            synced.map(|_: Option<RunSet>| record)
        });
        match saved.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(record) => self.record = record,
            Err(error) => tracing::warn!(%error, "cannot put a download on record"),
        }
        self.show(true);
    }
}
